"""`cofire.explain` on whole networks: what it must leave alone, what it refuses, what does not change its answer."""

import copy
import gc
import sys
import weakref

import pytest
import torch
from torch import nn

import cofire
from cofire.errors import (
    BatchError,
    CofireError,
    LabelError,
    NonFiniteError,
    OptionError,
    RuleError,
)
from cofire.explain import METHODS, Rule, explain, register_rule
from cofire.network import Network
from tests.explain.networks import SmallResidual, fixations_by_loop, plain_cnn

TRACING = ("discernible", "discernible-p3", "discernible-points", "cnn-fixations")


@pytest.fixture
def images():
    return torch.rand(3, 3, 16, 20, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def residual(images):
    model = SmallResidual().eval()
    return model, Network(model, images[:1])


def assert_same(first, second, images=None):
    """Two explanations are of the same neurons with the same scores."""
    assert first.sites == second.sites
    for name in ("image", "site", "channel", "y", "x"):
        assert torch.equal(getattr(first.neurons, name), getattr(second.neurons, name)), name
    assert torch.allclose(first.neurons.score, second.neurons.score, rtol=1e-5)


def state_of(model):
    return {
        "modes": [module.training for module in model.modules()],
        "hooks": [
            (len(m._forward_hooks), len(m._forward_pre_hooks), len(m._backward_hooks))
            for m in model.modules()
        ],
        "modules": [(name, id(module)) for name, module in model.named_modules()],
        "inplace": [getattr(module, "inplace", None) for module in model.modules()],
        "gradients": [
            (p.requires_grad, None if p.grad is None else p.grad.clone())
            for p in model.parameters()
        ],
        "values": [value.clone() for value in model.state_dict().values()],
    }


def assert_untouched(before, after):
    for name in ("modes", "hooks", "modules", "inplace"):
        assert before[name] == after[name], name
    for (wanted, gradient), (wanted_now, gradient_now) in zip(
        before["gradients"], after["gradients"], strict=True
    ):
        assert wanted == wanted_now
        assert (gradient is None) == (gradient_now is None)
        assert gradient is None or torch.equal(gradient, gradient_now)
    assert all(torch.equal(a, b) for a, b in zip(before["values"], after["values"], strict=True))


# Relevance cannot go through this network's gate; tests of its own say the same of others.
@pytest.mark.parametrize("method", [method for method in METHODS if method != "lrp"])
@pytest.mark.parametrize("training", [False, True])
def test_the_model_is_as_before_also_after_an_exception(method, training, images, monkeypatch):
    model = SmallResidual().train(training)
    model(images).sum().backward()
    next(model.parameters()).requires_grad_(False)
    network = Network(model, images[:1])
    before = state_of(model)
    explain(network, images, method=method)
    assert_untouched(before, state_of(model))

    def failing(*_, **__):
        raise KeyboardInterrupt

    for place in (
        "cofire.explain.tracing.trace.choose",
        "cofire.explain.methods.cam.interpolate",
    ):
        monkeypatch.setattr(
            sys.modules[place.rpartition(".")[0]], place.rpartition(".")[2], failing
        )
    with pytest.raises(KeyboardInterrupt):
        explain(network, images, method=method)
    assert_untouched(before, state_of(model))


@pytest.mark.parametrize("method", TRACING)
def test_an_image_is_explained_the_same_whatever_its_batch(method):
    model = SmallResidual().double().eval()
    images = torch.rand(7, 3, 16, 20, dtype=torch.float64)
    network = Network(model, images[:1])
    together = explain(network, images, method=method)
    for number in range(7):
        assert_same(explain(network, images[number], method=method), together[number])


@pytest.mark.parametrize("method", TRACING)
def test_the_answer_does_not_depend_on_context_or_layout(method, residual, images):
    model, network = residual
    plain = explain(network, images, method=method)
    with torch.inference_mode():
        assert_same(plain, explain(network, images, method=method))
    with torch.no_grad():
        assert_same(
            plain,
            explain(network, images.contiguous(memory_format=torch.channels_last), method=method),
        )
    frozen = copy.deepcopy(model).requires_grad_(False)
    assert_same(plain, explain(Network(frozen, images[:1]), images, method=method))
    assert_same(plain, explain(network.with_weights(model.state_dict()), images, method=method))


@pytest.mark.parametrize("method", TRACING)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_gives_points_at_much_the_same_places(method, dtype, residual, images):
    model, network = residual
    half = Network(copy.deepcopy(model).to(dtype), images[:1].to(dtype))
    maps, plain = (
        explain(half, images, method=method).heatmap(),
        explain(network, images, method=method).heatmap(),
    )
    likeness = torch.corrcoef(torch.stack([maps.flatten(), plain.flatten()]))[0, 1]
    assert likeness > 0.8
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert bool(explain(network, images, method=method).has_evidence.all())


def test_weights_that_change_show():
    model = plain_cnn().eval()
    images = torch.rand(1, 1, 12, 12)
    network = Network(model, images)
    first = explain(network, images, target=0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randn_like(parameter))
    assert not torch.equal(first.heatmap(), explain(network, images, target=0).heatmap())


@pytest.mark.parametrize("seed", range(5))
def test_cnn_fixations_is_the_loop_of_the_paper(seed):
    torch.manual_seed(seed)
    model = plain_cnn().double().eval()
    images = torch.rand(2, 1, 12, 12, dtype=torch.float64)
    found = explain(Network(model, images[:1]), images, target=1, method="cnn-fixations")
    for number in range(2):
        points = found.points(number)
        expected = fixations_by_loop(model, images[number], 1)
        assert set(zip(points.y.tolist(), points.x.tolist(), strict=True)) == expected


def test_targets(residual, images):
    _, network = residual
    by_number = explain(network, images, target=2)
    assert by_number.target.tolist() == [[2]] * 3
    assert_same(by_number, explain(network, images, target=torch.tensor([2, 2, 2])))
    assert explain(network, images, target=torch.tensor([0, 1, 2])).target.tolist() == [
        [0],
        [1],
        [2],
    ]
    several = explain(network, images, target=torch.tensor([[2, 0]] * 3))
    assert several.probability.shape == (3, 2)
    best = explain(network, images, n=2)
    assert torch.equal(best.target[:, 0], best.predicted)
    assert torch.allclose(best.layer("classes").score.reshape(3, 2).sum(1), torch.ones(3))
    assert torch.equal(explain(network, images).target[:, 0], network.run(images).argmax(1))


BAD = {
    "channels": (lambda x: (x[:, :1], {}), BatchError, "shape"),
    "size": (lambda x: (x[..., :-1], {}), BatchError, "resize"),
    "none": (lambda x: (x[:0], {}), BatchError, "no image"),
    "not a tensor": (lambda x: (x.tolist(), {}), BatchError, "list"),
    "whole numbers": (lambda x: ((x * 255).to(torch.uint8), {}), BatchError, "float"),
    "NaN": (lambda x: (torch.where(x == x[1].max(), torch.nan, x), {}), NonFiniteError, "image 1"),
    "target too high": (lambda x: (x, {"target": 4}), LabelError, "0 to 3"),
    "target below": (lambda x: (x, {"target": -1}), LabelError, "0 to 3"),
    "targets too few": (
        lambda x: (x, {"target": torch.tensor([0, 1])}),
        LabelError,
        "one class for each image",
    ),
    "targets no classes": (
        lambda x: (x, {"target": torch.tensor([0.5] * 3)}),
        LabelError,
        "whole numbers",
    ),
    "target twice": (lambda x: (x, {"target": torch.tensor([[0, 0]] * 3)}), LabelError, "twice"),
    "method": (lambda x: (x, {"method": "discernable"}), OptionError, "'discernible'"),
    "option": (lambda x: (x, {"kk": 3}), OptionError, "'k'"),
    "k": (lambda x: (x, {"k": 0}), OptionError, "k=0"),
    "alpha": (lambda x: (x, {"alpha": (1, 2)}), OptionError, "three numbers"),
    "carried": (lambda x: (x, {"carried": 1}), OptionError, "True or False"),
    "n and target": (lambda x: (x, {"n": 2, "target": 1}), OptionError, "one of the two"),
    "n": (lambda x: (x, {"n": 5}), OptionError, "4 classes"),
    "option of a map": (lambda x: (x, {"method": "gradcam", "k": 3}), OptionError, "layer"),
    "images": (lambda x: (x, {"images": x}), BatchError, "uint8"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input(name, residual, images):
    make, error, words = BAD[name]
    given, options = make(images)
    with pytest.raises(error, match=words) as caught:
        explain(residual[1], given, **options)
    assert isinstance(caught.value, CofireError)


def against_every_class():
    model = plain_cnn().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.abs())
        model[-1].weight.neg_()
    return model


def test_the_papers_own_form_chooses_where_nothing_speaks_for_a_class():
    images = torch.rand(2, 1, 12, 12)
    found = explain(Network(against_every_class(), images[:1]), images, method="discernible-p3")
    assert [len(found.points(number)) for number in range(2)] == [1, 1]


def test_the_papers_own_form_has_no_scores(residual, images):
    with pytest.raises(OptionError, match="discernible-points"):
        explain(residual[1], images, method="discernible-p3", carried=True)
    found = explain(residual[1], images, method="discernible-p3", k=3, k_linear=2)
    assert set(found.neurons.score.tolist()) == {1.0}


@pytest.mark.parametrize("method", [method for method in METHODS if method != "discernible-p3"])
def test_no_evidence_is_said_and_is_no_nan(method):
    model = against_every_class()
    for images in (torch.zeros(2, 1, 12, 12), torch.rand(2, 1, 12, 12)):
        found = explain(Network(model, images[:1]), images, method=method)
        assert not found.has_evidence.any()
        assert not found.boxes().found.any()
        assert torch.equal(found.heatmap(), torch.zeros(2, 12, 12))
        assert "evidence in 0 of 2" in repr(found)


def test_an_operator_without_a_rule_names_itself_and_its_line():
    class Sums(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Conv2d(4, 4, 1)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            return self.head(self.inner(x).cumsum(2).mean((2, 3)))

    network = Network(Sums().eval(), torch.zeros(1, 4, 5, 3))
    with pytest.raises(RuleError, match=r"cumsum.*node \w+.*line \d+"):
        explain(network, torch.rand(1, 4, 5, 3))


def test_rules_of_users_are_used():
    class Odd(nn.Module):
        def forward(self, x):
            return torch.erfinv(x.clamp(-0.9, 0.9))

    network = Network(nn.Sequential(nn.Linear(3, 4), Odd(), nn.Linear(4, 2)), torch.zeros(1, 3))
    with pytest.raises(RuleError, match="erfinv"):
        explain(network, torch.rand(1, 3))

    @register_rule("erfinv")
    class ErfinvRule(Rule):
        def operands(self, step):
            return (step.arguments["self"],)

        def trace(self, step, values, flow):
            return [(step.arguments["self"], flow)]

    assert explain(network, torch.rand(1, 3)).has_evidence.tolist() == [True]


def test_a_network_without_a_graph_says_so():
    network = Network(
        nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)),
        torch.zeros(1, 3),
        capture="calls",
    )
    with pytest.raises(cofire.errors.ExportError, match="calls"):
        explain(network, torch.rand(1, 3))


def test_evidence_is_conserved_until_it_ends_in_biases(residual, images):
    found = explain(residual[1], images, k=None, k_linear=None, most=None)
    score, site = found.neurons.score.double(), found.neurons.site
    into_images = [
        score[(site == 0) & (found.neurons.image == number)].sum() for number in range(3)
    ]
    assert all(0 < total < 1 + 1e-5 for total in into_images)
    flow = torch.zeros(len(score), dtype=torch.float64).index_add_(
        0, found.neurons.child.long(), found.neurons.share.double()
    )
    below = site < len(found.sites) - 1
    assert torch.allclose(flow[below], score[below], rtol=1e-4)


def test_paths_lead_from_pixels_to_the_class(residual, images):
    found = explain(residual[1], images)
    points = found.points(1)
    strongest = int(points.score.argmax())
    path = found.path(1, int(points.y[strongest]), int(points.x[strongest]))
    assert path.steps[0].site.name == "input"
    assert path.steps[-1].site.name == "classes"
    assert path.steps[-1].channel.tolist() == found.target[1].tolist()
    assert float(path.steps[-1].flow.sum()) == pytest.approx(path.score, rel=1e-3)


def test_large_batches_are_explained_in_parts(monkeypatch, residual, images):
    whole = explain(residual[1], images)
    module = sys.modules["cofire.explain.methods.discernible"]
    monkeypatch.setattr(module, "images_at_once", lambda *_, **__: 2)
    assert_same(whole, explain(residual[1], images))


def test_saved_and_loaded(tmp_path, residual, images):
    found = explain(residual[1], images)
    found.save(tmp_path / "found.safetensors")
    assert_same(found, cofire.Explanation.load(tmp_path / "found.safetensors"))


class Made(nn.Module):
    """A network out of a function and its parts."""

    def __init__(self, function, **parts):
        super().__init__()
        self.function = function
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.function(self, x)


def conv(before=3, after=6):
    return nn.Conv2d(before, after, 3, padding=1)


def head(channels=6):
    return nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, 4))


