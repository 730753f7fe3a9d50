"""Folders as data sets are handed out: where images, boxes and the numbers of classes lie in them."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cofire.errors import DataError, LabelError
from cofire.images.boxes import read_boxes
from cofire.images.classes import is_wnid
from cofire.images.collection import Collection
from cofire.images.files import reading, refuse_all, text_of
from cofire.images.matching import match

_KAGGLE_IMAGES = "Data/CLS-LOC/val"
_KAGGLE_BOXES = "Annotations/CLS-LOC/val"
_KAGGLE_SYNSETS = "LOC_synset_mapping.txt"


@dataclass(frozen=True)
class Layout:
    """Where the parts of a data set lie.

    Attributes:
        images: The folder of images.
        boxes: The file or folder of boxes; None if there is none.
        synsets: The file of WordNet numbers; None if there is none.
    """

    images: Path
    boxes: Path | None = None
    synsets: Path | None = None


def find_layout(
    images: str | Path, boxes: str | Path | None = None, synsets: str | Path | None = None
) -> Layout:
    """The parts of a data set, of which those that are not given are found in ImageNet's folders as Kaggle has them.

    That is `ILSVRC/Data/CLS-LOC/val`, `ILSVRC/Annotations/CLS-LOC/val` and
    `LOC_synset_mapping.txt`, below a folder that is given for `images`; it may be `ILSVRC` itself
    as well. Every other folder is taken as it is.

    Args:
        images: The folder of images, or the root of ImageNet.
        boxes: A file or folder of boxes.
        synsets: A file of WordNet numbers.

    Raises:
        DataError: The root of ImageNet has images and no boxes, or several such roots.
    """
    root = Path(images)
    given = Layout(
        root, None if boxes is None else Path(boxes), None if synsets is None else Path(synsets)
    )
    inner = [place for place in (root, root / "ILSVRC") if (place / _KAGGLE_IMAGES).is_dir()]
    if not inner:
        return given
    if len(inner) > 1:
        raise DataError(
            f"'{root}' holds ImageNet twice: {inner[0]} and {inner[1]}",
            "one of the two",
            "name one",
        )
    base = inner[0]
    found_boxes = given.boxes or base / _KAGGLE_BOXES
    if not found_boxes.exists():
        raise DataError(
            f"images in '{base / _KAGGLE_IMAGES}' and no '{base / _KAGGLE_BOXES}'",
            "the boxes of the images",
            "unpack them too, or name them",
        )
    mappings = [
        place / _KAGGLE_SYNSETS
        for place in (base, base.parent)
        if (place / _KAGGLE_SYNSETS).is_file()
    ]
    return Layout(
        base / _KAGGLE_IMAGES, found_boxes, given.synsets or (mappings[0] if mappings else None)
    )


def read_synsets(path: str | Path, num_classes: int | None = None) -> list[str]:
    r"""The WordNet numbers of all classes, in the order of the network's outputs.

    Args:
        path: A text file with one number a line, anything after it is not read, in the order of the
            numbers, as `LOC_synset_mapping.txt` is; or a JSON list of numbers, or of objects with a
            "wnid", in any order.
        num_classes: How many there should be.

    Raises:
        DataError: The file cannot be read, or a line is not of this form.
        LabelError: There are more or fewer, one is there twice, or the lines of a text file are in
            another order.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "LOC_synset_mapping.txt"
        >>> _ = file.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n")
        >>> read_synsets(file)
        ['n01440764', 'n01443537']
    """
    try:
        text = text_of(path, "a list of WordNet numbers")
        rows = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"'{path}' cannot be read: {error}", "a list of WordNet numbers", "check the path"
        ) from error
    in_text = not text.lstrip().startswith("[")
    found = [
        (number, _wnid(row)) for number, row in enumerate(rows, 1) if not in_text or row.strip()
    ]
    refuse_all(
        [f"{'line' if in_text else 'entry'} {number}" for number, wnid in found if wnid is None],
        f"'{path}' has lines without a WordNet number",
        "n and 8 digits, as n01440764, at the start of each",
        "name the file of WordNet numbers, not that of names",
    )
    wnids = [wnid for _, wnid in found if wnid is not None]
    if len(wnids) != (len(wnids) if num_classes is None else num_classes) or not wnids:
        raise LabelError(
            f"{len(wnids):,} WordNet numbers in '{path}'",
            "one for each class of the network"
            + (f", {num_classes:,}" if num_classes is not None else ""),
            "give those of all classes",
        )
    if in_text and wnids != sorted(wnids):
        raise LabelError(
            f"the WordNet numbers in '{path}' are not in order",
            "the order of the numbers, in which networks for ImageNet have their outputs",
            "sort the lines; or write a JSON list, whose order is taken as it is",
        )
    return wnids


def open_collection(
    images: str | Path,
    boxes: str | Path | None = None,
    *,
    names: Sequence[str] | None = None,
    synsets: str | Path | Sequence[str] | None = None,
    num_classes: int | None = None,
    allow_unmatched: bool = False,
    several: str = "refuse",
    difficult: bool = False,
    first_pixel: int | None = None,
    skip_unknown: bool = False,
    skip_faulty: bool = False,
    unit: Literal["pixel", "fraction"] = "pixel",
) -> Collection:
    """Images with classes and boxes from where they lie; pictures are not read yet.

    Args:
        images: As `find_layout` takes it.
        boxes: The same; images in a folder for each class need none.
        names: Of all classes, in the order of the network's outputs.
        synsets: A file as `read_synsets` takes it, or the WordNet numbers themselves.
        num_classes: How many classes the network has.
        allow_unmatched: As `cofire.images.matching.match` takes it.
        several: The same.
        difficult: As `cofire.images.boxes.read_boxes` takes it.
        first_pixel: The same.
        skip_unknown: The same.
        skip_faulty: The same.
        unit: The same.

    Raises:
        DataError: As these say; its kinds `ImageError` and `LabelError` too.
        OptionError: As these say.
    """
    with reading(images, "a folder of images"):
        file = synsets if isinstance(synsets, str | Path) else None
        layout = find_layout(images, boxes, file)
        wnids = None if synsets is None or isinstance(synsets, str | Path) else list(synsets)
        if wnids is None and layout.synsets is not None:
            wnids = read_synsets(layout.synsets, num_classes)
        if wnids is None and layout.boxes is not None and layout.boxes.is_dir():
            wnids = _by_folders(layout.images, num_classes)
        found = (
            None
            if layout.boxes is None
            else read_boxes(
                layout.boxes,
                names,
                wnids,
                num_classes=num_classes,
                difficult=difficult,
                first_pixel=first_pixel,
                skip_unknown=skip_unknown,
                skip_faulty=skip_faulty,
                unit=unit,
            )
        )
        return match(
            layout.images,
            found,
            names=names,
            synsets=wnids,
            num_classes=num_classes,
            allow_unmatched=allow_unmatched,
            several=several,
        )


def _by_folders(images: Path, num_classes: int | None) -> list[str] | None:
    """The WordNet numbers of class folders, if there is one for each class: files of boxes may name classes by them."""
    if num_classes is None or not images.is_dir():
        return None
    wnids = sorted(
        place.name for place in images.iterdir() if place.is_dir() and is_wnid(place.name)
    )
    return wnids if len(wnids) == num_classes else None


def _wnid(row: Any) -> str | None:
    text = row.get("wnid") if isinstance(row, dict) else row
    start = re.split(r"[\s,;:]", text.strip(), maxsplit=1)[0] if isinstance(text, str) else ""
    return start if is_wnid(start) else None
