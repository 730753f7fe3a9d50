"""The tables about the graphs as plain rows of text, which the template only lays out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

import numpy as np

from cofire.report.graphs.facts import MEASURES, GraphFacts
from cofire.report.graphs.roles import roles
from cofire.report.graphs.wording import (
    CLEAR,
    WITHIN,
    doubt,
    share_text,
    spread_text,
    undefined,
    z_text,
)
from cofire.report.notation import count, number
from cofire.report.tables import Cell, cells_of
from cofire.study.correlation import Correlation

LARGEST = 8
"""So many of the largest communities are listed, as in the paper."""
CLASSES = 60
"""Up to so many classes have a row of their own."""


@dataclass(frozen=True)
class NullRow:
    """A measure of modularity against its null models.

    Attributes:
        layer: Name of the layer.
        measure: Name of the measure.
        moments: For each checkpoint shown: value, against shuffled weights, against random labels.
    """

    layer: str
    measure: str
    moments: list[tuple[Cell, Cell, Cell]]


@dataclass(frozen=True)
class MeasureRow:
    """The correlation of one measure of a layer's graph with accuracy.

    Attributes:
        layer: Name of the layer.
        measure: Name of the measure.
        mean: Its mean over the checkpoints.
        doubt: Why the correlation means nothing ("near zero", "chance"), or "".
        cells: Three cells, or six where test accuracy is known.
    """

    layer: str
    measure: str
    mean: str
    doubt: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class CommunityRow:
    """The found communities of one graph.

    Attributes:
        layer: Name of the layer.
        checkpoint: Number of the checkpoint.
        communities: How many.
        singletons: How many of them have one neuron.
        mean: Neurons per community.
        largest: Sizes of the eight largest.
        shades: Style class of each of them, by its size as a share of the largest in the table.
        nmi: Agreement with the classes.
        ari: Agreement with the classes, less what chance gives.
        stability: Agreement between seeds.
    """

    layer: str
    checkpoint: int
    communities: str
    singletons: str
    mean: str
    largest: tuple[str, ...]
    shades: tuple[str, ...]
    nmi: str
    ari: str
    stability: str


@dataclass(frozen=True)
class ClassRow:
    """One class in a layer's graph.

    Attributes:
        layer: Name of the layer.
        name: Name of the class.
        alone: How many neurons represent it alone.
        own: Of how many it is the class with the highest mean.
        specialists: How many of these are its specialists.
        connectors: How many of these are connectors.
        inside: Share of their strength that stays inside the class.
        strongest: The neurons with the greatest strength among them.
    """

    layer: str
    name: str
    alone: str
    own: str
    specialists: str
    connectors: str
    inside: str
    strongest: str


def null_rows(facts: GraphFacts) -> list[NullRow]:
    """Each measure of each layer at the first and the last checkpoint, held against its null models."""
    rows = []
    for layer in facts.layers:
        for measure in facts.measures:
            found = [facts.modularity(layer, measure, number_) for number_ in facts.ends]
            rows.append(NullRow(layer, MEASURES[measure], [_moment(row) for row in found]))
    return rows


def _moment(row: dict[str, Any] | None) -> tuple[Cell, Cell, Cell]:
    if row is None:
        return (Cell("–", "", "r-none"),) * 3
    low, high = row["low"], row["high"]
    note = "" if low is None or high is None else f"{number(low, 3)} to {number(high, 3)}"
    return Cell(number(row["modularity"], 3), note, ""), _null(row, "weights"), _null(row, "labels")


_WHY = {
    "not compared": "not compared",
    "no spread": "the null model does not vary",
    "too few": "too few graphs by chance",
}


def _null(row: dict[str, Any], null: str) -> Cell:
    mean, z = row[f"{null}_mean"], row[f"{null}_z"]
    if why := undefined(row, null):
        if row["measure"] == "unweighted-overlap" and null == "weights" and why == "no spread":
            return Cell("not defined", "it takes no account of weights", "r-none")
        known = "" if mean is None else f"{number(mean, 3)}; "
        return Cell("not defined", f"{known}{_WHY[why]}", "r-none")
    shade = "" if abs(z) < CLEAR else "r-p4" if z > 0 else "r-n4"
    note = spread_text(mean, row[f"{null}_std"])
    return Cell(z_text(z), note, shade, unclear=abs(z) <= WITHIN)


def measure_rows(facts: GraphFacts, *, test: bool) -> list[MeasureRow]:
    """Correlations of every measure of the graphs with accuracy over the checkpoints."""
    rows = []
    for layer in facts.layers:
        for measure in (*facts.measures, "community size"):
            both = {a: facts.correlations.get((layer, measure, a)) for a in ("train", "test")}
            first = both["train"] or both["test"]
            if first is None:
                continue
            cells = cells_of(_correlation(both["train"]), _reason(first))
            if test:
                cells += cells_of(_correlation(both["test"]), _reason(first))
            sizes = measure == "community size"
            name = "mean size of the communities" if sizes else MEASURES[measure]
            mean = number(first["mean"], 1 if sizes else 3)
            rows.append(MeasureRow(layer, name, mean, doubt(facts, layer, measure), cells))
    return rows


def _correlation(row: dict[str, Any] | None) -> Correlation | None:
    return (
        None
        if row is None
        else Correlation(**{name: row[name] for name in Correlation.__dataclass_fields__})
    )


def _reason(row: dict[str, Any]) -> str:
    points = row["points"]
    return f"{points} checkpoints are too few, it takes 3" if points < 3 else "a constant series"


def community_rows(facts: GraphFacts) -> list[CommunityRow]:
    """The found communities of every layer at the first and the last checkpoint (P2 Table 3)."""
    found = [facts.row(layer, number_) for layer in facts.layers for number_ in facts.ends]
    top = max((max(row["community_sizes"], default=0) for row in found), default=0)
    rows = []
    for row in found:
        sizes = row["community_sizes"][:LARGEST]
        rows.append(
            CommunityRow(
                row["layer"],
                row["checkpoint"],
                count(row["communities"]),
                count(row["singletons"]),
                number(row["community_mean_size"], 1),
                tuple(count(size) for size in sizes) + ("–",) * (LARGEST - len(sizes)),
                tuple(f"s-{round(8 * size / top)}" if top else "s-0" for size in sizes)
                + ("s-0",) * (LARGEST - len(sizes)),
                number(row["nmi"], 2),
                number(row["ari"], 2),
                number(row["stability"], 2),
            )
        )
    return rows


def class_rows(facts: GraphFacts, layer: str, most: int = 3) -> list[ClassRow]:
    """Class by class, the neurons of a layer's graph at the last checkpoint."""
    graph = facts.graph(layer, facts.checkpoints[-1])
    matrix = facts.matrix(layer, facts.checkpoints[-1])
    parts = np.array(roles(graph), dtype=object)
    strength, within = graph.numbers["strength"], graph.numbers["within_strength"]
    rows = []
    for c in range(min(len(matrix), CLASSES)):
        own = np.flatnonzero(graph.own == c)
        tally = Counter(parts[own].tolist())
        best = own[np.argsort(-strength[own], kind="stable")][:most]
        rows.append(
            ClassRow(
                layer,
                facts.class_name(c),
                count(int(matrix[c, c])),
                count(len(own)),
                count(tally["specialist"]),
                count(tally["connector"]),
                share_text(float(within[own].sum()), float(strength[own].sum())),
                ", ".join(str(n) for n in graph.neurons[best].tolist()) or "–",
            )
        )
    return rows
