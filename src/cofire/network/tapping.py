"""Run a network and keep the values of chosen nodes of its graph."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, fx

from cofire.errors import ExportError
from cofire.network.engines import GraphEngine
from cofire.network.execution import Program
from cofire.network.network import Network
from cofire.network.straightening import straightened
from cofire.network.untouched import without_autocast


class StraightGraph:
    """A network's graph without writes in place, and its activation layers in it.

    Args:
        network: With a graph.

    Attributes:
        device: The device that the network was exported on, which the graph may name.
        graph: The graph, to read and not to change.
        logits: The node that holds the logits.
        inputs: The placeholders of the inputs.
        tensors: For each placeholder of a parameter or buffer, its name in the model.

    Raises:
        ExportError: The network intercepts calls and has no graph.
        RuleError: A value cannot be kept as it was computed.
    """

    def __init__(self, network: Network) -> None:
        engine = network._engine
        if not isinstance(engine, GraphEngine):
            raise ExportError(
                'a network with capture="calls", which has no operator graph',
                'a network with capture="export"',
                "rewrite the part of the model that does not export",
            )
        self.reading = straightened(engine.reading)
        self.device = engine.device
        self.graph: fx.Graph = self.reading.graph
        self.logits: fx.Node = self.reading.logits
        by_name = {node.name: node for node in self.graph.nodes}
        self.inputs: tuple[fx.Node, ...] = tuple(by_name[name] for name in self.reading.inputs)
        self.tensors: Mapping[fx.Node, str] = {
            by_name[name]: path for name, path in self.reading.tensors.items()
        }
        layers = (*network.activation_layers, *network.gates)
        self.layers = {by_name[network.node(layer).name]: layer for layer in layers}


class Tap:
    """Runs a straight graph and keeps some of its values.

    Args:
        straight: The graph.
        nodes: Whose values to keep.
    """

    def __init__(self, straight: StraightGraph, nodes: Iterable[fx.Node]) -> None:
        self._straight = straight
        wanted = list(dict.fromkeys(nodes))
        self._given = [node for node in wanted if node.op == "placeholder"]
        self._computed = [node for node in wanted if node.op != "placeholder"]
        observed = {node: number for number, node in enumerate(self._computed)}
        self._program = Program(straight.reading, observed, straight.device)

    def __call__(
        self, network: Network, inputs: Tensor | tuple[Tensor, ...], *, recorded: bool = False
    ) -> tuple[Tensor, dict[fx.Node, Tensor]]:
        """Run the network.

        Args:
            network: The one whose graph it is, or the same with other weights.
            inputs: A batch, as `Network.run` takes it.
            recorded: Whether autograd records what is computed, from the inputs on, whatever mode
                the caller is in; the model's own weights are detached, so that nothing of the model
                records anything.

        Returns:
            The logits (batch, classes), and the values by node.

        Raises:
            BatchError: The inputs' shapes or types differ from the example's.
        """
        reading = self._straight.reading
        device = network.device
        prepared = network._prepared(inputs if isinstance(inputs, tuple) else (inputs,), device)
        given = dict(zip(reading.inputs, prepared, strict=True))
        names = list(dict.fromkeys([*self._program.names, *(node.name for node in self._given)]))
        held = [reading.tensors[name] for name in names if name in reading.tensors]
        weights = iter(network._source.tensors(held))
        for name in names:
            if name in reading.tensors:
                given[name] = next(weights)
            elif name not in given:
                given[name] = reading.constants[name].to(device)
        kept: dict[fx.Node, Tensor] = {node: given[node.name] for node in self._given}

        def observe(number: int, value: Tensor) -> None:
            # Behind a `detach` of the model nothing would be recorded any more: from here on it is
            # again.
            if recorded and value.is_floating_point() and not value.requires_grad:
                value.requires_grad_()
            kept[self._computed[number]] = value

        if not recorded:
            with torch.inference_mode(), without_autocast():
                return self._program(
                    observe, device, [given[name] for name in self._program.names]
                ), kept
        with torch.inference_mode(False), torch.enable_grad(), without_autocast():
            tensors = [
                _recordable(given[name], name in reading.inputs) for name in self._program.names
            ]
            return self._program(observe, device, tensors), kept


def _recordable(value: Tensor, leaf: bool) -> Tensor:
    """The same values, detached; a copy if they were made where nothing is recorded: autograd keeps no such tensor."""
    value = value.clone() if value.is_inference() else value
    return value.detach().requires_grad_(leaf and value.is_floating_point())
