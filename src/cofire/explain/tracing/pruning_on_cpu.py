"""The inputs with the highest scores on the CPU, where the support of the preceding layer is worked out for few.

`scoring.pruned` and `scoring.pick` define the result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofire.compiled import compiler, over
from cofire.explain.tracing.support import InputBounds
from cofire.explain.tracing.topk_on_cpu import BLOCK, few_highest, into_shares

_NONE = -np.inf


@dataclass(frozen=True, eq=False)
class Scores:
    """`Ω = Z_suc · (α_cur · Z_cur + α_pre · Z_pre)` of inputs, all but `Z_pre`.

    Attributes:
        support: `Z_cur`, (neurons, candidates) float64, minus infinity where one takes no part.
        times: `Z_suc`, (neurons, candidates) float32.
        current: α_cur.
        preceding: α_pre.
    """

    support: Tensor
    times: Tensor
    current: float
    preceding: float


def highest_with_bounds(
    scores: Scores,
    bounds: InputBounds,
    image: Tensor,
    first: Tensor,
    most: int,
    last_resort: bool,
    support: Callable[[Tensor, Tensor], Tensor],
) -> tuple[Tensor, Tensor]:
    """The chosen candidates of each neuron and their shares of 1, both (neurons, most).

    Args:
        scores: Of all candidates.
        bounds: What `Z_pre` can be at the most.
        image: (neurons,), whose they are.
        first: (neurons,), the channel of the first candidate.
        most: How many to choose, fewer than there are.
        last_resort: Whether the highest one takes all where none is above zero.
        support: Gives `Z_pre` from neurons and candidates.
    """
    neurons, candidates = scores.support.shape
    own = (scores.support.numpy(), scores.times.numpy(), scores.current, scores.preceding)
    parts = (bounds.channels.numpy(), bounds.windows.numpy(), bounds.products)
    limits = (*parts, image.numpy(), first.numpy())
    likely = min(3 * most // 2, candidates)
    highest = torch.full((neurons, likely), _NONE, dtype=torch.float64)
    place = torch.zeros(neurons, likely, dtype=torch.int64)
    values = (highest.numpy(), place.numpy())
    over(_most_likely, neurons, scores.support.numel(), own, limits, *values)
    best = np.full((neurons, most), _NONE)
    picked = np.zeros((neurons, most), dtype=np.int64)
    count = np.zeros(neurons, dtype=np.int64)
    neuron, number = (highest > _NONE).nonzero(as_tuple=True)
    candidate = place[neuron, number]
    for again in (True, False):
        pairs = (neuron.numpy(), candidate.numpy())
        before = support(neuron, candidate).contiguous().numpy()
        _take_in(*pairs, before, own, best, picked, count)
        if again:
            others = _that_can_be_higher(own, limits, *values, best)
            neuron, candidate = map(torch.from_numpy, others)
            if not len(neuron):
                break
    _share(best, picked, count, last_resort)
    return torch.from_numpy(picked), torch.from_numpy(best)


@compiler()
def _at_most(own: Any, limits: Any, neuron: Any, found: Any) -> None:
    """What the scores of a neuron's candidates can be, minus infinity for those that take no part."""
    support, times, current, preceding = own
    channels, windows, products, image, first = limits
    found[:] = 0.0
    for part in range(len(windows)):
        window = windows[part, neuron]
        line = channels[part, image[neuron] if channels.shape[1] > 1 else 0]
        if len(line) == 1:
            only = line[0] * window if part < products else min(line[0], window)
            for candidate in range(len(found)):
                found[candidate] = max(found[candidate], only)
            continue
        line = line[first[neuron] : first[neuron] + len(found)]
        if part < products:
            for candidate in range(len(found)):
                found[candidate] = max(found[candidate], line[candidate] * window)
        else:
            for candidate in range(len(found)):
                found[candidate] = max(found[candidate], min(line[candidate], window))
    has, counts = support[neuron], times[neuron]
    for candidate in range(len(found)):
        many = np.float64(counts[candidate])
        most = has[candidate] * (many * current) + many * preceding * found[candidate]
        found[candidate] = most if has[candidate] > _NONE else _NONE


@compiler()
def _most_likely(begin: Any, end: Any, own: Any, limits: Any, highest: Any, place: Any) -> None:
    """The candidates whose scores can be highest, and how high."""
    room = np.empty(own[0].shape[1])
    for neuron in range(begin, end):
        _at_most(own, limits, neuron, room)
        few_highest(room, highest[neuron], place[neuron])


@compiler()
def _take_in(
    neuron: Any, candidate: Any, before: Any, own: Any, best: Any, picked: Any, count: Any
) -> None:
    """Put candidates among the best of their neurons, the lower one first where several are equal."""
    support, times, current, preceding = own
    most = best.shape[1]
    for number in range(len(neuron)):
        row, one = neuron[number], candidate[number]
        many = np.float64(times[row, one])
        score = support[row, one] * (many * current) + many * preceding * before[number]
        found, which = best[row], picked[row]
        at = count[row]
        if at == most:
            at -= 1
            if score < found[at] or (score == found[at] and one > which[at]):
                continue
        else:
            count[row] += 1
        while at > 0 and (
            found[at - 1] < score or (found[at - 1] == score and which[at - 1] > one)
        ):
            found[at], which[at] = found[at - 1], which[at - 1]
            at -= 1
        found[at], which[at] = score, one


@compiler()
def _that_can_be_higher(own: Any, limits: Any, highest: Any, place: Any, best: Any) -> Any:
    """Neurons and candidates that are not known and can have a score as high as the last that would be chosen."""
    neuron, candidate = np.empty(1024, dtype=np.int64), np.empty(1024, dtype=np.int64)
    room = np.empty(own[0].shape[1])
    count = 0
    for row in range(len(best)):
        bar = best[row, -1]
        # None of the others can have more than the last of the likely ones.
        if highest[row, -1] == _NONE or highest[row, -1] < bar:
            continue
        _at_most(own, limits, row, room)
        room[place[row]] = _NONE
        for start in range(0, len(room), BLOCK):
            part = room[start : start + BLOCK]
            higher = 0
            for one in range(len(part)):
                higher += part[one] >= bar
            if not higher:
                continue
            if count + higher > len(neuron):
                neuron = np.concatenate((neuron, np.empty_like(neuron)))
                candidate = np.concatenate((candidate, np.empty_like(candidate)))
            for one in range(len(part)):
                if part[one] >= bar:
                    neuron[count], candidate[count] = row, start + one
                    count += 1
    return neuron[:count], candidate[:count]


@compiler()
def _share(best: Any, picked: Any, count: Any, last_resort: Any) -> None:
    for neuron in range(len(best)):
        into_shares(best[neuron], picked[neuron], count[neuron], last_resort)
