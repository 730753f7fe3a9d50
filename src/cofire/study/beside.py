"""What a paper prints beside what a study of its recipe gives, and in what the two differ."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from cofire.activations import DEFAULT_TOP
from cofire.arguments import validated
from cofire.errors import OptionError
from cofire.marks import shown
from cofire.study.options import StudyOptions, of_now
from cofire.study.recipes import ITERATIONS, Printed, Recipe, recipe
from cofire.study.trajectory import Trajectory

_PAPERS_BOOSTER = "auxiliary"
_OWN = ("recipe", "seed", "explain", *StudyOptions.elsewhere)
"""Options that are no part of an experiment."""


@dataclass(frozen=True)
class Beside:
    """A number of a paper, and a study's own.

    Attributes:
        printed: The paper's.
        name: Of the layer or class in the study; "" of the network.
        ours: None where the study does not have it (yet).
        low: Lower end of its 95 % interval, of correlations the one that allows for checkpoints
            that depend on each other; None where there is none.
        high: Upper end.
    """

    printed: Printed
    name: str = ""
    ours: float | None = None
    low: float | None = None
    high: float | None = None


def recipe_of(trajectory: Trajectory) -> Recipe | None:
    """The recipe that a study was made by, None if by none or by a file that is gone."""
    told = trajectory.options
    try:
        return recipe(str(told.get("recipe") or told.get("dataset") or ""))
    except OptionError:
        return None


@validated
def differences(trajectory: Trajectory) -> list[str]:
    """In what a study differs from its recipe and from the paper's data, one sentence each, data and network first.

    Returns:
        Such as "data: imagefolder:leaves in place of mnist"; [] where it was made by no recipe.
    """
    found = recipe_of(trajectory)
    if found is None:
        return []
    told = of_now(trajectory.options)
    plain = StudyOptions(**found.options).record()
    own = StudyOptions.completed({name: told[name] for name in plain if name in told})
    said = {
        name: f"{name.replace('_', ' ')}: {shown(own[name])} in place of {shown(plain[name])}"
        for name in plain
        if name not in _OWN and own[name] != plain[name]
    }
    sizes = {
        "training samples": (
            told.get("samples", 0) + told.get("validation_samples", 0),
            found.samples,
        ),
        "test samples": (told.get("test_samples", 0), found.test_samples),
        "classes": (len(told.get("classes") or ()), found.classes),
    }
    less = [
        f"{name}: {ours:,} in place of the paper's {paper:,}"
        for name, (ours, paper) in sizes.items()
        if ours and paper and ours != paper
    ]
    first = [said.pop(name) for name in ("data", "model") if name in said]
    return [*first, *less, *said.values()]


@validated
def beside(trajectory: Trajectory) -> list[Beside]:
    """The paper's numbers of a study's recipe, each beside the study's own.

    Layers and classes are taken in order. A checkpoint is held against the one that the paper has
    after the same share of training; boosters against the study's `auxiliary`, which is P1's.

    Returns:
        One for each number that is printed; [] where the study was made by no recipe, or its paper
        prints nothing of it.
    """
    found = recipe_of(trajectory)
    printed = [] if found is None else found.printed()
    return list(_pairs(trajectory, printed)) if printed else []


def _pairs(trajectory: Trajectory, printed: list[Printed]) -> Iterator[Beside]:
    names = {
        "layer": list(dict.fromkeys(trajectory.layers["layer"].to_pylist())),
        "class": list(dict.fromkeys(trajectory.classes["class_name"].to_pylist())),
    }
    told = of_now(trajectory.options)
    asked = next(iter(told.get("top") or [DEFAULT_TOP]))
    correlations = {
        (row["scope"], "" if row["scope"] == "network" else row["name"], row["measure"]): row
        for row in _of_graphs(trajectory.correlations(), asked)
        if row["accuracy"] == "train"
    }
    network = {row["checkpoint"]: row for row in trajectory.network().to_pylist()}
    graphs = {
        (row["checkpoint"], row["layer"]): row for row in _of_graphs(trajectory.graphs, asked)
    }
    boosts = _boosts(trajectory)
    # A part of a training that has more to come says nothing of all of it.
    last = told.get("checkpoints") or len(network)
    done = len(network) >= last
    for one in printed:
        listed = names.get(one.scope, [])
        name = listed[one.number - 1] if one.number <= len(listed) and one.number else ""
        if one.number and not name:
            yield Beside(one)
            continue
        number = one.checkpoint * last / ITERATIONS
        part, _, kind = one.quantity.rpartition(" ")
        column = f"{part.removeprefix('boosted ')}_accuracy"
        if one.statistic in ("pearson", "spearman"):
            row = correlations.get((one.scope, name, one.quantity), {}) if done else {}
            ends = (row.get(f"{one.statistic}_serial_{end}") for end in ("low", "high"))
            yield Beside(one, name, row.get(one.statistic), *ends)
        elif kind == "gain":
            yield _gain(one, column, boosts.get(one.layers, {}) if done else {})
        elif kind == "accuracy":
            rows = boosts.get(one.layers, {}) if part.startswith("boosted") else network
            value = rows.get(number, {}).get(column)
            yield Beside(one, name, None if value is None else 100 * value)
        else:
            yield Beside(one, name, _count(one, number, names, graphs))


def _of_graphs(table: pa.Table, asked: int) -> list[dict[str, Any]]:
    """Rows of graphs of as many representatives as were asked for first; those of narrow layers have fewer."""
    rows = [row for row in table.to_pylist() if (row.get("top") or 0) <= asked]
    return sorted(rows, key=lambda row: row.get("top") or 0)


def _boosts(trajectory: Trajectory) -> dict[str, dict[float, dict[str, Any]]]:
    """For each choice of layers and checkpoint the row of the paper's booster, with that of the base."""
    first = next(iter(of_now(trajectory.options).get("boost_layers") or ["all"]))
    found: dict[str, dict[float, dict[str, Any]]] = {}
    for row in trajectory.boosts.to_pylist():
        rows = found.setdefault(row.get("layers") or first, {}).setdefault(row["checkpoint"], {})
        if row["method"] == _PAPERS_BOOSTER:
            rows.update(row)
        elif row["role"] == "base":
            rows["base"] = row
    return found


def _gain(one: Printed, column: str, rows: Mapping[float, Mapping[str, Any]]) -> Beside:
    """The mean over all checkpoints."""
    gains = [
        row[column] - row["base"][column]
        for row in rows.values()
        if row.get(column) is not None and row.get("base", {}).get(column) is not None
    ]
    return Beside(one, ours=100 * sum(gains) / len(gains) if gains else None)


def _count(
    one: Printed,
    number: float,
    names: Mapping[str, list[str]],
    graphs: Mapping[tuple[float, str], Mapping[str, Any]],
) -> float | None:
    """Neurons of a layer's graph that represent one class, or two."""
    if one.layer > len(names["layer"]):
        return None
    row = graphs.get((number, names["layer"][one.layer - 1]))
    if row is None or one.quantity == "shared neurons":
        return None if row is None else row["shared_neurons"]
    side = len(names["class"])
    return row["unique_matrix"][(one.number - 1) * (side + 1)] if row["unique_matrix"] else None
