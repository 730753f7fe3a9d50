"""Files and folders that appear whole or not at all, and folders of results that one run at a time writes to."""

from __future__ import annotations

import errno
import functools
import json
import os
import re
import secrets
import shutil
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout

from cofire.errors import CofireError, OptionError, ResultError
from cofire.reading import read_json
from cofire.remote import in_urls, local, place_of, send, settle

_STALE = 3600


_BEGUN = time.time()


_OWNER = re.compile(r"\.(\d+)-\w{8}\.partial$")


_FULL = {errno.ENOSPC, errno.EFBIG, getattr(errno, "EDQUOT", errno.ENOSPC)}


# Arrow, safetensors and torch write files themselves, and tell what went wrong in words.
_FULL_TOLD = re.compile(
    r"(?i)no space left|file too large|quota exceeded|PytorchStreamWriter failed|iostream error|unexpected pos \d|"
    r"\b(?:errno|os error) (?:27|28|122)\b"
)


@contextmanager
def atomic_path(target: str | Path, mode: int = 0o666) -> Iterator[Path]:
    """A path to write to, which takes the target's place when the block ends well.

    The partial file lies in the target's own folder, so that the last step is one rename; it is
    removed when the block raises. A reader sees the old content or the new, never a part. The file
    of a URL is put there whole, once it is written here (see `cofire.remote`).

    Args:
        target: Where the file is to be.
        mode: Who may read it, less what the process takes from all files (umask).

    Raises:
        ResultError: The file cannot be written, or the disk is full.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as partial:
        ...     _ = partial.write_text("whole")
        >>> (folder / "a.txt").read_text(), len(list(folder.iterdir()))
        ('whole', 1)
    """
    path = place_of(target)
    partial = path.with_name(partial_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for left in _left_in(path.parent.absolute()).pop(path.name, []):
            left.unlink(missing_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, mode))
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        with _told(path, partial):
            yield partial
            # Without this a power cut can leave the new name with nothing behind it.
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
            send(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """A folder to write to, which becomes the target when the block ends well; as `atomic_path` for files.

    Raises:
        ResultError: It cannot be written, or the target is there by then.
    """
    path = place_of(target)
    partial = path.with_name(partial_name(path.name))
    try:
        with _told(path, partial):
            partial.mkdir(parents=True)
            yield partial
            try:
                partial.replace(path)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                raise ResultError(
                    f"'{path}', which was not there when it was begun",
                    "one run in a folder at a time",
                    "wait until the other run has ended, or choose another folder",
                ) from error
            settle(path)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(target: str | Path, content: str, mode: int = 0o666) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    with atomic_path(target, mode) as partial:
        partial.write_text(content, encoding="utf-8")


def partial_name(name: str) -> str:
    """A name for what is to be called `name` once it is whole; it tells which process writes it."""
    return f".{name}.{os.getpid()}-{secrets.token_hex(4)}.partial"


def unwritable(path: Path, error: BaseException) -> ResultError:
    """What is raised where a file cannot be written; it is told by the name that it would have had."""
    path = Path(*(_whole(part) for part in path.parts))
    name = in_urls(str(path))
    said = (str(error).splitlines() or [type(error).__name__])[0]
    told = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else said
    if _is_full(error):
        return ResultError(
            f"'{name}' cannot be written: the disk is full ({told})",
            "room for it on that disk, and in your quota",
            "free some room or choose another folder, and start again",
        )
    return ResultError(
        f"'{name}' cannot be written: {told}", "a folder to write to", "choose another folder"
    )


def _whole(part: str) -> str:
    owner = _OWNER.search(part)
    return part if owner is None else part[1 : owner.start()]


def _is_full(error: BaseException) -> bool:
    if isinstance(error, OSError) and error.errno in _FULL:
        return True
    told = isinstance(error, (OSError, RuntimeError)) or type(error).__name__ == "SafetensorError"
    return told and _FULL_TOLD.search(str(error)) is not None


@contextmanager
def _told(path: Path, partial: Path) -> Iterator[None]:
    """Turns what the system says while a file is written into an error that names the file."""
    try:
        yield
    except CofireError:
        raise
    except Exception as error:
        # Of other files, which are read meanwhile, nothing is said here.
        own = isinstance(error, OSError) and str(error.filename or partial).startswith(str(partial))
        if not own and not _is_full(error):
            raise
        raise unwritable(path, error) from error


def sweep(folder: Path) -> None:
    """Remove what killed processes left of files and folders that never came to be, in a folder and below it.

    A process that is still there may be writing; of others, and of names that do not tell, only
    what has lain for an hour.
    """
    for place, folders, files in os.walk(folder):
        for name in (*folders, *files):
            if name.startswith(".") and name.endswith(".partial") and _is_left(Path(place, name)):
                _remove(Path(place, name))
        folders[:] = [name for name in folders if not name.endswith(".partial")]


@functools.cache
def _left_in(folder: Path) -> dict[str, list[Path]]:
    """What killed processes left of files in a folder that nobody claims, by the files' names; looked up once."""
    found: dict[str, list[Path]] = {}
    for path in folder.glob(".*.partial"):
        owner = _OWNER.search(path.name)
        if owner is not None and not path.is_dir() and not _is_alive(int(owner[1])):
            found.setdefault(_whole(path.name), []).append(path)
    return found


def _is_left(path: Path) -> bool:
    owner = _OWNER.search(path.name)
    if owner is not None and not _is_alive(int(owner[1])):
        return True
    try:
        written = path.lstat().st_mtime
    except OSError:
        return False
    # In a container every run has the same number: what is older than this process was an earlier
    # one's.
    begun_before = owner is not None and int(owner[1]) == os.getpid() and written < _BEGUN
    return begun_before or time.time() - written > _STALE


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        return True
    return True


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


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
    folder = local(folder)
    _check_place(folder)
    try:
        place = folder.resolve()
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
            write_text(place / _MARK, json.dumps({"kind": kind, "by": _by()}) + "\n")
            sweep(place)
            _held[place] = threading.get_ident()
            yield Claim(place, earlier)
        except BaseException:
            # What was begun stays claimed.
            if _MARK not in before and _names_in(place) <= before | {_MARK}:
                (place / _MARK).unlink(missing_ok=True)
                with suppress(OSError):
                    settle(place)
            raise
        else:
            (place / _MARK).unlink(missing_ok=True)
            with _told(place, place):
                settle(place)
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
        by = _noted_in(place, "by")
        raise ResultError(
            f"'{folder}', where another run of cofire writes" + (f": {by}" if by else ""),
            "a folder of its own for each run",
            "wait until the other has ended, or end it, or choose another folder",
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
    begun = _noted_in(place, "kind")
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


def unfinished(folder: Path) -> bool:
    """Whether a run was begun in a folder and has not ended."""
    return (folder / _MARK).exists()


def _names_in(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


def _by() -> str:
    """This process, for somebody who wants to know what holds a folder."""
    begun = datetime.now().astimezone().isoformat(" ", "seconds")
    return f"process {os.getpid()} on {socket.gethostname()}, since {begun}"


def _noted_in(place: Path, name: str) -> str | None:
    """What the run noted that claimed a folder and did not end: its `kind` of results, and who it is (`by`)."""
    try:
        found = read_json(place / _MARK, _MARK_BYTES)[name]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return None
    return found if isinstance(found, str) and len(found) < 400 and found.isprintable() else None
