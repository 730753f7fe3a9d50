"""Which neurons represent each class, and which fire together: the activation pattern graphs (P2 §5 to §7)."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from statistics import median
from typing import Any, Self

import numpy as np
import plotly.graph_objects as go
import pyarrow.compute as pc
from markupsafe import Markup

from cofire.images.pictures import address
from cofire.report import plots
from cofire.report.notation import interval, number, signed
from cofire.report.section import Results, Section
from cofire.report.sections.course import correlation_cells, correlation_columns
from cofire.report.sections.graph_drawing import (
    EDGES,
    NEURONS,
    OWN_EDGES,
    ROLES,
    Drawing,
    drawings,
    packed,
    still,
)
from cofire.report.sections.graph_tables import MODULARITIES, GraphTables
from cofire.report.sheet import dumped
from cofire.report.table import Cell, Column, Table

CLEAR, WITHIN = 3.0, 2.0
"""From so many standard deviations above a null model on, a value is more than chance; up to so many, no more."""
NEAR_ZERO = 0.02
"""A modularity whose mean lies within this of 0 is called a modularity of zero."""
FAR = 100.0
"""A z-score beyond this is told as such: a few draws of a null model do not give it more exactly."""
CLASSES = 60
"""Up to so many classes have a row and a cell of a matrix of their own."""
LARGEST = 8
"""So many of the largest communities are listed, as in the paper."""


class Classes(Section):
    """Which neurons represent each class, alone or together with others."""

    id, title = "classes", "Does each class have neurons of its own?"
    label = "Classes"
    template = "sections/classes.html.j2"

    def __init__(self, graphs: GraphTables) -> None:
        self.graphs = graphs
        self.when = graphs.results.when

    @classmethod
    def of(cls, results: Results) -> Self | None:
        graphs = GraphTables(results) if len(results.trajectory.graphs) else None
        return cls(graphs) if graphs and graphs.layers else None

    @property
    def without(self) -> list[str]:
        """Names of the classes that no neuron of that layer represents alone."""
        alone = np.diag(self.graphs.matrix(self.graphs.told))
        return [self.graphs.name(int(i)) for i in np.flatnonzero(alone == 0)]

    def exclusive(self, layer: str, checkpoint: int) -> int:
        """How many neurons represent two classes and no third: the unique neurons of pairs in P2's words (§7.1)."""
        return sum(len(classes) == 2 for classes in self.graphs.graph(layer, checkpoint).classes)

    def figures(self) -> dict[str, go.Figure]:
        found = {}
        for layer in self.graphs.drawn_layers:
            for checkpoint in self.graphs.ends:
                values = self.graphs.matrix(layer, checkpoint)
                if not 0 < len(values) <= CLASSES:
                    continue
                names = [self.graphs.name(c) for c in range(len(values))]
                found[self.figure_name(layer, checkpoint)] = plots.matrix(names, values)
        return found

    def figure_name(self, layer: str, checkpoint: int | None = None) -> str:
        """Name of the figure of a layer's matrix, at the last checkpoint unless told."""
        last = checkpoint in (None, self.graphs.checkpoints[-1])
        return f"unique-neurons-layer-{self.graphs.place(layer)}-{'last' if last else 'first'}"

    def tables(self) -> dict[str, Table]:
        numbers = [
            [
                layer,
                when,
                row["vertices"],
                row["unique_neurons"],
                row["shared_neurons"],
                self.exclusive(layer, when),
            ]
            for layer in self.graphs.layers
            for when in self.graphs.ends
            for row in [self.graphs.row(layer, when)]
        ]
        titles = (
            "checkpoint",
            "representative neurons",
            "of one class alone",
            "shared by pairs of classes",
            "of two classes and no third",
        )
        title = (
            "Neurons of one class, and shared by pairs, a neuron of several pairs counted in each."
        )
        rows = [row for layer in self.graphs.drawn_layers for row in self._rows(layer)]
        columns = [
            Column("class"),
            Column("neurons of it alone"),
            Column("neurons with it as own class"),
            Column("specialists"),
            Column("connectors"),
            Column("strength inside", "%", 0),
            Column("strongest neurons"),
        ]
        return {
            "unique": Table(title, [Column("layer"), *map(Column, titles)], numbers),
            "classes": Table(f"Class by class{self.when}.", columns, rows, by=True),
        }

    def _rows(self, layer: str) -> list[list[object]]:
        graph, matrix = self.graphs.graph(layer), self.graphs.matrix(layer)
        parts = np.array(graph.roles(), dtype=object)
        strength, within = graph.numbers["strength"], graph.numbers["within_strength"]
        rows: list[list[object]] = []
        for c in range(min(len(matrix), CLASSES)):
            own = np.flatnonzero(graph.own == c)
            tally, total = Counter(parts[own].tolist()), float(strength[own].sum())
            best = own[np.argsort(-strength[own], kind="stable")][:3]
            rows.append(
                [
                    layer,
                    self.graphs.name(c),
                    int(matrix[c, c]),
                    len(own),
                    tally["specialist"],
                    tally["connector"],
                    float(within[own].sum()) / total if total > 0 else None,
                    ", ".join(str(n) for n in graph.neurons[best].tolist()) or "–",
                ]
            )
        return rows