def without_a_channel(norm):
    with torch.no_grad():
        norm.weight[2] = 0.0
    return norm


def uneven(layer):
    """With weights of very different size from channel to channel."""
    with torch.no_grad():
        layer.weight[0] *= 0.01
        layer.weight[1] *= 0.1
    return layer


relu = torch.relu
UNUSUAL = {
    "layer scale (1, C, 1, 1)": lambda: Made(
        lambda s, x: s.h(relu(s.c(x)) * s.g),
        c=conv(),
        h=head(),
        g=nn.Parameter(torch.randn(1, 6, 1, 1)),
    ),
    "normalised inside": lambda: Made(
        lambda s, x: s.h(relu(s.c((x - s.m) / s.s))),
        c=conv(),
        h=head(),
        m=nn.Parameter(torch.randn(1, 3, 1, 1)),
        s=nn.Parameter(torch.rand(1, 3, 1, 1) + 0.1),
    ),
    "normalised by constants": lambda: Made(
        lambda s, x: s.h(relu(s.c((x - torch.tensor([0.1, 0.2, 0.3])[:, None, None]) / 0.5))),
        c=conv(),
        h=head(),
    ),
    "two activations": lambda: nn.Sequential(
        conv(),
        nn.ReLU(),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        conv(6, 6),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Tanh(),
        head(),
    ),
    "linear over the width": lambda: nn.Sequential(
        conv(), nn.ReLU(), nn.Linear(20, 12), nn.ReLU(), nn.Linear(12, 20), nn.ReLU(), head()
    ),
    "maximum of two": lambda: Made(
        lambda s, x: s.h(relu(s.e(torch.maximum(relu(s.c(x)), relu(s.d(x)))))),
        c=conv(),
        d=conv(),
        e=conv(6, 6),
        h=head(),
    ),
    "one number for each image": lambda: Made(
        lambda s, x: torch.cat(
            [relu(s.c(x)).mean((1, 2, 3))[:, None], relu(s.d(x)).mean((1, 2, 3))[:, None]], 1
        ),
        c=conv(),
        d=conv(),
    ),
    "a weighted sum": lambda: Made(
        lambda s, x: s.h(relu(s.d(torch.add(s.c(x), s.e(x), alpha=5)))),
        c=conv(3, 24),
        e=conv(3, 24),
        d=conv(24, 6),
        h=head(),
    ),
    "a sum with one value for each channel": lambda: Made(
        lambda s, x: (lambda y: s.h(relu(s.e(relu(s.d(y) + s.g(y.mean((2, 3), keepdim=True)))))))(
            relu(s.c(x))
        ),
        c=conv(),
        d=conv(6, 6),
        e=conv(6, 6),
        g=nn.Conv2d(6, 6, 1),
        h=head(),
    ),
    "a channel scaled by zero after a scale of the image's own": lambda: Made(
        lambda s, x: s.l(relu(s.n(s.g(s.c(x)))).flatten(1)),
        c=conv(),
        g=nn.GroupNorm(2, 6),
        n=without_a_channel(nn.BatchNorm2d(6)),
        l=nn.Linear(1920, 4),
    ),
    "a sum of one number for each image": lambda: Made(
        lambda s, x: (lambda y: torch.stack([y, -y], 1))(
            relu(s.c(x)).mean((1, 2, 3)) + relu(s.d(x)).mean((1, 2, 3))
        ),
        c=conv(),
        d=conv(),
    ),
    "a sum scaled by a tensor": lambda: Made(
        lambda s, x: s.h(relu(s.d(torch.addcmul(s.b, s.c(x), s.g, value=5.0)))),
        c=conv(),
        d=conv(6, 6),
        h=head(),
        b=nn.Parameter(torch.randn(6, 1, 1)),
        g=nn.Parameter(torch.randn(6, 1, 1)),
    ),
    "the highest of channels with two axes behind them": lambda: Made(
        lambda s, x: s.h(relu(s.d(relu(s.c(x.unflatten(2, (4, 4)))).amax(1)))),
        c=uneven(nn.Conv3d(3, 4, (3, 3, 1), padding=(1, 1, 0))),
        d=conv(4, 6),
        h=head(),
    ),
    "gelu by hand": lambda: Made(
        lambda s, x: s.h((lambda y: y * 0.5 * (1 + torch.tanh(y)))(s.c(x))), c=conv(), h=head()
    ),
}


