"""Communities of an activation pattern graph, given or found, and how far they can be trusted."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass
from statistics import median
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.compiled import compiler
from cofire.errors import MissingExtraError, OptionError
from cofire.graphs.louvain import by_size, louvain

Method = Literal["representatives", "louvain", "leiden", "kernighan-lin"]
"""How communities come about."""
Measure = Literal[
    "no-overlap", "unweighted-overlap", "weighted-overlap", "kernighan-lin", "louvain", "leiden"
]
"""P2 Eq. 2, 3 and 4 of the representative neurons; Eq. 2 of what a method finds."""
Null = Literal["weights", "labels"]
"""The same edges with their weights shuffled; the same activations with random labels."""
_RESOLVED = ("louvain", "leiden")


@validated
@dataclass(frozen=True, repr=False)
class Communities:
    """Communities of a graph.

    Attributes:
        method: How they came about.
        resolution: At which γ, None for methods without.
        seed: With which seed, None for "representatives".
        membership: Community of every vertex, (vertices,), int64: the class of "representatives",
            otherwise numbered from 0 by falling size.
        members: Vertices of every community; those of "representatives" overlap.
        modularity: Eq. 2 (γ = 1) of `membership`.
        nmi: Normalised mutual information with the classes, 0 to 1.
        ari: Adjusted Rand index with the classes: 1 the same, 0 what chance gives.
    """

    method: Method
    resolution: float | None
    seed: int | None
    membership: Tensor
    members: tuple[Tensor, ...]
    modularity: float
    nmi: float
    ari: float

    @property
    def sizes(self) -> tuple[int, ...]:
        """Vertices of each community, falling (P2 Table 3)."""
        return tuple(sorted((len(m) for m in self.members), reverse=True))

    @property
    def mean_size(self) -> float:
        """Vertices per community, on average."""
        return sum(self.sizes) / max(1, len(self.sizes))

    def __repr__(self) -> str:
        modularity = f"modularity {self.modularity + 0.0:.3f} (Eq. 2)"
        if self.method == "representatives":
            return (
                f"Communities({self.method}: the {len(self.members)} classes themselves, {self.sizes[0]} neurons each, "
                f"overlapping; with each neuron in one class {modularity})"
            )
        sizes = ", ".join(map(str, self.sizes[:8])) + (" …" if len(self.sizes) > 8 else "")
        gamma = "" if self.resolution is None else f" at γ = {self.resolution:g}"
        return (
            f"Communities({self.method}{gamma}, {len(self.members)} of sizes {sizes}; {modularity}, "
            f"agreement with the classes NMI {self.nmi:.2f}, ARI {self.ari + 0.0:.2f})"
        )


@validated
@dataclass(frozen=True, repr=False)
class Stability:
    """What a method that draws finds with different seeds.

    Attributes:
        method: Which.
        resolution: At which γ, None for methods without.
        modularities: Eq. 2 (γ = 1) of what each seed gave.
        agreement: Median adjusted Rand index between any two of them; None of one run.
    """

    method: Method
    resolution: float | None
    modularities: tuple[float, ...]
    agreement: float | None

    @property
    def median(self) -> float:
        """Median modularity."""
        return median(self.modularities)

    @property
    def low(self) -> float:
        """Lowest."""
        return min(self.modularities)

    @property
    def high(self) -> float:
        """Highest."""
        return max(self.modularities)

    def __repr__(self) -> str:
        alike = "" if self.agreement is None else f", ARI between seeds {self.agreement:.2f}"
        return (
            f"Stability({self.method}, modularity {self.median:.3f} [{self.low:.3f}, {self.high:.3f}] over "
            f"{len(self.modularities)} seeds{alike})"
        )


@validated
@dataclass(frozen=True)
class Significance:
    """A modularity and what it would be by chance.

    Attributes:
        measure: Which modularity.
        null: Which kind of chance.
        value: Of the graph itself.
        mean: Over the graphs made by chance.
        std: Standard deviation over them.
        z: `(value - mean) / std`; None where chance always gives the same (shuffled weights do not
            move Eq. 3, which has none), and of fewer than 5 graphs, whose spread says nothing. Of
            ten, it is a quarter off as a rule.
        runs: How many graphs were made by chance.
    """

    measure: Measure
    null: Null
    value: float
    mean: float
    std: float
    z: float | None
    runs: int


def without_resolution(option: str, chosen: str, resolution: float) -> OptionError:
    """What is said of a γ where there is none."""
    return OptionError(
        f"resolution={resolution} with {option}='{chosen}'",
        f"a {option} that has one: {', '.join(_RESOLVED)}",
        "leave resolution out",
    )


def membership_of(
    adjacency: Tensor, method: Method, resolution: float | None, seed: int
) -> tuple[Tensor, float | None]:
    """The community of every vertex by a method that draws, and at which γ.

    Raises:
        OptionError: A resolution that the method does not have.
    """
    if method not in _RESOLVED and resolution is not None:
        raise without_resolution("method", method, resolution)
    if method == "kernighan-lin":
        return bisect(adjacency, seed=seed), None
    found = {"louvain": louvain, "leiden": leiden}[method]
    gamma = 1.0 if resolution is None else resolution
    return found(adjacency, resolution=gamma, seed=seed), gamma


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


_GENERATOR = threading.Lock()


def igraph_module(what: str) -> Any:
    """The library, if it is installed.

    Args:
        what: For what it is needed, for the message.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        import igraph
    except ImportError as error:
        raise MissingExtraError(
            f"{what} without igraph", "the extra 'igraph'", "pip install igraph"
        ) from error
    return igraph


def leiden(adjacency: Tensor, *, resolution: float = 1.0, seed: int = 0) -> Tensor:
    """Communities of high modularity by Leiden's method (Traag et al. 2019), repeated until nothing changes.

    igraph draws from one generator for the whole process. While this runs it is one of ours;
    afterwards it is Python's own `random`, as igraph has it unless it was told otherwise.

    Args:
        adjacency: Weights, (vertices, vertices), symmetric, from 0 up, 0 on the diagonal.
        resolution: γ, which multiplies the null model.
        seed: Of the order in which vertices are visited.

    Returns:
        Community of every vertex, (vertices,), int64, numbered from 0 by falling size.

    Raises:
        MissingExtraError: igraph is not installed.
    """
    igraph = igraph_module("Leiden's method")
    pairs = torch.nonzero(torch.triu(adjacency, 1))
    graph = igraph.Graph(n=len(adjacency), edges=pairs.numpy())
    weights = adjacency[pairs[:, 0], pairs[:, 1]].tolist()
    with _GENERATOR:
        igraph.set_random_number_generator(random.Random(seed))
        try:
            found = graph.community_leiden(
                "modularity", weights=weights, resolution=resolution, n_iterations=-1
            )
        finally:
            igraph.set_random_number_generator(random)
    return torch.from_numpy(by_size(np.array(found.membership, dtype=np.int64)))
