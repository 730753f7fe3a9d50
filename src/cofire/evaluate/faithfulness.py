"""Faithfulness: what the network sees when an explanation alone is left of an image, or pixels go and come."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from cofire.arguments import validated
from cofire.errors import DataError, LabelError, OptionError
from cofire.evaluate.per_image import (
    PerImage,
    check_corners,
    check_counts,
    check_finite,
    check_maps,
    constant,
    pixels_of,
)
from cofire.network.untouched import without_autocast
from cofire.references import theirs
from cofire.tensors import Values

_Each = Annotated[Tensor, Values("images", finite=False)]
_CLASSES = Values("images", "whole", least=0.0, lists=False, error=LabelError)
_IMAGES = Values(kind="floating", lists=False)

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
    colour: Annotated[Tensor, Values("channels", "floating", error=OptionError)] | None = None
    sigma: Annotated[float, Field(gt=0.0, le=1.0)] = 10 / 224

    def __post_init__(self) -> None:
        if (self.kind == "black" and self.colour is None) or (
            self.kind == "blur" and self.colour is not None
        ):
            raise OptionError(
                f"kind={self.kind!r} {'without' if self.colour is None else 'with'} a colour",
                "a colour for 'black', in the units of the network's inputs, and none for 'blur'",
                "pass colour=-mean / deviation of the preparation for 'black', colour=None for 'blur'",
            )


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
    given = _planes(images)
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
    given = _planes(images)
    height, width = given.shape[2:]
    placed, there = check_corners(corners, found, len(given))
    rows = there.nonzero().flatten()
    pixels = torch.zeros(len(given), 4, dtype=torch.int64)
    pixels[rows] = pixels_of(placed[rows], rows, height, width)
    y, x = torch.arange(height)[None, :, None], torch.arange(width)[None, None, :]
    left, top, right, bottom = pixels[:, :, None, None].unbind(dim=1)
    inside = ((x >= left) & (x < right) & (y >= top) & (y < bottom))[:, None].to(given.device)
    background = _planes(filled(images, fill))
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
    given = _planes(images)
    values = same_size(maps, given)
    low, high = (end[:, None, None] for end in values.flatten(1).aminmax(dim=1))
    share = torch.where(constant(values)[:, None, None], 0.0, (values - low) / (high - low))[
        :, None
    ]
    weight = share.to(given.device, given.dtype)
    background = _planes(filled(images, fill))
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
def confidence_change(before: _Each, after: _Each) -> ConfidenceChange:
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
    with theirs(
        f"predict failed for inputs {tuple(inputs.shape)}, {inputs.dtype}",
        "a function that takes such inputs",
        "convert the images as in training, or correct predict",
        DataError,
    ):
        found = predict(inputs)
    found = Values("inputs classes", finite=False, lists=False).of("predictions", found)
    check_counts(len(inputs), predictions=found)
    each = _probabilities(found)
    if each.numel() and float((each.sum(dim=1) - 1).abs().max()) > 1e-2:
        raise DataError(
            "rows that do not sum to one",
            "probabilities",
            "if these are logits, return logits.softmax(1)",
        )
    chosen = classes.detach().cpu().long()
    last = each.shape[1] - 1
    if bool((chosen > last).any()):
        raise LabelError(
            f"class {int(chosen.max())}", f"a class from 0 to {last}", "pass one of these"
        )
    return each.gather(1, chosen[:, None]).flatten()


def check_classes(classes: Tensor, images: int) -> None:
    """One class number from 0 up for each image.

    Raises:
        LabelError: It is not so.
    """
    _CLASSES.of("classes", classes)
    if len(classes) != images:
        raise LabelError(
            f"classes of shape {tuple(classes.shape)}, {classes.dtype}, for {images} images",
            "one whole number from 0 up for each image",
            "pass one class number for each image",
        )


def same_size(maps: Tensor, images: Tensor) -> Tensor:
    """Maps that fit images (images, channels, H, W).

    Raises:
        DataError: They do not.
    """
    values = check_maps(maps)
    wanted = (len(images), *images.shape[2:])
    if tuple(values.shape) != wanted:
        raise DataError(
            f"maps of shape {tuple(values.shape)}", f"{wanted}, as the images", "resize the maps"
        )
    return values


def _planes(images: Tensor) -> Tensor:
    """Images as (images, channels, H, W); vectors are one row of pixels."""
    given: Tensor = _IMAGES.of("images", images)
    if given.ndim not in (2, 4) or not given[:1].numel():
        raise DataError(
            f"images of shape {tuple(given.shape)}",
            "(images, channels, height, width), or (images, features)",
            "pass the batch as the network takes it",
        )
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


@validated
@dataclass(frozen=True, eq=False)
class Curve:
    """The probability of a class while pixels go or come.

    Attributes:
        probability: At the start and after each step, (images, steps + 1), float64, 0 to 1.
        area: Under each curve over the share of pixels, 0 to 1: low is good for deletion, high for
            insertion. Not counted where the map is constant, which puts pixels in no order.
    """

    probability: Tensor
    area: PerImage

    def __len__(self) -> int:
        return len(self.probability)


def deletion(
    predict: Predict,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    steps: int = 28,
    fill: Fill | None = None,
    at_once: int = 64,
) -> Curve:
    """Pixels go, those where the map is highest first (Petsiuk et al. 2018).

    Args:
        predict: From inputs to class probabilities (inputs, classes).
        images: Inputs of the network, (images, channels, H, W) or (images, features).
        maps: (images, H, W), from 0 up; H = 1 for features. Of equal values the upper, then the
            left one comes first.
        classes: Whose probability it is, (images,), whole numbers.
        steps: In how many portions, equal to a pixel; at most the number of pixels.
        fill: What takes the pixels' place; each image's own mean colour unless given.
        at_once: How many inputs are predicted at a time.

    Raises:
        DataError: Shapes that do not fit, values below 0, or predictions that are no probabilities.
        LabelError: Classes that are none.
        NonFiniteError: A number is NaN or infinite.
        OptionError: `steps` or `at_once` is out of bounds.

    Example:
        The probability is the first pixel's value, which the map puts first:

        >>> def predict(inputs):
        ...     return torch.stack([inputs[:, 0], 1 - inputs[:, 0]], dim=1)
        >>> curve = deletion(predict, torch.tensor([[1.0, 0.0]]), torch.tensor([[[2.0, 1.0]]]), torch.tensor([0]),
        ...                  steps=2, fill=Fill("black", torch.zeros(1)))
        >>> curve.probability.tolist(), curve.area.values.tolist()
        ([[1.0, 0.0, 0.0]], [0.25])
    """
    background = fill or Fill("mean")
    return _curve(predict, images, maps, classes, background, steps, at_once, inserted=False)


def insertion(
    predict: Predict,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    *,
    steps: int = 28,
    fill: Fill | None = None,
    at_once: int = 64,
) -> Curve:
    """Pixels come, those where the map is highest first, onto a blurred image (Petsiuk et al. 2018).

    Args:
        predict: As in `deletion`, and so are the others and what is raised.
        images: Inputs of the network.
        maps: (images, H, W).
        classes: Whose probability it is, (images,).
        steps: In how many portions.
        fill: What pixels come onto; the image itself, blurred, unless given.
        at_once: How many inputs are predicted at a time.

    Example:
        >>> curve = insertion(lambda inputs: torch.stack([inputs[:, 0], 1 - inputs[:, 0]], dim=1),
        ...                   torch.tensor([[1.0, 0.0]]), torch.tensor([[[2.0, 1.0]]]), torch.tensor([0]),
        ...                   steps=2, fill=Fill("black", torch.zeros(1)))
        >>> curve.probability.tolist(), curve.area.values.tolist()
        ([[0.0, 1.0, 1.0]], [0.75])
    """
    background = fill or Fill("blur")
    return _curve(predict, images, maps, classes, background, steps, at_once, inserted=True)


@validated
def area_under(probability: Annotated[Tensor, Values("images steps", finite=False)]) -> Tensor:
    """Areas under curves over equal steps from 0 to 1, by trapezoids: `Σ (p_i + p_{i+1}) / 2 / steps`.

    Args:
        probability: (images, steps + 1), 0 to 1.

    Returns:
        (images,), float64, 0 to 1.

    Raises:
        DataError: Fewer than two points a curve, or numbers that are no probabilities.
        NonFiniteError: A number is NaN or infinite.

    Example:
        >>> area_under(torch.tensor([[1.0, 0.5, 0.0], [1.0, 1.0, 1.0]])).tolist()
        [0.5, 1.0]
    """
    if probability.shape[1] < 2:
        raise DataError(
            f"probabilities of shape {tuple(probability.shape)}",
            "(images, steps + 1), one step or more",
            "pass the probability at the start and after each step",
        )
    values = _probabilities(probability)
    return ((values[:, :-1] + values[:, 1:]) / 2).mean(dim=1)


@validated
def _curve(
    predict: Predict,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    fill: Fill,
    steps: PositiveInt,
    at_once: PositiveInt,
    *,
    inserted: bool,
) -> Curve:
    background = filled(images, fill)
    given = images.detach()
    planes = given if given.ndim == 4 else given[:, None, None, :]
    values = same_size(maps, planes)
    count, pixels = len(values), values[0].numel() if len(values) else 1
    if count and steps > pixels:
        raise OptionError(
            f"steps={steps}",
            f"at most the {pixels} pixels of an image",
            f"pass steps={min(pixels, 28)}",
        )
    check_classes(classes, count)
    order = values.flatten(1).argsort(dim=1, descending=True, stable=True)
    place = torch.empty_like(order).scatter_(1, order, torch.arange(pixels).expand(count, pixels))
    place = place.reshape(count, 1, *values.shape[1:]).to(given.device)
    # Portions differ by a pixel at most, and the last step takes what is left.
    ends = (torch.arange(steps + 1) * pixels // steps).to(given.device)
    first, second = (given, background) if inserted else (background, given)
    probability = torch.zeros(count * (steps + 1), dtype=torch.float64)
    for start in range(0, len(probability), at_once):
        row = torch.arange(start, min(start + at_once, len(probability)))
        image, step = row // (steps + 1), row % (steps + 1)
        moved = place[image.to(given.device)] < ends[step][:, None, None, None]
        moved = moved if given.ndim == 4 else moved[:, 0, 0]
        inputs = torch.where(moved, first[image], second[image])
        probability[row] = probability_of(predict, inputs, classes.detach().cpu()[image])
    found = probability.reshape(count, steps + 1)
    return Curve(found, PerImage(area_under(found), ~constant(values)))
