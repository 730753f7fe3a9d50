"""Class activation maps on the network's own graph, and which feature map they are made of: what to compare with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, fx
from torch.nn.functional import interpolate

from cofire.errors import ExplanationError, LayerError, NonFiniteError
from cofire.explain.methods.registry import Found, register_method
from cofire.explain.rules.positions import TokenMap
from cofire.explain.rules.registry import Step
from cofire.explain.tracing.plan import plan_of
from cofire.network import Network, Selector
from cofire.network.axes import layout_of
from cofire.network.operations import Operation, users_of
from cofire.network.operators import named
from cofire.network.reading import GraphReading
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
        if chosen.tokens is not None:
            values, gradient = (chosen.tokens.features(part) for part in (values, gradient))
        elif chosen.channel_axis == 2:
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


_PASSING = named("dropout", "identity", "reorder", "average_pool", "max_pool")


_MIXING = named("convolution", "linear", "product", "contraction")


@dataclass(frozen=True)
class CamLayer:
    """A feature map of the network with channels and positions.

    Attributes:
        name: The activation layer's name, or the path of the module in which the map is computed.
        shape: Of one sample: (channels, height, width), or (height, width, channels); of a
            transformer (tokens, channels).
        channel_axis: The axis of `shape` with the channels.
        node: The node of the network's graph that computes it.
        tokens: Of a transformer, where its tokens lie.
    """

    name: str
    shape: tuple[int, ...]
    channel_axis: int
    node: fx.Node = field(repr=False)
    tokens: TokenMap | None = field(default=None, repr=False)


def choose_cam_layer(network: Network, layer: Selector | CamLayer = None) -> CamLayer:
    """The feature map for class activation maps: the last one before the classifier, or a given layer.

    "Last" is what the operator graph says, not the names of modules: the last map with channels and
    more than one position through which everything that reaches the logits has gone. So in a
    residual network it is what comes after the addition, where branches are concatenated it is all
    of them, and nothing of the evidence bypasses it.
    Two things are not feature maps in this sense:

    - what only pools, drops out or reorders a map: the map before it says the same, with the most
      positions. In
      VGG-16 this is the 14 × 14 map that the authors of Grad-CAM use, not the 7 × 7 one after the
      pooling.
    - a map after the last operator with parameters, such as SqueezeNet's class map. It holds one
      channel for each
      class, so that gradients could not weight its channels; features are what they can weight.

    In a transformer whose positions lie in a row, tokens on a grid are such a map: those after the
    last block; before the last block where a class token ends up with everything, since after it
    the others lead nowhere.

    Args:
        network: With a graph.
        layer: None for that choice. Otherwise what selects an activation layer; of several, the
            last is taken, so that "layer3" stands for that block's output.

    Raises:
        ExplanationError: The network has no such map, or the given layer has no positions.
        ExportError: The network intercepts calls and has no graph.
        LayerError: The given layer does not exist.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> features = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2))
        >>> model = nn.Sequential(features, nn.Flatten(), nn.Linear(36, 3))
        >>> choose_cam_layer(Network(model, torch.zeros(1, 1, 8, 8)))
        CamLayer(name='0.1', shape=(4, 6, 6), channel_axis=0)
    """
    reading = network.reading
    if isinstance(layer, CamLayer):
        if layer.node.graph is not reading.graph:
            raise LayerError(
                f"{layer!r} of another network",
                "a layer of this network",
                "call choose_cam_layer with it",
            )
        return layer
    if layer is not None:
        chosen = network.select(layer)[-1]
        node = network.node(chosen)
        operation = next(operation for operation in reading.operations if operation.node is node)
        found = _feature_map(operation, chosen.name, reading)
        if found is None:
            raise ExplanationError(
                f"layer {chosen.name!r} of shape {chosen.shape} for a class activation map",
                "a layer with channels and more than one position, (channels, height, width)",
                _other_layers(network),
            )
        return found
    names = {network.node(one): one.name for one in (*network.activation_layers, *network.gates)}
    maps = _maps(reading, names)
    if not maps:
        raise ExplanationError(
            f"{network!r}, which has no feature map on every way to its logits",
            "a convolutional network: a layer (channels, height, width) with more than one position",
            "explain this network with method='discernible', which needs no feature map",
        )
    last = maps[-1]
    return _tokens(network, reading, last) or last


def _maps(reading: GraphReading, names: Mapping[fx.Node, str]) -> list[CamLayer]:
    """Feature maps through which everything goes, in order; those before the last parameters if there are any."""
    learned, before = _around_parameters(reading.operations)
    passages = [
        operation
        for operation in _passages(reading)
        if operation in learned and not _only_passes(operation)
    ]
    for candidates in ([operation for operation in passages if operation in before], passages):
        found = []
        for operation in candidates:
            name = names.get(operation.node) if operation.node is not None else None
            feature_map = _feature_map(
                operation, name or _place(operation, reading.operations), reading
            )
            found += [] if feature_map is None else [feature_map]
        if found:
            return found
    return []


def _passages(reading: GraphReading) -> list[Operation]:
    """The operations that no path from the inputs to the logits avoids, in order of execution.

    In any order of execution a path that avoids an operation has an edge that leaps over it, and
    every such edge is part of such a path, once what does not lie between input and logits is left
    out.
    """
    operations = reading.operations
    users = users_of(operations)
    fed: set[Operation] = set()
    for operation in operations:
        others = (*operation.operands(), *operation.waits)
        if operation.role == "input" or (
            _carries_values(operation) and any(other in fed for other in others)
        ):
            fed.add(operation)
    leading: set[Operation] = set()
    for operation in reversed(operations):
        if operation.node is reading.logits or any(user in leading for user in users[operation]):
            leading.add(operation)
    between = [operation for operation in operations if operation in fed and operation in leading]
    place = {operation: number for number, operation in enumerate(between)}
    furthest, found = 0, []
    for number, operation in enumerate(between):
        if furthest <= number:
            found.append(operation)
        furthest = max([furthest, *(place[user] for user in users[operation] if user in place)])
    return found


def _carries_values(operation: Operation) -> bool:
    if operation.node is None or operation.name in named("filled"):
        return False
    # A model reads the batch size off its input: a number, through which no evidence goes. An
    # in-place operator may give nothing back and still change what is read next.
    return not isinstance(operation.node.meta.get("val"), (int, torch.SymInt, torch.SymBool))


def _around_parameters(operations: Sequence[Operation]) -> tuple[set[Operation], set[Operation]]:
    """What is computed from learned features, not from a rescaled image; what an operator with parameters follows."""
    weighted: set[Operation] = set()
    fed: set[Operation] = set()
    learned: set[Operation] = set()
    for operation in operations:
        operands = [*operation.operands(), *operation.waits]
        if operation.role == "input" or any(operand in fed for operand in operands):
            fed.add(operation)
        elif operation.role == "parameter" or any(operand in weighted for operand in operands):
            weighted.add(operation)
        mixes = operation.name in _MIXING
        if (
            any(operand in learned or (mixes and operand in weighted) for operand in operands)
            and operation in fed
        ):
            learned.add(operation)
    users = users_of(operations)
    before: set[Operation] = set()
    for operation in reversed(operations):
        following = [user for user in users[operation] if user in fed]
        if any(
            user in before or any(other in weighted for other in user.operands())
            for user in following
        ):
            before.add(operation)
    return learned, before


def _only_passes(operation: Operation) -> bool:
    names = [operation.name]
    if operation.name == "getitem" and operation.first is not None:
        names.append(operation.first.name)
    return any(name in _PASSING for name in names)


def _feature_map(operation: Operation, name: str, reading: GraphReading) -> CamLayer | None:
    node = operation.node
    if node is None or not operation.floating or not isinstance(node.meta.get("val"), Tensor):
        return None
    layout = layout_of(operation, reading.batch)
    if (
        isinstance(layout, str)
        or not layout.fold.plain
        or len(layout.shape) != 3
        or layout.channel_axis == 1
    ):
        return None
    positions = [size for axis, size in enumerate(layout.shape) if axis != layout.channel_axis]
    if positions[0] * positions[1] <= 1:
        return None
    return CamLayer(name, layout.shape, layout.channel_axis, node)


def _place(operation: Operation, operations: Sequence[Operation]) -> str:
    """The path of the module that ends with this operation, or the path and what it does there."""
    path = operation.path
    inside = [
        other for other in operations if other.path == path or other.path.startswith(f"{path}.")
    ]
    if path and inside[-1] is operation:
        return path
    return f"{path}.{operation.name}".lstrip(".")


def _tokens(network: Network, reading: GraphReading, last: CamLayer) -> CamLayer | None:
    """Of a transformer its last tokens; the last map is made before it has looked."""
    nodes = [operation.node for operation in reading.operations]
    after = set(nodes[nodes.index(last.node) :])
    row = [one for one in network.activation_layers if len(one.shape) == 2]
    row = [one for one in row if network.node(one) in after]
    if not row:
        return None
    judged = plan_of(network).judged if any(map(_mixes_tokens, reading.operations)) else {}
    found = [(node, one) for node, one in judged.items() if isinstance(one, TokenMap)]
    if not found:
        raise ExplanationError(
            f"{network!r}, whose positions lie in a row from {row[0].name!r} {row[0].shape} on",
            "a network whose last features before the classifier are a map (channels, height, width)",
            "explain this network with another method",
        )
    node, tokens = found[-1]
    if len(found) > 1 and tokens.others:
        node, tokens = found[-2]
    shape = Step.of(node).shape
    return CamLayer(tokens.name, shape, tokens.channel_axis, node, tokens)


def _mixes_tokens(operation: Operation) -> bool:
    return operation.name in named("product", "contraction", "attention")


def _other_layers(network: Network) -> str:
    names = [layer.name for layer in network.activation_layers if len(layer.shape) == 3]
    return (
        f"name one of {', '.join(map(repr, names[-5:]))}"
        if names
        else "explain this network with another method"
    )
