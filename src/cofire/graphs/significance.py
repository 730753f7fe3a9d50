"""Modularities of a graph, held against what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import Literal, get_args

import torch

from cofire.errors import OptionError
from cofire.graphs.communities import GroupedGraph, find_communities
from cofire.patterns import modularity, overlapping_modularity

__all__ = ["Measure", "Null", "Significance", "quality_of", "shuffled", "significances_of"]

Measure = Literal["no-overlap", "unweighted-overlap", "weighted-overlap", "kernighan-lin", "louvain", "leiden"]
"""P2 Eq. 2, 3 and 4 of the representative neurons; Eq. 2 of what a method finds."""

Null = Literal["weights", "labels"]
"""The same edges with their weights shuffled; the same activations with random labels."""

_SAME = 1e-12


@dataclass(frozen=True)
class Significance:
    """A modularity and what it would be by chance.

    Attributes:
        measure: Which modularity.
        null: Which kind of chance.
        value: Of the graph itself.
        mean: Over the graphs made by chance.
        std: Standard deviation over them.
        z: `(value - mean) / std`; None where chance always gives the same (shuffled weights do not move Eq. 3, which
            has none).
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
            f"measure={measure!r}", f"one of {', '.join(get_args(Measure))}", "pass measure='weighted-overlap'"
        )
    if measure == "kernighan-lin" or measure == "louvain" or measure == "leiden":
        return find_communities(graph, measure, resolution, seed).modularity
    if resolution is not None:
        raise OptionError(
            f"resolution={resolution} with measure='{measure}'", "louvain or leiden", "leave resolution out"
        )
    if measure == "no-overlap":
        return modularity(graph.adjacency, graph.partition)
    return overlapping_modularity(graph.adjacency, graph.members, weighted=measure == "weighted-overlap")


def significances_of(
    graph: GroupedGraph,
    made: Sequence[GroupedGraph],
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
    results = []
    for number, (measure, gamma) in enumerate(zip(measures, gammas, strict=True)):
        value = quality_of(graph, measure, gamma, seed) if values is None else values[number]
        found = [quality_of(one, measure, gamma, seed) for one in made]
        middle, spread = mean(found), stdev(found)
        z = (value - middle) / spread if spread > _SAME * max(1.0, abs(middle)) else None
        results.append(Significance(measure, null, value, middle, spread, z, len(found)))
    return tuple(results)


def shuffled(graph: GroupedGraph, runs: int, seed: int) -> list[GroupedGraph]:
    """The same edges with their weights in random order, several times.

    Raises:
        OptionError: Fewer than two runs.
    """
    if isinstance(runs, bool) or not isinstance(runs, int) or runs < 2:
        raise OptionError(f"runs={runs}", "a whole number from 2 up", "pass runs=20")
    rows, columns = torch.nonzero(torch.triu(graph.adjacency, 1), as_tuple=True)
    weights = graph.adjacency[rows, columns]
    made = []
    for run in range(runs):
        generator = torch.Generator().manual_seed((seed * 1_000_003 + run) % (1 << 63))
        other = torch.zeros_like(graph.adjacency)
        other[rows, columns] = weights[torch.randperm(len(weights), generator=generator)]
        made.append(replace(graph, adjacency=other + other.T))
    return made
