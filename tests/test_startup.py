"""Starting up waits for nothing that is not used: counted in modules, since seconds depend on the machine."""

from __future__ import annotations

import subprocess
import sys

import pytest

import cofire
from cofire.cli.main import VERBS

HEAVY = {
    "torch",
    "torchvision",
    "numpy",
    "scipy",
    "sklearn",
    "numba",
    "plotly",
    "pyarrow",
    "networkx",
    "jinja2",
    "PIL",
}


def loaded(code: str) -> set[str]:
    """The packages that are imported once the code has run in a process of its own."""
    told = f"import sys\n{code}\nprint(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_import_cofire_imports_nothing_heavy():
    assert not loaded("import cofire") & HEAVY


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], []])
def test_help_and_version_import_nothing_heavy(arguments):
    code = (
        f"sys.argv = ['cofire', *{arguments}]\nfrom cofire.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass"
    )
    assert not loaded(code) & HEAVY


def test_a_network_is_opened_without_what_reports_and_data_sets_need():
    found = loaded("import cofire\ncofire.Network, cofire.summarize, cofire.explain")
    assert not found & {"plotly", "matplotlib", "sklearn", "torchvision", "networkx"}


@pytest.mark.parametrize("name", cofire.__all__)
def test_every_public_name_is_found_in_whatever_order(name):
    code = (
        f"from cofire.explain import Explanation\nimport cofire\nassert cofire.{name} is not None"
    )
    assert name in dir(cofire)
    if name in ("explain", "evaluate", "Network"):
        loaded(code + f"\nassert callable(cofire.{name}) is {name != 'evaluate'}")
    assert getattr(cofire, name) is getattr(cofire, name)


def test_a_name_that_there_is_not_is_refused():
    with pytest.raises(AttributeError, match="no attribute 'explane'"):
        cofire.explane  # noqa: B018


def test_every_verb_has_its_line_in_the_list_of_verbs():
    from typer.testing import CliRunner

    from cofire.cli.main import app

    for verb in VERBS:
        found = CliRunner().invoke(app, [verb, "--help"])
        assert found.exit_code == 0, found.output
