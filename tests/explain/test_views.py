"""Several views of an image: their maps are turned back and averaged; classes are those of the image as it is."""

import pytest
import torch

from cofire import explain
from cofire.errors import ExplanationError, OptionError
from cofire.explain import METHODS, register_method
from cofire.explain.views import VIEWS, enlarged, shrunk
from cofire.network import Network
from tests.evaluate.seen import SIZE, small_network, small_photos


def shares(heat):
    return heat / heat.sum((1, 2), keepdim=True)


@pytest.fixture
def bright():
    @register_method("bright", title="Bright")
    def bright(network, images, classes, options):
        return images.amax(1).clamp(min=0)

    yield "bright"
    del METHODS["bright"]


def test_a_mirrored_view_is_turned_back_and_averaged():
    network, (inputs, _) = small_network(), small_photos()
    plain = explain(network, inputs, points=False)
    turned = explain(network, inputs.flip(-1), plain.target, points=False)
    found = explain(network, inputs, views="mirror")
    wanted = (shares(plain.heatmap()) + shares(turned.heatmap().flip(-1))) / 2
    assert torch.allclose(found.heatmap(), wanted, atol=1e-6)
    assert torch.equal(found.target, plain.target)
    assert torch.equal(found.confidence, plain.confidence)
    assert (found.kind, found.neurons, found.options["views"]) == ("maps", None, "mirror")
    # A photo and its mirror image have mirrored maps.
    other = explain(network, inputs.flip(-1), plain.target, views="mirror")
    assert torch.allclose(other.heatmap(), found.heatmap().flip(-1), atol=1e-6)


def test_a_second_scale_finds_the_same_place(bright):
    side = 64
    image = torch.zeros(1, 3, side, side)
    image[0, :, 20:28, 40:48] = 1.0
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(3 * side * side, 2))
    network = Network(model, torch.zeros(1, 3, side, side))
    for views in VIEWS:
        heat = explain(network, image, 0, bright, views=views).heatmap()[0].double()
        places = torch.arange(side) + 0.5
        assert float(heat.sum()) == pytest.approx(1, abs=1e-6)
        assert float((heat.sum(1) * places).sum()) == pytest.approx(24, abs=0.2)
        assert float((heat.sum(0) * places).sum()) == pytest.approx(44, abs=0.2)
        assert float(heat[18:30, 38:50].sum()) > 0.98


def test_what_lies_beside_a_shrunk_image_is_left_out():
    image = torch.arange(8.0).reshape(1, 1, 1, 8).expand(1, 1, 8, 8)
    small = shrunk(image)
    # Six of eight columns are the image, its edges are carried on to both sides.
    assert torch.equal(small[..., 0], small[..., 1])
    assert torch.equal(small[..., 7], small[..., 6])
    beside = torch.ones(1, 8, 8)
    beside[:, 1:7, 1:7] = 0
    assert float(enlarged(beside, (8, 8)).sum()) == 0


def test_a_view_in_which_nothing_is_found_says_nothing(bright):
    image = torch.zeros(1, 3, SIZE, SIZE)
    found = explain(small_network(), image, method=bright, views="both")
    assert float(found.heatmap().sum()) == 0
    assert not bool(found.has_evidence)


@pytest.mark.parametrize("method", ["gradcam", "discernible-p3", "discernible-relevance", "lrp"])
def test_every_method_has_views(method):
    network, (inputs, _) = small_network(), small_photos(2)
    found = explain(network, inputs, method=method, views="both")
    assert found.kind == "maps"
    assert bool(found.boxes().found.all())


def test_what_cannot_be_seen_in_views_is_refused():
    network, (inputs, _) = small_network(), small_photos(2)
    with pytest.raises(OptionError, match="views='all'"):
        explain(network, inputs, views="all")
    with pytest.raises(OptionError, match="points are of one view"):
        explain(network, inputs, views="mirror", points=True)
    flat = Network(torch.nn.Linear(4, 2), torch.zeros(1, 4))
    with pytest.raises(ExplanationError, match="can be mirrored"):
        explain(flat, torch.ones(1, 4), views="scale")
