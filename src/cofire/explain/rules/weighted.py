"""Operators with weights: linear layers and convolutions, whose inputs compete for a neuron's evidence."""

from __future__ import annotations

from typing import Any

from torch import Tensor, fx

from cofire.explain.rules.fields import Fields
from cofire.explain.rules.registry import Rule, Step, Values, is_batched, register_rule
from cofire.explain.rules.windows import Windows, pair


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


@register_rule("linear", "matmul", "mm", "addmm")
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


@register_rule("conv2d", "conv1d", "convolution")
class Convolution(Weighted):
    """A convolution: one candidate for each channel of the window, at the place of its largest product."""

    def parts(self, step: Step) -> tuple[fx.Node, fx.Node]:
        """What is weighted, and the weights."""
        operand = step.arguments["input"]
        if step.arguments.get("transposed") or len(step.shape_of(operand)) not in (2, 3):
            raise step.refuse("a convolution that is transposed or has three axes")
        return operand, step.arguments["weight"]

    def fields(self, step: Step, values: Values) -> Fields:
        """As it is; one axis becomes a map of one row."""
        operand, weight_node = self.parts(step)
        given, weight = values[operand], values[weight_node]
        if given.ndim == 3:
            given, weight = given[:, :, None], weight[:, :, None]
        one = len(step.shape) == 2
        stride, dilation = (_both(step.arguments[name], one, 1) for name in ("stride", "dilation"))
        kernel = (weight.shape[2], weight.shape[3])
        asked: Any = step.arguments["padding"]
        if isinstance(asked, str):
            gaps = [gap * (size - 1) // 2 for gap, size in zip(dilation, kernel, strict=True)]
            padding = (gaps[0], gaps[1]) if asked == "same" else (0, 0)
        else:
            padding = _both(asked, one, 0)
        shape = step.shape
        result = (shape[0], 1 if one else shape[1], shape[-1])
        windows = Windows((given.shape[2], given.shape[3]), kernel, stride, padding, dilation)
        return Fields(given, weight, windows, result, int(step.arguments["groups"]))


def _both(value: Any, one: bool, absent: int) -> tuple[int, int]:
    """A setting for height and width."""
    return (absent, pair(value)[-1]) if one else pair(value)
