"""How well the box of an explanation covers the object: intersection over union, and boxes of maps."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
from scipy.ndimage import label
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, OptionError
from cofire.evaluate.per_image import (
    PerImage,
    check_corners,
    check_maps,
    check_sides,
    constant,
    truth,
)
from cofire.explain.regions import Boxes, check_share


@validated
def iou(first: Tensor, second: Tensor) -> Tensor:
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
    given = []
    for boxes in (first, second):
        if not isinstance(boxes, Tensor) or boxes.ndim != 2 or boxes.shape[1] != 4:
            told = (
                f"of shape {tuple(boxes.shape)}"
                if isinstance(boxes, Tensor)
                else f"that are {type(boxes).__name__}"
            )
            raise DataError(
                f"boxes {told}", "(boxes, 4)", "pass left, top, right and bottom for each box"
            )
        placed = boxes.detach().cpu().to(torch.float64)
        check_sides(placed, torch.arange(len(placed)))
        given.append(placed)
    return _overlap(given[0][:, None], given[1][None])


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
    maps: Tensor, thresholds: Sequence[float], *, connected: bool = False
) -> Tensor:
    """The tight boxes around the pixels that reach each of several shares of a map's maximum.

    As `cofire.explain.regions.map_hull` finds them one by one, for all maps and thresholds at once.

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
    for threshold in thresholds:
        check_share("threshold", threshold, above=0.0, most=1.0)
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
def fixed_boxes(maps: Tensor, area: float = 0.25) -> Boxes:
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
    if isinstance(area, bool) or not isinstance(area, (int, float)) or not 0 < area <= 1:
        raise OptionError(f"area={area!r}", "a share above 0 and up to 1", "pass area=0.25")
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
