"""Fit methods and controls to a frozen classifier: one pass for evidence, one for what heads are fitted on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cofire.activations.batches import Batch
from cofire.activations.labelling import Labelling
from cofire.activations.together import Pass, Task, Watch
from cofire.boost.evidence import ClassStatistics, Evidence, Sample
from cofire.boost.kept_readings import kept_of
from cofire.boost.measures import check_finite
from cofire.boost.methods import EVIDENCE, LEARNT, Gathered, Method
from cofire.boost.reading import (
    DEFAULT_UNIT,
    MEAN,
    BoosterUnit,
    Inputs,
    Reader,
    Reading,
    always_active_shares,
    check_apart_by_content,
    check_apart_by_index,
)
from cofire.errors import BudgetError, DataError
from cofire.options import Options, option
from cofire.patterns import check_every_class

FOLDS = 5
"""Held-out data is dealt into so many parts, to judge on each what was fitted on the others."""


class BoostOptions(Options):
    """What a booster is fitted with."""

    unit: BoosterUnit = option(
        DEFAULT_UNIT, "Unit", "What a neuron of a feature map is; element needs room: --max-bytes."
    )
    threshold: Literal["mean"] | float = option(
        0.0, "Threshold", "A neuron is active above it: a number, or mean, each neuron's own."
    )
    seed: int = option(0, "Seed", "Of networks, orders and draws.", ge=0, le=2**63 - 1)
    batch_size: int = option(1024, "Batch size", "Samples at a time.", ge=1)
    max_bytes: int = option(
        1_000_000_000,
        "Memory",
        "Bytes kept of the training data at the most; of more, fewer samples are kept.",
        ge=1,
    )


class FitSettings(BoostOptions):
    """The same, and whether progress is shown; None shows it on a terminal."""

    progress: bool | None = False


class Fitted(nn.Module):
    """A method, fitted.

    Args:
        method: Which.
        evidence: What it sees beside the logits, None for nothing.
        head: From logits and evidence to logits.
        fitted_on: On which data, in words; "" for none.
    """

    def __init__(
        self, method: Method, evidence: Evidence | None, head: nn.Module, fitted_on: str
    ) -> None:
        super().__init__()
        self.method = method
        self.evidence = evidence
        self.head = head
        self.fitted_on = fitted_on

    def forward(self, reading: Reading) -> Tensor:
        """The better logits of a batch, (samples, classes)."""
        found: Tensor = self.head(
            reading.logits, None if self.evidence is None else self.evidence.of(reading)
        )
        return found

    @property
    def head_device(self) -> torch.device:
        """Where it computes."""
        return next(value.device for value in (*self.head.buffers(), *self.head.parameters()))

    @property
    def parameters_added(self) -> int:
        """How many numbers it adds to the classifier's parameters."""
        if self.method.kind == "base":
            return 0
        own = sum(value.numel() for value in (*self.head.parameters(), *self.head.buffers()))
        return own + (0 if self.evidence is None else self.evidence.numbers)


@dataclass
class Seen:
    """What one pass left of every sample: numbers per class only, never per neuron.

    Attributes:
        logits: (samples, classes).
        evidence: For each kind, its candidates, (samples, classes) each.
        labels: (samples,).
        hashes: (samples,), by content.
        accuracy: Of what was judged on the way, 0 to 1, by name.
    """

    logits: Tensor
    evidence: Mapping[str, list[Tensor]]
    labels: Tensor
    hashes: Tensor
    accuracy: Mapping[str, float] = field(default_factory=dict)

    def part(self, chosen: Tensor) -> Seen:
        """Some of the samples."""
        evidence = {kind: [one[chosen] for one in found] for kind, found in self.evidence.items()}
        return Seen(self.logits[chosen], evidence, self.labels[chosen], self.hashes[chosen])

    def predictors(self, method: Method) -> list[Tensor]:
        """The candidates that a method sees."""
        return list(self.evidence[method.evidence]) if method.evidence else []


