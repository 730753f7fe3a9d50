"""From points to regions: which points are outliers, the box around the others, and the blurred heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, NonNegativeFloat, PositiveFloat
from scipy.ndimage import gaussian_filter, label
from torch import Tensor

from cofire.arguments import validated

SIGMA = 20 / 224
"""Width of the heat map's Gaussian, as a share of the image's shorter side."""


_CELLS = 1 << 21
"""How many (row of a disc, point) pairs are looked up at once: some tens of megabytes."""


@dataclass(frozen=True, eq=False)
class Points:
    """The pixels that carried a decision, one entry per pixel, from top to bottom and from left to right.

    Attributes:
        y: Rows of pixels, (points,), int32.
        x: Columns of pixels, (points,), int32.
        score: The share of the decision's evidence that ended at the pixel, over all channels,
            (points,), float32.
    """

    y: Tensor
    x: Tensor
    score: Tensor

    def __len__(self) -> int:
        return len(self.y)

    def __repr__(self) -> str:
        return f"Points({len(self)}, score {float(self.score.sum(dtype=torch.float64)):.4f})"


@dataclass(frozen=True, eq=False)
class Boxes:
    """A box for each image of a batch.

    Attributes:
        corners: Left, top, right and bottom in pixels, (images, 4), float32. Right and bottom are
            exclusive: the box of a single pixel has area 1. All zero where no box was found.
        found: Whether there is a box, (images,), bool.
    """

    corners: Tensor
    found: Tensor

    def __len__(self) -> int:
        return len(self.found)

    def __repr__(self) -> str:
        return f"Boxes({int(self.found.sum())} of {len(self)} images)"


@validated(finite=False)
def staying(
    y: Tensor,
    x: Tensor,
    height: int,
    width: int,
    *,
    min_share: Annotated[float, Field(ge=0, lt=1)] = 0.05,
    radius: PositiveFloat = 0.1,
    score: Tensor | None = None,
) -> Tensor:
    """Which points are no outliers (P3 §4.1.2).

    A point stays if more than `min_share` of all points, itself included, lie nearer to it than
    `radius` × the diagonal of the image. With scores the points weigh as much as they score.

    Args:
        y: Rows of pixels, (points,), whole numbers.
        x: Columns of pixels, (points,), whole numbers.
        height: Of the image in pixels.
        width: Of the image in pixels.
        min_share: Of all points, 0 or more and below 1.
        radius: As a share of the image's diagonal, above 0.
        score: Weights of the points, (points,), 0 or more; None counts every point as one.

    Returns:
        (points,), bool; exact, found in time that grows with the points and not with their pairs.

    Raises:
        OptionError: `min_share` or `radius` is out of bounds.

    Example:
        Three points on a 30 × 40 image, whose diagonal is 50: nearer than 5 pixels is near.

        >>> y, x = torch.tensor([0, 0, 20]), torch.tensor([0, 4, 20])
        >>> staying(y, x, 30, 40, min_share=0.5).tolist()
        [True, True, False]
        >>> staying(y, x + torch.tensor([0, 1, 0]), 30, 40, min_share=0.5).tolist()  # exactly 5 apart: not near
        [False, False, False]
    """
    if len(y) == 0:
        return torch.zeros(0, dtype=torch.bool)
    weights = np.ones(len(y), dtype=np.int64) if score is None else score.numpy().astype(np.float64)
    near = _near(
        y.numpy().astype(np.int64),
        x.numpy().astype(np.int64),
        weights,
        radius * math.hypot(height, width),
    )
    return torch.from_numpy(near > min_share * weights.sum())


def _near(y: NDArray[Any], x: NDArray[Any], weights: NDArray[Any], limit: float) -> NDArray[Any]:
    """The weight of the points nearer to each point than a limit, by running sums along the rows of pixels."""
    # Squared distances are whole numbers: the largest one that is near makes the comparison exact.
    squared = math.ceil(limit * limit) + 1
    while math.sqrt(squared) >= limit:
        squared -= 1
    y, x = y - y.min(), x - x.min()
    high, wide = int(y.max()) + 1, int(x.max()) + 1
    reach = min(math.isqrt(squared), high - 1)
    image = np.zeros((high + 2 * reach, wide + 1), dtype=weights.dtype)
    np.add.at(image, (y + reach, x + 1), weights)
    sums = np.cumsum(image, axis=1, out=image).ravel()

    steps = np.arange(-reach, reach + 1)
    half = np.array([math.isqrt(squared - int(step) ** 2) for step in steps])
    near = np.empty_like(weights)
    many = max(1, _CELLS // len(steps))
    for start in range(0, len(y), many):
        part = slice(start, start + many)
        rows = (y[part, None] + reach + steps) * (wide + 1)
        left = np.maximum(x[part, None] - half, 0)
        right = np.minimum(x[part, None] + half + 1, wide)
        near[part] = (sums[rows + right] - sums[rows + left]).sum(axis=1)
    return near


def hull(y: Tensor, x: Tensor) -> Tensor:
    """The tight box around points.

    Args:
        y: Rows of pixels, (points,).
        x: Columns of pixels, (points,).

    Returns:
        Left, top, right and bottom in pixels, (4,), float32, right and bottom exclusive; zeros
        without points.

    Example:
        >>> hull(torch.tensor([3]), torch.tensor([7])).tolist()
        [7.0, 3.0, 8.0, 4.0]
    """
    if len(y) == 0:
        return torch.zeros(4)
    corners = [int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1]
    return torch.tensor(corners, dtype=torch.float32)


@validated(finite=False)
def map_hull(
    values: Tensor, threshold: Annotated[float, Field(gt=0, le=1)] = 0.5, *, connected: bool = False
) -> Tensor:
    """The tight box around the pixels of a map that reach a share of its maximum.

    Args:
        values: (height, width), 0 or more.
        threshold: Share of the maximum, above 0 and up to 1.
        connected: Only around those that hang together with the maximum, side by side or one above
            the other; with the first one in row-major order where several are equal.

    Returns:
        As `hull` does; zeros where the map is zero everywhere.

    Raises:
        OptionError: The threshold is out of bounds.

    Example:
        >>> map_hull(torch.tensor([[0.0, 0.2, 0.9], [0.0, 0.5, 1.0]])).tolist()
        [1.0, 0.0, 3.0, 2.0]
    """
    largest = values.max() if values.numel() else torch.tensor(0.0)
    if not bool(largest > 0):
        return torch.zeros(4)
    reached = values >= threshold * largest
    if connected:
        parts, _ = label(reached.numpy())
        reached = torch.from_numpy(parts == parts.flat[int(values.argmax())])
    y, x = torch.nonzero(reached, as_tuple=True)
    return hull(y, x)


@validated(finite=False)
def heat(
    y: Tensor, x: Tensor, score: Tensor, height: int, width: int, *, sigma: NonNegativeFloat = SIGMA
) -> Tensor:
    """The heat map of points: each spreads its score as a Gaussian.

    The value at a pixel is the sum over the points of score × Gaussian of the distance, and nothing
    else: no normalisation, no clipping. The kernel ends at 4 standard deviations and sums to 1.
    Beyond the border there is nothing (zeros), and what a point spreads there is left out:
    reflecting it would make points at the border hotter than the same points inside. The map
    therefore sums to the scores' sum, less what fell off the image.

    Args:
        y: Rows of pixels, (points,).
        x: Columns of pixels, (points,).
        score: (points,), 0 or more.
        height: Of the image in pixels.
        width: Of the image in pixels.
        sigma: Standard deviation as a share of the image's shorter side, 0 or more; 0 gives the
            points themselves.

    Returns:
        (height, width), float32, in units of evidence per pixel.

    Raises:
        OptionError: `sigma` is no number from 0 up.

    Example:
        >>> one = heat(torch.tensor([5]), torch.tensor([5]), torch.tensor([0.5]), 11, 11, sigma=1 / 11)
        >>> round(float(one.sum()), 6), one.argmax().item() == 5 * 11 + 5
        (0.5, True)
    """
    image = torch.zeros(1, height, width, dtype=torch.float64)
    image[0].index_put_((y.long(), x.long()), score.double(), accumulate=True)
    return blurred(image, sigma if len(y) else 0)[0]


LAYER_SIGMA = 6 / 224
"""Width of the Gaussian by which layers' maps are spread, as a share of the image's shorter side."""

Kind = Literal["points", "layers", "maps"]
"""What heat maps and boxes are made of: traced points, evidence at layers, or a method's own maps."""

