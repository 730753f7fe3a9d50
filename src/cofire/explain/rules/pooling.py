"""Pooling: a maximum has one source, an average has all the places that it is made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx

from cofire.compiled import FAR, compiler, memory_of, over, plain
from cofire.explain.rules.flow import Flow, coordinates, flat_index
from cofire.explain.rules.registry import Rule, Step, Values, register_rule
from cofire.explain.rules.weighted import Windows, pair
from cofire.network.operators import named

_CHUNK = 1 << 21
"""Places looked at together."""


def shares_of(contribution: Tensor, silent: bool = False) -> Tensor:
    """Who gets how much: contributions above zero; where there are none, the highest takes all.

    Where all are exactly zero nobody gets anything, unless what is silent can be the highest as
    well.

    Example:
        >>> shares_of(torch.tensor([[3.0, -1.0], [-2.0, -1.0], [0.0, 0.0]])).tolist()
        [[3.0, 0.0], [0.0, 1.0], [0.0, 0.0]]
    """
    if contribution.device.type != "cpu" or contribution.dtype != torch.float64:
        return shares_by_definition(contribution, silent)
    found = contribution.clone(memory_format=torch.contiguous_format)
    _into_shares(found.numpy(), silent)
    return found


def shares_by_definition(contribution: Tensor, silent: bool) -> Tensor:
    """The same on any device; it defines the result."""
    matters = (((contribution != 0) | silent) & (contribution > -torch.inf)).any(1, keepdim=True)
    top, first = contribution.max(1, keepdim=True)
    alone = torch.zeros_like(contribution).scatter_(1, first, 1.0)
    return torch.where((top <= 0) & matters, alone, contribution.clamp(min=0))


@compiler()
def _into_shares(contribution: Any, silent: Any) -> None:
    for row in contribution:
        best, speaks, matters = 0, False, False
        for place in range(len(row)):
            # What is NaN stays, and is not taken for silence.
            speaks |= not row[place] <= 0
            matters |= row[place] > -np.inf and (silent or row[place] != 0)
            if row[place] > row[best]:
                best = place
        for place in range(len(row)):
            if row[place] <= 0:
                row[place] = 0.0
        if matters and not speaks:
            row[best] = 1.0


def shared(flow: Flow, contribution: Tensor, index: Tensor) -> Flow:
    """Evidence handed to several places each, in proportion to what they contribute.

    Args:
        flow: (neurons,).
        contribution: (neurons, places); minus infinity where there is no place.
        index: (neurons, places), where they are.

    Returns:
        All places with a share. Evidence of a neuron without any contribution ends there.
    """
    positive = shares_of(contribution, silent=flow.folded)
    total = positive.sum(1)
    neuron, place = (positive > 0).nonzero(as_tuple=True)
    score = flow.score[neuron] * positive[neuron, place] / total[neuron]
    return Flow(
        flow.image[neuron],
        index[neuron, place],
        flow.direction[neuron],
        score,
        flow.row[neuron],
        own=False,
    )


def _operand(step: Step) -> fx.Node:
    node: fx.Node = step.arguments["self"]
    return node


class _Pool(Rule):
    """Looks at places of one channel."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """What is pooled."""
        self._places(step)
        return (_operand(step),)

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """Its values."""
        return (_operand(step),)

    def _places(self, step: Step) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
        """From places of the result to places of the operand (neurons, places), and which of them exist."""
        if step.name in named("mean", "total", "largest"):
            return _reduced(step.shape_of(_operand(step)), step)
        shape, result = _maps(step)
        windows = self.windows(step)
        return _adaptive(shape, result) if windows is None else _windowed(shape, result, windows)

    def windows(self, step: Step) -> Windows | None:
        """Where the places of the result look, None where that is not the same for each of them."""
        if step.name in named("mean", "total", "largest") or step.name.startswith("adaptive"):
            return None
        line = step.name.endswith("1d")

        def setting(name: str, absent: int) -> tuple[int, int]:
            given = step.arguments.get(name)
            # A line is a map of one row.
            return (absent, pair(given)[-1]) if line else pair(absent if given is None else given)

        kernel = setting("kernel_size", 1)
        stride = setting("stride", 1) if step.arguments["stride"] else kernel
        dilation = setting("dilation", 1) if step.arguments.get("dilation") else (1, 1)
        (_, *size), _ = _maps(step)
        return Windows((size[0], size[1]), kernel, stride, setting("padding", 0), dilation)

    def look(self, step: Step, values: Values, flow: Flow) -> tuple[Tensor, Tensor, Tensor]:
        """Values, places and whether they exist, each (neurons, places)."""
        index, inside = self._places(step)(flow.index)
        value = values[_operand(step)]
        where = coordinates(index, step.shape_of(_operand(step)))
        return value[(flow.image[:, None], *where)].double(), index, inside


def _maps(step: Step) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Channels, height and width of what is pooled and of the result; a line is a map of one row."""
    shape, result = step.shape_of(_operand(step)), step.shape
    if step.name.endswith("1d") and len(shape) == 2:
        shape, result = (shape[0], 1, shape[1]), (result[0], 1, result[1])
    if len(shape) != 3:
        raise step.refuse(f"pooling over values of shape {shape}")
    return shape, result


