"""Whether a prediction can be trusted: how well a sample's activation pattern fits the class that was predicted."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, Self

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from cofire.activations.batches import Batches
from cofire.activations.labelling import Labelling
from cofire.activations.summarize import DEFAULT_CAP
from cofire.arguments import validated
from cofire.boost.measures import check_finite
from cofire.boost.reading import Reader, chosen_layers
from cofire.errors import (
    BudgetError,
    DataError,
    LayerError,
    OptionError,
    ResultError,
    WeightsError,
)
from cofire.network import Network, Selector, Unit
from cofire.patterns.evidence import check_every_class, log_odds_of_patterns
from cofire.patterns.ranking import auroc, auroc_interval, false_positive_rate
from cofire.reading import reader
from cofire.statistics import Interval, newcombe
from cofire.storage import load_result, save_result

Score = Literal["likelihood", "overlap", "gap"]


"""What is made of a pattern (see `PatternConfidence`)."""


_KIND = "pattern-confidence"


def not_fitted(detector: object) -> DataError:
    """The error of asking a detector that has seen no training data."""
    return DataError(
        f"a {type(detector).__name__} that has seen no training data",
        "one that was fitted",
        "call fit(loader) with the labelled training data first",
    )


@validated
class PatternConfidence:
    """How far a sample's activation pattern is from that of the class predicted for it (P1 §5.2).

    `P[c, x]` is the share of the training samples of class c that activate neuron x (Eq. 14),
    `U*[x]` is 1 where the sample activates it (Eq. 15), ĉ is the predicted class. P1: where the
    prediction is right, `U*` "is expected to have the highest overlap with the representative
    neurons" of ĉ. Three readings of it, each higher where the
    prediction is less to be trusted:

    - "likelihood": minus the mean over neurons, in nats, of `U* log p + (1 - U*) log(1 - p)` for
      class ĉ, with
      `p = (count + 1) / (samples + 2)`, so that nothing is impossible (Laplace). From 0 up.
    - "overlap": `-(P[ĉ] · U*) / mean_c (P[c] · U*)`: how many times as much the active neurons
      belong to ĉ as to the
      classes on average. From minus the number of classes to 0, which is also the score of a sample
      that activates no neuron that training ever activated; -1 is no more overlap than average.
    - "gap": the log-likelihood, summed over neurons, of the best other class minus that of ĉ, in
      nats. Above 0 where
      the pattern fits another class better.

    The neurons count as independent, which they are not: scores rank samples, they are no
        probabilities.

    Args:
        network: The classifier.
        layers: Which layers; None takes all, "LL" and "L2L" the last and the last two.
        unit: What a neuron of a feature map is, with one observation a sample: "channel-mean",
            "channel-max" or "element".
        threshold: A neuron is active above it.
        score: Which of the three `predict` gives.
        max_bytes: Refuse to start if the counts would take more.

    Raises:
        BudgetError: Too many neurons.
        LayerError: No such layer, or none at all.
        OptionError: An option has a value it cannot have ("channel" has many observations a
            sample), or the network has fewer than two outputs.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
        >>> for layer in (model[0], model[2]):
        ...     _ = layer.weight.data.copy_(torch.eye(2)), layer.bias.data.zero_()
        >>> images, labels = torch.tensor([[1.0, 0.0]] * 8 + [[0.0, 1.0]] * 8), torch.tensor([0] * 8 + [1] * 8)
        >>> detector = PatternConfidence(Network(model, images), score="gap").fit((images, labels))
        >>> detector.predict(torch.tensor([[2.0, 0.0], [2.0, 1.0]]))  # the second fits both classes as well
        tensor([-4.3944,  0.0000], dtype=torch.float64)
    """

    def __init__(
        self,
        network: Network,
        layers: Selector = None,
        unit: Unit = "channel-mean",
        threshold: float = 0.0,
        score: Score = "likelihood",
        *,
        max_bytes: PositiveInt = DEFAULT_CAP,
    ) -> None:
        self.network = network
        self.score: Score = score
        self._threshold = threshold
        self._reader = Reader(network, chosen_layers(network, layers), unit)
        if not sum(self._reader.sizes):
            raise LayerError(
                "no layers, or none with neurons", "at least one neuron", "pass layers=None for all"
            )
        # Counts, shares and log-odds.
        needed = 3 * 8 * network.num_classes * sum(self._reader.sizes)
        if needed > max_bytes:
            raise BudgetError(
                f"{sum(self._reader.sizes):,} neurons of {network.num_classes:,} classes, {needed / 1e9:.1f} GB",
                f"at most {max_bytes / 1e9:.1f} GB",
                "choose fewer layers, layers='LL' say, unit='channel-mean', or raise max_bytes",
            )
        self._counts: _Counts | None = None

    def fit(self, loader: Any) -> Self:
        """Count which neurons the samples of each class activate, in one pass; what was counted before is forgotten.

        Args:
            loader: Labelled training data, in any form that `cofire.summarize` takes.

        Raises:
            DataError: What `cofire.summarize` raises for data, and its kinds: `LabelError` for a
                class without samples, `BatchError` for other shapes, `NonFiniteError` for NaN or
                infinite numbers.
        """
        network = self.network
        Labelling.of(network, loader).check_outputs("activation patterns of each class")
        samples = torch.zeros(network.num_classes, dtype=torch.int64, device=network.device)
        active = torch.zeros(
            network.num_classes, sum(self._reader.sizes), dtype=torch.float64, device=network.device
        )
        with torch.inference_mode():
            for batch in Batches(loader, network.num_classes):
                labels = batch.labels.to(network.device)
                active.index_add_(0, labels, self._patterns(batch.inputs)[0])
                samples += torch.bincount(labels, minlength=network.num_classes)
        check_every_class(samples)
        # Of the weights that were counted, which later training may change.
        self._counts = _Counts(samples, active, network.digest())
        return self

    def predict(self, images: Tensor) -> Tensor:
        """Outlier scores of a batch.

        Args:
            images: (batch, *input_shape).

        Returns:
            (batch,), float64, higher where the prediction is less to be trusted.

        Raises:
            BatchError: The images do not fit the network.
            DataError: Nothing was fitted yet.
            NonFiniteError: A logit or an activation is NaN or infinite.
        """
        return self.scores(images)[self.score]

    def scores(self, images: Tensor) -> dict[str, Tensor]:
        """All three scores from one forward pass, by name; raises what `predict` raises.

        Args:
            images: (batch, *input_shape).

        Returns:
            For each of "likelihood", "overlap" and "gap" (batch,), float64.
        """
        counts = self._counts
        if counts is None:
            raise not_fitted(self)
        with torch.inference_mode():
            fires, logits = self._patterns(images)
            predicted = logits.argmax(dim=1, keepdim=True)
            likelihood = fires @ counts.log_odds.T + counts.silent
            overlap = fires @ counts.probability.T
            own = likelihood.gather(1, predicted)
            others = likelihood.scatter(1, predicted, -torch.inf).amax(dim=1)
            average = overlap.mean(dim=1)
            found = {
                "likelihood": -own[:, 0] / fires.shape[1],
                "overlap": -overlap.gather(1, predicted)[:, 0]
                / torch.where(average > 0, average, 1.0),
                "gap": others - own[:, 0],
            }
        # Copies are ordinary tensors, which autograd accepts, and adding 0 leaves no negative
        # zeros.
        return {name: values.clone() + 0.0 for name, values in found.items()}

    def _patterns(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """U* of all layers, (batch, neurons), float64, and the logits."""
        reading = self._reader(images)
        for layer, values in zip(self._reader.layers, reading.layers, strict=True):
            check_finite(values, f"a NaN or infinite activation of layer '{layer.name}'")
        return (torch.cat(reading.layers, dim=1) > self._threshold).to(
            torch.float64
        ), reading.logits

    def save(self, path: str | Path) -> Path:
        """Write what was fitted, whole or not at all, bound to the network and its weights.

        Args:
            path: A `.safetensors` file.

        Raises:
            DataError: Nothing was fitted yet.
        """
        if self._counts is None:
            raise not_fitted(self)
        note = {
            "fingerprint": self.network.fingerprint,
            "digest": self._counts.digest,
            "layers": [layer.name for layer in self._reader.layers],
            "unit": self._reader.unit,
            "threshold": self._threshold,
            "score": self.score,
        }
        counts = {"samples": self._counts.samples.cpu(), "active": self._counts.active.cpu()}
        return save_result(path, _KIND, note, counts)

    @classmethod
    @reader(ResultError, "a file that PatternConfidence.save wrote", "fit it again")
    def load(cls, path: str | Path, network: Network) -> Self:
        """Read what `save` wrote.

        Args:
            path: The file.
            network: The network that it was fitted on, with the same weights.

        Raises:
            ResultError: The file is missing, damaged, holds something else, or is of another
                architecture.
            WeightsError: The network has other weights than were fitted.
        """
        return load_result(
            path, _KIND, lambda note, tensors: cls._restored(path, network, note, tensors)
        )

    @classmethod
    def _restored(
        cls, path: str | Path, network: Network, note: dict[str, Any], tensors: dict[str, Tensor]
    ) -> Self:
        if note["fingerprint"] != network.fingerprint:
            raise ResultError(
                f"{path}, fitted on a network of another architecture than {network!r}",
                "the network that it was fitted on",
                "load it with that network, or fit anew",
            )
        if note["digest"] != network.digest():
            raise WeightsError(
                f"{path}, fitted on other weights than the network has",
                "the weights, and their type, that it was fitted on",
                "load those weights with network.with_weights(path), or fit anew",
            )
        layers = {layer.name: layer for layer in (*network.activation_layers, *network.gates)}
        chosen = [layers[name] for name in note["layers"]]
        detector = cls(
            network, chosen, note["unit"], note["threshold"], note["score"], max_bytes=sys.maxsize
        )
        samples, active = tensors["samples"], tensors["active"]
        shape = (network.num_classes, sum(detector._reader.sizes))
        whole = samples.shape == shape[:1] and active.shape == shape and bool((samples > 0).all())
        if not whole or not bool(((active >= 0) & (active <= samples[:, None])).all()):
            raise ValueError("counts that do not fit")
        place = network.device
        detector._counts = _Counts(
            samples.to(place), active.to(place, torch.float64), note["digest"]
        )
        return detector


class _Counts:
    """Samples of each class, how many of them activate each neuron, and what follows from it."""

    def __init__(self, samples: Tensor, active: Tensor, digest: str) -> None:
        self.samples = samples
        self.active = active
        self.digest = digest
        self.probability = active / samples[:, None]
        self.log_odds, self.silent = log_odds_of_patterns(self.probability, samples)


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
    draws: PositiveInt = 1000,
    seed: int = 0,
    batch_size: PositiveInt = 256,
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
        self._size = batch_size

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
