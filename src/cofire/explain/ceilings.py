"""How high the support of the preceding layer can be at the most: cheap, so that few neurons need it exactly."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from cofire.explain.plan import Plan
from cofire.explain.rules import Step, Values
from cofire.explain.rules.joining import Product, Sum
from cofire.explain.rules.moving import Concatenation
from cofire.explain.rules.passing import BatchNorm, Passing, Scaling
from cofire.explain.rules.pooling import AveragePool, MaxPool
from cofire.explain.rules.weighted import Weighted

__all__ = ["Ceilings"]


class Ceilings:
    """Upper bounds of `Z_pre` for the neurons of a batch, worked out when they are asked for.

    Args:
        plan: The way back.
        values: Of the nodes that the plan's rules want to see, for the batch.
    """

    def __init__(self, plan: Plan, values: Values) -> None:
        self._plan = plan
        self._values = values
        self._known: dict[fx.Node, Tensor] = {}

    def of(self, node: fx.Node) -> Tensor:
        """Bounds for neurons of a node: (images, channels), or (images, 1) where channels are not told apart."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._of(node)
        return found

    def _of(self, node: fx.Node) -> Tensor:
        if node is self._plan.image:
            return self._zero()
        step, rule = self._plan.steps[node]
        if isinstance(rule, Weighted):
            return self._weighted(step, rule)
        if isinstance(rule, AveragePool):
            return self._largest(rule.operands(step)[0])
        below = [self.of(operand) for operand in rule.operands(step)]
        if isinstance(rule, Sum) and len(below) == 2:
            return self._together(below, [self._largest(operand) for operand in rule.operands(step)])
        if isinstance(rule, Concatenation) and step.arguments["dim"] in (1, -len(step.shape)):
            sizes = [step.shape_of(operand)[0] for operand in rule.operands(step)]
            return torch.cat([part.expand(-1, size) for part, size in zip(below, sizes, strict=True)], dim=1)
        if isinstance(rule, BatchNorm):
            channel = torch.arange(step.shape[0], device=below[0].device)
            place = channel * (step.shape[1] * step.shape[2] if len(step.shape) == 3 else 1)
            return below[0] * rule.scale(step, self._values, place, place).abs()
        if isinstance(rule, Scaling | Product):
            return self._scaled(step, rule, below)
        if isinstance(rule, Passing | MaxPool) and len(below) == 1:
            return below[0]
        return torch.stack([part.amax(1) for part in below]).amax(0)[:, None]

    def _zero(self) -> Tensor:
        value = next(value for node, value in self._values.items() if "tensor_name" not in node.meta)
        return torch.zeros(len(value), 1, dtype=torch.float64, device=value.device)

    def _largest(self, node: fx.Node) -> Tensor:
        """The largest absolute value of each image, (images, 1)."""
        return self._values[node].abs().flatten(1).amax(1, keepdim=True).double()

    def _together(self, below: list[Tensor], own: list[Tensor]) -> Tensor:
        width = max(part.shape[1] for part in below)
        return torch.stack([part.expand(-1, width) for part in (*below, *own)]).amax(0)

    def _scaled(self, step: Step, rule: Scaling | Product, below: list[Tensor]) -> Tensor:
        """Unbounded where the scale is not that of a channel: nothing is pruned there."""
        return torch.full_like(below[0][:, :1], torch.inf)

    def _weighted(self, step: Step, rule: Weighted) -> Tensor:
        operand, weight_node = rule.parts(step)
        value, weight = self._values[operand], self._values[weight_node]
        low, high = (part.double() for part in value.flatten(1).aminmax(dim=1))
        up, down = _reach(step, rule, weight, self._values)
        largest = torch.maximum(high, -low)[:, None]
        if bool((low >= 0).all()):
            # Values from zero up: weights above zero speak for a neuron, or those below zero against it.
            return largest * torch.maximum(up, down)
        return largest * (up + down)


def _reach(step: Step, rule: Weighted, weight: Tensor, values: Values) -> tuple[Tensor, Tensor]:
    """For each output the largest sum over the window of one channel's weights above zero, and of those below."""
    version = None if weight.is_inference() else weight._version
    key = (weight.data_ptr(), version, weight.device)
    known = step.memory.get("reach")
    if known is not None and known[0] == key and version is not None:
        return known[1], known[2]
    flat = rule.fields(step, values).weight.flatten(2)
    up = flat.clamp(min=0).sum(2).amax(1).double()
    down = flat.clamp(max=0).neg().sum(2).amax(1).double()
    step.memory["reach"] = (key, up, down)
    return up, down
