"""Which feature map a class activation map is made of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx

from cofire.errors import ExplanationError, LayerError
from cofire.network import Network, Selector
from cofire.network.axes import layout_of
from cofire.network.operations import Operation, users_of
from cofire.network.operators import named
from cofire.network.reading import GraphReading

_PASSING = named("dropout", "identity", "reorder", "average_pool", "max_pool")
_MIXING = named("convolution", "linear", "product", "contraction")


@dataclass(frozen=True)
class CamLayer:
    """A feature map of the network with channels and positions.

    Attributes:
        name: The activation layer's name, or the path of the module in which the map is computed.
        shape: Of one sample: (channels, height, width), or (height, width, channels).
        channel_axis: The axis of `shape` with the channels: 0 or 2.
        node: The node of the network's graph that computes it.
    """

    name: str
    shape: tuple[int, ...]
    channel_axis: int
    node: fx.Node = field(repr=False)


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
    _refuse_sequences(network, reading, last)
    return last


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


def _refuse_sequences(network: Network, reading: GraphReading, last: CamLayer) -> None:
    """A vision transformer lays its positions out in a row: what is a map there is made before it has looked."""
    nodes = [operation.node for operation in reading.operations]
    after = set(nodes[nodes.index(last.node) :])
    for layer in network.activation_layers:
        if network.node(layer) in after and len(layer.shape) == 2:
            raise ExplanationError(
                f"{network!r}, whose positions lie in a row from {layer.name!r} {layer.shape} on",
                "a network whose last features before the classifier are a map (channels, height, width)",
                "explain this network with another method",
            )


def _other_layers(network: Network) -> str:
    names = [layer.name for layer in network.activation_layers if len(layer.shape) == 3]
    return (
        f"name one of {', '.join(map(repr, names[-5:]))}"
        if names
        else "explain this network with another method"
    )
