"""Tables of boosting that look like real ones: the gains are set, the counts fit them."""

import dataclasses
import io

import numpy as np
import pyarrow as pa
from PIL import Image

from cofire.study.tables import TABLES

DIGITS = tuple("0123456789")
TEST = 10_000
_OTHERS = (
    ("temperature", "control", "temperature scaling", "held-out data", 0.0, 1),
    ("vector", "control", "vector scaling", "held-out data", 0.0009, 20),
    ("predictions", "control", "predictions only, auxiliary network", "training data", 0.0004, 420),
    ("proposal", "method", "the paper’s auxiliary network", "training data", 0.0011, 830),
    ("linear", "method", "all layers, linear", "cross-fitted training data", 0.0021, 10_250),
)


def tables(
    *,
    gains=((0.006, 0.002),),
    classes=DIGITS,
    width=0.002,
    seed=0,
    images=True,
    epochs=None,
    samples=TEST,
    patterns=0.0,
    always_active=0,
):
    """The tables boosts, boost_classes and flips.

    Args:
        gains: For each checkpoint what booster and best control gain over the model.
        classes: Names of the classes.
        width: Half the width of every interval.
        seed: Of all that is random.
        images: Whether the examples have images.
        epochs: Of each checkpoint; 1, 2, … unless given.
        samples: Of the test data.
        patterns: What the booster gains over the readout of values alone.
        always_active: In how many of four layers almost every neuron is always active.
    """
    rng = np.random.default_rng(seed)
    boosts, errors, flips = [], [], []
    for t, (over_base, of_control) in enumerate(gains):
        time = 1.0 if len(gains) == 1 else t / (len(gains) - 1)
        base = 0.94 + 0.03 * time
        of_values = over_base - patterns
        moment = {
            "checkpoint": t + 1,
            "epoch": (epochs or range(1, 99))[t] * 1.0,
            "step": 469 * (t + 1),
        }
        made = [
            ("base", "base", "base", "the model as it is", "", 0.0, 0),
            (
                "last-layer",
                "control",
                "best control",
                "last layer trained on",
                "training data",
                of_control,
                5130,
            ),
            (
                "readout",
                "method",
                "booster",
                "readout",
                "cross-fitted training data",
                over_base,
                20_490,
            ),
            (
                "values",
                "ablation",
                "",
                "readout of values alone",
                "cross-fitted training data",
                of_values,
                10_250,
            ),
            (
                "patterns",
                "ablation",
                "",
                "readout of patterns alone",
                "cross-fitted training data",
                0.0,
                10_250,
            ),
            *[(n, k, "", title, on, g + of_control * 0.3, p) for n, k, title, on, g, p in _OTHERS],
        ]
        for row in made:
            boosts.append(moment | _row(*row, base, of_control, of_values, width))
            boosts[-1] |= dict.fromkeys(("layers_read", "layers_always_active"))
            if row[1] in ("ablation", "method"):
                boosts[-1] |= {"layers_read": 4, "layers_always_active": always_active}
        for c, name in enumerate(classes):
            before = rng.integers(8, 60, 2)
            after = np.maximum(0, before + rng.integers(-14, 6, 2))
            errors.append(
                moment
                | {"class": c, "class_name": name, "samples": samples // len(classes)}
                | {"base_false_positives": int(before[0]), "base_false_negatives": int(before[1])}
                | {
                    "boosted_false_positives": int(after[0]),
                    "boosted_false_negatives": int(after[1]),
                }
            )
        for number, kind in enumerate(["repaired"] * 12 + ["broken"] * 9 + ["other"] * 4):
            label, wrong, other = rng.permutation(max(3, len(classes)))[:3].tolist()
            base_class, boosted = {
                "repaired": (wrong, label),
                "broken": (label, wrong),
                "other": (wrong, other),
            }[kind]
            flips.append(
                moment
                | {
                    "index": 137 * number + t,
                    "label": label,
                    "base_class": base_class,
                    "boosted_class": boosted,
                }
                | {
                    "base_confidence": rng.uniform(0.3, 0.9),
                    "boosted_confidence": rng.uniform(0.4, 0.99),
                }
                | {"image": _png(rng) if images else None}
            )
    return (
        pa.Table.from_pylist(boosts, schema=TABLES["boosts"].schema).sort_by(
            [("checkpoint", "ascending"), ("kind", "ascending")]
        ),
        pa.Table.from_pylist(errors, schema=TABLES["boost_classes"].schema),
        pa.Table.from_pylist(flips, schema=TABLES["flips"].schema),
    )


def with_boost(trajectory, **keywords):
    """The trajectory with boosting at each of its checkpoints."""
    count = len(trajectory.checkpoints)
    keywords.setdefault(
        "gains", [(0.009 - 0.004 * t / max(1, count - 1), 0.002) for t in range(count)]
    )
    boosts, classes, flips = tables(**keywords)
    return dataclasses.replace(trajectory, boosts=boosts, boost_classes=classes, flips=flips)


def _row(
    method, kind, role, title, fitted_on, gain, parameters, base, of_control, of_values, width
):
    row = {"method": method, "kind": kind, "role": role, "title": title, "fitted_on": fitted_on}
    row |= {"train_accuracy": base + 0.02 + gain / 2, "validation_accuracy": base + 0.002 + gain}
    row |= {
        "test_accuracy": base + gain,
        "test_nll": 0.11 - 3 * gain,
        "test_ece": 0.021 - gain,
        "parameters": parameters,
    }
    of_layers = kind in ("ablation", "method")
    row |= _gain("gain", gain - of_control if of_layers else None, width)
    row |= _gain(
        "values_gain", gain - of_values if of_layers and method != "values" else None, width
    )
    row |= _gain("base_gain", None if kind == "base" else gain, width)
    broken = None if kind == "base" else 30 + max(0, round(-TEST * gain))
    return row | {
        "repaired": None if kind == "base" else broken + round(TEST * gain),
        "broken": broken,
    }


def _gain(name, value, width):
    if value is None:
        return {name: None, f"{name}_low": None, f"{name}_high": None}
    return {name: value, f"{name}_low": value - width, f"{name}_high": value + width}


def _png(rng):
    across, down = np.meshgrid(np.arange(28), np.arange(28))
    angle = rng.uniform(0, 6.28)
    ring = (
        np.abs(
            np.hypot(across - 13.5 - 3 * np.cos(angle), down - 13.5 - 3 * np.sin(angle))
            - rng.uniform(4, 9)
        )
        < 1.6
    )
    packed = io.BytesIO()
    Image.fromarray((ring * 255).astype(np.uint8)).save(packed, "PNG")
    return packed.getvalue()
