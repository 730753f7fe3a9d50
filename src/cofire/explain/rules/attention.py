"""Attention and other products of two values of the image: evidence goes through what is mixed, by its weights."""

from __future__ import annotations

import math
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, fx

from cofire.compiled import compiler
from cofire.errors import NonFiniteError
from cofire.explain.rules.flow import Flow, coordinates
from cofire.explain.rules.pooling import shares_of
from cofire.explain.rules.registry import (
    Rule,
    Step,
    Values,
    depends,
    fold_of,
    is_batched,
    register_rule,
)
from cofire.explain.rules.weighted import Linear
from cofire.network.heads import fit_of, masked
from cofire.network.operators import named
from cofire.network.reading import source_of
from cofire.options import option

Through = Literal["values", "weights"]
"""Which way evidence takes through attention."""

THROUGH: Any = option(
    "values",
    "Attention",
    "Through attention, follow values alone, or its weights (queries, keys) as well.",
)
"""The option of methods that know these ways."""

_CHUNK = 1 << 21
"""Products looked at together."""

_TINY = np.finfo(np.float64).tiny

_SAME_WEIGHTS = named(
    *("dropout", "identity", "cast", "reshape", "squeeze", "reorder", "part", "expand", "scale"),
    *("split", "linear", "convolution"),
)
_Labels = Sequence[Hashable]


def are_weights(node: fx.Node) -> bool:
    """Whether a value is the weights of attention: a softmax, or what is made of one alone by linear steps.

    Args:
        node: Of the graph.
    """
    while node.op == "call_function" and (name := Step.of(node).name) != "softmax":
        before = [other for other in node.all_input_nodes if other.meta.get("fed", True)]
        before = [
            other for other in before if isinstance(other.meta.get("val"), Tensor | tuple | list)
        ]
        if len(before) != 1 or name not in _SAME_WEIGHTS:
            return False
        (node,) = before
    return node.op == "call_function"


@dataclass(frozen=True)
class Operand:
    """One of two values that are multiplied and summed.

    Attributes:
        node: Of the graph.
        labels: Of the axes of one sample's value: axes of one label run together, those that the
            result has not are summed over.
        sizes: Of these axes.
        batched: Whether each sample has a value of its own.
    """

    node: fx.Node
    labels: tuple[Hashable, ...]
    sizes: tuple[int, ...]
    batched: bool

    @classmethod
    def of(cls, step: Step, node: fx.Node, labels: _Labels) -> Operand:
        """An operand by the labels of its axes as the network has them."""
        batched = is_batched(node)
        sizes = step.shape_of(node) if batched else tuple(map(int, node.meta["val"].shape))
        return cls(node, _inside(node, labels), sizes, batched)

    def places(self, at: dict[Hashable, Tensor]) -> Tensor:
        """Where its factors lie, from the coordinates along some axes: those of others count as 0."""
        place = torch.zeros((), dtype=torch.int64)
        for label, size in zip(self.labels, self.sizes, strict=True):
            place = place * size + (at.get(label, 0) if size > 1 else 0)
        return place


def _inside(node: fx.Node, labels: _Labels) -> tuple[Hashable, ...]:
    """Labels of one sample's axes: the batch's goes, or what it holds besides stands in its place."""
    fold = fold_of(node)
    if fold is None:
        return tuple(labels)
    own = labels[fold.axis]
    parts = [
        (own, name) for name, size in (("before", fold.before), ("after", fold.after)) if size > 1
    ]
    return (*labels[: fold.axis], *parts, *labels[fold.axis + 1 :])


