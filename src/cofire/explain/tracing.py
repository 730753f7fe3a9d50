"""Follow evidence from the classes down to the pixels, for all images of a batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise

import torch
from torch import Tensor, fx

from cofire.explain.algorithm import choose_by_algorithm
from cofire.explain.ceilings import Ceilings
from cofire.explain.flow import Flow
from cofire.explain.plan import Plan
from cofire.explain.rules import Step, Values
from cofire.explain.rules.weighted import Linear, Weighted
from cofire.explain.scoring import Scoring, choose, takes_all_features
from cofire.explain.settling import settled
from cofire.explain.support import preceding_support

_CHUNK = 1 << 21
"""Products looked at together."""


@dataclass
class Record:
    """What a tracing found.

    Attributes:
        found: Nodes with their neurons, from the logits down, and the row of the first of them.
        child: Of each link, the row nearer to the input.
        parent: The row that it supports.
        share: The evidence that was handed on.
    """

    found: list[tuple[fx.Node, Flow, int]] = field(default_factory=list)
    child: list[Tensor] = field(default_factory=list)
    parent: list[Tensor] = field(default_factory=list)
    share: list[Tensor] = field(default_factory=list)
    rows: int = 0

    def settle(
        self, node: fx.Node, parts: list[Flow], size: int, carried: bool, most: int | None
    ) -> Flow:
        """Give each neuron that several parts brought to a node one row."""
        flow, row = settled(parts, size, carried, most)
        ends = list(accumulate(len(part) for part in parts))
        for part, end in zip(parts, ends, strict=True):
            child = row[end - len(part) : end]
            here = child >= 0
            self.child.append(child[here] + self.rows)
            self.parent.append(part.row[here])
            self.share.append(part.score[here])
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
    if scoring.literal:
        # Batch norm and other factors are folded into weights.
        start = replace(start, direction=start.direction.double())
    ceilings = Ceilings(plan, values)
    settled = record.add(plan.straight.logits, start)
    pending: dict[fx.Node, list[Flow]] = {plan.straight.logits: [settled]}
    for node, (step, rule) in plan.steps.items():
        parts = [part for part in pending.pop(node, []) if len(part)]
        if not parts:
            continue
        flow = parts[0]
        if (
            len(parts) > 1
            or not flow.own
            or (node in plan.layers and node is not plan.straight.logits)
        ):
            flow = record.settle(node, parts, math.prod(step.shape), scoring.carried, scoring.most)
        if isinstance(rule, Weighted):
            operand = rule.parts(step)[0]
            pending.setdefault(operand, []).extend(
                _chosen(plan, step, rule, values, flow, scoring, ceilings)
            )
            continue
        for operand, part in rule.trace(step, values, flow):
            pending.setdefault(operand, []).append(part)
    parts = [part for part in pending.get(plan.image, []) if len(part)]
    if parts:
        size = math.prod(next(iter(plan.steps.values()))[0].shape_of(plan.image))
        if scoring.literal:
            parts = [replace(part, direction=torch.ones_like(part.direction)) for part in parts]
        record.settle(plan.image, parts, size, scoring.carried, scoring.most)
    return record


@dataclass(frozen=True)
class _Before:
    """The layer before the inputs of some neurons."""

    plan: Plan
    values: Values
    operand: fx.Node
    flow: Flow
    ceilings: Ceilings

    def support(self, neuron: Tensor, place: Tensor, direction: Tensor) -> Tensor:
        """`Z_pre` of inputs, all (inputs,)."""
        image = self.flow.image[neuron]
        return preceding_support(self.plan, self.values, self.operand, image, place, direction)

    def ceiling(self, image: Tensor) -> Tensor:
        """What it can be at the most."""
        return self.ceilings.of(self.operand)[image]


def _chosen(
    plan: Plan,
    step: Step,
    rule: Weighted,
    values: Values,
    flow: Flow,
    scoring: Scoring,
    ceilings: Ceilings,
) -> list[Flow]:
    operand = rule.parts(step)[0]
    fields = rule.fields(step, values)
    most = scoring.k_linear if isinstance(rule, Linear) else scoring.k
    whole = takes_all_features(scoring, flow, fields, most)
    each = len(flow) if whole else max(1, _CHUNK // fields.width)
    # The count is over all neurons of an image: those of one image stay together.
    cuts = (
        _cuts_between_images(flow, each)
        if scoring.counted
        else [*range(0, len(flow), each), len(flow)]
    )
    found = []
    for first, last in pairwise(cuts):
        part = flow if last - first == len(flow) else flow.where(slice(first, last))

        before = _Before(plan, values, operand, part, ceilings)
        if scoring.literal:
            found.append(choose_by_algorithm(scoring, part, fields, before, most))
            continue
        found.append(
            choose(scoring, part, fields, before, most, last_resort=step.node is not plan.last)
        )
    return found


def _cuts_between_images(flow: Flow, each: int) -> list[int]:
    starts = [0, *(torch.diff(flow.image).nonzero().squeeze(1) + 1).tolist(), len(flow)]
    cuts = [0]
    for position, start in enumerate(starts[1:-1], 1):
        if starts[position + 1] - cuts[-1] > each:
            cuts.append(start)
    return [*cuts, len(flow)]
