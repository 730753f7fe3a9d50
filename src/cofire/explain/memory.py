"""How many images are traced at once, so that what is kept of them stays in bounds."""

from __future__ import annotations

import math

from torch import Tensor, fx

from cofire.explain.plan import Plan
from cofire.explain.rules.registry import is_batched


def images_at_once(plan: Plan, images: int, *, recorded: bool = False) -> int:
    """As many that keeping the values that the rules want to see at most doubles the memory of a bare forward pass.

    Args:
        plan: The way back.
        images: Of the whole batch.
        recorded: Whether autograd keeps what gradients need, which can be every value.
    """
    kept: set[fx.Node] = set()
    if recorded:
        kept.update(
            node
            for node in plan.straight.graph.nodes
            if node.op == "call_function" and is_batched(node)
        )
    for step, rule in plan.steps.values():
        kept.update(node for node in rule.needed(step) if is_batched(node))
    traced = sum(_bytes(node) for node in kept)
    bare = _peak(plan.straight.graph)
    return max(1, min(images, int(bare * images / max(1, traced))))


def _bytes(node: fx.Node) -> int:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return 0
    sizes = [int(size) for size in value.shape if isinstance(size, int)]
    return math.prod(sizes) * value.element_size()


def _peak(graph: fx.Graph) -> int:
    """Bytes of one sample that are alive together at the worst moment of a forward pass."""
    last = {}
    for node in graph.nodes:
        for used in node.all_input_nodes:
            last[used] = node
    alive, peak = 0, 0
    ending: dict[fx.Node, int] = {}
    for node in graph.nodes:
        if node.op == "call_function" and is_batched(node):
            size = _bytes(node)
            alive += size
            peak = max(peak, alive)
            if node in last:
                ending[last[node]] = ending.get(last[node], 0) + size
        alive -= ending.pop(node, 0)
    return peak
