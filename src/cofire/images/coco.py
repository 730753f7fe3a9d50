"""Boxes from a JSON file in the form of COCO: images, annotations and categories."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from cofire.images.annotated import AnnotatedImage, Corners
from cofire.images.gathering import Gathering, size_of

KIND = "COCO"
KEYS = ("images", "annotations", "categories")


def gather_coco(content: dict[str, Any], gathering: Gathering) -> None:
    """Add what a COCO file says: boxes `[x, y, width, height]` in pixels from 0, classes by the category's name.

    An image without an annotation has no box. Annotations of crowds (`iscrowd`) are left out and
    counted.

    Args:
        content: As the JSON file holds it, with the keys `KEYS`.
        gathering: What is added to.

    Example:
        >>> from cofire.images.classes import ClassTable
        >>> gathering = Gathering(ClassTable(["cat", "dog"]))
        >>> content = {
        ...     "images": [{"id": 7, "file_name": "a.jpg", "width": 9, "height": 9}],
        ...     "annotations": [{"id": 1, "image_id": 7, "category_id": 18, "bbox": [1, 2, 3, 4]}],
        ...     "categories": [{"id": 18, "name": "dog"}],
        ... }
        >>> gather_coco(content, gathering)
        >>> gathering.entries[0].boxes, gathering.entries[0].labels
        (((1.0, 2.0, 4.0, 6.0),), (1,))
    """
    odd = [key for key in KEYS if not isinstance(content[key], list)]
    if odd:
        gathering.fault("the file", f"has {' and '.join(odd)} that are no list")
        return
    images: dict[Any, tuple[str, tuple[int, int] | None]] = {}
    for key, where, one in _with_ids(content["images"], "image", gathering):
        name = one.get("file_name")
        size = size_of(one.get("width"), one.get("height"))
        if not isinstance(name, str) or not name.strip():
            gathering.fault(where, "has no file_name")
        elif size is None and (one.get("width"), one.get("height")) != (None, None):
            gathering.fault(where, f"has the size {one.get('width')!r} × {one.get('height')!r}")
        images[key] = (name, size) if isinstance(name, str) else ("", size)
    categories: dict[Any, Any] = {}
    for key, where, one in _with_ids(content["categories"], "category", gathering):
        categories[key] = one.get("name")
        if not isinstance(one.get("name"), str) or not one["name"].strip():
            gathering.fault(where, "has no name")
    boxes: dict[Any, list[tuple[int, Corners]]] = {key: [] for key in images}
    for _, where, one in _with_ids(content["annotations"], "annotation", gathering):
        size = (
            images[one["image_id"]][1]
            if _is_id(one.get("image_id")) and one["image_id"] in images
            else None
        )
        _gather_annotation(one, where, size, boxes, categories, gathering)
    for key, (name, size) in images.items():
        labels, found = (
            tuple(label for label, _ in boxes[key]),
            tuple(corners for _, corners in boxes[key]),
        )
        gathering.entries.append(AnnotatedImage(name, None, labels, found, size))


def _gather_annotation(
    one: dict[str, Any],
    where: str,
    size: tuple[int, int] | None,
    boxes: dict[Any, list[tuple[int, Corners]]],
    categories: dict[Any, Any],
    gathering: Gathering,
) -> None:
    image, category, crowd = one.get("image_id"), one.get("category_id"), one.get("iscrowd", 0)
    if not _is_id(image) or image not in boxes:
        gathering.fault(where, f"is about image {image!r}, which is not among the images")
    elif not _is_id(category) or category not in categories:
        gathering.fault(where, f"is of category {category!r}, which is not among the categories")
    elif crowd not in (0, 1):
        gathering.fault(where, f"has iscrowd {crowd!r}, not 0 or 1")
    elif crowd:
        gathering.left_out["crowd"] += 1
    # Only categories that a box has are looked up: COCO lists all of its 80 in each file.
    elif (
        isinstance(name := categories[category], str)
        and (label := gathering.label(name, where)) is not None
    ):
        corners = _corners(one.get("bbox"), where, size, gathering)
        if corners is not None:
            boxes[image].append((label, corners))


def _with_ids(
    rows: list[Any], what: str, gathering: Gathering
) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    """The objects of a list, each with its id; one without an id, or with that of another, is a fault."""
    seen: set[Any] = set()
    for number, row in enumerate(rows):
        key = row.get("id") if isinstance(row, dict) else None
        if not _is_id(key):
            gathering.fault(f"{what} number {number}", "has no id")
        elif key in seen:
            gathering.fault(f"{what} {key}", "is there twice")
        else:
            seen.add(key)
            yield key, f"{what} {key}", row


def _is_id(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool)


def _corners(
    box: Any, where: str, size: tuple[int, int] | None, gathering: Gathering
) -> Corners | None:
    """From left, top, width and height."""
    if (
        not isinstance(box, list)
        or len(box) != 4
        or not all(isinstance(value, int | float) for value in box)
    ):
        gathering.fault(where, f"has the bbox {str(box)[:80]}, not [x, y, width, height]")
        return None
    return gathering.corners(box, where, size, sized=True)
