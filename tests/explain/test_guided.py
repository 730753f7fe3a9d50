"""Maps of evidence that is followed down once: against loops written from the definition, and toys by hand."""

import copy
import importlib
import threading

import pytest
import torch
from torch import nn

from cofire.errors import NonFiniteError
from cofire.explain import explain
from cofire.explain.methods.discernible import skipping_functions
from cofire.explain.methods.guided import guide_of
from cofire.explain.result.neurons import NEURON_COLUMNS
from cofire.explain.rules.rows import rows_weighted, sums_weighted
from cofire.explain.tracing.plan import plan_of
from cofire.network import Network
from tests.explain.networks import overflowing
from tests.explain.test_contrasted import Colours, Last
from tests.explain.test_net_evidence import slopes, small_cnn
from tests.explain.transformers import OneHead

discernible = importlib.import_module("cofire.explain.methods.discernible")


def shares(values):
    values = values.clamp(min=0)
    return values / values.sum() if values.sum() > 0 else values


@torch.no_grad()
def slowly(model, image, which, contrast, guided):
    """Maps of one image, place by place and neuron by neuron."""
    logits = model(image[None])[0]
    rival = int(logits.index_fill(0, torch.tensor(which), -torch.inf).argmax())
    top = model[:7](image[None])[0]
    class_, against = (slopes(model[7:], top, [one]) for one in (which, rival))
    gradient = class_ - contrast * against
    evidence = top * gradient
    places = evidence.sum(0).clamp(min=0)
    left = shares(places if places.sum() > 0 else evidence.clamp(min=0).sum(0))
    channels, rows, columns = top.shape
    down = torch.zeros_like(top)
    for y in range(rows):
        for x in range(columns):
            parts = [float(evidence[c, y, x]) for c in range(channels)]
            whole = sum(part for part in parts if part > 0)
            for channel, part in enumerate(parts):
                if part > 0:
                    down[channel, y, x] = left[y, x] * part / whole / top[channel, y, x]
    found = [shares((top * down).sum(0))]
    # From the last layer down: 5 to 3 by the slopes of what lies between, and 3 is read.
    below = model[:4](image[None])[0]
    back = torch.zeros_like(below)
    for number, weight in enumerate(down.flatten().tolist()):
        if weight:
            back += weight * slopes(
                lambda v, n=number: model[4:7](v).flatten(1)[:, [n]], below, [0]
            )
    if guided:
        back = torch.where(below * back > 0, back, 0.0)
    return [shares((below * back).sum(0)), found[0]]


@pytest.mark.parametrize("activation", [nn.ReLU, nn.SiLU])
@pytest.mark.parametrize(("contrast", "guided"), [(0, True), (0.7, True), (0.7, False)])
def test_it_is_the_definition(activation, contrast, guided):
    model = small_cnn(activation)
    images = torch.rand(2, 1, 6, 8, dtype=torch.float64)
    network = Network(model, images[:1])
    found = explain(network, images, target=2, contrast=contrast, guided=guided, points=True)
    assert found.layer_maps.names == ("3", "6")
    for image in range(2):
        expected = slowly(model, images[image], 2, contrast, guided)
        for values, wanted in zip(found.layer_maps.maps, expected, strict=True):
            assert torch.allclose(values[image].double(), wanted, atol=1e-4)


def test_it_finds_what_was_planted_and_tells_it_from_the_rival():
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0, 4:12, 4:12], image[0, 1, 20:28, 18:26] = 1, 1
    network = Network(Colours(), image)
    for which, rows in ((0, slice(0, 16)), (1, slice(16, 32))):
        heat = explain(network, image, target=which, sigma=1 / 32).heatmap()[0]
        assert float(heat[rows].sum()) > 0.99
    # Class 2 sees both; its rival, class 0 by a tie, only the one above.
    alike = explain(network, image, target=2, sigma=1 / 32, contrast=0).heatmap()[0]
    half = explain(network, image, target=2, sigma=1 / 32, contrast=0.5).heatmap()[0]
    apart = explain(network, image, target=2, sigma=1 / 32, contrast=1).heatmap()[0]
    assert float(alike[:16].sum()) == pytest.approx(0.5, abs=0.01)
    # Half of what lies above is the rival's, and all of it.
    assert float(half[:16].sum()) == pytest.approx(1 / 3, abs=0.05)
    assert float(apart[:16].sum()) == pytest.approx(0.0, abs=0.01)


