"""How well a score ranks one kind of sample above another: AUROC, its interval, and the rate of false alarms."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from pydantic import Field, PositiveInt
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError
from cofire.patterns.adjacency import Array
from cofire.tensors import Values
from cofire.tensors import dense as tensor_of

_CELLS = 1 << 16
"""Counts that the bootstrap holds at a time: those that stay in a cache are ten times as fast as many more."""


Scores = Annotated[Array, Values()]


@validated
def auroc(negatives: Scores, positives: Scores) -> float:
    """Probability that a positive scores above a negative, ties counted half: the area under the ROC curve.

    Exact, from ranks: `(Σ ranks of the positives - p (p + 1) / 2) / (n p)`, in whole numbers until
        the division.

    Args:
        negatives: Scores of the samples that should score low, of any shape.
        positives: Scores of those that should score high, of any shape.

    Returns:
        From 0 to 1; 0.5 for a score that tells nothing.

    Raises:
        DataError: No negatives or no positives, or no real numbers.
        NonFiniteError: A score is NaN or infinite.

    Example:
        >>> auroc(torch.tensor([0.0, 1.0]), torch.tensor([1.0, 2.0]))
        0.875
    """
    low, high = _scores(negatives, "negatives"), _scores(positives, "positives")
    low.sort()
    # Twice the negatives below each positive, ties counting one of the two: whole numbers, so
    # nothing is rounded.
    doubled = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return int(doubled.sum()) / (2 * len(low) * len(high))


@validated
def auroc_interval(
    negatives: Scores, positives: Scores, draws: PositiveInt = 1000, seed: int = 0
) -> tuple[float, float]:
    """A 95 % interval of the AUROC: the percentiles 2.5 and 97.5 over resamples of the negatives and the positives.

    Args:
        negatives: Scores of the samples that should score low.
        positives: Scores of those that should score high.
        draws: How many resamples, each with replacement, each of the two drawn by itself.
        seed: Of the draws.

    Returns:
        The lower and the upper end.

    Raises:
        DataError: No negatives or no positives, or no real numbers.
        NonFiniteError: A score is NaN or infinite.
        OptionError: `draws` is below 1.

    Example:
        >>> low, high = auroc_interval(torch.arange(100), torch.arange(100) + 50)
        >>> round(low, 1), round(high, 1)
        (0.8, 0.9)
    """
    low, high = _scores(negatives, "negatives"), _scores(positives, "positives")
    values, places = np.unique(np.concatenate([low, high]), return_inverse=True)
    places = places.reshape(-1)
    draw = np.random.default_rng(seed)
    areas: list[npt.NDArray[np.float64]] = []
    step = max(1, _CELLS // (len(values) + len(places)))
    for start in range(0, draws, step):
        rows = min(step, draws - start)
        below = _resampled(places[: len(low)], rows, len(values), draw)
        above = _resampled(places[len(low) :], rows, len(values), draw)
        doubled = 2 * below.cumsum(axis=1) - below
        areas.append((above * doubled).sum(axis=1) / (2.0 * len(low) * len(high)))
    ends = np.quantile(np.concatenate(areas), [0.025, 0.975])
    return float(ends[0]), float(ends[1])


@validated
def false_positive_rate(
    negatives: Scores, positives: Scores, at: Annotated[float, Field(gt=0, le=1)] = 0.95
) -> float:
    """Share of the negatives that are flagged where the threshold is low enough to flag `at` of the positives.

    Args:
        negatives: Scores of the samples that should score low.
        positives: Scores of those that should score high.
        at: Share of the positives to be flagged (the true positive rate), above 0, at most 1.

    Returns:
        From 0 to 1. A sample on the threshold is flagged.

    Raises:
        DataError: No negatives or no positives, or no real numbers.
        NonFiniteError: A score is NaN or infinite.
        OptionError: `at` is out of bounds.

    Example:
        >>> false_positive_rate(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 5.0, 6.0]), at=0.75)
        0.0
        >>> false_positive_rate(torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([2.0, 4.0, 5.0, 6.0]))
        0.5
    """
    low, high = _scores(negatives, "negatives"), _scores(positives, "positives")
    flagged = math.ceil(at * len(high) - 1e-9)  # 0.07 · 100 is 7.000000000000001
    threshold = np.sort(high)[len(high) - max(flagged, 1)]
    return float((low >= threshold).mean())


def _resampled(
    places: npt.NDArray[np.int64], rows: int, values: int, draw: np.random.Generator
) -> npt.NDArray[np.int64]:
    """How often each value is drawn, (rows, values)."""
    drawn = places[draw.integers(len(places), size=(rows, len(places)))]
    drawn += np.arange(rows)[:, None] * values
    return np.bincount(drawn.reshape(-1), minlength=rows * values).reshape(rows, values)


def _scores(given: Array, what: str) -> npt.NDArray[np.float64]:
    """The scores as a flat array of their own, float64."""
    tensor: Tensor = tensor_of(given, what)
    if tensor.numel() == 0:
        raise DataError(
            f"{what} of shape {tuple(tensor.shape)}",
            "scores of at least one sample",
            "pass samples of both kinds",
        )
    flat: npt.NDArray[np.float64] = tensor.reshape(-1).to("cpu", torch.float64, copy=True).numpy()
    return flat
