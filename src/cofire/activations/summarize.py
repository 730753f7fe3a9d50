"""Run data through a network twice and keep what its neurons do."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cofire.activations.batches import Batches
from cofire.activations.budget import ByClass, check_budget, cost_of
from cofire.activations.histograms import ActivationHistograms, Range, check_bins, check_range, ranges_of
from cofire.activations.neurons import NeuronView, view_neurons
from cofire.activations.progress import progress_over
from cofire.activations.statistics import ActivationStatistics, find_non_finite
from cofire.activations.summary import ActivationSummary, LayerSummary, SummaryOptions
from cofire.errors import BatchError, DataError, LabelError, NonFiniteError, OptionError
from cofire.network import ActivationLayer, Network, Selector, Unit

__all__ = ["DEFAULT_CAP", "summarize"]

DEFAULT_CAP = 4_000_000_000
"""Bytes of state above which a summary refuses to start."""

_LOG = logging.getLogger("cofire")


def summarize(
    network: Network,
    data: Any,
    *,
    layers: Selector = None,
    unit: Unit = "channel",
    bins: int = 100,
    range: Range = "own",
    threshold: float = 0.0,
    by_class: ByClass = False,
    class_names: Sequence[str] | None = None,
    min_class_samples: int = 2,
    batch_size: int = 256,
    max_bytes: int = DEFAULT_CAP,
    progress: bool | None = None,
) -> ActivationSummary:
    """What the neurons of a network do on a data set, exactly and in bounded memory.

    The data runs through the network twice. Pass 1 finds how often, how strongly and in which range each
    neuron fires; pass 2 counts histograms over those ranges. Nothing of size (samples × neurons) is held.

    Args:
        network: The classifier.
        data: A `DataLoader`, a `Dataset`, a pair (inputs, labels) of tensors or arrays, or any iterable of
            (inputs, labels) batches that can be read twice. Both passes must see the same data: random
            augmentation is noticed and refused.
        layers: Which activation layers; None takes all (see `Network.select`).
        unit: What a neuron is: "channel" (each position one observation), "channel-mean", "channel-max"
            (one observation per sample) or "element" (channel × height × width neurons).
        bins: Bins R of each histogram. Entropies under different R do not compare.
        range: Over which range: "own", "zero-to-max" or "global" (one for all neurons of all layers).
        threshold: A neuron is active above it.
        by_class: Also per class: True for everything (needed for entropy by class), "statistics" without
            histograms (enough for selectivity, information and activation probabilities).
        class_names: Names of the classes, in order.
        min_class_samples: With `by_class`, the fewest samples that a class may have.
        batch_size: For data that does not come in batches.
        max_bytes: Refuse to start if the state would be larger.
        progress: Show a progress bar; None shows it on a terminal.

    Returns:
        The summary, on the CPU.

    Raises:
        BudgetError: The state would exceed `max_bytes`.
        DataError: No samples, other data in the second pass, and its kinds `BatchError` (not
            (inputs, labels), other shapes), `LabelError` (out of range, of the wrong length, an empty
            class), `NonFiniteError` (names layer, neuron and batch), `ImageError`.
        LayerError: No such layer.
        OptionError: An option has a value it cannot have.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> inputs, labels = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]]), torch.tensor([0, 1, 1])
        >>> summary = summarize(Network(model, inputs), (inputs, labels), bins=10)
        >>> summary.samples, [layer.layer.name for layer in summary.layers]
        (3, ['1'])
    """
    chosen = network.select(layers)
    check_bins(bins)
    check_range(range)
    if not (isinstance(threshold, int | float) and abs(threshold) < float("inf")):
        raise OptionError(f"threshold={threshold!r}", "a finite number", "pass threshold=0.0")
    if by_class not in (False, True, "statistics"):
        raise OptionError(f"by_class={by_class!r}", "False, True or 'statistics'", "pass by_class=True")
    names = _class_names(class_names, network.num_classes)
    cost = cost_of(chosen, unit=unit, bins=bins, by_class=by_class, num_classes=network.num_classes)
    check_budget(cost, max_bytes, unit=unit, bins=bins, by_class=by_class)
    _LOG.info("%d layers, %s", len(chosen), cost)
    if progress:
        sys.stderr.write(f"{len(chosen)} layers, {cost}\n")
    batches = Batches(data, network.num_classes, batch_size=batch_size)

    first = _Pass1(network, chosen, unit, threshold, bool(by_class))
    _run(network, batches, chosen, unit, first.observe, "pass 1 of 2", progress, first.count)
    first.check(min_class_samples if by_class else 0, names)

    totals = {name: s.over_classes() for name, s in first.statistics.items()}
    second = _Pass2(chosen, totals, first.statistics if by_class is True else None, bins, range)
    _run(network, batches, chosen, unit, second.observe, "pass 2 of 2", progress, None)
    second.check(totals)

    options = SummaryOptions(
        fingerprint=network.fingerprint,
        unit=unit,
        bins=bins,
        range=range,
        threshold=float(threshold),
        by_class=by_class,
        class_names=names,
    )
    results = tuple(
        LayerSummary(
            layer=layer,
            statistics=first.statistics[layer.name].cpu(),
            histograms=second.together[layer.name].cpu(),
            class_histograms=second.by_class[layer.name].cpu() if by_class is True else None,
        )
        for layer in chosen
    )
    return ActivationSummary(
        options=options, layers=results, class_samples=first.class_samples.cpu(), class_correct=first.class_correct.cpu()
    )


Observer = Callable[[ActivationLayer, NeuronView, Tensor, int], None]


def _run(
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
            # Sorted by label, a neuron's counts are written once per class and batch.
            order = torch.argsort(batch.labels, stable=True)
            labels = batch.labels[order].to(network.device)
            index = batch.index

            def each(
                layer: ActivationLayer, activation: Tensor, *, labels: Tensor = labels, index: int = index
            ) -> None:
                observe(layer, view_neurons(activation, layer, unit), labels, index)

            logits = network.run(batch.inputs[order], each, layers)
            if count is not None:
                count(logits, labels)
            advance(len(labels))


class _Pass1:
    def __init__(
        self, network: Network, layers: Sequence[ActivationLayer], unit: Unit, threshold: float, by_class: bool
    ) -> None:
        self.statistics: dict[str, ActivationStatistics] = {}
        self._classes = network.num_classes if by_class else 1
        self._threshold = float(threshold)
        self.class_samples = torch.zeros(network.num_classes, dtype=torch.int64, device=network.device)
        self.class_correct = torch.zeros_like(self.class_samples)

    def observe(self, layer: ActivationLayer, view: NeuronView, labels: Tensor, index: int) -> None:
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
        if not state.update(view, labels if self._classes > 1 else torch.zeros_like(labels)):
            _, neuron, value = find_non_finite(view)
            raise NonFiniteError(
                f"activation {value} of neuron {neuron} of layer '{layer.name}' in batch {index}",
                "finite numbers",
                "find what makes the network overflow (weights, learning rate, inputs), or leave that batch out",
            )

    def count(self, logits: Tensor, labels: Tensor) -> None:
        self.class_samples.index_add_(0, labels, torch.ones_like(labels))
        self.class_correct.index_add_(0, labels, (logits.argmax(dim=1) == labels).to(torch.int64))

    def check(self, fewest: int, names: tuple[str, ...]) -> None:
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


class _Pass2:
    def __init__(
        self,
        layers: Sequence[ActivationLayer],
        totals: dict[str, ActivationStatistics],
        by_class: dict[str, ActivationStatistics] | None,
        bins: int,
        range: Range,
    ) -> None:
        def states(of: dict[str, ActivationStatistics]) -> dict[str, ActivationHistograms]:
            extremes = (
                min(float(s.minimum.min()) for s in of.values()),
                max(float(s.maximum.max()) for s in of.values()),
            )
            return {
                name: ActivationHistograms.empty(*ranges_of(s, range, extremes), bins, s.precision)
                for name, s in of.items()
            }

        self.together = states(totals)
        self.by_class = {} if by_class is None else states(by_class)
        self._together = {name: state.updater() for name, state in self.together.items()}
        self._by_class = {name: state.updater() for name, state in self.by_class.items()}

    def observe(self, layer: ActivationLayer, view: NeuronView, labels: Tensor, index: int) -> None:
        self._together[layer.name](view, torch.zeros_like(labels))
        if self._by_class:
            self._by_class[layer.name](view, labels)

    def check(self, totals: dict[str, ActivationStatistics]) -> None:
        """Both passes saw the same data, up to what reordering a batch does to the last bit of a sum."""
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


def _class_names(given: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    if given is None:
        return tuple(str(c) for c in torch.arange(num_classes).tolist())
    if len(given) != num_classes:
        raise OptionError(
            f"{len(given)} class names for {num_classes} classes", "one name per class", "pass them in the order of labels"
        )
    return tuple(str(name) for name in given)
