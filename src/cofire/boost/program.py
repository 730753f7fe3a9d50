"""Classifier and booster as one graph that needs nothing of cofire."""

from __future__ import annotations

import copy
import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import Dim

from cofire.activations.neurons import view_neurons
from cofire.atomic import atomic_path
from cofire.boost.fitting import Fitted
from cofire.boost.reading import Reader, Reading
from cofire.errors import ExportError, OptionError
from cofire.network import open_module


class _Program(nn.Module):
    """The classifier's graph with its own copy of the weights, and what was fitted on top."""

    def __init__(self, base: nn.Module, reader: Reader, fitted: Fitted) -> None:
        super().__init__()
        self.base = base
        self.evidence = fitted.evidence
        self.head = fitted.head
        self._layers = reader.layers
        self._unit = reader.unit
        self._kind = reader.network.dtype

    def forward(self, images: Tensor) -> Tensor:
        """Class probabilities, (samples, classes)."""
        logits, head, *activations = self.base(images)
        wide = logits if logits.dtype == torch.float64 else logits.to(torch.float32)
        layers = tuple(
            view_neurons(activation, layer, self._unit).values.flatten(1)
            for activation, layer in zip(activations, self._layers, strict=True)
        )
        evidence = None
        if self.evidence is not None:
            last = (
                layers[-1]
                if head is None
                else (head if head.dtype == torch.float64 else head.to(torch.float32))
            )
            evidence = self.evidence.of(Reading(wide, layers, last))
        better: Tensor = self.head(wide, evidence)
        return better.softmax(dim=1).to(self._kind)


def boosted_program(reader: Reader, fitted: Fitted) -> nn.Module:
    """Classifier and booster as one module.

    Args:
        reader: Of the classifier.
        fitted: What was fitted to it.

    Raises:
        ExportError: The network has no graph.
    """
    copied = copy.deepcopy(fitted).to(reader.network.device)
    return (
        _Program(open_module(reader.network, reader.layers), reader, copied)
        .eval()
        .requires_grad_(False)
    )


def write_program(module: nn.Module, reader: Reader, path: str | Path) -> Path:
    """Export a module that `boosted_program` made and write it, whole or not at all.

    Raises:
        OptionError: The path does not end in .pt2.
        ExportError: It does not export.
    """
    target = Path(path)
    if target.suffix != ".pt2":
        raise OptionError(
            f"'{target}'", "a path that ends in .pt2", f"pass '{target.with_suffix('.pt2')}'"
        )
    network = reader.network
    example = torch.zeros(2, *network.input_shape, device=network.device, dtype=network.dtype)
    shapes: Any = ({0: Dim("batch")},)
    try:
        program = torch.export.export(module, (example,), dynamic_shapes=shapes, strict=False)
    except Exception as error:
        raise ExportError(
            f"the boosted classifier does not export: {str(error).splitlines()[0]}",
            "a classifier of floating-point images that exports for any batch size",
            "use booster.save, and the booster itself",
        ) from error
    held = io.BytesIO()
    torch.export.save(program, held)
    with atomic_path(target) as partial:
        partial.write_bytes(held.getvalue())
    return target
