"""Boosting at a checkpoint: its rows, and what they say of gains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cofire.boost import MARGIN, Comparison
from cofire.boost.methods import VALUES
from cofire.boost.reading import count_always_active
from cofire.errors import ResultError
from cofire.statistics import Interval, Outcome, samples_to_decide, weakest
from cofire.study.tables import TABLES


def gain_of(row: Mapping[str, Any], column: str, samples: int = 0) -> Interval | None:
    """The gain of a row with its interval, or None where there is nothing to compare with.

    Args:
        row: Of `boosts`.
        column: "gain" or "base_gain".
        samples: Of the test data, 0 where that is not known.

    Returns:
        A difference of two test accuracies, as a share from -1 to 1; without ends where none were
        stored.
    """
    value, low, high = (row[f"{column}{end}"] for end in ("", "_low", "_high"))
    if value is None:
        return None
    return (
        Interval(value, counted=samples)
        if low is None or high is None
        else Interval(value, low, high, samples)
    )


@dataclass(frozen=True)
class Boost:
    """The three rows of a checkpoint that are held against each other.

    Attributes:
        base: The row of the network as it is.
        control: The row of the best control.
        booster: The row of the booster.
        values: The row of the readout of values alone; None in results of earlier versions.
        samples: Of the test data; 0 where that is not known.
        margin: A difference of test accuracy below it counts as none.
    """

    base: dict[str, Any]
    control: dict[str, Any]
    booster: dict[str, Any]
    values: dict[str, Any] | None = None

    samples: int = 0
    margin: float = MARGIN

    def _over(self, row: dict[str, Any], column: str, other: dict[str, Any]) -> Interval:
        """The stored gain of a row over another one; without an interval in results that have none."""
        difference = row["test_accuracy"] - other["test_accuracy"]
        return gain_of(row, column, self.samples) or Interval(difference, counted=self.samples)

    @property
    def over_base(self) -> Interval:
        """What the booster gains over the network as it is."""
        return self._over(self.booster, "base_gain", self.base)

    @property
    def over_control(self) -> Interval:
        """What the booster gains over the best control."""
        return self._over(self.booster, "gain", self.control)

    @property
    def of_control(self) -> Interval:
        """What the best control gains over the network as it is."""
        return self._over(self.control, "base_gain", self.base)

    @property
    def read(self) -> str:
        """Which layers the booster reads, in words."""
        return layers_in_words(self.booster["layers"])

    @property
    def of_layers(self) -> Interval | None:
        """What reading values of layers gains: the values alone less the best control."""
        return None if self.values is None else gain_of(self.values, "gain", self.samples)

    @property
    def of_patterns(self) -> Interval | None:
        """What patterns gain on top of values: the booster less the values alone."""
        return None if self.values is None else gain_of(self.booster, "values_gain", self.samples)

    @property
    def verdict(self) -> Outcome:
        """Whether the booster helps: only what is better than the network and than the best control does.

        A gain over the network alone is no evidence for hidden layers if a control that sees none
        gains as much; one over the control alone is none either, as the control may have spoilt the
        network. The same verdict as that of `cofire.boost.Comparison`.
        """
        return weakest(self.over_base.says(self.margin), self.over_control.says(self.margin))

    @property
    def needed(self) -> int | None:
        """About how many test samples would decide what is undecided; None where nothing is, or none would."""
        asked = [
            samples_to_decide(gain, self.margin)
            for gain in (self.over_base, self.over_control)
            if gain.says(self.margin) == "undecided"
        ]
        return (
            None
            if not asked or None in asked
            else max(number for number in asked if number is not None)
        )


def decimals(*gains: Interval) -> int:
    """How many decimals of a percentage point intervals deserve: enough that an end beside zero does not read as zero.

    Example:
        >>> decimals(Interval(0.006, 0.004, 0.008)), decimals(Interval(0.0006, 0.0002, 0.001))
        (1, 2)
    """
    known = [(100 * g.low, 100 * g.high) for g in gains if g.known]
    for digits in (1, 2):
        unit = 10.0**-digits
        hidden = any(0 < abs(end) < unit / 2 for pair in known for end in pair)
        narrow = any(1e-9 < high - low < 2.5 * unit for low, high in known)
        if not (hidden or narrow):
            return digits
    return 3 if any(0 < abs(end) < 0.005 for pair in known for end in pair) else 2


_LAYERS = {"all": "all layers", "L2L": "the last two layers", "LL": "the last layer"}


def layers_in_words(layers: str | None) -> str:
    """Layers as `boost_layers` names them; results of earlier versions are of all.

    Example:
        >>> layers_in_words(None), layers_in_words("LL"), layers_in_words("relu1+relu2")
        ('all layers', 'the last layer', 'relu1 and relu2')
    """
    return _LAYERS.get(layers or "all") or str(layers).replace("+", " and ")


def choices_of(boosts: pa.Table) -> list[str | None]:
    """The choices of layers that boosters read, all layers first; None in results of earlier versions."""
    found = list(dict.fromkeys(boosts["layers"].to_pylist()))
    known = [layers for layers in found if layers is not None]
    return sorted(known, key=lambda layers: layers != "all") or found


def boost_at(
    boosts: pa.Table,
    checkpoint: int,
    samples: int = 0,
    margin: float = MARGIN,
    *,
    layers: str | None = None,
) -> Boost:
    """The rows of a checkpoint that are held against each other.

    Args:
        boosts: A table of `boosts`.
        checkpoint: Number of a checkpoint.
        samples: Of the test data; 0 where that is not known.
        margin: A difference of test accuracy below it counts as none.
        layers: A choice of layers; the first of `choices_of` unless given.

    Raises:
        ResultError: The checkpoint has not exactly one row of each role.
    """
    rows = boosts.filter(pc.field("checkpoint") == checkpoint).to_pylist()
    asked = layers or next(iter(choices_of(boosts)), None)
    rows = [row for row in rows if row["layers"] in (asked, None)]
    found = {
        role: [row for row in rows if row["role"] == role]
        for role in ("base", "best control", "booster")
    }
    if wrong := [
        f"{len(part)} rows of role '{role}'" for role, part in found.items() if len(part) != 1
    ]:
        raise ResultError(
            f"a table 'boosts' with {' and '.join(wrong)} at checkpoint {checkpoint}",
            "exactly one row each of 'base', 'best control' and 'booster'",
            "make the table again with this version of cofire",
        )
    base, control, booster = (part[0] for part in found.values())
    if not all(math.isfinite(row["test_accuracy"]) for row in (base, control, booster)):
        raise ResultError(
            f"test accuracies that are no numbers at checkpoint {checkpoint}",
            "shares from 0 to 1",
            "make the table again from finite predictions",
        )
    values = next((row for row in rows if row["method"] == VALUES), None)
    return Boost(base, control, booster, values, samples, margin)


def margin_of(options: Mapping[str, Any]) -> float:
    """Below which difference of test accuracies boosters count as equal: what was asked for, else half a point."""
    given = options.get("boost_margin", MARGIN)
    known = isinstance(given, int | float) and not isinstance(given, bool) and 0 <= given < math.inf
    return float(given) if known else MARGIN


def boost_tables(
    comparison: Comparison,
    moment: Mapping[str, Any],
    class_names: Sequence[str],
    layers: str | None = None,
) -> dict[str, pa.Table]:
    """The tables `boosts`, `boost_classes` and `flips` of one checkpoint.

    Args:
        comparison: Of the checkpoint.
        moment: Its number, epoch and step.
        class_names: Names of the classes.
        layers: Those that the booster reads, as they were asked for.
    """
    moment = {**moment, "layers": layers}
    roles = {"base": "base", comparison.best_control: "best control", comparison.chosen: "booster"}
    read = len(comparison.always_active), count_always_active(comparison.always_active)
    boosts = []
    for name, one in comparison.judged.items():
        known = read if one.kind in ("ablation", "method") else (None, None)
        row = {**moment, "role": roles.get(name, "")}
        row |= {column: getattr(one, attribute) for column, attribute in _ATTRIBUTES.items()}
        row["title"] = row["title"].replace("all layers", layers_in_words(layers))
        row |= {"layers_read": known[0], "layers_always_active": known[1]}
        for gain in ("gain", "base_gain", "values_gain"):
            for end, attribute in (("", "value"), ("_low", "low"), ("_high", "high")):
                row[f"{gain}{end}"] = getattr(getattr(one, gain), attribute, None)
        boosts.append(row)
    counts = {
        f"{who}_false_{which}": table.tolist()
        for who, name in (("base", "base"), ("boosted", comparison.chosen))
        for which, table in zip(
            ("positives", "negatives"), comparison.false_counts(name), strict=True
        )
    }
    samples = comparison.labels.bincount(minlength=len(class_names)).tolist()
    classes = [
        {**moment, "class": number, "class_name": name, "samples": samples[number]}
        | {column: values[number] for column, values in counts.items()}
        for number, name in enumerate(class_names)
    ]
    flips = [
        {**moment, **vars(flip), "base_class": flip.base, "boosted_class": flip.boosted}
        for flip in comparison.flips
    ]
    rows = {"boosts": boosts, "boost_classes": classes, "flips": flips}
    return {name: TABLES[name].table(of_table) for name, of_table in rows.items()}


_ATTRIBUTES = {
    "method": "name",
    "validation_accuracy": "held_out_accuracy",
    "test_nll": "test_loss",
    "test_ece": "test_calibration",
    **{
        name: name
        for name in (
            *("kind", "title", "fitted_on", "train_accuracy", "test_accuracy", "parameters"),
            *("repaired", "broken"),
        )
    },
}
"""Columns of `boosts` and the attributes of `cofire.boost.Judged` that they hold."""
