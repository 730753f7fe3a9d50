"""From the activation pattern graphs of one checkpoint to the rows of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Annotated, Any

import pyarrow as pa
import torch
from pydantic import Field, PositiveFloat, PositiveInt
from torch import Tensor

from cofire.activations import ActivationSummary, LayerSummary
from cofire.arguments import validated
from cofire.errors import ResultError
from cofire.graphs import ActivationPatternGraph, Measure, Null
from cofire.study.halves import modularity_difference
from cofire.study.tables import TABLES

_GIVEN: tuple[Measure, ...] = ("no-overlap", "unweighted-overlap", "weighted-overlap")
_FOUND: tuple[Measure, ...] = ("kernighan-lin", "louvain")
_ENDS = ("source", "target")
_EDGES = 20_000
"""Edges of one graph that its table keeps: all of a graph as large as P2's."""


@validated
@dataclass(frozen=True)
class GraphOptions:
    """What is asked of every graph.

    Attributes:
        resolution: γ of Louvain's method; 2 is Gephi's 0.5, which P2 used.
        community_runs: With how many seeds communities are found, and how often weights are
            shuffled; 2 at least.
        tops: Representative neurons per class, one graph for each number; None for as many as were
            counted.

    Raises:
        OptionError: One of them has a value it cannot have.
    """

    resolution: PositiveFloat = 2.0
    community_runs: Annotated[int, Field(ge=2)] = 10
    tops: tuple[PositiveInt, ...] | None = None


def graph_tables(
    summary: ActivationSummary,
    moment: dict[str, Any],
    accuracies: dict[str, Any],
    options: GraphOptions,
    halves: tuple[ActivationSummary, ActivationSummary] | None = None,
) -> dict[str, pa.Table]:
    """The tables `graphs`, `modularities`, `vertices` and `edges` of one checkpoint.

    Args:
        summary: What the neurons did; without co-firing counts the tables have no rows.
        moment: The columns that say when.
        accuracies: The columns of both accuracies.
        options: What is asked of every graph.
        halves: The same of the halves of a sample.

    Returns:
        The tables by name.
    """
    places = []
    if summary.options.pairs is not None:
        asked = sorted(options.tops or (summary.options.top,))
        for index, layer in enumerate(summary.layers):
            # Of a narrow layer several numbers come to the same graph.
            known = {summary.top_of(layer, top): top for top in reversed(asked)}
            places += [(index, layer, top) for top in reversed(known.values())]

    def of_layer(place: tuple[int, LayerSummary, int]) -> list[pa.Table]:
        index, layer, top = place
        graph = summary.graph(layer.layer.name, top)
        made = _tables(graph, index, summary.options.classes, moment, accuracies, options)
        difference = modularity_difference(layer.layer.name, top, halves)
        column = made[0].schema.get_field_index("modularity_halves")
        field = made[0].schema.field(column)
        return [made[0].set_column(column, field, pa.array([difference], field.type)), *made[1:]]

    # Layers side by side: finding communities holds no interpreter lock.
    with ThreadPoolExecutor(max_workers=max(1, torch.get_num_threads())) as pool:
        parts = list(pool.map(of_layer, places))
    return {
        name: pa.concat_tables([part[place] for part in parts]) if parts else TABLES[name].table()
        for place, name in enumerate(("graphs", "modularities", "vertices", "edges"))
    }


def graph_from_tables(
    about: dict[str, Any], vertices: pa.Table, edges: pa.Table, class_names: dict[int, str]
) -> ActivationPatternGraph:
    """The graph that rows were made of, without those of random labels.

    Args:
        about: Its row of `graphs`.
        vertices: Its rows of `vertices`, in order.
        edges: Its rows of `edges`.
        class_names: Names of the classes by their numbers, which stand in where a name is not
            known.

    Raises:
        ResultError: The table does not hold all of its edges.
    """
    if about["edges_kept"] < about["edges"]:
        raise ResultError(
            f"{about['edges_kept']:,} of the {about['edges']:,} edges of the graph of '{about['layer']}'",
            f"a table with all of them: of more than {_EDGES:,} edges it holds the heaviest",
            "make the graph from the checkpoint: cofire.summarize(network, data, by_class=True, pairs=…).graph(layer)",
        )
    neurons = torch.tensor(vertices["neuron"].to_pylist(), dtype=torch.int64)
    # Every class that occurs has a representative.
    numbers = sorted({number for classes in vertices["classes"].to_pylist() for number in classes})
    place = {number: row for row, number in enumerate(numbers)}
    means = torch.full((len(numbers), len(neurons)), -torch.inf, dtype=torch.float64)
    for vertex, row in enumerate(vertices.select(["classes", "class_means"]).to_pylist()):
        of_vertex = [place[number] for number in row["classes"]]
        means[of_vertex, vertex] = torch.tensor(row["class_means"], dtype=torch.float64)
    best = torch.sort(means, dim=1, descending=True, stable=True)
    adjacency = torch.zeros(len(neurons), len(neurons), dtype=torch.float64)
    ends = [
        torch.searchsorted(neurons, torch.tensor(edges[n].to_pylist(), dtype=torch.int64))
        for n in _ENDS
    ]
    adjacency[ends[0], ends[1]] = torch.tensor(edges["weight"].to_pylist(), dtype=torch.float64)
    return ActivationPatternGraph(
        layer=about["layer"],
        class_names=tuple(class_names.get(number, str(number)) for number in numbers),
        neurons=neurons,
        representatives=neurons[best.indices[:, : about["top"]]],
        class_means=best.values[:, : about["top"]].contiguous(),
        adjacency=adjacency + adjacency.T,
        mean_activation=torch.tensor(vertices["mean_activation"].to_pylist(), dtype=torch.float64),
        entropy=torch.tensor(vertices["entropy"].to_pylist(), dtype=torch.float64),
        pairs=about["pairs"],
        top_asked=about["top_asked"],
    )


