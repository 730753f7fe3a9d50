"""A network with attention as sums of what goes in: what else scales a value counts as a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx
from torch.utils._pytree import tree_leaves

from cofire.errors import OptionError
from cofire.explain.rules.attention import (
    Attention,
    Products,
    Through,
    attention_weights,
    check_weights,
    for_each_head,
    masked_fit,
)
from cofire.explain.rules.binary import Product
from cofire.explain.rules.registry import Rule, Step, depends
from cofire.explain.rules.rows import FEW, rows_weighted, sums_weighted
from cofire.network import Network
from cofire.network.heads import fit_of
from cofire.network.operators import named

Steps = Mapping[fx.Node, tuple[Step, Rule]]
Function = Callable[..., Any]


def attends(steps: Steps) -> bool:
    """Whether evidence passes attention, or another product of two values of the image, on its way."""
    return any(isinstance(rule, Attention | Products) for _, rule in steps.values())


def refuse_without_attention(network: Network, attention: Through, there: bool) -> None:
    """Refuse to follow weights of attention through a network that has none.

    Raises:
        OptionError: That was asked for.
    """
    if attention == "weights" and not there:
        raise OptionError(
            f"attention={attention!r} for {network!r}, without attention",
            "a network with attention on its way to the logits",
            "leave attention= out",
        )


def linear_functions(steps: Steps) -> dict[fx.Node, Function]:
    """What takes the place of operators, so that a value times its gradient is what it adds to a logit.

    The results are those of the operators; on the way back, weights of attention, what activation
    functions scale by, and the spread that normalisation divides by are numbers. Then, up to biases
    and what starts from no image, `Σ a · ∂z_c/∂a = z_c` over all values of a layer that everything
    goes through. Of two values of which neither scales the other each gets half.

    Args:
        steps: What evidence passes; those of `Step.weights` follow weights of attention as well, by
            the rules of AttnLRP: half goes to them, through the softmax by its own gradient.
    """
    found: dict[fx.Node, Function] = {}
    for node, (step, rule) in steps.items():
        target: Any = node.target
        if step.name == "view":
            found[node] = reshaped
        elif isinstance(rule, Attention):
            found[node] = partial(_attention, step)
        elif isinstance(rule, Products | Product):
            # A value that meets itself counts twice.
            held = [other for other in tree_leaves(node.args) if isinstance(other, fx.Node)]
            if sum(map(depends, held)) == 2:
                found[node] = partial(_product, node, frozenset(rule.operands(step)))
        elif step.name in named("layer_norm", "group_norm"):
            found[node] = partial(normalized, step)
        elif step.name in named("elementwise"):
            found[node] = partial(_activation, target)
        elif step.name == "glu":
            found[node] = _gated
        elif step.name == "softmax":
            found[node] = partial(_softmax, step, target)
    return found


def skipping_functions(steps: Steps) -> dict[fx.Node, Function]:
    """What takes the place of layers with weights that can go back faster than by the gradient of all.

    Linear layers leave out the rows of weights for which no evidence comes: behind a ReLU half of
    the neurons get none, of logits all but one, and of queries, keys and values in one layer only
    the values get any. Convolutions of patches that lie side by side are products of matrices.

    Args:
        steps: What evidence passes.
    """
    found: dict[fx.Node, Function] = {}
    for node, (step, _) in steps.items():
        if node.target is torch.ops.aten.linear.default:
            parted = any(Step.of(user).name in _PARTED for user in node.users)
            found[node] = partial(_linear, parted)
        elif node.target is torch.ops.aten.conv2d.default and _of_patches(step):
            found[node] = _patches
    return found


def _of_patches(step: Step) -> bool:
    weight, given = step.arguments["weight"], step.arguments
    shape = tuple(weight.meta["val"].shape[2:]) if isinstance(weight, fx.Node) else ()
    ones = {*given["dilation"], given["groups"]} == {1}
    return tuple(given["stride"]) == shape and max(shape) > 1 and not any(given["padding"]) and ones


_PARTED = named("reshape", "squeeze", "reorder", "split", "part")


def _linear(parted: bool, value: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    found: Tensor = _Skipping.apply(value, weight, bias, parted)
    return found


class _Skipping(torch.autograd.Function):
    """A linear layer, to whose weights no gradient goes."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, weight: Tensor, bias: Tensor | None, parted: bool
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.parted = parted
        # Of values that lie in memory in another order PyTorch makes one small product for each row.
        flat = value.reshape(-1, weight.shape[1])
        found = torch.nn.functional.linear(flat, weight, bias)
        return found.reshape(*value.shape[:-1], len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        (gradient,) = gradients
        sums = gradient.reshape(-1, len(weight))
        few = ctx.parted or len(sums) <= FEW
        found = rows_weighted(sums, weight) if few else sums_weighted(sums, weight)
        return found.reshape(*gradient.shape[:-1], weight.shape[1]), None, None, None


def _patches(value: Tensor, weight: Tensor, bias: Tensor | None, stride: Any, *_: Any) -> Tensor:
    found: Tensor = _Patches.apply(value, weight, bias, tuple(stride))
    return found


class _Patches(torch.autograd.Function):
    """A convolution whose stride is the size of its kernel, to whose weights no gradient goes."""

    @staticmethod
    def forward(
        ctx: Any, value: Tensor, weight: Tensor, bias: Tensor | None, stride: tuple[int, int]
    ) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.shape = value.shape
        return torch.nn.functional.conv2d(value, weight, bias, stride)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        images, _, rows, columns = gradients[0].shape
        _, depth, high, wide = weight.shape
        patches = gradients[0].flatten(2).transpose(1, 2) @ weight.flatten(1)
        shape = (images, rows, columns, depth, high, wide)
        whole = patches.reshape(shape).permute(0, 3, 1, 4, 2, 5)
        found = gradients[0].new_zeros(ctx.shape)
        # Rows and columns at the border that fill no patch have been in none.
        found[..., : rows * high, : columns * wide] = whole.reshape(
            images, depth, rows * high, columns * wide
        )
        return found, None, None, None


def reshaped(value: Tensor, shape: Any) -> Tensor:
    """A view also of values that lie in memory in another way than a fused operator leaves them."""
    moved: Tensor = value.reshape(shape)
    return moved


def halved(value: Tensor) -> Tensor:
    """The same, whose gradient is half as large on the way back."""
    return value / 2 + (value / 2).detach()


def _product(
    node: fx.Node, through: frozenset[fx.Node], *arguments: Any, **keywords: Any
) -> Tensor:
    def one(held: Any, value: Any) -> Any:
        if isinstance(held, list | tuple):
            return [one(*pair) for pair in zip(held, value, strict=True)]
        return value.detach() if isinstance(value, Tensor) and held not in through else value

    compute: Any = node.target
    given = [one(held, value) for held, value in zip(node.args, arguments, strict=True)]
    result: Tensor = compute(*given, **keywords)
    both = all(held in through for held in tree_leaves(node.args) if isinstance(held, fx.Node))
    return halved(result) if both else result


def _gated(value: Tensor, dim: int = -1) -> Tensor:
    signal, gate = value.chunk(2, dim)
    found: Tensor = signal * gate.detach().sigmoid()
    return found


def _activation(compute: Function, value: Any, *arguments: Any, **keywords: Any) -> Tensor:
    """f(0) + x · (f(x) − f(0)) / x, the quotient a number."""
    with torch.no_grad():
        whole = compute(value, *arguments, **keywords)
        alike = not any(isinstance(one, Tensor) for one in tree_leaves((arguments, keywords)))
        zero = compute(
            value.new_zeros(1) if alike else torch.zeros_like(value), *arguments, **keywords
        )
        scale = (whole - zero).div_(value) if bool(zero.any()) else whole / value
        scale.nan_to_num_(0.0, torch.inf, -torch.inf)
    found: Tensor = _Scaled.apply(value, whole, scale)
    return found


class _Scaled(torch.autograd.Function):
    """A value that counts as another one times a number."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, whole: Tensor, scale: Tensor) -> Tensor:
        ctx.save_for_backward(scale)
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (scale,) = ctx.saved_tensors
        return gradients[0] * scale, None, None


def normalized(step: Step, *arguments: Any, **keywords: Any) -> Any:
    """What is normalized, less its mean, times numbers: the result of layer, RMS or group normalisation."""
    compute: Any = step.node.target
    value = arguments[0]
    with torch.no_grad():
        result = compute(*arguments, **keywords)
    whole = result[0] if isinstance(result, tuple) else result
    weight = _given(step, arguments, keywords, "weight")
    if step.name in named("layer_norm"):
        over = tuple(range(-len(step.arguments["normalized_shape"]), 0))
        parts = value
    else:
        groups = step.arguments.get("num_groups") or step.arguments.get("group") or value.shape[1]
        parts, over = value.reshape(value.shape[0], int(groups), -1), (2,)
        weight = None if weight is None else weight.reshape(-1, *[1] * (value.ndim - 2))
    plain = step.name == "rms_norm"
    eps = step.arguments.get("eps")
    eps = torch.finfo(value.dtype).eps if eps is None else eps
    with torch.no_grad():
        if plain:
            scale = (parts.square().mean(over, keepdim=True) + eps).rsqrt()
        else:
            # The kernel that normalises tells by what it divides.
            shape = parts.shape[-len(over) :]
            scale = torch.native_layer_norm(parts, shape, None, None, eps)[2].to(value.dtype)
    moved = _Normalized.apply(parts, whole, scale, weight, None if plain else over)
    return (moved, *result[1:]) if isinstance(result, tuple) else moved


class _Normalized(torch.autograd.Function):
    """Values of groups, less their mean if axes are given, that count as scaled by numbers."""

    @staticmethod
    def forward(
        ctx: Any,
        parts: Tensor,
        whole: Tensor,
        scale: Tensor,
        weight: Tensor | None,
        over: tuple[int, ...] | None,
    ) -> Tensor:
        ctx.save_for_backward(scale, weight)
        ctx.shape, ctx.over = parts.shape, over
        return whole

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        scale, weight = ctx.saved_tensors
        (gradient,) = gradients
        gradient = gradient if weight is None else gradient * weight
        parts = gradient.reshape(ctx.shape) * scale
        if ctx.over is not None:
            parts = parts - parts.mean(ctx.over, keepdim=True)
        return parts, None, None, None, None


def _given(step: Step, arguments: Any, keywords: Any, name: str) -> Any:
    names = [argument.name for argument in step.node.target._schema.arguments]  # type: ignore[union-attr]
    return {**dict(zip(names, arguments, strict=False)), **keywords}.get(name)


def _softmax(step: Step, compute: Function, *arguments: Any, **keywords: Any) -> Tensor:
    weights: Tensor = compute(*arguments, **keywords)
    check_weights(step, weights)
    return weights


def _attention(
    step: Step, query: Tensor, key: Tensor, value: Tensor, *rest: Any, **keywords: Any
) -> Tensor:
    mask = rest[0] if rest else keywords.get("attn_mask")
    key, value = (for_each_head(step, query, shared) for shared in (key, value))
    if not step.weights:
        query, key = query.detach(), key.detach()
        return attention_weights(step, query, key, mask) @ value
    weights = masked_fit(
        step, halved(fit_of(query, key, step.arguments.get("scale"))), mask
    ).softmax(-1)
    check_weights(step, weights)
    return halved(weights @ value)
