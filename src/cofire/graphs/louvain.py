"""Communities by the Louvain method, on a dense matrix and without a global random state."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofire.compiled import compiler

_TOLERANCE = 1e-10
"""The least gain worth a move, as a share of the strength of the vertex: well above what rounding can feign."""
_SWEEPS = 1000
"""Sweeps after which local moving ends in any case; a few dozen are usual."""


def louvain(adjacency: Tensor, *, resolution: float = 1.0, seed: int = 0) -> Tensor:
    """Which vertices form communities: more weight inside than their strengths make likely.

    Blondel et al. (2008) raise the modularity

        Q = 1/2m Σ_vw (A_vw − γ k_v k_w / 2m) δ(c_v, c_w),   k_v = Σ_w A_vw,   2m = Σ_v k_v

    by moving single vertices to the community where they gain most, then take every community for
    one vertex and start again. Here the vertices themselves are moved once more after that, until
    neither they nor whole communities gain by moving: no move of a single vertex, be it to a
    community of its own, raises Q any more. A diagonal counts as it stands in the matrix.

    Args:
        adjacency: Weights (n, n), float64: square, symmetric, finite, not negative.
        resolution: γ, from 0 up; above 1 for more and smaller communities.
        seed: Fixes the order in which the vertices are visited, and with it the result.

    Returns:
        The community (n,), int64, of every vertex, numbered from 0 by falling size, those of one
        size by their lowest vertex. A vertex without neighbours is a community of its own.

    Example:
        >>> adjacency = torch.block_diag(torch.ones(2, 2), torch.ones(3, 3)).double().fill_diagonal_(0)
        >>> adjacency[1, 2] = adjacency[2, 1] = 0.5
        >>> louvain(adjacency)
        tensor([1, 1, 0, 0, 0])
    """
    whole = adjacency.detach().cpu().numpy()
    n = len(whole)
    largest = whole.max(initial=0.0)
    if largest == 0:
        return torch.arange(n)
    random = np.random.default_rng(seed)
    # Weights of any unit fit once the largest is 1: their products neither overflow nor vanish.
    vertices = _rows(np.ascontiguousarray(whole / largest))
    member = np.arange(n)
    while True:
        moved = _move(*vertices, member, random.permutation(n), resolution)
        member, communities = _renumbered(member)
        if not moved:
            break
        while True:
            coarse = _rows(_between(*vertices, member, communities))
            merged = np.arange(communities)
            if not _move(*coarse, merged, random.permutation(communities), resolution):
                break
            merged, communities = _renumbered(merged)
            member = merged[member]
    return torch.from_numpy(by_size(member))


def _renumbered(member: np.ndarray[Any, Any]) -> tuple[np.ndarray[Any, Any], int]:
    """The same communities numbered without gaps, and how many there are."""
    used, dense = np.unique(member, return_inverse=True)
    return dense, len(used)


def by_size(member: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """The same communities numbered by falling size, those of one size by their lowest vertex."""
    _, first, dense, size = np.unique(
        member, return_index=True, return_inverse=True, return_counts=True
    )
    rank = np.empty(len(first), np.int64)
    rank[np.lexsort((first, -size))] = np.arange(len(first))
    return rank[dense]


@compiler()
def _rows(matrix):  # type: ignore[no-untyped-def]
    """The neighbours of every vertex one after the other: where each row starts, columns and weights."""
    n = matrix.shape[0]
    start = np.zeros(n + 1, np.int64)
    for v in range(n):
        count = 0
        for w in range(n):
            count += matrix[v, w] != 0
        start[v + 1] = start[v] + count
    # One place more than needed, for the column that is written before it is known to be one.
    column = np.empty(start[n] + 1, np.int32)
    weight = np.empty(start[n] + 1, np.float64)
    for v in range(n):
        at = start[v]
        for w in range(n):
            column[at] = w
            weight[at] = matrix[v, w]
            at += matrix[v, w] != 0
    return start, column, weight


@compiler()
def _between(start, column, weight, member, communities):  # type: ignore[no-untyped-def]
    """The weight between every two communities; what lies inside one counts twice, as in a row sum."""
    total = np.zeros((communities, communities), np.float64)
    for v in range(len(member)):
        row = total[member[v]]
        for at in range(start[v], start[v + 1]):
            row[member[column[at]]] += weight[at]
    return total


@compiler(error_model="numpy")
def _move(start, column, weight, member, order, resolution):  # type: ignore[no-untyped-def]
    """Move single vertices, in place, until none of them gains; whether any has moved."""
    n = len(member)
    strength = np.zeros(n, np.float64)
    volume = np.zeros(n, np.float64)
    size = np.zeros(n, np.int64)
    for v in range(n):
        for at in range(start[v], start[v + 1]):
            strength[v] += weight[at]
        volume[member[v]] += strength[v]
        size[member[v]] += 1
    share = resolution / strength.sum()
    empty = np.empty(n, np.int64)
    spare = 0
    for c in range(n):
        if size[c] == 0:
            empty[spare] = c
            spare += 1
    linked = np.zeros(n, np.float64)
    near = np.empty(n, np.int64)
    ever = False
    for _ in range(_SWEEPS):
        moved = False
        for v in order:
            home = member[v]
            found = 0
            for at in range(start[v], start[v + 1]):
                w = column[at]
                if w != v:
                    c = member[w]
                    if linked[c] == 0:
                        near[found] = c
                        found += 1
                    linked[c] += weight[at]
            pull = share * strength[v]
            volume[home] -= strength[v]
            least = _TOLERANCE * strength[v] * max(1.0, resolution)
            best = home
            most = linked[home] - pull * volume[home] + least
            # On its own it neither gains nor loses.
            if most < 0 and size[home] > 1:
                best = empty[spare - 1]
                most = 0.0
            for i in range(found):
                c = near[i]
                gain = linked[c] - pull * volume[c]
                if gain > most:
                    best = c
                    most = gain
                linked[c] = 0
            volume[best] += strength[v]
            if best != home:
                if size[best] == 0:
                    spare -= 1
                size[best] += 1
                size[home] -= 1
                if size[home] == 0:
                    empty[spare] = home
                    spare += 1
                member[v] = best
                moved = True
        ever |= moved
        if not moved:
            break
    return ever
