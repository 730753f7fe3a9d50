"""Follow evidence from the classes down to the pixels, for all images of a batch at once."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, fx

from cofire.compiled import compiler
from cofire.explain.result.neurons import NEURON_COLUMNS, Neurons, Site
from cofire.explain.rules import Step, Values
from cofire.explain.rules.flow import Flow, joined
from cofire.explain.rules.registry import in_front
from cofire.explain.rules.reshape import Reorder
from cofire.explain.rules.weighted import Linear, Weighted
from cofire.explain.tracing.merging import settled
from cofire.explain.tracing.plan import Plan
from cofire.explain.tracing.scoring import Scoring, choose, one_by_one
from cofire.explain.tracing.support import Preceding, UpperBounds
from cofire.network.reading import module_of

_CHUNK = 1 << 21
"""Products looked at together."""

_KNOWN = 32
"""Sets of nodes whose sites are remembered."""


@dataclass
class Record:
    """What a tracing found.

    Attributes:
        found: Nodes with their neurons, from the logits down, and the row of the first of them.
        child: Of each link, the row nearer to the input.
        parent: The row that it supports.
        share: The evidence that was handed on.
        reached: Images whose evidence came to where the plan ends.
    """

    found: list[tuple[fx.Node, Flow, int]] = field(default_factory=list)
    child: list[Tensor] = field(default_factory=list)
    parent: list[Tensor] = field(default_factory=list)
    share: list[Tensor] = field(default_factory=list)
    reached: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))
    rows: int = 0

    def settle(
        self, node: fx.Node, together: Flow, size: int, carried: bool, most: int | None
    ) -> Flow:
        """Give each neuron that was brought to a node one row."""
        flow, child = settled(together, size, carried, most)
        parent, share = together.row, together.score
        if most is not None and len(child) and int(child.min()) < 0:
            here = (child >= 0).nonzero().squeeze(1)
            child, parent, share = (one.index_select(0, here) for one in (child, parent, share))
        self.child.append(child + self.rows)
        self.parent.append(parent)
        self.share.append(share)
        return self.add(node, flow)

    def add(self, node: fx.Node, flow: Flow) -> Flow:
        """Record neurons with rows of their own."""
        settled = Flow(flow.image, flow.index, flow.direction, flow.score, flow.row + self.rows)
        self.found.append((node, settled, self.rows))
        self.rows += len(flow)
        return settled


def trace(plan: Plan, values: Values, start: Flow, scoring: Scoring) -> Record:
    """Follow evidence from the classes down to the input.

    Args:
        plan: The way back.
        values: Of the nodes that the plan's rules want to see, for the batch.
        start: Neurons of the logits.
        scoring: How neurons are chosen.
    """
    record = Record()
    step = next(iter(plan.steps.values()))[0]
    values = in_front(step, values, len(values[plan.image]))
    if scoring.literal:
        # Batch norm and other factors are folded into weights.
        start = replace(start, direction=start.direction.double())
    bounds = UpperBounds(plan, values)
    settled = record.add(plan.functional.logits, start)
    pending: dict[fx.Node, list[Flow]] = {plan.functional.logits: [settled]}
    for node, (step, rule) in plan.steps.items():
        parts = [part for part in pending.pop(node, []) if len(part)]
        if not parts:
            continue
        flow = parts[0] if len(parts) == 1 else joined(parts)
        layer = node in plan.layers and node is not plan.functional.logits
        # What only moves gets its row where it comes from.
        if layer or not (flow.own or isinstance(rule, Reorder)):
            flow = record.settle(node, flow, math.prod(step.shape), scoring.carried, scoring.most)
        if isinstance(rule, Weighted):
            operand = rule.parts(step)[0]
            pending.setdefault(operand, []).extend(
                _chosen(plan, step, rule, values, flow, scoring, bounds)
            )
            continue
        for operand, part in rule.trace(step, values, flow):
            pending.setdefault(operand, []).append(part)
    ended = [part.image for parts in pending.values() for part in parts]
    record.reached = torch.cat([start.image[:0], *ended])
    for node in (*plan.constants, plan.image):
        parts = [part for part in pending.get(node, []) if len(part)]
        if parts:
            size = math.prod(step.shape_of(node))
            if scoring.literal:
                parts = [replace(part, direction=torch.ones_like(part.direction)) for part in parts]
            record.settle(node, joined(parts), size, scoring.carried, scoring.most)
    return record


def _chosen(
    plan: Plan,
    step: Step,
    rule: Weighted,
    values: Values,
    flow: Flow,
    scoring: Scoring,
    bounds: UpperBounds,
) -> list[Flow]:
    operand = rule.parts(step)[0]
    fields = rule.fields(step, values)
    most = scoring.k_linear if isinstance(rule, Linear) else scoring.k
    whole = one_by_one(scoring, flow, fields, most)
    each = len(flow) if whole else max(1, _CHUNK // fields.width)
    cuts = [0, len(flow)]
    if len(flow) > each:
        # The count is over all neurons of an image: those of one image stay together.
        parts = _cuts_between_images(flow, each) if scoring.counted else range(0, len(flow), each)
        cuts = [*parts, len(flow)]
    last_resort = step.node is not plan.last
    found = []
    for first, last in pairwise(cuts):
        part = flow if last - first == len(flow) else flow.where(slice(first, last))
        before = Preceding(bounds, operand, part)
        found.append(choose(scoring, part, fields, before, most, last_resort))
    return found


def _cuts_between_images(flow: Flow, each: int) -> list[int]:
    starts = [0, *(torch.diff(flow.image).nonzero().squeeze(1) + 1).tolist(), len(flow)]
    cuts = [0]
    for position, start in enumerate(starts[1:-1], 1):
        if starts[position + 1] - cuts[-1] > each:
            cuts.append(start)
    return cuts


class Table:
    """Gathers what is found, group by group, in as little memory as the result will take.

    Args:
        plan: The way back.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._order = [*plan.steps, *plan.constants, plan.image]
        self._number = {node: number for number, node in enumerate(self._order)}
        self._columns: dict[str, list[Tensor]] = {name: [] for name in NEURON_COLUMNS}
        self._rows = 0

    def add(self, first: int, record: Record) -> None:
        """Add a group of images.

        Args:
            first: The number of its first image.
            record: What was found.
        """
        columns = self._columns
        flows = [flow for _, flow, _ in record.found]
        image, index, score = (
            torch.cat([getattr(flow, name) for flow in flows]).cpu()
            for name in ("image", "index", "score")
        )
        many = torch.tensor([len(flow) for flow in flows])
        axes = [(_shape(self._plan, node), self._channel_axis(node)) for node, _, _ in record.found]
        rank = max(len(shape) for shape, _ in axes)
        layout = torch.tensor([_layout(*each, rank) for each in axes])
        number = torch.tensor([self._number[node] for node, _, _ in record.found])
        found = {"image": image + first, "site": number.repeat_interleave(many)}
        where = torch.zeros(3, len(index), dtype=torch.int32)
        _where(index.numpy(), many.numpy(), layout.numpy(), where.numpy())
        found |= dict(zip(("channel", "y", "x"), where, strict=True))
        for name, column in found.items():
            columns[name].append(column.to(torch.int32))
        columns["score"].append(score.to(torch.float32))
        for name, parts in (("child", record.child), ("parent", record.parent)):
            columns[name] += [(part + self._rows).to("cpu", torch.int32) for part in parts]
        columns["share"] += [part.to("cpu", torch.float32) for part in record.share]
        self._rows += record.rows

    def finished(self) -> tuple[tuple[Site, ...], Neurons]:
        """Sites from the input to the classes, and the neurons found at them."""
        table = {name: _joined(self._columns.pop(name), name) for name in NEURON_COLUMNS}
        visited = {*torch.unique(table["site"]).tolist(), len(self._order) - 1}
        nodes = [node for number, node in enumerate(self._order) if number in visited][::-1]
        position = torch.zeros(len(self._order), dtype=torch.int32)
        for site, node in enumerate(nodes):
            position[self._number[node]] = site
        if bool((torch.diff(table["site"]) < 0).any()):
            # Stable: the images of one group come after those of the one before, and rows of an
            # image keep their order.
            order = table["site"].argsort(stable=True)
            place = torch.empty(len(order), dtype=torch.int32)
            place[order] = torch.arange(len(order), dtype=torch.int32)
            for name in ("image", "site", "channel", "y", "x", "score"):
                table[name] = table[name].index_select(0, order)
            for name in ("child", "parent"):
                table[name] = place.index_select(0, table[name])
        table["site"] = position.index_select(0, table["site"])
        for name in ("score", "share"):
            table[name].clamp_(min=torch.finfo(torch.float32).tiny)
        return self._sites(nodes), Neurons(**table)

    def _channel_axis(self, node: fx.Node) -> int:
        layer = self._plan.layers.get(node)
        if layer is not None:
            return layer.channel_axis
        if node is self._plan.image:
            return 0
        if node in self._plan.constants:
            return len(_shape(self._plan, node)) - 1
        return _channel_axis(self._plan, node)

    def _sites(self, nodes: Sequence[fx.Node]) -> tuple[Site, ...]:
        plan = self._plan
        known = plan.sites.get(tuple(nodes))
        if known is not None:
            return known
        names: Counter[str] = Counter()
        found = []
        for node in nodes:
            if node is plan.image:
                name, kind = "input", "input"
            elif node is plan.functional.logits:
                name, kind = "classes", "classes"
            elif node in plan.layers:
                name, kind = plan.layers[node].name, "activation"
            elif node in plan.constants:
                name, kind = plan.constants[node], "constant"
            else:
                path, _ = module_of(node)
                name, kind = _operator_name(path, plan.steps[node][0].name), "operator"
            names[name] += 1
            unique = name if names[name] == 1 else f"{name}:{names[name] - 1}"
            found.append(Site(unique, kind, _shape(plan, node), self._channel_axis(node)))
        if len(plan.sites) >= _KNOWN:
            plan.sites.clear()
        plan.sites[tuple(nodes)] = tuple(found)
        return plan.sites[tuple(nodes)]


