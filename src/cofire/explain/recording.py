"""What tracings of several groups of images found, as one table of neurons and links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from cofire.explain.flow import coordinates
from cofire.explain.neurons import Neurons, Site
from cofire.explain.plan import Plan
from cofire.explain.rules.weighted import Linear
from cofire.explain.tracing import Record
from cofire.network.reading import module_of

__all__ = ["table_of"]


def table_of(plan: Plan, records: Sequence[tuple[int, Record]]) -> tuple[tuple[Site, ...], Neurons]:
    """Sites from the input to the classes, and the neurons found at them.

    Args:
        plan: The way back.
        records: Of groups of images, with the number of the first image of each.
    """
    order = [*plan.steps, plan.image]
    visited = {node for _, record in records for node, _, _ in record.found} | {plan.image}
    nodes = [node for node in order if node in visited][::-1]
    sites = _sites(plan, nodes)
    number = {node: position for position, node in enumerate(nodes)}
    columns: dict[str, list[Tensor]] = {name: [] for name in ("image", "site", "channel", "y", "x", "score")}
    links: dict[str, list[Tensor]] = {name: [] for name in ("child", "parent", "share")}
    start = 0
    for first, record in records:
        for node, flow, _ in record.found:
            site = sites[number[node]]
            where = coordinates(flow.index, site.shape)
            rest = [part for axis, part in enumerate(where) if axis != site.channel_axis]
            zero = torch.zeros_like(flow.index)
            columns["image"].append(flow.image + first)
            columns["site"].append(torch.full_like(flow.index, number[node]))
            columns["channel"].append(where[site.channel_axis])
            columns["y"].append(_line(rest[:-1], site) if len(rest) > 1 else zero)
            columns["x"].append(rest[-1] if rest else zero)
            columns["score"].append(flow.score)
        links["child"] += [part + start for part in record.child]
        links["parent"] += [part + start for part in record.parent]
        links["share"] += record.share
        start += record.rows
    table = {name: _joined(parts) for name, parts in {**columns, **links}.items()}
    # Stable: the images of one group come after those of the one before, and rows of an image keep their order.
    order_of_rows = (-table["site"]).argsort(stable=True)
    place = torch.empty_like(order_of_rows)
    place[order_of_rows] = torch.arange(len(place))
    smallest = torch.finfo(torch.float32).tiny
    return sites, Neurons(
        **{name: table[name][order_of_rows].to(torch.int32) for name in ("image", "site", "channel", "y", "x")},
        score=table["score"][order_of_rows].float().clamp(min=smallest),
        child=place[table["child"].long()].to(torch.int32),
        parent=place[table["parent"].long()].to(torch.int32),
        share=table["share"].float().clamp(min=smallest),
    )


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts).cpu() if parts else torch.zeros(0)


def _line(rest: list[Tensor], site: Site) -> Tensor:
    sizes = [size for axis, size in enumerate(site.shape) if axis != site.channel_axis]
    line = rest[0]
    for part, size in zip(rest[1:], sizes[1:-1], strict=True):
        line = line * size + part
    return line


def _sites(plan: Plan, nodes: Sequence[fx.Node]) -> tuple[Site, ...]:
    names: Counter[str] = Counter()
    found = []
    for node in nodes:
        layer = plan.layers.get(node)
        step = next(iter(plan.steps.values()))[0]
        shape = step.shape_of(node)
        if node is plan.image:
            name, kind, axis = "input", "input", 0
        elif node is plan.straight.logits:
            name, kind, axis = "classes", "classes", 0
        elif layer is not None:
            name, kind, axis = layer.name, "activation", layer.channel_axis
        else:
            path, _ = module_of(node)
            name, kind, axis = _operator_name(path, plan.steps[node][0].name), "operator", _channel_axis(plan, node)
        names[name] += 1
        found.append(Site(name if names[name] == 1 else f"{name}:{names[name] - 1}", kind, shape, axis))
    return tuple(found)


def _operator_name(path: str, operator: str) -> str:
    return path if path and operator not in ("add", "sub", "mul", "cat") else f"{path}.{operator}" if path else operator


def _channel_axis(plan: Plan, node: fx.Node) -> int:
    """The last axis where a linear layer takes the values in several positions, else the first."""
    rules = [(plan.steps[user][1], user) for user in node.users if user in plan.steps]
    rank = len(plan.steps[node][0].shape)
    return rank - 1 if any(isinstance(rule, Linear) for rule, _ in rules) else 0
