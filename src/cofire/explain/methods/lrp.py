"""Layer-wise relevance propagation by zennit, on the network's own graph: what to compare with."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from pydantic import Field
from torch import Tensor, fx, nn

from cofire.errors import ExplanationError, MissingExtraError, NonFiniteError
from cofire.explain.methods.lrp_modules import (
    Multiple,
    Site,
    Sum,
    arguments_of,
    merged_weights,
    site_for,
)
from cofire.explain.methods.lrp_plan import LrpPlan, Part, lrp_plan_of
from cofire.explain.methods.registry import Found, register_method
from cofire.explain.result.regions import SIGMA, blurred, check_share
from cofire.explain.rules.registry import Step
from cofire.network import Network
from cofire.network.operators import named
from cofire.options import Options

_BYTES = 2 << 30
"""What the values of a batch may take on the way; more images go through one after the other."""

_COPIES = 3
"""zennit holds a layer's input beside autograd's, and that with its two signs apart."""


def lrp_maps(network: Network, images: Tensor, target: Tensor, sigma: float = SIGMA) -> Tensor:
    """Where the relevance of a class lies in each image: its positive part, summed over channels and blurred.

    Args:
        network: With a graph; it takes one batch of images, or of vectors.
        images: (images, channels, height, width) or (images, features).
        target: The class to explain for each image, (images,), whole numbers.
        sigma: Width of the blur as a share of the shorter side, 0 or more; 0 for none.

    Returns:
        (images, height, width), float32, from 0 up, in units of the logit, on the CPU. Vectors are
        one row of pixels.

    Raises:
        BatchError: The images do not fit the network.
        ExportError: The network intercepts calls and has no graph.
        MissingExtraError: zennit is not installed.
        NonFiniteError: Relevance is NaN or infinite.
        OptionError: `sigma` is no number from 0 up.
        RuleError: An operator on the way has no rule.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> model[0].weight.data.fill_(1), model[0].bias.data.zero_()
        (tensor([[[[1.]]]]), tensor([0.]))
        >>> model[3].weight.data[:] = torch.tensor([[1.0, 1, 0, -1], [0, 0, -1, -1]])
        >>> image = torch.tensor([[[[4.0, 0], [0, 2]]]])
        >>> lrp_maps(Network(model, image), image, torch.tensor([0]), sigma=0).round(decimals=3)
        tensor([[[4., 0.],
                 [0., 0.]]])
    """
    check_share("sigma", sigma, least=0.0)
    found = relevance(network, images, target)
    flat = found.sum(1) if found.ndim == 4 else found[:, None]
    return blurred(flat.clamp(min=0), sigma)


def relevance(network: Network, images: Tensor, target: Tensor) -> Tensor:
    """The relevance of a class in every value of each image, by zennit's composite `EpsilonPlus` (LRP ε⁺).

    A class starts with its logit, which relevance shares out among the inputs i of every neuron j:

    - convolutions, ZPlus: Rᵢ = Σⱼ (xᵢwᵢⱼ)⁺ Rⱼ / Σᵢ (xᵢwᵢⱼ)⁺, with a positive bias among what is
      summed;
    - linear layers, averages, sums and multiples, ε: Rᵢ = Σⱼ xᵢwᵢⱼ Rⱼ / (zⱼ + ε sign zⱼ), with ε =
      1e-6;
    - activation functions, shifts and batch normalisation hand on what they get. Batch
      normalisation that follows a
      convolution or a linear layer is merged into it first, as by zennit's canonizers;
    - maxima and what moves values: to where each value came from.

    A sum, such as a residual connection, shares by what each operand contributes, as zennit's
    canonizer for ResNet has it. zennit without that canonizer would leave the sum to autograd,
    which hands the whole relevance to each operand. So it does for averages that are written as
    functions: here they are averages, however written.

    The logit, and not 1, is what starts: what speaks for a class is positive also where its logit
        is below zero.

    The rules hang on modules that stand for the graph's operators during the call. The model is not
    changed in any
    way: its weights are shared and detached. Half precision is computed in single precision.

    Args:
        network: With a graph; it takes one batch of inputs.
        images: (images, *network.input_shape).
        target: The class to explain for each image, (images,), whole numbers of classes that there
            are.

    Returns:
        (images, *network.input_shape), float32 or, of a network in double precision, float64, on
        the CPU.

    Raises:
        BatchError: The images do not fit the network.
        ExportError: The network intercepts calls and has no graph.
        MissingExtraError: zennit is not installed.
        NonFiniteError: Relevance is NaN or infinite.
        RuleError: An operator on the way has no rule.

    Example:
        What a linear layer adds up, 2 - 1, is shared out as it was added:

        >>> model = nn.Sequential(nn.Linear(2, 2, bias=False))
        >>> model[0].weight.data[:] = torch.tensor([[1.0, -1.0], [1.0, 1.0]])
        >>> vector = torch.tensor([[2.0, 1.0]])
        >>> relevance(Network(model, vector), vector, torch.tensor([0])).round(decimals=3)
        tensor([[ 2., -1.]])
    """
    composites, rules = _zennit("zennit.composites"), _zennit("zennit.rules")
    plan = lrp_plan_of(network)
    device = network.device
    (prepared,) = network.prepared(images)
    each = max(1, _BYTES // max(1, _COPIES * sum(map(_bytes, plan.order))))
    found = []
    # Gradients need tensors that autograd may keep, also where the caller records nothing.
    with (
        torch.inference_mode(False),
        torch.enable_grad(),
        torch.autocast(device.type, enabled=False),
    ):
        for first in range(0, len(prepared), each):
            part = slice(first, first + each)
            pass_through = _Pass(plan, network)
            # As zennit's own Sum layer.
            composite = composites.EpsilonPlus(layer_map=[((Sum, Multiple), rules.Norm())])
            classes = target[part].to(device, torch.int64, copy=True)
            with composite.context(pass_through):
                found.append(_back(pass_through, prepared[part], classes).cpu())
    whole = torch.cat(found)
    finite = whole.isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        raise NonFiniteError(
            f"relevance of image {int((~finite).nonzero()[0])} that is NaN or infinite",
            "finite weights, activations and relevance",
            "look for NaN in the weights, and for images of extreme values",
        )
    return whole


def _back(pass_through: _Pass, images: Tensor, target: Tensor) -> Tensor:
    wide = torch.promote_types(images.dtype, torch.float32)
    leaf = images.detach().to(wide, copy=True).requires_grad_()
    chosen = pass_through(leaf).gather(1, target[:, None])
    found = torch.autograd.grad(chosen, leaf, chosen.detach(), allow_unused=True)[0]
    if found is None:
        raise ExplanationError(
            "an image from which no gradient comes to the logits",
            "logits that depend on the image by differentiable operators",
            "explain this network with method='discernible'",
        )
    return found


class _Pass(nn.Module):
    """One forward pass through the graph, with a module in place of each operator that has a rule.

    Args:
        plan: Of the graph.
        network: Whose weights to take.
    """

    def __init__(self, plan: LrpPlan, network: Network) -> None:
        super().__init__()
        self._network = network
        sites = {node: site_for(part) for node, part in plan.parts.items()}
        # For zennit to find them.
        self.sites = nn.ModuleList(site for site in sites.values() if site is not None)
        # Half precision stays out of the sums.
        self._functions: dict[fx.Node, Callable[..., Any]] = {
            node: _wide if node.op == "placeholder" else _wide_cast(node)
            for node in plan.order
            if node.op == "placeholder" or _casts(node)
        }
        for node, part in plan.parts.items():
            if not part.spelled:
                self._functions[node] = _by_rule(part, sites[node])
        for node, part in plan.parts.items():
            if part.norm is not None:
                # The weights are known where the normalisation that is merged into them is called.
                self._functions[node] = partial(_given, part.step)
                self._functions[part.norm.node] = _merged(part, part.norm, sites[node])

        for node, part in plan.parts.items():
            if part.spelled:
                (source,) = part.operands
                self._functions[source] = self._kept(source, self._functions.get(source))
                self._functions[node] = self._by_hand(part, sites[node])
        self._sources: dict[fx.Node, Tensor] = {}

    def _kept(self, node: fx.Node, function: Callable[..., Any] | None) -> Callable[..., Any]:
        """What a node computes, kept for an activation function that is written out by hand."""

        def keep(*arguments: Any, **keywords: Any) -> Any:
            compute = function or node.target
            value = self._sources[node] = compute(*arguments, **keywords)  # type: ignore[operator]
            return value

        return keep

    def _by_hand(self, part: Part, site: Site | None) -> Callable[..., Any]:
        assert site is not None
        function, (source,) = part.step.node.target, part.operands

        def whole(*arguments: Any, **keywords: Any) -> Tensor:
            found = function(*arguments, **keywords).detach()  # type: ignore[operator]
            # Its value with one step back to what it is a function of.
            site.settle(lambda value, *_: found + (value - value.detach()))
            result: Tensor = site(self._sources[source])
            return result

        return whole

    def forward(self, images: Tensor) -> Tensor:
        """The logits."""
        return self._network.trace(images, gradients=True, replace=self._functions)[0]


def _given(step: Step, *arguments: Any, **keywords: Any) -> dict[str, Any]:
    """An operator's arguments by name, defaults filled in."""
    return {
        **step.arguments,
        **dict(zip(arguments_of(step)[0], arguments, strict=False)),
        **keywords,
    }


