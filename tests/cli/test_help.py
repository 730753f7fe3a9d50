"""What the help of every verb says: examples that are understood as they stand, and its exit status."""

import re
import shlex

import pytest

import cofire.cli.parameters
from cofire.cli.help import EXAMPLES, STATUS, VARIABLES
from cofire.cli.main import VERBS
from cofire.errors import DataError
from tests.golden.running import run

LINES = [(verb, options) for verb, known in EXAMPLES.items() for _, options in known]
PARTS = {"trust": ("make", "serve", "report")}


def test_every_verb_has_examples():
    names = [f"{v} {p}" for v, parts in PARTS.items() for p in parts]
    assert list(EXAMPLES) == [
        name for v in VERBS for name in ([n for n in names if n.split()[0] == v] or [v])
    ]


@pytest.fixture
def asked(monkeypatch):
    """The options that verbs were called with, in place of what they do."""
    found = []
    monkeypatch.setattr(cofire.cli.parameters, "_run", lambda function, given: found.append(given))
    return found


@pytest.mark.parametrize(("verb", "options"), LINES)
def test_an_example_is_understood_as_it_stands(verb, options, asked, tmp_path):
    told = run((*verb.split(), *shlex.split(options)), tmp_path)
    assert (told.exit, told.err) == (0, "")
    assert len(asked) == 1


@pytest.mark.parametrize("verb", EXAMPLES)
def test_help_ends_with_examples_and_the_exit_status(verb, tmp_path):
    told = run((*verb.split(), "--help"), tmp_path).out
    for asked, options in EXAMPLES[verb]:
        assert f"\n  {asked}\n    cofire {verb} {options}".rstrip() + "\n" in told
    for code, words in STATUS.items():
        assert re.search(rf"\n  {code} +{re.escape(words)}\n", told)


def test_the_help_of_all_tells_variables_and_exit_status(tmp_path):
    told = run(("--help",), tmp_path).out
    for name, words in (VARIABLES | STATUS).items():
        assert re.search(rf"\n  {name} +{re.escape(words)}\n", told)


class Raises:
    """Something that a verb runs into."""

    def __init__(self, fault):
        self.fault = fault

    def __call__(self, function, options):
        raise self.fault


@pytest.mark.parametrize(
    ("arguments", "fault", "status", "said"),
    [
        (("doctor",), None, 0, ""),
        (("report", "absent"), None, 1, "cofire: 'absent' is no folder. Expected: "),
        (("doctor",), DataError("a", "b", "c"), 1, "cofire: a. Expected: b. To fix it: c."),
        (("doctor",), ZeroDivisionError("zero"), 1, "COFIRE_DEBUG=1 shows where"),
        (("doctor", "--loud"), None, 2, "--loud"),
        (("docter",), None, 2, "No such command 'docter'"),
        (("doctor",), KeyboardInterrupt(), 130, "Stopped. The same command starts anew."),
    ],
)
def test_exit_status(arguments, fault, status, said, monkeypatch, tmp_path):
    if fault is not None:
        monkeypatch.setattr(cofire.cli.parameters, "_run", Raises(fault))
    told = run(arguments, tmp_path)
    assert told.exit == status
    assert said in told.err
    assert status in STATUS


@pytest.mark.parametrize(
    ("words", "offered"),
    [("cofire gra", {"graph"}), ("cofire graph --comm", {"--communities"})],
)
def test_the_shell_completes_verbs_and_options(words, offered, monkeypatch, tmp_path):
    monkeypatch.setenv("_COFIRE_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", words)
    monkeypatch.setenv("COMP_CWORD", str(len(words.split()) - 1))
    monkeypatch.setattr("sys.argv", ["cofire"])
    assert set(run((), tmp_path).out.split()) == offered


def test_completion_is_installed_for_the_shell(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SHELL", "/bin/bash")
    monkeypatch.setenv("_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION", "1")
    told = run(("--install-completion", "bash"), tmp_path)
    assert told.exit == 0, told.err
    assert "_COFIRE_COMPLETE=complete_bash" in (
        tmp_path / ".bash_completions" / "cofire.sh"
    ).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("rank", "said"), [("0", "call `cofire study` without torchrun"), ("1", "")]
)
def test_a_verb_that_processes_cannot_share_is_refused_once(rank, said, tmp_path, monkeypatch):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", rank)
    told = run(("study", "digits", "--out", "x"), tmp_path)
    assert told.exit == 1
    assert said in told.err
    assert bool(said) == bool(told.err)
    assert not (tmp_path / "x").exists()
