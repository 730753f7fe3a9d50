"""The two passes over the data: what each keeps of every batch, and what it checks at the end."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from cofire.activations.batches import Batches
from cofire.activations.histograms import ActivationHistograms, Range, ranges_of
from cofire.activations.labels import Grouping
from cofire.activations.neurons import NeuronView, view_neurons
from cofire.activations.progress import progress_over
from cofire.activations.statistics import ActivationStatistics, find_non_finite
from cofire.errors import BatchError, DataError, LabelError, NonFiniteError
from cofire.network import ActivationLayer, Network, Unit

__all__ = ["FirstPass", "SecondPass", "run_pass"]

Observer = Callable[[ActivationLayer, NeuronView, Grouping, Grouping, int], None]
"""Takes a layer, its neurons, the samples by class, the samples as one class, and the batch's number."""


def run_pass(
    network: Network,
    batches: Batches,
    layers: Sequence[ActivationLayer],
    unit: Unit,
    observe: Observer,
    title: str,
    progress: bool | None,
    count: Callable[[Tensor, Tensor], None] | None,
) -> None:
    """One pass: every batch through the network, every layer's neurons to the observer."""
    with progress_over(title, batches.samples, progress) as advance, torch.inference_mode():
        for batch in batches:
            if not batch.inputs.is_floating_point() and network.dtype.is_floating_point:
                raise BatchError(
                    f"batch {batch.index} has inputs of type {batch.inputs.dtype}",
                    f"floating-point inputs, scaled as in training, for a network of type {network.dtype}",
                    "convert the images, for example with images.float() / 255, and normalise them as in training",
                )
            classes = Grouping.of(batch.labels.to(network.device))
            together = classes.together()
            index = batch.index

            def each(
                layer: ActivationLayer,
                activation: Tensor,
                *,
                classes: Grouping = classes,
                together: Grouping = together,
                index: int = index,
            ) -> None:
                observe(layer, view_neurons(activation, layer, unit), classes, together, index)

            logits = network.run(batch.inputs, each, layers)
            if count is not None:
                count(logits, classes.labels)
            advance(len(classes.labels))


class FirstPass:
    """Pass 1: statistics of every layer, and which samples the network classifies correctly.

    Args:
        network: The classifier.
        threshold: A neuron is active above it.
        by_class: Whether statistics are kept per class.
    """

    def __init__(self, network: Network, threshold: float, by_class: bool) -> None:
        self.statistics: dict[str, ActivationStatistics] = {}
        self._by_class = by_class
        self._classes = network.num_classes if by_class else 1
        self._threshold = float(threshold)
        self.class_samples = torch.zeros(network.num_classes, dtype=torch.int64, device=network.device)
        self.class_correct = torch.zeros_like(self.class_samples)

    def observe(
        self, layer: ActivationLayer, view: NeuronView, classes: Grouping, together: Grouping, index: int
    ) -> None:
        """Count one layer of one batch (see `Observer`)."""
        state = self.statistics.get(layer.name)
        if state is None:
            state = self.statistics[layer.name] = ActivationStatistics.empty(
                view.neurons,
                classes=self._classes,
                positions=view.positions,
                threshold=self._threshold,
                precision=str(view.values.dtype).removeprefix("torch."),
                device=view.values.device,
            )
        if not state.update(view, classes if self._by_class else together):
            _, neuron, value = find_non_finite(view)
            raise NonFiniteError(
                f"activation {value} of neuron {neuron} of layer '{layer.name}' in batch {index}",
                "finite numbers",
                "find what makes the network overflow (weights, learning rate, inputs), or leave that batch out",
            )

    def count(self, logits: Tensor, labels: Tensor) -> None:
        """Count correct predictions: logits (samples, classes), labels (samples,)."""
        self.class_samples.index_add_(0, labels, torch.ones_like(labels))
        self.class_correct.index_add_(0, labels, (logits.argmax(dim=1) == labels).to(torch.int64))

    def check(self, fewest: int, names: tuple[str, ...]) -> None:
        """Refuse data without samples, or with fewer than `fewest` of a class.

        Raises:
            DataError: There are no samples.
            LabelError: A class has too few.
        """
        if int(self.class_samples.sum()) == 0:
            raise DataError("no samples", "at least one batch of (inputs, labels)", "check what the loader returns")
        few = torch.nonzero(self.class_samples < fewest).flatten().tolist()
        if few:
            shown = ", ".join(f"'{names[c]}' ({int(self.class_samples[c])})" for c in few[:5])
            raise LabelError(
                f"too few samples of {len(few)} of {len(names)} classes: {shown}{' …' if len(few) > 5 else ''}",
                f"at least {fewest} samples of every class where results are kept by class",
                "add samples, turn by_class off, or set min_class_samples=1 to accept classes with one sample",
            )


class SecondPass:
    """Pass 2: histograms of every layer over the ranges that pass 1 found.

    Args:
        totals: Statistics of each layer without regard to class.
        by_class: Statistics per class, if histograms are wanted per class.
        bins: Bins of each histogram.
        range: Over which range.
    """

    def __init__(
        self,
        totals: dict[str, ActivationStatistics],
        by_class: dict[str, ActivationStatistics] | None,
        bins: int,
        range: Range,
    ) -> None:
        def states(of: dict[str, ActivationStatistics]) -> dict[str, ActivationHistograms]:
            extremes = (
                torch.stack([s.minimum.amin(dim=1) for s in of.values()]).amin(dim=0),
                torch.stack([s.maximum.amax(dim=1) for s in of.values()]).amax(dim=0),
            )
            return {
                name: ActivationHistograms.empty(*ranges_of(s, range, extremes), bins, s.precision)
                for name, s in of.items()
            }

        self.together = states(totals)
        self.by_class = {} if by_class is None else states(by_class)
        self._together = {name: state.updater() for name, state in self.together.items()}
        self._by_class = {name: state.updater() for name, state in self.by_class.items()}

    def observe(
        self, layer: ActivationLayer, view: NeuronView, classes: Grouping, together: Grouping, index: int
    ) -> None:
        """Count one layer of one batch (see `Observer`)."""
        self._together[layer.name](view, together)
        if self._by_class:
            self._by_class[layer.name](view, classes)

    def check(self, totals: dict[str, ActivationStatistics]) -> None:
        """Refuse a second pass that saw other data, but for what another batch order does to the last bit.

        Raises:
            DataError: It did.
        """
        for name, statistics in totals.items():
            before = int(statistics.nonzero.sum())
            apart = int((self.together[name].counts.sum(dim=2) - statistics.nonzero).abs().sum())
            if apart > 1e-4 * before + 10:
                raise DataError(
                    f"the second pass saw other data than the first: {apart:,} of {before:,} non-zero activations "
                    f"of layer '{name}' differ",
                    "the same samples in both passes",
                    "turn random augmentation off, and do not let the loader drop or draw other samples each time",
                )
