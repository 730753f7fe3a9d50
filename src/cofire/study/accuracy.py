"""How many samples of each class a network classifies correctly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cofire.activations.batches import Batches
from cofire.errors import DataError
from cofire.network import Network

__all__ = ["Tally", "tally"]


@dataclass(frozen=True)
class Tally:
    """Samples and correct predictions.

    Attributes:
        samples: Samples of each class, (classes,), int64.
        correct: Those classified correctly, (classes,), int64.
    """

    samples: Tensor
    correct: Tensor

    @property
    def accuracy(self) -> float:
        """Share of all samples that are classified correctly, 0 to 1."""
        return int(self.correct.sum()) / int(self.samples.sum())


def tally(network: Network, data: Any, *, batch_size: int = 1024) -> Tally:
    """Classify a data set.

    Args:
        network: The classifier.
        data: What `cofire.summarize` takes.
        batch_size: For data that does not come in batches.

    Returns:
        The counts.

    Raises:
        DataError: No samples, or batches and labels that do not fit (see `cofire.summarize`).
    """
    samples = torch.zeros(network.num_classes, dtype=torch.int64)
    correct = torch.zeros_like(samples)
    for batch in Batches(data, network.num_classes, batch_size=batch_size):
        right = network.run(batch.inputs).argmax(dim=1).cpu() == batch.labels.cpu()
        samples.index_add_(0, batch.labels.cpu(), torch.ones_like(batch.labels.cpu()))
        correct.index_add_(0, batch.labels.cpu(), right.to(torch.int64))
    if int(samples.sum()) == 0:
        raise DataError("no samples", "at least one batch of (inputs, labels)", "check what the loader returns")
    return Tally(samples, correct)
