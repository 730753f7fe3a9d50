"""Boosting in the report: verdicts that say no more than the intervals, and a page that shows what they follow from."""

import base64
import dataclasses
import re

import pyarrow as pa
import pytest

from cofire.errors import ResultError
from cofire.report import figures, write_boost_report, write_report
from cofire.report.section import Results
from cofire.report.sections.boost import Boosting
from cofire.statistics import Interval
from cofire.study.boosts import boost_at, decimals
from tests.browser import until, widths

from . import synthetic
from .synthetic_boost import DIGITS, with_boost
from .synthetic_boost import tables as boost_tables

EVIL = '</script><img src=x onerror=window.evil=1>"&'


def section_of(**keywords):
    gains = keywords.pop("gains", ((0.006, 0.002),))
    run = synthetic.trajectory(layers=(8,), checkpoints=len(gains))
    return Boosting.of(Results(with_boost(run, gains=gains, **keywords)))


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
    page = re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"[ \n]+", " ", page)


@pytest.fixture(scope="module")
def run():
    return with_boost(synthetic.trajectory(layers=(30, 20), checkpoints=6), width=0.0018)


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    return write_report(run, run.save(tmp_path_factory.mktemp("boost")) / "report.html")


@pytest.mark.parametrize(
    ("over_base", "of_control", "width", "said"),
    [
        (0.006, 0.002, 0.002, "It helps"),
        (0.006, 0.005, 0.002, "It makes no difference that matters"),
        (0.004, 0.002, 0.01, "Whether it helps is undecided"),
        (0.006, 0.010, 0.002, "It does not help: the control does better."),
        (0.001, -0.004, 0.002, "It makes no difference that matters"),
        (-0.005, -0.010, 0.002, "It hurts."),
        (-0.005, 0.0, 0.002, "It hurts."),
    ],
)
def test_only_what_is_better_than_model_and_control_helps(
    tmp_path, over_base, of_control, width, said
):
    page = text_of(alone(tmp_path, gains=((over_base, of_control),), width=width))
    assert f"<b>{said}</b>" in page


@pytest.mark.parametrize(
    ("patterns", "width", "said"),
    [
        (0.004, 0.002, "and activation patterns are part of why"),
        (0.0, 0.002, "activation patterns add nothing that matters"),
        (
            0.004,
            0.005,
            "whether activation patterns add to how strongly all layers fire is undecided",
        ),
        (-0.004, 0.002, "without activation patterns it would help more"),
    ],
)
def test_only_what_beats_the_values_alone_is_due_to_patterns(tmp_path, patterns, width, said):
    page = text_of(alone(tmp_path, gains=((0.016, 0.002),), patterns=patterns, width=width))
    assert said in page[page.index("It helps") :]


def test_what_is_undecided_is_told_with_the_samples_that_would_decide(tmp_path):
    page = text_of(alone(tmp_path, gains=((0.021, 0.002),), width=0.0195, samples=280))
    needed = section_of(gains=((0.021, 0.002),), width=0.0195, samples=280).last.needed
    assert f"is undecided</b>; about {needed:,} test samples would decide" in page


def test_where_nearly_every_neuron_is_always_active_it_is_said(tmp_path):
    assert "In 3 of 4 layers nearly every neuron fires" in text_of(alone(tmp_path, always_active=3))
    assert "nearly every neuron" not in text_of(alone(tmp_path))


def test_no_verdict_speaks_for_patterns_that_were_not_measured(tmp_path):
    boosts, classes, flips = boost_tables()
    older = boosts.filter(pa.compute.field("kind") != "ablation")
    gone = [f"values_gain{end}" for end in ("", "_low", "_high")]
    for name in (*gone, "layers_read", "layers_always_active"):
        at = older.schema.get_field_index(name)
        nothing = pa.nulls(len(older), older.schema.field(name).type)
        older = older.set_column(at, older.schema.field(name), nothing)
    path = tmp_path / "p.html"
    write_boost_report(older, classes, flips, path, class_names=DIGITS, options={})
    assert "<b>It helps</b>." in text_of(path)


def test_page_and_comparison_have_one_verdict():
    ends = {
        "better": (0.01, 0.03),
        "equal": (-0.001, 0.001),
        "undecided": (-0.02, 0.02),
        "worse": (-0.03, -0.01),
    }
    for base, (low, high) in ends.items():
        rows = boost_tables()[0].to_pylist()
        for row in rows:
            if row["role"] == "booster":
                row.update(base_gain=(low + high) / 2, base_gain_low=low, base_gain_high=high)
                row.update(gain=0.02, gain_low=0.01, gain_high=0.03)
        table = pa.Table.from_pylist(rows, schema=boost_tables()[0].schema)
        assert boost_at(table, 1).verdict == base


