"""Layers are chosen by name, path, pattern, kind and predicate."""

import pytest
import torch
from torch import nn

from cofire.errors import LayerError
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
