"""What a neuron with weights sees: its candidates, one for each channel."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from cofire.explain.flow import Flow, coordinates, signs_of
from cofire.explain.rules.windows import Windows


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
        return self.weight[0].numel()

    @property
    def size(self) -> int:
        """Values of one sample."""
        return self.given[0].numel()

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
