"""Evidence: what a sample's neurons say of each class, linear in their activations and in which of them are active."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from cofire.boost.reading import Reading


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
