import re

import pyarrow as pa
import pytest

from cofire.errors import ResultError
from cofire.report import figures, write_report
from cofire.study.trajectory import Trajectory

from . import synthetic

EVIL = "</script><script>window.evil=1</script><img src=x onerror=window.evil=1>"


@pytest.fixture(scope="session")
def run():
    return synthetic.trajectory()


@pytest.fixture(scope="session")
def report(run, tmp_path_factory):
    return write_report(
        run,
        tmp_path_factory.mktemp("report") / "report.html",
        command="cofire study mnist --seed 0",
    )


def text_of(path):
    """The page without its scripts."""
    return re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def written(trajectory, tmp_path, **keywords):
    return write_report(trajectory, tmp_path / "page.html", **keywords)


def test_the_page_tells_the_story_in_order(report):
    page = text_of(report)
    order = [
        "result",
        "setup",
        "course",
        "correlation",
        "distributions",
        "idle",
        "top",
        "conclusions",
    ]
    places = [page.index(f'<section id="{name}"') for name in order]
    assert places == sorted(places)
    assert "cofire study mnist --seed 0" in page
    assert "entropy fell by" in page


def test_every_option_is_printed_known_or_not(report):
    page = text_of(report)
    for expected in (
        "learning rate",
        "0.001",
        "bins (R)",
        "my own note",
        "version of torch",
        "2.15.0",
        "60,000",
    ):
        assert expected in page


def test_every_figure_of_the_page_is_in_figures(run, report):
    page = report.read_text(encoding="utf-8")
    assert set(re.findall(r'id="data-([\w-]+)"', page)) == set(figures(run))


