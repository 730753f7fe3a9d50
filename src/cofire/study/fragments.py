"""The rows of each finished checkpoint, kept so that nothing finished is ever computed twice or lost."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

from cofire.errors import MergeError, ResultError
from cofire.study.trajectory import Trajectory

__all__ = ["Fragments"]


class Fragments:
    """A folder of trajectories of one checkpoint each, every one whole or absent.

    Args:
        folder: The run's folder; the fragments lie below it.
        options: Under which they must have been made.
    """

    def __init__(self, folder: Path, options: dict[str, Any]) -> None:
        self._folder = folder / "rows"
        self._options = options

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:04d}"

    def get(self, number: int) -> Trajectory | None:
        """The rows of a checkpoint, None if they are not there.

        Raises:
            MergeError: They were made under other options.
            ResultError: They are damaged.
        """
        path = self._path(number)
        if not path.is_dir():
            return None
        try:
            found = Trajectory.load(path)
        except ResultError as error:
            raise ResultError(error.given, error.expected, f"delete '{path}' and start again") from error
        if found.options != self._options:
            changed = sorted(k for k in self._options | found.options if self._options.get(k) != found.options.get(k))
            raise MergeError(
                f"'{path}' was made with other values of {', '.join(changed)}",
                "the options that this folder was started with",
                "choose another folder, or delete this one to start anew",
            )
        return found

    def put(self, number: int, rows: Trajectory) -> None:
        """Keep the rows of a checkpoint: the folder appears in one step."""
        path = self._path(number)
        partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
        shutil.rmtree(partial, ignore_errors=True)
        try:
            rows.save(partial)
            partial.replace(path)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
