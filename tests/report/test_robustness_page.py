"""The page on attacked photos."""

import pytest

from cofire.evaluate.results import Robustness
from cofire.report.evaluate.robustness import write_robustness
from cofire.report.evaluate.robustness_wording import lead, rounded_told, verdict
from cofire.report.explain.page import Setup
from tests.evaluate.seen import attacked, small_robustness

SETUP = Setup(
    "small, 3 classes",
    "weights.safetensors",
    "centre crop 12 × 12",
    "cofire evaluate <photos>",
    "1.0",
)


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    methods = ("gradcam", "gradcam++", "lrp", "discernible", "cnn-fixations")
    return write_robustness(
        tmp_path_factory.mktemp("page") / "a.html", small_robustness(methods), SETUP
    )


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_fits_and_complains_of_nothing(page_file, visit, width, scheme):
    page = visit(page_file, width=width, scheme=scheme)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.complaints == []
    assert page.requested == [f"file://{page_file}"]


def test_numbers_come_first_and_photos_after(page_file, visit):
    page = visit(page_file)
    assert page.locator(".chart").count() == 4
    assert page.locator(".chart").first.locator("li").count() == 5 * 4
    assert "4.1" in page.locator(".chart").first.locator("li").nth(1).inner_text()
    assert page.locator("section[id^=photo]").count() == 3
    assert page.inner_text("#h-0") == "bee becomes <cat>"
    first = page.locator("#photo-0")
    assert first.locator(".panels").count() == 1 + 5
    assert first.locator(".rest").inner_text().startswith("Discernible neurons, CNN-Fixations")
    assert "0.25 grey levels, 3 steps" in first.inner_text()
    assert "moved 4.0" in first.locator(".explained").nth(2).inner_text()
    assert "50 times as strong" in first.inner_text()


def test_switches_hide_heat_and_boxes(page_file, visit):
    page = visit(page_file)
    assert page.locator("#photo-0 .heat:visible").count() == 12
    page.uncheck("#show-heat")
    page.uncheck("#show-box")
    assert page.locator(".heat:visible").count() == 0
    assert page.locator(".frame:visible").count() == 0


def test_a_result_from_a_file_has_numbers_alone(tmp_path, visit):
    found = small_robustness(names=None, boxes=False)
    again = Robustness.load(found.save(tmp_path / "a.json"))
    page = visit(write_robustness(tmp_path / "a.html", again, SETUP, title="Mine"))
    assert page.inner_text("h1") == "Mine"
    assert page.locator(".chart").count() == 3
    assert page.locator("section[id^=photo]").count() == 0
    assert page.locator(".toggles").count() == 0
    assert page.complaints == []


def test_nothing_was_fooled_is_a_page_too(tmp_path, visit):
    options = {"classes": 10, "overshoot": 0.02, "steps": 50, "seed": 0, "bounded": False}
    found = Robustness(("gradcam",), (attacked(fooled=False),), (), {}, options)
    page = visit(write_robustness(tmp_path / "a.html", found, SETUP))
    assert "none of which DeepFool could change" in page.inner_text(".lead")
    assert page.locator(".chart").count() == 0


def test_sentences_claim_what_the_intervals_allow():
    found = small_robustness()
    words = verdict(found, "gradcam")
    assert "moved by 4.1\u00a0% of the diagonal under the attack, further than under noise" in words
    assert "which is more is undecided" in words
    assert "3 photos did; the others are left out" in lead(found)
    assert "0.25 grey levels of 255 or less" in lead(found)
    assert "changed the decision in none" in lead(found)
    assert "none of 3 attacks still work:" in rounded_told(found)
    without = Robustness(("gradcam",), (attacked(levels=None),), (), {}, {})
    assert rounded_told(without) is None
    assert "length 0.75 or less." in lead(without)
    assert verdict(without, "gradcam") == "Grad-CAM: no photo has evidence to compare."
