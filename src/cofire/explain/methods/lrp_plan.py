"""What relevance passes on its way through a network's graph, and which rule holds where."""

from __future__ import annotations

import operator
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, fx

from cofire.errors import RuleError
from cofire.explain.rules.attention import Attention, Products
from cofire.explain.rules.binary import Product
from cofire.explain.rules.registry import Step, carries_values, note_batches, rule_of
from cofire.explain.tracing.plan import image_of, once_a_graph
from cofire.network import Network
from cofire.network.operations import users_of
from cofire.network.operators import OPERATORS, named, spelled_out
from cofire.network.reading import source_of
from cofire.network.trace import FunctionalGraph

PartKind = Literal[
    "convolution",
    "linear",
    "activation",
    "scaling",
    "average",
    "sum",
    "multiple",
    "same",
    "gate",
    "product",
    "softmax",
    "attention",
    "spread",
]
"""Which rule an operator gets; "same" hands on its operand, as dropout does in evaluation mode."""


_NORMS, _SUMS = named("batch_norm"), named("sum")
_SPREADS = named("layer_norm", "group_norm")
# Each value of the result is one of the operand's: the gradient is the relevance. zennit has no
# rule for any of these and leaves them to autograd as well; a maximum sends all to the place that
# it was taken from.
_MIXING = named("product", "contraction", "attention", "scale") - {"baddbmm", "rmatmul"}
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
        passed: Values of shape (images, channels, height, width) that all relevance passes on its way,
            from the image up.
    """

    functional: FunctionalGraph
    image: fx.Node
    order: tuple[fx.Node, ...]
    parts: dict[fx.Node, Part]
    passed: tuple[fx.Node, ...] = ()

    def between(self, below: fx.Node, above: fx.Node) -> frozenset[fx.Node]:
        """The nodes behind one value up to another."""
        return frozenset(self.order[self.order.index(below) + 1 : self.order.index(above) + 1])

    @property
    def attends(self) -> bool:
        """Whether relevance passes attention, or another product of two values of the image."""
        return any(part.kind in ("attention", "product") for part in self.parts.values())


@once_a_graph
def lrp_plan_of(network: Network, weights: bool = False) -> LrpPlan:
    """The plan of a network, the same for all its weights.

    Args:
        network: With a graph.
        weights: Whether relevance also goes through the weights of attention, to queries and keys.

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
        if (
            node.op == "call_function"
            and carries_values(node)
            and any(other in fed for other in node.all_input_nodes)
        ):
            fed.add(node)
    if functional.logits not in fed:
        raise RuleError(
            "logits that do not depend on the image", "a classifier of images", "check the model"
        )
    parts: dict[fx.Node, Part] = {}
    spelled = _spelled(network, functional)
    reading = network.reading
    note_batches(reading.operations, reading.batch, functional.graph, image)
    reached = {functional.logits}
    for node in reversed(order):
        if node not in reached or node is image:
            continue
        # A picked result is a value of its operator, which is looked at by itself.
        picked = node.target is operator.getitem
        if node in spelled:
            part: Part | None = Part("activation", Step.of(node), (spelled[node],), spelled=True)
        else:
            part = None if picked else _part(Step.of(node, weights=weights), fed)
        if part is not None:
            parts[node] = part
        before = node.all_input_nodes if part is None else part.operands
        reached.update(other for other in before if other in fed)
    parts = dict(reversed(parts.items()))
    return LrpPlan(functional, image, order, _merged(parts, functional), passed(order, fed))


def passed(order: Sequence[fx.Node], fed: Container[fx.Node]) -> tuple[fx.Node, ...]:
    """Feature maps that no way from the image to the logits goes around.

    Args:
        order: The nodes that the logits need, in order of execution.
        fed: Those that depend on the image.
    """
    carrying = [node for node in order if node in fed]
    place = {node: number for number, node in enumerate(carrying)}
    found, reaching = [], 0
    for number, node in enumerate(carrying):
        value = node.meta.get("val")
        if reaching <= number and isinstance(value, Tensor) and value.ndim == 4:
            found.append(node)
        reaching = max([reaching, *(place[user] for user in node.users if user in place)])
    return tuple(found)


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


def _needed(logits: fx.Node) -> set[fx.Node]:
    """All that a node is computed from."""
    found, pending = {logits}, [logits]
    while pending:
        for other in pending.pop().all_input_nodes:
            if other not in found:
                found.add(other)
                pending.append(other)
    return found


def _part(step: Step, fed: set[fx.Node]) -> Part | None:
    """The rule of an operator, None where the gradient is the relevance.

    Raises:
        RuleError: There is neither.
    """
    node, name, given = step.node, step.name, step.arguments
    # Twice where a value meets itself, as in a square.
    pair = [
        value for value in (given.get("self"), given.get("other")) if isinstance(value, fx.Node)
    ]
    operands = tuple(
        other for other in (pair if len(pair) == 2 else node.all_input_nodes) if other in fed
    )
    row = OPERATORS.get(name)
    rule = rule_of(step) if name in _MIXING else None
    if isinstance(rule, Attention) or (isinstance(rule, Products | Product) and len(operands) > 1):
        through = rule.operands(step)
        kind: PartKind = (
            "attention"
            if isinstance(rule, Attention)
            else "product"
            if isinstance(rule, Products) or len(through) == 2
            else "gate"
        )
        return Part(kind, step, through)
    if isinstance(rule, Products):
        return Part("product", step, operands)
    if row is not None and row.weights is not None:
        operand, weight, bias = row.weights
        if operands != (given.get(operand),):
            raise _refuse(step, "weights that depend on the image")
        kind = "convolution" if row.family == "convolution" else "linear"
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
    if name == "glu":
        return Part("gate", step, operands)
    if name == "softmax" and step.weights:
        return Part("softmax", step, operands)
    if name in named("interpolation", "fold"):
        return Part("average", step, operands)
    if name in _SPREADS:
        return Part("spread", step, operands)
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
