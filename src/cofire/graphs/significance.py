"""Modularities of a graph, held against what chance gives."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Literal, get_args

import torch

from cofire.arguments import validated
from cofire.errors import OptionError
from cofire.graphs.communities import GroupedGraph, find_communities
from cofire.patterns import modularity, overlapping_modularity

Measure = Literal[
    "no-overlap", "unweighted-overlap", "weighted-overlap", "kernighan-lin", "louvain", "leiden"
]
"""P2 Eq. 2, 3 and 4 of the representative neurons; Eq. 2 of what a method finds."""
Null = Literal["weights", "labels"]
"""The same edges with their weights shuffled; the same activations with random labels."""
_SAME = 1e-12
_FEWEST = 5


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


def quality_of(graph: GroupedGraph, measure: Measure, resolution: float | None, seed: int) -> float:
    """See `ActivationPatternGraph.modularity`."""
    if measure not in get_args(Measure):
        raise OptionError(
            f"measure={measure!r}",
            f"one of {', '.join(get_args(Measure))}",
            "pass measure='weighted-overlap'",
        )
    if measure == "kernighan-lin" or measure == "louvain" or measure == "leiden":
        return find_communities(graph, measure, resolution, seed).modularity
    if resolution is not None:
        raise OptionError(
            f"resolution={resolution} with measure='{measure}'",
            "louvain or leiden",
            "leave resolution out",
        )
    if measure == "no-overlap":
        return modularity(graph.adjacency, graph.partition)
    return overlapping_modularity(
        graph.adjacency, graph.members, weighted=measure == "weighted-overlap"
    )


def significances_of(
    graph: GroupedGraph,
    made: Iterable[GroupedGraph],
    null: Null,
    measures: Sequence[Measure],
    resolution: float | None,
    seed: int,
    values: Sequence[float] | None = None,
) -> tuple[Significance, ...]:
    """Several measures over the same graphs made by chance (see `ActivationPatternGraph.significance`).

    Args:
        graph: The graph.
        made: Graphs made by chance, two at least.
        null: By which kind of chance.
        measures: Which measures.
        resolution: Of Louvain and Leiden.
        seed: Of the detection.
        values: Of the measures, if they are known already.
    """
    gammas = [resolution if measure in ("louvain", "leiden") else None for measure in measures]
    pairs = list(zip(measures, gammas, strict=True))
    if values is None:
        values = [quality_of(graph, measure, gamma, seed) for measure, gamma in pairs]
    # One graph at a time: they may be large.
    found = [[quality_of(one, measure, gamma, seed) for measure, gamma in pairs] for one in made]
    results = []
    for measure, value, by_chance in zip(measures, values, zip(*found, strict=True), strict=True):
        middle, spread = mean(by_chance), stdev(by_chance)
        varies = spread > _SAME * max(1.0, abs(middle))
        z = (value - middle) / spread if varies and len(by_chance) >= _FEWEST else None
        results.append(Significance(measure, null, value, middle, spread, z, len(by_chance)))
    return tuple(results)


def shuffled(graph: GroupedGraph, runs: int, seed: int) -> Iterator[GroupedGraph]:
    """The same edges with their weights in random order, several times."""
    rows, columns = torch.nonzero(torch.triu(graph.adjacency, 1), as_tuple=True)
    weights = graph.adjacency[rows, columns]
    for run in range(runs):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + run) % (1 << 63))
        other = torch.zeros_like(graph.adjacency)
        other[rows, columns] = weights[torch.randperm(len(weights), generator=generator)]
        yield replace(graph, adjacency=other + other.T)
