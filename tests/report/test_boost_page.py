"""Boosting in the report: verdicts that say no more than the intervals, and a page that shows what they follow from."""

import base64
import re

import pyarrow as pa
import pytest

from cofire.errors import ResultError
from cofire.report import figures, write_boost_report, write_report
from cofire.report.boost import tables, wording
from cofire.report.boost.facts import BoostFacts
from cofire.statistics import Interval
from cofire.study.boosts import boost_at, decimals
from cofire.study.digest import digest

from . import synthetic
from .synthetic_boost import DIGITS, with_boost
from .synthetic_boost import tables as boost_tables

EVIL = '</script><img src=x onerror=window.evil=1>"&'


def facts_of(**keywords):
    return BoostFacts(*boost_tables(**keywords), dict(enumerate(DIGITS)))


def told(over_base, of_control, **keywords):
    return str(wording.verdict_told(facts_of(gains=((over_base, of_control),), **keywords)))


def alone(tmp_path, *, class_names=DIGITS, options=None, title=None, command=None, **keywords):
    return write_boost_report(
        *boost_tables(classes=class_names, **keywords),
        tmp_path / "boost.html",
        class_names=class_names,
        options=options or {},
        title=title,
        command=command,
    )


def text_of(path):
    return re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


@pytest.fixture(scope="session")
def run():
    return with_boost(synthetic.trajectory(layers=(30, 20), checkpoints=6), width=0.0018)


@pytest.fixture(scope="session")
def report(run, tmp_path_factory):
    folder = run.save(
        tmp_path_factory.mktemp("boost")
    )  # a page names the tables that lie beside it
    return write_report(run, folder / "report.html")


def test_what_beats_model_and_control_helps():
    assert told(0.006, 0.002) == (
        "The booster (readout) classifies 0.6 points better than the model [+0.4, +0.8]. Of that, 0.4 points [+0.2, "
        "+0.6] are not reached by the best control of the last layer (last layer trained on), which gains 0.2. The "
        "difference from that control has two parts: values of all layers instead of the last, +0.4 points [+0.2, "
        "+0.6] (better), and patterns on top of values, 0.0 points [−0.2, +0.2] (equal within ±0.5 points). It helps; "
        "activation patterns add nothing that matters to the values of all layers."
    )
    assert "which loses 0.1. The" in told(0.006, -0.001)
    assert "which changes nothing. The" in told(0.006, 0.0)


@pytest.mark.parametrize(
    ("patterns", "width", "said"),
    [
        (0.004, 0.002, "It helps, and activation patterns are part of why."),
        (
            0.0,
            0.002,
            "It helps; activation patterns add nothing that matters to the values of all layers.",
        ),
        (
            0.004,
            0.005,
            "It helps; whether activation patterns add to the values of all layers is undecided.",
        ),
        (
            -0.004,
            0.002,
            "It helps; without activation patterns, on values alone, it would help more.",
        ),
    ],
)
def test_only_what_beats_the_values_alone_is_due_to_activation_patterns(patterns, width, said):
    assert told(0.016, 0.002, patterns=patterns, width=width).endswith(said)


def test_where_almost_every_neuron_is_always_active_it_is_said():
    said = told(0.006, 0.002, always_active=3)
    assert "In 3 of 4 layers almost every neuron is always active" in said
    assert "who fires tells nothing there." in said
    assert "always active" not in told(0.006, 0.002)


def test_no_verdict_speaks_for_patterns_that_were_not_measured():
    boosts, classes, flips = boost_tables()
    older = boosts.filter(pa.compute.field("kind") != "ablation")
    for name in (
        "values_gain",
        "values_gain_low",
        "values_gain_high",
        "layers_read",
        "layers_always_active",
    ):
        at = older.schema.get_field_index(name)
        older = older.set_column(
            at, older.schema.field(name), pa.nulls(len(older), older.schema.field(name).type)
        )
    said = str(wording.verdict_told(BoostFacts(older, classes, flips, {})))
    assert said.endswith("which gains 0.2. It helps.")
    assert boost_at(older, 1).patterns_verdict == "undecided"


def test_a_gain_that_a_control_has_too_needs_no_activation_patterns():
    said = told(0.006, 0.005)
    assert (
        "6 points better than the model [+0.4, +0.8]. But the gain needs no layer but the last"
        in said
    )
    assert (
        "gains 0.5 and does as well, within ±0.5 points (difference +0.1 points [−0.1, +0.3])"
        in said
    )
    assert said.endswith("It makes no difference that matters (within ±0.5 points counts as none).")


