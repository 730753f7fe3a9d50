"""Attention heads as neurons: how much attention each token gets, on average over those that look."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cofire.network.axes import Layout, layout_of
from cofire.network.layers import ActivationLayer, LayersFound, depending_on
from cofire.network.operations import Extent, Operation, users_of
from cofire.network.operators import named

KIND = "attention"
"""The kind of a layer whose neurons are heads."""

_PRODUCTS = named("product", "contraction")
# From the weights to the product with the values; some models mix their heads on the way.
_ON_THE_WAY = named(
    "identity", "cast", "dropout", "reshape", "reorder", "expand", "squeeze", "linear"
)


@dataclass(frozen=True, eq=False)
class Heads:
    """The heads of one attention.

    Attributes:
        layer: Its neurons: of shape (heads, tokens).
        source: The softmax that gives the attention weights, or the fused operator that hides it.
        layout: Of the weights, (..., queries, keys).
    """

    layer: ActivationLayer
    source: Operation
    layout: Layout

    @property
    def fused(self) -> bool:
        """Whether the weights have to be computed beside the operator."""
        return self.source.name in named("attention")

    def received(self, weights: Tensor, batch: int) -> Tensor:
        """The attention that each token gets from each head, (batch, heads, tokens): the mean over all queries.

        Tokens of all windows of an image follow each other.

        Args:
            weights: As the softmax gives them.
            batch: Samples.
        """
        mean = self.layout.batch_first(weights, batch).mean(-2)
        if mean.ndim == 2:
            return mean[:, None]
        return mean.movedim(-2, 1).flatten(2)


def attention_weights(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """The weights that `scaled_dot_product_attention` keeps to itself, (..., queries, keys), by its own arguments.

    A query from which a mask hides every key attends to nothing: its weights are 0.

    Example:
        >>> query = key = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        >>> attention_weights(query, key, key, is_causal=True, scale=1.0)
        tensor([[1.0000, 0.0000],
                [0.2689, 0.7311]])
    """
    if enable_gqa:
        key = key.repeat_interleave(query.shape[-3] // key.shape[-3], -3)
    fit = masked(fit_of(query, key, scale), attn_mask, is_causal)
    hidden = (fit == -math.inf).all(-1, keepdim=True)
    return fit.masked_fill(hidden, 0).softmax(-1).masked_fill(hidden, 0)


def fit_of(query: Tensor, key: Tensor, scale: float | None = None) -> Tensor:
    """How queries fit keys: their scaled products, (..., queries, keys).

    Args:
        query: (..., queries, features).
        key: (..., keys, features).
        scale: One over the root of the number of features unless given.
    """
    # Scaled before it is summed: in half precision the plain products can exceed what there is.
    return (query * (query.shape[-1] ** -0.5 if scale is None else scale)) @ key.transpose(-2, -1)


def masked(fit: Tensor, mask: Tensor | None, is_causal: bool = False) -> Tensor:
    """The same with a mask, of what counts or of what is added: minus infinity where a key is hidden from a query."""
    if is_causal:
        causal = torch.ones(fit.shape[-2:], dtype=torch.bool, device=fit.device).tril()
        fit = fit.masked_fill(~causal, -math.inf)
    if mask is None:
        return fit
    return fit.masked_fill(~mask, -math.inf) if mask.dtype == torch.bool else fit + mask


def find_heads(
    operations: Sequence[Operation], batch: Extent, found: LayersFound
) -> dict[ActivationLayer, Heads]:
    """The heads of every attention, by the layers that they are, in order of execution.

    Attention is a softmax over the last axis whose result is multiplied with something else that
    comes from the input, or PyTorch's fused operator.

    Args:
        operations: Everything the model computes.
        batch: The batch size at the two probed sizes.
        found: Its other layers, whose names are taken.
    """
    users, fed = users_of(operations), depending_on(operations, "input")
    taken = {layer.name for layer in (*found.layers, *found.gates)} | {*found.unreadable}
    calls: Counter[str] = Counter()
    heads: dict[ActivationLayer, Heads] = {}
    for operation in operations:
        layout = _weights_layout(operation, batch) if operation in fed else None
        if layout is None or not (
            operation.name in named("attention") or _weighs(operation, users, fed)
        ):
            continue
        path = operation.path
        if operation.module.endswith(".Softmax"):
            path = path.rpartition(".")[0]
        calls[path] += 1
        call = calls[path] - 1
        base = path if path and path not in taken else f"{path}.{KIND}".lstrip(".")
        *outer, _, tokens = layout.shape
        count = outer[-1] if outer else 1
        layer = ActivationLayer(
            name=base if call == 0 else f"{base}:{call}",
            path=path,
            kind=KIND,
            call=call,
            index=len(found.layers) + len(found.gates) + len(heads),
            shape=(count, math.prod(outer[:-1]) * tokens),
            channel_axis=0,
        )
        heads[layer] = Heads(layer, operation, layout)
    return heads


def _weights_layout(operation: Operation, batch: Extent) -> Layout | None:
    """How the attention weights lie that an operation gives or hides; None if it has none."""
    rank = len(operation.sizes or ())
    fused = operation.name in named("attention")
    if not fused and not (
        operation.name == "softmax" and operation.argument(1, "dim") in (-1, rank - 1) and rank > 2
    ):
        return None
    layout = layout_of(operation, batch)
    if isinstance(layout, str) or layout.fold.axis >= rank - 2:
        return None
    if not fused:
        return layout
    key = operation.argument(1, "key")
    sizes = key.sizes if isinstance(key, Operation) else None
    if not sizes or not sizes[-2].constant:
        return None
    return replace(layout, shape=(*layout.shape[:-1], sizes[-2].small))


def _weighs(
    operation: Operation, users: Mapping[Operation, Sequence[Operation]], fed: set[Operation]
) -> bool:
    """Whether a value is multiplied with something else that comes from the input."""
    pending, seen = [operation], {operation}
    while pending:
        value = pending.pop()
        for user in users[value]:
            if user.name in _PRODUCTS and any(
                other is not value and other in fed for other in user.operands()
            ):
                return True
            if user.name in _ON_THE_WAY and user not in seen:
                seen.add(user)
                pending.append(user)
    return False
