"""The support of the preceding layer for a neuron (P3 Eq. 3): the highest of its own inputs' contributions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, fx

from cofire.compiled import compiler, over
from cofire.explain.rules import Values
from cofire.explain.rules.binary import Extreme, Product, Sum, places_of
from cofire.explain.rules.elementwise import BatchNorm, Elementwise, Scaling
from cofire.explain.rules.flow import Flow
from cofire.explain.rules.pooling import AveragePool, MaxPool
from cofire.explain.rules.reshape import Concatenation, Reorder
from cofire.explain.rules.weighted import Fields, Weighted, candidates_of
from cofire.explain.tracing.merging import settled
from cofire.explain.tracing.plan import Plan
from cofire.explain.tracing.windows_on_cpu import WindowsOnCPU

_CHUNK = 1 << 21

_SLACK = 1.0 + 1e-6
"""By how much bounds are above what sums can be, so that rounding does not take any above them."""


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
    row = torch.arange(len(index), device=index.device)
    nothing = torch.zeros(len(index), dtype=torch.float64, device=index.device)
    flow = Flow(image, index, direction, nothing, row, own=False)
    flow, back = settled(flow, values[node][0].numel(), True, None)
    return _highest(plan, values, node, flow)[back]


def _highest(plan: Plan, values: Values, node: fx.Node, flow: Flow, joined: bool = False) -> Tensor:
    if node not in plan.steps or not len(flow):
        return torch.zeros_like(flow.score)
    step, rule = plan.steps[node]
    if isinstance(rule, Weighted):
        fields = rule.fields(step, values)
        if flow.image.device.type == "cpu":
            return WindowsOnCPU(fields, flow, all_of_them=False).highest()
        each = max(1, _CHUNK // fields.width)
        parts = [flow.where(slice(a, a + each)) for a in range(0, len(flow), each)]
        # What contributes nothing counts as 0.
        return torch.cat([candidates_of(fields, part).support.amax(1) for part in parts])
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
            part = replace(flow.scaled(by), index=places_of(step, operand, flow.index))
            value = _highest(plan, values, operand, part, joined=True)
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

    def upper_bounds(self, fields: Fields) -> InputBounds:
        """What it can be at the most for the inputs of each neuron.

        Args:
            fields: What the neurons see.
        """
        return self.bounds.of(self.operand).of_inputs(fields, self.flow)


@dataclass(frozen=True, eq=False)
class InputBounds:
    """What `Z_pre` of the inputs of some neurons can be at the most, without a number for each of them.

    Attributes:
        channels: (parts, images or 1, channels or 1) float64.
        windows: (parts, neurons) float64.
        products: Of so many parts the product of both counts, of the others the lower; of all
            parts the highest.
    """

    channels: Tensor
    windows: Tensor
    products: int

    def of_each(self, image: Tensor, first: Tensor, candidates: int) -> Tensor:
        """All of them, (neurons, candidates).

        Args:
            image: (neurons,), whose they are.
            first: (neurons,), the channel of the first candidate.
            candidates: How many each has.
        """
        found = self.windows.new_zeros(len(first), candidates)
        among = first[:, None] + torch.arange(candidates, device=first.device)
        _, images, channels = self.channels.shape
        row = image[:, None] if images > 1 else torch.zeros_like(among[:, :1])
        for part, window in enumerate(self.windows):
            each = self.channels[part][row, among if channels > 1 else torch.zeros_like(among)]
            both = each * window[:, None]
            lower = torch.minimum(each, window[:, None])
            found = torch.maximum(found, both if part < self.products else lower)
        return found


@dataclass(frozen=True)
class Bound:
    """What `Z_pre` of the values of a node can be at the most, from one number for each channel and each place.

    Attributes:
        products: The bound is the highest of these products of a channel's number, (images or 1,
            channels or 1), and a place's, (images or 1, places or 1).
        values: And of these: the lower of both numbers.
        last: Whether channels are the last axis of one sample, not the first.
    """

    products: tuple[tuple[Tensor, Tensor], ...] = ()
    values: tuple[tuple[Tensor, Tensor], ...] = ()
    last: bool = False

    def scaled(self, by: Tensor) -> Bound:
        """With values multiplied by a number, or one for each channel, (1,) or (channels,)."""
        products = tuple(
            # What is scaled by zero has nothing before it, whatever it is.
            (torch.where(by == 0, 0.0, channels * by), places)
            for channels, places in self.products
        )
        values = tuple((channels * by, places * by.amax()) for channels, places in self.values)
        return replace(self, products=products, values=values)

    def over_places(self) -> Bound:
        """For each channel alone."""
        return self._highest(lambda channels, places: (channels, places.amax(1, keepdim=True)))

    def over_all(self) -> Bound:
        """For each image alone, whatever becomes of channels and places."""
        return self._highest(
            lambda channels, places: (channels.amax(1, keepdim=True), places.amax(1, keepdim=True))
        )

    def endless(self) -> Bound:
        """Whatever values are multiplied by: infinite where there is anything before them."""
        some = [channels[:1, :1] for channels, _ in (*self.products, *self.values)]
        return Bound(tuple((torch.full_like(one, torch.inf), torch.ones_like(one)) for one in some))

    def of_inputs(self, fields: Fields, flow: Flow) -> InputBounds:
        """For the inputs of neurons.

        Args:
            fields: What the neurons see, this node's values.
            flow: The neurons.
        """
        channels, *size = fields.given.shape[1:]
        bound = self if self._fits(channels, size[0] * size[1], fields.last) else self.over_all()
        parts = (*bound.products, *bound.values)
        if not parts:
            none = flow.score.new_zeros(0, 1, 1)
            return InputBounds(none, flow.score.new_zeros(0, len(flow)), 0)
        widest = [max(sizes) for sizes in zip(*(one.shape for one, _ in parts), strict=True)]
        seen: list[tuple[Tensor, Tensor]] = []

        def of_windows(each: Tensor) -> Tensor:
            image = flow.image if len(each) > 1 else torch.zeros_like(flow.image)
            if each.shape[1] == 1:
                return each[image, 0]
            if not seen:
                _, y, x = fields.seen_from(flow.index)
                seen.append(fields.windows.places(y, x))
            (place, inside) = seen[0]
            return each[image[:, None], place].masked_fill_(~inside, 0.0).amax(1)

        return InputBounds(
            torch.stack([one.expand(widest) for one, _ in parts]),
            torch.stack([of_windows(other) for _, other in parts]),
            len(bound.products),
        )

    def _fits(self, channels: int, places: int, last: bool) -> bool:
        parts = (*self.products, *self.values)
        return (self.last == last or places == 1) and all(
            one.shape[1] in (1, channels) and other.shape[1] in (1, places) for one, other in parts
        )

    def _highest(self, of: Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]) -> Bound:
        return replace(
            self,
            products=tuple(of(*part) for part in self.products),
            values=tuple(of(*part) for part in self.values),
        )


def joint(bounds: Sequence[Bound]) -> Bound:
    """The highest of some bounds of the same values."""
    if len({bound.last for bound in bounds}) > 1:
        bounds = [bound.over_all() for bound in bounds]
    return Bound(
        tuple(part for bound in bounds for part in bound.products),
        tuple(part for bound in bounds for part in bound.values),
        bounds[0].last,
    )


class UpperBounds:
    """Upper bounds of `Z_pre` for the neurons of a batch, worked out when they are asked for.

    Args:
        plan: The way back.
        values: Of the nodes that the plan's rules want to see, for the batch.
    """

    def __init__(self, plan: Plan, values: Values) -> None:
        self.plan = plan
        self.values = values
        self._known: dict[tuple[fx.Node, bool], Bound] = {}

    def of(self, node: fx.Node, joined: bool = False) -> Bound:
        """A bound for all neurons of a node; infinite where there is none that is cheap.

        Args:
            node: Where the neurons are.
            joined: Whether a sum below counts as it is, see `preceding_support`.
        """
        found = self._known.get((node, joined))
        if found is None:
            found = self._known[node, joined] = self._of(node, joined)
        return found

    def _of(self, node: fx.Node, joined: bool) -> Bound:
        if node not in self.plan.steps:
            return Bound()
        step, rule = self.plan.steps[node]
        if isinstance(rule, Weighted):
            return self._weighted(rule.fields(step, self.values))
        operands = rule.operands(step)
        if isinstance(rule, AveragePool):
            return self._own(operands[0]).over_all()
        if isinstance(rule, Sum) and len(operands) == 2:
            found = []
            for operand, sign in zip(operands, rule.signs(step), strict=True):
                alone = joined or not _leads_to_weights(self.plan, operand)
                below = self._own(operand) if alone else self.of(operand, joined=True)
                if step.shape_of(operand) != step.shape:
                    below = below.over_all()
                found.append(below.scaled(torch.full((1,), abs(sign)).to(self._like)))
            return joint(found)
        below = joint([self.of(operand, joined) for operand in operands])
        if isinstance(rule, BatchNorm):
            if below.last and len(step.shape) > 1:
                below = replace(below.over_all(), last=False)
            return below.scaled(rule.scales(step, self.values).abs())
        if isinstance(rule, Elementwise) and type(rule).trace is Elementwise.trace:
            return below
        if isinstance(rule, MaxPool):
            shapes = (step.shape, step.shape_of(operands[0]))
            of_maps = {len(shape) for shape in shapes} == {3} and shapes[0][0] == shapes[1][0]
            return below.over_places() if of_maps else below.over_all()
        if isinstance(rule, Reorder | Concatenation | Extreme):
            return below.over_all()
        return below.endless()

    @property
    def _like(self) -> Tensor:
        image = self.values[self.plan.image]
        return torch.empty(0, dtype=torch.float64, device=image.device)

    def _own(self, node: fx.Node) -> Bound:
        """The largest absolute values of each channel and of each place."""
        given = self.values[node]
        size = given.reshape(len(given), *(given.shape[1:2] or (1,)), -1).abs()
        of_channels, of_places = size.amax(2), size.amax(1)
        return Bound(values=((of_channels.double() * _SLACK, of_places.double() * _SLACK),))

    def _weighted(self, fields: Fields) -> Bound:
        """The largest value in a window times the largest sum of a channel's weights over it."""
        high, low = fields.given.amax(1), fields.given.amin(1)
        signed = bool((low < 0).any())
        size = torch.maximum(high, -low) if signed else high
        places = fields.windows.highest(size, fields.result[1:]).flatten(1)
        places = places.double() * _SLACK
        if fields.last:
            # One look at the weights: those of a fully connected layer can be a hundred million.
            least, most = fields.weight.aminmax()
            return Bound(((torch.maximum(most, -least).double().reshape(1, 1), places),), last=True)
        return Bound(((reach_of(fields.weight, signed)[None], places),))


