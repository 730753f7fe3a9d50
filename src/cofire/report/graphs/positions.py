"""Where the neurons lie in the picture of a graph, so that they move little from one checkpoint to the next."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from cofire.graphs.layout import force_layout
from cofire.report.facts import Floats
from cofire.report.graphs.facts import Graph

EXTENT = 1.3
"""No neuron is drawn further out than this; 98 % of them lie within 1."""
_ANCHOR = 0.8
_GOLDEN = 2.399963229728653
"""The golden angle: points that turn by it fill a disc evenly."""
_FIRST, _LATER = 200, 60


def course(graphs: list[Graph], classes: int) -> list[Floats]:
    """Positions of the vertices of a layer's graphs in the order of the checkpoints.

    The first starts with every neuron near its class's place on a circle, each later one from where
    the same neurons were; a new neuron starts amid those of its class.

    Args:
        graphs: One or more.
        classes: How many classes there are.

    Returns:
        For each graph an array of shape (vertices, 2) within `EXTENT`.
    """
    placed: list[Floats] = []
    known: dict[int, Floats] = {}
    for graph in graphs:
        start = _start(graph, classes, known)
        where = _laid_out(graph, start, _LATER if known else _FIRST)
        if known:
            where = _turned(
                where, start, np.array([n in known for n in graph.neurons.tolist()], dtype=bool)
            )
        placed.append(_held(where))
        known = dict(zip(graph.neurons.tolist(), placed[-1], strict=True))
    return placed


def _anchors(own: npt.NDArray[np.int64], classes: int) -> Floats:
    angle = 2 * np.pi * own / max(1, classes) - np.pi / 2
    return _ANCHOR * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _start(graph: Graph, classes: int, known: dict[int, Floats]) -> Floats:
    neurons = graph.neurons.tolist()
    anchors = _anchors(graph.own, classes)
    # Even and the same on every run; two neurons at one point could not be told apart by any force.
    turn = _GOLDEN * np.arange(graph.size)
    radius = 0.22 * np.sqrt((np.arange(graph.size) % 61 + 1) / 61)
    jitter = radius[:, None] * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    if not known:
        return np.asarray(anchors + jitter)
    old = np.array([n in known for n in neurons], dtype=bool)
    start = anchors + jitter
    for number in np.unique(graph.own):
        of_class = graph.own == number
        if (of_class & old).any():
            middle = np.mean(
                [known[n] for n, here in zip(neurons, of_class & old, strict=True) if here], axis=0
            )
            start[of_class] = middle + 0.3 * jitter[of_class]
    for i in np.flatnonzero(old):
        start[i] = known[neurons[i]]
    return np.asarray(start)


def _laid_out(graph: Graph, start: Floats, iterations: int) -> Floats:
    adjacency = torch.zeros(graph.size, graph.size, dtype=torch.float64)
    source, target = torch.from_numpy(graph.source), torch.from_numpy(graph.target)
    adjacency[source, target] = torch.from_numpy(graph.weight)
    adjacency[target, source] = torch.from_numpy(graph.weight)
    return np.asarray(
        force_layout(adjacency, initial=torch.from_numpy(start), iterations=iterations).numpy()
    )


def _turned(where: Floats, before: Floats, same: npt.NDArray[np.bool_]) -> Floats:
    """Forces know no up or down: turn the picture so that the neurons that were there before move least."""
    if same.sum() < 3:
        return where
    left, _, right = np.linalg.svd(where[same].T @ before[same])
    return np.asarray(where @ (left @ right))


def _held(where: Floats) -> Floats:
    """A few that lie far out would shrink all others: they are drawn in to the rim."""
    distance = np.linalg.norm(where, axis=1, keepdims=True)
    return np.asarray(where * np.minimum(1.0, EXTENT / np.maximum(distance, 1e-12)))
