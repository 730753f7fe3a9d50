"""What results show of themselves in a notebook, and the figures that they draw."""

import re

import pytest
import torch
from torch import nn

import cofire
from cofire.errors import MissingExtraError, OptionError, ResultError
from cofire.report.notebook import ROWS, display, in_notebook
from tests.conftest import Tiny
from tests.evaluate.seen import small_comparison, small_robustness
from tests.evaluate.test_evaluation import hand_made
from tests.report.synthetic import trajectory
from tests.report.synthetic_pages import tuned

UGLY = "<b>cat</b> $x$"
"""A name that would be HTML, or mathematics."""


def made():
    """One result of every kind that shows itself."""
    tiny = Tiny()
    summary = cofire.summarize(
        tiny.network, tiny.data, by_class=True, pairs="class", class_names=[UGLY, "b", "c"]
    )
    parts = [tuple(one[start : start + 30] for one in tiny.data) for start in (0, 30, 60)]
    booster = cofire.Booster(tiny.network).fit(*parts[:2])
    return {
        "network": tiny.network,
        "summary": summary,
        "layer": summary.layers[0],
        "graph": summary.graph(summary.layers[0].layer.name),
        "trajectory": trajectory(checkpoints=20),
        "explanation": cofire.explain(tiny.network, tiny.inputs[:3]),
        "booster": booster,
        "comparison": cofire.compare(tiny.network, *parts),
        "evaluation": hand_made(),
        "robustness": small_robustness(),
        "two networks": small_comparison(),
        "tuned": tuned(),
    }


@pytest.fixture(scope="module")
def results():
    torch.manual_seed(0)
    return made()


KINDS = ["network", "summary", "layer", "graph", "trajectory", "explanation", "booster"]
KINDS += ["comparison", "evaluation", "robustness", "two networks", "tuned"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_result_is_a_small_table_or_pictures(results, kind):
    html = results[kind]._repr_html_()
    assert ("<table>" in html) != ("data:image/png" in html)
    assert "<script" not in html
    assert "http" not in html
    # Light and dark follow the page it stands in.
    assert not re.search(r"(?<!max-)(color|background):(?!inherit|none)", html)
    assert len(html) < 60_000


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["plotly", "matplotlib"])
def test_every_result_draws_itself(results, kind, backend, tmp_path):
    figure = results[kind].plot(backend=backend)
    if backend == "plotly":
        assert figure.data
        assert figure.layout.height
    else:
        assert figure.axes
        figure.savefig(tmp_path / "figure.png")


@pytest.mark.slow
def test_every_figure_of_a_run_is_drawn_by_both(tmp_path):
    run = trajectory(checkpoints=4)
    for make in display(run).figures:
        for name, figure in make().items():
            drawn = run.plot(name, backend="matplotlib")
            assert run.plot(name).to_json() == figure.to_json()
            assert len(drawn.axes) >= 1
            drawn.savefig(tmp_path / f"{name}.svg")


def test_names_are_text(results, tmp_path):
    html = results["graph"]._repr_html_().replace("<wbr>", "")
    assert "&lt;b&gt;cat&lt;/b&gt; $x$" in html
    assert "<b>cat" not in results["graph"].plot().to_json().replace("\\u003c", "<")
    drawn = results["graph"].plot("unique-neurons", backend="matplotlib")
    assert drawn.axes[0].get_xticklabels()[0].get_text() == r"<b>cat</b> \$x\$"
    drawn.savefig(tmp_path / "names.png")


def test_of_a_long_table_rows_at_even_distances_are_shown(results):
    html = results["trajectory"]._repr_html_()
    assert html.count("<tr>") == ROWS + 1
    assert f"{ROWS} of 20 rows, at even distances" in html
    first, last = re.findall(r'<tr><th scope="row"[^>]*><span class="v">(\d+)', html)[:: ROWS - 1]
    assert (first, last) == ("1", "20")


def test_the_values_of_a_table_are_those_of_the_result(results):
    html = in_notebook(results["network"])
    for layer in results["network"].activation_layers:
        assert f'<span class="v">{layer.neurons()}</span>' in html


def test_a_figure_that_there_is_not_is_answered_with_those_that_there_are(results):
    with pytest.raises(OptionError, match=r"one of graph, unique-neurons\. To fix it: try 'graph'"):
        results["graph"].plot("grapf")
    with pytest.raises(OptionError, match="matplotlib"):
        results["graph"].plot(backend="bokeh")


def test_what_has_no_numbers_yet_cannot_be_drawn():
    booster = cofire.Booster(Tiny().network)
    assert "not fitted" in booster._repr_html_()
    with pytest.raises(ResultError, match="fit or measure it first"):
        booster.plot()
    with pytest.raises(OptionError, match="fit or measure it first"):
        booster.plot("gain")
    silent = cofire.Network(nn.Sequential(nn.Linear(3, 2)), torch.zeros(1, 3))
    assert "<table>" in silent._repr_html_()
    with pytest.raises(ResultError, match="nothing can be drawn"):
        silent.plot()


def test_without_matplotlib_the_extra_is_named(results, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(MissingExtraError, match=r'pip install "cofire\[matplotlib\]"'):
        results["network"].plot(backend="matplotlib")


def test_a_type_of_ones_own_is_registered():
    class Own:
        pass

    with pytest.raises(TypeError, match="nothing is known of how a Own shows itself"):
        in_notebook(Own())
