"""What a file of boxes says about its images, in one form whatever the file's kind."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from cofire.errors import DataError
from cofire.images.classes import ClassTable
from cofire.images.files import refuse_all

Corners = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels counted from 0; right and bottom are the first that lie outside."""


@dataclass(frozen=True, slots=True)
class Annotation:
    """What was drawn on one image.

    Attributes:
        name: The image file's, as it was written: with folders or without, from XML files without
            an ending.
        label: The class that the file gives to the whole image; None where it gives one to each box
            alone.
        labels: (boxes,), the class of each box.
        boxes: (boxes,), in pixels of `size`.
        size: Width and height of the image that they were drawn on; None if not told, for the image
            file's own.
    """

    name: str
    label: int | None
    labels: tuple[int, ...]
    boxes: tuple[Corners, ...]
    size: tuple[int, int] | None


@dataclass(frozen=True)
class BoxList:
    """The boxes of a whole file or folder, and how many of its boxes were left out.

    Attributes:
        source: Where it was read from.
        kind: In words, as "COCO".
        entries: One for each image, in the order of the source.
        reasons: How many boxes were left out, by reason: "difficult", "crowd" (they go round many
            things at once), "of unknown classes", "faulty" (NaN, reversed or without area).
        odd_boxes: The faulty ones in words.
        unknown_classes: The classes that the network has not, with how many boxes each has, in
            words.

    Example:
        >>> drawn = Annotation("a.jpg", 3, (3,), ((0.0, 0.0, 5.0, 5.0),), (10, 10))
        >>> BoxList(Path("boxes.json"), "list of boxes", (drawn,), {"difficult": 2}).told
        '1 box on 1 image (list of boxes); left out: 2 difficult'
    """

    source: Path
    kind: str
    entries: tuple[Annotation, ...]
    reasons: Mapping[str, int] = field(default_factory=dict)
    odd_boxes: tuple[str, ...] = ()
    unknown_classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def left_out(self) -> str:
        """How many boxes were left out for which reason, in words; empty if none was."""
        return ", ".join(f"{count:,} {word}" for word, count in self.reasons.items() if count)

    @property
    def told(self) -> str:
        """In words."""
        boxes, images = sum(len(entry.boxes) for entry in self.entries), len(self)
        told = f"{boxes:,} {'box' if boxes == 1 else 'boxes'} on {images:,} "
        told += f"{'image' if images == 1 else 'images'} ({self.kind})"
        return f"{told}; left out: {self.left_out}" if self.left_out else told


def corners_fault(corners: Sequence[float]) -> str | None:
    """Why four numbers are no box, in words; None if they are one.

    Example:
        >>> corners_fault((5.0, 0.0, 2.0, 4.0)), corners_fault((0.0, 0.0, 2.0, 4.0))
        ('ends left of where it begins', None)
    """
    left, top, right, bottom = corners
    if not all(map(math.isfinite, corners)):
        return "holds a number that is not finite"
    if right < left:
        return "ends left of where it begins"
    if bottom < top:
        return "ends above where it begins"
    if right == left or bottom == top:
        return "has no area"
    return None


UNITS = ("pixel", "fraction")
"""What the corners of boxes may be in: pixels, or shares of the image's width and height."""
_NEAR_0_TO_1 = -0.1, 1.1
"""Where corners lie that are shares of a side, with some room for boxes that go over an edge."""


