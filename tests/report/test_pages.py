"""Pages of evaluations, attacks, two networks, options learnt and explained images: quiet, short, and true."""

import json
import re
from dataclasses import replace

import pytest

from cofire.errors import OptionError
from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.judging import Judge
from cofire.evaluate.results import Robustness, TwoNetworks
from cofire.evaluate.running import judge_of, run_evaluation
from cofire.evaluate.verdict import judged
from cofire.report import write_report
from cofire.report.pages import (
    choose_cases,
    markdown,
    record_of,
    show_cases,
    show_mistakes,
    show_occluded,
    shown,
    tuned_figures,
    tuned_findings,
    write_evaluation,
    write_robustness,
    write_tuned,
    write_two_networks,
)
from cofire.report.pages import evaluation as evaluation_page
from cofire.report.pages import explanations as explanations_page
from cofire.report.pages import robustness as robustness_page
from cofire.report.pages import two_networks as two_networks_page
from cofire.report.pages.explained import box_words, evidence_at_input, evidence_words
from cofire.report.pages.tuned import mean_rewards
from tests.browser import CONTRAST, SEEN, WORDS, widths
from tests.evaluate.judged import (
    PREPARATION,
    records,
    synthetic,
    tiny_collection,
    tiny_network,
    write_photos,
)
from tests.evaluate.seen import attacked, network_row, small_comparison, small_robustness

from .synthetic_pages import (
    EVIL,
    SETUP,
    explained,
    layered,
    learned,
    mapped,
    traced,
    tuned,
    written,
)


def evaluation_file(place):
    folder = write_photos(place / "evaluation")
    network, collection = tiny_network(), tiny_collection(folder)
    found = run_evaluation(
        network,
        collection,
        PREPARATION,
        ("gradcam", "discernible", "centre"),
        folder / "out",
        split="all",
        progress=False,
        samples=8,
        draws=2,
        note={"command": f"cofire evaluate {EVIL}", "versions": {"cofire": "0"}},
    )
    judge = judge_of(network, PREPARATION).with_rules(found.options["thresholds"])
    names = ["red", EVIL, "blue with a name that does not end soon, whatever the screen"]
    cases = show_cases(found, choose_cases(found), judge, collection, PREPARATION, names)
    assert cases
    links = [("robustness.html", "Robustness under attack")]
    look = (judge, collection, PREPARATION, names)
    return write_evaluation(
        place / "evaluation.html",
        found,
        cases,
        mistaken=show_mistakes(found, *look),
        occluded=show_occluded(found, *look),
        size=(16, 16),
        links=links,
    )


def explanations_file(place):
    several = tuple(
        (traced(target), traced(target, carried=False), mapped(target)) for target in range(3)
    )
    many = [explained(f"{number}.png") for number in range(9)]
    return written(place / "explain.html", explained(), explained("b.png", several), *many)


FILES = {
    "evaluation": evaluation_file,
    "explanations": explanations_file,
    "robustness": lambda place: write_robustness(
        place / "robustness.html",
        small_robustness(("gradcam", "gradcam++", "lrp", "discernible", "cnn-fixations")),
        SETUP,
    ),
    "two networks": lambda place: write_two_networks(
        place / "two.html", small_comparison(), (SETUP, SETUP)
    ),
    "tuned": lambda place: write_tuned(tuned(), place / "tuned.html"),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    place = tmp_path_factory.mktemp("pages")
    return {name: make(place) for name, make in FILES.items()}


@pytest.fixture(scope="module")
def pages(files, visit_once):
    return {name: visit_once(path) for name, path in files.items()}


@pytest.fixture(params=FILES)
def page(request, pages):
    return pages[request.param]


def test_a_page_is_quiet_and_loads_nothing(page):
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requested)
    assert page.evaluate("window.evil") is None


def test_a_page_begins_with_a_verdict_and_how_to_read_it(page):
    assert 3 <= page.locator(".verdict li").count() <= 8
    box = page.locator(".verdict").bounding_box()
    assert box["y"] + box["height"] < 900
    assert 2 <= page.locator("#result dl.reading dt").count() <= 4
    first = page.locator("nav[aria-label=Contents] a").first.get_attribute("href")
    assert page.locator(f"section{first}").count() == 1


def test_what_is_not_folded_is_short(page):
    assert page.evaluate(WORDS) <= 1500
    assert page.evaluate(SEEN.format("main .plot")) <= 8


def test_nothing_leaves_the_screen_at_any_width_even_unfolded(page):
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert widths(page, 1280, 390, 320) == [1280, 390, 320]
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = false; })")


def test_text_has_contrast_in_both_schemes(page):
    assert page.evaluate(CONTRAST) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)
    assert page.evaluate(CONTRAST) == []
    assert page.inner_text("#theme") == "Light"
    page.emulate_media(color_scheme="light")


@pytest.mark.parametrize("name", FILES)
def test_a_page_can_be_read_without_scripts(files, visit, name):
    page = visit(files[name], script=False)
    assert "can be read without it" in page.inner_text("noscript >> nth=0")
    assert page.locator(".verdict li").count() >= 3
    assert page.locator("details.through:visible").count() == 0


# Evaluation


def table_of(evaluation, name):
    return evaluation_page.Methods(evaluation).tables()[name]


def test_what_to_use_comes_first_and_levels_say_how_sure_it_is():
    clear = synthetic(
        80, {"discernible": (0.9, 0.7, 0.4), "gradcam": (0.5, 0.4, 0.95), "centre": (0.4, 0.2, 1.0)}
    )
    found = evaluation_page.findings(clear)
    assert found[0].what == "To use: Discernible neurons"
    assert {one.level for one in found} == {"fine"}
    alike = synthetic(
        80, {"gradcam": (0.3, 0.3, 0.4), "discernible": (0.2, 0.2, 0.5), "centre": (0.9, 0.8, 1.0)}
    )
    assert evaluation_page.findings(alike)[0].level == "problem"


def test_tables_mark_the_best_and_tell_who_does_not_count():
    found = synthetic(12)
    table = table_of(found, "means-all-localisation")
    assert table.columns[1].title == "pointing game ↑"
    assert [row[0].value for row in table.rows if row[1].strong] == ["LRP"]
    assert [row[0].value for row in table.rows if row[0].note] == ["Centre"]
    part = found.records.to_pylist()
    for row in part[:4]:
        row["pointing"] = None
    holes = Evaluation(found.records.from_pylist(part, schema=found.records.schema), found.options)
    assert "pointing game 1" in table_of(holes, "means-all-localisation").title
    single = synthetic(10, {"gradcam": (0.9, 0.6, 0.4)})
    assert not any("differences" in name for name in evaluation_page.Methods(single).tables())


def test_markdown_has_every_table_and_escapes_nothing_away():
    text = markdown(synthetic(options={"discernible": {"k": 3}}))
    assert text.count("\n## ") >= 9
    assert "| Discernible neurons | " in text
    assert re.search(
        r"\*\*[+−]\d+\.\d\*\* \[(better|worse)\] \[[+−]\d+\.\d to [+−]\d+\.\d, p [<=] 0\.\d{3}\]",
        text,
    )
    for block in re.findall(r"(?:\|.*\n)+", text):
        assert len({line.count("|") for line in block.splitlines()}) == 1


def test_cases_are_where_the_first_method_stands_apart_failures_first():
    chosen = choose_cases(synthetic(), failures=3, others=2)
    gaps = [gap for _, gap in chosen]
    assert [gap < 0 for gap in gaps] == sorted((gap < 0 for gap in gaps), reverse=True)
    worse = [gap for gap in gaps if gap < 0]
    assert worse == sorted(worse)
    assert choose_cases(synthetic(5, {"gradcam": (0.5, 0.5, 0.5)})) == []
    assert choose_cases(synthetic(5, measures=["sensitivity"])) == []


@pytest.mark.parametrize(("measures", "class_of"), [(["localisation"], 1), (["soft"], 2)])
def test_panels_explain_the_class_that_the_records_are_of(
    tmp_path, monkeypatch, measures, class_of
):
    write_photos(tmp_path, 2)
    rows = [
        {"file": "000.png", "method": method, "label": 1, "predicted": 2, "correct": False}
        for method in ("gradcam", "lrp")
    ]
    options = {"methods": ["gradcam", "lrp"], "measures": measures}
    asked, real = [], Judge.explain

    def noting(self, inputs, target, method, images):
        asked.append(target.tolist())
        return real(self, inputs, target, "gradcam", images)

    monkeypatch.setattr(Judge, "explain", noting)
    judge, names = judge_of(tiny_network(), PREPARATION), ["red", "green", "blue"]
    found = Evaluation(records(rows), options)
    collection = tiny_collection(tmp_path)
    (case,) = show_cases(found, [(0, -1.0)], judge, collection, PREPARATION, names)
    assert asked == [[class_of]] * 2
    assert names[class_of] in case.panels[0][3].label


def test_draws_are_told_wherever_tables_stand():
    each = ([0], [0, 1], [1])
    rows = [
        {"file": f"{n}", "method": "gradcam", "pointing": float(n < 2), "increase": n < 1}
        | {"draws": draws}
        for n, draws in enumerate(each)
    ]
    options = {"methods": ["gradcam"], "measures": ["localisation", "confidence"]}
    found = Evaluation(records(rows), options | {"draws": 2, "samples": 2})
    assert table_of(found, "draws-pointing").rows[0][1:] == [1.0, 0.5, 0.75]
    assert table_of(found, "draws-increase").rows[0][1:] == [0.5, 0.0, 0.25]
    for text in (judged(found), markdown(found)):
        assert "2 draws of 2 " in text


def test_the_page_of_an_evaluation_has_figures_tables_and_images(pages):
    page = pages["evaluation"]
    assert EVIL in page.inner_text("#setup")
    assert page.evaluate(SEEN.format("main .plot")) >= 3
    # Plotly's groups and the images have classes of the same names.
    assert page.locator("#methods .plot .points path:visible").count() >= 3 * 3
    assert page.locator("#images .points:visible").count() == 0
    assert page.locator("#images .case").count() >= 1
    assert page.locator("#methods table:has-text('draw 2')").count() == 2
    assert page.locator('nav a[href="robustness.html"]').count() == 1


def test_images_of_few_pixels_are_shown_as_they_are(files):
    text = files["evaluation"].read_text(encoding="utf-8")
    assert "image-rendering:pixelated" in text
    assert "data:image/png;base64," in text


# Attacks


def test_numbers_come_first_and_images_after(pages):
    page = pages["robustness"]
    assert page.evaluate(SEEN.format("#moved .plot")) == 2
    assert page.locator("#images .case").count() == 3
    assert "bee becomes <cat>" in page.inner_text("#image-0 h3")
    first = page.locator("#image-0")
    assert first.locator(".panels").count() == 1 + 5
    assert "Discernible neurons, CNN-Fixations" in first.locator("details summary").inner_text()
    assert "0.25 grey levels, 3 steps" in first.inner_text()
    assert "moved 4.0" in first.locator(".explained").nth(2).inner_text()
    assert "50 times as strong" in first.inner_text()
    assert "25.0\u00a0% on the object" in first.locator(".explained").nth(3).inner_text()
    assert first.locator(".explained").nth(3).locator(".frame.truth").count() == 1


def test_switches_hide_heat_and_boxes_without_a_script(files, visit):
    page = visit(files["robustness"], script=False)
    assert page.locator("#image-0 .heat:visible").count() > 0
    page.uncheck("#show-heat")
    page.uncheck("#show-box")
    assert page.locator(".heat:visible").count() == 0
    assert page.locator(".explained .frame:not(.truth):visible").count() == 0


def test_a_result_from_a_file_has_numbers_alone(tmp_path, visit):
    found = small_robustness(names=None, boxes=False)
    again = Robustness.load(found.save(tmp_path / "a.json"))
    page = visit(write_robustness(tmp_path / "a.html", again, SETUP, title="Mine"))
    assert page.inner_text("h1") == "Mine"
    assert page.locator(".plot").count() == 3
    assert page.locator("#images, .toggles").count() == 0
    assert page.complaints == []


def test_nothing_was_fooled_is_a_page_too(tmp_path, visit):
    options = {"classes": 10, "overshoot": 0.02, "steps": 50, "seed": 0, "bounded": False}
    found = Robustness(("gradcam",), (attacked(fooled=False),), (), {}, options)
    page = visit(write_robustness(tmp_path / "a.html", found, SETUP))
    assert "changed the decision on none of 1 image" in page.inner_text(".verdict")
    assert page.locator(".plot").count() == 0


def test_the_verdict_on_attacks_claims_what_the_intervals_allow():
    lines = [str(one) for one in robustness_page.findings(small_robustness())]
    assert any(
        "further under the attack than under noise. Grad-CAM (4.1\u00a0% of the diagonal" in line
        for line in lines
    )
    (told,) = (line for line in lines if "covers less of the old object" in line)
    assert (
        "Grad-CAM 25.0\u00a0% on it, for the old class 50.0\u00a0%, untouched 50.0\u00a0% "
        "(by −25.0 points [−25.0 to −25.0])" in told
    )
    assert "Spread evenly it would have 20.0\u00a0% there" in told
    boxless = robustness_page.findings(small_robustness(boxes=False))
    assert not any("old object" in str(one) for one in boxless)
    assert lines[0].startswith("An attack changes the decision on 3 of 4 images")
    assert "0.25 grey levels of 255" in lines[0]
    assert "None of 3 attacks still work" in lines[-1]
    without = robustness_page.findings(
        Robustness(("gradcam",), (attacked(levels=None),), (), {}, {})
    )
    assert "length 0.75" in str(without[0])
    assert not any("saved" in str(one) or "Evidence" in str(one) for one in without)


# Two networks


def test_it_says_who_is_right_and_what_each_looked_at(pages):
    page = pages["two networks"]
    assert "both right" in page.inner_text("#right table")
    first = page.locator("#image-0")
    assert "Other is right; Small takes it for ant" in first.inner_text()
    assert "Overlap 0.00" in first.inner_text()
    panels = first.locator(".explained")
    assert panels.count() == 3
    assert "wrong: ant 90.0" in panels.nth(0).inner_text()
    assert "right: bee 80.0" in panels.nth(1).inner_text()
    assert "the true class: bee 40.0" in panels.nth(2).inner_text()
    assert first.locator(".photo .truth, figure:not(.explained) .truth").count() == 1
    second = page.locator("#image-1").inner_text()
    assert "Small is right; Other takes it for <cat>" in second
    assert "no evidence found" in second


def test_without_boxes_and_names_there_is_less_to_say(tmp_path, visit):
    found = small_comparison(names=None, boxes=False)
    page = visit(write_two_networks(tmp_path / "a.html", found, (SETUP, SETUP)))
    assert page.locator(".plot").count() == 1
    assert page.locator(".truth").count() == 0
    assert "takes it for class 0" in page.inner_text("#image-0")
    again = TwoNetworks.load(found.save(tmp_path / "a.json"))
    page = visit(write_two_networks(tmp_path / "b.html", again, (SETUP, SETUP)))
    assert page.locator("#images").count() == 0
    assert page.complaints == []


@pytest.mark.parametrize(
    ("both", "one", "words"),
    [
        (0.6, 0.1, "they look at other parts"),
        (0.1, 0.6, "more of the same"),
        (0.5, 0.5, "the same parts as elsewhere"),
        (0.5, 0.49, "is undecided"),
    ],
)
def test_the_verdict_on_two_networks_claims_what_the_intervals_allow(both, one, words):
    rows = [network_row(overlap=both + 0.01 * at) for at in range(5)]
    rows += [network_row((1, 0), overlap=one + 0.01 * at) for at in range(5)]
    found = TwoNetworks(("A", "B"), "gradcam", tuple(rows), {}, {"area": 0.2})
    lines = [str(line) for line in two_networks_page.findings(found)]
    assert words in lines[1]
    assert "B has more of its evidence on the object than A. By 25.0 points" in lines[-1]


def test_each_network_has_its_setup(tmp_path):
    with pytest.raises(OptionError, match="one for each network"):
        write_two_networks(tmp_path / "a.html", small_comparison(), (SETUP,))


# Options learnt


def test_the_verdict_on_what_was_learnt_follows_the_interval():
    def first(*gain, **changes):
        return str(tuned_findings(tuned(*gain, **changes))[0])

    assert first().startswith("Use what was learnt.")
    assert "50.0\u00a0% of the boxes lie on the object, 38.0\u00a0% before" in first()
    assert "+12.0 points (+4.0 to +20.0)" in first()
    assert "undecided" in first((0.01, -0.03, 0.05))
    assert "tuning images would decide" in first((0.01, -0.03, 0.05))
    assert "equal" in first((0.001, -0.01, 0.012))
    assert first((-0.1, -0.2, -0.05)).startswith("Use the method’s own options")
    kept = tuned((0.0, -0.03, 0.03))
    kept = replace(kept, learned=tuple(replace(one, chosen=one.start) for one in kept.learned))
    assert "are the method’s own options" in str(tuned_findings(kept)[0])
    rest = " ".join(map(str, tuned_findings(tuned())))
    assert "3 tuning images without a box" in rest
    assert "Nothing to learn of weight of succeeding support" in rest


def test_rewards_and_regret_are_drawn_of_every_value():
    drawn = tuned_figures(tuned())
    assert sum(len(trace.x) for trace in drawn["rewards"].data) == 3 + 2 + 3 + 2
    assert drawn["regret"].data[2].y[-1] == pytest.approx(tuned().learned[2].run.regret[-1])
    assert tuned_figures(tuned(learned=())) == {}
    low, high = mean_rewards(learned("k", (1, 2), (0.0, 1.0), 1, trials=6))
    assert (low.value, low.high > 0.5, high.low < 0.9) == (0.0, True, True)


def test_what_learnt_nothing_has_a_page_too(tmp_path):
    text = write_tuned(tuned(learned=()), tmp_path / "a.html").read_text(encoding="utf-8")
    assert "Options of Discernible neurons, learnt" in text


# Explained images


def test_the_toggles_show_and_hide(pages):
    page = pages["explanations"]
    grey = "getComputedStyle(document.querySelector('.base')).filter"
    for name, what in (("heat", ".heat"), ("points", ".points"), ("box", ".explained .frame")):
        page.set_checked(f"#show-{name}", True)
        assert page.locator(f"#image-0 {what}").first.is_visible()
        page.set_checked(f"#show-{name}", False)
        assert page.locator(f"{what}:visible").count() == 0
    assert page.evaluate(grey) == "none"
    page.set_checked("#show-heat", True)
    assert "grayscale" in page.evaluate(grey)
    page.set_checked("#show-box", True)


def test_the_slider_goes_through_the_layers(pages):
    page = pages["explanations"]
    page.click("#image-0 details.through summary >> nth=0")
    box = page.locator("#image-0 .layers").first
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


def test_a_method_without_shares_is_not_told_in_shares(pages):
    page = pages["explanations"]
    page.click("#image-0 details.through summary >> nth=1")
    box = page.locator("#image-0 .layers").nth(1)
    box.locator(".step").last.click()
    assert box.locator(".facts").inner_text().endswith("9 selected neurons in 4 channels.")
    assert box.locator(".key").inner_text() == "largest dot: 1 neuron"
    assert "each counts the same" in page.locator("#image-0 .explained").nth(1).inner_text()


def test_a_map_alone_has_neither_points_nor_slider(tmp_path, visit):
    page = visit(written(tmp_path / "page.html", explained(rows=((mapped(),),))))
    assert page.locator("#show-points, .layers").count() == 0
    assert page.inner_text("h1") == "Why ant?"
    assert page.complaints == []


def test_no_evidence_is_said_in_words(tmp_path, visit):
    rows = ((traced(points=0), mapped(largest=0.0)),)
    page = visit(written(tmp_path / "page.html", explained(rows=rows)))
    assert page.locator(".explained .nothing").count() == 2
    assert "No evidence in 2 of 2 explanations" in page.inner_text(".verdict")
    assert page.locator(".explained .frame").count() == 0
    assert page.complaints == []


def test_the_verdict_says_what_was_asked_for_and_what_to_be_careful_with():
    one = shown(explained(rows=((mapped(2),),)), ["ant", "bee", "cat"], 1)
    lines = [str(line) for line in explanations_page.findings([one], [mapped(2)], 99)]
    assert lines[0] == "99 images: what in them spoke for cat. By Grad-CAM++."
    assert "the first 1 images" in lines[1]
    apart = shown(explained(rows=((mapped(), traced()),)), None, 1)
    unsure = replace(apart, confidence=0.3)
    lines = [str(line) for line in explanations_page.findings([unsure], [mapped(), traced()], 1)]
    assert "1 of 1 prediction below 50.0\u00a0% (a.png, 30.0\u00a0%)" in lines[1]
    assert "Methods’ boxes hardly overlap here" in lines[2]


