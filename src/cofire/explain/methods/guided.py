"""Heat maps of what speaks for a class rather than its rival, begun at the last places and followed down once."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import product
from typing import Any

import torch
from torch import Tensor, fx

from cofire.explain.methods.lrp_plan import passed
from cofire.explain.result.layer_maps import LayerMaps, refuse_not_finite, shares_on
from cofire.explain.rules.positions import TokenMap, token_maps
from cofire.explain.rules.registry import Step
from cofire.explain.rules.reshape import Reorder
from cofire.explain.tracing.plan import Plan, once_a_graph, plan_of
from cofire.network import ActivationLayer, Network
from cofire.network.reading import module_of

Function = Callable[..., Any]

_TINY = torch.finfo(torch.float64).tiny

ROWS = 48
"""The finest layer that is read is the coarsest of so many rows and columns."""

_NEVER_BELOW_ZERO = ("relu", "relu6", "sigmoid", "hardsigmoid")


@dataclass(frozen=True, eq=False)
class Guide:
    """From where to where evidence goes down.

    Attributes:
        starts: Values at which evidence starts; the first at which there is any, image by image.
        read: Values at which it is looked where the evidence lies, from the input up.
        functions: What takes the place of activation layers, so that only what speaks for the class
            goes on.
    """

    starts: Mapping[fx.Node, TokenMap]
    read: Mapping[fx.Node, TokenMap]
    functions: Mapping[fx.Node, Function] = field(default_factory=dict)


def guide_of(network: Network, weights: bool = False, rows: int = ROWS) -> Guide | None:
    """The way of a network's evidence from its last places down; None where there are none that everything passes.

    A network of feature maps starts at the last value with places that everything passes (what is
    only moved, or a part, counts as what it was before), and is
    read there and at the last activation layer of each resolution, the finest of them the coarsest
    that has `rows` rows and columns: what is finer is blurred away, and evidence has not to go
    there. One with attention starts behind its last block whose tokens with places lead to the
    logits, and is read after each block and at the image.

    Args:
        network: With a graph.
        weights: Whether evidence also goes through the weights of attention.
        rows: How fine the finest layer is that is read.

    Raises:
        RuleError: An operator has no rule.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(18, 2))
        >>> found = guide_of(Network(model, torch.zeros(1, 1, 8, 8)))
        >>> [node.name for node in found.starts], [place.name for place in found.read.values()]
        (['max_pool2d'], ['1', '2'])
    """
    return _guide(network, weights, rows)


@once_a_graph
def _guide(network: Network, weights: bool, rows: int) -> Guide | None:
    plan = plan_of(network, weights)
    if not plan.judged:
        return None
    judged = {node: _places(layer) for node, layer in plan.judged.items()}
    if plan.functions:
        height, width = network.input_shape[1:]
        image = TokenMap("input", 0, (height, width), torch.arange(height * width))
        return Guide(dict(reversed(judged.items())), {plan.image: image, **judged})
    starts = _last_passed(plan)
    if starts is None:
        return None
    order = {node: number for number, node in enumerate(plan.functional.graph.nodes)}
    top = max(map(order.__getitem__, starts))
    finest = min((size for size in map(_side, judged.values()) if size >= rows), default=math.inf)
    read = {node: place for node, place in judged.items() if _side(place) <= finest} | starts
    read = {node: place for node, place in read.items() if order[node] <= top}
    return Guide(
        starts,
        {node: read[node] for node in sorted(read, key=order.__getitem__)},
        {n: partial(_speaking, Step.of(n), n in read) for n in plan.layers if order[n] < top},
    )


def _side(place: TokenMap) -> int:
    return min(place.grid)


def _places(layer: ActivationLayer | TokenMap) -> TokenMap:
    if isinstance(layer, TokenMap):
        return layer
    rows, columns = (size for axis, size in enumerate(layer.shape) if axis != layer.channel_axis)
    return TokenMap(layer.name, layer.channel_axis, (rows, columns), torch.arange(rows * columns))


def _last_passed(plan: Plan) -> dict[fx.Node, TokenMap] | None:
    """The last value with places that every way from the image to the logits goes through."""
    graph = plan.functional.graph
    order = [node for node in graph.nodes if node is plan.image or node in plan.steps]
    names = {
        node: plan.layers[node].name if node in plan.layers else module_of(node)[0] or node.name
        for node in passed(order, set(order))[1:]
    }
    # What was moved after it was computed, or cut, lies where it came from.
    computed = [node for node in names if not isinstance(plan.steps[node][1], Reorder)]
    # The last will nearly always do; to look at all of them takes long.
    for among in (computed[-1:], computed, names):
        placed = token_maps(graph, plan.image, {node: names[node] for node in among})
        if placed:
            last = list(placed)[-1]
            return {last: placed[last]}
    return None


def _speaking(step: Step, read: bool, *arguments: Any, **keywords: Any) -> Tensor:
    """An activation layer from which only evidence for the class goes on down, or is read."""
    compute: Any = step.node.target
    value: Tensor = compute(*arguments, **keywords)
    if not (read or value.requires_grad):
        return value
    value.requires_grad_()
    held = None if step.name in _NEVER_BELOW_ZERO else value.detach() < 0

    def speaking(gradient: Tensor) -> Tensor:
        positive = gradient.clamp(min=0)
        return positive if held is None else torch.where(held, gradient.clamp(max=0), positive)

    value.register_hook(speaking)  # type: ignore[no-untyped-call]
    return value


def guided_evidence(
    guide: Guide,
    logits: Tensor,
    values: Mapping[fx.Node, Tensor],
    classes: Tensor,
    contrast: float,
    first: int = 0,
) -> LayerMaps | None:
    """Where the evidence for a class rather than its strongest rival comes from, followed down once.

    What is explained is `z_c − contrast · z_d`, d the most probable class that is not explained, or
    `z_c` alone where nothing speaks for that. At
    the start, with activations a and the gradient g of that number, each place has the share
    `(Σ_channels a · g)⁺` of it, or `Σ_channels (a · g)⁺` where no place speaks for it; it hands that
    on to its channels in proportion to `(a · g)⁺`. From there it goes down by
    gradients; with `guide.functions`, at every activation layer only what speaks for the class goes
    on: `a · g > 0`. In a network with attention, what scales a value is a number (see
    `cofire.explain.rules.linear.linear_functions`). The map of a layer is `(Σ_channels a · g)⁺`, as
    shares of 1.

    Args:
        guide: The way.
        logits: (images, classes), recorded by autograd.
        values: Of the guide's nodes, recorded too.
        classes: The classes explained, (images, n); z_c is the mean of their logits.
        contrast: From 0 up to 1.
        first: The number of the first image, for messages.

    Returns:
        None where no start leads to the logits by differentiable operators.

    Raises:
        NonFiniteError: A gradient is NaN or infinite.
    """
    starts = [node for node in guide.starts if values[node].requires_grad]
    if not starts or not logits.requires_grad:
        return None
    asked = [torch.zeros_like(logits).scatter(1, classes, 1.0 / classes.shape[1])]
    if contrast and classes.shape[1] < logits.shape[1]:
        rivals = logits.detach().scatter(1, classes, -torch.inf).argmax(1, keepdim=True)
        asked.insert(0, asked[0].scatter(1, rivals, -contrast))
    waiting = torch.ones(len(logits), dtype=torch.bool, device=logits.device)
    begun: dict[fx.Node, Tensor] = {}
    # The caller may be in a mode in which nothing is recorded, nor could what is recorded be read.
    with torch.inference_mode(False), torch.no_grad():
        for node, of in product(starts, asked):
            (gradient,) = torch.autograd.grad(
                logits, values[node], of, retain_graph=True, allow_unused=True
            )
            if gradient is None:
                continue
            place, value = guide.starts[node], values[node].detach()
            own, there = _begun(place, node, value, gradient, first)
            own = own * (waiting & there).reshape(-1, *[1] * (own.ndim - 1))
            begun[node] = begun[node] + own if node in begun else own
            waiting = waiting & ~there
            if not bool(waiting.any()):
                break
        if not begun:
            return None
        read = [node for node in guide.read if values[node].requires_grad]
        found = torch.autograd.grad(
            [values[node] for node in begun],
            [values[node] for node in read],
            list(begun.values()),
            retain_graph=True,
            allow_unused=True,
        )
        maps = []
        for node, gradient in zip(read, found, strict=True):
            place, value = guide.read[node], values[node].detach()
            evidence = _wide(value) * (0.0 if gradient is None else _wide(gradient))
            summed = place.on_the_map(evidence.sum(place.channel_axis + 1))
            maps.append(shares_on(summed, f"'{place.name}' ({node.name})", first))
    return LayerMaps(tuple(guide.read[node].name for node in read), tuple(maps))


def _wide(value: Tensor) -> Tensor:
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _begun(
    place: TokenMap, node: fx.Node, value: Tensor, gradient: Tensor, first: int
) -> tuple[Tensor, Tensor]:
    """The gradient with which evidence starts, and which images have any there."""
    axis, slope = place.channel_axis + 1, _wide(gradient)
    evidence = _wide(value) * slope
    parts = evidence.clamp(min=0).sum(axis, keepdim=True).double()
    whole = place.on_the_map(evidence.sum(axis)).double()
    refuse_not_finite(whole, f"'{place.name}' ({node.name})", first)
    speaks = (whole > 0).flatten(1).any(1)[:, None, None]
    chosen = torch.where(speaks, whole.clamp(min=0), place.on_the_map(parts.squeeze(axis)))
    total = chosen.sum((1, 2), keepdim=True)
    weight = torch.zeros_like(parts.squeeze(axis)).flatten(1)
    weight[:, place.cells.to(weight.device)] = (chosen / total.clamp(min=_TINY)).flatten(1)
    weight = weight.reshape(parts.squeeze(axis).shape).unsqueeze(axis)
    by = torch.where(parts > 0, weight / parts.clamp(min=_TINY), 0.0)
    begun = torch.where(evidence > 0, slope, 0.0) * by
    # Shares of it alone are read: near 1 its gradients are not lost in half precision.
    scale = begun.flatten(1).amax(1).frexp().exponent
    begun = begun.ldexp(-scale.reshape(-1, *[1] * (begun.ndim - 1)))
    return begun.to(value.dtype), total[:, 0, 0] > 0
