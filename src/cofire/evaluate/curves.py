"""Deletion and insertion: how fast the probability falls and rises as pixels go and come in the order of a map."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, NonFiniteError, OptionError
from cofire.evaluate.faithfulness import (
    Fill,
    Predict,
    check_classes,
    filled,
    probability_of,
    same_size,
)
from cofire.evaluate.per_image import PerImage, constant
from cofire.marks import check_whole


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


@validated
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
        fill: What takes the pixels' place; each image's own mean colour if not given.
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
    return _curve(predict, images, maps, classes, steps, fill or Fill("mean"), at_once, "deletion")


@validated
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
        predict: As in `deletion`, and so are the others.
        images: Inputs of the network.
        maps: (images, H, W).
        classes: Whose probability it is, (images,).
        steps: In how many portions.
        fill: What the pixels come onto; the image itself, blurred, if not given.
        at_once: How many inputs are predicted at a time.

    Raises:
        DataError: As in `deletion`.
        LabelError: As in `deletion`.
        NonFiniteError: As in `deletion`.
        OptionError: As in `deletion`.

    Example:
        >>> def predict(inputs):
        ...     return torch.stack([inputs[:, 0], 1 - inputs[:, 0]], dim=1)
        >>> curve = insertion(predict, torch.tensor([[1.0, 0.0]]), torch.tensor([[[2.0, 1.0]]]), torch.tensor([0]),
        ...                   steps=2, fill=Fill("black", torch.zeros(1)))
        >>> curve.probability.tolist(), curve.area.values.tolist()
        ([[0.0, 1.0, 1.0]], [0.75])
    """
    return _curve(predict, images, maps, classes, steps, fill or Fill("blur"), at_once, "insertion")


def area_under(probability: Tensor) -> Tensor:
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
    if probability.ndim != 2 or probability.shape[1] < 2:
        raise DataError(
            f"probabilities of shape {tuple(probability.shape)}",
            "(images, steps + 1), one step or more",
            "pass the probability at the start and after each step",
        )
    values = probability.detach().cpu().to(torch.float64)
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteError(
            "NaN or infinite probabilities", "finite numbers", "find where they come from"
        )
    if values.numel() and not 0 <= float(values.min()) <= float(values.max()) <= 1:
        raise DataError(
            "numbers below 0 or above 1",
            "probabilities",
            "if these are logits, pass logits.softmax(1)",
        )
    return ((values[:, :-1] + values[:, 1:]) / 2).mean(dim=1)


def _curve(
    predict: Predict,
    images: Tensor,
    maps: Tensor,
    classes: Tensor,
    steps: int,
    fill: Fill,
    at_once: int,
    way: Literal["deletion", "insertion"],
) -> Curve:
    background = filled(images, fill)
    given = images.detach()
    pictures = given if given.ndim == 4 else given[:, None, None, :]
    values = same_size(maps, pictures)
    count, pixels = len(values), values[0].numel() if len(values) else 1
    steps = check_whole("steps", steps)
    at_once = check_whole("at_once", at_once)
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
    ends = torch.arange(steps + 1) * pixels // steps
    ends = ends.to(given.device)
    first, second = (given, background) if way == "insertion" else (background, given)
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
