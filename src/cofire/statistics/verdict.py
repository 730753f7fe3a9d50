"""A value with its interval, and the verdict that it allows: better, worse, equal within a margin, or undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field
from scipy.stats import norm

from cofire.arguments import validated
from cofire.errors import DataError, OptionError

Outcome = Literal["better", "worse", "equal", "undecided"]
Margin = Annotated[float, Field(ge=0, examples=[0.005])]
"""A difference below it counts as none."""

Z95 = float(norm.ppf(0.975))
"""Ends of a 95 % interval lie as many standard errors from the value."""
_Z90 = float(norm.ppf(0.95))
_ROUNDING = 1e-9
_ORDER: tuple[Outcome, ...] = ("worse", "undecided", "equal", "better")


End = Annotated[float, Field(allow_inf_nan=True)]
"""It may be infinite, where nothing is known."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval.

    Attributes:
        value: What was measured.
        low: The lower end; minus infinity where nothing is known.
        high: The upper end; infinity where nothing is known.
        counted: Samples that it is a mean of; 0 where that is not known.
        left_out: Samples that did not count.

    Example:
        >>> Interval(0.021, 0.0, 0.046, 280).says(0.005), Interval(0.021, 0.001, 0.041, 280).says(0.005)
        ('undecided', 'better')
    """

    value: float
    low: float = -math.inf
    high: float = math.inf
    counted: int = 0
    left_out: int = 0

    @property
    def mean(self) -> float:
        """The value, where it is a mean."""
        return self.value

    @property
    def images(self) -> int:
        """The samples that count, where they are images."""
        return self.counted

    @property
    def known(self) -> bool:
        """Whether there are ends."""
        return math.isfinite(self.low) and math.isfinite(self.high)

    @validated
    def says(self, margin: float = 0.0) -> Outcome:
        """What it says of a difference, see `cofire.statistics.verdict`; a single sample decides nothing."""
        return (
            "undecided"
            if self.counted == 1
            else verdict(self.low, self.high, margin, value=self.value)
        )


@validated
def verdict(low: End, high: End, margin: Margin = 0.0, *, value: float | None = None) -> Outcome:
    """What the 95 % interval of a difference says.

    "better" and "worse" if it leaves out 0, by however little. "equal" if two one-sided tests at 5
    % hold the difference to less than the margin (TOST, Schuirmann 1987): if the 90 % interval,
    whose ends lie 0.839 times as far from the value (as those of a normal distribution do), is
    within the margin. Else "undecided": an interval that includes 0 is no evidence of equality.

    Args:
        low: The lower end.
        high: The upper end.
        margin: A difference below it counts as none; 0 leaves "equal" to intervals without width.
        value: The difference; the middle unless given.

    Raises:
        OptionError: The margin is no finite number from 0 up, or the ends are no interval.

    Example:
        >>> verdict(0.001, 0.004), verdict(-0.001, 0.004), verdict(-0.004, -0.001)
        ('better', 'undecided', 'worse')
        >>> verdict(-0.001, 0.004, 0.005), verdict(-0.001, 0.007, 0.005)
        ('equal', 'undecided')
    """
    if not low <= high:
        raise OptionError(
            f"an interval from {low!r} to {high!r}",
            "a lower and an upper end",
            "pass low, then high",
        )
    if low > 0:
        return "better"
    if high < 0:
        return "worse"
    if not (math.isfinite(low) and math.isfinite(high)):
        return "undecided"
    middle = (low + high) / 2 if value is None else value
    ends = (middle + (end - middle) * _Z90 / Z95 for end in (low, high))
    if low == high or all(abs(end) < margin for end in ends):
        return "equal"
    return "undecided"


@validated
def verdicts(intervals: Sequence[Interval], margin: Margin = 0.0) -> list[Outcome]:
    """The verdicts of a family of intervals: "better" and "worse" are held to 5 % for all of them together (Holm).

    Of 20 intervals without any difference one leaves out 0 by chance alone; where Holm's correction
    of their p-values does not reject, a verdict is "equal" if the interval is within the margin,
    else "undecided".

    Example:
        >>> found = [Interval(0.010, 0.001, 0.019), Interval(0.010, 0.006, 0.014), Interval(0.0, -0.04, 0.04)]
        >>> [one.says() for one in found], verdicts(found)
        (['better', 'better', 'undecided'], ['undecided', 'better', 'undecided'])
    """
    told: list[Outcome] = []
    for one, raised in zip(intervals, holm([_p(one) for one in intervals]), strict=True):
        alone = one.says(margin)
        if alone in ("better", "worse") and raised > 0.05:
            alone = verdict(min(one.low, 0.0), max(one.high, 0.0), margin, value=one.value)
        told.append(alone)
    return told


def weakest(*outcomes: Outcome) -> Outcome:
    """The verdict of a claim that needs all of several: "worse" if one is, else "undecided", else "equal" if one is.

    Example:
        >>> weakest("better", "better"), weakest("better", "undecided"), weakest("worse", "undecided")
        ('better', 'undecided', 'worse')
    """
    return min(outcomes, key=_ORDER.index)


@validated
def samples_to_decide(
    interval: Interval, margin: Margin = 0.0, *, tests: Annotated[int, Field(ge=1)] = 1
) -> int | None:
    """About how many samples would decide, were the observed difference and spread the true ones.

    As many as let four of five repeats end in "better", "worse" or "equal", whichever takes fewer;
    intervals get shorter with the root of the samples. Rounded up to two digits, as it is not known
    better.

    Args:
        interval: Of a difference, with the number of samples that it is from.
        margin: A difference below it counts as none.
        tests: How many such intervals are held to 5 % together, by Bonferroni.

    Returns:
        None where no number would decide, or the samples are not known.

    Example:
        A gain of 2.1 points on 280 samples: 820 would show it. None at all: 2,500 would show that
        it is below half a point.

        >>> samples_to_decide(Interval(0.021, -0.004, 0.046, 280), 0.005)
        820
        >>> samples_to_decide(Interval(0.0, -0.01, 0.01, 280), 0.005)
        2500
    """
    if not interval.known or not interval.counted:
        return None
    size, error = abs(float(interval.value)), float(interval.high - interval.low) / 2 / Z95
    if not error:  # of samples that all agree nobody knows how far others spread
        return None
    asked = []
    if size > 0:
        asked.append(float(norm.ppf(1 - 0.025 / tests) + norm.ppf(0.8)) * (error / size))
    if size < margin:
        asked.append(float(_Z90 + norm.ppf(0.9)) * (error / (margin - size)))
    if not asked:
        return None
    times = float(min(asked))
    if not times < 1e6:
        return None
    needed = max(interval.counted * times**2, interval.counted + 1.0)
    if needed > 1e12:
        return None
    unit = 10 ** max(0, math.floor(math.log10(needed)) - 1)
    return int(math.ceil(needed / unit - _ROUNDING) * unit)


@validated(error=DataError)
def holm(p: Sequence[Annotated[float, Field(ge=0, le=1)]]) -> list[float]:
    """p-values of several tests, raised so that one below 0.05 is wrong in 5 % of all such families (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1 and so on; none gets below one before
    it, none above 1.

    Raises:
        DataError: A value is no probability.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    order = sorted(range(len(p)), key=lambda at: p[at])
    raised, largest = [0.0] * len(p), 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, p[at] * (len(p) - place)))
        raised[at] = largest
    return raised


def _p(interval: Interval) -> float:
    """Two-sided p-value of 0, as the end nearer to 0 tells it of a normal distribution; 1 where nothing is known.

    Below 0.05 just where the interval leaves out 0.
    """
    reach = interval.value - interval.low if interval.value > 0 else interval.high - interval.value
    if interval.value == 0 or not math.isfinite(reach):
        return 1.0
    return 0.0 if reach <= 0 else float(2 * norm.sf(Z95 * abs(interval.value) / reach))
