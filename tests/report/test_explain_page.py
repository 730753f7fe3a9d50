"""The page of explained photos in a browser: quiet, complete, and usable on any screen."""

import json

import pytest
import torch

from cofire.explain import Explanation, Neurons, Site
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.regions import regions_of
from cofire.report.explain.explained import Explained, box_words, evidence_at_input, evidence_words
from cofire.report.explain.page import Setup, shown, write_page
from cofire.report.explain.record import record_of
from cofire.report.explain.wording import lead, options_told, reading

EVIL = '</script><img src=x onerror=window.evil=1>"&'
NAMES = ["ant", EVIL, "cat with a name that does not end soon and does not care for narrow screens"]
SIDE = 32


def common(target, predicted=0):
    picture = torch.arange(SIDE * SIDE * 3).remainder(251).reshape(1, SIDE, SIDE, 3).to(torch.uint8)
    return {
        "target": torch.tensor([[target]]),
        "probability": torch.tensor([[0.75 if target == predicted else 0.2]]),
        "predicted": torch.tensor([predicted]),
        "confidence": torch.tensor([0.75]),
        "input_shape": (3, SIDE, SIDE),
        "pictures": picture,
    }


def traced(target=0, *, carried=True, score=0.0625, points=9, method="discernible"):
    """Evidence in a block of 3 × 3 pixels, through one layer of 8 × 8 positions."""
    at = torch.arange(points, dtype=torch.int32)
    none = torch.zeros(points, dtype=torch.int32)
    one = torch.zeros(1, dtype=torch.int32)
    share = 1.0 if not carried else score
    neurons = Neurons(
        image=torch.cat([one, none, none]),
        site=torch.cat([one + 2, none + 1, none]),
        channel=torch.cat([one + target, at % 4, none]),
        y=torch.cat([one, at // 3 % 6 + 2, at // 3 % 20 + 10]),
        x=torch.cat([one, at % 3 + 2, at % 3 + 12]),
        score=torch.cat(
            [torch.ones(1), torch.full((points,), share), torch.full((points,), share)]
        ),
        child=torch.cat([at + 1, at + 1 + points]),
        parent=torch.cat([none, at + 1]),
        share=torch.full((2 * points,), share),
    )
    sites = (
        Site("input", "input", (3, SIDE, SIDE), 0),
        Site("features.relu", "activation", (4, 8, 8), 0),
        Site("classes", "classes", (3,), 0),
    )
    options = {"k": 5, "n": 1, "most": 500, "carried": carried}
    return Explanation(
        method=method, options=options, sites=sites, neurons=neurons, maps=None, **common(target)
    )


def layered(target=0, **options):
    """The same, with a layer whose evidence lies elsewhere."""
    values = torch.zeros(1, 8, 8)
    values[0, 4:6, 2:5] = 1
    parts = {name: getattr(traced(target), name) for name in Explanation.__dataclass_fields__}
    parts |= {
        "options": parts["options"] | {"contrast": 0.7},
        "regions": regions_of(options, "layers")[0],
    }
    return Explanation(**parts | {"layer_maps": LayerMaps(("features.relu",), (values,))})


def mapped(target=0, largest=2.0):
    maps = torch.zeros(1, SIDE, SIDE)
    maps[0, 4:12, 8:20] = largest
    options = {"target_layer": "features.relu"}
    return Explanation(
        method="gradcam++", options=options, sites=(), neurons=None, maps=maps, **common(target)
    )


def explained(name="a.png", rows=None):
    rows = rows or ((traced(), traced(carried=False, method="cnn-fixations"), mapped()),)
    return Explained(
        f"photos/{name}", name, name.split(".")[0], (64, 32), (16.0, 0.0, 48.0, 32.0), rows
    )


def written(path, *photos, names=NAMES, count=None):
    setup = Setup(
        "torchvision:squeezenet1_0",
        "a/very/long/path/" * 8,
        "x − 0.5",
        f"cofire explain {EVIL}",
        "0.1",
    )
    pages = [shown(photo, names, len(photos)) for photo in photos]
    return write_page(path, pages, photos[0], setup, explained=count or len(photos))


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    several = tuple(
        (traced(target), traced(target, carried=False), mapped(target)) for target in range(3)
    )
    return written(
        tmp_path_factory.mktemp("page") / "explain.html", explained(), explained("b.png", several)
    )


def test_the_page_is_quiet_and_asks_for_nothing(page_file, visit):
    page = visit(page_file)
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requested)
    assert page.evaluate("window.evil") is None
    assert EVIL in page.inner_text("#photo-1")
    assert page.locator("section svg.stage:visible").count() == 4 + 12


def test_the_toggles_show_and_hide(page_file, visit):
    page = visit(page_file)
    grey = "getComputedStyle(document.querySelector('.base')).filter"
    for name, what in (("heat", ".heat"), ("points", ".points"), ("box", ".explained .frame")):
        page.set_checked(f"#show-{name}", True)
        assert page.locator(f"#photo-0 {what}").first.is_visible()
        page.set_checked(f"#show-{name}", False)
        assert page.locator(f"{what}:visible").count() == 0
    assert page.evaluate(grey) == "none"
    page.check("#show-points")
    assert "grey" in page.evaluate(grey)


def test_the_toggles_need_no_script(page_file, visit):
    page = visit(page_file, script=False)
    page.uncheck("#show-box")
    assert page.locator(".explained .frame:visible").count() == 0
    assert page.locator("noscript p").count() == 1
    assert page.locator("details.through:visible").count() == 0


def test_the_slider_goes_through_the_layers(page_file, visit):
    page = visit(page_file)
    page.click("#photo-0 details.through summary >> nth=0")
    box = page.locator("#photo-0 .layers").first
    assert box.locator(".name").inner_text() == "1 of 3: input"
    assert "56.2" in box.locator(".facts").inner_text()
    box.locator("input").focus()
    page.keyboard.press("ArrowRight")
    assert box.locator(".name").inner_text() == "2 of 3: features.relu"
    assert box.locator(".view circle").count() == 9 + 1
    box.locator(".channels button").first.click()
    assert box.locator(".view circle").count() == 3 + 1
    box.locator(".step").last.click()
    assert "Classes have no place" in box.locator(".nowhere").inner_text()


def test_a_method_without_shares_is_not_told_in_shares(page_file, visit):
    page = visit(page_file)
    page.click("#photo-0 details.through summary >> nth=1")
    box = page.locator("#photo-0 .layers").nth(1)
    box.locator(".step").last.click()
    assert box.locator(".facts").inner_text().endswith("9 selected neurons in 4 channels.")
    assert box.locator(".key").inner_text() == "largest dot: 1 neuron"
    assert "each counts the same" in page.locator("#photo-0 .explained").nth(1).inner_text()


@pytest.mark.parametrize("width", [360, 390, 900, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_does_not_scroll_sideways(page_file, visit, width, scheme):
    page = visit(page_file, width=width, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
    assert page.inner_text("#theme") == ("Light" if scheme == "dark" else "Dark")
    assert page.locator(".toggles").bounding_box()["height"] < 60


def test_a_map_alone_has_neither_points_nor_slider(tmp_path, visit):
    page = visit(written(tmp_path / "page.html", explained(rows=((mapped(),),))))
    assert page.locator("#show-points").count() == 0
    assert page.locator(".layers").count() == 0
    assert page.inner_text("h1") == "Why ant?"
    assert page.complaints == []


def test_no_evidence_is_said_in_words(tmp_path, visit):
    path = written(
        tmp_path / "page.html", explained(rows=((traced(points=0), mapped(largest=0.0)),))
    )
    page = visit(path)
    assert page.locator(".explained .nothing").count() == 2
    assert "In 2 cases there was no evidence" in page.inner_text(".lead")
    assert page.locator(".explained .frame").count() == 0
    assert page.complaints == []
    assert "nan" not in path.read_text(encoding="utf-8").split("<script", 1)[0].lower().replace(
        "nance", ""
    )


def test_the_page_says_which_photos_it_has_and_which_class_was_asked_for(tmp_path):
    page = written(
        tmp_path / "page.html",
        explained(rows=((mapped(2),),)),
        names=["ant", "bee", "cat"],
        count=99,
    )
    text = page.read_text(encoding="utf-8")
    assert "99 photos: what in them spoke for cat, by Grad-CAM++." in text
    assert "first 1 of the 99 photos" in text
    assert "For cat (20.0" in text


def test_pictures_and_neurons_stand_in_the_page_once(page_file):
    text = page_file.read_text(encoding="utf-8")
    assert text.count('<image id="picture-') == 2
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert len(data["images"]) == 2 + 6


def test_many_photos_share_the_room_for_neurons():
    crowded = traced(points=900)
    one = shown(explained(rows=((crowded,),)), None, 1)["rows"][0]["panels"][0]["layers"][0]
    many = shown(explained(rows=((crowded,),)), None, 1000)["rows"][0]["panels"][0]["layers"][0]
    assert (len(one["score"]), len(many["score"])) == (900, 83)
    assert "strongest 83 neurons of 900" in many["more"]


def test_what_reached_the_pixels_is_a_share_of_all():
    assert evidence_at_input(traced()) == pytest.approx(9 / 16)
    assert evidence_words(traced()) == "9 points, reached by 56.2\u00a0% of the evidence"
    assert evidence_at_input(traced(score=1 / 9)) == 1.0
    assert evidence_at_input(traced(carried=False)) is None
    assert evidence_at_input(mapped()) is None
    assert evidence_words(mapped()) == "map of layer features.relu"
    assert evidence_words(traced(points=0)) == box_words(traced(points=0)) == "no evidence found"


def test_records_lead_back_to_the_file():
    record = record_of(explained(), None)
    ours, _, cam = record["explanations"]
    assert ours["box"] == [12.0, 10.0, 15.0, 13.0]
    assert ours["box_in_file"] == [28.0, 10.0, 31.0, 13.0]
    assert ours["strongest"][0] == {"x": 12, "y": 10, "score": 0.0625}
    assert (ours["name"], cam["points"], cam["strongest"]) == (None, None, [])
    nothing = record_of(explained(rows=((traced(points=0),),)), ["ant", "bee", "cat"])[
        "explanations"
    ][0]
    assert (nothing["evidence"], nothing["box"], nothing["box_in_file"], nothing["points"]) == (
        False,
        None,
        None,
        0,
    )
    assert (ours["heat_map_of"], cam["heat_map_of"]) == ("points", "maps")
    assert (ours["regions"]["radius"], cam["regions"]) == (
        0.1,
        {"threshold": 0.5, "connected": False},
    )


def test_records_say_what_heat_maps_are_made_of():
    ours, around_points = record_of(
        explained(rows=((layered(sigma=0), layered(radius=0.3)),)), None
    )["explanations"]
    assert ours["heat_map_of"] == around_points["heat_map_of"] == "layers"
    assert ours["regions"] == {"sigma": 0, "threshold": 0.45, "connected": True}
    assert around_points["regions"].keys() == {"sigma", "min_share", "radius", "weighted"}
    assert around_points["box"] == [12.0, 10.0, 15.0, 13.0]
    left, top, right, bottom = ours["box"]
    assert (left > 4, top > 12, right < 24, bottom < 28) == (True,) * 4
    assert ours["points"] == 9


def test_the_page_tells_layers_from_points_and_maps(tmp_path, visit):
    words = dict(reading((layered(), traced(method="discernible-p3"), mapped()), []))
    assert "Of Discernible neurons: It is not made of the points" in words["Heat map"]
    assert "Of Discernible neurons of P3 it is the points, each spread" in words["Heat map"]
    assert (
        "Of the points of Discernible neurons of P3: around those that are no outliers"
        in words["Box"]
    )
    assert (
        "Of the heat map of Discernible neurons and Grad-CAM++: around the pixels" in words["Box"]
    )
    assert (
        "45\u00a0% of its maximum and hang together with it (Discernible neurons)" in words["Box"]
    )
    assert "points" not in dict(reading((layered(),), []))["Box"]
    page = visit(
        written(tmp_path / "page.html", explained(rows=((layered(), traced(), mapped()),)))
    )
    assert page.complaints == []
    assert "share of the net evidence per pixel" in page.inner_text("#photo-0 .explained >> nth=0")
    assert "share of the evidence per pixel" in page.inner_text("#photo-0 .explained >> nth=1")


def test_sentences():
    assert lead(1, 1, [mapped()], "the predicted class", 0) == (
        "1 photo: what in it spoke for the predicted class, by Grad-CAM++."
    )
    assert options_told({"alpha": [1.0, 0.5, 1.0], "n": 1, "new": "x"}) == (
        "alpha = 1, 0.5, 1 (weights of current, preceding and succeeding support), new = x"
    )
