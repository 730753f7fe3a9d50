"""Graphs of neurons: their communities, what these mean, and how others can look at them."""

from cofire.graphs.communities import Communities, Measure, Method, Null, Significance, Stability
from cofire.graphs.graph import ActivationPatternGraph
from cofire.graphs.layout import force_layout

__all__ = [
    "ActivationPatternGraph",
    "Communities",
    "Measure",
    "Method",
    "Null",
    "Significance",
    "Stability",
    "force_layout",
]
