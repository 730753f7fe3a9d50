"""Operators that only move values: views, permutations, slices, padding, concatenation."""

from __future__ import annotations

import math
import operator
from typing import Any

import torch
from torch import Tensor, fx

from cofire.explain.rules.flow import Flow, coordinates, flat_index
from cofire.explain.rules.registry import Rule, Step, Values, is_batched, register_rule
from cofire.network.operators import named


def _operand(step: Step) -> fx.Node:
    node = next((value for value in step.arguments.values() if isinstance(value, fx.Node)), None)
    if node is None:
        raise step.refuse("an operator without an operand")
    return node


@register_rule(*named("reshape", "squeeze"))
class Reshape(Rule):
    """Another shape of the same values: each keeps its place in row-major order."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """The one there is."""
        node = _operand(step)
        if math.prod(step.shape_of(node)) != math.prod(step.shape):
            raise step.refuse("a view that mixes samples")
        return (node,)

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To the same place."""
        return [(_operand(step), flow)]


@register_rule(*named("reorder", "part", "split", "pad", "expand", "place", "resize"))
class Reorder(Rule):
    """Where each value of the result comes from is read off by moving the numbers of the places themselves."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """The one there is; of a part of a split, what was split."""
        node = _operand(step)
        if step.node.target is operator.getitem:
            parent = Step.of(node)
            if parent.name not in named("split"):
                raise step.refuse(f"a result of {parent.name} other than its first")
            return (_operand(parent),)
        return (node,)

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To where each came from; what was padded ends."""
        table = step.memory.get("table")
        if table is None:
            table = step.memory["table"] = self._table(step)
        if table.device != flow.index.device:
            table = step.memory["table"] = table.to(flow.index.device)
        (operand,) = self.operands(step)
        return [(operand, flow.moved(table[flow.index].to(torch.int64), own=False))]

    def _table(self, step: Step) -> Tensor:
        (operand,) = self.operands(step)
        shape = step.shape_of(operand)
        # Two samples, because a program may treat one as a constant; the second must be moved like
        # the first.
        numbers = torch.arange(2 * math.prod(shape), dtype=torch.float64).reshape(2, *shape)
        if step.node.target is operator.getitem:
            parent = Step.of(_operand(step))
            moved = _applied(parent, numbers, operand)[step.node.args[1]]
        else:
            moved = _applied(step, numbers, operand)
        size = math.prod(shape)
        if tuple(moved.shape) != (2, *step.shape):
            raise step.refuse("a step that moves values between samples")
        first, second = moved.reshape(2, -1)
        if not bool(((second == first + size) | (first < 0)).all()):
            raise step.refuse("a step that moves values between samples")
        table: Tensor = first.to(torch.int32 if size < 2**31 else torch.int64)
        return table


def _applied(step: Step, numbers: Tensor, operand: fx.Node) -> Any:
    def plain(value: Any) -> Any:
        if value is operand:
            return numbers
        if isinstance(value, fx.Node):
            held = value.meta.get("val")
            if isinstance(held, torch.SymInt):
                return int(held.node.expr.subs(dict.fromkeys(held.node.expr.free_symbols, 2)))
            if step.name == "expand_as":
                # Of the other value nothing is taken but its shape.
                return numbers.new_empty(2, *step.shape)
            raise step.refuse("a step whose places depend on data")
        return value

    arguments = dict(step.node.kwargs)
    if step.name in ("constant_pad_nd", "pad"):
        given = [plain(value) for value in step.node.args[:2]]
        mode = step.arguments.get("mode") or "constant"
        if mode == "constant":
            return torch.constant_pad_nd(given[0], given[1], -1.0)
    positional = [
        [plain(item) for item in value] if isinstance(value, (list, tuple)) else plain(value)
        for value in step.node.args
    ]
    if not callable(step.node.target):
        raise step.refuse("an operator that cannot be called")
    moved: Any = step.node.target(
        *positional, **{name: plain(value) for name, value in arguments.items()}
    )
    return moved


@register_rule("cat")
class Concatenation(Rule):
    """Each value goes back to the operand that it came from."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """All of them."""
        nodes = tuple(step.arguments["tensors"])
        if step.arguments["dim"] in (0, -len(step.shape) - 1) or not all(map(is_batched, nodes)):
            raise step.refuse(
                "a concatenation of samples, or of values that are the same for all samples"
            )
        return nodes

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """Each to its own."""
        axis = int(step.arguments["dim"])
        axis = axis - 1 if axis > 0 else axis + len(step.shape)
        where = list(coordinates(flow.index, step.shape))
        found = []
        start = 0
        along = where[axis]
        for node in self.operands(step):
            shape = step.shape_of(node)
            end = start + shape[axis]
            inside = ((along >= start) & (along < end)).nonzero().squeeze(1)
            if len(inside):
                part = [coordinate[inside] for coordinate in where]
                part[axis] = part[axis] - start
                found.append((node, flow.where(inside).moved(flat_index(part, shape))))
            start = end
        return found
