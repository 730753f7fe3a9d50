"""How well activations fit each class: the proposal of P1, and closed forms on counts and sums."""

from __future__ import annotations

from typing import Annotated

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, LabelError
from cofire.patterns.adjacency import Array
from cofire.tensors import Values
from cofire.tensors import dense as tensor_of


def check_every_class(class_samples: Tensor, what: str = "the training data") -> None:
    """Refuse counts of samples with a class that has none.

    Raises:
        LabelError: There is such a class.
    """
    empty = torch.nonzero(class_samples == 0).flatten().tolist()
    if empty:
        shown = ", ".join(map(str, empty[:5])) + (" …" if len(empty) > 5 else "")
        raise LabelError(
            f"no samples of {len(empty)} of {len(class_samples)} classes in {what}: {shown}",
            "samples of every class",
            "add samples, or give the network as many outputs as the data has classes",
        )


def log_odds_of_patterns(
    activation_probability: Tensor, class_samples: Tensor
) -> tuple[Tensor, Tensor]:
    """The log-likelihood of an activity pattern as a linear map of it: weights and a bias per class.

    With `p = (n_c P + 1) / (n_c + 2)`, which is never 0 or 1, `Σ_x u log p + (1 - u) log(1 - p)` is
    `Σ_x u (log p - log(1 - p)) + Σ_x log(1 - p)`.

    Args:
        activation_probability: P of Eq. 14, (classes, neurons).
        class_samples: n_c, (classes,).

    Returns:
        Weights (classes, neurons) and bias (classes,), float64.

    Example:
        >>> weights, bias = log_odds_of_patterns(torch.tensor([[1.0, 0.5]]), torch.tensor([2]))
        >>> weights.exp().round(), bias.exp()
        (tensor([[3., 1.]], dtype=torch.float64), tensor([0.1250], dtype=torch.float64))
    """
    samples = class_samples.to(torch.float64)[:, None]
    p = (activation_probability.to(torch.float64) * samples + 1) / (samples + 2)
    silent = torch.log1p(-p)
    return p.log() - silent, silent.sum(dim=1)


def linear_discriminant(
    class_samples: Tensor, class_sums: Tensor, second_moments: Tensor, ridge: float = 0.01
) -> tuple[Tensor, Tensor]:
    """Log-likelihood of activations under each class as Gaussians with one covariance, up to what classes share.

    `w_c = S⁻¹ μ_c` and `b_c = -½ μ_cᵀ S⁻¹ μ_c + log(n_c / n)`, where `S` is the covariance within
    classes with `ridge` times its mean variance added to the diagonal, so that dead neurons do no
    harm.

    Args:
        class_samples: n_c, (classes,).
        class_sums: Sum of the activations over each class, (classes, neurons).
        second_moments: Sum of `a aᵀ` over all samples, (neurons, neurons).
        ridge: Share of the mean variance.

    Returns:
        Weights (classes, neurons) and bias (classes,), float64.

    Raises:
        OptionError: `ridge` is not above 0.
        LabelError: A class has no samples.

    Example:
        >>> sums, moments = torch.tensor([[2.0], [6.0]]), torch.tensor([[22.0]])
        >>> weights, bias = linear_discriminant(torch.tensor([2, 2]), sums, moments, ridge=1e-9)
        >>> weights.round(decimals=3), bias.round(decimals=3)
        (tensor([[2.],
                [6.]], dtype=torch.float64), tensor([-1.6930, -9.6930], dtype=torch.float64))
    """
    check_every_class(class_samples)
    counts = class_samples.to(torch.float64)
    means = class_sums.to(torch.float64) / counts[:, None]
    within = (second_moments.to(torch.float64) - (means * counts[:, None]).T @ means) / counts.sum()
    variance = within.diagonal().mean()
    if (
        not float(variance) > 0
    ):  # no neuron varies within a class: there is nothing to tell classes by
        return torch.zeros_like(means), (counts / counts.sum()).log()
    within.diagonal().add_(ridge * variance)
    weights = torch.linalg.solve(within, means.T, left=True).T.contiguous()
    return weights, (counts / counts.sum()).log() - (weights * means).sum(dim=1) / 2


