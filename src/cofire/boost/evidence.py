"""Evidence: what a sample's neurons say of each class, linear in their activations and in which of them are active."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from cofire.boost.measures import check_finite
from cofire.boost.reading import Reading
from cofire.errors import BudgetError


class Evidence(nn.Module):
    """`W a + V (a > threshold) + b`: a number for each class.

    Args:
        values: W, (classes, neurons of all layers), or None.
        patterns: V, (classes, neurons of all layers), or None.
        bias: b, (classes,).
        sizes: Neurons of each layer.
        threshold: A neuron is active above it; or one for each neuron, (neurons of all layers,).
        of_head: Whether it reads the last linear layer's input in place of the layers.
    """

    def __init__(
        self,
        values: Tensor | None,
        patterns: Tensor | None,
        bias: Tensor,
        sizes: Sequence[int],
        *,
        threshold: float | Tensor = 0.0,
        of_head: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        own = isinstance(threshold, Tensor) and patterns is not None
        self.threshold = 0.0 if isinstance(threshold, Tensor) else threshold
        self.register_buffer(
            "thresholds", torch.as_tensor(threshold).to(torch.float32).clone() if own else None
        )
        self.thresholds: Tensor | None
        self.of_head = of_head
        self.has_values = values is not None
        self.has_patterns = patterns is not None
        given = [part.to(torch.float32) for part in (values, patterns) if part is not None]
        # Copies: a part of a larger tensor would be saved and exported with all of it.
        self.register_buffer("weight", torch.cat(given, dim=1))
        self.register_buffer("bias", bias.to(torch.float32).clone())
        self.weight: Tensor
        self.bias: Tensor

    def of(self, reading: Reading) -> Tensor:
        """The evidence of a batch, (samples, classes)."""
        found: Tensor = self((reading.head,) if self.of_head else reading.layers)
        return found

    def forward(self, layers: tuple[Tensor, ...]) -> Tensor:
        """The evidence, (samples, classes).

        Args:
            layers: For each layer (samples, neurons).
        """
        traced = torch.compiler.is_compiling() or torch.compiler.is_exporting()
        inputs = self._parts(layers) if traced else self._filled(layers)
        # As few rows as classes: this way round, the product is twice as fast.
        return torch.addmm(self.bias[:, None], self.weight, inputs.T).T

    def _parts(self, layers: tuple[Tensor, ...]) -> Tensor:
        """What the weights are multiplied by, (samples, neurons or twice as many): the definition, for export."""
        kind = self.weight.dtype
        values = [activation.to(kind) for activation in layers] if self.has_values else []
        # Compared as the network computed it: rounding first could move a value over the threshold.
        limits = zip(layers, self._limits(), strict=True) if self.has_patterns else ()
        patterns = [(activation > limit).to(kind) for activation, limit in limits]
        return torch.cat([*values, *patterns], dim=1)

    def _filled(self, layers: tuple[Tensor, ...]) -> Tensor:
        """The same, without truth values in between, whose conversion takes longer than the product."""
        inputs = _scratch(len(layers[0]), self.weight)
        start = 0
        for activation, size in zip(layers, self.sizes, strict=True) if self.has_values else ():
            inputs[:, start : start + size] = activation
            start += size
        limits = self._limits() if self.has_patterns else []
        for activation, size, limit in (
            zip(layers, self.sizes, limits, strict=True) if limits else ()
        ):
            torch.gt(activation, limit, out=inputs[:, start : start + size])
            start += size
        return inputs

    def _limits(self) -> Sequence[float | Tensor]:
        """Above what the neurons of each layer are active."""
        return (
            [self.threshold] * len(self.sizes)
            if self.thresholds is None
            else torch.split(self.thresholds, list(self.sizes))
        )

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        limits = 0 if self.thresholds is None else self.thresholds.numel()
        return self.weight.numel() + self.bias.numel() + limits


_HELD = threading.local()


_SMALL = 1 << 24


"""Bytes up to which a thread keeps its scratch memory: taking it anew each time costs more than filling it."""


def _scratch(samples: int, weight: Tensor) -> Tensor:
    """Memory to write inputs to, (samples, inputs), that is read before this thread asks for the next."""
    wanted = (samples, weight.shape[1], weight.dtype, weight.device)
    if getattr(_HELD, "what", None) == wanted:
        held: Tensor = _HELD.memory
        return held
    # Not an inference tensor, whatever mode the caller is in: those cannot be written to outside of
    # it.
    with torch.inference_mode(False):
        memory = weight.new_empty(samples, weight.shape[1])
    if memory.numel() * memory.element_size() <= _SMALL:
        _HELD.what, _HELD.memory = wanted, memory
    return memory


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
            BudgetError: Counts and sums would take more than `max_bytes`.
        """
        needed = 16 * classes * neurons
        if needed > max_bytes:
            raise BudgetError(
                f"counts and sums of {neurons:,} neurons for {classes:,} classes, {needed / 1e9:.1f} GB",
                f"at most {max_bytes / 1e9:.1f} GB",
                "choose fewer layers, unit='channel-mean' or 'channel-max', or raise max_bytes",
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
        check_finite(sums.sum(), "a NaN or infinite activation")
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
        last: Neurons of the last layer.
        share: Samples whose hash lies below this share of all hashes are kept; halved whenever
            there are too many.
        seen: Samples that went by.
    """

    max_bytes: int
    last: int
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

    def of_layers(self) -> tuple[Tensor, Tensor, Tensor]:
        """The neurons of all layers, logits and labels."""
        whole = self._whole()
        return whole.joined, whole.logits, whole.labels

    def of_head(self) -> tuple[Tensor, Tensor, Tensor]:
        """What goes into the head, logits and labels."""
        whole = self._whole()
        head = whole.joined[:, -self.last :] if whole.head is None else whole.head
        return head, whole.logits, whole.labels

    def _whole(self) -> _Part:
        parts = self._parts
        if len(parts) > 1:
            logits, labels, hashes = (
                torch.cat([getattr(part, name) for part in parts])
                for name in ("logits", "labels", "hashes")
            )
            own = any(part.head is not None for part in parts)
            heads = [p.joined[:, -self.last :] if p.head is None else p.head for p in parts if own]
            head = torch.cat(heads) if own else None
            del heads
            joined = parts[0].joined.new_empty(len(labels), parts[0].joined.shape[1])
            # One after the other is let go, so that neurons never lie in memory twice.
            for place in torch.split(joined, [len(part.labels) for part in parts]):
                place.copy_(parts.pop(0).joined)
            self._parts = [_Part(joined, head, logits, labels, hashes)]
        return self._parts[0]
