"""Change story: a section of the report of the user's own is one class with a decorator, in one file."""

from __future__ import annotations

import re

import pytest
from typer.testing import CliRunner

import cofire
from cofire.cli.main import app
from cofire.report import SECTIONS, figures
from tests.report import synthetic

OWN = """
import plotly.graph_objects as go

from cofire.report import Column, Section, Table, register_section


@register_section
class Sizes(Section):
    id, title, label = "sizes", "Which layer has most neurons?", "Sizes"

    def __init__(self, sizes):
        self.sizes = sizes

    @classmethod
    def of(cls, results):
        if len(results.layers) < 2:
            return None
        return cls(dict(zip(results.layers, results.layer("neurons")[:, -1].astype(int).tolist())))

    def lead(self):
        return f"Most are in {max(self.sizes, key=self.sizes.get)}."

    def figures(self):
        figure = go.Figure(go.Bar(x=list(self.sizes), y=list(self.sizes.values())))
        return {"sizes-of-layers": figure.update_layout(title="Neurons of each layer", height=300)}

    def tables(self):
        columns = [Column("layer"), Column("neurons")]
        return {"sizes": Table("Neurons of each layer.", columns, list(self.sizes.items()))}
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The one file that the user writes."""
    known = dict(SECTIONS)
    path = tmp_path_factory.mktemp("story") / "own.py"
    path.write_text(OWN)
    yield path
    SECTIONS.clear()
    SECTIONS.update(known)


@pytest.fixture(scope="module")
def page(plugin):
    """The report of a study that was made before, with it."""
    folder = plugin.parent / "run"
    synthetic.trajectory(layers=(30, 1200), checkpoints=3).save(folder)
    done = CliRunner().invoke(app, ["--plugin", str(plugin), "report", str(folder)])
    assert done.exit_code == 0, done.output
    return folder / "report.html"


def test_it_stands_after_the_others_with_its_answer_figure_and_table(page):
    text = page.read_text(encoding="utf-8")
    assert text.index('<section id="neurons"') < text.index('<section id="sizes"')
    section = text[text.index('<section id="sizes"') : text.index('<section id="setup"')]
    assert "Which layer has most neurons?" in section
    assert "Most are in relu_2." in section
    assert re.search(r"<b>Figure \d\.</b> Neurons of each layer", section)
    assert re.search(r"<b>Table \d+\.</b> Neurons of each layer\.", section)
    assert "1,200" in section


def test_a_link_in_the_contents_leads_to_it(page):
    assert '<a href="#sizes">Sizes</a>' in page.read_text(encoding="utf-8")


def test_its_figure_is_drawn_and_among_those_that_are_written(page, visit):
    shown = visit(page)
    assert shown.is_visible("#plot-sizes-of-layers .main-svg >> nth=0")
    assert shown.complaints == []
    assert "sizes-of-layers" in figures(cofire.Trajectory.load(page.parent))


def test_results_that_it_cannot_read_have_none(plugin, page, tmp_path):
    assert "sizes" in SECTIONS
    one = cofire.write_report(
        synthetic.trajectory(layers=(30,), checkpoints=2), tmp_path / "p.html"
    )
    assert 'id="sizes"' not in one.read_text(encoding="utf-8")
