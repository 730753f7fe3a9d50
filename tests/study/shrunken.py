"""Data and networks of the papers' recipes, small enough for a test."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import nn


def folders(root: Path, classes: int, side: int, sizes: Sequence[int] = (12, 4)) -> Path:
    """Images of noise, brighter from class to class, in folders train and test of each class."""
    draw = np.random.default_rng(0)
    for part, size in zip(("train", "test"), sizes, strict=True):
        for label in range(classes):
            place = root / part / f"class{label:03d}"
            place.mkdir(parents=True)
            for number in range(size):
                shades = draw.integers(0, 100, (side, side, 3)) + 150 * label // classes
                Image.fromarray(shades.astype(np.uint8)).save(place / f"{number}.png")
    return root


def narrow_vgg() -> nn.Module:
    """VGG-16's layers with a few channels each."""
    layers: list[nn.Module] = []
    channels = 3
    for width in (4, 4, 0, 4, 4, 0, 8, 8, 8, 0, 8, 8, 8, 0, 8, 8, 8, 0):
        layers += (
            [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()] if width else [nn.MaxPool2d(2)]
        )
        channels = width or channels
    dense = [nn.Linear(8, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(), nn.Dropout()]
    return nn.Sequential(*layers, nn.Flatten(), *dense, nn.Linear(16, 10))
