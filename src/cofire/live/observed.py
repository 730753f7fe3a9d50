"""What was observed over some steps of training: the states of `activations/`, fed batch by batch; they merge."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy, deepcopy
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from cofire.activations import (
    ActivationHistograms,
    ActivationStatistics,
    ActivationSummary,
    LayerSummary,
    SummaryOptions,
)
from cofire.activations.histograms import HistogramUpdate, ranges_of
from cofire.activations.labelling import ClassRows, Labelling
from cofire.activations.neurons import Grouping, view_neurons
from cofire.activations.passes import FirstPass, LayerBatch
from cofire.errors import BatchError
from cofire.live.ranges import no_counts, over_own_range, widened
from cofire.network import ActivationLayer, Network, Unit


@dataclass(frozen=True)
class Kept:
    """What is kept of every layer.

    Attributes:
        network: What was read of the model.
        layers: Which layers.
        labelling: What labels mean; None where nothing is kept by class.
        unit: What a neuron is.
        bins: Bins of each histogram.
        threshold: A neuron is active above it.
    """

    network: Network
    layers: tuple[ActivationLayer, ...]
    labelling: Labelling | None
    unit: Unit
    bins: int
    threshold: float


@dataclass(frozen=True)
class Observed:
    """What some steps of training showed.

    Attributes:
        statistics: Of every layer by its name.
        histograms: Of every layer, over ranges that `widened` gave.
        samples: Samples of each class, (classes,), int64; of one class where there are no labels.
        correct: Those that the network classified correctly; None where that is not known.
        steps: How many steps there were.
        batches: In how many of them activations were observed.
    """

    statistics: Mapping[str, ActivationStatistics]
    histograms: Mapping[str, ActivationHistograms]
    samples: Tensor
    correct: Tensor | None
    steps: int
    batches: int

    def merge(self, other: Self) -> Self:
        """Both together, of other steps or of another process."""
        pairs = {
            name: (self.statistics[name], other.statistics[name])
            for name in self.statistics
            if name in other.statistics
        }
        statistics = {name: one.merge(two) for name, (one, two) in pairs.items()}
        histograms = {}
        for name, state in statistics.items():
            least, most = _extremes(state)
            one, two = (
                widened(of.histograms[name], least, most, tight=True) for of in (self, other)
            )
            histograms[name] = one.merge(two)
        known = self.correct is not None and other.correct is not None
        return replace(
            self,
            statistics=statistics,
            histograms=histograms,
            samples=self.samples + other.samples,
            correct=self.correct + other.correct if known else None,  # type: ignore[operator]
            steps=self.steps + other.steps,
            batches=self.batches + other.batches,
        )

    def state_dict(self) -> dict[str, Any]:
        """As numbers and tensors of its own, for a checkpoint; `of` reads it."""
        parts = {"statistics": self.statistics, "histograms": self.histograms}
        states = {
            part: {name: state.__getstate__() for name, state in layers.items()}
            for part, layers in parts.items()
        }
        return deepcopy({**vars(self), **states})

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Self:
        """What `state_dict` gave."""
        kinds = {"statistics": ActivationStatistics, "histograms": ActivationHistograms}
        states = {
            part: {name: kind(**one) for name, one in state[part].items()}
            for part, kind in kinds.items()
        }
        return cls(**{**state, **states})

    def summary(self, kept: Kept) -> ActivationSummary:
        """The same as `cofire.summarize` gives it.

        Args:
            kept: What the states are of.
        """
        occurring = torch.nonzero(self.samples > 0).flatten()
        by_class = kept.labelling is not None and len(occurring) > 1
        names = ("all",) if kept.labelling is None else kept.labelling.names
        layers = []
        for layer in kept.layers:
            state = self.statistics.get(layer.name)
            if state is None:
                continue
            together = state.over_classes()
            own = over_own_range(
                self.histograms[layer.name], *ranges_of(together, "own"), kept.bins
            )
            layers.append(LayerSummary(layer, state if by_class else together, own, None))
        options = SummaryOptions(
            fingerprint=kept.network.fingerprint,
            unit=kept.unit,
            bins=kept.bins,
            range="own",
            threshold=kept.threshold,
            by_class="statistics" if by_class else False,
            class_names=tuple(names[number] for number in occurring.tolist()),
            classes=tuple(occurring.tolist()),
            outputs="none" if self.correct is None else "number",
        )
        correct = None if self.correct is None else self.correct[occurring]
        return ActivationSummary(options, tuple(layers), self.samples[occurring], correct)


def _extremes(state: ActivationStatistics) -> tuple[Tensor, Tensor]:
    return state.minimum.amin(dim=0, keepdim=True), state.maximum.amax(dim=0, keepdim=True)


class Window:
    """Some steps of training while they go on.

    Args:
        kept: What is kept.
    """

    def __init__(self, kept: Kept) -> None:
        self._kept = kept
        classes = 1 if kept.labelling is None else len(kept.labelling.names)
        self._rows = None if kept.labelling is None else ClassRows(classes)
        self._first = FirstPass(kept.threshold, self._rows)
        self._histograms: dict[str, ActivationHistograms] = {}
        self._updates: dict[str, HistogramUpdate] = {}
        self._samples = torch.zeros(classes, dtype=torch.int64)
        self._correct: Tensor | None = self._samples.clone()
        self.steps = self.batches = 0

    def batch(self, labels: Tensor, step: int) -> Batch:
        """A batch that is to be observed.

        Args:
            labels: Class of each sample, (samples,), int64; all 0 where nothing is kept by class.
            step: Its number, for messages.
        """
        device = self._kept.network.device
        rows = labels if self._rows is None else self._rows.of(labels)
        return Batch(self, Grouping(rows.to(device), self._rows is None), labels.cpu(), step)

    def observe(self, layer: ActivationLayer, activation: Tensor, batch: Batch) -> None:
        """Count one layer of a batch.

        Raises:
            BatchError: Its activations are not those of the network that was read.
            NonFiniteError: One is NaN or infinite.
        """
        samples = len(batch.labels)
        if activation.shape != (samples, *layer.shape):
            raise BatchError(
                f"activations {tuple(activation.shape)} of layer '{layer.name}' for {samples} labels",
                f"({samples}, {', '.join(map(str, layer.shape))}), as in the first batch",
                "give the monitor the labels of the samples that go through the model, all of one size",
            )
        view = view_neurons(activation.detach(), layer, self._kept.unit)
        part = LayerBatch(view, batch.classes, batch.together, lambda _: f"batch {batch.step}")
        self._first.observe(layer, part)
        state, name = self._first.statistics[layer.name], layer.name
        old = self._histograms.get(name)
        if old is None:
            old = no_counts(view.neurons, self._kept.bins, state.precision, view.values.device)
        now = widened(old, *_extremes(state))
        if now is not old or name not in self._updates:
            self._histograms[name], self._updates[name] = now, now.updater()
        self._updates[name](view, batch.together)

    def add(self, batch: Batch) -> None:
        """A batch all of whose layers were observed."""
        self.batches += 1
        self._samples.index_add_(0, batch.labels, torch.ones_like(batch.labels))
        outputs = None if self._kept.labelling is None else self._kept.labelling.outputs
        if batch.predicted is None or outputs is None or self._correct is None:
            self._correct = None
        else:
            right = batch.predicted.cpu() == outputs[batch.labels]
            self._correct.index_add_(0, batch.labels, right.to(torch.int64))

    def observed(self) -> Observed:
        """What was observed so far, on the CPU."""
        first = copy(self._first)
        first.statistics, first.sums = dict(first.statistics), dict(first.sums)
        first.finish()
        statistics = {name: state.cpu() for name, state in first.statistics.items()}
        histograms = {name: state.cpu() for name, state in self._histograms.items()}
        return Observed(
            statistics, histograms, self._samples, self._correct, self.steps, self.batches
        )


class Batch:
    """One batch on its way through the model.

    Args:
        window: That it belongs to.
        classes: Its samples by class.
        labels: Its labels, on the CPU.
        step: Its number.
    """

    def __init__(self, window: Window, classes: Grouping, labels: Tensor, step: int) -> None:
        self.window, self.classes, self.labels, self.step = window, classes, labels, step
        self.together = classes if classes.one_class else classes.together()
        self.predicted: Tensor | None = None
        self.layers = 0

    def observe(self, layer: ActivationLayer, activation: Tensor) -> None:
        """Count one layer."""
        # What is kept outlives the inference mode that a pass of the network's own runs in.
        with torch.inference_mode(False), torch.no_grad():
            self.window.observe(layer, activation, self)
        self.layers += 1

    def logits(self, logits: Tensor) -> None:
        """Take the model's output."""
        if len(logits) == len(self.labels):
            self.predicted = logits.argmax(dim=1)
