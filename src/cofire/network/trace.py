"""Run a network and observe it on the way: the one runner of its operator graph, and that of its own calls."""

from __future__ import annotations

import copy
import operator
import threading
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor, fx, nn

from cofire.errors import ExportError, LayerError, RuleError, near_matches
from cofire.network.axes import draws_numbers, refuse_chance_and_batch
from cofire.network.calls import CallReading, run_watched
from cofire.network.export import functionalize
from cofire.network.heads import Heads, attention_weights, find_heads
from cofire.network.layers import ActivationLayer, find_layers
from cofire.network.operations import most_values
from cofire.network.outputs import Output, head_input
from cofire.network.packing import packed_reading, unpacked_reading
from cofire.network.reading import GraphReading, aliasing
from cofire.network.untouched import TensorSource, generators_kept

Observe = Callable[[ActivationLayer, Tensor], None]


_MOST_PROGRAMS = 32


@dataclass(frozen=True, eq=False)
class FunctionalGraph:
    """A network's graph without writes in place, so that every value stays what it was when it was computed.

    Attributes:
        graph: To read and not to change.
        logits: The node that holds the logits.
        inputs: The placeholders of the inputs.
        tensors: For each placeholder of a parameter or buffer, its name in the model.
        layers: For the nodes of activation layers and gates, the layer.
    """

    graph: fx.Graph
    logits: fx.Node
    inputs: tuple[fx.Node, ...]
    tensors: Mapping[fx.Node, str]
    layers: Mapping[fx.Node, ActivationLayer]


@dataclass(frozen=True, eq=False)
class Given:
    """What a run takes: the weights, the checked inputs, and where they are.

    Attributes:
        source: Of the weights.
        inputs: On the device.
        device: Where the network computes.
    """

    source: TensorSource
    inputs: tuple[Tensor, ...]
    device: torch.device


