"""The two ways to run a model and observe it: its exported graph, or its own intercepted calls."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Protocol, Self

import torch
from torch import Tensor, fx, nn

from cofire.errors import ExportError
from cofire.network.calls import CallReading, read_calls
from cofire.network.determinism import draws_numbers, refuse_chance_and_batch
from cofire.network.execution import ProgramCache
from cofire.network.heads import head_input
from cofire.network.interception import run_watched
from cofire.network.layers import ActivationLayer, LayersFound, find_layers
from cofire.network.outputs import Output
from cofire.network.packing import packed_reading, unpacked_reading
from cofire.network.reading import GraphReading
from cofire.network.untouched import generators_kept


class TensorSource(Protocol):
    """Where parameters and buffers come from at the time of a run."""

    def tensors(self, names: Sequence[str]) -> list[Tensor]:
        """The tensors of these names."""

    def overrides(self) -> Mapping[str, Tensor]:
        """The tensors that differ from those of the model itself."""


class LiveWeights:
    """The tensors that the user's model holds at the time, so that training shows.

    Moving a model to another device replaces its buffers, hence the look-up at every run.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._places: dict[str, tuple[nn.Module, str]] = {}

    def tensors(self, names: Sequence[str]) -> list[Tensor]:
        """The tensors of these names."""
        found = []
        for name in names:
            place = self._places.get(name)
            if place is None:
                owner, _, leaf = name.rpartition(".")
                place = self._places[name] = (self._model.get_submodule(owner), leaf)
            module, leaf = place
            value: Tensor | None = module._parameters.get(leaf)
            if value is None:
                value = module._buffers.get(leaf)
            # Some models hold a tensor under an alias only; getattr finds it or says what is
            # missing.
            found.append(value if value is not None else getattr(module, leaf))
        return found

    def overrides(self) -> Mapping[str, Tensor]:
        """Nothing: these are the model's own."""
        return {}


class FixedWeights:
    """Given tensors, and another source for the names that they lack."""

    def __init__(self, given: Mapping[str, Tensor], otherwise: TensorSource | None) -> None:
        self._given = given
        self._otherwise = otherwise

    def tensors(self, names: Sequence[str]) -> list[Tensor]:
        """The tensors of these names."""
        lacking = [name for name in names if name not in self._given]
        rest = (
            dict(zip(lacking, self._otherwise.tensors(lacking), strict=True))
            if self._otherwise
            else {}
        )
        return [self._given[name] if name in self._given else rest[name] for name in names]

    def overrides(self) -> Mapping[str, Tensor]:
        """The given tensors."""
        return self._given


