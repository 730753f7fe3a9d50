"""The verdict on a network: problems first, each with its place, how sure it is and what to do."""

import dataclasses

import pyarrow as pa
import pytest

from cofire.errors import ResultError
from cofire.study.findings import MOST, digest, findings
from tests.report import synthetic
from tests.report.synthetic_boost import with_boost
from tests.report.synthetic_explanations import with_explanations
from tests.report.synthetic_graphs import with_graphs


def changed(run, **columns):
    """The layers' rows with other numbers: functions of a row."""
    rows = [{**row, **{n: f(row) for n, f in columns.items()}} for row in run.layers.to_pylist()]
    layers = pa.Table.from_pylist(rows, schema=run.layers.schema)
    return dataclasses.replace(run, layers=layers)


def found(run, about):
    return next(f for f in findings(run) if f.about == about)


@pytest.fixture(scope="module")
def run():
    return synthetic.trajectory(layers=(100, 140), checkpoints=4)


def test_dead_neurons_are_told_with_their_layer_and_what_to_do(run):
    ill = changed(run, dead=lambda r: 60 if r["layer"] == "relu_1" else 19)
    first = findings(ill)[0]
    assert first.level == "problem"
    assert first.what == "79 of 240 neurons (33\N{NO-BREAK SPACE}%) are dead"
    assert first.where == "most in relu_1: 60 of 100"
    assert "on 60,000 samples" in first.sure
    assert "less than once in 20,000 samples (95\N{NO-BREAK SPACE}%)" in first.sure
    assert "prune them" in first.advice


def test_of_a_deep_network_the_few_layers_that_matter_are_named():
    deep = synthetic.trajectory(layers=(40,) * 12, checkpoints=2)
    names = [row["layer"] for row in deep.layers.to_pylist() if row["checkpoint"] == 2]
    ill = changed(deep, dead=lambda r: {names[7]: 30, names[9]: 20}.get(r["layer"], 1))
    assert findings(ill)[0].where == f"most in {names[7]}: 30 of 40"
    spread = changed(deep, dead=lambda r: 20 if r["layer_index"] % 2 else 0)
    where = found(spread, "idle").where
    assert where.count(" of 40") == 3
    full = changed(deep, always_active=lambda r: 40 - (r["layer"] == names[0]))
    saturated = next(f for f in findings(full) if "saturated" in f.what)
    assert saturated.what.startswith("12 of 12 layers")
    assert saturated.where.endswith("and 8 more")


def test_a_sample_is_told_as_what_it_is(run):
    options = {**run.options, "observe": 600}
    ill = changed(dataclasses.replace(run, options=options), dead=lambda r: 60)
    assert "on 600 samples" in findings(ill)[0].sure


def test_a_healthy_network_has_no_problem(run):
    well = changed(run, dead=lambda r: 0, always_active=lambda r: 0)
    assert {f.level for f in findings(well)} == {"fine"}


def test_a_saturated_layer_is_a_problem(run):
    ill = changed(run, always_active=lambda r: r["neurons"] if r["layer"] == "relu_2" else 0)
    saturated = next(f for f in findings(ill) if "saturated" in f.what)
    assert saturated.level == "problem"
    assert saturated.what.startswith("1 of 2 layers")
    assert saturated.where.startswith("worst in relu_2")


def test_a_layer_that_tells_less_of_the_class_than_one_before_it_is_named(run):
    mute = changed(run, information=lambda r: 0.001 if r["layer"] == "relu_2" else 0.3)
    assert found(mute, "neurons").where == "relu_2"


def test_a_first_layer_may_tell_little(run):
    early = changed(run, information=lambda r: 0.001 if r["layer"] == "relu_1" else 0.3)
    assert all(f.about != "neurons" for f in findings(early))


def test_classes_without_neurons_of_their_own_are_named(run):
    whole = with_graphs(run, top=10)
    assert "Every class has neurons of its own" in found(whole, "classes").what
    rows = whole.graphs.to_pylist()
    for row in rows:
        row["unique_matrix"][0] = row["unique_matrix"][11] = 0
    bare = dataclasses.replace(whole, graphs=pa.Table.from_pylist(rows, schema=whole.graphs.schema))
    told = found(bare, "classes")
    assert told.level == "problem"
    assert told.what == "2 of 10 classes have no neuron of their own: 0, 1"
    crowded = with_graphs(synthetic.trajectory(layers=(24,), checkpoints=2), top=16)
    assert "cannot be said" in found(crowded, "graphs").what


