"""The drawing of activation pattern graphs: what part each neuron plays, where it lies, and all packed into text."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import torch

from cofire.graphs.layout import force_layout
from cofire.report.colours import CLASS_COLOURS, LIGHT, fade, palette
from cofire.report.notation import count, joined, plural, short
from cofire.report.plots import canvas, plain
from cofire.report.section import Floats

Ints = npt.NDArray[np.int64]

NEURONS = 600
"""Up to so many neurons of a graph are drawn, those with the greatest strength."""
EDGES = 1500
"""Up to so many edges of a graph are drawn."""
OWN_EDGES = 3
"""So many of each neuron's strongest edges are among them, that no neuron loses all its company."""
EXTENT = 1.3
"""No neuron is drawn further out than this; 98 % of them lie within 1."""
HOME = 0.5
"""From this share of its strength inside its own class on, a neuron is that class's specialist."""
ROLES = {
    "specialist": "at least half of its strength inside its own class",
    "connector": "less than half, and it represents several classes",
    "mixed": "less than half, though it represents one class only",
    "isolated": "no edge at all",
}
"""The roles and what decides them. A neuron's own class is that with its highest mean."""
_MANY = {"specialist": "specialists", "connector": "connectors"}
_ANCHOR = 0.8
_GOLDEN = 2.399963229728653
"""The golden angle: points that turn by it fill a disc evenly."""
_FIRST, _LATER = 200, 60


@dataclass(frozen=True)
class Graph:
    """One activation pattern graph, vertex by vertex and edge by edge.

    Attributes:
        checkpoint: Number of its checkpoint.
        row: Its row of the table of graphs.
        neurons: Number of the neuron behind each vertex, ascending, shape (vertices,).
        classes: The classes that each vertex represents.
        own: The class with the highest mean, shape (vertices,).
        numbers: The other columns of the table of vertices by name, each of shape (vertices,).
        source: First vertex of each edge, shape (edges,), as a place in `neurons`.
        target: Its second vertex.
        weight: Its weight.
    """

    checkpoint: int
    row: dict[str, Any]
    neurons: Ints
    classes: list[list[int]]
    own: Ints
    numbers: dict[str, Floats]
    source: Ints
    target: Ints
    weight: Floats

    def roles(self) -> list[str]:
        """One of `ROLES` for every vertex."""
        degree, strength, within = (
            self.numbers[n] for n in ("degree", "strength", "within_strength")
        )
        several = np.array([len(classes) > 1 for classes in self.classes], dtype=bool)
        found = np.where(several, "connector", "mixed").astype(object)
        found[within >= HOME * strength] = "specialist"
        found[(degree == 0) | (strength <= 0)] = "isolated"
        return [str(name) for name in found]


def role_text(name: str, own: str, classes: list[str]) -> str:
    """A role in words.

    Args:
        name: One of `ROLES`.
        own: Name of the neuron's own class.
        classes: Names of the classes that it represents.

    Example:
        >>> role_text("specialist", "3", ["3"]), role_text("connector", "3", ["3", "8"])
        ('specialist of 3', 'connector of 3 and 8')
        >>> role_text("connector", "3", ["1", "3", "5", "8"])
        'connector of 4 classes'
        >>> role_text("mixed", "3", ["3"]), role_text("isolated", "3", ["3"])
        ('neuron of 3 that fires with other classes', 'isolated')
    """
    several = joined(classes) if len(classes) <= 3 else f"{len(classes)} classes"
    return {
        "specialist": f"specialist of {own}",
        "connector": f"connector of {several}",
        "mixed": f"neuron of {own} that fires with other classes",
        "isolated": "isolated",
    }[name]


@dataclass(frozen=True)
class Drawing:
    """A graph as it is drawn.

    Attributes:
        graph: The graph, with the drawn vertices and edges only, edges by falling weight.
        where: Position of each vertex, shape (vertices, 2).
        left_out: How many vertices are not drawn.
    """

    graph: Graph
    where: Floats
    left_out: int


def spread(total: int, most: int) -> list[int]:
    """Places at even distances, the first and the last among them."""
    return sorted(set(np.linspace(0, total - 1, min(total, most)).round().astype(int).tolist()))


def drawings(graphs: Sequence[Graph], classes: int) -> list[Drawing]:
    """The graphs of a layer as they are drawn, neurons moving little from one checkpoint to the next.

    Args:
        graphs: In the order of their checkpoints.
        classes: How many classes there are.
    """
    kept = [strongest(graph) for graph in graphs]
    # The forces see every edge between the neurons that are drawn, though not all are drawn.
    return [
        Drawing(_thinned(graph), where, len(whole.neurons) - len(graph.neurons))
        for whole, graph, where in zip(graphs, kept, _course(kept, classes), strict=True)
    ]


