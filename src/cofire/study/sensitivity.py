"""Whether explanations of two classes differ: how far their points and their heat maps overlap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from cofire.explain.regions import Points, heat


@dataclass(frozen=True)
class Overlap:
    """How far the evidence for two classes on one image lies in the same places.

    Attributes:
        jaccard: Pixels that are points for both classes, as a share of those that are for either: 1
            where they are the same.
        heat: The same of the heat maps, which do not ask for the very same pixels (see
            `heat_overlap`).
        chance: The `jaccard` to be expected of as many pixels drawn at random from those that can
            be points.
    """

    jaccard: float
    heat: float
    chance: float


def overlap(first: Points, second: Points, size: tuple[int, int], pixels: int) -> Overlap | None:
    """Hold the points of two classes on one image against each other.

    Args:
        first: Of one class.
        second: Of the other.
        size: Height and width of the image.
        pixels: How many pixels of it can be points: those that are not zero.

    Returns:
        None where neither has a point.

    Example:
        Two points each, one of them shared, on a row of 8 pixels, 4 of which are not zero:

        >>> row = torch.zeros(2, dtype=torch.int32)
        >>> one = Points(row, torch.tensor([0, 1], dtype=torch.int32), torch.tensor([0.5, 0.5]))
        >>> two = Points(row, torch.tensor([1, 2], dtype=torch.int32), torch.tensor([0.2, 0.6]))
        >>> found = overlap(one, two, (1, 8), 4)
        >>> round(found.jaccard, 4), round(found.heat, 4), round(found.chance, 4)
        (0.3333, 0.1429, 0.3333)
    """
    one, two = (
        set(zip(points.y.tolist(), points.x.tolist(), strict=True)) for points in (first, second)
    )
    either = one | two
    if not either:
        return None
    expected = len(one) * len(two) / max(pixels, len(either))
    shared = heat_overlap(first, second, size)
    return Overlap(
        len(one & two) / len(either),
        shared / (2 - shared),
        expected / (len(one) + len(two) - expected),
    )


def heat_overlap(first: Points, second: Points, size: tuple[int, int]) -> float:
    """How much of the evidence for two classes lies in the same places, 0 to 1: the sum of the lower of the heat maps.

    Each map counts as 1 in all, so that how much evidence arrived does not matter. 0 where one is
    empty.

    Args:
        first: Of one class.
        second: Of the other.
        size: Height and width of the image.
    """
    maps = [heat(points.y, points.x, points.score, *size).double() for points in (first, second)]
    totals = [float(values.sum()) for values in maps]
    if not all(totals):
        return 0.0
    return min(1.0, float(torch.minimum(maps[0] / totals[0], maps[1] / totals[1]).sum()))


def mean_overlap(overlaps: Sequence[Overlap]) -> Overlap | None:
    """The mean of each number, None of nothing.

    Example:
        >>> mean_overlap([Overlap(1.0, 0.5, 1.0), Overlap(0.5, 0.1, 0.2)])
        Overlap(jaccard=0.75, heat=0.3, chance=0.6)
    """
    if not overlaps:
        return None
    columns = zip(*((one.jaccard, one.heat, one.chance) for one in overlaps), strict=True)
    return Overlap(*(sum(column) / len(overlaps) for column in columns))
