"""Boxes from a plain JSON list: one object for each image, with its class and its boxes."""

from __future__ import annotations

from typing import Any

from cofire.images.annotated import AnnotatedImage
from cofire.images.gathering import Gathering, size_of

KIND = "list of boxes"


def gather_list(entries: list[Any], gathering: Gathering) -> None:
    """Add what a list of objects says: `{"file": …, "label": …, "size": [width, height], "boxes": [[l, t, r, b], …]}`.

    The label is a class's number or its name; boxes are in pixels of `size`, counted from 0,
    without their right and bottom ends. Without a size they are in pixels of the image file. What
    else an object holds is not read.

    Args:
        entries: As the JSON file holds them.
        gathering: What is added to.

    Example:
        >>> from cofire.images.classes import ClassTable
        >>> gathering = Gathering(ClassTable())
        >>> gather_list([{"file": "a.jpg", "label": 2, "size": [9, 9], "boxes": [[0, 1, 5, 5.5]]}], gathering)
        >>> gathering.entries[0].boxes, gathering.entries[0].label
        (((0.0, 1.0, 5.0, 5.5),), 2)
    """
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict):
            gathering.fault(f"entry {number}", f"is {type(entry).__name__}, not an object")
            continue
        file = entry.get("file")
        if not isinstance(file, str) or not file.strip():
            gathering.fault(f"entry {number}", "has no file name")
            continue
        where = f"'{file}'"
        absent = [key for key in ("label", "boxes") if key not in entry]
        if absent:
            gathering.fault(where, f"has no {' and no '.join(absent)}")
            continue
        _gather_image(entry, file, where, gathering)


def _gather_image(entry: dict[str, Any], file: str, where: str, gathering: Gathering) -> None:
    size = None
    if entry.get("size") is not None:
        values = entry["size"]
        size = size_of(*values) if isinstance(values, list) and len(values) == 2 else None
        if size is None:
            gathering.fault(where, f"has the size {values!r}, not [width, height] in pixels")
            return
    if not isinstance(entry["boxes"], list):
        gathering.fault(where, "has boxes that are no list")
        return
    label = gathering.label(entry["label"], where, len(entry["boxes"]))
    if label is None:
        # Of a class that the network has not, the image is kept without boxes: the caller tells how
        # many there are.
        gathering.entries.append(AnnotatedImage(file, None, (), (), size))
        return
    found = [
        gathering.corners(box if isinstance(box, list) else [box], where, size)
        for box in entry["boxes"]
    ]
    boxes = tuple(corners for corners in found if corners is not None)
    gathering.entries.append(AnnotatedImage(file, label, (label,) * len(boxes), boxes, size))