@lru_cache(maxsize=4096)
def _layout(shape: tuple[int, ...], axis: int, rank: int) -> list[list[int]]:
    """Of each axis its step and size in row-major order, and how much it counts in channel, row and column."""
    found = []
    rest = [number for number in range(len(shape)) if number != axis]
    for number, size in enumerate(shape):
        row = math.prod(shape[other] for other in rest[:-1] if other > number)
        last = number == rest[-1] if rest else False
        counts = [int(number == axis), 0 if last or number == axis else row, int(last)]
        found.append([math.prod(shape[number + 1 :]), size, *counts])
    return found + [[1, 1, 0, 0, 0]] * (rank - len(shape))


@compiler()
def _where(index: Any, many: Any, layout: Any, found: Any) -> None:
    """Channel, row and column (3, neurons) of places, of so many neurons of each layout (nodes, axes, 5)."""
    end = 0
    for node in range(len(many)):
        start, end = end, end + many[node]
        for neuron in range(start, end):
            for axis in range(layout.shape[1]):
                step, size = layout[node, axis, 0], layout[node, axis, 1]
                if size > 1:
                    along = index[neuron] // step % size
                    for column in range(3):
                        found[column, neuron] += along * layout[node, axis, 2 + column]


def _shape(plan: Plan, node: fx.Node) -> tuple[int, ...]:
    """Of one sample; one number for each image is a feature."""
    step = next(iter(plan.steps.values()))[0]
    return step.shape_of(node) or (1,)


def _joined(parts: list[Tensor], name: str) -> Tensor:
    if parts:
        return torch.cat(parts)
    return torch.zeros(0, dtype=torch.float32 if name in ("score", "share") else torch.int32)


def _operator_name(path: str, operator: str) -> str:
    return (
        path
        if path and operator not in ("add", "sub", "mul", "cat")
        else f"{path}.{operator}"
        if path
        else operator
    )


def _channel_axis(plan: Plan, node: fx.Node) -> int:
    """The last axis where a linear layer takes the values in several positions, else the first."""
    rules = [(plan.steps[user][1], user) for user in node.users if user in plan.steps]
    rank = len(plan.steps[node][0].shape)
    return rank - 1 if any(isinstance(rule, Linear) for rule, _ in rules) else 0
