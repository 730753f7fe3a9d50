"""Which neurons do nothing, and what the others tell: measures of single neurons by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Self

import numpy as np
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc

from cofire.patterns import MEASURES
from cofire.patterns.measures import Measure
from cofire.report.notation import short
from cofire.report.plots import (
    MANY_LAYERS,
    NAMED,
    Line,
    bars,
    canvas,
    courses,
    layer_courses,
    plain,
    series,
)
from cofire.report.section import Floats, Results, Section
from cofire.report.table import Cell, Column, Table

LISTED = 400
"""How many dead neurons the page names; all of them are in neurons.parquet."""
MOST_BARS = 12
"""Of many layers, those with the largest share of idle neurons that are drawn."""
RARE = 0.01
"""Share of observations below which a neuron is too rarely active to be listed."""
_KINDS = {"dead": "dead", "always_active": "always active"}


class Idle(Section):
    """Dead and always active neurons, layer by layer."""

    id, title = "idle", "Which neurons do nothing?"
    label = "Idle neurons"
    template = "sections/idle.html.j2"

    def __init__(self, results: Results) -> None:
        self.results = results
        self.kinds = _KINDS
        self.sizes = results.layer("neurons")[:, -1]
        self.counts = {column: results.layer(column) for column in _KINDS}

    @classmethod
    def of(cls, results: Results) -> Self | None:
        return cls(results) if results.layers else None

    @cached_property
    def drawn(self) -> list[int]:
        """Places of the layers that are drawn: of many those with the largest share of such neurons."""
        share = sum(np.nan_to_num(counts[:, -1]) / self.sizes for counts in self.counts.values())
        order = np.argsort(-np.asarray(share), kind="stable")
        if len(order) > NAMED:
            order = order[: min(MOST_BARS, int(np.count_nonzero(share)))]
        return sorted(order.tolist())

    def total(self, column: str, place: int = -1) -> int:
        """How many neurons are dead, or always active, at a checkpoint."""
        return int(np.nansum(self.counts[column][:, place]))

    def largest(self, column: str) -> tuple[str, int, int]:
        """The layer that has most of them: its name, how many, of how many."""
        most = int(np.nanargmax(self.counts[column][:, -1]))
        return self.results.layers[most], int(self.counts[column][most, -1]), int(self.sizes[most])

    def figures(self) -> dict[str, go.Figure]:
        results, found = self.results, {}
        sizes = results.layer("neurons")
        shares = {
            column: np.divide(values, sizes, out=np.zeros_like(values), where=sizes > 0)
            for column, values in self.counts.items()
        }
        held = {
            _KINDS[c]: (100 * share[self.drawn, -1]).tolist()
            for c, share in shares.items()
            if self.total(c)
        }
        if held:
            names = [results.layers[i] for i in self.drawn]
            hover = "%{text}: %{x:.1f} % of neurons %{fullData.name}<extra></extra>"
            found["idle-neurons"] = bars(names, held, "% of the layer’s neurons", hover)
        for column, name in _KINDS.items():
            if results.single or not np.nansum(self.counts[column]):
                continue
            found[name.replace(" ", "-") + ("-neurons" if column == "dead" else "")] = (
                layer_courses(
                    results.checkpoints,
                    results.layers,
                    self.counts[column],
                    f"{name} neurons",
                    "%{y:,} of the layer’s neurons (%{customdata:.1f} %)",
                    shown=100 * shares[column],
                    heat=100 * shares[column],
                    heat_title=f"{name} neurons<br>(% of the layer)",
                )
            )
        return found

    def tables(self) -> dict[str, Table]:
        columns = [Column("layer"), Column("how many"), Column("share", "%", 1), Column("neurons")]
        found = {}
        for column, name in _KINDS.items():
            table, left, rows = self.results.neurons(), LISTED, []
            numbers = table.filter(pc.field(column)).sort_by("neuron")
            layers = np.array(numbers["layer"].to_pylist(), dtype=object)
            for i, layer in enumerate(self.results.layers):
                count = int(np.nan_to_num(self.counts[column][i, -1]))
                if not count:
                    continue
                named = numbers["neuron"].to_numpy()[layers == layer][:left].tolist()
                left -= len(named)
                more = f"{count - len(named):,} more" if count > len(named) else ""
                listed = ", ".join([*map(str, named), *([more] if more else [])])
                rows.append([layer, count, count / self.sizes[i], listed])
            if rows:
                title = f"Neurons that are {name}{self.results.when}."
                found[column] = Table(title, columns, rows)
        return found


class Neurons(Section):
    """How measures of the neurons spread in each layer, and the neurons that stand out."""

    id, title = "neurons", "What do single neurons tell about the class?"
    label = "Single neurons"
    template = "sections/neurons.html.j2"

    def __init__(self, results: Results) -> None:
        self.results = results
        # What is known by class says most: it comes first.
        ordered = sorted(
            MEASURES.values(), key=lambda m: (m.name != "information", not m.needs_classes)
        )
        self.last = {
            measure.name: found
            for measure in ordered
            if "count" not in measure.of_layer and (found := results.living(measure.name))
        }

    @classmethod
    def of(cls, results: Results) -> Self | None:
        return cls(results) if results.layers else None

    @property
    def measures(self) -> list[Measure]:
        """The measures that are known, the one that is shown first at the head."""
        return [MEASURES[name] for name in self.last]

    def median(self, measure: Measure, layer: str) -> float:
        """The median of a layer's neurons that are not dead."""
        return float(np.median(self.last[measure.name][layer]))

    def figures(self) -> dict[str, go.Figure]:
        results, found = self.results, {}
        for measure in self.measures:
            names = ("neurons", "before")
            if not results.single:
                names = (
                    f"checkpoint {results.checkpoints[-1]}",
                    f"checkpoint {results.checkpoints[0]}",
                )
            found[f"distribution-{measure.name}"] = _distributions(
                results.layers,
                self.last[measure.name],
                {} if results.single else results.living(measure.name, 0),
                f"{measure.title.lower()} ({measure.unit})"
                if measure.unit
                else measure.title.lower(),
                names=names,
                bounds=measure.bounds,
            )
        return {name: figure for name, figure in found.items() if figure is not None}

    @cached_property
    def _table(self) -> pa.Table:
        return self.results.neurons()

    def tables(self) -> dict[str, Table]:
        results = self.results
        known = [m for m in MEASURES.values() if m.name in results.trajectory.layers.column_names]
        held = {
            m: next((name for name, how in m.columns.items() if how == "mean"), m.name)
            for m in known
        }
        columns = [Column("layer"), Column("neurons", digits=0)]
        columns += [Column(m.title.lower(), m.unit, m.digits) for m in held]
        values = [results.layer(name)[:, -1] for name in ("neurons", *held.values())]
        rows = [
            [Cell(name, link="#idle"), *(_known(value[i]) for value in values)]
            for i, name in enumerate(results.layers)
        ]
        title = (
            f"The layers{results.when}: counts of dead and always active neurons, means of what is known of the "
            "others, of selectivity the median."
        )
        found = {"layers": Table(title, columns, rows)}
        best_of = [MEASURES[name] for name in ("activity", "selectivity", "information")]
        for measure in ("selectivity", "information"):
            if best := self._top(measure):
                found[measure] = Table(
                    f"Highest {measure}{results.when}.",
                    [
                        Column("#"),
                        Column("layer"),
                        Column("neuron"),
                        Column("preferred class"),
                        *(Column(m.title.lower(), m.unit, 3) for m in best_of),
                    ],
                    best,
                )
        return found

    def _top(self, measure: str, most: int = 10) -> list[list[object]]:
        """The neurons with the highest values, of equal ones the more active first; rarely active ones are left out."""
        enough = (pc.field("activity") >= RARE) & pc.is_valid(pc.field(measure))
        order = [(measure, "descending"), ("activity", "descending"), ("neuron", "ascending")]
        rows = self._table.filter(enough).sort_by(order).slice(0, most).to_pylist()
        return [
            [
                str(rank),
                row["layer"],
                str(row["neuron"]),
                "–"
                if row["preferred_class"] is None
                else self.results.class_name(row["preferred_class"]),
                row["activity"],
                row["selectivity"],
                row["information"],
            ]
            for rank, row in enumerate(rows, start=1)
        ]


