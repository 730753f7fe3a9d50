"""Which of a model's outputs are the logits, and what they say of the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx
from torch.utils import _pytree as pytree

from cofire.errors import BatchError, ExportError, NonFiniteError
from cofire.network.operations import Operation
from cofire.network.operators import named
from cofire.tensors import Values

Output = Literal["logits", "probabilities", "log-probabilities", "sigmoids", "one logit"]
"""What a model gives for a sample: see `Network.output`."""


_LOGITS = "logits"
_UNCHANGED = named("identity", "cast", "reshape", "squeeze")
_SOFTMAX: dict[str, Output] = {"softmax": "probabilities", "log_softmax": "log-probabilities"}


_INVERSE: dict[tuple[str, Output], Output] = {
    ("log", "probabilities"): "log-probabilities",
    ("exp", "log-probabilities"): "probabilities",
}


Chosen = str | int | None
"""Which of a model's outputs are meant: a key or field, a position, or the one that looks like logits."""


def leaves_of(output: Any, kind: type) -> list[Any]:
    """The leaves of one kind in what a model returns: a tensor, tuples, mappings, data classes."""
    return [leaf for _, leaf in _named_leaves(output) if isinstance(leaf, kind)]


def names_of(output: Any, kind: type) -> list[str]:
    """For each of `leaves_of`, the key or field that holds it; "" where there is none.

    Example:
        >>> names_of({"features": 1.0, "logits": (2.0, 3.0), "side": {"logits": 4.0}}, float)
        ['features', 'logits', 'logits', 'side.logits']
    """
    return [name for name, leaf in _named_leaves(output) if isinstance(leaf, kind)]


