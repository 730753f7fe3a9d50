"""What a neuron's activity says about the class, in bits."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from cofire.errors import DataError


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
