"""What the interactive picture of the graphs is drawn from: the neurons and the strongest edges, packed into text."""

from __future__ import annotations

import base64
from collections import Counter
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from cofire.report.facts import Floats
from cofire.report.graphs.facts import Graph, GraphFacts, Ints
from cofire.report.graphs.positions import EXTENT, course
from cofire.report.graphs.roles import MANY, ROLES, role_text, roles
from cofire.report.notation import count, joined, plural

NEURONS = 600
"""Up to so many neurons of a graph are drawn, those with the greatest strength."""
EDGES = 1500
"""Up to so many edges of a graph are drawn."""
OWN_EDGES = 3
"""So many of each neuron's strongest edges are among them, that no neuron loses all its company."""
GRAPHS = 48
"""Up to so many graphs are drawn; of a longer run, checkpoints at even distances."""
LAYERS = 12
"""Up to so many layers are drawn; of a deeper network, layers at even distances."""


@dataclass(frozen=True)
class Picture:
    """A graph as it is drawn.

    Attributes:
        graph: The graph, with the drawn vertices and edges only, edges by falling weight.
        where: Position of each vertex, shape (vertices, 2).
        left_out: How many vertices are not drawn.
    """

    graph: Graph
    where: Floats
    left_out: int


@dataclass(frozen=True)
class Scene:
    """The pictures of one layer.

    Attributes:
        layer: Name of the layer.
        pictures: One per checkpoint that is drawn, in order.
    """

    layer: str
    pictures: list[Picture]


