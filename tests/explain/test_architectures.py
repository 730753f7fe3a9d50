"""Every architecture that users have: traced with random weights, and judged by what must hold for any of them."""

import pytest
import torch
import torchvision
from torch import nn

from cofire.explain import explain
from cofire.network import Network

NETWORKS = """
alexnet vgg16 vgg16_bn resnet18 resnet50 inception_v3 googlenet densenet121 squeezenet1_0 mobilenet_v2
mobilenet_v3_large efficientnet_b0 shufflenet_v2_x1_0 convnext_tiny regnet_y_400mf mnasnet1_0
"""


def network_of(name, size):
    extra = {"init_weights": False} if name in ("inception_v3", "googlenet") else {}
    model = getattr(torchvision.models, name)(weights=None, num_classes=10, **extra).eval()
    # As after training: statistics of batch norm that are not all the same, scales of both signs.
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, -0.5, 1.5)
            nn.init.uniform_(module.running_mean, -0.2, 0.2)
    return Network(model, torch.zeros(1, 3, size, size))


def check(found, images):
    height, width = images.shape[2:]
    assert found.heatmap().shape == (len(images), height, width)
    assert torch.isfinite(found.heatmap()).all()
    neurons = found.neurons
    assert torch.isfinite(neurons.score).all()
    assert (neurons.score > 0).all()
    for number in range(len(images)):
        points = found.points(number)
        if not found.has_evidence[number]:
            # With random weights every way may end in neurons that their bias alone keeps active.
            assert len(points.y) == 0
            continue
        assert 0 <= int(points.y.min()) <= int(points.y.max()) < height
        assert 0 <= int(points.x.min()) <= int(points.x.max()) < width


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS.split())
def test_torchvision(name):
    size = 96 if name == "inception_v3" else 64
    images = torch.rand(2, 3, size, size)
    network = network_of(name, size)
    found = explain(network, images)
    check(found, images)
    activations = {layer.name for layer in network.activation_layers}
    visited = {site.name for site in found.sites if site.kind == "activation"}
    assert visited <= activations | {gate.name for gate in network.gates}
    assert len(visited) > 0.5 * len(activations)
    check(explain(network, images, method="cnn-fixations", k_linear=3), images)
    check(explain(network, images[:1], alpha=(1.0, 0.5, 1.0), k=2, most=20), images[:1])


def test_fully_connected_networks_on_vectors_and_on_images():
    vectors = nn.Sequential(
        nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 3)
    )
    found = explain(Network(vectors, torch.zeros(1, 12)), torch.randn(4, 12))
    assert found.heatmap().shape == (4, 1, 12)
    assert found.has_evidence.all()
    flattened = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1)
    )
    check(
        explain(Network(flattened, torch.zeros(1, 1, 8, 8)), torch.rand(4, 1, 8, 8)),
        torch.rand(4, 1, 8, 8),
    )


@pytest.mark.parametrize("drop", [nn.Dropout, nn.AlphaDropout, nn.FeatureAlphaDropout])
def test_dropout_that_writes_in_place_is_no_obstacle(drop):
    parts = nn.Linear(12, 8), nn.ReLU(), drop(0.5, inplace=True), nn.Linear(8, 3)
    images = torch.rand(4, 12)
    assert explain(Network(nn.Sequential(*parts), images), images).has_evidence.any()


def test_re_used_modules_and_functional_forms():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.act, self.head = (
                nn.Conv2d(4, 4, 3, padding=1),
                nn.ReLU(inplace=True),
                nn.Linear(4, 3),
            )

        def forward(self, x):
            x = self.act(self.conv(x))
            x = self.act(self.conv(x) + x)
            return torch.nn.functional.linear(x.mean((2, 3)), self.head.weight, self.head.bias)

    found = explain(Network(Twice().eval(), torch.zeros(1, 4, 9, 7)), torch.rand(2, 4, 9, 7))
    assert [site.name for site in found.sites if site.kind == "activation"] == ["act", "act:1"]
    assert found.has_evidence.all()
