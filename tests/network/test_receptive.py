"""Receptive fields from the graph against brute force: which pixels change a position when they change."""

import copy

import pytest
import torch
from torch import nn

import cofire
from cofire.errors import LayerError, OptionError
from cofire.network import Network


class Branches(nn.Module):
    """A residual branch that is dilated, a shortcut of another stride, and two paths joined."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(2, 4, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.left = nn.Conv2d(4, 4, 3, padding=2, dilation=2)
        self.right = nn.Conv2d(4, 4, (1, 3), padding=(0, 1))
        self.head = nn.Linear(8, 3)

    def forward(self, x):
        x = torch.relu(self.norm(self.stem(x)))
        x = torch.relu(self.left(x) + x)
        x = torch.cat([x, self.right(x)], dim=1)
        x = nn.functional.pad(x, (1, 0, 0, 2), mode="replicate")
        x = torch.relu(nn.functional.avg_pool2d(x, 3, 2))
        return self.head(x.mean((2, 3)))


class Attended(nn.Module):
    """Channels last, shuffled and split; then a squeeze that sees everything."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=(2, 1))
        self.norm = nn.LayerNorm(4)
        self.mix = nn.Linear(4, 6)
        self.back = nn.ConvTranspose2d(3, 4, 3, stride=2, padding=1, output_padding=1)
        self.squeeze = nn.Linear(4, 4)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = self.norm(self.conv(x).permute(0, 2, 3, 1))
        x = nn.functional.gelu(self.mix(x)).permute(0, 3, 1, 2)
        n, c, h, w = x.shape
        x = x.view(n, 2, c // 2, h, w).transpose(1, 2).reshape(n, c, h, w)
        a, b = x.chunk(2, dim=1)
        x = torch.relu(self.back(nn.functional.interpolate(a * b, scale_factor=2)[:, :, 1:, :-1]))
        x = torch.relu(x * torch.sigmoid(self.squeeze(x.mean((2, 3))))[:, :, None, None] - 0.1)
        return self.head(nn.functional.adaptive_avg_pool2d(x, (3, 2)).tanh().flatten(2).amax(2))


def plain(*layers):
    return lambda: nn.Sequential(*copy.deepcopy(layers), nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))


CASES = {
    "valid": plain(nn.Conv2d(2, 3, 3), nn.ReLU(), nn.Conv2d(3, 2, (2, 3), stride=2)),
    "same": plain(nn.Conv2d(2, 3, 3, padding="same", dilation=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1)),
    "ceil": plain(nn.MaxPool2d(2, ceil_mode=True), nn.Conv2d(2, 2, 3, padding=3)),
    "adaptive": plain(nn.Conv2d(2, 2, 3), nn.AdaptiveAvgPool2d((4, 3)), nn.ReflectionPad2d(1)),
    "branches": Branches,
    "attended": Attended,
}


def by_gradient(network, inputs, layer):
    """For each position the box of pixels on which it depends, over several random inputs."""
    boxes = {}
    for sample in inputs:
        for pixel in torch.cartesian_prod(*map(torch.arange, sample.shape[1:])):
            changed = sample.clone()
            changed[:, pixel[0], pixel[1]] += torch.tensor([3.0, -2.0])
            seen = []
            both = torch.stack([sample, changed]).double()
            network.run(both, lambda _, values, seen=seen: seen.append(values.clone()), [layer])
            values = seen[0].movedim(1 + layer.channel_axis, 1).flatten(2)
            for place in (values[0] != values[1]).any(0).nonzero().flatten().tolist():
                boxes.setdefault(place, set()).add(tuple(pixel.tolist()))
    return {
        place: tuple(slice(min(axis), max(axis) + 1) for axis in zip(*pixels, strict=True))
        for place, pixels in boxes.items()
    }


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("capture", ["export", "calls"])
def test_every_window_is_the_pixels_that_the_position_depends_on(name, capture):
    torch.manual_seed(0)
    model = CASES[name]()
    model(torch.randn(2, 2, 9, 8))
    for module in model.modules():  # ReLUs that are off hide what goes in
        if getattr(module, "bias", None) is not None:
            nn.init.constant_(module.bias, 4.0)
    network = Network(model.double().eval(), torch.randn(2, 2, 9, 8).double(), capture=capture)
    inputs = torch.randn(3, 2, 9, 8).double()
    for layer in network.activation_layers:
        field, boxes = cofire.receptive_field(network, layer), by_gradient(network, inputs, layer)
        for place in range(len(field.low)):
            window = field.window(place)
            nothing = any(part.start == part.stop for part in window)
            if capture == "calls" and name == "attended":  # parts cut out by Python's [] hide where
                nothing = nothing or field.whole
                boxes[place] = window if field.whole else boxes[place]
            assert nothing if place not in boxes else window == boxes[place], (layer.name, place)


def test_beyond_what_mixes_positions_it_is_the_whole_image():
    network = Network(
        nn.Sequential(
            nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(72, 4), nn.ReLU(), nn.Linear(4, 2)
        ),
        torch.zeros(1, 1, 8, 8),
    )
    field = cofire.receptive_field(network, "3")
    assert field.whole
    assert field.window(0) == field.window(-1) == (slice(0, 8), slice(0, 8))
    vectors = Network(nn.Sequential(nn.Linear(5, 4), nn.ReLU(), nn.Linear(4, 2)), torch.zeros(1, 5))
    assert cofire.receptive_field(vectors, "1").window(0) == (slice(0, 5),)


def test_layers_and_positions_that_are_not_there_are_told():
    network = Network(
        nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(72, 2)),
        torch.zeros(1, 1, 8, 8),
    )
    with pytest.raises(LayerError, match="no activation layer"):
        cofire.receptive_field(network, "7")
    with pytest.raises(OptionError, match="place 36 of 36 positions"):
        cofire.receptive_field(network, "1").window(36)
