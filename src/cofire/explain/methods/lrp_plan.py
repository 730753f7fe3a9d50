"""What relevance passes on its way through a network's graph, and which rule holds where."""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, fx

from cofire.errors import RuleError
from cofire.explain.rules.registry import Step
from cofire.explain.tracing.plan import image_of, once_a_graph
from cofire.network import Network
from cofire.network.operations import users_of
from cofire.network.operators import OPERATORS, named, spelled_out
from cofire.network.reading import source_of
from cofire.network.trace import FunctionalGraph

PartKind = Literal[
    "convolution", "linear", "activation", "scaling", "average", "sum", "multiple", "same"
]
"""Which rule an operator gets; "same" hands on its operand, as dropout does in evaluation mode."""


_NORMS, _SUMS = named("batch_norm"), named("sum")
# Each value of the result is one of the operand's: the gradient is the relevance. zennit has no
# rule for any of these and leaves them to autograd as well; a maximum sends all to the place that
# it was taken from.
_PLACED = named(
    *("reshape", "squeeze", "reorder", "part", "split", "pad", "expand", "place", "resize"),
    *("join", "cast", "max_pool", "largest"),
)


@dataclass(frozen=True, eq=False)
class Part:
    """One operator with a rule.

    Attributes:
        kind: Which rule.
        step: The operator and its arguments.
        operands: Where its relevance goes.
        weight: Name of the argument that holds the weights; "" where there are none.
        bias: Likewise.
        norm: Batch normalisation that follows and is merged into the weights.
        spelled: Whether it is the last of several operators that together are one activation
            function of its operand.
    """

    kind: PartKind
    step: Step
    operands: tuple[fx.Node, ...]
    weight: str = ""
    bias: str = ""
    norm: Step | None = None
    spelled: bool = False


@dataclass(frozen=True, eq=False)
class LrpPlan:
    """How the relevance of a class goes through a graph.

    Attributes:
        functional: The graph.
        image: The node of the input.
        order: The nodes that the logits need, in order of execution.
        parts: Those with a rule.
    """

    functional: FunctionalGraph
    image: fx.Node
    order: tuple[fx.Node, ...]
    parts: dict[fx.Node, Part]


@once_a_graph
def lrp_plan_of(network: Network) -> LrpPlan:
    """The plan of a network, the same for all its weights.

    Raises:
        ExportError: The network has no graph.
        RuleError: An operator on the way from the logits to the image has no rule; it is named.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU(), nn.Flatten(), nn.Linear(8, 2))
        >>> [part.kind for part in lrp_plan_of(Network(model, torch.zeros(1, 1, 4, 4))).parts.values()]
        ['convolution', 'same', 'activation', 'linear']
    """
    functional, image = network.functional, image_of(network)
    needed = _needed(functional.logits)
    order = tuple(node for node in functional.graph.nodes if node in needed)
    fed = {image}
    for node in order:
        if _carries(node) and any(other in fed for other in node.all_input_nodes):
            fed.add(node)
    if functional.logits not in fed:
        raise RuleError(
            "logits that do not depend on the image", "a classifier of images", "check the model"
        )
    parts: dict[fx.Node, Part] = {}
    spelled = _spelled(network, functional)
    # A picked result is a value of its operator, which is looked at by itself.
    on_the_way = _needed(functional.logits, fed, spelled) - {image}
    for node in (
        node for node in order if node in on_the_way and node.target is not operator.getitem
    ):
        if node in spelled:
            parts[node] = Part("activation", Step.of(node), (spelled[node],), spelled=True)
            continue
        part = _part(node, fed)
        if part is not None:
            parts[node] = part
    return LrpPlan(functional, image, order, _merged(parts, functional))


def _spelled(network: Network, functional: FunctionalGraph) -> dict[fx.Node, fx.Node]:
    """Where a model writes out an activation function by hand, what that is a function of, by its last node."""
    nodes = {node.name: node for node in functional.graph.nodes}
    operations = network.reading.operations
    pairs = (
        (nodes.get(end.node.name), nodes.get(one.source.node.name))
        for end, one in spelled_out(operations, users_of(operations)).items()
        if end.node is not None and one.source.node is not None
    )
    return {
        end: source
        for end, source in pairs
        if end is not None and source is not None and _sizes(end) == _sizes(source)
    }


