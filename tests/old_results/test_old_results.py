"""Results of earlier days open, say what they said, and are reported; what they lack is null.

Each archive beside this file holds what code of that day wrote (`write.py`).
"""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import get_type_hints

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import cofire
from cofire.renamed import WORDS
from tests.golden.place import build, colour_network
from tests.golden.running import run
from tests.old_results.write import COMMANDS

ARCHIVES = sorted(Path(__file__).parent.glob("*.zip"))


@pytest.fixture(scope="module", params=ARCHIVES, ids=lambda path: path.stem)
def results(request, tmp_path_factory):
    folder = tmp_path_factory.mktemp(request.param.stem)
    with zipfile.ZipFile(request.param) as archive:
        archive.extractall(folder)
    return folder


def cofire_says(folder, line):
    told = run(tuple(line.split()), folder)
    assert told.exit == 0, told.err
    return told.out


def same_values(stored, loaded):
    """Columns that were stored are as they were, by their names of now; those that were not are null."""
    stored = stored.rename_columns([WORDS.get(name, name) for name in stored.column_names])
    assert len(loaded) == len(stored)
    for name in loaded.column_names:
        values = loaded[name].to_pylist()
        if name in stored.column_names:
            assert values == stored[name].to_pylist(), name
        else:
            assert values == [None] * len(stored), name
    assert set(stored.column_names) <= set(loaded.column_names)


def tables_of(trajectory):
    return {name: table for name, table in vars(trajectory).items() if isinstance(table, pa.Table)}


@pytest.mark.parametrize("kind", ["study", "summary"])
def test_tables_are_as_they_were_written(results, kind):
    tables = tables_of(cofire.Trajectory.load(results / kind))
    assert len(tables["layers"]) > 0
    for name, table in tables.items():
        path = results / kind / f"{name}.parquet"
        if name == "pictures" and not path.exists():  # which there were not yet
            assert not len(table)
        else:
            same_values(pq.read_table(path), table)


def test_a_study_has_boosts_explanations_graphs_and_correlations(results):
    study = cofire.Trajectory.load(results / "study")
    assert study.checkpoints == (1, 2, 3)
    assert len(study.boosts) > 0
    assert len(study.explanations) > 0
    assert len(study.correlations()) > 0
    assert study.graph("relu1").neurons is not None


@pytest.mark.parametrize("kind", ["study", "summary"])
def test_folders_are_reported_on_the_command_line(results, kind):
    assert "report.html" in cofire_says(results, f"report {kind}")
    page = (results / kind / "report.html").read_text(encoding="utf-8")
    assert "digits" in page or "mine:test" in page


@pytest.mark.parametrize("kind", ["study", "summary"])
def test_graphs_of_folders_are_told_on_the_command_line(results, kind):
    assert "modularity" in cofire_says(results, f"graph {kind} --out {kind}.graphml")


def test_a_summary_file_opens_and_is_reported(results, tmp_path):
    summary = cofire.ActivationSummary.load(results / "summary" / "summary.safetensors")
    layers = pq.read_table(results / "summary" / "layers.parquet")
    assert [one.layer.name for one in summary] == layers["layer"].to_pylist()
    entropies = [float(one.entropy().sum()) for one in summary]
    assert entropies == pytest.approx(layers["entropy"].to_pylist())
    assert cofire.write_report(summary, tmp_path / "page.html").stat().st_size > 1000


def test_a_graph_opens(results):
    graph = cofire.ActivationPatternGraph.load(results / "graph.safetensors")
    rows = pq.read_table(results / "summary" / "graphs.parquet").to_pylist()
    (kept,) = [row["edges_kept"] for row in rows if row["layer"] == graph.layer]
    assert graph.to_networkx().number_of_edges() == kept


def test_a_booster_opens_and_boosts_as_it_did(results):
    model = digits_network(results)
    images, labels = digits()
    booster = cofire.Booster.load(
        results / "boost" / "booster.safetensors", cofire.Network(model, images[:2])
    )
    with torch.no_grad():
        accuracy = float((booster.to_module()(images).argmax(1) == labels).float().mean())
    rows = pq.read_table(results / "boost" / "boosts.parquet").to_pylist()
    (row,) = [row for row in rows if row["role"] == "booster"]
    assert accuracy == pytest.approx(row["test_accuracy"], abs=0.01)


def digits_network(results):
    model = nn.Sequential(
        nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 10)
    )
    model.load_state_dict(load_file(results / "digits_network.safetensors"))
    return model.eval()


def digits():
    """The test data of the boosted network."""
    from sklearn.datasets import load_digits

    images, labels = (torch.from_numpy(values) for values in load_digits(return_X_y=True))
    return images[800:1100].float().reshape(-1, 1, 8, 8) / 16, labels[800:1100]


def test_an_explanation_opens_and_is_reported(results, tmp_path):
    explanation = cofire.Explanation.load(results / "explanation.safetensors")
    images = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    # What the default was then.
    again = cofire.explain(
        cofire.Network(colour_network(0), images), images, method="discernible-layers"
    )
    torch.testing.assert_close(explanation.heatmap(), again.heatmap(), rtol=1e-3, atol=1e-4)
    assert explanation.save_png(tmp_path / "drawn.png").stat().st_size > 1000
    assert cofire.write_report(explanation, tmp_path / "page.html").stat().st_size > 1000