def test_what_is_undecided_is_no_equality_and_told_with_the_samples_that_would_decide():
    said = told(0.021, 0.002, width=0.0195, samples=280)
    assert "Whether that takes more layers than the last cannot be told" in said
    assert "(difference +1.90 points [−0.05, +3.85]; about 610 test samples would decide)" in said
    assert said.endswith("Whether it helps is undecided.")
    for word in ("does as well", "needs no"):
        assert word not in said
    neither = told(0.004, 0.002, width=0.01)
    assert "cannot be told from the model" in neither
    assert "that is no evidence that the two do as well" in neither


def test_a_control_that_does_better_is_said_to():
    said = told(0.006, 0.010)
    assert "gains 1.0: the booster lies 0.4 points behind it [−0.6, −0.2]" in said
    assert said.endswith("It does not help: the control does better.")
    assert "the booster lies 0.4 points behind it" in told(0.001, 0.005)


@pytest.mark.parametrize(("base", "control"), [(0.001, 0.0), (0.001, -0.004), (0.0, 0.0)])
def test_what_is_equal_to_the_model_makes_no_difference(base, control):
    said = told(base, control)
    assert "classifies as well as the model, within ±0.5 points" in said
    assert "makes no difference that matters" in said
    assert ("no improvement" in said) == (control == -0.004)


@pytest.mark.parametrize("control", [0.0, -0.005, -0.010])
def test_what_is_worse_than_the_model_hurts_whatever_the_control_does(control):
    said = told(-0.005, control)
    assert "0.5 points worse than the model [−0.7, −0.3]" in said
    assert said.endswith("It hurts.")


def test_every_combination_of_verdicts_is_told():
    for over_base in (0.01, 0.0, -0.01):
        for over_control in (0.01, 0.0, -0.01):
            for width in (0.002, 0.009):
                said = told(over_base, over_base - over_control, width=width)
                assert said[0].isupper()
                assert said.endswith(".")
                assert ".." not in said


def test_page_and_comparison_have_one_verdict():
    for base in ("better", "equal", "undecided", "worse"):
        ends = {
            "better": (0.01, 0.03),
            "equal": (-0.001, 0.001),
            "undecided": (-0.02, 0.02),
            "worse": (-0.03, -0.01),
        }
        rows = boost_tables()[0].to_pylist()
        for row in rows:
            if row["role"] == "booster":
                row["base_gain_low"], row["base_gain_high"] = ends[base]
                row["base_gain"] = sum(ends[base]) / 2
                row["gain"], row["gain_low"], row["gain_high"] = 0.02, 0.01, 0.03
        assert (
            boost_at(pa.Table.from_pylist(rows, schema=boost_tables()[0].schema), 1).verdict == base
        )


def test_intervals_have_the_decimals_they_deserve():
    assert decimals(Interval(0.01, -0.02, 0.04)) == 1
    assert decimals(Interval(0.002, 0.0003, 0.004)) == 2  # 0.03 points would read as 0.0
    assert decimals(Interval(0.0005, 0.00002, 0.001)) == 3
    assert decimals(Interval(0.0, 0.0, 0.0)) == decimals(Interval(0.01)) == 1


def test_the_course_counts_checkpoints_by_their_verdicts():
    said = wording.course_told(
        facts_of(gains=((0.010, 0.001), (0.006, 0.002), (0.001, 0.006), (0.002, 0.002)))
    )
    assert said.startswith(
        "The booster is better than the best control in 2 of 4 checkpoints, worse in 1, equal within ±0.5 points in 1, "
        "all held to 5\N{NO-BREAK SPACE}% together (Holm)."
    )
    assert "+0.2 points over the best control and +0.5 over the model" in said
    assert wording.course_told(facts_of()) == ""


def test_verdicts_over_checkpoints_are_corrected_for_their_number():
    """Of 20 intervals three leave out zero by little: alone each helps, together none is shown to."""
    gains = tuple((0.0025 if number < 3 else 0.001, 0.0) for number in range(20))
    facts = facts_of(gains=gains)
    assert [boost.over_control.says(0.005) for boost in facts.boosts].count("better") == 3
    assert "better" not in facts.verdicts
    said = wording.course_told(facts)
    assert said.startswith("The booster is better than the best control in 0 of 20 checkpoints")
    assert "By itself the interval of 3 lies above zero" in said


def test_the_paper_is_told_with_what_it_leaves_open(report):
    assert "holds its auxiliary network against the model alone" in text_of(report)


def test_changed_predictions_are_counted_not_the_examples():
    assert (
        "puts 90 wrong predictions of the model right and 30 right ones wrong: it repairs 60 more"
        in (wording.flips_told(facts_of()))
    )
    assert "as many as it breaks" in wording.flips_told(facts_of(gains=((0.0, 0.0),)))
    assert "50 fewer" in wording.flips_told(facts_of(gains=((-0.005, 0.0),)))


