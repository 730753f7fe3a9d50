"""Intervals with a formula: of a share, of the difference of two shares, and of a mean over few runs."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from scipy.optimize import brentq
from scipy.stats import t

from cofire.arguments import validated
from cofire.errors import DataError, NonFiniteError
from cofire.statistics.verdict import Z95, Interval
from cofire.tensors import dense

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


def seed_interval(values: Any) -> Interval:
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
    table = dense(values, "values").to("cpu", torch.float64).numpy()
    if table.ndim != 1 or not len(table):
        raise DataError(
            f"values of shape {table.shape}", "(runs,), at least one", "pass one number a run"
        )
    if not np.isfinite(table).all():
        raise NonFiniteError(
            "a run without a finite value", "finite numbers", "find where it comes from"
        )
    runs = len(table)
    if runs == 1:
        return Interval(float(table[0]), counted=1)
    half = float(t.ppf(0.975, runs - 1) * table.std(ddof=1) / math.sqrt(runs))
    return Interval(
        float(table.mean()), float(table.mean()) - half, float(table.mean()) + half, runs
    )
