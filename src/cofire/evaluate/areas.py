"""Which part of an image explanations use: its strongest pixels, what two share, and what lies in boxes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cofire.errors import DataError
from cofire.evaluate.per_image import PerImage, check_maps, constant, pixels_of, truth
from cofire.explain.regions import check_share


def strongest_area(maps: Tensor, area: float = 0.2) -> Tensor:
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
    check_share("area", area, above=0.0, below=1.0)
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


def area_overlap(first: Tensor, second: Tensor, area: float = 0.2) -> PerImage:
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
    if first.shape != second.shape:
        raise DataError(
            f"maps of shapes {tuple(first.shape)} and {tuple(second.shape)}",
            "the same shape twice",
            "bring the maps to one size, or explain the same images",
        )
    here, there = (strongest_area(maps, area).flatten(1) for maps in (first, second))
    shared, joined = (here & there).sum(dim=1).double(), (here | there).sum(dim=1).double()
    return PerImage(shared / joined.clamp(min=1), ~(constant(first) | constant(second)))


def chance_overlap(area: float = 0.2) -> float:
    """What two areas of a size have in common when they lie anywhere: a² / (2a − a²), of many pixels.

    Example:
        >>> round(chance_overlap(0.2), 4)
        0.1111
    """
    check_share("area", area, above=0.0, below=1.0)
    return area / (2 - area)


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
    inside = torch.zeros(images, height, width, dtype=torch.bool)
    places = pixels_of(given.corners, given.image, height, width)
    for image, (left, top, right, bottom) in zip(
        given.image.tolist(), places.tolist(), strict=True
    ):
        inside[image, top:bottom, left:right] = True
    total = values.sum(dim=(1, 2))
    held = torch.where(inside, values, 0.0).sum(dim=(1, 2))
    return PerImage(
        (held / torch.where(total > 0, total, 1.0)).clamp(max=1.0), (total > 0) & (given.count > 0)
    )