_OF_POINTS = ("min_share", "radius", "weighted")
_OF_HEAT = ("threshold", "connected")
_OPTIONS: dict[Kind, tuple[str, ...]] = {
    "points": ("sigma", *_OF_POINTS),
    "layers": ("sigma", *_OF_HEAT, *_OF_POINTS),
    "maps": _OF_HEAT,
}


LAYER_THRESHOLD = 0.3
"""Share of the maximum from which the heat of layers is in the box."""


@validated
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

    sigma: NonNegativeFloat = SIGMA
    min_share: Annotated[float, Field(ge=0, lt=1)] = 0.05
    radius: PositiveFloat = 0.1
    threshold: Annotated[float, Field(gt=0, le=1)] = 0.5
    weighted: bool = False
    connected: bool = False
    around: Literal["points", "heat"] = "points"

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


def region_names(kind: Kind) -> tuple[str, ...]:
    """The options of heat maps and boxes of a kind."""
    return _OPTIONS[kind]


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
    rest = {name: value for name, value in options.items() if name not in own}
    return Regions(**usual | own), rest


@validated(finite=False)
def blurred(maps: Tensor, sigma: NonNegativeFloat = SIGMA) -> Tensor:
    """Each map with its values spread as Gaussians, as `cofire.explain.result.regions.heat` spreads those of points.

    The kernel ends at 4 standard deviations and sums to 1; what is spread beyond the border is left
    out.

    Args:
        maps: (images, height, width), 0 or more.
        sigma: Standard deviation as a share of the shorter side, 0 or more; 0 gives the maps as
            they are.

    Returns:
        (images, height, width), float32, on the CPU.

    Raises:
        OptionError: `sigma` is no number from 0 up.

    Example:
        >>> one = torch.zeros(1, 11, 11)
        >>> one[0, 5, 5] = 0.5
        >>> found = blurred(one, 1 / 11)
        >>> round(float(found.sum()), 6), round(float(found[0, 5, 5]), 4)
        (0.5, 0.0796)
    """
    values = maps.detach().cpu().double().numpy()
    if sigma > 0:
        width = sigma * min(values.shape[1:])
        spread = [
            gaussian_filter(one, width, mode="constant", cval=0.0, truncate=4.0) for one in values
        ]
        values = np.stack(spread) if spread else values
    return torch.from_numpy(values.astype(np.float32))
