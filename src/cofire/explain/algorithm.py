"""P3's Algorithm 1 to the letter: which inputs of neurons are discriminative, by Eqs. 1 to 5 and nothing else."""

from __future__ import annotations

import torch
from torch import Tensor

from cofire.explain.flow import Flow
from cofire.explain.rules.fields import Candidates, Fields, candidates_of
from cofire.explain.scoring import Preceding, Scoring, pruned, times_highest


def choose_by_algorithm(
    scoring: Scoring, flow: Flow, fields: Fields, preceding: Preceding, most: int | None
) -> Flow:
    """The k inputs of each neuron with the highest `Ω = α_suc · Z_suc · (α_cur · Z_cur + α_pre · Z_pre)`.

    Every input takes part, one that contributes nothing as well, and k are chosen whether their
    scores are above zero or not; of equal ones the first, be it an input or a place in a window.
    What is chosen is explained as a large value, whatever the sign of its weight. `scoring.choose`
    is kinder: it passes over what is silent, asks why an input with a negative weight is small, and
    takes nothing that speaks against a neuron while something speaks for it.

    Args:
        scoring: The weights.
        flow: (neurons,), folded.
        fields: What the neurons see.
        preceding: Gives `Z_pre` of inputs.
        most: k, None for all.
    """
    sees = fields.windows.places(*fields.seen_from(flow.index)[1:])[1].any(1)
    if not bool(sees.all()):
        flow = flow.where(sees)
    inputs = candidates_of(fields, flow, first_largest=True)
    candidates = inputs.support.shape[1]
    most = candidates if most is None else min(most, candidates)
    score = _scores(scoring, inputs, flow, fields, preceding, most)
    picked = score.sort(dim=1, descending=True, stable=True).indices[:, :most]
    channel, place = inputs.first[:, None] + picked, inputs.place.gather(1, picked)
    neuron = torch.arange(len(flow), device=flow.image.device).repeat_interleave(most)
    index = fields.index(channel, place).flatten()
    one = torch.ones_like(index, dtype=torch.float64)
    return Flow(
        flow.image[neuron], index, one, flow.score[neuron] / most, flow.row[neuron], own=False
    )


def _scores(
    scoring: Scoring,
    inputs: Candidates,
    flow: Flow,
    fields: Fields,
    preceding: Preceding,
    most: int,
) -> Tensor:
    every = torch.ones_like(inputs.matters)
    times = torch.ones_like(inputs.support)
    if scoring.counted:
        times = times_highest(inputs, every[:, 0], inputs.support.argmax(1), flow, fields).double()
    own = times * scoring.current * inputs.support
    if not scoring.preceding:
        return own

    def support(neuron: Tensor, candidate: Tensor) -> Tensor:
        index = fields.index(inputs.first[neuron] + candidate, inputs.place[neuron, candidate])
        return preceding.support(neuron, index, torch.ones_like(index, dtype=torch.float64))

    return pruned(
        own, scoring.preceding * times, every, most, preceding.ceiling(flow.image), support
    )
