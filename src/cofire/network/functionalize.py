"""An operator graph without writes in place: every value stays what it was when it was computed."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, fx

from cofire.errors import RuleError
from cofire.network.reading import GraphReading, aliasing, name_of, source_of


def functionalize(reading: GraphReading) -> tuple[GraphReading, RuleError | None]:
    """The same computation without writes in place, and an error that names the first write that had to stay.

    Each node keeps its name and what is noted on it. A write stays where a value is changed through
    a view of it and read through another one afterwards, and where the operator has no counterpart
    that does not write.

    Args:
        reading: What an exported program says about the model.
    """
    order = {node: number for number, node in enumerate(reading.graph.nodes)}
    groups: dict[fx.Node, list[fx.Node]] = defaultdict(list)
    for node in reading.graph.nodes:
        if node.op != "output":
            groups[_memory(node)].append(node)
    graph = fx.Graph()
    now: dict[fx.Node, fx.Node] = {}
    refusal: RuleError | None = None
    for node in reading.graph.nodes:
        if node.op == "output":
            continue
        written = aliasing(node)[1] if node.op == "call_function" else []
        now[node] = copied = graph.node_copy(node, now.__getitem__)
        if not written:
            continue
        plain = _without_writing(node.target)
        # Only the changed value itself may be read afterwards, not other views of the same memory.
        views = [
            other
            for other in groups[_memory(written[0])]
            if other is not written[0]
            and order[other] < order[node]
            and written[0] not in aliasing(other)[1]
            and any(order[user] > order[node] for user in other.users)
        ]
        if views or plain is None or len(written) > 1:
            what = (
                "writes in place"
                if not views
                else "changes a value that is read through another view afterwards"
            )
            refusal = refusal or RuleError(
                f"{name_of(node)} at {source_of(node)} {what}",
                "operators whose results stay as they are computed",
                "write a new tensor there instead of changing one in place",
            )
            continue
        copied.target = plain
        now[node] = now[written[0]] = _cast(graph, copied, node, written[0])
    graph.output(now[reading.logits])
    # Without the operations, which hold nodes of the graph that this one is made from.
    changed = frozenset() if refusal is None else reading.changed
    return replace(
        reading, graph=graph, logits=now[reading.logits], operations=(), changed=changed
    ), refusal


def _cast(graph: fx.Graph, result: fx.Node, node: fx.Node, written: fx.Node) -> fx.Node:
    """The result in the type of what was written to, which in place it keeps."""
    kinds = {value.meta["val"].dtype for value in node.all_input_nodes if _floating(value)}
    if not _floating(written) or len(kinds) < 2:
        return result
    cast = graph.call_function(torch.ops.aten.to.dtype, (result, written.meta["val"].dtype))
    cast.meta = dict(node.meta)
    return cast


def _floating(node: fx.Node) -> bool:
    value = node.meta.get("val")
    return isinstance(value, Tensor) and value.is_floating_point()


def _memory(node: fx.Node) -> fx.Node:
    """The node whose memory a value lies in."""
    while (shared := aliasing(node)[0]) is not None:
        node = shared
    return node


def _without_writing(target: Any) -> Any:
    """The overload of the same arguments that gives its result back only, such as `relu` for `relu_`."""
    if not isinstance(target, torch._ops.OpOverload):
        return None
    packet = getattr(torch.ops.aten, target.overloadpacket.__name__.removesuffix("_"), None)
    other = getattr(packet, target._overloadname, None)
    if other is None or other is target:
        return None
    names = [[argument.name for argument in one._schema.arguments] for one in (target, other)]
    return other if names[0] == names[1] else None
