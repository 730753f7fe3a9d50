"""The files of a folder and of all folders below it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from cofire.errors import DataError

__all__ = ["files_below"]


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
        raise DataError(f"'{error.filename}' cannot be entered: {error}", "a folder to read", "change its rights")

    found: list[tuple[str, Path]] = []
    for walked, _, files in os.walk(folder, onerror=stop, followlinks=True):
        here = Path(walked)
        # A link to where the walk has been on its way here would lead round and round.
        above = here.parents[: len(here.relative_to(folder).parts)]
        if above and here.is_symlink() and here.resolve() in {place.resolve() for place in above}:
            raise DataError(f"the link '{here}' leads back to a folder above it", "a tree of folders", "remove it")
        for path in (here / file for file in files):
            if path.suffix.lower() in endings:
                found.append((path.relative_to(folder).as_posix(), path))
    return sorted(found)
