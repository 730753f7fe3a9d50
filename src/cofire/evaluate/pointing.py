"""The pointing game: does the hottest pixel of a map lie on the object?"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.bounds import check_from_zero
from cofire.evaluate.per_image import PerImage, check_maps, constant, pixels_of, truth


@validated
def pointing_hits(maps: Tensor, boxes: Sequence[Tensor], tolerance: float = 0.0) -> PerImage:
    """Whether the maximum of each map lies in a box: P3 Eq. 6, `PG = #hits / (#hits + #misses)` as the mean.

    Where several pixels share the maximum, each counts in part: the value is the share of them that
        hit. A constant
    map points nowhere, which is a miss.

    Args:
        maps: (images, H, W), from 0 up.
        boxes: For each image (boxes, 4): left, top, right and bottom in pixels of the map; (0, 4)
            for none.
        tolerance: How far the pixel's centre may lie from the nearest box, in pixels, from 0 up; 0
            is inside.

    Returns:
        Per image, 0 to 1. An image without a box is not counted.

    Raises:
        DataError: Shapes that do not fit, values below 0, a box without inside or outside its
            image.
        NonFiniteError: A number is NaN or infinite.
        OptionError: `tolerance` is no finite number from 0 up.

    Example:
        Two pixels share the maximum, and one of them lies in the box:

        >>> maps = torch.tensor([[[1.0, 0.0, 0.0, 1.0]]])
        >>> box = torch.tensor([[2.0, 0.0, 4.0, 1.0]])
        >>> pointing_hits(maps, [box]).values.tolist(), pointing_hits(maps, [box], tolerance=1.5).values.tolist()
        ([0.5], [1.0])
    """
    values = check_maps(maps)
    reach = check_from_zero("tolerance", tolerance)
    images, height, width = values.shape
    given = truth(boxes, images)
    pixels = pixels_of(given.corners, given.image, height, width)
    flat = values.flatten(1)
    counted = given.count > 0
    asked = counted & ~constant(values)
    image, pixel = ((flat == flat.amax(dim=1, keepdim=True)) & asked[:, None]).nonzero(
        as_tuple=True
    )
    x, y = pixel % width, pixel // width
    columns, rows = (
        _along(given.corners, pixels, axis, size) for axis, size in enumerate((width, height))
    )
    hit = torch.zeros(len(image), dtype=torch.bool)
    # Box by box, so that a plateau of tied pixels and many boxes never meet in one table.
    for number in range(int(given.count.max()) if images else 0):
        left = (~hit & (given.count[image] > number)).nonzero().flatten()
        box = given.first[image[left]] + number
        across, down = box * width + x[left], box * height + y[left]
        found = columns[0].take(across) & rows[0].take(down)
        if reach > 0:
            found |= columns[1].take(across) + rows[1].take(down) <= reach * reach
        hit[left] = found
    hits = torch.bincount(image[hit], minlength=images).double()
    return PerImage(hits / torch.bincount(image, minlength=images).clamp(min=1), counted)


def _along(corners: Tensor, pixels: Tensor, axis: int, size: int) -> tuple[Tensor, Tensor]:
    """Of all lines of pixels along an axis: which ones each box holds, and the square of how far away they lie."""
    place = torch.arange(size)
    held = (place >= pixels[:, axis, None]) & (place < pixels[:, axis + 2, None])
    away = torch.maximum(
        corners[:, axis, None] - (place + 0.5), place + 0.5 - corners[:, axis + 2, None]
    )
    return held, away.clamp(min=0).square()