def test_where_nothing_speaks_for_the_class_rather_than_its_rival_the_class_alone_is_followed():
    model = nn.Sequential(nn.Conv2d(1, 1, 1), nn.ReLU(), nn.Flatten(), nn.Linear(4, 2))
    for parameter, values in zip(
        model.parameters(),
        ([1.0], [0.0], [[1.0, 0, 0, 0], [4.0, 4.0, 4.0, 4.0]], [0.0, 0.0]),
        strict=True,
    ):
        parameter.data.copy_(torch.tensor(values).reshape(parameter.shape))
    image = torch.ones(1, 1, 2, 2)
    found = explain(Network(model, image), image, target=0)
    assert found.layer_maps.maps[0].tolist() == [[[1, 0], [0, 0]]]


MOVED = {
    "nothing": lambda x: x,
    "channels last": lambda x: x.permute(0, 2, 3, 1),
    "turned": lambda x: x.transpose(2, 3),
    "mirrored": lambda x: x.flip(3),
    "rolled": lambda x: torch.roll(x, 4, 3),
    "in a column": lambda x: x.reshape(x.shape[0], 4, 64, 1),
    "channels as rows": lambda x: x.reshape(x.shape[0], 1, 4, 64),
    "framed": lambda x: nn.functional.pad(x, (1, 1, 2, 2)),
    "a part": lambda x: x[:, :, :7],
    "parts": lambda x: torch.cat(x.chunk(2, 3), 2),
    "channels last, normalised": lambda x: (
        nn.functional.layer_norm(x.permute(0, 2, 3, 1), (4,)) + x.permute(0, 2, 3, 1)
    ),
}


