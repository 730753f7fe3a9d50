"""Layer-wise relevance propagation on the network's own graph: what to compare with."""

from __future__ import annotations

import math
from collections.abc import Callable, Container
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, fx

from cofire.errors import NonFiniteError
from cofire.explain.methods.lrp_plan import LrpPlan, Part, lrp_plan_of
from cofire.explain.methods.registry import Found, register_method
from cofire.explain.result.regions import SIGMA, blurred
from cofire.explain.rules.attention import (
    THROUGH,
    Through,
    attention_weights,
    check_weights,
    for_each_head,
    masked_fit,
)
from cofire.explain.rules.linear import halved, normalized, refuse_without_attention, reshaped
from cofire.explain.rules.registry import Step
from cofire.network import Network
from cofire.network.heads import fit_of
from cofire.network.operators import named
from cofire.network.untouched import without_autocast
from cofire.options import Options

_BYTES = 2 << 30
"""What the values of a batch may take on the way; more images go through one after the other."""

_COPIES = 3
"""A layer's input is held beside autograd's, and that with its two signs apart."""

_EPSILON = 1e-6

_VIEWS = (torch.ops.aten.view.default, torch.ops.aten._unsafe_view.default)

Function = Callable[..., Any]


class LrpOptions(Options):
    """Options of layer-wise relevance propagation.

    Attributes:
        sigma: Width of the blur as a share of the shorter side; 0 for none.
        attention: Which way relevance takes through attention: "values", mixed by the weights of
            attention as numbers; or "weights", half of it through these, to queries and keys.
    """

    sigma: float = Field(
        SIGMA, ge=0, title="Blur", description="Width of the blur, as a share of the shorter side."
    )
    attention: Through = THROUGH


@register_method(
    "lrp",
    title="LRP",
    options=LrpOptions,
    meaning="Relevance by LRP ε⁺: what each neuron adds up is shared out among its inputs.",
)
def lrp(network: Network, images: Tensor, classes: Tensor, options: LrpOptions) -> Found:
    """The positive part of the relevance, blurred."""
    maps = lrp_maps(network, images, classes, options.sigma, options.attention)
    noted = options.record() if lrp_plan_of(network).attends else {"sigma": options.sigma}
    return Found(maps=maps, options={"composite": "epsilon plus", **noted})


def lrp_maps(
    network: Network,
    images: Tensor,
    target: Tensor,
    sigma: float = SIGMA,
    attention: Through = "values",
) -> Tensor:
    """Where the relevance of a class lies in each image: its positive part, summed over channels and blurred.

    Args:
        network: With a graph; it takes one batch of images, or of vectors.
        images: (images, channels, height, width) or (images, features).
        target: The class to explain for each image, (images,), whole numbers.
        sigma: Width of the blur as a share of the shorter side, 0 or more; 0 for none.
        attention: See `relevance`.

    Returns:
        (images, height, width), float32, from 0 up, in units of the logit, on the CPU. Vectors are
        one row of pixels.

    Raises:
        BatchError: The images do not fit the network.
        ExportError: The network intercepts calls and has no graph.
        NonFiniteError: Relevance is NaN or infinite.
        OptionError: `sigma` is no number from 0 up.
        RuleError: An operator on the way has no rule.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> model[0].weight.data.fill_(1), model[0].bias.data.zero_()
        (tensor([[[[1.]]]]), tensor([0.]))
        >>> model[3].weight.data[:] = torch.tensor([[1.0, 1, 0, -1], [0, 0, -1, -1]])
        >>> image = torch.tensor([[[[4.0, 0], [0, 2]]]])
        >>> lrp_maps(Network(model, image), image, torch.tensor([0]), sigma=0).round(decimals=3)
        tensor([[[4., 0.],
                 [0., 0.]]])
    """
    found = relevance(network, images, target, attention)
    flat = found.sum(1) if found.ndim == 4 else found[:, None]
    return blurred(flat.clamp(min=0), sigma)


