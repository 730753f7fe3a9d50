"""From one checkpoint's comparison of boosters and controls to the rows of a trajectory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from cofire.boost import Comparison, Interval, Judged
from cofire.boost.firing import count_always_active
from cofire.study.schemas import BOOST_CLASSES_SCHEMA, BOOSTS_SCHEMA, FLIPS_SCHEMA


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
        "boosts": pa.Table.from_pylist(boosts, schema=BOOSTS_SCHEMA),
        "boost_classes": pa.Table.from_pylist(classes, schema=BOOST_CLASSES_SCHEMA),
        "flips": pa.Table.from_pylist(flips, schema=FLIPS_SCHEMA),
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
