import dataclasses
import json
import re

import pyarrow as pa
import pytest

from cofire.report import figures, write_report
from cofire.report.section import Results
from cofire.report.sections.graphs import Graphs
from tests.browser import until, widths

from . import synthetic
from .synthetic_graphs import with_graphs

EVIL = '</script><b onclick="window.evil=1">"&'


@pytest.fixture(scope="module")
def run():
    return with_graphs(synthetic.trajectory(layers=(200, 160), checkpoints=5), top=20)


@pytest.fixture(scope="module")
def report(run, tmp_path_factory):
    return write_report(run, tmp_path_factory.mktemp("graphs") / "report.html")


@pytest.fixture(scope="module")
def page(report, visit_once):
    page = visit_once(report)
    # It begins with the layer that the sentence above it is about.
    assert page.input_value("[data-part=layer]") == "1"
    page.select_option("[data-part=layer]", "0")
    return page


def section_of(path):
    page = re.sub(r"<script.*?</script>", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    return page[page.index('<section id="graphs"') : page.index('<section id="neurons"')]


def data_of(path):
    page = path.read_text(encoding="utf-8")
    return json.loads(re.search(r'id="graph-data">(.*?)</script>', page, re.DOTALL).group(1))


def written(trajectory, tmp_path):
    return write_report(trajectory, tmp_path / "page.html")


CANVAS = "document.querySelector('#graph-viewer canvas').toDataURL()"


def drawing(page):
    """What is drawn once it stands still: a busy machine draws late."""
    seen = []
    for _ in range(200):
        page.wait_for_timeout(60)
        seen.append(page.evaluate(CANVAS))
        if len(seen) > 2 and len(set(seen[-3:])) == 1:
            return seen[-1]
    raise AssertionError("the drawing does not come to rest")


def slide(page, name, value):
    page.evaluate(
        "([name, value]) => { const s = document.querySelector(`[data-part=${name}]`); s.value = value;"
        " s.dispatchEvent(new Event('input', {bubbles: true})); }",
        [name, value],
    )


def test_without_graphs_the_page_has_no_trace_of_them(tmp_path):
    page = written(synthetic.trajectory(checkpoints=2), tmp_path).read_text(encoding="utf-8")
    for word in ('id="graph-viewer"', "graph-data", 'id="graphs"', "edges.parquet"):
        assert word not in page


@pytest.mark.parametrize(
    ("top", "reason"),
    [
        (12, "in layer1 every neuron represents every class"),
        (1, "in layer1 one neuron represents each class"),
    ],
)
def test_where_representatives_tell_nothing_a_sentence_stands_in(tmp_path, top, reason):
    base = synthetic.trajectory(layers=(12,), checkpoints=2, layer_names=["layer1"])
    section = section_of(written(with_graphs(base, top=top), tmp_path))
    assert reason in section
    assert "graph-viewer" not in section
    assert "data-figure" not in section


def test_one_layer_that_tells_nothing_leaves_the_others(tmp_path):
    base = synthetic.trajectory(layers=(12, 60), checkpoints=2, layer_names=["narrow", "broad"])
    path = written(with_graphs(base, top=12), tmp_path)
    said = "Of 1 layer nothing is drawn: in narrow every neuron represents every class."
    assert said in section_of(path)
    assert [scene["layer"] for scene in data_of(path)["scenes"]] == ["broad"]


def test_the_data_hold_no_numbers_that_json_or_javascript_lack(report):
    page = report.read_text(encoding="utf-8")
    text = re.search(r'id="graph-data">(.*?)</script>', page, re.DOTALL).group(1)
    assert not re.search(r"\b(NaN|Infinity)\b", text)
    scene = data_of(report)["scenes"][0]
    assert all(isinstance(n, str) for n in scene["neurons"])
    assert len(scene["graphs"]) == 5


def test_the_same_trajectory_gives_the_same_page(run, report, tmp_path):
    assert written(run, tmp_path).read_bytes() == report.read_bytes()


def test_the_drawing_draws_itself_quietly(page):
    page.wait_for_timeout(100)
    colours = page.evaluate(
        "() => { const c = document.querySelector('#graph-viewer canvas');"
        " const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data; const s = new Set();"
        " for (let i = 0; i < d.length; i += 4) if (d[i + 3] === 255) s.add((d[i] << 16) | (d[i + 1] << 8) | d[i + 2]);"
        " return [...s]; }"
    )
    assert {0x0072B2, 0xD95F02, 0x7A4B2A} <= set(colours)
    assert page.complaints == []
    assert all(url.startswith(("file:", "data:", "blob:")) for url in page.requested)


def test_the_slider_moves_through_the_checkpoints(page):
    before = drawing(page), page.inner_text("[data-part=said]")
    assert "Checkpoint 5" in page.inner_text("[data-part=moment]")
    slide(page, "checkpoint", 0)
    assert "Checkpoint 1" in page.inner_text("[data-part=moment]")
    until(page, f"{CANVAS} !== {json.dumps(before[0])}")
    assert page.inner_text("[data-part=said]") != before[1]
    assert page.get_attribute("[data-part=checkpoint]", "aria-valuetext").startswith("Checkpoint 1")
    slide(page, "checkpoint", 3)
    page.click("[data-part=play]")
    assert page.inner_text("[data-part=play]") == "Pause"
    page.wait_for_selector("[data-part=play]:text-is('Play')", timeout=60_000)
    assert "Checkpoint 5" in page.inner_text("[data-part=moment]")
    until(page, f"{CANVAS} === {json.dumps(before[0])}")


def test_less_motion_is_respected(page):
    page.emulate_media(reduced_motion="reduce")
    slide(page, "checkpoint", 0)
    first = drawing(page)
    page.wait_for_timeout(500)
    assert drawing(page) == first
    slide(page, "checkpoint", 4)
    page.emulate_media(reduced_motion="no-preference")


def test_pointing_at_a_neuron_tells_its_numbers(run, page):
    page.locator("#graph-viewer canvas").scroll_into_view_if_needed()
    page.focus("#graph-viewer canvas")
    page.keyboard.press("ArrowRight")
    told = page.inner_text("[data-part=neuron]")
    number = int(re.search(r"Neuron (\d+)", told).group(1))
    row = next(
        r
        for r in run.vertices.to_pylist()
        if (r["layer"], r["checkpoint"], r["neuron"]) == ("relu_1", 5, number)
    )
    assert f"{row['entropy']:.2f} nats" in told
    assert f"{row['strength']:.2f}" in told
    assert str(row["degree"]) in told
    assert ", ".join(map(str, row["classes"])) in told
    assert any(word in told for word in ("specialist of", "connector of", "neuron of"))
    page.keyboard.press("Escape")
    assert "Point at a neuron" in page.inner_text("[data-part=neuron]")


def test_the_pointer_finds_the_neuron_below_it(page):
    page.locator("#graph-viewer canvas").scroll_into_view_if_needed()
    page.focus("#graph-viewer canvas")
    page.keyboard.press("ArrowDown")
    chosen = page.inner_text("[data-part=neuron] h4")
    tip, box = (
        page.locator("[data-part=tip]").bounding_box(),
        page.locator("#graph-viewer canvas").bounding_box(),
    )
    page.keyboard.press("Escape")
    # The tip stands above its neuron, or below it at the upper rim.
    middle = tip["x"] + tip["width"] / 2
    for y in range(int(tip["y"] + tip["height"]), int(tip["y"] + tip["height"]) + 30, 3):
        page.mouse.move(middle, y)
        if page.is_visible("[data-part=tip]"):
            break
    assert page.inner_text("[data-part=neuron] h4") == chosen
    page.mouse.move(box["x"] + 4, box["y"] + box["height"] - 4)
    assert not page.is_visible("[data-part=tip]")


def test_colours_can_be_those_of_the_communities(page):
    before = drawing(page)
    page.focus("[data-by=community]")
    page.keyboard.press("Enter")
    assert drawing(page) != before
    assert page.get_attribute("[data-by=community]", "aria-pressed") == "true"
    assert page.inner_text("[data-part=groups] button >> nth=0").startswith("C1")
    page.click("[data-by=class]")


def test_one_class_can_be_shown_alone(page):
    before = drawing(page)
    page.click("[data-part=groups] button >> nth=2")
    assert page.get_attribute("[data-part=groups] button >> nth=2", "aria-pressed") == "true"
    assert drawing(page) != before
    page.click("[data-part=groups] button >> nth=2")
    page.mouse.move(0, 0)
    assert drawing(page) == before


def test_fewer_edges_can_be_drawn(page):
    before, told = drawing(page), page.inner_text("[data-part=drawn]")
    slide(page, "edges", 10)
    assert drawing(page) != before
    assert page.inner_text("[data-part=drawn]") != told
    slide(page, "edges", 100)


def test_layers_zoom_and_reset(page):
    first = drawing(page)
    page.click("[data-part=closer]")
    assert drawing(page) != first
    page.click("[data-part=reset]")
    assert drawing(page) == first
    page.select_option("[data-part=layer]", "1")
    assert drawing(page) != first
    page.select_option("[data-part=layer]", "0")
    assert drawing(page) == first


def test_a_neuron_is_found_by_its_number(run, page):
    here = [r for r in run.vertices.to_pylist() if (r["layer"], r["checkpoint"]) == ("relu_1", 5)]
    page.fill("[data-part=find]", str(here[7]["neuron"]))
    page.keyboard.press("Enter")
    assert page.inner_text("[data-part=neuron] h4") == f"Neuron {here[7]['neuron']}"
    page.fill("[data-part=find]", "99999")
    page.keyboard.press("Enter")
    assert "Point at a neuron" in page.inner_text("[data-part=neuron]")


def test_the_view_can_be_saved(page):
    with page.expect_download() as waiting:
        page.click("[data-part=save]")
    assert waiting.value.suggested_filename == "relu_1-checkpoint-5.png"
    content = waiting.value.path().read_bytes()
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20], "big") >= 1200
    assert page.complaints == []


