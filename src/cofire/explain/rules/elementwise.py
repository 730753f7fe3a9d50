"""Operators that change each value by itself: activation functions, normalisation, dropout, steps with numbers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, fx

from cofire.explain.rules.flow import Flow, coordinates
from cofire.explain.rules.registry import Rule, Step, Values, is_batched, register_rule
from cofire.network.operators import named


@register_rule(*named("elementwise", "identity", "cast", "dropout"), "softmax", "log_softmax")
class Elementwise(Rule):
    """One value in, one value out, both large together: the evidence is handed on whole."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """The first."""
        return (_first(step),)

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To the same place."""
        return [(_first(step), flow)]


def _first(step: Step) -> fx.Node:
    node = next((value for value in step.arguments.values() if isinstance(value, fx.Node)), None)
    if node is None or not is_batched(node) or step.shape_of(node) != step.shape:
        raise step.refuse(
            "an operator that is expected to change each value by itself changes the shape"
        )
    return node


class Scaling(Elementwise):
    """Each value is scaled, with a sign: a negative scale turns large into small."""

    def scale(self, step: Step, values: Values, image: Tensor, index: Tensor) -> Tensor:
        """By how much the values at these places were scaled."""
        raise NotImplementedError

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To the same place, upside down where the scale is negative; a scale of zero ends it."""
        scale = self.scale(step, values, flow.image, flow.index)
        turned = flow.scaled(scale)
        return [(_first(step), turned.where(scale != 0) if bool((scale == 0).any()) else turned)]


def _parameter(values: Values, node: Any) -> Tensor | None:
    return values[node] if isinstance(node, fx.Node) else None


@register_rule(*named("batch_norm"))
class BatchNorm(Scaling):
    """Batch normalisation in evaluation mode: folded into what comes before it, with its sign."""

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """Scale and variance."""
        found = (step.arguments.get("weight"), step.arguments.get("running_var"))
        return tuple(node for node in found if isinstance(node, fx.Node))

    def scale(self, step: Step, values: Values, image: Tensor, index: Tensor) -> Tensor:
        """Of each channel."""
        positions = math.prod(step.shape[1:])
        return self.scales(step, values)[torch.div(index, positions, rounding_mode="floor")]

    def scales(self, step: Step, values: Values) -> Tensor:
        """Of all channels, (channels,)."""
        weight = _parameter(values, step.arguments.get("weight"))
        variance = _parameter(values, step.arguments.get("running_var"))
        if variance is None:
            raise step.refuse("batch normalisation by the statistics of the batch itself")
        scale: Tensor = (variance.double() + step.arguments["eps"]).rsqrt()
        return scale if weight is None else weight.double() * scale


@register_rule(*named("layer_norm"))
class LayerNorm(Scaling):
    """Normalisation over the last axes; mean and variance of the sample count as numbers."""

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """What goes in, and the scale."""
        weight = step.arguments.get("weight")
        return (_first(step), *([weight] if isinstance(weight, fx.Node) else []))

    def scale(self, step: Step, values: Values, image: Tensor, index: Tensor) -> Tensor:
        """Of each feature, over the spread of its sample and position."""
        size = math.prod(step.arguments["normalized_shape"])
        given = values[_first(step)]
        rows = given.reshape(len(given), -1, size)[
            image, torch.div(index, size, rounding_mode="floor")
        ].double()
        eps = step.arguments["eps"]
        eps = torch.finfo(given.dtype).eps if eps is None else eps
        scale = (
            (rows.square().mean(1) + eps).rsqrt()
            if step.name == "rms_norm"
            # The kernel that normalises tells by what it divides.
            else torch.native_layer_norm(rows, (size,), None, None, eps)[2].squeeze(1)
        )
        weight = _parameter(values, step.arguments.get("weight"))
        return scale if weight is None else scale * weight.double().reshape(-1)[index % size]


@register_rule(*named("group_norm"))
class GroupNorm(Scaling):
    """Normalisation over groups of channels; mean and variance of the sample count as numbers."""

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """What goes in, and the scale."""
        weight = step.arguments.get("weight")
        return (_first(step), *([weight] if isinstance(weight, fx.Node) else []))

    def scale(self, step: Step, values: Values, image: Tensor, index: Tensor) -> Tensor:
        """Of each channel, over the spread of its group."""
        channels = step.shape[0]
        if step.name == "instance_norm" and not step.arguments.get("use_input_stats", True):
            raise step.refuse("instance normalisation by statistics of training")
        groups = int(step.arguments.get("num_groups") or step.arguments.get("group") or channels)
        channel = torch.div(index, math.prod(step.shape[1:]), rounding_mode="floor")
        given = values[_first(step)]
        spread = given.reshape(len(given), groups, -1).double().var(2, correction=0)
        scale: Tensor = (spread + step.arguments["eps"]).rsqrt()[
            image, torch.div(channel * groups, channels, rounding_mode="floor")
        ]
        weight = _parameter(values, step.arguments.get("weight"))
        return scale if weight is None else scale * weight.double()[channel]


@register_rule(*named("negative"))
class Negative(Scaling):
    """Large becomes small."""

    def scale(self, step: Step, values: Values, image: Tensor, index: Tensor) -> Tensor:
        """Minus one."""
        return torch.full_like(index, -1, dtype=torch.float64)


@register_rule("pow", "square")
class Power(Scaling):
    """A power from 1 up: a value times a function of itself, which the value keeps the evidence of."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """The base."""
        self._exponent(step)
        return super().operands(step)

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """The base, for its sign."""
        return (_first(step),)

    def scale(self, step: Step, values: Values, image: Tensor, index: Tensor) -> Tensor:
        """What a value is multiplied with: all its factors but one."""
        base = at_places(values[_first(step)], image, index, step.shape, batched=True)
        return base ** (self._exponent(step) - 1)

    def _exponent(self, step: Step) -> float:
        exponent = 2 if step.name == "square" else step.arguments.get("exponent")
        if not isinstance(exponent, (int, float)) or exponent < 1:
            raise step.refuse("a power below 1, or one that is no number")
        return float(exponent)


def at_places(
    value: Tensor, image: Tensor, index: Tensor, shape: tuple[int, ...], batched: bool
) -> Tensor:
    """The values that broadcasting puts at these places of a result of a given shape."""
    if batched and value.ndim > 1 and value.shape[1:] == shape and value.is_contiguous():
        return value.flatten(1)[image, index].double()
    where = coordinates(index, shape)
    if not batched:
        # Leading axes of size 1, as of a parameter (1, channels, 1, 1), stand for the batch.
        value = value.reshape(value.shape[max(0, value.ndim - len(shape)) :])
    inner = value.shape[1:] if batched else value.shape
    picked = [
        torch.zeros_like(index) if size == 1 else coordinate
        for size, coordinate in zip(inner, where[len(where) - len(inner) :], strict=True)
    ]
    if batched:
        picked = [image, *picked]
    return (value[tuple(picked)] if picked else value.expand(len(index))).double()
