"""Modularities of a graph, held against what chance gives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import TYPE_CHECKING, Literal, get_args

import torch

from cofire.errors import DataError, OptionError
from cofire.graphs.communities import find_communities
from cofire.patterns import modularity, overlapping_modularity

if TYPE_CHECKING:
    from cofire.graphs.graph import ActivationPatternGraph

__all__ = ["Measure", "Null", "Significance", "quality_of", "significances_of"]

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


def quality_of(graph: ActivationPatternGraph, measure: Measure, resolution: float | None, seed: int) -> float:
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
    graph: ActivationPatternGraph,
    measures: Sequence[Measure],
    null: Null,
    runs: int,
    resolution: float | None,
    seed: int,
    values: Sequence[float] | None = None,
) -> tuple[Significance, ...]:
    """Several measures over the same graphs made by chance (see `ActivationPatternGraph.significance`).

    Args:
        graph: The graph.
        measures: Which measures.
        null: Which kind of chance.
        runs: How often weights are shuffled.
        resolution: Of Louvain and Leiden.
        seed: Of the shuffling and the detection.
        values: Of the measures, if they are known already.
    """
    made = _by_chance(graph, null, runs, seed)
    gammas = [resolution if measure in ("louvain", "leiden") else None for measure in measures]
    results = []
    for number, (measure, gamma) in enumerate(zip(measures, gammas, strict=True)):
        value = quality_of(graph, measure, gamma, seed) if values is None else values[number]
        found = [quality_of(one, measure, gamma, seed) for one in made]
        middle, spread = mean(found), stdev(found)
        z = (value - middle) / spread if spread > _SAME * max(1.0, abs(middle)) else None
        results.append(Significance(measure, null, value, middle, spread, z, len(found)))
    return tuple(results)


def _by_chance(graph: ActivationPatternGraph, null: Null, runs: int, seed: int) -> list[ActivationPatternGraph]:
    if null == "weights":
        if isinstance(runs, bool) or not isinstance(runs, int) or runs < 2:
            raise OptionError(f"runs={runs}", "a whole number from 2 up", "pass runs=20")
        return [shuffled(graph, seed, run) for run in range(runs)]
    if null != "labels":
        raise OptionError(f"null={null!r}", f"one of {', '.join(get_args(Null))}", "pass null='weights'")
    if len(graph.by_chance) < 2:
        raise DataError(
            f"a graph with {len(graph.by_chance)} graphs of random labels",
            "two at least",
            "collect them with cofire.summarize(…, null_graphs=10)",
        )
    return list(graph.by_chance)


def shuffled(graph: ActivationPatternGraph, seed: int, run: int) -> ActivationPatternGraph:
    """The same edges with their weights in random order."""
    pairs, weights = graph.edges()
    generator = torch.Generator().manual_seed((seed * 1_000_003 + run) % (1 << 63))
    other = torch.zeros_like(graph.adjacency)
    other[pairs[:, 0], pairs[:, 1]] = weights[torch.randperm(len(weights), generator=generator)]
    return replace(graph, adjacency=other + other.T, by_chance=())
