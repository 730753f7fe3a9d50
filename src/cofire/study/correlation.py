"""Correlation over the checkpoints of a training run, with intervals, and what is left of it without the trend."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from cofire.errors import DataError, OptionError

__all__ = ["Correlation", "correlate"]


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


def correlate(first: Sequence[float], second: Sequence[float], *, confidence: float = 0.95) -> Correlation:
    """Pearson and Spearman correlation of two series with confidence intervals.

    The intervals take the points for independent, which the checkpoints of one run are not: they are
    narrower than the truth. Whoever prints them says so.

    Args:
        first: One number per checkpoint.
        second: One number per checkpoint.
        confidence: Level of the intervals, between 0 and 1.

    Returns:
        The correlations; None where they are not defined (a constant series, fewer than 3 points) and
        None for an interval of fewer than 4 points or of a coefficient of ±1.

    Raises:
        DataError: The series differ in length or hold a NaN or infinite value.
        OptionError: The confidence is not between 0 and 1.

    Example:
        >>> result = correlate([1.0, 2.0, 3.0, 4.0, 5.0], [2.0, 4.0, 5.0, 4.0, 5.0])
        >>> round(result.pearson, 4), round(result.spearman, 4)
        (0.7746, 0.7379)
        >>> round(result.pearson_low, 3), round(result.pearson_high, 3)
        (-0.34, 0.984)
    """
    if not 0 < confidence < 1:
        raise OptionError(f"confidence={confidence}", "a number between 0 and 1", "pass confidence=0.95")
    x, y = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise DataError(
            f"series of shapes {x.shape} and {y.shape}",
            "two flat series of the same length, one number per checkpoint",
            "pass one value of each for every checkpoint",
        )
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise DataError("a series with NaN or infinite values", "finite numbers", "leave those checkpoints out")
    n = len(x)
    pearson = _coefficient(x, y)
    spearman = None if pearson is None else _coefficient(stats.rankdata(x), stats.rankdata(y))
    low, high = _fisher(pearson, n, 1.0, confidence)
    # Bonett and Wright (2000): the variance of Fisher's z of a rank correlation is (1 + r²/2) / (n - 3).
    rank_low, rank_high = _fisher(spearman, n, 1 + (spearman or 0.0) ** 2 / 2, confidence)
    return Correlation(
        pearson=pearson,
        pearson_low=low,
        pearson_high=high,
        spearman=spearman,
        spearman_low=rank_low,
        spearman_high=rank_high,
        changes=_coefficient(np.diff(x), np.diff(y)),
        points=n,
        confidence=confidence,
    )


def _coefficient(x: np.ndarray, y: np.ndarray) -> float | None:
    if len(x) < 3:
        return None
    dx, dy = x - x.mean(), y - y.mean()
    # A constant series leaves rounding noise, whose correlation would be an accident.
    if _is_noise(dx, x) or _is_noise(dy, y):
        return None
    # Scaling first keeps the squares of tiny deviations from vanishing.
    dx, dy = dx / np.abs(dx).max(), dy / np.abs(dy).max()
    r = float(dx @ dy / math.sqrt((dx @ dx) * (dy @ dy)))
    return max(-1.0, min(1.0, r))


def _is_noise(deviation: np.ndarray, values: np.ndarray) -> bool:
    return bool(np.abs(deviation).max() <= 1e-13 * np.abs(values).max())


def _fisher(r: float | None, points: int, variance: float, confidence: float) -> tuple[float | None, float | None]:
    # For r of ±1 Fisher's z is infinite, and an interval of no width would claim certainty.
    if r is None or points < 4 or abs(r) > 1 - 1e-12:
        return None, None
    half = stats.norm.ppf((1 + confidence) / 2) * math.sqrt(variance / (points - 3))
    return math.tanh(math.atanh(r) - half), math.tanh(math.atanh(r) + half)
