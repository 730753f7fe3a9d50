"""What goes into the last linear layer of a classifier."""

from __future__ import annotations

from typing import Any

import torch
from torch import fx

_POSITIONS: dict[Any, int] = {
    torch.ops.aten.linear.default: 0,
    torch.ops.aten.addmm.default: 1,
    torch.ops.aten.mm.default: 0,
}
"""Where a linear operator has its input."""

_PASSING = (
    torch.ops.aten.alias.default,
    torch.ops.aten.clone.default,
    torch.ops.aten.detach.default,
)


def head_input(logits: fx.Node) -> fx.Node | None:
    """The node whose value a linear layer turns into the logits, None where they come from elsewhere.

    Args:
        logits: The node that holds the logits.
    """
    node = logits
    while node.op == "call_function" and node.target in _PASSING:
        node = _argument(node, 0)
    if node.op != "call_function":
        return None
    if node.target not in _POSITIONS:
        return None
    found = _argument(node, _POSITIONS[node.target])
    value = found.meta.get("val")
    # A placeholder is the input itself: a classifier without a hidden layer.
    return found if isinstance(value, torch.Tensor) and value.ndim == 2 else None


def _argument(node: fx.Node, position: int) -> fx.Node:
    found = node.args[position]
    assert isinstance(found, fx.Node)
    return found
