"""A small network with photos whose objects have boxes, for the tests of learning options."""

import numpy as np
import torch
from PIL import Image
from torch import nn

from cofire.images.collection import AnnotatedImage, Collection
from cofire.images.preparation import Preparation
from cofire.network import Network

PREPARATION = Preparation((1, 16, 16), resize=0, mean=(0.5,), std=(0.5,))


def small_model(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(6 * 25, 3),
    ).eval()


def small_network(seed=0):
    return Network(small_model(seed), torch.zeros(2, 1, 16, 16))


def collection_of(folder, count=12, label=0):
    draw = np.random.default_rng(0)
    photos = []
    for number in range(count):
        pixels = draw.integers(0, 90, (16, 16), dtype=np.uint8)
        top, left = draw.integers(0, 8, 2)
        pixels[top : top + 7, left : left + 7] = draw.integers(150, 256, (7, 7))
        name = f"{number:03d}.png"
        Image.fromarray(pixels).save(folder / name)
        box = tuple(map(float, (left, top, left + 7, top + 7)))
        photos.append(AnnotatedImage(folder / name, name, (number + label) % 3, (box,)))
    return Collection(tuple(photos), folder)
