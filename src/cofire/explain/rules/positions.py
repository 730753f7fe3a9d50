"""Where in the image the tokens of a transformer lie: places are carried forward from the first map."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, fx

from cofire.errors import RuleError
from cofire.explain.rules.registry import Step, depends, fold_of, rule_of
from cofire.explain.rules.reshape import Concatenation, Reorder
from cofire.network.axes import Fold
from cofire.network.operators import named

_SAME = named(
    "elementwise", "identity", "cast", "dropout", "layer_norm", "batch_norm", "group_norm"
)
_PAIRS = named("sum", "scale", "extreme")
_MAPS = named("convolution", "average_pool", "max_pool", "interpolation", "resize")


@dataclass(frozen=True, eq=False)
class TokenMap:
    """Values of a network that lie on a grid over the image, in whatever order.

    Attributes:
        name: Of the place in the network.
        channel_axis: The axis of one sample with the channels.
        grid: Rows and columns.
        cells: (rows * columns,), for each cell its number among the positions; tokens without a
            cell, such as a class token, are none of them.
        others: How many tokens have no cell.
    """

    name: str
    channel_axis: int
    grid: tuple[int, int]
    cells: Tensor
    others: int = 0

    def features(self, values: Tensor) -> Tensor:
        """Values (images, ...) as maps (images, channels, rows, columns)."""
        flat = values.movedim(self.channel_axis + 1, 1).flatten(2)
        found = flat[:, :, self.cells.to(flat.device)]
        return found.reshape(*found.shape[:2], *self.grid)

    def on_the_map(self, values: Tensor) -> Tensor:
        """Values of all positions, (images, ...), as maps (images, rows, columns)."""
        flat = values.flatten(1)
        return flat[:, self.cells.to(flat.device)].reshape(len(flat), *self.grid)


def token_maps(
    graph: fx.Graph, image: fx.Node, wanted: dict[fx.Node, str]
) -> dict[fx.Node, TokenMap]:
    """Which of some nodes have a grid of positions, and how it lies.

    A convolution or pooling of a map makes a new map, whose places are even over the image.
    Operators that move values take their places along; a linear layer gives the mean place of what
    it sees; of two values that are added, the one whose places are known has them.

    Args:
        graph: Whose batches are noted.
        image: The node of the input.
        wanted: The nodes to look at, with their names.
    """
    found = {}
    for node, places in _places(graph, image):
        if node in wanted and fold_of(node) == Fold(0):
            grid = _grid(wanted[node], places)
            if grid is not None:
                found[node] = grid
    return found


def _places(graph: fx.Graph, image: fx.Node) -> Iterator[tuple[fx.Node, Tensor]]:
    """Each node that depends on the image, with row and column of its values, (2, *shape), in shares of the image."""
    last = {used: node for node in graph.nodes for used in node.all_input_nodes}
    known: dict[fx.Node, Tensor] = {}
    for node in graph.nodes:
        if node is image:
            places: Tensor | None = _even(Step.of(node).shape) if node.op == "placeholder" else None
        elif node.op != "call_function" or not depends(node):
            continue
        else:
            try:
                places = _placed(node, known)
            except RuleError:
                places = None
        if places is not None:
            known[node] = places
            yield node, places
        for used in node.all_input_nodes:
            if last[used] is node:
                known.pop(used, None)


def _even(shape: tuple[int, ...]) -> Tensor | None:
    if len(shape) != 3:
        return None
    height, width = shape[1:]
    rows = ((torch.arange(height) + 0.5) / height)[None, :, None].expand(shape)
    columns = ((torch.arange(width) + 0.5) / width)[None, None].expand(shape)
    return torch.stack([rows, columns])


def _placed(node: fx.Node, known: dict[fx.Node, Tensor]) -> Tensor | None:
    step = Step.of(node)
    before = [known[other] for other in node.all_input_nodes if other in known]
    if step.name in _MAPS:
        return _even(step.shape)
    if step.name in _SAME:
        return before[0] if before and before[0].shape[1:] == step.shape else None
    if step.name in _PAIRS:
        alike = [one for one in before if one.shape[1:] == step.shape]
        if not alike:
            return None
        return alike[0] if len(alike) == 1 else torch.where(alike[0].isnan(), alike[1], alike[0])
    rule = rule_of(step)
    if step.name in named("linear") or step.name in named("product"):
        if not before or len([n for n in node.all_input_nodes if depends(n)]) != 1:
            return None
        # A factor on the left, such as a learned query, mixes what lies along the axis before the last.
        axis = -2 if step.name in named("product") and node.args[1] in known else -1
        return before[0].nanmean(axis, keepdim=True).expand(2, *step.shape)
    if isinstance(rule, Concatenation):
        nodes = rule.operands(step)
        parts = [known.get(one, torch.full((2, *step.shape_of(one)), torch.nan)) for one in nodes]
        axis = step.axis(node, int(step.arguments["dim"])) + 1
        return torch.stack(parts, axis) if step.name == "stack" else torch.cat(parts, axis)
    if isinstance(rule, Reorder):
        (operand,) = rule.operands(step)
        if operand not in known:
            return None
        table = rule.table(step)
        flat = known[operand].reshape(2, -1)
        moved = (
            flat
            if table is None
            else torch.where(table < 0, torch.nan, flat[:, table.clamp(min=0)])
        )
        return moved.reshape(2, *step.shape)
    return None


def _grid(name: str, places: Tensor) -> TokenMap | None:
    """Places as a grid in which each cell is there once."""
    rank = places.ndim - 1
    for axis in (rank - 1, 0):
        first = places.select(axis + 1, 0)
        if rank > 1 and torch.equal(
            first.unsqueeze(axis + 1).expand_as(places).nan_to_num(-1), places.nan_to_num(-1)
        ):
            break
    else:
        return None
    rows, columns = (first.flatten(1) * 4096).round()
    there = (~rows.isnan()).nonzero().flatten()
    ys, y = rows[there].unique(return_inverse=True)
    xs, x = columns[there].unique(return_inverse=True)
    cell = y * len(xs) + x
    if len(there) != len(ys) * len(xs) or len(cell.unique()) != len(cell) or len(cell) < 2:
        return None
    cells = there[cell.argsort()]
    return TokenMap(name, axis, (len(ys), len(xs)), cells, rows.numel() - len(cells))
