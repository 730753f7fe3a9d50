"""What is kept of the training data, streaming: counts and sums per class, second moments, and a bounded sample."""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
from torch import Tensor

from cofire.boost.reading import Reading
from cofire.errors import BudgetError, NonFiniteError


@dataclass
class ClassStatistics:
    """Counts and sums of neurons per class; sums of float64.

    Attributes:
        samples: Samples of each class, (classes,), int64.
        active: How many of them activate each neuron, (classes, neurons), float64.
        sums: Sums of their activations, (classes, neurons), float64.
        moments: Sum of `a aᵀ` over all samples, (neurons, neurons), float64; None where it is not
            needed.
        threshold: A neuron is active above it; or one for each neuron, (neurons,).
    """

    samples: Tensor
    active: Tensor
    sums: Tensor
    moments: Tensor | None
    threshold: float | Tensor

    @classmethod
    def empty(
        cls,
        classes: int,
        neurons: int,
        *,
        threshold: float | Tensor,
        moments: bool,
        device: torch.device,
        max_bytes: int,
    ) -> ClassStatistics:
        """Before any data.

        Raises:
            BudgetError: The second moments would take more than `max_bytes`.
        """
        needed = 16 * classes * neurons
        if needed > max_bytes:
            raise BudgetError(
                f"counts and sums of {neurons:,} neurons for {classes:,} classes, {needed / 1e9:.1f} GB",
                f"at most {max_bytes / 1e9:.1f} GB",
                "choose fewer layers, unit='channel-mean' or 'channel-max', or raise max_bytes",
            )
        if moments and neurons * neurons * 8 > max_bytes:
            raise BudgetError(
                f"second moments of {neurons:,} neurons, {neurons * neurons * 8 / 1e9:.1f} GB",
                f"at most {max_bytes / 1e9:.1f} GB",
                "choose fewer layers, layers='L2L' say, another method, or raise max_bytes",
            )

        def zeros(*shape: int) -> Tensor:
            return torch.zeros(*shape, dtype=torch.float64, device=device)

        return cls(
            torch.zeros(classes, dtype=torch.int64, device=device),
            zeros(classes, neurons),
            zeros(classes, neurons),
            zeros(neurons, neurons) if moments else None,
            threshold,
        )

    def update(self, reading: Reading, labels: Tensor) -> None:
        """Add a batch, in place.

        Raises:
            NonFiniteError: An activation is NaN or infinite.
        """
        together = torch.cat(reading.layers, dim=1)
        one_hot = torch.nn.functional.one_hot(labels, len(self.samples)).to(together.dtype)
        sums = one_hot.T @ together
        if not bool(torch.isfinite(sums.sum())):
            raise NonFiniteError(
                "a NaN or infinite activation",
                "finite numbers",
                "find what makes the network overflow, or its inputs",
            )
        self.samples += torch.bincount(labels, minlength=len(self.samples))
        self.sums += sums
        self.active += one_hot.T @ (together > self.threshold).to(together.dtype)
        if self.moments is not None:
            self.moments += together.T @ together

    def probability(self) -> Tensor:
        """P of Eq. 14, (classes, neurons), float64."""
        return self.active / self.samples[:, None]


@dataclass(frozen=True)
class _Part:
    """What is kept of one batch; without a head of its own, the head reads the last layer."""

    joined: Tensor
    head: Tensor | None
    logits: Tensor
    labels: Tensor
    hashes: Tensor

    def thinner(self, share: float) -> _Part:
        kept = (self.hashes & 0xFFFFF) < share * (1 << 20)
        at = kept.to(self.labels.device)
        head = None if self.head is None else self.head[at]
        return _Part(self.joined[at], head, self.logits[at], self.labels[at], self.hashes[kept])

    @property
    def bytes(self) -> int:
        tensors = [self.joined, self.logits, *([] if self.head is None else [self.head])]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


@dataclass
class Sample:
    """Neurons, logits and labels of as many training samples as a budget allows, chosen by content.

    Attributes:
        max_bytes: The budget.
        share: Samples whose hash lies below this share of all hashes are kept; halved whenever
            there are too many.
        seen: Samples that went by.
    """

    max_bytes: int
    share: float = 1.0
    seen: int = 0
    _parts: list[_Part] = field(default_factory=list)
    _bytes: int = 0

    def update(self, reading: Reading, labels: Tensor, hashes: Tensor) -> None:
        """Add what is kept of a batch."""
        self.seen += len(labels)
        same = reading.head.shape == reading.layers[-1].shape and torch.equal(
            reading.head, reading.layers[-1]
        )
        joined = torch.cat(reading.layers, dim=1)
        part = _Part(joined, None if same else reading.head, reading.logits, labels, hashes)
        # The low bits: the high ones decide what is set aside.
        self._parts.append(part.thinner(self.share))
        self._bytes += self._parts[-1].bytes
        while self._bytes > self.max_bytes and self.share > 2**-20:
            self.share /= 2
            self._parts = [part.thinner(self.share) for part in self._parts]
            self._bytes = sum(part.bytes for part in self._parts)

    @property
    def kept(self) -> int:
        """Samples that are kept."""
        return sum(len(part.labels) for part in self._parts)

    def of_layers(self) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Batch by batch the neurons of all layers, logits and labels."""
        return [(part.joined, part.logits, part.labels) for part in self._parts]

    def of_head(self, last: int) -> list[tuple[Tensor, Tensor, Tensor]]:
        """Batch by batch what goes into the head, logits and labels.

        Args:
            last: Neurons of the last layer.
        """
        return [
            (part.joined[:, -last:] if part.head is None else part.head, part.logits, part.labels)
            for part in self._parts
        ]
