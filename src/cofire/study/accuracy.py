"""How many samples of each class a network classifies correctly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cofire.activations.batches import Batches
from cofire.activations.labelling import Labelling
from cofire.activations.passes import run_pass
from cofire.arguments import validated
from cofire.network import Network


@validated
@dataclass(frozen=True)
class Tally:
    """Samples and correct predictions.

    Attributes:
        samples: Samples of each class by its number, (classes,), int64.
        correct: Those classified correctly, (classes,), int64; None where the network's outputs
            have nothing to do with the classes.
    """

    samples: Tensor
    correct: Tensor | None

    @property
    def accuracy(self) -> float | None:
        """Share of all samples that are classified correctly, 0 to 1; None without `correct`."""
        return None if self.correct is None else int(self.correct.sum()) / int(self.samples.sum())

    def class_accuracy(self, number: int) -> float | None:
        """The same of a class; None also where it has no samples."""
        if self.correct is None or not int(self.samples[number]):
            return None
        return int(self.correct[number]) / int(self.samples[number])


@validated
def tally(
    network: Network, data: Any, labelling: Labelling | None = None, *, batch_size: int = 1024
) -> Tally:
    """Classify a data set.

    Args:
        network: The classifier.
        data: What `cofire.summarize` takes.
        labelling: What its labels mean; what the data says itself unless given.
        batch_size: For data that does not come in batches.

    Returns:
        The counts.

    Raises:
        DataError: No samples, or batches and labels that do not fit (see `cofire.summarize`).
    """
    labelling = labelling or Labelling.of(network, data)
    batches = Batches(data, len(labelling.names), batch_size=batch_size)
    seen = run_pass(
        network, batches, labelling, None, (), "channel", lambda *_: None, "test data", False
    )
    return Tally(seen.samples.cpu(), None if seen.correct is None else seen.correct.cpu())