def reach_of(weight: Tensor, signed: bool) -> Tensor:
    """By how much a window of values up to 1 can speak for or against each output, by one channel.

    Args:
        weight: (outputs, channels, height, width).
        signed: Whether values may be below zero; else weights above zero speak for an output, or
            those below zero against it, never both.

    Returns:
        (outputs,) float64.

    Example:
        >>> weight = torch.tensor([[[[1.0, -3.0]], [[2.0, 0.5]]]])
        >>> reach_of(weight, signed=False).tolist(), reach_of(weight, signed=True).tolist()
        ([3.0], [4.0])
    """
    taps = weight.flatten(2)
    if taps.shape[2] == 1:
        return torch.maximum(taps[..., 0].amax(1), -taps[..., 0].amin(1)).double()
    if taps.device.type == "cpu" and taps.dtype in (torch.float32, torch.float64):
        found = torch.empty(len(taps), dtype=torch.float64)
        over(_reach, len(taps), taps.numel(), taps.detach().numpy(), signed, found.numpy())
        return found
    taps = taps.double()
    whole = taps.abs().sum(2)
    return (whole if signed else (whole + taps.sum(2).abs()) / 2).amax(1)


@compiler()
def _reach(begin: Any, end: Any, weight: Any, signed: Any, found: Any) -> None:
    for output in range(begin, end):
        most = 0.0
        for channel in range(weight.shape[1]):
            whole = total = 0.0
            for tap in range(weight.shape[2]):
                whole += abs(weight[output, channel, tap])
                total += weight[output, channel, tap]
            most = max(most, whole if signed else (whole + abs(total)) / 2)
        found[output] = most
