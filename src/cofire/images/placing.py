"""Boxes put where they belong on a photo: moved to its size, turned as it is, held against its edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from cofire.images.annotated import Corners, corners_fault
from cofire.images.collection import Photo
from cofire.images.turning import turned

SLACK = 1.0
"""How many pixels a box may go over the edge: as far apart are counting from 0 or 1, with or without the last one."""

_SLIVER = 1e-3
"""Pixels of a map: what is seen of a box and thinner than this shows nothing, and rounding alone could make it."""

_STORED_ON_ITS_SIDE = 5


def placed(
    photo: Photo, size: tuple[int, int], orientation: int = 1
) -> tuple[list[Corners], list[str]]:
    """The boxes of a photo in pixels of its upright picture.

    The size that boxes were drawn on may be another than the file's if the ratio of width to height
    is the same, up to the rounding of both to whole pixels: they are scaled. Boxes on a photo that
    its camera's note turns are in pixels as stored, as the tools of VOC, ILSVRC and COCO show it,
    unless their size says that it stood upright.

    Args:
        photo: With its boxes.
        size: Width and height of the upright picture.
        orientation: Of the stored picture, as `cofire.images.turning.orientation_of` tells it.

    Returns:
        The boxes that fit, cut at the picture's edges, and why the others do not, in words.

    Example:
        >>> from pathlib import Path
        >>> photo = Photo(Path("a.jpg"), "a.jpg", 0, ((1.0, 0.0, 5.0, 4.0), (8.0, 0.0, 12.0, 4.0)), (10, 5))
        >>> placed(photo, (20, 10))
        ([(2.0, 0.0, 10.0, 8.0)], ['a.jpg: box 8, 0, 12, 4 goes over the edges of 10 × 5'])
    """
    stored = size[::-1] if orientation >= _STORED_ON_ITS_SIDE else size
    drawn = photo.annotated_size or stored
    upright = drawn != stored and not _alike(drawn, stored) and _alike(drawn, size)
    onto = size if upright else stored
    misfit = None
    if not _alike(drawn, onto):
        misfit = f"was drawn on {drawn[0]} × {drawn[1]}, the image is {stored[0]} × {stored[1]}"
    fitting: list[Corners] = []
    faults: list[str] = []
    for box in photo.boxes:
        fault = misfit or corners_fault(box) or _edge_fault(box, drawn)
        if fault:
            faults.append(f"{photo.name}: box {', '.join(f'{place:g}' for place in box)} {fault}")
            continue
        left, right = (min(max(x, 0.0), drawn[0]) * onto[0] / drawn[0] for x in box[::2])
        top, bottom = (min(max(y, 0.0), drawn[1]) * onto[1] / drawn[1] for y in box[1::2])
        corners = (left, top, right, bottom)
        fitting.append(corners if upright else turned(corners, orientation, stored))
    return fitting, faults


def in_view(
    boxes: Sequence[Corners], region: tuple[float, float, float, float], shape: tuple[int, int]
) -> list[Corners]:
    """Boxes in pixels of a map of the part of a picture that a network sees; those outside of it are left out.

    Places are rounded to float32, as tensors of boxes hold them. A sliver thinner than a thousandth
    of a pixel of the map counts as outside, and so does what lies within its first pixel: it shows
    nothing, and nobody could tell it from a box in fractions of the sides.

    Args:
        boxes: In pixels of the upright picture.
        region: Left, top, right and bottom of what the network sees, in the same pixels.
        shape: Height and width of the map.

    Example:
        >>> in_view([(0.0, 0.0, 30.0, 20.0), (0.0, 0.0, 10.0, 40.0)], (10.0, 0.0, 50.0, 40.0), (8, 8))
        [(0.0, 0.0, 4.0, 4.0)]
    """
    height, width = shape
    start, ceiling, end, floor = region
    across, down = width / (end - start), height / (floor - ceiling)
    found: list[Corners] = []
    for left, top, right, bottom in boxes:
        left, right = (
            _rounded(min(max((x - start) * across, 0.0), float(width))) for x in (left, right)
        )
        top, bottom = (
            _rounded(min(max((y - ceiling) * down, 0.0), float(height))) for y in (top, bottom)
        )
        in_the_corner = right < 1 and bottom < 1
        if right - left >= _SLIVER and bottom - top >= _SLIVER and not in_the_corner:
            found.append((left, top, right, bottom))
    return found


def _rounded(place: float) -> float:
    return float(np.float32(place))


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other scaled, when each side was rounded to a whole pixel up or down."""
    off = abs(one[0] * other[1] - other[0] * one[1])
    return one == other or off < max(sum(one), sum(other))


def _edge_fault(box: Corners, size: tuple[int, int]) -> str | None:
    left, top, right, bottom = box
    width, height = size
    told = f"{width} × {height}"
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return f"lies outside of {told}"
    if left < -SLACK or top < -SLACK or right > width + SLACK or bottom > height + SLACK:
        return f"goes over the edges of {told}"
    return None
