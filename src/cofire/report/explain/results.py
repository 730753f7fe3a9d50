"""The folder of explanations: all files of a run take their places together, and none of an earlier run stays."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["MARK", "PAGE", "PICTURES", "replaced"]

MARK = "explanations.json"
PAGE = "explain.html"
PICTURES = "pictures"


@contextmanager
def replaced(out: Path) -> Iterator[Path]:
    """A folder to write to, whose files go to `out` when the block ends well.

    Nothing is seen in `out` before that, nor if the block raises. Pictures of an earlier run that its
    `explanations.json` lists are removed; other files stay.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "out"
        >>> with replaced(place) as staged:
        ...     _ = (staged / MARK).write_text("{}")
        ...     early = place.exists()
        >>> early, [path.name for path in place.iterdir()], len(list(place.parent.iterdir()))
        (False, ['explanations.json'], 1)
    """
    nearest = out.absolute().parent
    while not nearest.exists():
        nearest = nearest.parent
    staged = Path(tempfile.mkdtemp(dir=nearest, prefix=f".{out.name}.", suffix=".partial"))
    try:
        yield staged
        written = sorted(path.relative_to(staged) for path in staged.rglob("*") if path.is_file())
        # What lists the others comes last.
        written.sort(key=lambda path: path.name == MARK)
        earlier = _listed(out / MARK)
        for path in written:
            (out / path).parent.mkdir(parents=True, exist_ok=True)
            (staged / path).replace(out / path)
        for path in earlier - set(written):
            (out / path).unlink(missing_ok=True)
    finally:
        shutil.rmtree(staged, ignore_errors=True)


def _listed(record: Path) -> set[Path]:
    """The pictures that a record lists, those in its own folder of pictures only."""
    try:
        found = {Path(image["picture"]) for image in json.loads(record.read_text(encoding="utf-8"))["images"]}
    except (OSError, ValueError, KeyError, TypeError):
        return set()
    return {path for path in found if path.parent == Path(PICTURES) and path.suffix == ".png"}
