"""What a command holds while it runs: the folder that it writes to; and what is said on a terminal."""

from __future__ import annotations

import shlex
import sys
import unicodedata
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import typer

from cofire.remote import in_urls

_running: ContextVar[ExitStack] = ContextVar("running")


@contextmanager
def running(*, goes_on: bool = False) -> Iterator[None]:
    """Hold the folders of a command until it ends, and say what becomes of it when it is stopped.

    Args:
        goes_on: Whether the same command, given again, goes on where it was.
    """
    try:
        with ExitStack() as stack:
            _running.set(stack)
            yield
    except KeyboardInterrupt as stopped:
        again = "goes on where it was" if goes_on else "starts anew"
        typer.echo(f"\nStopped. The same command {again}.", err=True)
        raise typer.Exit(130) from stopped


def claim(out: Path, mark: str, what: str, *others: str, quiet: bool = False) -> None:
    """Make sure that results can be written, and that no other run writes there, until the command ends.

    Args:
        out: The folder.
        mark: A file that every result of the command has.
        what: The result, for messages, such as "a summary".
        others: Further files that tell that such results are there.
        quiet: Do not say that what is there is replaced.

    Raises:
        OptionError: The folder holds other files, or cannot be written to.
        ResultError: Another run writes there.
    """
    from cofire.atomic import claimed

    found = _running.get().enter_context(claimed(out, what, [mark, *others]))
    if found.earlier and not quiet:
        note(f"what '{out}' holds of {what} made earlier is replaced.")


def note(text: str) -> None:
    """Say something beside the results."""
    typer.echo(f"Note: {in_urls(text)}", err=True)


def say(label: str, value: Any) -> None:
    """A line of results, the value behind its label; what would command a terminal is written out."""
    typer.echo(f"{label:<9} {without_commands(str(value))}")


def without_commands(words: str) -> str:
    """Words with what would command a terminal, or no file could hold, written out."""
    return "".join(
        sign.encode("unicode_escape").decode()
        if unicodedata.category(sign) in ("Cc", "Cs")
        else sign
        for sign in in_urls(words)
    )


def print_table(table: Any) -> None:
    """A table of results; one squeezed into the 80 columns assumed of a file could be read by nobody."""
    from rich.console import Console

    Console(width=None if sys.stdout.isatty() else 200).print(table)


def command_line() -> str:
    """The command as it was typed."""
    return shlex.join(["cofire", *sys.argv[1:]])


def _show_version(show: bool) -> None:
    """Print the version and stop, if asked for."""
    if show:
        import cofire

        typer.echo(f"cofire {cofire.__version__}")
        raise typer.Exit


def version_flag(panel: str | None = None) -> Any:
    """The flag `--version` of every verb, under a heading of its help."""
    return typer.Option(
        "--version",
        "-V",
        callback=_show_version,
        is_eager=True,
        help="Print the version and stop.",
        rich_help_panel=panel,
    )
