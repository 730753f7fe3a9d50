"""The two passes over the data: what each keeps of every batch, and what it checks at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from cofire.activations.batches import Batch, Batches
from cofire.activations.cofiring import CofiringCounts, Pairs, adapted_top
from cofire.activations.histograms import ActivationHistograms, Range, ranges_of
from cofire.activations.labelling import ClassRows, Labelling
from cofire.activations.neurons import Grouping, NeuronView, view_neurons
from cofire.activations.random_labels import RandomLabels
from cofire.activations.sharing import sharing_now
from cofire.activations.statistics import ActivationStatistics, State, find_non_finite
from cofire.activations.sums import Sums
from cofire.activations.together import Kept, Pass, Task, Watch
from cofire.activations.top_samples import TopSamples
from cofire.errors import DataError, LabelError, MergeError, NonFiniteError
from cofire.network import ActivationLayer, Network, Unit

_ROUNDING = 1e-5


"""How far sums of float32 inner products may lie apart for the same samples in another order."""


@dataclass(frozen=True)
class LayerBatch:
    """What one layer does on one batch.

    Attributes:
        view: Its neurons.
        classes: The samples by class.
        together: The samples as one class.
        where: The batch of one of its samples as it was read, in words.
        start: Number of its first sample.
    """

    view: NeuronView
    classes: Grouping
    together: Grouping
    where: Callable[[int], str]
    start: int = 0


Observer = Callable[[ActivationLayer, LayerBatch], None]


@dataclass(frozen=True)
class DataSeen(State):
    """What a pass saw of the data, per class, to tell whether two passes saw the same.

    Attributes:
        sums: Sums over the samples of each class, (classes, 6), float64: of 1, of 1 where the
            network classifies the sample correctly, of the sample's inner product with `direction`,
            of the size of that, and of the last two times the sample's number.
        direction: Random numbers, the same in every pass, (values of a sample,). Whatever changes
            in a sample, changes its inner product with them.
        outputs: Number of each class's output, (classes,); None where there is none.
    """

    sums: Tensor
    direction: Tensor
    outputs: Tensor | None

    @classmethod
    def nothing(cls, network: Network, labelling: Labelling) -> Self:
        """Before any data."""
        sums = torch.zeros(len(labelling.names), 6, dtype=torch.float64, device=network.device)
        direction = torch.randn(
            math.prod(network.input_shape), generator=torch.Generator().manual_seed(0)
        )
        outputs = None if labelling.outputs is None else labelling.outputs.to(network.device)
        return cls(sums, direction.to(network.device), outputs)

    @property
    def samples(self) -> Tensor:
        """Samples of each class, (classes,), int64."""
        return self.sums[:, 0].to(torch.int64)

    @property
    def correct(self) -> Tensor | None:
        """Those that the network classifies correctly, (classes,), int64; None where classes have no outputs."""
        return None if self.outputs is None else self.sums[:, 1].to(torch.int64)

    @property
    def occurring(self) -> Tensor:
        """The classes that have samples, in order, int64, on the CPU."""
        return torch.nonzero(self.samples > 0).flatten().cpu()

    def update(self, inputs: Tensor | None, labels: Tensor, logits: Tensor, start: int = 0) -> None:
        """Add a batch, in place.

        Args:
            inputs: (samples, ...); None where they are known to be the same in every pass.
            labels: (samples,).
            logits: (samples, outputs).
            start: Number of its first sample.
        """
        values = torch.zeros(len(labels), 6, dtype=torch.float64, device=labels.device)
        values[:, 0] = 1
        if self.outputs is not None:
            values[:, 1] = logits.argmax(dim=1) == self.outputs[labels]
        if inputs is not None:
            flat = inputs.to(self.direction).reshape(len(labels), -1)
            values[:, 2] = torch.nan_to_num(flat @ self.direction)
            values[:, 3] = values[:, 2].abs()
            numbers = torch.arange(start, start + len(labels), device=labels.device)
            values[:, 4:] = values[:, 2:4] * numbers[:, None]
        self.sums.index_add_(0, labels, values)

    def merge(self, other: Self) -> Self:
        """What both saw."""
        return replace(self, sums=self.sums + other.sums)

    def same(self, other: Self) -> bool:
        """Whether the other saw the same, up to the order of the samples."""
        close = (self.sums - other.sums).abs()[:, 2:4] <= _ROUNDING * self.sums[:, 3:4]
        return torch.equal(self.samples, other.samples) and bool(close.all())

    def same_order(self, other: Self) -> bool:
        """Whether the other, which saw the same, saw it in the same order."""
        apart = (self.sums - other.sums).abs()[:, 4]
        return bool((apart <= _ROUNDING * self.sums[:, 5]).all())


def pass_over(
    network: Network,
    data: Any,
    labelling: Labelling,
    rows: ClassRows | None,
    layers: Sequence[ActivationLayer],
    unit: Unit,
    observe: Observer,
    title: str,
    *,
    batch_size: int = 256,
    kept: Kept | None = None,
) -> Task[DataSeen]:
    """One pass: every batch through the network, every layer's neurons to the observer.

    Args:
        network: The classifier.
        data: What `cofire.summarize` takes.
        labelling: What its labels mean.
        rows: Of the classes; None where nothing is kept by class.
        layers: Which layers.
        unit: What a neuron is.
        observe: What counts.
        title: Of the progress bar.
        batch_size: For data that does not come in batches.
        kept: What `observe` counts into, which several processes can share; None for nothing.

    Returns:
        What it saw.
    """
    seen = DataSeen.nothing(network, labelling)
    classes = len(labelling.names)
    # What two processes hold in memory can be different.
    same = Batches(data, classes, batch_size=batch_size).in_memory and sharing_now() is None

    def watch(batch: Batch) -> Watch:
        labels = batch.labels.to(network.device)
        grouped = Grouping(labels if rows is None else rows.of(batch.labels).to(network.device))
        together = grouped.together()

        def each(layer: ActivationLayer, activation: Tensor) -> None:
            view = view_neurons(activation, layer, unit)
            observe(layer, LayerBatch(view, grouped, together, batch.where, batch.start))

        def finish(logits: Tensor) -> None:
            seen.update(None if same else batch.inputs, labels, logits, batch.start)

        return Watch(finish, layers, each)

    yield Pass(
        data,
        classes,
        batch_size,
        title,
        watch,
        _Seen(seen, kept, {one.name: one.neurons(unit) for one in layers}),
    )
    return seen


@dataclass(frozen=True)
class _Seen:
    """What a pass saw, and what was counted of it."""

    seen: DataSeen
    kept: Kept | None
    neurons: Mapping[str, int]

    def counted(self) -> dict[str, State]:
        return {"seen": self.seen, **({} if self.kept is None else self.kept.counted())}

    def take(self, counted: Mapping[str, State]) -> None:
        _take(self.seen, counted.get("seen"), 1)
        for kind in ("statistics", "sums") if isinstance(self.kept, FirstPass) else ():
            for name, neurons in self.neurons.items():
                state: Any = counted.get(f"{kind}.{name}")
                held = getattr(state, "total" if kind == "statistics" else "digits", None)
                if held is None or held.shape[-1] != neurons:
                    raise _others()
        if self.kept is not None:
            self.kept.take(counted)


class FirstPass:
    """Pass 1: statistics of every layer.

    Args:
        threshold: A neuron is active above it.
        rows: Of the classes, which grow in number as new ones are seen; None where nothing is kept
            by class.
        by_chance: Random labels by which means are found as well, if there are any.
        top_samples: How many samples that each neuron fires most for are kept; 0 for none.
    """

    def __init__(
        self,
        threshold: float,
        rows: ClassRows | None,
        by_chance: RandomLabels | None = None,
        top_samples: int = 0,
    ) -> None:
        self.by_chance = by_chance
        self.statistics: dict[str, ActivationStatistics] = {}
        self.sums: dict[str, Sums] = {}
        self.top_samples: dict[str, TopSamples] = {}
        self._k = top_samples
        self._rows = rows
        self._threshold = float(threshold)

    def observe(self, layer: ActivationLayer, batch: LayerBatch) -> None:
        """Count one layer of one batch."""
        view, state = batch.view, self.statistics.get(layer.name)
        room = 1 if self._rows is None else self._rows.capacity
        if state is not None and len(state.samples) < room:
            numbers = torch.arange(room, device=view.values.device)
            self.sums[layer.name] = self.sums[layer.name].spread(numbers)
            state = self.statistics[layer.name] = state.spread(numbers)
        if state is None:
            state = self.statistics[layer.name] = ActivationStatistics.empty(
                view.neurons,
                classes=room,
                positions=view.positions,
                threshold=self._threshold,
                precision=str(view.values.dtype).removeprefix("torch."),
                device=view.values.device,
            )
            self.sums[layer.name] = Sums.empty(room, view.neurons, view.values.device)
        classes = batch.together if self._rows is None else batch.classes
        if not state.update(view, classes, self.sums[layer.name].add):
            sample, neuron, value = find_non_finite(view)
            raise NonFiniteError(
                f"activation {value} of neuron {neuron} of layer '{layer.name}' in {batch.where(sample)}",
                "finite numbers",
                "find what makes the network overflow (weights, learning rate, inputs), or leave that batch out",
            )
        if self._k:
            self._keep_top(layer.name, batch, room)
        if self.by_chance is not None:
            self.by_chance.add(layer.name, view, batch.start)

    def _keep_top(self, name: str, batch: LayerBatch, room: int) -> None:
        view, state = batch.view, self.top_samples.get(name)
        numbers = None if self._rows is None else torch.arange(room, device=view.values.device)
        if state is None:
            state = TopSamples.empty(
                view.neurons,
                self._k,
                classes=numbers,
                dtype=view.values.dtype,
                device=view.values.device,
            )
        elif numbers is not None and len(state.classes) < room:
            state = state.spread(numbers)
        self.top_samples[name] = state
        state.update(view, batch.together if self._rows is None else batch.classes, batch.start)

    def _kept(self) -> dict[str, dict[str, Any]]:
        by_class: dict[str, dict[str, Any]] = {
            "statistics": self.statistics,
            "sums": self.sums,
            "top_samples": self.top_samples,
        }
        return by_class | ({} if self.by_chance is None else {"by_chance": self.by_chance.totals})

    def counted(self) -> dict[str, State]:
        """What was counted, by what it is and by layer, with rows in the order of their classes."""
        kept = self._kept()
        if self._rows is not None:
            numbers, order = torch.sort(self._rows.numbers)
            for states in (kept["statistics"], kept["sums"], kept["top_samples"]):
                for name, state in states.items():
                    device = state.classes.device
                    states[name] = state.rows(order.to(device), numbers.to(device))
            self._rows = None
        return {f"{kind}.{name}": one for kind, of in kept.items() for name, one in of.items()}

    def take(self, counted: Mapping[str, State]) -> None:
        """Take what several have counted in place of its own."""
        self.counted()
        for kind, states in self._kept().items():
            states |= {
                k[len(kind) + 1 :]: v for k, v in counted.items() if k.startswith(f"{kind}.")
            }

    def finish(self) -> None:
        """Write the sums out, once everything was seen."""
        self.counted()
        for name, state in self.statistics.items():
            self.statistics[name] = replace(state, total=self.sums[name].total())


class SecondPass:
    """Pass 2: histograms of every layer over the ranges that pass 1 found, and who fires together.

    Args:
        first: Pass 1, finished.
        histograms_by_class: Whether histograms are kept per class too.
        bins: Bins of each histogram.
        range: Over which range.
        pairs: Which pairs of representative neurons are counted; None for no graph. Pass 1 must be
            by class.
        top: Representative neurons per class at the most (see `adapted_top`).
    """

    def __init__(
        self,
        first: FirstPass,
        bins: int,
        range: Range,
        *,
        histograms_by_class: bool = False,
        pairs: Pairs | None = None,
        top: int = 1,
    ) -> None:
        by_class = first.statistics
        totals = {name: s.over_classes() for name, s in by_class.items()}

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
        self.by_class = states(by_class) if histograms_by_class else {}
        self._together = {name: state.updater() for name, state in self.together.items()}
        self._by_class = {name: state.updater() for name, state in self.by_class.items()}
        self.cofiring: dict[str, CofiringCounts] = {}
        self.by_chance: dict[str, list[CofiringCounts]] = {name: [] for name in by_class}
        self.shares: dict[str, list[Sums]] = {}
        self._labels: RandomLabels | None = None
        if pairs is not None:

            def counts(s: ActivationStatistics, means: Tensor) -> CofiringCounts:
                classes, neurons = means.shape
                return CofiringCounts.empty(
                    means, s.observations, adapted_top(top, neurons, classes), pairs
                )

            self.cofiring = {name: counts(s, s.mean()) for name, s in by_class.items()}
            if first.by_chance is not None:
                self._labels = first.by_chance.anew()
                for name, s in by_class.items():
                    self.by_chance[name] = [
                        counts(s, means) for means in first.by_chance.means(name, s)
                    ]
        if pairs == "union":
            self.shares = {
                name: [
                    Sums.empty(len(state.counts[0]), len(state.counts[0]), state.counts.device)
                    for state in self._counted(name)
                ]
                for name in by_class
            }

    def observe(self, layer: ActivationLayer, batch: LayerBatch) -> None:
        """Count one layer of one batch."""
        name, view = layer.name, batch.view
        self._together[name](view, batch.together)
        if self._by_class:
            self._by_class[name](view, batch.classes)
        groupings = [batch.classes] if self.cofiring else []
        if self._labels is not None:
            groupings += self._labels.groupings(batch.start, view.samples)
        counted = self._counted(name)
        for state, grouping in zip(counted, groupings, strict=True):
            state.update(view, grouping)
        for state, shares in zip(counted, self.shares.get(name, ()), strict=False):
            shares.add(
                torch.arange(len(state.counts[0]), device=state.counts.device), state.counts[0]
            )
            state.counts.zero_()

    def _counted(self, name: str) -> list[CofiringCounts]:
        return [self.cofiring[name], *self.by_chance[name]] if self.cofiring else []

    def _kept(self) -> dict[str, State]:
        kept: dict[str, State] = {}
        for kind, histograms in (("together", self.together), ("by_class", self.by_class)):
            kept |= {f"{kind}.{name}": one for name, one in histograms.items()}
        for name in self.cofiring:
            counts = self.shares[name] if self.shares else self._counted(name)
            kept |= {f"pairs{run}.{name}": one for run, one in enumerate(counts)}
        return kept

    def counted(self) -> dict[str, State]:
        """What was counted, by what it is and by layer."""
        return self._kept()

    def take(self, counted: Mapping[str, State]) -> None:
        """Take what several have counted in place of its own."""
        for name, own in self._kept().items():
            _take(own, counted.get(name))

    def finish(self) -> None:
        """Write the sums out, once everything was seen."""
        for name, several in self.shares.items():
            for state, shares in zip(self._counted(name), several, strict=True):
                state.counts[0] = shares.total()


def _take(own: State, counted: State | None, tensors: int | None = None) -> None:
    """Take what others have counted in place of what a state holds: all of its tensors, or the first ones."""
    pairs = list(zip(own.tensors(), counted.tensors() if counted else [], strict=False))[:tensors]
    if type(own) is not type(counted) or any(a.shape != b.shape for a, b in pairs):
        raise _others()
    for mine, theirs in pairs:
        mine.copy_(theirs)


def _others() -> MergeError:
    return MergeError(
        "counts of other layers, neurons or classes than network and data have here",
        "counts of this network and data",
        "make all parts with the network and data that merge opens",
    )


def check_classes(seen: DataSeen, fewest: int | None, names: Sequence[str]) -> None:
    """Refuse data of one class, or with fewer than `fewest` samples of a class that occurs.

    Args:
        seen: What a pass saw.
        fewest: None for 2 where every class occurs. Where only some do, one sample is enough: of a
            thousand classes, a few images show most of theirs once.
        names: Of all classes.

    Raises:
        LabelError: There is such a class.
    """
    occurring = seen.occurring.tolist()
    if fewest is None:
        fewest = 2 if len(occurring) == len(names) else 1
    if len(occurring) < 2:
        raise LabelError(
            f"samples of class '{names[occurring[0]]}' alone",
            "samples of two classes at least where results are kept by class",
            "add samples of other classes, or turn by_class off",
        )
    few = [c for c in occurring if int(seen.samples[c]) < fewest]
    if few:
        shown = ", ".join(f"'{names[c]}' ({int(seen.samples[c])})" for c in few[:5])
        raise LabelError(
            f"too few samples of {len(few)} of {len(occurring)} classes: {shown}{' …' if len(few) > 5 else ''}",
            f"at least {fewest} samples of every class where results are kept by class",
            "add samples, turn by_class off, or set min_class_samples=1 to accept classes with one sample",
        )


def check_same(first: DataSeen, second: DataSeen) -> None:
    """Refuse a second pass that saw other data than the first.

    Raises:
        DataError: It did.
    """
    if not first.same(second):
        raise DataError(
            f"the second pass saw other data than the first ({int(first.samples.sum())} samples, then "
            f"{int(second.samples.sum())}; or other inputs or labels)",
            "the same samples in both passes",
            "turn random augmentation off, and do not let the loader drop or draw other samples each time",
        )
