"""Class sensitivity: how alike explanations of different classes of the same image are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError
from cofire.evaluate.per_image import PerImage, check_maps, constant
from cofire.explain.regions import Points


@validated
def jaccard(first: Sequence[Points], second: Sequence[Points]) -> PerImage:
    """Jaccard index of two sets of pixels per image: `|A ∩ B| / |A ∪ B|`, whatever the pixels score.

    Args:
        first: The points of each image, such as `explanation.points(i)` gives.
        second: As many again, of another class, say.

    Returns:
        Per image, 0 (nothing in common) to 1 (the same pixels). An image is not counted where both
        sets are empty.

    Raises:
        DataError: Points of other numbers of images, or pixels with a place below 0.

    Example:
        >>> def at(*columns):
        ...     return Points(torch.zeros(len(columns)).int(), torch.tensor(columns).int(), torch.ones(len(columns)))
        >>> jaccard([at(1, 2, 3)], [at(2, 3, 4)]).values.tolist()
        [0.5]
    """
    if len(first) != len(second):
        raise DataError(
            f"points of {len(first)} and {len(second)} images",
            "of as many",
            "explain the same images",
        )
    shared, joined = [], []
    for one, other in zip(first, second, strict=True):
        here, there = _places(one), _places(other)
        common = len(np.intersect1d(here, there, assume_unique=True))
        shared.append(common)
        joined.append(len(here) + len(there) - common)
    total = torch.tensor(joined, dtype=torch.float64)
    return PerImage(torch.tensor(shared, dtype=torch.float64) / total.clamp(min=1), total > 0)


def _places(points: Points) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Each pixel as one number, once."""
    y, x = points.y.long(), points.x.long()
    if len(y) and int(torch.minimum(y.min(), x.min())) < 0:
        raise DataError(
            "points at places below 0", "rows and columns from 0 up", "pass places on the image"
        )
    return np.unique((y * (1 << 31) + x).numpy())


@validated
def rank_correlation(first: Tensor, second: Tensor) -> PerImage:
    """Spearman's rank correlation of two maps per image: Pearson's of the ranks, ties sharing their mean rank.

    Args:
        first: (images, H, W), from 0 up.
        second: The same shape.

    Returns:
        Per image, -1 to 1. An image is not counted where a map is constant.

    Raises:
        DataError: Shapes that differ, or values below 0.
        NonFiniteError: A value is NaN or infinite.

    Example:
        >>> rank_correlation(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[1.0, 3.0, 2.0]]])).values.tolist()
        [0.5]
    """
    given = [check_maps(maps) for maps in (first, second)]
    if given[0].shape != given[1].shape:
        raise DataError(
            f"maps of shapes {tuple(given[0].shape)} and {tuple(given[1].shape)}",
            "the same shape twice",
            "explain the same images",
        )
    counted = ~(constant(given[0]) | constant(given[1]))
    ranks = [torch.from_numpy(rankdata(maps[counted].flatten(1).numpy(), axis=1)) for maps in given]
    centred = [rank - rank.mean(dim=1, keepdim=True) for rank in ranks]
    lengths = [part.square().sum(dim=1) for part in centred]
    found = torch.zeros(len(counted), dtype=torch.float64)
    found[counted] = (
        (centred[0] * centred[1]).sum(dim=1) / (lengths[0] * lengths[1]).sqrt()
    ).clamp(-1, 1)
    return PerImage(found, counted)
