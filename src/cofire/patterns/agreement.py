"""How far two partitions of the same vertices agree."""

from __future__ import annotations

import torch
from torch import Tensor

from cofire.errors import DataError
from cofire.patterns.adjacency import check_membership
from cofire.patterns.arrays import ArrayLike, tensor_of


def adjusted_rand_index(first: ArrayLike, second: ArrayLike) -> float:
    """Share of the pairs of vertices on which two partitions agree, corrected for chance (Hubert & Arabie 1985).

    `(Σ_ij C(n_ij, 2) - E) / (½ [Σ_i C(a_i, 2) + Σ_j C(b_j, 2)] - E)`, `E = Σ_i C(a_i, 2) Σ_j C(b_j,
    2) / C(n, 2)`, where n_ij vertices are in community i of the first and j of the second.

    Args:
        first: Community of every vertex, (vertices,), whole numbers from 0.
        second: The same of the other partition.

    Returns:
        1 for the same partition under other numbers, 0 on average for random ones of the same
        sizes, at least -0.5.

    Raises:
        DataError: They are of other lengths, empty, or not whole numbers from 0.

    Example:
        >>> round(adjusted_rand_index(torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 1, 0, 0, 0, 2])), 4)
        0.4444
    """
    table = _contingency(first, second)

    def pairs(counts: Tensor) -> float:
        return float((counts * (counts - 1)).sum()) / 2

    together, a, b = pairs(table), pairs(table.sum(dim=1)), pairs(table.sum(dim=0))
    vertices = float(table.sum())
    if vertices < 2:
        return 1.0
    expected = a * b / (vertices * (vertices - 1) / 2)
    most = (a + b) / 2
    # Both all in one or both all alone: the same partition.
    return 1.0 if most == expected else (together - expected) / (most - expected)


def normalized_mutual_information(first: ArrayLike, second: ArrayLike) -> float:
    """Information that two partitions share, `2 I(A; B) / (H(A) + H(B))`.

    Args:
        first: Community of every vertex, (vertices,), whole numbers from 0.
        second: The same of the other partition.

    Returns:
        From 0 (independent) to 1 (the same under other numbers). Unlike the adjusted Rand index it
        is not corrected for chance: many small communities alone raise it.

    Raises:
        DataError: They are of other lengths, empty, or not whole numbers from 0.

    Example:
        >>> round(normalized_mutual_information(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 2])), 4)
        0.8
    """
    shares = _contingency(first, second)
    shares = shares / shares.sum()
    entropy = torch.special.entr
    one, other = entropy(shares.sum(dim=1)).sum(), entropy(shares.sum(dim=0)).sum()
    both = entropy(shares).sum()
    if float(one + other) == 0:
        return 1.0  # both all in one community
    return min(1.0, max(0.0, float(2 * (one + other - both) / (one + other))))


def _contingency(first: ArrayLike, second: ArrayLike) -> Tensor:
    """How many vertices are in each pair of communities, float64."""
    given = [tensor_of(partition, "a partition") for partition in (first, second)]
    a, b = (check_membership(partition, partition.numel()) for partition in given)
    if len(a) != len(b) or len(a) == 0 or int(torch.minimum(a, b).min()) < 0:
        raise DataError(
            f"partitions of {len(a)} and {len(b)} vertices",
            "the same vertices in both, each in a community",
            "drop others",
        )
    (_, rows), (_, columns) = (torch.unique(partition, return_inverse=True) for partition in (a, b))
    width = int(columns.max()) + 1
    counts = torch.bincount(rows * width + columns, minlength=(int(rows.max()) + 1) * width)
    return counts.reshape(-1, width).to(torch.float64)
