"""Evidence on its way down: which neurons are to be explained, and how much each of them carries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Flow:
    """Neurons of one node of the graph whose values are to be explained, for all images of a batch.

    Attributes:
        image: (neurons,) int64, whose neuron it is.
        index: (neurons,) int64, its place in one sample's values, in row-major order.
        direction: (neurons,) int8: 1 where it is to be explained why the value is large, -1 why it
            is small. Folded, float64: what the operators between the neuron and its weights
            multiply these with.
        score: (neurons,) float64, the evidence that it carries.
        row: (neurons,) int64, its row in the record of the tracing; where `own` is false, its
            parent's.
        own: Whether each neuron has a row of its own.
    """

    image: Tensor
    index: Tensor
    direction: Tensor
    score: Tensor
    row: Tensor
    own: bool = True

    def __len__(self) -> int:
        return int(self.image.shape[0])

    @property
    def folded(self) -> bool:
        """Whether directions are whole factors, as where batch norm is folded into weights."""
        return self.direction.is_floating_point()

    def scaled(self, scale: Tensor) -> Flow:
        """Evidence for values that were scaled (a number, or one for each): a negative scale turns large into small."""
        by = scale if self.folded else scale.sign().to(torch.int8)
        return replace(self, direction=self.direction * by)

    def where(self, kept: Tensor | slice) -> Flow:
        """Those that a mask or an index keeps."""
        if isinstance(kept, Tensor) and kept.dtype == torch.bool:
            if bool(kept.all()):
                return self
            kept = kept.nonzero().squeeze(1)

        def part(column: Tensor) -> Tensor:
            return column[kept] if isinstance(kept, slice) else column.index_select(0, kept)

        image, index, direction = part(self.image), part(self.index), part(self.direction)
        return Flow(image, index, direction, part(self.score), part(self.row), own=self.own)

    def moved(self, index: Tensor, own: bool | None = None) -> Flow:
        """The same evidence at other places; -1 where it leaves the image and ends."""
        moved = replace(self, index=index, own=self.own if own is None else own)
        return moved.where(index >= 0)


def merged(together: Flow, size: int, carried: bool = True) -> tuple[Flow, Tensor]:
    """The same evidence with each neuron and direction there once.

    Args:
        together: Evidence, in any order.
        size: How many values one sample has at this node.
        carried: Whether scores of the same neuron are added; else each neuron carries 1.

    Returns:
        The flow, sorted by image and index, with rows from 0, and for each neuron given its row in
        the flow.

    Example:
        >>> one = torch.tensor([0, 0])
        >>> score = torch.tensor([0.25, 0.5], dtype=torch.float64)
        >>> flow = Flow(one, torch.tensor([7, 7]), torch.ones(2, dtype=torch.int8), score, one)
        >>> both, row = merged(flow, 10)
        >>> both.index.tolist(), both.score.tolist(), row.tolist()
        ([7], [0.75], [0, 0])
    """
    if together.folded:
        factors, which = torch.unique(together.direction, return_inverse=True)
    else:
        factors, which = (
            torch.tensor([1, -1], dtype=torch.int8, device=together.direction.device),
            (together.direction < 0).long(),
        )
    key = (together.image * size + together.index) * len(factors) + which
    found, row = torch.unique(key, return_inverse=True)
    if carried:
        score = torch.zeros(len(found), dtype=torch.float64, device=key.device).index_add_(
            0, row, together.score
        )
    else:
        score = torch.ones(len(found), dtype=torch.float64, device=key.device)
    place = torch.div(found, len(factors), rounding_mode="floor")
    direction = factors[found - place * len(factors)]
    image = torch.div(place, size, rounding_mode="floor")
    flow = Flow(
        image, place - image * size, direction, score, torch.arange(len(found), device=key.device)
    )
    return flow, row


def strongest(flow: Flow, most: int) -> Tensor:
    """Which neurons are among those of their image that carry most, the lower index first where several are equal.

    Args:
        flow: Sorted by image, as `merged` gives it.
        most: How many to keep for each image.

    Returns:
        A mask (neurons,).
    """
    by_score = flow.score.argsort(descending=True, stable=True)
    order = by_score[flow.image[by_score].argsort(stable=True)]
    image = flow.image[order]
    position = torch.arange(len(flow), device=image.device)
    rank = position - torch.searchsorted(image, image)
    kept = torch.zeros(len(flow), dtype=torch.bool, device=image.device)
    kept[order] = rank < most
    return kept


def joined(parts: Sequence[Flow]) -> Flow:
    """All neurons of several flows, one flow after the other."""
    return Flow(
        torch.cat([part.image for part in parts]),
        torch.cat([part.index for part in parts]),
        torch.cat([part.direction for part in parts]),
        torch.cat([part.score for part in parts]),
        torch.cat([part.row for part in parts]),
        own=False,
    )


def coordinates(index: Tensor, shape: Sequence[int]) -> tuple[Tensor, ...]:
    """The coordinates of places given in row-major order.

    Example:
        >>> [value.tolist() for value in coordinates(torch.tensor([5]), (2, 3))]
        [[1], [2]]
    """
    found = []
    for axis in range(len(shape)):
        inner = math.prod(shape[axis + 1 :])
        rest = torch.div(index, inner, rounding_mode="floor") if inner > 1 else index
        found.append(rest % shape[axis] if axis else rest)
    return tuple(found)


def flat_index(where: Sequence[Tensor], shape: Sequence[int]) -> Tensor:
    """The place in row-major order of given coordinates."""
    index = where[0]
    for size, coordinate in zip(shape[1:], where[1:], strict=True):
        index = index * size + coordinate
    return index


def signs_of(values: Tensor) -> Tensor:
    """1 for values from zero up, -1 below, as directions."""
    return torch.where(values < 0, -1, 1).to(torch.int8)
