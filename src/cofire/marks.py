"""What an argument can be: the marks for `typing.Annotated`, of flags, choices, words, paths, instances and functions.

`cofire.arguments.validated` and pydantic's models read marks from a signature, and `of` checks a
value that comes another way. Numbers are marked in `cofire.bounds`, tensors in `cofire.tensors`.
"""

from __future__ import annotations

import inspect
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from torch import Tensor

from cofire.errors import CofireError, OptionError, near_matches

_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML, UTF-8 or a line of a table cannot hold."""
_LINES = str.maketrans({"\n": None, "\t": None})
Sizes = dict[str, int]
"""Of the axes that have a name, as far as a call has told them."""


class Refused(ValueError):  # noqa: N818  (never seen by a caller)
    """A value that a mark does not take.

    Args:
        expected: What it takes.
        remedy: What to do; empty for "pass" with the parameter's default or an example.
        given: What is wrong with the value, where that is more than the value itself.
        error: What kind of error it is.
    """

    def __init__(
        self,
        expected: str,
        remedy: str = "",
        given: str = "",
        error: type[CofireError] = OptionError,
    ) -> None:
        super().__init__(expected)
        self.expected, self.remedy, self.given, self.error = expected, remedy, given, error


class Mark:
    """What a value has to be; the classes below say it."""

    @property
    def expected(self) -> str:
        """What it is, in words, for a message."""
        return self._told()

    @property
    def example(self) -> str:
        """A value that fits, as code; empty for none."""
        return self._example()

    def _told(self) -> str:
        raise NotImplementedError

    def _example(self) -> str:
        return ""

    def _take(self, value: Any, sizes: Sizes) -> Any:
        """The value as the function gets it; raises `Refused`."""
        raise NotImplementedError

    def of(self, name: str, value: Any) -> Any:
        """A value that no signature declares: an option in a mapping, say.

        Raises:
            CofireError: Of the kind that the mark says, with the name.

        Example:
            >>> Flag().of("weighted", np.True_)
            True
        """
        try:
            return self._take(value, {})
        except Refused as refused:
            raise refused.error(
                refused.given.replace("{name}", name) or f"{name}={shown(value)}",
                refused.expected,
                refused.remedy
                or (f"pass {name}={self.example}" if self.example else f"pass another {name}"),
            ) from None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: Any, info: core_schema.ValidationInfo[Any]) -> Any:
            return self._take(value, {} if info.context is None else info.context)

        return core_schema.with_info_plain_validator_function(check)


@dataclass(frozen=True)
class Flag(Mark):
    """True or False, of Python or NumPy."""

    def _told(self) -> str:
        return "True or False"

    def _example(self) -> str:
        return "True"

    def _take(self, value: Any, sizes: Sizes) -> bool:
        if not isinstance(value, bool | np.bool_):
            raise Refused(self.expected)
        return bool(value)


@dataclass(frozen=True)
class Choice(Mark):
    """One of a few values."""

    values: tuple[Any, ...]

    def _told(self) -> str:
        if len(self.values) <= 2:
            return " or ".join(map(repr, self.values))
        return f"one of {', '.join(map(repr, self.values))}"

    def _example(self) -> str:
        return repr(self.values[0])

    def _take(self, value: Any, sizes: Sizes) -> Any:
        for choice in self.values:
            if isinstance(value, type(choice)) and value == choice:
                return choice
        words = [choice for choice in self.values if isinstance(choice, str)]
        near = near_matches(value, words, most=1) if isinstance(value, str) and words else ""
        raise Refused(self.expected, f"pass {near}" if near else "")


@dataclass(frozen=True)
class Words(Mark):
    """Text that every file and page can hold: no control characters, no half of a surrogate pair.

    Attributes:
        what: What it is, for the message.
        lines: Whether it may have several lines.
    """

    what: str = "text"
    lines: bool = False

    def _told(self) -> str:
        return f"{self.what} without control characters or broken letters"

    def _take(self, value: Any, sizes: Sizes) -> str:
        if not isinstance(value, str):
            raise Refused("text")
        text = str(value)
        found = _UNWRITABLE.search(text.translate(_LINES) if self.lines else text)
        if found:
            raise Refused(self.expected, f"take {found.group()!r} out")
        return text


CLASS_NAME = Words("a class name")
"""Wherever names of classes come in, from a caller, a file, a folder or a data set: they end in tables and pages."""


@dataclass(frozen=True)
class Place(Mark):
    """A path to a file or folder."""

    def _told(self) -> str:
        return "a path to a file or folder"

    def _take(self, value: Any, sizes: Sizes) -> Path:
        if not isinstance(value, str | os.PathLike):
            raise Refused(self.expected)
        try:
            text = os.fspath(value)
            os.fsencode(text)
        except (TypeError, ValueError, UnicodeError):
            raise Refused("a path that the file system can hold") from None
        if not isinstance(text, str) or "\0" in text or not text:
            raise Refused("a path of at least one letter, without NUL")
        return Path(text)


@dataclass(frozen=True)
class Instance(Mark):
    """An object of a class."""

    kind: type[Any]

    def _told(self) -> str:
        name = self.kind.__name__
        return f"{'an' if name[0] in 'AEIOU' else 'a'} {name}"

    def _take(self, value: Any, sizes: Sizes) -> Any:
        if not isinstance(value, self.kind):
            raise Refused(self.expected, f"pass {self.expected}")
        return value


@dataclass(frozen=True)
class Function(Mark):
    """Something that can be called, and is no class, with so many arguments; None for any."""

    takes: int | None = None

    def _told(self) -> str:
        return "a function" if self.takes is None else f"a function of {self.takes}"

    def _take(self, value: Any, sizes: Sizes) -> Any:
        try:
            fits = callable(value) and not isinstance(value, type)
            if fits and self.takes is not None:
                inspect.signature(value).bind(*[None] * self.takes)
        except TypeError:
            fits = False
        except ValueError:
            pass  # written in C, and does not tell
        if not fits:
            raise Refused(self.expected)
        return value


@dataclass(frozen=True)
class Later(Mark):
    """Anything here: the function checks it by what else it knows."""

    def _told(self) -> str:
        return "what the documentation says"

    def _take(self, value: Any, sizes: Sizes) -> Any:
        return value


def shown(value: Any) -> str:
    """A value in a message: short, on one line, whatever it is.

    Example:
        >>> shown("x" * 100), shown(np.zeros((2, 3)))
        ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…", 'a ndarray (2, 3), float64')
    """
    try:
        if isinstance(value, Tensor | np.ndarray) and value.ndim:
            return f"a {type(value).__name__} {tuple(value.shape)}, {value.dtype}"
        text = " ".join(repr(value).split())
    except Exception:  # somebody's __repr__
        return f"a {type(value).__name__}"
    if len(text) <= 60:
        return text
    return (
        f"{text[:57]}…"
        if isinstance(value, str | bytes | int | float)
        else f"a {type(value).__name__}"
    )
