"""The folder that a command writes to, checked before anything is computed."""

from __future__ import annotations

import os
from pathlib import Path

import typer

from cofire.errors import OptionError

__all__ = ["claim"]


def claim(out: Path, mark: str, what: str) -> None:
    """Make sure that results can be written.

    Args:
        out: The folder.
        mark: A file that every result of the command has.
        what: The result, for messages, such as "a summary".

    Raises:
        OptionError: The folder holds other files, or cannot be written to.
    """
    if (out / "study.json").exists():
        raise OptionError(f"'{out}' holds a study", "a folder of its own", "choose another folder with --out")
    if (out / mark).exists():
        typer.echo(f"Note: what '{out}' holds of {what} made earlier is replaced.", err=True)
    elif out.is_dir() and any(not path.name.endswith(".partial") for path in out.iterdir()):
        raise OptionError(
            f"'{out}' holds other files",
            f"a new or empty folder, or one of {what}",
            "choose another folder with --out",
        )
    nearest = out
    while not nearest.exists():
        nearest = nearest.parent
    if not nearest.is_dir() or not os.access(nearest, os.W_OK):
        raise OptionError(f"'{nearest}', where results cannot be written", "a folder", "choose another with --out")