class Graphs(Section):
    """Which neurons fire together, and whether those of a class do so more than chance."""

    id, title = "graphs", "Which neurons fire together?"
    label = "Firing together"
    wide = True
    template = "sections/graphs.html.j2"
    scripts: tuple[str, ...] = (
        "graphs/scenes.js",
        "graphs/paint.js",
        "graphs/viewer.js",
        "graphs/pointing.js",
    )

    def __init__(self, graphs: GraphTables) -> None:
        self.graphs = graphs
        self.results = graphs.results
        self.when = graphs.results.when
        self.roles, self.clear = ROLES, CLEAR
        if not graphs.layers:
            self.scripts = ()

    @classmethod
    def of(cls, results: Results) -> Self | None:
        return cls(GraphTables(results)) if len(results.trajectory.graphs) else None

    @property
    def shown(self) -> dict[str, Any] | None:
        """The row of the last layer's modularity of overlapping classes, or None."""
        return self.graphs.modularity(self.graphs.told, "weighted-overlap")

    @property
    def said(self) -> str:
        """What that modularity says, held against random labels."""
        return says(self.shown) if self.shown else ""

    @cached_property
    def tops(self) -> dict[int, GraphTables]:
        """The graphs of each number of representatives that was asked for, where there are several."""
        asked = self.results.tops
        if len(asked) < 2:
            return {}
        return {top: GraphTables(Results(self.results.whole, top=top)) for top in asked}

    @property
    def differing(self) -> dict[int, str]:
        """What graphs of another number of representatives say of that layer where it is something else."""
        rows = {
            top: graphs.modularity(self.graphs.told, "weighted-overlap")
            for top, graphs in self.tops.items()
        }
        told = {top: says(row) for top, row in rows.items() if row is not None}
        return {top: said for top, said in told.items() if said != self.said}

    @cached_property
    def scenes(self) -> dict[str, list[Drawing]]:
        """Every graph that is drawn, by layer."""
        graphs, found = self.graphs, {}
        for layer in graphs.drawn_layers:
            whole = [graphs.graph(layer, when) for when in graphs.drawn_checkpoints]
            found[layer] = drawings(whole, max(1, len(graphs.names)))
        return found

    @property
    def data(self) -> Markup:
        """What the drawing is made from, as JSON that may stand in the page."""
        found = packed(self.scenes, self._names)
        shown: dict[str, dict[str, list[tuple[str, str]]]] = {}
        for row in self.results.pictures:
            if row["role"] == "graph" and row["image"]:
                told = f"{self.results.class_name(row['label'])}, {number(row['activation'], 2)}"
                of_layer = shown.setdefault(row["layer"], {})
                of_layer.setdefault(str(row["neuron"]), []).append((address(row["image"]), told))
        for scene in found["scenes"]:
            scene["pictures"] = shown.get(scene["layer"], {})
        return dumped(found)

    @property
    def _names(self) -> list[str]:
        own = [int(p.graph.own.max(initial=-1)) for scene in self.scenes.values() for p in scene]
        return [
            self.graphs.name(c) for c in range(max(len(self.graphs.names), *(o + 1 for o in own)))
        ]

    @property
    def limits(self) -> dict[str, int]:
        """What of the graphs is not drawn: limits that were reached, by what they are of."""
        rows = [self.graphs.row(n, c) for n in self.scenes for c in self.graphs.drawn_checkpoints]
        found = {"own": OWN_EDGES}
        if any(row["edges"] > EDGES for row in rows):
            found["edges"] = EDGES
        if any(row["vertices"] > NEURONS for row in rows):
            found["neurons"] = NEURONS
        return found

    def stills(self) -> dict[str, go.Figure]:
        found = {}
        for layer, scene in self.scenes.items() if self.graphs.layers else ():
            for when, drawing in {"first": scene[0], "last": scene[-1]}.items():
                if when == "last" or len(scene) > 1:
                    name = f"graph-layer-{self.graphs.place(layer)}-{when}"
                    found[name] = still(drawing, self._names)
        return found

    def figures(self) -> dict[str, go.Figure]:
        graphs = self.graphs
        if len(graphs.checkpoints) == 1 or not graphs.measures or not graphs.layers:
            return {}
        found, layers = {}, graphs.drawn_layers
        if len(graphs.layers) > plots.MANY_LAYERS:
            layers = [graphs.told]
            values = np.stack([graphs.modularities(n, "weighted-overlap") for n in graphs.layers])
            found["modularity-layers"] = plots.layer_courses(
                graphs.checkpoints, graphs.layers, values, "modularity Q", ""
            )
        for layer in layers:
            lines = []
            for measure in graphs.measures:
                title, look = MODULARITIES[measure]
                low, high = (graphs.modularities(layer, measure, end) for end in ("low", "high"))
                ends = (low, high) if np.isfinite(low).any() else None
                ends = self.sampled(layer) if measure == "weighted-overlap" else ends
                lines.append(
                    plots.Line(
                        title, graphs.modularities(layer, measure), look, ends, hover="%{y:.3f}"
                    )
                )
            known = {name: graphs.course(layer, f"{name}_accuracy") for name in ("train", "test")}
            below = [
                plots.Line(
                    f"{name}ing accuracy" if name == "train" else "test accuracy",
                    100 * values,
                    i,
                    hover="%{y:.2f} %",
                )
                for i, (name, values) in enumerate(known.items(), start=1)
                if np.isfinite(values).all()
            ]
            found[f"modularity-layer-{graphs.place(layer)}"] = plots.courses(
                graphs.checkpoints, lines, "modularity Q", below=below, height=460
            )
        return found

    def sampled(self, layer: str) -> tuple[Any, Any] | None:
        """The interval of the modularity of overlapping classes that was observed on a sample."""
        table = self.results.trajectory.graphs.filter(pc.field("layer") == layer)
        error = self.results.sampling_error(table, "modularity_halves")
        values = self.graphs.modularities(layer, "weighted-overlap")
        return None if error is None else (values - error, values + error)

    def tables(self) -> dict[str, Table]:
        graphs = self.graphs
        if not graphs.layers:
            return {}
        found = {}
        if graphs.measures:
            heads = ("Q", "z, shuffled weights", "z, random labels")
            columns = [
                Column(head, digits=3, group=f"checkpoint {when}")
                for when in graphs.ends
                for head in heads
            ]
            rows = [
                [
                    layer,
                    MODULARITIES[measure][0],
                    *(
                        c
                        for w in graphs.ends
                        for c in _moment(graphs.modularity(layer, measure, w))
                    ),
                ]
                for layer in graphs.layers
                for measure in graphs.measures
            ]
            found["chance"] = Table(
                "Modularity against chance.", [Column("measure"), *columns], rows, by=True
            )
        if self.tops:
            found["tops"] = self._by_top()
        if correlated := self._correlations():
            test = "test" in self.results.accuracies
            columns = [Column("measure"), Column("mean", digits=3), *correlation_columns(test)]
            found["correlations"] = Table(
                "Each measure of a layer’s graph against accuracy.", columns, correlated, by=True
            )
        sizes = [
            Column(f"C{i + 1}", group=f"neurons in the {LARGEST} largest") for i in range(LARGEST)
        ]
        found["communities"] = Table(
            "Communities that are found without knowing the classes.",
            [
                Column("layer"),
                Column("checkpoint"),
                *sizes,
                Column("communities"),
                Column("of one neuron"),
                Column("mean size", digits=1),
                *(Column(name) for name in ("NMI", "ARI", "over seeds")),
            ],
            [
                [
                    layer,
                    when,
                    *(row["community_sizes"] + [None] * LARGEST)[:LARGEST],
                    row["communities"],
                    row["singletons"],
                    *(row[n] for n in ("community_mean_size", "nmi", "ari", "stability")),
                ]
                for layer in graphs.layers
                for when in graphs.ends
                for row in [graphs.row(layer, when)]
            ],
        )
        return found

    def _by_top(self) -> Table:
        """What graphs of each number of representatives say of every layer."""
        heads = ("representatives per class", "in all", "of one class alone", "classes without")
        columns = [*map(Column, heads), Column("Q (Eq. 4)", digits=3), Column("NMI")]
        rows: list[list[object]] = []
        for layer in self.graphs.layers:
            for top, graphs in self.tops.items():
                row, own = graphs.row(layer), np.diag(graphs.matrix(layer))
                held = graphs.modularity(layer, "weighted-overlap")
                value = Cell(None) if held is None else Cell(held["modularity"], says(held))
                numbers = [row["vertices"], row["unique_neurons"], int((own == 0).sum())]
                asked = Cell(top, f"{row['top']} of a narrow layer" if row["top"] < top else "")
                rows.append([layer, asked, *numbers, value, row["nmi"]])
        title = f"Graphs of several numbers of representatives{self.when}."
        return Table(title, columns, rows, by=True)

    def _correlations(self) -> list[list[object]]:
        """Correlations of the measures of the graphs, with a word beside the mean where they are noise."""
        if self.results.single or "train" not in self.results.accuracies:
            return []
        known: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
        for row in self.results.trajectory.correlations().to_pylist():
            known.setdefault((row["name"], row["measure"]), {})[row["accuracy"]] = row
        sides = ("train", "test")[: 1 + ("test" in self.results.accuracies)]
        rows = []
        for layer in self.graphs.layers:
            for measure in (*self.graphs.measures, "community size"):
                if not (both := known.get((layer, measure))):
                    continue
                title = MODULARITIES.get(measure, ("mean size of the communities", 0))[0]
                mean = Cell(next(iter(both.values()))["mean"], tag=self.doubt(layer, measure))
                cells = [
                    c for s in sides for c in correlation_cells(both.get(s), "a constant series")
                ]
                rows.append([layer, title, mean, *cells])
        return rows

    def doubt(self, layer: str, measure: str) -> str:
        """Why a measure's correlation means nothing: "near zero", "chance", or "" where nothing speaks against it."""
        if measure not in MODULARITIES:
            return ""
        if abs(float(np.nanmean(self.graphs.modularities(layer, measure)))) < NEAR_ZERO:
            return "near zero"
        scores = np.abs(self.graphs.modularities(layer, measure, "labels_z"))
        scores = scores[np.isfinite(scores)]
        return "chance" if len(scores) and median(scores.tolist()) <= WITHIN else ""


