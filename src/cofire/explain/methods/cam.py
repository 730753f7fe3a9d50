"""Class activation maps by the libraries that define them, on the network's own graph: what to compare with."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, Literal, get_args

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from cofire.errors import (
    ExplanationError,
    LabelError,
    MissingExtraError,
    NonFiniteError,
    OptionError,
    near_matches,
)
from cofire.explain.methods.cam_layer import CamLayer, choose_cam_layer
from cofire.explain.methods.registry import Found, register_method
from cofire.network import Network, Selector
from cofire.network.untouched import without_autocast
from cofire.options import Options

CamMethod = Literal["gradcam", "gradcam++"]
"""Whose class activation map: Selvaraju et al. 2017 (captum), Chattopadhay et al. 2018 (grad-cam)."""


def cam_maps(
    network: Network,
    images: Tensor,
    target: Tensor,
    method: CamMethod,
    layer: Selector | CamLayer = None,
) -> tuple[Tensor, str, Tensor]:
    """Class activation maps of a batch.

    With activations A of channel k and the gradient g of a class's logit after them, both at
    positions i, the map is
    ReLU(Σₖ wₖ Aₖ), brought to the images' size by bilinear interpolation:

    - "gradcam": wₖ is the mean of g over positions; captum's `LayerGradCam`.
    - "gradcam++": wₖ = Σᵢ αᵢ ReLU(gᵢ) with αᵢ = g²ᵢ / (2g²ᵢ + g³ᵢ Σⱼ Aⱼ); the weights and the
      weighted sum are those
      of grad-cam's `GradCAMPlusPlus`. That library goes on to stretch every map to [0, 1]; here it
      is left as it is, so that the maps of two images can be compared, and a map with nothing
      positive is all zero.

    The network's graph is run with its weights shared and detached: the model is not changed in any
    way. Gradients are recorded from the layer on only, whether or not the weights are frozen and
    whatever mode the caller is in.

    Args:
        network: With a graph; it takes one batch of images.
        images: (images, channels, height, width).
        target: The class to explain for each image, (images,), whole numbers.
        method: Which of the two.
        layer: The feature map, see `choose_cam_layer`.

    Returns:
        The maps (images, height, width), float32, from 0 up; the layer's name; the logits (images,
        classes), in the network's type. Both tensors lie on the network's device.

    Raises:
        BatchError: The images do not fit the network.
        ExplanationError: The network does not take images, has no feature map, or the logits do not
            depend on it.
        ExportError: The network intercepts calls and has no graph.
        LabelError: The target is no class of the network for each image.
        LayerError: The given layer does not exist.
        MissingExtraError: The library is not installed.
        NonFiniteError: Activations or gradients are NaN or infinite.
        OptionError: The method is neither of the two.

    Example:
        >>> model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2, bias=False))
        >>> model[0].weight.data.fill_(1), model[0].bias.data.zero_()
        (tensor([[[[1.]]]]), tensor([0.]))
        >>> model[3].weight.data[:] = torch.tensor([[1.0, 1, 0, 0], [0, 0, -1, -1]])
        >>> images = torch.tensor([[[[4.0, 0], [0, 2]]], [[[4.0, 0], [0, 2]]]])
        >>> network = Network(model, images)
        >>> cam_maps(network, images, torch.tensor([0, 1]), "gradcam")
        (tensor([[[2., 0.],
                 [0., 1.]],
        <BLANKLINE>
                [[0., 0.],
                 [0., 0.]]]), '1', tensor([[ 4., -2.],
                [ 4., -2.]]))
    """
    if method not in get_args(CamMethod):
        raise OptionError(
            f"method={method!r}",
            "'gradcam' or 'gradcam++'",
            f"pass {near_matches(str(method), get_args(CamMethod), most=1)}",
        )
    library = _captum() if method == "gradcam" else _grad_cam()
    if len(network.input_shape) != 3 or network.num_inputs != 1:
        raise ExplanationError(
            f"a network of {network.num_inputs} input(s), samples of shape {network.input_shape}",
            "a network of images, (channels, height, width)",
            "wrap the model so that it takes one batch of images",
        )
    chosen = choose_cam_layer(network, layer)
    # Gradients need tensors that autograd may keep, also where the caller records nothing.
    with torch.inference_mode(False), torch.enable_grad(), without_autocast():
        (prepared,) = network.prepared(images)
        classes = _checked(target, len(prepared), network.num_classes).to(prepared.device)
        opened = _Opened(network, chosen)
        compute = _by_captum if method == "gradcam" else _by_grad_cam
        usable = prepared.clone() if prepared.is_inference() else prepared.detach()
        small = compute(library, opened, usable, classes)
        maps = functional.interpolate(
            small[:, None], images.shape[2:], mode="bilinear", align_corners=False
        )[:, 0]
    maps, logits = maps.detach().to(prepared.device, torch.float32), opened.logits
    _refuse_non_finite(maps, logits, chosen.name)
    return maps, chosen.name, logits


def _by_captum(library: Any, opened: _Opened, images: Tensor, classes: Tensor) -> Tensor:
    found: Tensor = library.LayerGradCam(opened, opened.site).attribute(
        images, classes, relu_attributions=True
    )
    return found[:, 0]


def _by_grad_cam(library: Any, opened: _Opened, images: Tensor, classes: Tensor) -> Tensor:
    cam = library.GradCAMPlusPlus(opened, [opened.site])
    # Not `with cam`: that prints and swallows an IndexError.
    try:
        logits = cam.activations_and_grads(images)
        logits.gather(1, classes[:, None]).sum().backward()
        (activations,), (gradients,) = (
            cam.activations_and_grads.activations,
            cam.activations_and_grads.gradients,
        )
        # A negative gradient weighs nothing, but could make the library divide by zero on the way.
        values, positive = activations.numpy(), gradients.clamp(min=0).numpy()
        small = torch.from_numpy(cam.get_cam_image(images, opened.site, None, values, positive))
    finally:
        cam.activations_and_grads.release()
    return small.clamp(min=0)


class _Opened(nn.Module):
    """The network with a module in place of the layer, for a library to hook, and no gradient before it.

    Args:
        network: With a graph.
        layer: Where the module stands.
    """

    def __init__(self, network: Network, layer: CamLayer) -> None:
        super().__init__()
        self.site = nn.Identity()
        # grad-cam asks a module's first parameter for the device.
        self.device_of_all = nn.Parameter(
            torch.empty(0, device=network.device), requires_grad=False
        )
        self.logits: Tensor
        self._layer = layer
        self._network = network

    def forward(self, images: Tensor) -> Tensor:
        """The logits; kept, detached, as `logits`."""
        replace = {self._layer.node: self._through}
        logits, _ = self._network.trace(images, gradients=True, replace=replace)
        if not logits.requires_grad:
            raise ExplanationError(
                f"layer {self._layer.name!r}, from which no gradient comes to the logits",
                "a layer on which the logits depend by differentiable operators",
                "name another layer, or leave it to choose_cam_layer",
            )
        self.logits = logits.detach()
        return logits

    def _through(self, *arguments: Any, **named: Any) -> Tensor:
        """Half precision is left for the map only: its sums and third powers would lose what they are made of."""
        value: Tensor = self._layer.node.target(*arguments, **named)  # type: ignore[operator]
        wide = torch.promote_types(value.dtype, torch.float32)
        last = self._layer.channel_axis == 2
        # Copies: what follows may write over it in place, what came before may do so to what it
        # shares.
        copied = value.detach().to(wide, copy=True)
        site: Tensor = self.site((copied.permute(0, 3, 1, 2) if last else copied).requires_grad_())
        return (site.permute(0, 2, 3, 1) if last else site).to(value.dtype, copy=True)


def _checked(target: Tensor, images: int, classes: int) -> Tensor:
    whole = isinstance(target, Tensor) and not (
        target.is_floating_point() or target.is_complex() or target.dtype is torch.bool
    )
    if not whole or tuple(target.shape) != (images,):
        given = (
            f"{target.dtype} of shape {tuple(target.shape)}"
            if isinstance(target, Tensor)
            else type(target).__name__
        )
        raise LabelError(
            f"a target of type {given}",
            f"one class for each image: whole numbers of shape ({images},)",
            "pass logits.argmax(dim=1), or torch.full((images,), class_index)",
        )
    found = target.detach().to(torch.int64, copy=True)
    outside = found[(found < 0) | (found >= classes)]
    if len(outside):
        raise LabelError(
            f"target {int(outside[0])} of a network with {classes} classes",
            f"classes from 0 to {classes - 1}",
            "check how the classes are numbered",
        )
    return found


def _refuse_non_finite(maps: Tensor, logits: Tensor, name: str) -> None:
    bad = ~(maps.isfinite().flatten(1).all(dim=1) & logits.isfinite().all(dim=1))
    if bad.any():
        raise NonFiniteError(
            f"NaN or infinite numbers in the logits or in the map at {name!r}, first for image {int(bad.nonzero()[0])}",
            "finite images, weights, activations and gradients",
            "look for NaN in the image and the weights; in half precision, use float32 or bfloat16",
        )


def _captum() -> Any:
    return _library("captum.attr", "captum", "Grad-CAM")


def _grad_cam() -> Any:
    return _library("pytorch_grad_cam.grad_cam_plusplus", "grad-cam", "Grad-CAM++")


def _library(module: str, package: str, what: str) -> Any:
    try:
        # Neither is needed for anything else, and both take seconds to import.
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"{what} without {package}", "the extra 'cams'", 'pip install "cofire[cams]"'
        ) from error


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


def _cam(method: CamMethod) -> Callable[[Network, Tensor, Tensor | None, CamOptions], Found]:
    def explained(
        network: Network, images: Tensor, classes: Tensor | None, options: CamOptions
    ) -> Found:
        layer = choose_cam_layer(network, options.layer)
        if classes is None:
            classes = network.run(images).argmax(1, keepdim=True).cpu()
        maps, name, logits = cam_maps(network, images, classes[:, 0], method, layer)
        return Found(maps=maps, options={"target_layer": name}, logits=logits, classes=classes)

    return explained


register_method(
    "gradcam",
    title="Grad-CAM",
    options=CamOptions,
    predicts=True,
    meaning="Selvaraju et al. 2017: a feature map weighted by the mean gradient of each channel.",
)(_cam("gradcam"))
register_method(
    "gradcam++",
    title="Grad-CAM++",
    options=CamOptions,
    predicts=True,
    meaning="Chattopadhay et al. 2018: weighted by the positive gradients, for several objects.",
)(_cam("gradcam++"))
