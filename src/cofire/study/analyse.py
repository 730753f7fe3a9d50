"""What is analysed at one checkpoint, as rows of a trajectory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from cofire.activations import ActivationSummary, LayerSummary
from cofire.activations.batches import Batches
from cofire.activations.labelling import Labelling
from cofire.activations.passes import run_pass
from cofire.arguments import validated
from cofire.network import Network
from cofire.study.graph_rows import GraphOptions, graph_tables
from cofire.study.tables import CLASSES_SCHEMA, LAYERS_SCHEMA, NEURONS_SCHEMA
from cofire.study.trajectory import Trajectory


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
    batches = Batches(data, len(labelling.names), batch_size=batch_size)
    seen = run_pass(
        network, batches, labelling, None, (), "channel", lambda *_: None, "test data", False
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


@validated
def trajectory_of(
    summary: ActivationSummary,
    moment: Moment,
    test: Tally | None,
    options: dict[str, Any],
    graphs: GraphOptions | None = None,
) -> Trajectory:
    """A trajectory of one checkpoint.

    Args:
        summary: What the neurons did on the training data.
        moment: When.
        test: How the network did on test data, if there is any.
        options: What to note beside the tables.
        graphs: What is asked of its graphs, if it has any; the defaults unless given.

    Returns:
        The trajectory. Without results by class, the columns that need them are null and the table
        of classes is empty.
    """
    test_accuracy = None if test is None else test.accuracy
    layers = [
        _layer_row(index, layer, summary, test_accuracy, moment)
        for index, layer in enumerate(summary.layers)
    ]
    neurons = [_neuron_rows(index, layer, moment) for index, layer in enumerate(summary.layers)]
    return Trajectory(
        layers=pa.Table.from_pylist(layers, schema=LAYERS_SCHEMA),
        classes=pa.Table.from_pylist(_class_rows(summary, test, moment), schema=CLASSES_SCHEMA),
        neurons=pa.concat_tables(neurons),
        options=options,
        **graph_tables(
            summary,
            vars(moment),
            {"train_accuracy": summary.accuracy, "test_accuracy": test_accuracy},
            graphs or GraphOptions(),
        ),
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


def _layer_row(
    index: int,
    layer: LayerSummary,
    summary: ActivationSummary,
    test_accuracy: float | None,
    moment: Moment,
) -> dict[str, Any]:
    entropy = layer.entropy()
    by_class = bool(summary.options.by_class)
    return {
        **vars(moment),
        "layer_index": index,
        "layer": layer.layer.name,
        "kind": layer.layer.kind,
        "unit": summary.options.unit,
        "neurons": layer.neurons,
        "entropy": float(entropy.sum()),
        "entropy_mean": float(entropy.mean()),
        "entropy_median": float(np.median(entropy.numpy())),
        "dead": int(layer.dead().sum()),
        "always_active": int(layer.always_active().sum()),
        "activity": float(layer.probability().mean()),
        "mean_activation": float(layer.mean().mean()),
        "selectivity": float(np.median(layer.selectivity().numpy())) if by_class else None,
        "information": float(layer.information().mean()) if by_class else None,
        "train_accuracy": summary.accuracy,
        "test_accuracy": test_accuracy,
    }


def _class_rows(
    summary: ActivationSummary, test: Tally | None, moment: Moment
) -> list[dict[str, Any]]:
    if summary.options.by_class is not True:
        return []
    entropy = summary.class_entropy().tolist()
    trained = (
        [None] * len(entropy)
        if summary.class_correct is None
        else summary.class_accuracy().tolist()
    )
    return [
        {
            **vars(moment),
            "class": number,
            "class_name": name,
            "samples": int(summary.class_samples[row]),
            "entropy": entropy[row],
            "train_accuracy": trained[row],
            "test_accuracy": None if test is None else test.class_accuracy(number),
        }
        for row, (number, name) in enumerate(
            zip(summary.options.classes, summary.options.class_names, strict=True)
        )
    ]


def _neuron_rows(index: int, layer: LayerSummary, moment: Moment) -> pa.Table:
    count = layer.neurons
    by_class = len(layer.statistics.samples) > 1

    def constant(value: float | str | None, kind: pa.DataType) -> pa.Array:
        return pa.repeat(pa.scalar(value, kind), count)

    def column(values: Tensor | None, kind: pa.DataType) -> pa.Array:
        return pa.nulls(count, kind) if values is None else pa.array(values.numpy(), kind)

    columns = {
        "checkpoint": constant(moment.checkpoint, pa.int32()),
        "epoch": constant(moment.epoch, pa.float64()),
        "step": constant(moment.step, pa.int64()),
        "layer_index": constant(index, pa.int32()),
        "layer": constant(layer.layer.name, pa.string()),
        "neuron": column(torch.arange(count), pa.int64()),
        "entropy": column(layer.entropy(), pa.float64()),
        "activity": column(layer.probability(), pa.float64()),
        "mean_activation": column(layer.mean(), pa.float64()),
        "dead": column(layer.dead(), pa.bool_()),
        "always_active": column(layer.always_active(), pa.bool_()),
        "selectivity": column(layer.selectivity() if by_class else None, pa.float64()),
        "information": column(layer.information() if by_class else None, pa.float64()),
        "preferred_class": column(layer.preferred_class() if by_class else None, pa.int32()),
    }
    return pa.Table.from_arrays(
        [columns[name] for name in NEURONS_SCHEMA.names], schema=NEURONS_SCHEMA
    )