def strongest(graph: Graph, most: int = NEURONS) -> Graph:
    """The graph of its strongest vertices only."""
    size = len(graph.neurons)
    if size <= most:
        return graph
    keep = np.sort(np.argsort(-graph.numbers["strength"], kind="stable")[:most])
    place = np.full(size, -1)
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
        seen = np.zeros(len(graph.neurons), dtype=np.int64)
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
    edges = {name: getattr(graph, name)[order] for name in ("source", "target", "weight")}
    return replace(graph, **edges)


def _course(graphs: Sequence[Graph], classes: int) -> list[Floats]:
    """Positions of the vertices of each graph, shape (vertices, 2), within `EXTENT`.

    The first starts with every neuron near its class's place on a circle, each later one from where
    the same neurons were; a new neuron starts amid those of its class.
    """
    placed: list[Floats] = []
    known: dict[int, Floats] = {}
    for graph in graphs:
        neurons = graph.neurons.tolist()
        old = np.array([n in known for n in neurons], dtype=bool)
        angle = 2 * np.pi * graph.own / max(1, classes) - np.pi / 2
        turn, steps = _GOLDEN * np.arange(len(neurons)), np.arange(len(neurons)) % 61 + 1
        # Even and the same on every run; two neurons at one point could not be told apart by any force.
        jitter = (0.22 * np.sqrt(steps / 61))[:, None] * np.stack(
            [np.cos(turn), np.sin(turn)], axis=1
        )
        start = _ANCHOR * np.stack([np.cos(angle), np.sin(angle)], axis=1) + jitter
        for number in np.unique(graph.own[old]):
            here = (graph.own == number) & old
            middle = np.mean([known[neurons[i]] for i in np.flatnonzero(here)], axis=0)
            of_class = graph.own == number
            start[of_class] = middle + 0.3 * jitter[of_class]
        for i in np.flatnonzero(old):
            start[i] = known[neurons[i]]
        adjacency = torch.zeros(len(neurons), len(neurons), dtype=torch.float64)
        source, target = torch.from_numpy(graph.source), torch.from_numpy(graph.target)
        adjacency[source, target] = adjacency[target, source] = torch.from_numpy(graph.weight)
        where: Floats = force_layout(
            adjacency, initial=torch.from_numpy(start), iterations=_LATER if known else _FIRST
        ).numpy()
        if old.sum() >= 3:
            # Forces know no up or down: turned so that the neurons that were there move least.
            left, _, right = np.linalg.svd(where[old].T @ start[old])
            where = where @ (left @ right)
        # A few that lie far out would shrink all others: they are drawn in to the rim.
        distance = np.linalg.norm(where, axis=1, keepdims=True)
        placed.append(where * np.minimum(1.0, EXTENT / np.maximum(distance, 1e-12)))
        known = dict(zip(neurons, placed[-1], strict=True))
    return placed


def packed(scenes: Mapping[str, Sequence[Drawing]], names: Sequence[str]) -> dict[str, Any]:
    """The drawings of each layer as JSON takes them: facts of each graph, and columns of numbers in base64.

    Args:
        scenes: By layer.
        names: Name of every class, by number.
    """
    colours = {
        "class": {theme: palette(len(names), theme) for theme in ("light", "dark")},
        "community": {theme: list(CLASS_COLOURS[theme]) for theme in ("light", "dark")},
    }
    return {
        "classes": list(names),
        "extent": EXTENT,
        "scenes": [_scene(layer, held, names) for layer, held in scenes.items()],
        "palettes": colours,
    }


