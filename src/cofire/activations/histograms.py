"""Pass 2: how a neuron's non-zero activations are spread over its range, exactly as `numpy.histogram`."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cofire.activations.kernels import kernels_for, over_neurons
from cofire.activations.neurons import Grouping, NeuronView
from cofire.activations.statistics import ActivationStatistics, State
from cofire.errors import DataError, MergeError

_SPARE = 8

_COST = 4
"""How many times as long a value takes to be put into its bin as to be summed."""

Range = Literal["own", "zero-to-max", "global"]
"""Over which range a neuron's histogram runs. `own`: its own non-zero activations, from the smallest to the
largest. `zero-to-max`: the same, stretched to contain 0. `global`: one range for all neurons."""


def ranges_of(
    statistics: ActivationStatistics, choice: Range, extremes: tuple[Tensor, Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """Where each neuron's histogram begins and ends.

    Args:
        statistics: What pass 1 found.
        choice: Which range.
        extremes: Smallest and largest non-zero activation of each class, (classes,) each, which all
            neurons share under "global"; those of these neurons if not given.

    Returns:
        Lower and upper ends, (classes, neurons), float64. Neurons without a non-zero activation get
        [0, 0].
    """
    silent = statistics.nonzero == 0
    low = statistics.minimum.masked_fill(silent, 0.0)
    high = statistics.maximum.masked_fill(silent, 0.0)
    if choice == "zero-to-max":
        low, high = low.clamp(max=0.0), high.clamp(min=0.0)
    elif choice == "global":
        bottom, top = extremes or (statistics.minimum.amin(dim=1), statistics.maximum.amax(dim=1))
        low = torch.where(silent, low, bottom[:, None])
        high = torch.where(silent, high, top[:, None])
    return low, high


@dataclass(frozen=True)
class ActivationHistograms(State):
    """Histograms of the non-zero activations of one layer's neurons, per class; they merge.

    Bins are equal, half-open, the last one closed, and their edges are those of
    `numpy.linspace(lower, upper, bins + 1)` in the activations' own precision: a value belongs to
    the last bin whose lower edge it reaches. This is `numpy.histogram(values[values != 0], bins,
    range)` to the last count, and defined also where NumPy refuses because the range is too narrow
    for that many edges. (Where bins are narrower than the smallest normal number, NumPy's counts
    contradict its own edges.)

    Attributes:
        lower: Where each histogram begins, (classes, neurons), float64.
        upper: Where it ends, (classes, neurons), float64.
        counts: Observations in each bin, (classes, neurons, bins), int64.
        precision: Type of the activations, "float32" or "float64".
    """

    lower: Tensor
    upper: Tensor
    counts: Tensor
    precision: str

    @classmethod
    def empty(cls, lower: Tensor, upper: Tensor, bins: int, precision: str) -> Self:
        """The state before any data.

        Args:
            lower: (classes, neurons).
            upper: (classes, neurons).
            bins: Number of bins.
            precision: "float32" or "float64".

        Raises:
            DataError: A range is wider than numbers of that precision can say.
        """
        dtype = torch.float32 if precision == "float32" else torch.float64
        if not bool(torch.isfinite(upper.to(dtype) - lower.to(dtype)).all()):
            raise DataError(
                f"activations whose range exceeds {torch.finfo(dtype).max:.3g}, the largest {precision} number",
                "a range that has a width",
                "find what makes the network blow up",
            )
        counts = torch.zeros((*lower.shape, bins), dtype=torch.int64, device=lower.device)
        return cls(lower=lower, upper=upper, counts=counts, precision=precision)

    @property
    def bins(self) -> int:
        """Number of bins."""
        return self.counts.shape[-1]

    def edges(self) -> Tensor:
        """Edges of all bins, (classes, neurons, bins + 1), in the activations' precision."""
        first, last, step, _ = self._plan()
        at = torch.arange(self.bins + 1, dtype=first.dtype, device=first.device)
        # NumPy's special case: a step that underflows to zero.
        grid = torch.where(
            step[..., None] == 0, at / self.bins * (last - first)[..., None], at * step[..., None]
        )
        edges = grid + first[..., None]
        edges[..., -1] = last
        return edges

    def _plan(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """First and last edge, step and scale of each neuron in its own precision.

        The scale is 0 for a neuron whose bins are narrower than a few units in the last place:
            there the
        arithmetic guess can be off by more than one bin.
        """
        dtype = torch.float32 if self.precision == "float32" else torch.float64
        first, last = self.lower.to(dtype), self.upper.to(dtype)
        # NumPy widens an empty range by a half on both sides.
        single = first == last
        first, last = torch.where(single, first - 0.5, first), torch.where(single, last + 0.5, last)
        width = last - first
        step = width / self.bins
        unit = torch.maximum(first.abs(), last.abs()) * torch.finfo(dtype).eps
        clear = (step > 8 * unit) & (step > torch.finfo(dtype).tiny) & torch.isfinite(width)
        scale = torch.where(clear, self.bins / width, 0.0)
        return first, last, step, scale.where(torch.isfinite(scale), torch.zeros_like(scale))

    def updater(self) -> HistogramUpdate:
        """A function that counts batches into this state, with everything prepared once."""
        return HistogramUpdate(self)

    def merge(self, other: Self) -> Self:
        """The histograms of both data sets together.

        Raises:
            MergeError: They run over other ranges, bins, classes or neurons.
        """
        same = (
            self.counts.shape == other.counts.shape
            and self.precision == other.precision
            and torch.equal(self.lower, other.lower)
            and torch.equal(self.upper, other.upper)
        )
        if not same:
            raise MergeError(
                "histograms over different ranges, bins, classes or neurons",
                "the same in both, so that the bins mean the same",
                "merge the statistics of pass 1 first and run pass 2 of both over the merged ranges",
            )
        return replace(self, counts=self.counts + other.counts)


class HistogramUpdate:
    """Counts batches into the histograms of one layer.

    Args:
        histograms: The state, changed in place.
    """

    def __init__(self, histograms: ActivationHistograms) -> None:
        self._counts = histograms.counts
        self._first, _, self._step, self._scale = histograms._plan()
        narrow = (self._scale == 0).any(dim=0)
        # The compiled loops do the rest on the CPU; elsewhere every neuron is placed by its edges.
        by_edges = narrow if self._compiled else torch.ones_like(narrow)
        self._searched = torch.nonzero(by_edges).flatten()
        of_searched = {
            n: getattr(histograms, n)[:, self._searched] for n in ("lower", "upper", "counts")
        }
        self._edges = replace(histograms, **of_searched).edges()

    @cached_property
    def _arrays(self) -> tuple[npt.NDArray[np.generic], ...]:
        return tuple(part.numpy() for part in (self._first, self._scale, self._step, self._counts))

    @property
    def _compiled(self) -> bool:
        return self._counts.device.type == "cpu"

    def __call__(self, view: NeuronView, classes: Grouping) -> None:
        """Count a batch.

        Args:
            view: The batch.
            classes: Its samples by class.
        """
        if self._compiled:
            kernels = kernels_for(view.values.dtype)
            x = view.values.numpy()
            over_neurons(
                kernels.histogram_last if view.neurons_last else kernels.histogram_first,
                view.neurons,
                _COST * x.size,
                x,
                *classes.arrays,
                *self._arrays,
            )
        if len(self._searched):
            self._count_by_edges(view, classes)

    def _count_by_edges(self, view: NeuronView, classes: Grouping) -> None:
        """The definition, and the way on other devices and for very narrow ranges."""
        bins = self._counts.shape[-1]
        x = view.neurons_first()
        if len(self._searched) < view.neurons:
            x = x[:, self._searched]
        for k, chosen in classes.members:
            part = x if len(classes.members) == 1 else x[chosen]
            values = part.transpose(0, 1).flatten(1).contiguous()
            inner = self._edges[k, :, 1:-1].contiguous()
            place = torch.searchsorted(inner, values, right=True)
            # Bins too many take the zeros: several in turn, since adding to one place again and
            # again is slow.
            spare = bins + torch.arange(values.shape[1], device=values.device) % _SPARE
            place = torch.where(values == 0, spare, place)
            found = torch.zeros(len(values), bins + _SPARE, dtype=torch.int64, device=values.device)
            found.scatter_add_(
                1, place, torch.ones((), dtype=torch.int64, device=values.device).expand_as(place)
            )
            if self._compiled:
                found *= (self._scale[k, self._searched] == 0)[:, None]
            self._counts[k].index_add_(0, self._searched, found[:, :bins])