def test_intervals_have_the_decimals_they_deserve():
    assert decimals(Interval(0.01, -0.02, 0.04)) == 1
    assert decimals(Interval(0.002, 0.0003, 0.004)) == 2  # 0.03 points would read as 0.0
    assert decimals(Interval(0.0005, 0.00002, 0.001)) == 3
    assert decimals(Interval(0.0, 0.0, 0.0)) == decimals(Interval(0.01)) == 1


def test_verdicts_over_checkpoints_are_corrected_for_their_number(tmp_path):
    """Of 20 intervals three leave out zero by little: alone each helps, together none is shown to."""
    gains = tuple((0.0025 if number < 3 else 0.001, 0.0) for number in range(20))
    found = section_of(gains=gains)
    assert [boost.over_control.says(0.005) for boost in found.boosts].count("better") == 3
    assert "better" not in found.verdicts
    assert "better than the best control in 0 of 20 checkpoints" in text_of(
        alone(tmp_path, gains=gains)
    )


def test_choices_of_layers_stand_side_by_side(tmp_path):
    base = synthetic.trajectory(layers=(8,), checkpoints=2)
    runs = {
        "LL": with_boost(base, gains=((0.006, 0.005),) * 2),
        "all": with_boost(base, gains=((0.009, 0.002),) * 2, width=0.001),
    }
    tables = {
        name: pa.concat_tables(
            getattr(run, name).set_column(
                getattr(run, name).schema.get_field_index("layers"),
                "layers",
                pa.array([layers] * len(getattr(run, name))),
            )
            for layers, run in runs.items()
        )
        for name in ("boosts", "boost_classes", "flips")
    }
    run = dataclasses.replace(base, **tables)
    path = write_report(run, tmp_path / "page.html")
    assert "Reading the last layer instead it gains +0.60 points" in text_of(path)
    assert "It helps" in text_of(path)
    section = Boosting.of(Results(run))
    assert [row[0] for row in section.tables()["layers"].rows] == ["all layers", "the last layer"]
    assert section.last.samples == 10_000
    assert {"boost-layers", "boost-gains"} <= set(figures(run))


def test_a_row_of_each_role_is_needed(tmp_path):
    boosts, classes, flips = boost_tables()
    path, known = tmp_path / "p.html", {"class_names": DIGITS, "options": {}}
    with pytest.raises(ResultError, match="0 rows of role 'best control'"):
        boost_at(boosts.filter(pa.compute.field("role") != "best control"), 1)
    with pytest.raises(ResultError, match="without rows"):
        write_boost_report(boosts.slice(0, 0), classes, flips, path, **known)
    with pytest.raises(ResultError, match="'flips': no column index"):
        write_boost_report(boosts, classes, classes, path, **known)
    rows = [{**row, "test_accuracy": float("nan")} for row in boosts.to_pylist()]
    with pytest.raises(ResultError, match="no numbers"):
        boost_at(pa.Table.from_pylist(rows, schema=boosts.schema), 1)


def test_many_classes_show_the_most_changed():
    many = section_of(classes=[f"class {i}" for i in range(30)]).tables()["classes"]
    changes = [sum(abs(int(cell.note.replace("−", "-"))) for cell in row[2:]) for row in many.rows]
    assert len(changes) == 10
    assert changes == sorted(changes, reverse=True)
    few = section_of(classes=[f"class {i}" for i in range(20)]).tables()["classes"]
    assert len(few.rows) == 20


def test_the_mean_row_is_the_papers():
    found = section_of(gains=((0.010, 0.001), (0.006, 0.003))).tables()["checkpoints"]
    assert list(found.totals) == ["mean gain", "", "+0.40", "", "+0.80", "+0.20", "+0.60", "0.00"]


def test_without_boosting_the_page_has_no_trace_of_it(tmp_path):
    run = synthetic.trajectory(checkpoints=2)
    page = text_of(write_report(run, tmp_path / "p.html"))
    for word in ('id="boost"', '"#boost"', "boosts.parquet", "best control"):
        assert word not in page
    assert not any(name.startswith("boost") for name in figures(run))


