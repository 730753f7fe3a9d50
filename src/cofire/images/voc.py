"""Boxes from XML files in the form of PASCAL VOC, which ILSVRC (ImageNet) uses as well."""

from __future__ import annotations

import math
from pathlib import Path, PurePosixPath
from typing import NoReturn
from xml.etree.ElementTree import Element, ParseError, TreeBuilder, XMLParser

from cofire.images.annotations import Annotation, Corners, Gathering, size_of
from cofire.images.classes import is_wnid
from cofire.images.files import MOST_XML

KIND = "VOC XML"
_EDGES = ("xmin", "ymin", "xmax", "ymax")
_DEEPEST = 50


class _UnsafeError(ValueError):
    """An XML file defines what it should not."""


class _PlainTree(TreeBuilder):
    """A tree of elements that refuses documents which define entities: they can grow a file of a line to gigabytes.

    Elements within elements without end are refused too.
    """

    def __init__(self) -> None:
        super().__init__()
        self._depth = 0

    def start(self, tag: str, attrs: dict[str, str], /) -> Element:
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _UnsafeError(
                f"has more than {_DEEPEST} elements within each other, which no file of boxes needs"
            )
        return super().start(tag, attrs)

    def end(self, tag: str, /) -> Element:
        self._depth -= 1
        return super().end(tag)

    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        raise _UnsafeError(
            "has a document type, which no file of boxes needs and which can hold harmful definitions"
        )


def gather_xml(file: Path, name: str, gathering: Gathering, first_pixel: int | None = None) -> None:
    """Add what one XML file says.

    VOC counts pixels from 1 and ILSVRC from 0; both mean the last pixel to lie inside. A file is
    ILSVRC's when its database is named so or when all its objects have WordNet numbers for names.

    Args:
        file: The XML file.
        name: The image's, without its ending: the file's own, as the readers of both collections
            take it.
        gathering: What is added to.
        first_pixel: The number of the leftmost and uppermost pixel, 0 or 1; None for what is said
            above.
    """
    where = f"'{name}.xml'"
    try:
        if file.stat().st_size > MOST_XML:
            raise _UnsafeError(
                f"has more than {MOST_XML:,} bytes, which no annotation of one image needs"
            )
        parser = XMLParser(target=_PlainTree())
        parser.feed(file.read_bytes())
        root = parser.close()
    except (OSError, ParseError, ValueError, LookupError) as error:
        gathering.fault(
            where, str(error) if isinstance(error, _UnsafeError) else f"cannot be read: {error}"
        )
        return
    if root.tag != "annotation":
        gathering.fault(where, f"holds <{root.tag}>, not an <annotation>")
        return
    noted = _text(root, "filename")
    # Some of ILSVRC's files were written with the placeholder still in place.
    if noted and "%" not in noted and not _is_about(noted, file.stem):
        gathering.fault(where, f"is about '{noted}': one of the two was renamed")
        return
    objects = root.findall("object")
    first = _first_pixel(root, objects) if first_pixel is None else first_pixel
    noted_size = _text(root, "size/width"), _text(root, "size/height")
    size = size_of(*noted_size)
    boxes: list[tuple[int, Corners]] = []
    for number, one in enumerate(objects, 1):
        box = _box_of(one, f"{where}, object {number}", first, size, gathering)
        if box is not None:
            boxes.append(box)
    # Some tools that do not look at the image write a size of 0.
    if size is None and noted_size not in ((None, None), ("0", "0")):
        gathering.fault(where, f"has the size {noted_size[0]} × {noted_size[1]}")
    labels, corners = tuple(label for label, _ in boxes), tuple(corners for _, corners in boxes)
    gathering.entries.append(Annotation(name, None, labels, corners, size))


def _box_of(
    one: Element, where: str, first: int, size: tuple[int, int] | None, gathering: Gathering
) -> tuple[int, Corners] | None:
    box = one.find("bndbox")
    texts = [None if box is None else _text(box, edge) for edge in _EDGES]
    absent = [edge for edge, text in zip(_EDGES, texts, strict=True) if text is None]
    if absent:
        gathering.fault(
            where, "has no <bndbox>" if box is None else f"has no <{'>, <'.join(absent)}>"
        )
        return None
    flag = _text(one, "difficult") or "0"
    if flag not in ("0", "1"):
        gathering.fault(where, f"is difficult in the degree '{flag}', not 0 or 1")
        return None
    if flag == "1" and not gathering.difficult:
        gathering.left_out["difficult"] += 1
        return None
    label = gathering.label(_text(one, "name"), where)
    if label is None:
        return None
    try:
        values = [float(text or math.nan) for text in texts]
    except ValueError:
        gathering.fault(where, f"has the box {', '.join(map(str, texts))}, not four numbers")
        return None
    found = gathering.corners(values, where, size, first_pixel=first)
    return None if found is None else (label, found)


def _first_pixel(root: Element, objects: list[Element]) -> int:
    database = _text(root, "source/database") or ""
    names = [_text(one, "name") or "" for one in objects]
    return 0 if database.upper().startswith("ILSVRC") or (names and all(map(is_wnid, names))) else 1


def _text(parent: Element, path: str) -> str | None:
    text = parent.findtext(path)
    return text.strip() or None if text else None


def _is_about(noted: str, stem: str) -> bool:
    """Whether a noted name, with or without its ending, is the file's; some tools note the whole path."""
    bare = PurePosixPath(noted.replace("\\", "/"))
    return stem in (bare.name, bare.stem)
