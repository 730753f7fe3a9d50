"""Labels in random order: the means of neurons by them are what chance alone gives."""

from __future__ import annotations

import torch
from torch import Tensor

from cofire.activations.kernels import add_by_label, over_neurons
from cofire.activations.neurons import Grouping, NeuronView
from cofire.activations.statistics import ActivationStatistics
from cofire.activations.sums import Sums
from cofire.errors import DataError


def shuffled_labels(class_samples: Tensor, runs: int) -> Tensor:
    """The labels of all samples in random order, several times: each class keeps its size.

    Args:
        class_samples: Samples of each class, (classes,), int64.
        runs: How many orders.

    Returns:
        Labels by the samples' places in the data, (runs, samples), int32. The same for the same
        counts.

    Example:
        >>> drawn = shuffled_labels(torch.tensor([1, 2]), runs=2)
        >>> drawn.shape, (drawn == 1).sum(dim=1)
        (torch.Size([2, 3]), tensor([2, 2]))
    """
    labels = torch.repeat_interleave(
        torch.arange(len(class_samples), dtype=torch.int32), class_samples.cpu()
    )
    orders = [
        torch.randperm(len(labels), generator=torch.Generator().manual_seed(run))
        for run in range(runs)
    ]
    return torch.stack([labels[order] for order in orders])


class RandomLabels:
    """The random labels of a pass, batch by batch.

    Args:
        labels: What `shuffled_labels` gave.
        class_samples: Samples of each class, (classes,).
        device: Where the activations lie.
    """

    def __init__(self, labels: Tensor, class_samples: Tensor, device: torch.device) -> None:
        self._labels = labels
        self._class_samples = class_samples.to(device)
        self._device = device
        self.totals: dict[str, Sums] = {}
        self._start = -1
        self._rows = self._local = torch.zeros(len(labels), 0, dtype=torch.int64)
        self._groupings: list[Grouping] = []

    def anew(self) -> RandomLabels:
        """The same labels for another pass."""
        return RandomLabels(self._labels, self._class_samples, self._device)

    def groupings(self, start: int, samples: int) -> list[Grouping]:
        """The samples of a batch by each run's labels.

        Args:
            start: Number of its first sample; each batch comes for several layers.
            samples: How many it has.

        Raises:
            DataError: There are more samples than labels.
        """
        if start != self._start:
            self._start = start
            if start + samples > self._labels.shape[1]:
                raise DataError(
                    f"more than the {self._labels.shape[1]} samples of the reading before",
                    "the same samples in every reading of the data",
                    "do not let the loader drop or draw other samples each time",
                )
            part = self._labels[:, start : start + samples].to(self._device, torch.int64)
            self._groupings = [Grouping(labels) for labels in part.contiguous()]
            runs = torch.arange(len(part), device=self._device)[:, None]
            self._rows, self._local = torch.unique(
                part + runs * len(self._class_samples), return_inverse=True
            )
        return self._groupings

    def add(self, name: str, view: NeuronView, start: int) -> None:
        """Add the activations of one layer of one batch to the sums of the random classes.

        Args:
            name: Of the layer.
            view: The batch.
            start: Number of its first sample.
        """
        runs = self.groupings(start, view.samples)
        of_samples = view.neurons_first().sum(dim=2, dtype=torch.float64)
        if name not in self.totals:
            rows = len(self._labels) * len(self._class_samples)
            self.totals[name] = Sums.empty(rows, view.neurons, of_samples.device)
        sums = of_samples.new_zeros(len(self._rows), view.neurons)
        if sums.device.type == "cpu":
            size = of_samples.numel() * len(runs)
            parts = (of_samples.numpy(), self._local.numpy(), sums.numpy())
            over_neurons(add_by_label, view.neurons, size, *parts)
        else:
            ordered = torch.cat([of_samples[run.order] for run in runs])
            counts = torch.bincount(self._local.flatten(), minlength=len(sums))
            sums = torch.segment_reduce(ordered, "sum", lengths=counts, axis=0)
        self.totals[name].add(self._rows, sums)

    def means(self, name: str, statistics: ActivationStatistics) -> Tensor:
        """Mean activation over each random class, (runs, classes, neurons), float64.

        Args:
            name: Of the layer.
            statistics: Of the layer; a mean never lies outside of a neuron's activations.
        """
        everything = statistics.over_classes()
        low, high = everything.extremes()
        seen = (self._class_samples * statistics.positions).clamp(min=1)
        shape = (len(self._labels), len(self._class_samples), -1)
        totals = self.totals[name].total().reshape(shape)
        means: Tensor = (totals / seen[:, None]).clamp(min=low, max=high)
        return means
