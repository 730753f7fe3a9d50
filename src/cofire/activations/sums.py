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
_SMALLEST = torch.finfo(torch.float64).tiny
_NOTHING = _LOWEST - 1
"""The level of a column without a number yet, or of zeros alone: it is raised without digits to be moved."""


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
            (columns,), int64; -30 where there was no number but zeros.
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
        # NumPy asks the system for large pages, of which fewer are to be found at first touch.
        digits = torch.from_numpy(np.zeros((_DIGITS, rows, columns), np.int64)).to(device)
        level = torch.full((columns,), _NOTHING, dtype=torch.int64, device=device)
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
        self._raise(level.clamp(min=_LOWEST).masked_fill(most < _SMALLEST, _NOTHING))
        some = (self.level > _NOTHING).to(values.dtype)
        return torch.ldexp(some, -_BITS * self.level)

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


_STRIP = 1024
"""Columns handled together: memory is read ahead in long rows, and what is kept of them stays in the first cache."""
_SIZE, _FIELD, _INFINITE = np.int64(0x7FFFFFFFFFFFFFFF), np.int64(52), np.int64(0x7FF)
_DIGIT, _NEXT, _BIAS = np.int64(_BITS), 2.0**_BITS, np.int64(1023)


@compiler(error_model="numpy")
def _make_room(bits: Any, digits: Any, level: Any, start: Any, largest: Any, scale: Any) -> Any:
    """Raise the columns from `start` on that one of these numbers is too large for; whether one is NaN or infinite."""
    power = np.empty(1, np.int64)
    for c in range(len(bits)):
        # The exponent as frexp gives it, less one; of zero and of what is denormal it is none.
        exponent = (bits[c] & _SIZE) >> _FIELD
        if exponent == _INFINITE:
            return True
        held, needed = level[start + c], max((exponent - _BIAS) // _DIGIT, _LOWEST)
        if exponent > 0 and needed > held:
            up = needed - held
            for k in range(digits.shape[1] if held != _NOTHING else 0):
                for place in range(_DIGITS - 1, -1, -1):
                    moved = digits[place - up, k, start + c] if place >= up else 0
                    digits[place, k, start + c] = moved
            level[start + c] = held = needed
        largest[c] = _DIGIT * held + _DIGIT - 1 + _BIAS if held != _NOTHING else 0
        power[0] = (_BIAS - _DIGIT * held) << _FIELD if held != _NOTHING else 0
        scale[c] = power.view(np.float64)[0]
    return False


@compiler(error_model="numpy")
def _add_digits(
    low: Any, high: Any, digits: Any, level: Any, rows: Any, values: Any, bits: Any
) -> Any:
    """The definition in one go; whether a number is NaN or infinite, and then the sums are of no use."""
    largest = np.empty(_STRIP, np.int64)
    scale = np.empty(_STRIP)
    rest = np.empty(_STRIP)
    for start in range(low, high, _STRIP):
        m = min(_STRIP, high - start)
        _make_room(np.zeros(m, np.int64), digits, level, start, largest, scale)
        for at in range(len(rows)):
            row, row_bits = values[at, start : start + m], bits[at, start : start + m]
            over = np.int64(0)  # below zero as soon as one number is too large
            for c in range(m):
                over |= largest[c] - ((row_bits[c] & _SIZE) >> _FIELD)
            if over < 0 and _make_room(row_bits, digits, level, start, largest, scale):
                return True
            high_digits = digits[0, rows[at], start : start + m]
            middle_digits = digits[1, rows[at], start : start + m]
            some = np.int64(0)
            for c in range(m):
                left = row[c] * scale[c]
                digit = np.trunc(left)
                high_digits[c] += np.int64(digit)
                left = (left - digit) * _NEXT
                digit = np.trunc(left)
                middle_digits[c] += np.int64(digit)
                rest[c] = (left - digit) * _NEXT
                some |= np.int64(rest[c])
            # Mostly nothing is left, and a third of the memory need not be read and written.
            if some != 0:
                low_digits = digits[2, rows[at], start : start + m]
                for c in range(m):
                    low_digits[c] += np.int64(rest[c])
    return False
