"""Which layers are asked where their evidence lies."""

from __future__ import annotations

from collections.abc import Container, Mapping

from torch import fx

from cofire.network import ActivationLayer


def judged_layers(
    graph: fx.Graph, layers: Mapping[fx.Node, ActivationLayer], gates: Container[ActivationLayer]
) -> dict[fx.Node, ActivationLayer]:
    """The last activation layer of each resolution, from the input up.

    The last one has seen most of what its resolution will ever show. Layers of one position have no
    places; gates only scale others.

    Args:
        graph: The network's.
        layers: Its activation layers by node.
        gates: Layers to leave out.
    """
    last: dict[tuple[int, ...], fx.Node] = {}
    order = {node: number for number, node in enumerate(graph.nodes)}
    for node in sorted(layers, key=order.__getitem__):
        layer = layers[node]
        grid = tuple(size for axis, size in enumerate(layer.shape) if axis != layer.channel_axis)
        if len(grid) == 2 and max(grid) > 1 and layer not in gates:
            last[grid] = node
    return {node: layers[node] for node in sorted(last.values(), key=order.__getitem__)}
