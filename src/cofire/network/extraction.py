"""A network as one plain module that gives its activations beside its logits."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, fx, nn

from cofire.arguments import validated
from cofire.errors import ExportError
from cofire.network.engines import GraphEngine
from cofire.network.layers import ActivationLayer
from cofire.network.network import Network


@validated
def writes_in_place(network: Network) -> bool:
    """Whether an activation may be written over after it was computed, as far as can be known."""
    if not network.has_graph:
        return True
    names = (
        str(node.target).split(".")[1:2]
        for node in network.graph.nodes
        if node.op == "call_function"
    )
    return any(name and name[0].endswith("_") for name in names)


class _Open(nn.Module):
    def __init__(
        self, body: fx.GraphModule, engine: GraphEngine, layers: Sequence[ActivationLayer]
    ) -> None:
        super().__init__()
        self.body = body
        self._layouts = [engine.found.layouts[layer] for layer in layers]

    def forward(self, images: Tensor) -> tuple[Any, ...]:
        logits, head, *activations = self.body(images)
        batch = images.shape[0]
        plain = [
            layout.batch_first(value, batch)
            for layout, value in zip(self._layouts, activations, strict=True)
        ]
        return (logits, head, *plain)


@validated
def open_module(network: Network, layers: Sequence[ActivationLayer]) -> nn.Module:
    """The network's graph as a module of PyTorch with a copy of its weights, which needs nothing of cofire to export.

    Args:
        network: With a graph.
        layers: Activation layers of it.

    Returns:
        A module from images to (logits, what goes into the last linear layer or None, activations
        of each layer).

    Raises:
        ExportError: The network has no graph, or takes several inputs.
        LayerError: A layer is not part of it.
    """
    nodes = [network.node(layer) for layer in layers]
    engine = network._graph_engine()
    reading = engine.reading
    if len(reading.inputs) != 1:
        raise ExportError(
            f"a network of {len(reading.inputs)} inputs", "a network of one input", "wrap the model"
        )
    graph = fx.Graph()
    root: dict[str, Any] = dict(reading.submodules)
    values: dict[fx.Node, fx.Node] = {}
    watched = (
        {*nodes, *([] if engine.head is None else [engine.head])}
        if writes_in_place(network)
        else set()
    )
    kept: dict[fx.Node, fx.Node] = {}
    for number, node in enumerate(reading.graph.nodes):
        if node.op == "output":
            continue
        if node.op == "placeholder" and node.name not in reading.inputs:
            if not node.users:
                continue
            if node.name in reading.tensors:
                held = network._source.tensors([reading.tensors[node.name]])[0]
            else:
                held = reading.constants[node.name]
            name = f"held_{number}"
            root[name] = held.detach().to(network.device).clone()
            values[node] = copied = graph.get_attr(name)
            if node.name in reading.changed:
                values[node] = graph.call_function(torch.ops.aten.clone.default, (copied,))
            continue
        values[node] = graph.node_copy(node, lambda other: values[other])
        if node in watched:
            # As it was when it was computed: what follows may write over it.
            kept[node] = graph.call_function(torch.ops.aten.clone.default, (values[node],))
    found = {**values, **kept}
    head = None if engine.head is None else found[engine.head]
    graph.output((values[reading.logits], head, *(found[node] for node in nodes)))
    return _Open(fx.GraphModule(root, graph), engine, layers)