@pytest.mark.parametrize(
    ("gains", "width", "told"),
    [
        ((0.016, 0.002), 0.002, "Boosting pays"),
        ((0.0, 0.0), 0.002, "Boosting makes no difference that matters"),
        ((-0.012, 0.0), 0.002, "Boosting does not pay"),
        ((0.004, 0.0), 0.009, "Whether boosting pays is undecided"),
    ],
)
def test_whether_boosting_pays(run, gains, width, told):
    boosted = with_boost(run, gains=(gains,) * 4, width=width)
    assert found(boosted, "boost").what.startswith(told)


def test_a_control_that_gains_more_is_what_to_use(run):
    told = found(with_boost(run, gains=((0.002, 0.02),) * 4, width=0.002), "boost")
    assert told.level == "note"
    assert told.what.endswith("does better than boosting")
    assert told.sure.startswith("+2.0 [")
    assert "or train the model on" in told.advice


def test_a_booster_is_told_with_the_layers_that_it_reads(run):
    boosted = with_boost(run)
    assert "by reading all layers" in found(boosted, "boost").sure
    last = [{**row, "layers": "LL"} for row in boosted.boosts.to_pylist()]
    of_last = pa.Table.from_pylist(last, schema=boosted.boosts.schema)
    told = found(dataclasses.replace(boosted, boosts=of_last), "boost").sure
    assert "by reading the last layer" in told


def test_test_data_that_was_trained_on_tells_nothing(run):
    options = {**run.options, "test_samples": 60, "test_shared": 60}
    told = found(dataclasses.replace(run, options=options), "course")
    assert told.level == "problem"
    assert told.what == "60 of 60 test samples are in the training data as well"


@pytest.mark.parametrize(
    ("heat", "level"), [(0.97, "problem"), (0.8, "note"), (0.3, "fine"), (None, None)]
)
def test_whether_explanations_depend_on_the_class(run, heat, level):
    explained = with_explanations(run, jaccard_heat=heat)
    told = [f.level for f in findings(explained) if f.about == "explanations"]
    assert told == ([level] if level else [])


def test_problems_come_first_and_there_are_few(run):
    everything = with_boost(with_graphs(run, top=10))
    levels = [f.level for f in findings(everything)]
    order = ("problem", "note", "fine")
    assert levels == sorted(levels, key=order.index)
    assert 4 <= len(levels) <= MOST


def test_a_network_that_knows_as_little_as_chance_is_no_good_one(run):
    classes = len(run.class_names())
    few = dataclasses.replace(run, options={**run.options, "test_samples": 300})
    level = changed(few, train_accuracy=lambda r: 1 / classes, test_accuracy=lambda r: 1 / classes)
    told = found(level, "course")
    assert (told.level, told.what) == ("problem", "No better than chance")
    assert "saying the largest class alone gives" in told.sure
    by_heart = changed(few, train_accuracy=lambda r: 1.0, test_accuracy=lambda r: 1 / classes)
    assert found(by_heart, "course").what.endswith(", and on test data no better than chance")


def accuracies(run, *tested):
    """The run with other test accuracies at its checkpoints, of 300 test samples."""
    known = dict(zip(run.checkpoints, tested, strict=True))
    few = dataclasses.replace(run, options={**run.options, "test_samples": 300})
    return changed(few, test_accuracy=lambda r: known[r["checkpoint"]])


def test_a_network_that_still_learns_or_was_better_before_is_told(run):
    told = [f.what for f in findings(accuracies(run, 0.3, 0.5, 0.6, 0.8))]
    assert "Still learning at the last checkpoint" in told
    fell = [f for f in findings(accuracies(run, 0.3, 0.9, 0.6, 0.61)) if "Better at" in f.what]
    assert [f.what for f in fell] == ["Better at checkpoint 2 than at the last"]
    assert "90.0\N{NO-BREAK SPACE}% there, 61.0\N{NO-BREAK SPACE}% at the last" in fell[0].sure
    even = [f.what for f in findings(accuracies(run, 0.3, 0.8, 0.81, 0.8))]
    assert not any("Still learning" in what or "Better at" in what for what in even)


def test_there_is_nothing_to_tell_of_no_checkpoint():
    run = synthetic.trajectory()
    with pytest.raises(ResultError, match=r"without checkpoints.*analyse a checkpoint first"):
        digest(dataclasses.replace(run, layers=run.layers[:0], classes=run.classes[:0]))