def pictured(facts: GraphFacts) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The layers and the checkpoints that are drawn, the first and the last of each among them."""
    layers = tuple(facts.layers[i] for i in _spread(len(facts.layers), LAYERS))
    most = max(2, GRAPHS // len(layers))
    return layers, tuple(facts.checkpoints[i] for i in _spread(len(facts.checkpoints), most))


def _spread(count: int, most: int) -> list[int]:
    return sorted(set(np.linspace(0, count - 1, min(count, most)).round().astype(int).tolist()))


def pictures(facts: GraphFacts) -> list[Scene]:
    """Every graph that is drawn, laid out layer by layer."""
    layers, checkpoints = pictured(facts)
    classes = 1 + max(facts.class_names, default=0)
    scenes = []
    for layer in layers:
        whole = [facts.graph(layer, number) for number in checkpoints]
        kept = [strongest(graph) for graph in whole]
        most = max([classes, *(1 + int(g.own.max(initial=0)) for g in kept)])
        # The forces see every edge between the neurons that are drawn, though not every edge is
        # drawn.
        placed = course(kept, most)
        parts = zip(whole, kept, placed, strict=True)
        scenes.append(
            Scene(layer, [Picture(_thinned(k), where, w.size - k.size) for w, k, where in parts])
        )
    return scenes


def strongest(graph: Graph, most: int = NEURONS) -> Graph:
    """The graph of its strongest vertices only."""
    if graph.size <= most:
        return graph
    keep = np.sort(np.argsort(-graph.numbers["strength"], kind="stable")[:most])
    place = np.full(graph.size, -1)
    place[keep] = np.arange(most)
    held = (place[graph.source] >= 0) & (place[graph.target] >= 0)
    return replace(
        graph,
        neurons=graph.neurons[keep],
        classes=[graph.classes[i] for i in keep],
        own=graph.own[keep],
        numbers={name: values[keep] for name, values in graph.numbers.items()},
        source=place[graph.source[held]],
        target=place[graph.target[held]],
        weight=graph.weight[held],
    )


def _thinned(graph: Graph, most: int = EDGES) -> Graph:
    order = np.argsort(-graph.weight, kind="stable")
    if len(order) > most:
        seen = np.zeros(graph.size, dtype=np.int64)
        own = []
        for edge in order.tolist():
            a, b = int(graph.source[edge]), int(graph.target[edge])
            if seen[a] < OWN_EDGES or seen[b] < OWN_EDGES:
                own.append(edge)
            seen[a] += 1
            seen[b] += 1
        first = np.array(own[:most], dtype=np.int64)
        chosen = np.concatenate([first, order[~np.isin(order, first)][: most - len(first)]])
        order = chosen[np.argsort(-graph.weight[chosen], kind="stable")]
    return replace(
        graph, source=graph.source[order], target=graph.target[order], weight=graph.weight[order]
    )


def packed(facts: GraphFacts, scenes: list[Scene], names: list[str]) -> dict[str, Any]:
    """The scenes as JSON takes them: facts of each graph, and columns of little-endian numbers in base64.

    Args:
        facts: Whose they are.
        scenes: What `pictures` gave.
        names: Name of every class, by number.
    """
    return {
        "classes": names,
        "extent": EXTENT,
        "scenes": [_scene(facts, scene) for scene in scenes],
    }


def _scene(facts: GraphFacts, scene: Scene) -> dict[str, Any]:
    graphs = [picture.graph for picture in scene.pictures]
    every = (
        np.unique(np.concatenate([g.neurons for g in graphs]))
        if graphs
        else np.zeros(0, dtype=np.int64)
    )
    texts = [text for g in graphs for text in _role_texts(facts, g)]
    said, spoken = np.unique(np.array(texts, dtype=object), return_inverse=True)

    def number(name: str) -> Floats:
        return np.concatenate([g.numbers[name] for g in graphs])

    where = np.concatenate([picture.where for picture in scene.pictures]) / EXTENT
    top = [float(g.weight.max(initial=0.0)) or 1.0 for g in graphs]
    strength = number("strength")
    within = np.divide(
        number("within_strength"), strength, out=np.zeros_like(strength), where=strength > 0
    )
    columns = {
        "id": _u16(np.concatenate([np.searchsorted(every, g.neurons) for g in graphs])),
        "x": _text(np.rint(32767 * where[:, 0]).astype("<i2")),
        "y": _text(np.rint(32767 * where[:, 1]).astype("<i2")),
        "own": _u16(np.concatenate([g.own for g in graphs])),
        "community": _u16(number("community")),
        "degree": _u16(number("degree")),
        "mean": _text(number("mean_activation").astype("<f4")),
        "entropy": _text(number("entropy").astype("<f4")),
        "strength": _text(strength.astype("<f4")),
        "within": _u16(np.rint(65535 * within)),
        "participation": _u16(np.rint(65535 * number("participation"))),
        "role": _u16(spoken),
        "many": _u16(np.array([len(c) for g in graphs for c in g.classes])),
        "classes": _u16(np.array([c for g in graphs for own in g.classes for c in own])),
        "source": _u16(np.concatenate([g.source for g in graphs])),
        "target": _u16(np.concatenate([g.target for g in graphs])),
        "weight": _u16(
            np.concatenate(
                [np.rint(65535 * g.weight / t) for g, t in zip(graphs, top, strict=True)]
            )
        ),
    }
    return {
        "layer": scene.layer,
        # As text: JavaScript's numbers end at 2^53.
        "neurons": [str(n) for n in every.tolist()],
        "roles": said.tolist(),
        "graphs": [_facts(picture, t) for picture, t in zip(scene.pictures, top, strict=True)],
        "columns": columns,
    }


def _role_texts(facts: GraphFacts, graph: Graph) -> list[str]:
    named = [[facts.class_name(c) for c in classes] for classes in graph.classes]
    owned = [facts.class_name(c) for c in graph.own.tolist()]
    return [role_text(*parts) for parts in zip(roles(graph), owned, named, strict=True)]


def _facts(picture: Picture, top: float) -> dict[str, Any]:
    row = picture.graph.row
    return {
        "checkpoint": str(picture.graph.checkpoint),
        "train": _finite(row["train_accuracy"]),
        "test": _finite(row["test_accuracy"]),
        "vertices": picture.graph.size,
        "drawn": len(picture.graph.weight),
        "memberships": sum(len(c) for c in picture.graph.classes),
        "edges": row["edges"],
        "communities": row["communities"],
        "top": top,
        "said": _said(picture),
    }


def _said(picture: Picture) -> str:
    """What the picture shows, in one line."""
    row, found = picture.graph.row, Counter(roles(picture.graph))
    parts = [plural(found[name], name, MANY.get(name, name)) for name in ROLES if found[name]]
    text = f"{plural(picture.graph.size, 'neuron')}: {joined(parts)}" if parts else "No neuron"
    left = f" ({count(picture.left_out)} weaker ones are not drawn)" if picture.left_out else ""
    return f"{text}{left}. {plural(row['edges'], 'edge')}, {plural(row['communities'], 'community', 'communities')}."


def _finite(value: float | None) -> float | None:
    return value if value is not None and np.isfinite(value) else None


def _u16(values: npt.NDArray[Any] | Ints | Floats) -> str:
    return _text(np.clip(values, 0, 65535).astype("<u2"))


def _text(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")
