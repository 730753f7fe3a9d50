"""Explanations of transformers: evidence passes attention, token grids become maps, and nothing of it is lost."""

import autolrp
import pytest
import torch
from autolrp import ATTNLRP, BASE, CPLRP, LRPConfig
from torch import nn
from torch.nn import functional as F

from cofire import explain
from cofire.errors import BatchError, ExportError, NonFiniteError, OptionError, RuleError
from cofire.explain.methods.lrp import relevance
from cofire.explain.methods.registry import METHODS
from cofire.explain.tracing.plan import plan_of
from cofire.network import Network
from tests.explain.transformers import MODELS, OneHead, transformer


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_every_method_explains_every_kind_of_transformer(name):
    model, images = transformer(name)
    network = Network(model, images)
    for method in METHODS:
        found = explain(network, images, method=method)
        heat = found.heatmap()
        assert heat.shape == (2, *images.shape[2:])
        assert (heat.isfinite() & (heat >= 0)).all()
        if "attention" in METHODS[method].options.model_fields:
            other = explain(network, images, method=method, attention="weights")
            assert other.heatmap().isfinite().all()
            assert other.options["attention"] == "weights"
    blocks = explain(network, images).layer_maps
    assert blocks is not None
    assert len(blocks.names) >= 2


@pytest.mark.parametrize(
    "name", ["torchvision ViT", "timm Swin", "Hugging Face ViT", "torchvision MaxViT"]
)
def test_evidence_of_all_tokens_is_the_logit_after_every_block(name):
    """Without biases, and class tokens and positions of zero, nothing but the image's tokens can have any."""
    model, images = transformer(name, biases=False)
    model, images = model.double(), images.double()
    network = Network(model, images)
    plan = plan_of(network)
    logits, values = network.trace(
        images, [plan.image, *plan.judged], gradients=True, replace=plan.functions
    )
    assert torch.allclose(logits, network.run(images), atol=1e-10)
    assert len(plan.judged) >= 2
    for node in values:
        (gradient,) = torch.autograd.grad(logits[:, 1].sum(), values[node], retain_graph=True)
        evidence = (values[node] * gradient).flatten(1).sum(1)
        assert torch.allclose(evidence, logits[:, 1], rtol=1e-5)


@pytest.mark.parametrize("attention", ["values", "weights"])
def test_traced_evidence_ends_in_pixels_and_in_the_class_token(attention):
    model, images = transformer("torchvision ViT")
    every = {"k": None, "k_linear": None, "most": None, "attention": attention}
    found = explain(Network(model.double(), images.double()), images.double(), **every)
    ends = [number for number, site in enumerate(found.sites) if site.kind in ("input", "constant")]
    assert [found.sites[number].name for number in ends] == ["input", "class_token"]
    for image in range(2):
        shares = [
            float(
                found.neurons.score[
                    (found.neurons.site == one) & (found.neurons.image == image)
                ].sum()
            )
            for one in ends
        ]
        assert sum(shares) == pytest.approx(1, abs=1e-4)
        assert min(shares) > 0


