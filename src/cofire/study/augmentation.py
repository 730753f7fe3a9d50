"""Images changed by chance while a network learns: shifted within a margin, mirrored."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from cofire.images.preparation import Preparation

_MARGIN = 8
"""Images are shifted by up to one part in so many of their side."""


def black_of(preparation: Preparation | None) -> Tensor:
    """The value of a black pixel as the network gets it, (channels,); 0 where nothing is known of the images.

    Example:
        >>> black_of(Preparation((1, 8, 8), resize=8, mean=(0.5,), std=(0.25,)))
        tensor([-2.])
    """
    if preparation is None:
        return torch.zeros(1)
    return -torch.tensor(preparation.mean) / torch.tensor(preparation.std)


def augmented(inputs: Tensor, kinds: Sequence[str], seed: int, black: Tensor) -> Tensor:
    """A batch of images, each changed in a way of its own; the same for the same seed.

    Args:
        inputs: (samples, channels, height, width).
        kinds: "crop" shifts by up to an eighth of the side, with black beside it; "flip" mirrors
            half of the images, left for right.
        seed: Of the draw.
        black: The value of a black pixel, (channels,), or one for all.

    Returns:
        (samples, channels, height, width), a new batch.

    Example:
        >>> image = torch.arange(4.0).reshape(1, 1, 1, 4)
        >>> [augmented(image, ("flip",), seed, torch.zeros(1)).flatten().tolist() for seed in (0, 4)]
        [[3.0, 2.0, 1.0, 0.0], [0.0, 1.0, 2.0, 3.0]]
    """
    draw = torch.Generator().manual_seed(seed)
    count, channels, height, width = inputs.shape
    rows = torch.arange(height).expand(count, height)
    columns = torch.arange(width).expand(count, width)
    if "flip" in kinds:
        mirrored = torch.rand(count, 1, generator=draw) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    if "crop" in kinds:
        across, down = width // _MARGIN, height // _MARGIN
        size = count, channels, height + 2 * down, width + 2 * across
        padded = black.to(inputs).reshape(1, -1, 1, 1).expand(size).clone()
        padded[:, :, down : down + height, across : across + width] = inputs
        inputs = padded
        columns = columns + torch.randint(0, 2 * across + 1, (count, 1), generator=draw)
        rows = rows + torch.randint(0, 2 * down + 1, (count, 1), generator=draw)
    every = torch.arange(count)[:, None, None, None], torch.arange(channels)[:, None, None]
    return inputs[(*every, rows[:, None, :, None], columns[:, None, None, :])]
