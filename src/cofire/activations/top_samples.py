"""Pass 1: for each neuron the samples with its highest activations, and where in them these lie."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cofire.activations.kernels import over_neurons
from cofire.activations.neurons import Grouping, NeuronView
from cofire.activations.statistics import TOGETHER, State
from cofire.activations.top_kernels import kernels_of
from cofire.errors import DataError, LabelError, MergeError
from cofire.network import ActivationLayer

DEFAULT_SAMPLES = 9
"""Samples of each neuron that are kept, per class as well: a sheet of three by three."""
_MOST = 2**31 - 1
_WHAT = ("values", "samples", "places")


def sample_bytes(dtype: torch.dtype) -> int:
    """Of one of them: its activation, its number and the place."""
    return (8 if dtype == torch.float64 else 4) + 4 + 4


def samples_that_fit(
    samples: int, neurons: int, classes: int, free: int, dtype: torch.dtype = torch.float32
) -> int:
    """How many top samples are kept: fewer than asked for where memory does not allow for more.

    Args:
        samples: Asked for.
        neurons: Over all layers.
        classes: Whose samples are kept apart.
        free: Bytes that they may take.
        dtype: Of the network.

    Example:
        >>> samples_that_fit(9, 512, 10, 10**9), samples_that_fit(9, 22_720, 1000, 10**9)
        (9, 3)
    """
    return max(0, min(samples, free // (sample_bytes(dtype) * neurons * classes)))


@dataclass(frozen=True)
class TopSamples(State):
    """For each neuron of a layer the samples with its highest activations, per class; it merges.

    What counts of a sample is its highest activation, at the first place where it stands. Of equal
    samples the one with the smaller number comes first: the result depends on neither batches nor
    order. A layer that is not observed by class has one class.

    Attributes:
        values: The activations, falling, (classes, neurons, k), float32 or float64; -inf where a
            class has fewer samples.
        samples: Numbers of the samples, from 0, in the order in which the data is read, int32; -1
            where there are fewer.
        places: Where in the sample, a number of the layer's positions row by row, int32; -1 where
            activations are means over positions, and where there are fewer samples.
        classes: Number of each class, ascending, (classes,), int64; -1 for all classes as one.
    """

    values: Tensor
    samples: Tensor
    places: Tensor
    classes: Tensor

    @classmethod
    def empty(
        cls,
        neurons: int,
        k: int = DEFAULT_SAMPLES,
        *,
        classes: Tensor | None = None,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Self:
        """The state before any data, which changes nothing when merged.

        Args:
            neurons: Of the layer.
            k: Samples of each to keep.
            classes: Numbers of the classes, ascending; all as one unless given.
            dtype: Of the activations.
            device: Where they lie.
        """
        numbers = torch.tensor([TOGETHER]) if classes is None else classes
        shape = (len(numbers), neurons, k)
        none = torch.full(shape, -1, dtype=torch.int32, device=device)
        values = torch.full(shape, -torch.inf, dtype=dtype, device=device)
        return cls(values, none, none.clone(), numbers.to(device))

    @property
    def k(self) -> int:
        """Samples of each neuron and class."""
        return self.values.shape[2]

    @cached_property
    def _limits(self) -> npt.NDArray[Any]:
        """The last of `values` side by side, (classes, neurons): most batches touch nothing else."""
        return np.ascontiguousarray(self.values.numpy()[:, :, -1])

    def update(self, view: NeuronView, classes: Grouping, start: int) -> None:
        """Take a batch in, in place.

        Args:
            view: The batch, of finite activations.
            classes: Its samples by class, as rows of the state.
            start: Number of its first sample.

        Raises:
            DataError: There are more samples than numbers.
        """
        if start + view.samples > _MOST:
            raise DataError(
                f"sample {start + view.samples:,}",
                f"at most {_MOST:,} samples where those that neurons fire for are kept",
                "pass top_samples=0, or summarize a part of the data",
            )
        of, places = view.with_positions, not view.averaged
        if view.values.device.type == "cpu":
            first, last = kernels_of(of.values.dtype)
            x = of.values.numpy()
            state = (self._limits, self.values.numpy(), self.samples.numpy(), self.places.numpy())
            kernel = last if of.neurons_last else first
            bits = x.view(np.int32 if x.dtype == np.float32 else np.int64)
            over_neurons(
                kernel, of.neurons, x.size, x, bits, *classes.arrays, start, places, *state
            )
        else:
            self._update_torch(of.neurons_first(), classes, start, places)

    def _update_torch(self, x: Tensor, classes: Grouping, start: int, places: bool) -> None:
        """The definition, and the way on other devices."""
        most, where = x.max(dim=2)
        # `max` gives any of several places.
        where = (x == most[:, :, None]).to(torch.int8).argmax(dim=2) if places else where * 0 - 1
        numbers = torch.arange(start, start + len(x), device=x.device)[:, None].expand_as(most)
        batch = (most, numbers.to(torch.int32), where.to(torch.int32))
        for row, members in classes.members:
            state = [getattr(self, name) for name in _WHAT]
            joined = (
                torch.cat([old[row], new[members].T], 1)
                for old, new in zip(state, batch, strict=True)
            )
            for old, new in zip(state, _best(joined, self.k), strict=True):
                old[row] = new

    def merge(self, other: Self) -> Self:
        """The state of both parts of a data set together, for the classes of either.

        Raises:
            MergeError: The two are of other neurons or keep other numbers of samples, or one is by
                class and the other is not.
        """
        mine, theirs = (
            (s.values.shape[1], s.k, bool((s.classes == TOGETHER).any())) for s in (self, other)
        )
        if mine != theirs:
            raise MergeError(
                f"top samples of (neurons, k, all classes as one) {mine} and {theirs}",
                "the same in both",
                "collect both with the same network, layers, unit and top_samples",
            )
        if not torch.equal(self.classes, other.classes):
            both = torch.unique(torch.cat([self.classes, other.classes]))
            return self.spread(both).merge(other.spread(both))
        joined = (torch.cat([getattr(s, name) for s in (self, other)], 2) for name in _WHAT)
        return self._of(joined)

    def over_classes(self) -> Self:
        """The same without regard to class: one class that holds everything."""
        joined = (torch.cat(getattr(self, name).unbind(), 1)[None] for name in _WHAT)
        return replace(self._of(joined), classes=torch.full_like(self.classes[:1], TOGETHER))

    def _of(self, joined: Iterable[Tensor]) -> Self:
        """The best k of more of them, (classes, neurons, more than k)."""
        return replace(self, **dict(zip(_WHAT, _best(joined, self.k), strict=True)))

    def spread(self, classes: Tensor) -> Self:
        """The same with a row for each of these classes, without samples where it had none.

        Args:
            classes: Numbers of classes, ascending, all of its own among them.
        """
        wide = type(self).empty(
            self.values.shape[1],
            self.k,
            classes=classes,
            dtype=self.values.dtype,
            device=self.values.device,
        )
        rows = torch.searchsorted(classes, self.classes)
        for name in _WHAT:
            getattr(wide, name)[rows] = getattr(self, name)
        return wide

    def rows(self, chosen: Tensor, classes: Tensor) -> Self:
        """Some rows, as those of these classes.

        Args:
            chosen: Which rows, (classes,).
            classes: Numbers of their classes, ascending, (classes,).
        """
        some = {name: getattr(self, name)[chosen] for name in _WHAT}
        return replace(self, **some, classes=classes.clone())


@dataclass(frozen=True)
class NeuronSamples:
    """The samples that each neuron of a layer fires most for, the highest activation first.

    Attributes:
        samples: Their numbers in the order in which the data is read, from 0, (neurons, k), int64;
            -1 where there are fewer.
        activations: Each neuron's highest activation in them, (neurons, k), float64; NaN where
            there are fewer.
        places: Where it lies, a number of the layer's positions row by row (those of `layer.shape`
            without its channels), (neurons, k), int64; -1 where activations are means over
            positions, and where there are fewer samples.

    Example:
        >>> from cofire import summarize
        >>> model = torch.nn.Sequential(torch.nn.Linear(1, 2), torch.nn.ReLU(), torch.nn.Linear(2, 2))
        >>> with torch.no_grad():
        ...     model[0].weight[:], model[0].bias[:] = torch.tensor([[1.0], [-1.0]]), 0
        >>> data = torch.tensor([[3.0], [5.0], [4.0]]), torch.tensor([0, 1, 0])
        >>> top = summarize(model, data, top_samples=2)["1"].top_samples()
        >>> top.samples.tolist(), top.activations.tolist()
        ([[1, 2], [0, 1]], [[5.0, 4.0], [0.0, 0.0]])
    """

    samples: Tensor
    activations: Tensor
    places: Tensor

    @classmethod
    def of(cls, state: TopSamples | None, label: int | None, layer: ActivationLayer) -> Self:
        """Of one class of a state, or of all."""
        if state is None:
            raise DataError(
                "a summary without the samples that neurons fire most for",
                f"one made with top_samples={DEFAULT_SAMPLES}, of data that is read in the same order each time",
                "summarize again, with a loader that does not shuffle and a max_bytes that they fit in",
            )
        if label is None:
            state, label = state.over_classes(), TOGETHER
        rows = (state.classes == label).nonzero().flatten().tolist()
        if not rows:
            known = ", ".join(map(str, state.classes[:10].tolist())).replace(
                "-1", "none, without by_class"
            )
            raise LabelError(
                f"class {label}", f"a class with samples: {known}", "pass one of these"
            )
        (row,) = rows
        samples, places = (part[row].to(torch.int64) for part in (state.samples, state.places))
        channels = layer.shape[layer.channel_axis]
        if len(samples) != channels:
            # An element of the feature map is the same as its place.
            shape = torch.tensor(layer.shape)
            numbers = torch.arange(len(samples)).reshape(*shape).movedim(layer.channel_axis, 0)
            own = torch.empty(len(samples), dtype=torch.int64)
            positions = len(samples) // channels
            own[numbers.flatten()] = torch.arange(positions).repeat(channels)
            places = torch.where(samples < 0, -1, own[:, None])
        values = state.values[row].to(torch.float64)
        return cls(samples, values.masked_fill(samples < 0, torch.nan), places)


def _best(joined: Iterable[Tensor], k: int) -> tuple[Tensor, ...]:
    """The first k of (..., more) by falling activation and rising number."""
    values, samples, places = joined
    # Empty ones have no number, and the lowest of all activations.
    by_number = samples.argsort(dim=-1, stable=True)
    order = values.gather(-1, by_number).argsort(dim=-1, descending=True, stable=True)
    order = by_number.gather(-1, order[..., :k])
    return tuple(part.gather(-1, order) for part in (values, samples, places))
