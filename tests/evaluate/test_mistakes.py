"""Misclassified images: planted maps whose hits and shares within the box are known, for both classes."""

import json

import pytest
import torch
from PIL import Image
from torch import nn

from cofire.errors import OptionError
from cofire.evaluate import mistakes
from cofire.evaluate.running import judge_of, run_evaluation
from cofire.evaluate.verdict import verdict
from cofire.explain import METHODS, register_method
from cofire.images.layouts import open_collection
from cofire.network import Network
from cofire.report.pages import markdown, show_mistakes, show_occluded, write_evaluation
from tests.evaluate.judged import PREPARATION, SIDE

LABELS = (0, 1, 2, 1, 0)
"""The network takes everything for class 0: images 1, 2 and 3 are misclassified, the last of them has no box."""

HOTTEST = {"planted": {"threshold": 0.9}}
"""The box of a map is its hottest pixel."""


@pytest.fixture
def planted():
    """Of class 0 a quarter of the map lies in the box, of any other class three quarters; the maximum as well."""

    @register_method("planted", title="Planted")
    def planted(network, images, classes, options):
        maps = torch.zeros(len(images), SIDE, SIDE)
        share = torch.where(classes == 0, 0.25, 0.75)
        maps[:, 5, 5], maps[:, 0, 0] = share, 1 - share
        return maps

    yield "planted"
    del METHODS["planted"]


@pytest.fixture
def photos(tmp_path):
    (tmp_path / "photos").mkdir()
    entries = []
    for number, label in enumerate(LABELS):
        Image.new("RGB", (SIDE, SIDE), (200, 60, 20 * number)).save(
            tmp_path / "photos" / f"{number}.png"
        )
        boxes = [] if number == 3 else [[4, 4, 8, 8]]
        entries.append(
            {"file": f"{number}.png", "label": label, "size": [SIDE, SIDE], "boxes": boxes}
        )
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    return open_collection(tmp_path / "photos", tmp_path / "boxes.json", num_classes=3)


def network_for(wanted):
    """A network that takes every image for one class, by a little more the redder the image."""
    model = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 3))
    with torch.no_grad():
        model[2].weight.zero_()
        model[2].weight[wanted, 0] = 0.1
        model[2].bias.copy_(torch.nn.functional.one_hot(torch.tensor(wanted), 3).float())
    return Network(model, torch.zeros(1, 3, SIDE, SIDE))


def judged(network, photos, out, *methods, measures=("confidence", "mistakes")):
    asked = {"measures": measures, "options": HOTTEST, "split": "all", "progress": False}
    found = run_evaluation(network, photos, PREPARATION, methods, out, **asked)
    # All of them, whichever half their names put them in.
    table = found.records.set_column(
        found.records.schema.get_field_index("split"),
        "split",
        [["evaluation"] * len(found.records)],
    )
    return type(found)(table.cast(found.records.schema), found.options, found.images)


def page(found, network, photos, path):
    judge = judge_of(network, PREPARATION, options=HOTTEST)
    look = (judge, photos, PREPARATION, ["ant", "bee", "cat"])
    shown = {"mistaken": show_mistakes(found, *look), "occluded": show_occluded(found, *look)}
    return shown, write_evaluation(path, found, **shown, size=(SIDE, SIDE))


def test_both_classes_of_misclassified_images_are_held_against_each_other(
    planted, photos, tmp_path
):
    found = judged(network_for(0), photos, tmp_path / "out", planted, "centre")
    # Images 1 and 2: those classified correctly and the one without a box do not count.
    pointing, inside = (mistakes(found, measure)[planted] for measure in ("pointing", "inside"))
    assert (pointing.true.value, pointing.predicted.value) == (1.0, 0.0)
    assert (inside.true.value, inside.predicted.value, inside.difference.value) == (0.75, 0.25, 0.5)
    assert pointing.true.counted == inside.difference.counted == 2
    centre = mistakes(found)["centre"]
    assert centre.difference.value == 0.0
    (line,) = (one for one in verdict(found) if one.about == "mistakes")
    assert "Planted 100.0\u00a0%, for the predicted one 0.0\u00a0%" in line.sure
    assert line.sure.endswith("2 images")
    assert "maps of both classes" in markdown(found)


def test_the_page_shows_both_classes_side_by_side_and_what_is_occluded(
    planted, photos, tmp_path, visit
):
    network = network_for(0)
    found = judged(network, photos, tmp_path / "out", planted)
    shown, path = page(found, network, photos, tmp_path / "page.html")
    assert {(one.label, one.predicted) for one in shown["mistaken"]} == {
        ("bee", "ant"),
        ("cat", "ant"),
    }
    for one in shown["occluded"]:
        before, alone, rest = one.probabilities
        assert one.area == pytest.approx(1 / SIDE**2)
        # Grey takes the place of red, which speaks for the class.
        assert alone < rest < before
    # No box of a grey that says nothing makes the network surer, so the first is where least is lost.
    falls = [one.probabilities[0] - one.probabilities[1] for one in shown["occluded"]]
    assert falls == sorted(falls)
    opened = visit(path)
    assert "3 of 5 images are misclassified, 2 of them with a box." in opened.inner_text(
        "#mistakes"
    )
    opened.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    first = opened.locator("#mistake-0")
    assert "miss · 25.0\u00a0% on the object" in first.locator(".explained").nth(0).inner_text()
    assert "hit · 75.0\u00a0% on the object" in first.locator(".explained").nth(1).inner_text()
    kept = opened.locator("#occluded-0").inner_text()
    assert all(words in kept for words in ("The box alone", "All but the box", "ant"))
    assert opened.locator(".toggles").count() == 1
    assert opened.complaints == []


def test_without_a_mistake_one_line_says_so(planted, photos, tmp_path, visit):
    right = photos[::4]
    network = network_for(0)
    found = judged(network, right, tmp_path / "out", planted, measures=("mistakes",))
    assert mistakes(found) == {}
    assert [one for one in verdict(found) if one.about == "mistakes"] == []
    shown, path = page(found, network, right, tmp_path / "page.html")
    assert shown == {"mistaken": [], "occluded": []}
    opened = visit(path)
    told = opened.inner_text("#mistakes")
    assert "classifies all 2 images correctly: nothing can be said" in told
    assert opened.locator("#mistakes .plot, #mistakes table, #mistakes svg").count() == 0


def test_mistakes_without_boxes_and_maps_without_a_box_are_said_in_one_line(
    photos, tmp_path, visit
):
    alone = photos[3:4]
    network = network_for(0)

    @register_method("nothing", title="Nothing")
    def nothing(network, images, classes, options):
        return torch.zeros(len(images), SIDE, SIDE)

    try:
        found = judged(network, alone, tmp_path / "out", "nothing")
        _, path = page(found, network, alone, tmp_path / "page.html")
    finally:
        del METHODS["nothing"]
    opened = visit(path)
    assert "none of them with a box: nothing can be said" in opened.inner_text("#mistakes")
    assert "finds no box on any image" in opened.inner_text("#occluded")
    assert opened.locator("svg.stage").count() == 0


def test_what_was_not_measured_is_not_told(planted, photos, tmp_path):
    found = judged(network_for(0), photos, tmp_path / "out", planted, measures=("soft",))
    with pytest.raises(OptionError, match="mistaken_pointing"):
        mistakes(found)
    with pytest.raises(OptionError, match="measure"):
        mistakes(found, "area")
