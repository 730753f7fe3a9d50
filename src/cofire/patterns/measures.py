"""Measures of neurons: entropy, information and selectivity."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cofire.errors import DataError

_SLICE = 1 << 20


def entropy_of_counts(counts: Tensor) -> Tensor:
    """Shannon entropy in nats of histograms, `E_j = -Σ_k h_k log h_k` with `h_k = H_k / Σ H` (P2 §5.2).

    P2 prints the sum with a second minus sign; every sign it reports needs the positive form used
    here.

    Args:
        counts: Histograms, (..., bins), whole numbers from 0 up.

    Returns:
        Entropies in nats, (...), float64, from 0 to log(bins). An empty histogram (a neuron that
        never fires) has entropy 0.

    Raises:
        DataError: A count is negative.

    Example:
        >>> entropy_of_counts(torch.tensor([[1, 1, 1, 1], [4, 0, 0, 0], [0, 0, 0, 0]]))
        tensor([1.3863, 0.0000, 0.0000], dtype=torch.float64)
    """
    if counts.numel() and bool((counts < 0).any()):
        raise DataError(
            "a histogram with negative counts", "counts from 0 up", "pass counts, not densities"
        )
    rows = counts.reshape(-1, counts.shape[-1])
    # In slices: shares of a whole state at once would take as much memory again, several times
    # over.
    slices = [_entropy(part) for part in torch.split(rows, max(1, _SLICE // rows.shape[1]))]
    return torch.cat(slices).reshape(counts.shape[:-1])


def _entropy(counts: Tensor) -> Tensor:
    total = counts.sum(dim=-1, dtype=torch.float64, keepdim=True).clamp(min=1.0)
    entropies: Tensor = torch.special.entr(counts / total).sum(dim=-1)
    return entropies + 0.0  # no negative zeros


def mutual_information(active: Tensor, observations: Tensor) -> Tensor:
    """Mutual information between "this neuron is active" and the class, in bits.

    `I = Σ_c Σ_a p(c, a) log2(p(c, a) / (p(c) p(a)))` over the classes c and the two states a
    (active, silent), with the shares of the observations as probabilities. 0: the neuron's activity
    says nothing about the class. It cannot exceed 1 bit, nor the entropy of the classes. Shares
    estimated from few samples give a little information even where there is none: see
    `information_floor`.

    Args:
        active: Observations of each class in which each neuron is active, (classes, neurons).
        observations: Observations of each class, (classes,).

    Returns:
        Information in bits, (neurons,), float64.

    Raises:
        DataError: The shapes do not fit, or a neuron is active more often than it was observed.

    Example:
        A neuron that fires for the first class alone, one that fires always, one that fires at
        random:

        >>> mutual_information(torch.tensor([[10, 10, 5], [0, 10, 5]]), torch.tensor([10, 10]))
        tensor([1., 0., 0.], dtype=torch.float64)
    """
    if active.ndim != 2 or observations.shape != active.shape[:1]:
        raise DataError(
            f"active counts of shape {tuple(active.shape)} and observations of shape {tuple(observations.shape)}",
            "(classes, neurons) and (classes,)",
            "pass one row per class in both",
        )
    seen = observations.to(torch.float64)[:, None]
    on = active.to(torch.float64)
    if bool(((on < 0) | (on > seen)).any()):
        raise DataError(
            "a neuron that is active more often than it was observed, or a negative count",
            "counts from 0 to the observations of the class",
            "pass counts, not means",
        )
    everything = seen.sum().clamp(min=1.0)
    joint = torch.stack([on, seen - on]) / everything  # (state, classes, neurons)
    entropy = torch.special.entr
    of_state = entropy(joint.sum(dim=1)).sum(dim=0)
    of_class = entropy(seen / everything).sum()
    both = entropy(joint).sum(dim=(0, 1))
    # The three entropies cancel to rounding noise where there is no information.
    information: Tensor = (of_state + of_class - both) / math.log(2)
    return information.clamp(min=0.0)


def information_floor(samples: int, classes: int) -> float:
    """The information in bits that a neuron without any shows on average, because samples are finite.

    The first term of Miller and Madow's bias for a table of `classes` × 2: `(classes - 1) / (2 n ln
    2)`.

    Args:
        samples: Number of independent samples.
        classes: Number of classes that occur.

    Returns:
        Bits.

    Example:
        >>> round(information_floor(1000, 10), 5)
        0.00649
    """
    if samples < 1 or classes < 1:
        raise DataError(
            f"{samples} samples of {classes} classes",
            "at least one of each",
            "pass counts from 1 up",
        )
    return (classes - 1) / (2 * samples * math.log(2))


def class_selectivity(class_values: Tensor) -> Tensor:
    """Class selectivity index `(μ_max - μ_rest) / (μ_max + μ_rest)` of every neuron (Morcos et al. 2018).

    `μ_max` is the neuron's largest class value, `μ_rest` the mean over the other classes. 0: the
    same for all classes; 1: only one class moves it.

    Args:
        class_values: Mean activation or activation probability of every class, (classes, neurons),
            not negative.

    Returns:
        Selectivity from 0 to 1, (neurons,), float64; 0 for a neuron that is silent for all classes.

    Raises:
        DataError: Fewer than two classes, negative or non-finite values, or not two dimensions.

    Example:
        >>> class_selectivity(torch.tensor([[3.0, 1.0, 0.0], [1.0, 1.0, 0.0], [1.0, 1.0, 5.0]]))
        tensor([0.5000, 0.0000, 1.0000], dtype=torch.float64)
    """
    if class_values.ndim != 2 or class_values.shape[0] < 2:
        raise DataError(
            f"class values of shape {tuple(class_values.shape)}",
            "(classes, neurons) with at least two classes",
            "pass one row per class",
        )
    values = class_values.to(torch.float64)
    if not bool(torch.isfinite(values).all()) or bool((values < 0).any()):
        raise DataError(
            "class values that are negative, NaN or infinite",
            "values from 0 up, since the index divides by their sum",
            "use activation probabilities for activation functions that give negative values",
        )
    largest = values.amax(dim=0)
    rest = (values.sum(dim=0) - largest) / (values.shape[0] - 1)
    # Rounding can leave the mean of equal values a hair above their maximum.
    difference = (largest - rest).clamp(min=0.0)
    total = largest + rest
    return torch.where(
        total > 0, difference / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0
    )
