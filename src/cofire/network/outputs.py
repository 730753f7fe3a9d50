"""Which of a model's outputs are the logits."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from torch.utils import _pytree as pytree

from cofire.errors import ExportError

__all__ = ["choose_logits", "leaves_of", "names_of"]

_LOGITS = "logits"


def leaves_of(output: Any, kind: type) -> list[Any]:
    """The leaves of one kind in what a model returns: a tensor, tuples, mappings, data classes."""
    return [leaf for value in _parts(output).values() for leaf in pytree.tree_leaves(value) if isinstance(leaf, kind)]


def names_of(output: Any, kind: type) -> list[str]:
    """For each of `leaves_of`, the key or field that holds it; "" where there is none.

    Example:
        >>> names_of({"features": 1.0, "logits": (2.0, 3.0)}, float)
        ['features', 'logits', 'logits']
    """
    parts = _parts(output).items()
    return [name for name, value in parts for leaf in pytree.tree_leaves(value) if isinstance(leaf, kind)]


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