@pytest.mark.parametrize(
    "how",
    [
        {"alpha": (1.0, 0.0, 1.0), "k": 2},
        {"alpha": (1.0, 0.5, 1.0), "k": 2},
        {"method": "discernible-p3", "k": 2},
    ],
    ids=["plain", "with the layer before", "by the letter"],
)
@pytest.mark.parametrize("name", UNUSUAL)
def test_unusual_networks_and_that_pruning_is_exact(name, how, monkeypatch):
    torch.manual_seed(3)
    model = UNUSUAL[name]().double().eval()
    images = torch.randn(5, 3, 16, 20, dtype=torch.float64)
    network = Network(model, images[:1])
    found = explain(network, images, **how)
    assert torch.isfinite(found.heatmap()).all()
    module = sys.modules["cofire.explain.tracing.support"]
    endless = torch.full((5, 1), torch.inf, dtype=torch.float64)
    monkeypatch.setattr(
        module.UpperBounds,
        "of",
        lambda self, node, joined=False: module.Bound(((endless, endless),)),
    )
    assert_same(found, explain(network, images, **how))


@pytest.mark.parametrize("name", UNUSUAL)
def test_nothing_before_a_neuron_supports_it_more_than_its_bound(name, monkeypatch):
    torch.manual_seed(4)
    model = UNUSUAL[name]().double().eval()
    images = torch.randn(5, 3, 16, 20, dtype=torch.float64)
    module = sys.modules["cofire.explain.tracing.scoring"]
    pruned, tight = module.pruned, []

    def watched(own, weight, takes_part, most, bound, support):
        if bound is not None:
            found = support(*takes_part.nonzero(as_tuple=True))
            most_there_can_be = bound[takes_part]
            assert (found <= most_there_can_be).all()
            tight.append(bool(torch.isfinite(most_there_can_be).any()))
        return pruned(own, weight, takes_part, most, bound, support)

    # Compiled loops have a bound for each input nowhere.
    monkeypatch.setattr(module, "_chosen_on_cpu", module.chosen_by_definition)
    monkeypatch.setattr(module, "pruned", watched)
    explain(Network(model, images[:1]), images, alpha=(1.0, 0.5, 1.0), k=2)
    assert any(tight)