def test_a_row_of_each_role_is_needed():
    boosts, classes, flips = boost_tables()
    with pytest.raises(ResultError, match="0 rows of role 'best control'"):
        boost_at(boosts.filter(pa.compute.field("role") != "best control"), 1)
    with pytest.raises(ResultError, match="without rows"):
        BoostFacts(boosts.slice(0, 0), classes, flips, {})
    with pytest.raises(ResultError, match="'flips' with the columns"):
        BoostFacts(boosts, classes, classes, {})
    rows = [{**row, "test_accuracy": float("nan")} for row in boosts.to_pylist()]
    unknown = pa.Table.from_pylist(rows, schema=boosts.schema)
    with pytest.raises(ResultError, match="no numbers"):
        boost_at(unknown, 1)


def test_many_classes_show_the_most_changed():
    rows = tables.class_rows(facts_of(classes=[f"class {i}" for i in range(30)]))
    changes = [
        sum(abs(int(v[2].replace("−", "-"))) for v in (r.false_positives, r.false_negatives))
        for r in rows
    ]
    assert len(rows) == 10
    assert changes == sorted(changes, reverse=True)
    assert len(tables.class_rows(facts_of(classes=[f"class {i}" for i in range(20)]))) == 20


def test_the_mean_row_is_the_papers():
    found = tables.mean_row(facts_of(gains=((0.010, 0.001), (0.006, 0.003))))
    assert found == {
        "train": "+0.40",
        "test": "+0.80",
        "control": "+0.20",
        "gain": "+0.60",
        "patterns": "0.00",
    }


def test_without_boosting_the_page_has_no_trace_of_it(tmp_path):
    page = write_report(synthetic.trajectory(checkpoints=2), tmp_path / "p.html").read_text(
        encoding="utf-8"
    )
    for word in ('id="boost"', "#boost", "boosts.parquet", "best control"):
        assert word not in page
    assert not any(
        name.startswith("boost") for name in figures(synthetic.trajectory(checkpoints=2))
    )


def test_the_section_and_the_head_of_the_page_say_the_verdict(run, report):
    page = text_of(report)
    said = wording.verdict_told(BoostFacts(run.boosts, run.boost_classes, run.flips, {}))
    assert page.count(said.text) == 2  # section, conclusions
    assert page.count(said.first) == 3  # and the head, in two sentences
    assert (
        page.index("<h1>")
        < page.index(said.lead)
        < page.index('id="setup"')
        < page.index(said.text)
    )
    assert f"<b>{said.conclusion}</b>" in page
    assert '<a href="#boost">Boost</a>' in page
    assert "neurons.parquet, boosts.parquet, boost_classes.parquet and flips.parquet" in page
    assert "None" not in page.replace("None of", "")


def test_figures_and_tables_are_numbered_without_gaps(run, report):
    page = text_of(report)
    for what in ("Figure", "Table"):
        numbers = [int(n) for n in re.findall(rf"<b>{what} (\d+)\.</b>", page)]
        assert numbers == list(range(1, len(numbers) + 1))
    assert set(re.findall(r'id="data-([\w-]+)"', report.read_text(encoding="utf-8"))) == set(
        figures(run)
    )


def test_booster_and_best_control_are_marked(report):
    page = text_of(report)
    assert re.search(r'class="chosen"><th scope="row">readout <span class="tag booster">', page)
    assert re.search(
        r'class="chosen"><th scope="row">last layer trained on <span class="tag best-control">',
        page,
    )
    assert page.count('class="chosen"') == 2


def test_examples_are_of_the_last_checkpoint_and_stand_in_the_page(run, report):
    page = text_of(report)
    last = [row["image"] for row in run.flips.to_pylist() if row["checkpoint"] == 6]
    assert [
        base64.b64decode(found)
        for found in re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    ] == last
    assert "12 of 80" in page


def test_the_page_is_quiet_and_draws_everything(report, visit):
    page = visit(report)
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requested)
    assert page.is_visible("#plot-boost-gain .main-svg >> nth=0")
    assert page.locator("#plot-boost-gain .yerror").count() == 12
    assert page.evaluate(
        "[...document.querySelectorAll('.flips img')].every(i => i.naturalWidth === 28)"
    )
    size = page.locator(".flips img").first.bounding_box()
    assert (size["width"], size["height"]) == (64, 64)
    assert (
        page.evaluate("getComputedStyle(document.querySelector('.flips img')).imageRendering")
        == "pixelated"
    )


