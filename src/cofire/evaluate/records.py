"""The rows of each finished batch of photos, kept so that a killed run goes on where it was."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cofire.atomic import atomic_path, write_text
from cofire.checksums import check_json, read_table, sealed_json, write_table
from cofire.errors import MergeError, ResultError
from cofire.evaluate.measures import records_schema
from cofire.reading import read_json

ROWS = "rows"
"""The folder of a run's finished batches, below its own."""

IDENTITY = "options.json"
"""Of a run that was started: what it was started with."""


def started(folder: str | Path) -> bool:
    """Whether a folder holds a run that was started, finished or not.

    Example:
        >>> import tempfile
        >>> started(tempfile.mkdtemp())
        False
    """
    return (Path(folder) / ROWS / IDENTITY).is_file()


class Chunks:
    """The finished parts of a run, every one whole or absent.

    Args:
        folder: The run's folder; the parts lie below it.
        options: Under which all of them are made, as JSON can hold them.

    Raises:
        MergeError: The folder holds parts that were made under other options.
        ResultError: What it holds is damaged.

    Example:
        >>> import tempfile
        >>> place = tempfile.mkdtemp()
        >>> chunks = Chunks(place, {"seed": 0})
        >>> chunks.put(0, records_schema().empty_table()).num_rows
        0
        >>> Chunks(place, {"seed": 0}).get(0, [], []).num_rows, chunks.get(1, ["a.png"], ["gradcam"])
        (0, None)
        >>> Chunks(place, {"seed": 1})
        Traceback (most recent call last):
        cofire.errors.MergeError: ... was started with other values of seed. Expected: ...
    """

    def __init__(self, folder: str | Path, options: Mapping[str, Any]) -> None:
        self._folder = Path(folder) / ROWS
        note = self._folder / IDENTITY
        mine = json.loads(json.dumps(dict(options)))
        if not note.exists():
            write_text(note, json.dumps(mine, sort_keys=True, indent=1))
            return
        try:
            theirs = dict(read_json(note))
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise self._damaged(note, error) from error
        if mine != theirs:
            changed = sorted(key for key in mine | theirs if mine.get(key) != theirs.get(key))
            raise MergeError(
                f"'{folder}' was started with other values of {', '.join(changed)}",
                "the photos, network and options that this folder was started with",
                "choose another folder, or delete this one to start anew",
            )

    def get(self, number: int, photos: Sequence[str], methods: Sequence[str]) -> pa.Table | None:
        """The rows of a batch, None if they are not there yet.

        Args:
            number: Of the batch.
            photos: The names of its photos, in order.
            methods: By which each of them is judged, in order.

        Raises:
            ResultError: They are damaged, or of other photos or methods.
        """
        path = self._path(number)
        if not path.exists():
            return None
        try:
            table = read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise self._damaged(path, error) from error
        if not table.schema.equals(records_schema()):
            raise self._damaged(path, "it has other columns")
        if (table["file"].to_pylist(), table["method"].to_pylist()) != (
            [photo for photo in photos for _ in methods],
            list(methods) * len(photos),
        ):
            raise self._damaged(
                path, f"it does not hold each of its {len(photos)} photos by each method"
            )
        return table

    def has(self, part: int | str) -> bool:
        """Whether a batch, by its number, or what is computed once, by its name, is there."""
        return (
            self._path(part) if isinstance(part, int) else self._folder / f"{part}.json"
        ).exists()

    def put(self, number: int, rows: pa.Table) -> pa.Table:
        """Keep the rows of a batch: the file appears in one step.

        Returns:
            The same as they read back, so that a run ends alike whether or not it was killed.
        """
        with atomic_path(self._path(number)) as partial:
            write_table(rows, partial)
        return read_table(self._path(number))

    def once(self, name: str, make: Callable[[], Any], fault: Callable[[Any], str]) -> Any:
        """What is computed once for a whole run, such as boxes that are learned: read, or made and kept.

        Args:
            name: Of the file, without its ending.
            make: Computes it; what JSON can hold.
            fault: Says what is wrong with what was read, "" if nothing is.

        Raises:
            ResultError: The file is damaged.
        """
        path = self._folder / f"{name}.json"
        if not path.exists():
            write_text(path, json.dumps(sealed_json(make()), indent=1))
        try:
            found = check_json(read_json(path))
        except (OSError, ValueError, RecursionError) as error:
            raise self._damaged(path, error) from error
        if wrong := fault(found):
            raise self._damaged(path, wrong)
        return found

    def _path(self, number: int) -> Path:
        return self._folder / f"{number:06d}.parquet"

    def _damaged(self, path: Path, error: object) -> ResultError:
        return ResultError(
            f"'{path}' is damaged: {error}",
            "what this run wrote",
            f"delete '{path}' and start again",
        )