def says(row: Mapping[str, Any], null: str = "labels") -> str:
    """Whether a value of modularity means anything, held against a null model.

    Args:
        row: A row of the table of modularities.
        null: "labels" or "weights".

    Example:
        >>> says({"modularity": 0.31, "labels_mean": 0.02, "labels_std": 0.006, "labels_z": 48.3})
        'more than chance'
        >>> says({"modularity": 0.02, "labels_mean": 0.019, "labels_std": 0.006, "labels_z": 0.2})
        'no more than chance'
    """
    mean, std, z = (row[f"{null}_{name}"] for name in ("mean", "std", "z"))
    if z is None or not math.isfinite(z):
        if mean is None or not math.isfinite(mean):
            return "not compared"
        return "too few graphs by chance" if std else "the null model does not vary"
    if abs(z) <= WITHIN:
        return "no more than chance"
    if abs(z) < CLEAR:
        return "too little to rely on"
    if abs(row["modularity"]) < NEAR_ZERO:
        return "hardly more than zero"
    return "more than chance" if z > 0 else "less than chance"


def _moment(row: Mapping[str, Any] | None) -> list[Cell]:
    """A measure's value, and how far it lies above what shuffled weights and random labels give."""
    if row is None:
        return [Cell(None)] * 3
    known = row["low"] is not None and row["high"] is not None
    cells = [Cell(row["modularity"], interval(row["low"], row["high"], 3) if known else "")]
    for null in ("weights", "labels"):
        mean, std, z = (row[f"{null}_{name}"] for name in ("mean", "std", "z"))
        if z is None or not math.isfinite(z):
            told = "" if mean is None else f"{number(mean, 3)}; "
            cells.append(Cell("not defined", f"{told}{says(row, null)}", "r-none"))
            continue
        shade = "" if abs(z) < CLEAR else "r-p4" if z > 0 else "r-n4"
        far = f"{'above' if z > 0 else 'below'} {signed(math.copysign(FAR, z), 0)}"
        text = far if abs(z) > FAR else signed(z, 0 if abs(z) >= 10 else 1)
        digits = 3 if std >= 0.0005 else 5
        note = f"{number(mean, digits)} ± {number(std, digits)}"
        cells.append(Cell(text, note, shade, "no more than chance" if abs(z) <= WITHIN else ""))
    return cells
