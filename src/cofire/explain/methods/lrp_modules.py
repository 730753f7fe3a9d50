"""Modules in place of a graph's operators, for zennit to hang its rules on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from cofire.explain.methods.lrp_plan import Part, PartKind
from cofire.explain.rules.registry import Step

Call = Callable[..., Tensor]


class Site(nn.Module):
    """One operator of a graph at one place, as a module.

    zennit chooses a rule by the type of a module. The subclasses are of those types, but compute
    what the graph says there, with weights that are handed over: nothing of the type itself is
    built, so no weights are made up.

    Attributes:
        call: Computes the operator: called with what goes in, the weights and the bias.
    """

    call: Call

    def __init__(self) -> None:
        nn.Module.__init__(self)
        # What tells modules apart when they are printed is what their types would have built.
        self.register_parameter("weight", None)
        self.register_parameter("bias", None)

    def settle(self, call: Call, weight: Tensor | None = None, bias: Tensor | None = None) -> None:
        """Say what to compute. The tensors' memory is shared, as zennit exchanges parameters and writes into none."""
        self.call = call
        for name, value in (("weight", weight), ("bias", bias)):
            if value is not None:
                setattr(self, name, nn.Parameter(value, requires_grad=False))

    def forward(self, input: Tensor) -> Tensor:
        """The operator's result."""
        return self.call(input, self.weight, self.bias)

    def extra_repr(self) -> str:
        """Nothing: the settings are the graph's."""
        return ""


class _Convolution(Site, nn.Conv2d):
    """Of any number of axes, also transposed: the rule is the same."""


class _Linear(Site, nn.Linear):
    """Also a product with a matrix of weights."""


class _Activation(Site, nn.ReLU):
    """Any that changes each value by itself."""


class _Scaling(Site, nn.BatchNorm2d):
    """Also a shift by what does not depend on the image: whatever a bias adds is no input's."""


class _Average(Site, nn.AvgPool2d):
    """Averages and sums over positions."""


class Sum(Site):
    """A sum of several values, side by side along a last axis as for zennit's own `Sum` layer."""


class Multiple(Site):
    """What is scaled by something that does not depend on the image; a scale of zero ends relevance."""


_TYPES: dict[PartKind, type[Site]] = {
    "convolution": _Convolution,
    "linear": _Linear,
    "activation": _Activation,
    "scaling": _Scaling,
    "average": _Average,
    "sum": Sum,
    "multiple": Multiple,
}


def site_for(part: Part) -> Site | None:
    """A module for an operator; None for one that only hands on its operand."""
    return _TYPES[part.kind]() if part.kind in _TYPES else None


def arguments_of(step: Step) -> tuple[list[str], list[str]]:
    """Names of an operator's arguments: those that it takes by position, and those by name alone."""
    target = step.node.target
    assert isinstance(target, torch._ops.OpOverload)
    listed = target._schema.arguments
    return [one.name for one in listed if not one.kwarg_only], [
        one.name for one in listed if one.kwarg_only
    ]


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
