"""Files of anybody: whatever is wrong with one is an error that names it, and none costs more than it should.

`reader` is the guard that every reader runs in. `read_text`, `read_json` and `read_toml` bound what
a file may ask for: bytes, depth, digits.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import re
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar, cast

from cofire.errors import CofireError
from cofire.remote import in_urls, is_url, local

Reader = TypeVar("Reader", bound=Callable[..., Any])

_JSON_BYTES = 1 << 28
"""256 MiB: results and lists of names take a few; annotations are read by `cofire.images`."""
_TOML_BYTES = 1 << 16
"""64 KiB: some twenty options, each on its line. Reading time grows with the square."""
_DOTTED = re.compile(r"^[ \t]*\[{0,2}[ \t]*(?:[^\s.=\]]++[ \t]*+\.[ \t]*+){8}", re.MULTILINE)
"""A key within a key, nine deep: options lie side by side."""


@contextmanager
def reading(
    path: Any,
    kind: type[CofireError],
    expected: str,
    remedy: str = "check the path, or make it again",
) -> Iterator[None]:
    """Turn any fault of a file or folder into one error that names it.

    Errors of cofire pass as they are, and so do Ctrl-C and an order to exit.

    Args:
        path: What is read.
        kind: Of error.
        expected: What it should be.
        remedy: What to do.
    """
    try:
        yield
    except CofireError:
        raise
    except BaseException as error:
        # A library in Rust that fails within itself raises what is no Exception.
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise
        raise kind(f"'{_named(path)}': {in_urls(_said(error))}", expected, remedy) from error


def reader(kind: type[CofireError], expected: str, remedy: str) -> Callable[[Reader], Reader]:
    """The same for a function, or below `classmethod` for a method, that takes the path first; a URL is brought here.

    Example:
        >>> from cofire.errors import ResultError
        >>> @reader(ResultError, "a list", "make it again")
        ... def read_list(path: str) -> list[int]:
        ...     return json.loads("")
        >>> read_list("a.json")
        Traceback (most recent call last):
        cofire.errors.ResultError: 'a.json': Expecting value: line 1 column 1 (char 0). Expected: a list. To...
    """

    def guard(function: Reader) -> Reader:
        at = 1 if next(iter(inspect.signature(function).parameters)) == "cls" else 0

        @functools.wraps(function)
        def read(*args: Any, **kwargs: Any) -> Any:
            path = args[at] if len(args) > at else next(iter(kwargs.values()), "")
            with reading(path, kind, expected, remedy):
                if isinstance(path, str | os.PathLike) and is_url(os.fsdecode(path)):
                    place = local(os.fsdecode(path))
                    args = tuple(place if one is path else one for one in args)
                    kwargs = {name: place if one is path else one for name, one in kwargs.items()}
                return function(*args, **kwargs)

        return cast("Reader", read)

    return guard


def named(name: str | os.PathLike[str]) -> str:
    r"""A name, or words with names in them, as files of text can hold it: the system's names may be any bytes.

    Example:
        >>> named(os.fsdecode(b"caf\xe9.png")), named("café.png")
        ('caf\\xe9.png', 'café.png')
    """
    text = in_urls(os.fspath(name))
    try:
        return os.fsencode(text).decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:
        # Half of a pair of letters, which no file is named, though a list of files can say so.
        return text.encode("utf-8", "backslashreplace").decode()


def _named(path: Any) -> str:
    text = str(path)
    return named(text if len(text) < 300 else f"{text[:300]}…")


def _said(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "nested too deep"
    if isinstance(error, MemoryError):
        return "asks for more memory than there is"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = (lines or [""])[0][:200].rstrip(". ")
    if isinstance(error, KeyError):
        return f"{said} is missing"
    return said or type(error).__name__


def read_text(path: str | Path, most: int = _JSON_BYTES, encoding: str = "utf-8") -> str:
    """The text of a file of at most so many bytes.

    Raises:
        OSError: It is no file, or cannot be read.
        ValueError: It is longer, or is no text of this encoding.

    Example:
        >>> import tempfile
        >>> place = Path(tempfile.mkdtemp()) / "a.txt"
        >>> _ = place.write_text("twelve bytes")
        >>> read_text(place, most=10)
        Traceback (most recent call last):
        ValueError: more than 10 bytes
    """
    with Path(path).open("rb") as file:
        content = file.read(most + 1)  # also of what has no size of its own, a pipe say
    if len(content) > most:
        raise ValueError(f"more than {most} bytes")
    return content.decode(encoding)


def read_json(path: str | Path, most: int = _JSON_BYTES) -> Any:
    """What a file of JSON holds; NaN and infinity, which JSON does not have, are refused.

    Raises:
        OSError: It is no file, or cannot be read.
        ValueError: It is too long, no JSON, or has a number that is none.
        RecursionError: It is nested too deep.
    """
    return json.loads(read_text(path, most), parse_constant=_refuse_constant)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name}, which is no number in JSON")


def read_toml(path: str | Path) -> dict[str, Any]:
    """What a file of TOML holds.

    Raises:
        OSError: It is no file, or cannot be read.
        ValueError: It is too long, nested too deep, or no TOML.
        RecursionError: It is nested too deep.
    """
    text = read_text(path, _TOML_BYTES)
    if _DOTTED.search(text):
        raise ValueError("a key within a key, nine deep")
    return tomllib.loads(text)
