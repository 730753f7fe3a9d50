"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cofire.errors import CofireError, ResultError

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
def atomic_path(target: str | Path) -> Iterator[Path]:
    """A path to write to, which takes the target's place when the block ends well.

    The partial file lies in the target's own folder, so that the last step is one rename; it is
    removed when the block raises. A reader sees the old content or the new, never a part.

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
    path = Path(target)
    partial = path.with_name(partial_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
    except OSError as error:
        raise unwritable(path, error) from error
    try:
        with _told(path, partial):
            yield partial
            # Without this a power cut can leave the new name with nothing behind it.
            with partial.open("rb+") as file:
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def atomic_folder(target: str | Path) -> Iterator[Path]:
    """A folder to write to, which becomes the target when the block ends well; as `atomic_path` for files.

    Raises:
        ResultError: It cannot be written, or the target is there by then.
    """
    path = Path(target)
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
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def write_text(target: str | Path, content: str) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    with atomic_path(target) as partial:
        partial.write_text(content, encoding="utf-8")


def partial_name(name: str) -> str:
    """A name for what is to be called `name` once it is whole; it tells which process writes it."""
    return f".{name}.{os.getpid()}-{secrets.token_hex(4)}.partial"


def unwritable(path: Path, error: BaseException) -> ResultError:
    """What is raised where a file cannot be written; it is told by the name that it would have had."""
    path = Path(*(_whole(part) for part in path.parts))
    said = (str(error).splitlines() or [type(error).__name__])[0]
    told = os.strerror(error.errno) if isinstance(error, OSError) and error.errno else said
    if _is_full(error):
        return ResultError(
            f"'{path}' cannot be written: the disk is full ({told})",
            "room for it on that disk, and in your quota",
            "free some room or choose another folder, and start again",
        )
    return ResultError(
        f"'{path}' cannot be written: {told}", "a folder to write to", "choose another folder"
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
