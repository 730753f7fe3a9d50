"""What goes into a model in a step of training, however the loop holds it."""

from __future__ import annotations

from collections.abc import Mapping
from inspect import Parameter, signature
from typing import Any

from torch import Tensor, nn

from cofire.errors import BatchError
from cofire.network import Network
from cofire.network.untouched import unwrapped


def parts_of(given: Any, labels: Any, model: nn.Module | Network) -> tuple[Any, Any]:
    """Inputs as a network takes them, and labels.

    Args:
        given: A tensor, several in the order of the model's parameters, or a mapping by their names.
        labels: Beside it, or None.
        model: That takes them.

    Raises:
        BatchError: It is none of these, or has other names.
    """
    if isinstance(given, Mapping):
        named = dict(given)
        for name in ("labels", "label"):
            found = named.pop(name, None)
            labels = found if labels is None else labels
        tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
        taken = {} if isinstance(model, Network) else _taken_by(model)
        if any(one.kind is Parameter.VAR_KEYWORD for one in taken.values()):
            # Trainers pass on what the loss needs; the network has no such input.
            tensors = {name: value for name, value in tensors.items() if name in taken} or tensors
        if len(tensors) > 1:
            first = list(taken)[: len(tensors)]
            if set(first) != set(tensors):
                raise BatchError(
                    f"a batch of {', '.join(tensors)} for a model that takes {', '.join(taken)}",
                    "inputs by the names of the model's first parameters",
                    "pass a tuple in the order in which the model takes them",
                )
            tensors = {name: tensors[name] for name in first}
        given = tuple(tensors.values())
    if isinstance(given, list | tuple):
        given = tuple(given)
        given = given[0] if len(given) == 1 else given
    if not isinstance(given, Tensor) and not (isinstance(given, tuple) and given):
        raise BatchError(
            f"a batch of type {type(given).__name__}",
            "a tensor, a tuple of tensors or a mapping",
            "pass what goes into the model to monitor.step",
        )
    return given, labels


def _taken_by(model: nn.Module) -> Mapping[str, Parameter]:
    return signature(unwrapped(model).forward).parameters


def some_of(inputs: Any) -> Any:
    """Two samples, by which a network is read."""
    return tuple(one[:2] for one in inputs) if isinstance(inputs, tuple) else inputs[:2]
