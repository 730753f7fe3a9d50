"""How heat maps and boxes are made travels with an explanation: into its maps, its boxes, its file and its words."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from cofire.errors import OptionError, ResultError
from cofire.explain import Explanation, explain
from cofire.explain.captions import point_box_rule, spread_told
from cofire.explain.region_options import Regions
from cofire.network import Network
from cofire.noted import load_noted, save_noted


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3)).eval()
    return Network(model, torch.zeros(1, 1, 10, 10))


@pytest.fixture
def images():
    return torch.rand(3, 1, 10, 10)


def test_options_are_what_maps_and_boxes_take_when_nothing_is_said(network, images):
    plain = explain(network, images)
    told = explain(network, images, sigma=0.3, min_share=0.2, radius=0.3, weighted=True)
    assert told.options == plain.options
    assert torch.equal(told.heatmap(), plain.heatmap(sigma=0.3))
    assert torch.equal(told.boxes().corners, plain.boxes(0.2, 0.3, weighted=True).corners)
    assert torch.equal(told.boxes(0.05, 0.1, weighted=False).corners, plain.boxes().corners)
    assert torch.equal(told[1].boxes().corners[0], told.boxes().corners[1])
    assert not torch.equal(told.heatmap(), plain.heatmap())


def test_of_maps_the_box_has_a_threshold(network, images):
    pytest.importorskip("captum")
    plain = explain(network, images, method="gradcam")
    told = explain(network, images, method="gradcam", threshold=0.9)
    assert torch.equal(told.boxes().corners, plain.boxes(threshold=0.9).corners)
    with pytest.raises(OptionError):
        explain(network, images, method="gradcam", min_share=0.2)
    with pytest.raises(OptionError):
        explain(network, images, threshold=0.2)


@pytest.mark.parametrize(
    "wrong", [{"sigma": -1}, {"min_share": 1}, {"radius": 0}, {"weighted": 1}, {"sigma": float("nan")}]
)
def test_numbers_out_of_bounds_are_errors(network, images, wrong):
    with pytest.raises(OptionError):
        explain(network, images, **wrong)


def test_they_come_back_from_a_file_and_files_without_them_still_load(network, images, tmp_path):
    told = explain(network, images, sigma=0.3)
    again = Explanation.load(told.save(tmp_path / "a.safetensors"))
    assert again.regions == Regions(sigma=0.3)
    note, tensors = load_noted(tmp_path / "a.safetensors", "explanation", lambda note, tensors: (note, tensors))
    for damaged in ({"sigma": -1}, {"sigmas": 1}, [], {"weighted": "no"}):
        save_noted(tmp_path / "b.safetensors", "explanation", note | {"regions": damaged}, tensors)
        with pytest.raises(ResultError):
            Explanation.load(tmp_path / "b.safetensors")
    del note["regions"]
    save_noted(tmp_path / "b.safetensors", "explanation", note, tensors)
    assert Explanation.load(tmp_path / "b.safetensors").regions == Regions()


def test_pages_say_what_was_done(network, images, tmp_path):
    told = explain(network, images, sigma=0.3, min_share=0.2, weighted=True)
    page = told.write_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "30\u00a0% of the image" in page
    assert "20\u00a0% of the score of all points" in page
    assert "not spread" in spread_told(Regions(sigma=0))
    assert "more than 5\u00a0% of all points" in point_box_rule(replace(Regions(), sigma=0))