def test_values_that_only_move_are_where_they_came_from_and_those_that_meet_have_a_place():
    torch.manual_seed(0)
    moving = Made(
        lambda s, x: s.h(s.c(x).permute(0, 2, 3, 1).flip(1).flatten(1)),
        c=nn.Conv2d(1, 2, 3),
        h=nn.Linear(72, 3),
    )
    meeting = Made(
        lambda s, x: s.h(s.c(x).expand(-1, 4, -1, -1).flatten(1)),
        c=nn.Conv2d(1, 1, 3),
        h=nn.Linear(144, 3),
    )
    image = torch.rand(1, 1, 8, 8)
    for model in (moving, meeting):
        found = explain(Network(model.eval(), image), image)
        assert [site.name for site in found.sites] == ["input", "c", "classes"]
        (middle,) = (number for number, site in enumerate(found.sites) if site.name == "c")
        there = found.neurons.site == middle
        assert float(found.neurons.score[there].sum()) == pytest.approx(1)
        places = [getattr(found.neurons, name)[there] for name in ("channel", "y", "x")]
        each = torch.stack(places, 1).tolist()
        assert len(each) == len({tuple(place) for place in each})


def test_other_weights_in_the_same_memory_are_seen():
    torch.manual_seed(0)
    model, images = plain_cnn().eval(), torch.rand(1, 1, 12, 12)
    network = Network(model, images)
    for _ in range(12):
        for parameter in model.parameters():
            parameter.data.copy_(torch.randn(parameter.shape))
        fresh = Network(copy.deepcopy(model), images)
        options = {"alpha": (1.0, 1.0, 1.0), "k": 2, "target": 1}
        assert_same(explain(network, images, **options), explain(fresh, images, **options))


