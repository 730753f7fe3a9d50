"""A folder of results: whose it is, and that one process at a time writes there.

The first thing a run writes is what claims its folder, so that one that was killed at any moment
finds it again. That file and the lock are removed when the run has ended; what tells a whole result
are its own files.
"""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from cofire.atomic import sweep, unwritable, write_text
from cofire.errors import OptionError, ResultError
from cofire.reading import read_json

_MARK = ".cofire.json"
_MARK_BYTES = 1 << 12
_LOCK = ".cofire.lock"
_STUDY = "study.json"
_held: dict[Path, int] = {}
# What file systems without locks answer; some of those of clusters are.
_NO_LOCKS = {errno.ENOSYS, errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP}


@dataclass(frozen=True)
class Claim:
    """A folder that a run may write to.

    Attributes:
        folder: Where it is, links followed.
        earlier: Whether a run of the same kind, finished or not, wrote there before.
    """

    folder: Path
    earlier: bool


@contextmanager
def claimed(
    folder: str | Path, kind: str, results: Sequence[str], *, alone: bool = True
) -> Iterator[Claim]:
    """A folder for one run, locked until the block ends, with what killed runs left there swept.

    A claim within a claim of the same folder is the same one. If the block raises before anything
    was written, the folder is as it was.

    Args:
        folder: Which; it is made if need be.
        kind: Of results, for messages, such as "a summary".
        results: Names of files that tell that a result of this kind is there.
        alone: Whether a folder of other files or results is refused; if not, they stay beside those
            of this run.

    Raises:
        OptionError: It holds other files or results of another kind, or cannot be written to.
        ResultError: Another run writes there, or the disk is full.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp())
        >>> with claimed(place / "out", "a summary", ["summary.safetensors"]) as claim:
        ...     _ = (place / "out" / "layers.parquet").write_text("")
        >>> claim.earlier, [path.name for path in (place / "out").iterdir()]
        (False, ['layers.parquet'])
        >>> with claimed(place / "out", "a summary", ["summary.safetensors"]):
        ...     pass
        Traceback (most recent call last):
        cofire.errors.OptionError: ...out' holds other files. Expected: a new or empty folder, or one of a summary...
    """
    _check_place(Path(folder))
    try:
        place = Path(folder).resolve()
        earlier = _is_of(place, folder, kind, results, alone)
        within = _held.get(place) == threading.get_ident()
        made = [] if within else _make(place)
    # Links in a circle are a RuntimeError to Python 3.12 and earlier.
    except (OSError, RuntimeError) as error:
        raise unwritable(Path(folder), error) from error
    if within:
        yield Claim(place, earlier)
        return
    with _locked(place, folder):
        before = _names_in(place)
        try:
            earlier = _is_of(place, folder, kind, results, alone)
            write_text(place / _MARK, json.dumps({"kind": kind}) + "\n")
            sweep(place)
            _held[place] = threading.get_ident()
            yield Claim(place, earlier)
        except BaseException:
            # What was begun stays claimed.
            if _MARK not in before and _names_in(place) <= before | {_MARK}:
                (place / _MARK).unlink(missing_ok=True)
            raise
        else:
            (place / _MARK).unlink(missing_ok=True)
        finally:
            _held.pop(place, None)
            # Still under the lock: who opened it meanwhile is told that it is gone.
            with suppress(OSError):
                (place / _LOCK).unlink()
            for parent in made:
                with suppress(OSError):
                    parent.rmdir()


@contextmanager
def _locked(place: Path, folder: str | Path) -> Iterator[None]:
    # The system lets go of the lock of a process that was killed.
    lock = FileLock(place / _LOCK)
    try:
        lock.acquire(timeout=0)
    except Timeout as error:
        raise ResultError(
            f"'{folder}', where another run of cofire writes",
            "a folder of its own for each run",
            "wait until the other has ended, or choose another folder",
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise unwritable(Path(folder), error) from error
    except NotImplementedError:
        pass  # older filelock says so of a file system without locks
    try:
        yield
    finally:
        lock.release()


def _check_place(folder: Path) -> None:
    """Refuse a place where no folder can be, before anything is made there."""
    nearest = folder
    try:
        while not nearest.exists():
            nearest = nearest.parent
    except (OSError, RuntimeError) as error:
        raise unwritable(folder, error) from error
    if not nearest.is_dir():
        raise OptionError(f"'{nearest}' is a file", "a folder", "choose another folder with --out")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise OptionError(
            f"'{nearest}', where results cannot be written",
            "a folder to write to",
            "choose another with --out",
        )


def _make(place: Path) -> list[Path]:
    """Make a folder and those above it; those that were made, the deepest first."""
    made: list[Path] = []
    missing = [place]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    try:
        for folder in reversed(missing):
            if not folder.is_dir():
                folder.mkdir()
                made.insert(0, folder)
    except FileExistsError:
        pass  # another process made it
    except OSError:
        for folder in made:
            with suppress(OSError):
                folder.rmdir()
        raise
    place.mkdir(parents=True, exist_ok=True)
    return made


def _is_of(place: Path, folder: str | Path, kind: str, results: Sequence[str], alone: bool) -> bool:
    """Whether results of this kind, whole or begun, lie in a folder.

    Raises:
        OptionError: It holds something else, which must not be there.
    """
    if not place.is_dir():
        return False
    held = {name for name in _names_in(place) if not name.endswith(".partial")} - {_MARK, _LOCK}
    if alone and _STUDY in held and _STUDY not in results:
        raise OptionError(
            f"'{folder}' holds a study", "a folder of its own", "choose another folder with --out"
        )
    begun = _kind_in(place)
    if begun == kind or any((place / name).exists() for name in results):
        return True
    if alone and held:
        told = f"{begun} that was begun" if begun else "other files"
        raise OptionError(
            f"'{folder}' holds {told}",
            f"a new or empty folder, or one of {kind}",
            "choose another folder with --out",
        )
    return False


def _names_in(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def _kind_in(place: Path) -> str | None:
    """What kind of run claimed a folder and did not end."""
    try:
        found = read_json(place / _MARK, _MARK_BYTES)["kind"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) and len(found) < 100 else None
