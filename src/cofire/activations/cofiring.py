"""Pass 2: which representative neurons fire together, in how many observations of each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, Self

import numpy.typing as npt
import torch
from torch import Tensor

from cofire.activations.kernels import count_pairs
from cofire.activations.neurons import Grouping, NeuronView
from cofire.activations.statistics import State
from cofire.errors import MergeError
from cofire.patterns import representative_neurons

Pairs = Literal["class", "union"]


"""Which pairs of neurons are counted. `class`: for each class those of its own representative neurons. `union`: for
each class those of all classes' representatives."""


def adapted_top(top: int, neurons: int, classes: int) -> int:
    """How many neurons of a layer represent each class: fewer than asked for where classes would share most of them.

    At most half of the layer's neurons, and at most so many that a neuron represents three classes
    on average; one at least. P2's 50 of 512 neurons for ten classes stay 50.

    Args:
        top: Representative neurons per class asked for.
        neurons: Of the layer.
        classes: That occur.

    Example:
        >>> adapted_top(50, 512, 10), adapted_top(50, 64, 10), adapted_top(50, 64, 2), adapted_top(50, 16, 230)
        (50, 19, 32, 1)
    """
    return max(1, min(top, neurons // 2, 3 * neurons // classes))


def narrowed(tops: Mapping[str, int], asked: int) -> str:
    """A line where layers have fewer representative neurons per class than were asked for, "" where none has.

    Args:
        tops: Representative neurons per class of each layer, by its name.
        asked: How many were asked for.

    Example:
        >>> narrowed({"conv1": 4, "fc1": 50}, 50)
        'fewer than 50 neurons represent each class in narrow layers: 4 in conv1'
    """
    few = [f"{top} in {name}" for name, top in tops.items() if top < asked]
    more = f" and {len(few) - 3} more layers" if len(few) > 3 else ""
    told = f"fewer than {asked} neurons represent each class in narrow layers: {', '.join(few[:3])}{more}"
    return told if few else ""


@dataclass(frozen=True)
class CofiringCounts(State):
    """How often the representative neurons of one layer fire together, per class; it merges.

    A neuron fires where its activation exceeds its own mean over the class (P2 §5.1). What is held
    is of size (classes × top²), for the union of all representatives (vertices²).

    Attributes:
        observations: Observations of each class in all the data, (classes,), int64: what shares are
            taken of.
        representatives: Representative neurons of each class, best first, (classes, top), int64.
        means: Mean activation of each over that class, (classes, top), float64.
        neurons: Which neurons are paired for each class, (classes, paired), int64.
        thresholds: Above what each of these fires for the class, (classes, paired), float64.
        counts: Above the diagonal, how often two of them fire in the same observation: (classes,
            paired, paired), float64 whole numbers; for the union (1, paired, paired), shares of the
            classes added up, whose last digits depend on the order of the batches.
    """

    observations: Tensor
    representatives: Tensor
    means: Tensor
    neurons: Tensor
    thresholds: Tensor
    counts: Tensor

    @classmethod
    def empty(cls, means: Tensor, observations: Tensor, top: int, pairs: Pairs) -> Self:
        """The state before any data.

        Args:
            means: Mean activation of every neuron over each class, which pass 1 found, (classes,
                neurons).
            observations: How many observations of each class there are, (classes,).
            top: Representative neurons per class; as many as there are, if that is fewer.
            pairs: Which pairs.

        Raises:
            DataError: Fewer than two classes.
        """
        chosen = representative_neurons(means, min(top, means.shape[1]))
        paired = chosen
        if pairs == "union":
            paired = torch.unique(chosen)[None].expand(len(means), -1)
        size = paired.shape[1]
        slots = 1 if pairs == "union" else len(means)
        return cls(
            observations=observations,
            representatives=chosen,
            means=means.gather(1, chosen),
            neurons=paired.clone(
                memory_format=torch.contiguous_format
            ),  # a file takes no two of the same memory
            thresholds=means.gather(1, paired),
            counts=torch.zeros(slots, size, size, dtype=torch.float64, device=means.device),
        )

    @property
    def top(self) -> int:
        """Representative neurons per class."""
        return self.representatives.shape[1]

    @property
    def pairs(self) -> Pairs:
        """Which pairs are counted."""
        return "union" if len(self.counts) == 1 else "class"

    def update(self, view: NeuronView, classes: Grouping) -> None:
        """Count a batch, in place.

        Args:
            view: The batch.
            classes: Its samples by class.
        """
        if view.values.device.type == "cpu":
            labels, order = classes.arrays
            count_pairs(view.values.numpy(), view.neurons_last, labels, order, *self._arrays)
        else:
            self._update_torch(view, classes)

    @cached_property
    def _worth(self) -> Tensor:
        """What one observation of each class adds."""
        ones = torch.ones(len(self.observations), dtype=torch.float64, device=self.counts.device)
        return ones if self.pairs == "class" else ones / self.observations

    @cached_property
    def _arrays(
        self,
    ) -> tuple[npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any], npt.NDArray[Any]]:
        return (
            self.neurons.numpy(),
            self.thresholds.numpy(),
            self._worth.numpy(),
            self.counts.numpy(),
        )

    def _update_torch(self, view: NeuronView, classes: Grouping) -> None:
        """The definition, and the way on other devices."""
        x = view.neurons_first()
        for k, chosen in classes.members:
            # (paired, observations): 0 and 1 in float32 add up exactly as far as 2^24.
            fires = x[chosen][:, self.neurons[k]].to(torch.float64) > self.thresholds[k][:, None]
            into = self.counts[k if self.pairs == "class" else 0]
            for part in torch.split(
                fires.transpose(0, 1).flatten(1).to(torch.float32), 1 << 20, dim=1
            ):
                with torch.autocast(
                    part.device.type, enabled=False
                ):  # in half precision, counts would round
                    both = part @ part.T
                into += torch.triu(both, 1).to(torch.float64) * self._worth[k]

    def merge(self, other: Self) -> Self:
        """The counts of both data sets together.

        Raises:
            MergeError: They count other neurons, or over other means.
        """
        same = all(
            torch.equal(getattr(self, name), getattr(other, name))
            for name in ("observations", "neurons", "thresholds")
        )
        if not same or self.counts.shape != other.counts.shape:
            raise MergeError(
                "co-firing counts of other neurons, means or classes",
                "the same in both",
                "merge the statistics of pass 1 first and run pass 2 of both over the merged means",
            )
        return replace(self, counts=self.counts + other.counts)

    def narrowed(self, top: int) -> Self:
        """The counts of fewer representatives per class: the first of each, just as if no more had been counted.

        Args:
            top: Representative neurons per class, no more than there are.
        """
        chosen = self.representatives[:, :top].contiguous()
        place = torch.arange(top).expand(len(chosen), -1)
        if self.pairs == "union":
            place = torch.searchsorted(self.neurons[0], torch.unique(chosen)).expand(
                len(chosen), -1
            )
        kept = [counts[at][:, at] for counts, at in zip(self.counts, place, strict=False)]
        return replace(
            self,
            representatives=chosen,
            means=self.means[:, :top].contiguous(),
            neurons=self.neurons.gather(1, place),
            thresholds=self.thresholds.gather(1, place),
            counts=torch.stack(kept),
        )

    def vertices(self) -> Tensor:
        """Neurons that represent a class, each once and in order, (vertices,), int64."""
        vertices: Tensor = torch.unique(self.representatives)
        return vertices

    def adjacency(self) -> Tensor:
        """Weights between the vertices, `A = Σ_i δ_pq / |D_i|` (P2 Eq. 7), (vertices, vertices), float64."""
        vertices = self.vertices()
        upper = torch.zeros(
            len(vertices), len(vertices), dtype=torch.float64, device=vertices.device
        )
        shares = (
            self.counts if self.pairs == "union" else self.counts / self.observations[:, None, None]
        )
        for paired, share in zip(self.neurons, shares, strict=False):
            place = torch.searchsorted(vertices, paired)
            upper[place[:, None], place] += share
        both: Tensor = upper + upper.T
        return both
