"""Net evidence: what the neurons of a layer say for a class, all paths to it and everything against it counted."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, fx
from torch.nn.functional import adaptive_avg_pool2d

from cofire.errors import NonFiniteError
from cofire.explain.layer_maps import LayerMaps
from cofire.network import ActivationLayer

_FINEST = 56
"""More rows or columns of a layer are averaged down to so many: finer detail is blurred away anyhow."""


def net_evidence(
    layers: dict[fx.Node, ActivationLayer],
    logits: Tensor,
    values: dict[fx.Node, Tensor],
    classes: Tensor,
    contrast: float,
    first: int = 0,
) -> LayerMaps | None:
    """Where each layer's evidence for a class outweighs that for its strongest rival.

    The net evidence of a place is `E_c = Σ_channels a · ∂z_c/∂a`: for a network of ReLUs, up to
    biases, what its activations there add to the logit, whatever way they take. Of it what is above
    zero counts, as shares of 1 over the layer; from it `contrast` times the same of the rival, the
    most probable class that is not explained, is taken
    away: `(Ê_c − contrast · Ê_d)⁺`.

    Args:
        layers: To look at.
        logits: (images, classes), recorded by autograd.
        values: The layers' activations, recorded too; by node.
        classes: The classes explained, (images, n); their logits are summed.
        contrast: From 0 up to 1.
        first: The number of the first image, for messages.

    Returns:
        None where no layer leads to the logits by differentiable operators.

    Raises:
        NonFiniteError: A gradient is NaN or infinite.
    """
    recorded = {node: layer for node, layer in layers.items() if values[node].requires_grad}
    if not recorded or not logits.requires_grad:
        return None
    tensors = [values[node] for node in recorded]
    own = _shares(logits, classes, tensors, recorded, first)
    if own is None:
        return None
    if contrast and classes.shape[1] < logits.shape[1]:
        rivals = logits.detach().scatter(1, classes, -torch.inf).argmax(1, keepdim=True)
        against = _shares(logits, rivals, tensors, recorded, first)
        if against is not None:
            own = [
                (one - contrast * other).clamp(min=0)
                for one, other in zip(own, against, strict=True)
            ]
    return LayerMaps(tuple(layer.name for layer in recorded.values()), tuple(own))


def _shares(
    logits: Tensor,
    classes: Tensor,
    tensors: Sequence[Tensor],
    layers: dict[fx.Node, ActivationLayer],
    first: int,
) -> list[Tensor] | None:
    # The caller may be in a mode in which nothing is recorded, nor could what is recorded be read.
    with torch.inference_mode(False), torch.no_grad():
        start = torch.zeros_like(logits).scatter(1, classes, 1.0)
        gradients = torch.autograd.grad(
            logits, tensors, start, retain_graph=True, allow_unused=True
        )
    if all(gradient is None for gradient in gradients):
        return None
    found = []
    for (node, layer), value, gradient in zip(layers.items(), tensors, gradients, strict=True):
        axis = layer.channel_axis + 1
        wide = torch.float64 if value.dtype == torch.float64 else torch.float32
        if gradient is None:
            evidence = torch.zeros_like(value.detach().select(axis, 0), dtype=wide)
        else:
            evidence = (value.detach().to(wide) * gradient.to(wide)).sum(axis)
        bad = ~evidence.isfinite().flatten(1).all(1)
        if bool(bad.any()):
            raise NonFiniteError(
                f"NaN or infinite gradients at '{layer.name}' ({node.name}), first for image "
                f"{first + int(bad.nonzero()[0])}",
                "finite images, weights, activations and gradients",
                "look for NaN in the image and the weights; in half precision, use float32 or bfloat16",
            )
        evidence = evidence.clamp(min=0)
        if max(evidence.shape[1:]) > _FINEST:
            # Averages of whole numbers of pixels where sizes divide, of overlapping windows where
            # they do not.
            height, width = (min(size, _FINEST) for size in evidence.shape[1:])
            evidence = adaptive_avg_pool2d(evidence[:, None], (height, width))[:, 0]
        # Logits may be of any scale: in double precision no sum of finite single ones overflows.
        total = (
            evidence.double().sum((1, 2), keepdim=True).clamp(min=torch.finfo(torch.float64).tiny)
        )
        found.append((evidence.double() / total).float())
    return found
