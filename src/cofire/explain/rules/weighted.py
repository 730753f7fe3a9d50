"""Operators with weights: linear layers and convolutions, whose inputs compete for a neuron's evidence."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, fx, nn

from cofire.explain.rules.flow import Flow, coordinates, signs_of
from cofire.explain.rules.registry import Rule, Step, Values, is_batched, register_rule


class Weighted(Rule):
    """Has candidates: inputs of a neuron, one for each channel or feature."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """What is weighted."""
        operand, weight = self.parts(step)
        if not is_batched(operand) or is_batched(weight):
            raise step.refuse("weights that depend on the image")
        step.shape_of(operand)
        return (operand,)

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """Its values, and the weights."""
        return self.parts(step)

    def parts(self, step: Step) -> tuple[fx.Node, fx.Node]:
        """What is weighted, and the weights."""
        raise NotImplementedError

    def fields(self, step: Step, values: Values) -> Fields:
        """The operator as a convolution."""
        raise NotImplementedError


@register_rule("linear", "addmm")
class Linear(Weighted):
    """A linear layer, over features in the last axis."""

    def parts(self, step: Step) -> tuple[fx.Node, fx.Node]:
        """What is weighted, and the weights."""
        names = {"linear": ("input", "weight"), "matmul": ("self", "other"), "mm": ("self", "mat2")}
        first, second = names.get(step.name, ("mat1", "mat2"))
        operand, weight = step.arguments[first], step.arguments[second]
        held = weight.meta.get("val")
        if not isinstance(held, Tensor) or held.ndim != 2 or is_batched(weight):
            raise step.refuse("a product of two values that depend on the image")
        return operand, weight

    def fields(self, step: Step, values: Values) -> Fields:
        """One place for each position, one channel for each feature."""
        operand, weight_node = self.parts(step)
        weight = values[weight_node] if step.name == "linear" else values[weight_node].T
        given = values[operand].reshape(len(values[operand]), -1, weight.shape[1])
        positions = given.shape[1]
        return Fields(
            given.transpose(1, 2)[..., None],
            weight[..., None, None],
            Windows((positions, 1), (1, 1)),
            (weight.shape[0], positions, 1),
            last=True,
        )


@register_rule("conv2d", "conv1d", "conv3d", "convolution")
class Convolution(Weighted):
    """A convolution: one candidate for each channel of the window, at the place of its largest product."""

    def parts(self, step: Step) -> tuple[fx.Node, fx.Node]:
        """What is weighted, and the weights."""
        operand = step.arguments["input"]
        weight, axes = step.arguments["weight"], len(step.shape_of(operand)) - 1
        if step.arguments.get("transposed") or axes not in (1, 2, 3):
            raise step.refuse("a convolution that is transposed")
        if axes == 3 and not _flat(step, weight.meta["val"].shape[2:]):
            raise step.refuse("a convolution over three axes at once")
        return operand, weight

    def fields(self, step: Step, values: Values) -> Fields:
        """As it is; one axis becomes a map of one row."""
        operand, weight_node = self.parts(step)
        given, weight = values[operand], values[weight_node]
        one, apart = len(step.shape) == 2, 1
        if one:
            given, weight = given[:, :, None], weight[:, :, None]
        elif given.ndim == 5:
            # Nothing is summed along the last axis: a step along the one before it is so many places.
            apart = given.shape[4]
            given, weight = given.flatten(3), weight[..., 0]
        stride, dilation = (_both(step.arguments[name], one, 1) for name in ("stride", "dilation"))
        kernel = (weight.shape[2], weight.shape[3])
        asked: Any = step.arguments["padding"]
        if isinstance(asked, str):
            gaps = [gap * (size - 1) // 2 for gap, size in zip(dilation, kernel, strict=True)]
            padding = (gaps[0], gaps[1]) if asked == "same" else (0, 0)
        else:
            padding = _both(asked, one, 0)
        padding, dilation = ((along, gap * apart) for along, gap in (padding, dilation))
        shape = step.shape
        result = (shape[0], 1 if one else shape[1], math.prod(shape[1 if one else 2 :]))
        windows = Windows((given.shape[2], given.shape[3]), kernel, stride, padding, dilation)
        return Fields(given, weight, windows, result, int(step.arguments["groups"]))


def _flat(step: Step, kernel: Sequence[int]) -> bool:
    """Whether a convolution over three axes leaves the last one as it is, and does not jump along the second."""
    stride, padding = (step.arguments[name] for name in ("stride", "padding"))
    still = isinstance(padding, str) or not padding[-1]
    return still and kernel[2] == 1 and set(stride[-2:]) == {1}


def _both(value: Any, one: bool, absent: int) -> tuple[int, int]:
    """A setting for height and width, or for the first two axes of three."""
    return (absent, pair(value)[-1]) if one else pair(value[:2])


@dataclass(frozen=True)
class Candidates:
    """Inputs that compete for the evidence of neurons, each (neurons, candidates).

    Attributes:
        support: What a candidate contributes, in the neuron's direction (P3's `Z_cur`), float64.
        place: Its place in the map, row * width + column.
        direction: Whether the neuron wants it large or small.
        matters: Whether it contributes anything at all, be it against the neuron.
        first: (neurons,), the channel of the first candidate.
    """

    support: Tensor
    place: Tensor
    direction: Tensor
    matters: Tensor
    first: Tensor


@dataclass(frozen=True, eq=False)
class Fields:
    """A weighted operator as a convolution: what each of its neurons sees, and with which weights.

    Attributes:
        given: (batch, channels, height, width), what goes in, in any memory layout.
        weight: (outputs, channels of a group, kernel height, kernel width).
        windows: Where each neuron looks.
        result: Outputs, height and width of the result.
        groups: Of channels.
        last: Whether features are the last axis of one sample, not the first.
    """

    given: Tensor
    weight: Tensor
    windows: Windows
    result: tuple[int, int, int]
    groups: int = 1
    last: bool = False

    @property
    def width(self) -> int:
        """How many products one neuron sums."""
        return math.prod(self.weight.shape[1:])

    @property
    def size(self) -> int:
        """Values of one sample."""
        return math.prod(self.given.shape[1:])

    def seen_from(self, index: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Output, row and column of neurons by their places in the result."""
        outputs = self.result[0]
        if self.last:
            position = torch.div(index, outputs, rounding_mode="floor")
            return index - position * outputs, position, torch.zeros_like(index)
        channel, y, x = coordinates(index, self.result)
        return channel, y, x

    def index(self, channel: Tensor, place: Tensor) -> Tensor:
        """Places in what goes in, in row-major order of one sample."""
        channels, height, width = self.given.shape[1:]
        return place * channels + channel if self.last else channel * (height * width) + place