class GraphEngine:
    """Runs an exported graph as compiled code.

    Args:
        reading: The graph.
        device: The device it was exported on, which it may name.
        saved: Whether it comes from a file.

    Raises:
        ExportError: The model draws random numbers, or mixes the samples of a batch.
    """

    def __init__(self, reading: GraphReading, device: torch.device, *, saved: bool = False) -> None:
        result = next(one for one in reading.operations if one.node is reading.logits)
        refuse_chance_and_batch(reading.operations, result, reading.batch, saved=saved)
        self.reading = reading
        found = find_layers(reading.operations, reading.batch)
        self.heads = find_heads(reading.operations, reading.batch, found)
        self.found = replace(found, heads=tuple(self.heads))
        self.most_values = most_values(reading.operations)
        self.nodes = {
            layer: operation.node
            for layer, operation in self.found.sources.items()
            if operation.node is not None
        }
        self.output: Output = reading.output
        self.classes = int(reading.logits.meta["val"].shape[1])
        self.head: fx.Node | None = head_input(result)
        self._device = device
        self._draws = any(map(draws_numbers, reading.graph.nodes))
        self._programs: dict[Any, _Program] = {}
        self._functional: tuple[GraphReading, RuleError | None] | None = None
        self._lock = threading.RLock()

    def __reduce__(self) -> tuple[Any, ...]:
        return _graph_engine, (packed_reading(self.reading), self._device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Nothing in it ever changes.
        return self

    @property
    def writes_in_place(self) -> bool:
        """Whether an activation may be written over after it was computed."""
        return any(aliasing(node)[1] for node in self.reading.graph.nodes)

    def functional(self) -> FunctionalGraph:
        """The graph without writes in place.

        Raises:
            RuleError: A value is changed through a view of it and read through another one
                afterwards, or an operator that writes in place has no counterpart that does not.
        """
        reading, refusal = self._functionalized()
        if refusal is not None:
            raise refusal
        nodes = {node.name: node for node in reading.graph.nodes}
        return FunctionalGraph(
            reading.graph,
            reading.logits,
            tuple(nodes[name] for name in reading.inputs),
            {nodes[name]: path for name, path in reading.tensors.items()},
            {nodes[node.name]: layer for layer, node in self.nodes.items()},
        )

    def run(
        self,
        given: Given,
        layers: Sequence[ActivationLayer],
        observe: Observe | None,
        head: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Run the graph as it is and hand over the activations of some layers; gives the logits."""
        looking = {
            self.heads[layer].source.node: self.heads[layer]
            for layer in layers
            if layer in self.heads
        }
        fused = {node: heads for node, heads in looking.items() if node is not None and heads.fused}
        chosen = {
            self.nodes[layer]: (layer, self.found.layouts[layer])
            for layer in layers
            if layer not in self.heads
        }
        # The head's input is often the activation of a layer itself: a node is observed once.
        at = () if head is None or self.head is None else (self.head,)
        plain = (node for node in looking if node is not None and node not in fused)
        nodes = tuple(dict.fromkeys((*chosen, *plain, *at)))
        batch = given.inputs[0].shape[0]

        def beside(node: fx.Node, heads: Heads) -> Callable[..., Any]:
            def attend(*args: Any, **kwargs: Any) -> Any:
                if observe is not None:
                    observe(heads.layer, heads.received(attention_weights(*args, **kwargs), batch))
                return node.target(*args, **kwargs)  # type: ignore[operator]

            return attend

        def hand_over(number: int, value: Tensor) -> None:
            node = nodes[number]
            if node in at and head is not None:
                head(value)
            if observe is not None and node in looking:
                observe(looking[node].layer, looking[node].received(value, batch))
            if observe is not None and node in chosen:
                layer, layout = chosen[node]
                observe(layer, layout.batch_first(value, batch))

        with torch.inference_mode(), ExitStack() as stack:
            if self._draws:
                stack.enter_context(generators_kept(given.device))
            functions = {node: beside(node, heads) for node, heads in fused.items()}
            return self._execute(self.reading, given, nodes, hand_over, functions)

    def node_of(self, layer: ActivationLayer) -> fx.Node:
        """The node that computes a layer's activations.

        Raises:
            LayerError: It is of attention heads, which no node of the graph computes.
        """
        if layer in self.heads:
            raise LayerError(
                f"attention heads {layer.name!r}",
                "the output of an activation function",
                f"observe heads with cofire.summarize or network.run; near it are "
                f"{near_matches(layer.name, [one.name for one in self.nodes])}",
            )
        return self.nodes[layer]

    def trace(
        self,
        given: Given,
        nodes: Iterable[fx.Node],
        gradients: bool | Collection[fx.Node],
        replaced: Mapping[fx.Node, Callable[..., Any]],
    ) -> tuple[Tensor, dict[fx.Node, Tensor]]:
        """Run the graph without writes in place, see `Network.trace`."""
        reading, refusal = self._functionalized()
        asked = list(nodes)
        if refusal is not None and asked:
            raise refusal
        functional = {node.name: node for node in reading.graph.nodes}
        observed = {functional[node.name]: node for node in asked}
        placed = list(observed)
        functions = {functional[node.name]: function for node, function in replaced.items()}
        kept: dict[fx.Node, Tensor] = {}

        def observe(number: int, value: Tensor) -> None:
            node = placed[number]
            held = node.op == "placeholder" and node.name not in reading.inputs
            # Behind a `detach` of the model nothing would be recorded: from here on it is again.
            wanted = gradients if isinstance(gradients, bool) else observed[node] in gradients
            if wanted and value.is_floating_point() and not (held or value.requires_grad):
                value.requires_grad_()
            kept[observed[node]] = value

        def run(*inputs: Tensor) -> Tensor:
            now = replace(given, inputs=inputs)
            return self._execute(reading, now, tuple(placed), observe, functions, bool(gradients))

        if not gradients:
            with torch.inference_mode():
                return run(*given.inputs), kept
        # Gradients need tensors that autograd may keep, also where the caller records nothing.
        with torch.inference_mode(False), torch.enable_grad():
            if refusal is not None and not functions:
                run = torch.func.functionalize(run)
            return run(*map(_recordable, given.inputs)), kept

    def module(
        self, source: TensorSource, device: torch.device, layers: Sequence[ActivationLayer]
    ) -> nn.Module:
        """The graph with weights of its own as a plain module, see `Network.module`."""
        if len(self.reading.inputs) != 1:
            raise ExportError(
                f"a network of {len(self.reading.inputs)} inputs", "one input", "wrap the model"
            )
        return _Module(self, source, device, layers)

    def program(
        self,
        reading: GraphReading,
        observed: tuple[fx.Node, ...],
        replaced: tuple[fx.Node, ...] = (),
    ) -> _Program:
        """The compiled graph that observes some nodes and replaces others; the oldest goes when there are many."""
        key = (reading.graph, observed, replaced)
        with self._lock:
            found = self._programs.pop(key, None)
            self._programs[key] = found or _Program(reading, observed, replaced, self._device)
            while len(self._programs) > _MOST_PROGRAMS:
                del self._programs[next(iter(self._programs))]
            return self._programs[key]

    def values(
        self,
        reading: GraphReading,
        names: Iterable[str],
        source: TensorSource,
        device: torch.device,
    ) -> dict[str, Tensor]:
        """What the placeholders of these names stand for, those of the inputs aside."""
        held = [name for name in names if name in reading.tensors]
        found = source.tensors([reading.tensors[name] for name in held])
        constants = {n: reading.constants[n].to(device) for n in names if n in reading.constants}
        return {**dict(zip(held, found, strict=True)), **constants}

    def _functionalized(self) -> tuple[GraphReading, RuleError | None]:
        with self._lock:
            if self._functional is None:
                self._functional = functionalize(self.reading)
            return self._functional

    def _execute(
        self,
        reading: GraphReading,
        given: Given,
        observed: tuple[fx.Node, ...],
        observe: Callable[[int, Tensor], None],
        replaced: Mapping[fx.Node, Callable[..., Any]],
        recorded: bool = False,
    ) -> Tensor:
        program = self.program(reading, observed, tuple(replaced))
        held = self.values(reading, program.names, given.source, given.device)
        if recorded:
            held = {name: _recordable(value).detach() for name, value in held.items()}
        tensors = {**held, **dict(zip(reading.inputs, given.inputs, strict=True))}
        for name in reading.changed & tensors.keys():
            tensors[name] = tensors[name].clone()
        functions = tuple(replaced.values())
        return program(observe, given.device, functions, *map(tensors.__getitem__, program.names))


def _graph_engine(packed: Mapping[str, Any], device: torch.device) -> GraphEngine:
    return GraphEngine(unpacked_reading(packed), device)


def _recordable(value: Tensor) -> Tensor:
    """The tensor, or a copy if it was made where nothing is recorded: autograd keeps no such tensor."""
    return value.clone() if value.is_inference() else value


class _Program:
    """A graph compiled to Python code that observes some of its nodes and calls functions in place of others.

    The code frees every value after its last use, as an eager forward pass does, and keeps no
    state, so that any number of threads can run it.

    Args:
        reading: The graph and what its placeholders stand for.
        observed: The nodes to observe; the observer knows each by its number.
        replaced: The nodes whose operators are not called, but the given functions, with their
            arguments; of a placeholder, with its tensor.
        device: The device that the graph names where it creates tensors.
    """

    def __init__(
        self,
        reading: GraphReading,
        observed: Sequence[fx.Node],
        replaced: Sequence[fx.Node],
        device: torch.device,
    ) -> None:
        graph = fx.Graph()
        observe, place, functions = map(
            graph.placeholder, ("observe", "device_in_use", "functions")
        )
        values: dict[fx.Node, fx.Node] = {}
        numbers = {node: number for number, node in enumerate(observed)}
        function_of = {node: number for number, node in enumerate(replaced)}

        def named(value: Any) -> Any:
            return place if isinstance(value, torch.device) and value.type == device.type else value

        placeholders = [
            node
            for node in reading.graph.nodes
            if node.op == "placeholder"
            and (node.users or node.name in reading.inputs or node in numbers)
        ]
        values.update((node, graph.node_copy(node)) for node in placeholders)
        computed = [
            node for node in reading.graph.nodes if node.op not in ("placeholder", "output")
        ]
        for node in (*placeholders, *computed):
            if node.op != "placeholder":
                copied = values[node] = graph.node_copy(node, values.__getitem__)
                copied.args = tuple(map(named, copied.args))
                copied.kwargs = {name: named(value) for name, value in copied.kwargs.items()}
            if node in function_of:
                copied = values[node]
                function = graph.call_function(operator.getitem, (functions, function_of[node]))
                given = (copied,) if node.op == "placeholder" else copied.args
                values[node] = graph.call_function(
                    operator.call,
                    (function, *given),
                    {} if node.op == "placeholder" else copied.kwargs,
                )
                if node.op != "placeholder":
                    graph.erase_node(copied)
            if node in numbers:
                graph.call_function(operator.call, (observe, numbers[node], values[node]))
        graph.output(values[reading.logits])
        self.names = tuple(node.name for node in placeholders)
        self._forward: Callable[..., Tensor] = fx.GraphModule(
            dict(reading.submodules), graph
        ).forward

    def __call__(
        self,
        observe: Callable[[int, Tensor], None],
        device: torch.device,
        functions: Sequence[Callable[..., Any]],
        *tensors: Tensor,
    ) -> Tensor:
        """The logits (batch, classes).

        Args:
            observe: Called with the number and the value of each observed node.
            device: Where the graph creates tensors of its own.
            functions: In place of the replaced nodes.
            tensors: The values of the placeholders, in the order of `names`.
        """
        return self._forward(observe, device, functions, *tensors)


class _Module(nn.Module):
    """A network's graph with a copy of its weights."""

    def __init__(
        self,
        engine: GraphEngine,
        source: TensorSource,
        device: torch.device,
        layers: Sequence[ActivationLayer],
    ) -> None:
        super().__init__()
        heads = [] if engine.head is None else [engine.head]
        nodes = [*(engine.node_of(layer) for layer in layers), *heads]
        watched = tuple(dict.fromkeys(nodes))
        self._places = [watched.index(node) for node in nodes]
        self._layouts = [engine.found.layouts[layer] for layer in layers]
        self._changed = engine.reading.changed
        self._program = engine.program(engine.reading, watched)
        # What follows may write over a value: it is copied when it was computed.
        self._copied = engine.writes_in_place
        held = engine.values(engine.reading, self._program.names, source, device)
        self._keys = {name: f"held_{number}" for number, name in enumerate(held)}
        for name, value in held.items():
            self.register_buffer(self._keys[name], value.detach().to(device).clone())

    def forward(self, images: Tensor) -> tuple[Any, ...]:
        """Logits, what goes into the last linear layer or None, and the activations of each layer."""
        kept: dict[int, Tensor] = {}

        def observe(number: int, value: Tensor) -> None:
            kept[number] = value.clone() if self._copied else value

        held = {name: self.get_buffer(key) for name, key in self._keys.items()}
        given = (held.get(name, images) for name in self._program.names)
        tensors = [
            value.clone() if name in self._changed else value
            for name, value in zip(self._program.names, given, strict=True)
        ]
        logits = self._program(observe, images.device, (), *tensors)
        found = [kept[place] for place in self._places]
        plain = [
            layout.batch_first(value, images.shape[0])
            for layout, value in zip(self._layouts, found, strict=False)
        ]
        return (logits, found[-1] if len(found) > len(plain) else None, *plain)


class CallEngine:
    """Runs the user's model itself and intercepts its calls.

    Args:
        model: The unwrapped model.
        reading: Of its calls.

    Raises:
        ExportError: The model draws random numbers, or mixes the samples of a batch.
    """

    head: fx.Node | None = None

    def __init__(self, model: nn.Module, reading: CallReading) -> None:
        refuse_chance_and_batch(reading.operations, reading.result, reading.batch)
        self.found = find_layers(reading.operations, reading.batch)
        self.most_values = most_values(reading.operations)
        self.classes = reading.classes
        self.output: Output = reading.output
        self._model = model
        self._reading = reading
        self._known = {one.key for one in reading.operations if one.key is not None}

    def __reduce__(self) -> tuple[Any, ...]:
        return _call_engine, (self._model, self._reading.packed())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        return type(self)(copy.deepcopy(self._model, memo), self._reading)

    def run(
        self,
        given: Given,
        layers: Sequence[ActivationLayer],
        observe: Observe | None,
        head: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Run the model and hand over the activations of some layers; gives the logits."""
        reading, inputs = self._reading, given.inputs
        batch = inputs[0].shape[0]
        changed = list(reading.changed)
        copies = (value.clone() for value in given.source.tensors(changed))
        overrides = {**given.source.overrides(), **dict(zip(changed, copies, strict=True))}
        if reading.inputs_changed:
            inputs = tuple(value.clone() for value in inputs)

        def handing_over(layer: ActivationLayer) -> Callable[[Tensor], None]:
            layout = self.found.layouts[layer]
            return lambda value: observe and observe(layer, layout.batch_first(value, batch))

        keys = {layer: self.found.sources[layer].key for layer in layers}
        wanted = {key: handing_over(layer) for layer, key in keys.items() if key is not None}
        return run_watched(self._model, reading, overrides, inputs, wanted, self._known)


def _call_engine(model: nn.Module, packed: Mapping[str, Any]) -> CallEngine:
    return CallEngine(model, CallReading.unpacked(packed))


Engine = GraphEngine | CallEngine
"""A model that can be run and observed."""
