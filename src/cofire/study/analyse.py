"""What is analysed at one checkpoint, as rows of a trajectory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor

from cofire.activations import ActivationSummary, LayerSummary
from cofire.activations.labelling import Labelling
from cofire.activations.passes import pass_over
from cofire.activations.summarize import summarizing
from cofire.activations.together import Task, alone, together
from cofire.arguments import validated
from cofire.boost.comparison import comparing
from cofire.network import Network
from cofire.patterns import MEASURES
from cofire.study.analysis_options import AnalysisOptions
from cofire.study.boosts import boost_tables
from cofire.study.explanations import explanation_tables
from cofire.study.graph_rows import GraphOptions, graph_tables
from cofire.study.halves import entropy_columns, tasks_of_halves
from cofire.study.pictures import picture_tables
from cofire.study.tables import TABLES
from cofire.study.trajectory import Trajectory

_HALVES = ("first half", "second half")


@validated
@dataclass(frozen=True)
class Tally:
    """Samples and correct predictions.

    Attributes:
        samples: Samples of each class by its number, (classes,), int64.
        correct: Those classified correctly, (classes,), int64; None where the network's outputs
            have nothing to do with the classes.
    """

    samples: Tensor
    correct: Tensor | None

    @property
    def accuracy(self) -> float | None:
        """Share of all samples that are classified correctly, 0 to 1; None without `correct`."""
        return None if self.correct is None else int(self.correct.sum()) / int(self.samples.sum())

    def class_accuracy(self, number: int) -> float | None:
        """The same of a class; None also where it has no samples."""
        if self.correct is None or not int(self.samples[number]):
            return None
        return int(self.correct[number]) / int(self.samples[number])


@validated
def tally(
    network: Network, data: Any, labelling: Labelling | None = None, *, batch_size: int = 1024
) -> Tally:
    """Classify a data set.

    Args:
        network: The classifier.
        data: What `cofire.summarize` takes.
        labelling: What its labels mean; what the data says itself unless given.
        batch_size: For data that does not come in batches.

    Returns:
        The counts.

    Raises:
        DataError: No samples, or batches and labels that do not fit (see `cofire.summarize`).
    """
    labelling = labelling or Labelling.of(network, data)
    return alone(network, tallying(network, data, labelling, batch_size), False)


def tallying(network: Network, data: Any, labelling: Labelling, batch_size: int) -> Task[Tally]:
    """The same as `tally`, as a task whose passes others can join (see `cofire.activations.together`)."""
    seen = yield from pass_over(
        *(network, data, labelling, None, (), "channel", lambda *_: None, "test data"),
        batch_size=batch_size,
    )
    return Tally(seen.samples.cpu(), None if seen.correct is None else seen.correct.cpu())


@dataclass(frozen=True)
class Moment:
    """When a checkpoint was taken.

    Attributes:
        checkpoint: Its number, from 1.
        epoch: Passes over the training data so far.
        step: Optimiser steps so far, None if not known.
    """

    checkpoint: int
    epoch: float
    step: int | None


@dataclass(frozen=True)
class Analysis:
    """What is analysed at every checkpoint, and on which data.

    Attributes:
        asked: What is analysed.
        train: What the neurons are observed on, as `cofire.summarize` takes it; the sample, where one
            is asked for.
        test: Test data; None for no test accuracy.
        class_names: Names of the classes.
        options: What is noted beside the tables.
        held_out: What boosters are fitted and chosen by; None for a part of `train`.
        outputs: The number of each class's output, where class i is not output i.
        labelling: What the labels mean; what the data says itself unless given.
        seed: Of boosters.
        batch_size: For data that does not come in batches.
    """

    asked: AnalysisOptions
    train: Any
    test: Any
    class_names: Sequence[str]
    options: dict[str, Any]
    held_out: Any = None
    outputs: Sequence[int] | None = None
    labelling: Labelling | None = None
    seed: int = 0
    batch_size: int = 256

    def at(
        self, network: Network, moment: Moment, *, last: bool, progress: bool | None
    ) -> Trajectory:
        """The trajectory of one checkpoint.

        Args:
            network: With the checkpoint's weights.
            moment: When it was taken.
            last: Whether it is the last one, where predictions are explained.
            progress: Show progress bars; None shows them on a terminal.
        """
        asked = self.asked
        how: dict[str, Any] = {
            **asked.summary,
            "top_samples": asked.top_samples if last else 0,
            "class_names": self.class_names,
            "outputs": self.outputs,
            "batch_size": self.batch_size,
            "progress": progress,
        }
        tasks: dict[str, Task[Any]] = {"summary": summarizing(network, self.train, **how)}
        if self.test is not None:
            labelling = self.labelling or Labelling.of(network, self.test)
            tasks["tally"] = tallying(network, self.test, labelling, self.batch_size)
        if asked.observe is not None:
            halves = tasks_of_halves(network, self.train, moment.checkpoint, self.seed, **how)
            tasks |= dict(zip(_HALVES, halves, strict=True))
        for layers, options in asked.boosting.items():
            tasks[layers] = comparing(
                *(network, self.train, self.held_out, self.test),
                seed=self.seed,
                batch_size=self.batch_size,
                **options,
            )
        done = dict(zip(tasks, together(network, list(tasks.values()), progress), strict=True))
        graphs = GraphOptions(asked.resolution, asked.community_runs, asked.top)
        first, second = (done.get(half) for half in _HALVES)
        found = trajectory_of(
            *(done["summary"], moment, done.get("tally"), self.options, graphs),
            None if first is None or second is None else (first, second),
        )
        more: dict[str, list[pa.Table]] = {}
        for layers in asked.boosting:
            made = boost_tables(done[layers], vars(moment), self.class_names, layers)
            for name, table in made.items():
                more.setdefault(name, []).append(table)
        if asked.top_samples and last:
            images = not asked.no_images
            shown = picture_tables(
                network, self.train, done["summary"], vars(moment), images=images
            )
            more |= {name: [table] for name, table in shown.items()}
        if asked.explain and last:
            made = explanation_tables(
                network, self.test, asked.explain, vars(moment), batch_size=self.batch_size
            )
            more |= {name: [table] for name, table in made.items()}
        return replace(found, **{name: pa.concat_tables(tables) for name, tables in more.items()})


@validated
def trajectory_of(
    summary: ActivationSummary,
    moment: Moment,
    test: Tally | None,
    options: dict[str, Any],
    graphs: GraphOptions | None = None,
    halves: tuple[ActivationSummary, ActivationSummary] | None = None,
) -> Trajectory:
    """A trajectory of one checkpoint.

    Args:
        summary: What the neurons did on the training data.
        moment: When.
        test: How the network did on test data, if there is any.
        options: What to note beside the tables.
        graphs: What is asked of its graphs, if it has any; the defaults unless given.
        halves: The same of two halves of the data, if they are a sample (see `cofire.study.halves`).

    Returns:
        The trajectory. Without results by class, the columns that need them are null and the table
        of classes is empty.
    """
    accuracies = {
        "train_accuracy": summary.accuracy,
        "test_accuracy": None if test is None else test.accuracy,
    }
    layers, neurons = [], []
    for index, layer in enumerate(summary.layers):
        place = {**vars(moment), "layer_index": index, "layer": layer.layer.name}
        found = {
            measure: layer.measure(name)
            for name, measure in MEASURES.items()
            if summary.options.by_class or not measure.needs_classes
        }
        numbers = {
            column: measure.over(values, how)
            for measure, values in found.items()
            for column, how in measure.columns.items()
        }
        about = {"kind": layer.layer.kind, "unit": summary.options.unit, "neurons": layer.neurons}
        layers.append({**place, **about, **numbers, **entropy_columns(layer, halves), **accuracies})
        neurons.append(_neurons(place, layer, {m.name: values for m, values in found.items()}))
    return Trajectory(
        layers=TABLES["layers"].table(layers),
        classes=TABLES["classes"].table(_classes(summary, test, moment)),
        neurons=pa.concat_tables(neurons),
        options=options,
        **graph_tables(summary, vars(moment), accuracies, graphs or GraphOptions(), halves),
    )


def classes_told(summary: ActivationSummary) -> dict[str, Any]:
    """What is noted of a summary's samples and classes beside the tables.

    Returns:
        The number of samples, names of the classes that occur, their numbers where these are not 0,
        1, 2 …, and how classes and outputs of the network belong together, where class i is not
        output i.
    """
    options = summary.options
    told: dict[str, Any] = {"samples": summary.samples, "classes": list(options.class_names)}
    if options.classes != tuple(range(len(options.classes))):
        told["class_numbers"] = list(options.classes)
    if options.by_class and (once := int((summary.class_samples == 1).sum())):
        told["classes_of_one_sample"] = once
    return told if options.outputs == "number" else {**told, "outputs": options.outputs}


def _classes(
    summary: ActivationSummary, test: Tally | None, moment: Moment
) -> list[dict[str, Any]]:
    if summary.options.by_class is not True:
        return []
    columns = {}
    for name, measure in MEASURES.items():
        if measure.by_class:
            values = torch.cat([layer.class_measure(name) for layer in summary.layers], dim=1)
            columns[name] = [measure.over(row, measure.of_layer[0]) for row in values]
    trained = None if summary.class_correct is None else summary.class_accuracy().tolist()
    options = summary.options
    return [
        {
            **vars(moment),
            "class": number,
            "class_name": name,
            "samples": int(summary.class_samples[row]),
            **{column: values[row] for column, values in columns.items()},
            "train_accuracy": None if trained is None else trained[row],
            "test_accuracy": None if test is None else test.class_accuracy(number),
        }
        for row, (number, name) in enumerate(zip(options.classes, options.class_names, strict=True))
    ]


def _neurons(place: dict[str, Any], layer: LayerSummary, measured: dict[str, Tensor]) -> pa.Table:
    known = {**measured, "neuron": torch.arange(layer.neurons)}
    if len(layer.statistics.samples) > 1:
        known["preferred_class"] = layer.preferred_class()
    schema = TABLES["neurons"].schema
    columns = [
        pa.array(known[field.name].numpy(), from_pandas=True).cast(field.type)
        if field.name in known
        else pa.repeat(pa.scalar(place.get(field.name), field.type), layer.neurons)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)


def analysed(
    analysis: Analysis,
    network: Network,
    weights_key: str | None,
    progress: bool | None,
    piece: tuple[Any, Moment, bool],
) -> Trajectory:
    """The rows of one checkpoint: its weights, when it was taken, and whether it is the last."""
    weights, moment, last = piece
    now = network.with_weights(weights, weights_key=weights_key)
    return analysis.at(now, moment, last=last, progress=progress)
