"""P3's score: which of the inputs of a neuron are discernible (Eqs. 1 to 5)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cofire.explain.rules.flow import Flow
from cofire.explain.rules.weighted import Candidates, Fields, candidates_of
from cofire.explain.tracing.features_on_cpu import choose_all_features
from cofire.explain.tracing.pruning_on_cpu import Scores, highest_with_bounds
from cofire.explain.tracing.support import Preceding
from cofire.explain.tracing.windows_on_cpu import WindowsOnCPU


@dataclass(frozen=True)
class Scoring:
    """How the inputs of a neuron are scored and how many of them are chosen.

    Attributes:
        current: Weight of the support from the current layer, activation times weight (P3's α_cur).
        preceding: Weight of the support from the preceding layer (α_pre).
        k: How many inputs of a convolution's neuron are chosen at the most, None for all.
        k_linear: The same for linear layers.
        counted: Whether an input counts more that has the highest support for several neurons
            (Z_suc).
        carried: Whether neurons hand on their score in proportion; else each chosen neuron carries
            1.
        most: How many neurons of an image go on from one place of the network, those that carry
            most; None for all.
        literal: Whether inputs are chosen as P3's Algorithm 1 says, by nothing else (see
            `cofire.explain.tracing.scoring`).
    """

    current: float = 1.0
    preceding: float = 0.0
    k: int | None = 1
    k_linear: int | None = 1
    counted: bool = True
    carried: bool = True
    most: int | None = None
    literal: bool = False


def choose(
    scoring: Scoring,
    flow: Flow,
    fields: Fields,
    preceding: Preceding,
    most: int | None,
    last_resort: bool = True,
) -> Flow:
    """The inputs that are chosen for each neuron, with their share of its score.

    `Ω = α_suc · Z_suc · (α_cur · Z_cur + α_pre · Z_pre)` for each input; the highest are chosen,
    the lower index first where several are equal, and share the neuron's score in proportion. Where
    none is above zero, the highest one takes all.

    By the letter of P3's Algorithm 1 (`scoring.literal`) every input takes part, one that
    contributes nothing as well, and k are chosen whether their scores are above zero or not; of
    equal ones the first, be it an input or a place in a window. What is chosen is explained as a
    large value, whatever the sign of its weight. Otherwise what is silent is passed over, an input
    with a negative weight is asked why it is small, and nothing is taken that speaks against a
    neuron while something speaks for it.

    Args:
        scoring: The weights.
        flow: (neurons,), folded where scoring is literal.
        fields: What the neurons see.
        preceding: What the layer before the inputs says about them.
        most: How many to choose, None for all.
        last_resort: Whether an input without a score above zero can be chosen; else the evidence
            ends.
    """
    if takes_all_features(scoring, flow, fields, most):
        return choose_all_features(
            flow,
            fields,
            counted=scoring.counted,
            carried=scoring.carried,
            most=scoring.most,
            last_resort=last_resort,
        )
    if scoring.literal:
        sees = fields.windows.places(*fields.seen_from(flow.index)[1:])[1].any(1)
        if not bool(sees.all()):
            flow = flow.where(sees)
            preceding = replace(preceding, flow=flow)
    on_cpu = flow.image.device.type == "cpu" and not scoring.literal
    chosen = _chosen_on_cpu if on_cpu else chosen_by_definition
    return chosen(scoring, flow, fields, preceding, most, last_resort)


def one_by_one(scoring: Scoring, flow: Flow, fields: Fields, most: int | None) -> bool:
    """Whether neurons are looked at one after the other, so that nothing is kept for all their inputs."""
    return takes_all_features(scoring, flow, fields, most) or (
        takes_the_highest(scoring, most) and flow.image.device.type == "cpu" and not scoring.literal
    )


def takes_the_highest(scoring: Scoring, most: int | None) -> bool:
    """Whether the input with the highest support is chosen, by nothing else."""
    return most == 1 and not scoring.preceding and not scoring.counted


def takes_all_features(scoring: Scoring, flow: Flow, fields: Fields, most: int | None) -> bool:
    """Whether every input that speaks for a neuron is chosen, so that pairs of both need no list."""
    plain = not scoring.preceding and (scoring.carried or not scoring.counted)
    on_cpu = flow.image.device.type == "cpu" and not scoring.literal
    return on_cpu and fields.last and most is None and plain


def _chosen_on_cpu(
    scoring: Scoring,
    flow: Flow,
    fields: Fields,
    preceding: Preceding,
    most: int | None,
    last_resort: bool,
) -> Flow:
    if takes_the_highest(scoring, most):
        return WindowsOnCPU(fields, flow, all_of_them=False).one(last_resort)
    seen = WindowsOnCPU(fields, flow)
    candidates = seen.support.shape[1]
    most = candidates if most is None else min(most, candidates)
    if not scoring.preceding:
        return seen.chosen(seen.support, most, scoring.counted, last_resort)
    times = torch.ones_like(seen.support, dtype=torch.float32)
    if scoring.counted:
        seen.reward(times)

    def support(neuron: Tensor, candidate: Tensor) -> Tensor:
        return preceding.support(neuron, *seen.places(neuron, candidate))

    if most == candidates:
        takes_part = seen.support > -torch.inf
        many = times.double()
        score, weight = many * scoring.current * seen.support, scoring.preceding * many
        score = pruned(score, weight, takes_part, most, None, support)
        return seen.chosen(score, most, False, last_resort)
    scores = Scores(seen.support, times, scoring.current, scoring.preceding)
    bounds = preceding.upper_bounds(fields)
    parts = (bounds, flow.image, seen.first, most, last_resort, support)
    return seen.handed_on(*highest_with_bounds(scores, *parts))


def chosen_by_definition(
    scoring: Scoring,
    flow: Flow,
    fields: Fields,
    preceding: Preceding,
    most: int | None,
    last_resort: bool,
) -> Flow:
    """The same as compiled code gives on the CPU, on any device."""
    literal = scoring.literal
    inputs = candidates_of(fields, flow, first_largest=literal)
    takes_part = torch.ones_like(inputs.matters) if literal else inputs.matters
    most = inputs.support.shape[1] if most is None else min(most, inputs.support.shape[1])
    directions = inputs.direction
    if literal:
        directions = torch.ones_like(directions, dtype=torch.float64)

    def support(neuron: Tensor, candidate: Tensor) -> Tensor:
        index = fields.index(inputs.first[neuron] + candidate, inputs.place[neuron, candidate])
        return preceding.support(neuron, index, directions[neuron, candidate])

    times = torch.ones_like(inputs.support)
    if scoring.counted:
        times = _times_highest(inputs, takes_part, flow, fields).double()
    score = times * scoring.current * inputs.support
    if scoring.preceding:
        weight, bound = scoring.preceding * times, None
        if most < inputs.support.shape[1]:
            bounds = preceding.upper_bounds(fields)
            bound = bounds.of_each(flow.image, inputs.first, inputs.support.shape[1])
        score = pruned(score, weight, takes_part, most, bound, support)
    picked, share = pick(score.masked_fill_(~takes_part, -torch.inf), most, last_resort)
    if literal:
        share = torch.full_like(share, 1 / most)
    neuron, position = (share > 0).nonzero(as_tuple=True)
    at = picked[neuron, position]
    index = fields.index(inputs.first[neuron] + at, inputs.place[neuron, at])
    carried = flow.score[neuron] * share[neuron, position]
    return Flow(
        flow.image[neuron], index, directions[neuron, at], carried, flow.row[neuron], own=False
    )


def pruned(
    own: Tensor,
    weight: Tensor,
    takes_part: Tensor,
    most: int,
    bound: Tensor | None,
    support: Callable[[Tensor, Tensor], Tensor],
) -> Tensor:
    """Scores of all inputs that can be among the highest; minus infinity for the others.

    The support of the preceding layer is the costly term. Some inputs get it first; who cannot
    reach the score of the last of these that would be chosen, even with the highest support there
    can be, does not need it.

    Args:
        own: (neurons, candidates), the score without this support.
        weight: (neurons, candidates), of this support.
        takes_part: (neurons, candidates), who can be chosen.
        most: How many are chosen.
        bound: (neurons, candidates), the highest support there can be; None where all are chosen.
        support: Gives it, from neurons and candidates.
    """
    known = torch.full_like(own, -torch.inf)

    def settle(neuron: Tensor, candidate: Tensor) -> None:
        known[neuron, candidate] = own[neuron, candidate] + weight[neuron, candidate] * support(
            neuron, candidate
        )

    if bound is None:
        settle(*takes_part.nonzero(as_tuple=True))
        return known
    at_most = torch.addcmul(own, weight, bound).masked_fill_(~takes_part, -torch.inf)
    found, likely = torch.topk(at_most, min(3 * most // 2, own.shape[1]))
    neuron, number = (found > -torch.inf).nonzero(as_tuple=True)
    settle(neuron, likely[neuron, number])
    at_most[neuron, likely[neuron, number]] = -torch.inf
    bar = torch.topk(known, most)[0][:, -1:]
    # Above minus infinity, which all have that take no part or are known.
    settle(*(at_most >= bar.clamp(min=torch.finfo(bar.dtype).min)).nonzero(as_tuple=True))
    return known


def pick(score: Tensor, most: int, last_resort: bool) -> tuple[Tensor, Tensor]:
    """The chosen candidates of each neuron and their shares of 1, both (neurons, most).

    Args:
        score: (neurons, candidates), above zero where a candidate speaks for its neuron, minus
            infinity where it takes no part.
        most: How many to choose.
        last_resort: Whether the highest one takes all where none is above zero.

    Example:
        >>> score = torch.tensor([[3.0, 1.0, -1.0], [-2.0, -1.0, -1.0]])
        >>> picked, share = pick(score, 2, True)
        >>> picked.tolist(), share.tolist()
        ([[0, 1], [1, 2]], [[0.75, 0.25], [1.0, 0.0]])
    """
    ordered, picked = score.sort(dim=1, descending=True, stable=True)
    ordered, picked = ordered[:, :most], picked[:, :most]
    share = ordered.clamp(min=0)
    if last_resort:
        none = (ordered[:, :1] <= 0) & (ordered[:, :1] > -torch.inf)
        alone = torch.zeros_like(share)
        alone[:, 0] = 1.0
        share = torch.where(none, alone, share)
    return picked, share / share.sum(1, keepdim=True).clamp(min=torch.finfo(share.dtype).tiny)


def _times_highest(inputs: Candidates, takes_part: Tensor, flow: Flow, fields: Fields) -> Tensor:
    """For how many neurons of its image each input has the highest support, at least 1 (`Z_suc`)."""
    best = inputs.support.masked_fill(~takes_part, -torch.inf).argmax(1, keepdim=True)
    counts = takes_part.gather(1, best)
    size, positions = fields.size, fields.given.shape[2] * fields.given.shape[3]
    candidates = inputs.first[:, None] + torch.arange(inputs.support.shape[1], device=best.device)
    key = flow.image[:, None] * size + candidates * positions + inputs.place
    winners, count = torch.unique(key.gather(1, best)[counts], return_counts=True)
    if not len(winners):
        return torch.ones_like(key)
    at = torch.searchsorted(winners, key).clamp(max=len(winners) - 1)
    return torch.where(winners[at] == key, count[at], 1)