def _by_rule(part: Part, site: Site | None) -> Callable[..., Any]:
    step = part.step
    places = [
        next(name for name, value in step.arguments.items() if value is operand)
        for operand in part.operands
    ]

    def function(*arguments: Any, **keywords: Any) -> Any:
        given = _given(step, *arguments, **keywords)
        if site is None:
            # Of an operator with several results the first is meant; nothing else of it was allowed
            # on the way.
            return _as_result(step, given[places[0]])
        if part.kind == "sum":
            return _summed(step, site, given)
        result = _settled(part, site, given, given.get(part.weight), given.get(part.bias))
        return _as_result(step, result)

    return function


def _merged(part: Part, norm: Step, site: Site | None) -> Callable[..., Any]:
    assert site is not None

    def function(*arguments: Any, **keywords: Any) -> Any:
        settings = _given(norm, *arguments, **keywords)
        given = settings["input"]
        weight, bias = merged_weights(
            given[part.weight],
            given.get(part.bias),
            *(settings[n] for n in ("running_mean", "running_var", "eps", "weight", "bias")),
        )
        result = _settled(part, site, given, weight, bias)
        return _as_result(norm, result)

    return function


def _settled(
    part: Part, site: Site, given: dict[str, Any], weight: Tensor | None, bias: Tensor | None
) -> Tensor:
    step = part.step
    place = next(name for name, value in step.arguments.items() if value is part.operands[0])
    listed, keywords = arguments_of(step)

    def call(value: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
        now = {**given, place: value}
        now |= {part.weight: weight} if part.weight else {}
        now |= {part.bias: bias} if part.bias else {}
        result = step.node.target(  # type: ignore[operator]
            *(now[name] for name in listed), **{name: now[name] for name in keywords}
        )
        found: Tensor = result[0] if _several(step) else result
        return found

    site.settle(call, weight, bias)
    result: Tensor = site(given[place])
    return result


def _summed(step: Step, site: Site, given: dict[str, Any]) -> Tensor:
    alpha = given.get("alpha")
    scale = 1 if alpha is None else alpha
    signs = {"add": (1, scale), "sub": (1, -scale), "rsub": (-scale, 1)}[step.name]
    beside = torch.stack(torch.broadcast_tensors(given["self"], given["other"]), -1)  # type: ignore[no-untyped-call]
    plain = signs == (1, 1)
    site.settle(lambda value, *_: (value if plain else value * value.new_tensor(signs)).sum(-1))
    result: Tensor = site(beside)
    return result


def _several(step: Step) -> bool:
    return isinstance(step.node.meta.get("val"), (tuple, list))


def _as_result(step: Step, value: Tensor) -> Any:
    """The value, of an operator with several results in the place of the first."""
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


def _zennit(module: str) -> Any:
    try:
        # It is needed for nothing else.
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            "LRP without zennit", "the extra 'lrp'", 'pip install "cofire[lrp]"'
        ) from error


class LrpOptions(Options):
    """Options of layer-wise relevance propagation.

    Attributes:
        sigma: Width of the blur as a share of the shorter side; 0 for none.
    """

    sigma: float = Field(
        SIGMA, ge=0, title="Blur", description="Width of the blur, as a share of the shorter side."
    )


@register_method(
    "lrp",
    title="LRP",
    options=LrpOptions,
    extra="lrp",
    meaning="Relevance by zennit's LRP ε⁺: what each neuron adds is shared out among its inputs.",
)
def lrp(network: Network, images: Tensor, classes: Tensor, options: LrpOptions) -> Found:
    """The positive part of the relevance, blurred."""
    maps = lrp_maps(network, images, classes, options.sigma)
    return Found(maps=maps, options={"composite": "epsilon plus", "sigma": options.sigma})
