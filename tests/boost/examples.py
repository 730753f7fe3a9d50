"""Small classifiers and data that the tests of boosting share."""

import copy
import functools

import torch
from torch import nn

from cofire.network import Network


def _made_once(make):
    """Each call gives a copy of its own."""
    made = functools.cache(make)
    return functools.wraps(make)(lambda *given, **named: copy.deepcopy(made(*given, **named)))


@_made_once
def toy(samples=600, seed=0, classes=3):
    """A network of two hidden layers, trained a little, with training, held-out and test data."""
    draw = torch.Generator().manual_seed(seed)
    centres = torch.randn(classes, 6, generator=draw) * 1.5
    labels = torch.randint(classes, (samples,), generator=draw)
    inputs = centres[labels] + torch.randn(samples, 6, generator=draw)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Linear(6, 16),
            nn.ReLU(),
            nn.Linear(16, 12),
            nn.ReLU(),
            nn.Dropout(0.2),
            nn.Linear(12, classes),
        )
        optimizer = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(5):
            for chosen in torch.randperm(samples // 2).split(32):
                optimizer.zero_grad()
                nn.functional.cross_entropy(model(inputs[chosen]), labels[chosen]).backward()
                optimizer.step()
    model.zero_grad()
    cuts = (samples // 2, samples * 3 // 4)
    parts = [(inputs[a:b], labels[a:b]) for a, b in ((0, cuts[0]), cuts, (cuts[1], samples))]
    return model, Network(model, inputs[:2]), parts


@_made_once
def images(samples=240, seed=0):
    """A convolutional network on small images: pools, in-place activations, and a head behind a flatten."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.randint(3, (samples,), generator=draw)
    inputs = torch.rand(samples, 1, 8, 8, generator=draw)
    for place in range(3):
        inputs[labels == place, :, 2 * place : 2 * place + 3] += 0.5
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = nn.Sequential(
            nn.Conv2d(1, 6, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            nn.Conv2d(6, 8, 3),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(32, 3),
        )
    third = samples // 3
    parts = [
        (inputs[k * third : (k + 1) * third], labels[k * third : (k + 1) * third]) for k in range(3)
    ]
    return model, Network(model, inputs[:2]), parts
