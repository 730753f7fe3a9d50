"""DeepFool: exact on linear networks, and the published algorithm on others."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from cofire.errors import BatchError, NonFiniteError, OptionError
from cofire.evaluate.deepfool import deepfool
from cofire.network import Network


def linear(weight, bias=None):
    model = nn.Linear(weight.shape[1], weight.shape[0])
    model.weight.data.copy_(weight)
    model.bias.data.copy_(torch.zeros(len(weight)) if bias is None else bias)
    return Network(model, torch.zeros(1, weight.shape[1]))


def curved(seed=0, features=6, classes=5):
    generator = torch.Generator().manual_seed(seed)
    model = nn.Sequential(nn.Linear(features, 16), nn.Tanh(), nn.Linear(16, classes))
    for parameter in model.parameters():
        parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return model


def plain_deepfool(model, image, overshoot=0.02, steps=50, classes=10):
    """Algorithm 2 for one image, written from the paper."""
    way, first = torch.zeros_like(image), int(model(image[None]).argmax())
    others = [k for k in model(image[None])[0].argsort(descending=True).tolist() if k != first][
        : classes - 1
    ]
    moved = image.clone()
    for step in range(steps):
        leaf = moved.clone().requires_grad_()
        logits = model(leaf[None])[0]
        if int(logits.argmax()) != first:
            return moved, step
        slope = {
            k: torch.autograd.grad(logits[k], leaf, retain_graph=True)[0] for k in (first, *others)
        }
        ways = []
        for k in others:
            w, f = slope[k] - slope[first], (logits[k] - logits[first]).item()
            ways.append((abs(f) / w.norm().item(), abs(f) / w.norm().item() ** 2 * w))
        way = way + min(ways, key=lambda pair: pair[0])[1]
        moved = image + (1 + overshoot) * way
    return moved, steps


@settings(max_examples=12, deadline=None)
@given(st.integers(0, 10**6), st.integers(2, 6), st.integers(1, 8))
def test_a_linear_network_is_fooled_by_the_least_change_there_is(seed, classes, features):
    generator = torch.Generator().manual_seed(seed)
    weight, bias = (
        torch.randn(classes, features, generator=generator),
        torch.randn(classes, generator=generator),
    )
    images = torch.randn(3, features, generator=generator)
    logits = images.double() @ weight.double().T + bias.double()
    first = logits.argmax(1)
    least = []
    for image, own in enumerate(first.tolist()):
        gaps = [
            (logits[image, own] - logits[image, k]) / (weight[own] - weight[k]).double().norm()
            for k in range(classes)
            if k != own
        ]
        least.append(min(gaps))
    found = deepfool(linear(weight, bias), images, overshoot=0.0)
    assert found.norm == pytest.approx([float(value) for value in least], rel=1e-4, abs=1e-5)
    assert found.before.tolist() == first.tolist()
    beyond = deepfool(linear(weight, bias), images, overshoot=0.1)
    assert bool(beyond.fooled.all())
    assert beyond.steps.tolist() == [1, 1, 1]
    assert beyond.norm == pytest.approx([1.1 * float(value) for value in least], rel=1e-3, abs=1e-4)


def test_it_is_the_published_algorithm():
    model = curved()
    images = torch.randn(12, 6, generator=torch.Generator().manual_seed(3))
    found = deepfool(Network(model, images[:1]), images)
    for number, image in enumerate(images):
        moved, steps = plain_deepfool(model, image)
        assert torch.allclose(found.images[number], moved, atol=1e-3)
        assert int(found.steps[number]) == steps
    assert bool(found.fooled.all())


def test_it_is_no_longer_than_foolboxs():
    foolbox = pytest.importorskip("foolbox")
    model = curved(1).eval()
    images = torch.rand(20, 6, generator=torch.Generator().manual_seed(4))
    theirs = foolbox.PyTorchModel(model, bounds=(-100, 100), device="cpu")
    attack = foolbox.attacks.L2DeepFoolAttack(candidates=5)
    _, moved, worked = attack(theirs, images, model(images).argmax(1), epsilons=None)
    found = deepfool(Network(model, images[:1]), images, classes=5)
    assert bool(worked.all())
    assert torch.allclose(found.norm.float(), (moved - images).norm(dim=1), rtol=0.02, atol=2e-3)


def test_an_image_is_attacked_by_itself():
    model, images = curved(2), torch.randn(7, 6, generator=torch.Generator().manual_seed(5))
    network = Network(model, images[:1])
    together, parted = deepfool(network, images), deepfool(network, images, batch_size=2)
    assert torch.allclose(together.images, parted.images, atol=1e-6)
    alone = deepfool(network, images[3:4])
    assert torch.allclose(alone.images[0], together.images[3], atol=1e-6)


def test_photos_stay_within_bounds_and_are_still_fooled():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True), nn.Flatten(), nn.Linear(8 * 36, 4)
    )
    images = torch.rand(6, 3, 8, 8).round()
    network = Network(model, images[:1])
    bounds = (torch.zeros(3, 1, 1), torch.ones(3, 1, 1))
    found = deepfool(network, images, bounds=bounds)
    assert bool(found.fooled.all())
    assert float(found.images.min()) >= 0
    assert float(found.images.max()) <= 1
    assert torch.allclose(found.norm, (found.images - images).flatten(1).double().norm(dim=1))
    assert found.after.tolist() == network.run(found.images).argmax(1).tolist()
    assert bool((deepfool(network, images).norm <= found.norm + 1e-6).all())


def test_a_bound_turns_the_way_to_what_is_free():
    # The shortest way to the boundary x = y from (3, 1) goes to (2, 2); with y at its bound it is
    # along x alone.
    network = linear(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    found = deepfool(
        network,
        torch.tensor([[3.0, 1.0]]),
        overshoot=0.0,
        bounds=(torch.tensor([-9.0, 0.0]), torch.tensor([9.0, 1.0])),
    )
    assert found.images[0].tolist() == pytest.approx([1.0, 1.0])


def test_an_image_on_the_boundary_is_pushed_over_it():
    network = linear(torch.tensor([[1.0, 0.0], [0.0, 1.0]]))
    found = deepfool(network, torch.tensor([[2.0, 2.0]]))
    assert found.fooled.tolist() == [True]
    assert float(found.norm[0]) < 1e-4


def test_what_cannot_be_fooled_is_said_to_be_so():
    found = deepfool(linear(torch.zeros(3, 2), torch.tensor([0.0, 1.0, 0.0])), torch.randn(2, 2))
    assert found.fooled.tolist() == [False, False]
    assert found.norm.tolist() == [0.0, 0.0]
    assert repr(found) == "Attacked(0 of 2 images fooled)"
    assert deepfool(
        Network(curved(), torch.zeros(1, 6)), torch.randn(3, 6), steps=1
    ).steps.tolist() == [1, 1, 1]


def test_the_model_stays_as_it_was():
    model = nn.Sequential(
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Dropout(), nn.Linear(6, 3)
    ).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = Network(model, torch.zeros(2, 4))
    deepfool(network, torch.randn(5, 4))
    with pytest.raises(NonFiniteError):
        deepfool(
            network.with_weights({**before, "4.weight": torch.full((3, 6), 3e38)}),
            1e10 * torch.randn(5, 4),
        )
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(
        parameter.grad is None and parameter.requires_grad for parameter in model.parameters()
    )


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"classes": 1}, OptionError),
        ({"overshoot": -0.1}, OptionError),
        ({"overshoot": float("nan")}, OptionError),
        ({"steps": 0}, OptionError),
        ({"batch_size": 0}, OptionError),
        ({"bounds": (torch.ones(2), torch.zeros(2))}, OptionError),
        ({"bounds": (torch.zeros(3), torch.ones(3))}, OptionError),
        ({"bounds": (torch.zeros(2), torch.full((2,), 0.5))}, OptionError),
        ({"bounds": 3}, OptionError),
        ({"images": torch.zeros(0, 2)}, BatchError),
        ({"images": torch.zeros(1, 3)}, BatchError),
        ({"images": torch.tensor([[0.0, float("nan")]])}, NonFiniteError),
    ],
)
def test_what_cannot_be_is_refused(options, error):
    images = options.pop("images", torch.ones(1, 2))
    with pytest.raises(error):
        deepfool(linear(torch.eye(2)), images, **options)
