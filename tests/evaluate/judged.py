"""Tiny photos with boxes, a tiny network that looks at them, and records that look like real ones."""

import json

import numpy as np
import pyarrow as pa
import torch
from PIL import Image

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.measures import records_schema
from cofire.images.layouts import open_collection
from cofire.images.preparation import Preparation
from cofire.network import Network
from tests.golden.place import colour_network

SIDE = 16
PREPARATION = Preparation((3, SIDE, SIDE), resize=0, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def tiny_model():
    """A network of 3 classes: red, green or blue, with some noise among its weights."""
    return colour_network(0)


def tiny_network():
    return Network(tiny_model(), torch.zeros(1, 3, SIDE, SIDE))


def write_photos(folder, count=14):
    """Photos with a coloured square on grey, the list of their boxes, and the names of the classes."""
    (folder / "photos").mkdir(parents=True)
    rng = np.random.default_rng(0)
    entries = []
    for number in range(count):
        label, (left, top), side = (
            number % 3,
            rng.integers(0, 9, 2).tolist(),
            int(rng.integers(4, 8)),
        )
        pixels = rng.integers(90, 140, (SIDE, SIDE, 3), dtype=np.uint8)
        pixels[top : top + side, left : left + side] = 60
        pixels[top : top + side, left : left + side, label] = 250
        name = f"{number:03d}.png"
        Image.fromarray(pixels).save(folder / "photos" / name)
        boxes = [] if number == 5 else [[left, top, left + side, top + side]]
        entries.append({"file": name, "label": label, "size": [SIDE, SIDE], "boxes": boxes})
    (folder / "boxes.json").write_text(json.dumps(entries))
    (folder / "names.txt").write_text("red\ngreen\nblue\n")
    return folder


def tiny_collection(folder):
    return open_collection(folder / "photos", folder / "boxes.json", num_classes=3)


def records(rows):
    """A table of records; what is not given is null, or what says least."""
    empty = dict.fromkeys(records_schema().names) | {
        "label": 0,
        "predicted": 0,
        "correct": True,
        "probability": 0.9,
        "confidence": 0.9,
        "boxes": 1,
        "box_share": 0.2,
        "small": True,
        "split": "evaluation",
        "draws": [0],
        "evidence": True,
        "seconds": 0.01,
    }
    return pa.Table.from_pylist([empty | row for row in rows], schema=records_schema())


def synthetic(images=40, methods=None, seed=0, **options):
    """An evaluation in which each method hits and overlaps as it is told: {method: (pointing, iou, correlation)}."""
    told = methods or {
        "discernible": (0.9, 0.6, 0.4),
        "gradcam": (0.55, 0.55, 0.6),
        "lrp": (0.95, 0.3, 0.95),
        "centre": (0.5, 0.35, 1.0),
    }
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(images):
        chance = rng.random()
        for method, (pointing, iou, same) in told.items():
            overlap = float(np.clip(iou + 0.1 * rng.standard_normal(), 0, 1))
            rows.append(
                {
                    "file": f"{number:03d}.png",
                    "label": number % 3,
                    "predicted": number % 3 if number % 4 else 0,
                    "correct": number % 4 != 0,
                    "method": method,
                    "pointing": float(chance < pointing),
                    "pointing_15": float(chance < pointing + 0.02),
                    "iou": overlap,
                    "iou_50": overlap >= 0.5,
                    "box_area": 0.4,
                    "small": number % 2 == 0,
                    "box_share": 0.2 if number % 2 == 0 else 0.5,
                    "increase": chance < 0.2,
                    "drop": float(chance) / 2,
                    "kept_area": 0.4,
                    "equal_increase": chance < 0.1,
                    "equal_drop": float(np.clip(1 - iou + 0.05 * chance, 0, 1)),
                    "equal_area": 0.25,
                    "rank_correlation": same,
                    "box": [1.0, 2.0, 5.0, 6.0],
                    "jaccard": same / 2 if method == "discernible" else None,
                }
            )
    settings = {
        "methods": list(told),
        "measures": ["localisation", "confidence", "sensitivity"],
        "draws": 1,
        "seed": 0,
    }
    return Evaluation(records(rows), settings | options)
