"""The support of the preceding layer for a neuron (P3 Eq. 3): the highest of its own inputs' contributions."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, fx

from cofire.explain.rules import Rule, Step, Values
from cofire.explain.rules.attention import Attention, Products
from cofire.explain.rules.binary import Product, Sum
from cofire.explain.rules.elementwise import BatchNorm, Scaling
from cofire.explain.rules.flow import Flow
from cofire.explain.rules.pooling import AveragePool
from cofire.explain.rules.weighted import Fields, Weighted, candidates_of
from cofire.explain.tracing.plan import Plan
from cofire.explain.tracing.windows_on_cpu import WindowsOnCPU

_CHUNK = 1 << 21


def preceding_support(
    plan: Plan, values: Values, node: fx.Node, image: Tensor, index: Tensor, direction: Tensor
) -> Tensor:
    """`Z_pre` of neurons: the maximum over the preceding layer of activation times weight, in their direction.

    What lies between a neuron and the layer before it is folded: normalisation with its scale,
        activation functions
    and shapes as they are, a maximum by its place. Of a sum the parts compete, a shortcut being an
    input of weight 1. A pixel has nothing before it: 0.

    Args:
        plan: The way back.
        values: Of the nodes that the plan's rules want to see.
        node: Where the neurons are.
        image: (neurons,).
        index: (neurons,), their places.
        direction: (neurons,), 1 or -1.

    Returns:
        (neurons,) float64.
    """
    size = values[node][0].numel()
    keys, back = torch.unique((image * size + index) * 2 + (direction < 0), return_inverse=True)
    place = keys >> 1
    image = torch.div(place, size, rounding_mode="floor")
    direction = (1 - 2 * (keys & 1)).to(direction.dtype)
    score = torch.zeros(len(keys), dtype=torch.float64, device=keys.device)
    flow = Flow(
        image, place - image * size, direction, score, torch.arange(len(keys), device=keys.device)
    )
    return _highest(plan, values, node, flow)[back]


def _highest(plan: Plan, values: Values, node: fx.Node, flow: Flow, joined: bool = False) -> Tensor:
    if node not in plan.steps or not len(flow):
        return torch.zeros_like(flow.score)
    step, rule = plan.steps[node]
    if isinstance(rule, Weighted):
        fields = rule.fields(step, values)
        each = max(1, _CHUNK // fields.width)
        cuts = [*range(0, len(flow), each), len(flow)]
        parts = [_highest_of(fields, flow.where(slice(a, b))) for a, b in pairwise(cuts)]
        return torch.cat(parts) if parts else torch.zeros_like(flow.score)
    if isinstance(rule, AveragePool):
        value, _, inside = rule.look(step, values, flow)
        contribution = (value * flow.direction[:, None]).masked_fill(~inside, -torch.inf)
        return contribution.amax(1) / (inside.sum(1) if step.name != "sum" else 1)
    if isinstance(rule, Sum) and len(rule.operands(step)) == 2:
        contribution = rule.contributions(step, values, flow)
        found = []
        for number, (operand, sign) in enumerate(
            zip(rule.operands(step), rule.signs(step), strict=True)
        ):
            if joined or not _leads_to_weights(plan, operand):
                found.append(contribution[:, number])
                continue
            # Folded directions hold the whole factor; others need it here.
            by = torch.tensor(sign, dtype=torch.float64, device=flow.direction.device)
            value = _highest(plan, values, operand, flow.scaled(by), joined=True)
            found.append(value if flow.folded else value * abs(sign))
        return torch.stack(found, 1).amax(1)
    scales = {}
    if flow.folded:
        pass
    elif isinstance(rule, Scaling):
        scales = dict.fromkeys(
            rule.operands(step), rule.scale(step, values, flow.image, flow.index)
        )
    elif isinstance(rule, Product):
        scales = rule.scales(step, values, flow)
    result = torch.full_like(flow.score, -torch.inf)
    row = torch.arange(len(flow), device=flow.image.device)
    numbered = Flow(flow.image, flow.index, flow.direction, flow.score, row)
    for operand, part in rule.trace(step, values, numbered):
        value = _highest(plan, values, operand, part, joined)
        if operand in scales:
            value = value * scales[operand].abs()[part.row]
        result = result.scatter_reduce(0, part.row, value, "amax")
    # What was padded, or scaled by zero, has nothing before it.
    return torch.where(result.isinf(), 0.0, result)


def _highest_of(fields: Fields, flow: Flow) -> Tensor:
    """The highest contribution to each neuron; what contributes nothing counts as 0."""
    if flow.image.device.type != "cpu":
        return candidates_of(fields, flow).support.amax(1)
    return WindowsOnCPU(fields, flow, all_of_them=False).highest()


def _leads_to_weights(plan: Plan, node: fx.Node) -> bool:
    """Whether a part of a sum comes straight from weights, without an activation function or another sum between."""
    while node in plan.steps and node not in plan.layers:
        step, rule = plan.steps[node]
        if isinstance(rule, Weighted):
            return True
        operands = rule.operands(step)
        if len(operands) != 1 or isinstance(rule, AveragePool):
            return False
        (node,) = operands
    return False


@dataclass(frozen=True)
class Preceding:
    """What the layer before the inputs of some neurons says about them (`Z_pre`)."""

    bounds: UpperBounds
    operand: fx.Node
    flow: Flow

    def support(self, neuron: Tensor, place: Tensor, direction: Tensor) -> Tensor:
        """`Z_pre` of inputs, from neurons, places in the operand and directions, all (inputs,)."""
        plan, values = self.bounds.plan, self.bounds.values
        image = self.flow.image[neuron]
        return preceding_support(plan, values, self.operand, image, place, direction)

    def upper_bound(self) -> Tensor:
        """What it can be at the most: (neurons, 1)."""
        return self.bounds.of(self.operand)[self.flow.image]


class UpperBounds:
    """Upper bounds of `Z_pre` for the neurons of a batch, worked out when they are asked for.

    Args:
        plan: The way back.
        values: Of the nodes that the plan's rules want to see, for the batch.
    """

    def __init__(self, plan: Plan, values: Values) -> None:
        self.plan = plan
        self.values = values
        self._known: dict[fx.Node, Tensor] = {}

    def of(self, node: fx.Node) -> Tensor:
        """A bound for all neurons of a node, (images, 1); infinite where there is none that is cheap."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._of(node)
        return found

    def _of(self, node: fx.Node) -> Tensor:
        image = self.values[self.plan.image]
        if node not in self.plan.steps:
            return torch.zeros(len(image), 1, dtype=torch.float64, device=image.device)
        step, rule = self.plan.steps[node]
        if isinstance(rule, Weighted):
            return self._weighted(step, rule)
        operands = rule.operands(step)
        if isinstance(rule, AveragePool):
            return self._largest(operands[0])
        below = [self.of(operand) for operand in operands]
        if isinstance(rule, Sum) and len(operands) == 2:
            own = [self._largest(operand) for operand in operands]
            signs = rule.signs(step)
            parts = [
                part * abs(sign)
                for pair in (below, own)
                for part, sign in zip(pair, signs, strict=True)
            ]
            return torch.stack(parts).amax(0)
        highest = torch.stack(below).amax(0)
        # Without anything before, whatever the scale.
        return torch.where(highest == 0, 0.0, highest * self._scale(step, rule))

    def _scale(self, step: Step, rule: Rule) -> float:
        if isinstance(rule, BatchNorm):
            return float(rule.scales(step, self.values).abs().max())
        if isinstance(rule, Scaling | Product | Products | Attention | Sum):
            return torch.inf
        return 1.0

    def _largest(self, node: fx.Node) -> Tensor:
        """The largest absolute value of each image, (images, 1)."""
        return self.values[node].abs().flatten(1).amax(1, keepdim=True).double()

    def _weighted(self, step: Step, rule: Weighted) -> Tensor:
        """The largest value times the largest sum of one channel's weights over the window."""
        low, high = (
            part.double() for part in self.values[rule.parts(step)[0]].flatten(1).aminmax(dim=1)
        )
        weight = rule.fields(step, self.values).weight.flatten(2)
        if weight.shape[2] == 1:
            # One look at the weights, without a copy: those of a fully connected layer can be a
            # hundred million.
            least, most = (float(part) for part in weight.aminmax())
            reach = max(most, -least, 0.0)
        elif bool((low >= 0).all()):
            # Values from zero up: weights above zero speak for a neuron, or those below zero
            # against it, never both.
            reach = max(float(part.clamp(min=0).sum(2).max()) for part in (weight, -weight))
        else:
            reach = float(weight.abs().sum(2).max())
        return torch.maximum(high, -low)[:, None] * reach
