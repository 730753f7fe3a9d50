"""Operators on two values: sums share evidence by contribution, products hand it to what they scale."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from cofire.explain.rules.elementwise import at_places
from cofire.explain.rules.flow import Flow, coordinates, flat_index
from cofire.explain.rules.pooling import shares_of
from cofire.explain.rules.registry import (
    Rule,
    Step,
    Values,
    depends,
    fold_of,
    is_batched,
    laid_out,
    register_rule,
)
from cofire.explain.rules.reshape import kept_table, places
from cofire.network.axes import Fold
from cofire.network.operators import named


def _pair(step: Step) -> tuple[Any, Any]:
    left = step.arguments.get("self", step.arguments.get("input"))
    return left, step.arguments.get("other")


def _batched(step: Step) -> tuple[fx.Node, ...]:
    found = tuple(node for node in _pair(step) if isinstance(node, fx.Node) and depends(node))
    if not found:
        raise step.refuse("an operator without an operand that depends on the image")
    for node in _pair(step):
        if _tensor(node) and not is_batched(node):
            shape = node.meta["val"].shape
            if math.prod(shape[: max(0, len(shape) - len(step.shape))]) != 1:
                raise step.refuse("a tensor that holds something else for each sample of a batch")
    return found


def _tensor(node: Any) -> bool:
    return isinstance(node, fx.Node) and isinstance(node.meta.get("val"), Tensor)


def places_of(step: Step, node: fx.Node, index: Tensor) -> Tensor:
    """Where in an operand the values that broadcasting puts at these places of the result come from."""
    shape = step.shape_of(node)
    folds = fold_of(node), fold_of(step.node)
    if shape == step.shape and folds[0] == folds[1]:
        return index
    if folds != (Fold(0), Fold(0)):

        def spread(value: Tensor) -> Tensor:
            layout = laid_out(step, step.node)
            return value.expand(layout.batch_inside(torch.zeros(2, *step.shape)).shape)

        table = kept_table(step, node.name, index.device, lambda: places(step, node, spread))
        return table[index].to(torch.int64)
    where = coordinates(index, step.shape)
    if len(shape) != len(where):
        raise step.refuse(f"values of shapes {shape} and {step.shape} together")
    return flat_index(
        [torch.zeros_like(w) if size == 1 else w for size, w in zip(shape, where, strict=True)],
        shape,
    )


def _value(step: Step, values: Values, node: Any, flow: Flow) -> Tensor:
    if not _tensor(node):
        if not isinstance(node, (int, float)):
            raise step.refuse(f"an operand that is {node!r}")
        return torch.full_like(flow.score, float(node))
    if is_batched(node) and not (fold_of(node) == fold_of(step.node) == Fold(0)):
        value = values[node].flatten(1)
        return value[flow.image, places_of(step, node, flow.index)].double()
    fold = fold_of(step.node)
    if not is_batched(node) and fold is not None and fold.axis > 0:
        # A tensor that is the same for all samples has an axis of its own where the batch lies.
        value = values[node]
        behind = value.ndim - (step.node.meta["val"].ndim - fold.axis)
        if behind >= 0 and value.shape[behind] == 1 and fold.before * fold.after == 1:
            return at_places(value.squeeze(behind), flow.image, flow.index, step.shape, False)
        if behind >= 0:
            raise step.refuse("a tensor that holds something else for each sample of a batch")
    return at_places(values[node], flow.image, flow.index, step.shape, is_batched(node))


@register_rule(*named("sum"))
class Sum(Rule):
    """A sum, such as a residual connection: by contribution. What does not depend on the image gets nothing."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """Those that depend on the image."""
        found = _batched(step)
        for node in found:
            places_of(step, node, torch.zeros(1, dtype=torch.int64))
        return found

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """Both values where evidence has to be shared."""
        return tuple(filter(_tensor, _pair(step))) if len(_batched(step)) == 2 else ()

    def signs(self, step: Step) -> tuple[float, float]:
        """How each operand enters the sum."""
        scale = step.arguments.get("alpha", 1)
        scale = 1.0 if scale is None else float(scale)
        left, right = (
            (1.0, scale)
            if step.name == "add"
            else (1.0, -scale)
            if step.name == "sub"
            else (-scale, 1.0)
        )
        return left, right

    def contributions(self, step: Step, values: Values, flow: Flow) -> Tensor:
        """What each operand speaks for (neurons, 2)."""
        parts = zip(_pair(step), self.signs(step), strict=True)
        return torch.stack(
            [_value(step, values, node, flow) * sign * flow.direction for node, sign in parts], 1
        )

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To those that speak for the sum."""
        found = _batched(step)
        pairs = list(zip(_pair(step), self.signs(step), strict=True))
        if len(found) == 1:
            sign = next(sign for node, sign in pairs if node is found[0])
            same = step.shape_of(found[0]) == step.shape
            turned = _turned(flow, sign)
            return [
                (
                    found[0],
                    turned.moved(places_of(step, found[0], flow.index), own=flow.own and same),
                )
            ]
        share = shares_of(self.contributions(step, values, flow), silent=flow.folded)
        share = share / share.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        result = []
        for number, (node, sign) in enumerate(pairs):
            kept = (share[:, number] > 0).nonzero().squeeze(1)
            if len(kept):
                part = flow.where(kept)
                score = part.score * share[kept, number]
                part = Flow(
                    part.image,
                    places_of(step, node, part.index),
                    part.direction,
                    score,
                    part.row,
                    own=False,
                )
                result.append((node, _turned(part, sign)))
        return result


