"""What an argument can be: numbers within bounds, choices, words, places, instances.

Each is a mark for `typing.Annotated`: `cofire.arguments.validated` and pydantic's models read it from a signature, and
`of` checks a value that comes another way.
"""

from __future__ import annotations

import math
import operator
import os
import re
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from torch import Tensor

from cofire.errors import CofireError, OptionError, near_matches
from cofire.limits import LARGEST

__all__ = [
    "CLASS_NAME",
    "Choice",
    "Flag",
    "Instance",
    "Later",
    "Mark",
    "Number",
    "Place",
    "Refused",
    "Sizes",
    "Whole",
    "Words",
    "check_above_zero",
    "check_from_zero",
    "check_threshold",
    "check_whole",
    "shown",
]

INT64 = 2**63 - 1
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
        self, expected: str, remedy: str = "", given: str = "", error: type[CofireError] = OptionError
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
            >>> Whole(1, 4096).of("bins", 100)
            100
        """
        try:
            return self._take(value, {})
        except Refused as refused:
            raise refused.error(
                refused.given.replace("{name}", name) or f"{name}={shown(value)}",
                refused.expected,
                refused.remedy or (f"pass {name}={self.example}" if self.example else f"pass another {name}"),
            ) from None

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        def check(value: Any, info: core_schema.ValidationInfo[Any]) -> Any:
            return self._take(value, {} if info.context is None else info.context)

        return core_schema.with_info_plain_validator_function(check)


@dataclass(frozen=True)
class Whole(Mark):
    """A whole number from `least` to `most`, of Python, NumPy or torch; True is none.

    Attributes:
        least: The smallest.
        most: The largest: above it a count is a mistake, or takes more memory or time than there is.
    """

    least: int = -INT64 - 1
    most: int = INT64

    def _told(self) -> str:
        if self.most < INT64:
            return f"a whole number from {self.least} to {self.most}"
        return f"a whole number from {self.least} up" if self.least > -INT64 else "a whole number"

    def _example(self) -> str:
        return str(min(max(self.least, 100), self.most) if self.least else 0)

    def _take(self, value: Any, sizes: Sizes) -> int:
        try:
            number = operator.index(value)
        except (TypeError, RuntimeError, ValueError):
            raise Refused(self.expected) from None
        flag = isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) in (torch.bool, np.dtype(bool))
        if flag or not self.least <= number <= self.most or getattr(value, "ndim", 0) != 0:
            raise Refused(self.expected)
        return number


@dataclass(frozen=True)
class Number(Mark):
    """A finite number within bounds that may or may not belong to it, of Python, NumPy or torch; True is none."""

    least: float | None = None
    above: float | None = None
    most: float | None = None
    below: float | None = None
    instead: str = ""

    def _told(self) -> str:
        bounds = [("from", self.least), ("above", self.above), ("up to", self.most), ("below", self.below)]
        told = [f"{word} {bound:g}" for word, bound in bounds if bound is not None]
        if self.least is not None and self.most is not None:
            told = [f"from {self.least:g} to {self.most:g}"]
        elif self.least is not None and len(told) == 1:
            told = [f"from {self.least:g} up"]
        return " ".join(["a finite number", " and ".join(told)]).strip()

    def _example(self) -> str:
        if self.instead:
            return self.instead
        for guess in (0.5, 1.0, 0.0):
            if self._fits(guess):
                return str(guess)
        return repr(self.most if self.most is not None else self.least)

    def _fits(self, number: float) -> bool:
        return (
            math.isfinite(number)
            and (self.least is None or number >= self.least)
            and (self.above is None or number > self.above)
            and (self.most is None or number <= self.most)
            and (self.below is None or number < self.below)
        )

    def _take(self, value: Any, sizes: Sizes) -> float:
        if isinstance(value, Tensor | np.ndarray) and value.ndim == 0:
            value = _item(value)
        if isinstance(value, bool | np.bool_) or not isinstance(value, Real):
            raise Refused(self.expected)
        try:
            number = float(value)
        except (OverflowError, ValueError):
            raise Refused(self.expected) from None
        if not self._fits(number):
            raise Refused(self.expected)
        return number


def _item(value: Any) -> Any:
    try:
        return value.item()
    except (RuntimeError, NotImplementedError, ValueError):
        return None


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
        if len(self.values) == 2:
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
class Later(Mark):
    """Anything here: the function checks it by what else it knows."""

    def _told(self) -> str:
        return "what the documentation says"

    def _take(self, value: Any, sizes: Sizes) -> Any:
        return value


def shown(value: Any) -> str:
    """A value in a message: short, on one line, whatever it is.

    Example:
        >>> shown("x" * 100), shown(torch.zeros(2, 3))
        ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…", 'a Tensor (2, 3), torch.float32')
    """
    try:
        if isinstance(value, Tensor | np.ndarray) and value.ndim:
            return f"a {type(value).__name__} {tuple(value.shape)}, {value.dtype}"
        text = " ".join(repr(value).split())
    except Exception:  # somebody's __repr__
        return f"a {type(value).__name__}"
    if len(text) <= 60:
        return text
    return f"{text[:57]}…" if isinstance(value, str | bytes | int | float) else f"a {type(value).__name__}"


def check_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A whole number within bounds.

    Raises:
        OptionError: It is none, or out of bounds.

    Example:
        >>> check_whole("bins", 100)
        100
    """
    largest = LARGEST.get(name, INT64)
    number: int = Whole(least, max(least, largest) if most is None else min(most, largest)).of(name, value)
    return number


def check_threshold(value: Any) -> float:
    """A threshold above which a neuron is active.

    Raises:
        OptionError: It is no finite number.

    Example:
        >>> check_threshold(0)
        0.0
    """
    number: float = Number(instead="0.0").of("threshold", value)
    return number


def check_above_zero(name: str, value: Any) -> float:
    """A finite number above zero.

    Raises:
        OptionError: It is none.

    Example:
        >>> check_above_zero("resolution", 2)
        2.0
    """
    number: float = Number(above=0.0, instead="1.0").of(name, value)
    return number


def check_from_zero(name: str, value: Any) -> float:
    """A finite number from zero up.

    Raises:
        OptionError: It is none.

    Example:
        >>> check_from_zero("margin", 0)
        0.0
    """
    number: float = Number(least=0.0, instead="0.0").of(name, value)
    return number
