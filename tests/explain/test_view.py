"""The page: it needs nothing, says what there is, and its slider goes from the input to the classes."""

import json
import re

import pytest
import torch

from cofire.errors import OptionError

# Fixtures are found by their names in this module.
from .explanations import NAMES, camera, photos, pixels, toy, vectors

EVIL = '</script><img src=x onerror=window.evil=1>"&'


@pytest.fixture(scope="module")
def random():
    generator = torch.Generator().manual_seed(3)
    images = (
        torch.randint(256, (3, 14, 14, 3), generator=generator)
        .repeat_interleave(16, 1)
        .repeat_interleave(16, 2)
    )
    return photos(images.to(torch.uint8))


@pytest.fixture(scope="module")
def page_file(random, tmp_path_factory):
    names = [f"name {i}" for i in range(1000)]
    return random.write_html(tmp_path_factory.mktemp("view") / "page.html", class_names=names)


def text_of(path):
    page = re.sub(r"<(script|style).*?</\1>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r'"data:[^"]*"', "", page)


def data_of(path):
    page = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="data">(.*?)</script>', page, flags=re.DOTALL)[1])


def test_the_page_says_class_probability_method_and_numbers(page_file):
    page = text_of(page_file)
    for expected in (
        "name 207 (97.3\u00a0%)",
        "the predicted class",
        "predicted instead: name 3 (41.0\u00a0%)",
        "3 images, explained by Discernible neurons",
        "share of the evidence per pixel",
        "How to read this",
    ):
        assert expected in page
    assert "no evidence" not in page
    assert "None" not in page
    assert "nan" not in page.lower()


def test_the_page_is_quiet_and_loads_nothing(page_file, visit):
    page = visit(page_file)
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requested)


def test_the_layers_hold_what_the_table_holds():
    found = toy()
    expected = [[0.375, 0.375, 0.125, 0.125], [0.75, 0.25], [1.0]]
    from cofire.explain.drawing import page

    assert [page.layer_shown(found, 0, at, NAMES)["score"] for at in range(3)] == expected
    relu = page.layer_shown(found, 0, 1, NAMES)
    assert (relu["rows"], relu["columns"], relu["y"], relu["x"]) == (2, 3, [0, 1], [0, 2])
    assert [(entry["name"], entry["score"]) for entry in relu["strongest"]] == [
        ("channel 0", 0.75),
        ("channel 2", 0.25),
    ]
    assert relu["facts"] == (
        "Activation layer, 3 channels on 2 × 3 positions. 2 selected neurons in 2 channels, through which 100\u00a0% "
        "of the evidence passes."
    )
    assert page.layer_shown(found, 0, 2, NAMES)["strongest"][0]["name"] == "class 1"


def test_the_slider_goes_through_the_layers_by_keyboard(page_file, visit):
    page = visit(page_file)
    box = page.locator("#image-0 .layers")
    assert box.locator(".name").inner_text() == "1 of 6: input"
    dots = box.locator(".view .stage circle").count()
    assert 200 < dots <= 300
    page.focus("#slider-0")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    assert box.locator(".name").inner_text() == "3 of 6: features.9"
    assert page.get_attribute("#slider-0", "aria-valuetext") == "3 of 6: features.9"
    assert 0 < box.locator(".view .stage circle").count() <= 120
    page.keyboard.press("End")
    assert box.locator(".view .stage circle").count() == 0
    assert "Classes have no place in the image" in box.locator(".nowhere").inner_text()
    assert box.locator(".channels li").all_inner_texts() == ["name 207\n100.0\u00a0%"]
    assert box.locator(".step").last.is_disabled()
    assert page.locator("#image-1 .name").inner_text() == "1 of 6: input"
    assert page.complaints == []


def test_dots_lie_where_the_neurons_do(tmp_path, visit):
    page = visit(toy().write_html(tmp_path / "p.html"))
    page.click("#image-0 [data-by='1']")
    numbers = "['cx', 'cy', 'r'].map(a => Number(c.getAttribute(a)))"
    circles = f"[...document.querySelectorAll('#image-0 .view .stage circle')].map(c => {numbers})"
    first, second = page.evaluate(circles)
    # A grid of 2 × 3 on a drawing of 444 × 296 pixels.
    assert first[:2] == [pytest.approx(0.5 / 3 * 444), pytest.approx(0.25 * 296)]
    assert second[:2] == [pytest.approx(2.5 / 3 * 444), pytest.approx(0.75 * 296)]
    assert (second[2] / first[2]) ** 2 == pytest.approx(1 / 3)
    page.click("#image-0 .channels button >> nth=1")
    assert page.evaluate(circles) == [second]
    page.keyboard.press("Enter")
    assert len(page.evaluate(circles)) == 2


@pytest.mark.parametrize("width", [360, 390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_does_not_scroll_sideways(page_file, visit, width, scheme):
    page = visit(page_file, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_can_be_changed(page_file, visit):
    page = visit(page_file, scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ground)
    assert page.inner_text("#theme") == "Light"
    page.click("#theme")
    assert page.evaluate(ground) != before


def test_without_script_everything_but_the_slider_is_there(page_file, visit):
    page = visit(page_file, script=False)
    assert page.locator("#image-0 .panels .stage").count() == 4
    assert page.locator("#image-0 .panels circle").count() > 200
    assert not page.is_visible("#slider-0")


@pytest.mark.parametrize("make", [camera, vectors, pixels], ids=lambda make: make.__name__)
def test_maps_vectors_and_nothing_have_pages(make, tmp_path, visit):
    page = visit(make().write_html(tmp_path / "p.html"), width=390)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    text = page.inner_text("main")
    assert ("no evidence" in text) == (make is not vectors)
    assert page.locator(".panels .stage").count() == {camera: 6, vectors: 4, pixels: 4}[make]
    assert (page.locator("input[type=range]").count() > 0) == (make is not camera)


def test_features_are_dots_on_a_strip(tmp_path, visit):
    path = vectors().write_html(tmp_path / "p.html")
    assert data_of(path)["images"][0][0]["x"] == [5, 2]
    page = visit(path)
    assert page.locator(".view .stage circle").count() == 2
    page.click("[data-by='1']")
    assert "not tied to a place" in page.inner_text(".nowhere")
    assert page.locator(".channels li").all_inner_texts() == ["unit 3\n100.0\u00a0%"]


def test_names_from_users_do_nothing(tmp_path, visit):
    found = pixels((3, 3), (9, 9), method=EVIL, options={EVIL: EVIL})
    path = found.write_html(tmp_path / "p.html", class_names=[EVIL] * 5, title=EVIL)
    assert "<img src=x" not in path.read_text(encoding="utf-8")
    page = visit(path)
    page.click("[data-by='1']")
    assert page.evaluate("window.evil") is None
    assert page.complaints == []
    assert EVIL in page.inner_text(".channels")
    assert page.inner_text("h1") == EVIL


def test_large_layers_say_what_is_left_out(tmp_path):
    places = [(y, x) for y in range(40) for x in range(30)]
    layer = data_of(pixels(*places).write_html(tmp_path / "p.html"))["images"][0][0]
    assert len(layer["score"]) == 1000
    assert layer["more"] == "Drawn: the strongest 1,000 neurons of 1,200. "
    assert max(layer["y"]) == 39


def test_missing_names_are_refused_before_anything_is_written(tmp_path):
    with pytest.raises(OptionError, match="a name for class 1"):
        toy().write_html(tmp_path / "p.html", class_names=["one"])
    assert list(tmp_path.iterdir()) == []


def test_an_empty_batch_has_a_page(tmp_path):
    assert "0 images" in text_of(toy()[:0].write_html(tmp_path / "p.html"))


def test_notebooks_show_the_first_images():
    shown = photos(torch.zeros(10, 224, 224, 3, dtype=torch.uint8), points=5)._repr_html_()
    assert shown.count("data:image/png") == 8
    assert "2 more images: write_html shows all" in shown
    assert "no evidence found" in camera()._repr_html_()
    assert "&lt;b&gt;" in pixels((1, 1), method="<b>")._repr_html_()
