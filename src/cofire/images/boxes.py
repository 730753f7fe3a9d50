"""Ground truth: boxes of things on images, from the files in which data sets hold them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cofire.errors import DataError
from cofire.images import voc
from cofire.images.annotations import UNITS, Annotation, BoxList, Corners, Gathering, size_of
from cofire.images.classes import ClassTable
from cofire.images.files import MOST_LIST, files_below
from cofire.marks import choice
from cofire.reading import read_text, reading

__all__ = ["Annotation", "BoxList", "Corners", "read_boxes"]
_KINDS = "a JSON list of boxes, a COCO file, an XML file in VOC's form, or a folder of these"


def read_boxes(
    path: str | Path,
    names: Sequence[str] | None = None,
    synsets: Sequence[str] | None = None,
    *,
    num_classes: int | None = None,
    difficult: bool = False,
    first_pixel: int | None = None,
    skip_unknown: bool = False,
    skip_faulty: bool = False,
    unit: Literal["pixel", "fraction"] = "pixel",
) -> BoxList:
    """The boxes of a file or folder, whose kind its content tells.

    - A JSON list of `{"file": …, "label": …, "size": [width, height], "boxes": [[left, top, right,
      bottom], …]}`.
    - COCO: a JSON object with images, annotations and categories.
    - VOC and ILSVRC (ImageNet): XML files, one for each image, also in folders below the folder.
      VOC counts pixels
      from 1, ILSVRC from 0 (in its boxes the first pixel is 0 and the last the width less 1); both
      include the last.

    Args:
        path: The file, or the folder of XML files.
        names: Of all classes, in the order of the network's outputs; boxes' classes are looked up
            in them.
        synsets: WordNet numbers of all classes, in the same order.
        num_classes: How many classes the network has, where neither is given.
        difficult: Take boxes noted as difficult too, which otherwise are left out and counted.
        first_pixel: In XML files the number of the first pixel, 0 or 1; None for what is said
            above.
        skip_unknown: Leave out boxes of classes that the network has not, and count them, rather
            than refuse them.
        skip_faulty: The same for boxes that are none: not finite, turned round or without area.
        unit: "pixel", or "fraction" for corners from 0 to 1, as shares of the width and height that
            the file notes. Boxes between 0 and 1 in a file of pixels are refused: they would all be
            one and the same pixel.

    Raises:
        DataError: The source is missing, damaged or of no such kind, an entry lacks something, an
            image has two entries, or a box is none. The message names all that is wrong.
        LabelError: There are classes that the network has not, each told with the names nearest to
            it.
        OptionError: `first_pixel` is neither 0 nor 1, there is no such unit, or the numbers of
            classes do not agree.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "boxes.json"
        >>> _ = file.write_text('[{"file": "a.jpg", "label": "cat", "size": [8, 8], "boxes": [[0, 0, 4, 8]]}]')
        >>> read_boxes(file, ["dog", "cat"]).entries[0]
        Annotation(name='a.jpg', label=1, labels=(1,), boxes=((0.0, 0.0, 4.0, 8.0),), size=(8, 8))
    """
    if first_pixel is not None:
        choice((0, 1)).of("first_pixel", first_pixel)
    choice(UNITS).of("unit", unit)
    gathering = Gathering(
        ClassTable(names, synsets, num_classes), difficult, skip_unknown, skip_faulty, unit
    )
    with reading(path, DataError, _KINDS):
        return _read(Path(path), gathering, first_pixel)


def _read(source: Path, gathering: Gathering, first_pixel: int | None) -> BoxList:
    if source.is_dir():
        files = files_below(source, (".xml",))
        if not files:
            raise DataError(
                f"no XML file in the folder '{source}' or below it",
                _KINDS,
                "name the folder of XML files, or the JSON file itself",
            )
        for name, file in files:
            voc.gather_xml(file, str(PurePosixPath(name).with_suffix("")), gathering, first_pixel)
        return gathering.finish(source, voc.KIND)
    with source.open("rb") as opened:
        start = opened.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"<":
        voc.gather_xml(source, source.stem, gathering, first_pixel)
        return gathering.finish(source, voc.KIND)
    if start not in (b"[", b"{"):
        raise DataError(f"'{source}' holds no boxes that can be told", _KINDS, "check the path")
    # No object may have a key twice: of two values one would be lost.
    content = json.loads(
        read_text(source, MOST_LIST, "utf-8-sig"), object_pairs_hook=_each_key_once
    )
    if isinstance(content, list):
        gather_list(content, gathering)
        return gathering.finish(source, LIST)
    absent = [key for key in COCO_KEYS if key not in content]
    if absent:
        raise DataError(
            f"'{source}' is a JSON object without {', '.join(map(repr, absent))}",
            "a COCO file with images, annotations and categories, or a list of boxes",
            "check the path",
        )
    gather_coco(content, gathering)
    return gathering.finish(source, COCO)


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object has {key!r} twice")
    return found


LIST = "list of boxes"


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
        gathering.entries.append(Annotation(file, None, (), (), size))
        return
    found = [
        gathering.corners(box if isinstance(box, list) else [box], where, size)
        for box in entry["boxes"]
    ]
    boxes = tuple(corners for corners in found if corners is not None)
    gathering.entries.append(Annotation(file, label, (label,) * len(boxes), boxes, size))


COCO = "COCO"
COCO_KEYS = ("images", "annotations", "categories")


def gather_coco(content: dict[str, Any], gathering: Gathering) -> None:
    """Add what a COCO file says: boxes `[x, y, width, height]` in pixels from 0, classes by the category's name.

    An image without an annotation has no box. Annotations of crowds (`iscrowd`) are left out and
    counted.

    Args:
        content: As the JSON file holds it, with the keys `COCO_KEYS`.
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
    odd = [key for key in COCO_KEYS if not isinstance(content[key], list)]
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
        gathering.entries.append(Annotation(name, None, labels, found, size))


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
