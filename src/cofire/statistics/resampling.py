"""Intervals and tests that draw samples anew, of many columns over the same samples at once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from scipy.stats import binomtest

from cofire.arguments import validated
from cofire.errors import DataError, NonFiniteError
from cofire.statistics.verdict import Interval, tango, wilson
from cofire.tensors import Values, dense

Floats = NDArray[np.float64]
_CELLS = 1 << 22
"""Numbers of a block of draws: 32 MB, and as much again while they are multiplied."""
_ENUMERATED = 13
_ROUNDING = 1e-9
_WHOLE = 0.9
"""From this share of zeros and ones on, values from 0 to 1 are taken for a share."""


@validated
def mean_interval(
    values: Annotated[Any, Values("samples", array=True)],
    *,
    differences: bool = False,
    left_out: NonNegativeInt = 0,
    draws: PositiveInt = 2000,
    seed: NonNegativeInt = 0,
) -> Interval:
    """The mean of what was measured of each sample, with its 95 % interval (see `mean_intervals`).

    Args:
        values: (samples,).
        differences: Whether each is the difference of two measurements of one sample.
        left_out: Samples that did not count, to be kept with the interval.
        draws: How many resamples.
        seed: Of the draws.

    Raises:
        DataError: There is no sample, or the shape is another.
        NonFiniteError: A value is NaN or infinite.
        OptionError: An option is out of bounds.

    Example:
        >>> found = mean_interval([0.0] * 30)
        >>> found.value, found.low, round(found.high, 3)
        (0.0, 0.0, 0.114)
        >>> found = mean_interval([0, 1, 0, 1, 0, 0, 1, 0], differences=True)
        >>> found.value, round(found.low, 2), round(found.high, 2)
        (0.375, -0.07, 0.75)
    """
    (found,) = mean_intervals(values[:, None], differences=differences, draws=draws, seed=seed)
    assert found is not None  # all samples count
    return Interval(found.value, found.low, found.high, found.counted, left_out)


@validated
def mean_intervals(
    values: Any,
    counted: Any = None,
    *,
    differences: bool = False,
    draws: PositiveInt = 2000,
    seed: NonNegativeInt = 0,
) -> list[Interval | None]:
    """The means of many columns over the same samples, each with its 95 % interval.

    Where nine of ten values or more are 0 or 1 and the others lie between, that is Wilson's
    interval of a share, which is wide enough as the variance of such values is at most `p (1 - p)`:
    a bootstrap of samples that all agree has no width, however few they are. Else it is the
    percentile bootstrap, in which all columns are resampled by the same draws of samples, so that
    columns stay paired; a draw's mean is over what counts in it.

    Of differences it is the bootstrap as well. Where each is -1, 0 or 1 it is too short if few
    samples differ: the interval then is at least as wide as Tango's, and includes 0 unless the
    exact sign test (McNemar's) rejects at 5 %.

    Args:
        values: (samples, columns).
        counted: Whether a value counts, (samples, columns), bool; all unless given.
        differences: Whether each value is the difference of two measurements of one sample.
        draws: How many resamples.
        seed: Of the draws.

    Returns:
        One for each column; None where nothing counts.

    Raises:
        DataError: There is no sample, or the shapes differ.
        NonFiniteError: A value that counts is NaN or infinite.
        OptionError: An option is out of bounds.

    Example:
        >>> found, none = mean_intervals([[1.5, 3.0], [0.5, 0.0], [0.5, 5.0], [1.5, 0.0]] * 25, [[True, False]] * 100)
        >>> [round(float(end), 2) for end in (found.value, found.low, found.high)], found.counted, none
        ([1.0, 0.9, 1.1], 100, None)
    """
    table, counts = _checked(values, counted)
    samples, columns = table.shape
    number = counts.sum(axis=0)
    found = np.full((draws, columns), np.nan)
    random, start = np.random.default_rng(seed), 0
    for sums in _resampled(
        np.concatenate([table, counts.astype(np.float64)], axis=1), draws, random
    ):
        part, held = sums[:, :columns], sums[:, columns:]
        # A draw without anything that counts has no mean, and says nothing.
        np.divide(part, held, out=found[start : start + len(sums)], where=held > 0)
        start += len(sums)
    told: list[Interval | None] = []
    for column in range(columns):
        here, kept = int(number[column]), table[counts[:, column], column]
        if not here:
            told.append(None)
            continue
        mean = float(table[:, column].sum() / here)
        held_here = found[~np.isnan(found[:, column]), column]
        if not len(held_here):  # few draws, and none of the few samples that count in them
            told.append(Interval(mean, counted=here, left_out=samples - here))
            continue
        low, high = (float(end) for end in np.quantile(held_here, [0.025, 0.975]))
        # Sums of many numbers round: a mean of equal numbers is that number.
        low, high = (mean if np.isclose(end, mean, 1e-12, 1e-15) else end for end in (low, high))
        drawn = Interval(mean, low, high, here, samples - here)
        if differences:
            drawn = _widened(drawn, kept)
        elif _is_share(kept):
            share = wilson(min(1.0, max(0.0, mean)), here)
            drawn = Interval(mean, share.low, share.high, here, samples - here)
        told.append(drawn)
    return told


def _is_share(values: Floats) -> bool:
    whole = (values == 0) | (values == 1)
    return bool(whole.mean() >= _WHOLE and values.min() >= 0 and values.max() <= 1)


def _widened(drawn: Interval, values: Floats) -> Interval:
    """The interval of differences: no shorter than few differing samples allow."""
    if not np.isin(values, (-1, 0, 1)).all():
        return drawn
    more, less = int((values == 1).sum()), int((values == -1).sum())
    score = tango(more, less, len(values))
    low, high = min(drawn.low, score.low), max(drawn.high, score.high)
    if more + less and binomtest(more, more + less).pvalue > 0.05:
        low, high = min(low, 0.0), max(high, 0.0)
    return Interval(drawn.value, low, high, drawn.counted, drawn.left_out)


@validated
def paired_bootstrap(
    differences: Annotated[Any, Values("... samples", array=True)],
    draws: PositiveInt = 2000,
    seed: NonNegativeInt = 0,
) -> Interval:
    """The mean of paired differences with a 95 % percentile interval.

    Both of a pair are measured on the same sample, so that what makes a sample hard for both
    cancels out. Several runs, of other seeds say, share their samples: each draw resamples the runs
    and, once for all of them, the samples.

    Args:
        differences: Such as 1, 0 or -1 where one classifier is right and the other is not;
            (samples,), or (runs, samples).
        draws: How many resamples.
        seed: Of the draws.

    Returns:
        Mean and interval.

    Raises:
        DataError: No samples.
        NonFiniteError: A difference is NaN or infinite.
        OptionError: An option is out of bounds.

    Example:
        >>> paired_bootstrap(torch.tensor([1.0, 0.0, 0.0, 1.0] * 25))
        Interval(value=0.5, low=0.4, high=0.6, counted=100, left_out=0)
    """
    table = np.atleast_2d(np.asarray(differences, np.float64))
    if table.ndim != 2 or not table.size:
        raise DataError(
            f"differences of shape {table.shape}",
            "(samples,) or (runs, samples)",
            "pass at least one",
        )
    runs, samples = table.shape
    random = np.random.default_rng(seed)
    means = np.concatenate([sums / samples for sums in _resampled(table.T, draws, random)])
    if runs > 1:
        chosen = random.multinomial(runs, np.full(runs, 1 / runs), size=draws)
        means = (means * chosen).sum(axis=1, keepdims=True) / runs
    low, high = np.quantile(means[:, 0], [0.025, 0.975])
    return Interval(float(table.mean()), float(low), float(high), samples)


def _resampled(table: Floats, draws: int, random: np.random.Generator) -> Iterator[Floats]:
    """The sums of the columns in each of many draws of as many rows with replacement, block by block."""
    samples = len(table)
    rows, times = np.unique(table, axis=0, return_counts=True)
    if 2 * len(rows) <= samples:
        # Of few kinds of rows it is quicker to draw how often each occurs.
        block = max(1, _CELLS // len(rows))
        for start in range(0, draws, block):
            size = min(block, draws - start)
            yield random.multinomial(samples, times / samples, size=size) @ rows
        return
    block = max(1, _CELLS // samples)
    for start in range(0, draws, block):
        size = min(block, draws - start)
        drawn = random.integers(0, samples, (size, samples)) + np.arange(size)[:, None] * samples
        yield (
            np.bincount(drawn.ravel(), minlength=size * samples)
            .reshape(size, samples)
            .astype(np.float64)
            @ table
        )


@validated
def sign_flip(differences: Any, *, flips: PositiveInt = 9999, seed: NonNegativeInt = 0) -> Floats:
    """Two-sided p-values of paired differences: how often flipped signs make a mean as far from 0.

    Were two methods alike, each sample's difference could as well have the other sign. With at most
    13 samples all combinations are counted, else random ones and the observed one among them, so
    that p is never 0. Images that do not count for a column are zeros in it, whose sign changes
    nothing.

    Args:
        differences: (samples, columns).
        flips: How many random combinations.
        seed: Of the combinations.

    Returns:
        (columns,); 1 where all differences are 0.

    Raises:
        DataError: There is no sample.
        NonFiniteError: A difference is NaN or infinite.
        OptionError: An option is out of bounds.

    Example:
        Of the 8 combinations of signs 2 have a mean as far from 0 as 2: + + + and - - -.

        >>> sign_flip([[1.0], [2.0], [3.0]]).tolist()
        [0.25]
    """
    table, _ = _checked(differences, None)
    samples, columns = table.shape
    # What counts as equal to the observed sum although it was added up in another order.
    reached = np.abs(table.sum(axis=0)) - _ROUNDING * np.abs(table).sum(axis=0)
    if samples <= _ENUMERATED:
        signs = 1.0 - 2.0 * (np.arange(2**samples)[:, None] >> np.arange(samples) & 1)
        exact: Floats = (np.abs(signs @ table) >= reached).mean(axis=0)
        return exact
    random = np.random.default_rng(seed)
    further = np.zeros(columns, dtype=np.int64)
    block = max(1, _CELLS // samples)
    for start in range(0, flips, block):
        rows = min(block, flips - start)
        signs = 1.0 - 2.0 * random.integers(0, 2, (rows, samples), dtype=np.int8)
        further += (np.abs(signs @ table) >= reached).sum(axis=0)
    found: Floats = (further + 1) / (flips + 1)
    return found


def _checked(values: Any, counted: Any) -> tuple[Floats, NDArray[np.bool_]]:
    """A table with zeros where it does not count, and where it counts."""
    table: Floats = dense(values, "values").to("cpu", torch.float64).numpy()
    counts = (
        np.ones(table.shape, dtype=bool)
        if counted is None
        else dense(counted, "counted").cpu().numpy().astype(bool)
    )
    if table.ndim != 2 or not len(table) or counts.shape != table.shape:
        raise DataError(
            f"values of shape {table.shape}, counted of shape {counts.shape}",
            "both (samples, columns)",
            "pass at least one sample",
        )
    table = np.where(counts, table, 0.0)
    if not np.isfinite(table).all():
        raise NonFiniteError(
            "NaN or infinite values", "finite numbers", "find where they come from"
        )
    return table, counts
