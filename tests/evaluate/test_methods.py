"""Everything that is judged gives an explanation that can be drawn, boxed, saved and read again."""

import pytest
import torch
from torch import nn

from cofire import errors
from cofire.evaluate.methods import EVALUATED, baseline, explained
from cofire.explain import METHODS, Explanation, explain
from cofire.network import Network


@pytest.fixture(scope="module")
def judged():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 6, 3, padding=1),
        nn.BatchNorm2d(6),
        nn.ReLU(),
        nn.Conv2d(6, 6, 3),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(6, 3),
    )
    images = torch.rand(3, 3, 16, 20)
    return Network(model, images[:1]), images


def test_all_methods_and_baselines_are_there():
    assert [*METHODS, "centre", "random", "edges"] == list(EVALUATED)
    assert "lrp" in METHODS


@pytest.mark.parametrize("method", EVALUATED)
def test_each_gives_heat_maps_boxes_and_files(method, judged, tmp_path):
    network, images = judged
    shown = (255 * images).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
    target = torch.tensor([0, 1, 2])
    found = explained(network, images, target, method, images=shown, seed=5)
    assert (found.method, len(found), found.size) == (method, 3, (16, 20))
    assert torch.equal(found.target[:, 0], target)
    heat, boxes = found.heatmap(), found.boxes()
    assert heat.shape == (3, 16, 20)
    assert bool((heat.isfinite() & (heat >= 0)).all())
    assert torch.equal(found.has_evidence, (heat > 0).flatten(1).any(1))
    assert bool((boxes.corners[:, 2] <= 20).all() and (boxes.corners[:, 3] <= 16).all())
    assert found.overlay(0).size[0] >= 20

    again = Explanation.load(found.save(tmp_path / "found.safetensors"))
    assert (again.method, again.options) == (method, found.options)
    assert torch.equal(again.heatmap(), heat)
    assert torch.equal(again.boxes().corners, boxes.corners)
    assert found.save_png(tmp_path / "found.png").stat().st_size > 1000
    assert found.write_html(tmp_path / "found.html").stat().st_size > 1000


def test_options_and_seed_reach_the_method(judged):
    network, images = judged
    assert explained(network, images, None, "discernible", options={"k": 3}).options["k"] == 3
    assert explained(network, images, None, "lrp", options={"sigma": 0.2}).options["sigma"] == 0.2
    found = explained(network, images, None, "random", seed=9)
    assert found.options["seed"] == 9
    assert torch.equal(found.maps, baseline("random", network, images, seed=9).maps)
    for method in ("gradcam", "cnn-fixations"):
        plain, same = (
            explain(network, images, method=method),
            explained(network, images, None, method),
        )
        assert torch.equal(plain.heatmap(), same.heatmap())


def test_an_unknown_method_is_refused(judged):
    network, images = judged
    with pytest.raises(errors.OptionError, match="pass 'centre'"):
        explained(network, images, None, "center")
