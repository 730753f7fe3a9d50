"""Which test samples are explained: right predictions of many classes, and the most confident mistakes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cofire.activations.batches import Batches
from cofire.explain.chances import chances_of
from cofire.network import Network

RUNNERS_UP = 3
"""With how many of the most probable other classes the predicted one is compared."""

_HELD = 4
"""So many times more right predictions than are shown are held in memory, to spread those that are shown."""


@dataclass(frozen=True, eq=False)
class Case:
    """A test sample to explain.

    Attributes:
        index: Its place in the data, from 0.
        label: Its class.
        predicted: What the network takes it for.
        confidence: Softmax of the predicted class, 0 to 1.
        runners_up: The most probable other classes, in order.
        inputs: The sample itself.
    """

    index: int
    label: int
    predicted: int
    confidence: float
    runners_up: tuple[int, ...]
    inputs: Tensor

    @property
    def right(self) -> bool:
        """Whether the prediction is right."""
        return self.label == self.predicted


@dataclass(frozen=True, eq=False)
class Cases:
    """The samples to explain, and out of how many.

    Attributes:
        chosen: First those predicted right in the order of their classes, then the mistakes, the
            most confident first.
        samples: In the data.
        mistakes: Of the network on the data.
    """

    chosen: tuple[Case, ...]
    samples: int
    mistakes: int


def cases_of(network: Network, data: Any, most: int, *, batch_size: int = 256) -> Cases:
    """Choose samples in one reading of the data.

    Of those predicted right: the most confident one of each class (several where there are few
        classes), of classes
    that lie evenly over all where there are many. Of the mistakes: the most confident ones.

    Args:
        network: The classifier.
        data: What `cofire.summarize` takes.
        most: How many of each kind at the most.
        batch_size: For data that does not come in batches.

    Raises:
        DataError: See `cofire.summarize`.
    """
    right: list[Case] = []
    wrong: list[Case] = []
    samples = mistakes = 0
    for batch in Batches(data, network.num_classes, batch_size=batch_size):
        chances = chances_of(network.run(batch.inputs)).cpu()
        confidence, predicted = chances.max(dim=1)
        ordered = chances.topk(min(1 + RUNNERS_UP, network.num_classes)).indices
        labels = batch.labels.cpu()
        seen: dict[int, int] = {}
        for at in confidence.argsort(descending=True, stable=True).tolist():
            label, taken = int(labels[at]), int(predicted[at])
            kind = label if label == taken else -1
            seen[kind] = seen.get(kind, 0) + 1
            if seen[kind] > most:
                continue
            others = tuple(other for other in ordered[at].tolist() if other != taken)[:RUNNERS_UP]
            # A copy: a view would keep the whole batch in memory.
            case = Case(
                samples + at, label, taken, float(confidence[at]), others, batch.inputs[at].clone()
            )
            (right if case.right else wrong).append(case)
        samples += len(labels)
        mistakes += int((labels != predicted).sum())
        wrong = _surest(wrong)[:most]
        right = _ranked(right)[: _HELD * most]
    return Cases((*_spread(right, most), *wrong), samples, mistakes)


def _surest(cases: list[Case]) -> list[Case]:
    return sorted(cases, key=lambda case: (-case.confidence, case.index))


def _ranked(cases: list[Case]) -> list[Case]:
    """The surest of every class, then the second of every class, and so on."""
    ranks: dict[int, int] = {}
    ranked = []
    for case in _surest(cases):
        ranks[case.label] = ranks.get(case.label, -1) + 1
        ranked.append((ranks[case.label], case))
    return [case for _, case in sorted(ranked, key=lambda pair: pair[0])]


def _spread(ranked: list[Case], most: int) -> list[Case]:
    classes = len({case.label for case in ranked})
    chosen = ranked[:most]
    if classes > most:
        first = sorted(ranked[:classes], key=lambda case: case.label)
        chosen = [
            first[place] for place in torch.linspace(0, classes - 1, most).round().long().tolist()
        ]
    return sorted(chosen, key=lambda case: (case.label, case.index))
