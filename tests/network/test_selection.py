"""Layers are chosen by name, path, pattern, kind and predicate."""

import pytest
import torch
from torch import nn

from cofire.errors import ExportError, LayerError
from cofire.network import ActivationLayer, Network


@pytest.fixture(scope="module")
def network():
    def block():
        return nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4), nn.GELU())

    model = nn.ModuleDict({"body": nn.Sequential(block(), block())})
    return Network(nn.Sequential(*model["body"], nn.Linear(4, 2)), torch.zeros(1, 4))


@pytest.mark.parametrize(
    ("chosen", "names"),
    [
        (None, ["0.1", "0.3", "1.1", "1.3"]),
        ("0.3", ["0.3"]),
        ("1", ["1.1", "1.3"]),
        ("*.1", ["0.1", "1.1"]),
        ("[01].3", ["0.3", "1.3"]),
        ("kind:gelu", ["0.3", "1.3"]),
        (lambda layer: layer.index > 2, ["1.3"]),
        (["1.3", "0.1", "kind:gelu", lambda layer: layer.index == 0], ["0.1", "0.3", "1.3"]),
    ],
)
def test_selected_layers_come_once_and_in_order(network, chosen, names):
    assert [layer.name for layer in network.select(chosen)] == names


def test_layers_of_a_network_with_other_weights_are_the_same(network):
    other = network.with_weights(network.state_dict())
    assert network.select(other.activation_layers) == network.activation_layers


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        ("0.4", "'0.3'"),
        ("0.1,0.3", "no activation layer"),
        ("kind:relu6", "'kind:relu'"),
        (lambda layer: False, "predicate"),
        (ActivationLayer("9", "", "relu", 0, 0, (4,), 0), "not part of this network"),
        ([3], "type int"),
    ],
)
def test_what_finds_nothing_names_what_is_near(network, chosen, said):
    with pytest.raises(LayerError, match=said):
        network.select(chosen)
    with pytest.raises(LayerError, match=said):
        network.run(torch.zeros(1, 4), lambda layer, values: None, chosen)


class Scaled(nn.Module):
    """With an activation of weights alone."""

    def __init__(self):
        super().__init__()
        self.first, self.act, self.last = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)
        self.gate, self.scale = nn.Sigmoid(), nn.Parameter(torch.zeros(6))

    def forward(self, x):
        return self.last(self.act(self.first(x)) * self.gate(self.scale))


def test_what_no_layer_can_be_chosen_by_is_told():
    network = Network(Scaled(), torch.zeros(2, 4))
    with pytest.raises(
        LayerError, match="'gate', which cannot be observed because it does not depe"
    ):
        network.select("gate")
    with pytest.raises(LayerError, match=r"a predicate fails: AttributeError: .*'nmae'"):
        network.select(lambda layer: layer.nmae)
    assert len(network.select(lambda layer: layer.name == "act")) == 1


def test_a_network_is_read_from_a_module_and_a_program_has_one_input():
    class Pair(Scaled):
        def forward(self, x, y):
            return super().forward(x + y)

    one = torch.zeros(2, 4)
    with pytest.raises(ExportError, match=r"a model of type str.*pass the module itself"):
        Network("resnet18", one)
    with pytest.raises(ExportError, match=r"a network of 2 inputs.*wrap the model"):
        Network(Pair(), (one, one)).module()


def test_a_batch_that_takes_another_way_past_a_layer_is_told():
    class Sometimes(Scaled):
        def forward(self, x):
            found = self.first(x)
            return self.last(self.act(found) if bool(x.sum() > 0) else found)

    network = Network(Sometimes(), torch.ones(2, 4), capture="calls")
    with pytest.raises(
        LayerError, match=r"call 0 of relu in 'act' was not made.*the same way through"
    ):
        network.run(-torch.ones(2, 4), lambda layer, values: None)
    network.run(torch.ones(2, 4), lambda layer, values: None)


@pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning")
def test_a_module_of_torchscript_hides_its_operators():
    one = torch.zeros(2, 4)
    with pytest.raises(ExportError, match=r"a TorchScript module.*from its Python class"):
        Network(torch.jit.trace(Scaled(), one), one)
