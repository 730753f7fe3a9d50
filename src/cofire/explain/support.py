"""The support of the preceding layer for a neuron (P3 Eq. 3): the highest of its own inputs' contributions."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, fx

from cofire.explain.flow import Flow
from cofire.explain.plan import Plan
from cofire.explain.rules import Values
from cofire.explain.rules.fields import Fields, candidates_of
from cofire.explain.rules.joining import Product, Sum
from cofire.explain.rules.passing import Scaling
from cofire.explain.rules.pooling import AveragePool
from cofire.explain.rules.weighted import Weighted
from cofire.explain.windows_on_cpu import WindowsOnCPU

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
    if node is plan.image or not len(flow):
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
    support = WindowsOnCPU(fields, flow).support
    return support.masked_fill_(support == -torch.inf, 0.0).amax(1)


def _leads_to_weights(plan: Plan, node: fx.Node) -> bool:
    """Whether a part of a sum comes straight from weights, without an activation function or another sum between."""
    while node is not plan.image and node not in plan.layers:
        step, rule = plan.steps[node]
        if isinstance(rule, Weighted):
            return True
        operands = rule.operands(step)
        if len(operands) != 1 or isinstance(rule, AveragePool):
            return False
        (node,) = operands
    return False
