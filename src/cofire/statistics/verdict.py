"""A value with its interval, and the verdict that it allows: better, worse, equal within a margin, or undecided."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import Field
from scipy.optimize import brentq
from scipy.stats import norm, t

from cofire.arguments import validated
from cofire.errors import DataError, OptionError
from cofire.tensors import Values

Outcome = Literal["better", "worse", "equal", "undecided"]
Level = Literal["problem", "note", "fine"]
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


_FAR = 1e9
Share = Annotated[float, Field(ge=0, le=1)]
Samples = Annotated[int, Field(ge=1)]


@validated(error=DataError)
def wilson(share: Share, samples: Samples) -> Interval:
    """A share of samples with Wilson's score interval (Wilson 1927): of a width even where all agree.

    Args:
        share: From 0 to 1; of values between 0 and 1 their mean, for which the interval is wide
            enough.
        samples: How many there are.

    Raises:
        DataError: The share is none, or there are no samples.

    Example:
        >>> found = wilson(0.0, 20)
        >>> found.value, found.low, round(found.high, 4)
        (0.0, 0.0, 0.1611)
    """
    z = Z95**2 / samples
    middle = (share + z / 2) / (1 + z)
    half = math.sqrt(z * (share * (1 - share) + z / 4)) / (1 + z)
    # Rounding must not leave the share out.
    low, high = min(share, max(0.0, middle - half)), max(share, min(1.0, middle + half))
    return Interval(float(share), 0.0 if share == 0 else low, 1.0 if share == 1 else high, samples)


@validated(error=DataError)
def tango(
    more: Annotated[int, Field(ge=0)], less: Annotated[int, Field(ge=0)], samples: Samples
) -> Interval:
    """The difference of two shares of the same samples, with Tango's score interval (Tango 1998).

    The ends are where the score test of that difference gives 5 %; at 0 it is McNemar's.

    Args:
        more: Samples that count for the first share alone.
        less: Samples that count for the second share alone.
        samples: How many there are.

    Raises:
        DataError: These are no counts of as many samples.

    Example:
        >>> found = tango(9, 4, 20)
        >>> round(found.value, 2), round(found.low, 4), round(found.high, 4)
        (0.25, -0.1054, 0.543)
        >>> round(tango(0, 0, 20).high, 4)
        0.1611
    """
    if samples < more + less:
        raise DataError(
            f"{more} and {less} of {samples} samples", "counts of parts of them", "pass counts"
        )

    def score(at: float) -> float:
        linear = (2 * samples - more + less) * at - more - less
        root = math.sqrt(max(0.0, linear**2 + 8 * samples * less * at * (1 - at)))
        variance = samples * ((root - linear) / (2 * samples) + at * (1 - at))
        gap = more - less - samples * at
        return (
            0.0
            if gap == 0
            else gap / math.sqrt(variance)
            if variance > 0
            else math.copysign(_FAR, gap)
        )

    def end(wanted: float, bound: float) -> float:
        edge = bound * (1 - 1e-12)
        if value == bound or (score(value) - wanted) * (score(edge) - wanted) > 0:
            return bound
        return float(brentq(lambda at: score(at) - wanted, value, edge))

    value = (more - less) / samples
    return Interval(value, end(Z95, -1.0), end(-Z95, 1.0), samples)


@validated(error=DataError)
def newcombe(area: Share, negatives: Samples, positives: Samples) -> Interval:
    """An area under the ROC curve with Newcombe's score interval (Newcombe 2006, method 5).

    Like Wilson's of a share it has a width where positives and negatives are told apart without a
    mistake, which a bootstrap has not. The variance is that of Hanley and McNeil (1982), with the
    mean of both numbers for each of them.

    Args:
        area: From 0 to 1.
        negatives: How many samples are to score low.
        positives: How many are to score high.

    Raises:
        DataError: The area is none, or there are no samples of a kind.

    Example:
        >>> found = newcombe(1.0, 100, 3)
        >>> round(found.low, 3), found.high
        (0.7, 1.0)
    """
    more = (negatives + positives) / 2 - 1

    def error(at: float) -> float:
        tied = 1 + more * (1 - at) / (2 - at) + more * at / (1 + at)
        return Z95 * math.sqrt(at * (1 - at) * tied / (negatives * positives))

    low = (
        0.0
        if area == 0
        else float(brentq(lambda at: area - at - error(at), 0.0, area * (1 - 1e-12)))
    )
    high = (
        1.0
        if area == 1
        else float(brentq(lambda at: at - area - error(at), area + (1 - area) * 1e-12, 1.0))
    )
    return Interval(area, low, high, negatives + positives)


@validated
def seed_interval(values: Annotated[Any, Values("runs", array=True)]) -> Interval:
    """The mean over runs, of other seeds say, with Student's t interval: what another run would give on average.

    It knows runs alone. `paired_bootstrap` of runs and samples knows of samples too, but with three
    runs it draws the same one three times in one of nine draws, and says too little of how runs
    differ. Print both; if they disagree, the wider one decides.

    Args:
        values: One number a run, such as the mean difference over all samples.

    Returns:
        Mean and interval; of a single run without ends.

    Raises:
        DataError: No run.
        NonFiniteError: A value is NaN or infinite.

    Example:
        >>> found = seed_interval([0.006, 0.004, 0.008])
        >>> round(found.value, 4), round(found.low, 4), round(found.high, 4)
        (0.006, 0.001, 0.011)
    """
    table = np.asarray(values, np.float64)
    if not len(table):
        raise DataError("no runs", "(runs,), at least one", "pass one number a run")
    runs = len(table)
    if runs == 1:
        return Interval(float(table[0]), counted=1)
    half = float(t.ppf(0.975, runs - 1) * table.std(ddof=1) / math.sqrt(runs))
    return Interval(
        float(table.mean()), float(table.mean()) - half, float(table.mean()) + half, runs
    )


@dataclass(frozen=True)
class Finding:
    """One line of a verdict.

    Attributes:
        level: "problem", "note" (undecided, or worth a look) or "fine".
        what: What was found, in a few words with numbers.
        where: In which layer or class, "" for the whole.
        sure: How sure that is, "" where there is nothing to say.
        advice: What to do, "" for nothing.
        about: Id of the section of the page that shows it.

    Example:
        >>> print(Finding("problem", "79 of 240 neurons are dead", "layer 2", advice="lower the rate"))
        79 of 240 neurons are dead (layer 2). To do: lower the rate.
    """

    level: Level
    what: str
    where: str = ""
    sure: str = ""
    advice: str = ""
    about: str = ""

    def __str__(self) -> str:
        where = f" ({self.where})" if self.where else ""
        sure = f" {self.sure}." if self.sure else ""
        return f"{self.what}{where}.{sure}" + (f" To do: {self.advice}." if self.advice else "")
