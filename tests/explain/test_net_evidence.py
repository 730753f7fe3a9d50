"""Net evidence of layers against finite differences and hand-computed toys, and which layers are asked."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from cofire.errors import ExplanationError, NonFiniteError, OptionError
from cofire.explain import Explanation
from cofire.explain import explain as explain_by
from cofire.explain.tracing.plan import plan_of
from cofire.network import Network
from tests.explain.networks import SmallResidual, overflowing

explain = partial(explain_by, method="discernible-layers")


def small_cnn(activation=nn.ReLU, channels=1):
    """Two resolutions, of which the first has two activation layers."""
    torch.manual_seed(0)
    return (
        nn.Sequential(
            nn.Conv2d(channels, 3, 3, padding=1),
            activation(),
            nn.Conv2d(3, 3, 1),
            activation(),
            nn.AvgPool2d(2),
            nn.Conv2d(3, 4, 3, padding=1),
            activation(),
            nn.Flatten(),
            nn.Linear(48, 4),
        )
        .double()
        .eval()
    )


def slopes(tail, values, classes):
    """The gradient of the sum of some logits, by central differences: exact where the rest is linear."""
    flat, step = values.flatten(), 1e-6
    found = torch.zeros_like(flat)
    for at in range(len(flat)):
        ends = []
        for sign in (1, -1):
            moved = flat.clone()
            moved[at] += sign * step
            ends.append(tail(moved.reshape(1, *values.shape))[0, classes].sum())
        found[at] = (ends[0] - ends[1]) / (2 * step)
    return found.reshape(values.shape)


@torch.no_grad()
def slowly(model, image, classes, contrast, layers=(3, 6)):
    """The formula for one image, layer after layer."""
    logits = model(image[None])[0]
    others = [
        number for number in logits.argsort(descending=True).tolist() if number not in classes
    ]
    found = []
    for layer in layers:
        values, tail = model[: layer + 1](image[None])[0], model[layer + 1 :]

        def share(which, values=values, tail=tail):
            evidence = (values * slopes(tail, values, which)).sum(0).clamp(min=0)
            return evidence / evidence.sum() if evidence.sum() > 0 else evidence

        own = share(classes)
        found.append(
            (own - contrast * share(others[:1])).clamp(min=0) if contrast and others else own
        )
    return found


@pytest.mark.parametrize("activation", [nn.ReLU, nn.GELU, nn.SiLU])
@pytest.mark.parametrize("contrast", [0, 0.7, 1])
def test_it_is_the_formula(activation, contrast):
    model = small_cnn(activation)
    images = torch.rand(2, 1, 6, 8, dtype=torch.float64)
    found = explain(
        Network(model, images[:1]), images, target=torch.tensor([0, 3]), contrast=contrast
    )
    assert found.layer_maps.names == ("3", "6")
    for image, target in enumerate((0, 3)):
        for values, expected in zip(
            found.layer_maps.maps, slowly(model, images[image], [target], contrast), strict=True
        ):
            assert values.shape[1:] == expected.shape
            assert torch.allclose(values[image].double(), expected, atol=1e-5)


def test_several_classes_are_summed_against_the_best_of_the_others():
    model = small_cnn()
    images = torch.rand(2, 1, 6, 8, dtype=torch.float64)
    network = Network(model, images[:1])
    best = model(images).topk(2).indices
    found = explain(network, images, n=2)
    assert torch.equal(found.target, best)
    for image in range(2):
        expected = slowly(model, images[image], best[image].tolist(), 0.7)
        assert torch.allclose(found.layer_maps.maps[1][image].double(), expected[1], atol=1e-5)
    assert torch.equal(explain(network, images, target=best).heatmap(), found.heatmap())
    all_of_them = explain(network, images, target=torch.arange(4).expand(2, 4))
    expected = slowly(model, images[0], [0, 1, 2, 3], 0.7)
    assert torch.allclose(all_of_them.layer_maps.maps[0][0].double(), expected[0], atol=1e-5)


class Signs(nn.Module):
    """What is above 0, and what below; class 0 sees the one, class 1 both."""

    def __init__(self):
        super().__init__()
        self.parts, self.head = nn.Conv2d(1, 2, 1, bias=False), nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.parts.weight.copy_(torch.tensor([1.0, -1.0]).reshape(2, 1, 1, 1))
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [1.0, 1.0]]))

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(torch.relu(self.parts(x)), 1).flatten(1))


@pytest.mark.parametrize(
    ("target", "contrast", "expected"),
    [
        (0, 0, [1 / 4, 0, 3 / 4, 0]),
        (0, 0.5, [1 / 6, 0, 1 / 2, 0]),
        (0, 1, [1 / 12, 0, 1 / 4, 0]),
        (1, 0, [1 / 6, 1 / 3, 1 / 2, 0]),
        (1, 0.5, [1 / 24, 1 / 3, 1 / 8, 0]),
        (1, 1, [0, 1 / 3, 0, 0]),
        ([[0, 1]], 1, [2 / 10, 2 / 10, 6 / 10, 0]),
    ],
)
def test_by_hand_on_two_classes_and_one_layer(target, contrast, expected):
    network, image = (
        Network(Signs(), torch.zeros(1, 1, 2, 2)),
        torch.tensor([[[[1.0, -2.0], [3.0, 0.0]]]]),
    )
    found = explain(network, image, torch.as_tensor(target), contrast=contrast)
    assert found.layer_maps.maps[0].flatten().tolist() == pytest.approx(expected, abs=1e-6)
    shares = torch.tensor(expected).reshape(2, 2) / sum(expected)
    assert torch.allclose(
        explain(network, image, torch.as_tensor(target), contrast=contrast, sigma=0).heatmap()[0],
        shares,
        atol=1e-6,
    )


def test_nothing_in_the_image_is_nothing_in_the_heat_map():
    network = Network(Signs(), torch.zeros(1, 1, 2, 3))
    images = torch.stack([torch.zeros(1, 2, 3), torch.rand(1, 2, 3) + 0.1])
    found = explain(network, images, target=0)
    assert found.has_evidence.tolist() == [False, True]
    assert torch.equal(found.heatmap()[0], torch.zeros(2, 3))
    assert found.boxes().found.tolist() == [False, True]
    assert float(found.heatmap()[1].sum()) == pytest.approx(1)


def test_a_class_whose_rival_has_the_same_evidence_leaves_nothing_and_says_so():
    model = Signs()
    with torch.no_grad():
        model.head.weight.copy_(torch.tensor([[1.0, 1.0], [2.0, 2.0]]))
    found = explain(
        Network(model, torch.zeros(1, 1, 2, 2)), torch.ones(1, 1, 2, 2), target=0, contrast=1
    )
    assert found.has_evidence.tolist() == [True]
    assert torch.equal(found.heatmap(), torch.zeros(1, 2, 2))
    assert not found.boxes().found.any()


def test_maps_larger_than_needed_are_averaged_down():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1), nn.ReLU(), nn.Flatten(), nn.Linear(2 * 112 * 60, 3)
    ).eval()
    image = torch.rand(1, 1, 112, 60)
    found = explain(Network(model, image), image, target=0, contrast=0)
    assert found.layer_maps.maps[0].shape == (1, 56, 56)
    with torch.no_grad():
        evidence = (
            (model[1](model[0](image)) * model[3].weight[0].reshape(1, 2, 112, 60))
            .sum(1)
            .clamp(min=0)
        )
    smaller = F.adaptive_avg_pool2d(evidence, (56, 56))
    assert torch.allclose(found.layer_maps.maps[0], smaller / smaller.sum(), atol=1e-6)


def test_gradients_that_overflow_are_an_error():
    network = overflowing()
    with pytest.raises(NonFiniteError, match="gradients at '1'"):
        explain(network, torch.ones(1, 1, 2, 2), target=0)
    assert explain(network, torch.ones(1, 1, 2, 2), target=0, contrast=None).has_evidence.all()


def heat_of(network, images, **options):
    return explain(network, images, **options).heatmap()


def test_images_do_not_change_each_others_maps(monkeypatch):
    model = SmallResidual().double().eval()
    images = torch.rand(5, 3, 16, 20, dtype=torch.float64)
    network = Network(model, images[:1])
    together = heat_of(network, images)
    for number in range(5):
        assert torch.allclose(
            heat_of(network, images[number])[0], together[number], rtol=1e-6, atol=1e-12
        )
    monkeypatch.setattr(
        sys.modules["cofire.explain.methods.discernible"], "images_at_once", lambda *_, **__: 2
    )
    assert torch.allclose(heat_of(network, images), together, rtol=1e-6, atol=1e-12)


def test_the_context_of_the_caller_changes_nothing():
    model, images = SmallResidual().eval(), torch.rand(2, 3, 16, 20)
    network = Network(model, images[:1])
    plain = heat_of(network, images)
    for mode in (torch.inference_mode, torch.no_grad, torch.enable_grad):
        with mode():
            assert torch.allclose(heat_of(network, images), plain, rtol=1e-4, atol=1e-7)
            assert torch.allclose(heat_of(network, images.clone()), plain, rtol=1e-4, atol=1e-7)
    with torch.inference_mode():
        made_inside = SmallResidual().eval()
        made_inside.load_state_dict(model.state_dict())
        assert torch.allclose(
            heat_of(Network(made_inside, images[:1]), images), plain, rtol=1e-4, atol=1e-7
        )
    frozen = SmallResidual().eval().requires_grad_(False)
    frozen.load_state_dict(model.state_dict())
    assert torch.allclose(heat_of(Network(frozen, images[:1]), images), plain, rtol=1e-4, atol=1e-7)
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: heat_of(network, images), range(8)):
            assert torch.allclose(found, plain, rtol=1e-4, atol=1e-7)


def test_nothing_of_the_callers_is_recorded_also_after_an_exception(monkeypatch):
    model, images = SmallResidual().eval(), torch.rand(2, 3, 16, 20).requires_grad_()
    network = Network(model, images[:1].detach())
    assert not heat_of(network, images).requires_grad
    kept = explain(network, images)
    assert not any(values.requires_grad for values in (kept.neurons.score, *kept.layer_maps.maps))

    def failing(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(torch.autograd, "grad", failing)
    with pytest.raises(KeyboardInterrupt):
        explain(network, images)
    assert images.requires_grad
    assert images.grad is None
    assert all(
        parameter.requires_grad and parameter.grad is None for parameter in model.parameters()
    )
    assert torch.is_grad_enabled()
    assert not torch.is_inference_mode_enabled()


class Cut(nn.Module):
    """A CNN that lets no gradient through at one place."""

    def __init__(self, late):
        super().__init__()
        self.first, self.second, self.head = (
            nn.Conv2d(1, 3, 3),
            nn.Conv2d(3, 3, 3, stride=2),
            nn.Linear(3, 3),
        )
        self.late = late

    def forward(self, x):
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x if self.late else x.detach()))
        return self.head(F.adaptive_avg_pool2d(x.detach() if self.late else x, 1).flatten(1))


def test_what_the_model_detaches_says_nothing():
    torch.manual_seed(0)
    images = torch.rand(2, 1, 9, 11)
    found = explain(Network(Cut(late=False).eval(), images[:1]), images)
    assert found.kind == "layers"
    assert torch.isfinite(found.heatmap()).all()
    assert found.layer_maps.maps[-1].any()
    cut = Network(Cut(late=True).eval(), images[:1])
    assert torch.isfinite(explain(cut, images).heatmap()).all()


def test_networks_without_feature_maps_fall_back_to_points():
    torch.manual_seed(0)
    line = nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3)).eval()
    network, vectors = Network(line, torch.zeros(1, 6)), torch.rand(2, 6)
    found = explain(network, vectors)
    assert (found.kind, found.boxed, found.options["contrast"]) == ("points", "points", None)
    points = explain(network, vectors, contrast=None)
    assert found.regions == points.regions
    assert torch.equal(found.heatmap(), points.heatmap())
    assert torch.equal(found.boxes().corners, points.boxes().corners)


def judged(model, *shape):
    return [
        layer.name
        for layer in plan_of(Network(model.eval(), torch.zeros(1, *shape))).judged.values()
    ]


def test_the_last_layer_of_each_resolution_is_asked():
    assert judged(small_cnn().float(), 1, 6, 8) == ["3", "6"]
    # Gates and what has one position are no places.
    block = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(4, 4, 4),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Conv2d(4, 4, 1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(4, 3),
        nn.ReLU(),
        nn.Linear(3, 2),
    )
    assert judged(block, 1, 6, 6) == ["1", "3"]
    residual = plan_of(Network(SmallResidual().eval(), torch.zeros(1, 3, 16, 20)))
    grids = [layer.shape[1:] for layer in residual.judged.values()]
    assert grids == [(16, 20), (8, 10)]
    assert not set(residual.judged.values()) & {
        layer for node, layer in residual.functional.layers.items() if "sigmoid" in node.name
    }


def test_layers_of_channels_last_have_their_places_first():
    class Last(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.mix, self.head = (
                nn.Conv2d(3, 4, 2, stride=2),
                nn.Linear(4, 5),
                nn.Linear(5, 3),
            )

        def forward(self, x):
            return self.head(F.gelu(self.mix(self.stem(x).permute(0, 2, 3, 1))).mean((1, 2)))

    torch.manual_seed(0)
    model, images = Last().double().eval(), 3 * torch.randn(2, 3, 8, 12, dtype=torch.float64)
    found = explain(Network(model, images[:1]), images, target=1, contrast=0)
    with torch.no_grad():
        before = model.mix(model.stem(images).permute(0, 2, 3, 1))
        evidence = (F.gelu(before) * model.head.weight[1]).sum(3).clamp(min=0)
    assert evidence.flatten(1).any(1).all()
    expected = evidence / evidence.sum((1, 2), keepdim=True)
    assert torch.allclose(found.layer_maps.maps[0].double(), expected, atol=1e-6)


def test_a_vector_that_becomes_a_map_inside_has_no_places():
    model = nn.Sequential(
        nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3)
    )
    assert judged(model, 16) == []
    assert explain(Network(model, torch.zeros(1, 16)), torch.rand(2, 16)).kind == "points"


def test_without_points_heat_maps_and_boxes_are_the_same():
    images = torch.rand(3, 1, 6, 8, dtype=torch.float64)
    network = Network(small_cnn(), images[:1])
    whole, maps = explain(network, images), explain(network, images, points=False)
    traced = whole.has_evidence
    assert traced.sum() == 2
    assert torch.equal(maps.heatmap()[traced], whole.heatmap()[traced])
    assert torch.equal(maps.boxes().corners[traced], whole.boxes().corners[traced])
    assert (maps.kind, maps.neurons, maps.sites) == ("maps", None, ())
    with pytest.raises(ExplanationError, match="which is made of maps"):
        maps.points(0)
    wider = explain(network, images, points=False, sigma=0.2, threshold=0.9)
    assert torch.equal(wider.heatmap()[traced], whole.heatmap(0.2)[traced])
    model = small_cnn()
    model[-1].weight.data.abs_().neg_()
    network = Network(model, images[:1])
    assert not explain(network, images, contrast=0).has_evidence.any()
    assert not explain(network, images, contrast=0, points=False).has_evidence.any()


def test_maps_without_points_note_their_blur_and_say_what_they_are_made_of(tmp_path):
    images = torch.rand(2, 1, 6, 8, dtype=torch.float64)
    found = explain(Network(small_cnn(), images[:1]), images, points=False, sigma=0.2)
    assert found.options["sigma"] == 0.2
    assert "sigma" not in explain(Network(small_cnn(), images[:1]), images, sigma=0.2).options
    found.save(tmp_path / "found.cofire")
    kept = Explanation.load(tmp_path / "found.cofire")
    assert (kept.options, kept.regions) == (found.options, found.regions)
    kept.write_html(tmp_path / "page.html")
    told = (tmp_path / "page.html").read_text()
    assert "It is made of net evidence, at the last activation layer" in told
    assert "share of the net evidence per pixel" in told
    assert "standard deviation of 20" in told


def test_points_are_traced_all_the_same_where_no_layer_has_maps():
    network = Network(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(1, 4))
    found = explain(network, torch.rand(2, 4), points=False)
    assert found.kind == "points"
    assert found.neurons is not None


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"contrast": None}, "points=False without a contrast"),
        ({"radius": 0.2}, "a box of points, and points=False"),
    ],
)
def test_without_points_nothing_of_points_is_asked_for(options, words):
    network = Network(small_cnn(), torch.rand(1, 1, 6, 8, dtype=torch.float64))
    with pytest.raises(OptionError, match=words):
        explain(network, torch.rand(1, 1, 6, 8, dtype=torch.float64), points=False, **options)
