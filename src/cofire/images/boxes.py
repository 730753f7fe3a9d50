"""Ground truth: boxes of things on images, from the files in which data sets hold them."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from cofire.errors import DataError, OptionError
from cofire.images import boxes_json, coco, voc
from cofire.images.annotated import AnnotatedImage, BoxList, Corners
from cofire.images.classes import ClassTable
from cofire.images.files import files_below, reading, text_of
from cofire.images.gathering import UNITS, Gathering

__all__ = ["AnnotatedImage", "BoxList", "Corners", "read_boxes"]

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
        AnnotatedImage(name='a.jpg', label=1, labels=(1,), boxes=((0.0, 0.0, 4.0, 8.0),), size=(8, 8))
    """
    if first_pixel not in (None, 0, 1) or isinstance(first_pixel, bool):
        raise OptionError(f"first_pixel={first_pixel!r}", "0 or 1", "leave it out (--first-pixel)")
    if unit not in UNITS:
        raise OptionError(
            f"unit={unit!r}", " or ".join(UNITS), "pass unit='fraction' (--box-unit fraction), say"
        )
    gathering = Gathering(
        ClassTable(names, synsets, num_classes), difficult, skip_unknown, skip_faulty, unit
    )
    with reading(path, _KINDS):
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
    start = _start(source)
    if start == b"<":
        voc.gather_xml(source, source.stem, gathering, first_pixel)
        return gathering.finish(source, voc.KIND)
    if start not in (b"[", b"{"):
        raise DataError(f"'{source}' holds no boxes that can be told", _KINDS, "check the path")
    content = _json(source)
    if isinstance(content, list):
        boxes_json.gather_list(content, gathering)
        return gathering.finish(source, boxes_json.KIND)
    absent = [key for key in coco.KEYS if key not in content]
    if absent:
        raise DataError(
            f"'{source}' is a JSON object without {', '.join(map(repr, absent))}",
            "a COCO file with images, annotations and categories, or a list of boxes",
            "check the path",
        )
    coco.gather_coco(content, gathering)
    return gathering.finish(source, coco.KIND)


def _start(file: Path) -> bytes:
    """The first sign of a file that is no blank."""
    try:
        with file.open("rb") as opened:
            return opened.read(1024).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error}", _KINDS, "check the path") from error


def _json(file: Path) -> Any:
    """The content of a JSON file, in which no object may have a key twice: of two values one would be lost."""
    text = text_of(file, _KINDS)
    try:
        return json.loads(text, object_pairs_hook=_each_key_once)
    except RecursionError as error:
        raise DataError(f"'{file}' is nested too deep", _KINDS, "check the path") from error
    except ValueError as error:
        raise DataError(
            f"'{file}' is no whole JSON: {error}", _KINDS, "mend the file, or make it again"
        ) from error


def _each_key_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        (key, _), *_ = Counter(key for key, _ in pairs).most_common(1)
        raise ValueError(f"an object has {key!r} twice")
    return found