def test_an_evaluation_opens_and_is_reported(results, tmp_path):
    evaluation = cofire.evaluate.Evaluation.load(results / "evaluated")
    assert evaluation.methods == ("discernible", "gradcam", "centre")
    same_values(pq.read_table(results / "evaluated" / "records.parquet"), evaluation.records)
    assert cofire.write_report(evaluation, tmp_path / "page.html").stat().st_size > 1000


def test_attacks_open(results):
    attacked = cofire.evaluate.Robustness.load(results / "evaluated" / "robustness.json")
    assert attacked.methods == ("discernible", "gradcam")


def test_two_networks_compared_open(results):
    compared = get_type_hints(cofire.evaluate.compare_networks)["return"]
    found = compared.load(results / "evaluated" / "two-networks.json")
    assert found.networks == ("net.pt2", "other.pt2")


def test_what_was_tuned_opens_and_is_reported(results, tmp_path):
    tuned = cofire.evaluate.read_tuned(results / "tuned" / "weights-of-layers.json")
    assert tuned.method == "discernible"
    assert [run.name for run in tuned.learned][:3] == ["contrast", "sigma", "threshold"]
    assert cofire.write_report(tuned, tmp_path / "page.html").stat().st_size > 1000


def test_what_was_tuned_is_used_and_the_folder_of_older_explanations_is_taken(results, tmp_path):
    place = build(tmp_path / "place")
    learned = results / "tuned" / "weights-of-layers.json"
    out = results / "explained"
    before = (out / "explanations.json").read_text(encoding="utf-8")
    cofire_says(
        place,
        "explain images/000.png --model net.pt2 --resize 0 --mean 0.5 --std 0.25 "
        f"--weights-of-layers {learned} --out {out}",
    )
    assert (out / "explanations.json").read_text(encoding="utf-8") != before


def forget(path, *names):
    """A record of a version that did not have these yet."""
    record = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps({k: v for k, v in record.items() if k not in names}))


@pytest.mark.slow
def test_the_same_study_finishes_in_its_older_folder_with_the_same_rows(results, tmp_path):
    shutil.copytree(results / "study", tmp_path / "study")
    before = tables_of(cofire.Trajectory.load(tmp_path / "study"))
    (line,) = [line for line in COMMANDS if line.startswith("study")]
    cofire_says(tmp_path, line)
    after = tables_of(cofire.Trajectory.load(tmp_path / "study"))
    for name in ("layers", "classes", "neurons"):
        stored = pq.read_table(results / "study" / f"{name}.parquet").column_names
        for column in set(before[name].column_names) & set(stored):
            old, new = (one[name][column].to_pylist() for one in (before, after))
            if any(value is not None for value in old):
                assert new == pytest.approx(old) or new == old, (name, column)


def test_a_study_goes_on_from_rows_that_do_not_know_an_option(tmp_path):
    line = "study digits --hidden 4 --epochs 2 --checkpoints 2 --pairs none --out run"
    cofire_says(tmp_path, line)
    whole = cofire.Trajectory.load(tmp_path / "run")
    forget(tmp_path / "run" / "study.json", "boost_unit", "boost_threshold")
    rows = sorted((tmp_path / "run" / "rows").iterdir())
    part = cofire.Trajectory.load(rows[0])
    older = {k: v for k, v in part.options.items() if not k.startswith("boost_")}
    replace(part, options=older).save(rows[0])
    shutil.rmtree(rows[1])
    cofire_says(tmp_path, line)
    again = cofire.Trajectory.load(tmp_path / "run")
    assert again.layers.equals(whole.layers)
    told = run(tuple(f"{line} --bins 7".split()), tmp_path)
    assert told.exit != 0
    assert "bins 100 there, 7 now" in told.err


def test_the_same_evaluation_goes_on_in_a_folder_with_an_older_record(tmp_path):
    place = build(tmp_path / "place")
    line = (
        "evaluate --data images --boxes boxes.json --model net.pt2 --resize 0 --mean 0.5 "
        "--std 0.25 --method centre,gradcam --split all --measures localisation --limit 4 --out run"
    )
    cofire_says(place, line)
    before = cofire.evaluate.Evaluation.load(place / "run").records
    options = place / "run" / "rows" / "options.json"
    record = json.loads(options.read_text(encoding="utf-8"))
    record["tuning_photos"] = record["tuning_images"]
    record["versions"]["captum"] = "0.9.0"
    options.write_text(json.dumps(record))
    forget(options, "tuning_images", "resize", "squash", "same_size", "mean", "std")
    cofire_says(place, line)
    assert cofire.evaluate.Evaluation.load(place / "run").records.equals(before)
    told = run(tuple(line.replace("--mean 0.5", "--mean 0.4").split()), place)
    assert told.exit != 0
    assert "prepared" in told.err