@dataclass(frozen=True)
class Fits:
    """Methods fitted to one classifier.

    Attributes:
        fitted: By name.
        held_out: Logits of each for the held-out samples, by heads fitted on the other parts of
            them.
        labels: Of the held-out samples.
        training_hashes: Of the training samples, by content.
        held_out_hashes: Of the held-out samples.
        kept: Training samples that readouts learnt from, and all of them.
        always_active: For each layer the share of P, over classes and neurons, that lies above
            0.99.
        train_accuracy: Of each on the training data, 0 to 1; without entries unless asked for.
    """

    fitted: dict[str, Fitted]
    held_out: dict[str, Tensor]
    labels: Tensor
    training_hashes: Tensor
    held_out_hashes: Tensor
    kept: tuple[int, int] = field(default=(0, 0))
    always_active: Mapping[str, float] = field(default_factory=dict)
    train_accuracy: Mapping[str, float] = field(default_factory=dict)


def fit_methods(
    reader: Reader,
    methods: Sequence[Method],
    training: Any,
    held_out: Any,
    settings: FitSettings,
    *,
    train_accuracy: bool = False,
) -> Task[Fits]:
    """Fit methods and controls, as a task (see `cofire.activations.together`).

    Args:
        reader: Of the classifier.
        methods: Which.
        training: Data the classifier was trained on, as `cofire.summarize` takes it.
        held_out: Data it was not trained on; None to set a fifth of the training data aside, chosen
            by content.
        settings: How.
        train_accuracy: Whether accuracy on the training data is wanted as well.

    Returns:
        The fits.

    Raises:
        DataError: Training and held-out data overlap, or see `cofire.summarize`.
        LabelError: A class has no training samples, or the data sets name different classes.
        OptionError: The training data names fewer or more classes than the network has outputs.
        BudgetError: The second moments would take too much memory.
    """
    labelling = Labelling.of(reader.network, training)
    labelling.check_outputs("a booster")
    labelling.check_same(held_out, "the held-out data")
    if held_out is not None:
        check_apart_by_index(training, held_out)
    gathered, hashes = yield from _gather(
        reader, methods, training, aside=held_out is None, settings=settings
    )
    needed = {m.evidence for m in methods if m.evidence}
    candidates = {kind: EVIDENCE[kind](gathered) for kind in sorted(needed)}
    found: dict[str, tuple[Fitted, Tensor, float | None]] = {}

    def fit(chosen: Sequence[Method], trained: Seen | None) -> None:
        for one in chosen:
            found[one.name] = _fit_one(one, candidates, trained, seen, words, settings)
            found[one.name][0].to(reader.network.device)

    on_training = [m for m in methods if m.fit_on == "training"]
    elsewhere = [m for m in methods if m.fit_on != "training"]
    accuracies: dict[str, float] = {}
    title = "boost: training data"
    if held_out is not None:
        seen = yield from read_all(reader, candidates, held_out, settings, "boost: held-out data")
        check_apart_by_content(hashes, seen.hashes)
        words = "held-out data"
        fit(elsewhere, None)
        if on_training or train_accuracy:
            # What was fitted already is judged on the way.
            judged = {m.name: found[m.name][0] for m in elsewhere if train_accuracy}
            wanted = {m.evidence: candidates[m.evidence] for m in on_training if m.evidence}
            trained = yield from read_all(reader, wanted, training, settings, title, judged)
            accuracies |= trained.accuracy
            fit(on_training, trained)
    else:
        trained = yield from read_all(reader, candidates, training, settings, title)
        if not torch.equal(hashes.sort().values, trained.hashes.sort().values):
            raise DataError(
                "training data that changes from one reading to the next",
                "the same samples each time, where a part of them is set aside",
                "pass held-out data, or turn random augmentation off",
            )
        seen = trained.part(_aside(trained.hashes))
        words = "training data set aside"
        fit(methods, trained)
    sample = gathered.sample
    shares = always_active_shares(gathered.statistics.probability(), reader.sizes)
    active = dict(zip((layer.name for layer in reader.layers), shares, strict=True))
    accuracies |= {name: right for name, (_, _, right) in found.items() if right is not None}
    return Fits(
        {m.name: found[m.name][0] for m in methods},
        {name: score for name, (_, score, _) in found.items()},
        seen.labels,
        hashes,
        seen.hashes,
        (sample.kept, sample.seen),
        active,
        accuracies,
    )


