"""A measure of each image, and what maps and boxes must be before they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, NonFiniteError


@validated(finite=False)
@dataclass(frozen=True, eq=False)
class PerImage:
    """One number for each image of a batch, and which of them count.

    Attributes:
        values: (images,), float64; 0 where an image is not counted.
        counted: Whether the image enters means, (images,), bool.

    Raises:
        DataError: Not one value and one flag for each image.
        NonFiniteError: The value of a counted image is NaN or infinite.

    Example:
        >>> hits = PerImage(torch.tensor([1.0, 0.0, 0.5]), torch.tensor([True, True, False]))
        >>> hits, hits.values.tolist(), hits.mean(), hits.left_out
        (PerImage(2 of 3 images, mean 0.5000), [1.0, 0.0, 0.0], 0.5, 1)
    """

    values: Tensor
    counted: Tensor

    def __post_init__(self) -> None:
        values, counted = self.values.detach().cpu().to(torch.float64), self.counted.detach().cpu()
        if values.ndim != 1 or counted.shape != values.shape or counted.dtype != torch.bool:
            raise DataError(
                f"values of shape {tuple(values.shape)} and flags of shape {tuple(counted.shape)}, {counted.dtype}",
                "(images,) each, the flags of type bool",
                "pass one value and one flag for each image",
            )
        values = torch.where(counted, values, torch.zeros_like(values))
        check_finite(values, "measures")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "counted", counted)

    @classmethod
    def of_all(cls, values: Tensor) -> PerImage:
        """Every image counts."""
        return cls(values, torch.ones(len(values), dtype=torch.bool))

    @property
    def left_out(self) -> int:
        """How many images are not counted."""
        return len(self) - int(self.counted.sum())

    def mean(self) -> float:
        """Over the images that count.

        Raises:
            DataError: None counts.
        """
        if not bool(self.counted.any()):
            raise DataError(
                f"a mean over none of {len(self)} images",
                "an image that counts",
                "measure images with ground truth",
            )
        return float(self.values[self.counted].mean())

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        told = f", mean {self.mean():.4f}" if bool(self.counted.any()) else ""
        return f"PerImage({int(self.counted.sum())} of {len(self)} images{told})"


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """The boxes of a batch of images, one after the other.

    Attributes:
        corners: Left, top, right and bottom in pixels, (boxes, 4), float64; right and bottom
            exclusive.
        image: Whose box it is, (boxes,), int64, ascending.
        first: Where each image's boxes begin, (images,), int64.
        count: How many boxes each image has, (images,), int64.
    """

    corners: Tensor
    image: Tensor
    first: Tensor
    count: Tensor


def truth(boxes: Sequence[Tensor], images: int) -> GroundTruth:
    """The boxes of a batch, checked.

    Args:
        boxes: For each image (boxes, 4): left, top, right and bottom in pixels; (0, 4) for none.
        images: How many images there are.

    Raises:
        DataError: Not one tensor (boxes, 4) for each image, a box without width or height, or boxes
            in fractions of the sides in place of pixels.
        NonFiniteError: A corner is NaN or infinite.

    Example:
        >>> truth([torch.tensor([[0.0, 0, 2, 2]]), torch.zeros(0, 4)], 2).count.tolist()
        [1, 0]
    """
    if len(boxes) != images:
        raise DataError(
            f"boxes of {len(boxes)} images",
            f"of {images}",
            "pass one tensor (boxes, 4) for each image",
        )
    for number, each in enumerate(boxes):
        if not isinstance(each, Tensor) or each.ndim != 2 or each.shape[1] != 4:
            told = (
                f"of shape {tuple(each.shape)}" if isinstance(each, Tensor) else type(each).__name__
            )
            raise DataError(
                f"boxes {told} of image {number}",
                "a tensor (boxes, 4)",
                "pass torch.zeros(0, 4) for none",
            )
    count = torch.tensor([len(each) for each in boxes], dtype=torch.int64)
    image = torch.repeat_interleave(torch.arange(images), count)
    none = torch.zeros(0, 4, dtype=torch.float64)
    corners = torch.cat([none, *(each.detach().cpu().to(torch.float64) for each in boxes)])
    check_sides(corners, image)
    check_unit(corners, image)
    return GroundTruth(corners, image, count.cumsum(0) - count, count)


def check_corners(corners: Tensor, found: Tensor, images: int) -> tuple[Tensor, Tensor]:
    """The boxes of explanations, one for each image that has one.

    Args:
        corners: (images, 4), left, top, right and bottom in pixels.
        found: Whether there is a box, (images,), bool.
        images: How many there are.

    Returns:
        Corners as float64 (zeros where there is none), and the flags.

    Raises:
        DataError: Shapes that do not fit, or a box without width or height.
        NonFiniteError: A corner is NaN or infinite.
    """
    if (
        tuple(corners.shape) != (images, 4)
        or tuple(found.shape) != (images,)
        or found.dtype != torch.bool
    ):
        raise DataError(
            f"corners of shape {tuple(corners.shape)} and flags of shape {tuple(found.shape)}, {found.dtype}",
            f"({images}, 4), and ({images},) of type bool",
            "pass one box and one flag for each image, such as explanation.boxes() has",
        )
    there = found.detach().cpu()
    placed = torch.where(there[:, None], corners.detach().cpu().to(torch.float64), 0.0)
    check_sides(placed[there], there.nonzero().flatten())
    check_unit(placed[there], there.nonzero().flatten())
    return placed, there


def check_unit(corners: Tensor, image: Tensor) -> None:
    """Boxes (boxes, 4) in pixels, not all in fractions of the sides: those would all lie within one pixel.

    Raises:
        DataError: All corners lie from 0 to 1, and not all are whole: the box of the first pixel is
            one.
    """
    within = bool(((corners >= 0) & (corners <= 1)).all())
    if len(corners) and within and bool((corners != corners.round()).any()):
        raise DataError(
            f"boxes between 0 and 1, such as {[round(value, 4) for value in corners[0].tolist()]} of image "
            f"{int(image[0])}",
            "left, top, right and bottom in pixels",
            "multiply fractions by width and height: boxes * torch.tensor([width, height, width, height])",
        )


def check_sides(corners: Tensor, image: Tensor) -> None:
    """Boxes (boxes, 4) that are finite and have an inside; `image` says in messages whose they are.

    Raises:
        DataError: A box without width or height.
        NonFiniteError: A corner is NaN or infinite.
    """
    check_finite(corners, "corners of a box")
    flat = (corners[:, 2] <= corners[:, 0]) | (corners[:, 3] <= corners[:, 1])
    if bool(flat.any()):
        row = int(flat.nonzero()[0])
        raise DataError(
            f"the box {corners[row].tolist()} of image {int(image[row])}",
            "left < right and top < bottom, right and bottom exclusive",
            "pass left, top, right, bottom: a single pixel's box is 1 wide and 1 high",
        )


def pixels_of(corners: Tensor, image: Tensor, height: int, width: int) -> Tensor:
    """Which pixels lie in boxes: those whose centre does, `left ≤ x + ½ < right` and `top ≤ y + ½ < bottom`.

    A box so thin that it holds no centre holds the pixel that its middle falls in, so that no box
    is empty.

    Args:
        corners: (boxes, 4), left, top, right and bottom in pixels; it may reach beyond the image.
        image: Whose box it is, for messages, (boxes,).
        height: Of the images in pixels.
        width: Of the images in pixels.

    Returns:
        (boxes, 4), int64: first column, first row, and the first column and row after the box.

    Raises:
        DataError: A box lies outside the image.

    Example:
        >>> pixels_of(torch.tensor([[0.6, 0.0, 2.5, 1.0], [1.1, 2.0, 1.2, 9.0]]), torch.tensor([0, 0]), 4, 4).tolist()
        [[1, 0, 2, 1], [1, 2, 2, 4]]
    """
    sides = torch.tensor([width, height, width, height], dtype=torch.float64)
    beyond = (corners[:, 2:] <= 0).any(1) | (corners[:, :2] >= sides[:2]).any(1)
    if bool(beyond.any()):
        row = int(beyond.nonzero()[0])
        raise DataError(
            f"the box {corners[row].tolist()} of image {int(image[row])}, which has {height} × {width} pixels",
            "a box that overlaps the image",
            "check that boxes and maps are of the same size, and leave out boxes that cropping cut away",
        )
    clipped = torch.minimum(corners.to(torch.float64).clamp(min=0), sides)
    pixels = (clipped - 0.5).ceil()
    middle = torch.minimum(((clipped[:, :2] + clipped[:, 2:]) / 2).floor(), sides[:2] - 1)
    thin = pixels[:, 2:] <= pixels[:, :2]
    first = torch.where(thin, middle, pixels[:, :2])
    after = torch.where(thin, middle + 1, pixels[:, 2:])
    return torch.cat([first, after], dim=1).long()


def check_maps(maps: Tensor, what: str = "maps") -> Tensor:
    """Maps (images, H, W) on the CPU, float32 or float64, finite and from 0 up.

    Raises:
        DataError: Not of that shape or type, or below 0.
        NonFiniteError: A value is NaN or infinite.

    Example:
        >>> check_maps(torch.ones(2, 3, 4)).shape
        torch.Size([2, 3, 4])
    """
    if not isinstance(maps, Tensor) or maps.ndim != 3 or not maps.shape[1] * maps.shape[2]:
        told = (
            f"of shape {tuple(maps.shape)}"
            if isinstance(maps, Tensor)
            else f"that are {type(maps).__name__}"
        )
        raise DataError(
            f"{what} {told}",
            "(images, height, width)",
            "pass one map for each image: explanation.heatmap()",
        )
    if not maps.is_floating_point():
        raise DataError(
            f"{what} of type {maps.dtype}", "floating-point numbers", "pass maps.float()"
        )
    values = maps.detach().cpu()
    values = values if values.dtype in (torch.float32, torch.float64) else values.float()
    if not len(values):
        return values
    # The ends tell: both are NaN where a value is.
    ends = torch.stack(values.aminmax())
    check_finite(ends, what)
    if float(ends[0]) < 0:
        raise DataError(
            f"{what} with values below 0",
            "values from 0 up",
            "pass maps.clamp(min=0), or their size",
        )
    return values


def constant(maps: Tensor) -> Tensor:
    """Which maps are the same everywhere and so explain nothing, (images,), bool.

    Example:
        >>> constant(torch.tensor([[[0.5, 0.5]], [[0.0, 0.5]]])).tolist()
        [True, False]
    """
    low, high = maps.flatten(1).aminmax(dim=1)
    return high == low


def check_finite(values: Tensor, what: str) -> None:
    """Refuse NaN and infinite numbers.

    Raises:
        NonFiniteError: There is one.
    """
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteError(
            f"NaN or infinite {what}", "finite numbers", "find where they come from"
        )
