"""Heat maps of relevance that is carried down to a fine layer, less as much of the rival's as tells the two apart."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, fx
from torch.nn.functional import adaptive_avg_pool2d

from cofire.errors import NonFiniteError, RuleError
from cofire.explain.methods.lrp_plan import LrpPlan, lrp_plan_of
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.tracing.plan import once_a_graph, plan_of
from cofire.network import ActivationLayer, Network

_FINEST = 56
"""More rows or columns are averaged down to so many: finer detail is blurred away anyhow."""

_TINY = torch.finfo(torch.float64).tiny

_STEPS = 40
"""How finely it is told how much of the rival's relevance is taken away."""


@dataclass(frozen=True, eq=False)
class Carrying:
    """Between which values of a network relevance is carried.

    Attributes:
        plan: How relevance goes through the graph.
        top: The last value with places that everything passes: where relevance starts.
        bottom: The last value of so many rows and columns that everything passes; `top` itself, or the
            image, where there is no other.
    """

    plan: LrpPlan
    top: fx.Node
    bottom: fx.Node


def carrying_of(network: Network, rows: int) -> Carrying | None:
    """Where relevance starts and where it ends; None where no rule carries it, or nothing has places.

    Args:
        network: With a graph.
        rows: How many rows and columns the value has at the least at which relevance ends.

    Example:
        >>> from torch import nn
        >>> first, second = nn.Conv2d(1, 2, 3, padding=1), nn.Conv2d(2, 2, 3)
        >>> head = nn.Sequential(nn.Flatten(), nn.Linear(8, 2))
        >>> model = nn.Sequential(first, nn.ReLU(), nn.MaxPool2d(2), second, nn.ReLU(), head)
        >>> found = carrying_of(Network(model, torch.zeros(1, 1, 8, 8)), 4)
        >>> found.top.name, found.bottom.name
        ('relu_1', 'max_pool2d')
    """
    plan, places = _places(network)
    if plan is None or not places:
        return None
    fine = [node for node, size in places if min(size) >= rows]
    return Carrying(plan, places[-1][0], fine[-1] if fine else plan.image)


@once_a_graph
def _places(network: Network) -> tuple[LrpPlan | None, list[tuple[fx.Node, tuple[int, int]]]]:
    judged = plan_of(network).judged
    # Values of other shapes have their channels last, or are tokens.
    first = [isinstance(one, ActivationLayer) and not one.channel_axis for one in judged.values()]
    if not all(first) or not first:
        return None, []
    try:
        plan = lrp_plan_of(network)
    except RuleError:
        return None, []
    sizes = [(node, tuple(node.meta["val"].shape[2:])) for node in plan.passed]
    return plan, [(node, (h, w)) for node, (h, w) in sizes if max(h, w) > 1]


def relevance_map(
    network: Network,
    images: Tensor,
    classes: Tensor,
    carrying: Carrying,
    contrast: float,
    overlap: float,
    first: int = 0,
) -> LayerMaps | None:
    """Where the evidence for a class comes from, as far as it is not the same as its rival's.

    At `carrying.top`, with activations a, each neuron starts with its part `(a · ∂z_c/∂a)⁺` of the
    share of its place, `(Σ_channels a · ∂z_c/∂a)⁺` (or, where no place has any, alone). By the z⁺ rule (see
    `cofire.explain.methods.lrp.relevance`) this goes down to `carrying.bottom`; there P_c is its sum
    over channels, and P_d the same for the rival d, the most probable class that is not explained.
    The map is `(P_c − g · P_d)⁺`, each P of sum 1, with the least g for which it and `(P_d − g · P_c)⁺`
    have no more than `overlap` in common: none where class and rival lie apart anyhow.

    Args:
        network: With a graph.
        images: (images, channels, height, width), checked.
        classes: The classes explained, (images, n); their logits are summed.
        carrying: From where to where.
        contrast: What g stays below, from 0 to 1.
        overlap: What the maps of class and rival may have in common, above 0 and up to 1.
        first: The number of the first image, for messages.

    Returns:
        One map for each image, None where no gradient leads from the logits to `carrying.top`.

    Raises:
        NonFiniteError: A gradient, or relevance, is NaN or infinite.
    """
    # Methods are listed in the order in which their files are imported.
    from cofire.explain.methods.lrp import relevance_functions

    plan, top, bottom = carrying.plan, carrying.top, carrying.bottom
    functions = relevance_functions(plan, plan.between(bottom, top))
    with torch.inference_mode(False), torch.enable_grad():
        logits, values = network.trace(images, [bottom, top], gradients=True, replace=functions)
        explained = [classes]
        if contrast and classes.shape[1] < logits.shape[1]:
            explained.append(
                logits.detach().scatter(1, classes, -torch.inf).argmax(1, keepdim=True)
            )
        carried = [_carried(logits, which, values[top], values[bottom]) for which in explained]
    maps = [one for one in carried if one is not None]
    if len(maps) < len(carried):
        return None
    bad = torch.stack([~one.isfinite().flatten(1).all(1) for one in maps]).any(0)
    if bool(bad.any()):
        raise NonFiniteError(
            f"NaN or infinite gradients or relevance between {top.name} and {bottom.name}, first for image "
            f"{first + int(bad.nonzero()[0])}",
            "finite images, weights, activations and gradients",
            "look for NaN in the image and the weights; in half precision, use float32 or bfloat16",
        )
    found = apart(maps[0], maps[1], overlap, contrast) if len(maps) > 1 else _normalised(maps[0])
    return LayerMaps((bottom.name,), (found,))