class Engine(Protocol):
    """A model that can be run and observed."""

    found: LayersFound
    classes: int
    output: Output
    head: fx.Node | None

    def run(
        self,
        source: TensorSource,
        inputs: tuple[Tensor, ...],
        device: torch.device,
        layers: Sequence[ActivationLayer],
        observe: Callable[[ActivationLayer, Tensor], None] | None,
        head: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Run the model and hand over the activations of some layers; gives the logits."""


class _Observable:
    """What both engines know about their layers."""

    def __init__(self, found: LayersFound) -> None:
        self.found = found
        self._layers = (*found.layers, *found.gates)
        self._position = {layer: position for position, layer in enumerate(self._layers)}

    def _handing_over(
        self, observe: Callable[[ActivationLayer, Tensor], None], batch: int
    ) -> Callable[[int, Tensor], None]:
        layers, layouts = self._layers, self.found.layouts

        def hand_over(position: int, tensor: Tensor) -> None:
            layer = layers[position]
            observe(layer, layouts[layer].batch_first(tensor, batch))

        return hand_over


class GraphEngine(_Observable):
    """Runs an exported graph as compiled code.

    Args:
        reading: The graph.
        device: The device it was exported on.
        saved: Whether it comes from a file.

    Raises:
        ExportError: The model draws random numbers, or mixes the samples of a batch.
    """

    def __init__(self, reading: GraphReading, device: torch.device, *, saved: bool = False) -> None:
        result = next(
            operation for operation in reading.operations if operation.node is reading.logits
        )
        refuse_chance_and_batch(reading.operations, result, reading.batch, saved=saved)
        super().__init__(find_layers(reading.operations, reading.batch))
        self.reading = reading
        self.nodes: list[fx.Node] = [_node_of(self.found, layer) for layer in self._layers]
        self._draws = any(map(draws_numbers, reading.graph.nodes))
        self.output: Output = reading.output
        self.classes = int(reading.logits.meta["val"].shape[1])
        self.head: fx.Node | None = head_input(reading.logits)
        taps = [*self.nodes, *([] if self.head is None else [self.head])]
        # The head's input is often the activation of a layer itself: a node is observed once.
        self._head_at = None if self.head is None else taps.index(self.head)
        self.device = device
        self._programs = ProgramCache(reading, taps, device)

    def __reduce__(self) -> tuple[Any, ...]:
        return _graph_engine, (packed_reading(self.reading), self.device)

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        # Nothing in it ever changes.
        return self

    def run(
        self,
        source: TensorSource,
        inputs: tuple[Tensor, ...],
        device: torch.device,
        layers: Sequence[ActivationLayer],
        observe: Callable[[ActivationLayer, Tensor], None] | None,
        head: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Run the graph and hand over the activations of some layers; gives the logits."""
        reading = self.reading
        selected = tuple(self._position[layer] for layer in layers) if observe is not None else ()
        at = self._head_at if head is not None else None
        program = self._programs(selected if at is None or at in selected else (*selected, at))
        given = dict(zip(reading.inputs, inputs, strict=True))
        held = [reading.tensors[name] for name in program.names if name in reading.tensors]
        weights = iter(source.tensors(held))
        tensors = []
        for name in program.names:
            value = given.get(name)
            if value is None:
                value = (
                    next(weights) if name in reading.tensors else reading.constants[name].to(device)
                )
            tensors.append(value)
        hand_over = self._handing_over(observe, inputs[0].shape[0]) if observe is not None else None
        if head is not None and at is not None:
            hand_over = _with_head(hand_over, set(selected), head, at)
        with generators_kept(device) if self._draws else nullcontext(), torch.inference_mode():
            if reading.changed:
                pairs = zip(program.names, tensors, strict=True)
                tensors = [
                    value.clone() if name in reading.changed else value for name, value in pairs
                ]
            return program(hand_over, device, tensors)


def _graph_engine(packed: Mapping[str, Any], device: torch.device) -> GraphEngine:
    return GraphEngine(unpacked_reading(packed), device)


def _node_of(found: LayersFound, layer: ActivationLayer) -> fx.Node:
    node = found.sources[layer].node
    if node is None:
        raise ExportError(
            "a layer without a node", "a layer of an exported graph", "report this as a bug"
        )
    return node


class CallEngine(_Observable):
    """Runs the user's model itself and intercepts its calls.

    Args:
        model: The unwrapped model.
        example: Its inputs.

    Raises:
        ExportError: The model fails, draws random numbers, or mixes the samples of a batch.
    """

    def __init__(self, model: nn.Module, example: tuple[Tensor, ...]) -> None:
        self._settle(model, read_calls(model, example))

    def _settle(self, model: nn.Module, reading: CallReading) -> None:
        self._model = model
        self.reading = reading
        refuse_chance_and_batch(self.reading.operations, self.reading.result, self.reading.batch)
        super().__init__(find_layers(reading.operations, reading.batch))
        self._known = self.reading.known()
        self.classes = self.reading.classes
        self.output: Output = self.reading.output
        self.head: fx.Node | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return _call_engine, (self._model, self.reading.packed())

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        copied = type(self).__new__(type(self))
        copied._settle(copy.deepcopy(self._model, memo), self.reading)
        return copied

    def run(
        self,
        source: TensorSource,
        inputs: tuple[Tensor, ...],
        device: torch.device,
        layers: Sequence[ActivationLayer],
        observe: Callable[[ActivationLayer, Tensor], None] | None,
        head: Callable[[Tensor], None] | None = None,
    ) -> Tensor:
        """Run the model and hand over the activations of some layers; gives the logits."""
        reading = self.reading
        overrides = dict(source.overrides())
        changed = list(reading.changed)
        overrides.update(
            {
                name: value.clone()
                for name, value in zip(changed, source.tensors(changed), strict=True)
            }
        )
        if reading.inputs_changed:
            inputs = tuple(value.clone() for value in inputs)
        wanted = {}
        for layer in layers if observe is not None else ():
            key = self.found.sources[layer].key
            if key is not None:
                wanted[key] = self._position[layer]
        hand_over = self._handing_over(observe or _ignore, inputs[0].shape[0])
        return run_watched(
            self._model,
            overrides,
            inputs,
            wanted,
            hand_over,
            known=self._known,
            at=reading.at,
            ending=reading.ending,
            draws=reading.draws,
        )


def _call_engine(model: nn.Module, packed: Mapping[str, Any]) -> CallEngine:
    engine = CallEngine.__new__(CallEngine)
    engine._settle(model, CallReading.unpacked(packed))
    return engine


def _with_head(
    hand_over: Callable[[int, Tensor], None] | None,
    selected: set[int],
    head: Callable[[Tensor], None],
    at: int,
) -> Callable[[int, Tensor], None]:
    def both(position: int, tensor: Tensor) -> None:
        if position == at:
            head(tensor)
        if hand_over is not None and position in selected:
            hand_over(position, tensor)

    return both


def _ignore(layer: ActivationLayer, tensor: Tensor) -> None:
    """Observe nothing."""


def state_of(model: nn.Module) -> dict[str, Tensor]:
    """The parameters and saved buffers by the names of a state dict, as the tensors themselves."""
    state: dict[str, Tensor] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        before = f"{path}." if path else ""
        held = {**module._parameters, **module._buffers}
        for leaf, value in held.items():
            if value is not None and leaf not in module._non_persistent_buffers_set:
                state[before + leaf] = value
    return state
