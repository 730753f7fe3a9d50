"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cofire.errors import ResultError

__all__ = ["atomic_path", "sweep", "write_text"]


_STALE = 3600


@contextmanager
def atomic_path(target: str | Path) -> Iterator[Path]:
    """A path to write to, which takes the target's place when the block ends well.

    The partial file lies in the target's own folder, so that the last step is one rename; it is
    removed when the block raises. A reader sees the old content or the new, never a part.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> with atomic_path(folder / "a.txt") as partial:
        ...     _ = partial.write_text("whole")
        >>> (folder / "a.txt").read_text(), len(list(folder.iterdir()))
        ('whole', 1)
    """
    path = Path(target)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".partial")
    except OSError as error:
        raise ResultError(
            f"'{path}' cannot be written: {error}", "a folder to write to", "choose another folder"
        ) from error
    os.close(handle)
    partial = Path(name)
    try:
        yield partial
        # mkstemp makes files that only their owner reads; the result gets ordinary rights.
        mask = os.umask(0)
        os.umask(mask)
        partial.chmod(0o666 & ~mask)
        # Without this a power cut can leave the new name with nothing behind it.
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_text(target: str | Path, content: str) -> None:
    """Write a text file (UTF-8) whole or not at all."""
    with atomic_path(target) as partial:
        partial.write_text(content, encoding="utf-8")


def sweep(folder: Path) -> None:
    """Remove what killed processes left of files that never came to be, in a folder and below it.

    Only what has lain for an hour: another process may be writing.
    """
    for path in folder.rglob(".*.partial"):
        if path.is_file() and time.time() - path.stat().st_mtime > _STALE:
            path.unlink(missing_ok=True)
