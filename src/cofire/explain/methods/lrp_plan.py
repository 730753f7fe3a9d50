"""What relevance passes on its way through a network's graph, and which of zennit's rules holds where."""

from __future__ import annotations

import operator
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor, fx

from cofire.errors import RuleError
from cofire.explain.rules.registry import Step
from cofire.network import Network
from cofire.network.reading import source_of
from cofire.network.trace import FunctionalGraph

PartKind = Literal[
    "convolution", "linear", "activation", "scaling", "average", "sum", "multiple", "same"
]
"""Which rule an operator gets; "same" hands on its operand, as dropout does in evaluation mode."""


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


_CONVOLUTIONS = _names(
    "conv1d conv2d conv3d convolution conv_transpose1d conv_transpose2d conv_transpose3d"
)
_WEIGHTED = {
    **dict.fromkeys((*_CONVOLUTIONS, "linear"), ("input", "weight", "bias")),
    "matmul": ("self", "other", ""),
    "mm": ("self", "mat2", ""),
    "addmm": ("mat1", "mat2", "self"),
}
_ACTIVATIONS = _names(
    "elu hardshrink hardsigmoid hardtanh hardswish leaky_relu log_sigmoid prelu relu relu6 rrelu selu celu gelu "
    "sigmoid silu softplus softshrink softsign tanh tanhshrink threshold clamp clamp_min clamp_max"
)
_NORMS = _names("batch_norm native_batch_norm_legit_no_training cudnn_batch_norm miopen_batch_norm")
_AVERAGES = _names(
    "avg_pool1d avg_pool2d avg_pool3d adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d mean sum"
)
_SUMS = _names("add sub rsub")
_SAME = _names("dropout feature_dropout alpha_dropout feature_alpha_dropout detach")
# Each value of the result is one of the operand's: the gradient is the relevance. zennit has no
# rule for any of these and leaves them to autograd as well; a maximum sends all to the place that
# it was taken from.
_MOVING = _names(
    "view reshape flatten unflatten unsqueeze squeeze view_as reshape_as permute transpose movedim t mT slice select "
    "narrow chunk split split_with_sizes unbind tensor_split unsafe_chunk unsafe_split constant_pad_nd pad "
    "reflection_pad1d reflection_pad2d replication_pad1d replication_pad2d flip roll expand expand_as repeat unfold "
    "pixel_shuffle pixel_unshuffle channel_shuffle repeat_interleave upsample_nearest2d cat stack "
    "identity alias clone contiguous lift_fresh_copy to to_copy type_as float double half bfloat16 "
    "max_pool1d max_pool2d max_pool3d max_pool2d_with_indices max_pool3d_with_indices "
    "adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d amax"
)
_SHAPED = _names("zeros_like ones_like empty_like full_like new_zeros new_ones new_full new_empty")
"""What takes a shape from another tensor takes none of its values."""


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
    """

    kind: PartKind
    step: Step
    operands: tuple[fx.Node, ...]
    weight: str = ""
    bias: str = ""
    norm: Step | None = None


@dataclass(frozen=True, eq=False)
class LrpPlan:
    """How the relevance of a class goes through a graph.

    Attributes:
        straight: The graph.
        image: The node of the input.
        order: The nodes that the logits need, in order of execution.
        parts: Those with a rule.
    """

    straight: FunctionalGraph
    image: fx.Node
    order: tuple[fx.Node, ...]
    parts: dict[fx.Node, Part]


_PLANS: weakref.WeakKeyDictionary[fx.Graph, LrpPlan] = weakref.WeakKeyDictionary()


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
    found = _PLANS.get(network.graph)
    if found is None:
        found = _PLANS[network.graph] = _made(network)
    return found


def _made(network: Network) -> LrpPlan:
    straight = network.functional
    if len(straight.inputs) != 1:
        raise RuleError(
            f"a network of {len(straight.inputs)} inputs",
            "a network of one input",
            "wrap the model so that it takes images alone",
        )
    (image,) = straight.inputs
    needed = _needed(straight.logits)
    order = tuple(node for node in straight.graph.nodes if node in needed)
    fed = {image}
    for node in order:
        if _carries(node) and any(other in fed for other in node.all_input_nodes):
            fed.add(node)
    if straight.logits not in fed:
        raise RuleError(
            "logits that do not depend on the image", "a classifier of images", "check the model"
        )
    parts: dict[fx.Node, Part] = {}
    # A picked result is a value of its operator, which is looked at by itself.
    on_the_way = _needed(straight.logits, fed) - {image}
    for node in (
        node for node in order if node in on_the_way and node.target is not operator.getitem
    ):
        part = _part(node, fed)
        if part is not None:
            parts[node] = part
    return LrpPlan(straight, image, order, _merged(parts, straight))


def _needed(logits: fx.Node, among: Iterable[fx.Node] | None = None) -> set[fx.Node]:
    """All that a node is computed from, or what of it is among some nodes."""
    allowed = None if among is None else set(among)
    found, pending = {logits}, [logits]
    while pending:
        for other in pending.pop().all_input_nodes:
            if other not in found and (allowed is None or other in allowed):
                found.add(other)
                pending.append(other)
    return found


def _carries(node: fx.Node) -> bool:
    """Whether values that can carry relevance come out of an operator."""
    if node.op != "call_function" or Step.of(node).name in _SHAPED:
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
    if name in _WEIGHTED:
        operand, weight, bias = _WEIGHTED[name]
        if operands != (given[operand],):
            raise _refuse(step, "weights that depend on the image")
        return Part(
            "convolution" if name in _CONVOLUTIONS else "linear", step, operands, weight, bias
        )
    if name in _SUMS and len(operands) == 2:
        return Part("sum", step, operands)
    if name in _MOVING:
        return None
    if len(operands) > 1:
        raise _refuse(step, "several values that depend on the image")
    if name in _SAME:
        return Part("same", step, operands)
    if name in _AVERAGES:
        if _sizes(node)[:1] != _sizes(operands[0])[:1]:
            raise _refuse(step, "a sum over samples")
        return Part("average", step, operands)
    if name in _ACTIVATIONS:
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


def _merged(parts: dict[fx.Node, Part], straight: FunctionalGraph) -> dict[fx.Node, Part]:
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
        if weighted is None or len(before.users) > 1 or before is straight.logits or not known:
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
