"""From points to regions: which points are outliers, the box around the others, and the blurred heat map."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Real
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, label
from torch import Tensor

from cofire.errors import OptionError
from cofire.limits import WIDEST

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


def staying(
    y: Tensor,
    x: Tensor,
    height: int,
    width: int,
    *,
    min_share: float = 0.05,
    radius: float = 0.1,
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
    check_share("min_share", min_share, least=0.0, below=1.0)
    check_share("radius", radius, above=0.0)
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


def map_hull(values: Tensor, threshold: float = 0.5, *, connected: bool = False) -> Tensor:
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
    check_share("threshold", threshold, above=0.0, most=1.0)
    largest = values.max() if values.numel() else torch.tensor(0.0)
    if not bool(largest > 0):
        return torch.zeros(4)
    reached = values >= threshold * largest
    if connected:
        parts, _ = label(reached.numpy())
        reached = torch.from_numpy(parts == parts.flat[int(values.argmax())])
    y, x = torch.nonzero(reached, as_tuple=True)
    return hull(y, x)


def heat(
    y: Tensor, x: Tensor, score: Tensor, height: int, width: int, *, sigma: float = SIGMA
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
    check_share("sigma", sigma, least=0.0)
    image = np.zeros((height, width))
    np.add.at(image, (y.numpy(), x.numpy()), score.numpy())
    if sigma > 0 and len(y):
        image = gaussian_filter(
            image, sigma * min(height, width), mode="constant", cval=0.0, truncate=4.0
        )
    return torch.from_numpy(image.astype(np.float32))


def check_share(
    name: str,
    value: Any,
    *,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> None:
    """A finite number within bounds that may or may not belong to it.

    Raises:
        OptionError: It is none, or out of bounds.

    Example:
        >>> check_share("min_share", 0.05, least=0.0, below=1.0)
    """
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else None
    if most is None and below is None:
        most = WIDEST.get(name)
    fits = (
        number is not None
        and math.isfinite(number)
        and (least is None or number >= least)
        and (above is None or number > above)
        and (most is None or number <= most)
        and (below is None or number < below)
    )
    if not fits:
        bounds = [("from", least), ("above", above), ("up to", most), ("below", below)]
        told = " and ".join(f"{word} {bound:g}" for word, bound in bounds if bound is not None)
        defaults = {
            "min_share": "0.05",
            "radius": "0.1",
            "threshold": "0.5",
            "sigma": "20 / 224",
            "alpha": "0.85",
        }
        defaults["contrast"] = "0.7"
        raise OptionError(
            f"{name}={value!r}",
            f"a finite number {told}",
            f"pass {name}={defaults.get(name, '0.5')}",
        )
