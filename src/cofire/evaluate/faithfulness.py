"""Change in confidence: what the network still sees when an explanation alone is left of an image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from cofire.arguments import validated
from cofire.errors import CofireError, DataError, LabelError, OptionError
from cofire.evaluate.per_image import (
    PerImage,
    check_corners,
    check_finite,
    check_maps,
    constant,
    pixels_of,
)
from cofire.explain.result.regions import check_share
from cofire.network.untouched import without_autocast

Predict = Callable[[Tensor], Tensor]
"""From inputs (images, ...) to class probabilities (images, classes)."""


@validated
@dataclass(frozen=True, eq=False)
class Fill:
    """What takes the place of the pixels that an explanation does not keep.

    Attributes:
        kind: "mean", one colour, the mean of each image if none is given; "black", the colour that
            black has once inputs are prepared; "blur", the image itself, blurred.
        colour: One number a channel in the units of the network's inputs, (channels,). The mean
            colour of the data set is zeros after the usual normalisation; black is `-mean /
            deviation`. None for "blur".
        sigma: Standard deviation of the blur as a share of the image's shorter side, above 0 and up
            to 1.

    Raises:
        OptionError: No such kind, "black" without or "blur" with a colour, or `sigma` out of
            bounds.

    Example:
        >>> Fill("black", torch.zeros(3)).kind, Fill().kind
        ('black', 'mean')
    """

    kind: Literal["mean", "blur", "black"] = "mean"
    colour: Tensor | None = None
    sigma: float = 10 / 224

    def __post_init__(self) -> None:
        if self.kind not in ("mean", "blur", "black"):
            raise OptionError(
                f"kind={self.kind!r}", "'mean', 'blur' or 'black'", "pass kind='mean'"
            )
        if (self.kind == "black" and self.colour is None) or (
            self.kind == "blur" and self.colour is not None
        ):
            raise OptionError(
                f"kind={self.kind!r} {'without' if self.colour is None else 'with'} a colour",
                "a colour for 'black', in the units of the network's inputs, and none for 'blur'",
                "pass colour=-mean / deviation of the preparation for 'black', colour=None for 'blur'",
            )
        check_share("sigma", self.sigma, above=0.0, most=1.0)
        if self.colour is not None:
            if self.colour.ndim != 1 or not self.colour.is_floating_point():
                raise OptionError(
                    f"colour of shape {tuple(self.colour.shape)}, {self.colour.dtype}",
                    "floats (channels,)",
                    "pass one number for each channel",
                )
            check_finite(self.colour, "colour")


def filled(images: Tensor, fill: Fill | None = None) -> Tensor:
    """Images of which nothing is kept.

    Args:
        images: (images, channels, H, W), or (images, features), which is one row of pixels.
        fill: What takes the pixels' place; each image's own mean colour if not given.

    Returns:
        Of the shape of the images.

    Raises:
        DataError: Not of that shape, or a colour of another number of channels.
        NonFiniteError: A pixel is NaN or infinite.

    Example:
        >>> filled(torch.tensor([[[[0.0, 1.0], [2.0, 3.0]]]])).tolist()
        [[[[1.5, 1.5], [1.5, 1.5]]]]
    """
    chosen = fill if fill is not None else Fill()
    given = _pictures(images)
    if chosen.kind == "blur":
        return _blurred(given, chosen.sigma).reshape(images.shape)
    if chosen.colour is None:
        return given.mean(dim=(2, 3), keepdim=True).expand_as(given).reshape(images.shape)
    if len(chosen.colour) != given.shape[1]:
        raise DataError(
            f"a colour of {len(chosen.colour)} channels for images of {given.shape[1]}",
            "one number a channel",
            "pass a colour that fits the images",
        )
    colour = chosen.colour.to(given.device, given.dtype)[None, :, None, None]
    return colour.expand_as(given).reshape(images.shape)


@validated
def kept(images: Tensor, corners: Tensor, found: Tensor, fill: Fill | None = None) -> Tensor:
    """Images of which a box alone is kept (P3 §4.1.2).

    Args:
        images: Inputs of the network, (images, channels, H, W) or (images, features).
        corners: A box each, (images, 4), left, top, right and bottom in pixels.
        found: Whether there is a box, (images,), bool. Nothing is kept where there is none.
        fill: What takes the place of the rest; each image's own mean colour if not given.

    Returns:
        Of the shape of the images.

    Raises:
        DataError: Shapes that do not fit, or a box without inside or outside its image.
        NonFiniteError: A pixel or corner is NaN or infinite.

    Example:
        >>> box, found = torch.tensor([[1.0, 0.0, 2.0, 2.0]]), torch.tensor([True])
        >>> kept(torch.arange(4.0).reshape(1, 1, 2, 2), box, found, Fill("black", torch.tensor([-1.0]))).tolist()
        [[[[-1.0, 1.0], [-1.0, 3.0]]]]
    """
    given = _pictures(images)
    height, width = given.shape[2:]
    placed, there = check_corners(corners, found, len(given))
    rows = there.nonzero().flatten()
    pixels = torch.zeros(len(given), 4, dtype=torch.int64)
    pixels[rows] = pixels_of(placed[rows], rows, height, width)
    y, x = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    left, top, right, bottom = pixels[:, :, None, None].unbind(dim=1)
    inside = ((x >= left) & (x < right) & (y >= top) & (y < bottom))[:, None].to(given.device)
    background = _pictures(filled(images, fill))
    return torch.where(inside, given, background).reshape(images.shape)


@validated
def soft_map(images: Tensor, maps: Tensor, fill: Fill | None = None) -> Tensor:
    """Images kept as far as a map says: `m · image + (1 - m) · fill` with `m = (map - min) / (max - min)`.

    The explanation map of Grad-CAM++ (Chattopadhay et al. 2018), which multiplies image and map,
    over a fill. A constant map keeps nothing.

    Args:
        images: Inputs of the network, (images, channels, H, W) or (images, features).
        maps: (images, H, W), from 0 up; H = 1 for features.
        fill: What takes the place of the rest; each image's own mean colour if not given.

    Returns:
        Of the shape of the images.

    Raises:
        DataError: Shapes that do not fit, or values below 0.
        NonFiniteError: A number is NaN or infinite.

    Example:
        >>> soft_map(torch.tensor([[4.0, 4.0, 4.0]]), torch.tensor([[[1.0, 2.0, 3.0]]]),
        ...          Fill("black", torch.zeros(1))).tolist()
        [[0.0, 2.0, 4.0]]
    """
    given = _pictures(images)
    values = same_size(maps, given)
    low, high = (end[:, None, None] for end in values.flatten(1).aminmax(dim=1))
    share = torch.where(constant(values)[:, None, None], 0.0, (values - low) / (high - low))[
        :, None
    ]
    weight = share.to(given.device, given.dtype)
    background = _pictures(filled(images, fill))
    return (background + weight * (given - background)).reshape(images.shape)


@dataclass(frozen=True, eq=False)
class ConfidenceChange:
    """What became of the confidence when an explanation alone was kept.

    Attributes:
        increase: 1 where the confidence rose, else 0.
        drop: `max(0, before - after) / before`, 0 to 1; not counted where there was no confidence
            to lose.
    """

    increase: PerImage
    drop: PerImage


@validated
def confidence_change(before: Tensor, after: Tensor) -> ConfidenceChange:
    """Increase and relative drop of the confidence in a class.

    Args:
        before: Probability of the class for the whole image, (images,), 0 to 1.
        after: For what was kept of it, (images,), 0 to 1.

    Raises:
        DataError: Shapes that do not fit, or numbers that are no probabilities.
        NonFiniteError: A number is NaN or infinite.

    Example:
        >>> change = confidence_change(torch.tensor([0.5, 0.8]), torch.tensor([0.75, 0.2]))
        >>> change.increase.values.tolist(), [round(drop, 6) for drop in change.drop.values.tolist()]
        ([1.0, 0.0], [0.0, 0.75])
    """
    if before.ndim != 1 or before.shape != after.shape:
        raise DataError(
            f"probabilities of shapes {tuple(before.shape)} and {tuple(after.shape)}",
            "(images,) twice",
            "pass one probability for each image",
        )
    first, second = (_probabilities(given) for given in (before, after))
    drop = (first - second).clamp(min=0) / torch.where(first > 0, first, torch.ones_like(first))
    return ConfidenceChange(PerImage.of_all((second > first).double()), PerImage(drop, first > 0))


@validated
def probability_of(predict: Predict, inputs: Tensor, classes: Tensor) -> Tensor:
    """The probability of one class for each input.

    Args:
        predict: From inputs to class probabilities (inputs, classes).
        inputs: (inputs, ...).
        classes: (inputs,), whole numbers.

    Returns:
        (inputs,), float64, 0 to 1, on the CPU.

    Raises:
        DataError: What `predict` returns are no probabilities.
        LabelError: Not one class for each input, or a class that is none.
        NonFiniteError: A probability is NaN or infinite.

    Example:
        >>> probability_of(lambda inputs: inputs.softmax(1), torch.zeros(2, 4), torch.tensor([0, 3])).tolist()
        [0.25, 0.25]
    """
    check_classes(classes, len(inputs))
    try:
        found = predict(inputs)
    except CofireError:
        raise
    except Exception as error:  # the caller's own function
        said = (str(error).splitlines() or [""])[0]
        raise DataError(
            f"predict raised {type(error).__name__} for inputs {tuple(inputs.shape)}, {inputs.dtype}: {said}",
            "a function that takes such inputs",
            "convert the images as in training, or correct predict",
        ) from error
    if not isinstance(found, Tensor) or found.ndim != 2 or len(found) != len(inputs):
        told = (
            f"of shape {tuple(found.shape)}" if isinstance(found, Tensor) else type(found).__name__
        )
        raise DataError(
            f"predictions {told} for {len(inputs)} inputs",
            "(inputs, classes)",
            "return one row an input",
        )
    each = _probabilities(found)
    if each.numel() and float((each.sum(dim=1) - 1).abs().max()) > 1e-2:
        raise DataError(
            "rows that do not sum to one",
            "probabilities",
            "if these are logits, return logits.softmax(1)",
        )
    chosen = classes.detach().cpu().long()
    wrong = chosen >= each.shape[1]
    if bool(wrong.any()):
        last = each.shape[1] - 1
        raise LabelError(
            f"class {int(chosen[wrong][0])}", f"a class from 0 to {last}", "pass one of these"
        )
    return each.gather(1, chosen[:, None]).flatten()


def check_classes(classes: Tensor, images: int) -> None:
    """One class number from 0 up for each image.

    Raises:
        LabelError: It is not so.
    """
    whole = not (classes.is_floating_point() or classes.is_complex() or classes.dtype == torch.bool)
    if tuple(classes.shape) != (images,) or not whole or bool((classes < 0).any()):
        raise LabelError(
            f"classes of shape {tuple(classes.shape)}, {classes.dtype}, for {images} images",
            "one whole number from 0 up for each image",
            "pass one class number for each image",
        )


def same_size(maps: Tensor, pictures: Tensor) -> Tensor:
    """Maps that fit pictures (images, channels, H, W).

    Raises:
        DataError: They do not.
    """
    values = check_maps(maps)
    wanted = (len(pictures), *pictures.shape[2:])
    if tuple(values.shape) != wanted:
        raise DataError(
            f"maps of shape {tuple(values.shape)}", f"{wanted}, as the images", "resize the maps"
        )
    return values


def _pictures(images: Tensor) -> Tensor:
    """Images as (images, channels, H, W); vectors are one row of pixels."""
    if (
        not isinstance(images, Tensor)
        or images.ndim not in (2, 4)
        or not images[:1].numel()
        or (not images.is_floating_point())
    ):
        told = (
            f"of shape {tuple(images.shape)}, {images.dtype}"
            if isinstance(images, Tensor)
            else type(images).__name__
        )
        raise DataError(
            f"images {told}",
            "floats (images, channels, height, width), or (images, features)",
            "pass the batch as the network takes it",
        )
    given = images.detach()
    check_finite(given, "pixels")
    return given if given.ndim == 4 else given[:, None, None, :]


def _blurred(images: Tensor, sigma: float) -> Tensor:
    """A Gaussian blur that ends at 4 standard deviations; beyond the border the border's pixels go on."""
    deviation = sigma * min(images.shape[2:])
    found = images
    for axis in (2, 3):
        reach = math.ceil(4 * deviation)
        steps = torch.arange(-reach, reach + 1, dtype=images.dtype, device=images.device)
        kernel = (-0.5 * (steps / deviation) ** 2).exp()
        kernel = (kernel / kernel.sum()).reshape(1, 1, *((-1, 1) if axis == 2 else (1, -1)))
        margins = (0, 0, reach, reach) if axis == 2 else (reach, reach, 0, 0)
        padded = functional.pad(found, margins, mode="replicate")
        with without_autocast():
            found = functional.conv2d(padded.flatten(0, 1)[:, None], kernel).reshape(images.shape)
    return found


def _probabilities(given: Tensor) -> Tensor:
    """Numbers from 0 to 1 as float64, on the CPU; what rounding put above 1 is 1."""
    values = given.detach().cpu().to(torch.float64)
    check_finite(values, "probabilities")
    if values.numel() and (float(values.min()) < 0 or float(values.max()) > 1 + 1e-3):
        raise DataError(
            "numbers below 0 or above 1",
            "probabilities",
            "if these are logits, pass logits.softmax(1)",
        )
    return values.clamp(max=1)
