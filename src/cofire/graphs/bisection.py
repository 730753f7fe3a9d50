"""Two halves with as little weight as possible between them, after Kernighan and Lin."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cofire.compiled import compiler

_STARTS = 5
"""Random starts of which the best is kept: a single one now and then ends far from the least cut."""
_PASSES = 100
"""Passes after which the search ends in any case; fewer than ten are usual."""
_TOLERANCE = 1e-12
"""The least gain worth another pass, as a share of all weight: what rounding can feign is below it."""


def bisect(adjacency: Tensor, *, seed: int = 0) -> Tensor:
    """Split the vertices into two halves so that little weight is cut.

    From a random balanced start, a pass of Kernighan and Lin (1970) exchanges the pair a, b, one of
    each half, that gains most or loses least,

        g = D_a + D_b − 2 A_ab,   D_v = Σ_w A_vw [w in the other half] − Σ_w A_vw [w in the same
        half],

    sets it aside, goes on until no pair is left, and then keeps the first exchanges up to where
    their gains sum to the most. Passes are repeated until one gains nothing; then no exchange of
    one pair gains either. Of a few such starts the one that cuts least is kept. The diagonal is
    never cut and plays no part.

    Args:
        adjacency: Weights (n, n), float64: square, symmetric, finite, not negative.
        seed: Fixes the random start, and with it the result.

    Returns:
        The half (n,), int64, of every vertex: 0 for the half of vertex 0, 1 for the other. An odd
        vertex out may be in either, wherever it cuts less weight.

    Example:
        >>> adjacency = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)).double().fill_diagonal_(0)
        >>> adjacency[2, 3] = adjacency[3, 2] = 1
        >>> bisect(adjacency)
        tensor([0, 0, 0, 1, 1, 1])
    """
    n = len(adjacency)
    # An odd vertex out is exchanged with one that has no neighbours, as Kernighan and Lin propose.
    even = n + n % 2
    weights = np.zeros((even, even))
    weights[:n, :n] = adjacency.detach().cpu().numpy()
    np.fill_diagonal(weights, 0)
    largest = weights.max(initial=0.0)
    if largest > 0:
        # Weights of any unit fit once the largest is 1: their sums do not overflow.
        weights /= largest
    random = np.random.default_rng(seed)
    least = np.inf
    for _ in range(_STARTS):
        half = np.ones(even, np.int64)
        half[random.permutation(even)[: even // 2]] = 0
        for _ in range(_PASSES):
            if not _pass(weights, half, _TOLERANCE):
                break
        cut = weights[half == 0][:, half == 1].sum()
        # What differs by rounding alone must not decide which of two equal cuts is kept.
        if cut < least * (1 - _TOLERANCE):
            least, best = cut, half
    return torch.from_numpy(best[:n] ^ best[:1])


# Largest values may be sought in several lanes at once: nothing here is NaN, and the result is the
# same.
@compiler(fastmath={"nnan", "nsz"})
def _pass(weights, half, tolerance):  # type: ignore[no-untyped-def]
    """Exchange, in place, the pairs of one pass that gain together; whether there were any."""
    n = len(half)
    free = -1e300
    sign = np.empty(n, np.float64)
    gain = np.empty(n, np.float64)
    score = np.empty(n, np.float64)
    near = np.empty(n // 2, np.int64)
    total = 0.0
    at = 0
    for v in range(n):
        sign[v] = 1.0 if half[v] == 0 else -1.0
        if half[v] == 0:
            near[at] = v
            at += 1
    for v in range(n):
        cut = 0.0
        kept = 0.0
        for w in range(n):
            if half[w] == half[v]:
                kept += weights[v, w]
            else:
                cut += weights[v, w]
        gain[v] = cut - kept
        total += cut + kept
        score[v] = gain[v] if half[v] == 1 else free
    left = n // 2
    first = np.empty(left, np.int64)
    second = np.empty(left, np.int64)
    summed = 0.0
    most = tolerance * total
    keep = 0
    for step in range(n // 2):
        # Starting with the vertex of most gain, nearly all others can be ruled out by their own
        # gain.
        lead = 0
        for i in range(1, left):
            if gain[near[i]] > gain[near[lead]]:
                lead = i
        near[0], near[lead] = near[lead], near[0]
        bound = score.max()
        best = 4 * free
        one = 0
        other = 0
        for i in range(left):
            a = near[i]
            if gain[a] + bound <= best:
                continue
            row = weights[a]
            top = free
            for b in range(n):
                top = max(top, score[b] - 2 * row[b])
            if gain[a] + top > best:
                best = gain[a] + top
                one = i
                for b in range(n):
                    if score[b] - 2 * row[b] == top:
                        other = b
                        break
        a = near[one]
        left -= 1
        near[one] = near[left]
        first[step] = a
        second[step] = other
        summed += best
        if summed > most:
            most = summed
            keep = step + 1
        for v in range(n):
            change = 2 * sign[v] * (weights[a, v] - weights[other, v])
            gain[v] += change
            score[v] += change
        score[other] = free
    for i in range(keep):
        half[first[i]] = 1
        half[second[i]] = 0
    return keep > 0
