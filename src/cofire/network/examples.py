"""What goes into a network: the example that it is built from, and the inputs of a run."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from cofire.errors import BatchError, ExportError
from cofire.tensors import Values


def placement_of(
    parameters: object, example: Tensor | tuple[Tensor, ...]
) -> tuple[torch.device, torch.dtype]:
    """Device and type of the first floating-point tensor among parameters and inputs."""
    values = [value for value in parameters if isinstance(value, Tensor)]  # type: ignore[attr-defined]
    given = [
        value
        for value in (example if isinstance(example, tuple) else (example,))
        if isinstance(value, Tensor)
    ]
    for value in (*values, *given):
        if value.is_floating_point():
            return value.device, value.dtype
    first = (*values, *given)
    return (first[0].device if first else torch.device("cpu")), torch.get_default_dtype()


def examples_of(
    example: Tensor | tuple[Tensor, ...], device: torch.device, dtype: torch.dtype
) -> tuple[Tensor, ...]:
    """The inputs as a tuple, brought to device and type.

    Raises:
        ExportError: They are no tensors with a batch axis in front.
    """
    whole = Values(finite=False, error=ExportError)
    given = tuple(
        whole.of("example_input", value) if isinstance(value, Tensor | np.ndarray) else value
        for value in (example if isinstance(example, tuple) else (example,))
    )
    fits = bool(given) and all(
        isinstance(value, Tensor) and value.dim() and len(value) for value in given
    )
    if not fits or len({len(value) for value in given}) != 1:
        shapes = ", ".join(
            str(tuple(v.shape)) if isinstance(v, Tensor) else type(v).__name__ for v in given
        )
        raise ExportError(
            f"an example input of shape {shapes or 'none'}",
            "a tensor, or a tuple of tensors, with the batch axis in front",
            "pass one batch from your data loader, or torch.zeros(1, *sample_shape)",
        )
    return tuple(
        value.detach().to(device, dtype) if value.is_floating_point() else value.detach().to(device)
        for value in given
    )


def two_samples(example: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    """A batch of two of the first sample: all that `torch.export` needs."""
    # A batch of one would be taken for a constant by torch.export; more than two teach it nothing.
    return tuple(value[:1].repeat(2, *(1 for _ in value.shape[1:])) for value in example)


def inputs_of(
    given: tuple[Tensor, ...],
    kinds: Sequence[tuple[tuple[int, ...], bool]],
    device: torch.device,
    dtype: torch.dtype,
) -> tuple[Tensor, ...]:
    """The inputs of a run, brought to device and, if floating, to type.

    Args:
        given: What was given.
        kinds: For each input the shape of one sample, and whether its numbers are floating.
        device: Where the network computes.
        dtype: Of its floating-point inputs.

    Raises:
        BatchError: Their shapes or types differ from the example's.
    """
    shapes = [
        tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__ for value in given
    ]
    fits = len(given) == len(kinds) and all(
        isinstance(value, Tensor) and value.dim() and tuple(value.shape[1:]) == shape
        for value, (shape, _) in zip(given, kinds, strict=True)
    )
    if not fits or len({value.shape[0] for value in given}) != 1 or given[0].shape[0] == 0:
        wanted = ", ".join(str(("batch", *shape)).replace("'", "") for shape, _ in kinds)
        raise BatchError(
            f"inputs of shape {', '.join(map(str, shapes))}",
            f"{wanted}, with a batch of one or more",
            "resize the inputs, or build the network with an example of that shape",
        )
    for value, (_, floating) in zip(given, kinds, strict=True):
        if value.is_floating_point() != floating:
            raise BatchError(
                f"inputs of type {value.dtype}",
                f"{'floating-point' if floating else 'whole'} numbers, as in the example",
                "convert them as in training, for images with .float() / 255",
            )
    return tuple(
        value.to(device, dtype) if floating else value.to(device)
        for value, (_, floating) in zip(given, kinds, strict=True)
    )