@dataclass
class Gathering:
    """What a reader has found so far.

    Attributes:
        table: The classes that names are looked up in.
        difficult: Whether boxes that are hard to make out are taken.
        skip_unknown: Whether boxes of classes that the network has not are left out, rather than
            refused.
        skip_faulty: Whether boxes that are none are left out, rather than refused.
        unit: Of the corners, one of `UNITS`.
        left_out: How many boxes were left out, by reason.
        faults: Of the source, each in words with where it is.
        odd_boxes: Boxes that are none, in words.
        fractions: Boxes between 0 and 1 in a source of pixels, in words; they are among the odd
            ones too.
        small: Boxes of which the source has no number above 1, in words.
        boxes: How many boxes there were.
        unknown: Names of classes that the network has not, and how many boxes have them.
    """

    table: ClassTable
    difficult: bool = False
    skip_unknown: bool = False
    skip_faulty: bool = False
    unit: str = "pixel"
    left_out: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    odd_boxes: list[str] = field(default_factory=list)
    unknown: Counter[str] = field(default_factory=Counter)
    entries: list[Annotation] = field(default_factory=list)
    fractions: list[str] = field(default_factory=list)
    small: list[str] = field(default_factory=list)
    boxes: int = 0

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

    def corners(
        self,
        values: Sequence[Any],
        where: str,
        size: tuple[int, int] | None,
        *,
        sized: bool = False,
        first_pixel: int | None = None,
    ) -> Corners | None:
        """Left, top, right and bottom in pixels; None after noting why four values are no box.

        Args:
            values: As the source has them.
            where: In words.
            size: Width and height of the image, where the source tells them.
            sized: Whether the last two values are a width and a height.
            first_pixel: The number of the first pixel, where the last pixel lies inside; None where
                the first one outside is given, counted from 0.
        """
        right_kind = len(values) == 4 and all(
            isinstance(one, int | float) and not isinstance(one, bool) for one in values
        )
        try:
            left, top, right, bottom = (float(value) for value in values if right_kind)
        except (ValueError, OverflowError):
            self.fault(where, f"has the box {_short(values)}, not four numbers")
            return None
        self.boxes += 1
        given: Corners = left, top, right, bottom
        corners: Any = (left, top, left + right, top + bottom) if sized else given
        told = f"{where}: box {_short(values)}"
        if self.unit == "fraction":
            if size is None:
                self.faults.append(f"{told} is to be in fractions of a size, and none is told")
                return None
            odd = corners_fault(corners)
            if not odd and not _near_0_to_1(corners):
                odd = "is not from 0 to 1"
            corners = tuple(at * side for at, side in zip(corners, size * 2, strict=True))
        else:
            within = _near_0_to_1(corners) and not all(value.is_integer() for value in given)
            if _near_0_to_1(given) and (within or given != (0, 0, 1, 1) or size != (1, 1)):
                self.small.append(told)
            if first_pixel is not None:
                # The last pixel lies inside, so the first one outside is the next.
                corners = tuple(at - first_pixel + (n > 1) for n, at in enumerate(given))
                told = f"{where}: box {_short(corners)}"
            if within:
                self.fractions.append(told)
            odd = "lies between 0 and 1" if within else corners_fault(corners)
        if odd:
            self.left_out["faulty"] += 1
            self.odd_boxes.append(f"{told} {odd}")
            return None
        left, top, right, bottom = corners
        return left, top, right, bottom

    def _refuse_fractions(self, source: Path, kind: str) -> None:
        """Boxes that would all be one and the same pixel; a few of them may be left out as faulty ones are.

        One box from 0, 0 to 1, 1 may well be a pixel; a source of nothing else tells of whole
        images.
        """
        all_small = len(self.small) == self.boxes and (self.boxes > 1 or bool(self.fractions))
        between = self.small if all_small else [] if self.skip_faulty else self.fractions
        refuse_all(
            between,
            f"'{source}' ({kind}) has boxes between 0 and 1 in place of pixels",
            "corners in pixels; fractions of an image's width and height are taken where they are said to be that",
            "pass unit='fraction' (--box-unit fraction), or multiply them by width and height",
        )

    def finish(self, source: Path, kind: str) -> BoxList:
        """All that was gathered.

        Raises:
            DataError: Something is wrong with the source, boxes are none, two entries have one
                name, or there is none.
            LabelError: There are classes that the network has not.
        """
        refuse_all(
            self.faults,
            f"'{source}' ({kind}) has faults",
            f"a whole {kind} with what it needs in each entry",
            "mend these entries",
        )
        if not self.skip_unknown:
            self.table.refuse_unknown(list(self.unknown))
        self._refuse_fractions(source, kind)
        if not self.skip_faulty:
            refuse_all(
                self.odd_boxes,
                f"'{source}' has boxes that are none",
                "left < right and top < bottom, finite",
                "mend them, or leave them out: skip_faulty=True (--skip-unreadable)",
            )
        twice = [
            name
            for name, count in Counter(entry.name for entry in self.entries).items()
            if count > 1
        ]
        refuse_all(
            twice,
            f"images that '{source}' has several entries for",
            "one entry for each image, with all its boxes",
            "join them into one, or remove those that are old",
        )
        if not self.entries:
            raise DataError(f"'{source}' ({kind}) names no image", "at least one", "check the path")
        told = ("difficult", "crowd", "of unknown classes", "faulty")
        self.left_out["of unknown classes"] = sum(self.unknown.values())
        return BoxList(
            source,
            kind,
            tuple(self.entries),
            {reason: self.left_out[reason] for reason in told if self.left_out[reason]},
            tuple(self.odd_boxes),
            tuple(f"{name} ({count:,})" for name, count in self.unknown.items()),
        )


def _near_0_to_1(values: Sequence[float]) -> bool:
    return all(_NEAR_0_TO_1[0] <= value <= _NEAR_0_TO_1[1] for value in values)


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
    # Of a list of lists only so much is written out as is shown.
    told = (
        ", ".join(str(value)[:most] for value in values[:9])
        if isinstance(values, list | tuple)
        else repr(values)
    )
    return told if len(told) <= most else f"{told[:most]} …"