def handed_on(
    step: Step,
    flow: Flow,
    pair: tuple[Operand, Operand],
    factors: tuple[Tensor, Tensor],
    result: tuple[Hashable, ...],
    shape: tuple[int, ...],
    receive: tuple[bool, bool],
) -> list[tuple[fx.Node, Flow]]:
    """Evidence for sums of products, shared among the products, and of each one among the factors that receive any.

    Args:
        step: The operator.
        flow: Neurons of the result.
        pair: The operands.
        factors: Their values, (batch, ...), or (...) of one that is the same for all samples.
        result: Labels of the result.
        shape: Of one sample's result.
        receive: Which of the two get evidence; half each where both do.
    """
    sizes: dict[Hashable, int] = {}
    for one in pair:
        for label, size in zip(one.labels, one.sizes, strict=True):
            sizes[label] = max(size, sizes.get(label, 1))
    summed = [label for label in sizes if label not in result]
    width = math.prod(sizes[label] for label in summed)
    along = torch.arange(width, device=flow.index.device)
    inner = dict(zip(summed, coordinates(along, [sizes[label] for label in summed]), strict=True))
    found: list[tuple[fx.Node, Flow]] = []
    on_cpu = flow.index.device.type == "cpu" and not flow.folded
    each = max(1, (_CHUNK >> 3 if on_cpu else _CHUNK) // max(1, width))
    for start in range(0, len(flow), each):
        part = flow.where(slice(start, start + each))
        outer = dict(zip(result, coordinates(part.index, shape), strict=True))
        # A place is a sum of what its coordinates count for: those of the neuron, and those of the product.
        places = [(one.places(outer), one.places(inner)) for one in pair]
        parts = [
            _Factors(value.flatten(1) if one.batched else value.flatten()[None], *place)
            for one, value, place in zip(pair, factors, places, strict=True)
        ]
        shares = _shares_on_cpu if on_cpu else _shares_by_definition
        neuron, product, share, *others = shares(part, parts[0], parts[1])
        score = part.score[neuron] * share / sum(receive)
        for one, (base, step_on), by, takes in zip(pair, places, others, receive, strict=True):
            if takes:
                handed = Flow(
                    part.image[neuron],
                    base.expand(len(part))[neuron] + step_on.expand(width)[product],
                    part.direction[neuron],
                    score,
                    part.row[neuron],
                    own=False,
                )
                found.append((one.node, handed.scaled(by).where(by != 0)))
    return found


@dataclass(frozen=True)
class _Factors:
    """One factor of each product of each neuron.

    Attributes:
        values: Of all images, (images, places), or (1, places) of one that is the same for all.
        base: Where a neuron's lie, (neurons,).
        further: How much further on each product's is, (products,).
    """

    values: Tensor
    base: Tensor
    further: Tensor


_Shares = tuple[Tensor, Tensor, Tensor, Tensor, Tensor]
"""Neuron, product and share of each product that has one, and for each operand the other factor or its sign."""


def _shares_by_definition(flow: Flow, first: _Factors, second: _Factors) -> _Shares:
    """On any device; it defines the result."""
    width = max(one.further.numel() for one in (first, second))
    left, right = (
        one.values[
            flow.image[:, None] if len(one.values) > 1 else 0,
            (one.base.reshape(-1, 1) + one.further.reshape(1, -1)).expand(len(flow), width),
        ].double()
        for one in (first, second)
    )
    share = shares_of(left * right * flow.direction[:, None], silent=flow.folded)
    share = share / share.sum(1, keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
    neuron, product = (share > 0).nonzero(as_tuple=True)
    at = neuron, product
    return neuron, product, share[at], right[at], left[at]


def _shares_on_cpu(flow: Flow, first: _Factors, second: _Factors) -> _Shares:
    """The same in one loop, the other factors as 1, -1 or 0."""
    width = max(one.further.numel() for one in (first, second))
    arrays: list[Any] = []
    for one in (first, second):
        values = one.values.detach()
        values = values if values.dtype in (torch.float32, torch.float64) else values.double()
        whole = values, one.base.expand(len(flow)), one.further.expand(width)
        arrays += [part.contiguous().numpy() for part in whole]
    found = _speaking(flow.image.numpy(), flow.direction.numpy(), *arrays)
    neuron, product, share, right, left = map(torch.from_numpy, found)
    return neuron, product, share, right, left


@compiler(error_model="numpy")
def _speaking(
    image: Any,
    direction: Any,
    left: Any,
    left_base: Any,
    left_further: Any,
    right: Any,
    right_base: Any,
    right_further: Any,
) -> Any:
    neurons, width = len(image), len(left_further)
    neuron = np.empty(neurons * width, np.int64)
    product = np.empty(neurons * width, np.int64)
    share = np.empty(neurons * width)
    by_right = np.empty(neurons * width, np.int8)
    by_left = np.empty(neurons * width, np.int8)
    worth = np.empty(width)
    count = 0
    for n in range(neurons):
        a = left[image[n] if len(left) > 1 else 0]
        b = right[image[n] if len(right) > 1 else 0]
        total, top, best, matters = 0.0, -np.inf, -1, False
        for p in range(width):
            value = (
                np.float64(a[left_base[n] + left_further[p]])
                * np.float64(b[right_base[n] + right_further[p]])
                * direction[n]
            )
            worth[p] = value
            matters |= value != 0 and value > -np.inf
            # What is NaN makes the sum NaN, and nobody gets a share.
            total += value if not value <= 0 else 0.0
            if best < 0 or value > top:
                top, best = value, p
        if matters and top <= 0 and total == 0:
            for p in range(width):
                worth[p] = 0.0
            worth[best] = total = 1.0
        total = max(total, _TINY) if total == total else total
        for p in range(width):
            part = worth[p] / total
            if part > 0:
                neuron[count], product[count], share[count] = n, p, part
                by_left[count] = np.sign(a[left_base[n] + left_further[p]])
                by_right[count] = np.sign(b[right_base[n] + right_further[p]])
                count += 1
    some = slice(0, count)
    return neuron[some], product[some], share[some], by_right[some], by_left[some]


class Products(Rule):
    """Sums of products of two values, one of which may be the same for all samples."""

    def labelled(
        self, step: Step
    ) -> tuple[tuple[fx.Node, _Labels], tuple[fx.Node, _Labels], _Labels]:
        """The operands with the labels of their axes, and the labels of the result."""
        raise NotImplementedError

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """What is mixed, and, where evidence goes through weights as well, these."""
        first, second, result = self._parts(step)
        shared = _inside(step.node, result)
        unique = all(len(set(one)) == len(one) for one in (first.labels, second.labels, shared))
        if not unique or set(shared) - {*first.labels, *second.labels}:
            raise step.refuse("a product with one axis twice, or of samples with each other")
        pair = zip((first, second), self._receive(step), strict=True)
        return tuple(dict.fromkeys(one.node for one, takes in pair if takes))

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """Both."""
        first, second, _ = self._parts(step)
        return first.node, second.node

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To the factors of the products that speak for the sum."""
        first, second, result = self._parts(step)
        factors = values[first.node], values[second.node]
        labels = _inside(step.node, result)
        receive = self._receive(step)
        return handed_on(step, flow, (first, second), factors, labels, step.shape, receive)

    def _parts(self, step: Step) -> tuple[Operand, Operand, _Labels]:
        first, second, result = self.labelled(step)
        return Operand.of(step, *first), Operand.of(step, *second), result

    def _receive(self, step: Step) -> tuple[bool, bool]:
        (first, _), (second, _), _ = self.labelled(step)
        left, right = depends(first), depends(second)
        if left and right and not step.weights:
            weights = are_weights(first), are_weights(second)
            if weights[0] != weights[1]:
                return weights[1], weights[0]
        return left, right


@register_rule("matmul", "bmm", "mm")
class MatrixProduct(Products):
    """A product of matrices, such as weights of attention times values, or queries times keys."""

    def of(self, step: Step) -> Rule:
        """Features times a matrix of weights are a linear layer."""
        left, right = self._pair(step)
        weights = not is_batched(right) and right.meta["val"].ndim == 2 and is_batched(left)
        return Linear() if weights and step.name != "bmm" else self

    def labelled(
        self, step: Step
    ) -> tuple[tuple[fx.Node, _Labels], tuple[fx.Node, _Labels], _Labels]:
        """Rows and columns; all other axes run together."""
        left, right = self._pair(step)
        ranks = [node.meta["val"].ndim for node in (left, right)]
        if min(ranks) < 2:
            raise step.refuse("a product with a vector")
        rank = max(ranks)
        lead = [tuple(range(rank - own, rank - 2)) for own in ranks]
        whole = tuple(range(rank - 2))
        rows, columns = (*lead[0], "row", "sum"), (*lead[1], "sum", "column")
        return (left, rows), (right, columns), (*whole, "row", "column")

    def _pair(self, step: Step) -> tuple[fx.Node, fx.Node]:
        return step.arguments["self"], step.arguments.get("other", step.arguments.get("mat2"))


@register_rule("einsum")
class Contraction(Products):
    """A product of two values by Einstein's sum, each label an axis."""

    def labelled(
        self, step: Step
    ) -> tuple[tuple[fx.Node, _Labels], tuple[fx.Node, _Labels], _Labels]:
        """As the equation says."""
        operands = list(step.arguments["tensors"])
        given, arrow, result = str(step.arguments["equation"]).replace(" ", "").partition("->")
        labels = given.split(",")
        if len(operands) != 2 or len(labels) != 2 or not arrow or "." in given:
            raise step.refuse("a sum of products that are not of two values with all axes named")
        return (operands[0], labels[0]), (operands[1], labels[1]), result


@register_rule(*named("attention"))
class Attention(Rule):
    """Attention: values mixed by weights, which are a softmax of how queries fit keys.

    Evidence for a number of the result goes to the values that speak for it, in proportion to
    weight times value. With `Step.weights` one half of it goes to the weights instead, and from
    each on to its query and its key, in proportion to the products that make them fit.
    """

    def operands(self, step: Step) -> tuple[fx.Node, ...]:
        """Values; queries and keys as well where evidence goes through weights."""
        query, key, value = (step.arguments[name] for name in ("query", "key", "value"))
        grouped = step.arguments.get("enable_gqa")
        for node in (query, key, value):
            if is_batched(node):
                for axis in (-1, -2, -3) if grouped else (-1, -2):
                    step.axis(node, axis)
        through = (query, key, value) if step.weights else (value,)
        found = tuple(dict.fromkeys(node for node in through if depends(node)))
        if not found:
            raise step.refuse("values that do not depend on the image")
        return found

    def needed(self, step: Step) -> tuple[fx.Node, ...]:
        """All three, and the mask."""
        names = ("query", "key", "value", "attn_mask")
        return tuple(
            step.arguments[name] for name in names if isinstance(step.arguments[name], fx.Node)
        )

    def trace(self, step: Step, values: Values, flow: Flow) -> list[tuple[fx.Node, Flow]]:
        """To values, and where weights are followed to queries and keys."""
        nodes = [step.arguments[name] for name in ("query", "key", "value")]
        query = values[nodes[0]]
        key, value = (for_each_head(step, query, values[node]) for node in nodes[1:])
        mask = step.arguments["attn_mask"]
        weights = attention_weights(step, query, key, None if mask is None else values[mask])
        rank = step.node.meta["val"].ndim
        lead = tuple(range(rank - 2))

        def operand(node: fx.Node, rows: str, columns: str) -> Operand:
            own = lead[rank - node.meta["val"].ndim :]
            found = Operand.of(step, node, (*own, rows, columns))
            if not step.arguments.get("enable_gqa"):
                return found
            *outer, _, tokens, features = found.sizes
            return replace(found, sizes=(*outer, query.shape[-3], tokens, features))

        labels = _inside(step.node, (*lead, "query", "feature"))
        inside = labels[:-2]
        sizes = tuple(weights.shape[1:])
        weighed = Operand(step.node, (*inside, "query", "key"), sizes, True)
        mixed = operand(nodes[2], "key", "feature")
        receive = step.weights and any(depends(node) for node in nodes[:2])
        found = handed_on(
            *(step, flow, (weighed, mixed), (weights, value), labels, step.shape),
            (receive, depends(nodes[2])),
        )
        result = [(node, part) for node, part in found if node is not step.node]
        fits = operand(nodes[0], "query", "feature"), operand(nodes[1], "key", "feature")
        takes = (depends(nodes[0]), depends(nodes[1]))
        for node, part in found:
            if node is step.node and len(part):
                result += handed_on(
                    *(step, part, fits, (query, key), (*inside, "query", "key"), sizes, takes)
                )
        if step.arguments.get("enable_gqa"):
            result = [(node, _shared_head(step, node, query, part)) for node, part in result]
        return result


def for_each_head(step: Step, query: Tensor, shared: Tensor) -> Tensor:
    """Keys or values for each head of the queries, where several heads share them."""
    if not step.arguments.get("enable_gqa"):
        return shared
    return shared.repeat_interleave(query.shape[-3] // shared.shape[-3], -3)


def _shared_head(step: Step, node: fx.Node, query: Tensor, flow: Flow) -> Flow:
    """Evidence for keys or values of each head of the queries, at those that they share."""
    heads, tokens, features = (int(size) for size in node.meta["val"].shape[-3:])
    each, times = tokens * features, query.shape[-3] // heads
    head = torch.div(flow.index, each * times, rounding_mode="floor")
    return flow.moved(head * each + flow.index % each, own=False)


def attention_weights(step: Step, query: Tensor, key: Tensor, mask: Tensor | None) -> Tensor:
    """How much each query takes of each key's value, (..., queries, keys), as the operator works them out.

    Args:
        step: The operator.
        query: (..., queries, features).
        key: (..., keys, features).
        mask: What is added to how they fit, or where that counts; None for nothing.

    Raises:
        NonFiniteError: A weight is NaN, or all keys are hidden from a query.
    """
    weights = masked_fit(step, fit_of(query, key, step.arguments.get("scale")), mask).softmax(-1)
    check_weights(step, weights)
    return weights


def masked_fit(step: Step, fit: Tensor, mask: Tensor | None) -> Tensor:
    """How queries fit keys with an operator's mask: minus infinity where a key is hidden from a query."""
    return masked(fit, mask, bool(step.arguments.get("is_causal")))


def check_weights(step: Step, weights: Tensor) -> None:
    """Refuse weights of attention that are not finite.

    Raises:
        NonFiniteError: They are not; the message says where they are worked out.
    """
    # None is above 1: their sum is finite where all are, and takes one look.
    if not bool(weights.sum().isfinite()):
        raise NonFiniteError(
            f"weights of attention that are NaN, in {step.name} ({step.node.name}, at {source_of(step.node)})",
            "queries and keys that are finite, and a mask that leaves each query a key",
            "look for NaN in the images and the weights, and for a mask that hides everything",
        )
