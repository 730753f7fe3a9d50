"""Drawings: the right pixels are coloured, words say what is there, files are whole."""

import dataclasses
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import torch
from PIL import Image

from cofire.errors import ExplanationError, OptionError, ResultError
from cofire.explain.drawing import captions, draw
from cofire.explain.drawing.paper import DOT, shortened
from cofire.explain.result.explanation import Explanation

from .explanations import NAMES, camera, photos, pixels, toy, vectors

EVIL = '</text><script>alert(1)</script>&"'
DOT_COLOUR = [int(DOT[i : i + 2], 16) for i in (1, 3, 5)]


@pytest.fixture(scope="module")
def random():
    return photos(torch.full((2, 224, 224, 3), 90, dtype=torch.uint8), points=60)


def colours_of(image):
    return np.asarray(image.convert("RGB")).astype(int)


def words_of(svg):
    return [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_the_heat_map_is_brightest_where_the_evidence_is():
    image = colours_of(pixels((20, 7)).overlay(0, legend=False))
    y, x = np.nonzero(image[:, :, 0] == image[:, :, 0].max())
    assert image.shape == (440, 330, 3)
    assert (y.mean() // 11, x.mean() // 11) == (20, 7)
    assert image[0, 0].tolist() == [74, 74, 74]  # cold: the image in grey


def test_points_lie_on_the_middle_of_their_pixels():
    image = colours_of(pixels((20, 7)).overlay(0, "points", legend=False))
    y, x = np.nonzero(np.abs(image - DOT_COLOUR).sum(axis=2) < 10)
    assert (y.mean(), x.mean()) == (pytest.approx(20.5 * 11, abs=1), pytest.approx(7.5 * 11, abs=1))


def test_the_area_of_a_dot_grows_with_the_score():
    dots = draw.dots_of(toy().points(0), (4, 6))
    assert [round((r / dots[0][2]) ** 2, 3) for _, _, r in dots] == [1, 0.75, 0.25]
    assert dots[0][:2] == (pytest.approx(0.5 / 6), pytest.approx(0.5 / 4))


def test_many_equal_dots_do_not_hide_the_image():
    everywhere = [(y, x) for y in range(40) for x in range(30)]
    for places in (everywhere, everywhere[::7]):
        dots = draw.dots_of(pixels(*places).points(0), (40, 30))
        assert len(dots) == len(places)
        assert sum(np.pi * r**2 for _, _, r in dots) <= 0.15 * 30 / 40


def test_the_box_is_drawn_around_the_points():
    found = draw.panel(pixels((10, 5), (19, 14)), 0, "box")
    assert found.frame == (5 / 30, 10 / 40, 15 / 30, 20 / 40)
    assert found.note == "10 × 10 pixels, 8.3\u00a0% of the image"
    assert draw.panel(pixels(), 0, "box").frame is None


def test_a_drawing_without_legend_is_as_large_as_the_enlarged_image():
    assert vectors().overlay(0, "box", legend=False).size == (444, 56)
    assert toy().overlay(1, "points", legend=False).size == (444, 296)
    large = pixels((3, 3), size=(500, 700))
    assert large.overlay(0, legend=False).size == (700, 500)
    assert large.overlay(0).size[0] > 700


@pytest.mark.parametrize("what", ["heatmap", "points", "box"])
@pytest.mark.parametrize(
    "places", [(), ((0, 0),), ((0, 0), (39, 29), (5, 5), (6, 5), (5, 6))], ids=len
)
def test_no_one_and_five_points_are_drawn(what, places):
    assert isinstance(pixels(*places).overlay(0, what), Image.Image)


def test_what_is_drawn_does_not_change_what_is_drawn_on(random):
    before = random.images.clone()
    for what in ("image", "heatmap", "points", "box"):
        random.overlay(0, what)
    assert torch.equal(random.images, before)


def test_colours_fade_out_and_are_those_of_the_scale():
    ends = draw.coloured(np.array([0.0, 1.0]), alpha=0.5)
    assert ends[:, 3].tolist() == [0, 128]
    assert "#{:02x}{:02x}{:02x}".format(*ends[1, :3]) == draw.SCALE[-1]


def test_each_step_of_the_scale_is_lighter_than_the_one_before():
    light = [
        sum(w * int(c[i : i + 2], 16) for w, i in ((0.21, 1), (0.72, 3), (0.07, 5)))
        for c in draw.SCALE
    ]
    assert light == sorted(light)


def test_bad_wishes_are_refused():
    with pytest.raises(OptionError, match="try 'heatmap'"):
        toy().overlay(0, "heat")
    for alpha in (0.0, 1.1, float("nan")):
        with pytest.raises(OptionError, match="alpha"):
            toy().overlay(0, alpha=alpha)
    with pytest.raises(ExplanationError, match="made of maps"):
        camera().overlay(0, "points")
    with pytest.raises(ExplanationError, match="choose from 0 to 1"):
        toy().overlay(2)
    with pytest.raises(OptionError, match="1 class names"):
        toy().overlay(0, class_names=["only"])


def test_the_sheet_is_a_png_of_all_images(random, tmp_path):
    assert random.save_png(tmp_path / "sheet.png") == tmp_path / "sheet.png"
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.format == "PNG"
        assert sheet.width > 4 * 448
        assert sheet.height > 2 * 448
    assert [p.name for p in tmp_path.iterdir()] == ["sheet.png"]


def test_the_drawing_holds_points_boxes_and_words_as_vectors(tmp_path):
    text = toy().save_svg(tmp_path / "sheet.svg", class_names=NAMES).read_text(encoding="utf-8")
    assert text.count("<circle") == 4
    assert (
        re.findall(r'href="(.{15})', text) == ["data:image/png;"] * 10
    )  # 4 images and a colour bar, twice
    words = words_of(text)
    assert words.count("class 1 (75.0\u00a0%)") == 2
    assert "the predicted class · Discernible neurons" in words
    assert "3 points; strongest: 50\u00a0% of the evidence" in words
    assert words.count("share of the evidence per pixel") == 2
    assert "0" in words


def test_names_do_nothing_in_a_drawing(tmp_path):
    text = (
        toy().save_svg(tmp_path / "sheet.svg", class_names=[EVIL] * 5).read_text(encoding="utf-8")
    )
    assert "<script" not in text
    assert any(word.startswith("</text><script>") for word in words_of(text))


@pytest.mark.parametrize("sign", ["\x00", "\n", "\x1b", "\ud800", "\uffff"])
def test_signs_that_xml_cannot_have_are_refused_where_names_come_in(tmp_path, sign):
    for save in (toy().save_png, toy().save_svg, toy().write_html):
        with pytest.raises(OptionError, match=r"class_names\[4\].*control characters.*take"):
            save(tmp_path / "sheet", class_names=["a", "b", "c", "d", f"a{sign}b"])
    with pytest.raises(ExplanationError, match="method="):
        dataclasses.replace(toy(), method=f"mine{sign}")
    assert not list(tmp_path.iterdir())


def test_no_evidence_is_said(tmp_path):
    words = words_of(pixels().save_svg(tmp_path / "a.svg").read_text(encoding="utf-8"))
    assert sum("no evidence found" in word for word in words) == 4
    words = words_of(camera().save_svg(tmp_path / "b.svg").read_text(encoding="utf-8"))
    assert sum("no evidence found" in word for word in words) == 3
    assert {"value of the map", "2", "the predicted class · Grad-CAM++"} <= set(words)
    block = [(y, x) for y in range(0, 40, 8) for x in range(0, 30, 7)]
    assert (
        captions.box_told([0, 0, 0, 0], bool(block), (1, 9, 9))
        == "no box: every point is an outlier"
    )


def test_another_prediction_is_named(random, tmp_path):
    words = words_of(random.save_svg(tmp_path / "a.svg").read_text(encoding="utf-8"))
    assert "predicted instead: class 3 (41.0\u00a0%) · Discernible neurons" in words


def test_several_explained_classes_are_all_named(tmp_path):
    several = {"target": torch.tensor([[1, 4]]), "probability": torch.tensor([[0.75, 0.00001]])}
    words = words_of(
        pixels((3, 3), **several).save_svg(tmp_path / "a.svg").read_text(encoding="utf-8")
    )
    assert words[:2] == [
        "class 1 (75.0\u00a0%), class 4 (<\u00a00.1\u00a0%)",
        "predicted: class 1 · Discernible neurons",
    ]


def test_an_empty_batch_is_drawn(tmp_path):
    none = toy()[:0]
    none.save_png(tmp_path / "a.png")
    assert words_of(none.save_svg(tmp_path / "a.svg").read_text(encoding="utf-8")) == ["no images"]


def test_folders_that_cannot_be_written_to_are_named(tmp_path):
    (tmp_path / "file").write_text("")
    for save in (
        Explanation.save_png,
        Explanation.save_svg,
        Explanation.save,
        Explanation.write_html,
    ):
        with pytest.raises(ResultError, match="cannot be written"):
            save(toy(), tmp_path / "file" / "a")


@pytest.mark.parametrize("name", ["Žluťoučký kůň × 2", "狗", "a" * 300])
def test_names_in_any_letters_are_drawn(name):
    assert toy().overlay(0, class_names=[name] * 5).size == toy().overlay(0).size


def test_long_words_end_in_an_ellipsis():
    assert shortened("a" * 300, 24, 200).endswith("…")
    assert shortened("tench", 24, 200) == "tench"
