"""Models whose result for a sample depends on chance or on its batch are refused, by both ways of reading."""

import re

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from cofire.errors import ExportError
from cofire.network import Network

BOTH = pytest.mark.parametrize("capture", ["export", "calls"])


class Between(nn.Module):
    """Two layers with something in between."""

    def __init__(self, between, norm=None):
        super().__init__()
        self.first, self.last, self.norm, self.between = (
            nn.Linear(10, 16),
            nn.Linear(16, 3),
            norm,
            between,
        )

    def forward(self, x):
        return self.last(F.relu(self.between(self, self.first(x))))


class StandardisedConv(nn.Conv2d):
    """Batch norm over the weights alone, as in timm's BiT and NFNets."""

    def forward(self, x):
        rows = self.weight.reshape(1, self.out_channels, -1)
        weight = F.batch_norm(rows, None, None, training=True, momentum=0.0).reshape_as(self.weight)
        return F.conv2d(x, weight, self.bias)


ALWAYS = {
    "dropout": lambda self, x: F.dropout(x),
    "channels": lambda self, x: F.dropout2d(x[:, :, None, None])[:, :, 0, 0],
    "alpha": lambda self, x: F.alpha_dropout(x, training=True),
    "noise": lambda self, x: x + torch.rand_like(x),
    "in place": lambda self, x: x + torch.empty_like(x).normal_(),
    "attention": lambda self, x: F.scaled_dot_product_attention(
        x[:, None, None], x[:, None, None], x[:, None, None], dropout_p=0.3
    )[:, 0, 0],
}


@BOTH
@pytest.mark.parametrize("name", ALWAYS)
def test_what_draws_random_numbers_in_evaluation_is_refused_with_its_line(capture, name):
    model = Between(ALWAYS[name])
    before = torch.get_rng_state()
    with pytest.raises(ExportError, match=r"test_determinism\.py line \d+: .*draws random numbers"):
        Network(model, torch.zeros(1, 10), capture=capture)
    assert torch.equal(before, torch.get_rng_state())


@BOTH
def test_the_remedy_for_dropout_works(capture):
    model = Between(lambda self, x: F.dropout(x, 0.5, training=self.training)).train()
    inputs = torch.randn(4, 10)
    network = Network(model, inputs, capture=capture)
    torch.testing.assert_close(network.run(inputs), model.eval()(inputs).detach())
    with pytest.raises(ExportError, match=re.escape("F.dropout(x, p, training=self.training)")):
        Network(Between(ALWAYS["dropout"]), inputs, capture=capture)


@BOTH
def test_what_drops_nothing_or_draws_in_vain_is_read(capture):
    for between in (
        lambda self, x: F.dropout(x, p=0.0),
        lambda self, x: (torch.rand_like(x), x)[1],
    ):
        network = Network(Between(between), torch.zeros(1, 10), capture=capture)
        before = torch.get_rng_state()
        network.run(torch.zeros(2, 10))
        assert torch.equal(before, torch.get_rng_state())


MIXING = {
    "no statistics": (lambda self, x: self.norm(x), nn.BatchNorm1d(16, track_running_stats=False)),
    "training": (lambda self, x: F.batch_norm(x, None, None, training=True), None),
    "mean": (lambda self, x: x - x.mean(0), None),
    "largest": (lambda self, x: x / x.abs().max(), None),
    "softmax": (lambda self, x: x.softmax(0), None),
    "product": (lambda self, x: x @ (x.T @ x), None),
    "attention": (
        lambda self, x: F.scaled_dot_product_attention(x[None], x[None], x[None])[0],
        None,
    ),
}


@BOTH
@pytest.mark.parametrize("name", MIXING)
def test_what_mixes_the_samples_of_a_batch_is_refused_with_its_line(capture, name):
    between, norm = MIXING[name]
    with pytest.raises(ExportError, match=r"test_determinism\.py line \d+: .*mixes the samples"):
        Network(Between(between, norm), torch.zeros(1, 10), capture=capture)


@BOTH
def test_the_remedy_for_batch_norm_works(capture):
    model = Between(lambda self, x: self.norm(x), nn.BatchNorm1d(16, track_running_stats=True))
    inputs = torch.randn(64, 10)
    model.train()(inputs)
    network = Network(model, inputs, capture=capture)
    alone = torch.cat([network.run(one[None]) for one in inputs])
    torch.testing.assert_close(network.run(inputs), alone)


@BOTH
def test_statistics_of_the_weights_or_of_each_sample_are_read(capture):
    body = (StandardisedConv(3, 8, 3), nn.InstanceNorm2d(8), nn.GroupNorm(2, 8), nn.ReLU())
    model = nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)).eval()
    images = torch.randn(6, 3, 12, 12)
    network = Network(model, images, capture=capture)
    torch.testing.assert_close(network.run(images), model(images).detach())

    def each_alone(self, x):
        return F.batch_norm(x.reshape(1, -1, 4), None, None, training=True).reshape(-1, 16)

    alone = Network(Between(each_alone), torch.zeros(1, 10), capture=capture)
    inputs = torch.randn(3, 10)
    torch.testing.assert_close(
        alone.run(inputs), torch.cat([alone.run(one[None]) for one in inputs])
    )


def test_a_program_saved_in_training_mode_is_told_to_be_exported_in_evaluation_mode(tmp_path):
    model = nn.Sequential(nn.Linear(4, 3), nn.Dropout(), nn.ReLU(), nn.Linear(3, 2)).train()
    shapes = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (torch.zeros(2, 4),), dynamic_shapes=shapes, strict=False)
    torch.export.save(program, tmp_path / "model.pt2")
    with pytest.raises(ExportError, match=r"call model\.eval\(\) before torch\.export\.export"):
        Network.load(tmp_path / "model.pt2")


@BOTH
def test_a_model_that_fails_leaves_the_generator_where_it_was(capture):
    class Fails(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(5, 3)

        def forward(self, x):
            x = torch.rand_like(x) + x
            raise ValueError("no")

    model = Fails()
    before = torch.get_rng_state()
    with pytest.raises(ExportError, match="fails on the example input"):
        Network(model, torch.zeros(1, 5), capture=capture)
    assert torch.equal(before, torch.get_rng_state())
