"""Intervals of what many people say of the same things, where other people and other things could have been taken."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from numpy.typing import NDArray
from pydantic import NonNegativeInt, PositiveInt
from scipy.stats import binomtest, t

from cofire.arguments import validated
from cofire.errors import DataError
from cofire.statistics.verdict import Z95, Interval
from cofire.tensors import Values


@validated
def crossed_interval(
    values: Annotated[Any, Values("people things", array=True)],
    over: Annotated[Any, Values("people things", array=True)] | None = None,
    *,
    draws: PositiveInt = 2000,
    seed: NonNegativeInt = 0,
) -> Interval:
    """A ratio of sums over people and things, with the 95 % interval of a bootstrap that draws both anew.

    Each draw takes as many people and, apart from them, as many things with replacement; a cell
    counts as often as its person times as often as its thing (Owen 2007, the pigeonhole bootstrap).
    That counts what is neither the person's nor the thing's three times, and knows too little of
    few people: the ends keep their shape and are moved to as far as the error clustered both ways
    (Cameron, Gelbach and Miller 2011) reaches by Student's t. An interval over single answers would
    take those of one person, or of one thing, for independent ones, and finds what is not there.

    Args:
        values: (people, things): the sum of what a person said of a thing, 0 where nothing.
        over: The same shape: how often they said something, or what else the sums are held against;
            1 everywhere unless given.
        draws: How many resamples.
        seed: Of the draws.

    Returns:
        The ratio with its interval, and the number of people; no ends where there is one person or
        one thing.

    Raises:
        DataError: There is nobody or nothing, or `over` has another shape or no sum.
        NonFiniteError: A value is NaN or infinite.
        OptionError: An option is out of bounds.

    Example:
        >>> votes = np.ones((12, 20))
        >>> votes[:6, :10] = 0
        >>> found = crossed_interval(votes)
        >>> found.value, round(found.low, 2), round(found.high, 2)
        (0.75, 0.53, 0.93)
    """
    table = np.asarray(values, np.float64)
    held = np.ones_like(table) if over is None else np.asarray(over, np.float64)
    if table.shape != held.shape or not held.sum() > 0:
        raise DataError(
            f"values of shape {table.shape} over {held.shape}",
            "both (people, things), and something said",
            "pass one row for each person",
        )
    people, things = table.shape
    value = float(table.sum() / held.sum())
    if min(people, things) < 2:
        return Interval(value, counted=people)
    random = np.random.default_rng(seed)
    of_people = random.multinomial(people, np.full(people, 1 / people), size=draws)
    of_things = random.multinomial(things, np.full(things, 1 / things), size=draws)
    sums, counts = (((of_people @ each) * of_things).sum(axis=1) for each in (table, held))
    found = sums[counts > 0] / counts[counts > 0]
    reach = _reach(table - value * held, float(held.sum()))
    spread = Z95 * float(found.std())
    wider = reach / spread if spread > 0 else 0.0
    low, high = (value + wider * (float(end) - value) for end in np.quantile(found, [0.025, 0.975]))
    return Interval(value, min(low, value), max(high, value), people)


def _reach(rest: NDArray[np.float64], total: float) -> float:
    """How far an interval reaches: Student's t times the error of a ratio, clustered by people and by things."""
    errors = [
        (rest.sum(axis=1 - axis) ** 2).sum() * n / (n - 1) for axis, n in enumerate(rest.shape)
    ]
    # Of few of them both may be less than either alone.
    both = max(sum(errors) - (rest**2).sum(), *errors)
    return float(t.ppf(0.975, min(rest.shape) - 1) * np.sqrt(both) / total)


@validated
def exact_interval(successes: NonNegativeInt, samples: PositiveInt) -> Interval:
    """A share of independent samples with its exact binomial interval (Clopper and Pearson 1934).

    Raises:
        DataError: There are more successes than samples.
        OptionError: A number is out of bounds.

    Example:
        >>> found = exact_interval(12, 12)
        >>> found.value, round(found.low, 3), found.high
        (1.0, 0.735, 1.0)
    """
    if successes > samples:
        raise DataError(f"{successes} of {samples}", "a part of them", "pass counts")
    ends = binomtest(successes, samples).proportion_ci(method="exact")
    return Interval(successes / samples, float(ends.low), float(ends.high), samples)
