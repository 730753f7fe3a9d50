"""Every code block of README and site runs, in the order in which a reader meets it."""

import contextlib
import importlib
import os
import re
import shlex
import shutil
import sys
import tomllib

import pytest
import typer

from cofire import evaluate, patterns, report
from cofire.cli.main import app
from cofire.explain.rules.registry import _RULES
from tests.golden.running import run
from website.blocks import DOCS, ROOT, blocks, pages

EXAMPLE = DOCS / "start" / "example.md"
SLOW = ("training.md", "five-minutes.md")
"""Pages whose code takes longer than a few seconds."""

NEEDS_NOTHING = ("pip install", "git clone", "cd ", "python -m venv", ". .venv/bin/activate")
"""Commands that a reader's own machine is changed by; what they name is looked up."""


def executed(code, page, line, names):
    # Lines are counted as on the page, so that a failure points there.
    exec(compile("\n" * (line - 1) + code, str(page), "exec"), names)


def commands(code):
    """The commands of a shell block, each on one line."""
    for line in code.replace("\\\n", " ").splitlines():
        if command := line.split(" #")[0].strip():
            yield " ".join(command.split())


@pytest.fixture(scope="session")
def example(tmp_path_factory):
    """A folder in which the script of `docs/start/example.md` has run."""
    place = tmp_path_factory.mktemp("example")
    (block,) = blocks(EXAMPLE.read_text(encoding="utf-8"))
    with contextlib.chdir(place):
        executed(block.code, EXAMPLE, block.line, {"__name__": "__main__"})
    return place


@pytest.fixture
def place(example, tmp_path, monkeypatch):
    """The reader's own folder."""
    folder = tmp_path / "mine"
    shutil.copytree(example, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", [str(folder), *sys.path])
    monkeypatch.setenv("COFIRE_DATA", os.fspath(tmp_path / "data"))
    # What a page registers is gone after it; verbs list what there was when they were imported.
    for verb in ("explain", "evaluate", "study"):
        importlib.import_module(f"cofire.cli.{verb}")
    registries = (
        patterns.MEASURES,
        importlib.import_module("cofire.explain").METHODS,
        evaluate.MEASURES,
        report.SECTIONS,
        _RULES,
    )
    known = [dict(registry) for registry in registries]
    yield folder
    for registry, before in zip(registries, known, strict=True):
        registry.clear()
        registry.update(before)


def parsed(command):
    """Whether a command of cofire and its options exist."""
    name, *arguments = shlex.split(command)[1:]
    with pytest.MonkeyPatch.context() as patch:
        group = typer.main.get_command(app)
        _, verb, _ = group.resolve_command(None, [name])
        while getattr(verb, "commands", None):
            verb = verb.commands[arguments.pop(0)]
        patch.setattr(verb, "callback", lambda **_: None)
        verb.make_context(name, arguments)


def extras():
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]


def shell(command, place, needs):
    """Run a command of cofire; of any other, look whether what it names is there."""
    if command.startswith("cofire ") and not needs:
        told = run(tuple(shlex.split(command)[1:]), place)
        assert told.exit == 0, f"{command}\n{told.out}\n{told.err}"
    elif command.startswith("cofire "):
        parsed(command)
    elif command.startswith("make "):
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert set(command.split()[1:]) <= {*targets}, command
    elif found := re.search(r"python (benchmarks/\w+\.py)", command):
        assert (ROOT / found[1]).exists(), command
    else:
        assert command.startswith(NEEDS_NOTHING), f"nobody runs this command: {command}"
        for named in re.findall(r"\[([\w,]+)\]", command):
            assert set(named.split(",")) <= set(extras()), command


def page_id(page):
    return str(page.relative_to(ROOT))


def with_code():
    for page in pages():
        if page != EXAMPLE and any(blocks(page.read_text(encoding="utf-8"))):
            marks = [pytest.mark.slow] if page.name in SLOW else []
            yield pytest.param(page, id=page_id(page), marks=marks)


@pytest.mark.parametrize("page", list(with_code()))
def test_code_of_a_page_runs(page, place, capsys):
    names = {"__name__": "__main__"}
    for block in blocks(page.read_text(encoding="utf-8")):
        if block.language == "sh":
            for command in commands(block.code):
                shell(command, place, block.needs)
        elif block.needs:
            compile(block.code, str(page), "exec")
        else:
            executed(block.code, page, block.line, names)


def test_blocks_are_found_wherever_they_stand():
    text = (
        "<!-- run\nx = 1\n-->\n\n- a\n\n    ```python\n    y = x\n    ```\n\n"
        "<!-- needs: GPU -->\n```sh\ncofire z\n```\n"
    )
    assert [(b.language, b.code, b.line, b.needs) for b in blocks(text)] == [
        ("python", "x = 1\n", 2, ""),
        ("python", "y = x\n", 8, ""),
        ("sh", "cofire z\n", 13, "GPU"),
    ]
