"""Class activation maps by the libraries that define them, on the network's own graph: what to compare with."""

from __future__ import annotations

import importlib
import operator
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

import torch
from pydantic import Field
from torch import Tensor, fx, nn
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
from cofire.network.engines import GraphEngine
from cofire.network.execution import Program
from cofire.network.operations import Operation, users_of
from cofire.network.reading import GraphReading
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
    device = network.device
    # Gradients need tensors that autograd may keep, also where the caller records nothing.
    with torch.inference_mode(False), torch.enable_grad(), without_autocast():
        (prepared,) = network._prepared((images,), device)
        classes = _checked(target, len(prepared), network.num_classes).to(device)
        opened = _Opened(network, chosen, device)
        compute = _by_captum if method == "gradcam" else _by_grad_cam
        small = compute(library, opened, _recordable(prepared.detach()), classes)
        maps = functional.interpolate(
            small[:, None], images.shape[2:], mode="bilinear", align_corners=False
        )[:, 0]
    maps, logits = maps.detach().to(device, torch.float32), opened.logits
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
        device: Where the network computes.
    """

    def __init__(self, network: Network, layer: CamLayer, device: torch.device) -> None:
        super().__init__()
        self.site = nn.Identity()
        # grad-cam asks a module's first parameter for the device.
        self.device_of_all = nn.Parameter(torch.empty(0, device=device), requires_grad=False)
        self.logits: Tensor
        self._layer = layer
        self._device = device
        engine = network._graph_engine()
        self._cut = _CUTS(engine, layer.node, device)
        reading = engine.reading
        held = [name for name in self._cut.names if name in reading.tensors]
        tensors = dict(
            zip(
                held, network._source.tensors([reading.tensors[name] for name in held]), strict=True
            )
        )
        constants = {
            name: reading.constants[name] for name in self._cut.names if name in reading.constants
        }
        self._held = {
            name: _recordable(value.detach().to(device))
            for name, value in {**constants, **tensors}.items()
        }
        self._changed = reading.changed

    def forward(self, images: Tensor) -> Tensor:
        """The logits; kept, detached, as `logits`."""
        given: dict[str, Any] = {**self._held, self._cut.input: images}
        given = {
            name: value.clone() if name in self._changed else value for name, value in given.items()
        }
        values: list[Any] = [given[name] if name else self._through for name in self._cut.names]
        logits = self._cut.program(None, self._device, values)
        if not logits.requires_grad:
            raise ExplanationError(
                f"layer {self._layer.name!r}, from which no gradient comes to the logits",
                "a layer on which the logits depend by differentiable operators",
                "name another layer, or leave it to choose_cam_layer",
            )
        self.logits = logits.detach()
        return logits

    def _through(self, value: Tensor) -> Tensor:
        """Half precision is left for the map only: its sums and third powers would lose what they are made of."""
        wide = torch.promote_types(value.dtype, torch.float32)
        last = self._layer.channel_axis == 2
        # Copies: what follows may write over it in place, what came before may do so to what it
        # shares.
        copied = value.detach().to(wide, copy=True)
        site: Tensor = self.site((copied.permute(0, 3, 1, 2) if last else copied).requires_grad_())
        return (site.permute(0, 2, 3, 1) if last else site).to(value.dtype, copy=True)


class _Cut:
    """A graph in which one node's value goes through a function that is given at every run.

    Attributes:
        program: The compiled graph.
        names: What it takes, by the names of the graph's placeholders; "" for the function.
        input: The name of the images.
    """

    def __init__(self, reading: GraphReading, target: fx.Node, device: torch.device) -> None:
        graph = fx.Graph()
        through = graph.placeholder("through")
        names = {through.name: ""}
        values: dict[fx.Node, fx.Node] = {}
        replaced = _out_of_place(reading, target)
        for node in reading.graph.nodes:
            if node.op == "output":
                continue
            values[node] = copied = graph.node_copy(node, lambda other: values[other])
            if node.op == "placeholder":
                names[copied.name] = node.name
            if node in replaced:
                copied.target = replaced[node]
                # In place a sum keeps the type of what it is written to.
                values[node] = graph.call_function(
                    torch.ops.aten.to.other, (copied, copied.args[0])
                )
            if node is target:
                values[node] = graph.call_function(operator.call, (through, copied))
        (self.input,) = reading.inputs
        inputs = tuple(copy for copy, name in names.items() if name in reading.inputs)
        derived = replace(reading, graph=graph, logits=values[reading.logits], inputs=inputs)
        self.program = Program(derived, {}, device)
        self.names = tuple(names[name] for name in self.program.names)


def _out_of_place(reading: GraphReading, target: fx.Node) -> Mapping[fx.Node, Any]:
    """For operators after a node that write in place, those that do not, where nothing could tell the difference.

    A model for inference alone may write over what autograd would have kept. What remains in place
    is what is read through another view of the same memory.
    """
    operations = reading.operations
    users = users_of(operations)
    order = {operation: number for number, operation in enumerate(operations)}
    first = next(number for operation, number in order.items() if operation.node is target)
    found: dict[fx.Node, Any] = {}
    kept: set[Operation] = set()
    for operation in reversed(operations[first + 1 :]):
        node = operation.node
        if node is None or not _writes_first(node):
            continue
        other = _without_writing(node.target)
        if other is None or any(
            user in kept or _reads_older(user, operation, order) for user in users[operation]
        ):
            kept.add(operation)
        else:
            found[node] = other
    return found


def _writes_first(node: fx.Node) -> bool:
    target = node.target
    if not isinstance(target, torch._ops.OpOverload) or not node.args:
        return False
    written = [
        argument.alias_info is not None and argument.alias_info.is_write
        for argument in target._schema.arguments
    ]
    return written[0] and not any(written[1:])


def _without_writing(target: Any) -> Any:
    """The overload of the same signature that gives its result back only, such as `relu` for `relu_`."""
    packet = getattr(torch.ops.aten, target.overloadpacket.__name__.removesuffix("_"), None)
    other = getattr(packet, target._overloadname, None)
    if other is None or other is target:
        return None
    names = [[argument.name for argument in one._schema.arguments] for one in (target, other)]
    return other if names[0] == names[1] else None


def _reads_older(user: Operation, writer: Operation, order: Mapping[Operation, int]) -> bool:
    """Whether an operation may see what was written through a tensor that is older than the writing."""
    older = (other for other in user.operands() if order[other] < order[writer])
    return writer in user.waits and any(other.role in ("operation", "input") for other in older)


class _Cuts:
    """Cuts made so far; they go with the graph."""

    def __init__(self) -> None:
        self._known: WeakKeyDictionary[GraphEngine, dict[tuple[fx.Node, torch.device], _Cut]] = (
            WeakKeyDictionary()
        )
        self._lock = threading.Lock()

    def __call__(self, engine: GraphEngine, node: fx.Node, device: torch.device) -> _Cut:
        with self._lock:
            known = self._known.setdefault(engine, {})
            if (node, device) not in known:
                known[node, device] = _Cut(engine.reading, node, engine.device)
            return known[node, device]


_CUTS = _Cuts()


def _recordable(value: Tensor) -> Tensor:
    """The tensor itself, or a copy if it was made where nothing is recorded: autograd keeps no such tensor."""
    return value.clone() if value.is_inference() else value


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
