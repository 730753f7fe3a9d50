"""The least change that makes a network decide otherwise: DeepFool, many images at a time."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn

from cofire.arguments import validated
from cofire.errors import ExplanationError, OptionError
from cofire.evaluate.per_image import check_counts, check_finite
from cofire.explain.inputs import Inputs, checked_inputs
from cofire.marks import shown
from cofire.network import Network, classifier
from cofire.network.untouched import without_autocast
from cofire.tensors import Values

Bounds = tuple[Tensor, Tensor]
"""The least and the largest value of an input, each of a shape that broadcasts to one sample."""

_STALLED = 1e-6
"""Without an overshoot, a step that adds less than this share of the way has come as near as rounding lets it."""

_BEYOND = 1e-6
"""With one, how far beyond a boundary a step leads at least, as a share of the largest logit."""

_OUTSIDE = 1e-4


@validated
@dataclass(frozen=True, eq=False)
class Attacked:
    """Images that were changed by as little as made the network decide otherwise.

    Attributes:
        images: The changed images, (images, *input_shape), float32.
        norm: Euclidean length of the change in units of the input, (images,), float64.
        steps: How many steps were made, (images,), int64.
        before: The class predicted for the image, (images,), int64.
        after: The class predicted for the changed image, (images,), int64.
        fooled: Whether these differ, (images,), bool.
    """

    images: Tensor
    norm: Tensor
    steps: Tensor
    before: Tensor
    after: Tensor
    fooled: Tensor

    def __len__(self) -> int:
        return len(self.norm)

    def __repr__(self) -> str:
        return f"Attacked({int(self.fooled.sum())} of {len(self)} images fooled)"


@validated
def deepfool(
    network: Network | nn.Module,
    images: Inputs,
    *,
    classes: Annotated[int, Field(ge=2)] = 10,
    overshoot: Annotated[float, Field(ge=0)] = 0.02,
    steps: PositiveInt = 50,
    bounds: Bounds | None = None,
    batch_size: PositiveInt = 16,
) -> Attacked:
    """Change images by as little as makes the network decide otherwise (Moosavi-Dezfooli et al. 2016, Algorithm 2).

    Each step takes the logits for linear. With w'ₖ = ∇fₖ(x) − ∇f₀(x) and f'ₖ = fₖ(x) − f₀(x), where
    class 0 is the one first predicted, the nearest boundary is that to class l = argminₖ |f'ₖ| /
    ‖w'ₖ‖₂, and the least way to it is r = |f'ₗ| / ‖w'ₗ‖₂² · w'ₗ. Ways add up until another class is
    predicted at x₀ + (1 + overshoot) · Σ r. Images are attacked each by itself, and no longer than
    needed, whatever else is in the batch.

    For a network whose logits are linear in the input, one step leads to the nearest boundary: with
        `overshoot` 0 and
    all classes the norm is minₖ |f'ₖ| / ‖w'ₖ‖₂ exactly, and the image lies on the boundary itself.
    With an overshoot
    |f'ₖ| is taken for larger by a millionth of the largest logit, so that no way ends where rounding hides a boundary.

    Args:
        network: With a graph, of one floating-point input.
        images: (images, *input_shape).
        classes: The most probable classes whose boundaries are looked at, the predicted one
            included; 2 or more. Of fewer that there are all are taken.
        overshoot: How much further than to the boundary, as a share of the way; 0 or more.
        steps: At the most.
        bounds: What values an input can have. Nothing leaves them: a value at a bound is not moved
            outwards, and the way is that of the others.
        batch_size: Images at a time.

    Returns:
        The changed images. Where the attack failed, `fooled` is False and the image is as the last
        step left it.

    Raises:
        BatchError: The images do not fit the network.
        ExplanationError: There are no gradients with respect to the input.
        ExportError: The network intercepts calls and has no graph.
        NonFiniteError: A pixel, a logit or a gradient is NaN or infinite.
        OptionError: A number is out of bounds, or the images are.

    Example:
        Logits x, y and 0 at the point (3, 1): the nearest boundary is x = y, at (2, 2).

        >>> model = torch.nn.Linear(2, 3, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, 0.0]]))
        >>> found = deepfool(Network(model, torch.zeros(1, 2)), torch.tensor([[3.0, 1.0]]), overshoot=0.1)
        >>> [round(value, 4) for value in found.images[0].tolist()], f"{float(found.norm[0]):.4f}"
        ([1.9, 2.1], '1.5556')
        >>> found, found.before.tolist(), found.after.tolist(), found.steps.tolist()
        (Attacked(1 of 1 images fooled), [0], [1], [1])
    """
    network = classifier(network, images)
    most = min(classes, network.num_classes)
    images = checked_inputs(network, images)
    limits = check_bounds(bounds, images)
    sloped = InputGradients(network)
    parts = [
        _attacked(
            network,
            sloped,
            images[first : first + batch_size],
            most,
            overshoot,
            steps,
            limits,
        )
        for first in range(0, len(images), batch_size)
    ]
    names = ("images", "norm", "steps", "before", "after", "fooled")
    return Attacked(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def _attacked(
    network: Network,
    sloped: InputGradients,
    images: Tensor,
    most: int,
    overshoot: float,
    steps: int,
    bounds: Bounds | None,
) -> Attacked:
    device = network.device
    start = images.detach().to(device, torch.float32)
    limits = None if bounds is None else (bounds[0].to(device), bounds[1].to(device))
    logits = _finite(network.run(start))
    before = logits.argmax(1)
    # Of classes that are equally probable any may come first; the predicted one has to.
    ranked = logits.double().scatter(1, before[:, None], math.inf).topk(most, dim=1).indices
    way, after = torch.zeros_like(start), before.clone()
    made = torch.zeros(len(start), dtype=torch.int64, device=device)
    left = torch.arange(len(start), device=device)
    for _ in range(steps):
        here = _moved(start[left], way[left], overshoot, limits)
        step, moves = _step(sloped, here, ranked[left], _BEYOND if overshoot > 0 else 0.0, limits)
        if overshoot == 0:
            moves &= _length(step) > _STALLED * _length(way[left])
        left, step = left[moves], step[moves]
        if not len(left):
            break
        way[left] += step
        made[left] += 1
        after[left] = _finite(
            network.run(_moved(start[left], way[left], overshoot, limits))
        ).argmax(1)
        left = left[after[left] == before[left]]
        if not len(left):
            break
    changed = _moved(start, way, overshoot, limits)
    return Attacked(
        images=changed.cpu(),
        norm=_length(changed - start).cpu(),
        steps=made.cpu(),
        before=before.cpu(),
        after=after.cpu(),
        fooled=(after != before).cpu(),
    )


def _step(
    sloped: InputGradients, images: Tensor, ranked: Tensor, beyond: float, bounds: Bounds | None
) -> tuple[Tensor, Tensor]:
    """The way to the nearest boundary of each image, and whether there is one."""
    logits, slopes = sloped(images, ranked)
    check_finite(slopes, "gradients")
    values = _finite(logits).gather(1, ranked).double()
    gap = (values[:, 1:] - values[:, :1]).abs() + beyond * logits.double().abs().amax(
        dim=1, keepdim=True
    )
    slope = slopes[:, 1:] - slopes[:, :1]
    if bounds is not None:
        blocked = ((images >= bounds[1])[:, None] & (slope > 0)) | (
            (images <= bounds[0])[:, None] & (slope < 0)
        )
        slope = slope.masked_fill(blocked, 0.0)
    squared = slope.flatten(2).double().square().sum(2)
    distance = torch.where(squared > 0, gap / squared.sqrt(), math.inf)
    shortest, nearest = distance.min(1)
    moves = shortest.isfinite()
    at = torch.arange(len(images), device=images.device)
    times = torch.where(moves, gap[at, nearest] / squared[at, nearest], 0.0)
    shape = (-1, *[1] * (images.ndim - 1))
    return (times.reshape(shape) * slope[at, nearest]).float(), moves


def _moved(start: Tensor, way: Tensor, overshoot: float, bounds: Bounds | None) -> Tensor:
    moved = start + (1 + overshoot) * way
    return moved if bounds is None else torch.minimum(torch.maximum(moved, bounds[0]), bounds[1])


def _length(change: Tensor) -> Tensor:
    return change.flatten(1).double().square().sum(1).sqrt()


def _finite(logits: Tensor) -> Tensor:
    check_finite(logits, "logits")
    return logits


def check_bounds(bounds: Bounds | None, images: Tensor) -> Bounds | None:
    """Bounds that hold for some images, as float32 that broadcasts to them.

    Raises:
        OptionError: They do not broadcast, are NaN or in the wrong order, or an image leaves them.

    Example:
        >>> check_bounds((torch.tensor(0.0), torch.tensor(1.0)), torch.rand(2, 3, 4, 4))
        (tensor(0.), tensor(1.))
    """
    if bounds is None:
        return None
    try:
        low, high = (
            torch.as_tensor(each).detach().to(images.device, torch.float32) for each in bounds
        )
        fits = all(each.expand(images.shape[1:]) is not None for each in (low, high))
    except (TypeError, ValueError, RuntimeError):
        fits = False
    if not fits or not bool((low < high).all()):
        raise OptionError(
            f"bounds={shown(bounds)}",
            f"two tensors that broadcast to {tuple(images.shape[1:])}, the first below the second everywhere",
            "pass (low, high), each of shape (channels, 1, 1)",
        )
    if bool(((images < low - _OUTSIDE) | (images > high + _OUTSIDE)).any()):
        raise OptionError(
            f"images from {float(images.min()):.4g} to {float(images.max()):.4g}",
            "values within the bounds",
            "pass the bounds in units of the network's input, after mean and standard deviation",
        )
    return low, high


_ROUNDS = 60


_NEAR = 1e-5


@validated
def fitting_noise(
    images: Tensor,
    norm: Annotated[Tensor, Values("images", least=0.0, error=OptionError)],
    *,
    bounds: Bounds | None = None,
    seed: int = 0,
) -> tuple[Tensor, Tensor]:
    """Images with Gaussian noise of a given Euclidean length, and word of those on which it does not fit.

    The direction of an image's noise follows from the seed and from the image itself: it is the
    same in every batch. Within bounds the noise is cut off at them and made so much stronger that
    its length is still the one given.

    Args:
        images: (images, ...), float32.
        norm: Of the change of each image in units of the input, (images,), finite, 0 or more.
        bounds: What values an input can have.
        seed: A whole number from 0 up.

    Returns:
        The changed images, and (images,), bool: whether the change is as long as was asked for.
        Where it is not, it is as long as the bounds let it become.

    Raises:
        BatchError: Not one norm for each image.
        OptionError: A norm is below 0, or the bounds are wrong.

    Example:
        >>> bounds = (torch.tensor(-1.0), torch.tensor(1.0))
        >>> fitting_noise(torch.zeros(2, 1, 2, 2), torch.tensor([1.0, 9.0]), bounds=bounds)[1]
        tensor([ True, False])
    """
    check_counts(len(images), norms=norm)
    limits = check_bounds(bounds, images)
    start = images.detach().cpu().float()
    found = [
        _lengthened(image, _direction(image, seed), float(length), limits)
        for image, length in zip(start, norm, strict=True)
    ]
    return (
        torch.stack([changed for changed, _ in found]) if found else start,
        torch.tensor([fits for _, fits in found], dtype=torch.bool),
    )


def _direction(image: Tensor, seed: int) -> Tensor:
    """Gaussian noise of length 1."""
    words = hashlib.sha256(f"{seed} ".encode() + image.contiguous().numpy().tobytes()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(words[:7], "big"))
    noise = torch.randn(image.shape, generator=generator)
    length = noise.double().norm()
    # Only a single value can be drawn as exactly 0.
    return (noise.double() / length).float() if length > 0 else torch.ones_like(noise)


def _lengthened(
    image: Tensor, direction: Tensor, length: float, bounds: Bounds | None
) -> tuple[Tensor, bool]:
    """The image with noise, and whether that is as long as it should be."""
    if bounds is None or length == 0:
        return image + length * direction, True
    low, high = bounds[0].cpu(), bounds[1].cpu()

    def cut(times: float) -> Tensor:
        return torch.minimum(torch.maximum(image + times * direction, low), high)

    # What is cut off is less the less there is: each round comes nearer from below.
    times = length
    for _ in range(_ROUNDS):
        changed = cut(times)
        reached = float((changed - image).double().norm())
        if reached >= length * (1 - _NEAR):
            return changed, True
        if reached == 0:
            break
        times *= length / reached
    return changed, False


class InputGradients:
    """A network whose logits have gradients with respect to its input.

    The graph is run with the model's weights shared and detached, so that nothing of the model
    records anything, whether or not its weights are frozen and whatever mode the caller is in. What
    a model for inference alone writes in place, over values that gradients need, is written
    elsewhere.

    Args:
        network: With a graph, of one floating-point input.

    Raises:
        ExplanationError: The network takes several inputs, or whole numbers.
        ExportError: The network intercepts calls and has no graph.

    Example:
        >>> model = torch.nn.Linear(2, 2, bias=False)
        >>> _ = model.weight.data.copy_(torch.tensor([[1.0, 2.0], [0.0, -3.0]]))
        >>> logits, slopes = InputGradients(Network(model, torch.zeros(1, 2)))(torch.ones(1, 2), torch.tensor([[1, 0]]))
        >>> logits.tolist(), slopes.tolist(), model.weight.grad
        ([[3.0, -3.0]], [[[0.0, -3.0], [1.0, 2.0]]], None)
    """

    def __init__(self, network: Network) -> None:
        whole = not network.input_kinds[0][1]
        if network.num_inputs != 1 or whole:
            raise ExplanationError(
                f"a network of {network.num_inputs} input(s){', whole numbers' if whole else ''}",
                "one input of floating-point numbers, along which there are gradients",
                "wrap the model so that it takes one batch of images",
            )
        self._network = network
        _ = network.graph  # refused here, and not at the first call, where there is none

    def __call__(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """The logits of images, and the gradients of some of them.

        Args:
            images: (images, *input_shape).
            classes: For each image the classes whose logits are differentiated, (images, n), whole
                numbers.

        Returns:
            The logits (images, classes); d logit / d input, (images, n, *input_shape). Both in
            single precision or more, on the network's device.

        Raises:
            BatchError: The images do not fit the network.
            ExplanationError: The logits do not depend on the input by differentiable operators.
        """
        network = self._network
        # Gradients need tensors that autograd may keep, also where the caller records nothing.
        with torch.inference_mode(False), torch.enable_grad(), without_autocast():
            (prepared,) = network.prepared(images)
            # Half precision is the network's own business: sums and gradients of the input are
            # wide.
            wide = torch.promote_types(prepared.dtype, torch.float32)
            leaf = prepared.detach().to(wide, copy=True).requires_grad_()
            logits = network.trace(leaf.to(prepared.dtype), gradients=True)[0].to(wide)
            if not logits.requires_grad:
                raise ExplanationError(
                    "a network whose logits have no gradient with respect to its input",
                    "differentiable operators from the input to the logits",
                    "leave out what only explains by gradients",
                )
            chosen = logits.gather(1, classes.to(logits.device, copy=True))
            slopes = [
                torch.autograd.grad(column.sum(), leaf, retain_graph=number < chosen.shape[1] - 1)[
                    0
                ]
                for number, column in enumerate(chosen.unbind(1))
            ]
        return logits.detach(), torch.stack(slopes, dim=1)
