"""Class selectivity: how much more a neuron does for one class than for the others."""

from __future__ import annotations

import torch
from torch import Tensor

from cofire.errors import DataError


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
