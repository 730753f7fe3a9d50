"""A command as a user gives it, in this process: exit code, output, and nothing left behind."""

from __future__ import annotations

import contextlib
import io
import os
import runpy
import sys
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import torch


@dataclass(frozen=True)
class Told:
    """What a command said.

    Attributes:
        exit: Its exit code.
        out: Its standard output.
        err: Its standard error.
    """

    exit: int
    out: str
    err: str


def run(arguments: tuple[str, ...], folder: Path) -> Told:
    """Run `cofire ARGUMENTS` in a folder, as `python -m cofire` does."""
    out, err = io.StringIO(), io.StringIO()
    with (
        contextlib.chdir(folder),
        mock.patch.object(sys, "argv", ["cofire", *arguments]),
        # The name of the program in usage errors is taken from these two.
        mock.patch.object(sys.modules["__main__"], "__package__", None),
        mock.patch.object(sys, "path", [str(folder), *sys.path]),
        mock.patch.dict(os.environ, {"COLUMNS": "1000", "NO_COLOR": "1", "TERM": "dumb"}),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
    ):
        os.environ.pop("COFIRE_DEBUG", None)
        torch.manual_seed(0)
        code = _exit_code()
    forget_modules_of(folder)
    return Told(code, out.getvalue(), err.getvalue())


_OTHERS: set[str] = set()
"""Modules that are of no such folder."""


def forget_modules_of(folder: Path) -> None:
    """Modules that were imported from a folder are so no longer: names like `mine` are of many folders."""
    within = f"{folder}{os.sep}"
    for name in sys.modules.keys() - _OTHERS:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(within):
            del sys.modules[name]
        else:
            _OTHERS.add(name)
    sys.path[:] = [path for path in sys.path if not f"{path}{os.sep}".startswith(within)]


def _exit_code() -> int:
    try:
        runpy.run_module("cofire", run_name="__main__")
    except SystemExit as left:
        if left.code is None or isinstance(left.code, int):
            return left.code or 0
        return 1
    return 0