def test_plans_go_with_their_networks():
    network = Network(plain_cnn().eval(), torch.rand(1, 1, 12, 12))
    explain(network, torch.rand(1, 1, 12, 12))
    graph = weakref.ref(network.graph)
    del network
    gc.collect()
    assert graph() is None


def test_several_classes_of_vanishing_probability_still_share(residual, images):
    model, network = residual
    sharp = network.with_weights(
        {name: value * (1e3 if "head" in name else 1) for name, value in model.state_dict().items()}
    )
    target = torch.tensor([[0, 1, 2, 3]] * 3)
    found = explain(sharp, images, target=target)
    assert found.has_evidence.all()


@pytest.mark.parametrize("target", ["cat", 10**30, [None], object()])
def test_what_is_no_class(target, residual, images):
    with pytest.raises(LabelError):
        explain(residual[1], images, target=target)


def test_lines_are_refused_before_they_are_traced():
    line = nn.Sequential(nn.Conv1d(4, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(120, 3))
    with pytest.raises(cofire.errors.ExplanationError, match="wrap the model"):
        explain(Network(line.eval(), torch.zeros(1, 4, 32)), torch.rand(1, 4, 32))


def test_the_largest_weights_of_supports_do_not_overflow(residual, images):
    found = explain(residual[1], images, alpha=(1e308, 1e308, 1e-300))
    assert_same(found, explain(residual[1], images, alpha=(1.0, 1.0, 1.0)))


def test_logits_that_do_not_come_from_the_image_are_told_with_their_line():
    class Blind(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.act, self.last = nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)

        def forward(self, x):
            return self.last(self.act(self.first(torch.zeros_like(x))))

    images = torch.rand(2, 4)
    with pytest.raises(RuleError, match=r"no way from the classes back.*torch.zeros_like\(x\)"):
        explain(Network(Blind(), images), images)
