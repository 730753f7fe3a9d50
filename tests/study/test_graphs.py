"""Graphs in a trajectory: their tables say what the graphs say, and give them back."""

import shutil
import statistics
from dataclasses import replace

import pyarrow as pa
import pyarrow.compute as pc
import pytest
import torch

import cofire
from cofire import StudyOptions, Trajectory
from cofire.errors import LayerError, OptionError, ResultError
from cofire.patterns import MEASURES
from cofire.study import Moment, correlate, follow, trajectory_of
from cofire.study import graph_rows as rows_module
from cofire.study.graph_rows import GraphOptions
from cofire.study.tables import TABLES

OPTIONS = GraphOptions(resolution=1.5, community_runs=5)


@pytest.fixture
def made(tiny):
    summary = cofire.summarize(
        tiny.network, tiny.data, by_class=True, pairs="class", top=3, null_graphs=5
    )
    return summary, trajectory_of(
        summary, Moment(1, 1.0, None), None, {"classes": ["0", "1", "2"]}, OPTIONS
    )


def test_the_tables_say_what_the_graphs_say(made):
    summary, trajectory = made
    assert {name: getattr(trajectory, name).schema.names for name in TABLES} == {
        name: spec.schema.names for name, spec in TABLES.items()
    }
    for row in trajectory.graphs.to_pylist():
        graph = summary.graph(row["layer"])
        found = graph.communities("louvain", resolution=1.5)
        assert row["vertices"] == graph.vertices
        assert row["edges"] == row["edges_kept"] == len(graph.edges()[0])
        assert row["weight"] == pytest.approx(float(graph.edges()[1].sum()))
        assert row["isolated"] == int((graph.degree() == 0).sum())
        assert row["community_sizes"] == list(found.sizes)
        assert row["community_mean_size"] == graph.vertices / row["communities"]
        assert row["singletons"] == found.sizes.count(1)
        assert (row["nmi"], row["ari"]) == (found.nmi, found.ari)
        assert row["stability"] == graph.stability("louvain", runs=5, resolution=1.5).agreement
        matrix = graph.unique_neuron_matrix()
        assert torch.tensor(row["unique_matrix"]).reshape(3, 3).equal(matrix)
        assert (row["unique_neurons"], row["shared_neurons"]) == (
            int(matrix.trace()),
            int((matrix.sum() - matrix.trace()) // 2),
        )
        assert row["train_accuracy"] == summary.accuracy
        assert row["test_accuracy"] is None
        vertices = trajectory.vertices.filter(pc.field("layer") == row["layer"]).to_pylist()
        for v, vertex in enumerate(vertices):
            assert vertex["neuron"] == int(graph.neurons[v])
            assert vertex["class"] == int(graph.partition[v])
            assert vertex["community"] == int(found.membership[v])
            assert vertex["classes"] == [c for c in range(3) if v in graph.members[c]]
            assert vertex["strength"] == pytest.approx(float(graph.strength()[v]))
            assert vertex["participation"] == pytest.approx(float(graph.participation()[v]))


def test_the_measures_and_their_chances_are_those_of_the_graph(made):
    summary, trajectory = made
    rows = trajectory.modularities.to_pylist()
    assert len(rows) == 2 * 5
    for row in rows:
        graph, measure = summary.graph(row["layer"]), row["measure"]
        gamma = 1.5 if measure == "louvain" else None
        if measure in ("louvain", "kernighan-lin"):
            stability = graph.stability(measure, runs=5, resolution=gamma)
            assert (row["modularity"], row["low"], row["high"], row["runs"]) == (
                stability.median,
                stability.low,
                stability.high,
                5,
            )
        else:
            assert (row["modularity"], row["low"], row["runs"]) == (
                graph.modularity(measure),
                None,
                1,
            )
        for null in ("weights", "labels"):
            found = graph.significance(measure, null=null, runs=5, resolution=gamma)
            assert row[f"{null}_runs"] == 5
            assert row[f"{null}_mean"] == pytest.approx(found.mean)
            assert row[f"{null}_std"] == pytest.approx(found.std)
            if found.z is None:
                assert row[f"{null}_z"] is None
            else:
                assert row[f"{null}_z"] == pytest.approx(
                    (row["modularity"] - found.mean) / found.std
                )


def test_a_trajectory_gives_its_graphs_back(made, tmp_path):
    summary, trajectory = made
    saved = Trajectory.load(trajectory.save(tmp_path))
    for source in (trajectory, saved):
        for name in ("1", "3"):
            one, other = summary.graph(name), source.graph(name)
            for field in (
                "neurons",
                "representatives",
                "class_means",
                "adjacency",
                "mean_activation",
                "entropy",
            ):
                assert torch.equal(getattr(one, field), getattr(other, field)), field
            assert (one.class_names, one.pairs, one.top_asked) == (
                other.class_names,
                other.pairs,
                other.top_asked,
            )
    with pytest.raises(LayerError, match="try '1'"):
        trajectory.graph("2")
    with pytest.raises(OptionError, match="checkpoint 7"):
        trajectory.graph("1", 7)


def test_of_very_many_edges_the_heaviest_are_kept_and_said(tiny, monkeypatch):
    monkeypatch.setattr(rows_module, "_EDGES", 4)
    summary = cofire.summarize(tiny.network, tiny.data, by_class=True, pairs="class", top=5)
    trajectory = trajectory_of(summary, Moment(1, 1.0, None), None, {})
    graph = summary.graph("1")
    row = trajectory.graphs.to_pylist()[0]
    assert (row["edges"], row["edges_kept"]) == (len(graph.edges()[0]), 4)
    kept = trajectory.edges.filter(pc.field("layer_index") == 0)["weight"].to_pylist()
    assert sorted(kept) == sorted(graph.edges()[1].tolist())[-4:]
    with pytest.raises(ResultError, match="4 of the"):
        trajectory.graph("1")


def test_without_counts_there_are_no_rows(tiny, tmp_path):
    summary = cofire.summarize(tiny.network, tiny.data, by_class=True)
    trajectory = trajectory_of(summary, Moment(1, 1.0, None), None, {})
    assert {
        len(getattr(trajectory, n)) for n in ("graphs", "modularities", "vertices", "edges")
    } == {0}
    again = Trajectory.load(trajectory.save(tmp_path))
    with pytest.raises(LayerError, match="pairs='class'"):
        again.graph("1")


def test_following_correlates_every_measure_with_accuracy(tiny, tmp_path):
    states = []
    for seed in range(4):
        generator = torch.Generator().manual_seed(seed)
        shaken = {
            n: v + 0.2 * torch.randn(v.shape, generator=generator)
            for n, v in tiny.model.state_dict().items()
        }
        states.append(shaken)
    trajectory = follow(
        tiny.network,
        states,
        tiny.data,
        tiny.data,
        top=3,
        community_runs=2,
        null_graphs=2,
        folder=tmp_path,
    )
    rows = [
        row
        for row in trajectory.correlations().to_pylist()
        if row["scope"] == "layer" and row["name"] == "3"
    ]
    measures = [
        *MEASURES,
        "community size",
        *dict.fromkeys(trajectory.modularities["measure"].to_pylist()),
    ]
    assert [row["measure"] for row in rows] == [m for m in measures for _ in range(2)]
    chosen = trajectory.modularities.filter(
        (pc.field("layer") == "3") & (pc.field("measure") == "weighted-overlap")
    )
    expected = correlate(chosen["modularity"].to_pylist(), chosen["train_accuracy"].to_pylist())
    (row,) = (r for r in rows if r["measure"] == "weighted-overlap" and r["accuracy"] == "train")
    assert row["pearson"] == expected.pearson
    assert row["mean"] == pytest.approx(statistics.mean(chosen["modularity"].to_pylist()))
    again = follow(
        tiny.network,
        states,
        tiny.data,
        tiny.data,
        top=3,
        community_runs=2,
        null_graphs=2,
        folder=tmp_path,
    )
    assert again.modularities.equals(trajectory.modularities)


def test_graphs_need_results_by_class(tiny):
    with pytest.raises(OptionError, match="without results by class"):
        follow(tiny.network, [tiny.model.state_dict()], tiny.data, by_class=False)
    bare = follow(tiny.network, [tiny.model.state_dict()], tiny.data, by_class=False, pairs=None)
    assert len(bare.graphs) == 0


@pytest.mark.parametrize("given", [{"resolution": 0.0}, {"community_runs": 1}])
def test_options_of_graphs_that_cannot_be_are_refused(tiny, given):
    with pytest.raises(OptionError):
        follow(tiny.network, [tiny.model.state_dict()], tiny.data, **given)
    with pytest.raises(OptionError):
        StudyOptions.of(**given)


def test_a_graph_without_edges_survives_saving(tiny, tmp_path):
    silent = {name: torch.zeros_like(value) for name, value in tiny.model.state_dict().items()}
    trajectory = follow(tiny.network, [silent], tiny.data, top=2, community_runs=2)
    assert trajectory.graphs["isolated"].to_pylist() == trajectory.graphs["vertices"].to_pylist()
    again = Trajectory.load(trajectory.save(tmp_path))
    assert len(again.edges) == 0
    assert again.graph("1").modularity() == 0.0


def test_edges_of_another_moment_are_refused(made, tmp_path):
    _, trajectory = made
    trajectory.save(tmp_path / "one")
    replace(trajectory, edges=trajectory.edges.slice(1)).save(tmp_path / "other")
    shutil.copy(tmp_path / "other" / "edges.parquet", tmp_path / "one" / "edges.parquet")
    with pytest.raises(ResultError, match="not those of the graphs"):
        Trajectory.load(tmp_path / "one")


def test_options_of_graphs_need_graphs(tiny):
    for given in ({"resolution": 3.0}, {"top": 7}, {"community_runs": 3}, {"null_graphs": 5}):
        with pytest.raises(OptionError, match="with pairs='none'"):
            follow(tiny.network, [tiny.model.state_dict()], tiny.data, pairs=None, **given)


def test_without_names_of_classes_numbers_stand_in(tiny):
    summary = cofire.summarize(tiny.network, tiny.data, by_class="statistics", pairs="class", top=3)
    assert trajectory_of(summary, Moment(1, 1.0, None), None, {}).graph("1").class_names == (
        "0",
        "1",
        "2",
    )


def test_edges_are_sorted_and_between_representatives(made):
    _, trajectory = made
    keys = trajectory.edges.select(["layer_index", "source", "target"]).to_pylist()
    assert [tuple(k.values()) for k in keys] == sorted(tuple(k.values()) for k in keys)
    assert all(key["source"] < key["target"] for key in keys)
    neurons = {(r["layer_index"], r["neuron"]) for r in trajectory.vertices.to_pylist()}
    assert {(k["layer_index"], k[end]) for k in keys for end in ("source", "target")} <= neurons
    assert isinstance(trajectory.edges, pa.Table)
