"""What a file of boxes says about its images, in one form whatever the file's kind."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

Corners = tuple[float, float, float, float]
"""Left, top, right and bottom in pixels counted from 0; right and bottom are the first that lie outside."""


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
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
        difficult: Boxes left out as hard to make out, as their file notes.
        crowd: Boxes left out that go round many things at once.
        unknown: Boxes left out for a class that the network has not.
        faulty: Boxes left out that are none: NaN, turned round or without area.
        odd_boxes: The same boxes in words.
        unknown_classes: The classes that the network has not, with how many boxes each has, in
            words.

    Example:
        >>> drawn = AnnotatedImage("a.jpg", 3, (3,), ((0.0, 0.0, 5.0, 5.0),), (10, 10))
        >>> BoxList(Path("boxes.json"), "list of boxes", (drawn,), difficult=2).told
        '1 box on 1 image (list of boxes); left out: 2 difficult'
    """

    source: Path
    kind: str
    entries: tuple[AnnotatedImage, ...]
    difficult: int = 0
    crowd: int = 0
    unknown: int = 0
    faulty: int = 0
    odd_boxes: tuple[str, ...] = ()
    unknown_classes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def left_out(self) -> str:
        """How many boxes were left out for which reason, in words; empty if none was."""
        counts = (
            (self.difficult, "difficult"),
            (self.crowd, "crowd"),
            (self.unknown, "of unknown classes"),
            (self.faulty, "faulty"),
        )
        return ", ".join(f"{count:,} {word}" for count, word in counts if count)

    @property
    def told(self) -> str:
        """In words."""
        boxes = sum(len(entry.boxes) for entry in self.entries)
        told = (
            f"{boxes:,} {'box' if boxes == 1 else 'boxes'} on {len(self):,} {'image' if len(self) == 1 else 'images'} "
            f"({self.kind})"
        )
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
