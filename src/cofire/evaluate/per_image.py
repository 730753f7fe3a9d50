"""A measure of each image, and what maps and boxes must be before they are measured."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import BatchError, DataError, NonFiniteError
from cofire.tensors import Values

Numbers = Annotated[Tensor, Values("images", finite=False)]
Flags = Annotated[Tensor, Values("images", kind="flags")]
Corners = Annotated[Tensor, Values("images 4", finite=False)]
Boxes = Sequence[Annotated[Tensor, Values("* 4", finite=False, lists=False)]]
_MAPS = Values("images height width", kind="floating", least=0.0, lists=False)


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

    values: Numbers
    counted: Flags

    def __post_init__(self) -> None:
        counted, given = self.counted.cpu().bool(), self.values.cpu().double()
        values = torch.where(counted, given, torch.zeros_like(given))
        check_finite(values, "measures")
        object.__setattr__(self, "values", values)
        object.__setattr__(self, "counted", counted)

    @classmethod
    def of_all(cls, values: Tensor) -> PerImage:
        """Every image counts."""
        return cls(values, torch.ones(len(values), dtype=torch.bool))

    @classmethod
    def of_none(cls, images: int) -> PerImage:
        """No image counts."""
        return cls(torch.zeros(images), torch.zeros(images, dtype=torch.bool))

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

    def cells(self) -> list[float | None]:
        """The value of each image, None where it does not count."""
        pairs = zip(self.values.tolist(), self.counted.tolist(), strict=True)
        return [value if counted else None for value, counted in pairs]

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


@validated
def truth(boxes: Boxes, images: int) -> GroundTruth:
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
    check_counts(images, boxes=boxes)
    count = torch.tensor([len(each) for each in boxes], dtype=torch.int64)
    image = torch.repeat_interleave(torch.arange(images), count)
    none = torch.zeros(0, 4, dtype=torch.float64)
    corners = torch.cat([none, *(each.detach().cpu().to(torch.float64) for each in boxes)])
    check_sides(corners, image, pixels=True)
    return GroundTruth(corners, image, count.cumsum(0) - count, count)


@validated
def check_corners(corners: Corners, found: Flags, images: int) -> tuple[Tensor, Tensor]:
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
    check_counts(images, corners=corners, found=found)
    there = found.cpu().bool()
    placed = torch.where(there[:, None], corners.cpu().to(torch.float64), 0.0)
    check_sides(placed[there], there.nonzero().flatten(), pixels=True)
    return placed, there


def check_sides(corners: Tensor, image: Tensor, *, pixels: bool = False) -> None:
    """Boxes (boxes, 4) that are finite and have an inside; `image` says in messages whose they are.

    Args:
        corners: Left, top, right and bottom.
        image: Whose box each is.
        pixels: Refuse boxes that all lie from 0 to 1 and are not whole: fractions of the sides,
            which would all lie within one pixel. The box of the first pixel is one in pixels.

    Raises:
        DataError: A box without width or height, or in fractions.
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
    within = bool(((corners >= 0) & (corners <= 1)).all())
    if pixels and within and bool((corners != corners.round()).any()):
        raise DataError(
            f"boxes between 0 and 1, such as {[round(value, 4) for value in corners[0].tolist()]} of image "
            f"{int(image[0])}",
            "left, top, right and bottom in pixels",
            "multiply fractions by width and height: boxes * torch.tensor([width, height, width, height])",
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


def check_counts(count: int, whose: str = "", **parts: Sequence[Any] | Tensor | None) -> None:
    """Refuse what is not one for each image.

    Raises:
        BatchError: A part that is given has another length.

    Example:
        >>> check_counts(3, labels=[0, 1])
        Traceback (most recent call last):
        cofire.errors.BatchError: 2 labels for 3 images. Expected: 3, one for each. To fix it: pass all ...
    """
    for what, given in parts.items():
        if given is not None and len(given) != count:
            raise BatchError(
                f"{len(given)} {what}{whose} for {count} images",
                f"{count}, one for each",
                f"pass all {what}, in the same order",
            )


def check_maps(maps: Tensor) -> Tensor:
    """Maps (images, H, W) on the CPU, float32 or float64, finite and from 0 up.

    Raises:
        DataError: Not of that shape or type, or below 0.
        NonFiniteError: A value is NaN or infinite.

    Example:
        >>> check_maps(torch.ones(2, 3, 4)).shape
        torch.Size([2, 3, 4])
    """
    values: Tensor = _MAPS.of("maps", maps).cpu()
    if not values.shape[1] * values.shape[2]:
        raise DataError(
            f"maps of shape {tuple(values.shape)}", "pixels", "pass explanation.heatmap()"
        )
    return values if values.dtype in (torch.float32, torch.float64) else values.float()


def check_alike(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Two maps of the same images.

    Raises:
        DataError: They differ in shape, or one is no map.
        NonFiniteError: A value is NaN or infinite.
    """
    one, other = check_maps(first), check_maps(second)
    if one.shape != other.shape:
        raise DataError(
            f"maps of shapes {tuple(one.shape)} and {tuple(other.shape)}",
            "the same shape twice",
            "bring the maps to one size, or explain the same images",
        )
    return one, other


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
