"""Whether a booster that reads the neurons improves the network, and whether activation patterns are why (P1)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any, Self

import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc

from cofire.images.pictures import address
from cofire.report.notation import interval, plural, signed
from cofire.report.plots import Line, Point, courses, intervals
from cofire.report.section import Results, Section
from cofire.report.table import Cell, Column, Table
from cofire.statistics import Interval, Outcome, samples_to_decide, verdicts
from cofire.study.boosts import (
    Boost,
    boost_at,
    choices_of,
    decimals,
    gain_of,
    layers_in_words,
    margin_of,
)

ALL_CLASSES, MOST_CHANGED = 20, 10
"""Up to so many classes are all shown; of more than that, so many."""
_KINDS = {
    "base": "",
    "control": "controls: see nothing of hidden layers but what goes into the last",
    "ablation": "ablations: the same readout of all layers, with half of what it reads taken away",
    "method": "methods: see activation patterns of all layers",
}
_LOOKS = {
    "control": ("controls", 1),
    "ablation": ("values or patterns alone", 2),
    "method": ("with activation patterns", 0),
}
_FLIPS = ("Wrong, then right", "Right, then wrong", "Wrong, then wrong in another way")


class Boosting(Section):
    """Gains of the booster over the model and over controls that see no hidden layer."""

    id, title = "boost", "Does boosting pay?"
    label = "Boost"
    template = "sections/boost.html.j2"

    def __init__(self, results: Results) -> None:
        run, self.results = results.trajectory, results
        self.margin = margin_of(run.options)
        self.checkpoints = sorted(set(run.boosts["checkpoint"].to_pylist()))
        self.single = len(self.checkpoints) == 1
        classes = run.boost_classes.to_pylist()
        self.names = results.class_names | {row["class"]: row["class_name"] for row in classes}
        counted = dict.fromkeys(self.checkpoints, 0)
        for row in classes:
            counted[row["checkpoint"]] = counted.get(row["checkpoint"], 0) + row["samples"]
        self.boosts: list[Boost] = [
            boost_at(run.boosts, number, counted[number], self.margin)
            for number in self.checkpoints
        ]
        self.last = self.boosts[-1]
        self.digits = decimals(self.last.over_base, self.last.over_control)

    @classmethod
    def of(cls, results: Results) -> Self | None:
        return cls(results) if len(results.trajectory.boosts) else None

    @cached_property
    def choices(self) -> dict[str, Boost]:
        """What each choice of layers gives at the last checkpoint, where several were asked for."""
        boosts, number = self.results.whole.boosts, self.checkpoints[-1]
        names = [name for name in choices_of(boosts) if name is not None]
        found = [
            boost_at(boosts, number, self.last.samples, self.margin, layers=name) for name in names
        ]
        titles = [layers_in_words(name) for name in names]
        return dict(zip(titles, found, strict=True)) if len(names) > 1 else {}

    @property
    def when(self) -> str:
        """What of several checkpoints a number is of."""
        return "" if self.single else " at the last checkpoint"

    def points(self, gain: Interval | None) -> str:
        """A gain in percentage points with its interval."""
        if gain is None:
            return "–"
        ends = interval(100 * gain.low, 100 * gain.high, self.digits) if gain.known else ""
        return f"{signed(100 * gain.value, self.digits)} points" + (f" ({ends})" if ends else "")

    def says(self, gain: Interval | None) -> Outcome | None:
        """What a gain says, None where it was not measured."""
        return None if gain is None else gain.says(self.margin)

    def needed(self, gain: Interval) -> int | None:
        """About how many test samples would decide a gain; None where none is known."""
        return samples_to_decide(gain, self.margin)

    @cached_property
    def verdicts(self) -> list[Outcome]:
        """What the gain over the best control says at each checkpoint, held to 5 % for all of them together."""
        return verdicts([boost.over_control for boost in self.boosts], self.margin)

    def _last(self, table: pa.Table) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = table.filter(
            pc.field("checkpoint") == self.checkpoints[-1]
        ).to_pylist()
        return rows

    @cached_property
    def tried(self) -> list[dict[str, Any]]:
        """Everything that was tried at the last checkpoint: the model, the controls, the ablations, the methods."""
        kinds = list(_KINDS)
        rows = self._last(self.results.trajectory.boosts)
        return sorted(rows, key=lambda row: kinds.index(row["kind"]) if row["kind"] in kinds else 9)

    @property
    def flips(self) -> list[tuple[str, list[dict[str, Any]], int | None]]:
        """Examples of predictions that change, by what happened to them, and how many there are in all."""
        found: tuple[list[dict[str, Any]], ...] = ([], [], [])
        for row in self._last(self.results.trajectory.flips):
            right = [row[name] == row["label"] for name in ("base_class", "boosted_class")]
            told = {
                name: self.names.get(row[name], str(row[name]))
                for name in ("label", "base_class", "boosted_class")
            }
            flip = {**row, **told, "base_right": right[0], "boosted_right": right[1]}
            flip["image"] = address(row["image"])
            found[0 if right[1] else 1 if right[0] else 2].append(flip)
        totals = (self.last.booster["repaired"], self.last.booster["broken"], None)
        return [part for part in zip(_FLIPS, found, totals, strict=True) if part[1]]

    def figures(self) -> dict[str, go.Figure]:
        points = {
            row["method"]: Point(row["title"], gain, look, kind, bool(row["role"]))
            for row in self.tried
            if (gain := gain_of(row, "base_gain")) is not None and row["kind"] in _LOOKS
            for kind, look in [_LOOKS[row["kind"]]]
        }
        title = "gain over the model (points)"
        shown = [
            points[row["method"]]
            for row in self.tried
            if row["method"] in points and (row["role"] or row["kind"] == "ablation")
        ]
        found = {
            "boost-gains": intervals(shown, title, factor=100),
            "boost-methods": intervals(list(points.values()), title, factor=100),
        }
        if self.choices:
            sides = [
                Point(name, gain, look, kind)
                for name, boost in self.choices.items()
                for kind, look, gain in (
                    ("over the model", 0, boost.over_base),
                    ("over the best control", 1, boost.over_control),
                )
            ]
            found["boost-layers"] = intervals(sides, "gain of the booster (points)", factor=100)
        if self.single:
            return found
        rows = (("booster", 0), ("control", 1), ("base", 2))
        names = {"booster": "booster", "control": "best control", "base": "the model"}
        found["boost-accuracy"] = courses(
            self.checkpoints,
            [
                Line(
                    names[name],
                    _percent([getattr(b, name)["test_accuracy"] for b in self.boosts]),
                    look,
                    muted=name == "base",
                    hover="%{y:.2f} %",
                )
                for name, look in rows
            ],
            "test accuracy (%)",
        )
        lines = []
        over: dict[str, list[Interval | None]] = {
            "over the best control": [b.over_control for b in self.boosts],
            "over values alone": [b.of_patterns for b in self.boosts],
        }
        for look, (name, gains) in enumerate(over.items()):
            known = [gain or Interval(float("nan")) for gain in gains]
            if all(gain is None for gain in gains):
                continue
            ends = tuple(
                _percent([getattr(g, e) if g.known else None for g in known])
                for e in ("low", "high")
            )
            lines.append(
                Line(
                    name,
                    _percent([g.value for g in known]),
                    look,
                    (ends[0], ends[1]),
                    hover="%{y:+.2f} points",
                )
            )
        found["boost-gain"] = courses(
            self.checkpoints, lines, "gain of the<br>booster (points)", height=320
        )
        return found

    def tables(self) -> dict[str, Table]:
        gains = ("base_gain", "gain", "values_gain")
        known = [g for row in self.tried for n in gains if (g := gain_of(row, n)) is not None]
        digits = decimals(*known)
        tried = [
            [
                _KINDS.get(row["kind"], "").replace("all layers", self.last.read),
                Cell(row["title"], tag="" if row["role"] == "base" else row["role"]),
                row["fitted_on"] or "–",
                row["validation_accuracy"],
                row["test_accuracy"],
                *(gain_of(row, name) for name in gains),
                row["test_nll"],
                row["test_ece"],
                row["parameters"] or "none",
            ]
            for row in self.tried
        ]
        shares = [Column("validation accuracy", "%"), Column("test accuracy", "%")]
        heads = ("gain over the model", "over the best control", "over values alone")
        over = [Column(head, "points", digits, signed=True) for head in heads]
        found = {
            "tried": Table(
                f"Everything that was tried{self.when}.",
                [
                    Column("what"),
                    Column("fitted on"),
                    *shares,
                    *over,
                    Column("NLL", digits=3),
                    Column("ECE", digits=3),
                    Column("parameters added"),
                ],
                tried,
                by=True,
            )
        }
        if self.choices:
            chosen = [
                [
                    name,
                    boost.booster["layers_read"],
                    boost.booster["test_accuracy"],
                    boost.over_base,
                    Cell(boost.over_control, tag=boost.verdict),
                    boost.of_patterns,
                ]
                for name, boost in self.choices.items()
            ]
            columns = [Column("reads"), Column("layers"), shares[1], *over]
            found["layers"] = Table(f"Choices of layers{self.when}.", columns, chosen)
        if not self.single:
            found["checkpoints"] = self._course(over[1:])
        classes = sorted(
            self._last(self.results.trajectory.boost_classes),
            key=lambda row: (-_change(row), row["class"]),
        )
        if classes:
            most = len(classes) if len(classes) <= ALL_CLASSES else MOST_CHANGED
            kinds = ("false_positives", "false_negatives")
            rows = [
                [
                    row["class_name"],
                    row["samples"],
                    *(
                        Cell(f"{before:,} → {after:,}", signed(after - before, 0))
                        for kind in kinds
                        for before, after in [(row[f"base_{kind}"], row[f"boosted_{kind}"])]
                    ),
                ]
                for row in classes[:most]
            ]
            total = plural(len(classes), "class", "classes")
            which = (
                "most changed first"
                if most == len(classes)
                else f"the {most} of {total} that change most"
            )
            found["classes"] = Table(
                f"Errors class by class{self.when}, {which}.",
                [
                    Column("class"),
                    Column("test samples"),
                    Column("false positives"),
                    Column("false negatives"),
                ],
                rows,
            )
        return found

    def _course(self, over: Sequence[Column]) -> Table:
        """Model, booster and best control at every checkpoint, as in the paper's Table 2."""
        rows, trained, tested, controls = [], [], [], []
        for number, boost, said in zip(self.checkpoints, self.boosts, self.verdicts, strict=True):
            before, after = boost.base["train_accuracy"], boost.booster["train_accuracy"]
            trained.append(None if before is None or after is None else after - before)
            tested.append(boost.over_base.value)
            controls.append(boost.of_control.value)
            rows.append(
                [
                    str(number),
                    before,
                    after,
                    boost.base["test_accuracy"],
                    boost.booster["test_accuracy"],
                    Cell(boost.control["test_accuracy"], boost.control["title"]),
                    Cell(boost.over_control, tag="clear" if said == "better" else ""),
                    boost.of_patterns,
                ]
            )
        patterns = [None if b.of_patterns is None else b.of_patterns.value for b in self.boosts]
        over_control = [boost.over_control.value for boost in self.boosts]
        groups = {"training": ("model", "boosted"), "test": ("model", "boosted", "best control")}
        columns = [
            Column(name, "%", group=f"{which} accuracy")
            for which, names in groups.items()
            for name in names
        ]
        means = [
            self.mean(values) for values in (trained, tested, controls, over_control, patterns)
        ]
        totals = ["mean gain", None, means[0], None, means[1], means[2], means[3], means[4]]
        return Table(
            f"Model and booster at {plural(len(rows), 'checkpoint')}, as in the paper’s Table 2.",
            [Column("checkpoint"), *columns, *over],
            rows,
            totals=["" if value is None else value for value in totals],
        )

    def mean(self, values: Sequence[float | None]) -> str:
        """A mean gain over the checkpoints in points; a dash where one of them is not known."""
        known = [value for value in values if value is not None]
        return signed(100 * sum(known) / len(known), 2) if len(known) == len(values) else "–"


def _change(row: dict[str, Any]) -> int:
    kinds = ("false_positives", "false_negatives")
    return sum(abs(int(row[f"boosted_{kind}"]) - int(row[f"base_{kind}"])) for kind in kinds)


def _percent(values: Sequence[float | None]) -> list[float | None]:
    return [None if value is None or value != value else 100 * value for value in values]
