"""What the neurons of a network did on a data set: the result object, and its file."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Literal, Self

import torch
from torch import Tensor

from cofire.activations.cofiring import CofiringCounts, Pairs, adapted_top
from cofire.activations.histograms import ActivationHistograms, Range
from cofire.activations.labelling import Outputs
from cofire.activations.statistics import ActivationStatistics
from cofire.activations.top_samples import NeuronSamples, TopSamples
from cofire.arguments import validated
from cofire.errors import DataError, LayerError, OptionError, ResultError, near_matches
from cofire.graphs import ActivationPatternGraph
from cofire.marks import check_whole
from cofire.network import ActivationLayer, Unit
from cofire.patterns import MEASURES
from cofire.reading import reader
from cofire.shown import Shown
from cofire.storage import load_result, save_result

_FORMAT = 2

ByClass = Literal[False, True, "statistics"]
"""What is kept per class: nothing, statistics and histograms, or statistics alone."""


@dataclass(frozen=True)
class SummaryOptions:
    """The options that made a summary; numbers made under different ones do not compare.

    Attributes:
        fingerprint: Of the network's architecture.
        unit: What a neuron is.
        bins: Bins of each histogram.
        range: Over which range.
        threshold: A neuron is active above it.
        by_class: What was kept per class.
        class_names: Names of the classes that occur, in order.
        pairs: Which pairs of neurons are counted for the activation pattern graph; None for no
            graph.
        top: Representative neurons per class asked for.
        classes: Numbers of the classes that occur, as the labels have them; from 0 up unless given.
        outputs: How classes and outputs of the network belong together; "none" where there is no
            accuracy.
        top_samples: How many samples that each neuron fires most for were kept, 0 for none.
    """

    fingerprint: str
    unit: Unit
    bins: int
    range: Range
    threshold: float
    by_class: ByClass
    class_names: tuple[str, ...]
    pairs: Pairs | None = None
    top: int = 50
    classes: tuple[int, ...] = ()
    outputs: Outputs = "number"
    top_samples: int = 0

    def __post_init__(self) -> None:
        if len(self.classes) != len(
            self.class_names
        ):  # of results from before there were numbers of classes
            object.__setattr__(self, "classes", tuple(range(len(self.class_names))))


@validated
@dataclass(frozen=True, repr=False)
class LayerSummary(Shown):
    """What the neurons of one layer did.

    Attributes:
        layer: Which layer.
        statistics: Counts, sums and ranges, per class where asked.
        histograms: Histograms over all samples, one "class".
        class_histograms: Histograms per class, each over the class's own range; None if not asked
            for.
        cofiring: Which neurons fire together; None if not asked for.
        by_chance: The same with random labels, several times.
        tops: The samples that each neuron fires most for; None if not kept. `top_samples` reads it.
    """

    layer: ActivationLayer
    statistics: ActivationStatistics
    histograms: ActivationHistograms
    class_histograms: ActivationHistograms | None
    cofiring: CofiringCounts | None = None
    by_chance: tuple[CofiringCounts, ...] = ()
    tops: TopSamples | None = None

    @property
    def neurons(self) -> int:
        """How many neurons."""
        return self.statistics.total.shape[1]

    def measure(self, name: str) -> Tensor:
        """A registered measure of each neuron, (neurons,), float64 or bool (see `cofire.register_measure`).

        Raises:
            DataError: It needs results by class, without which the summary was made.
            OptionError: No such measure.
        """
        measure = MEASURES.get(name)
        if measure is None:
            raise OptionError(
                f"no measure '{name}'",
                f"one of the {len(MEASURES)} that are registered",
                f"try {near_matches(name, MEASURES)}",
            )
        if measure.needs_classes and len(self.statistics.samples) < 2:
            raise _not_by_class("'statistics'")
        return measure(_inputs(self.statistics.over_classes(), self.histograms.counts[0], self))

    def class_measure(self, name: str) -> Tensor:
        """The same on the samples of each class alone, (classes, neurons), of a measure that is `by_class`.

        Raises:
            DataError: The summary was made without histograms per class.
        """
        if self.class_histograms is None:
            raise _not_by_class("True")
        places = torch.arange(len(self.statistics.samples))[:, None]
        return torch.stack(
            [
                MEASURES[name](
                    _inputs(self.statistics.rows(row, self.statistics.classes[row]), counts)
                )
                for row, counts in zip(places, self.class_histograms.counts, strict=True)
            ]
        )

    def entropy(self) -> Tensor:
        """Activation pattern entropy `E_j` in nats, (neurons,), float64.

        A dead neuron has none, unless its activation function gives negative values: those are not
        zero.
        """
        return self.measure("entropy")

    def class_entropy(self) -> Tensor:
        """The same on the samples of each class, over the class's own range, (classes, neurons).

        Raises:
            DataError: The summary was made without histograms per class.
        """
        return self.class_measure("entropy")

    def probability(self) -> Tensor:
        """Share of all observations in which each neuron is active, (neurons,), float64."""
        return self.measure("activity")

    def mean(self) -> Tensor:
        """Mean activation of each neuron over all observations, (neurons,), float64."""
        return self.measure("mean_activation")

    def class_probability(self) -> Tensor:
        """Activation probability of each neuron for each class, (classes, neurons) (P1 Eq. 14)."""
        return self._by_class().probability()

    def class_mean(self) -> Tensor:
        """Mean activation of each neuron over each class, (classes, neurons) (P2 Eq. 6)."""
        return self._by_class().mean()

    def dead(self) -> Tensor:
        """Which neurons are never active, (neurons,), bool."""
        return self.measure("dead")

    def always_active(self) -> Tensor:
        """Which neurons are active in every observation, (neurons,), bool."""
        return self.measure("always_active")

    @property
    def selectivity_of(self) -> Literal["mean activation", "activation probability"]:
        """What selectivity is computed from: probabilities where activations can be negative.

        The index divides by a sum of two values, which for means below zero can be 0 or turn its
        sign.
        """
        negative = self.layer.signed or bool((self.statistics.minimum < 0).any())
        return "activation probability" if negative else "mean activation"

    def selectivity(self) -> Tensor:
        """Class selectivity index, (neurons,), 0 to 1 (Morcos et al. 2018), of what `selectivity_of` says."""
        return self.measure("selectivity")

    def preferred_class(self) -> Tensor:
        """Number of the class each neuron does most for, (neurons,), int64; the lower one where classes tie."""
        best: Tensor = self.statistics.classes[self.class_values().argmax(dim=0)]
        return best

    def information(self) -> Tensor:
        """Mutual information between a neuron's activity and the class in bits, (neurons,), float64."""
        return self.measure("information")

    def top_samples(self, label: int | None = None) -> NeuronSamples:
        """The samples that each neuron fires most for.

        Args:
            label: Those of one class alone, by its number; of all unless given.

        Raises:
            DataError: The summary was made without them, or without results by class.
            LabelError: The class has no samples.
        """
        return NeuronSamples.of(self.tops, label, self.layer)

    def class_values(self) -> Tensor:
        """What `selectivity_of` says, (classes, neurons), float64."""
        return (
            self.class_mean()
            if self.selectivity_of == "mean activation"
            else self.class_probability()
        )

    def _by_class(self) -> ActivationStatistics:
        if len(self.statistics.samples) < 2:
            raise _not_by_class("'statistics'")
        return self.statistics

    def __repr__(self) -> str:
        return (
            f"LayerSummary('{self.layer.name}', {self.layer.kind}, {self.neurons} neurons, "
            f"entropy {float(self.entropy().sum()):.1f} nats, {int(self.dead().sum())} dead)"
        )


