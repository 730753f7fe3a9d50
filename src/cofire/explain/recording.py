"""What tracings of several groups of images found, as one table of neurons and links."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, fx

from cofire.explain.flow import coordinates, flat_index
from cofire.explain.neurons import NEURON_COLUMNS, Neurons, Site
from cofire.explain.plan import Plan
from cofire.explain.rules.weighted import Linear
from cofire.explain.tracing import Record
from cofire.network.reading import module_of


class Table:
    """Gathers what is found, group by group, in as little memory as the result will take.

    Args:
        plan: The way back.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._order = [*plan.steps, plan.image]
        self._number = {node: number for number, node in enumerate(self._order)}
        self._columns: dict[str, list[Tensor]] = {name: [] for name in NEURON_COLUMNS}
        self._rows = 0

    def add(self, first: int, record: Record) -> None:
        """Add a group of images.

        Args:
            first: The number of its first image.
            record: What was found.
        """
        columns = self._columns
        for node, flow, _ in record.found:
            shape, axis = _shape(self._plan, node), self._channel_axis(node)
            where = coordinates(flow.index, shape)
            rest = [part for at, part in enumerate(where) if at != axis]
            zero = torch.zeros_like(flow.index)
            sizes = [size for at, size in enumerate(shape) if at != axis]
            found = {
                "image": flow.image + first,
                "site": torch.full_like(flow.index, self._number[node]),
                "channel": where[axis],
                "y": flat_index(rest[:-1], sizes[:-1]) if len(rest) > 1 else zero,
                "x": rest[-1] if rest else zero,
            }
            for name, column in found.items():
                columns[name].append(column.to("cpu", torch.int32))
            columns["score"].append(flow.score.to("cpu", torch.float32))
        for name, parts in (("child", record.child), ("parent", record.parent)):
            columns[name] += [(part + self._rows).to("cpu", torch.int32) for part in parts]
        columns["share"] += [part.to("cpu", torch.float32) for part in record.share]
        self._rows += record.rows

    def finished(self) -> tuple[tuple[Site, ...], Neurons]:
        """Sites from the input to the classes, and the neurons found at them."""
        table = {name: _joined(self._columns.pop(name), name) for name in NEURON_COLUMNS}
        visited = {*torch.unique(table["site"]).tolist(), len(self._order) - 1}
        nodes = [node for number, node in enumerate(self._order) if number in visited][::-1]
        position = torch.zeros(len(self._order), dtype=torch.int32)
        for site, node in enumerate(nodes):
            position[self._number[node]] = site
        # Stable: the images of one group come after those of the one before, and rows of an image
        # keep their order.
        order = table["site"].argsort(stable=True)
        place = torch.empty(len(order), dtype=torch.int32)
        place[order] = torch.arange(len(order), dtype=torch.int32)
        table["site"] = position[table["site"].long()]
        smallest = torch.finfo(torch.float32).tiny
        ordered = {
            name: table[name][order] for name in ("image", "site", "channel", "y", "x", "score")
        }
        ordered["score"].clamp_(min=smallest)
        links = {name: place[table[name].long()] for name in ("child", "parent")}
        return self._sites(nodes), Neurons(
            **ordered, **links, share=table["share"].clamp(min=smallest)
        )

    def _channel_axis(self, node: fx.Node) -> int:
        layer = self._plan.layers.get(node)
        if layer is not None:
            return layer.channel_axis
        return 0 if node is self._plan.image else _channel_axis(self._plan, node)

    def _sites(self, nodes: Sequence[fx.Node]) -> tuple[Site, ...]:
        plan = self._plan
        names: Counter[str] = Counter()
        found = []
        for node in nodes:
            if node is plan.image:
                name, kind = "input", "input"
            elif node is plan.straight.logits:
                name, kind = "classes", "classes"
            elif node in plan.layers:
                name, kind = plan.layers[node].name, "activation"
            else:
                path, _ = module_of(node)
                name, kind = _operator_name(path, plan.steps[node][0].name), "operator"
            names[name] += 1
            unique = name if names[name] == 1 else f"{name}:{names[name] - 1}"
            found.append(Site(unique, kind, _shape(plan, node), self._channel_axis(node)))
        return tuple(found)


def _shape(plan: Plan, node: fx.Node) -> tuple[int, ...]:
    """Of one sample; one number for each image is a feature."""
    step = next(iter(plan.steps.values()))[0]
    return step.shape_of(node) or (1,)


def _joined(parts: list[Tensor], name: str) -> Tensor:
    if parts:
        return torch.cat(parts)
    return torch.zeros(0, dtype=torch.float32 if name in ("score", "share") else torch.int32)


def _operator_name(path: str, operator: str) -> str:
    return (
        path
        if path and operator not in ("add", "sub", "mul", "cat")
        else f"{path}.{operator}"
        if path
        else operator
    )


def _channel_axis(plan: Plan, node: fx.Node) -> int:
    """The last axis where a linear layer takes the values in several positions, else the first."""
    rules = [(plan.steps[user][1], user) for user in node.users if user in plan.steps]
    rank = len(plan.steps[node][0].shape)
    return rank - 1 if any(isinstance(rule, Linear) for rule, _ in rules) else 0