@pytest.mark.parametrize("moved", MOVED)
def test_where_evidence_starts_does_not_hang_on_how_values_lie(moved):
    class Moving(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv, self.head = nn.Conv2d(1, 4, 1, bias=False), nn.LazyLinear(2, bias=False)

        def forward(self, x):
            values = MOVED[moved](nn.functional.max_pool2d(self.conv(x).relu(), 2))
            return self.head(values.flatten(1))

    image = torch.zeros(1, 1, 16, 16)
    image[0, 0, 2:4, 12:14] = 1
    model = Moving()
    model(image)
    for weight, value in ((model.conv.weight, torch.arange(1.0, 5)), (model.head.weight, 1.0)):
        weight.data = (
            torch.ones_like(weight).flatten(1) * torch.as_tensor(value).reshape(-1, 1)
        ).reshape(weight.shape)
    model.head.weight.data[1] *= 0.1
    heat = explain(model, image, target=0).heatmap()[0]
    assert divmod(int(heat.argmax()), 16) in ((2, 12), (2, 13), (3, 12), (3, 13))
    assert float(heat[2:4, 12:14].sum()) > 0.6


def test_a_network_of_towers_is_read_layer_by_layer():
    class Towers(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two = nn.Conv2d(1, 2, 1), nn.Conv2d(1, 2, 1)
            self.head = nn.Linear(4, 3)

        def forward(self, x):
            one = self.one(x).relu().mean((2, 3))
            return self.head(
                torch.cat([one, self.two(nn.functional.avg_pool2d(x, 2)).relu().mean((2, 3))], 1)
            )

    images = torch.rand(2, 1, 8, 8)
    network = Network(Towers().eval(), images[:1])
    assert guide_of(network) is None
    found = explain(network, images, contrast=0.5)
    layers = explain(network, images, method="discernible-layers", contrast=0.5)
    assert "guided" not in found.options
    assert len(found.layer_maps.names) == 2
    for one, other in zip(found.layer_maps.maps, layers.layer_maps.maps, strict=True):
        assert torch.equal(one, other)


def test_small_gradients_are_not_lost_in_half_precision():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(16 * 64 * 64, 3),
    ).eval()
    model[0].weight.data *= 4096
    images = torch.rand(2, 1, 64, 64)
    exact, half = (
        explain(net, images.to(kind), target=1, points=False).heatmap().float()
        for net, kind in ((model, torch.float32), (copy.deepcopy(model).half(), torch.float16))
    )
    assert float((exact - half).abs().sum() / exact.sum()) < 0.001


def test_points_are_those_of_other_maps_and_the_model_is_as_before():
    model = small_cnn()
    images = torch.rand(3, 1, 6, 8, dtype=torch.float64)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    network = Network(model, images[:1])
    found, layers = explain(network, images), explain(network, images, method="discernible-layers")
    assert torch.equal(found.neurons.score, layers.neurons.score)
    assert (found.regions.sigma, found.regions.threshold) == (6 / 224, 0.3)
    assert torch.equal(found.heatmap(), explain(network, images, points=False).heatmap())
    alone = torch.cat([explain(network, image[None]).heatmap() for image in images])
    assert torch.allclose(found.heatmap(), alone, atol=1e-7)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert all(parameter.grad is None for parameter in model.parameters())
    assert not images.requires_grad


def by_constants(model, tokens, first=0):
    """Blocks of `OneHead` as linear maps: weights of attention, spreads and what GELU scales by are numbers."""

    def normed(norm, x):
        less = x - x.mean(-1, keepdim=True)
        spread = (less.square().mean(-1, keepdim=True) + norm.eps).sqrt().detach()
        return norm.weight * less / spread

    for block in model.blocks[first:]:
        q, k, v = block.qkv(normed(block.norm1, tokens)).chunk(3, -1)
        tokens = tokens + block.out(
            (q @ k.transpose(1, 2) * q.shape[-1] ** -0.5).softmax(-1).detach() @ v
        )
        up = block.up(normed(block.norm2, tokens))
        tokens = tokens + block.down(up * (nn.functional.gelu(up) / up).detach())
    return tokens


def test_attention_is_read_at_the_pixels_and_nothing_is_lost_on_the_way():
    model = OneHead().double().eval()
    nn.init.zeros_(model.token)
    model.token.data += 1e-9
    images = torch.rand(2, 1, 8, 8, dtype=torch.float64)
    network = Network(model, images[:1])
    assert [place.name for place in guide_of(network).read.values()] == [
        "input",
        "add",
        "add_1",
        "add_2",
        "add_3",
    ]
    found = explain(network, images, target=1, contrast=0)
    assert found.options["guided"] is False
    for number, image in enumerate(images):
        pixels = image[None].clone().requires_grad_()
        embedded = model.embed(pixels).flatten(2).transpose(1, 2)
        whole = torch.cat([model.token.expand(1, -1, -1), embedded], 1)
        # Behind the last block only the class token leads on: evidence starts behind the first.
        with torch.enable_grad():
            blocks = model.blocks
            model.blocks = blocks[:1]
            start = by_constants(model, whole)
            model.blocks = blocks
            logit = model.head(by_constants(model, start, 1)[:, 0])[0, 1]
        (slope,) = torch.autograd.grad(logit, start, retain_graph=True)
        down, places = torch.zeros_like(start), []
        for token in range(1, start.shape[1]):
            parts = (start * slope)[0, token].detach()
            places.append(float(parts.sum().clamp(min=0)))
            for channel, part in enumerate(parts.tolist()):
                if part > 0:
                    share = places[-1] * part / float(parts.clamp(min=0).sum())
                    down[0, token, channel] = share / float(start[0, token, channel].detach())
        down /= sum(places)
        (back,) = torch.autograd.grad(start, pixels, down)
        evidence = (pixels * back).detach()[0, 0]
        assert float(evidence.sum()) == pytest.approx(1, abs=1e-5)
        assert torch.allclose(
            found.layer_maps.maps[0][number].double(), shares(evidence), atol=1e-4
        )


def test_channels_last_and_networks_without_places():
    torch.manual_seed(0)
    images = torch.rand(2, 1, 8, 8)
    last = explain(Network(Last().eval(), images[:1]), images)
    assert last.layer_maps.maps[0].shape == (2, 7, 7)
    network = Network(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(1, 4))
    assert explain(network, torch.rand(2, 4), points=False).kind == "points"


def test_gradients_that_overflow_are_an_error():
    network = overflowing()
    with pytest.raises(NonFiniteError, match="first for image 0"):
        explain(network, torch.ones(1, 1, 2, 2), target=0)


def test_the_page_says_what_the_map_is(tmp_path):
    images = torch.rand(1, 3, 6, 8)
    model = small_cnn(channels=3).float()
    network = Network(model, images)
    for options, words in (
        ({}, "followed down by gradients, of activation layers only where it speaks for the class"),
        ({"guided": False}, "followed down by gradients. Hot is where"),
    ):
        page = explain(network, images, **options).write_html(tmp_path / "page.html")
        assert words in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("shape", [(1, 7, 5), (3, 2, 4), (2, 900, 400), (9, 30, 8)])
def test_rows_that_count_nothing_are_left_out_of_a_product(shape):
    sums, rows, columns = shape
    torch.manual_seed(0)
    weight = torch.randn(rows, columns)
    by = torch.randn(sums, rows) * (torch.arange(rows) % 3 == 1)
    for given in (by, by.double(), torch.zeros_like(by)):
        torch.testing.assert_close(
            rows_weighted(given, weight.to(given.dtype)),
            given @ weight.to(given.dtype),
            atol=1e-4,
            rtol=1e-4,
        )


@pytest.mark.parametrize("spoken", [0, 1, 3, 9])
def test_sums_of_zeros_are_left_out_of_a_product(spoken):
    torch.manual_seed(0)
    by, weight = torch.zeros(9, 30), torch.randn(30, 8)
    by[torch.randperm(9)[:spoken], 3:] = torch.randn(spoken, 27)
    torch.testing.assert_close(sums_weighted(by, weight), by @ weight, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("size", [(8, 12), (9, 14)])
def test_patches_go_back_as_a_convolution_does(size):
    torch.manual_seed(0)
    conv, values = nn.Conv2d(3, 5, 4, stride=4), torch.rand(2, 3, *size, requires_grad=True)
    model = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), nn.LazyLinear(3))
    model(values)
    network = Network(model, values.detach()[:1])
    replaced = skipping_functions(plan_of(network).steps)
    assert {node.name for node in replaced} >= {"conv2d", "linear"}
    found, expected = (
        torch.autograd.grad(logits[:, 1].sum(), values)[0]
        for logits in (
            network.trace(values, gradients=True, replace=replaced)[0],
            network.trace(values, gradients=True)[0],
        )
    )
    torch.testing.assert_close(found, expected)


