"""A graph in which nothing is written over, so that every value is what it was when it was computed."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from typing import Any

import torch
from torch import fx

from cofire.errors import RuleError
from cofire.network.reading import GraphReading, aliasing, name_of
from cofire.network.sources import source_of


def straightened(reading: GraphReading) -> GraphReading:
    """The same computation without writes in place.

    Each node keeps its name and what is noted on it, so that layers are found by their nodes'
    names.

    Args:
        reading: What an exported program says about the model.

    Raises:
        RuleError: A value is changed through a view of it and read through another one afterwards,
            or an operator that writes in place has no counterpart that does not.
    """
    order = {node: number for number, node in enumerate(reading.graph.nodes)}
    groups = _aliases(reading.graph)
    graph = fx.Graph()
    now: dict[fx.Node, fx.Node] = {}
    for node in reading.graph.nodes:
        if node.op == "output":
            continue
        _, written = aliasing(node)
        if node.op == "get_attr" or not written:
            now[node] = graph.node_copy(node, lambda other: now[other])
            continue
        (target,) = written
        _check_views(node, target, groups[_root(target)], order)
        copied = graph.node_copy(node, lambda other: now[other])
        copied.target = _out_of_place(node)
        now[node] = now[target] = copied
    graph.output(now[reading.logits])
    # Without the operations, which hold nodes of the graph that this one is made from.
    straight = dataclasses.replace(reading, graph=graph, logits=now[reading.logits], operations=())
    return dataclasses.replace(straight, changed=frozenset())


def _root(node: fx.Node) -> fx.Node:
    shared, _ = aliasing(node)
    return node if shared is None else _root(shared)


def _aliases(graph: fx.Graph) -> dict[fx.Node, list[fx.Node]]:
    groups: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for node in graph.nodes:
        if node.op != "output":
            groups[_root(node)].append(node)
    return groups


def _check_views(
    node: fx.Node, target: fx.Node, group: list[fx.Node], order: dict[fx.Node, int]
) -> None:
    """Only the changed value itself may be read afterwards, not other views of the same memory."""
    for other in group:
        if other is target or order[other] >= order[node]:
            continue
        same = _writes_to(other) is target
        if not same and any(order[user] > order[node] for user in other.users):
            raise RuleError(
                f"{name_of(node)} at {source_of(node)} changes a value that is read through another view afterwards",
                "operators whose results stay as they are computed",
                "write a new tensor there instead of changing a part of one in place",
            )


def _writes_to(node: fx.Node) -> fx.Node | None:
    _, written = aliasing(node)
    return written[0] if written else None


def _out_of_place(node: fx.Node) -> Any:
    target = node.target
    if isinstance(target, torch._ops.OpOverload):
        packet = target.overloadpacket.__name__
        plain = getattr(torch.ops.aten, packet.removesuffix("_"), None)
        overload = getattr(plain, target._overloadname, None)
        if packet.endswith("_") and overload is not None:
            return overload
    raise RuleError(
        f"{node.target} at {source_of(node)} writes in place",
        "an operator that has a form without writing in place",
        "write a new tensor there instead",
    )
