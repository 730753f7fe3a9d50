"""From an activation tensor to its neurons, and the samples of a batch by class."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cofire.network import ActivationLayer, Unit


@dataclass(frozen=True)
class NeuronView:
    """A batch of activations with its neurons on one axis, contiguous, without a copy where possible.

    Attributes:
        values: (samples, neurons, positions), or (samples, positions, neurons) if `neurons_last`.
            float32 or float64.
        neurons_last: Which of the two.
        before: The same neurons with their positions, where each value is the maximum over them.
        averaged: Whether each value is a mean over positions.
    """

    values: Tensor
    neurons_last: bool
    before: Tensor | None = None
    averaged: bool = False

    @property
    def with_positions(self) -> NeuronView:
        """The neurons with all their positions, where each value is the maximum over them."""
        return self if self.before is None else NeuronView(self.before.contiguous(), False)

    @property
    def samples(self) -> int:
        """Samples in the batch."""
        return self.values.shape[0]

    @property
    def neurons(self) -> int:
        """Neurons of the layer."""
        return self.values.shape[2 if self.neurons_last else 1]

    @property
    def positions(self) -> int:
        """Observations of each neuron in each sample."""
        return self.values.shape[1 if self.neurons_last else 2]

    def neurons_first(self) -> Tensor:
        """The values as (samples, neurons, positions), a view."""
        return self.values.transpose(1, 2) if self.neurons_last else self.values


def view_matrix(activations: Tensor) -> NeuronView:
    """A matrix of activations, (samples, neurons), as a view of neurons with one observation per sample."""
    return NeuronView(_with_precision(activations).contiguous()[:, None, :], neurons_last=True)


def view_neurons(activation: Tensor, layer: ActivationLayer, unit: Unit) -> NeuronView:
    """The neurons of one layer in a batch.

    Args:
        activation: (samples, *layer.shape), any floating type. Half precision is widened to
            float32.
        layer: The layer it comes from.
        unit: What a neuron is. `channel`: a channel, every position of which is one observation.
            `channel-mean`, `channel-max`: a channel, its mean or maximum over positions being the
            one observation. `element`: one channel at one position, in the order of `layer.shape`.

    Returns:
        The view.
    """
    values = _with_precision(activation)
    if unit == "element":
        return view_matrix(values.reshape(values.shape[0], -1))
    if values.ndim == 2:
        return view_matrix(values)
    axis = 1 + layer.channel_axis
    first = values.movedim(axis, 1)
    if unit == "channel-mean":
        return replace(view_matrix(first.flatten(2).mean(dim=2)), averaged=True)
    if unit == "channel-max":
        return replace(view_matrix(first.flatten(2).amax(dim=2)), before=first.flatten(2))
    last = values.movedim(axis, -1)
    if last.is_contiguous():
        return NeuronView(last.flatten(1, -2), neurons_last=True)
    # channels_last memory arrives here as (samples, channels, ...) with the channels innermost.
    return NeuronView(first.flatten(2).contiguous(), neurons_last=False)


def _with_precision(activation: Tensor) -> Tensor:
    """NumPy has no bfloat16 and computes histograms of float16 in float16: float32 holds both exactly."""
    return (
        activation
        if activation.dtype in (torch.float32, torch.float64)
        else activation.to(torch.float32)
    )


@dataclass(frozen=True)
class Grouping:
    """The samples of a batch by class: counts are then written once per class, not once per sample.

    Attributes:
        labels: Class of every sample, as the samples lie, (samples,), int64.
        one_class: Whether all labels are the same, so that nothing need be put in order.

    Example:
        >>> batch = Grouping(torch.tensor([1, 0, 1]))
        >>> batch.order, batch.ordered
        (tensor([1, 0, 2]), tensor([0, 1, 1]))
    """

    labels: Tensor
    one_class: bool = False

    @cached_property
    def order(self) -> Tensor:
        """The samples in the order of their classes, (samples,), int64."""
        if self.one_class:
            return torch.arange(len(self.labels), device=self.labels.device)
        return torch.argsort(self.labels, stable=True)

    @cached_property
    def ordered(self) -> Tensor:
        """The classes in that order, (samples,), int64."""
        return self.labels if self.one_class else self.labels[self.order]

    @cached_property
    def present(self) -> tuple[Tensor, Tensor]:
        """The classes that occur, (present,), and for each sample in that order which of them it is of, (samples,)."""
        if self.one_class:
            return self.labels[:1], torch.zeros_like(self.labels)
        found = torch.unique_consecutive(self.ordered, return_inverse=True)
        return found[0], found[1]

    @cached_property
    def arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The classes in their order, and the order, for the compiled loops."""
        return self.ordered.numpy(), self.order.numpy()

    @cached_property
    def members(self) -> list[tuple[int, Tensor]]:
        """Each class that occurs, with the indices of its samples."""
        present, sizes = torch.unique_consecutive(self.ordered, return_counts=True)
        return list(zip(present.tolist(), torch.split(self.order, sizes.tolist()), strict=True))

    def together(self) -> Grouping:
        """The same samples as one class."""
        return Grouping(torch.zeros_like(self.labels), one_class=True)
