"""Which detector is to be believed: how well each finds a network's mistakes, and samples that are of no class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cofire.activations.batches import Batches
from cofire.arguments import validated
from cofire.bounds import check_whole
from cofire.errors import DataError, OptionError
from cofire.network import Network
from cofire.patterns.ranking import auroc, auroc_interval, false_positive_rate
from cofire.statistics import Interval, newcombe


class Detector(Protocol):
    """What gives every sample a number, the higher, the less its prediction is to be trusted.

    The shape that detectors of pytorch-ood have.
    """

    @property
    def network(self) -> Network:
        """The classifier."""

    def fit(self, loader: Any) -> Self:
        """Learn from labelled training data."""

    def predict(self, images: Tensor) -> Tensor:
        """Outlier scores, (batch,)."""


@dataclass(frozen=True)
class Judgement:
    """How well one detector does one task.

    Attributes:
        detector: Its name.
        task: "misclassification": the network's mistakes are to score above its correct
            predictions. "outliers": samples from elsewhere are to score above the data.
        auroc: With a 95 % bootstrap interval over samples, Newcombe's where no mistake is made, or
            nothing but.
        false_positive_rate: Share of the others that are flagged where 95 % of those to be found
            are.
        negatives: Samples that are to score low.
        positives: Samples that are to be found.
    """

    detector: str
    task: Literal["misclassification", "outliers"]
    auroc: Interval
    false_positive_rate: float
    negatives: int
    positives: int


@validated
def judge(
    detectors: Mapping[str, Detector],
    data: Any,
    outliers: Any = None,
    *,
    draws: int = 1000,
    seed: int = 0,
    batch_size: int = 256,
) -> list[Judgement]:
    """Whether detectors find the network's mistakes, and samples that are of no class.

    Args:
        detectors: By name, fitted where they need it.
        data: Labelled samples that nothing was fitted on, in any form that `cofire.summarize`
            takes.
        outliers: Samples from elsewhere: images, or any form of data, the labels of which are not
            looked at.
        draws: Resamples of each interval.
        seed: Of the draws.
        batch_size: For data that does not come in batches.

    Returns:
        For each detector a row of misclassification, left out where the network makes no mistake or
        no correct prediction, and one of outliers if there are any.

    Raises:
        DataError: There is nothing to tell apart, or what a detector or `cofire.summarize` raises
            for data.
        OptionError: No detectors, or an option has a value it cannot have.

    Example:
        >>> from cofire.boost.baselines import MaxSoftmax
        >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2, bias=False))
        >>> for layer, weights in ((model[0], [[1.0], [-1.0]]), (model[2], [[1.0, 0.0], [0.0, 1.0]])):
        ...     layer.weight.data = torch.tensor(weights)
        >>> _ = model[0].bias.data.zero_()
        >>> images = torch.tensor([[3.0], [2.0], [-4.0], [0.5]])
        >>> rows = judge({"softmax": MaxSoftmax(Network(model, images))}, (images, torch.tensor([0, 0, 1, 1])))
        >>> rows[0].task, rows[0].auroc.value, rows[0].negatives, rows[0].positives
        ('misclassification', 1.0, 3, 1)
    """
    if not detectors:
        raise OptionError(
            "no detectors", "at least one, by name", "pass {'softmax': MaxSoftmax(network)}"
        )
    draws = check_whole("draws", draws)
    rows = []
    for name, detector in detectors.items():
        scores, wrong = _scored(
            detector, Batches(data, detector.network.num_classes, batch_size=batch_size)
        )
        tasks: dict[Literal["misclassification", "outliers"], tuple[Tensor, Tensor]] = {}
        if bool(wrong.any()) and not bool(wrong.all()):
            tasks["misclassification"] = scores[~wrong], scores[wrong]
        if outliers is not None:
            elsewhere = Batches(_Unlabelled(outliers, batch_size), 1)
            tasks["outliers"] = scores, _scored(detector, elsewhere)[0]
        for task, (low, high) in tasks.items():
            area = _area(low, high, draws, seed)
            rows.append(
                Judgement(name, task, area, false_positive_rate(low, high), len(low), len(high))
            )
    if not rows:
        raise DataError(
            f"predictions that are all {'wrong' if bool(wrong.all()) else 'correct'}, and no outliers",
            "both correct and wrong predictions, or outliers",
            "pass more data, or outliers",
        )
    return rows


def _area(negatives: Tensor, positives: Tensor, draws: int, seed: int) -> Interval:
    area = auroc(negatives, positives)
    if area in (0.0, 1.0):
        # However few the samples are, drawn anew they are told apart as well.
        return newcombe(area, len(negatives), len(positives))
    return Interval(
        area, *auroc_interval(negatives, positives, draws, seed), len(negatives) + len(positives)
    )


def _scored(detector: Detector, batches: Batches) -> tuple[Tensor, Tensor]:
    """Scores and whether the network is wrong, (samples,) each, on the CPU."""
    scores, wrong = [], []
    for batch in batches:
        scores.append(detector.predict(batch.inputs).cpu())
        wrong.append(detector.network.run(batch.inputs).argmax(dim=1).cpu() != batch.labels.cpu())
    if not scores:
        raise DataError("no samples", "at least one batch", "check what the loader returns")
    return torch.cat(scores), torch.cat(wrong)


class _Unlabelled:
    """Images alone, with 0 for a label: outliers have labels of other classes, -1, or none."""

    def __init__(self, data: Any, batch_size: int) -> None:
        if isinstance(data, Iterator):
            raise DataError(
                f"outliers as a {type(data).__name__}, which can be read only once",
                "data that every detector can read",
                "pass the DataLoader, the Dataset, a list of batches or the images themselves",
            )
        self._data = data
        self._size = check_whole("batch_size", batch_size)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        data = self._data
        if (
            isinstance(data, tuple)
            and len(data) == 2
            and all(isinstance(part, Tensor | np.ndarray) for part in data)
        ):
            data = data[0]
        if isinstance(data, Tensor | np.ndarray):
            whole = torch.as_tensor(data)
            batches: Any = [whole[at : at + self._size] for at in range(0, len(whole), self._size)]
        else:
            batches = DataLoader(data, batch_size=self._size) if isinstance(data, Dataset) else data
        for batch in batches:
            images = torch.as_tensor(batch[0] if isinstance(batch, tuple | list) else batch)
            yield images, torch.zeros(len(images), dtype=torch.int64)
