"""Change story: a measure of the user's own is one function with a decorator, in one file."""

from __future__ import annotations

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from cofire import Trajectory
from cofire.cli.main import app
from cofire.patterns import MEASURES

OWN = """
import cofire


@cofire.register_measure(
    title="Crowding",
    unit="share of firings",
    digits=3,
    bounds=(0, 1),
    by_class=True,
    meaning="Share of a neuron's firings in its fullest bin.",
)
def crowding(histogram):
    return histogram.amax(dim=1) / histogram.sum(dim=1).clamp(min=1)
"""


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The one file that the user writes."""
    known = dict(MEASURES)
    path = tmp_path_factory.mktemp("story") / "own.py"
    path.write_text(OWN)
    yield path
    MEASURES.clear()
    MEASURES.update(known)


@pytest.fixture(scope="module")
def folder(plugin):
    """A study with it."""
    out = plugin.parent / "run"
    line = (
        f"--plugin {plugin} study digits --hidden 8 --epochs 3 --checkpoints 3 --bins 10 "
        f"--pairs none --out {out}"
    )
    done = CliRunner().invoke(app, line.split())
    assert done.exit_code == 0, done.output
    return out


def test_it_is_a_column_of_neurons_layers_and_classes(folder):
    found = Trajectory.load(folder)
    for table in (found.neurons, found.layers, found.classes):
        assert all(0 < value <= 1 for value in table["crowding"].to_pylist() if value is not None)
        assert table["crowding"].null_count < len(table)
    by_neuron = found.neurons.filter(found.neurons["checkpoint"].to_numpy() == 1)["crowding"]
    assert found.layers["crowding"][0].as_py() == pytest.approx(by_neuron.to_numpy().mean())


def test_the_file_says_what_the_column_means(folder):
    about = pq.read_schema(folder / "layers.parquet").field("crowding").metadata
    assert about[b"meaning"] == b"Share of a neuron's firings in its fullest bin."
    assert about[b"unit"] == b"share of firings"


def test_it_is_held_against_accuracy(folder):
    rows = pq.read_table(folder / "correlations.parquet").to_pylist()
    own = {(row["scope"], row["accuracy"]) for row in rows if row["measure"] == "crowding"}
    assert own == {(s, a) for s in ("network", "layer", "class") for a in ("train", "test")}


def test_the_report_shows_it(folder):
    page = (folder / "report.html").read_text()
    assert "Crowding" in page
    assert "Share of a neuron" in page


@pytest.mark.parametrize("verb", ["study", "summarize"])
def test_help_tells_of_it(plugin, verb):
    shown = CliRunner().invoke(app, ["--plugin", str(plugin), verb, "--help"]).output
    assert "crowding" in shown
    assert "fullest bin" in " ".join(shown.split())


def test_without_the_plugin_the_results_still_open(folder):
    own = MEASURES.pop("crowding")
    try:
        found = Trajectory.load(folder)
        assert "crowding" in found.layers.column_names
        assert "crowding" not in found.correlations()["measure"].to_pylist()
    finally:
        MEASURES["crowding"] = own
