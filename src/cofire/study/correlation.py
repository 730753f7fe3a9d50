"""Correlation over the checkpoints of a training run, with intervals, and what is left of it without the trend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy import stats

from cofire.arguments import validated
from cofire.tensors import Values

Floats = NDArray[np.float64]

Series = Annotated[Sequence[float], Values("checkpoints", array=True)]
"""One finite number per checkpoint."""


@validated
@dataclass(frozen=True)
class Correlation:
    """Two series over the same checkpoints, and how they move together.

    Attributes:
        pearson: Pearson's r, or None where a series is constant or shorter than 3.
        pearson_low: Lower end of its interval (Fisher's z).
        pearson_high: Upper end.
        spearman: Spearman's rank correlation, None as above.
        spearman_low: Lower end of its interval (Fisher's z with Bonett and Wright's variance).
        spearman_high: Upper end.
        changes: Pearson's r of the changes from one checkpoint to the next. Two series that both
            only drift correlate strongly; this says whether they also move together.
        points: How many checkpoints were used.
        confidence: The level of the intervals, 0.95 unless asked.
        effective: How many independent checkpoints these are worth for Pearson's r, at most
            `points` (see `effective_points`); None where there is no r.
        pearson_serial_low: Lower end of the interval of that many checkpoints, the one that
            decides: it allows for each checkpoint starting where the last one ended.
        pearson_serial_high: Upper end.
        spearman_serial_low: Lower end of the same for Spearman's coefficient, by the ranks.
        spearman_serial_high: Upper end.
    """

    pearson: float | None
    pearson_low: float | None
    pearson_high: float | None
    spearman: float | None
    spearman_low: float | None
    spearman_high: float | None
    changes: float | None
    points: int
    confidence: float
    effective: float | None = None
    pearson_serial_low: float | None = None
    pearson_serial_high: float | None = None
    spearman_serial_low: float | None = None
    spearman_serial_high: float | None = None


@validated
def correlate(
    first: Series, second: Series, *, confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95
) -> Correlation:
    """Pearson and Spearman correlation of two series with confidence intervals.

    Checkpoints of one run are not independent. There are two intervals of each coefficient: the
    plain one takes them as independent and is too narrow (two unrelated random walks of 20 points
    exclude 0 in 46 of 100 cases), the serial one counts them as `effective_points` independent ones
    (6 of 100) and is the one to decide by. Neither knows of a common trend: see
    `Correlation.changes`.

    Args:
        first: One number per checkpoint.
        second: One number per checkpoint.
        confidence: Level of the intervals, between 0 and 1.

    Returns:
        The correlations; None where they are not defined (a constant series, fewer than 3 points)
        and None for an interval of fewer than 4 points or of a coefficient of ±1.

    Raises:
        DataError: The series differ in length or hold a NaN or infinite value.
        OptionError: The confidence is not between 0 and 1.

    Example:
        >>> result = correlate([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 4.0, 5.0, 4.0, 5.0])
        >>> round(result.pearson, 4), round(result.spearman, 4)
        (0.7746, 0.7379)
        >>> round(result.pearson_low, 3), round(result.pearson_high, 3)
        (-0.34, 0.984)

        Two series that drift are worth fewer checkpoints than they have:

        >>> drift = correlate([1.0, 2.0, 4.0, 5.0, 7.0, 8.0, 9.0, 9.5], [0.1, 0.3, 0.2, 0.5, 0.6, 0.6, 0.8, 0.7])
        >>> round(drift.pearson_low, 2), round(drift.effective, 1), round(drift.pearson_serial_low, 2)
        (0.69, 3.9, -0.37)
    """
    x, y = (np.asarray(series, dtype=np.float64) for series in (first, second))
    found: dict[str, Any] = {}
    for name, a, b in (("pearson", x, y), ("spearman", stats.rankdata(x), stats.rankdata(y))):
        r = found[name] = None if found.get("pearson", 0) is None else _coefficient(a, b)
        # Bonett and Wright (2000): the variance of Fisher's z of a rank correlation is (1 + r²/2) /
        # (n - 3).
        variance = 1.0 if name == "pearson" else 1 + (r or 0.0) ** 2 / 2
        worth = None if r is None else effective_points(a, b)
        if name == "pearson":
            found["effective"] = worth
        for kind, points in (("", float(len(x))), ("_serial", worth)):
            low, high = _fisher(r, len(x), variance, confidence, points)
            found |= {f"{name}{kind}_low": low, f"{name}{kind}_high": high}
    changes = _coefficient(np.diff(x), np.diff(y))
    return Correlation(changes=changes, points=len(x), confidence=confidence, **found)


def effective_points(first: Sequence[float] | Floats, second: Sequence[float] | Floats) -> float:
    """How many independent pairs two series are worth when they are correlated (Bartlett 1935, 1946).

    `1 / n* = 1 / n + 2 / n Σ_k (1 - k / n) a(k) b(k)` over the lags k up to n - 2, with the two
    series' sample autocorrelations a and b; never more than n. All lags enter: the sum over a few
    of them (Pyper and Peterman 1998) lets two unrelated random walks of 20 points exclude 0 in 8 of
    100 cases, this one in 6.

    Args:
        first: One number per checkpoint, not constant.
        second: One number per checkpoint, not constant.

    Example:
        >>> round(effective_points([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]), 2)
        3.71
    """
    x, y = (np.asarray(series, dtype=np.float64) for series in (first, second))
    n = len(x)
    # Sample autocorrelations at lags 0 to n - 1; of those 1 to n - 2 count.
    a, b = (np.correlate(one, one, mode="full")[n - 1 :] for one in map(_scaled, (x, y)))
    both = (a / a[0] * b / b[0])[1 : n - 1]
    share = 1 / n + 2 / n * float(((1 - np.arange(1, n - 1) / n) * both).sum())
    return min(float(n), 1 / max(share, 1 / n))


def _scaled(values: Floats) -> Floats:
    """Deviations from the mean, the largest 1: the squares of tiny ones do not vanish."""
    deviations = values - values.mean()
    scaled: Floats = deviations / np.abs(deviations).max()
    return scaled


def _coefficient(x: Floats, y: Floats) -> float | None:
    # A constant series leaves rounding noise, whose correlation would be an accident.
    noise = [bool(np.abs(v - v.mean()).max() <= 1e-13 * np.abs(v).max()) for v in (x, y) if len(v)]
    if len(x) < 3 or any(noise):
        return None
    dx, dy = _scaled(x), _scaled(y)
    r = float(dx @ dy / math.sqrt((dx @ dx) * (dy @ dy)))
    return max(-1.0, min(1.0, r))


def _fisher(
    r: float | None, points: int, variance: float, confidence: float, worth: float | None
) -> tuple[float | None, float | None]:
    # For r of ±1 Fisher's z is infinite, and an interval of no width would claim certainty.
    if r is None or worth is None or points < 4 or abs(r) > 1 - 1e-12:
        return None, None
    if worth <= 3:
        return -1.0, 1.0  # so few independent points say nothing
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt(variance / (worth - 3))
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
