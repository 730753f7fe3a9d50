"""Files and folders elsewhere, by URLs that fsspec knows: each has a place on this machine that stands for it.

What a URL names is brought to its place before it is read. A file that became whole in a place is
sent to its URL at once, so files arrive there in the order in which they were written here, and
what is removed here is removed there. An object store has no rename and no lock; it takes an object
whole or not at all. The mark of a claimed folder (`cofire.atomic.claimed`) arrives first and is
removed last: a folder without it is finished.
"""

from __future__ import annotations

import atexit
import functools
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from cofire.errors import CofireError, MissingExtraError, ResultError

# A path that was made of a URL has one "/" after its colon.
_URL = re.compile(r"([a-z][a-z0-9+.-]+):/+(.*)", re.DOTALL)
_HERE = ("file", "local")
_UNFINISHED = ".partial"

_same: dict[Path, tuple[int, int, str]] = {}
"""Files of places that are the same at their URL: when they were written, their bytes, and what the store says."""


def is_url(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL of a kind that fsspec knows.

    Example:
        >>> is_url("s3://bucket/a.json"), is_url("imagefolder:/data/pets"), is_url("C:/data")
        (True, False, False)
    """
    found = _URL.match(os.fspath(path))
    if found is None:
        return False
    import fsspec

    return found[1] in fsspec.available_protocols()


def place_of(path: str | os.PathLike[str]) -> Path:
    """The place that stands for a URL, whether anything is there or not; any other path as it is.

    Example:
        >>> place_of("file:///data/a.json"), place_of("a.json")
        (PosixPath('/data/a.json'), PosixPath('a.json'))
    """
    found = _URL.match(os.fspath(path))
    if found is None or not is_url(path):
        return Path(path)
    kind, rest = found[1], found[2].rstrip("/")
    if kind in _HERE:
        return Path("/", rest)
    if ".." in rest.split("/"):
        raise ResultError(f"'{path}'", "a URL without '..'", "write out where it leads")
    return _root().joinpath(kind, rest)


def url_of(place: Path) -> str | None:
    """The URL that a place stands for; None for any other path.

    Example:
        >>> url_of(place_of("memory://a/b.json")), url_of(Path("b.json"))
        ('memory://a/b.json', None)
    """
    if not _root.cache_info().currsize or not place.is_relative_to(_root()):
        return None
    kind, *rest = place.relative_to(_root()).parts or ("",)
    return f"{kind}://{'/'.join(rest)}"


def in_urls(text: str) -> str:
    """Words that name places, with the URLs that these stand for.

    Example:
        >>> in_urls(f"'{place_of('memory://a/b.json')}' is damaged")
        "'memory://a/b.json' is damaged"
    """
    if not _root.cache_info().currsize:
        return text
    return re.sub(rf"{re.escape(str(_root()))}/([a-z0-9+.-]+)/", r"\1://", text)


def local(path: str | os.PathLike[str]) -> Path:
    """A path on this machine with what a URL names, as it is there now; any other path as it is.

    Raises:
        ResultError: Nobody answers, or it is not allowed, or it does not fit on the disk.
        MissingExtraError: The library that fsspec needs for such URLs is not installed.
    """
    place = place_of(path)
    url = url_of(place)
    if url is not None:
        with _reaching(url):
            _fetch(url, place)
    return place


def content_of(url: str, start: int | None = None, end: int | None = None) -> bytes:
    """The bytes of a file elsewhere, or some of them, without a place.

    Raises:
        FileNotFoundError: There is none.
        ResultError: Nobody answers, or it is not allowed.
        MissingExtraError: As `local`.
    """
    with _reaching(url):
        found, path = opened(url)
        content: bytes = found.cat_file(path, start=start, end=end)
        return content


def send(place: Path) -> None:
    """Put a file that is whole at the URL that its place stands for; other paths stay alone.

    Raises:
        OSError: It cannot be written there.
    """
    url = url_of(place)
    if url is None or any(part.endswith(_UNFINISHED) for part in place.parts):
        return
    with _reaching(url, OSError):
        found, path = opened(url)
        written = place.stat()
        found.put_file(str(place), path)
        found.invalidate_cache(found._parent(path))
        _same[place] = (written.st_mtime_ns, written.st_size, _token(found.info(path)))


def settle(folder: Path) -> None:
    """Send what changed in a folder, in the order in which it was written, and remove there what was removed here.

    Raises:
        OSError: It cannot be written there.
    """
    if url_of(folder) is None:
        return
    files = [one for one in folder.rglob("*") if one.is_file() and not one.name.endswith(".lock")]
    for file in sorted(files, key=lambda one: one.stat().st_mtime_ns):
        if _same.get(file, ())[:2] != (file.stat().st_mtime_ns, file.stat().st_size):
            send(file)
    for file in [one for one in _same if one.is_relative_to(folder) and not one.is_file()]:
        del _same[file]
        url = url_of(file) or ""
        with _reaching(url, OSError), suppress(FileNotFoundError):
            found, path = opened(url)
            found.rm_file(path)


def opened(url: str) -> tuple[Any, str]:
    """The file system of a URL, and what it calls the path.

    Raises:
        ImportError: The library that fsspec needs for it is not installed.
    """
    from fsspec.core import url_to_fs

    # Anew in each process and thread: fsspec keeps one for each.
    file_system, path = url_to_fs(url)
    return file_system, path


def files_at(url: str) -> dict[str, dict[str, Any]]:
    """The files at or below a URL by what its file system calls them, with what it tells of each; none is no error.

    Raises:
        ResultError: Nobody answers, or it is not allowed.
        MissingExtraError: As `local`.
    """
    with _reaching(url):
        found, path = opened(url)
        found.invalidate_cache()
        with suppress(FileNotFoundError):
            told = {path: found.info(path)} if found.isfile(path) else found.find(path, detail=True)
            return {name: one for name, one in told.items() if not name.endswith("/")}
        return {}


@functools.cache
def _root() -> Path:
    root = Path(tempfile.mkdtemp(prefix="cofire-")).resolve()
    atexit.register(shutil.rmtree, root, ignore_errors=True)
    return root


def _fetch(url: str, place: Path) -> None:
    found, path = opened(url)
    wanted: dict[Path, tuple[str, int, str]] = {}
    for name, about in files_at(url).items():
        below = name[len(path) :].strip("/")
        if ".." not in below.split("/"):
            told = (name, int(about.get("size") or 0), _token(about))
            wanted[place / below if below else place] = told
    for file in [one for one in _same if one.is_relative_to(place) and one not in wanted]:
        del _same[file]
        file.unlink(missing_ok=True)
    new = {
        file: told
        for file, told in wanted.items()
        if not file.is_file() or _same.get(file, ("", "", ""))[2] != told[2]
    }
    if (size := sum(told[1] for told in new.values())) > shutil.disk_usage(_root()).free:
        raise ResultError(
            f"'{url}', {size:,} bytes",
            f"room for them in '{_root().parent}'",
            "name a part of it, or another folder for temporary files with TMPDIR",
        )
    for file in new:
        file.parent.mkdir(parents=True, exist_ok=True)
    if new:
        found.get([told[0] for told in new.values()], [str(file) for file in new])
    for file, (_, _, token) in new.items():
        _same[file] = (file.stat().st_mtime_ns, file.stat().st_size, token)


def _token(about: dict[str, Any]) -> str:
    """What tells one content of a file from another, as far as a store says it."""
    known = ("ETag", "etag", "md5Hash", "checksum", "mtime", "LastModified", "created", "size")
    return repr([about.get(name) for name in known])


@contextmanager
def _reaching(url: str, kind: type[Exception] = ResultError) -> Iterator[None]:
    """Turns what fsspec's libraries say into one error that names the URL."""
    try:
        yield
    except (CofireError, FileNotFoundError):
        raise
    except ImportError as error:
        scheme = url.partition(":")[0]
        remedy = "pip install 'cofire[cloud]'" if scheme in ("s3", "s3a") else str(error)
        raise MissingExtraError(
            f"'{url}': {error}", f"what fsspec needs for {scheme}://", remedy
        ) from error
    except Exception as error:
        said = (str(error).splitlines() or [""])[0] or type(error).__name__
        if kind is ResultError:
            raise ResultError(
                f"'{url}' cannot be reached: {said}",
                "a URL that answers, and rights to it",
                "check the address and the credentials that fsspec's library for it reads",
            ) from error
        raise kind(said) from error