def test_the_theme_recolours_the_drawing_and_paper_is_light(page):
    light = drawing(page)
    page.click("#theme")
    assert drawing(page) != light
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    page.click("#theme")
    assert drawing(page) == light


def test_modularities_are_drawn_when_they_are_unfolded(page):
    assert page.get_attribute("#plot-modularity-layer-2", "data-drawn") is None
    page.click("#graphs details.part >> nth=1 >> summary >> nth=0")
    page.wait_for_selector("#plot-modularity-layer-2 .main-svg")
    assert widths(page, 360, 390) == [360, 390]
    assert page.complaints == []


def test_names_from_users_do_nothing(tmp_path, visit):
    base = synthetic.trajectory(
        classes=(EVIL, "plain"), layers=(30, 30), layer_names=[EVIL + "1", EVIL + "2"]
    )
    path = written(with_graphs(base, top=12), tmp_path)
    assert '<b onclick="window' not in path.read_text(encoding="utf-8")
    page = visit(path)
    page.focus("#graph-viewer canvas")
    page.keyboard.press("ArrowRight")
    assert EVIL in page.inner_text("[data-part=neuron]")
    page.click("[data-by=community]")
    page.select_option("[data-part=layer]", "1")
    page.mouse.move(300, 300)
    with page.expect_download() as waiting:
        page.click("[data-part=save]")
    assert re.fullmatch(r"[\w.-]+", waiting.value.suggested_filename)
    assert page.evaluate("window.evil") is None
    assert page.complaints == []


