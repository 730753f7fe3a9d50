"""Sums of floats that come out the same to the last bit, however their parts are cut, ordered and merged."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from cofire.activations.kernels import over_neurons
from cofire.activations.statistics import State
from cofire.compiled import compiler
from cofire.errors import MergeError, NonFiniteError

_DIGITS, _BITS = 3, 32
_BASE = float(1 << _BITS)
_LOWEST = -29
"""A level below it would need numbers smaller than float64 has: what lies that low counts as zero."""


@dataclass(frozen=True)
class Sums(State):
    """Sums, held as whole numbers, which add up exactly in any order (after Demmel and Nguyen 2013).

    Each number that is added is cut into digits of 32 bits at fixed places, and digits of one place
    are added as int64. Of each column the three places are kept from its largest number down: where
    a larger one comes, the lowest place is dropped, as it would have been had that one come first.
    So the result depends on what was added alone. It is off by less than 2⁻⁶⁴ of the largest
    number for each that was added, of which there can be 2³¹.

    Attributes:
        digits: Sums of digits, the highest place first, (3, rows, columns), int64.
        level: Place of each column's highest digit: it counts multiples of 2^(32 × level),
            (columns,), int64.
        classes: Number of each row's class, ascending, (rows,), int64.

    Example:
        >>> one, other = Sums.empty(1, 1), Sums.empty(1, 1)
        >>> for into, value in ((one, 0.1), (one, 1e16), (other, -1e16), (other, 0.2)):
        ...     into.add(torch.tensor([0]), torch.tensor([[value]], dtype=torch.float64))
        >>> one.merge(other).total()
        tensor([[0.3000]], dtype=torch.float64)
    """

    digits: Tensor
    level: Tensor
    classes: Tensor

    @classmethod
    def empty(cls, rows: int, columns: int, device: torch.device | str = "cpu") -> Self:
        """Before any number, which changes nothing when merged."""
        digits = torch.zeros(_DIGITS, rows, columns, dtype=torch.int64, device=device)
        level = torch.full((columns,), _LOWEST, dtype=torch.int64, device=device)
        return cls(digits, level, torch.arange(rows, device=device))

    def add(self, rows: Tensor, values: Tensor) -> None:
        """Add numbers, in place.

        Args:
            rows: Into which rows, each once, (some,), int64.
            values: (some, columns), float64.

        Raises:
            NonFiniteError: One is NaN or infinite.
        """
        if not len(rows):
            return
        if values.device.type == "cpu":
            state = (self.digits, self.level, rows, values, values.view(torch.int64))
            arrays = (part.numpy() for part in state)
            bad = over_neurons(_add_digits, values.shape[1], 4 * values.numel(), *arrays)
            if any(bad):
                raise _infinite()
        else:
            self._add_torch(rows, values)

    def _scale(self, values: Tensor) -> Tensor:
        """What makes the highest digit of each column one of whole numbers, once there is room for these."""
        most = values.abs().amax(dim=0)
        if not bool(torch.isfinite(most).all()):
            raise _infinite()
        level = (torch.frexp(most).exponent.to(torch.int64) - 1).div(_BITS, rounding_mode="floor")
        self._raise(level.masked_fill(most == 0, _LOWEST))
        return torch.ldexp(torch.ones_like(values[0]), -_BITS * self.level)

    def _add_torch(self, rows: Tensor, values: Tensor) -> None:
        """The definition, and the way on other devices."""
        rest = values * self._scale(values)
        for place in self.digits:
            digit = rest.trunc()
            place.index_add_(0, rows, digit.to(torch.int64))
            rest = (rest - digit) * _BASE

    def _raise(self, level: Tensor) -> None:
        """Move the columns up that a larger number is to come into, in place."""
        up = (level - self.level).clamp(min=0)
        if not bool(up.any()):
            return
        for by in range(1, _DIGITS + 1):
            columns = torch.nonzero(up == by if by < _DIGITS else up >= by).flatten()
            if len(columns):
                moved = torch.zeros_like(self.digits[:, :, columns])
                moved[by:] = self.digits[: _DIGITS - by, :, columns]
                self.digits[:, :, columns] = moved
        self.level.add_(up)

    def merge(self, other: Self) -> Self:
        """The sums of both, for the classes of either.

        Raises:
            MergeError: They have other columns.
        """
        if len(self.level) != len(other.level):
            raise MergeError(
                f"sums of {len(self.level)} and {len(other.level)} columns",
                "the same in both",
                "collect both with the same network, layers and unit",
            )
        both = torch.unique(torch.cat([self.classes, other.classes]))
        one, two = self.spread(both), other.spread(both)
        one._raise(two.level)
        two._raise(one.level)
        return replace(one, digits=one.digits + two.digits)

    def spread(self, classes: Tensor) -> Self:
        """A copy with a row for each of these classes.

        Args:
            classes: Numbers of classes, ascending, all of its own among them.
        """
        digits = self.digits.new_zeros(_DIGITS, len(classes), len(self.level))
        digits[:, torch.searchsorted(classes, self.classes)] = self.digits
        return replace(self, digits=digits, level=self.level.clone(), classes=classes)

    def rows(self, chosen: Tensor, classes: Tensor) -> Self:
        """Some rows, as those of these classes.

        Args:
            chosen: Which rows, (classes,).
            classes: Numbers of their classes, ascending, (classes,).
        """
        return replace(
            self, digits=self.digits[:, chosen], level=self.level.clone(), classes=classes.clone()
        )

    def total(self) -> Tensor:
        """The sums as numbers, (rows, columns), float64."""
        digits = list(self.digits)
        # Carried before they are rounded: digits that cancel would leave what was lost of them.
        for at in (2, 1):
            carry = (digits[at] + (1 << (_BITS - 1))) >> _BITS
            digits[at - 1] = digits[at - 1] + carry
            digits[at] = digits[at] - (carry << _BITS)
        high, middle, low = (digit.to(torch.float64) for digit in digits)
        together = high + (middle + low / _BASE) / _BASE
        return torch.ldexp(together, _BITS * self.level)


def _infinite() -> NonFiniteError:
    return NonFiniteError(
        "activations whose sums exceed 1.8e+308, the largest float64 number",
        "activations that can be added up",
        "find what makes the network blow up (weights, learning rate, inputs)",
    )


_STRIP = 256
"""Columns handled together, whose numbers stay in the first cache."""
_WHOLE = 1.5 * 2.0**52
"""Added to a whole number below 2⁵¹, it puts that number into the lowest bits, with which compilers work in vectors."""
_SIZE, _INFINITE = np.int64(0x7FFFFFFFFFFFFFFF), np.int64(0x7FF << 52)
_DIGIT, _NEXT = np.int64(_BITS), 2.0**_BITS


@compiler(error_model="numpy")
def _add_digits(
    low: Any, high: Any, digits: Any, level: Any, rows: Any, values: Any, bits: Any
) -> Any:
    """The definition in one go; whether a number is NaN or infinite, and then the sums are of no use."""
    most = np.empty(_STRIP, np.int64)
    scale = np.empty(_STRIP)
    rest = np.empty(_STRIP)
    held = np.empty(_STRIP)
    held_bits = held.view(np.int64)
    zero = np.full(1, _WHOLE).view(np.int64)[0]
    power = np.empty(1, np.int64)
    for start in range(low, high, _STRIP):
        m = min(_STRIP, high - start)
        most[:] = 0
        for at in range(len(rows)):
            row_bits = bits[at, start : start + m]
            for c in range(m):
                size = row_bits[c] & _SIZE
                most[c] = size if size > most[c] else most[c]
        worst = np.int64(0)
        for c in range(m):
            worst = max(worst, most[c])
        if worst >= _INFINITE:
            return True
        for c in range(m):
            # The exponent as frexp gives it; of zero and of what is denormal one below the lowest level.
            up = ((most[c] >> 52) - 1023) // _DIGIT - level[start + c]
            if up > 0:
                for k in range(digits.shape[1]):
                    for place in range(_DIGITS - 1, -1, -1):
                        moved = digits[place - up, k, start + c] if place >= up else 0
                        digits[place, k, start + c] = moved
                level[start + c] += up
            power[0] = (1023 - _DIGIT * level[start + c]) << 52
            scale[c] = power.view(np.float64)[0]
        for at in range(len(rows)):
            row = values[at, start : start + m]
            for c in range(m):
                rest[c] = row[c] * scale[c]
            for place in range(_DIGITS):
                into = digits[place, rows[at], start : start + m]
                for c in range(m):
                    whole = (rest[c] + _WHOLE) - _WHOLE
                    # Towards zero: what was rounded away from it goes back by one.
                    away = abs(whole) > abs(rest[c])
                    whole -= (1.0 if rest[c] > 0 else -1.0) if away else 0.0
                    held[c] = whole + _WHOLE
                    rest[c] = (rest[c] - whole) * _NEXT
                for c in range(m):
                    into[c] += held_bits[c] - zero
    return False
