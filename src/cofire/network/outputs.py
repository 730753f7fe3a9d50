"""Which of a model's outputs are the logits, and what they say of the classes."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from torch import Tensor
from torch.utils import _pytree as pytree

from cofire.errors import ExportError, NonFiniteError
from cofire.network.operations import Operation

Output = Literal["logits", "probabilities", "log-probabilities", "sigmoids", "one logit"]
"""What a model gives for a sample: see `Network.output`."""

_LOGITS = "logits"
_PASSING_NAMES = """
alias clone contiguous detach to to_copy float double half bfloat16 type type_as identity view reshape flatten
squeeze unsqueeze
"""
_PASSING = frozenset(_PASSING_NAMES.split())
_SOFTMAX: dict[str, Output] = {"softmax": "probabilities", "log_softmax": "log-probabilities"}
_INVERSE: dict[tuple[str, Output], Output] = {
    ("log", "probabilities"): "log-probabilities",
    ("exp", "log-probabilities"): "probabilities",
}


def leaves_of(output: Any, kind: type) -> list[Any]:
    """The leaves of one kind in what a model returns: a tensor, tuples, mappings, data classes."""
    return [
        leaf
        for value in _parts(output).values()
        for leaf in pytree.tree_leaves(value)
        if isinstance(leaf, kind)
    ]


def names_of(output: Any, kind: type) -> list[str]:
    """For each of `leaves_of`, the key or field that holds it; "" where there is none.

    Example:
        >>> names_of({"features": 1.0, "logits": (2.0, 3.0)}, float)
        ['features', 'logits', 'logits']
    """
    parts = _parts(output).items()
    return [
        name
        for name, value in parts
        for leaf in pytree.tree_leaves(value)
        if isinstance(leaf, kind)
    ]


def _parts(output: Any) -> Mapping[str, Any]:
    if dataclasses.is_dataclass(output) and not isinstance(output, Mapping):
        return {entry.name: getattr(output, entry.name) for entry in dataclasses.fields(output)}
    if isinstance(output, Mapping):
        return {str(name): value for name, value in output.items()}
    return {"": output}


def choose_logits(shapes: Sequence[str], fitting: Sequence[int], names: Sequence[str]) -> int:
    """The position of the logits among a model's outputs.

    Args:
        shapes: Of all outputs, for messages.
        fitting: Positions of those that could be logits: floating point, (batch, classes).
        names: The name of each output, "" where it has none.

    Raises:
        ExportError: None could be, or several and none alone is called "logits".

    Example:
        >>> choose_logits(["(batch, 8)", "(batch, 3)"], [0, 1], ["features", "logits"])
        1
    """
    if len(fitting) > 1:
        fitting = [at for at in fitting if at < len(names) and names[at] == _LOGITS] or fitting
    if len(fitting) == 1:
        return fitting[0]
    raise ExportError(
        f"outputs of shape {', '.join(shapes) or 'none'}",
        "one output (batch, classes), or one of them called 'logits'",
        "wrap the model in a module whose forward returns the logits alone",
    )


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

    Example:
        >>> from cofire.network.operations import Extent
        >>> sizes = (Extent(2, 3), Extent(5, 5))
        >>> linear = Operation("linear", sizes=sizes)
        >>> kind, logits = ending_of(Operation("softmax", (linear, 1), sizes=sizes))
        >>> kind, logits is linear
        ('probabilities', True)
    """
    operation = _passed(result)
    before = _passed(operation.first) if operation.first is not None else None
    if result.sizes is not None and len(result.sizes) == 2 and result.sizes[1].small == 1:
        return "one logit", result
    found = _softmax(operation)
    if found is not None:
        return found
    inner = _softmax(before) if before is not None else None
    if inner is not None and (operation.name, inner[0]) in _INVERSE:
        return _INVERSE[operation.name, inner[0]], inner[1]
    if operation.name in ("sigmoid", "hardsigmoid", "log_sigmoid"):
        return "sigmoids", result
    return "logits", result


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
    while operation.role == "operation" and operation.name in _PASSING:
        operand = operation.first
        if operand is None or operand.sizes != operation.sizes or operation.draws:
            break
        operation = operand
    return operation
