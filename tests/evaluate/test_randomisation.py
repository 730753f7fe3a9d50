"""Weights at random from the top down: which, in what order, and with whose model untouched."""

import pytest
import torch
from torch import nn

from cofire.errors import DataError, LayerError, OptionError
from cofire.evaluate.sensitivity import randomisation, randomised
from cofire.explain import explain
from cofire.network import Network


class Forked(nn.Module):
    """A convolution with batch norm, and one linear layer that is used twice."""

    def __init__(self):
        super().__init__()
        self.top = nn.Linear(8, 3)  # defined first, used last
        self.conv = nn.Conv2d(1, 2, 3)
        self.norm = nn.BatchNorm2d(2)
        self.shared = nn.Linear(8, 8)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x))).flatten(1)
        return self.top(torch.relu(self.shared(torch.relu(self.shared(x)))))


@pytest.fixture(scope="module")
def forked():
    generator = torch.Generator().manual_seed(3)
    model = Forked()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
        model.norm.running_mean.copy_(torch.tensor([0.5, -0.5]))
        model.norm.running_var.copy_(torch.tensor([0.25, 4.0]))
    return model, Network(model, torch.zeros(1, 1, 4, 4))


IMAGES = torch.rand(3, 1, 4, 4, generator=torch.Generator().manual_seed(1))


def test_layers_go_from_the_last_used_to_the_first(forked):
    _, network = forked
    assert [names for names, _ in randomised(network)] == [
        ("top",),
        ("shared",),
        ("norm",),
        ("conv",),
    ]
    assert [names for names, _ in randomised(network, stages=2)] == [
        ("top", "shared"),
        ("norm", "conv"),
    ]
    assert [names for names, _ in randomised(network, stages=1)] == [
        ("top", "shared", "norm", "conv")
    ]


def test_each_stage_permutes_its_weights_and_leaves_those_below(forked):
    model, network = forked
    before = {name: value.clone() for name, value in model.state_dict().items()}
    done = set()
    for names, other in randomised(network):
        done |= set(names)
        held = other.state_dict()
        for name, value in held.items():
            layer = name.rpartition(".")[0]
            kept_as_counted = "running" in name or "batches" in name
            if layer in done and not kept_as_counted:
                assert torch.equal(
                    value.flatten().sort().values, before[name].flatten().sort().values
                )
                assert value.numel() < 4 or not torch.equal(value, before[name])
            else:
                assert torch.equal(value, before[name])
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_the_seed_decides_and_the_number_of_stages_does_not(forked):
    _, network = forked

    def last(**options):
        return list(randomised(network, **options))[-1][1].run(IMAGES)

    assert torch.equal(last(seed=1), last(seed=1))
    assert torch.equal(last(seed=1), last(seed=1, stages=1))
    assert not torch.equal(last(seed=1), last(seed=2))


def test_a_weight_with_two_names_stays_one_weight():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    model[2].weight = model[0].weight
    network = Network(model, torch.zeros(1, 4))
    for _, other in randomised(network, stages=1):
        first, second = other.state_dict(["0.weight", "2.weight"]).values()
        assert torch.equal(first, second)
        assert not torch.equal(first, model[0].weight)


def test_the_correlation_is_that_of_each_stages_explanation(forked):
    model, network = forked
    classes = network.run(IMAGES).argmax(1)
    mode = model.training
    found = randomisation(
        network, lambda other: explain(other, IMAGES, classes, k=None), stages=2, sigma=0.1
    )
    assert found.layers == (("top", "shared"), ("norm", "conv"))
    assert len(found) == len(found.rank_correlation) == 2
    assert all(len(each) == 3 for each in found.rank_correlation)
    assert model.training == mode


def test_what_does_not_look_at_the_weights_does_not_change(forked):
    _, network = forked
    same = explain(network, IMAGES, 0)
    found = randomisation(network, lambda other: same, stages=2)
    counted = found.rank_correlation[0].counted
    assert counted.any()
    assert all(
        each.values[counted].tolist() == pytest.approx([1] * int(counted.sum()))
        for each in found.rank_correlation
    )


def test_programs_from_a_file_have_layers_too(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3)).eval()
    batch = torch.export.Dim("batch", min=2)
    program = torch.export.export(model, (torch.zeros(2, 4),), dynamic_shapes=({0: batch},))
    torch.export.save(program, tmp_path / "model.pt2")
    assert [names for names, _ in randomised(Network.load(tmp_path / "model.pt2"))] == [
        ("2",),
        ("0",),
    ]


def test_what_cannot_be_is_refused(forked):
    _, network = forked
    for options in ({"stages": 0}, {"stages": 5}, {"seed": -1}, {"seed": 0.5}):
        with pytest.raises(OptionError):
            list(randomised(network, **options))
    answers = iter([explain(network, IMAGES, 0), explain(network, IMAGES[:2], 0)])
    with pytest.raises(DataError, match="2 images"):
        randomisation(network, lambda other: next(answers), stages=1)


def test_a_network_without_weights_is_refused():
    class Bare(nn.Module):
        def forward(self, x):
            return torch.relu(x)

    with pytest.raises(LayerError, match="without weights"):
        list(randomised(Network(Bare(), torch.zeros(1, 3))))
