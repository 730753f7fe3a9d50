"""The numbers of explanations as JSON, for programs."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from cofire.atomic import write_text
from cofire.explain import Explanation
from cofire.report.explain.explained import Explained, box_of, evidence_at_input

FORMAT = 1
STRONGEST = 10
"""Points of an explanation that are listed."""


def record_of(explained: Explained, names: Sequence[str] | None) -> dict[str, Any]:
    """What `explanations.json` holds of one photo.

    Places in "box" and "strongest" are pixels of the network's input, from its left and top edge;
    boxes end before their right and bottom number. `file` = `region` left + box × (region's width /
    the input's width) leads back to the file, as "box_in_file" does.

    ```
    {"file": "cat.jpg",                       as it was named
     "size": [500, 375],                      width and height of the upright photo in pixels
     "region": [62.5, 0.0, 437.5, 375.0],     what the network saw of it: left, top, right, bottom
     "picture": "pictures/cat.png",           in the same folder
     "predicted": {"class": 281, "name": "tabby", "probability": 0.61},
     "explanations": [
       {"method": "discernible",
        "options": {"alpha": [1.0, 0.0, 1.0], "k": 5, ...},
        "heat_map_of": "layers",              or "points", or "maps": those that the method gives
        "regions": {"sigma": 0.054, "threshold": 0.45, ...},        how heat maps and boxes are made
        "target_layer": null,                 of a class activation map
        "class": 281, "name": "tabby", "probability": 0.61,
        "evidence": true,                     false: nothing speaks for the class; the rest is empty
        "evidence_at_input": 0.031,           share that reached the pixels, 1 = all; null where none is traced
        "points": 315,                        null for maps
        "strongest": [{"x": 101, "y": 57, "score": 0.0009}, ...],   at most 10; empty for maps
        "box": [31.0, 22.0, 190.0, 204.0],    null for no box
        "box_in_file": [...]},
       ...]}
    ```

    Args:
        explained: The photo.
        names: Names of all classes; "name" is null without.
    """

    def told(number: int, probability: float) -> dict[str, Any]:
        return {
            "class": number,
            "name": names[number] if names else None,
            "probability": probability,
        }

    def one(explanation: Explanation) -> dict[str, Any]:
        points = None if explanation.maps is not None else explanation.points(0)
        strongest = (
            []
            if points is None
            else points.score.argsort(descending=True, stable=True)[:STRONGEST].tolist()
        )
        box = box_of(explanation)
        return {
            "method": explanation.method,
            "options": dict(explanation.options),
            "heat_map_of": explanation.kind,
            "regions": explanation.regions.used(explanation.kind),
            "target_layer": explanation.options.get("target_layer"),
            **told(int(explanation.target[0, 0]), float(explanation.probability[0, 0])),
            "evidence": bool(explanation.has_evidence[0]),
            "evidence_at_input": evidence_at_input(explanation),
            "points": None if points is None else len(points),
            "strongest": []
            if points is None
            else [
                {"x": int(points.x[at]), "y": int(points.y[at]), "score": float(points.score[at])}
                for at in strongest
            ],
            "box": box,
            "box_in_file": None if box is None else _in_file(box, explained),
        }

    first = explained.first
    return {
        "file": explained.file,
        "size": list(explained.size),
        "region": list(explained.region),
        "picture": f"pictures/{explained.name}.png",
        "predicted": told(int(first.predicted[0]), float(first.confidence[0])),
        "explanations": [one(explanation) for row in explained.rows for explanation in row],
    }


def write_records(
    path: str | Path, setup: Mapping[str, Any], records: Sequence[Mapping[str, Any]]
) -> None:
    """Write all photos to one file: {"format": 1, "setup": {...}, "images": [...]}.

    Args:
        path: Where to; the file appears whole or not at all.
        setup: How it was made: model, weights, preparation, options.
        records: One of `record_of` for each photo.
    """
    whole = {"format": FORMAT, "setup": dict(setup), "images": list(records)}
    write_text(path, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _in_file(box: Sequence[float], explained: Explained) -> list[float]:
    left, top, right, bottom = explained.region
    height, width = explained.first.size
    across, down = (right - left) / width, (bottom - top) / height
    places = (
        left + box[0] * across,
        top + box[1] * down,
        left + box[2] * across,
        top + box[3] * down,
    )
    return [round(place, 2) for place in places]
