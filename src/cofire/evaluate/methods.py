"""Everything that is judged: the methods that explain, and what knows nothing of the network."""

from __future__ import annotations

import hashlib
from collections import ChainMap
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from pydantic import Field, NonNegativeInt, PositiveFloat
from torch import Tensor, nn
from torch.nn import functional

from cofire.arguments import validated
from cofire.explain import METHODS, Explanation, Method, register_method
from cofire.explain.attribution import explain_by
from cofire.explain.inputs import Images, Inputs, Target
from cofire.explain.methods.registry import BASELINES, kind_of, method_of
from cofire.explain.result.regions import SIGMA, Kind, Regions, blurred
from cofire.explain.tracing.plan import plan_of
from cofire.marks import choice
from cofire.network import Network
from cofire.options import Options


@validated
def explained(
    network: Network | nn.Module,
    inputs: Inputs,
    target: Target,
    method: str,
    *,
    images: Images = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Explanation:
    """An explanation by any method that is judged.

    Args:
        network: The classifier; a module is read with the inputs.
        inputs: A batch (images, *network.input_shape), prepared as for prediction; or one image.
        target: The class to explain: None for the predicted one, a number for all, or one for each
            image.
        method: One of `EVALUATED`.
        images: What to draw on, (images, height, width, 3), uint8; the inputs themselves unless
            given.
        seed: Of baselines that draw.
        options: Of the method, as `cofire.explain.explain` and `cofire.evaluate.methods.baseline`
            take them.

    Raises:
        CofireError: As `cofire.explain.explain` does, see there.
        OptionError: No such method.

    Example:
        >>> import torch
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> explained(network, torch.ones(1, 3), 1, "edges")
        Explanation('edges', 1 image of 1 × 3 pixels, maps, evidence in 0 of 1)
    """
    row = method_of(method, baselines=True)
    given = dict(options or {})
    if "seed" in row.options.model_fields:
        given = {"seed": seed} | given
    return explain_by(row, network, inputs, target, images, given)


BOX_RULE = ("threshold", "connected")
"""The options of boxes around heat."""


def kind_for(network: Network, method: str, options: Mapping[str, Any]) -> Kind:
    """What heat maps and boxes are made of: without layers that have places, points take their part.

    Args:
        network: That is explained.
        method: That explains, or a baseline.
        options: Those that are not as usual.

    Raises:
        RuleError: The network has an operator through which evidence cannot be traced.
        ExportError: The network has no operator graph.

    Example:
        >>> import torch
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> kind_for(network, "discernible", {}), kind_for(network, "edges", {})
        ('points', 'maps')
    """
    kind = kind_of(method, options)
    return "points" if kind == "layers" and not plan_of(network).judged else kind


def regions_for(network: Network, method: str, options: Mapping[str, Any]) -> Regions:
    """How heat maps and boxes are made on a network, as `cofire.explain.explain` does it.

    Raises:
        OptionError: A number is out of bounds.
        CofireError: As `kind_for`.

    Example:
        >>> import torch
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> regions_for(network, "discernible", {"radius": 0.2}).used("points")["radius"]
        0.2
    """
    row = method_of(method, baselines=True)
    return row.regions_of(options, kind_for(network, method, options))[0]


def fitting(network: Network, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method as another network can take them: boxes of points have no rule of heat.

    Raises:
        CofireError: As `kind_for`.

    Example:
        >>> import torch
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> fitting(network, "discernible", {"k": 3, "threshold": 0.4}), fitting(network, "edges", {"threshold": 0.4})
        ({'k': 3}, {'threshold': 0.4})
    """
    kind = kind_of(method, options)
    bare = kind == "layers" and kind_for(network, method, options) == "points"
    return {name: value for name, value in options.items() if not (bare and name in BOX_RULE)}


def box_around_heat(explanation: Explanation) -> bool:
    """Whether the boxes of an explanation are around the heat of its maps, and not around points.

    Example:
        >>> import torch
        >>> from cofire.explain import explain
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> box_around_heat(explain(network, torch.ones(1, 3)))
        False
    """
    if explanation.maps is not None:
        return True
    return explanation.layer_maps is not None and explanation.regions.around == "heat"


EVALUATED: Mapping[str, Method] = ChainMap(BASELINES, METHODS)
"""Methods that explain, and baselines: the middle of the image, a random pixel of it, and where its colours change."""

CENTRE_SIGMA = 0.25
"""Width of the Gaussian at the middle, as a share of the shorter side: at half its height it spans 59 % of that."""


@validated
def baseline(
    name: str,
    network: Network | nn.Module,
    inputs: Inputs,
    target: Target = None,
    images: Images = None,
    *,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Explanation:
    """A map that asks the network for nothing but its prediction, in the form of an explanation.

    Args:
        name: "centre", see `centre_map`; "random", see `random_maps`; "edges", see `edge_maps`.
        network: The classifier, whose probabilities the explanation tells; a module is read with
            the inputs.
        inputs: A batch (images, *network.input_shape); or one image.
        target: The class that would be explained: None for the predicted one, a number, or one for
            each image. The map does not depend on it.
        images: What to draw on, (images, height, width, 3), uint8; the inputs themselves unless
            given.
        seed: Of the random pixel.
        options: `sigma`, the width of the Gaussian or of the blur as a share of the shorter side;
            `threshold` and `connected` of boxes.

    Raises:
        BatchError: The images' shape or type is not the network's.
        NonFiniteError: An image or a logit is NaN or infinite.
        LabelError: A target is no class.
        OptionError: No such baseline or option, an option that is out of bounds, or several classes
            for one image.

    Example:
        >>> network = Network(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(15, 2)), torch.zeros(1, 1, 3, 5))
        >>> found = baseline("centre", network, torch.zeros(1, 1, 3, 5), 1, options={"sigma": 1 / 3})
        >>> found.target.tolist(), found.heatmap()[0, 1].round(decimals=2)
        ([[1]], tensor([0.1400, 0.6100, 1.0000, 0.6100, 0.1400]))
    """
    choice(BASELINES).of("name", name)
    return explained(network, inputs, target, name, images=images, seed=seed, options=options)


class _Centre(Options):
    sigma: float = Field(CENTRE_SIGMA, gt=0, title="Width", description="Of the Gaussian.")


class _Edges(Options):
    sigma: float = Field(SIGMA, ge=0, title="Blur", description="As a share of the shorter side.")


class _Random(_Edges):
    seed: NonNegativeInt = Field(0, title="Seed", description="Of the random pixel.")


@register_method("centre", title="Centre", options=_Centre, baseline=True)
def _centre(network: Network, images: Tensor, classes: Tensor, options: _Centre) -> Tensor:
    size = tuple(images.shape[2:]) if images.ndim == 4 else (1, images.shape[1])
    return centre_map((size[0], size[1]), options.sigma).expand(len(images), -1, -1)


@register_method("random", title="Random point", options=_Random, baseline=True)
def _random(network: Network, images: Tensor, classes: Tensor, options: _Random) -> Tensor:
    return random_maps(images, options.seed, options.sigma)


@register_method("edges", title="Edges", options=_Edges, baseline=True)
def _edges(network: Network, images: Tensor, classes: Tensor, options: _Edges) -> Tensor:
    return edge_maps(images, options.sigma)


@validated
def centre_map(size: tuple[int, int], sigma: PositiveFloat = CENTRE_SIGMA) -> Tensor:
    """A Gaussian at the middle of an image: exp(-d² / 2σ²), with d the distance of a pixel's centre from it.

    Args:
        size: Height and width in pixels.
        sigma: σ as a share of the shorter side, above 0.

    Returns:
        (height, width), float32, 0 to 1.

    Raises:
        OptionError: `sigma` is no number above 0.

    Example:
        An even number of pixels has none in the middle: two are as near as any.

        >>> centre_map((1, 4), sigma=1.0).round(decimals=3)
        tensor([[0.3250, 0.8820, 0.8820, 0.3250]])
    """
    height, width = size
    rows, columns = (
        torch.arange(side, dtype=torch.float64) - (side - 1) / 2 for side in (height, width)
    )
    squared = rows[:, None].square() + columns.square()
    return torch.exp(-squared / (2 * (sigma * min(height, width)) ** 2)).float()


def random_maps(images: Tensor, seed: int, sigma: float = SIGMA) -> Tensor:
    """One random pixel of each image, blurred.

    It follows from the seed and the image's own values, in whatever batch the image comes: the
    first 8 bytes of the SHA-256 hash of both, as a number, modulo the number of pixels.

    Args:
        images: (images, channels, height, width) or (images, features), finite.
        seed: A whole number.
        sigma: Width of the blur as a share of the shorter side, 0 or more.

    Returns:
        (images, height, width), float32, from 0 up; features are one row of pixels.

    Raises:
        OptionError: The seed is no whole number, or `sigma` no number from 0 up.

    Example:
        >>> images = torch.arange(8.0).reshape(2, 1, 2, 2)
        >>> together = random_maps(images, seed=0, sigma=0)
        >>> together.sum((1, 2)).tolist(), torch.equal(together[1], random_maps(images[1:], seed=0, sigma=0)[0])
        ([1.0, 1.0], True)
    """
    planes = _planes(images)
    maps = torch.zeros(len(planes), *planes.shape[2:])
    for pixels, values in zip(maps, planes, strict=True):
        # Zeros of both signs are one value; the bytes are those of single precision, in the order
        # of small machines.
        content = np.ascontiguousarray((values.float() + 0.0).numpy().astype("<f4")).tobytes()
        digest = hashlib.sha256(f"{seed} ".encode() + content).digest()
        pixels.view(-1)[int.from_bytes(digest[:8], "little") % pixels.numel()] = 1.0
    return blurred(maps, sigma)


def edge_maps(images: Tensor, sigma: float = SIGMA) -> Tensor:
    """How much an image changes around each pixel, by Sobel's operator, blurred.

    With gx and gy of each channel, the differences of the neighbours weighted 1, 2, 1, over 8, the
    map is √(Σ gx² + gy²) over the channels. Beyond the border the image goes on as it ends, so that
    a border is no edge.

    Args:
        images: (images, channels, height, width) or (images, features), finite.
        sigma: Width of the blur as a share of the shorter side, 0 or more.

    Returns:
        (images, height, width), float32, from 0 up; zeros where nothing changes.

    Raises:
        OptionError: `sigma` is no number from 0 up.

    Example:
        >>> edge_maps(torch.tensor([[[[0.0, 0, 2, 2], [0, 0, 2, 2]]]]), sigma=0)[0].tolist()
        [[0.0, 1.0, 1.0, 0.0], [0.0, 1.0, 1.0, 0.0]]
    """
    planes = _planes(images).double()
    # A power of two changes no digit, and keeps squares of the largest numbers in range.
    largest = planes.abs().amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(torch.float32).tiny)
    scale = torch.exp2(torch.log2(largest).floor())
    around = functional.pad(planes / scale, (1, 1, 1, 1), mode="replicate")
    # Differences before sums: in a plain area they are exactly zero.
    across = around[..., :, 2:] - around[..., :, :-2]
    down = around[..., 2:, :] - around[..., :-2, :]
    across = (across[..., :-2, :] + 2 * across[..., 1:-1, :] + across[..., 2:, :]) / 8
    down = (down[..., :, :-2] + 2 * down[..., :, 1:-1] + down[..., :, 2:]) / 8
    strength = (across.square() + down.square()).sum(1).sqrt() * scale[:, 0]
    return blurred(strength.clamp(max=torch.finfo(torch.float32).max), sigma)


def _planes(images: Tensor) -> Tensor:
    """Images as (images, channels, height, width), on the CPU: features are one row of pixels."""
    values = images.detach().cpu()
    return values if values.ndim == 4 else values[:, None, None, :]
