"""The folder that a command writes to, its own until it ends; what is said when the user stops a command."""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar
from pathlib import Path
from typing import ParamSpec, TypeVar

import typer

from cofire.atomic import claimed

Given = ParamSpec("Given")
Result = TypeVar("Result")

_running: ContextVar[ExitStack] = ContextVar("running")


def stoppable(
    command: Callable[Given, Result], *, goes_on: bool = False
) -> Callable[Given, Result]:
    """A command that says what becomes of it when it is stopped, and lets go of its folders when it ends.

    Args:
        command: To be run.
        goes_on: Whether the same command, given again, goes on where it was.
    """

    @functools.wraps(command)
    def run(*args: Given.args, **options: Given.kwargs) -> Result:
        try:
            with ExitStack() as stack:
                _running.set(stack)
                return command(*args, **options)
        except KeyboardInterrupt as stopped:
            again = "goes on where it was" if goes_on else "starts anew"
            typer.echo(f"\nStopped. The same command {again}.", err=True)
            raise typer.Exit(130) from stopped

    return run


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
    found = _running.get().enter_context(claimed(out, what, [mark, *others]))
    if found.earlier and not quiet:
        typer.echo(f"Note: what '{out}' holds of {what} made earlier is replaced.", err=True)
