import dataclasses
import re

import pytest

from cofire.errors import ResultError
from cofire.report import figures, write_report
from cofire.report.section import SECTIONS
from cofire.study.trajectory import Trajectory
from tests.browser import CONTRAST, SEEN, WORDS, until, widths

from . import synthetic
from .synthetic_boost import with_boost
from .synthetic_explanations import with_explanations
from .synthetic_graphs import with_graphs
from .synthetic_pictures import with_pictures

EVIL = "</script><script>window.evil=1</script><img src=x onerror=window.evil=1>"


@pytest.fixture(scope="module")
def run():
    """With all that a study can ask for."""
    base = synthetic.trajectory(layers=(120, 100), checkpoints=8)
    base = dataclasses.replace(base, options={**base.options, "recipe": "p2-mnist"})
    whole = with_boost(with_graphs(base, top=12), gains=((0.006, 0.002),) * 8)
    return with_pictures(with_explanations(whole))


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    folder = run.save(tmp_path_factory.mktemp("report"))
    return write_report(run, folder / "report.html", command="cofire study mnist --seed 0")


@pytest.fixture(scope="module")
def page(report, visit_once):
    return visit_once(report)


def text_of(path):
    """The page without its scripts."""
    return re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)


def written(trajectory, tmp_path, **keywords):
    return write_report(trajectory, tmp_path / "page.html", **keywords)


def test_the_verdict_comes_first_then_one_section_per_question(report):
    page = text_of(report)
    names = ["result", *SECTIONS, "setup"]
    places = [page.index(f'<section id="{name}"') for name in names]
    assert places == sorted(places)
    verdict = page[places[0] : places[1]]
    assert 4 <= verdict.count("<li class=") <= 6
    assert verdict.index('class="fine"') > verdict.rindex('class="note"')
    assert "nats" not in verdict
    contents = page[page.index("<nav") : page.index("</nav>")]
    assert re.findall(r'href="#([\w-]+)"', contents) == [*SECTIONS, "setup"]


def test_what_is_not_folded_is_short(page):
    words = page.evaluate(WORDS)
    assert words <= 1500
    # A strip of small pictures is a row, no figure.
    assert page.evaluate(SEEN.format("main figure:not(.strip), main .figure")) <= 8
    assert page.evaluate("document.documentElement.scrollHeight") < 5800


def test_the_verdict_is_on_the_first_screen(page):
    box = page.locator(".verdict").bounding_box()
    assert box["y"] + box["height"] < 900


def test_the_contents_stay_in_view(page):
    page.evaluate("document.getElementById('setup').scrollIntoView()")
    until(page, "document.querySelector('nav').getBoundingClientRect().y < 5")
    assert 0 <= page.locator("nav").bounding_box()["y"] < 5
    page.evaluate("scrollTo(0, 0)")


def test_every_option_is_printed_known_or_not(report):
    page = text_of(report)
    for expected in ("learning rate", "0.001", "bins", "my own note", "2.15.0", "60,000"):
        assert expected in page
    assert "cofire study mnist --seed 0" in page
    assert "neurons.parquet, graphs.parquet" in page


def test_every_figure_of_the_page_is_in_figures(run, report):
    shown = set(re.findall(r'id="data-([\w-]+)"', report.read_text(encoding="utf-8")))
    stills = {f"graph-layer-{i}-{when}" for i in (1, 2) for when in ("first", "last")}
    assert set(figures(run)) == shown | stills
    assert shown == set(re.findall(r'data-figure="([\w-]+)"', text_of(report)))


def test_figures_and_tables_are_numbered_without_gaps(report):
    page = text_of(report)
    for what, least in (("Figure ", 6), ("Figure A", 9), ("Table ", 9)):
        numbers = [int(n) for n in re.findall(rf"<b>{what}(\d+)\.</b>", page)]
        assert numbers == list(range(1, len(numbers) + 1))
        assert len(numbers) >= least


def test_one_checkpoint_draws_no_course(tmp_path):
    single = synthetic.single(test=False)
    page = text_of(written(single, tmp_path))
    assert 'id="course"' not in page
    assert "first checkpoint" not in page
    assert "last checkpoint" not in page
    assert {name.split("-")[0] for name in figures(single)} <= {"distribution", "idle"}


def test_what_is_null_throughout_is_left_out(tmp_path):
    bare = synthetic.trajectory(test=False, labels=False, classes=(), dead=False, options={})
    page = text_of(written(bare, tmp_path))
    assert "against test accuracy" not in page
    assert "none were kept in this run" in page
    assert "No neuron is dead" in page
    absent = {"distribution-selectivity", "distribution-information", "dead-neurons"}
    assert absent.isdisjoint(figures(bare))
    assert "nan" not in page.lower()
    assert "None" not in page


