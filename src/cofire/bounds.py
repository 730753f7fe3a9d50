"""Numbers that an argument can be, within bounds: marks for `typing.Annotated`, and checks by name."""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofire.limits import LARGEST
from cofire.marks import Mark, Refused, Sizes

INT64 = 2**63 - 1


@dataclass(frozen=True)
class Whole(Mark):
    """A whole number from `least` to `most`, of Python, NumPy or torch; True is none.

    Attributes:
        least: The smallest.
        most: The largest: above it a count is a mistake, or takes more memory or time than there
            is.
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
        flag = isinstance(value, bool | np.bool_) or getattr(value, "dtype", None) in (
            torch.bool,
            np.dtype(bool),
        )
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
        bounds = [
            ("from", self.least),
            ("above", self.above),
            ("up to", self.most),
            ("below", self.below),
        ]
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


def check_whole(name: str, value: Any, least: int = 1, most: int | None = None) -> int:
    """A whole number within bounds.

    Raises:
        OptionError: It is none, or out of bounds.

    Example:
        >>> check_whole("bins", 100)
        100
    """
    largest = LARGEST.get(name, INT64)
    number: int = Whole(least, max(least, largest) if most is None else min(most, largest)).of(
        name, value
    )
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
