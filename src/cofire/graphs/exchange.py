"""A graph of neurons in the forms of other tools: networkx, igraph, Gephi."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from cofire.atomic import atomic_path
from cofire.errors import OptionError
from cofire.graphs.communities import igraph_module

if TYPE_CHECKING:
    import networkx


_EXTENT = 1000.0
"""Gephi's coordinates: half the width of a drawing."""
_GOLDEN = 0.618034


def networkx_of(
    about: dict[str, Any], columns: dict[str, list[Any]], edges: Tensor, weights: Tensor
) -> networkx.Graph[int]:
    """A networkx graph.

    Args:
        about: What is known of the graph.
        columns: What is known of every vertex; "neuron" is its name.
        edges: Pairs of vertices, (edges, 2).
        weights: Their weights, (edges,).
    """
    import networkx

    result: networkx.Graph[int] = networkx.Graph(**about)
    names = columns["neuron"]
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
    result.add_nodes_from(zip(names, rows, strict=True))
    pairs = ((names[v], names[w]) for v, w in edges.tolist())
    result.add_weighted_edges_from(
        (*pair, weight) for pair, weight in zip(pairs, weights.tolist(), strict=True)
    )
    return result


def igraph_of(
    about: dict[str, Any], columns: dict[str, list[Any]], edges: Tensor, weights: Tensor
) -> Any:
    """An igraph graph of the same.

    Raises:
        MissingExtraError: igraph is not installed.
    """
    igraph = igraph_module("to_igraph()")
    result = igraph.Graph(n=len(columns["neuron"]), edges=edges.numpy(), graph_attrs=about)
    result.es["weight"] = weights.tolist()
    for name, values in columns.items():
        result.vs[name] = values
    return result


def write_gexf(
    graph: networkx.Graph[int], path: str | Path, groups: Tensor, places: Tensor
) -> Path:
    """A file for Gephi with colours, sizes and positions.

    Args:
        graph: What `networkx_of` gave; its nodes get these as attributes.
        path: Where to.
        groups: What colours the vertices, (vertices,).
        places: Where they lie, (vertices, 2).

    Raises:
        OptionError: The path does not end in .gexf.
    """
    import networkx

    _check_ending(path, ".gexf")
    strongest = max(data["strength"] for _, data in graph.nodes(data=True)) or 1.0
    placed = (places * _EXTENT).tolist()
    for (neuron, data), group, (x, y) in zip(
        graph.nodes(data=True), groups.tolist(), placed, strict=True
    ):
        red, green, blue = colorsys.hls_to_rgb(group * _GOLDEN % 1, 0.5, 0.6)
        data["viz"] = {
            "color": {
                "r": round(255 * red),
                "g": round(255 * green),
                "b": round(255 * blue),
                "a": 1.0,
            },
            "size": 4 + 16 * data["strength"] / strongest,
            "position": {"x": x, "y": y, "z": 0.0},
        }
        data["label"] = str(neuron)
    with atomic_path(path) as partial:
        networkx.write_gexf(graph, partial, version="1.2draft")
    return Path(path)


def write_graphml(graph: networkx.Graph[int], path: str | Path, places: Tensor) -> Path:
    """A GraphML file with positions as x and y.

    Args:
        graph: What `networkx_of` gave; its nodes get these as attributes.
        path: Where to.
        places: Where the vertices lie, (vertices, 2).

    Raises:
        OptionError: The path does not end in .graphml.
    """
    import networkx

    _check_ending(path, ".graphml")
    for (neuron, data), (x, y) in zip(
        graph.nodes(data=True), (places * _EXTENT).tolist(), strict=True
    ):
        data.update(label=str(neuron), x=x, y=y)
    with atomic_path(path) as partial:
        networkx.write_graphml_xml(graph, partial)
    return Path(path)


def _check_ending(path: str | Path, ending: str) -> None:
    if Path(path).suffix != ending:
        raise OptionError(
            f"'{path}'", f"a file ending in {ending}", "others know the format by its ending"
        )
