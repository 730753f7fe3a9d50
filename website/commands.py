"""The page of the command line: what `--help` of every verb prints."""

from __future__ import annotations

from typer.testing import CliRunner

from cofire.cli.main import VERBS, app

_INTRODUCTION = """# Command line

What `cofire VERB --help` prints, made when the site is built. `cofire --install-completion` completes verbs and options
in your shell; `cofire doctor` says what is installed.

| verb | |
| --- | --- |
"""


def page() -> str:
    """The page in Markdown."""
    lines = [_INTRODUCTION]
    lines += [f"| [`{name}`](#{name}) | {meaning} |\n" for name, meaning in VERBS.items()]
    for name in VERBS:
        said = help_of(name)
        parts = [f"{name} {part}" for part in ("make", "serve", "report") if f"│ {part} " in said]
        lines += [f"\n## {name}\n"]
        lines += [f"\n```text\n{help_of(each)}\n```\n" for each in (name, *parts)]
    return "".join(lines)


def help_of(verb: str) -> str:
    """What `--help` of a verb prints, 100 columns wide."""
    told = CliRunner(env={"COLUMNS": "100", "NO_COLOR": "1", "TERM": "dumb"}).invoke(
        app, [*verb.split(), "--help"], prog_name="cofire"
    )
    return "\n".join(line.rstrip() for line in told.stdout.strip().splitlines())
