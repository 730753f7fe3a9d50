"""Explanations that look like real ones: rings on a dark ground, or vectors, and points on what is bright."""

import dataclasses
import io

import numpy as np
import pyarrow as pa
from PIL import Image

from cofire.study.tables import TABLES

MOMENT = {"step": 4690}


def tables(
    *, checkpoint=20, right=4, wrong=5, side=28, channels=1, features=None, seed=0, **tracing
):
    """The two tables of one checkpoint; `features` makes samples vectors, `tracing` are columns of `tracings`."""
    rng = np.random.default_rng(seed)
    moment = {"checkpoint": checkpoint, "epoch": float(checkpoint), **MOMENT}
    rows = []
    for number in range(right + wrong):
        label = number % 10
        predicted = label if number < right else (label + 3) % 10
        confidence = 0.99 - 0.03 * number
        values = rng.normal(size=features or 1).astype(np.float32)
        image = _ring(side, rng)
        for target in dict.fromkeys((predicted, label)):
            lit = np.flatnonzero(image) if features is None else np.arange(features)
            places = np.sort(rng.choice(lit, min(len(lit), 20), replace=False))
            score = rng.gamma(1.0, size=len(places))
            y, x = (
                (places // side, places % side)
                if features is None
                else (np.zeros_like(places), places)
            )
            rows.append(
                moment
                | {
                    "index": 17 * number,
                    "label": label,
                    "predicted": predicted,
                    "confidence": confidence,
                }
                | {
                    "target": target,
                    "probability": confidence if target == predicted else 0.01 * (number + 1),
                }
                | {"shape": [channels, side, side] if features is None else [features]}
                | {"image": _png(image, channels) if features is None else None}
                | {"values": None if features is None else values.tolist()}
                | {"y": y.tolist(), "x": x.tolist(), "score": (0.8 * score / score.sum()).tolist()}
            )
    row = moment | {"method": "discernible", "samples": 10000, "mistakes": 120}
    row |= {"right_explained": right, "mistakes_explained": wrong, "compared": 30, "jaccard": 0.42}
    row |= {"jaccard_heat": 0.31, "jaccard_chance": 0.18, "error": None}
    return (
        pa.Table.from_pylist([row | tracing], schema=TABLES["tracings"].schema),
        pa.Table.from_pylist(rows, schema=TABLES["explanations"].schema),
    )


def with_explanations(trajectory, **keywords):
    """The trajectory with explanations of its last checkpoint."""
    tracings, explanations = tables(checkpoint=trajectory.checkpoints[-1], **keywords)
    return dataclasses.replace(trajectory, tracings=tracings, explanations=explanations)


def without_points(explanations, row):
    """The table with one row that has no evidence."""
    rows = explanations.to_pylist()
    rows[row] |= {"y": [], "x": [], "score": []}
    return pa.Table.from_pylist(rows, schema=explanations.schema)


def _ring(side, rng):
    across, down = np.meshgrid(np.arange(side), np.arange(side))
    centre, angle = (side - 1) / 2, rng.uniform(0, 6.28)
    distance = np.hypot(
        across - centre - side / 9 * np.cos(angle), down - centre - side / 9 * np.sin(angle)
    )
    return (np.abs(distance - side * rng.uniform(0.15, 0.3)) < side / 16).astype(np.uint8) * 255


def _png(image, channels):
    packed = io.BytesIO()
    colours = np.stack([image, image // 2, 255 - image], axis=-1)
    Image.fromarray(colours if channels == 3 else image).save(packed, "PNG")
    return packed.getvalue()
