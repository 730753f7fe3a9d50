"""Graphs, memberships and communities that can be counted on: what callers pass, checked once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cofire.errors import DataError, NonFiniteError
from cofire.tensors import Values
from cofire.tensors import dense as tensor_of

_ROUNDING = {torch.float32: 1e-5, torch.float16: 1e-2, torch.bfloat16: 1e-1}
"""Of the largest weight: how far an entry and its mirror image may lie apart; 1e-9 in other types."""


_TILE = 512

Array = Tensor | npt.NDArray[np.generic]
ArrayLike = Annotated[Array, Values(finite=False)]
"""A tensor or an array; each function says which entry is NaN or infinite in its own words."""

_SQUARE = "pass one row and one column per vertex"
_ADJACENCY = Values("vertices vertices", finite=False, remedy=_SQUARE)
_FROM_ZERO = "number the communities from 0, one number for each row of the adjacency"
_MEMBERSHIP = Values("vertices", "whole", least=-1, remedy=_FROM_ZERO)
_MASKS = "turn masks into indices with torch.nonzero(mask).flatten()"
_MEMBERS = Values("members", "whole", remedy=_MASKS)


@dataclass(frozen=True)
class WeightedGraph:
    """A graph that can be counted on.

    Attributes:
        adjacency: Weights, (vertices, vertices), float64, symmetric, finite, not negative.
        degrees: Their sums by row `k_v`, (vertices,).
        total: The sum of all, `2m`.
    """

    adjacency: Tensor
    degrees: Tensor
    total: float


def graph_of(adjacency: ArrayLike) -> WeightedGraph:
    """The graph of an adjacency matrix, if it is one.

    Args:
        adjacency: (vertices, vertices), any real numeric type.

    Returns:
        The graph.

    Raises:
        DataError: It is not square, not symmetric, or has a negative weight.
        NonFiniteError: A weight is NaN or infinite.

    Example:
        >>> graph_of(torch.tensor([[0, 2], [2, 0]])).total
        4.0
    """
    given: Tensor = _ADJACENCY.of("adjacency", adjacency)
    allowed = _ROUNDING.get(given.dtype, 1e-9)
    values = given.to(torch.float64)
    degrees = values.sum(dim=1)
    if not bool(torch.isfinite(degrees).all()):
        row = int(torch.nonzero(~torch.isfinite(degrees))[0])
        raise NonFiniteError(
            f"a NaN, an infinite weight or an infinite sum of weights in row {row} of the adjacency",
            "finite weights with a finite sum",
            "find where it comes from, or divide huge weights by their maximum",
        )
    if values.numel() and float(values.amin()) < 0:
        raise DataError(
            f"a weight of {float(values.amin()):g} in the adjacency",
            "weights from 0 up",
            "modularity is not defined for negative weights: shift or clip them",
        )
    if not _symmetric(values, allowed):
        # Apart by rounding alone: which half is right is not known.
        values = (values + values.T) / 2
        degrees = values.sum(dim=1)
    total = float(degrees.sum())
    if total == torch.inf:
        raise NonFiniteError(
            "weights whose sum is infinite", "a finite sum", "divide them by their maximum"
        )
    return WeightedGraph(values, degrees, total)


def _symmetric(values: Tensor, allowed: float) -> bool:
    """Whether exactly symmetric, tile by tile, since a tile and its mirror image fit into the cache together.

    Raises:
        DataError: Not even up to rounding.
    """
    exactly = True
    for top in range(0, len(values), _TILE):
        for left in range(top, len(values), _TILE):
            tile = values[top : top + _TILE, left : left + _TILE]
            mirrored = values[left : left + _TILE, top : top + _TILE].T
            if torch.equal(tile, mirrored):
                continue
            exactly = False
            apart = torch.nonzero((tile - mirrored).abs() > allowed * float(values.amax()))
            if len(apart):
                v, w = int(apart[0, 0]) + top, int(apart[0, 1]) + left
                raise DataError(
                    f"weight {float(values[v, w]):.9g} from vertex {v} to {w} and {float(values[w, v]):.9g} back",
                    "a symmetric matrix: these graphs have no directions",
                    "pass (adjacency + adjacency.T) / 2 if a mean is meant",
                )
    return exactly


def check_membership(membership: ArrayLike, vertices: int) -> Tensor:
    """The community of every vertex as int64, if it can be that.

    Args:
        membership: (vertices,), whole numbers from 0; -1 for what is not a vertex.
        vertices: How many there are.

    Raises:
        DataError: Another length or type, or a number below -1.
    """
    numbers: Tensor = _MEMBERSHIP.of("membership", membership)
    if len(numbers) != vertices:
        raise DataError(
            f"a membership of {len(numbers)} for {vertices} vertices",
            "one community per vertex, -1 for what is not a vertex",
            "pass one number per row of the adjacency",
        )
    return numbers.to(torch.int64)


def check_communities(
    communities: ArrayLike | Sequence[Sequence[int] | ArrayLike], vertices: int
) -> list[Tensor]:
    """The members of every community, each once and in order, if they exist.

    Args:
        communities: Vertices of each community; a tensor has one row per community.
        vertices: How many there are.

    Raises:
        DataError: A community names a vertex that does not exist, or something that is no vertex.
    """
    checked = []
    if not isinstance(communities, Iterable) or getattr(communities, "ndim", 1) == 0:
        raise DataError(
            f"communities of type {type(communities).__name__}",
            "a list of lists of vertices, or a tensor with one row per community",
            "pass the members of every community",
        )
    for number, members in enumerate(communities):
        found = tensor_of(
            list(members) if isinstance(members, set | frozenset) else members,
            f"community {number}",
        )
        if found.numel() == 0:
            found = torch.zeros(0, dtype=torch.int64)
        found = _MEMBERS.of(f"community {number}", found).to(torch.int64)
        if len(found) and not (int(found.min()) >= 0 and int(found.max()) < vertices):
            wrong = int(found.min()) if int(found.min()) < 0 else int(found.max())
            raise DataError(
                f"vertex {wrong} in community {number}",
                f"vertices from 0 to {vertices - 1}",
                "name rows of the adjacency",
            )
        checked.append(torch.unique(found))
    return checked