def test_the_theme_recolours_the_interval_bars(report, visit):
    page = visit(report)
    stroke = "getComputedStyle(document.querySelector('#plot-boost-gain .yerror')).stroke"
    before = page.evaluate(stroke)
    page.click("#theme")
    page.wait_for_timeout(100)
    assert page.evaluate(stroke) != before


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_does_not_scroll_sideways(report, visit, width):
    page = visit(report, width=width)
    page.evaluate("document.querySelectorAll('#boost details').forEach(d => { d.open = true; })")
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_one_checkpoint_has_no_lines_but_all_gains(tmp_path, visit):
    run = with_boost(synthetic.single())
    path = write_report(run, tmp_path / "page.html")
    page = text_of(path)
    section = page[page.index('id="boost"') : page.index('id="distributions"')]
    assert 'id="plot-boost-methods"' in section
    assert "boost-accuracy" not in section
    assert "last checkpoint" not in section
    assert "as in the paper’s Table 2" not in section
    seen = visit(path)
    assert seen.locator("#plot-boost-methods .xerror").count() == 9
    assert seen.complaints == []


def test_a_page_by_itself(tmp_path, visit):
    options = {
        "dataset": "mnist",
        "boost": "readout",
        "validation": 0.1,
        "versions": {"torch": "2.15.0"},
    }
    path = alone(tmp_path, options=options, command="cofire boost model.pt")
    page = text_of(path)
    for expected in (
        "Boosting a model by what its neurons do: mnist",
        "cofire boost model.pt",
        "2.15.0",
    ):
        assert expected in page
    assert page.count("0.6 points better than the model") == 1
    seen = visit(path, width=390, scheme="dark")
    assert seen.complaints == []
    assert seen.evaluate("document.documentElement.scrollWidth") <= 390
    assert seen.inner_text("#theme") == "Light"


def test_a_page_by_itself_over_checkpoints_says_the_course(tmp_path):
    page = text_of(alone(tmp_path, gains=((0.006, 0.002), (0.005, 0.002)), title="Mine"))
    assert "<h1>Mine</h1>" in page
    assert page.count("better than the best control in 2 of 2 checkpoints") == 1
    assert 'id="setup"' not in page


def test_names_from_users_do_nothing(tmp_path, visit):
    boosts, classes, flips = boost_tables(classes=(EVIL, "b", "c"))
    rows = [{**row, "title": EVIL + row["title"], "fitted_on": EVIL} for row in boosts.to_pylist()]
    path = write_boost_report(
        pa.Table.from_pylist(rows, schema=boosts.schema),
        classes,
        flips,
        tmp_path / "p.html",
        class_names=(EVIL, "b", "c"),
        options={"dataset": EVIL},
        title=EVIL,
        command=EVIL,
    )
    assert "<img src=x" not in path.read_text(encoding="utf-8")
    page = visit(path)
    assert page.evaluate("window.evil") is None
    assert page.complaints == []
    assert EVIL in page.inner_text("#boost .errors")


def test_what_is_no_picture_is_not_shown(tmp_path, visit):
    boosts, classes, flips = boost_tables(images=False)
    rows = flips.to_pylist()
    rows[0]["image"] = b"<svg onload=alert(1)>"
    path = write_boost_report(
        boosts,
        classes,
        pa.Table.from_pylist(rows, schema=flips.schema),
        tmp_path / "p.html",
        class_names=DIGITS,
        options={},
    )
    assert "<img" not in text_of(path)
    assert "sample 137" in text_of(path)
    assert visit(path).complaints == []


def test_without_examples_classes_or_intervals_the_page_stands(tmp_path, visit):
    boosts, classes, flips = boost_tables()
    gone = ["train_accuracy", "validation_accuracy", "repaired", "broken"]
    gone += [
        f"{gain}{end}" for gain in ("gain", "base_gain", "values_gain") for end in ("_low", "_high")
    ]
    rows = [{**row, **dict.fromkeys(gone)} for row in boosts.to_pylist()]
    path = write_boost_report(
        pa.Table.from_pylist(rows, schema=boosts.schema),
        classes.slice(0, 0),
        flips.slice(0, 0),
        tmp_path / "p.html",
        class_names=(),
        options={},
    )
    page = text_of(path)
    assert "was not counted" in page
    assert "Whether it helps is undecided." in page
    assert "None" not in page
    assert "nan" not in page.lower()
    assert visit(path).complaints == []


def test_the_digest_has_a_line():
    run = with_boost(synthetic.trajectory(layers=(20,), checkpoints=3), gains=((0.006, 0.002),) * 3)
    assert digest(run)[-1] == (
        "Boost        +0.6 points over the model [+0.4, +0.8], +0.4 over the best control (last layer trained on) "
        "[+0.2, +0.6]: better (margin 0.5 points); +0.4 by all layers instead of the last [+0.2, +0.6]: better, +0.0 "
        "by patterns on top of values [-0.2, +0.2]: equal"
    )
    assert not any(line.startswith("Boost") for line in digest(synthetic.trajectory(checkpoints=2)))
