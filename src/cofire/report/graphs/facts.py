"""What the page says and draws of the activation pattern graphs, read once from the tables of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cofire.report.facts import Facts, Floats
from cofire.report.notation import count, joined, plural
from cofire.study.trajectory import Trajectory

Ints = npt.NDArray[np.int64]

MEASURES = {
    "no-overlap": "no overlap (Eq. 2)",
    "unweighted-overlap": "overlap, unweighted (Eq. 3)",
    "weighted-overlap": "overlap, weighted (Eq. 4)",
    "kernighan-lin": "Kernighan-Lin bisection",
    "louvain": "Louvain’s communities",
}
"""The measures of modularity in the paper's order, and how the page calls them."""


@dataclass(frozen=True)
class Graph:
    """One activation pattern graph, vertex by vertex and edge by edge.

    Attributes:
        layer: Name of its layer.
        checkpoint: Number of its checkpoint.
        row: Its row of the table of graphs.
        neurons: Number of the neuron behind each vertex, ascending, shape (vertices,).
        classes: The classes that each vertex represents.
        own: The class with the highest mean, shape (vertices,).
        numbers: The other columns of the table of vertices by name, each of shape (vertices,).
        source: First vertex of each edge, shape (edges,), as a place in `neurons`.
        target: Its second vertex.
        weight: Its weight.
    """

    layer: str
    checkpoint: int
    row: dict[str, Any]
    neurons: Ints
    classes: list[list[int]]
    own: Ints
    numbers: dict[str, Floats]
    source: Ints
    target: Ints
    weight: Floats

    @property
    def size(self) -> int:
        """How many vertices there are."""
        return len(self.neurons)


