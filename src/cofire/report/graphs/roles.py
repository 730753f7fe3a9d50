"""What part a neuron plays in the graph, in words, by thresholds that the page states."""

from __future__ import annotations

from cofire.report.graphs.facts import Graph
from cofire.report.notation import joined

HOME = 0.5
"""From this share of its strength inside its own class on, a neuron is that class's specialist."""

ROLES = {
    "specialist": "at least half of its strength inside its own class",
    "connector": "less than half, and it represents several classes",
    "mixed": "less than half, though it represents one class only",
    "isolated": "no edge at all",
}
"""The roles and what decides them. A neuron's own class is that with its highest mean."""

MANY = {"specialist": "specialists", "connector": "connectors"}
"""How several of them are called."""


def role(degree: float, strength: float, within: float, classes: int) -> str:
    """One of `ROLES`.

    Args:
        degree: Number of edges.
        strength: Sum of their weights.
        within: The part of it inside the neuron's own class.
        classes: How many classes the neuron represents.

    Example:
        >>> role(0, 0.0, 0.0, 1), role(9, 4.0, 3.0, 2), role(9, 4.0, 1.0, 2), role(9, 4.0, 1.0, 1)
        ('isolated', 'specialist', 'connector', 'mixed')
    """
    if degree == 0 or strength <= 0:
        return "isolated"
    if within >= HOME * strength:
        return "specialist"
    return "connector" if classes > 1 else "mixed"


def roles(graph: Graph) -> list[str]:
    """The role of every vertex."""
    columns = (graph.numbers[name].tolist() for name in ("degree", "strength", "within_strength"))
    return [role(d, s, w, len(c)) for d, s, w, c in zip(*columns, graph.classes, strict=True)]


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
    if name == "specialist":
        return f"specialist of {own}"
    if name == "connector":
        return (
            f"connector of {joined(classes)}"
            if len(classes) <= 3
            else f"connector of {len(classes)} classes"
        )
    return "isolated" if name == "isolated" else f"neuron of {own} that fires with other classes"
