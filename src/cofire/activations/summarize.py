"""Run data through a network twice and keep what its neurons do; what that costs is known before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, PositiveInt
from torch import nn

from cofire.activations.batches import Batches, first_inputs
from cofire.activations.cofiring import Pairs, adapted_top, narrowed
from cofire.activations.histograms import Range
from cofire.activations.labelling import ClassRows, Labelling
from cofire.activations.passes import FirstPass, SecondPass, check_classes, check_same, pass_over
from cofire.activations.progress import announce
from cofire.activations.random_labels import RandomLabels, shuffled_labels
from cofire.activations.summary import ActivationSummary, ByClass, LayerSummary, SummaryOptions
from cofire.activations.together import Task, alone
from cofire.activations.top_samples import DEFAULT_SAMPLES, sample_bytes, samples_that_fit
from cofire.arguments import validated
from cofire.errors import BudgetError, LabelError, LayerError, OptionError
from cofire.network import ActivationLayer, Network, Selector, Unit, classifier

DEFAULT_CAP = 4_000_000_000
"""Bytes of state above which a summary refuses to start."""


DEFAULT_TOP = 50
"""Representative neurons per class, as in P2."""


_UNORDERED = "which samples neurons fire most for is left out: the data was read in another order the second time"
_STATISTICS, _SUM, _RANGE, _COUNT = 5 * 8, 3 * 8, 2 * 8, 8
"""Bytes of a neuron's statistics, of an exact sum, of its range, and of a bin."""