def test_the_verdict_and_the_section_agree(report):
    page = text_of(report)
    assert page.index("Boosting pays") < page.index('id="boost"') < page.index("<b>It helps</b>")
    assert "boosts.parquet, boost_classes.parquet, flips.parquet" in page
    assert re.search(r'readout</span> <span class="tag booster">', page)
    assert re.search(r'last layer trained on</span> <span class="tag best-control">', page)


def test_examples_are_of_the_last_checkpoint_and_stand_in_the_page(run, report):
    page = text_of(report)
    last = [row["image"] for row in run.flips.to_pylist() if row["checkpoint"] == 6]
    found = re.findall(r'src="data:image/png;base64,([^"]+)"', page)
    assert [base64.b64decode(image) for image in found] == last
    assert "12 of 80" in page


def test_the_page_is_quiet_and_draws_everything(report, visit):
    page = visit(report)
    assert page.is_visible("#plot-boost-gains .main-svg >> nth=0")
    bars = page.locator("#plot-boost-gains .xerror")
    assert bars.count() == 4  # the best control, values and patterns alone, the booster
    stroke = "getComputedStyle(document.querySelector('#plot-boost-gains .xerror')).stroke"
    before = page.evaluate(stroke)
    page.click("#theme")
    until(page, f"{stroke} !== {before!r}")
    page.evaluate("document.querySelectorAll('#boost details').forEach(d => { d.open = true; })")
    page.wait_for_selector("#plot-boost-gain .main-svg")
    images = "[...document.querySelectorAll('.flips img')].every(i => i.naturalWidth === 28)"
    assert page.evaluate(images)
    size = page.locator(".flips img").first.bounding_box()
    assert (size["width"], size["height"]) == (64, 64)
    assert widths(page, 360, 390) == [360, 390]
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in page.requested)


def test_one_checkpoint_has_no_lines_but_all_gains(tmp_path):
    page = text_of(write_report(with_boost(synthetic.single()), tmp_path / "page.html"))
    section = page[page.index('id="boost"') : page.index('id="setup"')]
    assert 'id="plot-boost-methods"' in section
    assert "boost-accuracy" not in section
    assert "last checkpoint" not in section
    assert "paper’s Table 2." not in section


def test_a_page_by_itself(tmp_path, visit):
    options = {"data": "mnist", "boost": "readout", "versions": {"torch": "2.15.0"}}
    path = alone(tmp_path, options=options, command="cofire boost model.pt")
    page = text_of(path)
    title = "Boosting a model by what its neurons do: mnist"
    for expected in (title, "cofire boost model.pt", "2.15.0"):
        assert expected in page
    seen = visit(path, width=390, scheme="dark")
    assert seen.complaints == []
    assert seen.evaluate("document.documentElement.scrollWidth") <= 390
    over = alone(tmp_path, gains=((0.006, 0.002), (0.005, 0.002)), title="Mine")
    assert "<h1>Mine</h1>" in text_of(over)
    assert "better than the best control in 2 of 2 checkpoints" in text_of(over)


def test_names_from_users_and_what_is_no_image_do_nothing(tmp_path, visit):
    boosts, classes, flips = boost_tables(classes=(EVIL, "b", "c"), images=False)
    rows = [{**row, "title": EVIL + row["title"], "fitted_on": EVIL} for row in boosts.to_pylist()]
    examples = flips.to_pylist()
    examples[0]["image"] = b"<svg onload=alert(1)>"
    path = write_boost_report(
        pa.Table.from_pylist(rows, schema=boosts.schema),
        classes,
        pa.Table.from_pylist(examples, schema=flips.schema),
        tmp_path / "p.html",
        class_names=(EVIL, "b", "c"),
        options={"data": EVIL},
        title=EVIL,
        command=EVIL,
    )
    assert "<img" not in text_of(path)
    page = visit(path)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    assert page.evaluate("window.evil") is None
    assert page.complaints == []
    assert EVIL in page.inner_text("#boost")


def test_without_examples_classes_or_intervals_the_page_stands(tmp_path, visit):
    boosts, classes, flips = boost_tables()
    gone = ["train_accuracy", "validation_accuracy", "repaired", "broken"]
    kinds = ("gain", "base_gain", "values_gain")
    gone += [f"{gain}{end}" for gain in kinds for end in ("_low", "_high")]
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
    assert "Whether it helps is undecided" in page
    assert "None" not in page
    assert "nan" not in page.lower()
    assert visit(path).complaints == []
