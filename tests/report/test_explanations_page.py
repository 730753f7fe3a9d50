"""Explanations in the report: sentences that say no more than the numbers, and pictures that can be read."""

import dataclasses
import re

import pytest

from cofire.report import write_report
from cofire.report.explanations import wording
from cofire.report.explanations.bars import bars
from cofire.report.explanations.facts import ExplanationFacts
from cofire.report.explanations.figures import drawn

from . import synthetic
from .synthetic_explanations import tables, with_explanations, without_points

EVIL = '</script><img src=x onerror=window.evil=1>"&'
NAMES = dict(enumerate(f"class {letter}" for letter in "abcdefghij"))


def facts_of(**keywords):
    return ExplanationFacts(*tables(**keywords), NAMES)


def page_of(tmp_path, *, run=None, points=None, **keywords):
    found = with_explanations(run or synthetic.trajectory(layers=(8,), checkpoints=3), **keywords)
    if points is not None:
        found = dataclasses.replace(found, explanations=without_points(found.explanations, points))
    # a page names the tables that lie beside it
    return write_report(found, found.save(tmp_path) / "page.html")


def section_of(path):
    page = re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    start = page.index('<section id="explanations"')
    return page[start : page.index("</section>", start)]


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    return page_of(tmp_path_factory.mktemp("explanations"))


@pytest.mark.parametrize(
    ("points", "heat", "answer"),
    [
        (1.0, 0.97, "No."),
        (1.0, 0.8, "Hardly."),
        (0.9, 0.6, "In part."),
        (0.4, 0.3, "Yes."),
        (0.1, 0.96, "No."),
    ],
)
def test_whether_explanations_depend_on_the_class_is_said_in_words(points, heat, answer):
    said, why = wording.sensitivity_told(facts_of(jaccard=points, jaccard_heat=heat))
    assert said == answer
    assert (
        f"{points:.2f} are points for both (Jaccard, 30 pairs of classes on the same image)" in why
    )
    assert "Near 1, the points show the image and not the decision" in why
    assert f"overlap by {heat:.2f}" in why


def test_mistakes_are_counted_whether_all_are_shown_or_not():
    assert wording.mistakes_told(facts_of()) == (
        "The model gets 120 of 10,000 test images wrong (1.2\xa0%). The 5 mistakes that it makes most confidently "
        "are explained."
    )
    assert wording.mistakes_told(facts_of(mistakes=5)).endswith("All of them are explained.")
    assert wording.mistakes_told(facts_of(wrong=1, mistakes=1)).endswith("It is explained.")
    assert "no mistake to explain" in wording.mistakes_told(facts_of(wrong=0, mistakes=0))
    assert "test samples" in wording.mistakes_told(facts_of(features=9))


def test_the_most_confident_mistake_is_first_and_both_its_classes_are_there():
    facts = facts_of()
    assert [example.index for example in facts.wrong] == [68, 85, 102, 119, 136]
    first = facts.wrong[0]
    assert (first.predicted.name, first.true.name) == ("class h", "class e")
    assert first.predicted.probability > first.true.probability
    assert first.predicted.evidence == pytest.approx(0.8)
    assert wording.arrived_told(first.predicted) == "80.0\xa0% arrived, at 20 points"
    assert not wording.all_arrived(facts)
    assert all(example.true is None for example in facts.right)


def test_heat_maps_of_a_pair_have_one_scale():
    example = facts_of().wrong[0]
    strong = dataclasses.replace(example.predicted.points, score=4 * example.predicted.points.score)
    louder = dataclasses.replace(
        example, predicted=dataclasses.replace(example.predicted, points=strong)
    )
    assert (
        drawn(louder).predicted.heat == drawn(dataclasses.replace(louder, true=None)).predicted.heat
    )
    assert drawn(louder).true.heat != drawn(example).true.heat
    assert len(drawn(example).predicted.dots) == 20


def test_no_evidence_is_said_in_words_and_not_compared():
    tracings, explanations = tables()
    facts = ExplanationFacts(tracings, without_points(explanations, 4), NAMES)
    example = next(e for e in facts.wrong if not len(e.predicted.points) or not len(e.true.points))
    told = [wording.arrived_told(traced) for traced in (example.predicted, example.true)]
    assert "no evidence found" in told
    assert wording.shared_told(example).startswith("nothing to compare: no evidence for class")
    assert drawn(example).difference == ""
    assert drawn(example).hottest