def _named_leaves(output: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    parts: Mapping[Any, Any] = {}
    if isinstance(output, Mapping):
        parts = output
    elif dataclasses.is_dataclass(output):
        parts = {entry.name: getattr(output, entry.name) for entry in dataclasses.fields(output)}
    elif hasattr(output, "_fields"):
        parts = output._asdict()
    elif isinstance(output, (tuple, list)):
        for value in output:
            yield from _named_leaves(value, name)
        return
    else:
        yield from ((name, leaf) for leaf in pytree.tree_leaves(output))
        return
    for part, value in parts.items():
        yield from _named_leaves(value, f"{name}.{part}".lstrip("."))


def choose_logits(
    shapes: Sequence[str], fitting: Mapping[int, int], names: Sequence[str], chosen: Chosen = None
) -> int:
    """The position of the logits among a model's outputs.

    Args:
        shapes: Of all outputs, for messages.
        fitting: Positions of those that could be logits, floating point, and how many axes they
            have: (batch, classes), or (batch,), which is taken where there is no other.
        names: The name of each output, "" where it has none.
        chosen: The one that the user means, by name or position.

    Raises:
        ExportError: None could be, or several and none alone is called "logits", or not the one
            that is meant.

    Example:
        >>> choose_logits(["(batch, 8)", "(batch, 3)"], {0: 2, 1: 2}, ["features", "logits"])
        1
        >>> choose_logits(["(batch, 8)", "(batch, 3)"], {0: 2, 1: 2}, ["features", "logits"], 0)
        0
    """
    if chosen is not None:
        fits = [at for at in fitting if chosen in (at, names[at])]
    else:
        fits = [at for at, rank in fitting.items() if rank == 2] or list(fitting)
        called = [at for at in fits if names[at] == _LOGITS]
        fits = called if len(fits) > 1 and called else fits
    if len(fits) == 1:
        return fits[0]
    told = [
        f"{shape}{f' {name!r}' if name else ''}" for shape, name in zip(shapes, names, strict=True)
    ]
    asked = "" if chosen is None else f" and output={chosen!r}"
    raise ExportError(
        f"outputs of shape {', '.join(told) or 'none'}{asked}",
        "one output (batch, classes), or one of them called 'logits'",
        "say which with output=, a key, a field or a position from 0, or wrap the model in a module whose forward "
        "returns the logits alone",
    )


def two_logits(logit: Tensor) -> Tensor:
    """Logits of two classes, (batch, 2), whose softmax gives the second one the sigmoid of a single logit.

    Args:
        logit: (batch, 1).

    Example:
        >>> two_logits(torch.tensor([[3.0]])).softmax(1)[:, 1] == torch.tensor([3.0]).sigmoid()
        tensor([True])
    """
    return torch.cat([-logit, logit], dim=1) / 2


def without_nan(logits: Tensor) -> Tensor:
    """The logits themselves.

    Raises:
        NonFiniteError: One is NaN.
    """
    if logits.device.type != "meta":
        wrong = logits.isnan().any(1)
        if bool(wrong.any()):
            raise NonFiniteError(
                f"logits of sample {int(wrong.nonzero()[0])} of the batch that are NaN",
                "numbers",
                "look for NaN among the inputs and the weights, and for activations that overflow",
            )
    return logits


def ending_of(result: Operation) -> tuple[Output, Operation]:
    """What a model's output is, by the functions that it ends with, and the operation that gives its logits.

    A softmax or log-softmax over the classes is left out: what goes into it are logits, of which it
    makes just these probabilities.

    Args:
        result: The operation that gives (batch, classes).

    Raises:
        ExportError: A single output is made of a probability, and is none of its logit.

    Example:
        >>> from cofire.network.operations import Extent
        >>> sizes = (Extent(2, 3), Extent(5, 5))
        >>> linear = Operation("linear", sizes=sizes)
        >>> kind, logits = ending_of(Operation("softmax", (linear, 1), sizes=sizes))
        >>> kind, logits is linear
        ('probabilities', True)
    """
    if _is_one_number(result):
        logit = _without_sigmoid(result)
        _refuse_made_of_probabilities(logit)
        return "one logit", logit
    operation = _passed(result)
    before = _passed(operation.first) if operation.first is not None else None
    found = _softmax(operation)
    if found is not None:
        return found
    inner = _softmax(before) if before is not None else None
    if inner is not None and (operation.name, inner[0]) in _INVERSE:
        return _INVERSE[operation.name, inner[0]], inner[1]
    if operation.name.startswith("clamp"):
        operation = before or operation
    if operation.name in ("sigmoid", "hardsigmoid", "log_sigmoid"):
        return "sigmoids", result
    return "logits", result


def _is_one_number(operation: Operation | None) -> bool:
    """Whether there is a single number for each sample."""
    sizes = operation.sizes if operation is not None else None
    return bool(sizes) and all(size == (1, 1) for size in sizes[1:])  # type: ignore[index]


def _without_sigmoid(result: Operation) -> Operation:
    operation: Operation | None = result
    while operation is not None and _is_one_number(operation) and operation.role == "operation":
        if operation.name in ("sigmoid", "log_sigmoid"):
            return operation.first or result
        if operation.name not in _UNCHANGED | named("part"):
            break
        operation = operation.first
    return result


def _refuse_made_of_probabilities(result: Operation) -> None:
    """Refuse a single output that is not the sigmoid itself but made of it: its sign says nothing of the class."""
    operation: Operation | None = result
    while operation is not None and operation.role == "operation" and operation.name != "logit":
        if operation.name in ("sigmoid", "hardsigmoid", *_SOFTMAX):
            raise ExportError(
                f"a single output by {result.name!r} of {operation.name!r}",
                "a logit, or its sigmoid and nothing after that",
                "let forward return the logit, or torch.logit of the output if that is a probability",
            )
        # What has weights, or mixes several values, is a value of its own.
        operands = list(operation.operands())
        operation = operands[0] if len(operands) == 1 else None


def _softmax(operation: Operation) -> tuple[Output, Operation] | None:
    operand = operation.first
    if (
        operation.name not in _SOFTMAX
        or operand is None
        or operand.sizes is None
        or len(operand.sizes) != 2
    ):
        return None
    # Without an axis torch.nn.functional.softmax takes the second of two.
    return (
        (_SOFTMAX[operation.name], operand)
        if operation.argument(1, "dim") in (1, -1, None)
        else None
    )


def _passed(operation: Operation) -> Operation:
    """Back through what changes neither numbers nor shape."""
    while operation.role == "operation" and operation.name in _UNCHANGED:
        operand = operation.first
        if operand is None or operand.sizes != operation.sizes or operation.draws:
            break
        operation = operand
    return operation


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


def head_input(result: Operation) -> fx.Node | None:
    """The node whose value a linear layer turns into the logits, None where they come from elsewhere.

    Args:
        result: What gives the logits.
    """
    operation: Operation | None = result
    while operation is not None and operation.name in named("identity"):
        operation = operation.first
    if operation is None or operation.name not in named("head"):
        return None
    found = operation.args[1 if operation.name == "addmm" else 0]
    return found.node if isinstance(found, Operation) and len(found.sizes or ()) == 2 else None