def test_figures_and_tables_are_numbered_without_gaps(report):
    page = text_of(report)
    for what, least in (("Figure", 5), ("Table", 6)):
        numbers = [int(n) for n in re.findall(rf"<b>{what} (\d+)\.</b>", page)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= least


def test_one_checkpoint_leaves_out_course_and_correlation(tmp_path):
    single = synthetic.single(test=False)
    page = text_of(written(single, tmp_path))
    assert 'id="course"' not in page
    assert 'id="correlation"' not in page
    assert "One checkpoint shows no trend" in page
    assert all(name.startswith("distribution-") for name in figures(single))


def test_what_is_null_throughout_is_left_out(tmp_path):
    bare = synthetic.trajectory(test=False, labels=False, classes=(), dead=False, options={})
    page = text_of(written(bare, tmp_path))
    assert "against test accuracy" not in page
    assert "none were kept in this run" in page
    assert "No neuron is dead" in page
    assert {"distribution-selectivity", "distribution-information", "dead-neurons"}.isdisjoint(
        figures(bare)
    )
    assert "nan" not in page.lower().replace("explanations", "")
    assert "None" not in page.replace("None of", "")


def test_a_constant_series_is_not_defined_and_says_why(tmp_path):
    run = synthetic.trajectory(checkpoints=5)
    column = run.layers.schema.get_field_index("train_accuracy")
    flat = pa.array([0.5] * len(run.layers), pa.float64())
    layers = run.layers.set_column(column, run.layers.schema.field(column), flat)
    page = text_of(written(Trajectory(layers, run.classes, run.neurons, run.options), tmp_path))
    assert "not defined" in page
    assert "constant training accuracy" in page


def test_two_checkpoints_are_too_few(tmp_path):
    assert "too few, it takes 3" in text_of(written(synthetic.trajectory(checkpoints=2), tmp_path))


def test_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(ResultError, match="without checkpoints"):
        written(Trajectory.empty(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_from_users_cannot_become_markup(tmp_path):
    run = synthetic.trajectory(
        classes=(EVIL, "plain"), layers=(30, 30), layer_names=[EVIL + "1", EVIL + "2"]
    )
    page = written(run, tmp_path, title=EVIL, command=EVIL).read_text(encoding="utf-8")
    assert "<img src=x" not in page
    assert "<script>window.evil" not in page
    assert "&lt;script&gt;window.evil=1" in page


def test_names_from_users_do_nothing_in_a_browser(tmp_path, visit):
    run = synthetic.trajectory(
        classes=(EVIL, "plain"), layers=(30, 30), layer_names=[EVIL + "1", EVIL + "2"]
    )
    page = visit(written(run, tmp_path, title=EVIL, command=EVIL))
    page.hover("#plot-layer-entropy .nsewdrag", position={"x": 200, "y": 60})
    page.wait_for_timeout(200)
    assert page.evaluate("window.evil") is None
    assert page.complaints == []
    assert page.inner_text("h1") == EVIL


def test_the_page_asks_nothing_of_the_network_and_complains_of_nothing(report, visit):
    page = visit(report)
    assert page.requested[0].startswith("file://")
    assert all(url.startswith(("file:", "data:")) for url in page.requested)
    assert page.complaints == []
    assert page.evaluate("[...document.querySelectorAll('.plot[data-drawn]')].length") == 9


def test_no_button_sends_a_figure_anywhere(report, visit):
    titles = visit(report).evaluate(
        "[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
    )
    assert titles
    assert not any("share" in t.lower() or "cloud" in t.lower() for t in titles)


def test_a_figure_can_be_saved_from_the_page(report, visit):
    image = visit(report).evaluate(
        "Plotly.toImage(document.querySelector('.plot'), {format: 'png'})"
    )
    assert image.startswith("data:image/png;base64,")


@pytest.mark.parametrize("width", [360, 390, 1280])
def test_the_page_does_not_scroll_sideways(report, visit, width):
    assert visit(report, width=width).evaluate("document.documentElement.scrollWidth") <= width


def test_the_theme_button_recolours_page_and_figures(report, visit):
    page = visit(report)
    ink = "document.getElementById('plot-layer-entropy')._fullLayout.font.color"
    ground = "getComputedStyle(document.body).backgroundColor"
    before = page.evaluate(ink), page.evaluate(ground)
    page.click("#theme")
    after = page.evaluate(ink), page.evaluate(ground)
    assert before[0] != after[0]
    assert before[1] != after[1]
    page.click("#theme")
    assert (page.evaluate(ink), page.evaluate(ground)) == before


def test_the_theme_follows_the_system(report, visit):
    dark = visit(report, scheme="dark")
    ground = "getComputedStyle(document.body).backgroundColor"
    assert dark.evaluate(ground) != visit(report).evaluate(ground)
    assert dark.inner_text("#theme") == "Light"


def test_units_can_be_switched_by_keyboard(report, visit):
    page = visit(report)
    page.focus("text=Own units")
    page.keyboard.press("Enter")
    assert page.is_visible("#plot-entropy-accuracy-raw .main-svg >> nth=0")
    assert not page.is_visible("#plot-entropy-accuracy")
    assert page.get_attribute("text=Own units", "aria-pressed") == "true"


def test_printing_is_light_and_fits_the_paper(report, visit):
    page = visit(report, scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    layout = "document.getElementById('plot-layer-entropy')._fullLayout"
    assert page.evaluate(f"{layout}.font.color") == "#1c2430"
    assert page.evaluate(f"{layout}.width") <= 680
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(f"{layout}.font.color") != "#1c2430"
    page.wait_for_timeout(500)
    assert page.evaluate(f"{layout}.width") > 680
    assert page.pdf()[:4] == b"%PDF"


def test_the_tables_can_be_read_without_scripts(report, visit):
    page = visit(report, script=False)
    assert "can be read without it" in page.inner_text("noscript >> nth=0")
    assert "−0." in page.inner_text("#correlation table >> nth=0")
    assert not page.is_visible("#theme")


@pytest.mark.slow
def test_a_large_run_stays_small_and_quick(tmp_path, visit):
    path = written(synthetic.large(), tmp_path)
    assert path.stat().st_size < 12_000_000
    page = visit(path, width=390)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.evaluate("document.querySelectorAll('details:not([open]) table').length") >= 3
