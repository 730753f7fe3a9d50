"""Follow a network over its checkpoints: what its neurons did at each, next to its accuracy."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Annotated, Any

from pydantic import NonNegativeInt, PositiveInt
from torch import nn

from cofire.activations import DEFAULT_TOP, ByClass, Pairs, Range
from cofire.activations.batches import Batches, first_inputs, name_of
from cofire.activations.labelling import Labelling
from cofire.activations.together import Each
from cofire.arguments import validated
from cofire.atomic import claimed
from cofire.boost.methods import check_booster
from cofire.boost.reading import Threshold, chosen_layers
from cofire.errors import OptionError
from cofire.marks import LATER
from cofire.network import ActivationLayer, Network, Selector, Unit, classifier
from cofire.remote import in_urls
from cofire.storage import versions
from cofire.study.analyse import Analysis, Moment, analysed
from cofire.study.analysis_options import BY_CLASS, AnalysisOptions
from cofire.study.fragments import Fragments
from cofire.study.samples import samples_of
from cofire.study.sources import OF_OBSERVED, drawn_seed
from cofire.study.trajectory import Trajectory

_TABLE = "layers.parquet"
"""Of a trajectory that was saved."""

Weights = Annotated[Mapping[str, Any] | str | Path, LATER]


@validated
def follow(
    network: Network | nn.Module,
    checkpoints: Annotated[Sequence[Weights], LATER],
    train: Any,
    test: Any = None,
    *,
    epochs: Sequence[float] | None = None,
    steps: Sequence[int] | None = None,
    layers: Selector = None,
    unit: Unit = "channel",
    bins: PositiveInt = 100,
    range: Range = "own",
    threshold: float = 0.0,
    by_class: ByClass = True,
    pairs: Pairs | None = "class",
    top: PositiveInt | Sequence[PositiveInt] = DEFAULT_TOP,
    resolution: float = 2.0,
    community_runs: int = 10,
    null_graphs: NonNegativeInt | None = None,
    boost: str | None = None,
    boost_layers: str | ActivationLayer | Sequence[str | ActivationLayer] | None = None,
    boost_unit: Unit | None = None,
    boost_threshold: Threshold | None = None,
    held_out: Any = None,
    explain: NonNegativeInt = 0,
    observe: PositiveInt | None = None,
    min_class_samples: PositiveInt | None = None,
    class_names: Sequence[str] | None = None,
    weights_key: str | None = None,
    outputs: Sequence[int] | None = None,
    batch_size: PositiveInt = 256,
    folder: str | Path | None = None,
    progress: bool | None = None,
) -> Trajectory:
    """A trajectory over the checkpoints of your own training run.

    Args:
        network: The classifier; its own weights do not matter. A module is read with the first
            training samples.
        checkpoints: State dicts, or files of them, in order, as `Network.with_weights` takes them.
        train: Training data, as `cofire.summarize` takes it: what the neurons are observed on.
        test: Test data for the test accuracy; None leaves it out.
        epochs: When each checkpoint was taken; 1, 2, 3 … if not given.
        steps: After how many optimiser steps each was taken; left out if not given.
        layers: Which activation layers.
        unit: What a neuron is.
        bins: Bins of each histogram.
        range: Over which range.
        threshold: A neuron is active above it.
        by_class: What is kept per class.
        pairs: Which pairs of neurons the activation pattern graph counts; None for no graph. Needs
            `by_class`.
        top: Representative neurons per class at the most; fewer in narrow layers (see
            `cofire.summarize`). Of several numbers, each is a graph of its own.
        resolution: γ of Louvain's method; 2 is Gephi's 0.5, which P2 used.
        community_runs: With how many seeds communities are found, and how often weights are
            shuffled.
        null_graphs: How many graphs with random labels each graph is held against; 10 unless given,
            0 for none.
        boost: A booster's method (see `cofire.Booster`) or "auto", to compare at every checkpoint
            with controls; None for no boosting. Needs test data.
        boost_layers: Which layers it reads: "all" (unless given), "L2L" (the last two), "LL" (the
            last), a name, or names with "+" between. Of several, each is a booster of its own.
        boost_unit: What a neuron of a feature map is to it (see `cofire.Booster`); `unit` unless
            given, or where that is "channel", the booster's own default.
        boost_threshold: Above what a neuron is active to it (see `cofire.Booster`); `threshold`
            unless given.
        held_out: Data that the classifier was not trained on, for boosters to be fitted and chosen
            by; a fifth of the training data takes its place unless given.
        explain: How many test samples of each kind, predicted right and misclassified, are
            explained at the last checkpoint at the most; 0 for none. Needs test data.
        observe: On how many training samples neurons are observed and boosters fitted, the same
            share of each class; two halves of them tell how sure numbers are (see
            `cofire.study.halves`). All unless given.
        min_class_samples: With `by_class`, the fewest samples that a class that occurs may have
            (see `cofire.summarize`).
        class_names: Names of the classes; those of the training data unless given.
        outputs: The number of each class's output, where class i is not output i (see
            `cofire.summarize`).
        weights_key: Which copy of the network, where checkpoints hold it several times.
        batch_size: For data that does not come in batches.
        folder: Keep every checkpoint's rows there as soon as they are known; called again with the
            same folder, weights and options, only what is missing is computed. The data is taken
            for the same.
        progress: Show progress bars; None shows them on a terminal.

    Returns:
        The trajectory.

    Raises:
        OptionError: No checkpoints, or not as many epochs or steps as checkpoints.
        MergeError: The folder holds results of other weights or under other options.
        WeightsError: A checkpoint is missing, damaged, or does not fit.
        DataError: See `cofire.summarize`.
        ResultError: What the folder holds is damaged, another run writes there, or the disk is
            full.

    Example:
        >>> import torch
        >>> model = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 2))
        >>> inputs, labels = torch.eye(2).repeat(3, 1), torch.tensor([0, 1]).repeat(3)
        >>> follow(Network(model, inputs), [model.state_dict()], (inputs, labels))
        Trajectory(1 checkpoints, 1 layers, 2 classes)
    """
    if not isinstance(checkpoints, Sequence) or isinstance(checkpoints, str) or not checkpoints:
        raise OptionError(
            f"checkpoints={type(checkpoints).__name__}"
            if not isinstance(checkpoints, list | tuple)
            else "no checkpoints",
            "a list of state dicts or files, in order, one at least",
            "pass sorted(Path(folder).glob('*.safetensors')), say",
        )
    network = classifier(network, lambda: first_inputs(train))
    if boost not in (None, "auto"):
        check_booster("boost", boost)
    given = {
        "top": _several(top),
        "null_graphs": null_graphs,
        "boost": boost,
        "boost_layers": None if boost_layers is None else _several(boost_layers),
        "boost_unit": boost_unit,
        "boost_threshold": boost_threshold,
        "min_class_samples": min_class_samples,
        "observe": observe,
    }
    asked = AnalysisOptions(
        layers=None if layers is None else [layer.name for layer in network.select(layers)],
        unit=unit,
        bins=bins,
        range=range,
        threshold=threshold,
        by_class=next(word for word, kept in BY_CLASS.items() if kept == by_class),
        pairs=pairs or "none",
        resolution=resolution,
        community_runs=community_runs,
        explain=explain,
        **{name: value for name, value in given.items() if value is not None},
    )
    return follow_asked(
        asked,
        network,
        checkpoints,
        train,
        test,
        held_out=held_out,
        epochs=epochs,
        steps=steps,
        class_names=class_names,
        outputs=outputs,
        weights_key=weights_key,
        batch_size=batch_size,
        folder=folder,
        progress=progress,
    )


def follow_asked(
    asked: AnalysisOptions,
    network: Network,
    checkpoints: Sequence[Weights],
    train: Any,
    test: Any = None,
    *,
    held_out: Any = None,
    epochs: Sequence[float] | None = None,
    steps: Sequence[int] | None = None,
    class_names: Sequence[str] | None = None,
    outputs: Sequence[int] | None = None,
    weights_key: str | None = None,
    batch_size: int = 256,
    folder: str | Path | None = None,
    told: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    seed: int = 0,
    report: Callable[[Trajectory, int], None] | None = None,
    each: Each = map,
) -> Trajectory:
    """The same as `follow`, of what is asked in one model of options.

    Args:
        asked: What is analysed.
        network: See `follow`, as of all that is not named here.
        checkpoints: One at least.
        train: Training data.
        test: Test data.
        held_out: For boosters.
        epochs: When each checkpoint was taken.
        steps: After how many steps.
        class_names: Of all classes.
        outputs: Of each class.
        weights_key: Which copy of the network.
        batch_size: For data that does not come in batches.
        folder: Where rows are kept.
        told: What is noted of model and data beside the tables, in place of what they say
            themselves.
        progress: Show progress bars; None shows them on a terminal.
        seed: Of the observed sample, its halves and boosters.
        report: Called after every checkpoint that was not known before, with the trajectory so far
            and the number of checkpoints in all.
        each: What analyses the checkpoints: `map` in this process, or `RayEngine.each` on a
            cluster, where files of weights are read by path or URL.

    Raises:
        CofireError: As `follow`.
    """
    count = len(checkpoints)
    moments = [k + 1.0 for k, _ in enumerate(checkpoints)] if epochs is None else list(epochs)
    if len(moments) != count or (steps is not None and len(steps) != count):
        raise OptionError(
            f"{len(moments)} epochs, {'no' if steps is None else len(steps)} steps, {count} checkpoints",
            "one for each",
            "pass one epoch and, if any, one step per checkpoint",
        )
    asked.check_used()
    boosts = asked.boost != "none"
    for fault, holds in {
        "held_out without boost: pass boost='readout'": held_out is not None and not boosts,
        f"boost={asked.boost!r} without test data: pass test as well": boosts and test is None,
        f"explain={asked.explain} without test data: pass test as well": asked.explain
        and test is None,
    }.items():
        if holds:
            given, _, remedy = fault.partition(": ")
            raise OptionError(given, "what they need as well", remedy)
    labelling = Labelling.of(network, train, class_names, outputs)
    if class_names is None:
        remedy = ", or pass class_names if the labels do mean the same"
        labelling.check_same(test, "the test data", remedy)
        labelling.check_same(held_out, "the held-out data", remedy)
    if boosts or asked.explain:
        labelling.check_outputs(f"boost={asked.boost!r}" if boosts else f"explain={asked.explain}")
    options = {
        **_names(network, train, test, batch_size),
        **asked.record(),
        "network": network.fingerprint,
        "layers": [layer.name for layer in network.select(asked.layers)],
        "classes": list(labelling.names),
        "test_data": "given" if test is not None else "none",
        "held_out_data": "none" if held_out is None else "given",
        **(told or {}),
        "versions": versions(),
    }
    if labelling.matched != "number":
        options["outputs"] = labelling.matched
    of_boosters = []
    for booster in asked.boosting.values():
        of_boosters.append([layer.name for layer in chosen_layers(network, booster["layers"])])
        options["boost_threshold"] = booster["threshold"]

    def read(record: Mapping[str, Any]) -> dict[str, Any]:
        known = AnalysisOptions.completed(record)
        # Earlier versions had one booster, and told its layers one by one.
        same = of_boosters == [known["boost_layers"]]
        return {**known, "boost_layers": list(asked.boost_layers)} if same else known

    if asked.observe is not None:
        train = samples_of(train, "training data").sample(
            asked.observe, drawn_seed(seed, OF_OBSERVED), "observe"
        )
    analysis = Analysis(
        asked,
        train,
        test,
        labelling.names,
        options,
        held_out,
        outputs,
        labelling,
        seed,
        batch_size=batch_size,
    )
    claim: AbstractContextManager[object] = (
        nullcontext() if folder is None else claimed(folder, "a trajectory", [_TABLE], alone=False)
    )
    with claim:
        fragments = None if folder is None else Fragments(Path(folder), options, read)
        known, missing, identities = [], [], []
        for number, (weights, epoch) in enumerate(zip(checkpoints, moments, strict=True), start=1):
            moment = Moment(number, float(epoch), None if steps is None else int(steps[number - 1]))
            digest = network.with_weights(weights, weights_key=weights_key).digest()
            identity = {"weights": digest, "epoch": moment.epoch, "step": moment.step}
            identities.append(identity)
            known.append(None if fragments is None else fragments.get(number, identity))
            if known[-1] is None:
                file = in_urls(str(weights)) if isinstance(weights, str | Path) else weights
                missing.append((file, moment, number == count))
        work = functools.partial(analysed, analysis, network, weights_key, progress)
        rows, parts = iter(each(work, missing)), list[Trajectory]()
        for number, (part, identity) in enumerate(zip(known, identities, strict=True), start=1):
            if part is None:
                part = next(rows)
                if fragments is not None:
                    fragments.put(number, part, identity)
                parts.append(part)
                if report is not None:
                    report(Trajectory.concat(parts), count)
            else:
                parts.append(part)
        whole = Trajectory.concat(parts)
        if folder is not None:
            whole.save(folder)
        return whole


def _several(given: Any) -> Any:
    """One choice or several as several; layers by their names."""
    many = given if isinstance(given, Sequence) and not isinstance(given, str) else [given]
    return tuple(one.name if isinstance(one, ActivationLayer) else one for one in many)


def _names(network: Network, train: Any, test: Any, batch_size: int) -> dict[str, Any]:
    """What model and data are called, and how many samples there are, as far as they say so themselves."""
    samples = {
        name: Batches(data, sys.maxsize, batch_size=batch_size).samples
        for name, data in (("samples", train), ("test_samples", test))
        if data is not None
    }
    known = {"model": network.model_name, "data": name_of(train), **samples}
    return {name: value for name, value in known.items() if value}