def _scene(layer: str, drawn: Sequence[Drawing], names: Sequence[str]) -> dict[str, Any]:
    graphs = [drawing.graph for drawing in drawn]
    every = np.unique(np.concatenate([g.neurons for g in graphs]))
    texts = [
        role_text(role, names[own], [names[c] for c in classes])
        for g in graphs
        for role, own, classes in zip(g.roles(), g.own.tolist(), g.classes, strict=True)
    ]
    said, spoken = np.unique(np.array(texts, dtype=object), return_inverse=True)

    def gathered(name: str) -> Floats:
        return np.concatenate([g.numbers[name] for g in graphs])

    where = np.concatenate([drawing.where for drawing in drawn]) / EXTENT
    top = [float(g.weight.max(initial=0.0)) or 1.0 for g in graphs]
    strength, within = gathered("strength"), gathered("within_strength")
    inside = np.divide(within, strength, out=np.zeros_like(strength), where=strength > 0)
    whole = {
        "id": np.concatenate([np.searchsorted(every, g.neurons) for g in graphs]),
        "own": np.concatenate([g.own for g in graphs]),
        "community": gathered("community"),
        "degree": gathered("degree"),
        "within": np.rint(65535 * inside),
        "participation": np.rint(65535 * gathered("participation")),
        "role": spoken,
        "many": np.array([len(c) for g in graphs for c in g.classes]),
        "classes": np.array([c for g in graphs for own in g.classes for c in own]),
        "source": np.concatenate([g.source for g in graphs]),
        "target": np.concatenate([g.target for g in graphs]),
        "weight": np.concatenate(
            [np.rint(65535 * g.weight / t) for g, t in zip(graphs, top, strict=True)]
        ),
    }
    real = {
        "mean": gathered("mean_activation"),
        "entropy": gathered("entropy"),
        "strength": strength,
    }
    columns = {name: _text(np.clip(v, 0, 65535).astype("<u2")) for name, v in whole.items()}
    columns |= {name: _text(values.astype("<f4")) for name, values in real.items()}
    columns |= {
        axis: _text(np.rint(32767 * where[:, i]).astype("<i2")) for i, axis in enumerate("xy")
    }
    return {
        "layer": layer,
        # As text: JavaScript's numbers end at 2^53.
        "neurons": [str(n) for n in every.tolist()],
        "roles": said.tolist(),
        "graphs": [_facts(drawing, t) for drawing, t in zip(drawn, top, strict=True)],
        "columns": columns,
    }


def _facts(drawing: Drawing, top: float) -> dict[str, Any]:
    """Numbers of a graph, and what its drawing shows in one line."""
    graph, row = drawing.graph, drawing.graph.row
    found = Counter(graph.roles())
    parts = [plural(found[name], name, _MANY.get(name, name)) for name in ROLES if found[name]]
    text = f"{plural(len(graph.neurons), 'neuron')}: {joined(parts)}" if parts else "No neuron"
    left = f" ({count(drawing.left_out)} weaker ones are not drawn)" if drawing.left_out else ""
    ends = (
        f"{plural(row['edges'], 'edge')}, {plural(row['communities'], 'community', 'communities')}"
    )
    accuracies = {name: row[f"{name}_accuracy"] for name in ("train", "test")}
    return {
        "checkpoint": str(graph.checkpoint),
        **{n: v if v is not None and np.isfinite(v) else None for n, v in accuracies.items()},
        "vertices": len(graph.neurons),
        "drawn": len(graph.weight),
        "memberships": sum(len(c) for c in graph.classes),
        "edges": row["edges"],
        "communities": row["communities"],
        "top": top,
        "said": f"{text}{left}. {ends}.",
    }


def _text(values: npt.NDArray[Any]) -> str:
    return base64.b64encode(values.tobytes()).decode("ascii")


def still(drawing: Drawing, names: Sequence[str]) -> go.Figure:
    """A graph as a still drawing, for a paper or a talk.

    Args:
        drawing: The graph as it is drawn.
        names: Name of every class, by number.
    """
    graph, where = drawing.graph, drawing.where * (1, -1)
    figure = canvas(900, "", "", hovermode="closest")
    ends = np.stack(
        [where[graph.source], where[graph.target], np.full((len(graph.source), 2), np.nan)]
    )
    inside = graph.own[graph.source] == graph.own[graph.target]
    present = np.unique(graph.own).tolist()
    colours = palette(max(len(names), 1), "light")
    for owner in (None, *present):
        mask = ~inside if owner is None else inside & (graph.own[graph.source] == owner)
        colour = LIGHT.muted if owner is None else colours[owner]
        lines = ends[:, mask].swapaxes(0, 1).reshape(-1, 2)
        figure.add_scatter(
            x=lines[:, 0],
            y=lines[:, 1],
            mode="lines",
            line={"color": fade(colour, 0.13 if owner is None else 0.24), "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    strength = graph.numbers["strength"]
    size = 6 + 13 * np.sqrt(strength / max(float(strength.max(initial=0.0)), 1e-12))
    for owner in present:
        here = graph.own == owner
        line = {"color": LIGHT.surface, "width": 1}
        figure.add_scatter(
            x=where[here, 0],
            y=where[here, 1],
            mode="markers",
            name=plain(short(names[owner], 24)),
            marker={"color": colours[owner], "size": size[here], "opacity": 1, "line": line},
            text=[str(n) for n in graph.neurons[here].tolist()],
            hovertemplate="neuron %{text}<extra></extra>",
            showlegend=len(present) <= 12,
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure
