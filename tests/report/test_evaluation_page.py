"""The page of an evaluation: what it says is what the numbers say, and it reads on any screen."""

import re

import pytest

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.judging import Judge
from cofire.evaluate.running import judge_of, run_evaluation
from cofire.evaluate.verdict import judged, verdict
from cofire.report.evaluate.cases import Chosen, cases_told, choose_cases, show_cases
from cofire.report.evaluate.markdown import markdown
from cofire.report.evaluate.page import write_evaluation
from cofire.report.evaluate.tables import (
    difference_tables,
    draws_tables,
    group_tables,
    headline,
    method_name,
)
from tests.evaluate.judged import (
    PREPARATION,
    records,
    synthetic,
    tiny_collection,
    tiny_network,
    write_photos,
)

EVIL = '</script><img src=x onerror=window.evil=1>"&'


def leads(evaluation):
    return [told.lead for told in verdict(evaluation)]


def told(evaluation, lead):
    return next(str(one) for one in verdict(evaluation) if one.lead.startswith(lead))


def test_the_verdict_names_who_is_clearly_best():
    found = synthetic(
        80, {"discernible": (0.9, 0.7, 0.4), "gradcam": (0.5, 0.4, 0.95), "centre": (0.4, 0.2, 1.0)}
    )
    assert leads(found) == [
        "Best at pointing: Discernible neurons.",
        "Best boxes: Discernible neurons.",
        "Better than the centre: all.",
        "Most faithful: Discernible neurons.",
        "Most sensitive to the class: Discernible neurons.",
        "To use: Discernible neurons.",
    ]
    assert "Clearly behind: Grad-CAM (" in told(found, "Best at pointing")
    assert (
        "Nearly the same map for both, which explains the image and not the decision: Grad-CAM."
        in told(found, "Most sensitive")
    )


def test_the_verdict_leaves_open_what_is_not_clear():
    same = {"discernible": (0.6, 0.5, 0.5), "gradcam": (0.6, 0.5, 0.5), "centre": (0.6, 0.5, 1.0)}
    found = synthetic(30, same)
    assert "Best at pointing: nobody clearly." in leads(found)
    assert "Better than the centre: nobody clearly." in leads(found)
    assert "To use: any of them." in leads(found)
    assert "No better, so that nothing is shown: Discernible neurons and Grad-CAM." in told(
        found, "Better than"
    )


def test_one_that_ties_with_the_best_is_named():
    found = synthetic()
    assert told(found, "Best at pointing").startswith(
        f"Best at pointing: {method_name('lrp')}, not clearly ahead of Discernible"
    )


def test_without_the_centre_the_verdict_says_what_that_means():
    found = synthetic(20, {"discernible": (0.9, 0.6, 0.4), "gradcam": (0.5, 0.5, 0.5)})
    assert "without the centre nobody can say" in told(found, "Better than the centre: not judged.")


def test_a_single_method_has_a_verdict_and_no_rivals():
    found = synthetic(10, {"gradcam": (0.9, 0.6, 0.4)})
    assert leads(found)[0] == "Best at pointing: Grad-CAM."
    assert difference_tables(found, found.differences()) == []


def test_what_was_not_measured_is_not_told():
    rows = [
        {"file": f"{n}", "method": method, "soft_drop": drop, "soft_increase": False}
        for n in range(9)
        for method, drop in (("gradcam", 0.2), ("centre", 0.5))
    ]
    found = Evaluation(records(rows), {"methods": ["gradcam", "centre"], "measures": ["soft"]})
    assert leads(found) == ["Most faithful: Grad-CAM."]
    assert "The centre: 50.0" in told(found, "Most faithful")
    assert headline(found, found.table()).heads == (
        "increase, soft map %\u00a0↑",
        "drop, soft map %\u00a0↓",
    )


def test_tables_mark_the_best_and_tell_who_does_not_count():
    found = synthetic(12)
    localisation = group_tables(found, found.table())[0]
    best = [row.name for row in localisation.rows if row.cells[0].best]
    assert best == [method_name("lrp")]
    assert [row.name for row in localisation.rows if row.baseline] == ["Centre"]
    part = found.records.to_pylist()
    for row in part[:4]:
        row["pointing"] = None
    holes = Evaluation(found.records.from_pylist(part, schema=found.records.schema), found.options)
    assert group_tables(holes, holes.table())[0].left_out == ("pointing game: 1",)
    assert group_tables(found, found.table("large"), "large")[0].photos == 6
    assert draws_tables(found) == []


def test_markdown_has_every_table_and_escapes_nothing_away():
    text = markdown(synthetic(options={"discernible": {"k": 3}}))
    assert text.count("\n## ") == 3
    assert "| Discernible neurons | " in text
    assert re.search(r"\*\*[+−]\d+\.\d\*\* \[[+−]\d+\.\d to [+−]\d+\.\d, p [<=] 0\.\d{3}\]", text)
    for block in re.findall(r"(?:\|.*\n)+", text):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_cases_are_where_the_first_method_stands_apart_failures_first():
    found = synthetic()
    chosen = choose_cases(found, failures=3, others=2)
    assert [case.failure for case in chosen] == sorted(
        (case.failure for case in chosen), reverse=True
    )
    gaps = [case.gap for case in chosen if case.failure]
    assert gaps == sorted(gaps)
    assert choose_cases(synthetic(5, {"gradcam": (0.5, 0.5, 0.5)})) == []


def test_the_verdict_says_where_the_centre_is_clearly_better():
    found = synthetic(
        80, {"gradcam": (0.3, 0.3, 0.4), "discernible": (0.2, 0.2, 0.5), "centre": (0.9, 0.8, 1.0)}
    )
    assert leads(found) == [
        "Best at pointing: none; the centre does better.",
        "Best boxes: none; the centre does better.",
        "Better than the centre: nobody clearly.",
        "Most faithful: none; the centre does better.",
        "Most sensitive to the class: Grad-CAM.",
        "To use: none of them yet.",
    ]
    assert "Clearly worse than it by pointing game: Grad-CAM and Discernible" in told(
        found, "Better than"
    )
    assert "Clearly worse than it by IoU: Grad-CAM and Discernible" in told(found, "Better than")


def test_what_is_said_of_cases_is_how_they_were_chosen():
    assert cases_told(synthetic(5)) == (
        "Photos on which Discernible neurons and the mean of the other methods (without those that look at no network) "
        "lie furthest apart in pointing game and IoU. Each panel explains the photo’s own class."
    )
    bare = synthetic(
        5, {"gradcam": (0.9, 0.6, 0.4), "centre": (0.5, 0.3, 1.0)}, measures=["confidence"]
    )
    assert cases_told(bare) == (
        "Photos on which Grad-CAM and the mean of the other methods lie furthest apart in drop at equal area. "
        "Each panel explains the class that the network predicts."
    )
    assert choose_cases(synthetic(5, measures=["sensitivity"])) == []


@pytest.mark.parametrize(("measures", "explained"), [(["localisation"], 1), (["soft"], 2)])
def test_panels_explain_the_class_that_the_records_are_of(
    tmp_path, monkeypatch, measures, explained
):
    write_photos(tmp_path, 2)
    rows = [
        {"file": "000.png", "method": method, "label": 1, "predicted": 2, "correct": False}
        for method in ("gradcam", "lrp")
    ]
    found, asked = (
        Evaluation(records(rows), {"methods": ["gradcam", "lrp"], "measures": measures}),
        [],
    )
    real = Judge.explain

    def noting(self, inputs, target, method, pictures):
        asked.append(target.tolist())
        return real(self, inputs, target, "gradcam", pictures)

    monkeypatch.setattr(Judge, "explain", noting)
    judge = judge_of(tiny_network(), PREPARATION)
    names = ["red", "green", "blue"]
    (case,) = show_cases(
        found, [Chosen(0, True, -1.0)], judge, tiny_collection(tmp_path), PREPARATION, names
    )
    assert asked == [[explained]] * 2
    assert names[explained] in case.explained


def test_draws_are_told_wherever_tables_stand():
    rows = [
        {
            "file": f"{n}",
            "method": "gradcam",
            "pointing": float(n < 2),
            "increase": n < 1,
            "draws": draws,
        }
        for n, draws in enumerate(([0], [0, 1], [1]))
    ]
    options = {
        "methods": ["gradcam"],
        "measures": ["localisation", "confidence"],
        "draws": 2,
        "samples": 2,
    }
    found = Evaluation(records(rows), options)
    tables = draws_tables(found)
    assert [table.title.split(" %")[0] for table in tables] == ["Pointing game", "Increase"]
    values = [[cell.value for cell in table.rows[0].cells] for table in tables]
    assert values == [["100.0", "50.0", "75.0"], ["50.0", "0.0", "25.0"]]
    words = "2 draws of 2 images each: tables are about all that were drawn, each image once"
    for text in (judged(found), markdown(found)):
        assert words in text


@pytest.fixture(scope="module")
def page_file(tmp_path_factory):
    place = write_photos(tmp_path_factory.mktemp("page"))
    network, collection = tiny_network(), tiny_collection(place)
    methods = ("gradcam", "discernible", "centre")
    found = run_evaluation(
        network,
        collection,
        PREPARATION,
        methods,
        place / "out",
        split="all",
        progress=False,
        samples=8,
        draws=2,
        note={"command": f"cofire evaluate {EVIL}", "versions": {"cofire": "0"}},
    )
    judge = judge_of(network, PREPARATION).with_rules(found.options["thresholds"])
    names = [
        "red",
        EVIL,
        "blue with a name that does not end soon and does not care for narrow screens",
    ]
    cases = show_cases(found, choose_cases(found), judge, collection, PREPARATION, names)
    assert cases
    return write_evaluation(
        place / "evaluation.html",
        found,
        cases,
        size=(16, 16),
        links=[("robustness.html", "Robustness under attack")],
    )


def test_the_page_is_quiet_and_asks_for_nothing(page_file, visit):
    page = visit(page_file)
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requested)
    assert page.evaluate("window.evil") is None
    assert EVIL in page.inner_text("#setup")
    assert page.locator(".plot .main-svg").count() > 0
    assert page.locator(".verdict li").count() >= 4
    assert page.locator("#photos .case").count() >= 1
    assert "draw 2" in page.inner_text("#tables")
    assert page.locator('nav a[href="robustness.html"]').count() == 1


@pytest.mark.parametrize(("width", "scheme"), [(1280, "dark"), (390, "light"), (320, "dark")])
def test_nothing_leaves_the_screen(page_file, visit, width, scheme):
    page = visit(page_file, width=width, scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_it_can_be_read_without_scripts(page_file, visit):
    page = visit(page_file, script=False)
    assert "JavaScript" in page.inner_text("noscript") or page.locator(".notice").count() == 1
    assert page.locator(".verdict li").count() >= 4


def test_few_photos_of_the_tuning_split_are_called_what_they_are():
    rows = [
        {
            "file": f"{n}",
            "method": "gradcam",
            "split": "tuning",
            "soft_drop": 0.5,
            "soft_increase": True,
        }
        for n in range(3)
    ]
    found = Evaluation(
        records(rows), {"methods": ["gradcam"], "measures": ["soft"], "draws": 2, "samples": 2}
    )
    words = judged(found)
    assert "tuning split" in words
    assert "flatter" in words
    assert "2 draws of 2 images" in words


def test_pictures_of_few_pixels_are_shown_as_they_are(page_file):
    text = page_file.read_text(encoding="utf-8")
    assert "image-rendering:pixelated" in text
    assert "2 draws of 8 images each: tables are about all that were drawn" in text
    assert "Each panel explains the photo’s own class." in text
    assert "Increase % ↑ of each draw by itself" in text
    assert "data:image/png;base64," in text
