"""Run a graph and hand over each selected activation in the moment it is computed."""

from __future__ import annotations

import operator
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from cofire.network.reading import GraphReading

Observer = Callable[[int, Tensor], None]


class Program:
    """A graph compiled to Python code, with calls of an observer after some of its nodes.

    The code frees every value after its last use, as an eager forward pass does, and keeps no
    state, so that any number of threads can run it.

    Args:
        reading: The graph and what its placeholders stand for.
        observed: The nodes to observe, with the number under which the observer knows each.
        device: The device that the graph names where it creates tensors.
    """

    def __init__(
        self, reading: GraphReading, observed: Mapping[fx.Node, int], device: torch.device
    ) -> None:
        graph = fx.Graph()
        observe = graph.placeholder("observe")
        place = graph.placeholder("device_in_use")
        values: dict[fx.Node, Any] = {}
        names: list[str] = []
        for node in reading.graph.nodes:
            if node.op == "output":
                continue
            if node.op == "placeholder":
                if not node.users and node.name not in reading.inputs:
                    continue
                names.append(node.name)
            values[node] = copy = graph.node_copy(node, lambda other: values[other])
            if _names_device(copy, device):
                copy.args = tuple(
                    place if _is_device(value, device) else value for value in copy.args
                )
                copy.kwargs = {
                    k: place if _is_device(v, device) else v for k, v in copy.kwargs.items()
                }
            if node in observed:
                graph.call_function(operator.call, (observe, observed[node], copy))
        graph.output(values[reading.logits])
        root: dict[str, nn.Module] = dict(reading.submodules)
        self.names: Sequence[str] = tuple(names)
        self._forward: Callable[..., Tensor] = fx.GraphModule(root, graph).forward

    def __call__(
        self, observe: Observer | None, device: torch.device, tensors: Sequence[Tensor]
    ) -> Tensor:
        """Run the graph.

        Args:
            observe: Called with the number and the tensor of each observed node.
            device: Where the graph creates tensors of its own.
            tensors: The values of the placeholders, in the order of `names`.

        Returns:
            The logits (batch, classes).
        """
        return self._forward(observe, device, *tensors)


def _is_device(value: Any, device: torch.device) -> bool:
    return isinstance(value, torch.device) and value.type == device.type


def _names_device(node: fx.Node, device: torch.device) -> bool:
    return any(_is_device(value, device) for value in (*node.args, *node.kwargs.values()))


class ProgramCache:
    """Programs for the selections asked for so far; the oldest goes when there are many."""

    def __init__(
        self, reading: GraphReading, nodes: Sequence[fx.Node], device: torch.device
    ) -> None:
        self._reading = reading
        self._nodes = nodes
        self._device = device
        self._known: dict[tuple[int, ...], Program] = {}
        self._lock = threading.Lock()

    def __call__(self, selected: tuple[int, ...], most: int = 32) -> Program:
        """The program that observes the selected activations.

        Args:
            selected: Positions of the nodes to observe.
            most: How many programs to keep.
        """
        program = self._known.get(selected)
        if program is None:
            with self._lock:
                program = self._known.get(selected)
                if program is None:
                    observed = {self._nodes[position]: position for position in selected}
                    program = Program(self._reading, observed, self._device)
                    while len(self._known) >= most:
                        del self._known[next(iter(self._known))]
                    self._known[selected] = program
        return program