def _known(value: Floats) -> float | int | None:
    number = float(value)
    return None if number != number else int(number) if number.is_integer() else number


def _distributions(
    layers: Sequence[str],
    now: Mapping[str, Any],
    before: Mapping[str, Any],
    title: str,
    *,
    names: tuple[str, str] = ("neurons", "before"),
    bounds: tuple[float | None, float | None] = (0.0, None),
) -> go.Figure | None:
    """How numbers spread in each layer: histograms for few layers, medians and middle halves over depth for many.

    Args:
        layers: Their names, from input to output.
        now: The numbers of each layer; a layer without any is left out.
        before: What they are held against, which may be empty.
        title: What is measured, with its unit.
        names: What the two are called.
        bounds: Least and greatest value that the axis has at any rate, None for the numbers' own.

    Returns:
        A figure, or None where there are no numbers.
    """
    parts = [*now.values(), *before.values()]
    if not parts:
        return None
    if len(layers) > MANY_LAYERS:
        return _bands(layers, now, before, title, names)
    low = min([float(part.min()) for part in parts] + [b for b in bounds[:1] if b is not None])
    high = max([float(part.max()) for part in parts] + [b for b in bounds[1:] if b is not None])
    edges = np.linspace(low, high if high > low else low + 1.0, 41)
    figure = canvas(130 + max(110, 62 * len(layers)), title, "", hovermode="closest")
    for i, layer in enumerate(layers):
        floor = len(layers) - 1 - i
        found = {
            k: np.histogram(v[layer], edges)[0] / len(v[layer])
            for k, v in ((0, now), (1, before))
            if layer in v
        }
        peak = max((float(share.max()) for share in found.values()), default=1.0)
        for which, share in found.items():
            middles = (edges[:-1] + edges[1:]) / 2
            if not which:
                figure.add_scatter(
                    x=middles,
                    y=[floor] * len(share),
                    mode="lines",
                    line={"width": 0},
                    hoverinfo="skip",
                    showlegend=False,
                )
            look = series(0, fill=None if which else 0.28, muted=bool(which))
            look["line"] |= {"shape": "hvh", "width": 1.6}
            figure.add_scatter(
                x=middles,
                y=floor + 0.86 * share / peak,
                fill=None if which else "tonexty",
                name=names[which],
                legendgroup=names[which],
                showlegend=i == 0 and bool(before),
                customdata=100 * share,
                text=[f"{a:.3g}–{b:.3g}" for a, b in pairwise(edges)],
                hovertemplate=f"{plain(layer)}, {names[which]}<br>"
                "%{text}: %{customdata:.1f} % of the neurons<extra></extra>",
                **look,
            )
    figure.update_yaxes(
        tickvals=list(range(len(layers))),
        ticktext=[plain(short(name, 16)) for name in reversed(layers)],
        range=[-0.08, len(layers)],
    )
    return figure


def _bands(
    layers: Sequence[str],
    now: Mapping[str, Any],
    before: Mapping[str, Any],
    title: str,
    names: tuple[str, str],
) -> go.Figure:
    lines = []
    for which, parts in ((1, before), (0, now)):
        if not parts:
            continue
        unknown = np.full(3, np.nan)
        found = [
            np.quantile(parts[name], (0.25, 0.5, 0.75)) if name in parts else unknown
            for name in layers
        ]
        low, middle, high = np.array(found).T
        aside = [[plain(name), a, b] for name, a, b in zip(layers, low, high, strict=True)]
        hover = "%{customdata[0]}: median %{y:.3g}, middle half %{customdata[1]:.3g} to %{customdata[2]:.3g}"
        told = f"{names[which]}: median, middle half shaded"
        lines.append(Line(told, middle, 0, (low, high), aside, hover, muted=bool(which)))
    numbers = range(1, len(layers) + 1)
    figure = courses(numbers, lines, title, height=340, over="layer, from input to output")
    return figure.update_yaxes(rangemode="tozero")
