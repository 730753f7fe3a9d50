"""The finished checkpoints of a run, each kept as soon as it is known."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from cofire.atomic import atomic_folder, write_text
from cofire.errors import ResultError
from cofire.reading import read_json
from cofire.storage import Read, check_same
from cofire.study.trajectory import Trajectory

_IDENTITY = "checkpoint.json"


_NAMED = ("model", "data", "samples", "test_samples")


class Fragments:
    """A folder of trajectories of one checkpoint each, every one whole or absent.

    Args:
        folder: The run's folder; the fragments lie below it.
        options: Under which they must have been made.
        read: See `cofire.storage.check_same`.
    """

    def __init__(self, folder: Path, options: dict[str, Any], read: Read | None = None) -> None:
        self._folder = folder / "rows"
        self._options = options
        self._read = read

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:04d}"

    def get(self, number: int, identity: dict[str, Any]) -> Trajectory | None:
        """The rows of a checkpoint, None if they are not there.

        Args:
            number: Of the checkpoint.
            identity: What tells this checkpoint from others, as it was given to `put`.

        Raises:
            MergeError: They are of another checkpoint or were made under other options.
            ResultError: They are damaged.
        """
        path = self._path(number)
        if not path.is_dir():
            return None
        try:
            found = Trajectory.load(path)
            known = read_json(path / _IDENTITY)
        except (ResultError, OSError, ValueError, RecursionError) as error:
            raise ResultError(
                f"'{path}' is damaged: {error}",
                "the whole rows of a checkpoint",
                f"delete '{path}' and start again",
            ) from error
        named = {name: self._options[name] for name in _NAMED if name in self._options}
        mine, theirs = {**self._options, **identity}, {**named, **found.options, **known}
        check_same(path, theirs, mine, read=self._read)
        return replace(found, options=self._options)

    def put(self, number: int, rows: Trajectory, identity: dict[str, Any]) -> None:
        """Keep the rows of a checkpoint: the folder appears in one step.

        Args:
            number: Of the checkpoint.
            rows: A trajectory of this checkpoint alone.
            identity: What tells this checkpoint from others.

        Raises:
            ResultError: They are there already, or cannot be written.
        """
        with atomic_folder(self._path(number)) as partial:
            rows.save(partial)
            write_text(partial / _IDENTITY, json.dumps(identity, sort_keys=True))