@pytest.mark.parametrize("checkpoints", [1, 2])
def test_few_checkpoints(tmp_path, visit, checkpoints):
    run = with_graphs(synthetic.trajectory(layers=(60,), checkpoints=checkpoints), top=10)
    path = written(run, tmp_path)
    section = section_of(path)
    assert "Modularity against chance" in section
    assert ("modularity-layer-1" in section) == (checkpoints > 1)
    page = visit(path)
    assert page.is_visible("[data-part=play]") == (checkpoints > 1)
    assert page.complaints == []


def test_a_graph_without_edges_is_a_ring_of_isolated_neurons(tmp_path, visit):
    run = with_graphs(synthetic.trajectory(layers=(60,), checkpoints=3), top=10, edgeless=True)
    path = written(run, tmp_path)
    section = section_of(path)
    assert "a graph without edges has no communities" in section
    assert "nan" not in section.lower()
    page = visit(path)
    assert "isolated" in page.inner_text("[data-part=said]")
    assert page.inner_text("[data-part=drawn]") == "none"
    page.focus("#graph-viewer canvas")
    page.keyboard.press("ArrowRight")
    assert "isolated" in page.inner_text("[data-part=neuron]")
    assert page.complaints == []


def test_graphs_without_vertices(tmp_path, visit):
    run = with_graphs(synthetic.trajectory(layers=(60,), checkpoints=2), top=10)
    graphs = run.graphs.to_pylist()
    for row in graphs:
        row.update(
            vertices=0,
            edges=0,
            edges_kept=0,
            communities=0,
            community_sizes=[],
            community_mean_size=0.0,
        )
        row.update(unique_matrix=[0] * 100, unique_neurons=0, shared_neurons=0)
    empty = type(run)(
        run.layers,
        run.classes,
        run.neurons,
        run.options,
        graphs=pa.Table.from_pylist(graphs, schema=run.graphs.schema),
    )
    page = visit(written(empty, tmp_path))
    assert page.complaints == []
    assert "No neuron" in page.inner_text("[data-part=said]")
    assert figures(empty)