@validated
@dataclass(frozen=True, repr=False)
class ActivationSummary(Shown):
    """What the neurons of a network did on a data set.

    Attributes:
        options: The options that made it.
        layers: One summary per layer, in order of execution.
        class_samples: Samples of each class that occurs (`options.classes`), (classes,), int64.
        class_correct: Those that the network classified correctly, (classes,), int64; None where
            the network's outputs have nothing to do with the classes.
    """

    options: SummaryOptions
    layers: tuple[LayerSummary, ...]
    class_samples: Tensor
    class_correct: Tensor | None

    @property
    def samples(self) -> int:
        """Samples seen."""
        return int(self.class_samples.sum())

    @property
    def neurons(self) -> int:
        """Neurons over all layers."""
        return sum(layer.neurons for layer in self.layers)

    @property
    def accuracy(self) -> float | None:
        """Share of the samples that the network classified correctly, 0 to 1; None without `class_correct`."""
        return None if self.class_correct is None else int(self.class_correct.sum()) / self.samples

    def class_accuracy(self) -> Tensor:
        """The same for the samples of each class, (classes,), float64.

        Raises:
            DataError: The network's outputs have nothing to do with the classes.
        """
        if self.class_correct is None:
            raise DataError(
                "classes that the network has no outputs for",
                "an output of the network for each class",
                "summarize with outputs=…, the number of each class's output",
            )
        return self.class_correct.to(torch.float64) / self.class_samples

    def entropy(self) -> float:
        """Activation pattern entropy of the network in nats, `E = Σ_j E_j` over all layers."""
        return float(sum(layer.entropy().sum() for layer in self.layers))

    def class_entropy(self) -> Tensor:
        """Activation pattern entropy of the network on each class in nats, (classes,), float64 (P2 Table 6)."""
        return torch.stack([layer.class_entropy().sum(dim=1) for layer in self.layers]).sum(dim=0)

    def top_of(self, layer: LayerSummary, top: int) -> int:
        """How many neurons of a layer represent each class where `top` are asked for, or as many as were counted."""
        counted = 0 if layer.cofiring is None else layer.cofiring.top
        fewer = adapted_top(top, layer.neurons, len(self.options.classes))
        return min(counted, fewer) if top < self.options.top else counted

    def graph(self, layer: str, top: int | None = None) -> ActivationPatternGraph:
        """The activation pattern graph of a layer (P2 §5.1), with those of random labels where they were collected.

        Args:
            layer: Its name.
            top: Of that many representative neurons per class at the most, no more than were
                counted, which it is unless given.

        Raises:
            OptionError: `top` is more than were counted.
            DataError: The summary was made without co-firing counts.
            LayerError: No such layer.
        """
        found = self[layer]
        if found.cofiring is None:
            raise DataError(
                "a summary without co-firing counts",
                "one made with pairs='class'",
                "summarize with by_class=True, pairs='class'",
            )
        asked = self.options.top if top is None else check_whole("top", top, 1, self.options.top)
        fewer = self.top_of(found, asked)
        mean, entropy = found.mean(), found.entropy()

        def graph_of(counts: CofiringCounts, **more: Any) -> ActivationPatternGraph:
            counts = counts.narrowed(fewer) if fewer < counts.top else counts
            neurons = counts.vertices()
            return ActivationPatternGraph(
                layer=layer,
                class_names=self.options.class_names,
                neurons=neurons,
                representatives=counts.representatives,
                class_means=counts.means,
                adjacency=counts.adjacency(),
                mean_activation=mean[neurons],
                entropy=entropy[neurons],
                pairs=counts.pairs,
                top_asked=asked,
                **more,
            )

        return graph_of(found.cofiring, by_chance=tuple(map(graph_of, found.by_chance)))

    def __getitem__(self, name: str) -> LayerSummary:
        for layer in self.layers:
            if layer.layer.name == name:
                return layer
        names = [layer.layer.name for layer in self.layers]
        raise LayerError(
            f"no layer '{name}' in this summary",
            f"one of its {len(names)} layers",
            f"try {near_matches(name, names)}",
        )

    def __iter__(self) -> Iterator[LayerSummary]:
        return iter(self.layers)

    def save(self, path: str | Path) -> Path:
        """Write the summary to one safetensors file, whole or not at all.

        Returns:
            The path.
        """
        tensors = {"class_samples": self.class_samples}
        if self.class_correct is not None:
            tensors["class_correct"] = self.class_correct
        described = []
        for index, layer in enumerate(self.layers):
            parts: dict[str, Any] = {name: getattr(layer, of) for name, (of, _) in _STATES.items()}
            parts |= {f"by_chance{run}": state for run, state in enumerate(layer.by_chance)}
            values = {
                f"{part}.{f.name}": getattr(state, f.name)
                for part, state in parts.items()
                if state is not None
                for f in fields(state)
            }
            tensors |= {f"{index}.{k}": v for k, v in values.items() if isinstance(v, Tensor)}
            plain = {k: v for k, v in values.items() if not isinstance(v, Tensor)}
            runs = len(layer.by_chance)
            described.append({"layer": asdict(layer.layer), "plain": plain, "by_chance": runs})
        header = {"format": _FORMAT, "options": asdict(self.options), "layers": described}
        return save_result(path, "summary", header, tensors)

    @classmethod
    @reader(ResultError, "a file that ActivationSummary.save wrote", "summarize the data again")
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ResultError: The file is missing, damaged, or holds something else.
        """
        return load_result(path, "summary", cls._read)

    @classmethod
    def _read(cls, header: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        if header["format"] != _FORMAT:
            raise ValueError(header["format"])

        def tuples(of: dict[str, Any]) -> dict[str, Any]:
            return {k: tuple(v) if isinstance(v, list) else v for k, v in of.items()}

        def state(kind: Any, index: int, part: str) -> Any:
            start, plain = f"{index}.{part}.", header["layers"][index]["plain"].items()
            named = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            rest = {k.removeprefix(f"{part}."): v for k, v in plain if k.startswith(f"{part}.")}
            return kind(**named, **rest) if named else None

        for index, described in enumerate(header["layers"]):
            runs = {name.split(".")[1] for name in tensors if name.startswith(f"{index}.by_chance")}
            if len(runs) != described["by_chance"]:
                raise ValueError("runs by chance that are not there")

        layers = tuple(
            LayerSummary(
                layer=ActivationLayer(**tuples(described["layer"])),
                by_chance=tuple(
                    state(CofiringCounts, index, f"by_chance{run}")
                    for run in range(described["by_chance"])
                ),
                **{of: state(kind, index, part) for part, (of, kind) in _STATES.items()},
            )
            for index, described in enumerate(header["layers"])
        )
        options = SummaryOptions(**tuples(header["options"]))
        correct = None if options.outputs == "none" else tensors["class_correct"]
        return cls(options, layers, tensors["class_samples"], correct)

    def __repr__(self) -> str:
        dead = sum(int(layer.dead().sum()) for layer in self.layers)
        right = (
            "no accuracy: no class has an output"
            if self.accuracy is None
            else f"accuracy {self.accuracy:.4f}"
        )
        return (
            f"ActivationSummary({self.samples:,} samples, {len(self.layers)} layers, {self.neurons:,} neurons "
            f"({self.options.unit}), entropy {self.entropy():.1f} nats, {dead} dead, {right})"
        )


_STATES: dict[str, tuple[str, type[Any]]] = {
    "statistics": ("statistics", ActivationStatistics),
    "histograms": ("histograms", ActivationHistograms),
    "by_class": ("class_histograms", ActivationHistograms),
    "cofiring": ("cofiring", CofiringCounts),
    "top_samples": ("tops", TopSamples),
}
"""What a file calls the states of a layer: their attribute and class."""


def _inputs(
    statistics: ActivationStatistics, histogram: Tensor, layer: LayerSummary | None = None
) -> Callable[[str], Any]:
    """`INPUTS` of measures by name, each computed when it is asked for."""
    known: dict[str, Callable[[], Any]] = {
        "histogram": lambda: histogram,
        "active": lambda: statistics.active[0],
        "observations": lambda: statistics.observations[0],
        "probability": lambda: statistics.probability()[0],
        "mean": lambda: statistics.mean()[0],
        "minimum": lambda: statistics.minimum[0],
        "maximum": lambda: statistics.maximum[0],
    }
    if layer is not None:
        known |= {
            "class_active": lambda: layer.statistics.active,
            "class_observations": lambda: layer.statistics.observations,
            "class_probability": layer.class_probability,
            "class_mean": layer.class_mean,
            "class_values": layer.class_values,
        }
    return lambda name: known[name]()


def _not_by_class(value: str) -> DataError:
    return DataError(
        "a summary without results by class",
        f"one made with by_class={value}",
        f"summarize with by_class={value}",
    )
