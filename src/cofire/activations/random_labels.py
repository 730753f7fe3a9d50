"""Labels drawn at random, the same for the same sample in both passes: what a graph looks like by chance."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from cofire.activations.labels import Grouping
from cofire.activations.neurons import NeuronView

__all__ = ["RandomLabels", "random_labels"]


def random_labels(start: int, samples: int, runs: int, classes: int) -> Tensor:
    """Random labels of consecutive samples; they depend on a sample's place in the data and on nothing else.

    Args:
        start: Place of the first sample.
        samples: How many.
        runs: How many labels each sample gets, one per run.
        classes: Labels run from 0 to one less than this, each as likely.

    Returns:
        (runs, samples), int64.

    Example:
        >>> random_labels(0, 6, runs=2, classes=3)[:, 4:].equal(random_labels(4, 2, runs=2, classes=3))
        True
    """
    # SplitMix64 (Steele et al. 2014): numbered draws, so that batches of any size give the same.
    place = np.arange(start, start + samples, dtype=np.uint64)
    z = (place[None] * np.uint64(1 << 20) + np.arange(1, runs + 1, dtype=np.uint64)[:, None]) * np.uint64(
        0x9E3779B97F4A7C15
    )
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    z ^= z >> np.uint64(31)
    return torch.from_numpy((z % np.uint64(classes)).astype(np.int64))


class RandomLabels:
    """The random labels of a pass, batch by batch.

    Args:
        runs: How many labellings.
        classes: Number of classes.
        device: Where the activations lie.
    """

    def __init__(self, runs: int, classes: int, device: torch.device) -> None:
        self.runs = runs
        self.classes = classes
        self.samples = torch.zeros(runs, classes, dtype=torch.int64, device=device)
        self._totals: dict[str, Tensor] = {}
        self._start = 0
        self._index = -1
        self._size = 0
        self._of_batch: list[Grouping] = []
        self._indicator: Tensor | None = None

    def groupings(self, index: int, samples: int) -> list[Grouping]:
        """The samples of a batch by each run's labels.

        Args:
            index: Of the batch; batches come in order, each of them for several layers.
            samples: How many it has.
        """
        if index != self._index:
            self._start += self._size
            self._index, self._size, self._indicator = index, samples, None
            drawn = random_labels(self._start, samples, self.runs, self.classes).to(self.samples.device)
            self.samples.scatter_add_(1, drawn, torch.ones_like(drawn))
            self._of_batch = [Grouping(labels) for labels in drawn]
        return self._of_batch

    def add(self, name: str, view: NeuronView, index: int) -> None:
        """Add the activations of one layer of one batch to the sums of the random classes.

        Args:
            name: Of the layer.
            view: The batch.
            index: Of the batch.
        """
        drawn = self.groupings(index, view.samples)
        sums = view.neurons_first().sum(dim=2)
        if self._indicator is None or self._indicator.dtype != sums.dtype:
            labels = torch.stack([of_run.labels for of_run in drawn])
            one_hot = labels[:, None, :] == torch.arange(self.classes, device=labels.device)[None, :, None]
            self._indicator = one_hot.flatten(0, 1).to(sums.dtype)
        found = (self._indicator @ sums).to(torch.float64)
        known = self._totals.get(name)
        if known is None:
            self._totals[name] = found
        else:
            known += found

    def means(self, name: str, positions: int) -> tuple[Tensor, Tensor]:
        """Mean activation over each random class, and how many observations it has.

        Args:
            name: Of the layer.
            positions: Observations of a neuron in one sample.

        Returns:
            (runs, classes, neurons), float64, and (runs, classes), int64; at least one observation is claimed of a
            class that was never drawn, whose means are then 0.
        """
        seen = (self.samples * positions).clamp(min=1)
        return self._totals[name].reshape(self.runs, self.classes, -1) / seen[..., None], seen
