"""How high the support of the preceding layer can be at the most: cheap, so that fewer neurons need it exactly."""

from __future__ import annotations

import torch
from torch import Tensor, fx

from cofire.explain.plan import Plan
from cofire.explain.rules import Rule, Step, Values
from cofire.explain.rules.joining import Product, Sum
from cofire.explain.rules.passing import BatchNorm, Scaling
from cofire.explain.rules.pooling import AveragePool
from cofire.explain.rules.weighted import Weighted


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
        """A bound for all neurons of a node, (images, 1); infinite where there is none that is cheap."""
        found = self._known.get(node)
        if found is None:
            found = self._known[node] = self._of(node)
        return found

    def _of(self, node: fx.Node) -> Tensor:
        image = self._values[self._plan.image]
        if node is self._plan.image:
            return torch.zeros(len(image), 1, dtype=torch.float64, device=image.device)
        step, rule = self._plan.steps[node]
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
            return float(rule.scales(step, self._values).abs().max())
        if isinstance(rule, Scaling | Product | Sum):
            return torch.inf
        return 1.0

    def _largest(self, node: fx.Node) -> Tensor:
        """The largest absolute value of each image, (images, 1)."""
        return self._values[node].abs().flatten(1).amax(1, keepdim=True).double()

    def _weighted(self, step: Step, rule: Weighted) -> Tensor:
        """The largest value times the largest sum of one channel's weights over the window."""
        low, high = (
            part.double() for part in self._values[rule.parts(step)[0]].flatten(1).aminmax(dim=1)
        )
        weight = rule.fields(step, self._values).weight.flatten(2)
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