class GraphFacts:
    """The graphs of a trajectory.

    Args:
        trajectory: One that has rows of graphs.
        class_names: The name of every class that is known, by its number.

    Attributes:
        class_names: The name of every class that occurs, by its place among them: here classes are
            counted from 0 up.
        options: How the trajectory was made.
        layers: Names of the layers whose graphs say something, from input to output.
        bare: Names of the others with the reason, from input to output.
        checkpoints: Numbers of the checkpoints, in order.
    """

    def __init__(self, trajectory: Trajectory, class_names: dict[int, str]) -> None:
        self._trajectory = trajectory
        self._numbers = _occurring(trajectory)
        names = class_names
        if len(self._numbers):
            names = {
                place: class_names.get(c, str(c)) for place, c in enumerate(self._numbers.tolist())
            }
        self.class_names = names
        self.options = trajectory.options
        self._rows: dict[tuple[str, int], dict[str, Any]] = {
            (row["layer"], row["checkpoint"]): row for row in trajectory.graphs.to_pylist()
        }
        order = {row["layer"]: row["layer_index"] for row in self._rows.values()}
        self.checkpoints: tuple[int, ...] = tuple(sorted({number for _, number in self._rows}))
        layers, sizes = (trajectory.layers[column].to_pylist() for column in ("layer", "neurons"))
        self._sizes: dict[str, int] = dict(zip(layers, sizes, strict=True))
        every = sorted(order, key=lambda name: (order[name], name))
        self.bare: dict[str, str] = {
            name: reason for name in every if (reason := self._nothing_in(name))
        }
        self.layers: tuple[str, ...] = tuple(name for name in every if name not in self.bare)

    def _nothing_in(self, layer: str) -> str:
        """Why a layer's graphs can say nothing, or ""."""
        row = self.row(layer, self.checkpoints[-1])
        if row["top"] >= self._sizes.get(layer, row["top"] + 1):
            return "every neuron represents every class"
        if row["top"] == 1 and row["pairs"] == "class":
            return "one neuron represents each class, and has no other to fire together with"
        return ""

    def told_bare(self) -> str:
        """A sentence about the layers of which nothing is drawn, or ""."""
        if not self.bare:
            return ""
        reasons: dict[str, list[str]] = {}
        for layer, reason in self.bare.items():
            reasons.setdefault(reason, []).append(layer)
        told = []
        for reason, layers in reasons.items():
            more = [f"{count(len(layers) - 4)} more layers"] if len(layers) > 4 else []
            told.append(f"in {joined([*layers[:4], *more])} {reason}")
        return f"Of {plural(len(self.bare), 'layer')} nothing is drawn: {'; '.join(told)}."

    @property
    def crowded(self) -> list[tuple[str, int, int]]:
        """Layers most of whose neurons represent every class: name, representatives per class, neurons."""
        last = self.checkpoints[-1]
        tops = {layer: int(self.row(layer, last)["top"]) for layer in self.layers}
        return [
            (n, top, self._sizes[n])
            for n, top in tops.items()
            if n in self._sizes and 2 * top > self._sizes[n]
        ]

    @property
    def single(self) -> bool:
        """Whether there is one checkpoint only."""
        return len(self.checkpoints) == 1

    @property
    def ends(self) -> tuple[int, ...]:
        """The first and the last checkpoint, or the only one."""
        return tuple(dict.fromkeys((self.checkpoints[0], self.checkpoints[-1])))

    def row(self, layer: str, checkpoint: int) -> dict[str, Any]:
        """The row of a layer's graph at a checkpoint."""
        return self._rows[layer, checkpoint]

    def course(self, layer: str, column: str) -> Floats:
        """A number of a layer's graph at every checkpoint, shape (checkpoints,); NaN where unknown."""
        return _floats([self.row(layer, number)[column] for number in self.checkpoints])

    def matrix(self, layer: str, checkpoint: int) -> Ints:
        """The unique-neuron matrix (P2 Table 2), shape (classes, classes)."""
        flat = np.asarray(self.row(layer, checkpoint)["unique_matrix"], dtype=np.int64)
        side = round(len(flat) ** 0.5)
        return flat.reshape(side, side)

    def exclusive(self, layer: str, checkpoint: int) -> int:
        """How many neurons represent two classes and no third: the unique neurons of pairs in P2's words (§7.1)."""
        place = self._place(self.row(layer, checkpoint)["layer_index"], checkpoint)
        classes = self._vertices[0]["classes"].take(_range(self._vertices[1], place))
        return int(pc.sum(pc.equal(pc.list_value_length(classes), 2)).as_py() or 0)

    def class_name(self, number: int) -> str:
        """The name of a class, or its number."""
        return self.class_names.get(number, str(number))

    @cached_property
    def measures(self) -> tuple[str, ...]:
        """Which measures of modularity there are, in the paper's order."""
        known = set(self._trajectory.modularities["measure"].to_pylist())
        return tuple(m for m in MEASURES if m in known)

    @cached_property
    def _modularities(self) -> dict[tuple[str, str, int], dict[str, Any]]:
        rows = self._trajectory.modularities.to_pylist()
        return {(row["layer"], row["measure"], row["checkpoint"]): row for row in rows}

    def modularity(self, layer: str, measure: str, checkpoint: int) -> dict[str, Any] | None:
        """The row of a measure, or None where there is none."""
        return self._modularities.get((layer, measure, checkpoint))

    def modularity_course(self, layer: str, measure: str, column: str = "modularity") -> Floats:
        """A number of a measure at every checkpoint, shape (checkpoints,); NaN where unknown."""
        rows = [self.modularity(layer, measure, number) for number in self.checkpoints]
        return _floats([None if row is None else row[column] for row in rows])

    @cached_property
    def correlations(self) -> dict[tuple[str, str, str], dict[str, Any]]:
        """Correlations of the measures of the graphs, by layer, measure and accuracy."""
        if self.single or self._trajectory.layers["train_accuracy"].null_count:
            return {}
        if not np.isfinite(_floats(self._trajectory.layers["train_accuracy"].to_pylist())).all():
            return {}
        rows = self._trajectory.correlations().to_pylist()
        return {
            (row["name"], row["measure"], row["accuracy"]): row
            for row in rows
            if row["scope"] == "layer" and row["measure"] in (*MEASURES, "community size")
        }

    def graph(self, layer: str, checkpoint: int) -> Graph:
        """A layer's graph at a checkpoint, with its vertices and those of its edges that were kept."""
        row = self.row(layer, checkpoint)
        place = self._place(row["layer_index"], checkpoint)
        table = self._vertices[0].take(_range(self._vertices[1], place)).sort_by("neuron")
        neurons = table["neuron"].to_numpy().astype(np.int64)
        held = self._edges[0].take(_range(self._edges[1], place))
        ends = [np.searchsorted(neurons, held[name].to_numpy()) for name in ("source", "target")]
        plain = (
            "community",
            "mean_activation",
            "entropy",
            "degree",
            "strength",
            "within_strength",
            "participation",
        )
        return Graph(
            layer,
            checkpoint,
            row,
            neurons,
            [
                np.searchsorted(self._numbers, classes).tolist()
                for classes in table["classes"].to_pylist()
            ],
            np.searchsorted(self._numbers, table["class"].to_numpy()).astype(np.int64),
            {name: _floats(table[name].to_pylist()) for name in plain},
            ends[0].astype(np.int64),
            ends[1].astype(np.int64),
            held["weight"].to_numpy().astype(np.float64),
        )

    def _place(self, layer_index: int, checkpoint: int) -> int:
        return checkpoint * self._stride + layer_index

    @cached_property
    def _stride(self) -> int:
        return 1 + max(int(row["layer_index"]) for row in self._rows.values())

    @cached_property
    def _vertices(self) -> tuple[pa.Table, dict[int, Ints]]:
        return self._by_graph(self._trajectory.vertices)

    @cached_property
    def _edges(self) -> tuple[pa.Table, dict[int, Ints]]:
        return self._by_graph(self._trajectory.edges)

    def _by_graph(self, table: pa.Table) -> tuple[pa.Table, dict[int, Ints]]:
        """The table with the rows of each graph, so that one graph is read without a look at all the others."""
        places = pc.add(
            pc.multiply(pc.cast(table["checkpoint"], pa.int64()), self._stride),
            table["layer_index"],
        )
        keys = places.to_numpy().astype(np.int64)
        order = np.argsort(keys, kind="stable")
        numbers, starts = np.unique(keys[order], return_index=True)
        parts = np.split(order, starts[1:]) if len(numbers) else []
        return table, dict(zip(numbers.tolist(), parts, strict=True))


def graphs_of(facts: Facts) -> GraphFacts | None:
    """The graphs of a trajectory, or None where there are none."""
    return GraphFacts(facts.trajectory, facts.class_names) if len(facts.trajectory.graphs) else None


def _occurring(trajectory: Trajectory) -> Ints:
    """Numbers of the classes that occur, in order: each has a neuron that represents it."""
    numbers = pc.unique(pc.list_flatten(trajectory.vertices["classes"].combine_chunks()))
    return np.sort(numbers.to_numpy(zero_copy_only=False).astype(np.int64))


def _range(parts: dict[int, Ints], place: int) -> Ints:
    return parts.get(place, np.zeros(0, dtype=np.int64))


def _floats(values: list[Any]) -> Floats:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
