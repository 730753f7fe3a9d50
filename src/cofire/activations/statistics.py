"""Pass 1: how often, how strongly and in which range each neuron fires."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cofire.activations.kernels import kernels_for, over_neurons
from cofire.activations.neurons import Grouping, NeuronView
from cofire.errors import DataError, MergeError

_SUMS = ("samples", "total", "nonzero", "active")
_TENSORS = (*_SUMS, "minimum", "maximum")
TOGETHER = -1
"""The number of all classes as one."""


@dataclass(frozen=True)
class State:
    """What a pass keeps of a layer: tensors that it counts into in place, and that merge."""

    def __getstate__(self) -> dict[str, Any]:
        # Without what is cached: in a copy it would be other memory than the tensors, and counts
        # would be lost.
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def cpu(self) -> Self:
        """The same on the CPU."""
        return self.to("cpu")

    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""
        state = self.__getstate__()
        return replace(self, **{k: v.to(device) for k, v in state.items() if isinstance(v, Tensor)})

    def tensors(self) -> list[Tensor]:
        """Its tensors, in the order of its attributes."""
        return [value for value in self.__getstate__().values() if isinstance(value, Tensor)]

    def merge(self, other: Self) -> Self:
        """What both have counted."""
        raise NotImplementedError


@dataclass(frozen=True)
class ActivationStatistics(State):
    """What pass 1 knows about the neurons of one layer, per class; it merges.

    A layer that is not observed by class has one class. Tensors lie on the device of the data.
    States of other classes merge to one of the classes of both.

    Attributes:
        samples: Samples of each class, (classes,), int64.
        total: Sum of the activations, (classes, neurons), float64.
        nonzero: Observations that are not zero, (classes, neurons), int64.
        active: Observations above the threshold, (classes, neurons), int64.
        minimum: Smallest non-zero activation, (classes, neurons), float64; +inf where there is
            none.
        maximum: Largest non-zero activation, (classes, neurons), float64; -inf where there is none.
        positions: Observations of a neuron in one sample.
        threshold: A neuron is active above it.
        precision: Type of the activations, "float32" or "float64".
        classes: Number of each class, ascending, (classes,), int64; -1 for all classes as one. From
            0 up unless given.
    """

    samples: Tensor
    total: Tensor
    nonzero: Tensor
    active: Tensor
    minimum: Tensor
    maximum: Tensor
    positions: int
    threshold: float
    precision: str
    classes: Tensor = field(default_factory=lambda: torch.zeros(0, dtype=torch.int64))

    def __post_init__(self) -> None:
        count = len(self.samples)
        if len(self.classes) != count:
            # Also of files from before there were numbers of classes.
            numbers = torch.arange(count) if count > 1 else torch.full((count,), TOGETHER)
            object.__setattr__(self, "classes", numbers.to(self.samples.device))

    @classmethod
    def empty(
        cls,
        neurons: int,
        *,
        classes: int = 1,
        positions: int = 1,
        threshold: float = 0.0,
        precision: str = "float32",
        device: torch.device | str = "cpu",
    ) -> Self:
        """The state before any data, which changes nothing when merged."""
        shape = (classes, neurons)
        return cls(
            samples=torch.zeros(classes, dtype=torch.int64, device=device),
            total=torch.zeros(shape, dtype=torch.float64, device=device),
            nonzero=torch.zeros(shape, dtype=torch.int64, device=device),
            active=torch.zeros(shape, dtype=torch.int64, device=device),
            minimum=torch.full(shape, torch.inf, dtype=torch.float64, device=device),
            maximum=torch.full(shape, -torch.inf, dtype=torch.float64, device=device),
            positions=positions,
            threshold=threshold,
            precision=precision,
        )

    @property
    def observations(self) -> Tensor:
        """Observations of each class, (classes,): samples × positions."""
        return self.samples * self.positions

    def update(
        self,
        view: NeuronView,
        classes: Grouping,
        add: Callable[[Tensor, Tensor], None] | None = None,
    ) -> bool:
        """Count a batch, in place.

        Args:
            view: The batch.
            classes: Its samples by class.
            add: Takes the classes that occur and the sums of their activations in this batch,
                (present, neurons), float64; they are added to `total` unless given.

        Returns:
            False if an activation is NaN or infinite: the state is then of no use.
        """
        if classes.one_class and len(self.samples) == 1:
            self.samples[0] += len(classes.labels)
        else:
            self.samples.index_add_(0, classes.labels, torch.ones_like(classes.labels))
        present, _ = classes.present
        sums = self.total.new_zeros(len(present), view.neurons)
        compiled = view.values.device.type == "cpu"
        finite = (self._update_compiled if compiled else self._update_torch)(view, classes, sums)
        if finite and add is None:
            self.total.index_add_(0, present, sums)
        elif finite and add is not None:
            add(present, sums)
        return finite

    @cached_property
    def _arrays(self) -> tuple[npt.NDArray[np.generic], ...]:
        state = (self.nonzero, self.active, self.minimum, self.maximum)
        return tuple(part.numpy() for part in state)

    def _update_compiled(self, view: NeuronView, classes: Grouping, sums: Tensor) -> bool:
        kernels = kernels_for(view.values.dtype)
        x = view.values.numpy()
        bad = over_neurons(
            kernels.sums_last if view.neurons_last else kernels.sums_first,
            view.neurons,
            x.size,
            x,
            x.view(kernels.bits),
            *classes.arrays,
            classes.present[1].numpy(),
            x.dtype.type(self.threshold),
            sums.numpy(),
            *self._arrays,
        )
        return not any(bad)

    def _update_torch(self, view: NeuronView, classes: Grouping, sums: Tensor) -> bool:
        """The definition, and the way on other devices."""
        x, labels = view.neurons_first(), classes.labels
        some = x != 0
        # Not `index_add_`, which adds in any order on a GPU.
        of_samples = x.sum(dim=2, dtype=torch.float64)[classes.order]
        counts = torch.bincount(classes.present[1], minlength=len(sums))
        sums += torch.segment_reduce(of_samples, "sum", lengths=counts, axis=0)
        self.nonzero.index_add_(0, labels, some.sum(dim=2))
        self.active.index_add_(0, labels, (x > self.threshold).sum(dim=2))
        least = torch.where(some, x, torch.inf).amin(dim=2).to(torch.float64)
        most = torch.where(some, x, -torch.inf).amax(dim=2).to(torch.float64)
        rows = labels[:, None].expand_as(least)
        self.minimum.scatter_reduce_(0, rows, least, "amin")
        self.maximum.scatter_reduce_(0, rows, most, "amax")
        return bool(torch.isfinite(x).all())

    def merge(self, other: Self) -> Self:
        """The state of both data sets together, for the classes of either.

        Raises:
            MergeError: The two are of other neurons, positions, thresholds or precisions, or one is
                by class and the other is not.
        """
        mine, theirs = self._kind(), other._kind()
        if mine != theirs:
            raise MergeError(
                f"statistics of (neurons, by class), positions, threshold, precision {mine} and {theirs}",
                "the same in both",
                "collect both with the same network, layers, unit and threshold",
            )
        if not torch.equal(self.classes, other.classes):
            both = torch.unique(torch.cat([self.classes, other.classes]))
            return self.spread(both).merge(other.spread(both))
        return replace(
            self,
            **{name: getattr(self, name) + getattr(other, name) for name in _SUMS},
            minimum=torch.minimum(self.minimum, other.minimum),
            maximum=torch.maximum(self.maximum, other.maximum),
        )

    def _kind(self) -> tuple[tuple[int, bool], int, float, str]:
        by_class = not bool((self.classes == TOGETHER).any())
        return (self.total.shape[1], by_class), self.positions, self.threshold, self.precision

    def spread(self, classes: Tensor) -> Self:
        """The same with a row for each of these classes, without samples where it had none.

        Args:
            classes: Numbers of classes, ascending, all of its own among them.
        """
        wide = type(self).empty(
            self.total.shape[1],
            classes=len(classes),
            positions=self.positions,
            threshold=self.threshold,
            precision=self.precision,
            device=self.total.device,
        )
        rows = torch.searchsorted(classes, self.classes)
        for name in _TENSORS:
            getattr(wide, name)[rows] = getattr(self, name)
        return replace(wide, classes=classes)

    def rows(self, chosen: Tensor, classes: Tensor) -> Self:
        """Some rows, as those of these classes.

        Args:
            chosen: Which rows, (classes,).
            classes: Numbers of their classes, ascending, (classes,).
        """
        return replace(
            self,
            **{name: getattr(self, name)[chosen] for name in _TENSORS},
            classes=classes.clone(),
        )

    def over_classes(self) -> Self:
        """The same without regard to class: one class that holds everything."""
        return replace(
            self,
            **{name: getattr(self, name).sum(dim=0, keepdim=True) for name in _SUMS},
            minimum=self.minimum.amin(dim=0, keepdim=True),
            maximum=self.maximum.amax(dim=0, keepdim=True),
            classes=torch.full_like(self.classes[:1], TOGETHER),
        )

    def mean(self) -> Tensor:
        """Mean activation per class, `V_i(q) = Σ v / n` (P2 Eq. 6), (classes, neurons), float64.

        Raises:
            DataError: A class has no samples.
        """
        low, high = self.extremes()
        # Rounding must not lift a mean above all of its values: of equal ones, none exceeds it.
        return (self.total / self._observed()).clamp(min=low, max=high)

    def extremes(self) -> tuple[Tensor, Tensor]:
        """Smallest and largest activation per class, zeros included, (classes, neurons) each, float64."""
        zeros = self.nonzero < self.observations[:, None]
        low = torch.where(zeros, self.minimum.clamp(max=0.0), self.minimum)
        return low, torch.where(zeros, self.maximum.clamp(min=0.0), self.maximum)

    def probability(self) -> Tensor:
        """Share of the observations in which a neuron is active (P1 Eq. 14), (classes, neurons), float64.

        Raises:
            DataError: A class has no samples.
        """
        return self.active / self._observed()

    def _observed(self) -> Tensor:
        seen = self.observations
        if bool((seen == 0).any()):
            empty = self.classes[seen == 0].tolist()
            raise DataError(
                f"no samples of class {', '.join(map(str, empty[:10]))}"
                + (f" and {len(empty) - 10} more" if len(empty) > 10 else ""),
                "at least one sample of every class",
                "add samples, or number the classes that occur from 0 up",
            )
        return seen.to(torch.float64)[:, None]


def find_non_finite(view: NeuronView) -> tuple[int, int, float]:
    """The first NaN or infinite activation: sample, neuron, value."""
    x = view.neurons_first()
    sample, neuron, position = (int(i) for i in torch.nonzero(~torch.isfinite(x))[0])
    return sample, neuron, float(np.float64(x[sample, neuron, position].item()))
