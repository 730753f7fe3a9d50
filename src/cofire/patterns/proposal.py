"""What a pattern proposes: class probabilities weighed by how much the active neurons belong to each class."""

from __future__ import annotations

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, NonFiniteError
from cofire.patterns.arrays import ArrayLike, tensor_of

_SLACK = 1e-2
"""How far a row of probabilities may be from one: softmax in bfloat16 over a thousand classes."""


@validated
def propose(
    predicted: ArrayLike,
    activation_probability: ArrayLike,
    activations: ArrayLike,
    threshold: float = 0.0,
) -> Tensor:
    """The proposed probabilities, `Y_proposed = (P · U*) × Y_predicted` (P1 Eq. 16), class by class.

    `U*[x]` is 1 where the sample activates neuron x and 0 elsewhere (Eq. 15). The rows do not sum
    to one: their scale grows with the number of active neurons.

    Args:
        predicted: Y_predicted, probabilities (samples, classes), each row summing to one.
        activation_probability: P, (classes, neurons), from 0 to 1 (see
            `cofire.functional.activation_probability`).
        activations: (samples, neurons).
        threshold: A neuron is active above it.

    Returns:
        (samples, classes), float64.

    Raises:
        DataError: Shapes that do not fit, or values that are no probabilities.
        NonFiniteError: A value is NaN or infinite.
        OptionError: The threshold is no finite number.

    Example:
        >>> probability = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]])
        >>> propose(torch.tensor([[0.75, 0.25]]), probability, torch.tensor([[2.0, 1.0, 0.0]]))
        tensor([[1.1250, 0.1250]], dtype=torch.float64)
    """
    given = {
        "predicted": tensor_of(predicted, "predicted"),
        "activation_probability": tensor_of(activation_probability, "activation_probability"),
        "activations": tensor_of(activations, "activations"),
    }
    for name, tensor in given.items():
        if tensor.ndim != 2 or tensor.is_complex():
            raise DataError(
                f"{name} of shape {tuple(tensor.shape)}, {tensor.dtype}",
                "a matrix of real numbers",
                "see the shapes in the documentation of propose",
            )
        if not bool(torch.isfinite(tensor).all()):
            raise NonFiniteError(
                f"NaN or infinite values in {name}", "finite numbers", "find where they come from"
            )
    y, p, a = given.values()
    if len(y) != len(a) or y.shape[1] != len(p) or p.shape[1] != a.shape[1] or y.shape[1] == 0:
        raise DataError(
            f"predicted {tuple(y.shape)}, activation_probability {tuple(p.shape)}, activations {tuple(a.shape)}",
            "(samples, classes), (classes, neurons) and (samples, neurons)",
            "pass those of the same samples, classes and neurons",
        )
    y, p = y.to(torch.float64), p.to(y.device, torch.float64)
    if p.numel() and not 0 <= float(p.min()) <= float(p.max()) <= 1:
        raise DataError(
            f"activation probabilities from {float(p.min()):.4g} to {float(p.max()):.4g}",
            "shares from 0 to 1",
            "compute them with cofire.functional.activation_probability",
        )
    off = (y.sum(dim=1) - 1).abs()
    if len(y) and (float(y.min()) < 0 or float(off.max()) > _SLACK):
        row = int(off.argmax() if float(y.min()) >= 0 else y.amin(dim=1).argmin())
        raise DataError(
            f"row {row} of predicted, from {float(y[row].min()):.4g} to {float(y[row].max()):.4g}, with the sum "
            f"{float(y[row].sum()):.4g}",
            "probabilities that sum to one",
            "if these are logits, pass logits.softmax(dim=1)",
        )
    return (a.to(y.device) > threshold).to(torch.float64) @ p.T * y
