"""How sure a difference is: intervals from samples, and runs, drawn anew."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from cofire.bounds import check_whole
from cofire.errors import DataError, NonFiniteError

__all__ = ["Interval", "paired_bootstrap"]

_CELLS = 1 << 22
"""Counts of a block of draws: 32 MB, and as much again while they are multiplied."""


@dataclass(frozen=True)
class Interval:
    """A value with its 95 % interval.

    Attributes:
        value: What was measured.
        low: The lower end.
        high: The upper end.
    """

    value: float
    low: float
    high: float


def paired_bootstrap(differences: Tensor, draws: int = 2000, seed: int = 0) -> Interval:
    """The mean of paired differences with a 95 % percentile interval.

    Both of a pair are measured on the same sample, so that what makes a sample hard for both cancels out. Several
    runs, of other seeds say, share their samples: each draw resamples the runs and, once for all of them, the samples.

    Args:
        differences: Such as 1, 0 or -1 where one classifier is right and the other is not; (samples,), or
            (runs, samples).
        draws: How many resamples.
        seed: Of the draws.

    Returns:
        Mean and interval.

    Raises:
        DataError: No samples.
        NonFiniteError: A difference is NaN or infinite.
        OptionError: `draws` is no whole number from 1 up.

    Example:
        >>> paired_bootstrap(torch.tensor([1.0, 0.0, 0.0, 1.0] * 25))
        Interval(value=0.5, low=0.4, high=0.6)
    """
    draws = check_whole("draws", draws)
    table = np.atleast_2d(torch.as_tensor(differences).detach().cpu().to(torch.float64).numpy())
    if table.ndim != 2 or not table.size:
        raise DataError(f"differences of shape {table.shape}", "(samples,) or (runs, samples)", "pass at least one")
    if not np.isfinite(table).all():
        raise NonFiniteError("NaN or infinite differences", "finite numbers", "find where they come from")
    runs, samples = table.shape
    draw = np.random.default_rng(seed)
    # Samples that differ in the same way in all runs are drawn together: how often is a multinomial count.
    columns, times = np.unique(table, axis=1, return_counts=True)
    drawn, block = np.empty((draws, runs)), max(1, _CELLS // len(times))
    for first in range(0, draws, block):
        part = drawn[first : first + block]
        part[:] = draw.multinomial(samples, times / samples, size=len(part)) @ columns.T / samples
    if runs > 1:
        chosen = draw.multinomial(runs, np.full(runs, 1 / runs), size=draws)
        means = (drawn * chosen).sum(axis=1) / runs
    else:
        means = drawn[:, 0]
    low, high = np.quantile(means, [0.025, 0.975])
    return Interval(float(table.mean()), float(low), float(high))
