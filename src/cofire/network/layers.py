"""The activation layers of a model: the outputs of its activation functions, with names and neurons."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from cofire.arguments import validated
from cofire.errors import LayerError, near_matches
from cofire.marks import LATER
from cofire.network.axes import Layout, layout_of
from cofire.network.operations import Extent, Operation, users_of
from cofire.network.operators import ACTIVATION_NAMES, GATE_KINDS, activations_in, is_signed, named
from cofire.references import theirs

Unit = Literal["channel", "channel-mean", "channel-max", "element"]


"""What one neuron of a feature map is."""


_BYTES_PER_BIN = 8


# Functions that a parameter may enter without making a layer of it: a learned scale, a class token.
_COMBINING = named(
    "sum", "scale", "power", "join", "choice", "extreme", "expand", "blend", "part", "cast"
)
# Functions through which a gate still is that gate.
_SAME_GATE = named(
    "reshape",
    "squeeze",
    "expand",
    "part",
    "reorder",
    "identity",
    "dropout",
    "cast",
    "interpolation",
)


@validated
@dataclass(frozen=True)
class ActivationLayer:
    """The output of one activation function at one place in the model.

    Attributes:
        name: Its unique name: the module's path, or path and kind for a function call, with ":1",
            ":2" for further calls of the same.
        path: The path of the module in which the call happens; "" at the top level.
        kind: The activation function ("relu", "gelu", "silu", ...).
        call: Which call it is, from 0, of this kind at this path.
        index: Its position among the network's activation layers; gates are numbered after them.
        shape: The shape of one sample's activations, without the batch axis.
        channel_axis: The axis of `shape` that holds the channels, or the features.
        batch_axis: The axis of the batch in what an observer receives, which is always the first.
        signed: Whether the function can give values below zero.

    Example:
        >>> layer = ActivationLayer("conv.relu", "conv.relu", "relu", 0, 0, (64, 7, 7), 0)
        >>> layer.neurons(), layer.observations("channel"), layer.neurons("element")
        (64, 49, 3136)
    """

    name: str
    path: str
    kind: str
    call: int
    index: int
    shape: tuple[int, ...]
    channel_axis: int
    batch_axis: int = 0
    signed: bool = False

    def neurons(self, unit: Unit = "channel") -> int:
        """How many neurons the layer has.

        Args:
            unit: What one neuron is: a channel, or every element of the feature map.

        Raises:
            OptionError: The unit is none of the four.
        """
        return math.prod(self.shape) if unit == "element" else self.shape[self.channel_axis]

    def observations(self, unit: Unit = "channel") -> int:
        """How many values one sample gives for each neuron: one for each position, or one.

        Args:
            unit: What one neuron is.

        Raises:
            OptionError: The unit is none of the four.
        """
        return math.prod(self.shape) // self.shape[self.channel_axis] if unit == "channel" else 1

    def bytes(self, unit: Unit = "channel", bins: int = 100) -> int:
        """How many bytes the histograms of the layer's neurons take.

        Args:
            unit: What one neuron is.
            bins: Bins of one neuron's histogram.

        Raises:
            OptionError: The unit is none of the four.

        Example:
            >>> ActivationLayer("relu", "", "relu", 0, 0, (64, 7, 7), 0).bytes()
            51200
        """
        return self.neurons(unit) * bins * _BYTES_PER_BIN


@dataclass(frozen=True)
class LayersFound:
    """What there is to observe in a model.

    Attributes:
        layers: The activation layers, in order of execution.
        gates: Activations that only scale something else.
        unreadable: Names of activations that have no neurons of a sample, with the reason.
        sources: For each layer and gate the operation that computes it.
        layouts: For each layer and gate the way its tensor lies.
        heads: Attention heads, chosen only where they are asked for.
    """

    layers: tuple[ActivationLayer, ...]
    gates: tuple[ActivationLayer, ...]
    unreadable: Mapping[str, str]
    sources: Mapping[ActivationLayer, Operation] = field(repr=False)
    layouts: Mapping[ActivationLayer, Layout] = field(repr=False)
    heads: tuple[ActivationLayer, ...] = ()


def find_layers(operations: Sequence[Operation], batch: Extent) -> LayersFound:
    """Find the activation layers among a model's operations.

    The output layer is left out: an activation after which no operator with parameters follows.

    Args:
        operations: Everything the model computes, in order of execution.
        batch: The batch size at the two probed sizes.
    """
    users = users_of(operations)
    found = activations_in(operations, users)
    fed = depending_on(operations, "input")
    weighted = depending_on(operations, "parameter") - fed
    before_parameters = _before_parameters(operations, users, fed, weighted)
    layers: list[ActivationLayer] = []
    gates: list[ActivationLayer] = []
    unreadable: dict[str, str] = {}
    sources: dict[ActivationLayer, Operation] = {}
    layouts: dict[ActivationLayer, Layout] = {}
    waiting: list[tuple[ActivationLayer, Operation, Layout]] = []
    for operation, (name, kind, call) in _names(found, operations).items():
        if operation not in fed:
            unreadable[name] = "it does not depend on the input"
            continue
        gate = _is_gate(operation, kind, users, fed)
        if not gate and operation not in before_parameters:
            continue
        layout = layout_of(operation, batch)
        if isinstance(layout, str):
            unreadable[name] = layout
            continue
        layer = ActivationLayer(
            name=name,
            path=operation.path,
            kind=kind,
            call=call,
            index=len(layers),
            shape=layout.shape,
            channel_axis=layout.channel_axis,
            signed=is_signed(operation, kind),
        )
        if gate:
            waiting.append((layer, operation, layout))
            continue
        layers.append(layer)
        sources[layer], layouts[layer] = operation, layout
    for layer, operation, layout in waiting:
        gate_layer = ActivationLayer(**{**vars(layer), "index": len(layers) + len(gates)})
        gates.append(gate_layer)
        sources[gate_layer], layouts[gate_layer] = operation, layout
    return LayersFound(tuple(layers), tuple(gates), unreadable, sources, layouts)


def depending_on(operations: Sequence[Operation], role: str) -> set[Operation]:
    """The operations of a role, such as "input", and all that is made of them."""
    depending: set[Operation] = set()
    for operation in operations:
        if operation.role == role or any(
            other in depending for other in (*operation.operands(), *operation.waits)
        ):
            depending.add(operation)
    return depending


def _before_parameters(
    operations: Sequence[Operation],
    users: Mapping[Operation, Sequence[Operation]],
    fed: set[Operation],
    weighted: set[Operation],
) -> set[Operation]:
    """The operations from which an operator with parameters can still be reached."""
    before: set[Operation] = set()
    for operation in reversed(operations):
        if any(
            user in before or _is_parametrised(user, fed, weighted) for user in users[operation]
        ):
            before.add(operation)
    return before


def _is_parametrised(operation: Operation, fed: set[Operation], weighted: set[Operation]) -> bool:
    if operation.name in _COMBINING or operation.name in ACTIVATION_NAMES or operation not in fed:
        return False
    return any(operand in weighted for operand in operation.operands())


def _is_gate(
    operation: Operation,
    kind: str,
    users: Mapping[Operation, Sequence[Operation]],
    fed: set[Operation],
) -> bool:
    """Whether every use multiplies something else that comes from the input."""
    if kind not in GATE_KINDS:
        return False
    pending, products = [operation], 0
    while pending:
        value = pending.pop()
        for user in users[value]:
            operands = list(user.operands())
            if user.name in _SAME_GATE and operands and operands[0] is value:
                pending.append(user)
            elif user.name == "mul" and any(
                other is not value and other in fed for other in operands
            ):
                products += 1
            elif user.name in ("expand_as", "view_as", "reshape_as", "size", "dim"):
                continue
            else:
                return False
    return products > 0


def _names(
    found: Mapping[Operation, str], operations: Sequence[Operation]
) -> dict[Operation, tuple[str, str, int]]:
    """A unique name for each activation, its kind, and which call of that kind at that path it is."""
    kinds_at: dict[str, set[str]] = {}
    for operation, kind in found.items():
        kinds_at.setdefault(operation.path, set()).add(kind)
    paths = {operation.path for operation in operations if operation.role == "operation"}
    parents = {path[:dot] for path in paths for dot, letter in enumerate(path) if letter == "."} | {
        ""
    }
    with_parameters = {
        operation.path
        for operation in operations
        if operation.role == "operation"
        and any(other.role == "parameter" for other in operation.operands())
    }
    calls: Counter[tuple[str, str]] = Counter()
    taken: set[str] = set()
    names: dict[Operation, tuple[str, str, int]] = {}
    for operation, kind in found.items():
        path = operation.path
        is_module = path not in parents and len(kinds_at[path]) == 1
        is_module = is_module and (
            operation.module.startswith("torch.nn.modules.activation.")
            or path not in with_parameters
        )
        base = path if is_module else f"{path}.{kind}".lstrip(".")
        call = calls[path, kind]
        calls[path, kind] += 1
        count, name = call, base if call == 0 else f"{base}:{call}"
        while name in taken:
            count += 1
            name = f"{base}:{count}"
        taken.add(name)
        names[operation] = (name, kind, call)
    return names


Selector = Annotated[
    str
    | ActivationLayer
    | Callable[[ActivationLayer], bool]
    | Sequence[str | ActivationLayer | Callable[[ActivationLayer], bool]]
    | None,
    LATER,
]


"""What chooses layers: a name, a path, a glob, "kind:relu", a predicate, a layer, several of these, all."""


_KIND = "kind:"


def select(found: LayersFound, chosen: Selector) -> tuple[ActivationLayer, ...]:
    """The layers that a selector chooses, each once, in order of execution.

    Args:
        found: What there is to choose from.
        chosen: The selector; None for every activation layer.

    Raises:
        LayerError: A selector finds nothing, or names an activation that cannot be read.
    """
    if chosen is None:
        return found.layers
    several = isinstance(chosen, Sequence | Set) and not isinstance(chosen, str | bytes)
    wanted: set[ActivationLayer] = set()
    for one in chosen if several else [chosen]:  # type: ignore[union-attr]
        wanted.update(_matching(found, one))  # type: ignore[arg-type]
    order = {layer: place for place, layer in enumerate((*found.sources, *found.heads))}
    return tuple(sorted(wanted, key=order.__getitem__))


def _matching(
    found: LayersFound, one: str | ActivationLayer | Callable[[ActivationLayer], bool]
) -> list[ActivationLayer]:
    if isinstance(one, ActivationLayer):
        if one in found.sources or one in found.heads:
            return [one]
        raise LayerError(
            f"layer {one.name!r}, which is not part of this network",
            f"one of its {len(found.layers)} activation layers or {len(found.gates)} gates",
            f"take it from this network's activation_layers; near it are {_near(found, one.name)}",
        )
    if isinstance(one, str):
        return _named(found, one)
    if callable(one):
        told, remedy = "a predicate fails", "correct it; it gets each of network.activation_layers"
        with theirs(told, "a function of a layer", remedy, LayerError):
            layers = [layer for layer in found.layers if one(layer)]
        if layers:
            return layers
        raise LayerError(
            "a predicate that is true for no layer",
            f"one that chooses some of the {len(found.layers)} activation layers",
            f"look at network.activation_layers, such as {_near(found, '')}",
        )
    raise LayerError(
        f"a selector of type {type(one).__name__}",
        "a name, a path, a glob, 'kind:relu', a predicate or a layer",
        f"pass a name, such as {_near(found, '')}",
    )


def _named(found: LayersFound, text: str) -> list[ActivationLayer]:
    layers = found.layers
    if text.startswith(_KIND):
        layers = (*layers, *found.heads)
        matches = [layer for layer in layers if layer.kind == text.removeprefix(_KIND)]
        if matches:
            return matches
        kinds = sorted({layer.kind for layer in layers})
        raise LayerError(
            f"no activation layer of {text!r}",
            f"one of the kinds {', '.join(kinds) or 'none'}",
            f"use {near_matches(text, [f'{_KIND}{kind}' for kind in kinds])}",
        )
    if text in found.unreadable:
        raise LayerError(
            f"activation {text!r}, which cannot be observed because {found.unreadable[text]}",
            "an activation with neurons for each sample",
            "leave it out",
        )
    exact = [layer for layer in layers if layer.name == text]
    inside = [layer for layer in layers if layer.path == text or layer.path.startswith(f"{text}.")]
    matches = exact or inside or [layer for layer in layers if fnmatchcase(layer.name, text)]
    exact_head = [layer for layer in found.heads if layer.name == text]
    matches = exact_head or matches or [h for h in found.heads if fnmatchcase(h.name, text)]
    if matches:
        return matches
    if any(gate.name == text for gate in found.gates):
        raise LayerError(
            f"{text!r}, which is a gate: it only scales something else",
            "an activation layer",
            "to observe the gate all the same, pass the object from network.gates",
        )
    raise LayerError(
        f"no activation layer {text!r}",
        f"one of {len(layers)} activation layers, a module path, or a glob over their names",
        f"near it are {_near(found, text)}",
    )


def _near(found: LayersFound, name: str) -> str:
    return near_matches(name, [layer.name for layer in (*found.layers, *found.heads)])