def test_images_and_neurons_stand_in_the_page_once(files):
    text = files["explanations"].read_text(encoding="utf-8")
    assert text.count('<image id="pixels-') == 11
    data = json.loads(text.split('id="data">')[1].split("</script>")[0])
    assert len(data["images"]) == 2 + 6 + 9 * 2


def test_many_images_share_the_room_for_neurons():
    crowded = explained(rows=((traced(points=900),),))
    one, many = (shown(crowded, None, count).rows[0].panels[0].layers[0] for count in (1, 1000))
    assert (len(one["score"]), len(many["score"])) == (900, 83)
    assert "strongest 83 neurons of 900" in many["more"]


def test_what_reached_the_pixels_is_a_share_of_all():
    assert evidence_at_input(traced()) == pytest.approx(9 / 16)
    assert evidence_words(traced()) == "9 points, 56.2\u00a0% arrived"
    assert evidence_at_input(traced(score=1 / 9)) == 1.0
    assert evidence_at_input(traced(carried=False)) is None
    assert evidence_at_input(mapped()) is None
    assert evidence_words(mapped()) == "map of layer features.relu"
    assert evidence_words(traced(points=0)) == box_words(traced(points=0)) == "no evidence found"


def test_records_lead_back_to_the_file():
    ours, _, cam = record_of(explained(), None)["explanations"]
    assert ours["box"] == [12.0, 10.0, 15.0, 13.0]
    assert ours["box_in_file"] == [28.0, 10.0, 31.0, 13.0]
    assert ours["strongest"][0] == {"x": 12, "y": 10, "score": 0.0625}
    assert (ours["name"], cam["points"], cam["strongest"]) == (None, None, [])
    record = record_of(explained(rows=((traced(points=0),),)), ["ant", "bee", "cat"])
    nothing = record["explanations"][0]
    assert nothing["evidence"] is False
    assert [nothing[name] for name in ("box", "box_in_file", "points")] == [None, None, 0]
    assert (ours["heat_map_of"], cam["heat_map_of"]) == ("points", "maps")
    assert ours["regions"]["radius"] == 0.1
    assert cam["regions"] == {"threshold": 0.5, "connected": False}


def test_records_say_what_heat_maps_are_made_of():
    rows = ((layered(sigma=0), layered(radius=0.3)),)
    ours, around_points = record_of(explained(rows=rows), None)["explanations"]
    assert ours["heat_map_of"] == around_points["heat_map_of"] == "layers"
    assert ours["regions"] == {"sigma": 0, "threshold": 0.3, "connected": True}
    assert around_points["regions"].keys() == {"sigma", "min_share", "radius", "weighted"}
    assert around_points["box"] == [12.0, 10.0, 15.0, 13.0]
    left, top, right, bottom = ours["box"]
    assert (left > 4, top > 12, right < 24, bottom < 28) == (True,) * 4
    assert ours["points"] == 9


def test_the_page_tells_layers_from_points_and_maps():
    rows = (layered(), traced(method="discernible-p3"), mapped())
    page = explanations_page.Images([shown(explained(rows=(rows,)), None, 1)], rows)
    heat = {name: heat for name, heat, _ in page.tables()["drawn"].rows}
    box = {name: box for name, _, box in page.tables()["drawn"].rows}
    assert heat["Discernible neurons"].startswith("It is not made of the points")
    assert heat["Discernible neurons of P3"].startswith("The points, each spread")
    assert heat["Grad-CAM++"].startswith("The method’s map as it is")
    assert "30\u00a0% of its maximum and hang together with it" in box["Discernible neurons"]
    assert box["Discernible neurons of P3"].startswith("Around the points that are no outliers")
    options = page.tables()["options"].rows
    assert ["Discernible neurons", "Inputs of a convolution (k)", "5"] in options


def test_a_page_that_tells_more_than_its_result_knows_names_the_function_to_call(tmp_path):
    for result, name in ((small_robustness(), "robustness"), (small_comparison(), "two_networks")):
        with pytest.raises(OptionError, match=f"call cofire.report.pages.write_{name}"):
            write_report(result, tmp_path / "page.html")
    assert not list(tmp_path.iterdir())
