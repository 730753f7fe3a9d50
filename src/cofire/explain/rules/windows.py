"""Which places of a feature map an operator that slides over it looks at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


def pair(value: Any) -> tuple[int, int]:
    """A size for both axes, whether it was given once or twice."""
    numbers = list(value) if isinstance(value, (list, tuple)) else [value]
    return (int(numbers[0]), int(numbers[-1]))


@dataclass(frozen=True)
class Windows:
    """Windows over a feature map of a given height and width.

    Attributes:
        size: Height and width of the map.
        kernel: Of the window.
        stride: From one window to the next.
        padding: Before the first row and column.
        dilation: From one row or column of the window to the next.
    """

    size: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    dilation: tuple[int, int] = (1, 1)

    def places(self, y: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the windows at these places of the result look at.

        Args:
            y: (windows,), row of the result.
            x: (windows,), column.

        Returns:
            Places in the map (windows, height * width of the kernel) in row-major order, clamped to
            the map; and whether each lies inside.

        Example:
            >>> windows = Windows((4, 4), (2, 2), stride=(2, 2))
            >>> windows.places(torch.tensor([1]), torch.tensor([0]))[0].tolist()
            [[8, 9, 12, 13]]
        """
        rows = self._along(y, 0)
        columns = self._along(x, 1)
        height, width = self.size
        inside = ((rows >= 0) & (rows < height))[:, :, None] & ((columns >= 0) & (columns < width))[
            :, None, :
        ]
        place = (
            rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
        )
        return place.flatten(1), inside.flatten(1)

    def outwards(self, device: torch.device) -> Tensor:
        """The places of the kernel from its middle outwards, the first ones first where they are equally far.

        Example:
            >>> Windows((9, 9), (3, 3)).outwards(torch.device("cpu")).tolist()
            [4, 1, 3, 5, 7, 0, 2, 6, 8]
        """
        height, width = self.kernel
        # Twice the distance, so that the middle of an even kernel is a whole number as well.
        rows = (2 * torch.arange(height, device=device) - (height - 1)).square()
        columns = (2 * torch.arange(width, device=device) - (width - 1)).square()
        return (rows[:, None] + columns).flatten().argsort(stable=True)

    def _along(self, coordinate: Tensor, axis: int) -> Tensor:
        offsets = torch.arange(self.kernel[axis], device=coordinate.device) * self.dilation[axis]
        return (coordinate * self.stride[axis] - self.padding[axis])[:, None] + offsets