@validated
def summarize(
    network: Network | nn.Module,
    data: Any,
    *,
    layers: Selector = None,
    unit: Unit = "channel",
    bins: PositiveInt = 100,
    range: Range = "own",
    threshold: float = 0.0,
    by_class: ByClass = False,
    pairs: Pairs | None = None,
    top: PositiveInt = DEFAULT_TOP,
    null_graphs: Annotated[int, Field(ge=0, le=1000)] = 0,
    top_samples: Annotated[int, Field(ge=0, le=1000)] = DEFAULT_SAMPLES,
    class_names: Sequence[str] | None = None,
    outputs: Sequence[int] | None = None,
    min_class_samples: PositiveInt | None = None,
    batch_size: PositiveInt = 256,
    max_bytes: PositiveInt = DEFAULT_CAP,
    progress: bool | None = None,
) -> ActivationSummary:
    """What the neurons of a network do on a data set, exactly and in bounded memory.

    The data runs through the network twice. Pass 1 finds how often, how strongly and in which range
    each neuron fires; pass 2 counts histograms over those ranges. Nothing of size (samples ×
    neurons) is held.

    Classes come from the data: results by class have a row for each class that occurs
        (`options.classes`), and the
    network may have other outputs. Where the data names as many classes as the network has outputs,
    or names none, class i is output i; where it names fewer or more, there is no accuracy unless
    `outputs` says whose each is.

    Args:
        network: The classifier; a module is read with the first samples.
        data: A `DataLoader`, a `Dataset`, a pair (inputs, labels) of tensors or arrays, or any
            iterable of (inputs, labels) batches that can be read twice. Samples may have columns,
            `pixel_values` or `image` and `label`, as those of Hugging Face. Both passes must see
            the same data: random augmentation is noticed and refused.
        layers: Which activation layers; None takes all (see `Network.select`).
        unit: What a neuron is: "channel" (each position one observation), "channel-mean",
            "channel-max" (one observation per sample) or "element" (channel × height × width
            neurons).
        bins: Bins R of each histogram. Entropies under different R do not compare.
        range: Over which range: "own", "zero-to-max" or "global" (one for all neurons of all
            layers).
        threshold: A neuron is active above it.
        by_class: Also per class: True for everything (needed for entropy by class), "statistics"
            without histograms (enough for selectivity, information and activation probabilities).
        pairs: Also count which neurons fire together, for `ActivationSummary.graph`: for each class
            the pairs of its own representative neurons ("class") or of all classes' ("union").
            Needs `by_class`.
        top: Representative neurons per class (P2's S) at the most: no more than half of a layer's
            neurons, and no more than let a neuron represent three classes on average. Its graph
            records both numbers (`top`, `top_asked`).
        null_graphs: How many graphs to make with the labels in random order as well: what chance
            alone gives. Two at least, ten say something; 0 for none. Data that is not in memory is
            read once more, for its labels, and each graph keeps 4 bytes per sample. A loader that
            shuffles gives other random labels in the second pass, which chance does not mind.
        top_samples: How many samples that each neuron fires most for are kept at the most, with
            `by_class` of each class as well (`LayerSummary.top_samples`); 0 for none. Fewer where
            they would take more than a quarter of `max_bytes`, which is told. A loader that reads
            in another order each time has none: their numbers would mean nothing.
        class_names: Names of all classes, in the order of the labels; those of the data set
            (`classes`, also of the data set behind a loader or a part) unless given, else numbers.
        outputs: The number of each class's output, where class i is not output i.
        min_class_samples: With `by_class`, the fewest samples that a class that occurs may have, 1
            at least. Unless given 2, or 1 where not every class occurs: of a thousand classes a few
            images show most of theirs once.
        batch_size: Samples read at once, of data that does not come in batches. How many
            the network runs at once follows from the largest of all results on the way, and from
            the kind of its device: other sizes would give other last bits. So no result depends
            on it.
        max_bytes: Refuse to start if the state would be larger.
        progress: Show a progress bar; None shows it on a terminal.

    Returns:
        The summary, on the CPU.

    Raises:
        BudgetError: The state would exceed `max_bytes`.
        DataError: No samples, other data in the second pass, and its kinds `BatchError` (not
            (inputs, labels), other shapes), `LabelError` (out of range, of the wrong length, a
            class of too few samples, one class alone), `NonFiniteError` (names layer, neuron and
            batch), `ImageError`.
        LayerError: No such layer, or none at all.
        OptionError: An option has a value it cannot have, or the network does not decide between
            classes.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> inputs, labels = torch.tensor([[0.0, 1.0], [1.0, 0.0], [2.0, 1.0]]), torch.tensor([0, 1, 1])
        >>> summary = summarize(Network(model, inputs), (inputs, labels), bins=10)
        >>> summary.samples, [layer.layer.name for layer in summary.layers]
        (3, ['1'])
    """
    network = classifier(network, lambda: first_inputs(data))
    return alone(
        network,
        summarizing(
            network,
            data,
            layers=layers,
            unit=unit,
            bins=bins,
            range=range,
            threshold=threshold,
            by_class=by_class,
            pairs=pairs,
            top=top,
            null_graphs=null_graphs,
            top_samples=top_samples,
            class_names=class_names,
            outputs=outputs,
            min_class_samples=min_class_samples,
            batch_size=batch_size,
            max_bytes=max_bytes,
            progress=progress,
        ),
        progress,
    )


