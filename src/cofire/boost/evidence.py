"""Evidence: what a sample's neurons say of each class, linear in their activations and in which of them are active."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from cofire.boost.reading import Reading

__all__ = ["Evidence"]


class Evidence(nn.Module):
    """`W a + V (a > threshold) + b`: a number for each class.

    Args:
        values: W, (classes, neurons of all layers), or None.
        patterns: V, (classes, neurons of all layers), or None.
        bias: b, (classes,).
        sizes: Neurons of each layer.
        threshold: A neuron is active above it.
        of_head: Whether it reads the last linear layer's input in place of the layers.
    """

    def __init__(
        self,
        values: Tensor | None,
        patterns: Tensor | None,
        bias: Tensor,
        sizes: Sequence[int],
        *,
        threshold: float = 0.0,
        of_head: bool = False,
    ) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.threshold = threshold
        self.of_head = of_head
        self.register_buffer("values", None if values is None else _own(values))
        self.register_buffer("patterns", None if patterns is None else _own(patterns))
        self.register_buffer("bias", _own(bias))
        self.values: Tensor | None
        self.patterns: Tensor | None
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
        total = self.bias
        start = 0
        for activation, size in zip(layers, self.sizes, strict=True):
            part = slice(start, start + size)
            # In float32 at least: the sum runs over thousands of neurons.
            given = activation.to(self.bias.dtype)
            if self.values is not None:
                total = total + linear(given, self.values[:, part])
            if self.patterns is not None:
                # Compared as the network computed it: rounding first could move a value over the threshold.
                fires = (activation > self.threshold).to(given.dtype)
                total = total + linear(fires, self.patterns[:, part])
            start += size
        return total

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return sum(value.numel() for value in (self.values, self.patterns, self.bias) if value is not None)


def _own(values: Tensor) -> Tensor:
    # A part of a larger tensor would be saved and exported with all of it.
    return values.to(torch.float32).clone(memory_format=torch.contiguous_format)