def test_no_checkpoint_is_an_error(tmp_path):
    with pytest.raises(ResultError, match="without checkpoints"):
        written(Trajectory.empty(), tmp_path)
    assert not list(tmp_path.iterdir())


def test_names_from_users_do_nothing(tmp_path, visit):
    run = synthetic.trajectory(
        classes=(EVIL, "plain"), layers=(30, 30), layer_names=[EVIL + "1", EVIL + "2"]
    )
    path = written(run, tmp_path, title=EVIL, command=EVIL)
    source = path.read_text(encoding="utf-8")
    assert "<img src=x" not in source
    assert "<script>window.evil" not in source
    page = visit(path)
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.hover("#plot-layer-entropy .nsewdrag", position={"x": 200, "y": 60})
    page.wait_for_timeout(200)
    assert page.evaluate("window.evil") is None
    assert page.complaints == []
    assert page.inner_text("h1") == EVIL


def test_the_page_asks_nothing_of_the_network_and_complains_of_nothing(page):
    assert page.requested[0].startswith("file://")
    assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requested)
    assert page.complaints == []
    titles = page.evaluate(
        "[...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title)"
    )
    assert titles
    assert not any("share" in t.lower() or "cloud" in t.lower() for t in titles)
    image = page.evaluate("Plotly.toImage(document.querySelector('.plot'), {format: 'png'})")
    assert image.startswith("data:image/png;base64,")


def test_folded_figures_are_drawn_when_they_are_opened(page):
    assert page.get_attribute("#plot-layer-entropy", "data-drawn") is None
    page.click("#course details.part >> nth=0 >> summary >> nth=0")
    page.wait_for_selector("#plot-layer-entropy .main-svg")
    page.wait_for_timeout(100)
    wide, figure = (page.locator(s).bounding_box() for s in ("main", "#plot-layer-entropy"))
    assert figure["width"] > wide["width"] / 2
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = true; })")
    page.wait_for_timeout(400)
    assert widths(page, 360, 390, 1280) == [360, 390, 1280]
    assert page.complaints == []
    page.evaluate("document.querySelectorAll('details').forEach(d => { d.open = false; })")


def test_the_theme_recolours_page_and_figures_by_button_and_system(page):
    ink = "document.getElementById('plot-entropy-accuracy-raw')._fullLayout.font.color"
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ink), page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    until(page, f"{ink} !== {light[0]!r} && {ground} !== {light[1]!r}")
    dark = page.evaluate(ink), page.evaluate(ground)
    assert light[0] != dark[0]
    assert light[1] != dark[1]
    assert page.inner_text("#theme") == "Light"
    page.click("#theme")
    until(page, f"{ink} === {light[0]!r} && {ground} === {light[1]!r}")
    page.evaluate("delete document.documentElement.dataset.theme")
    page.emulate_media(color_scheme="light")
    page.wait_for_timeout(200)


def test_text_has_contrast_in_both_schemes(page):
    """Every visible text against the ground it stands on, as WCAG AA asks: 4.5, or 3 for large text."""
    assert page.evaluate(CONTRAST) == []
    page.emulate_media(color_scheme="dark")
    page.wait_for_timeout(100)
    assert page.evaluate(CONTRAST) == []
    page.emulate_media(color_scheme="light")


def test_printing_is_light_and_fits_the_paper(page):
    page.emulate_media(color_scheme="dark")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    layout = "document.getElementById('plot-entropy-accuracy-raw')._fullLayout"
    assert page.evaluate(f"{layout}.font.color") == "#1c2430"
    assert page.evaluate(f"{layout}.width") <= 680
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    until(page, f"{layout}.font.color !== '#1c2430'")
    page.emulate_media(color_scheme="light")
    assert page.pdf()[:4] == b"%PDF"


def test_the_tables_can_be_read_without_scripts(report, visit):
    page = visit(report, script=False)
    assert "can be read without it" in page.inner_text("noscript >> nth=0")
    page.click("#course details.part >> nth=1 >> summary >> nth=0")
    assert "−0." in page.inner_text("#course table >> nth=1")
    assert not page.is_visible("#theme")


@pytest.mark.slow
def test_a_large_run_stays_small_and_quick(tmp_path, visit):
    path = written(synthetic.large(), tmp_path)
    assert path.stat().st_size < 12_000_000
    page = visit(path, width=390)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