def relevance(
    network: Network, images: Tensor, target: Tensor, attention: Through = "values"
) -> Tensor:
    """The relevance of a class in every value of each image, by zennit's composite `EpsilonPlus` (LRP ε⁺).

    A class starts with its logit, which relevance shares out among the inputs i of every neuron j:

    - convolutions, ZPlus: Rᵢ = Σⱼ (xᵢwᵢⱼ)⁺ Rⱼ / Σᵢ (xᵢwᵢⱼ)⁺, with a positive bias among what is
      summed;
    - linear layers, averages, sums and multiples, ε: Rᵢ = Σⱼ xᵢwᵢⱼ Rⱼ / (zⱼ + ε sign zⱼ), with ε =
      1e-6;
    - activation functions, shifts and batch normalisation hand on what they get. Batch
      normalisation that follows a
      convolution or a linear layer is merged into it first, as by zennit's canonizers;
    - maxima and what moves values: to where each value came from;
    - layer and group normalisation, ε, what they divide by a number; what a gate scales: on as it is;
    - attention, ε: to the values, Rⱼ = Σᵢ Aᵢⱼvⱼ Rᵢ / Σⱼ Aᵢⱼvⱼ, with the weights A as numbers
      (CP-LRP), or half of that, and half to the weights and on to queries and keys (AttnLRP): by the
      gradient of the softmax times what goes in, then half each by their products. autolrp has the
      same numbers.

    A sum, such as a residual connection, shares by what each operand contributes, as zennit's
    canonizer for ResNet has it. zennit without that canonizer would leave the sum to autograd,
    which hands the whole relevance to each operand. So it does for averages that are written as
    functions: here they are averages, however written.

    The logit, and not 1, is what starts: what speaks for a class is positive also where its logit
        is below zero.

    The numbers are zennit's; the rules stand for the graph's operators during the call. The model
    is not changed in any way: its weights are shared and detached. Half precision is computed in
    single precision.

    Args:
        network: With a graph; it takes one batch of inputs.
        images: (images, *network.input_shape).
        target: The class to explain for each image, (images,), whole numbers of classes that there
            are.
        attention: "values" or "weights": which way relevance takes through attention.

    Returns:
        (images, *network.input_shape), float32 or, of a network in double precision, float64, on
        the CPU.

    Raises:
        BatchError: The images do not fit the network.
        ExportError: The network intercepts calls and has no graph.
        NonFiniteError: Relevance is NaN or infinite.
        RuleError: An operator on the way has no rule.

    Example:
        What a linear layer adds up, 2 - 1, is shared out as it was added:

        >>> from torch import nn
        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> model[0].weight.data[:] = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
        >>> vector = torch.tensor([[2.0, 1.0]])
        >>> relevance(Network(model, vector), vector, torch.tensor([0])).round(decimals=3)
        tensor([[ 2., -1.]])
    """
    plan = lrp_plan_of(network, attention == "weights")
    refuse_without_attention(network, attention, plan.attends)
    (prepared,) = network.prepared(images)
    each = max(1, _BYTES // max(1, _COPIES * sum(map(_bytes, plan.order))))
    found = []
    # Gradients need tensors that autograd may keep, also where the caller records nothing.
    with torch.inference_mode(False), torch.enable_grad(), without_autocast():
        for first in range(0, len(prepared), each):
            part = slice(first, first + each)
            leaf = _wide(prepared[part].detach()).clone().requires_grad_()
            logits, _ = network.trace(leaf, gradients=True, replace=relevance_functions(plan))
            classes = target[part].to(logits.device, torch.int64, copy=True)
            chosen = logits.gather(1, classes[:, None])
            found.append(torch.autograd.grad(chosen, leaf, chosen.detach())[0].cpu())
    whole = torch.cat(found)
    finite = whole.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise NonFiniteError(
            f"relevance of image {int((~finite).nonzero()[0])} that is NaN or infinite",
            "finite weights, activations and relevance",
            "look for NaN in the weights, and for images of extreme values",
        )
    return whole


def relevance_functions(
    plan: LrpPlan, among: Container[fx.Node] | None = None
) -> dict[fx.Node, Function]:
    """What takes the place of the graph's operators: the same values, with relevance for gradients.

    Args:
        plan: How relevance goes through the graph.
        among: The operators that are replaced; all of them unless given.
    """
    # Half precision stays out of the sums.
    found: dict[fx.Node, Function] = {
        node: _wide if node.op == "placeholder" else _wide_cast(node)
        for node in plan.order
        if node.op == "placeholder" or _casts(node)
    }
    found |= {node: reshaped for node in plan.order if node.target in _VIEWS}
    parts = {node: part for node, part in plan.parts.items() if among is None or node in among}
    merged = [part for part in parts.values() if part.norm is not None]
    found |= {node: partial(_by_rule, part) for node, part in parts.items() if not part.spelled}
    for part in merged:
        assert part.norm is not None
        # The weights are known where the normalisation that is merged into them is called.
        found[part.step.node] = partial(_given, part.step)
        found[part.norm.node] = partial(_by_merged_rule, part, part.norm)
    sources: dict[fx.Node, Tensor] = {}
    for node, part in parts.items():
        if part.spelled:
            (source,) = part.operands
            found[source] = partial(_kept, sources, source, found.get(source) or _target_of(source))
            found[node] = partial(_spelled, sources, source, _target_of(node))
    return found


def _target_of(node: fx.Node) -> Any:
    return node.target


def _kept(
    sources: dict[fx.Node, Tensor],
    node: fx.Node,
    compute: Function,
    *arguments: Any,
    **keywords: Any,
) -> Any:
    """What a node computes, kept for an activation function that is written out by hand."""
    sources[node] = compute(*arguments, **keywords)
    return sources[node]


def _spelled(
    sources: dict[fx.Node, Tensor],
    node: fx.Node,
    compute: Function,
    *arguments: Any,
    **keywords: Any,
) -> Tensor:
    """The last operator of an activation function by hand, with one step back to what it is a function of."""
    return _passed(compute(*arguments, **keywords), sources[node])


def _given(step: Step, *arguments: Any, **keywords: Any) -> dict[str, Any]:
    """An operator's arguments by name, defaults filled in."""
    listed = [one.name for one in _signature(step) if not one.kwarg_only]
    return {**step.arguments, **dict(zip(listed, arguments, strict=False)), **keywords}


def _signature(step: Step) -> Any:
    assert isinstance(step.node.target, torch._ops.OpOverload)
    return step.node.target._schema.arguments


def _by_rule(part: Part, *arguments: Any, **keywords: Any) -> Any:
    given = _given(part.step, *arguments, **keywords)
    return _result(part.step, _value(part, given, given.get(part.weight), given.get(part.bias)))


def _by_merged_rule(part: Part, norm: Step, *arguments: Any, **keywords: Any) -> Any:
    settings = _given(norm, *arguments, **keywords)
    given = settings["input"]
    names = ("running_mean", "running_var", "eps", "weight", "bias")
    weight, bias = merged_weights(
        given[part.weight], given.get(part.bias), *(settings[name] for name in names)
    )
    return _result(norm, _value(part, given, weight, bias))


def _value(part: Part, given: dict[str, Any], weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """An operator's value, whose gradient is the relevance by its rule."""
    step = part.step
    places = [
        name
        for name, node in step.arguments.items()
        if isinstance(node, fx.Node) and node in part.operands
    ]

    def call(values: dict[str, Any], weight: Tensor | None, bias: Tensor | None) -> Tensor:
        now = given | values
        now |= {part.weight: weight} if part.weight else {}
        now |= {part.bias: bias} if part.bias else {}
        listed = [now[one.name] for one in _signature(step) if not one.kwarg_only]
        rest = {one.name: now[one.name] for one in _signature(step) if one.kwarg_only}
        result = step.node.target(*listed, **rest)  # type: ignore[operator]
        found: Tensor = result[0] if _several(step) else result
        return found

    if part.kind == "attention":
        return _attended(part, given)
    if part.kind == "product":
        mixed = _divided(call(_factors(part, given), weight, bias))
        return halved(mixed) if len(part.operands) == 2 else mixed
    value: Tensor = given[places[0]]
    if part.kind == "same":
        return value
    if part.kind == "gate":
        signal = value.chunk(2, given["dim"])[0] if step.name == "glu" else value
        return _passed(call({}, weight, bias), signal)
    if part.kind == "spread":
        listed = [given[one.name] for one in _signature(step)]
        found = normalized(step, _times(value), *listed[1:])
        return _divided(found[0] if _several(step) else found)
    if part.kind == "softmax":
        weights = call({places[0]: _finite_times(value)}, weight, bias)
        check_weights(step, weights)
        return _divided(weights)
    if part.kind in ("activation", "scaling"):
        return _passed(call({}, weight, bias), value)
    if part.kind != "convolution":
        # ε: the operands times their gradient, of the sum over itself.
        return _divided(call({name: _times(given[name]) for name in places}, weight, bias))
    # ZPlus: of products above zero alone, though the value is that of all.
    assert weight is not None
    (place,) = places
    once = _times(value)
    positive = call(
        {place: once.clamp(min=0)}, weight.clamp(min=0), None if bias is None else bias.clamp(min=0)
    )
    with torch.no_grad():
        whole = call({}, weight, bias)
    # Behind a ReLU there is nothing below zero, and nothing to add.
    if bool((value < 0).any()):
        positive = positive + call({place: once.clamp(max=0)}, weight.clamp(max=0), None)
    return _passed(whole, _divided(positive))


def _factors(part: Part, given: dict[str, Any]) -> dict[str, Any]:
    """What a product is made of; what gets no relevance is a number."""

    def one(node: Any, value: Any) -> Any:
        if isinstance(node, list | tuple):
            return [one(*pair) for pair in zip(node, value, strict=True)]
        if not isinstance(value, Tensor):
            return value
        return _times(value) if node in part.operands else value.detach()

    return {name: one(node, given[name]) for name, node in part.step.arguments.items()}


def _attended(part: Part, given: dict[str, Any]) -> Tensor:
    """Attention, with ε where values are mixed: weights are numbers, or get half as in AttnLRP."""
    step = part.step
    query = given["query"]
    key, value = (for_each_head(step, query, given[name]) for name in ("key", "value"))
    if not step.weights:
        weights = attention_weights(step, query.detach(), key.detach(), given["attn_mask"])
        return _divided(weights @ _times(value))
    fit = halved(_divided(fit_of(_times(query), _times(key), step.arguments.get("scale"))))
    weights = _finite_times(masked_fit(step, fit, given["attn_mask"])).softmax(-1)
    check_weights(step, weights)
    return halved(_divided(_times(_divided(weights)) @ _times(value)))


def _finite_times(value: Tensor) -> Tensor:
    """Like `_times`; what a mask hides gets nothing."""
    hidden = value.isinf()
    shown = _times(value.masked_fill(hidden, 0.0))
    return shown.masked_fill(hidden, -torch.inf)


def _passed(value: Tensor, operand: Tensor) -> Tensor:
    """A value whose gradient goes to an operand of its shape, as it is."""
    return value.detach() + (operand - operand.detach())


def _times(value: Tensor) -> Tensor:
    """The same, whose gradient is multiplied by it on the way back."""
    same, factor = value.view_as(value), value.detach()
    if same.requires_grad:
        same.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
    return same


def _divided(total: Tensor) -> Tensor:
    """The same, whose gradient is divided by it on the way back: never by zero."""
    by = total.detach()
    by = by + torch.where(by < 0, -_EPSILON, _EPSILON)
    if total.requires_grad:
        total.register_hook(lambda gradient: gradient / by)  # type: ignore[no-untyped-call]
    return total


def _several(step: Step) -> bool:
    return isinstance(step.node.meta.get("val"), (tuple, list))


def _result(step: Step, value: Tensor) -> Any:
    """The value, of an operator with several results in the place of the first: nothing else of it is used."""
    return (value, *[None] * (len(step.node.meta["val"]) - 1)) if _several(step) else value


def _casts(node: fx.Node) -> bool:
    if node.op != "call_function" or Step.of(node).name not in named("cast"):
        return False
    first = node.args[0] if node.args else None
    return isinstance(first, fx.Node) and isinstance(first.meta.get("val"), Tensor)


def _wide(value: Tensor) -> Tensor:
    """In single precision at least."""
    if not isinstance(value, Tensor) or not value.is_floating_point():
        return value
    return value.to(torch.promote_types(value.dtype, torch.float32))


def _wide_cast(node: fx.Node) -> Callable[..., Tensor]:
    kind = node.meta["val"].dtype
    wide = torch.promote_types(kind, torch.float32) if kind.is_floating_point else kind
    return lambda value, *_, **__: value.to(wide)


def _bytes(node: fx.Node) -> int:
    value = node.meta.get("val")
    if not isinstance(value, Tensor) or node.op != "call_function":
        return 0
    return (
        math.prod(int(size) for size in value.shape if isinstance(size, int)) * value.element_size()
    )


def merged_weights(
    weight: Tensor,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    eps: float,
    scale: Tensor | None = None,
    shift: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Weights and bias of a linear map with the batch normalisation that follows it.

    With s = γ / √(σ² + ε): W' = s W, b' = s (b - μ) + β.

    Args:
        weight: (outputs, ...).
        bias: (outputs,), None for none.
        mean: μ, (outputs,).
        variance: σ², (outputs,).
        eps: ε.
        scale: γ, (outputs,), None for ones.
        shift: β, (outputs,), None for zeros.

    Example:
        >>> one = torch.ones(1)
        >>> merged_weights(torch.tensor([[2.0]]), None, one, 3 * one, 1.0, scale=4 * one, shift=5 * one)
        (tensor([[4.]]), tensor([3.]))
    """
    factor = (variance + eps) ** 0.5
    factor = 1 / factor if scale is None else scale / factor
    moved = (-mean if bias is None else bias - mean) * factor
    return weight * factor.reshape(
        -1, *[1] * (weight.ndim - 1)
    ), moved if shift is None else moved + shift
