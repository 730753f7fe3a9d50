"""The tables of activation pattern graphs, read once: which graphs say something, and each of them."""

from __future__ import annotations

from functools import cached_property
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cofire.report.plots import MANY_LAYERS
from cofire.report.section import Floats, Results, floats
from cofire.report.sections.graph_drawing import Graph, Ints, spread

MODULARITIES = {
    "no-overlap": ("no overlap (Eq. 2)", 0),
    "unweighted-overlap": ("overlap, unweighted (Eq. 3)", 3),
    "weighted-overlap": ("overlap, weighted (Eq. 4)", 4),
    "kernighan-lin": ("Kernighan-Lin bisection", 5),
    "louvain": ("Louvain’s communities", 7),
}
"""The measures of modularity in the paper's order: how the page calls and draws them."""
GRAPHS = 48
"""Up to so many graphs are drawn."""


class GraphTables:
    """The tables of the graphs, read once.

    Args:
        results: Whose they are.

    Attributes:
        results: As given.
        names: Name of every class, by its place among those that occur: here classes count from 0.
        layers: Names of the layers whose graphs say something, from input to output.
        bare: Names of the others with the reason.
        checkpoints: Numbers of the checkpoints, in order.
        sizes: How many neurons each layer has.
    """

    def __init__(self, results: Results) -> None:
        run, self.results = results.trajectory, results
        self._numbers = np.sort(
            pc.unique(pc.list_flatten(run.vertices["classes"].combine_chunks()))
            .to_numpy(zero_copy_only=False)
            .astype(np.int64)
        )
        self.names: list[str] = [results.class_name(c) for c in self._numbers.tolist()]
        self.names = self.names or [n for _, n in sorted(results.class_names.items())]
        self._rows = {(row["layer"], row["checkpoint"]): row for row in run.graphs.to_pylist()}
        self.checkpoints = tuple(sorted({number for _, number in self._rows}))
        self.sizes = dict(
            zip(run.layers["layer"].to_pylist(), run.layers["neurons"].to_pylist(), strict=True)
        )
        order = {row["layer"]: (row["layer_index"], row["layer"]) for row in self._rows.values()}
        every = sorted(order, key=lambda name: order[name])
        reasons = {name: self._nothing_in(name) for name in every}
        self.bare = {name: reason for name, reason in reasons.items() if reason}
        self.layers: list[str] = [name for name in every if name not in self.bare]

    def _nothing_in(self, layer: str) -> str:
        """Why a layer's graphs can say nothing, or ""."""
        row = self.row(layer)
        if row["top"] >= self.sizes.get(layer, row["top"] + 1):
            return "every neuron represents every class"
        if row["top"] == 1 and row["pairs"] == "class":
            return "one neuron represents each class, and has no other to fire together with"
        return ""

    @property
    def told(self) -> str:
        """The layer that the page speaks of: the last one whose classes need not share most neurons."""
        crowded = {name for name, _, _ in self.crowded}
        return ([name for name in self.layers if name not in crowded] or self.layers)[-1]

    @property
    def crowded(self) -> list[tuple[str, int, int]]:
        """Layers most of whose neurons represent every class: name, representatives per class, neurons."""
        found = [(n, int(self.row(n)["top"]), self.sizes.get(n, 0)) for n in self.layers]
        return [(name, top, size) for name, top, size in found if size and 2 * top > size]

    @property
    def ends(self) -> list[int]:
        """The first and the last checkpoint, or the only one."""
        return sorted({self.checkpoints[0], self.checkpoints[-1]})

    def row(self, layer: str, checkpoint: int | None = None) -> dict[str, Any]:
        """The row of a layer's graph, at the last checkpoint unless told."""
        found: dict[str, Any] = self._rows[
            layer, self.checkpoints[-1] if checkpoint is None else checkpoint
        ]
        return found

    def course(self, layer: str, column: str) -> Floats:
        """A number of a layer's graph at every checkpoint, shape (checkpoints,); NaN where unknown."""
        return _floats([self.row(layer, number)[column] for number in self.checkpoints])

    def matrix(self, layer: str, checkpoint: int | None = None) -> Ints:
        """The unique-neuron matrix (P2 Table 2), shape (classes, classes)."""
        flat = np.asarray(self.row(layer, checkpoint)["unique_matrix"], dtype=np.int64)
        side = round(len(flat) ** 0.5)
        return flat.reshape(side, side)

    def name(self, place: int) -> str:
        """The name of a class by its place, or its number."""
        return self.names[place] if place < len(self.names) else str(place)

    @cached_property
    def measures(self) -> list[str]:
        """Which measures of modularity there are, in the paper's order."""
        known = set(self.results.trajectory.modularities["measure"].to_pylist())
        return [measure for measure in MODULARITIES if measure in known]

    @cached_property
    def _modularities(self) -> dict[tuple[str, str, int], dict[str, Any]]:
        rows = self.results.trajectory.modularities.to_pylist()
        return {(row["layer"], row["measure"], row["checkpoint"]): row for row in rows}

    def modularity(
        self, layer: str, measure: str, checkpoint: int | None = None
    ) -> dict[str, Any] | None:
        """The row of a measure, at the last checkpoint unless told, or None where there is none."""
        when = self.checkpoints[-1] if checkpoint is None else checkpoint
        return self._modularities.get((layer, measure, when))

    def modularities(self, layer: str, measure: str, column: str = "modularity") -> Floats:
        """A number of a measure at every checkpoint, shape (checkpoints,); NaN where unknown."""
        rows = [self.modularity(layer, measure, number) for number in self.checkpoints]
        return _floats([None if row is None else row[column] for row in rows])

    def graph(self, layer: str, checkpoint: int | None = None) -> Graph:
        """A layer's graph, with its vertices and those of its edges that were kept."""
        row = self.row(layer, checkpoint)
        place = row["checkpoint"], row["layer_index"]
        table, held = self._parts["vertices"].get(place), self._parts["edges"].get(place)
        run = self.results.trajectory
        table = (run.vertices.slice(0, 0) if table is None else table).sort_by("neuron")
        held = run.edges.slice(0, 0) if held is None else held
        neurons = table["neuron"].to_numpy().astype(np.int64)
        source, target = (
            np.searchsorted(neurons, held[n].to_numpy()) for n in ("source", "target")
        )
        lists = table["classes"].to_pylist()
        names = table.column_names[table.column_names.index("community") :]
        return Graph(
            row["checkpoint"],
            row,
            neurons,
            [np.searchsorted(self._numbers, classes).tolist() for classes in lists],
            np.searchsorted(self._numbers, table["class"].to_numpy()).astype(np.int64),
            {name: floats(table[name]) for name in names},
            source.astype(np.int64),
            target.astype(np.int64),
            held["weight"].to_numpy().astype(np.float64),
        )

    @cached_property
    def _parts(self) -> dict[str, dict[tuple[int, int], pa.Table]]:
        """The rows of each graph, so that one is read without a look at all the others."""
        found: dict[str, dict[tuple[int, int], pa.Table]] = {}
        for name in ("vertices", "edges"):
            # One chunk in order: a slice of it copies nothing.
            keys = [("checkpoint", "ascending"), ("layer_index", "ascending")]
            table = getattr(self.results.trajectory, name).sort_by(keys).combine_chunks()
            places = np.stack([table[key].to_numpy() for key, _ in keys], axis=1)
            starts = np.flatnonzero(np.diff(places, axis=0, prepend=-1).any(axis=1)).tolist()
            found[name] = {
                (int(places[start, 0]), int(places[start, 1])): table.slice(start, end - start)
                for start, end in pairwise([*starts, len(table)])
            }
        return found

    @property
    def drawn_layers(self) -> list[str]:
        """The layers that are drawn: of a deep network those at even distances, and the one that is told of."""
        even = [self.layers[i] for i in spread(len(self.layers), MANY_LAYERS)]
        return sorted({*even, self.told}, key=self.layers.index)

    @property
    def drawn_checkpoints(self) -> list[int]:
        """The checkpoints that are drawn: of a long run, those at even distances."""
        most = max(2, GRAPHS // len(self.drawn_layers))
        return [self.checkpoints[i] for i in spread(len(self.checkpoints), most)]

    def place(self, layer: str) -> int:
        """A layer's number from 1, for names of figures: its own name may hold what a file's must not."""
        return self.layers.index(layer) + 1


def _floats(values: list[Any]) -> Floats:
    return np.array([np.nan if v is None else v for v in values], dtype=np.float64)
