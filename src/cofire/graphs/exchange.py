"""An activation pattern graph in the forms of other tools: networkx, igraph, Gephi."""

from __future__ import annotations

import colorsys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cofire.atomic import atomic_path
from cofire.graphs.leiden import igraph_module

if TYPE_CHECKING:
    import networkx

    from cofire.graphs.communities import Communities
    from cofire.graphs.graph import ActivationPatternGraph

__all__ = ["igraph_of", "networkx_of", "write_gexf", "write_graphml"]

_EXTENT = 1000.0
"""Gephi's coordinates: half the width of a picture."""
_GOLDEN = 0.618034


def networkx_of(graph: ActivationPatternGraph, communities: Communities | None) -> networkx.Graph[int]:
    """See `ActivationPatternGraph.to_networkx`."""
    import networkx

    result: networkx.Graph[int] = networkx.Graph(layer=graph.layer, pairs=graph.pairs, top=graph.top)
    result.add_nodes_from(zip(graph.neurons.tolist(), _attributes(graph, communities), strict=True))
    pairs, weights = graph.edges()
    ends = graph.neurons[pairs].tolist()
    result.add_weighted_edges_from((p, q, w) for (p, q), w in zip(ends, weights.tolist(), strict=True))
    return result


def igraph_of(graph: ActivationPatternGraph, communities: Communities | None) -> Any:
    """See `ActivationPatternGraph.to_igraph`."""
    igraph = igraph_module("to_igraph()")
    pairs, weights = graph.edges()
    result = igraph.Graph(n=graph.vertices, edges=pairs.numpy())
    result["layer"], result["pairs"], result["top"] = graph.layer, graph.pairs, graph.top
    result.es["weight"] = weights.tolist()
    rows = _attributes(graph, communities)
    for name in rows[0]:
        result.vs[name] = [row[name] for row in rows]
    return result


def write_gexf(graph: ActivationPatternGraph, path: str | Path, communities: Communities | None) -> Path:
    """See `ActivationPatternGraph.write_gexf`."""
    import networkx

    result = networkx_of(graph, communities)
    groups = graph.partition if communities is None else communities.membership
    strongest = float(graph.strength().amax()) or 1.0
    places = (graph.layout() * _EXTENT).tolist()
    for (neuron, data), group, (x, y) in zip(result.nodes(data=True), groups.tolist(), places, strict=True):
        red, green, blue = colorsys.hls_to_rgb(group * _GOLDEN % 1, 0.5, 0.6)
        data["viz"] = {
            "color": {"r": round(255 * red), "g": round(255 * green), "b": round(255 * blue), "a": 1.0},
            "size": 4 + 16 * data["strength"] / strongest,
            "position": {"x": x, "y": y, "z": 0.0},
        }
        data["label"] = str(neuron)
    with atomic_path(path) as partial:
        networkx.write_gexf(result, partial, version="1.2draft")
    return Path(path)


def write_graphml(graph: ActivationPatternGraph, path: str | Path, communities: Communities | None) -> Path:
    """See `ActivationPatternGraph.write_graphml`."""
    import networkx

    result = networkx_of(graph, communities)
    for (neuron, data), (x, y) in zip(result.nodes(data=True), (graph.layout() * _EXTENT).tolist(), strict=True):
        data.update(label=str(neuron), x=x, y=y)
    with atomic_path(path) as partial:
        networkx.write_graphml_xml(result, partial)
    return Path(path)


def _attributes(graph: ActivationPatternGraph, communities: Communities | None) -> list[dict[str, Any]]:
    """What is known of every vertex, in plain numbers and text."""
    represents = graph.classes_of()
    columns: dict[str, list[Any]] = {
        "neuron": graph.neurons.tolist(),
        "class": graph.partition.tolist(),
        "class_name": [graph.class_names[c] for c in graph.partition.tolist()],
        "represents": [", ".join(graph.class_names[c] for c in classes) for classes in represents],
        "classes_represented": [len(classes) for classes in represents],
        "mean_activation": graph.mean_activation.tolist(),
        "entropy": graph.entropy.tolist(),
        "degree": graph.degree().tolist(),
        "strength": graph.strength().tolist(),
        "within_strength": graph.within_strength().tolist(),
        "participation": graph.participation().tolist(),
    }
    if communities is not None:
        columns["community"] = communities.membership.tolist()
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
