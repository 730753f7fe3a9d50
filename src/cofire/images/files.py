"""Files of data sets: those below a folder, lists of rows, and many faults told at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from cofire.errors import DataError
from cofire.reading import read_text, reading

MOST_LIST = 512 << 20
"""Bytes of the largest file of boxes or names: COCO's largest, of 118,000 images, has 449 million."""
MOST_XML = 16 << 20
"""Bytes of the largest XML file, which is about one image: VOC's and ILSVRC's have a few thousand."""
SHOWN = 20
"""How many faults are written out; of the others the message gives the number."""


def rows_of(path: str | Path, expected: str) -> tuple[list[Any], bool]:
    """The entries of a JSON list or the lines of a text file (UTF-8), and whether it is a text.

    Raises:
        DataError: The file cannot be read, or is longer than `MOST_LIST`.
    """
    with reading(path, DataError, expected):
        text = read_text(path, MOST_LIST, "utf-8-sig")
        if text.lstrip().startswith("["):
            return list(json.loads(text)), False
        return text.rstrip().splitlines(), True


def files_below(folder: Path, endings: Sequence[str]) -> list[tuple[str, Path]]:
    """Files of some kinds with their paths below a folder, "/" between folders, in the order of these.

    Links to folders are followed, for trees of links are a usual way to sort images into classes.

    Args:
        folder: Where to look.
        endings: What the names end with, in small letters; files are found in capital letters too.

    Raises:
        DataError: A folder cannot be entered, or a link leads back to one above it.
    """

    def stop(error: OSError) -> None:
        raise DataError(
            f"'{error.filename}' cannot be entered: {error}",
            "a folder to read",
            "let this user read it, or move it out of there",
        )

    found: list[tuple[str, Path]] = []
    for walked, _, files in os.walk(folder, onerror=stop, followlinks=True):
        here = Path(walked)
        # A link to where the walk has been on its way here would lead round and round.
        above = here.parents[: len(here.relative_to(folder).parts)]
        if above and here.is_symlink() and here.resolve() in {place.resolve() for place in above}:
            raise DataError(
                f"the link '{here}' leads back to a folder above it",
                "a tree of folders",
                "remove it",
            )
        for path in (here / file for file in files):
            if path.suffix.lower() in endings:
                found.append((path.relative_to(folder).as_posix(), path))
    return sorted(found)


def listed(faults: Iterable[str], most: int = SHOWN) -> str:
    """The first of many faults, and how many more there are.

    Example:
        >>> listed(["a.jpg", "b.jpg", "c.jpg"], most=2)
        'a.jpg; b.jpg; and 1 more'
    """
    everything = list(faults)
    rest = len(everything) - most
    return "; ".join([*everything[:most], *([f"and {rest:,} more"] if rest > 0 else [])])


def refuse_all(
    faults: Sequence[str], what: str, expected: str, remedy: str, error: type[DataError] = DataError
) -> None:
    """Raise one error for all faults; without a fault nothing happens.

    Args:
        faults: Each in words, with the name of its file.
        what: What they have in common, in the plural.
        expected: What there should be instead.
        remedy: What to do.
        error: Its class.

    Raises:
        DataError: There is a fault.

    Example:
        >>> refuse_all(["a.xml: no <name>"], "unusable annotations", "VOC's form", "mend them")
        Traceback (most recent call last):
            ...
        cofire.errors.DataError: unusable annotations (1): a.xml: no <name>. Expected: VOC's form. To fix it: mend them.
    """
    if faults:
        raise error(f"{what} ({len(faults):,}): {listed(faults)}", expected, remedy)