def candidates_of(fields: Fields, flow: Flow, first_largest: bool = False) -> Candidates:
    """One candidate for each channel that a neuron sees, at the place of its largest product.

    Of several equal products that nearest to the middle of the window counts, then the first; or
    simply the first.

    Args:
        fields: The operator.
        flow: Neurons of its result.
        first_largest: Whether of equal products the first in the window counts.
    """
    output, y, x = fields.seen_from(flow.index)
    place, inside = fields.windows.places(y, x)
    per_group, width = fields.weight.shape[1], fields.given.shape[3]
    weight = fields.weight.flatten(2)[output] * flow.direction[:, None, None]
    first = torch.div(output * fields.groups, fields.result[0], rounding_mode="floor") * per_group
    channels = first[:, None] + torch.arange(per_group, device=first.device)
    row = torch.div(place, width, rounding_mode="floor")
    picked = fields.given[
        flow.image[:, None, None], channels[:, :, None], row[:, None], (place % width)[:, None]
    ]
    product = (picked.double() * weight).masked_fill_(~inside[:, None], 0.0)
    support, matters = product.sum(2), (product != 0).any(2)
    # From the middle of the window outwards: of several equal products, as where nothing but zeros
    # is left, one at the corner would shift the evidence there, layer by layer.
    outwards = fields.windows.outwards(product.device)
    if first_largest:
        outwards = outwards.sort().values
    best = outwards[product.masked_fill_(~inside[:, None], -math.inf)[:, :, outwards].argmax(2)]
    direction = signs_of(weight.gather(2, best[:, :, None]).squeeze(2))
    return Candidates(support, place.gather(1, best), direction, matters, first)


def pair(value: Any) -> tuple[int, int]:
    """A size for both axes, whether it was given once or twice."""
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return (int(numbers[0]), int(numbers[-1]))


@dataclass(frozen=True)
class Windows:
    """Windows over a feature map of a given height and width.

    Attributes:
        size: Height and width of the map.
        kernel: Of the window.
        stride: From one window to the next.
        padding: Before the first row and column.
        dilation: From one row or column of the window to the next.
    """

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def places(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the windows at these places of the result look at.

        Args:
            y: (windows,), row of the result.
            x: (windows,), column.

        Returns:
            Places in the map (windows, height * width of the kernel) in row-major order, clamped to
            the map; and whether each lies inside.

        Example:
            >>> windows = Windows((4, 4), (2, 2), stride=(2, 2))
            >>> windows.places(torch.tensor([1]), torch.tensor([0]))[0].tolist()
            [[8, 9, 12, 13]]
        """
        rows = self._along(y, 0)
        columns = self._along(x, 1)
        height, width = self.size
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
            :, None, :
        ]
        place = (
            rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
        )
        return place.flatten(1), inside.flatten(1)

    def highest(self, values: Tensor, result: tuple[int, int]) -> Tensor:
        """The highest value in each window, zero where nothing is higher.

        Args:
            values: (images, height, width), of the map.
            result: Rows and columns of windows.

        Example:
            >>> Windows((1, 3), (1, 2)).highest(torch.tensor([[[1.0, 3.0, 2.0]]]), (1, 2)).tolist()
            [[[3.0, 3.0]]]
        """
        if self.kernel == (1, 1) and self.stride == (1, 1) and not any(self.padding):
            return values.clamp(min=0)
        gaps = []
        for axis in (1, 0):
            reach = (result[axis] - 1) * self.stride[axis]
            reach += (self.kernel[axis] - 1) * self.dilation[axis] + 1
            gaps += [self.padding[axis], reach - self.size[axis] - self.padding[axis]]
        padded = nn.functional.pad(values[:, None], gaps)
        found = nn.functional.max_pool2d(padded, self.kernel, self.stride, 0, self.dilation)
        return found[:, 0].clamp(min=0)

    def outwards(self, device: torch.device) -> Tensor:
        """The places of the kernel from its middle outwards, the first ones first where they are equally far.

        Example:
            >>> Windows((9, 9), (3, 3)).outwards(torch.device("cpu")).tolist()
            [4, 1, 3, 5, 7, 0, 2, 6, 8]
        """
        height, width = self.kernel
        # Twice the distance, so that the middle of an even kernel is a whole number as well.
        rows = (2 * torch.arange(height, device=device) - (height - 1)).square()
        columns = (2 * torch.arange(width, device=device) - (width - 1)).square()
        return (rows[:, None] + columns).flatten().argsort(stable=True)

    def _along(self, coordinate: Tensor, axis: int) -> Tensor:
        offsets = torch.arange(self.kernel[axis], device=coordinate.device) * self.dilation[axis]
        return (coordinate * self.stride[axis] - self.padding[axis])[:, None] + offsets
