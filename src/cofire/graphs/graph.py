"""The activation pattern graph of a layer: which of its representative neurons fire together."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from itertools import combinations
from pathlib import Path
from statistics import mean, median, stdev
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

import torch
from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, ResultError
from cofire.graphs.communities import (
    Communities,
    Measure,
    Method,
    Null,
    Significance,
    Stability,
    membership_of,
    without_resolution,
)
from cofire.graphs.exchange import igraph_of, networkx_of, write_gexf, write_graphml
from cofire.graphs.layout import force_layout
from cofire.patterns import (
    adjusted_rand_index,
    modularity,
    normalized_mutual_information,
    overlapping_modularity,
    participation_coefficient,
    partition_of,
    unique_neuron_matrix,
    within_community_strength,
)
from cofire.reading import reader
from cofire.shown import Shown
from cofire.storage import load_result, save_result
from cofire.tensors import Values

if TYPE_CHECKING:
    import networkx


_FORMAT = 1
_SAME = 1e-12
_FEWEST = 5
_TENSORS = ("neurons", "representatives", "class_means", "adjacency", "mean_activation", "entropy")


@validated(finite=False)
@dataclass(frozen=True, repr=False)
class ActivationPatternGraph(Shown):
    """Which representative neurons of a layer fire together, at one moment of training (P2 §5.1).

    `cofire.summarize(…, by_class=True, pairs="class").graph(layer)` makes one. A *vertex* is the
    place of a neuron in `neurons`; all results about vertices are in that order.

    Attributes:
        layer: Name of the layer.
        class_names: Names of the classes, in order.
        neurons: Neurons that represent a class, each once and in order, (vertices,), int64.
        representatives: Representative neurons of each class, best first, (classes, top), int64.
        class_means: Mean activation of each of them over that class, (classes, top), float64.
        adjacency: Weights, (vertices, vertices), float64, symmetric: the share of a class's
            observations in which both neurons exceed their own mean over it, added up over the
            classes.
        mean_activation: Mean activation of every vertex over all observations, (vertices,),
            float64.
        entropy: Activation pattern entropy of every vertex in nats, (vertices,), float64.
        pairs: Which pairs were counted: for each class its own representatives ("class") or
            everybody's ("union").
        top_asked: How many representatives per class were asked for; a layer may have fewer
            neurons.
        by_chance: The same graph with the labels in random order, several times; what chance alone
            gives.

    Raises:
        DataError: The parts do not fit together.

    Example:
        Two classes of two neurons each, one of which they share:

        >>> weights = torch.tensor([[0.0, 0.5, 0.0], [0.5, 0.0, 0.25], [0.0, 0.25, 0.0]], dtype=torch.float64)
        >>> means = torch.tensor([[3.0, 1.0], [2.0, 1.5]], dtype=torch.float64)
        >>> graph = ActivationPatternGraph(
        ...     layer="relu", class_names=("cat", "dog"), neurons=torch.tensor([2, 5, 9]),
        ...     representatives=torch.tensor([[2, 5], [9, 5]]), class_means=means, adjacency=weights,
        ...     mean_activation=torch.ones(3), entropy=torch.ones(3), pairs="class", top_asked=2,
        ... )
        >>> graph.partition, graph.strength(), graph.unique_neuron_matrix().tolist()
        (tensor([0, 1, 1]), tensor([0.5000, 0.7500, 0.2500], dtype=torch.float64), [[1, 1], [1, 1]])
        >>> round(graph.modularity("no-overlap"), 4)
        -0.2222
    """

    layer: str
    class_names: tuple[str, ...]
    neurons: Annotated[Tensor, Values("vertices", "whole")]
    representatives: Annotated[Tensor, Values("classes top", "whole")]
    class_means: Annotated[Tensor, Values("classes top", finite=False)]
    adjacency: Annotated[Tensor, Values("vertices vertices", finite=False)]
    mean_activation: Annotated[Tensor, Values("vertices", finite=False)]
    entropy: Annotated[Tensor, Values("vertices", finite=False)]
    pairs: Literal["class", "union"]
    top_asked: int
    by_chance: tuple[Self, ...] = ()

    def __post_init__(self) -> None:
        if len(self.class_names) != len(self.representatives):
            raise DataError(
                f"{len(self.class_names)} class names, and representatives of {len(self.representatives)}",
                "one name for each class",
                "name every class",
            )
        if not torch.equal(torch.unique(self.representatives), self.neurons):
            raise DataError(
                "neurons that are not those that represent a class",
                "the union of the representatives, in order",
                "pass neurons=torch.unique(representatives)",
            )

    @property
    def top(self) -> int:
        """Representative neurons per class."""
        return self.representatives.shape[1]

    @property
    def vertices(self) -> int:
        """How many neurons represent a class."""
        return len(self.neurons)

    @cached_property
    def members(self) -> Tensor:
        """Vertices that represent each class, best first, (classes, top), int64: P2's overlapping communities `N_i`."""
        return torch.searchsorted(self.neurons, self.representatives)

    @cached_property
    def partition(self) -> Tensor:
        """Each vertex's class: of those it represents, the one with its highest mean activation, (vertices,), int64."""
        means = torch.zeros(len(self.members), self.vertices, dtype=torch.float64)
        return partition_of(means.scatter_(1, self.members, self.class_means), self.members)

    def classes_of(self) -> list[list[int]]:
        """The classes that each vertex represents, in order."""
        found: list[list[int]] = [[] for _ in range(self.vertices)]
        for number, row in enumerate(self.members.tolist()):
            for vertex in row:
                found[vertex].append(number)
        return found

    def vertex_columns(self) -> dict[str, list[Any]]:
        """What is known of every vertex, column by column, in plain numbers."""
        return {
            "neuron": self.neurons.tolist(),
            "classes": self.classes_of(),
            "class": self.partition.tolist(),
            "mean_activation": self.mean_activation.tolist(),
            "entropy": self.entropy.tolist(),
            "degree": self.degree().tolist(),
            "strength": self.strength().tolist(),
            "within_strength": self.within_strength().tolist(),
            "participation": self.participation().tolist(),
        }

    def edges(self) -> tuple[Tensor, Tensor]:
        """Pairs of vertices that fire together, (edges, 2), int64, and the weights of these edges, (edges,)."""
        pairs = torch.nonzero(torch.triu(self.adjacency, 1))
        return pairs, self.adjacency[pairs[:, 0], pairs[:, 1]]

    def degree(self) -> Tensor:
        """Number of every vertex's edges, (vertices,), int64."""
        return (self.adjacency > 0).sum(dim=1)

    def strength(self) -> Tensor:
        """Weight of every vertex's edges, (vertices,), float64."""
        return self.adjacency.sum(dim=1)

    def within_strength(self) -> Tensor:
        """The part of it inside the vertex's own class, (vertices,), float64."""
        return within_community_strength(self.adjacency, self.partition)

    def participation(self) -> Tensor:
        """How evenly a vertex's edges spread over the classes, 0 to below 1, (vertices,), float64."""
        return participation_coefficient(self.adjacency, self.partition)

    def unique_neuron_matrix(self, exclusive: bool = False) -> Tensor:
        """How many representative neurons the classes share (P2 Table 2), (classes, classes), int64.

        Args:
            exclusive: Whether neurons of a third class are left out of a pair's, as P2's words have
                it; its numbers count them.
        """
        return unique_neuron_matrix(self.representatives, exclusive)

    def communities(
        self,
        method: Method = "representatives",
        *,
        resolution: PositiveFloat | None = None,
        seed: NonNegativeInt = 0,
    ) -> Communities:
        """Communities of the graph.

        Args:
            method: "representatives": the classes themselves, which overlap. "louvain", "leiden"
                (needs the extra `igraph`): partitions of high modularity. "kernighan-lin": two
                halves with a small cut.
            resolution: γ of Louvain and Leiden, 1 unless given; more makes more communities.
                Gephi's is its inverse.
            seed: Of the methods that draw.

        Returns:
            The communities.

        Raises:
            MissingExtraError: The method needs a library that is not installed.
            OptionError: No such method, or a resolution that it does not have or cannot use.
        """
        found, gamma, members = self.partition, None, torch.sort(self.members).values
        if method != "representatives":
            found, gamma = membership_of(self.adjacency, method, resolution, seed)
        elif resolution is not None:
            raise without_resolution("method", method, resolution)
        groups = [torch.nonzero(found == c).flatten() for c in range(int(found.max()) + 1)]
        return Communities(
            method=method,
            resolution=gamma,
            seed=None if method == "representatives" else seed,
            membership=found,
            members=tuple(members if method == "representatives" else groups),
            modularity=modularity(self.adjacency, found),
            nmi=normalized_mutual_information(self.partition, found),
            ari=adjusted_rand_index(self.partition, found),
        )

    def stability(
        self,
        method: Literal["louvain", "leiden", "kernighan-lin"] = "louvain",
        *,
        runs: PositiveInt = 10,
        resolution: PositiveFloat | None = None,
        seed: NonNegativeInt = 0,
    ) -> Stability:
        """How far the communities of a method that draws depend on its seed.

        Args:
            method: Any but "representatives".
            runs: With how many seeds: `seed`, `seed + 1`, …
            resolution: As in `communities`.
            seed: The first.

        Raises:
            MissingExtraError: The method needs a library that is not installed.
            OptionError: No such method, or one that does not draw.
        """
        drawn = [
            membership_of(self.adjacency, method, resolution, seed + run) for run in range(runs)
        ]
        alike = [adjusted_rand_index(a, b) for (a, _), (b, _) in combinations(drawn, 2)]
        return Stability(
            method=method,
            resolution=drawn[0][1],
            modularities=tuple(modularity(self.adjacency, found) for found, _ in drawn),
            agreement=median(alike) if alike else None,
        )

    def modularity(
        self,
        measure: Measure = "weighted-overlap",
        *,
        resolution: PositiveFloat | None = None,
        seed: NonNegativeInt = 0,
    ) -> float:
        """Quality of communities (P2 Table 4).

        Args:
            measure: Of the representatives: "no-overlap" (Eq. 2, of `partition`),
                "unweighted-overlap" (Eq. 3) or "weighted-overlap" (Eq. 4). Of detected communities:
                a method's name, for their Eq. 2.
            resolution: At which γ they are detected; Q itself is always that of γ = 1.
            seed: Of the detection.

        Raises:
            OptionError: No such measure.
        """
        if measure in ("kernighan-lin", "louvain", "leiden"):
            found, _ = membership_of(self.adjacency, measure, resolution, seed)
            return modularity(self.adjacency, found)
        if resolution is not None:
            raise without_resolution("measure", measure, resolution)
        if measure == "no-overlap":
            return modularity(self.adjacency, self.partition)
        return overlapping_modularity(
            self.adjacency, self.members, weighted=measure == "weighted-overlap"
        )

    def significance(
        self,
        measure: Measure = "weighted-overlap",
        *,
        null: Null = "weights",
        runs: Annotated[int, Field(ge=2)] = 20,
        resolution: PositiveFloat | None = None,
        seed: NonNegativeInt = 0,
    ) -> Significance:
        """Whether a modularity means anything: its distance from what chance gives, in standard deviations.

        Args:
            measure: As in `modularity`.
            null: "weights": the same edges with their weights shuffled. "labels": graphs built from
                the same activations with random labels, which `cofire.summarize(…, null_graphs=10)`
                collects.
            runs: How often weights are shuffled; of "labels", there are as many as were collected.
            resolution: As in `modularity`.
            seed: Of the shuffling and the detection.

        Raises:
            DataError: `null="labels"` without such graphs.
            OptionError: No such measure or null model, or fewer than two runs.
        """
        # Refuses a resolution that the measure has not.
        value = self.modularity(measure, resolution=resolution, seed=seed)
        return self.significances(
            (measure,), null=null, runs=runs, resolution=resolution, seed=seed, values=(value,)
        )[0]

    def significances(
        self,
        measures: Sequence[Measure],
        *,
        null: Null = "weights",
        runs: Annotated[int, Field(ge=2)] = 20,
        resolution: PositiveFloat | None = None,
        seed: NonNegativeInt = 0,
        values: Sequence[float] | None = None,
    ) -> tuple[Significance, ...]:
        """The same for several measures over the same graphs made by chance.

        Args:
            measures: Which.
            null: As in `significance`.
            runs: As in `significance`.
            resolution: Of those of `measures` that have one.
            seed: As in `significance`.
            values: Of the measures, where other than `modularity` gives: a median over seeds, say.

        Raises:
            DataError: See `significance`.
            OptionError: See `significance`.
        """
        made: Iterable[ActivationPatternGraph] = self.by_chance
        if null == "weights":
            made = self.shuffled(runs, seed)
        elif len(self.by_chance) < 2:
            raise DataError(
                f"a graph with {len(self.by_chance)} graphs of random labels",
                "two at least",
                "collect them with cofire.summarize(…, null_graphs=10)",
            )
        gammas = [resolution if measure in ("louvain", "leiden") else None for measure in measures]

        def all_of(graph: ActivationPatternGraph) -> list[float]:
            return [
                graph.modularity(measure, resolution=gamma, seed=seed)
                for measure, gamma in zip(measures, gammas, strict=True)
            ]

        # One graph at a time: they may be large.
        columns = zip(*[all_of(graph) for graph in made], strict=True)
        results = []
        own = all_of(self) if values is None else values
        for measure, value, by_chance in zip(measures, own, columns, strict=True):
            middle, spread = mean(by_chance), stdev(by_chance)
            varies = spread > _SAME * max(1.0, abs(middle))
            z = (value - middle) / spread if varies and len(by_chance) >= _FEWEST else None
            results.append(Significance(measure, null, value, middle, spread, z, len(by_chance)))
        return tuple(results)

    def shuffled(self, runs: PositiveInt, seed: NonNegativeInt = 0) -> Iterator[Self]:
        """The same edges with their weights in random order, several times."""
        (rows, columns), weights = self.edges()[0].T, self.edges()[1]
        for run in range(runs):
            generator = torch.Generator().manual_seed((seed * 1_000_003 + run) % (1 << 63))
            other = torch.zeros_like(self.adjacency)
            other[rows, columns] = weights[torch.randperm(len(weights), generator=generator)]
            yield replace(self, adjacency=other + other.T)

    def layout(
        self, *, initial: Tensor | None = None, iterations: int = 200, seed: int = 0
    ) -> Tensor:
        """A force-directed layout, (vertices, 2), float64; see `cofire.graphs.force_layout` for the arguments."""
        return force_layout(self.adjacency, initial=initial, iterations=iterations, seed=seed)

    def to_networkx(self, communities: Communities | None = None) -> networkx.Graph[int]:
        """A networkx graph: nodes are neurons, with all that is known of them; edges have a `weight`.

        Args:
            communities: To be noted at the nodes.
        """
        return networkx_of(*self._parts(communities))

    def to_igraph(self, communities: Communities | None = None) -> Any:
        """An igraph graph with the same attributes.

        Raises:
            MissingExtraError: igraph is not installed.
        """
        return igraph_of(*self._parts(communities))

    def write_gexf(self, path: str | Path, communities: Communities | None = None) -> Path:
        """A file for Gephi, with all attributes, and colours, sizes and positions to look at at once.

        Args:
            path: Ending in .gexf.
            communities: To be noted at the nodes and coloured by; classes colour unless given.
        """
        groups = self.partition if communities is None else communities.membership
        return write_gexf(self.to_networkx(communities), path, groups, self.layout())

    def write_graphml(self, path: str | Path, communities: Communities | None = None) -> Path:
        """A GraphML file with the same attributes, positions as x and y."""
        return write_graphml(self.to_networkx(communities), path, self.layout())

    def _parts(
        self, communities: Communities | None
    ) -> tuple[dict[str, Any], dict[str, list[Any]], Tensor, Tensor]:
        """The graph, its vertices and its edges as other tools take them."""
        columns = self.vertex_columns()
        represents = columns.pop("classes")
        columns["class_name"] = [self.class_names[c] for c in columns["class"]]
        columns["represents"] = [
            ", ".join(self.class_names[c] for c in classes) for classes in represents
        ]
        columns["classes_represented"] = [len(classes) for classes in represents]
        if communities is not None:
            columns["community"] = communities.membership.tolist()
        return {"layer": self.layer, "pairs": self.pairs, "top": self.top}, columns, *self.edges()

    def save(self, path: str | Path) -> Path:
        """Write the graph, with those made by chance, to one safetensors file, whole or not at all."""
        graphs = (self, *self.by_chance)
        header = [
            {
                f.name: getattr(g, f.name)
                for f in fields(ActivationPatternGraph)
                if f.name not in (*_TENSORS, "by_chance")
            }
            for g in graphs
        ]
        tensors = {
            f"{i}.{name}": getattr(g, name) for i, g in enumerate(graphs) for name in _TENSORS
        }
        return save_result(path, "graph", {"format": _FORMAT, "graphs": header}, tensors)

    @classmethod
    @reader(ResultError, "a file that ActivationPatternGraph.save wrote", "save it again")
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ResultError: The file is missing, damaged, or holds something else.
        """
        return load_result(path, "graph", cls._read)

    @classmethod
    def _read(cls, note: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        if note["format"] != _FORMAT:
            raise ValueError(note["format"])
        graphs = []
        for i, plain in enumerate(note["graphs"]):
            about: dict[str, Any] = {**plain, "class_names": tuple(plain["class_names"])}
            parts: dict[str, Any] = {name: tensors[f"{i}.{name}"] for name in _TENSORS}
            graphs.append(cls(**about, **parts))
        return replace(graphs[0], by_chance=tuple(graphs[1:]))

    def __repr__(self) -> str:
        pairs, weights = self.edges()
        return (
            f"ActivationPatternGraph('{self.layer}', {self.vertices} neurons of {len(self.class_names)} classes, "
            f"{len(pairs):,} edges of weight {float(weights.sum()):.1f}, "
            f"modularity of the classes {round(self.modularity(), 3) + 0.0:.3f} (weighted, overlapping: Eq. 4))"
        )
