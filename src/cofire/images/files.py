"""The files of a folder and of all folders below it, and text files read within bounds."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from cofire.errors import CofireError, DataError

MOST_LIST = 512 << 20
"""Bytes of the largest file of boxes or names: COCO's largest, of 118,000 images, has 449 million."""
MOST_XML = 16 << 20
"""Bytes of the largest XML file, which is about one image: VOC's and ILSVRC's have a few thousand."""


@contextmanager
def reading(path: str | Path, expected: str) -> Iterator[None]:
    """Whatever a file or folder leads its readers to raise becomes an error that names it.

    Args:
        path: What is read.
        expected: What it should be.

    Raises:
        DataError: For every exception but those of cofire, which pass.
    """
    try:
        yield
    except CofireError:
        raise
    # Names that no system takes, links in a circle, nesting that no parser follows, numbers of a
    # million digits ...
    except Exception as error:
        told = (
            "it is nested too deep"
            if isinstance(error, RecursionError)
            else str(error) or type(error).__name__
        )
        raise DataError(
            f"'{path}' cannot be read: {told}", expected, "check the path, or make the file again"
        ) from error


def text_of(path: str | Path, expected: str, most: int = MOST_LIST) -> str:
    """The text of a file (UTF-8, with or without a mark of byte order).

    Raises:
        DataError: It is no file or no text, or has more than `most` bytes.
    """
    with reading(path, expected):
        if not Path(path).is_file():
            raise DataError(
                f"'{path}' cannot be read: there is no such file", expected, "check the path"
            )
        size = Path(path).stat().st_size
        if size > most:
            raise DataError(
                f"'{path}' is a file of {size:,} bytes",
                f"{expected}, of at most {most:,} bytes",
                "check the path, or part the file",
            )
        return Path(path).read_text(encoding="utf-8-sig")


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
            "change its rights",
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


SHOWN = 20
"""How many faults are written out; of the others the message gives the number."""


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
