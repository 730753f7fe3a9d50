"""A booster held against the classifier, controls of its last layer and ablations, on test data read once."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from pydantic import NonNegativeFloat, PositiveInt
from torch import Tensor, nn

from cofire.activations.batches import first_inputs
from cofire.activations.labelling import Labelling
from cofire.activations.together import Task, alone
from cofire.arguments import validated
from cofire.boost.booster import AUTO, Booster, best_of
from cofire.boost.fitting import FitSettings, Fitted, answers, fit_methods, readings, reads_head
from cofire.boost.measures import Flip, FlipCollector, calibration_gap, false_counts
from cofire.boost.methods import (
    CONTROLS,
    DEFAULT_METHOD,
    METHODS,
    VALUES,
    Kind,
    check_booster,
    method_of,
)
from cofire.boost.reading import (
    DEFAULT_UNIT,
    Inputs,
    Reader,
    Reading,
    Threshold,
    check_apart_by_content,
    check_apart_by_index,
    chosen_layers,
    count_always_active,
    told_of_always_active,
)
from cofire.errors import OptionError
from cofire.network import Network, Selector, Unit, classifier
from cofire.shown import Shown
from cofire.statistics import Interval, Outcome, mean_interval, weakest

BASE = "base"


MARGIN = 0.005


"""Differences of accuracy below half a percentage point count as none, unless another margin is given."""


@dataclass(frozen=True)
class Judged:
    """One method on held-out and test data.

    Attributes:
        name: Of the method.
        title: In a few words.
        kind: "base", "control", "ablation" or "method".
        fitted_on: On which data its head was fitted, in words.
        train_accuracy: 0 to 1, None where it was not asked for.
        held_out_accuracy: 0 to 1, of heads that have not seen those samples (which of several
            readouts is taken was chosen by the other parts of the held-out data as well).
        test_accuracy: 0 to 1.
        test_loss: Mean negative log-likelihood in nats.
        test_calibration: Expected calibration error, 0 to 1.
        parameters: Numbers added to the classifier's.
        gain: Test accuracy minus the best control's; None for base and controls.
        base_gain: Test accuracy minus the base's; None for the base.
        values_gain: Test accuracy minus that of the readout of values alone; None for that itself,
            base and controls.
        repaired: Test predictions that were wrong and are right; None for the base.
        broken: Test predictions that were right and are wrong; None for the base.
        held_out_loss: Mean negative log-likelihood in nats, as `held_out_accuracy`.
    """

    name: str
    title: str
    kind: Kind
    fitted_on: str
    train_accuracy: float | None
    held_out_accuracy: float
    test_accuracy: float
    test_loss: float
    test_calibration: float
    parameters: int
    gain: Interval | None = None
    base_gain: Interval | None = None
    values_gain: Interval | None = None
    repaired: int | None = None
    broken: int | None = None
    held_out_loss: float | None = None


@validated
@dataclass(frozen=True)
class Comparison(Shown):
    """What methods and controls make of one classifier.

    Attributes:
        judged: By name.
        chosen: Name of the booster's method.
        best_control: Name of the control that is best on held-out data; ablations are none.
        labels: Of the test samples, (samples,).
        predicted: Predictions for them by name, (samples,).
        flips: Some test samples whose prediction the booster changes.
        booster: The fitted booster.
        margin: A difference of test accuracy below it counts as none.
    """

    judged: Mapping[str, Judged]
    chosen: str
    best_control: str
    labels: Tensor
    predicted: Mapping[str, Tensor]
    flips: Sequence[Flip]
    booster: Booster
    margin: float = MARGIN

    @property
    def verdict(self) -> Outcome:
        """Whether the booster helps: only if it beats the model and the best control as well.

        "worse" if one of the two does better than the booster; "undecided" if it cannot be told
        from one of them, nor held to be within the margin of it. Why it helps, `layers_gain` and
        `patterns_gain` say.
        """
        gain, base_gain = self.judged[self.chosen].gain, self.judged[self.chosen].base_gain
        assert gain is not None
        assert base_gain is not None
        return weakest(gain.says(self.margin), base_gain.says(self.margin))

    @property
    def layers_gain(self) -> Interval:
        """What reading all layers instead of the last gains: the readout of values alone less the best control."""
        gain = self.judged[VALUES].gain
        assert gain is not None
        return gain

    @property
    def patterns_gain(self) -> Interval:
        """What patterns gain on top of values: the booster less the readout of values alone.

        With `layers_gain` it adds up to the booster's lead over the best control.
        """
        gain = self.judged[self.chosen].values_gain
        assert gain is not None
        return gain

    @property
    def patterns_verdict(self) -> Outcome:
        """Whether activation patterns help: only if the booster helps, and beats the readout of values alone."""
        return weakest(self.verdict, self.patterns_gain.says(self.margin))

    @property
    def always_active(self) -> Mapping[str, float]:
        """For each layer the share of P that lies above 0.99 (see `Booster`)."""
        return self.booster.always_active

    @property
    def told_of_always_active(self) -> str:
        """In how many of the layers who fires tells nothing, as almost every neuron always does; "" for none."""
        return told_of_always_active(
            len(self.always_active), count_always_active(self.always_active)
        )

    def false_counts(self, name: str) -> tuple[Tensor, Tensor]:
        """False positives and negatives of each class on the test data, (classes,) each."""
        return false_counts(self.predicted[name], self.labels, self.booster.network.num_classes)

    def __repr__(self) -> str:
        own, base = self.judged[self.chosen], self.judged[BASE]
        return (
            f"Comparison({self.chosen}: test accuracy {base.test_accuracy:.4f} → {own.test_accuracy:.4f}, "
            f"best control {self.best_control} {self.judged[self.best_control].test_accuracy:.4f}: {self.verdict}; "
            f"all layers instead of the last {self._told(self.layers_gain)}, "
            f"patterns on top of values {self._told(self.patterns_gain)}"
            f"{'. ' + self.told_of_always_active if self.told_of_always_active else ''})"
        )

    def _told(self, gain: Interval) -> str:
        return f"{100 * gain.value:+.2f} [{100 * gain.low:+.2f}, {100 * gain.high:+.2f}]: {gain.says(self.margin)}"


@validated
def compare(
    network: Network | nn.Module,
    training: Any,
    held_out: Any,
    test: Any,
    *,
    layers: Selector = None,
    method: str = DEFAULT_METHOD,
    methods: Sequence[str] | None = None,
    unit: Unit = DEFAULT_UNIT,
    threshold: Threshold = 0.0,
    seed: int = 0,
    max_bytes: int = 1_000_000_000,
    train_accuracy: bool = True,
    batch_size: int = 1024,
    draws: PositiveInt = 2000,
    margin: NonNegativeFloat = MARGIN,
    progress: bool | None = None,
) -> Comparison:
    """Fit every method and every control, choose on held-out data, and judge on test data.

    The booster's lead over the best control, which sees nothing of hidden layers but what goes into
    the last one, has two parts: what reading *all layers instead of the last* gains (`layers_gain`:
    the readout of activation values alone less the best control) and what *patterns gain on top of
    values* (`patterns_gain`: the booster less that readout). Only the second is due to activation
    patterns. Each gain has an interval over the test samples (`cofire.statistics.mean_interval` of
    the paired differences).

    Args:
        network: The trained classifier; a module is read with the first training samples.
        training: What it was trained on, as `cofire.summarize` takes it.
        held_out: What it was not trained on; None to set a fifth of the training data aside (see
            `Booster.fit`).
        test: What nothing is fitted to or chosen by.
        layers: Which activation layers (see `Booster`).
        method: The booster's; "auto" for the best of all methods on held-out data.
        methods: Which methods to fit beside it; all unless given. All of `CONTROLS` are always
            fitted: controls, and the readouts of values alone and of patterns alone.
        unit: What a neuron of a feature map is (see `Booster`).
        threshold: A neuron is active above it; "mean" for each neuron's own mean over the training
            data.
        seed: Of networks, orders and draws.
        max_bytes: See `Booster`.
        train_accuracy: Whether accuracy on the training data is wanted as well.
        batch_size: For data that does not come in batches.
        draws: Of the bootstrap.
        margin: A difference of test accuracy below it counts as none, a share from 0 up.
        progress: Show progress bars; None shows them on a terminal.

    Returns:
        The comparison.

    Raises:
        DataError: Data that overlaps, or see `Booster.fit`.
        OptionError: An option has a value it cannot have.
    """
    network = classifier(network, lambda: first_inputs(training))
    task = comparing(
        network,
        training,
        held_out,
        test,
        layers=layers,
        method=method,
        methods=methods,
        unit=unit,
        threshold=threshold,
        seed=seed,
        max_bytes=max_bytes,
        train_accuracy=train_accuracy,
        batch_size=batch_size,
        draws=draws,
        margin=margin,
    )
    return alone(network, task, progress)


def comparing(
    network: Network,
    training: Any,
    held_out: Any,
    test: Any,
    *,
    layers: Selector = None,
    method: str = DEFAULT_METHOD,
    methods: Sequence[str] | None = None,
    unit: Unit = DEFAULT_UNIT,
    threshold: Threshold = 0.0,
    seed: int = 0,
    max_bytes: int = 1_000_000_000,
    train_accuracy: bool = True,
    batch_size: int = 1024,
    draws: int = 2000,
    margin: float = MARGIN,
) -> Task[Comparison]:
    """The same as `compare`, as a task whose passes others can join (see `cofire.activations.together`)."""
    names = list(METHODS) if methods is None else [method_of(name).name for name in methods]
    if method != AUTO:
        check_booster("method", method)
    if method not in (AUTO, *names):
        names.append(method)
    names = [*CONTROLS, *(name for name in names if name not in CONTROLS)]
    if method == AUTO and not set(names) - set(CONTROLS):
        raise OptionError(
            "method='auto' among no methods", "methods to choose from", "leave methods out"
        )
    reader = Reader(network, chosen_layers(network, layers), unit)
    settings = FitSettings(
        threshold=threshold,
        seed=seed,
        batch_size=batch_size,
        max_bytes=max_bytes,
    )
    Labelling.of(network, training).check_same(test, "the test data")
    check_apart_by_index(training, test, "test data")
    check_apart_by_index(held_out, test, "test data", "the held-out data")
    fits = yield from fit_methods(
        reader,
        [method_of(name) for name in names],
        training,
        held_out,
        settings,
        train_accuracy=train_accuracy,
    )
    best_control = best_of(fits, [name for name in names if method_of(name).kind == "control"])
    chosen = method
    if method == AUTO:
        chosen = best_of(fits, [name for name in names if method_of(name).kind == "method"])
    flips = FlipCollector()
    tested = yield from _judge(reader, fits.fitted, test, settings, chosen, flips)
    check_apart_by_content(fits.training_hashes, tested.hashes, "test data")
    if held_out is not None:
        check_apart_by_content(
            fits.held_out_hashes, tested.hashes, "test data", "the held-out data"
        )
    rows = {}
    right = {name: (tested.predicted[name] == tested.labels).to(torch.int8) for name in names}
    for name in names:
        fitted = fits.fitted[name]
        held = (fits.held_out[name].argmax(dim=1) == fits.labels).double().mean()
        rows[name] = Judged(
            name,
            fitted.method.title,
            fitted.method.kind,
            fitted.fitted_on,
            fits.train_accuracy[name] if train_accuracy else None,
            float(held),
            float(right[name].double().mean()),
            float(tested.losses[name].mean()),
            calibration_gap(tested.confidence[name], right[name]),
            fitted.parameters_added,
            held_out_loss=float(nn.functional.cross_entropy(fits.held_out[name], fits.labels)),
        )
        if name == BASE:
            continue
        change = right[name] - right[BASE]

        def over(other: str, own: Tensor = right[name]) -> Interval:
            return mean_interval(own - right[other], differences=True, draws=draws, seed=seed)

        of_layers = fitted.method.kind in ("ablation", "method")
        rows[name] = replace(
            rows[name],
            base_gain=over(BASE),
            gain=over(best_control) if of_layers else None,
            values_gain=over(VALUES) if of_layers and name != VALUES else None,
            repaired=int((change > 0).sum()),
            broken=int((change < 0).sum()),
        )
    booster = Booster(
        network,
        [layer.name for layer in reader.layers],
        chosen,
        unit=unit,
        threshold=threshold,
        seed=seed,
    )
    booster.adopt(fits.fitted[chosen], fits.always_active)
    return Comparison(
        rows,
        chosen,
        best_control,
        tested.labels,
        tested.predicted,
        flips.examples(),
        booster,
        margin,
    )


@dataclass(frozen=True)
class _Answers:
    labels: Tensor
    hashes: Tensor
    predicted: dict[str, Tensor]
    losses: dict[str, Tensor]
    confidence: dict[str, Tensor]


def _judge(
    reader: Reader,
    fitted: Mapping[str, Fitted],
    data: Any,
    settings: FitSettings,
    chosen: str,
    flips: FlipCollector,
) -> Task[_Answers]:
    """One pass over data: what each method predicts, how sure it is, and its loss; all (samples,)."""
    labels, hashes = [], []
    parts: dict[str, list[tuple[Tensor, Tensor, Tensor]]] = {name: [] for name in fitted}
    title, head = "boost: test data", reads_head(fitted)

    def take(inputs: Inputs, of_batch: Tensor, reading: Reading) -> None:
        for name, better in answers(fitted, reading):
            confidence, predicted = better.softmax(dim=1).max(dim=1)
            loss = nn.functional.cross_entropy(better, of_batch, reduction="none")
            parts[name].append((predicted.cpu(), confidence.cpu(), loss.cpu()))
        labels.append(of_batch.cpu())
        hashes.append(inputs.hashes())
        flips.update(inputs, labels[-1], parts[BASE][-1], parts[chosen][-1])

    yield from readings(reader, data, settings, title, take, head=head)
    joined = {
        name: tuple(torch.cat(column) for column in zip(*rows, strict=True))
        for name, rows in parts.items()
    }
    return _Answers(
        torch.cat(labels),
        torch.cat(hashes),
        {name: columns[0] for name, columns in joined.items()},
        {name: columns[2] for name, columns in joined.items()},
        {name: columns[1] for name, columns in joined.items()},
    )


@dataclass(frozen=True)
class Cost:
    """What a booster costs.

    Attributes:
        parameters: Numbers that it adds.
        time: A boosted forward pass over one of the classifier alone: the median of such ratios,
            each taken from two passes one after the other.
    """

    parameters: int
    time: float


@validated
def cost_of_boosting(booster: Booster, images: Tensor, repeats: PositiveInt = 15) -> Cost:
    """Measure a booster against its classifier on a batch.

    Args:
        booster: Fitted.
        images: A batch.
        repeats: How often.

    Raises:
        OptionError: The booster is not fitted, or `repeats` is no whole number from 1 up.
    """
    if booster.fitted is None:
        raise OptionError("a booster that is not fitted", "a fitted one", "call booster.fit first")
    network = booster.network

    def seconds(boosted: bool) -> float:
        start = time.perf_counter()
        if boosted:
            booster.predict(images)
        else:
            network.run(images)
        if network.device.type == "cuda":
            torch.cuda.synchronize(network.device)
        return time.perf_counter() - start

    for boosted in (False, True):
        seconds(boosted)
    ratios = []
    for number in range(repeats):
        # In turn, so that whatever the first of two passes pays falls on both.
        order = (True, False) if number % 2 else (False, True)
        taken = {boosted: seconds(boosted) for boosted in order}
        ratios.append(taken[True] / taken[False])
    return Cost(booster.fitted.parameters_added, statistics.median(ratios))
