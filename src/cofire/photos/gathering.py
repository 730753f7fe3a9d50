"""Boxes gathered from a source one by one, with everything that is wrong with it told in the end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cofire.errors import DataError
from cofire.photos.annotated import AnnotatedImage, BoxList, Corners, corners_fault
from cofire.photos.classes import ClassTable
from cofire.photos.faults import refuse_all

__all__ = ["Gathering", "size_of"]


@dataclass
class Gathering:
    """What a reader has found so far.

    Attributes:
        table: The classes that names are looked up in.
        difficult: Whether boxes that are hard to make out are taken.
        skip_unknown: Whether boxes of classes that the network has not are left out, rather than refused.
        skip_faulty: Whether boxes that are none are left out, rather than refused.
        left_out: How many boxes were left out, by reason.
        faults: Of the source, each in words with where it is.
        odd_boxes: Boxes that are none, in words.
        unknown: Names of classes that the network has not, and how many boxes have them.
    """

    table: ClassTable
    difficult: bool = False
    skip_unknown: bool = False
    skip_faulty: bool = False
    left_out: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    odd_boxes: list[str] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    entries: list[AnnotatedImage] = field(default_factory=list)

    def fault(self, where: str, what: str) -> None:
        """Note what is wrong somewhere."""
        self.faults.append(f"{where}: {what}")

    def label(self, given: Any, where: str, boxes: int = 1) -> int | None:
        """The number of the class of some boxes by its name or number; None after noting what is wrong with it."""
        if isinstance(given, str) and given.strip():
            found = self.table.find(given)
            if found is None:
                self.unknown[given.strip()] += boxes
            return found
        if isinstance(given, int) and not isinstance(given, bool):
            if self.table.holds(given):
                return given
            most = "" if self.table.num_classes is None else f" to {self.table.num_classes - 1}"
            self.fault(where, f"class {given}, not from 0{most}")
            return None
        self.fault(where, f"the class {given!r}, neither a name nor a number")
        return None

    def corners(self, values: Sequence[Any], where: str, *, sized: bool = False) -> Corners | None:
        """Left, top, right and bottom; None after noting why four values are no box.

        With `sized` the last two values are a width and a height.
        """
        right_kind = len(values) == 4 and all(
            isinstance(one, int | float) and not isinstance(one, bool) for one in values
        )
        try:
            left, top, right, bottom = (float(value) for value in values if right_kind)
        except (ValueError, OverflowError):
            self.fault(where, f"has the box {_short(values)}, not four numbers")
            return None
        corners = (left, top, left + right, top + bottom) if sized else (left, top, right, bottom)
        if odd := corners_fault(corners):
            self.left_out["faulty"] += 1
            self.odd_boxes.append(f"{where}: box {_short(values)} {odd}")
            return None
        return corners

    def finish(self, source: Path, kind: str) -> BoxList:
        """All that was gathered.

        Raises:
            DataError: Something is wrong with the source, boxes are none, two entries have one name, or there is none.
            LabelError: There are classes that the network has not.
        """
        refuse_all(
            self.faults, f"'{source}' ({kind}) has faults", f"a whole {kind} with what it needs in each entry",
            "mend these entries",
        )  # fmt: skip
        if not self.skip_unknown:
            self.table.refuse_unknown(list(self.unknown))
        if not self.skip_faulty:
            refuse_all(
                self.odd_boxes, f"'{source}' has boxes that are none", "left < right and top < bottom, finite",
                "mend them, or leave them out: skip_faulty=True (--skip-unreadable)",
            )  # fmt: skip
        twice = [name for name, count in Counter(entry.name for entry in self.entries).items() if count > 1]
        refuse_all(
            twice, f"images that '{source}' has several entries for", "one entry for each image, with all its boxes",
            "join them into one, or remove those that are old",
        )  # fmt: skip
        if not self.entries:
            raise DataError(f"'{source}' ({kind}) names no image", "at least one", "check the path")
        return BoxList(
            source, kind, tuple(self.entries), self.left_out["difficult"], self.left_out["crowd"],
            sum(self.unknown.values()), self.left_out["faulty"], tuple(self.odd_boxes),
            tuple(f"{name} ({count:,})" for name, count in self.unknown.items()),
        )  # fmt: skip


def size_of(width: Any, height: Any) -> tuple[int, int] | None:
    """A width and a height in whole pixels from 1 up; None if they are none.

    Example:
        >>> size_of("500", 375.0), size_of(0, 375), size_of("wide", 1)
        ((500, 375), None, None)
    """
    try:
        found = float(width), float(height)
    except (TypeError, ValueError, OverflowError):
        return None
    if not all(value.is_integer() and value >= 1 for value in found):
        return None
    return int(found[0]), int(found[1])


def _short(values: Any, most: int = 80) -> str:
    told = ", ".join(map(str, values)) if isinstance(values, list | tuple) else repr(values)
    return told if len(told) <= most else f"{told[:most]} …"
