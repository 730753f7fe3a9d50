"""Pure functions on a matrix of activations, for whoever has one already.

`cofire.summarize` computes the same numbers without ever holding such a matrix.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import PositiveInt
from torch import Tensor

from cofire.activations.batches import check_labels
from cofire.activations.cofiring import CofiringCounts, Pairs
from cofire.activations.histograms import ActivationHistograms, Range, ranges_of
from cofire.activations.neurons import Grouping, NeuronView, view_matrix
from cofire.activations.statistics import ActivationStatistics, find_non_finite
from cofire.arguments import validated
from cofire.errors import DataError, NonFiniteError
from cofire.patterns import (
    Array,
    ArrayLike,
    entropy_of_counts,
    modularity,
    overlapping_modularity,
    participation_coefficient,
    propose,
    representative_neurons,
    tensor_of,
    unique_neuron_matrix,
    within_community_strength,
)
from cofire.tensors import Values

_FLATTEN = "flatten feature maps to one column per neuron"
Matrix = Annotated[Array, Values("samples neurons", finite=False, remedy=_FLATTEN)]

__all__ = [
    "activation_entropy",
    "activation_pattern_graph",
    "activation_probability",
    "mean_activation",
    "modularity",
    "overlapping_modularity",
    "participation_coefficient",
    "propose",
    "representative_neurons",
    "unique_neuron_matrix",
    "within_community_strength",
]


@validated
def activation_entropy(
    activations: Matrix, *, bins: PositiveInt = 100, range: Range = "own"
) -> Tensor:
    """Activation pattern entropy of every neuron, `E_j = -Σ_k h_k log h_k` (P2 §5.2, P1 §5.1).

    Each neuron's non-zero activations are put into equal bins, exactly as
    `numpy.histogram(values[values != 0], bins)` does; `h` is the share of each bin.

    Args:
        activations: (samples, neurons), any numeric type. Half precision is widened to float32,
            whole numbers to float64.
        bins: Number of bins R. It decides the number: entropies under different R do not compare.
        range: Where the bins lie: the neuron's own non-zero range, the same stretched to 0
            ("zero-to-max"), or one range for all neurons ("global").

    Returns:
        Entropies in nats, (neurons,), float64, on the device of the activations; 0 for a neuron
        whose activations are all zero and for one whose non-zero activations are all equal.

    Raises:
        DataError: Not a matrix, no samples, or a range too wide for the activations' precision.
        NonFiniteError: A value is NaN or infinite.
        OptionError: `bins` or `range` has no such value.

    Example:
        >>> fires = torch.tensor([[0.0, 2.0, 0.0], [1.0, 2.0, 0.0], [2.0, 2.0, 0.0], [3.0, 0.0, 0.0]])
        >>> activation_entropy(fires, bins=3)
        tensor([1.0986, 0.0000, 0.0000], dtype=torch.float64)
    """
    view = view_matrix(_matrix(activations))
    everything = Grouping(torch.zeros(view.samples, dtype=torch.int64, device=view.values.device))
    statistics = _statistics(view, everything, 1, 0.0)
    state = ActivationHistograms.empty(*ranges_of(statistics, range), bins, statistics.precision)
    state.updater()(view, everything)
    return entropy_of_counts(state.counts[0])


@validated
def mean_activation(activations: Matrix, labels: ArrayLike, num_classes: int) -> Tensor:
    """Mean activation of every neuron over the samples of each class, `V_i(q)` (P2 Eq. 6).

    Args:
        activations: (samples, neurons).
        labels: Class of every sample, (samples,), whole numbers from 0.
        num_classes: Number of classes.

    Returns:
        Means in the activations' own unit, (classes, neurons), float64.

    Raises:
        DataError: Not a matrix, no samples, or a class without samples.
        LabelError: Labels of the wrong length, type or range.
        NonFiniteError: A value is NaN or infinite.

    Example:
        >>> mean_activation(torch.tensor([[1.0, 0.0], [3.0, 0.0], [5.0, 2.0]]), torch.tensor([0, 0, 1]), 2)
        tensor([[2., 0.],
                [5., 2.]], dtype=torch.float64)
    """
    return _by_class(activations, labels, num_classes, 0.0).mean()


@validated
def activation_probability(
    activations: Matrix, labels: ArrayLike, num_classes: int, threshold: float = 0.0
) -> Tensor:
    """Share of the samples of each class for which a neuron is active, `P[c, x]` (P1 Eq. 14).

    Args:
        activations: (samples, neurons).
        labels: Class of every sample, (samples,), whole numbers from 0.
        num_classes: Number of classes.
        threshold: A neuron is active above it.

    Returns:
        Probabilities, (classes, neurons), float64.

    Raises:
        DataError: Not a matrix, no samples, or a class without samples.
        LabelError: Labels of the wrong length, type or range.
        NonFiniteError: A value is NaN or infinite.
        OptionError: The threshold is no finite number.

    Example:
        >>> fires = torch.tensor([[1.0, 0.0], [0.0, 0.0], [5.0, 2.0]])
        >>> activation_probability(fires, torch.tensor([0, 0, 1]), 2)
        tensor([[0.5000, 0.0000],
                [1.0000, 1.0000]], dtype=torch.float64)
    """
    return _by_class(activations, labels, num_classes, threshold).probability()


@validated
def activation_pattern_graph(
    activations: Matrix, labels: ArrayLike, num_classes: int, top: int, pairs: Pairs = "class"
) -> Tensor:
    """The activation pattern graph, `A = Σ_i δ_pq / |D_i|` (P2 Eq. 7): which neurons fire together.

    For class i, `δ_pq` counts the samples in which both p and q exceed their own mean activation
    over that class.

    Args:
        activations: (samples, neurons).
        labels: Class of every sample, (samples,), whole numbers from 0.
        num_classes: Number of classes, two at least.
        top: Representative neurons per class, S (see `representative_neurons`).
        pairs: For each class the pairs of its own representative neurons ("class"), or of all
            classes' ("union", which makes a nearly complete graph).

    Returns:
        Weights, (neurons, neurons), float64, symmetric, 0 on the diagonal and for neurons that
        represent no class; at most the number of classes.

    Raises:
        DataError: Not a matrix, no samples, fewer than two classes, or a class without samples.
        LabelError: Labels of the wrong length, type or range.
        NonFiniteError: A value is NaN or infinite.
        OptionError: `top` is no whole number from 1 to the number of neurons, or `pairs` is no
            reading of them.

    Example:
        >>> fires = torch.tensor([[9.0, 8.0, 0.0], [1.0, 0.0, 0.0], [0.0, 4.0, 6.0], [0.0, 6.0, 8.0]])
        >>> activation_pattern_graph(fires, torch.tensor([0, 0, 1, 1]), num_classes=2, top=2)
        tensor([[0.0000, 0.5000, 0.0000],
                [0.5000, 0.0000, 0.5000],
                [0.0000, 0.5000, 0.0000]], dtype=torch.float64)
    """
    matrix = _matrix(activations)
    classes = Grouping(_labels(labels, matrix, num_classes))
    view = view_matrix(matrix)
    statistics = _statistics(view, classes, num_classes, 0.0)
    means = statistics.mean()
    representative_neurons(means, top)  # here, a layer with fewer neurons is an error
    state = CofiringCounts.empty(means, statistics.observations, top, pairs)
    state.update(view, classes)
    vertices = state.vertices()
    whole = torch.zeros(view.neurons, view.neurons, dtype=torch.float64, device=matrix.device)
    whole[vertices[:, None], vertices] = state.adjacency()
    return whole


def _matrix(activations: Array) -> Tensor:
    matrix = tensor_of(activations, "activations")
    if not len(matrix):
        raise DataError(
            f"activations of shape {tuple(matrix.shape)}",
            "(samples, neurons) with at least one sample",
            "pass the activations of some samples",
        )
    return matrix if matrix.is_floating_point() else matrix.to(torch.float64)


def _labels(labels: ArrayLike, matrix: Tensor, num_classes: int) -> Tensor:
    found = check_labels(tensor_of(labels, "labels"), len(matrix), num_classes).to(matrix.device)
    if num_classes > len(matrix):  # before anything is kept for each class
        missing = int(
            (~torch.isin(torch.arange(len(matrix) + 1, device=found.device), found)).nonzero()[0]
        )
        raise DataError(
            f"no samples of class {missing}: {num_classes:,} classes and {len(matrix):,} samples",
            "a sample of every class",
            "number the classes that occur from 0, and pass their number",
        )
    return found


def _by_class(
    activations: Matrix, labels: ArrayLike, num_classes: int, threshold: float
) -> ActivationStatistics:
    matrix = _matrix(activations)
    classes = _labels(labels, matrix, num_classes)
    return _statistics(view_matrix(matrix), Grouping(classes), num_classes, threshold)


def _statistics(
    view: NeuronView, classes: Grouping, num_classes: int, threshold: float
) -> ActivationStatistics:
    state = ActivationStatistics.empty(
        view.neurons,
        classes=num_classes,
        threshold=threshold,
        precision=str(view.values.dtype).removeprefix("torch."),
        device=view.values.device,
    )
    if not state.update(view, classes):
        sample, neuron, value = find_non_finite(view)
        raise NonFiniteError(
            f"activation {value} of neuron {neuron} in sample {sample}",
            "finite numbers",
            "find what makes the network overflow, or leave that sample out",
        )
    return state