def test_features_are_listed_strongest_first():
    example = facts_of(features=30).wrong[0]
    found = bars(example)
    assert len(found.rows) == 8
    assert found.more > 0
    strongest = [max(length for length, _ in row.bars) for row in found.rows]
    assert strongest == sorted(strongest, reverse=True)
    assert strongest[0] == 100


def test_the_section_stands_in_the_page_and_nowhere_unless_asked_for(report, tmp_path):
    section = section_of(report)
    assert section.count('<article class="case">') == 5
    assert section.count('<article class="card">') == 4
    assert "How to read it." in section
    assert "lies in the same places" in section
    page = report.read_text(encoding="utf-8")
    assert '<a href="#explanations">Evidence</a>' in page
    assert "tracings.parquet and explanations.parquet" in page
    assert "An explanation is no proof" in page
    plain = write_report(synthetic.trajectory(checkpoints=2), tmp_path / "plain.html").read_text(
        encoding="utf-8"
    )
    for word in ('id="explanations"', "#explanations", "explanations.parquet"):
        assert word not in plain


def test_figures_are_numbered_on_without_gaps(report):
    page = report.read_text(encoding="utf-8")
    numbers = [int(n) for n in re.findall(r"<b>Figure (\d+)\.</b>", page)]
    assert numbers == list(range(1, len(numbers) + 1))


def test_why_nothing_could_be_explained_is_said_with_the_error(tmp_path):
    reason = (
        "operator <fft> at model.py. Expected: an operator with a rule. To fix it: register one."
    )
    nothing = {
        "error": reason,
        "compared": 0,
        "jaccard": None,
        "jaccard_heat": None,
        "jaccard_chance": None,
    }
    path = page_of(tmp_path, right=0, wrong=0, **nothing)
    section = section_of(path)
    assert "No prediction of this network could be explained: operator &lt;fft&gt;" in section
    assert "How to read it" not in section
    assert "An explanation is no proof" not in path.read_text(encoding="utf-8")


@pytest.mark.parametrize("wrong", [0, 1])
def test_few_or_no_mistakes_make_a_page(tmp_path, visit, wrong):
    path = page_of(tmp_path, wrong=wrong, mistakes=wrong, right=1)
    assert section_of(path).count('<article class="case">') == wrong
    assert visit(path).complaints == []


def test_pictures_are_drawn_large_with_their_pixels_in_view(report, visit):
    page = visit(report)
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requested)
    panels = page.locator("#explanations .case").first.locator(".panels svg")
    assert panels.count() == 4
    boxes = [panels.nth(k).bounding_box() for k in range(4)]
    assert len({round(box["y"]) for box in boxes}) == 1
    assert all(box["width"] > 180 and abs(box["width"] - box["height"]) < 1 for box in boxes)
    rendering = (
        "getComputedStyle(document.querySelector('#explanations .case svg image')).imageRendering"
    )
    assert page.evaluate(rendering) == "pixelated"
    assert page.locator("#explanations .case").first.locator(".dots circle").count() == 40


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (390, "dark"), (1280, "dark")])
@pytest.mark.parametrize("features", [None, 30])
def test_the_page_does_not_scroll_sideways(tmp_path, visit, width, scheme, features):
    page = visit(page_of(tmp_path, features=features), width=width, scheme=scheme)
    page.evaluate(
        "document.querySelectorAll('#explanations details').forEach(d => { d.open = true; })"
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.complaints == []


def test_large_pictures_in_colour_are_smooth_and_stand_in_the_page_once(tmp_path, visit):
    path = page_of(tmp_path, side=224, channels=3, right=0, wrong=1, points=0)
    section = section_of(path)
    assert section.count('class="crisp"') == 0
    assert section.count('<image id="explained-0"') == 1
    assert section.count('<use href="#explained-0" class="ground"/>') == 3
    assert "no evidence found" in section
    assert visit(path).complaints == []


def test_names_from_users_and_what_is_no_picture_do_nothing(tmp_path, visit):
    run = synthetic.trajectory(
        layers=(8,), checkpoints=3, classes=[f"{EVIL}{n}" for n in range(10)]
    )
    found = with_explanations(run)
    rows = [{**row, "picture": b"<svg onload=alert(1)>"} for row in found.explanations.to_pylist()]
    table = type(found.explanations).from_pylist(rows, schema=found.explanations.schema)
    path = write_report(dataclasses.replace(found, explanations=table), tmp_path / "page.html")
    assert "<img src=x" not in path.read_text(encoding="utf-8")
    page = visit(path)
    assert page.evaluate("window.evil") is None
    assert page.complaints == []
    assert EVIL in page.inner_text("#explanations h4 >> nth=0")
