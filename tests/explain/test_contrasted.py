"""Maps of contrasted relevance: against matrices written from the definition, toys by hand, planted objects."""

from functools import partial

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

from cofire.errors import NonFiniteError, OptionError
from cofire.explain import explain as explain_by
from cofire.explain.methods.contrasted import apart, carrying_of
from cofire.network import Network
from tests.explain.networks import overflowing

explain = partial(explain_by, method="discernible-relevance")


def stacked():
    """Two resolutions, a residual connection and batch norm in between."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.norm = nn.Conv2d(3, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3)
            self.second = nn.Conv2d(3, 3, 3, padding=1, bias=False)

        def forward(self, x):
            return torch.relu(x + self.second(torch.relu(self.norm(self.first(x)))))

    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(),
        nn.AvgPool2d(2),
        Block(),
        nn.Flatten(),
        nn.Linear(36, 4),
    )
    with torch.no_grad():
        model[3].norm.running_mean.normal_()
        model[3].norm.running_var.uniform_(0.5, 2)
        model[3].norm.weight.copy_(torch.tensor([1.0, -1.0, 0.5]))
    return model.double().eval()


def matrix(linear, shape):
    """A linear map on values of a shape, written out column after column."""
    basis = torch.eye(shape.numel(), dtype=torch.float64).reshape(-1, *shape)
    return torch.stack([linear(one[None]).flatten() for one in basis], 1)


def shared_out(linear, bias, values, relevance):
    """The z⁺ rule with loops over nothing but a matrix: products above zero, the bias where it is."""
    products = matrix(linear, values.shape) * values.flatten()
    positive = products.clamp(min=0)
    total = positive.sum(1) + bias.clamp(min=0)
    scale = torch.where(total > 0, relevance.flatten() / total, 0.0)
    return (positive * scale[:, None]).sum(0).reshape(values.shape)


@torch.no_grad()
def slowly(model, image, which):
    """P of one class at what the average pool reads, from the definition."""
    conv, block, head = model[0], model[3], model[5]
    a0 = torch.relu(conv(image[None]))[0]
    a1 = F.avg_pool2d(a0[None], 2)[0]
    norm = block.norm
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - scale * norm.running_mean

    def merged(x):
        return F.conv2d(x, block.first.weight * scale[:, None, None, None], padding=1)

    inner = torch.relu(merged(a1[None])[0] + shift[:, None, None])
    branch = block.second(inner[None])[0]
    a2 = torch.relu(a1 + branch)
    evidence = a2 * head.weight[which].reshape(a2.shape)
    place = evidence.sum(0).clamp(min=0)
    part = evidence.clamp(min=0)
    relevance = part / part.sum(0).clamp(min=1e-300) * place / place.sum()
    # A sum shares by what each operand contributes.
    whole = a1 + branch
    whole = whole + torch.where(whole < 0, -1e-6, 1e-6)
    skip, through = relevance * a1 / whole, relevance * branch / whole
    none = torch.zeros(through.numel(), dtype=torch.float64)
    below = shared_out(block.second, none, inner, through)
    bias = shift[:, None, None].expand_as(inner).flatten()
    at_pool = skip + shared_out(merged, bias, a1, below)
    spread = F.interpolate((at_pool / a1.clamp(min=1e-300))[None], scale_factor=2)[0] / 4
    return (a0 * spread).sum(0).clamp(min=0)


@pytest.mark.parametrize("contrast", [0.0, 1.0])
def test_it_is_the_definition(contrast):
    model = stacked()
    images = torch.rand(3, 2, 6, 8, dtype=torch.float64)
    network = Network(model, images[:1])
    found = explain(network, images, target=2, rows=6, contrast=contrast, overlap=0.6)
    assert len(found.layer_maps.maps) == 1
    for image, values in zip(images, found.layer_maps.maps[0], strict=True):
        own = slowly(model, image, 2)
        expected = own / own.sum()
        if contrast:
            others = model(image[None])[0].index_fill(0, torch.tensor(2), -torch.inf)
            expected = apart(own[None], slowly(model, image, int(others.argmax()))[None], 0.6)[0]
        assert torch.allclose(values.double(), expected, atol=1e-4)


def test_relevance_ends_at_the_finest_layer_that_was_asked_for_or_at_the_pixels():
    network = Network(stacked(), torch.zeros(1, 2, 6, 8, dtype=torch.float64))
    ends = [carrying_of(network, rows).bottom for rows in (3, 4, 6, 7)]
    shapes = [tuple(node.meta["val"].shape[1:]) for node in ends]
    assert shapes == [(3, 3, 4), (3, 6, 8), (3, 6, 8), (2, 6, 8)]
    image = torch.rand(1, 2, 6, 8, dtype=torch.float64)
    assert explain(network, image, rows=7).layer_maps.maps[0].shape == (1, 6, 8)
    # The last layer itself: nothing is carried.
    assert explain(network, image, rows=3).layer_maps.maps[0].shape == (1, 3, 4)


maps = st.lists(st.floats(0, 1), min_size=6, max_size=6).map(
    lambda values: torch.tensor(values, dtype=torch.float64).reshape(1, 2, 3)
)


@given(maps, maps, st.floats(0.05, 1), st.floats(0, 1))
def test_no_more_is_taken_away_than_it_takes(first, second, overlap, most):
    def normalised(values):
        return values / values.sum().clamp(min=1e-300)

    def common(one, two):
        return float(torch.minimum(one, two).sum())

    found = apart(first, second, overlap, most)
    one, two = normalised(first), normalised(second)
    assert float(found.sum()) == pytest.approx(float(bool(first.any())), abs=1e-9)
    # By definition: the first of all steps at which what is in common is little enough.
    for step in range(40):
        taken = most * step / 40
        left = normalised((one - taken * two).clamp(min=0))
        right = normalised((two - taken * one).clamp(min=0))
        if common(left, right) <= overlap + 1e-9:
            break
    assert torch.allclose(found, left, atol=1e-9)


def test_maps_that_are_the_same_stay():
    one = torch.rand(1, 4, 4) + 0.1
    assert torch.allclose(apart(one, 3 * one, 0.5).float(), one / one.sum(), atol=1e-6)


class Colours(nn.Module):
    """Class 0 sees red, class 1 green, class 2 both."""

    def __init__(self):
        super().__init__()
        self.look, self.head = (
            nn.Conv2d(3, 2, 3, padding=1, bias=False),
            nn.Linear(2, 3, bias=False),
        )
        with torch.no_grad():
            self.look.weight.zero_()
            self.look.weight[0, 0], self.look.weight[1, 1] = 1 / 9, 1 / 9
            self.head.weight.copy_(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.9, 0.9]]))

    def forward(self, x):
        return self.head(F.adaptive_avg_pool2d(torch.relu(self.look(x)), 1).flatten(1))


def test_it_finds_what_was_planted_and_tells_it_from_the_rival():
    image = torch.zeros(1, 3, 32, 32)
    image[0, 0, 4:12, 4:12], image[0, 1, 20:28, 18:26] = 1, 1
    network = Network(Colours(), image)
    for which, box in ((0, (4, 4, 12, 12)), (1, (18, 20, 26, 28))):
        found = explain(network, image, target=which, sigma=1 / 32)
        y, x = divmod(int(found.heatmap()[0].argmax()), 32)
        left, top, right, bottom = box
        assert left <= x < right
        assert top <= y < bottom
    # What speaks for both is told apart by what speaks for one of them alone.
    both = explain(network, image, target=2, sigma=1 / 32, overlap=0.2).heatmap()[0]
    alike = explain(network, image, target=2, sigma=1 / 32, contrast=0).heatmap()[0]
    assert float(alike[:16].sum()) == pytest.approx(0.5, abs=0.01)
    assert float(both[:16].sum()) == pytest.approx(0.2, abs=0.01)


class Last(nn.Module):
    """Channels are its last axis."""

    def __init__(self):
        super().__init__()
        self.stem, self.mix, self.head = nn.Conv2d(1, 4, 2), nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x):
        return self.head(torch.relu(self.mix(self.stem(x).permute(0, 2, 3, 1))).mean((1, 2)))


def test_where_it_is_not_carried_maps_are_of_layers_and_say_so():
    torch.manual_seed(0)
    images = torch.rand(2, 1, 8, 8)
    network = Network(Last().eval(), images[:1])
    assert carrying_of(network, 1) is None
    found = explain(network, images, contrast=0.7)
    layers = explain(network, images, method="discernible-layers", contrast=0.7)
    assert torch.equal(found.layer_maps.maps[0], layers.layer_maps.maps[0])
    assert "overlap" not in found.options


def test_relevance_that_overflows_is_an_error():
    network = overflowing()
    with pytest.raises(NonFiniteError, match="first for image 0"):
        explain(network, torch.ones(1, 1, 2, 2), target=0)


def test_without_maps_of_relevance_their_options_are_not_noted():
    network = Network(nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2)), torch.rand(1, 4))
    for found in (
        explain(network, torch.rand(2, 4)),
        explain(network, torch.rand(2, 4), points=False),
        explain(Network(stacked(), torch.rand(1, 2, 6, 8)), torch.rand(1, 2, 6, 8), contrast=None),
    ):
        assert found.kind == "points"
        assert not {"overlap", "rows"} & set(found.options)


@pytest.mark.parametrize("options", [{"overlap": 0}, {"overlap": 1.1}, {"rows": 0}])
def test_options_out_of_bounds_are_refused(options):
    network = Network(stacked(), torch.zeros(1, 2, 6, 8, dtype=torch.float64))
    with pytest.raises(OptionError):
        explain(network, torch.rand(1, 2, 6, 8, dtype=torch.float64), **options)


def test_points_are_those_of_the_default_and_pages_say_what_maps_are(tmp_path):
    torch.manual_seed(0)
    images = torch.rand(1, 2, 6, 8, dtype=torch.float64)
    network = Network(stacked(), images)
    found = explain(network, images)
    assert torch.equal(found.neurons.score, explain_by(network, images).neurons.score)
    assert (found.regions.sigma, found.regions.threshold) == (6 / 224, 0.2)
    images = torch.rand(1, 3, 6, 8)
    model = nn.Sequential(nn.Conv2d(3, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 2)).eval()
    told = explain(Network(model, images), images)
    page = told.write_html(tmp_path / "page.html").read_text(encoding="utf-8")
    for words in (
        "6/224 of the image’s shorter side",
        "until the maps of both have no more than 67\u00a0% in common",
        "Of the heat map, the box is tight around the pixels that reach 20\u00a0% of its maximum and hang together",
        "share of the relevance per pixel",
    ):
        assert words in page
    alone = explain(Network(model, images), images, contrast=0).write_html(tmp_path / "page.html")
    assert "rival" not in alone.read_text(encoding="utf-8")
