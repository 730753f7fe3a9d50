"""Communities of an activation pattern graph, given or found, and how far they can be trusted."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import Literal, get_args

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import OptionError
from cofire.graphs.bisection import bisect
from cofire.graphs.leiden import leiden
from cofire.graphs.louvain import louvain
from cofire.marks import check_above_zero, check_whole
from cofire.patterns import adjusted_rand_index, modularity, normalized_mutual_information

Method = Literal["representatives", "louvain", "leiden", "kernighan-lin"]
"""How communities come about."""

_RESOLVED = ("louvain", "leiden")


@dataclass(frozen=True)
class GroupedGraph:
    """Weights, and which vertices stand for which class.

    Attributes:
        adjacency: Weights, (vertices, vertices), float64.
        members: Vertices of each class, which may overlap, (classes, top), int64.
        partition: Each vertex's own class, (vertices,), int64.
    """

    adjacency: Tensor
    members: Tensor
    partition: Tensor


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


def find_communities(
    graph: GroupedGraph, method: Method, resolution: float | None, seed: int
) -> Communities:
    """See `ActivationPatternGraph.communities`."""
    found = _membership(graph, method, resolution, seed)
    drawn = method != "representatives"
    members = (
        tuple(torch.nonzero(found == c).flatten() for c in range(int(found.max()) + 1))
        if drawn
        else tuple(torch.sort(row).values for row in graph.members)
    )
    return Communities(
        method=method,
        resolution=_resolution(method, resolution),
        seed=seed if drawn else None,
        membership=found,
        members=members,
        modularity=modularity(graph.adjacency, found),
        nmi=normalized_mutual_information(graph.partition, found),
        ari=adjusted_rand_index(graph.partition, found),
    )


def stability_of(
    graph: GroupedGraph, method: Method, runs: int, resolution: float | None, seed: int
) -> Stability:
    """See `ActivationPatternGraph.stability`."""
    if method == "representatives":
        raise OptionError(
            "method='representatives'", "a method that draws", "pass method='louvain'"
        )
    runs = check_whole("runs", runs)
    found = [_membership(graph, method, resolution, seed + run) for run in range(runs)]
    alike = [adjusted_rand_index(a, b) for a, b in combinations(found, 2)]
    return Stability(
        method=method,
        resolution=_resolution(method, resolution),
        modularities=tuple(modularity(graph.adjacency, one) for one in found),
        agreement=median(alike) if alike else None,
    )


def _resolution(method: Method, given: float | None) -> float | None:
    if method not in get_args(Method):
        raise OptionError(
            f"method={method!r}", f"one of {', '.join(get_args(Method))}", "pass method='louvain'"
        )
    if method not in _RESOLVED:
        if given is not None:
            raise OptionError(
                f"resolution={given} with method='{method}'",
                f"a method that has one: {', '.join(_RESOLVED)}",
                "leave resolution out",
            )
        return None
    return 1.0 if given is None else check_above_zero("resolution", given)


def _membership(graph: GroupedGraph, method: Method, resolution: float | None, seed: int) -> Tensor:
    gamma = _resolution(method, resolution)
    seed = check_whole("seed", seed, least=0)
    if method == "louvain":
        return louvain(graph.adjacency, resolution=1.0 if gamma is None else gamma, seed=seed)
    if method == "leiden":
        return leiden(graph.adjacency, resolution=1.0 if gamma is None else gamma, seed=seed)
    if method == "kernighan-lin":
        return bisect(graph.adjacency, seed=seed)
    return graph.partition
