"""How well the box of an explanation covers the object: intersection over union, and boxes of maps."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from scipy.ndimage import label
from torch import Tensor

from cofire.arguments import validated
from cofire.evaluate.per_image import (
    PerImage,
    check_alike,
    check_corners,
    check_maps,
    check_sides,
    constant,
    pixels_of,
    truth,
)
from cofire.explain.result.regions import Boxes
from cofire.tensors import Values

_Placed = Annotated[Tensor, Values("* 4", finite=False, lists=False)]
_Part = Annotated[float, Field(gt=0.0, lt=1.0)]


@validated
def iou(first: _Placed, second: _Placed) -> Tensor:
    """Intersection over union of all pairs of boxes: `|a ∩ b| / |a ∪ b|`.

    Args:
        first: (n, 4), left, top, right and bottom in pixels.
        second: (m, 4).

    Returns:
        (n, m), float64, 0 to 1.

    Raises:
        DataError: Not (boxes, 4), or a box without width or height.
        NonFiniteError: A corner is NaN or infinite.

    Example:
        >>> iou(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([[1.0, 1, 3, 3], [0, 0, 2, 2]])).tolist()
        [[0.14285714285714285, 1.0]]
    """
    placed = [boxes.cpu().to(torch.float64) for boxes in (first, second)]
    for boxes in placed:
        check_sides(boxes, torch.arange(len(boxes)))
    return _overlap(placed[0][:, None], placed[1][None])


def _overlap(first: Tensor, second: Tensor) -> Tensor:
    """Intersection over union of boxes along the last axis, the other axes broadcast."""
    common = torch.minimum(first[..., 2:], second[..., 2:]) - torch.maximum(
        first[..., :2], second[..., :2]
    )
    shared = common.clamp(min=0).prod(dim=-1)
    areas = [(box[..., 2:] - box[..., :2]).prod(dim=-1) for box in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


@validated
def best_iou(corners: Tensor, found: Tensor, boxes: Sequence[Tensor]) -> PerImage:
    """Intersection over union of each explanation's box with the ground-truth box that it fits best.

    Args:
        corners: Boxes of explanations, (images, 4), left, top, right and bottom in pixels.
        found: Whether the explanation has a box, (images,), bool; without one the value is 0.
        boxes: Ground truth, for each image (boxes, 4); (0, 4) for none.

    Returns:
        Per image, 0 to 1. An image without ground truth is not counted.

    Raises:
        DataError: Shapes that do not fit, or a box without width or height.
        NonFiniteError: A corner is NaN or infinite.

    Example:
        >>> corners, found = torch.tensor([[0.0, 0, 2, 2], [0, 0, 0, 0]]), torch.tensor([True, False])
        >>> truth = [torch.tensor([[5.0, 5, 9, 9], [0, 0, 2, 4]]), torch.tensor([[0.0, 0, 1, 1]])]
        >>> best_iou(corners, found, truth).values.tolist()
        [0.5, 0.0]
    """
    placed, there = check_corners(corners, found, len(boxes))
    given = truth(boxes, len(boxes))
    each = _overlap(placed[given.image], given.corners)
    best = torch.zeros(len(boxes), dtype=torch.float64).scatter_reduce(0, given.image, each, "amax")
    return PerImage(torch.where(there, best, torch.zeros_like(best)), given.count > 0)


@validated
def threshold_boxes(
    maps: Tensor,
    thresholds: Sequence[Annotated[float, Field(gt=0.0, le=1.0)]],
    *,
    connected: bool = False,
) -> Tensor:
    """The tight boxes around the pixels that reach each of several shares of a map's maximum.

    As `cofire.explain.result.regions.map_hull` finds them one by one, for all maps and thresholds at once.

    Args:
        maps: (images, H, W), from 0 up.
        thresholds: Shares of the maximum, each above 0 and up to 1.
        connected: Only around the pixels that hang together with the maximum.

    Returns:
        Left, top, right and bottom in pixels, (thresholds, images, 4), float32; zeros for a map of
        zeros.

    Raises:
        DataError: Not (images, H, W), or values below 0.
        NonFiniteError: A value is NaN or infinite.
        OptionError: A threshold is out of bounds.

    Example:
        >>> threshold_boxes(torch.tensor([[[0.0, 0.2, 0.9], [0.0, 0.5, 1.0]]]), [0.1, 0.5, 0.95]).tolist()
        [[[1.0, 0.0, 3.0, 2.0]], [[1.0, 0.0, 3.0, 2.0]], [[2.0, 1.0, 3.0, 2.0]]]
    """
    values = check_maps(maps)
    images, height, width = values.shape
    if connected and images:
        return torch.stack([_connected(each, thresholds) for each in values], dim=1)
    # A column is in the box when its own maximum reaches the threshold, so that maps are looked
    # through once for all.
    columns, rows = values.amax(dim=1), values.amax(dim=2)
    largest = rows.amax(dim=1)
    corners = torch.zeros(len(thresholds), images, 4)
    for number, threshold in enumerate(thresholds):
        level = (threshold * largest)[:, None]
        for axis, (line, size) in enumerate(((columns, width), (rows, height))):
            place = torch.arange(size).expand(images, size)
            reached = line >= level
            corners[number, :, axis] = torch.where(reached, place, size).amin(dim=1).float()
            corners[number, :, axis + 2] = torch.where(reached, place, -1).amax(dim=1).float() + 1
    return torch.where((largest > 0)[None, :, None], corners, torch.zeros_like(corners))


def _connected(values: Tensor, thresholds: Sequence[float]) -> Tensor:
    """The boxes of one map around what hangs together with its maximum, (thresholds, 4)."""
    corners = torch.zeros(len(thresholds), 4)
    largest = values.max()
    if not bool(largest > 0):
        return corners
    y, x = divmod(int(values.argmax()), values.shape[1])
    left, top, right, bottom = 0, 0, values.shape[1], values.shape[0]
    # What hangs together at a higher share lies within what does at a lower one: less and less has
    # to be looked at.
    for number in sorted(range(len(thresholds)), key=lambda at: thresholds[at]):
        parts, _ = label(
            (values[top:bottom, left:right] >= thresholds[number] * largest).cpu().numpy()
        )
        own = parts == parts[y - top, x - left]
        rows, columns = np.flatnonzero(own.any(axis=1)), np.flatnonzero(own.any(axis=0))
        left, right = left + int(columns[0]), left + int(columns[-1]) + 1
        top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
        corners[number] = torch.tensor([left, top, right, bottom], dtype=torch.float32)
    return corners


@validated
def fixed_boxes(maps: Tensor, area: Annotated[float, Field(gt=0.0, le=1.0)] = 0.25) -> Boxes:
    """The window of a given area that holds most of each map: boxes by which methods keep equally much.

    The window is as square as whole pixels and the image allow. Of windows that hold equally much
    the one nearest the image's centre is taken, then the upper, then the left one.

    Args:
        maps: (images, H, W), from 0 up.
        area: Share of the image's area, above 0 and up to 1.

    Returns:
        Boxes, all of the same size; none for a constant map.

    Raises:
        DataError: Not (images, H, W), or values below 0.
        NonFiniteError: A value is NaN or infinite.
        OptionError: `area` is out of bounds.

    Example:
        >>> map = torch.zeros(1, 4, 4)
        >>> map[0, 0, 3] = 1.0
        >>> fixed_boxes(map).corners.tolist()
        [[2.0, 0.0, 4.0, 2.0]]
    """
    values = check_maps(maps)
    images, height, width = values.shape
    high, wide = _window(height, width, area)
    found = ~constant(values)
    corners = torch.zeros(images, 4)
    down, across = height - high + 1, width - wide + 1
    y, x = torch.arange(down)[:, None], torch.arange(across)
    away = (2 * y + high - height) ** 2 + (2 * x + wide - width) ** 2
    first = (away * (down * across) + y * across + x).flatten()
    # Map by map: what fits a processor's cache is several times as fast as the batch at once.
    for image in found.nonzero().flatten().tolist():
        most = _held(values[image], high, wide).flatten()
        place = int(torch.where(most == most.max(), first, torch.iinfo(torch.int64).max).argmin())
        top, left = divmod(place, across)
        corners[image] = torch.tensor([left, top, left + wide, top + high])
    return Boxes(corners, found)


def _held(values: Tensor, high: int, wide: int) -> Tensor:
    """What each window of a size holds of a map, by running sums over rows and columns.

    In whole numbers, as fine as a sum of 62 bits allows: windows that hold equally much are then
        equal to the last bit.
    """
    fine = 62 - math.ceil(math.log2(values.numel() + 1))
    sums = torch.zeros(values.shape[0] + 1, values.shape[1] + 1, dtype=torch.int64)
    # By a power of two: a division by the maximum would round, and equal sums would be equal no
    # longer.
    shift = torch.tensor(fine - math.frexp(float(values.max()))[1])
    whole = torch.ldexp(values.double(), shift).round_().long()
    sums[1:, 1:] = whole.cumsum(dim=0).cumsum(dim=1)
    return sums[high:, wide:] - sums[:-high, wide:] - sums[high:, :-wide] + sums[:-high, :-wide]


def _window(height: int, width: int, area: float) -> tuple[int, int]:
    """Height and width of the window nearest to a square of a share of an image."""
    side = math.sqrt(area * height * width)
    short = min(height, width)
    if side <= short:
        return max(1, round(side)), max(1, round(side))
    long = max(1, round(area * height * width / short))
    return (short, long) if height <= width else (long, short)


@validated
def pointing_hits(
    maps: Tensor,
    boxes: Sequence[Tensor],
    tolerance: Annotated[float, Field(ge=0.0)] = 0.0,
) -> PerImage:
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
        if tolerance > 0:
            found |= columns[1].take(across) + rows[1].take(down) <= tolerance * tolerance
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


@validated
def strongest_area(maps: Tensor, area: _Part = 0.2) -> Tensor:
    """The pixels that hold most of each map: as many as a share of the image's area has.

    Of pixels of the same value all are in or none, so that the order of pixels decides nothing;
    those without evidence never are. Such an area can be smaller than asked for, never larger, but
    where the largest value alone is shared by more pixels: then it is these.

    Args:
        maps: (images, H, W), from 0 up.
        area: Share of the image's area, above 0 and below 1.

    Returns:
        (images, H, W), bool; nothing of a map of zeros.

    Raises:
        DataError: Not (images, H, W), or values below 0.
        NonFiniteError: A value is NaN or infinite.
        OptionError: `area` is out of bounds.

    Example:
        >>> strongest_area(torch.tensor([[[0.0, 3.0], [1.0, 1.0]]]), area=0.5).tolist()
        [[[False, True], [False, False]]]
    """
    values = check_maps(maps)
    flat = values.flatten(1)
    many = max(1, round(area * flat.shape[1]))
    if not len(flat):
        return torch.zeros_like(values, dtype=torch.bool)
    ordered = flat.sort(dim=1, descending=True).values
    # The value of the first pixel that does not belong to it; 0 where there are no more.
    after = ordered[:, many] if many < flat.shape[1] else torch.zeros_like(ordered[:, 0])
    largest = ordered[:, 0]
    chosen = flat > torch.where(largest > after, after, 0.0)[:, None]
    chosen = torch.where((largest > after)[:, None], chosen, flat == largest[:, None]) & (flat > 0)
    return chosen.reshape(values.shape)


@validated
def area_overlap(first: Tensor, second: Tensor, area: _Part = 0.2) -> PerImage:
    """How much the strongest areas of two maps have in common: `|A ∩ B| / |A ∪ B|`, 0 to 1.

    Args:
        first: (images, H, W), from 0 up.
        second: The same shape.
        area: Share of the image's area that each of the two is allowed.

    Returns:
        Per image; not counted where one of the maps is constant. `chance_overlap` says what two
        maps that know nothing of each other have in common.

    Raises:
        DataError: Shapes that differ, or values below 0.
        NonFiniteError: A value is NaN or infinite.
        OptionError: `area` is out of bounds.

    Example:
        >>> first = torch.tensor([[[4.0, 3.0, 2.0, 1.0]]])
        >>> area_overlap(first, torch.tensor([[[1.0, 4.0, 3.0, 2.0]]]), area=0.5).values.tolist()
        [0.3333333333333333]
    """
    check_alike(first, second)
    here, there = (strongest_area(maps, area).flatten(1) for maps in (first, second))
    shared, joined = (here & there).sum(dim=1).double(), (here | there).sum(dim=1).double()
    return PerImage(shared / joined.clamp(min=1), ~(constant(first) | constant(second)))


@validated
def chance_overlap(area: _Part = 0.2) -> float:
    """What two areas of a size have in common when they lie anywhere: a² / (2a − a²), of many pixels.

    Example:
        >>> round(chance_overlap(0.2), 4)
        0.1111
    """
    return area / (2 - area)


def inside_boxes(boxes: Sequence[Tensor], height: int, width: int) -> Tensor:
    """Which pixels lie in any of each image's boxes, (images, height, width), bool.

    Example:
        >>> inside_boxes([torch.tensor([[1.0, 0.0, 3.0, 1.0]]), torch.zeros(0, 4)], 1, 3).tolist()
        [[[False, True, True]], [[False, False, False]]]
    """
    inside = torch.zeros(len(boxes), height, width, dtype=torch.bool)
    for image, own in enumerate(boxes):
        whose = torch.full((len(own),), image)
        for left, top, right, bottom in pixels_of(own, whose, height, width).tolist():
            inside[image, top:bottom, left:right] = True
    return inside


def share_inside(maps: Tensor, boxes: Sequence[Tensor]) -> PerImage:
    """The share of each map's evidence that lies in any of the image's boxes, 0 to 1.

    Args:
        maps: (images, H, W), from 0 up.
        boxes: For each image (boxes, 4), in pixels of the map; (0, 4) for none.

    Returns:
        Per image; not counted without a box, or where the map is zero everywhere.

    Raises:
        DataError: Not one tensor of boxes for each image, a box outside its image, or values below
            0.
        NonFiniteError: A value is NaN or infinite.

    Example:
        >>> share_inside(torch.tensor([[[1.0, 2.0, 1.0]]]), [torch.tensor([[1.0, 0.0, 3.0, 1.0]])]).values.tolist()
        [0.75]
    """
    values = check_maps(maps).double()
    images, height, width = values.shape
    given = truth(boxes, images)
    inside = inside_boxes(boxes, height, width)
    total = values.sum(dim=(1, 2))
    held = torch.where(inside, values, 0.0).sum(dim=(1, 2))
    return PerImage(
        (held / torch.where(total > 0, total, 1.0)).clamp(max=1.0), (total > 0) & (given.count > 0)
    )
