"""What a value can be, read from its annotation: one way for arguments of functions and fields of models.

Types of Python mean what they say: `int` a whole number (of NumPy and torch too, True is none),
`float` a finite one, `Literal` a choice, `str` text that a file can hold, `str | Path` a path, a
class an instance of it. Bounds are pydantic's, `Annotated[int, Field(ge=1)]` or `PositiveInt`; the
upper bound of a count is told by its name (`LARGEST`). `Annotated` with a `Mark` says anything else.
"""

from __future__ import annotations

import inspect
import math
import operator
import os
import re
import types
from collections import abc
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import GetCoreSchemaHandler
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, core_schema

from cofire.errors import CofireError, OptionError, near_matches
from cofire.remote import local

_UNWRITABLE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")
"""What XML, UTF-8 or a line of a table cannot hold."""
_LINES = str.maketrans({"\n": None, "\t": None})
_INT64 = 2**63
_BOUNDS = ("ge", "gt", "le", "lt", "allow_inf_nan")
Sizes = dict[str, int]
"""Of the axes that have a name, as far as a call has told them."""

LARGEST = {
    # What torch's generator takes.
    "seed": _INT64 - 1,
    # Resamples, shuffles, pulls: no interval is narrower for more; a table of each is kept.
    "draws": 10**6,
    "flips": 10**6,
    "repeats": 10**4,
    "runs": 10**4,
    "trials": 10**7,
    "arms": 10**5,
    # Passes over something; each takes milliseconds at least.
    "iterations": 10**6,
    "steps": 10**5,
    "stages": 10**5,
    "epochs": 10**6,
    "checkpoints": 10**5,
    # What a layer, a batch and a class cost memory for.
    "bins": 1 << 20,
    "batch_size": 1 << 20,
    "at_once": 1 << 20,
    "classes": 10**6,
    "top": 10**7,
    "inputs": 1 << 26,
    "hidden": 1 << 24,
    "shape": 1 << 20,
    "samples": 10**9,
    "images": 10**9,
    "limit": 10**9,
    "tuning_images": 10**9,
    "cases": 10**6,
    "explain": 10**6,
    "null_graphs": 10**4,
    "max_bytes": _INT64 - 1,
    # Shares of a side or of the diagonal: all is blurred away, all points are near.
    "sigma": 1.0,
    "radius": 10.0,
}
"""The most that a number of this name can be, wherever it is asked for: above it is a mistake or takes hours."""
_FROM_ONE = {
    *("arms", "at_once", "batch_size", "bins", "checkpoints", "draws", "epochs", "flips"),
    *("max_bytes", "repeats", "runs", "stages", "steps", "top", "trials"),
}
"""Counts of which there is one at least; others can be none at all."""


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


@dataclass(frozen=True)
class Mark:
    """What a value has to be.

    Attributes:
        expected: What it is, in words, for a message.
        check: Gives the value as the function gets it; any `TypeError`, `ValueError` or
            `OverflowError` refuses it.
        example: A value that fits, as code; empty for none.
        choices: All values that fit, where they are few.
    """

    expected: str
    check: Callable[[Any], Any]
    example: str = ""
    choices: tuple[Any, ...] = ()

    def _take(self, value: Any, sizes: Sizes) -> Any:
        """The value as the function gets it; raises `Refused`."""
        try:
            return self.check(value)
        except Refused:
            raise
        except (TypeError, ValueError, OverflowError, RuntimeError):
            raise Refused(self.expected) from None

    def of(self, name: str, value: Any) -> Any:
        """A value that no signature declares: an option in a mapping, say.

        Raises:
            CofireError: Of the kind that the mark says, with the name.

        Example:
            >>> mark_of(bool).of("weighted", True)
            True
        """
        try:
            return self._take(value, {})
        except Refused as refused:
            raise refused.error(
                refused.given.replace("{name}", name) or f"{name}={shown(value)}",
                refused.expected,
                refused.remedy.replace("{name}", name)
                or (f"pass {name}={self.example}" if self.example else f"pass another {name}"),
            ) from None

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        def check(value: Any, info: core_schema.ValidationInfo[Any]) -> Any:
            return self._take(value, {} if info.context is None else info.context)

        return core_schema.with_info_plain_validator_function(check)


def _flag(value: Any) -> bool:
    if not _is_flag(value) or getattr(value, "ndim", None):
        raise TypeError
    return bool(value)


def _is_flag(value: Any) -> bool:
    """Of Python, NumPy or torch."""
    return isinstance(value, bool) or str(getattr(value, "dtype", "")) in ("bool", "torch.bool")


