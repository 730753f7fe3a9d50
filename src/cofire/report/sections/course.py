"""How the network learns, what its neurons do meanwhile, and whether the two are related (P2 Tables 3 to 6)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from statistics import NormalDist
from typing import Any, Self

import numpy as np
import plotly.graph_objects as go
import pyarrow.compute as pc

from cofire.patterns import MEASURES
from cofire.report.notation import interval, plural
from cofire.report.plots import Line, canvas, courses, layer_courses, series
from cofire.report.section import Floats, Results, Section, floats
from cofire.report.table import Cell, Column, Table
from cofire.statistics import Interval, verdicts

NOTEWORTHY = 0.005
"""A relative change below half a percent is told as no change."""
_RING = "the interval includes 0, or there is none"


def is_clear(row: Mapping[str, Any]) -> bool:
    """Whether the interval of Pearson's r that allows for serial dependence lies on one side of zero.

    Example:
        >>> is_clear({"pearson_serial_low": 0.2, "pearson_serial_high": 0.9})
        True
        >>> is_clear({"pearson_serial_low": None, "pearson_serial_high": None})
        False
    """
    low, high = row["pearson_serial_low"], row["pearson_serial_high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def moves_together(row: Mapping[str, Any]) -> bool:
    """Whether the step-to-step changes correlate more than unrelated changes would by chance."""
    steps = row["points"] - 1
    if row["changes"] is None or steps < 4:
        return False
    bound = NormalDist().inv_cdf((1 + row["confidence"]) / 2) / math.sqrt(steps - 3)
    return abs(row["changes"]) == 1.0 or abs(math.atanh(row["changes"])) > bound


def movement(values: Floats) -> str:
    """How a quantity went from first checkpoint to last: "rose", "fell" or "stayed about the same"."""
    first, last = float(values[0]), float(values[-1])
    size = max(abs(first), abs(last))
    if size == 0 or abs(last - first) < NOTEWORTHY * size:
        return "stayed about the same"
    return "rose" if last > first else "fell"


def correlation_columns(test: bool) -> list[Column]:
    """Columns of correlations with training accuracy, and with test accuracy where it is known."""
    return [
        Column(title, scale="diverging", signed=True, group=f"against {which} accuracy")
        for which in ("training", "test")[: 1 + test]
        for title in ("Pearson r", "Spearman ρ", "changes r")
    ]


def correlation_cells(row: Mapping[str, Any] | None, reason: str = "") -> list[Cell]:
    """Pearson, Spearman and changes as cells, each with the interval that decides and the plain one in parentheses.

    Args:
        row: Of `Trajectory.correlations`, None where it was not measured.
        reason: Why it is not defined, if it is not.
    """
    if row is None:
        return [Cell(None, "not measured", "r-none")] * 3
    if row["pearson"] is None:
        few = f"{row['points']} checkpoints are too few, it takes 3"
        return [Cell("not defined", few if row["points"] < 3 else reason, "r-none")] * 3
    cells = []
    for name in ("pearson", "spearman"):
        low, high = row[f"{name}_serial_low"], row[f"{name}_serial_high"]
        if low is None:
            cells.append(Cell(row[name], "no interval", ring=_RING))
            continue
        plain = interval(row[f"{name}_low"], row[f"{name}_high"])
        ring = _RING if low <= 0 <= high else ""
        cells.append(Cell(row[name], f"{interval(low, high)} ({plain})", ring=ring))
    still = "too few changes" if row["points"] < 4 else "constant changes"
    known = row["changes"] is not None
    return [*cells, Cell(row["changes"]) if known else Cell("not defined", still, "r-none")]


class Course(Section):
    """Accuracy and entropy over the checkpoints."""

    id, title = "course", "Does it learn, and what do its neurons do meanwhile?"
    label = "Learning"
    template = "sections/course.html.j2"

    def __init__(self, results: Results) -> None:
        self.results = results
        self.entropy = results.network("entropy")
        self.error = results.sampling_error(results.trajectory.layers, "entropy_halves")
        self.random_labels = str(results.options.get("data", "")).endswith("-mixed")
        self.movement = movement
        self.moves_together = moves_together
        self.is_clear = is_clear

    @classmethod
    def of(cls, results: Results) -> Self | None:
        return cls(results) if len(results.checkpoints) > 1 else None

    @property
    def change(self) -> float:
        """By which share entropy changed from the first checkpoint to the last."""
        first, last = float(self.entropy[0]), float(self.entropy[-1])
        return abs(last - first) / abs(first) if first else math.nan

    @cached_property
    def correlations(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Rows of the table of correlations with training and test accuracy, by scope and measure of neurons."""
        if "train" not in self.results.accuracies:
            return {}
        graphs = {*self.results.trajectory.modularities["measure"].to_pylist(), "community size"}
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for row in self.results.trajectory.correlations().to_pylist():
            if row["measure"] not in graphs:
                found.setdefault((row["scope"], row["measure"]), []).append(row)
        return found

    @property
    def network(self) -> dict[str, Any] | None:
        """The correlation of the network's entropy with training accuracy, or None."""
        rows = self.correlations.get(("network", "entropy"), [])
        return next((row for row in rows if row["accuracy"] == "train"), None)

    @property
    def against_the_papers(self) -> bool:
        """Whether entropy clearly rises with accuracy on real labels: the papers report that it falls."""
        row = self.network
        return row is not None and is_clear(row) and row["pearson"] > 0 and not self.random_labels

    def signs(self, scope: str) -> dict[str, int]:
        """Of how many correlations of a scope the sign is clear, all held to 5 % together (Holm)."""
        rows = [
            r for r in self.correlations.get((scope, "entropy"), []) if r["accuracy"] == "train"
        ]
        told = verdicts([_fisher(row) for row in rows])
        negative, positive = told.count("worse"), told.count("better")
        undecided = len(rows) - negative - positive
        return {
            "subjects": len(rows),
            "negative": negative,
            "positive": positive,
            "undecided": undecided,
        }

    def _constant(self, row: Mapping[str, Any]) -> str:
        """Why a correlation is not defined: which of its series do not change."""
        run, measure = self.results.trajectory, MEASURES[row["measure"]]
        names = {measure.name: measure.title.lower()}
        key = {"layer": "layer", "class": "class_name"}.get(row["scope"])
        part = run.network()
        if key:
            table = run.layers if key == "layer" else run.classes
            part = table.filter(pc.field(key) == row["name"])
        names |= {"train_accuracy": "training accuracy", "test_accuracy": "test accuracy"}
        flat = [
            told
            for column, told in names.items()
            if part[column].null_count == 0 and _is_constant(floats(part[column]))
        ]
        return f"constant {' and '.join(flat)}" if flat else "a constant series"

    def figures(self) -> dict[str, go.Figure]:
        results = self.results
        accuracies = list(results.accuracies.items())
        words = {"train": "training accuracy", "test": "test accuracy"}
        ends = None
        if self.error is not None:
            ends = (self.entropy - self.error, self.entropy + self.error)
        lines = [Line("entropy", self.entropy, 0, ends, hover="%{y:,.1f} nats")]
        below = [
            Line(words[name], 100 * values, 1 + i, hover="%{y:.2f} %")
            for i, (name, values) in enumerate(accuracies)
        ]
        scaled = [
            Line(
                line.name,
                _scaled(line.values),
                line.look,
                aside=line.values,
                hover="%{y:.2f} (%{customdata:,.2f})",
            )
            for line in [*lines, *below]
        ]
        mean = results.layer("entropy_mean")
        with np.errstate(divide="ignore", invalid="ignore"):
            change = 100 * (mean / mean[:, :1] - 1)
        found = {
            "entropy-accuracy-raw": courses(
                results.checkpoints, lines, "entropy (nats)", below=below, height=420
            ),
            "entropy-accuracy": courses(results.checkpoints, scaled, "scaled to 0–1"),
            "layer-entropy": layer_courses(
                results.checkpoints,
                results.layers,
                mean,
                "entropy per neuron (nats)",
                "%{y:.3f} nats per neuron",
                heat=change,
                heat_title="change since the<br>first checkpoint (%)",
            ),
        }
        return found | ({"entropy-vs-accuracy": self._scatter()} if accuracies else {})

    def _scatter(self) -> go.Figure:
        figure = canvas(400, "accuracy (%)", "entropy (nats)", hovermode="closest")
        numbers = self.results.checkpoints
        last = len(numbers) - 1
        for i, (name, values) in enumerate(self.results.accuracies.items()):
            look = series(1 + i, mode="lines+markers+text")
            look["line"] |= {"width": 1, "dash": "dot"}
            # Later checkpoints are more solid: the direction of time is seen without a legend.
            look["marker"] |= {"size": 9, "opacity": np.linspace(0.35, 1, last + 1).tolist()}
            figure.add_scatter(
                x=100 * values,
                y=self.entropy,
                name="training accuracy" if name == "train" else "test accuracy",
                text=[f"<b>{n}</b>" if k in (0, last) else "" for k, n in enumerate(numbers)],
                textposition=[
                    "bottom center" if k == last else "top center" for k in range(last + 1)
                ],
                textfont={"color": look["line"]["color"]},
                cliponaxis=False,
                customdata=list(numbers),
                hovertemplate="checkpoint %{customdata}<br>%{x:.2f} %, %{y:,.1f} nats<extra></extra>",
                **look,
            )
        return figure

    def tables(self) -> dict[str, Table]:
        results, test = self.results, "test" in self.results.accuracies
        columns = [
            *(Column(name, digits=0) for name in ("checkpoint", "epoch", "step")),
            Column("entropy", "nats", 1),
            Column("training accuracy", "%"),
            *([Column("test accuracy", "%")] if test else []),
            *(Column(name, digits=0) for name in ("dead", "always active")),
        ]
        names = ["epoch", "step", "entropy", "train_accuracy", *(["test_accuracy"] if test else [])]
        values = [results.network(name) for name in (*names, "dead", "always_active")]
        rows = [
            [str(number), *(float(v[i]) for v in values)]
            for i, number in enumerate(results.checkpoints)
        ]
        found = {
            "checkpoints": Table(
                f"The whole network at {plural(len(rows), 'checkpoint')}.", columns, rows
            )
        }
        for scope, told in _SCOPES.items():
            if held := self.correlations.get((scope, "entropy")):
                rows = self._subjects(held)
                if scope == "class":
                    rows.sort(key=lambda cells: _strength(cells[1]))
                columns = [Column(scope), *correlation_columns(test)]
                title = f"Entropy of {told} against accuracy."
                found[f"correlation-{scope}"] = Table(title, columns, rows)
        others = [
            [measure.title, *row[1:]]
            for name, measure in MEASURES.items()
            if name != "entropy"
            for row in self._subjects(self.correlations.get(("network", name), []))
        ]
        if others:
            title = "Other measures of the network against accuracy."
            columns = [Column("measure"), *correlation_columns(test)]
            found["correlation-others"] = Table(title, columns, others)
        return found

    def _subjects(self, held: Sequence[Mapping[str, Any]]) -> list[list[Any]]:
        """Rows of a table of correlations, one for each layer or class."""
        sides = ("train", "test")[: 1 + ("test" in self.results.accuracies)]
        subjects: list[dict[str, Mapping[str, Any]]] = []
        for row in held:
            # Two classes may share a name: an accuracy that occurs again starts the next subject.
            last = subjects[-1] if subjects else {}
            if (
                not last
                or row["accuracy"] in last
                or row["name"] != next(iter(last.values()))["name"]
            ):
                subjects.append({})
            subjects[-1][row["accuracy"]] = row
        found = []
        for both in subjects:
            first = next(iter(both.values()))
            reason = self._constant(first)
            cells = [c for side in sides for c in correlation_cells(both.get(side), reason)]
            found.append([first["name"], *cells])
        return found


_SCOPES = {"network": "the network", "layer": "each layer", "class": "each class’s samples"}


def _strength(cell: Any) -> float:
    return cell.value if isinstance(cell.value, float) else math.inf


def _is_constant(values: Floats) -> bool:
    return bool(np.ptp(values) <= 1e-13 * np.abs(values).max(initial=0.0))


def _scaled(values: Floats) -> Floats:
    span = float(np.ptp(values))
    # A constant series has no shape; a line in the middle claims none.
    return (values - values.min()) / span if span > 0 else np.full_like(values, 0.5)


def _fisher(row: Mapping[str, Any]) -> Interval:
    """Fisher's z of Pearson's r, which is nearly normal, with the interval that decides; no ends where none is."""
    ends = [row[name] for name in ("pearson", "pearson_serial_low", "pearson_serial_high")]
    if None in ends:
        return Interval(0.0)
    value, low, high = (math.atanh(e) if abs(e) < 1 else math.copysign(math.inf, e) for e in ends)
    return Interval(value, low, high)