def apart(first: Tensor, second: Tensor, overlap: float, most: float = 1.0) -> Tensor:
    """The first map less as much of the second as leaves both no more than a share in common.

    What two maps of sum 1 have in common is the sum of the lesser of both.

    Args:
        first: (images, height, width), from 0 up.
        second: The same.
        overlap: The share, above 0 and up to 1.
        most: Less than so much of the second is taken away, whatever they then have in common.

    Returns:
        (images, height, width), of sum 1 where there is anything; maps that are the same stay.

    Example:
        >>> one, two = torch.tensor([[[0.5, 0.5, 0.0]]]), torch.tensor([[[0.0, 0.5, 0.5]]])
        >>> apart(one, two, 0.5)[0, 0].tolist(), [round(v, 3) for v in apart(one, two, 0.2)[0, 0].tolist()]
        ([0.5, 0.5, 0.0], [0.8, 0.2, 0.0])
    """
    one, two = _normalised(first), _normalised(second)
    found, settled = one, torch.zeros(len(one), dtype=torch.bool, device=one.device)
    for step in range(_STEPS):
        taken = most * step / _STEPS
        left, right = _normalised(one - taken * two), _normalised(two - taken * one)
        found = torch.where(settled[:, None, None], found, left)
        # A share that is reached exactly counts as reached, however it rounds.
        settled = settled | (torch.minimum(left, right).sum((1, 2)) <= overlap + 1e-9)
        if bool(settled.all()):
            break
    return found


def _normalised(values: Tensor) -> Tensor:
    values = values.double().clamp(min=0)
    return values / values.sum((1, 2), keepdim=True).clamp(min=_TINY)


def _carried(logits: Tensor, classes: Tensor, top: Tensor, bottom: Tensor) -> Tensor | None:
    """The relevance of classes at the bottom, (images, height, width), float64, from 0 up or not finite."""
    if not logits.requires_grad:
        return None
    start = torch.zeros_like(logits).scatter(1, classes, 1.0)
    (gradient,) = torch.autograd.grad(logits, top, start, retain_graph=True, allow_unused=True)
    if gradient is None:
        return None
    evidence = top.detach().double() * gradient.double()
    part, place = evidence.clamp(min=0), evidence.sum(1, keepdim=True)
    # Where every place speaks against the class, what speaks for it does so in places all the same.
    there = (place > 0).flatten(1).any(1)[:, None, None, None]
    place = torch.where(there, place.clamp(min=0), part.sum(1, keepdim=True))
    share = place / place.sum((2, 3), keepdim=True).clamp(min=_TINY)
    begun = (share * part / part.sum(1, keepdim=True).clamp(min=_TINY)).to(top.dtype)
    if top is bottom:
        found = begun
    else:
        (found,) = torch.autograd.grad(top, bottom, begun, retain_graph=True)
    # A clamp would hide what is not finite.
    summed = found.double().sum(1) + 0 * evidence.sum((1, 2, 3))[:, None, None]
    summed = torch.where(summed < 0, 0.0, summed)
    if max(summed.shape[1:]) > _FINEST:
        height, width = (min(size, _FINEST) for size in summed.shape[1:])
        summed = adaptive_avg_pool2d(summed[:, None], (height, width))[:, 0]
    return summed