class Planted(nn.Module):
    """Patches of 4 x 4, of which a class token takes the brightest, as its second number says."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(1, 2, 4, 4, bias=False)
        self.token = nn.Parameter(torch.tensor([[[0.0, 5.0]]]))
        self.head = nn.Linear(2, 2, bias=False)
        with torch.no_grad():
            self.embed.weight.zero_()
            self.embed.weight[0, 0] = 1 / 16
            self.head.weight[:] = torch.tensor([[2.0, 0.0], [-1.0, 0.0]])

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        x = torch.cat([self.token.expand(x.shape[0], -1, -1), x], 1)
        # The token's second number asks for the others' first.
        mixed = F.scaled_dot_product_attention(x.flip(2), 10 * x, x)
        x = x + mixed
        return self.head(x[:, 0])


def test_a_patch_that_decides_alone_is_found_alone():
    images = torch.zeros(2, 1, 16, 24)
    images[0, 0, 4:8, 12:16] = 1.0
    images[1, 0, 12:16, 20:24] = 1.0
    network = Network(Planted().eval(), images)
    # After the only block all is in the class token; what was planted is found by tracing.
    found = explain(network, images, contrast=None)
    for number, (top, left) in enumerate([(4, 12), (12, 20)]):
        points = found.points(number)
        # A convolution hands on to one place of its window.
        assert len(points.y) == 1
        assert ((points.y // 4 * 4 == top) & (points.x // 4 * 4 == left)).all()
    inside = relevance(network, images, torch.tensor([0, 0]))
    assert inside[0, 0, 4:8, 12:16].sum() == pytest.approx(float(inside[0].sum()), rel=1e-4)


class Row(nn.Module):
    """Attention with nothing beside it, so that rules of other operators cannot hide what its own does."""

    def __init__(self, fused):
        super().__init__()
        torch.manual_seed(0)
        self.fused = fused
        self.q, self.k, self.v = (nn.Linear(4, 4, bias=False) for _ in range(3))
        self.head = nn.Linear(20, 3, bias=False)

    def forward(self, x):
        q, k, v = self.q(x), self.k(x), self.v(x)
        apart = (q @ k.transpose(1, 2) * 0.5).softmax(-1) @ v
        mixed = F.scaled_dot_product_attention(q, k, v) if self.fused else apart
        return self.head(mixed.flatten(1))


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize(("attention", "rules"), [("values", CPLRP), ("weights", ATTNLRP)])
def test_relevance_through_attention_is_that_of_autolrp(fused, attention, rules):
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.row = Row(fused)

        def forward(self, x):
            return self.row(x.flatten(1, 2))

    model = Tokens().double().eval()
    images = torch.randn(2, 1, 5, 4, dtype=torch.float64)
    own = relevance(Network(model, images), images, torch.tensor([1, 2]), attention)
    for number, target in enumerate((1, 2)):
        wrapped = autolrp.tensor(images[number : number + 1])
        logit = model(wrapped)[0, target]
        # The library starts with 1, not with the logit.
        logit.lrp(config=LRPConfig(rule={**BASE, **rules}))
        other = wrapped.relevance.detach()[0] * float(logit.detach())
        assert torch.allclose(own[number], other, rtol=1e-3, atol=1e-5)


def test_class_activation_maps_are_made_of_tokens_that_still_lead_somewhere():
    model, images = transformer("torchvision ViT")
    found = explain(Network(model, images), images, method="gradcam", target=1)
    # A class token ends up with everything: after the last block the others have no gradient.
    assert found.options["target_layer"] == "encoder.layers.encoder_layer_0"
    kept = {}
    first = model.encoder.layers[0]
    first.register_forward_hook(lambda _, __, value: kept.setdefault("value", value))
    logits = model(images)
    (gradient,) = torch.autograd.grad(logits[:, 1].sum(), kept["value"])
    value, gradient = kept["value"][:, 1:], gradient[:, 1:]
    expected = (value * gradient.mean(1, keepdim=True)).sum(2).clamp(min=0).reshape(2, 1, 4, 4)
    wanted = F.interpolate(expected, (16, 16), mode="bilinear")[:, 0].detach()
    assert torch.allclose(found.heatmap(), wanted, atol=1e-6)


def test_windows_and_shifts_keep_tokens_where_they_lie():
    model, images = transformer("timm Swin")
    plan = plan_of(Network(model, images))
    assert [one.grid for one in plan.judged.values()] == [(8, 8), (8, 8), (4, 4), (4, 4)]
    for one in plan.judged.values():
        assert one.cells.tolist() == list(range(one.grid[0] * one.grid[1]))


@pytest.mark.parametrize(
    "step",
    [
        lambda x: F.glu(torch.cat([x, x.flip(1)], 1), 1),
        lambda x: torch.stack([x, x * 2], 1).flatten(1, 2),
        lambda x: F.interpolate(x, (6, 8), mode="bilinear"),
        lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"),
        lambda x: torch.cat(x.unbind(2)[::-1], 1),
        lambda x: x.transpose(0, 1).reshape(2, -1, 12).relu().transpose(0, 1),
    ],
    ids=["glu", "stack", "bilinear", "bicubic", "unbind", "batch second"],
)
def test_evidence_passes_what_models_do_with_tokens_besides(step):
    class Around(nn.Module):
        def __init__(self):
            super().__init__()
            torch.manual_seed(0)
            self.conv = nn.Conv2d(1, 2, 1, bias=False)
            self.head = nn.LazyLinear(3, bias=False)

        def forward(self, x):
            return self.head(step(self.conv(x)).flatten(1))

    images = torch.rand(3, 1, 3, 4)
    model = Around()
    model(images)
    found = explain(Network(model.eval(), images), images, contrast=None, most=None)
    for number in range(3):
        assert float(found.points(number).score.sum()) == pytest.approx(1, abs=1e-5)


# Bad input


def in_slices(x, weight):
    return torch.stack([F.conv2d(one, weight[..., 0], padding=1) for one in x.unbind(4)], 4)


def cut(x):
    windows = x.reshape(x.shape[0], 2, 3, 2, 3, 2).permute(0, 1, 3, 5, 2, 4)
    return windows.reshape(x.shape[0], 8, 9)


def put_together(x):
    windows = x.reshape(x.shape[0], 2, 2, 2, 3, 3).permute(0, 1, 4, 2, 5, 3)
    return windows.reshape(x.shape[0], 2, 6, 6)


def each_twice(x):
    return x.repeat_interleave(2, 1)


WEIGHT = torch.linspace(-1, 1, 36).reshape(2, 2, 3, 3, 1)
# What is written in two ways is explained alike: each with operators whose rules are held against definitions.
ALIKE = {
    "heads that share keys and values": (
        lambda x: F.scaled_dot_product_attention(
            x.repeat(1, 2, 1, 1) - 0.5, x, x * 2, enable_gqa=True
        ),
        lambda x: F.scaled_dot_product_attention(
            x.repeat(1, 2, 1, 1) - 0.5, each_twice(x), each_twice(x * 2)
        ),
    ),
    "windows as columns": (lambda x: F.unfold(x, 2, stride=2), cut),
    "padded windows as columns": (
        lambda x: F.unfold(x, 2, stride=2, padding=1),
        lambda x: F.unfold(F.pad(x, (1, 1, 1, 1)), 2, stride=2),
    ),
    "columns as windows": (
        lambda x: F.fold(cut(x), 6, 2, stride=2),
        lambda x: put_together(cut(x)),
    ),
    "a maximum with its place": (lambda x: x.max(2).values, lambda x: x.amax(2)),
    "a convolution that leaves an axis alone": (
        lambda x: F.conv3d(x.reshape(-1, 2, 6, 2, 3), WEIGHT, padding=(1, 1, 0)),
        lambda x: in_slices(x.reshape(-1, 2, 6, 2, 3), WEIGHT),
    ),
}


@pytest.mark.parametrize("name", ALIKE)
def test_what_is_written_in_two_ways_is_explained_alike(name):
    class Written(nn.Module):
        def __init__(self, step):
            super().__init__()
            torch.manual_seed(0)
            self.conv, self.head, self.step = nn.Conv2d(1, 2, 3, padding=1), nn.LazyLinear(3), step

        def forward(self, x):
            return self.head(self.step(self.conv(x).relu()).flatten(1))

    images, given, wanted = torch.rand(3, 1, 6, 6), *map(Written, ALIKE[name])
    for model in (given, wanted):
        model(images)
    wanted.load_state_dict(given.state_dict())
    ways = [{}, {"contrast": None, "most": None, "k": None, "k_linear": None}, {"method": "lrp"}]
    if "heads" in name:
        ways += [{"attention": "weights"}, {"attention": "weights", "contrast": None}]
    ways.append({"alpha": (1, 1, 1), "contrast": None})
    for way in ways:
        one, other = (
            explain(Network(model.eval(), images), images, **way) for model in (given, wanted)
        )
        assert one.heatmap().sum() > 0
        torch.testing.assert_close(one.heatmap(), other.heatmap(), atol=1e-6, rtol=1e-4)


class Hiding(nn.Module):
    def __init__(self, written="fused"):
        super().__init__()
        self.embed, self.head = nn.Conv2d(1, 4, 2, 2), nn.Linear(4, 3)
        self.written = written
        self.register_buffer("shown", torch.ones(4, 4, dtype=torch.bool))

    def forward(self, x):
        x = self.embed(x).flatten(2).transpose(1, 2)
        if self.written == "fused":
            mixed = F.scaled_dot_product_attention(x, x, x, self.shown)
        else:
            fits = (x @ x.transpose(1, 2)).masked_fill(~self.shown, -torch.inf)
            mixed = fits.softmax(-1) @ x
        return self.head((x + mixed).mean(1))


@pytest.mark.parametrize("method", ["discernible", "lrp"])
@pytest.mark.parametrize("written", ["fused", "products"])
def test_a_mask_that_hides_everything_is_refused(method, written):
    model, images = Hiding(written).eval(), torch.rand(2, 1, 4, 4)
    network = Network(model, images)
    assert explain(network, images, method=method).heatmap().isfinite().all()
    model.shown[2] = False
    with pytest.raises(NonFiniteError, match=r"mask that leaves each query a key|logit"):
        explain(network, images, method=method)


def test_attention_that_is_nan_is_refused():
    model, images = Hiding().eval(), torch.rand(2, 1, 4, 4)
    network = Network(model, images)
    model.embed.weight.data[0] = torch.nan
    for options in ({}, {"contrast": None}, {"attention": "weights"}):
        with pytest.raises(NonFiniteError, match="NaN"):
            explain(network, images, **options)


def test_images_of_another_size_than_the_positions_are_refused():
    model, images = transformer("torchvision ViT")
    with pytest.raises(BatchError, match="16"):
        explain(Network(model, images), torch.rand(2, 3, 32, 32))
    with pytest.raises(ExportError, match=r"Wrong image height.*Expected: an example input"):
        Network(model, torch.rand(2, 3, 32, 32))


def test_what_cannot_be_followed_is_refused_with_its_place():
    class Odd(nn.Module):
        def __init__(self, call):
            super().__init__()
            self.call, self.conv, self.head = call, nn.Conv2d(1, 2, 1), nn.LazyLinear(3)

        def forward(self, x):
            return self.head(self.call(self.conv(x)).flatten(1))

    images = torch.rand(2, 1, 4, 4)
    for call, match in (
        (lambda x: torch.einsum("bchw,bchw,bchw->bchw", x, x, x), "not of two values"),
        (lambda x: torch.einsum("bcii->bci", x), "einsum"),
        (lambda x: x @ torch.ones(4), "vector"),
        (
            lambda x: F.scaled_dot_product_attention(x, x, torch.ones(1, 2, 4, 4)),
            "values that do not depend",
        ),
        (lambda x: F.conv3d(x[:, None], torch.ones(1, 1, 1, 2, 2)), "three axes"),
        (lambda x: F.fold(F.unfold(x, 2), 4, 2), "overlap"),
    ):
        model = Odd(call)
        model(images)
        with pytest.raises((RuleError, ExportError), match=match):
            explain(Network(model.eval(), images), images)
    with pytest.raises(OptionError, match="values"):
        explain(Network(OneHead().eval(), images), images, attention="keys")
    plain = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    for method in ("discernible", "lrp"):
        with pytest.raises(OptionError, match="without attention"):
            explain(Network(plain, images), images, method=method, attention="weights")
