"""Which neurons stand for which class."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import PositiveInt
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, OptionError
from cofire.patterns.adjacency import Array
from cofire.tensors import Values
from cofire.tensors import dense as tensor_of

_GIVEN = "pass what representative_neurons gives"
Representatives = Annotated[Array, Values("classes top", "whole", least=0, remedy=_GIVEN)]
"""Neurons that represent each class, (classes, top)."""


@validated
def representative_neurons(
    mean_activation: Annotated[Array, Values("classes neurons")], top: PositiveInt
) -> Tensor:
    """The representative neurons `N_i` of every class: those with the highest mean activation `V_i(q)` (P2 §5.1).

    Args:
        mean_activation: Mean activation of every neuron over each class, (classes, neurons).
        top: How many neurons per class, S; at most all.

    Returns:
        Indices, (classes, top), int64, best first; of neurons that tie, the lower index comes
        first.

    Raises:
        DataError: Not a matrix, or fewer than two classes.
        NonFiniteError: A mean is NaN or infinite.
        OptionError: `top` is no whole number from 1 to the number of neurons.

    Example:
        >>> representative_neurons(torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, 5.0]]), top=2)
        tensor([[0, 2],
                [1, 2]])
    """
    mean_activation = tensor_of(mean_activation, "mean activations")
    if len(mean_activation) < 2:
        raise DataError(
            f"mean activations of shape {tuple(mean_activation.shape)}",
            "(classes, neurons) with at least two classes",
            "pass one row per class, as cofire.functional.mean_activation gives it",
        )
    neurons = mean_activation.shape[1]
    if top > neurons:
        raise OptionError(
            f"top={top!r} of {neurons} neurons",
            f"a whole number from 1 to {neurons}",
            "choose fewer representative neurons per class, or a layer with more neurons",
        )
    best = torch.sort(mean_activation, dim=1, descending=True, stable=True).indices
    return best[:, :top].contiguous()


@validated
def unique_neuron_matrix(representatives: Representatives, exclusive: bool = False) -> Tensor:
    """How many representative neurons the classes share (P2 Table 2).

    P2's words (§7.1) and its numbers disagree. A pair's unique neurons are said to "belong to both
    N_i and N_j, but in no other set", so that a row sums to |N_i| at the most; one of the printed
    rows sums to 129 with |N_i| = 50, as only plain intersections can.

    Args:
        representatives: Neurons that represent each class, (classes, top), each neuron once per
            class.
        exclusive: Whether a pair's neurons are those of no third class, as the words say; else all
            that both classes have, as the numbers say.

    Returns:
        (classes, classes), int64, symmetric. On the diagonal the neurons that represent that class
        alone; off it `|N_i ∩ N_j|`, or the part of it that no third class has.

    Raises:
        DataError: Not a matrix of whole numbers from 0, fewer than two classes, or a neuron twice
            in one class.

    Example:
        >>> unique_neuron_matrix(torch.tensor([[0, 2], [1, 2], [2, 0]]))
        tensor([[0, 1, 2],
                [1, 1, 1],
                [2, 1, 0]])
        >>> unique_neuron_matrix(torch.tensor([[0, 2], [1, 2], [2, 0]]), exclusive=True)
        tensor([[0, 0, 1],
                [0, 1, 0],
                [1, 0, 0]])
    """
    member = _member_matrix(tensor_of(representatives, "representatives"), None)
    represented = member.sum(dim=0)
    pairs = (member & (represented == 2) if exclusive else member).to(torch.float64)
    shared = (pairs @ pairs.T).to(torch.int64)
    alone = member & (represented == 1)
    return shared.fill_diagonal_(0) + torch.diag(alone.sum(dim=1))


@validated
def partition_of(
    mean_activation: Annotated[Array, Values("classes neurons", finite=False)],
    representatives: Representatives,
) -> Tensor:
    """Each representative neuron in one class: of those it represents, the one with its highest mean activation.

    Args:
        mean_activation: Mean activation of every neuron over each class, (classes, neurons).
        representatives: Neurons that represent each class, (classes, top).

    Returns:
        Class of every neuron, (neurons,), int64; -1 for one that represents none. Where means tie,
        the lower class.

    Raises:
        DataError: The two do not fit together.

    Example:
        >>> means = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 5.0, 0.0]])
        >>> partition_of(means, representative_neurons(means, top=2))
        tensor([ 0,  1,  1, -1])
    """
    means = tensor_of(mean_activation, "mean activations").to(torch.float64)
    member = _member_matrix(tensor_of(representatives, "representatives"), means.shape[1])
    best = means.masked_fill(~member, -torch.inf).argmax(dim=0)
    return torch.where(member.any(dim=0), best, -1)


def _member_matrix(representatives: Tensor, neurons: int | None) -> Tensor:
    """Whether a neuron represents a class, (classes, neurons), bool."""
    if len(representatives) < 2 or representatives.numel() == 0:
        raise DataError(
            f"representatives of shape {tuple(representatives.shape)}",
            "(classes, top), with at least two classes",
            "pass what representative_neurons gives",
        )
    chosen = representatives.to(torch.int64)
    last = int(chosen.max())
    if neurons is not None and last >= neurons:
        raise DataError(
            f"representative neuron {last}",
            f"indices of neurons, from 0 to {neurons - 1}",
            "pass what representative_neurons gives for this layer",
        )
    member = torch.zeros(len(chosen), neurons or last + 1, dtype=torch.bool, device=chosen.device)
    member.scatter_(1, chosen, True)
    if int(member.sum()) != chosen.numel():
        raise DataError(
            "a neuron that stands twice in one class",
            "each neuron once per class",
            "drop the second of the two",
        )
    return member
