"""How many samples of each class a network classifies correctly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cofire.activations.batches import Batches
from cofire.activations.passes import run_pass
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
    batches = Batches(data, network.num_classes, batch_size=batch_size)
    seen = run_pass(network, batches, (), "channel", lambda *_: None, "test data", False)
    return Tally(seen.samples.cpu(), seen.correct.cpu())
