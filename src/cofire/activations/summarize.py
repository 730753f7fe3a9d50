"""Run data through a network twice and keep what its neurons do."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from cofire.activations.batches import Batches
from cofire.activations.budget import ByClass, check_budget, cost_of
from cofire.activations.cofiring import Pairs, check_pairs
from cofire.activations.histograms import Range, check_bins, check_range
from cofire.activations.passes import FirstPass, SecondPass, check_classes, check_same, run_pass
from cofire.activations.progress import announce
from cofire.activations.random_labels import RandomLabels, shuffled_labels
from cofire.activations.summary import ActivationSummary, LayerSummary, SummaryOptions
from cofire.bounds import check_threshold, check_whole
from cofire.errors import LayerError, OptionError
from cofire.network import ActivationLayer, Network, Selector, Unit

__all__ = ["DEFAULT_CAP", "DEFAULT_TOP", "summarize"]

DEFAULT_CAP = 4_000_000_000
"""Bytes of state above which a summary refuses to start."""

DEFAULT_TOP = 50
"""Representative neurons per class, as in P2."""


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
    pairs: Pairs | None = None,
    top: int = DEFAULT_TOP,
    null_graphs: int = 0,
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
        pairs: Also count which neurons fire together, for `ActivationSummary.graph`: for each class the pairs of
            its own representative neurons ("class") or of all classes' ("union"). Needs `by_class`.
        top: Representative neurons per class (P2's S); all of a layer that has fewer, which its graph records.
        null_graphs: How many graphs to make with the labels in random order as well: what chance alone gives. Two at
            least, ten say something; 0 for none. Data that is not in memory is read once more, for its labels, and
            each graph keeps 4 bytes per sample. A loader that shuffles gives other random labels in the second
            pass, which chance does not mind.
        class_names: Names of the classes, in order.
        min_class_samples: With `by_class`, the fewest samples that a class may have, 1 at least.
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
        LayerError: No such layer, or none at all.
        OptionError: An option has a value it cannot have, or the network fewer than two outputs.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> inputs, labels = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]]), torch.tensor([0, 1, 1])
        >>> summary = summarize(Network(model, inputs), (inputs, labels), bins=10)
        >>> summary.samples, [layer.layer.name for layer in summary.layers]
        (3, ['1'])
    """
    chosen = _layers(network, layers)
    names = _class_names(class_names, network.num_classes)
    bins, threshold = check_bins(bins), check_threshold(threshold)
    check_range(range)
    kept = _by_class(by_class)
    fewest = check_whole("min_class_samples", min_class_samples)
    top, null_graphs = _check_graph(pairs, kept, top, null_graphs)
    cost = cost_of(
        chosen, unit=unit, bins=bins, by_class=kept, num_classes=network.num_classes,
        pairs=pairs, top=top, null_graphs=null_graphs,
    )  # fmt: skip
    check_budget(
        cost, check_whole("max_bytes", max_bytes), unit=unit, bins=bins, by_class=kept,
        graph=pairs is not None, null_graphs=null_graphs,
    )  # fmt: skip
    announce(f"{len(chosen)} layers, {cost}", progress)
    batches = Batches(data, network.num_classes, batch_size=batch_size)

    by_chance = None
    if null_graphs:
        class_samples = batches.class_samples()
        by_chance = RandomLabels(shuffled_labels(class_samples, null_graphs), class_samples, network.device)
    first = FirstPass(network, threshold, bool(kept), by_chance)
    seen = run_pass(network, batches, chosen, unit, first.observe, "pass 1 of 2", progress)
    check_classes(seen, fewest if kept else 0, names)

    second = SecondPass(first, bins, range, histograms_by_class=kept is True, pairs=pairs, top=top)
    check_same(seen, run_pass(network, batches, chosen, unit, second.observe, "pass 2 of 2", progress))

    options = SummaryOptions(
        fingerprint=network.fingerprint,
        unit=unit,
        bins=bins,
        range=range,
        threshold=threshold,
        by_class=kept,
        class_names=names,
        pairs=pairs,
        top=top,
    )
    results = tuple(
        LayerSummary(
            layer=layer,
            statistics=first.statistics[layer.name].cpu(),
            histograms=second.together[layer.name].cpu(),
            class_histograms=second.by_class[layer.name].cpu() if kept is True else None,
            cofiring=second.cofiring[layer.name].cpu() if pairs is not None else None,
            by_chance=tuple(counts.cpu() for counts in second.by_chance[layer.name]),
        )
        for layer in chosen
    )
    return ActivationSummary(
        options=options,
        layers=results,
        class_samples=seen.samples.cpu(),
        class_correct=seen.correct.cpu(),
    )


def _layers(network: Network, layers: Selector) -> tuple[ActivationLayer, ...]:
    if network.num_classes < 2:
        raise OptionError(
            f"a network with {network.num_classes} output",
            "a classifier with one output per class, two at least",
            "wrap a network with one logit z so that it returns torch.cat([-z, z], dim=1)",
        )
    if network.device.type == "mps":
        raise OptionError(
            "a network on mps", "a network on cpu or cuda: sums are kept in float64", "move it to the cpu"
        )
    chosen = network.select(layers)
    if not chosen:
        raise LayerError(
            "no activation layers",
            "at least one output of an activation function between two layers with weights",
            "see what the network has in network.activation_layers, network.gates and network.unreadable",
        )
    return chosen


def _by_class(given: ByClass) -> ByClass:
    # By identity: 1 equals True but would be taken for "statistics" further on.
    if given is True or given is False or given == "statistics":
        return given
    raise OptionError(f"by_class={given!r}", "False, True or 'statistics'", "pass by_class=True")


def _check_graph(pairs: Pairs | None, by_class: ByClass, top: int, null_graphs: int) -> tuple[int, int]:
    top = check_whole("top", top)
    null_graphs = check_whole("null_graphs", null_graphs, least=0, most=1000)
    if null_graphs == 1:
        raise OptionError("null_graphs=1", "0, or two at least, which have a spread", "pass null_graphs=10")
    if pairs is None:
        if null_graphs or top != DEFAULT_TOP:
            raise OptionError(
                f"top={top}, null_graphs={null_graphs} without pairs",
                "a graph that these are options of",
                "pass pairs='class', or leave them out",
            )
        return top, null_graphs
    check_pairs(pairs)
    if not by_class:
        raise OptionError(
            f"pairs={pairs!r} with by_class=False",
            "results by class: neurons represent classes",
            "pass by_class=True or by_class='statistics', or pairs=None for no graph",
        )
    return top, null_graphs


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
