"""Boosting at a checkpoint: its rows, and what they say of gains."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cofire.boost import MARGIN, Comparison, Judged
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

    @property
    def over_base(self) -> Interval:
        """What the booster gains over the network as it is."""
        found = gain_of(self.booster, "base_gain", self.samples)
        return found or Interval(
            self.booster["test_accuracy"] - self.base["test_accuracy"], counted=self.samples
        )

    @property
    def over_control(self) -> Interval:
        """What the booster gains over the best control."""
        found = gain_of(self.booster, "gain", self.samples)
        return found or Interval(
            self.booster["test_accuracy"] - self.control["test_accuracy"], counted=self.samples
        )

    @property
    def of_control(self) -> Interval:
        """What the best control gains over the network as it is."""
        found = gain_of(self.control, "base_gain", self.samples)
        return found or Interval(
            self.control["test_accuracy"] - self.base["test_accuracy"], counted=self.samples
        )

    @property
    def of_layers(self) -> Interval | None:
        """What reading all layers instead of the last gains: the values alone less the best control."""
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
    def patterns_verdict(self) -> Outcome:
        """Whether activation patterns help: only if the booster does, and is better than the values alone as well."""
        gain = self.of_patterns
        return weakest(self.verdict, "undecided" if gain is None else gain.says(self.margin))

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


def boost_at(boosts: pa.Table, checkpoint: int, samples: int = 0, margin: float = MARGIN) -> Boost:
    """The rows of a checkpoint that are held against each other.

    Args:
        boosts: A table of `boosts`.
        checkpoint: Number of a checkpoint.
        samples: Of the test data; 0 where that is not known.
        margin: A difference of test accuracy below it counts as none.

    Raises:
        ResultError: The checkpoint has not exactly one row of each role.
    """
    rows = boosts.filter(pc.field("checkpoint") == checkpoint).to_pylist()
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
    comparison: Comparison, moment: Mapping[str, Any], class_names: Sequence[str]
) -> dict[str, pa.Table]:
    """The tables `boosts`, `boost_classes` and `flips` of one checkpoint.

    Args:
        comparison: Of the checkpoint.
        moment: Its number, epoch and step.
        class_names: Names of the classes.
    """
    roles = {"base": "base", comparison.best_control: "best control", comparison.chosen: "booster"}
    layers = len(comparison.always_active), count_always_active(comparison.always_active)
    boosts = [
        _row(one, roles.get(name, ""), moment, layers) for name, one in comparison.judged.items()
    ]
    counts = [
        table.tolist()
        for name in ("base", comparison.chosen)
        for table in comparison.false_counts(name)
    ]
    samples = comparison.labels.bincount(minlength=len(class_names)).tolist()
    classes = [
        {
            **moment,
            "class": number,
            "class_name": name,
            "samples": samples[number],
            "base_false_positives": counts[0][number],
            "base_false_negatives": counts[1][number],
            "boosted_false_positives": counts[2][number],
            "boosted_false_negatives": counts[3][number],
        }
        for number, name in enumerate(class_names)
    ]
    flips = [
        {
            **moment,
            "index": flip.index,
            "label": flip.label,
            "base_class": flip.base,
            "boosted_class": flip.boosted,
            "base_confidence": flip.base_confidence,
            "boosted_confidence": flip.boosted_confidence,
            "image": flip.image,
        }
        for flip in comparison.flips
    ]
    return {
        "boosts": TABLES["boosts"].table(boosts),
        "boost_classes": TABLES["boost_classes"].table(classes),
        "flips": TABLES["flips"].table(flips),
    }


def _row(
    judged: Judged, role: str, moment: Mapping[str, Any], layers: tuple[int, int]
) -> dict[str, Any]:
    read = layers if judged.kind in ("ablation", "method") else (None, None)
    return {
        **moment,
        "method": judged.name,
        "kind": judged.kind,
        "role": role,
        "title": judged.title,
        "fitted_on": judged.fitted_on,
        "train_accuracy": judged.train_accuracy,
        "validation_accuracy": judged.held_out_accuracy,
        "test_accuracy": judged.test_accuracy,
        "test_nll": judged.test_loss,
        "test_ece": judged.test_calibration,
        "parameters": judged.parameters,
        **_interval("gain", judged.gain),
        **_interval("base_gain", judged.base_gain),
        "repaired": judged.repaired,
        "broken": judged.broken,
        **_interval("values_gain", judged.values_gain),
        "layers_read": read[0],
        "layers_always_active": read[1],
    }


def _interval(name: str, interval: Interval | None) -> dict[str, float | None]:
    if interval is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
