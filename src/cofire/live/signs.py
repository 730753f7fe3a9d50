"""What a window of training shows: numbers for a logger, and signs that a person should act on."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from cofire.activations import ActivationSummary, LayerSummary
from cofire.live.observed import Observed
from cofire.patterns import MEASURES

_ENDS = {
    "sigmoid": (0.0, 1.0),
    "hardsigmoid": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
    "hardtanh": (-1.0, 1.0),
}
_NEAR = 0.05
"""A neuron is saturated where all but this share of its activations lie within this share of an end."""
_LEVELS = (0.9, 0.5)
_ENOUGH = 32
"""Samples below which nothing is told: a neuron that fires for every tenth is silent in 3 % of such windows."""


def saturated(layer: LayerSummary) -> Tensor | None:
    """Which neurons sit at the ends of a function that has two, (neurons,), bool; None where it has not.

    Args:
        layer: What its neurons did.
    """
    if layer.layer.kind not in _ENDS:
        return None
    low, high = _ENDS[layer.layer.kind]
    edges = layer.histograms.edges()[0].to(torch.float64)
    middle, near = (edges[:, 1:] + edges[:, :-1]) / 2, _NEAR * (high - low)
    there = ((middle <= low + near) | (middle >= high - near)) * layer.histograms.counts[0]
    together = layer.statistics.over_classes()
    seen = int(together.observations[0])
    zeros = seen - together.nonzero[0] if low == 0 else 0
    return (there.sum(dim=1) + zeros) >= (1 - _NEAR) * seen


def numbers_of(summary: ActivationSummary) -> dict[str, Any]:
    """Numbers of every layer, and of its neurons, by names of charts.

    Returns:
        Floats (the columns of a trajectory's table of layers), and tensors (neurons,) for
        histograms.
    """
    told: dict[str, Any] = {}
    for layer in summary.layers:
        start = f"{layer.layer.name}/"
        for name, measure in MEASURES.items():
            if measure.needs_classes and not summary.options.by_class:
                continue
            values = layer.measure(name)
            for column, how in measure.columns.items():
                number = measure.over(values, how)
                if number is not None:
                    told[start + column] = float(number)
            if name in ("entropy", "activity"):
                told[f"{start}{name}_of_neurons"] = values
        told[f"{start}dead_share"] = told[f"{start}dead"] / layer.neurons
        if (full := saturated(layer)) is not None:
            told[f"{start}saturated"] = float(full.sum())
    told["entropy"] = summary.entropy()
    if summary.accuracy is not None:
        told["accuracy"] = summary.accuracy
    return told


def warnings_of(
    summary: ActivationSummary, observed: Observed
) -> Iterator[tuple[tuple[Any, ...], str, str]]:
    """Lines for a person: what tells one from others, what is wrong with a layer, and what may help.

    Args:
        summary: Of the window.
        observed: The same, for its steps.
    """
    if int(observed.samples.sum()) < _ENOUGH:
        return
    steps = f"in the last {observed.steps} steps"
    if observed.batches < observed.steps:
        steps += f", {observed.batches} of them observed"
    for layer in summary.layers:
        ends = saturated(layer)
        signs = {
            "never fired": (layer.dead(), "lower the learning rate, or start from other weights"),
            f"sat at the ends of {layer.layer.kind}": (
                ends,
                "lower the learning rate, or normalise what goes in",
            ),
        }
        for text, (neurons, remedy) in signs.items():
            share = 0.0 if neurons is None else float(neurons.sum()) / layer.neurons
            level = next((level for level in _LEVELS if share >= level), None)
            if level is not None:
                told = f"{layer.layer.name}: {100 * share:.0f} % of neurons {text} {steps}"
                yield (layer.layer.name, text, level), told, remedy