def test_many_classes_have_a_wheel_of_colours_and_no_numbers(tmp_path, visit):
    names = tuple(f"a class with a long name {i}" for i in range(70))
    run = with_graphs(synthetic.trajectory(layers=(300,), checkpoints=2, classes=names), top=4)
    path = written(run, tmp_path)
    assert "of so many classes is not drawn" in path.read_text(encoding="utf-8")
    assert len(set(data_of(path)["palettes"]["class"]["dark"])) == 70
    page = visit(path, width=390)
    assert page.complaints == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 390


def test_deep_networks_and_long_runs_are_thinned_and_say_so(tmp_path):
    run = with_graphs(
        synthetic.trajectory(layers=(12,) * 14, checkpoints=6, classes=("a", "b")), top=4
    )
    path = written(run, tmp_path)
    scenes = data_of(path)["scenes"]
    assert len(scenes) == 8
    assert [g["checkpoint"] for g in scenes[0]["graphs"]] == ["1", "2", "3", "4", "5", "6"]
    assert "8 of 14 layers are drawn" in section_of(path)
    assert {n for n in figures(run) if n.startswith("modularity")} == {
        "modularity-layers",
        "modularity-layer-14",
    }


def several(base, tops):
    """The trajectory with graphs of several numbers of representatives."""
    runs = {top: with_graphs(base, top=top) for top in tops}
    held = {}
    for name in ("graphs", "modularities", "vertices", "edges"):
        tables = {top: getattr(run, name) for top, run in runs.items()}
        place = tables[tops[0]].schema.get_field_index("top")
        held[name] = pa.concat_tables(
            table.set_column(place, "top", pa.array([top] * len(table), pa.int64()))
            for top, table in tables.items()
        )
    options = {**base.options, "top": list(tops)}
    return dataclasses.replace(base, **held, options=options)


def test_of_several_numbers_of_representatives_one_is_shown_and_the_others_are_told(tmp_path):
    base = synthetic.trajectory(layers=(60, 80), checkpoints=2)
    path = written(several(base, (12, 6, 20)), tmp_path)
    assert "Graphs of 6 and 20 neurons per class in place of 12 say the same." in section_of(path)
    assert data_of(path)["scenes"][0]["graphs"] == one_scene(base, tmp_path)
    table = Graphs.of(Results(several(base, (12, 6)))).tables()["tops"]
    assert [(row[0], row[1].value) for row in table.rows] == [
        (layer, top) for layer in ("relu_1", "relu_2") for top in (12, 6)
    ]


def one_scene(base, tmp_path):
    return data_of(written(with_graphs(base, top=12), tmp_path))["scenes"][0]["graphs"]


def test_what_was_observed_on_a_sample_has_an_interval_from_its_halves(tmp_path):
    run = with_graphs(synthetic.trajectory(layers=(60,), checkpoints=4), top=12)
    halves = pa.array([0.02, -0.02, 0.02, -0.02])
    graphs = run.graphs.drop_columns(
        [n for n in run.graphs.column_names if n == "modularity_halves"]
    ).append_column("modularity_halves", halves)
    section = Graphs.of(Results(dataclasses.replace(run, graphs=graphs)))
    low, high = section.sampled("relu_1")
    # A standard error of 0.01, of four checkpoints.
    assert high - low == pytest.approx([2 * 2.776445 * 0.01] * 4)
    assert Graphs.of(Results(run)).sampled("relu_1") is None


def test_the_page_speaks_of_a_layer_that_tells_classes_apart(tmp_path):
    base = synthetic.trajectory(layers=(60, 15), checkpoints=2, layer_names=["broad", "narrow"])
    path = written(with_graphs(base, top=12), tmp_path)
    assert "fire together" in section_of(path)
    assert "Neurons of a class in broad" in section_of(path)