def _tables(
    graph: ActivationPatternGraph,
    index: int,
    classes: Sequence[int],
    moment: dict[str, Any],
    accuracies: dict[str, Any],
    options: GraphOptions,
) -> list[pa.Table]:
    gamma, runs = options.resolution, options.community_runs
    start = {**moment, "layer_index": index, "layer": graph.layer, "top": graph.top}
    found = graph.communities("louvain", resolution=gamma)
    stability = {
        "kernighan-lin": graph.stability("kernighan-lin", runs=runs),
        "louvain": graph.stability("louvain", runs=runs, resolution=gamma),
    }
    matrix = graph.unique_neuron_matrix()
    pairs, weights = graph.edges()
    row = {
        **start,
        **accuracies,
        **{name: getattr(graph, name) for name in ("pairs", "top", "top_asked", "vertices")},
        "isolated": int((graph.degree() == 0).sum()),
        "edges": len(pairs),
        "edges_kept": min(len(pairs), _EDGES),
        "weight": float(weights.sum()),
        "resolution": gamma,
        "communities": len(found.sizes),
        "singletons": found.sizes.count(1),
        "community_sizes": list(found.sizes),
        "community_mean_size": found.mean_size,
        "nmi": found.nmi,
        "ari": found.ari,
        "stability": stability["louvain"].agreement,
        "unique_neurons": int(matrix.diagonal().sum()),
        "shared_neurons": int(torch.triu(matrix, 1).sum()),
        "unique_matrix": matrix.flatten().tolist(),
    }
    measures = (*_GIVEN, *_FOUND)
    values = [*map(graph.modularity, _GIVEN), *(stability[m].median for m in _FOUND)]
    modularities: list[dict[str, Any]] = []
    for measure, value in zip(measures, values, strict=True):
        known = stability.get(measure)
        ends = {end: None if known is None else getattr(known, end) for end in ("low", "high")}
        runs_of_it = 1 if known is None else runs
        about = {"measure": measure, "modularity": value, "runs": runs_of_it, **ends}
        modularities.append({**start, **accuracies, **about, "weights_runs": 0, "labels_runs": 0})
    nulls: tuple[Null, ...] = ("weights", "labels") if len(graph.by_chance) > 1 else ("weights",)
    for null in nulls:
        against = graph.significances(
            measures, null=null, runs=runs, resolution=gamma, values=values
        )
        for of_measure, one in zip(modularities, against, strict=True):
            for number in ("mean", "std", "z", "runs"):
                of_measure[f"{null}_{number}"] = getattr(one, number)
    return [
        TABLES["graphs"].table([row]),
        TABLES["modularities"].table(modularities),
        _vertices(graph, start, classes, found.membership.tolist()),
        _edges(graph, pairs, weights, {**start}),
    ]


def _vertices(
    graph: ActivationPatternGraph,
    start: dict[str, Any],
    classes: Sequence[int],
    community: list[int],
) -> pa.Table:
    means = torch.zeros(len(graph.members), graph.vertices, dtype=torch.float64)
    means.scatter_(1, graph.members, graph.class_means)
    known = graph.vertex_columns()
    columns: dict[str, list[Any]] = {
        **{name: [value] * graph.vertices for name, value in start.items()},
        **known,
        "classes": [[classes[row] for row in rows] for rows in known["classes"]],
        "class": [classes[row] for row in known["class"]],
        "class_means": [means[rows, v].tolist() for v, rows in enumerate(known["classes"])],
        "community": community,
    }
    return pa.Table.from_pydict(columns, schema=TABLES["vertices"].schema)


def _edges(
    graph: ActivationPatternGraph, pairs: Tensor, weights: Tensor, start: dict[str, Any]
) -> pa.Table:
    if len(pairs) > _EDGES:
        # The heaviest, in the order in which they were.
        kept = torch.sort(torch.sort(weights, descending=True, stable=True).indices[:_EDGES]).values
        pairs, weights = pairs[kept], weights[kept]
    ends = graph.neurons[pairs].to(torch.int32)
    values = {"source": ends[:, 0], "target": ends[:, 1], "weight": weights}
    schema = TABLES["edges"].schema
    columns = [
        pa.array(values[field.name].numpy())
        if field.name in values
        else pa.repeat(pa.scalar(start[field.name], field.type), len(pairs))
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