def _fit_one(
    method: Method,
    candidates: Mapping[str, list[Evidence]],
    training: Seen | None,
    held_out: Seen,
    words: str,
    settings: FitSettings,
) -> tuple[Fitted, Tensor, float | None]:
    """A method fitted, its logits for the held-out samples, and its accuracy on training data where that is known."""

    def fitted_to(data: Seen) -> tuple[int, nn.Module]:
        return method.fit(data.logits, data.predictors(method), data.labels, settings.seed)

    def applied(which: int, head: nn.Module, data: Seen) -> Tensor:
        given = data.predictors(method)
        found: Tensor = head(data.logits, given[which] if given else None)
        return found

    if method.fit_on == "held-out":
        which, head = fitted_to(held_out)
        score = torch.empty_like(held_out.logits)
        fold = (held_out.hashes >> 21) % FOLDS
        for number in range(FOLDS):
            others, own = held_out.part(fold != number), held_out.part(fold == number)
            if len(own.labels):
                better = applied(*fitted_to(others if len(others.labels) else own), own)
                score[fold == number] = better.to(score.dtype)
    else:
        assert training is not None or method.fit_on == "nothing"
        which, head = fitted_to(
            training if training is not None and method.fit_on == "training" else held_out
        )
        judged = head
        if training is not None and method.fit_on == "training" and not words.startswith("held"):
            # What is set aside is training data as well: it is judged by a head that has not seen
            # it.
            _, judged = fitted_to(training.part(~_aside(training.hashes)))
        score = applied(which, judged, held_out)
    evidence = candidates[method.evidence][which] if method.evidence else None
    if method.fit_on == "nothing":
        told = ""
    elif method.fit_on == "training":
        told = "training data"
    else:
        told = (
            f"training and {words}"
            if method.evidence in LEARNT and words.startswith("held")
            else words
        )
    right = None
    if training is not None:
        hits = applied(which, head, training).argmax(dim=1) == training.labels
        right = float(hits.double().mean())
    return Fitted(method, evidence, head.requires_grad_(False), told), score, right


def _aside(hashes: Tensor) -> Tensor:
    """Which samples are set aside: a fifth, by content."""
    return (hashes >> 42) % 5 == 0


def _gather(
    reader: Reader, methods: Sequence[Method], training: Any, *, aside: bool, settings: FitSettings
) -> Task[tuple[Gathered, Tensor]]:
    network = reader.network
    kinds = {method.evidence for method in methods} - {""}
    sizes = reader.sizes
    # A fifth is set aside for choices only where something is fitted on it.
    aside = aside and any(method.fit_on == "held-out" for method in methods)
    neurons = sum(sizes)
    # The square of many neurons has no room: products of samples take its place.
    moments = "discriminant" in kinds and 8 * neurons * neurons <= settings.max_bytes
    statistics = ClassStatistics.empty(
        network.num_classes,
        neurons,
        threshold=0.0,
        moments=moments,
        device=network.device,
        max_bytes=settings.max_bytes,
    )
    if settings.threshold == MEAN:
        statistics.threshold = yield from _means(reader, training, aside=aside, settings=settings)
    else:
        statistics.threshold = settings.threshold
    samples = bool(LEARNT & kinds) or ("discriminant" in kinds and not moments)
    sample = Sample(settings.max_bytes, sizes[-1])
    everything = []

    def take(inputs: Inputs, labels: Tensor, reading: Reading) -> None:
        hashes = inputs.hashes()
        everything.append(hashes)
        if aside:
            kept = ~_aside(hashes)
            reading, labels, hashes = (
                reading.part(kept),
                labels[kept.to(labels.device)],
                hashes[kept],
            )
        statistics.update(reading, labels)
        if samples:
            sample.update(reading, labels, hashes)

    yield from readings(
        reader, training, settings, "boost: evidence", take, head="last-layers" in kinds
    )
    check_every_class(statistics.samples)
    if samples and not sample.kept:
        raise BudgetError(
            f"max_bytes={settings.max_bytes:,}, which holds the activations of no training sample",
            f"room for a few thousand samples of {neurons:,} neurons",
            "raise max_bytes, or choose fewer layers",
        )
    return Gathered(statistics, sample, sizes), torch.cat(everything)


