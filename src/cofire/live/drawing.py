"""A small image of a graph, for loggers that take images."""

from __future__ import annotations

from PIL import Image, ImageDraw

from cofire.graphs import ActivationPatternGraph
from cofire.graphs.layout import force_layout
from cofire.report.colours import LIGHT, palette

_SIZE, _MARGIN, _RADIUS, _EDGES = 480, 24, 5, 1500


def graph_drawing(graph: ActivationPatternGraph) -> Image.Image:
    """Neurons that fire together near each other, each in the colour of the class it does most for.

    Args:
        graph: With any number of vertices; of its edges the heaviest are drawn.

    Returns:
        An RGB image, 480 × 480 pixels.
    """
    where = force_layout(graph.adjacency).clamp(-1.2, 1.2) / 1.2
    at = [(x, y) for x, y in (_SIZE / 2 + where * (_SIZE / 2 - _MARGIN)).tolist()]
    colours = palette(len(graph.class_names), "light")
    image = Image.new("RGB", (_SIZE, _SIZE), LIGHT.surface)
    draw = ImageDraw.Draw(image)
    pairs, weights = graph.edges()
    for a, b in pairs[weights.argsort(descending=True)[:_EDGES]].flip(0).tolist():
        draw.line([at[a], at[b]], fill=LIGHT.grid)
    for (x, y), own in zip(at, graph.vertex_columns()["class"], strict=True):
        box = (x - _RADIUS, y - _RADIUS, x + _RADIUS, y + _RADIUS)
        draw.ellipse(box, fill=colours[own], outline=LIGHT.surface)
    return image
