"""The folder of explanations: all files of a run take their places together, and none of an earlier run stays."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cofire.atomic import atomic_path, unwritable
from cofire.reading import read_json

MARK = "explanations.json"
PAGE = "explain.html"
PICTURES = "pictures"

_SUFFIX = ".partial"


def settled(out: Path) -> Path:
    """The folder that is meant, links followed, once it is known that results can be written there.

    Raises:
        ResultError: They cannot.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()).resolve()
        >>> settled(place / "new" / ".." / "out") == place / "out", list(place.iterdir())
        (True, [])
    """
    try:
        place = out.resolve()
        for file in (place / MARK, place / PAGE):
            if file.is_dir():
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(file))
        for folder in (place, (place / PICTURES).resolve()):
            nearest = _nearest(folder)
            # What the rights say is not all: the disk may be read-only, or not take a name.
            with tempfile.TemporaryDirectory(
                dir=nearest, prefix=_prefix(), suffix=_SUFFIX
            ) as trial:
                Path(trial, folder.relative_to(nearest)).mkdir(parents=True, exist_ok=True)
    # Links in a circle are a RuntimeError to Python 3.12 and earlier.
    except (OSError, RuntimeError) as error:
        raise unwritable(out, error) from error
    return place


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A folder to write to, whose files go to `out` when the block ends well.

    Nothing is seen in `out` before that, nor if the block raises. Pictures of an earlier run that
    its `explanations.json` lists are removed; other files stay.

    Raises:
        ResultError: Results cannot be written there; before the block begins.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "out"
        >>> with replaced(place) as staged:
        ...     _ = (staged / MARK).write_text("{}")
        ...     early = place.exists()
        >>> early, [path.name for path in place.iterdir()], len(list(place.parent.iterdir()))
        (False, ['explanations.json'], 1)
    """
    place = settled(out)
    # The folder may be another file system than what it lies in, and files take their places by
    # being renamed.
    try:
        staged = Path(tempfile.mkdtemp(dir=_nearest(place), prefix=_prefix(), suffix=_SUFFIX))
    except OSError as error:
        raise unwritable(place, error) from error
    try:
        yield staged
        written = sorted(path.relative_to(staged) for path in staged.rglob("*") if path.is_file())
        # What lists the others comes last.
        written.sort(key=lambda path: path.name == MARK)
        earlier = _listed(place / MARK)
        try:
            for path in written:
                folder = (place / path).parent.resolve()
                folder.mkdir(parents=True, exist_ok=True)
                _move(staged / path, folder / path.name)
            for path in earlier - set(written):
                (place / path).unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(place, error) from error
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _prefix() -> str:
    # As `cofire.atomic` knows what has no name of its own once it is whole.
    return f"..{os.getpid()}-"


def _nearest(folder: Path) -> Path:
    """The folder, or what there is already of the way to it."""
    while not folder.exists():
        folder = folder.parent
    return folder


def _move(file: Path, target: Path) -> None:
    try:
        file.replace(target)
    except OSError as error:
        # The folder of pictures can be a mounted volume, or a link to one.
        if error.errno != errno.EXDEV:
            raise
        with atomic_path(target) as partial:
            shutil.copyfile(file, partial)


def _listed(record: Path) -> set[Path]:
    """The pictures that a record lists, those in its own folder of pictures only."""
    try:
        found = {Path(image["picture"]) for image in read_json(record)["images"]}
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return set()
    return {path for path in found if path.parent == Path(PICTURES) and path.suffix == ".png"}