def _windowed(
    shape: Sequence[int], result: Sequence[int], windows: Windows
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def places(index: Tensor) -> tuple[Tensor, Tensor]:
        channel, y, x = coordinates(index, result)
        place, inside = windows.places(y, x)
        return channel[:, None] * (shape[1] * shape[2]) + place, inside

    return places


def _adaptive(
    shape: Sequence[int], result: Sequence[int]
) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    def along(coordinate: Tensor, size: int, parts: int) -> tuple[Tensor, Tensor]:
        start = torch.div(coordinate * size, parts, rounding_mode="floor")
        end = torch.div((coordinate + 1) * size + parts - 1, parts, rounding_mode="floor")
        most = -(-size // parts) + (1 if size % parts else 0)
        place = start[:, None] + torch.arange(min(most, size), device=coordinate.device)
        return place.clamp(max=size - 1), place < end[:, None]

    def places(index: Tensor) -> tuple[Tensor, Tensor]:
        channel, y, x = coordinates(index, result)
        rows, has_row = along(y, shape[1], result[1])
        columns, has_column = along(x, shape[2], result[2])
        place = (channel[:, None, None] * shape[1] + rows[:, :, None]) * shape[2] + columns[
            :, None, :
        ]
        return place.flatten(1), (has_row[:, :, None] & has_column[:, None, :]).flatten(1)

    return places


def _reduced(shape: Sequence[int], step: Step) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    given, node = step.arguments["dim"], _operand(step)
    every = range(node.meta["val"].ndim)
    over = sorted(
        step.axis(node, axis) for axis in ([given] if isinstance(given, int) else given or every)
    )
    kept = [axis for axis in range(len(shape)) if axis not in over]

    def places(index: Tensor) -> tuple[Tensor, Tensor]:
        outer = (
            dict(zip(kept, coordinates(index, [shape[axis] for axis in kept]), strict=True))
            if kept
            else {}
        )
        count = math.prod(shape[axis] for axis in over)
        number = torch.arange(count, device=index.device)
        inner = dict(zip(over, coordinates(number, [shape[axis] for axis in over]), strict=True))
        where = [
            outer[axis][:, None].expand(-1, count)
            if axis in outer
            else inner[axis].expand(len(index), -1)
            for axis in range(len(shape))
        ]
        place = flat_index(where, shape)
        return place, torch.ones_like(place, dtype=torch.bool)

    return places


@register_rule(*named("max_pool", "largest"))
class MaxPool(_Pool):
    """The place of the maximum, the first one where several are equal, as PyTorch's own indices."""

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To the maximum."""
        windows = self.windows(step)
        if windows is not None and flow.index.device.type == "cpu":
            return [
                (_operand(step), flow.moved(_first_largest(step, windows, values, flow), False))
            ]
        return [(_operand(step), flow.moved(self.first_largest(step, values, flow), own=False))]

    def first_largest(self, step: Step, values: Values, flow: Flow) -> Tensor:
        """Where the maximum is, (neurons,): defines what compiled loops give."""
        value, index, inside = self.look(step, values, flow)
        best = value.masked_fill_(~inside, -math.inf).max(1, keepdim=True).values
        first = ((value == best) & inside).to(torch.int8).argmax(1, keepdim=True)
        return index.gather(1, first).squeeze(1)


def _first_largest(step: Step, windows: Windows, values: Values, flow: Flow) -> Tensor:
    """The same on the CPU."""
    shape, result = _maps(step)
    given = plain(values[_operand(step)])
    given = given.unsqueeze(2) if given.ndim == 3 else given
    place = torch.empty_like(flow.index)
    looked = (flow.image.numpy(), flow.index.contiguous().numpy(), shape, result)
    geometry = (*windows.kernel, *windows.stride, *windows.padding, *windows.dilation)
    parts = (*looked, memory_of(given), given.stride(), geometry, place.numpy())
    over(_find_largest, len(place), len(place) * math.prod(windows.kernel) * FAR, *parts)
    return place


@compiler()
def _find_largest(
    begin: Any,
    end: Any,
    image: Any,
    index: Any,
    shape: Any,
    result: Any,
    given: Any,
    strides: Any,
    geometry: Any,
    place: Any,
) -> None:
    """The first place of the largest value in the window of some neurons, in row-major order of one sample."""
    height, width, stride_y, stride_x, padding_y, padding_x, dilation_y, dilation_x = geometry
    for neuron in range(begin, end):
        row = index[neuron] // result[2]
        channel = row // result[1]
        top = (row - channel * result[1]) * stride_y - padding_y
        left = (index[neuron] - row * result[2]) * stride_x - padding_x
        start = image[neuron] * strides[0] + channel * strides[1]
        largest, found = -np.inf, -1
        for down in range(height):
            y = top + down * dilation_y
            if y < 0 or y >= shape[1]:
                continue
            for across in range(width):
                x = left + across * dilation_x
                if x < 0 or x >= shape[2]:
                    continue
                value = given[start + y * strides[2] + x * strides[3]]
                if found < 0 or value > largest:
                    largest, found = value, (channel * shape[1] + y) * shape[2] + x
        place[neuron] = found


@register_rule(*named("average_pool", "mean", "total"))
class AveragePool(_Pool):
    """All places of the window, each with its activation over the size of the window as contribution."""

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To the places that speak for the average, in proportion."""
        parts = []
        width = max(1, self._places(step)(flow.index[:1])[0].shape[1]) if len(flow) else 1
        for start in range(0, len(flow), max(1, _CHUNK // width)):
            part = flow.where(slice(start, start + max(1, _CHUNK // width)))
            value, index, inside = self.look(step, values, part)
            if part.folded and step.name != "sum":
                part = part.scaled(1.0 / inside.sum(1).double())
            parts.append(
                shared(
                    part, (value * part.direction[:, None]).masked_fill(~inside, -math.inf), index
                )
            )
        return [(_operand(step), part) for part in parts]


@register_rule(*named("interpolation"))
class Interpolation(Rule):
    """Interpolation: each place is an average of those around it, with weights."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """What is interpolated."""
        return (_first(step),)

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """Its values."""
        return (_first(step),)

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To the places around, by what each contributes."""
        node = _first(step)
        given = values[node]
        sources, weights = self._sources(step, given)
        channel = torch.div(flow.index, len(sources), rounding_mode="floor")
        at = flow.index - channel * len(sources)
        index = channel[:, None] * math.prod(given.shape[2:]) + sources[at]
        value = given.flatten(1)[flow.image[:, None], index].double()
        contribution = value * weights[at] * flow.direction[:, None]
        return [(node, shared(flow, contribution.masked_fill(weights[at] == 0, -math.inf), index))]

    def _sources(self, step: Step, given: Tensor) -> tuple[Tensor, Tensor]:
        """For each place of the result those that it is made of, and their weights, both (places, sources)."""
        if "sources" not in step.memory:
            size = given.shape[2:]
            one = torch.eye(math.prod(size), dtype=torch.float64, device=given.device)
            target: Any = step.node.target
            rest = [
                list(step.shape[1:]) if name == "output_size" else value
                for name, value in step.arguments.items()
            ][1:]
            names = [argument.name for argument in target._schema.arguments[1:]]
            rest = [
                None if name.startswith("scale") and "output_size" in names else value
                for name, value in zip(names, rest, strict=True)
            ]
            made: Tensor = target(one.reshape(-1, 1, *size), *rest).flatten(1).T
            most = int((made != 0).sum(1).max())
            sources = made.abs().topk(most, dim=1).indices
            step.memory["sources"] = sources, made.gather(1, sources)
        found: tuple[Tensor, Tensor] = step.memory["sources"]
        return found


def _first(step: Step) -> fx.Node:
    node: fx.Node = step.arguments.get("self", step.arguments.get("input"))
    return node
