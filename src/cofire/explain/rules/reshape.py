"""Operators that only move values: views, permutations, slices, padding, concatenation."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx

from cofire.explain.rules.flow import Flow, coordinates, flat_index
from cofire.explain.rules.registry import (
    Rule,
    Step,
    Values,
    fold_of,
    is_batched,
    laid_out,
    register_rule,
)
from cofire.network.operators import named


def _operand(step: Step) -> fx.Node:
    node = next((value for value in step.arguments.values() if isinstance(value, fx.Node)), None)
    if node is None:
        raise step.refuse("an operator without an operand")
    return node


@register_rule(*named("reorder", "part", "split", "pad", "expand", "place", "resize", "fold"))
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
        (operand,) = self.operands(step)
        table = self.table(step, flow.index.device)
        if table is None:
            return [(operand, flow)]
        # Neurons that only move are the same ones; where several come from one place, they meet there.
        own = flow.own and self._apart(step, table)
        return [(operand, flow.moved(table[flow.index].to(torch.int64), own=own))]

    def _apart(self, step: Step, table: Tensor) -> bool:
        """Whether no two values of the result come from the same place."""
        if "apart" not in step.memory:
            there = table[table >= 0]
            step.memory["apart"] = len(torch.unique(there)) == len(there)
        return bool(step.memory["apart"])

    def table(self, step: Step, device: torch.device | None = None) -> Tensor | None:
        """For each place of the result the place in the operand, -1 for none; None where all stay."""
        (operand,) = self.operands(step)
        return kept_table(step, "table", device, lambda: self._table(step, operand))

    def _table(self, step: Step, operand: fx.Node) -> Tensor:
        if step.node.target is operator.getitem:
            parent = Step.of(_operand(step))
            return places(
                step, operand, lambda value: _applied(parent, value, operand)[step.node.args[1]]
            )
        return places(step, operand, lambda value: _applied(step, value, operand))


@register_rule(*named("reshape", "squeeze"))
class Reshape(Reorder):
    """Another shape of the same values: each keeps its place in row-major order, if the batch stays in front."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """The one there is."""
        node = _operand(step)
        if math.prod(step.shape_of(node)) != math.prod(step.shape):
            raise step.refuse("a view that mixes samples")
        return (node,)

    def table(self, step: Step, device: torch.device | None = None) -> Tensor | None:
        """None, where the batch is outermost before and after."""
        stays = _leads(_operand(step)) and _leads(step.node)
        return None if stays else super().table(step, device)


def _leads(node: fx.Node) -> bool:
    """Whether the batch is the outermost of all axes."""
    fold = fold_of(node)
    return fold is not None and fold.axis == 0 and fold.before == 1


def kept_table(
    step: Step, name: str, device: torch.device | None, make: Callable[[], Tensor]
) -> Tensor:
    """A table of places, made once for all batches."""
    table: Tensor | None = step.memory.get(name)
    if table is None:
        table = step.memory[name] = make()
    if device is not None and table.device != device:
        table = step.memory[name] = table.to(device)
    return table


def places(step: Step, operand: fx.Node, move: Callable[[Tensor], Tensor]) -> Tensor:
    """For each place of one sample's result the place in an operand that its value comes from, -1 for none.

    Args:
        step: The operator.
        operand: Of whose values.
        move: What is done to them: it is called with the numbers of the places.

    Raises:
        RuleError: Values move between samples.
    """
    shape = step.shape_of(operand)
    size = math.prod(shape)
    # Two samples, because a program may treat one as a constant; the second must be moved like the
    # first. They count from 1, because zeros are what is put in where nothing was.
    numbers = torch.arange(1, 2 * size + 1, dtype=torch.float64).reshape(2, *shape)
    counted = laid_out(step, operand).batch_inside(numbers).contiguous()
    if step.name in named("fold") and bool((move(torch.ones_like(counted)) > 1).any()):
        raise step.refuse("windows that overlap where they are put together")
    moved, layout = move(counted), laid_out(step, step.node)
    if moved.numel() != 2 * math.prod(step.shape):
        raise step.refuse("a step that moves values between samples")
    first, second = layout.batch_first(moved - 1, 2).reshape(2, -1)
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
            return torch.constant_pad_nd(given[0], given[1], 0.0)
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


@register_rule(*named("join"))
class Concatenation(Rule):
    """Each value goes back to the operand that it came from."""

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """All of them."""
        nodes = tuple(step.arguments["tensors"])
        if not all(map(is_batched, nodes)):
            raise step.refuse("a concatenation of values that are the same for all samples")
        step.axis(step.node, int(step.arguments["dim"]))
        return nodes

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """Each to its own."""
        axis = step.axis(step.node, int(step.arguments["dim"]))
        where = list(coordinates(flow.index, step.shape))
        found = []
        start = 0
        along = where[axis]
        for node in self.operands(step):
            shape = step.shape_of(node)
            if step.name == "stack":
                shape = (*shape[:axis], 1, *shape[axis:])
            end = start + shape[axis]
            inside = ((along >= start) & (along < end)).nonzero().squeeze(1)
            if len(inside):
                part = [coordinate[inside] for coordinate in where]
                part[axis] = part[axis] - start
                found.append((node, flow.where(inside).moved(flat_index(part, shape))))
            start = end
        return found


@register_rule("glu")
class GatedHalf(Reorder):
    """The first half of an axis, scaled by the second: what is scaled keeps the evidence."""

    def _table(self, step: Step, operand: fx.Node) -> Tensor:
        return places(step, operand, lambda value: value.chunk(2, step.arguments["dim"])[0])