def _text(value: Any, lines: bool = False) -> str:
    if not isinstance(value, str):
        raise Refused("text")
    found = _UNWRITABLE.search(value.translate(_LINES) if lines else value)
    if found:
        raise Refused(_writable("text"), f"take {found.group()!r} out")
    return str(value)


def _writable(what: str) -> str:
    return f"{what} without control characters or broken letters"


def _path(value: Any) -> Path:
    if not isinstance(value, str | os.PathLike):
        raise TypeError
    text = os.fspath(value)
    os.fsencode(text)
    if not isinstance(text, str) or "\0" in text or not text:
        raise Refused("a path of at least one letter, without NUL")
    return local(text)


CLASS_NAME = Mark(_writable("a class name"), _text)
"""Wherever names of classes come in, from a caller, a file, a folder or a data set: they end in tables and pages."""
LATER = Mark("what the documentation says", lambda value: value)
"""Anything here: the function checks it by what else it knows."""
_PATH = Mark("a path that the file system can hold", _path)
_PLAIN = {
    bool: Mark("True or False", _flag, "True"),
    str: Mark(_writable("text"), _text),
    Path: _PATH,
}


def _number(kind: type[Any], name: str, bounds: dict[str, Any]) -> Mark:
    """A whole or a finite number within pydantic's bounds and those of its name."""
    low, above, high, below = (bounds.get(key) for key in _BOUNDS[:4])
    unbounded = bool(bounds.get("allow_inf_nan"))
    if kind is int:
        low = above + 1 if above is not None else low
        high = below - 1 if below is not None else high
        above = below = None
    if name in LARGEST:
        low = int(name in _FROM_ONE) if low is None and kind is int else low
        high = LARGEST[name] if high is None else min(high, LARGEST[name])

    def take(value: Any) -> Any:
        if _is_flag(value) or getattr(value, "ndim", None):
            raise TypeError
        if kind is int:
            number: Any = operator.index(value)
            if not -_INT64 <= number < _INT64:
                raise ValueError
        else:
            value = value.item() if hasattr(value, "item") else value
            if not isinstance(value, Real):
                raise TypeError
            number = float(value)
            if not (unbounded or math.isfinite(number)):
                raise ValueError
        if (
            (low is not None and number < low)
            or (above is not None and number <= above)
            or (high is not None and number > high)
            or (below is not None and number >= below)
        ):
            raise ValueError
        return number

    ends = [("from", low), ("above", above), ("up to", high), ("below", below)]
    told = [f"{word} {_figure(end)}" for word, end in ends if end is not None]
    if low is not None and high is not None:
        told = [f"from {_figure(low)} to {_figure(high)}"]
    elif low is not None and len(told) == 1:
        told = [f"from {_figure(low)} up"]
    what = "a whole number" if kind is int else "a number" if unbounded else "a finite number"
    example = next(iter(bounds.get("examples") or ()), None)
    for guess in (100, 10, 1, 0) if kind is int else (0.5, 1.0, 0.0):
        if example is None:
            try:
                example = take(guess)
            except ValueError:
                continue
    example = low if example is None else example
    return Mark(
        f"{what} {' and '.join(told)}".strip(), take, "" if example is None else str(example)
    )


def _figure(end: float) -> str:
    return str(end) if isinstance(end, int) else f"{end:g}"


def choice(values: Iterable[Any]) -> Mark:
    """One of a few values; of words, a near one is told.

    Example:
        >>> choice(["adam", "sgd"]).of("optimizer", "adm")
        Traceback (most recent call last):
        cofire.errors.OptionError: optimizer='adm'. Expected: 'adam' or 'sgd'. To fix it: pass 'adam'.
    """
    choices = tuple(values)
    told = ", ".join(map(repr, choices))
    expected = f"one of {told}" if len(choices) > 2 else told.replace(", ", " or ")

    def check(value: Any) -> Any:
        for each in choices:
            if isinstance(value, bool) and not isinstance(each, bool):
                continue  # True is no 1
            if isinstance(value, type(each)) and value == each:
                return each
        words = [each for each in choices if isinstance(each, str)]
        near = near_matches(value, words, most=1) if isinstance(value, str) and words else ""
        raise Refused(expected, f"pass {near}" if near else "")

    return Mark(expected, check, repr(choices[0]), choices)


def _instance(kind: type[Any]) -> Mark:
    expected = f"{'an' if kind.__name__[0] in 'AEIOU' else 'a'} {kind.__name__}"

    def check(value: Any) -> Any:
        if not isinstance(value, kind):
            raise Refused(expected, f"pass {expected}")
        return value

    return Mark(expected, check)


