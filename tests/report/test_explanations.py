"""Explanations in the report: answers that say no more than the numbers, and images that can be read."""

import dataclasses
import re

import pytest

from cofire.report import write_report
from cofire.report.section import Results
from cofire.report.sections.explanations import Explanations
from tests.browser import widths

from . import synthetic
from .synthetic_explanations import with_explanations, without_points

EVIL = '</script><img src=x onerror=window.evil=1>"&'


def section_of(*, empty=None, **keywords):
    run = with_explanations(synthetic.trajectory(layers=(8,), checkpoints=3), **keywords)
    if empty is not None:
        run = dataclasses.replace(run, explanations=without_points(run.explanations, empty))
    return Explanations.of(Results(run))


def page_of(tmp_path, *, run=None, empty=None, **keywords):
    found = with_explanations(run or synthetic.trajectory(layers=(8,), checkpoints=3), **keywords)
    if empty is not None:
        found = dataclasses.replace(found, explanations=without_points(found.explanations, empty))
    # a page names the tables that lie beside it
    return write_report(found, found.save(tmp_path) / "page.html")


def text_of(path):
    page = re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    page = re.sub(r"[ \n]+", " ", page)
    start = page.index('<section id="explanations"')
    return page[start : page.index("</section>", start)]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("explanations"))


@pytest.mark.parametrize(
    ("points", "heat", "answer"),
    [
        (1.0, 0.97, "no"),
        (1.0, 0.8, "hardly"),
        (0.9, 0.6, "in part"),
        (0.4, 0.3, "yes"),
        (0.1, 0.96, "no"),
    ],
)
def test_whether_explanations_depend_on_the_class(points, heat, answer):
    assert section_of(jaccard=points, jaccard_heat=heat).answer == answer


def test_the_answer_stands_first_with_the_overlap_and_the_mistakes(report):
    section = text_of(report)
    assert "overlap by 0." in section[: section.index("<article")]
    assert "The model gets 120 of 10,000 test images wrong (1.2\xa0%)." in section
    assert "80.0\xa0% arrived, at 20 points" in section
    assert "lies in the same places" in section


def test_the_most_confident_mistake_is_first_and_both_its_classes_are_there():
    section = section_of()
    assert [example.index for example in section.wrong] == [68, 85, 102, 119, 136]
    first, second = section.wrong[0].classes
    assert (first.name, second.name) == ("7", "4")
    assert first.arrived == pytest.approx(0.8)
    assert not section.all_arrived
    assert all(len(example.classes) == 1 for example in section.right)


def test_heat_maps_of_a_pair_have_one_scale():
    row = section_of()._first[-1]
    loud = {**row, "score": [4 * s for s in row["score"]]}
    section = section_of()
    quiet, louder = (section._example(r).classes for r in (row, loud))
    assert len(quiet[0].dots) == 20
    assert louder[0].heat != "" != quiet[0].heat


def test_no_evidence_is_said_in_words_and_not_compared(tmp_path):
    section = section_of(empty=4)
    example = next(e for e in section.wrong if not all(t.found for t in e.classes))
    assert example.overlap is None
    assert example.difference == ""
    assert example.hottest > 0
    page = text_of(page_of(tmp_path, empty=4))
    assert "no evidence found" in page
    assert "nothing to compare: no evidence for" in page


def test_features_are_listed_strongest_first():
    features = section_of(features=30).wrong[0].features
    strongest = [max(length for length, _ in bars) for _, _, bars in features]
    assert strongest == sorted(strongest, reverse=True)
    assert strongest[0] == 100


def test_one_mistake_lies_open_and_nothing_is_there_unless_asked_for(report, tmp_path):
    section = text_of(report)
    assert section[: section.index("<details")].count('<article class="case">') == 1
    assert section.count('<article class="case">') == 5
    assert section.count('<article class="card">') == 4
    assert "tracings.parquet, explanations.parquet" in report.read_text(encoding="utf-8")
    plain = write_report(synthetic.trajectory(checkpoints=2), tmp_path / "plain.html")
    for word in ('id="explanations"', '"#explanations"', "explanations.parquet"):
        assert word not in plain.read_text(encoding="utf-8")


def test_why_nothing_could_be_explained_is_said_with_the_error(tmp_path):
    reason = (
        "operator <fft> at model.py. Expected: an operator with a rule. To fix it: register one."
    )
    nothing = dict.fromkeys(("jaccard", "jaccard_heat", "jaccard_chance"))
    section = text_of(page_of(tmp_path, right=0, wrong=0, error=reason, compared=0, **nothing))
    assert "No prediction of this network could be explained: operator &lt;fft&gt;" in section
    assert "An explanation is no proof" not in section


@pytest.mark.parametrize("wrong", [0, 1])
def test_few_or_no_mistakes_make_a_page(tmp_path, wrong):
    section = text_of(page_of(tmp_path, wrong=wrong, mistakes=wrong, right=1))
    assert section.count('<article class="case">') == wrong
    assert ("no mistake to explain" in section) == (wrong == 0)


def test_images_are_drawn_large_with_their_pixels_in_view(report, visit):
    page = visit(report)
    panels = page.locator("#explanations .case").first.locator(".panels svg")
    assert panels.count() == 4
    boxes = [panels.nth(k).bounding_box() for k in range(4)]
    assert all(box["width"] > 180 and abs(box["width"] - box["height"]) < 1 for box in boxes)
    image = "document.querySelector('#explanations .case svg image')"
    assert page.evaluate(f"getComputedStyle({image}).imageRendering") == "pixelated"
    assert page.locator("#explanations .case").first.locator(".dots circle").count() == 40
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert widths(page, 360, 390) == [360, 390]
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requested)


def test_vectors_have_bars(tmp_path, visit):
    path = page_of(tmp_path, features=30)
    assert "further feature" in text_of(path)
    page = visit(path, scheme="dark")
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert widths(page, 360, 390) == [360, 390]
    assert page.complaints == []


def test_large_images_in_colour_are_smooth_and_stand_in_the_page_once(tmp_path, visit):
    path = page_of(tmp_path, side=224, channels=3, right=0, wrong=1, empty=0)
    section = text_of(path)
    assert section.count('class="crisp"') == 0
    assert section.count('<image id="explained-0"') == 1
    assert section.count('<use href="#explained-0" class="ground"/>') == 3
    assert "no evidence found" in section
    assert visit(path).complaints == []


def test_names_from_users_and_what_is_no_image_do_nothing(tmp_path, visit):
    names = [f"{EVIL}{n}" for n in range(10)]
    found = with_explanations(synthetic.trajectory(layers=(8,), checkpoints=3, classes=names))
    rows = [{**row, "image": b"<svg onload=alert(1)>"} for row in found.explanations.to_pylist()]
    table = type(found.explanations).from_pylist(rows, schema=found.explanations.schema)
    path = write_report(dataclasses.replace(found, explanations=table), tmp_path / "page.html")
    assert "<img src=x" not in path.read_text(encoding="utf-8")
    page = visit(path)
    assert page.evaluate("window.evil") is None
    assert page.complaints == []
    assert EVIL in page.inner_text("#explanations h4 >> nth=0")