_NEURONS = 1024
"""Neurons whose products are summed at a time."""


def discriminant_of_samples(
    class_samples: Tensor,
    class_sums: Tensor,
    activations: Tensor,
    labels: Tensor,
    ridge: float = 0.01,
) -> tuple[Tensor, Tensor]:
    """The same with `S` from some samples, for more neurons than a square of them has room for.

    With the samples' distances from their class's mean as rows of `X`, `S = Xᵀ X / n + λ I`, whose
    inverse needs products of samples alone: `S⁻¹ = (I − Xᵀ (X Xᵀ + n λ I)⁻¹ X) / λ`.

    Args:
        class_samples: n_c, (classes,), of all samples.
        class_sums: Sum of the activations over each class, (classes, neurons).
        activations: Of the samples that `S` is made from, (samples, neurons).
        labels: Of the same, (samples,).
        ridge: Share of the mean variance.

    Returns:
        Weights (classes, neurons) and bias (classes,), float64.

    Raises:
        LabelError: A class has no samples.

    Example:
        >>> values, labels = torch.tensor([[0.0], [2.0], [2.0], [4.0]]), torch.tensor([0, 0, 1, 1])
        >>> weights, bias = discriminant_of_samples(
        ...     torch.tensor([2, 2]), torch.tensor([[2.0], [6.0]]), values, labels, ridge=1e-9
        ... )
        >>> weights.round(decimals=3).tolist(), bias.round(decimals=3).tolist()
        ([[1.0], [3.0]], [-1.193, -5.193])
    """
    check_every_class(class_samples)
    counts = class_samples.to(torch.float64)
    means = class_sums.to(torch.float64) / counts[:, None]
    prior, samples = (counts / counts.sum()).log(), len(labels)
    products = means.new_zeros(samples, samples)
    of_means = means.new_zeros(samples, len(means))
    parts = (torch.split(each, _NEURONS, dim=1) for each in (activations, means))
    pieces = list(zip(*parts, strict=True))
    for values, centres in pieces:
        apart = values.double() - centres[labels]
        products.addmm_(apart, apart.T)
        of_means.addmm_(apart, centres.T)
    scaled = ridge * products.trace() / means.shape[1]
    if not float(scaled) > 0:
        return torch.zeros_like(means), prior
    products.diagonal().add_(scaled)
    shares = torch.cholesky_solve(of_means, torch.linalg.cholesky(products))
    weights = torch.cat(
        [centres - shares.T @ (values.double() - centres[labels]) for values, centres in pieces],
        dim=1,
    ) * (samples / scaled)
    return weights, prior - (weights * means).sum(dim=1) / 2


_SOFTMAX = "if these are logits, pass logits.softmax(dim=1)"
_SHARES = "compute them with cofire.functional.activation_probability"
_SLACK = 1e-2
"""How far a row of probabilities may be from one: softmax in bfloat16 over a thousand classes."""


@validated
def propose(
    predicted: Annotated[Array, Values("samples classes", least=0, remedy=_SOFTMAX)],
    activation_probability: Annotated[
        Array, Values("classes neurons", least=0, most=1, remedy=_SHARES)
    ],
    activations: Annotated[Array, Values("samples neurons")],
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
    y, p = (
        tensor_of(given, "probabilities").to(torch.float64)
        for given in (predicted, activation_probability)
    )
    a = tensor_of(activations, "activations").to(y.device)
    off = (y.sum(dim=1) - 1).abs()
    if len(y) and float(off.max()) > _SLACK:
        row = int(off.argmax())
        raise DataError(
            f"row {row} of predicted with the sum {float(y[row].sum()):.4g}",
            "probabilities that sum to one",
            _SOFTMAX,
        )
    return (a > threshold).to(torch.float64) @ p.to(y.device).T * y
