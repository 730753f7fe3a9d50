"""An image explained in several views, mirrored or at a second scale, and the maps averaged back onto it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from cofire.errors import ExplanationError, OptionError
from cofire.explain.methods.registry import Method
from cofire.explain.result.explanation import Explanation
from cofire.marks import choice

VIEWS = {"mirror": 2, "scale": 2, "both": 4}
"""What `views=` can be, and how many views that is: as many maps are made, each of a forward and backward pass."""

SCALE = 0.75
"""The second scale: the whole image at this share of its sides, its edges carried on around it."""

Once = Callable[[Tensor, Any, Mapping[str, Any]], Explanation]
"""Explains inputs for a target with options, in one view."""


def views_told(views: str) -> str:
    """The price, in a sentence.

    Example:
        >>> views_told("both")
        'Cost: each image is explained in 4 views, 4 times the time of its heat map alone; no points are traced'
    """
    count = VIEWS[views]
    return (
        f"Cost: each image is explained in {count} views, {count} times the time of its heat map alone; "
        "no points are traced"
    )


def in_views(
    once: Once, method: Method, inputs: Tensor, target: Any, options: Mapping[str, Any], views: str
) -> Explanation:
    """The explanation whose map is the mean over views, each a share of 1 and turned back.

    Every view is explained for the same class, that of the image as it is. A view in which nothing
    is found says nothing. The result has maps alone: points and neurons would be of one view.

    Args:
        once: Explains one view.
        method: That explains.
        inputs: (images, channels, height, width).
        target: As `cofire.explain.explain` takes it.
        options: Of the method.
        views: One of `VIEWS`.

    Raises:
        OptionError: There are no such views, or points are asked for as well.
        ExplanationError: The inputs are no images.

    Example:
        A map that always finds the left half says nothing about left and right:

        >>> from cofire.options import Options
        >>> found = Explanation(
        ...     method="left", options={}, target=torch.tensor([[0]]), probability=torch.tensor([[1.0]]),
        ...     predicted=torch.tensor([0]), confidence=torch.tensor([1.0]), input_shape=(1, 1, 4), sites=(),
        ...     neurons=None, maps=torch.tensor([[[3.0, 1.0, 0.0, 0.0]]]), images=torch.zeros(1, 1, 4, 3).byte())
        >>> row = Method("left", lambda *_: None, "Left", Options, "maps")
        >>> in_views(lambda *_: found, row, torch.zeros(1, 1, 1, 4), None, {}, "mirror").heatmap().tolist()
        [[[0.375, 0.125, 0.125, 0.375]]]
    """
    choice(tuple(VIEWS)).of("views", views)
    if inputs.ndim != 4:
        raise ExplanationError(
            f"views={views!r} of inputs of shape {tuple(inputs.shape[1:])}",
            "images (channels, height, width), which can be mirrored and scaled",
            "leave views out",
        )
    if options.get("points"):
        raise OptionError(
            f"views={views!r} and points=True",
            "one of the two: points are of one view",
            "leave points out, or explain without views",
        )
    traces = "points" in method.options.model_fields and method.kind(options) == "layers"
    asked = {**options, "points": False} if traces else dict(options)
    first = once(inputs, target, asked)
    asked.pop("n", None)
    size = first.size
    maps = [first.heatmap()]
    if views in ("mirror", "both"):
        maps.append(once(inputs.flip(-1), first.target, asked).heatmap().flip(-1))
    if views in ("scale", "both"):
        small = shrunk(inputs)
        maps.append(enlarged(once(small, first.target, asked).heatmap(), size))
    if views == "both":
        maps.append(enlarged(once(small.flip(-1), first.target, asked).heatmap().flip(-1), size))
    stacked = torch.stack(maps).double()
    total = stacked.sum((2, 3), keepdim=True)
    shares = stacked / total.where(total > 0, torch.ones(()))
    together = shares.sum(0) / (total > 0).sum(0).clamp(min=1)
    return replace(
        first,
        options={**first.options, "views": views},
        sites=(),
        neurons=None,
        layer_maps=None,
        maps=together.float(),
    )


def shrunk(inputs: Tensor) -> Tensor:
    """Images at the second scale in the middle of their size, with their edges carried on.

    Example:
        >>> shrunk(torch.arange(4.0).reshape(1, 1, 1, 4)).shape
        torch.Size([1, 1, 1, 4])
    """
    top, left, height, width = _place(*inputs.shape[2:])
    small = interpolate(inputs.float(), (height, width), mode="bilinear", antialias=True)
    right, bottom = inputs.shape[3] - left - width, inputs.shape[2] - top - height
    return pad(small, (left, right, top, bottom), mode="replicate").to(inputs.dtype)


def enlarged(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Maps (images, height, width) of shrunk images, as they lie on the images; what lies beside these is left out."""
    top, left, height, width = _place(*size)
    inside = maps[:, None, top : top + height, left : left + width]
    return interpolate(inside, size, mode="bilinear")[:, 0]


def _place(height: int, width: int) -> tuple[int, int, int, int]:
    """First row and column, and height and width, of a shrunk image within its old size."""
    small = [max(1, round(SCALE * side)) for side in (height, width)]
    return (height - small[0]) // 2, (width - small[1]) // 2, small[0], small[1]
