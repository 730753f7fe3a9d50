"""The activation layers of well-known networks, counted and compared with an independent reading."""

import pytest
import torch
import torch.nn.functional as F
import torchvision
from torch import nn

from cofire.network import Network

COUNTS = {
    "alexnet": (7, 0),
    "vgg16": (15, 0),
    "resnet50": (49, 0),
    "inception_v3": (94, 0),
    "googlenet": (57, 0),
    "densenet121": (121, 0),
    "mobilenet_v2": (35, 0),
    "mobilenet_v3_large": (40, 8),
    "mobilenet_v3_small": (33, 9),
    "squeezenet1_0": (25, 0),
    "efficientnet_b0": (49, 16),
    "convnext_tiny": (18, 0),
    "vit_b_16": (12, 0),
    "swin_t": (12, 0),
    "swin_v2_t": (12, 0),
    "shufflenet_v2_x1_0": (37, 0),
}
CHANNELS_LAST = ("convnext_tiny", "vit_b_16", "swin_t", "swin_v2_t")
SIDES = {"inception_v3": 80}


def built(name):
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    options |= {"image_size": 64} if name == "vit_b_16" else {}
    side = SIDES.get(name, 64)
    return getattr(torchvision.models, name)(weights=None, **options), torch.randn(3, 3, side, side)


def recorded(network, images):
    seen = {}
    logits = network.run(images, lambda layer, values: seen.__setitem__(layer, values.clone()))
    return seen, logits


@pytest.mark.slow
@pytest.mark.parametrize("name", COUNTS)
def test_both_ways_of_reading_find_the_same_layers_and_activations(name):
    model, images = built(name)
    network = Network(model, images[:1])
    calls = Network(model, images[:1], capture="calls")
    assert (len(network.activation_layers), len(network.gates)) == COUNTS[name]
    assert calls.activation_layers == network.activation_layers
    assert calls.gates == network.gates
    assert calls.fingerprint == network.fingerprint
    assert len({layer.name for layer in network.activation_layers}) == COUNTS[name][0]
    assert [layer.index for layer in network.activation_layers] == list(range(COUNTS[name][0]))
    assert all(module.training for module in model.modules())

    seen, logits = recorded(network, images)
    watched, _ = recorded(calls, images)
    assert list(seen) == list(network.activation_layers) == list(watched)
    for layer, values in seen.items():
        assert values.shape == (3, *layer.shape)
        torch.testing.assert_close(values, watched[layer], atol=1e-5, rtol=1e-4)
        last = len(layer.shape) - 1
        classifier = last == 0
        assert layer.channel_axis == (last if name in CHANNELS_LAST and not classifier else 0)
        assert layer.signed == (layer.kind in ("gelu", "silu", "hardswish"))
    with torch.inference_mode():
        torch.testing.assert_close(logits, model.eval()(images), atol=1e-5, rtol=1e-4)


def test_activations_are_those_that_a_patched_relu_sees(monkeypatch):
    model, images = built("resnet50")
    network = Network(model, images[:1])
    seen, _ = recorded(network, images)
    independent = []
    plain = F.relu

    def noted(x, inplace=False):
        result = plain(x, inplace=inplace)
        independent.append(result.clone())
        return result

    monkeypatch.setattr("torch.nn.modules.activation.F.relu", noted)
    with torch.inference_mode():
        model.eval()(images)
    assert len(independent) == len(seen) == 49
    for ours, theirs in zip(seen.values(), independent, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert sum(layer.neurons() for layer in network.activation_layers) == 22_720
    assert network.activation_layers[1].name == "layer1.0.relu"
    assert network.activation_layers[2].name == "layer1.0.relu:1"


def test_activations_are_those_that_forward_hooks_see():
    model, images = built("vgg16")
    network = Network(model, images[:1])
    seen, _ = recorded(network, images)
    hooked = {}
    for name, module in model.named_modules():
        if isinstance(module, nn.ReLU):
            module.register_forward_hook(
                lambda _, __, out, name=name: hooked.__setitem__(name, out.clone())
            )
    with torch.inference_mode():
        model.eval()(images)
    assert {layer.name for layer in seen} == set(hooked)
    for layer, values in seen.items():
        torch.testing.assert_close(values, hooked[layer.name])


def test_functional_layers_carry_the_path_of_their_module():
    model, images = built("inception_v3")
    names = [layer.name for layer in Network(model, images[:1]).activation_layers]
    assert "Mixed_5b.branch1x1.relu" in names