def _plainly_takes(function: Any, count: int) -> bool:
    """Whether a plain function clearly takes so many arguments: reading its signature takes longer than many a call."""
    if not isinstance(function, types.FunctionType) or function.__dict__:
        return False
    code, defaults = function.__code__, len(function.__defaults__ or ())
    enough = count <= code.co_argcount or bool(code.co_flags & inspect.CO_VARARGS)
    return enough and code.co_argcount - defaults <= count and not code.co_kwonlyargcount


def _function(takes: int | None) -> Mark:
    """Something that can be called, and is no class, with so many arguments; None for any."""

    def check(value: Any) -> Any:
        if not callable(value) or isinstance(value, type):
            raise TypeError
        if takes is not None and not _plainly_takes(value, takes):
            try:
                signature = inspect.signature(value)
            except ValueError:
                return value  # written in C, and does not tell
            signature.bind(*[None] * takes)
        return value

    return Mark("a function" if takes is None else f"a function of {takes}", check)


def mark_of(hint: Any, name: str = "") -> Mark | None:
    """The mark of an annotation that stands for one value; None for one that does not.

    Args:
        hint: The annotation.
        name: Of the argument or field; it may tell an upper bound.

    Example:
        >>> from pydantic import PositiveInt
        >>> mark_of(PositiveInt, "bins").expected
        'a whole number from 1 to 1048576'
        >>> mark_of(PositiveInt, "bins").of("bins", 0)
        Traceback (most recent call last):
        cofire.errors.OptionError: bins=0. Expected: a whole number from 1 to 1048576. To fix it: pass bins=100.
    """
    origin, args = get_origin(hint), get_args(hint)
    bounds: dict[str, Any] = {}
    if origin is Annotated:
        for each in args[1:]:
            if isinstance(each, Mark):
                return each
            bounds |= {"examples": each.examples} if isinstance(each, FieldInfo) else {}
            for constraint in each.metadata if isinstance(each, FieldInfo) else [each]:
                bounds |= {
                    key: getattr(constraint, key) for key in _BOUNDS if hasattr(constraint, key)
                }
        hint = args[0]
        origin, args = get_origin(hint), get_args(hint)
    if hint in (int, float):
        return _number(hint, name, bounds)
    if origin is Literal:
        return choice(args)
    if origin is abc.Callable or hint in (abc.Callable, Callable):
        return _function(len(args[0]) if args and isinstance(args[0], list) else None)
    if hint in _PLAIN:
        return _PLAIN[hint]
    if origin is None and isinstance(hint, type) and hint not in (NoneType, object):
        return None if getattr(hint, "_is_protocol", False) else _instance(hint)
    return None


def in_words(hint: Any, name: str = "") -> str:
    """What an annotation asks for, in words.

    Example:
        >>> in_words(dict[str, float] | None)
        'a mapping of text without control characters or broken letters to a finite number or None'
    """
    mark = mark_of(hint, name)
    if mark is not None:
        return mark.expected
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return in_words(args[0], name)
    if hint is None or hint is NoneType:
        return "None"
    if origin in (Union, UnionType):
        # None last, as one says it.
        return " or ".join(
            in_words(arg, name) for arg in sorted(args, key=lambda arg: arg is NoneType)
        )
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"({', '.join(in_words(arg) for arg in args)})"
    if origin in (abc.Sequence, abc.Iterable, abc.Collection, list, tuple):
        return f"a sequence, each {in_words(args[0], name)}"
    if origin in (abc.Mapping, dict):
        return f"a mapping of {in_words(args[0])} to {in_words(args[1])}"
    return "anything" if hint is Any else getattr(hint, "__name__", str(hint))


def shown(value: Any) -> str:
    """A value in a message: short, on one line, whatever it is.

    Example:
        >>> import numpy as np
        >>> shown("x" * 100), shown(np.zeros((2, 3)))
        ("'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx…", 'a ndarray (2, 3), float64')
    """
    kind = f"a {type(value).__name__}"
    try:
        if getattr(value, "ndim", None) and hasattr(value, "dtype"):
            return f"{kind} {tuple(value.shape)}, {value.dtype}"
        text = " ".join(repr(value).split())
    except Exception:  # somebody's __repr__
        return kind
    if len(text) <= 60:
        return text
    return f"{text[:57]}…" if isinstance(value, str | bytes | int | float) else kind


def check_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A whole number within bounds.

    Raises:
        OptionError: It is none, or out of bounds.
    """
    bounds = {"ge": least} if most is None else {"ge": least, "le": most}
    number: int = _number(int, name, bounds).of(name, value)
    return number
