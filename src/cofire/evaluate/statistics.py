"""What means over photos are worth: intervals for all columns at once, paired tests, and many tests held to 5 %."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cofire.bounds import check_whole
from cofire.errors import DataError, NonFiniteError

__all__ = ["Means", "bootstrap_means", "holm", "sign_flip"]

Floats = NDArray[np.float64]
_CELLS = 1 << 24
"""Numbers of a block of draws: 128 MB."""
_ENUMERATED = 13
_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class Means:
    """Means of columns with their 95 % intervals; NaN where a column has nothing that counts.

    Attributes:
        mean: (columns,).
        low: The lower ends, (columns,).
        high: The upper ends, (columns,).
        counted: Rows that count, (columns,).
    """

    mean: Floats
    low: Floats
    high: Floats
    counted: NDArray[np.int64]


def bootstrap_means(values: Any, counted: Any = None, *, draws: int = 2000, seed: int = 0) -> Means:
    """The means of many columns over the same photos, with 95 % percentile intervals.

    All columns are resampled by the same draws of photos, so that columns stay paired; a draw's mean is over what
    counts in it. With one column this is what `cofire.boost.bootstrap.paired_bootstrap` does.

    Args:
        values: (photos, columns).
        counted: Whether a value counts, (photos, columns), bool; all unless given.
        draws: How many resamples.
        seed: Of the draws.

    Raises:
        DataError: There is no photo, or the shapes differ.
        NonFiniteError: A value that counts is NaN or infinite.
        OptionError: `draws` is no whole number from 1 up.

    Example:
        >>> found = bootstrap_means([[1.0, 3.0], [0.0, 0.0], [0.0, 5.0], [1.0, 0.0]] * 25, [[True, False]] * 100)
        >>> [round(float(end), 2) for end in (found.mean[0], found.low[0], found.high[0])], found.counted.tolist()
        ([0.5, 0.4, 0.6], [100, 0])
    """
    draws = check_whole("draws", draws)
    table, counts = _checked(values, counted)
    photos, columns = table.shape
    both = np.concatenate([table, counts.astype(np.float64)], axis=1)
    found = np.full((draws, columns), np.nan)
    random = np.random.default_rng(seed)
    block = max(1, _CELLS // photos)
    for start in range(0, draws, block):
        rows = min(block, draws - start)
        drawn = random.integers(0, photos, (rows, photos)) + np.arange(rows)[:, None] * photos
        times = np.bincount(drawn.ravel(), minlength=rows * photos).reshape(rows, photos).astype(np.float64)
        sums = times @ both
        # A draw without anything that counts has no mean, and says nothing.
        np.divide(sums[:, :columns], sums[:, columns:], out=found[start : start + rows], where=sums[:, columns:] > 0)
    number = counts.sum(axis=0)
    mean, low, high = (np.full(columns, np.nan) for _ in range(3))
    held = number > 0
    mean[held] = table.sum(axis=0)[held] / number[held]
    if held.any():
        low[held], high[held] = np.nanquantile(found[:, held], [0.025, 0.975], axis=0)
    # Sums of many numbers round: a mean of equal numbers is that number.
    low, high = (
        np.where(np.isclose(low, mean, 1e-12, 1e-15), mean, low),
        np.where(np.isclose(high, mean, 1e-12, 1e-15), mean, high),
    )
    return Means(mean, low, high, number)


def sign_flip(differences: Any, *, flips: int = 9999, seed: int = 0) -> Floats:
    """Two-sided p-values of paired differences: how often flipped signs make a mean as far from 0.

    Were two methods alike, each photo's difference could as well have the other sign. With at most 13 photos all
    combinations are counted, else random ones and the observed one among them, so that p is never 0. Photos that do
    not count for a column are zeros in it, whose sign changes nothing.

    Args:
        differences: (photos, columns).
        flips: How many random combinations.
        seed: Of the combinations.

    Returns:
        (columns,); 1 where all differences are 0.

    Raises:
        DataError: There is no photo.
        NonFiniteError: A difference is NaN or infinite.
        OptionError: `flips` is no whole number from 1 up.

    Example:
        Of the 8 combinations of signs 2 have a mean as far from 0 as 2: + + + and - - -.

        >>> sign_flip([[1.0], [2.0], [3.0]]).tolist()
        [0.25]
    """
    flips = check_whole("flips", flips)
    table, _ = _checked(differences, None)
    photos, columns = table.shape
    # What counts as equal to the observed sum although it was added up in another order.
    reached = np.abs(table.sum(axis=0)) - _ROUNDING * np.abs(table).sum(axis=0)
    if photos <= _ENUMERATED:
        signs = 1.0 - 2.0 * (np.arange(2**photos)[:, None] >> np.arange(photos) & 1)
        exact: Floats = (np.abs(signs @ table) >= reached).mean(axis=0)
        return exact
    random = np.random.default_rng(seed)
    further = np.zeros(columns, dtype=np.int64)
    block = max(1, _CELLS // photos)
    for start in range(0, flips, block):
        rows = min(block, flips - start)
        signs = 1.0 - 2.0 * random.integers(0, 2, (rows, photos), dtype=np.int8)
        further += (np.abs(signs @ table) >= reached).sum(axis=0)
    found: Floats = (further + 1) / (flips + 1)
    return found


def holm(p: Sequence[float]) -> list[float]:
    """p-values of several tests, raised so that one below 0.05 is wrong in 5 % of all such families (Holm 1979).

    The smallest of m is multiplied by m, the next by m - 1 and so on; none gets below one before it, none above 1.

    Raises:
        DataError: A value is no probability.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    wrong = [value for value in p if not 0 <= value <= 1]
    if wrong:
        raise DataError(f"p={wrong[0]}", "probabilities from 0 to 1", "find where it comes from")
    order = sorted(range(len(p)), key=lambda at: p[at])
    raised, largest = [0.0] * len(p), 0.0
    for place, at in enumerate(order):
        largest = max(largest, min(1.0, p[at] * (len(p) - place)))
        raised[at] = largest
    return raised


def _checked(values: Any, counted: Any) -> tuple[Floats, NDArray[np.bool_]]:
    """A table with zeros where it does not count, and where it counts."""
    table = np.asarray(values, dtype=np.float64)
    counts = np.ones(table.shape, dtype=bool) if counted is None else np.asarray(counted, dtype=bool)
    if table.ndim != 2 or not len(table) or counts.shape != table.shape:
        raise DataError(
            f"values of shape {table.shape}, counted of shape {counts.shape}", "both (photos, columns)",
            "pass at least one photo",
        )  # fmt: skip
    table = np.where(counts, table, 0.0)
    if not np.isfinite(table).all():
        raise NonFiniteError("NaN or infinite values", "finite numbers", "find where they come from")
    return table, counts