def _turned(flow: Flow, sign: float) -> Flow:
    if sign == 1 or (sign > 0 and not flow.folded):
        return flow
    return flow.scaled(torch.tensor(sign, dtype=torch.float64, device=flow.direction.device))


@register_rule(*named("scale"))
class Product(Rule):
    """A product: what is scaled keeps the evidence, be the scale a number, a parameter or a gate.

    A value times a function of itself, such as a hand-written `x * sigmoid(x)`, is an activation
    function: the value keeps the evidence. Two values of which neither scales the other get half
    each.
    """

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """What is scaled."""
        return tuple(node for node, _ in self._scaled(step))

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """What scales it, for its sign."""
        return tuple(scale for _, scale in self._scaled(step) if _tensor(scale))

    def _scaled(self, step: Step) -> list[tuple[fx.Node, Any]]:
        left, right = _pair(step)
        found = _batched(step)
        if len(found) == 1 or step.name == "div":
            node = left if left in found else right
            if step.name == "div" and node is not left:
                raise step.refuse("a number divided by values of the image")
            return [(node, right if node is left else left)]
        sizes = [_size(step, node) for node in found]
        gates = [node in step.gates for node in found]
        if gates[0] != gates[1]:
            signal = 1 if gates[0] else 0
        elif sizes[0] != sizes[1]:
            signal = 0 if sizes[0] > sizes[1] else 1
        elif _is_function_of(left, right):
            signal = 1
        elif _is_function_of(right, left):
            signal = 0
        else:
            return [(found[0], found[1]), (found[1], found[0])]
        return [(found[signal], found[1 - signal])]

    def scales(self, step: Step, values: Values, flow: Flow) -> dict[fx.Node, Tensor]:
        """By how much each operand that is scaled was scaled."""
        by = {node: _value(step, values, scale, flow) for node, scale in self._scaled(step)}
        return {node: 1 / value if step.name == "div" else value for node, value in by.items()}

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To what is scaled, upside down where the scale is negative; a scale of zero ends it."""
        scaled = self._scaled(step)
        result = []
        for node, by in scaled:
            scale = _value(step, values, by, flow)
            whole = len(scaled) == 1 and step.shape_of(node) == step.shape
            turned = flow.scaled(1 / scale if step.name == "div" else scale)
            score, own = flow.score / len(scaled), flow.own and whole
            part = replace(turned, index=places_of(step, node, flow.index), score=score, own=own)
            result.append((node, part.where(scale != 0)))
        return result


@register_rule("addcmul")
class ScaledSum(Rule):
    """A sum with a product, of which one part alone depends on the image: evidence is for that part, by its scale."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """The one that depends on the image."""
        found = tuple(node for node in self._parts(step) if _tensor(node) and is_batched(node))
        if len(found) != 1 or step.shape_of(found[0]) != step.shape:
            raise step.refuse("several values that depend on the image, or one that is spread")
        return found

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """What it is scaled by."""
        scale = self._scale(step)
        return (scale,) if scale is not None else ()

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To the same place."""
        (node,), scale = self.operands(step), self._scale(step)
        if scale is None:
            return [(node, flow)]
        by = _value(step, values, scale, flow) * float(step.arguments.get("value") or 1)
        return [(node, flow.scaled(by).where(by != 0))]

    def _parts(self, step: Step) -> tuple[Any, Any, Any]:
        given = step.arguments
        return given["self"], given["tensor1"], given["tensor2"]

    def _scale(self, step: Step) -> fx.Node | None:
        (node,), (_, one, two) = self.operands(step), self._parts(step)
        return {one: two, two: one}.get(node)


def _is_function_of(value: fx.Node, other: fx.Node, most: int = 12) -> bool:
    """Whether a value is made from another one, or from what that is a multiple of, in few steps."""
    while (
        other.op == "call_function"
        and Step.of(other).name in named("scale")
        and len(other.all_input_nodes) == 1
    ):
        (other,) = other.all_input_nodes
    pending = [value]
    for _ in range(most):
        if not pending:
            return False
        node = pending.pop()
        if node is other and node is not value:
            return True
        pending.extend(node.all_input_nodes)
    return False


def _size(step: Step, node: fx.Node) -> int:
    size = 1
    for axis in step.shape_of(node):
        size *= axis
    return size


@register_rule(*named("extreme"))
class Extreme(Rule):
    """The larger, or smaller, of two values: the left one where they are equal."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """Those that depend on the image."""
        return Sum().operands(step)

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """Both."""
        return tuple(node for node in _pair(step) if _tensor(node))

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To the one that was taken, if it depends on the image."""
        left, right = (_value(step, values, node, flow) for node in _pair(step))
        first = left >= right if step.name == "maximum" else left <= right
        result = []
        for node, taken in zip(_pair(step), (first, ~first), strict=True):
            if node in self.operands(step):
                part = flow.where(taken)
                result.append((node, part.moved(places_of(step, node, part.index), own=False)))
        return result
