"""How wide heat maps are blurred and which points boxes hold, where nothing else is said."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

from cofire.errors import OptionError
from cofire.explain.layer_maps import LAYER_SIGMA
from cofire.explain.regions import SIGMA, Points, check_share, heat, hull, map_hull, staying

Kind = Literal["points", "layers", "maps"]
"""What heat maps and boxes are made of: traced points, net evidence of layers, or a method's own maps."""

_OF_POINTS = ("min_share", "radius", "weighted")
_OF_HEAT = ("threshold", "connected")
_OPTIONS: dict[Kind, tuple[str, ...]] = {
    "points": ("sigma", *_OF_POINTS),
    "layers": ("sigma", *_OF_HEAT, *_OF_POINTS),
    "maps": _OF_HEAT,
}


LAYER_THRESHOLD = 0.45
"""Share of the maximum from which the heat of layers is in the box."""


@dataclass(frozen=True)
class Regions:
    """How points, layers and maps become heat maps and boxes.

    Attributes:
        sigma: Standard deviation of the Gaussian by which points or layers are spread, as a share
            of the image's shorter side, 0 or more.
        min_share: Of all points, more than which lie near a point that is no outlier, 0 or more and
            below 1.
        radius: What is near, as a share of the image's diagonal, above 0.
        threshold: Share of a map's maximum that pixels in its box reach, above 0 and up to 1.
        weighted: Whether points count by their score and not each as one.
        connected: Whether the box of a map is around those pixels alone that hang together with its
            maximum.
        around: What boxes are around: "points", or the "heat" of a map.

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
    connected: bool = False
    around: str = "points"

    def __post_init__(self) -> None:
        check_share("sigma", self.sigma, least=0.0)
        check_share("min_share", self.min_share, least=0.0, below=1.0)
        check_share("radius", self.radius, above=0.0)
        check_share("threshold", self.threshold, above=0.0, most=1.0)
        for name in ("weighted", "connected"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(
                    f"{name}={getattr(self, name)!r}", "True or False", f"pass {name}=True"
                )
        if self.around not in ("points", "heat"):
            raise OptionError(f"around={self.around!r}", "'points' or 'heat'", "pass around='heat'")

    def heat(self, points: Points, size: tuple[int, int]) -> Tensor:
        """The heat map of points on an image of a height and width, (H, W), float32; see `regions.heat`."""
        return heat(points.y, points.x, points.score, *size, sigma=self.sigma)

    def box(self, points: Points, size: tuple[int, int]) -> Tensor:
        """The box around points that are no outliers, (4,), float32; zeros for none."""
        score = points.score if self.weighted else None
        kept = staying(
            points.y, points.x, *size, min_share=self.min_share, radius=self.radius, score=score
        )
        return hull(points.y[kept], points.x[kept])

    def map_box(self, values: Tensor) -> Tensor:
        """The box around what is hot in a map of (H, W), (4,), float32; zeros for none."""
        return map_hull(values, self.threshold, connected=self.connected)

    def used(self, kind: Kind) -> dict[str, Any]:
        """The options that decide something.

        Example:
            >>> Regions().used("maps")
            {'threshold': 0.5, 'connected': False}
        """
        of_box = _OF_POINTS if self.around == "points" else _OF_HEAT
        names = ("sigma", *of_box) if kind == "layers" else _OPTIONS[kind]
        return {name: getattr(self, name) for name in names}


def regions_of(options: Mapping[str, Any], kind: Kind) -> tuple[Regions, dict[str, Any]]:
    """Options of `explain` parted into those of heat maps and boxes, and those of the method.

    Args:
        options: All that were given.
        kind: What heat maps and boxes are made of. Boxes are around the heat of layers, unless an
            option of points is given.

    Raises:
        OptionError: A number is out of bounds.

    Example:
        >>> regions_of({"k": 3, "radius": 0.2}, "points")[1]
        {'k': 3}
        >>> regions_of({}, "layers")[0].around, regions_of({"radius": 0.2}, "layers")[0].around
        ('heat', 'points')
    """
    own = {name: options[name] for name in _OPTIONS[kind] if name in options}
    usual: dict[str, Any] = {}
    if kind == "layers":
        around = "points" if any(name in own for name in _OF_POINTS) else "heat"
        usual = {
            "sigma": LAYER_SIGMA,
            "threshold": LAYER_THRESHOLD,
            "connected": True,
            "around": around,
        }
    return Regions(**{**usual, **own}), {
        name: value for name, value in options.items() if name not in own
    }