def summarizing(
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
    top_samples: int = DEFAULT_SAMPLES,
    class_names: Sequence[str] | None = None,
    outputs: Sequence[int] | None = None,
    min_class_samples: int | None = None,
    batch_size: int = 256,
    max_bytes: int = DEFAULT_CAP,
    progress: bool | None = None,
) -> Task[ActivationSummary]:
    """The same as `summarize`, as a task whose passes others can join (see `cofire.activations.together`)."""
    chosen = _layers(network, layers)
    labelling = Labelling.of(network, data, class_names, outputs)
    # 1 equals True, but would be taken for "statistics" further on.
    kept: ByClass = True if by_class is not False and by_class == 1 else by_class
    _check_graph(pairs, kept, top, null_graphs)
    batches = Batches(data, len(labelling.names), batch_size=batch_size)

    neurons = sum(layer.neurons(unit) for layer in chosen)

    def needed(classes: int) -> tuple[Cost, int]:
        counting = partial(
            cost_of,
            chosen,
            unit=unit,
            bins=bins,
            by_class=kept,
            num_classes=classes,
            pairs=pairs,
            top=top,
            null_graphs=null_graphs,
            dtype=network.dtype,
        )
        free = min(max_bytes // 4, max_bytes - counting().bytes)
        fit = samples_that_fit(top_samples, neurons, classes if kept else 1, free, network.dtype)
        return counting(top_samples=fit), fit

    cost, fit = needed(len(labelling.names))
    class_samples = None
    if kept and (batches.in_memory or null_graphs or cost.bytes > max_bytes or fit < top_samples):
        class_samples = batches.class_samples()
        cost, fit = needed(max(1, int((class_samples > 0).sum())))
    if cost.bytes > max_bytes:
        smaller = {
            "choose fewer layers": True,
            "unit='channel'": unit == "element",
            "by_class='statistics'": kept is True,
            "fewer null_graphs": null_graphs > 0,
            "a smaller top": pairs is not None,
            "fewer bins": bins > 100,
        }
        raise BudgetError(
            f"{cost} with unit='{unit}', bins={bins}, by_class={kept!r}",
            f"at most {in_units(max_bytes)} (max_bytes={max_bytes})",
            f"{', '.join(way for way, helps in smaller.items() if helps)}, or raise max_bytes if this "
            "machine has the memory",
        )
    at_most = "at most " if class_samples is None and kept else ""
    announce(f"{len(chosen)} layers, {at_most}{cost}", progress)
    if reason := labelling.without_accuracy():
        announce(f"Note: {reason}", progress)
    if fit < top_samples:
        announce(
            f"Note: {fit or 'none'} of the {top_samples} top samples of each neuron: more would take over a "
            f"quarter of {in_units(max_bytes)} (max_bytes)",
            progress,
        )
    top_samples = fit

    by_chance = None
    known = None if class_samples is None else torch.nonzero(class_samples > 0).flatten()
    if null_graphs and class_samples is not None and known is not None:
        of_rows = class_samples[known]
        by_chance = RandomLabels(shuffled_labels(of_rows, null_graphs), of_rows, network.device)
    rows = ClassRows(len(labelling.names), known) if kept else None
    first = FirstPass(threshold, rows, by_chance, top_samples)
    seen = yield from pass_over(
        *(network, data, labelling, rows, chosen, unit, first.observe, "pass 1 of 2"),
        batch_size=batch_size,
        kept=first,
    )
    if kept:
        check_classes(seen, min_class_samples, labelling.names)
    if network.output == "one logit" and len(seen.occurring) < 2:
        raise LabelError(
            f"a network with a single logit, and data of class '{labelling.names[int(seen.occurring)]}' alone",
            "samples of both classes, where a logit decides between two: it could be any number else",
            "add samples of the other class, or wrap the model in a module whose forward returns "
            "torch.cat([-z, z], dim=1) / 2",
        )
    first.finish()

    occurring = seen.occurring
    rows = ClassRows(len(labelling.names), occurring) if kept else None
    second = SecondPass(first, bins, range, histograms_by_class=kept is True, pairs=pairs, top=top)
    again = yield from pass_over(
        *(network, data, labelling, rows, chosen, unit, second.observe, "pass 2 of 2"),
        batch_size=batch_size,
        kept=second,
    )
    second.finish()
    check_same(seen, again)
    if top_samples and not seen.same_order(again):
        announce(f"Note: {_UNORDERED}", progress)
        first.top_samples, top_samples = {}, 0

    if line := narrowed({name: counts.top for name, counts in second.cofiring.items()}, top):
        announce(f"Note: {line}", progress)
    options = SummaryOptions(
        fingerprint=network.fingerprint,
        unit=unit,
        bins=bins,
        range=range,
        threshold=threshold,
        by_class=kept,
        class_names=tuple(labelling.names[c] for c in occurring.tolist()),
        pairs=pairs,
        top=top,
        classes=tuple(occurring.tolist()),
        outputs=labelling.matched,
        top_samples=top_samples,
    )
    results = tuple(
        LayerSummary(
            layer=layer,
            statistics=first.statistics[layer.name].cpu(),
            histograms=second.together[layer.name].cpu(),
            class_histograms=second.by_class[layer.name].cpu() if kept is True else None,
            cofiring=second.cofiring[layer.name].cpu() if pairs is not None else None,
            by_chance=tuple(counts.cpu() for counts in second.by_chance[layer.name]),
            tops=first.top_samples[layer.name].cpu() if top_samples else None,
        )
        for layer in chosen
    )
    return ActivationSummary(
        options=options,
        layers=results,
        class_samples=seen.samples.cpu()[occurring],
        class_correct=None if seen.correct is None else seen.correct.cpu()[occurring],
    )


def _layers(network: Network, layers: Selector) -> tuple[ActivationLayer, ...]:
    if network.device.type == "mps":
        raise OptionError(
            "a network on mps",
            "a network on cpu or cuda: sums are kept in float64",
            "move it to the cpu",
        )
    chosen = network.select(layers)
    if not chosen:
        raise LayerError(
            "no activation layers",
            "at least one output of an activation function between two layers with weights",
            'pass layers="kind:attention" for its heads of attention'
            if network.heads
            else "see what the network has in network.activation_layers, network.gates and network.unreadable",
        )
    return chosen


def _check_graph(pairs: Pairs | None, by_class: ByClass, top: int, null_graphs: int) -> None:
    if null_graphs == 1:
        raise OptionError(
            "null_graphs=1", "0, or two at least, which have a spread", "pass null_graphs=10"
        )
    if pairs is None and (null_graphs or top != DEFAULT_TOP):
        raise OptionError(
            f"top={top}, null_graphs={null_graphs} without pairs",
            "a graph that these are options of",
            "pass pairs='class', or leave them out",
        )
    if pairs is not None and not by_class:
        raise OptionError(
            f"pairs={pairs!r} with by_class=False",
            "results by class: neurons represent classes",
            "pass by_class=True or by_class='statistics', or pairs=None for no graph",
        )


@dataclass(frozen=True)
class Cost:
    """What a summary will hold.

    Attributes:
        neurons: Neurons over all layers.
        bytes: Bytes of state: statistics, ranges and histograms.
    """

    neurons: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.neurons:,} neurons, {in_units(self.bytes)} of state"


