"""Class activation maps on the network's own graph: what to compare with."""

from __future__ import annotations

from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor
from torch.nn.functional import interpolate

from cofire.errors import ExplanationError, NonFiniteError
from cofire.explain.methods.cam_layer import CamLayer, choose_cam_layer
from cofire.explain.methods.registry import Found, register_method
from cofire.network import Network, Selector
from cofire.network.untouched import without_autocast
from cofire.options import Options


class CamOptions(Options):
    """Options of class activation maps.

    Attributes:
        layer: What selects the activation layer whose map is taken, see `choose_cam_layer`; None
            for the last map before the classifier.
    """

    layer: Any = Field(
        None,
        title="Layer",
        description="Whose map gradcam and gradcam++ take; the last before the classifier.",
    )


@register_method(
    "gradcam",
    title="Grad-CAM",
    options=CamOptions,
    predicts=True,
    meaning="Selvaraju et al. 2017: a feature map weighted by the mean gradient of each channel.",
)
def gradcam(network: Network, images: Tensor, classes: Tensor | None, options: CamOptions) -> Found:
    """See `cam_maps`."""
    return cam_maps(network, images, classes, "gradcam", options.layer)


@register_method(
    "gradcam++",
    title="Grad-CAM++",
    options=CamOptions,
    predicts=True,
    meaning="Chattopadhay et al. 2018: weighted by the positive gradients, for several objects.",
)
def gradcam_plus_plus(
    network: Network, images: Tensor, classes: Tensor | None, options: CamOptions
) -> Found:
    """See `cam_maps`."""
    return cam_maps(network, images, classes, "gradcam++", options.layer)


def cam_maps(
    network: Network,
    images: Tensor,
    classes: Tensor | None,
    method: Literal["gradcam", "gradcam++"],
    layer: Selector | CamLayer = None,
) -> Found:
    """Class activation maps of a batch.

    With activations A of channel k and the gradient g of a class's logit after them, both at
    positions i, the map is ReLU(Σₖ wₖ Aₖ), brought to the images' size by bilinear interpolation:

    - "gradcam": wₖ is the mean of g over positions.
    - "gradcam++": wₖ = Σᵢ αᵢ ReLU(gᵢ) with αᵢ = g²ᵢ / (2g²ᵢ + g³ᵢ Σⱼ Aⱼ).

    The numbers are those of captum's `LayerGradCam` and of grad-cam's `GradCAMPlusPlus`; that
    library goes on to stretch every map to [0, 1]. Here it is left as it is, so that the maps of
    two images can be compared, and a map with nothing positive is all zero.

    Args:
        network: With a graph; it takes one batch of images.
        images: (images, channels, height, width).
        classes: The class to explain for each image, (images, 1); None for the predicted one.
        method: Which of the two.
        layer: The feature map, see `choose_cam_layer`.

    Returns:
        The maps (images, height, width), float32, from 0 up; the layer's name as option; the logits
        in the network's type, and the classes.

    Raises:
        BatchError: The images do not fit the network.
        ExplanationError: The network does not take images, has no feature map, or the logits do not
            depend on it.
        ExportError: The network intercepts calls and has no graph.
        LayerError: The given layer does not exist.
        NonFiniteError: Activations or gradients are NaN or infinite.

    Example:
        >>> from torch import nn
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> model[0].weight.data.fill_(1), model[0].bias.data.zero_()
        (tensor([[[[1.]]]]), tensor([0.]))
        >>> model[3].weight.data[:] = torch.tensor([[1.0, 1, 0, 0], [0, 0, -1, -1]])
        >>> images = torch.tensor([[[[4.0, 0], [0, 2]]], [[[4.0, 0], [0, 2]]]])
        >>> found = cam_maps(Network(model, images), images, torch.tensor([[0], [1]]), "gradcam")
        >>> found.maps.tolist(), found.options
        ([[[2.0, 0.0], [0.0, 1.0]], [[0.0, 0.0], [0.0, 0.0]]], {'target_layer': '1'})
    """
    if len(network.input_shape) != 3 or network.num_inputs != 1:
        raise ExplanationError(
            f"a network of {network.num_inputs} input(s), samples of shape {network.input_shape}",
            "a network of images, (channels, height, width)",
            "wrap the model so that it takes one batch of images",
        )
    chosen = choose_cam_layer(network, layer)
    kept: list[Tensor] = []

    def observed(*arguments: Any, **named: Any) -> Tensor:
        value: Tensor = chosen.node.target(*arguments, **named)  # type: ignore[operator]
        # Half precision is left for the map only: its sums and third powers would lose what they
        # are made of. Copies: what follows may write over it in place, what came before may do so
        # to what it shares.
        wide = torch.promote_types(value.dtype, torch.float32)
        kept.append(value.detach().to(wide, copy=True).requires_grad_())
        return kept[0].to(value.dtype, copy=True)

    logits, _ = network.trace(images, gradients=True, replace={chosen.node: observed})
    (feature,) = kept
    # The caller may be in a mode in which what was recorded cannot be read.
    with torch.inference_mode(False), torch.no_grad(), without_autocast():
        said = logits.detach()
        target = said.argmax(1, keepdim=True) if classes is None else classes.to(said.device)
        start = torch.zeros_like(said).scatter(1, target.clone(), 1.0)
        gradient = None
        if logits.requires_grad:
            (gradient,) = torch.autograd.grad(logits, feature, start, allow_unused=True)
        if gradient is None:
            raise ExplanationError(
                f"layer {chosen.name!r}, from which no gradient comes to the logits",
                "a layer on which the logits depend by differentiable operators",
                "name another layer, or leave it to choose_cam_layer",
            )
        values = feature.detach()
        if chosen.channel_axis == 2:
            values, gradient = values.permute(0, 3, 1, 2), gradient.permute(0, 3, 1, 2)
        if method == "gradcam":
            weights = gradient.mean((2, 3), keepdim=True)
        else:
            positive, total = gradient.clamp(min=0), values.sum((2, 3), keepdim=True)
            # As the library has it: what is divided by is never zero.
            share = positive**2 / (2 * positive**2 + total * positive**3 + 1e-6)
            weights = (share * positive).sum((2, 3), keepdim=True)
        small = (weights * values).sum(1, keepdim=True).clamp(min=0)
        maps = interpolate(small, images.shape[2:], mode="bilinear")[:, 0].float()
    bad = ~(maps.isfinite().flatten(1).all(1) & said.isfinite().all(1))
    if bool(bad.any()):
        raise NonFiniteError(
            f"NaN or infinite numbers in the logits or in the map at {chosen.name!r}, first for image "
            f"{int(bad.nonzero()[0])}",
            "finite images, weights, activations and gradients",
            "look for NaN in the image and the weights; in half precision, use float32 or bfloat16",
        )
    return Found(
        maps=maps, options={"target_layer": chosen.name}, logits=said, classes=target.cpu()
    )