def _means(reader: Reader, training: Any, *, aside: bool, settings: FitSettings) -> Task[Tensor]:
    """Each neuron's mean over the training samples, in a pass of its own: (neurons,), float32."""
    total = torch.zeros(sum(reader.sizes), dtype=torch.float64, device=reader.network.device)
    count = 0

    def take(inputs: Inputs, _: Tensor, whole: Reading) -> None:
        nonlocal count
        reading = whole.part(~_aside(inputs.hashes())) if aside else whole
        total.add_(torch.cat([layer.sum(dim=0, dtype=torch.float64) for layer in reading.layers]))
        count += len(reading.logits)

    yield from readings(reader, training, settings, "boost: means", take, head=False)
    check_finite(total, "a NaN or infinite activation")
    return (total / max(count, 1)).to(torch.float32)


def read_all(
    reader: Reader,
    candidates: Mapping[str, Sequence[Evidence]],
    data: Any,
    settings: FitSettings,
    title: str,
    judged: Mapping[str, Fitted] | None = None,
) -> Task[Seen]:
    """One pass over data: logits and evidence of every sample.

    Args:
        reader: Of the classifier.
        candidates: The kinds of evidence.
        data: As `cofire.summarize` takes it.
        settings: How.
        title: Of the progress bar.
        judged: What is judged on the way.

    Raises:
        DataError: See `cofire.summarize`.
    """
    logits, labels, hashes = [], [], []
    found: dict[str, list[list[Tensor]]] = {
        kind: [[] for _ in several] for kind, several in candidates.items()
    }
    fits = judged or {}
    hits = dict.fromkeys(fits, 0)
    head = "last-layers" in candidates or reads_head(fits)

    def take(inputs: Inputs, of_batch: Tensor, reading: Reading) -> None:
        for name, better in answers(fits, reading):
            hits[name] += int((better.argmax(dim=1) == of_batch).sum())
        logits.append(reading.logits.cpu())
        labels.append(of_batch.cpu())
        hashes.append(inputs.hashes())
        for kind, several in candidates.items():
            for parts, evidence in zip(found[kind], several, strict=True):
                parts.append(evidence.of(reading).cpu())

    yield from readings(reader, data, settings, title, take, head=head)
    joined = {kind: [torch.cat(parts) for parts in lists] for kind, lists in found.items()}
    for every in joined.values():
        for one in every:
            check_finite(one, f"NaN or infinite activations ({title.removeprefix('boost: ')})")
    seen = torch.cat(labels)
    accuracy = {name: count / len(seen) for name, count in hits.items()}
    return Seen(torch.cat(logits), joined, seen, torch.cat(hashes), accuracy)


def reads_head(fitted: Mapping[str, Fitted]) -> bool:
    """Whether any reads what goes into the last linear layer."""
    return any(one.evidence is not None and one.evidence.of_head for one in fitted.values())


def answers(fitted: Mapping[str, Fitted], reading: Reading) -> Iterator[tuple[str, Tensor]]:
    """The better logits of each, by name; evidence that several share is computed once."""
    known: dict[int, Tensor] = {}
    for name, one in fitted.items():
        evidence = None
        if one.evidence is not None:
            key = id(one.evidence)
            evidence = known[key] = known[key] if key in known else one.evidence.of(reading)
        better: Tensor = one.head(reading.logits, evidence)
        check_finite(better, f"NaN or infinite scores of '{name}'")
        yield name, better


def readings(
    reader: Reader,
    data: Any,
    settings: FitSettings,
    title: str,
    take: Callable[[Inputs, Tensor, Reading], None],
    *,
    head: bool,
) -> Task[None]:
    """A pass in which each batch's inputs, labels on the network's device, and what was read are taken.

    It needs no network where shards have read the data (see `cofire.boost.kept_readings`).
    """
    if (kept := kept_of(data)) is not None:
        for chunk in kept.chunks(reader):
            take(*chunk)
        return
    network = reader.network

    def watch(batch: Batch) -> Watch:
        labels = batch.labels.to(network.device)
        inputs = Inputs(batch.inputs)
        return reader.watch(lambda reading: take(inputs, labels, reading), head=head)

    yield Pass(data, network.num_classes, settings.batch_size, title, watch)