def in_units(size: int) -> str:
    """Bytes as people read them.

    Example:
        >>> in_units(18_176_000), in_units(512)
        ('18.2 MB', '512 B')
    """
    amount = float(size)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < 1000:
            return f"{amount:.0f} B" if unit == "B" else f"{amount:.1f} {unit}"
        amount /= 1000
    return f"{amount:.1f} TB"


def cost_of(
    layers: Sequence[ActivationLayer],
    *,
    unit: Unit,
    bins: int,
    by_class: ByClass = False,
    num_classes: int = 1,
    pairs: Literal["class", "union"] | None = None,
    top: int = 50,
    null_graphs: int = 0,
    top_samples: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Cost:
    """Neurons and bytes of state that a summary of these layers will hold.

    Args:
        layers: The layers.
        unit: What a neuron is.
        bins: Bins of each histogram.
        by_class: What is kept per class.
        num_classes: Number of classes that occur.
        pairs: Which pairs of neurons are counted, None for none.
        top: Representative neurons per class at the most.
        null_graphs: How many graphs with random labels.
        top_samples: How many samples that each neuron fires most for.
        dtype: Of the network.

    Returns:
        The cost.
    """
    sizes = [layer.neurons(unit) for layer in layers]
    neurons = sum(sizes)
    classes = num_classes if by_class else 1
    histograms = 1 + (num_classes if by_class is True else 0)
    state = neurons * (_STATISTICS + _SUM + sample_bytes(dtype) * top_samples) * classes
    state += neurons * (_RANGE + _COUNT * bins) * histograms
    if pairs is not None:
        state += sum((1 + null_graphs) * _cofiring(size, num_classes, pairs, top) for size in sizes)
        state += null_graphs * num_classes * neurons * _SUM
    return Cost(neurons, state)


def _cofiring(neurons: int, classes: int, pairs: str, top: int) -> int:
    """Bytes of a layer's co-firing counts, at most: pairs, and two numbers for each neuron of each class."""
    top = adapted_top(top, neurons, classes)
    if pairs == "class":
        return _COUNT * classes * (top * top + 4 * top)
    union = min(neurons, classes * top)
    return (_COUNT + _SUM) * union * union + _COUNT * 2 * classes * (union + top)
