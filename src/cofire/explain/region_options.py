"""How wide heat maps are blurred and which points boxes hold, where nothing else is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from cofire.errors import OptionError
from cofire.explain.regions import SIGMA, Points, check_share, heat, hull, map_hull, staying

__all__ = ["Regions", "regions_of"]

_OF_POINTS = ("sigma", "min_share", "radius", "weighted")
_OF_MAPS = ("threshold",)


@dataclass(frozen=True)
class Regions:
    """How points and maps become heat maps and boxes.

    Attributes:
        sigma: Standard deviation of a point's Gaussian as a share of the image's shorter side, 0 or more.
        min_share: Of all points, more than which lie near a point that is no outlier, 0 or more and below 1.
        radius: What is near, as a share of the image's diagonal, above 0.
        threshold: Share of a map's maximum that pixels in its box reach, above 0 and up to 1.
        weighted: Whether points count by their score and not each as one.

    Raises:
        OptionError: A number is out of bounds.

    Example:
        >>> import torch
        >>> near, far = Points(*torch.tensor([[0, 1], [0, 1]]), torch.ones(2)), Regions(min_share=0.5, radius=0.01)
        >>> Regions().box(near, (10, 10)).tolist(), far.box(near, (10, 10)).tolist()
        ([0.0, 0.0, 2.0, 2.0], [0.0, 0.0, 0.0, 0.0])
    """

    sigma: float = SIGMA
    min_share: float = 0.05
    radius: float = 0.1
    threshold: float = 0.5
    weighted: bool = False

    def __post_init__(self) -> None:
        check_share("sigma", self.sigma, least=0.0)
        check_share("min_share", self.min_share, least=0.0, below=1.0)
        check_share("radius", self.radius, above=0.0)
        check_share("threshold", self.threshold, above=0.0, most=1.0)
        if not isinstance(self.weighted, bool):
            raise OptionError(f"weighted={self.weighted!r}", "True or False", "pass weighted=True")

    def heat(self, points: Points, size: tuple[int, int]) -> Tensor:
        """The heat map of points on an image of a height and width, (H, W), float32; see `regions.heat`."""
        return heat(points.y, points.x, points.score, *size, sigma=self.sigma)

    def box(self, points: Points, size: tuple[int, int]) -> Tensor:
        """The box around points that are no outliers, (4,), float32; zeros for none."""
        score = points.score if self.weighted else None
        kept = staying(points.y, points.x, *size, min_share=self.min_share, radius=self.radius, score=score)
        return hull(points.y[kept], points.x[kept])

    def map_box(self, values: Tensor) -> Tensor:
        """The box around what is hot in a map of (H, W), (4,), float32; zeros for none."""
        return map_hull(values, self.threshold)

    def used(self, *, traced: bool) -> dict[str, Any]:
        """The options that points have, or those of maps.

        Example:
            >>> Regions().used(traced=False)
            {'threshold': 0.5}
        """
        return {name: getattr(self, name) for name in (_OF_POINTS if traced else _OF_MAPS)}


def regions_of(options: Mapping[str, Any], *, traced: bool) -> tuple[Regions, dict[str, Any]]:
    """Options of `explain` parted into those of heat maps and boxes, and those of the method.

    Args:
        options: All that were given.
        traced: Whether the method traces, and gives points, or gives maps.

    Raises:
        OptionError: A number is out of bounds.

    Example:
        >>> regions_of({"k": 3, "radius": 0.2}, traced=True)[1]
        {'k': 3}
    """
    names = _OF_POINTS if traced else _OF_MAPS
    own = {name: options[name] for name in names if name in options}
    return Regions(**own), {name: value for name, value in options.items() if name not in own}