def _needed(
    logits: fx.Node,
    among: Iterable[fx.Node] | None = None,
    jumps: Mapping[fx.Node, fx.Node] | None = None,
) -> set[fx.Node]:
    """All that a node is computed from, or what of it is among some nodes; past what lies between jumps."""
    allowed = None if among is None else set(among)
    found, pending = {logits}, [logits]
    while pending:
        node = pending.pop()
        for other in [jumps[node]] if jumps and node in jumps else node.all_input_nodes:
            if other not in found and (allowed is None or other in allowed):
                found.add(other)
                pending.append(other)
    return found


def _carries(node: fx.Node) -> bool:
    """Whether values that can carry relevance come out of an operator."""
    if node.op != "call_function" or Step.of(node).name in named("filled"):
        return False
    value = node.meta.get("val")
    results = value if isinstance(value, (tuple, list)) else (value,)
    return any(isinstance(one, Tensor) and one.is_floating_point() for one in results)


def _part(node: fx.Node, fed: set[fx.Node]) -> Part | None:
    """The rule of an operator, None where the gradient is the relevance.

    Raises:
        RuleError: There is neither.
    """
    step = Step.of(node)
    name, given = step.name, step.arguments
    # Twice where a value meets itself, as in a square.
    pair = [
        value for value in (given.get("self"), given.get("other")) if isinstance(value, fx.Node)
    ]
    operands = tuple(
        other for other in (pair if len(pair) == 2 else node.all_input_nodes) if other in fed
    )
    row = OPERATORS.get(name)
    if row is not None and row.weights is not None:
        operand, weight, bias = row.weights
        if operands != (given.get(operand),):
            raise _refuse(step, "weights that depend on the image")
        kind: PartKind = "convolution" if row.family == "convolution" else "linear"
        return Part(kind, step, operands, weight, bias)
    if name in _SUMS and len(operands) == 2:
        return Part("sum", step, operands)
    if name in _PLACED:
        return None
    if len(operands) > 1:
        raise _refuse(step, "several values that depend on the image")
    if name in named("dropout", "identity"):
        return Part("same", step, operands)
    if name in named("average_pool", "mean", "total"):
        if _sizes(node)[:1] != _sizes(operands[0])[:1]:
            raise _refuse(step, "a sum over samples")
        return Part("average", step, operands)
    if name in named("elementwise"):
        return Part("activation", step, operands)
    if name in _NORMS and given.get("running_var") is None:
        raise _refuse(step, "normalisation by the statistics of the batch itself")
    multiple = name in ("neg", "mul") or (name == "div" and operands == (given["self"],))
    if not multiple and name not in _NORMS | _SUMS:
        raise _refuse(step, "no rule for this operator")
    if name not in _NORMS and _sizes(node) != _sizes(operands[0]):
        raise _refuse(step, "a value that is spread over a larger one")
    return Part("multiple" if multiple else "scaling", step, operands)


def _sizes(node: fx.Node) -> tuple[str, ...]:
    value = node.meta.get("val")
    # Sizes that depend on the batch are compared as expressions.
    return tuple(map(str, value.shape)) if isinstance(value, Tensor) else ()


def _merged(parts: dict[fx.Node, Part], functional: FunctionalGraph) -> dict[fx.Node, Part]:
    """Batch normalisation that directly follows weights becomes part of them: both are one linear map."""
    found = dict(parts)
    for node, part in parts.items():
        if part.step.name not in _NORMS:
            continue
        (before,) = part.operands
        weighted = found.get(before)
        settings = [
            part.step.arguments.get(name)
            for name in ("weight", "bias", "running_mean", "running_var")
        ]
        known = all(value is None or value.op == "placeholder" for value in settings)
        if weighted is None or len(before.users) > 1 or before is functional.logits or not known:
            continue
        # Of a linear layer on more than vectors another axis is normalised than the one of its
        # features.
        plain = weighted.kind == "convolution" and not _transposed(weighted.step)
        if plain or (weighted.step.name == "linear" and len(_sizes(before)) == 2):
            found[before] = Part(
                weighted.kind, weighted.step, weighted.operands, "weight", "bias", norm=part.step
            )
            found[node] = Part("same", part.step, part.operands)
    return found


def _transposed(step: Step) -> bool:
    return "transpose" in step.name or bool(step.arguments.get("transposed"))


def _refuse(step: Step, why: str) -> RuleError:
    return RuleError(
        f"{step.name} (node {step.node.name}, at {source_of(step.node)}) for method 'lrp': {why}",
        "operators through which zennit's EpsilonPlus sends relevance: convolutions, linear layers, activation "
        "functions, batch normalisation, pooling, sums, concatenation and views",
        "explain this network with method='discernible', or with 'gradcam', which needs gradients alone",
    )
