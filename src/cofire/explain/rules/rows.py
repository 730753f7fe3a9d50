"""Sums of the rows of a matrix of weights, without reading those that count nothing."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from cofire.compiled import compiler, over

FEW = 4
"""Sums at once for which reading the weights takes longer than adding them up."""


def rows_weighted(by: Tensor, weight: Tensor) -> Tensor:
    """The product of two matrices, of which the first has many zeros in the same columns.

    Args:
        by: (sums, rows), how much each row counts.
        weight: (rows, columns).

    Returns:
        (sums, columns).

    Example:
        >>> rows_weighted(torch.tensor([[0.0, 2.0, 0.0]]), torch.tensor([[1.0, 1.0], [3.0, 4.0], [5.0, 6.0]]))
        tensor([[6., 8.]])
    """
    # The largest of each column is found faster than whether there is any.
    rows = (by.abs().amax(0) if len(by) else by.any(0)).nonzero().squeeze(1)
    if not len(rows):
        return by.new_zeros(len(by), weight.shape[1])
    plain = by.device.type == "cpu" and by.dtype == weight.dtype == torch.float32
    if plain and len(by) <= FEW and weight.is_contiguous():
        found = torch.zeros(len(by), weight.shape[1])
        parts = (by.contiguous(), weight.detach(), rows, found)
        over(_add, weight.shape[1], len(rows) * found.numel(), *(part.numpy() for part in parts))
        return found
    first, end = int(rows[0]), int(rows[-1]) + 1
    return by[:, first:end] @ weight[first:end]


def sums_weighted(by: Tensor, weight: Tensor) -> Tensor:
    """The product of two matrices, of which the first has many rows of zeros.

    Args:
        by: (sums, rows), how much each row counts.
        weight: (rows, columns).

    Returns:
        (sums, columns).

    Example:
        >>> sums_weighted(torch.tensor([[0.0, 0.0], [2.0, 1.0]]), torch.tensor([[1.0], [3.0]]))
        tensor([[0.],
                [5.]])
    """
    # A row without zeros in front is not one of zeros: most matrices need not be read.
    sums = by[:, 0].nonzero().squeeze(1)
    if 2 * len(sums) <= len(by):
        sums = by.any(1).nonzero().squeeze(1)
    if 2 * len(sums) > len(by):
        return by @ weight
    part = by[sums]
    return by.new_zeros(len(by), weight.shape[1]).index_copy_(
        0, sums, rows_weighted(part, weight) if len(part) <= FEW else part @ weight
    )


@compiler(fastmath={"contract"})
def _add(start: Any, end: Any, by: Any, weight: Any, rows: Any, found: Any) -> None:
    """For some columns; four rows at once, so that sums are fetched and put back a fourth as often."""
    whole = len(rows) // 4 * 4
    for at in range(0, whole, 4):
        one, two, three, four = rows[at], rows[at + 1], rows[at + 2], rows[at + 3]
        for number in range(len(by)):
            factor = by[number]
            _add_four(
                found[number, start:end],
                (factor[one], factor[two], factor[three], factor[four]),
                weight[one, start:end],
                weight[two, start:end],
                weight[three, start:end],
                weight[four, start:end],
            )
    for at in range(whole, len(rows)):
        for number in range(len(by)):
            found[number, start:end] += by[number, rows[at]] * weight[rows[at], start:end]


@compiler(fastmath={"contract"})
def _add_four(sums: Any, by: Any, one: Any, two: Any, three: Any, four: Any) -> None:
    for column in range(len(sums)):
        sums[column] += (
            by[0] * one[column] + by[1] * two[column] + by[2] * three[column] + by[3] * four[column]
        )
