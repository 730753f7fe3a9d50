"""Run data through a network twice and keep what its neurons do."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from typing import Any

import torch

from cofire.activations.batches import Batches
from cofire.activations.budget import ByClass, check_budget, cost_of
from cofire.activations.histograms import Range, check_bins, check_range
from cofire.activations.passes import FirstPass, SecondPass, run_pass
from cofire.activations.summary import ActivationSummary, LayerSummary, SummaryOptions
from cofire.errors import OptionError
from cofire.network import Network, Selector, Unit

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

    first = FirstPass(network, threshold, bool(by_class))
    run_pass(network, batches, chosen, unit, first.observe, "pass 1 of 2", progress, first.count)
    first.check(min_class_samples if by_class else 0, names)

    totals = {name: s.over_classes() for name, s in first.statistics.items()}
    second = SecondPass(totals, first.statistics if by_class is True else None, bins, range)
    run_pass(network, batches, chosen, unit, second.observe, "pass 2 of 2", progress, None)
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
        options=options,
        layers=results,
        class_samples=first.class_samples.cpu(),
        class_correct=first.class_correct.cpu(),
    )


def _class_names(given: Sequence[str] | None, num_classes: int) -> tuple[str, ...]:
    if given is None:
        return tuple(str(c) for c in torch.arange(num_classes).tolist())
    if len(given) != num_classes:
        raise OptionError(
            f"{len(given)} class names for {num_classes} classes",
            "one name per class",
            "pass them in the order of labels",
        )
    return tuple(str(name) for name in given)
