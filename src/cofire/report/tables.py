"""The tables of the page as plain rows of text, which the template only lays out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from cofire.report.colours import correlation_class
from cofire.report.facts import Facts, Subject
from cofire.report.notation import interval, number, percent, signed
from cofire.study.correlation import Correlation

LISTED = 400
"""How many dead neurons the page names; all of them are in neurons.parquet."""


@dataclass(frozen=True)
class Cell:
    """A correlation in a table.

    Attributes:
        value: The number with its sign, or "not defined".
        note: The interval, of a correlation the one that allows for serial dependence; or the
            reason why there is none.
        shade: Style class of the cell.
        unclear: Whether the interval includes zero.
        plain: Of a correlation the interval that takes checkpoints as independent, else "".
    """

    value: str
    note: str
    shade: str
    unclear: bool = False
    plain: str = ""


@dataclass(frozen=True)
class CorrelationRow:
    """A subject with Pearson, Spearman and changes against training accuracy, then against test accuracy.

    Attributes:
        name: Name of the network, layer or class.
        cells: Three cells, or six where test accuracy is known.
        strength: Pearson's r against training accuracy, to order by.
    """

    name: str
    cells: tuple[Cell, ...]
    strength: float | None


@dataclass(frozen=True)
class IdleLayer:
    """Neurons of one layer that are dead, or that are always active.

    Attributes:
        layer: Name of the layer.
        count: How many there are.
        size: How many neurons the layer has.
        share: The same in percent.
        listed: Their numbers as text, as far as the page lists them.
        more: How many are not listed.
    """

    layer: str
    count: int
    size: int
    share: str
    listed: str
    more: int


def correlation_rows(subjects: tuple[Subject, ...], *, test: bool) -> list[CorrelationRow]:
    """Rows of a correlation table.

    Args:
        subjects: What entropy belongs to.
        test: Whether there are columns for test accuracy.
    """
    rows = []
    for subject in subjects:
        cells = cells_of(subject.train, subject.constant)
        if test:
            cells += cells_of(subject.test, subject.constant)
        rows.append(
            CorrelationRow(subject.name, cells, subject.train.pearson if subject.train else None)
        )
    return rows


def extremes(
    rows: list[CorrelationRow], most: int = 10
) -> tuple[list[CorrelationRow], list[CorrelationRow]]:
    """The rows with the lowest and the highest correlation with training accuracy, lowest first."""
    known = sorted((r for r in rows if r.strength is not None), key=lambda r: r.strength or 0.0)
    return known[:most], known[most:][-most:]


def cells_of(found: Correlation | None, reason: str) -> tuple[Cell, ...]:
    """Pearson, Spearman and changes as cells of a table.

    Args:
        found: The correlation, None where it was not measured.
        reason: Why it is not defined, if it is not.
    """
    if found is None:
        return (Cell("–", "not measured", "r-none"),) * 3
    return (
        _cell(
            found.pearson,
            (found.pearson_low, found.pearson_high),
            (found.pearson_serial_low, found.pearson_serial_high),
            reason,
        ),
        _cell(
            found.spearman,
            (found.spearman_low, found.spearman_high),
            (found.spearman_serial_low, found.spearman_serial_high),
            reason,
        ),
        Cell(signed(found.changes), "", correlation_class(found.changes))
        if found.changes is not None
        else Cell("not defined", _no_changes(found, reason), "r-none"),
    )


def _no_changes(found: Correlation, reason: str) -> str:
    if found.pearson is None:
        return reason
    return "too few changes" if found.points < 4 else "constant changes"


def _cell(
    value: float | None,
    plain: tuple[float | None, float | None],
    serial: tuple[float | None, float | None],
    reason: str,
) -> Cell:
    if value is None:
        return Cell("not defined", reason or "a constant series", "r-none")
    low, high = serial
    shade = correlation_class(value)
    if low is None or high is None:
        return Cell(signed(value), "no interval", shade, unclear=True)
    return Cell(
        signed(value), interval(low, high), shade, unclear=low <= 0 <= high, plain=interval(*plain)
    )


def checkpoint_rows(facts: Facts) -> list[tuple[str, ...]]:
    """The numbers behind the first figure: one row per checkpoint."""
    epochs, steps = facts.network("epoch"), facts.network("step")
    dead, always = facts.network("dead"), facts.network("always_active")
    rows: list[tuple[str, ...]] = []
    for i, checkpoint in enumerate(facts.checkpoints):
        train = percent(None if facts.train is None else facts.train[i], 2)
        test = percent(None if facts.test is None else facts.test[i], 2)
        idle = (number(dead[i], 0), number(always[i], 0))
        rows.append(
            (
                str(checkpoint),
                f"{epochs[i]:g}",
                number(steps[i], 0),
                number(facts.entropy[i], 1),
                train,
                test,
                *idle,
            )
        )
    return rows


def layer_rows(facts: Facts) -> list[tuple[str, ...]]:
    """One row per layer at the last checkpoint: how many neurons, what they do, how many are idle."""
    columns = (
        "neurons",
        "entropy_mean",
        "activity",
        "selectivity",
        "information",
        "dead",
        "always_active",
    )
    value = {column: facts.layer(column)[:, -1] for column in columns}
    return [
        (
            name,
            number(value["neurons"][i], 0),
            number(value["entropy_mean"][i], 3),
            percent(value["activity"][i]),
            number(value["selectivity"][i], 3),
            number(value["information"][i], 3),
            number(value["dead"][i], 0),
            number(value["always_active"][i], 0),
        )
        for i, name in enumerate(facts.layers)
    ]


def idle_neurons(facts: Facts, column: str, most: int = LISTED) -> list[IdleLayer]:
    """Which neurons are dead ("dead") or always active ("always_active") at the last checkpoint.

    Args:
        facts: What is known.
        column: "dead" or "always_active".
        most: How many to name over all layers; the rest are counted.
    """
    idle = facts.last_neurons.filter(pc.field(column)).sort_by("neuron")
    layer, neuron = np.array(idle["layer"].to_pylist(), dtype=object), idle["neuron"].to_numpy()
    counts, sizes = facts.layer(column)[:, -1], facts.layer("neurons")[:, -1]
    found, left = [], most
    for i, name in enumerate(facts.layers):
        if not counts[i] > 0:
            continue
        numbers = neuron[layer == name][:left].tolist() if left else []
        left -= len(numbers)
        total = int(counts[i])
        listed = ", ".join(map(str, numbers))
        found.append(
            IdleLayer(
                name, total, int(sizes[i]), percent(total / sizes[i]), listed, total - len(numbers)
            )
        )
    return found


RARE = 0.01
"""Share of observations below which a neuron is too rarely active to be listed."""


def top_neurons(facts: Facts, measure: str, most: int = 10) -> list[tuple[str, ...]]:
    """The neurons with the highest selectivity or information at the last checkpoint.

    Neurons that are active in less than 1 % of the observations are left out: one that fires for a
    handful of samples is selective by accident, and a list of those would say nothing.

    Returns:
        Rows of rank, layer, neuron, preferred class, activity, selectivity and information as text;
        of equal ones the more active first.
    """
    table = facts.last_neurons.filter(
        (pc.field("activity") >= RARE) & pc.is_valid(pc.field(measure))
    )
    table = table.sort_by(
        [(measure, "descending"), ("activity", "descending"), ("neuron", "ascending")]
    )
    return [
        _neuron(rank, row, facts) for rank, row in enumerate(_rows(table.slice(0, most)), start=1)
    ]


def _rows(table: pa.Table) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = table.to_pylist()
    return rows


def _neuron(rank: int, row: dict[str, object], facts: Facts) -> tuple[str, ...]:
    def share(name: str) -> float | None:
        value = row[name]
        return value if isinstance(value, float) else None

    preferred = row["preferred_class"]
    name = facts.class_names.get(preferred, str(preferred)) if isinstance(preferred, int) else "–"
    return (
        str(rank),
        str(row["layer"]),
        str(row["neuron"]),
        name,
        percent(share("activity")),
        number(share("selectivity"), 3),
        number(share("information"), 3),
    )