class Cut(nn.Module):
    """Channels last, with a cut between two of its layers."""

    def __init__(self):
        super().__init__()
        self.conv, self.mixed, self.head = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Linear(4, 4),
            nn.Linear(4, 2),
        )
        with torch.no_grad():
            self.head.weight.copy_(torch.tensor([[1.0] * 4, [-1.0] * 4]))

    def forward(self, x):
        y = torch.relu(self.conv(x).permute(0, 2, 3, 1))
        y = y.reshape(-1, 4, 2, 4, 2, 4).mean((2, 4)).detach()
        return self.head(torch.relu(self.mixed(y)).mean((1, 2)))


def test_where_a_cut_leaves_no_gradients_maps_are_of_points():
    torch.manual_seed(0)
    for options in ({}, {"points": False}):
        found = explain(Cut().eval(), torch.rand(2, 1, 8, 8), 1, **options)
        assert found.kind == "points"
        assert found.heatmap().isfinite().all()


@pytest.mark.parametrize(("threads", "long"), [(1, 0), (2, 0), (2, discernible._LONG)])
@pytest.mark.parametrize("method", ["discernible", "discernible-layers", "discernible-relevance"])
def test_tracing_beside_gradients_that_take_long_changes_nothing(
    monkeypatch, method, threads, long
):
    images = torch.rand(3, 1, 6, 8, dtype=torch.float64)
    network = Network(small_cnn(), images[:1])
    alone = explain(network, images, method=method)
    used = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: threads)
    monkeypatch.setattr(discernible, "_LONG", long)
    plain = discernible.trace
    monkeypatch.setattr(
        discernible, "trace", lambda *a: used.append(threading.current_thread()) or plain(*a)
    )
    found = explain(network, images, method=method)
    assert [one is threading.main_thread() for one in used] == [threads == 1 or long > 0]
    assert torch.equal(found.heatmap(), alone.heatmap())
    assert all(
        torch.equal(getattr(found.neurons, name), getattr(alone.neurons, name))
        for name in NEURON_COLUMNS
    )


@pytest.mark.parametrize("broken", ["trace", "guided_evidence"])
def test_what_goes_wrong_beside_is_raised(monkeypatch, broken):
    def breaks(*_):
        raise NonFiniteError("one", "two", "three")

    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    monkeypatch.setattr(discernible, "_LONG", 0)
    monkeypatch.setattr(discernible, broken, breaks)
    before = threading.active_count()
    with pytest.raises(NonFiniteError):
        explain(small_cnn(), torch.rand(1, 1, 6, 8, dtype=torch.float64))
    assert threading.active_count() == before
