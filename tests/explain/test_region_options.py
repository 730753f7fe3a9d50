"""How heat maps and boxes are made travels with an explanation: into its maps, its boxes, its file and its words."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from cofire.errors import OptionError, ResultError
from cofire.explain import Explanation, explain
from cofire.explain.drawing.captions import point_box_rule, spread_told
from cofire.explain.drawing.draw import panel
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.regions import Regions, map_hull
from cofire.network import Network
from cofire.storage import load_result, save_result


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 64, 3)).eval()
    return Network(model, torch.zeros(1, 1, 10, 10))


@pytest.fixture
def images():
    return torch.rand(3, 1, 10, 10)


def test_options_are_what_maps_and_boxes_take_when_nothing_is_said(network, images):
    plain = explain(network, images, contrast=None)
    told = explain(
        network, images, contrast=None, sigma=0.3, min_share=0.2, radius=0.3, weighted=True
    )
    assert told.options == plain.options
    assert torch.equal(told.heatmap(), plain.heatmap(sigma=0.3))
    assert torch.equal(told.boxes().corners, plain.boxes(0.2, 0.3, weighted=True).corners)
    assert torch.equal(told.boxes(0.05, 0.1, weighted=False).corners, plain.boxes().corners)
    assert torch.equal(told[1].boxes().corners[0], told.boxes().corners[1])
    assert not torch.equal(told.heatmap(), plain.heatmap())


def test_options_of_layers(network, images):
    plain = explain(network, images)
    assert (plain.kind, plain.boxed) == ("layers", "heat")
    told = explain(network, images, sigma=0.3, threshold=0.9, connected=False)
    assert torch.equal(told.heatmap(), plain.heatmap(sigma=0.3))
    again = explain(network, images, sigma=0.3).boxes(threshold=0.9, connected=False)
    assert torch.equal(told.boxes().corners, again.corners)
    assert not torch.equal(
        told.boxes().corners, explain(network, images, sigma=0.3).boxes().corners
    )
    assert told.regions.used("layers") == {"sigma": 0.3, "threshold": 0.9, "connected": False}


def test_an_option_of_points_makes_boxes_of_points_below_a_heat_map_of_layers(network, images):
    plain, points = explain(network, images), explain(network, images, contrast=None)
    told = explain(network, images, radius=0.3)
    assert (told.kind, told.boxed) == ("layers", "points")
    assert torch.equal(told.heatmap(), plain.heatmap())
    assert torch.equal(told.boxes().corners, points.boxes(radius=0.3).corners)
    assert torch.equal(plain.boxes(radius=0.3).corners, told.boxes().corners)
    assert told.regions.used("layers").keys() == {"sigma", "min_share", "radius", "weighted"}


def test_of_maps_the_box_has_a_threshold(network, images):
    pytest.importorskip("captum")
    plain = explain(network, images, method="gradcam")
    told = explain(network, images, method="gradcam", threshold=0.9)
    assert torch.equal(told.boxes().corners, plain.boxes(threshold=0.9).corners)
    with pytest.raises(OptionError):
        explain(network, images, method="gradcam", min_share=0.2)
    with pytest.raises(OptionError):
        explain(network, images, contrast=None, threshold=0.2)
    with pytest.raises(OptionError):
        explain(network, images, method="discernible-p3", threshold=0.2)
    with pytest.raises(OptionError):
        explain(network, images, method="gradcam", contrast=0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"sigma": -1},
        {"min_share": 1},
        {"radius": 0},
        {"weighted": 1},
        {"sigma": float("nan")},
        {"threshold": 0},
        {"connected": 1},
        {"contrast": 1.5},
        {"contrast": -0.1},
        {"contrast": True},
        {"contrast": float("nan")},
    ],
)
def test_numbers_out_of_bounds_are_errors(network, images, wrong):
    with pytest.raises(OptionError):
        explain(network, images, **wrong)


def test_they_come_back_from_a_file_and_files_without_them_still_load(network, images, tmp_path):
    told = explain(network, images, sigma=0.3)
    again = Explanation.load(told.save(tmp_path / "a.safetensors"))
    assert (
        again.regions
        == told.regions
        == Regions(sigma=0.3, threshold=0.3, connected=True, around="heat")
    )
    note, tensors = load_result(
        tmp_path / "a.safetensors", "explanation", lambda note, tensors: (note, tensors)
    )
    for damaged in (
        {"sigma": -1},
        {"sigmas": 1},
        [],
        {"weighted": "no"},
        {"around": "x"},
        {"connected": 1},
    ):
        save_result(tmp_path / "b.safetensors", "explanation", note | {"regions": damaged}, tensors)
        with pytest.raises(ResultError):
            Explanation.load(tmp_path / "b.safetensors")
    del note["regions"]
    save_result(tmp_path / "b.safetensors", "explanation", note, tensors)
    assert Explanation.load(tmp_path / "b.safetensors").regions == Regions()


def test_pages_say_what_was_done(network, images, tmp_path):
    told = explain(network, images, contrast=None, sigma=0.3, min_share=0.2, weighted=True)
    page = told.write_html(tmp_path / "page.html").read_text(encoding="utf-8")
    assert "30\u00a0% of the image" in page
    assert "20\u00a0% of the score of all points" in page
    assert "not spread" in spread_told(Regions(sigma=0))
    assert "more than 5\u00a0% of all points" in point_box_rule(replace(Regions(), sigma=0))


def test_pages_say_what_heat_maps_of_layers_are(network, images, tmp_path):
    told = explain(network, images, contrast=0.6)
    page = told.write_html(tmp_path / "page.html").read_text(encoding="utf-8")
    for words in (
        "6/224 of the image’s shorter side",
        "less 60\u00a0% of that of the strongest rival class",
        "Of the heat map, the box is tight around the pixels that reach 30\u00a0% of its maximum and hang together",
        "share of the evidence per pixel",
    ):
        assert words in page
    assert "The heat map is the points" not in page
    assert "no outliers" not in page
    other = explain(network, images, contrast=0, sigma=0, radius=0.2).write_html(
        tmp_path / "page.html"
    )
    page = other.read_text(encoding="utf-8")
    assert "rival" not in page
    assert "blurred" not in page
    assert "no outliers" in page


def test_why_there_is_no_box_is_said_also_where_the_rival_has_as_much(network, images):
    found = explain(network, images)
    nothing = replace(found, layer_maps=LayerMaps(("a",), (torch.zeros(3, 8, 8),)))
    assert not nothing.boxes().found.any()
    assert nothing.has_evidence.all()
    assert panel(nothing, 0, "heatmap").note == "no evidence in any layer"
    assert panel(nothing, 0, "box").note == "no box: no evidence in any layer"
    assert panel(found, 0, "heatmap").note == ""


@given(st.integers(0, 2**32), st.floats(0.01, 1))
def test_the_box_of_what_hangs_together_is_that_of_a_flood_from_the_maximum(seed, threshold):
    values = torch.rand(6, 7, generator=torch.Generator().manual_seed(seed))
    start = divmod(int(values.argmax()), 7)
    seen, pending = {start}, [start]
    while pending:
        y, x = pending.pop()
        for place in ((y - 1, x), (y + 1, x), (y, x - 1), (y, x + 1)):
            inside = 0 <= place[0] < 6 and 0 <= place[1] < 7
            if inside and place not in seen and values[place] >= threshold * values.max():
                seen.add(place)
                pending.append(place)
    rows, columns = zip(*seen, strict=True)
    expected = [min(columns), min(rows), max(columns) + 1, max(rows) + 1]
    assert map_hull(values, threshold, connected=True).tolist() == expected
