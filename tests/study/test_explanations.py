"""Explanations in a study: which samples are chosen, what the tables hold, and that nothing stops a study."""

import io
import shutil

import pytest
import torch
from PIL import Image
from torch import nn

from cofire import Network, StudyOptions, Trajectory, explain, follow, run_study
from cofire.errors import OptionError, ResultError
from cofire.explain.result.regions import Points
from cofire.study import load_dataset
from cofire.study.explanations import cases_of, explanation_tables, heat_overlap, overlap
from cofire.study.findings import digest
from cofire.study.tables import TABLES

from ..report import synthetic
from ..report.synthetic_explanations import with_explanations

MOMENT = {"checkpoint": 1, "epoch": 1.0, "step": None}
SMALL = {"data": "digits", "hidden": (16, 12), "epochs": 4, "checkpoints": 2, "pairs": "none"}
LATER = ("tracings", "explanations")


def given(logits, labels):
    """A network that answers with its input, and data that makes it answer so."""
    inputs = torch.tensor(logits)
    model = nn.Sequential(
        nn.Linear(inputs.shape[1], inputs.shape[1], bias=False), nn.ReLU(), nn.Identity()
    )
    model[0].weight.data = torch.eye(inputs.shape[1])
    return Network(model, inputs[:2]), (inputs, torch.tensor(labels))


def points(*places):
    y, x, score = zip(*places, strict=True) if places else ((), (), ())
    return Points(*(torch.tensor(axis, dtype=torch.int32) for axis in (y, x)), torch.tensor(score))


@pytest.fixture(scope="module")
def cnn():
    """A convolutional network that has learnt the digits a little."""
    torch.manual_seed(0)
    data = load_dataset("digits")
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(8, 16, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(256, 10),
    )
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for chosen in torch.randperm(1437).repeat(3).split(64):
        optimizer.zero_grad()
        nn.functional.cross_entropy(
            model(data.train_inputs[chosen]), data.train_labels[chosen]
        ).backward()
        optimizer.step()
    return Network(model, data.train_inputs[:2]), data, model.state_dict()


def test_mistakes_come_most_confident_first_and_right_ones_from_every_class():
    logits = [
        [3.0, 0, 0],
        [9.0, 0, 0],
        [0, 4.0, 0],
        [0, 0, 5.0],
        [0, 7.0, 0],
        [2.0, 0, 0],
        [6.0, 0, 0],
    ]
    network, data = given(logits, [0, 0, 1, 2, 2, 1, 1])
    found = cases_of(network, data, 2, batch_size=3)
    assert [(case.index, case.right) for case in found.chosen] == [
        (1, True),
        (3, True),
        (4, False),
        (6, False),
    ]
    assert (found.samples, found.mistakes) == (7, 3)
    assert found.chosen[2].confidence == pytest.approx(
        float(torch.tensor([0, 7.0, 0]).softmax(0)[1])
    )
    assert set(found.chosen[2].runners_up) == {0, 2}
    every = cases_of(network, data, 5, batch_size=3).chosen
    assert [case.index for case in every] == [0, 1, 2, 3, 4, 6, 5]


def test_right_ones_spread_evenly_over_many_classes():
    network, data = given((5 * torch.eye(40)).tolist(), list(range(40)))
    found = cases_of(network, data, 3, batch_size=7)
    labels = [case.label for case in found.chosen]
    assert len(labels) == 3
    assert labels == sorted(labels)
    assert labels[2] - labels[0] > 5
    assert found.mistakes == 0


def test_the_choice_does_not_depend_on_the_batches(cnn):
    network, data, _ = cnn
    test = (data.test_inputs, data.test_labels)
    whole, parts = (cases_of(network, test, 6, batch_size=size).chosen for size in (360, 37))
    assert [case.index for case in whole] == [case.index for case in parts]


def test_overlap_counts_pixels_and_evidence():
    one = points((0, 0, 0.5), (0, 1, 0.5))
    same = overlap(one, one, (20, 20), 9)
    assert same["jaccard"] == same["jaccard_heat"] == 1.0
    far = overlap(one, points((19, 19, 0.2)), (20, 20), 9)
    assert far["jaccard"] == 0.0
    assert far["jaccard_heat"] < 1e-3
    # Neighbours share no pixel, but most of their heat.
    near = overlap(points((9, 9, 1.0)), points((9, 10, 0.3)), (40, 40), 1600)
    assert near["jaccard"] == 0.0
    assert near["jaccard_heat"] > 0.5
    assert near["jaccard_chance"] == pytest.approx(1 / 1600 / (2 - 1 / 1600))
    assert overlap(points(), points(), (4, 4), 16) is None
    assert (
        overlap(one, points(), (4, 4), 16)["jaccard"] == heat_overlap(one, points(), (4, 4)) == 0.0
    )


def test_the_rows_are_what_explain_finds(cnn):
    network, data, _ = cnn
    found = explanation_tables(network, (data.test_inputs, data.test_labels), 3, MOMENT)
    rows = found["explanations"].to_pylist()
    tracing = found["tracings"].to_pylist()[0]
    assert len(rows) == 3 + 2 * 3
    assert (tracing["right_explained"], tracing["mistakes_explained"], tracing["error"]) == (
        3,
        3,
        None,
    )
    assert tracing["compared"] >= 6 * 3
    for row in rows:
        again = explain(network, data.test_inputs[row["index"]], row["target"])
        assert row["y"] == again.points(0).y.tolist()
        assert row["score"] == pytest.approx(again.points(0).score.tolist(), rel=1e-4)
        assert row["probability"] == pytest.approx(float(again.probability[0, 0]), rel=1e-4)
        assert row["target"] in (row["predicted"], row["label"])
        assert Image.open(io.BytesIO(row["image"])).size == (8, 8)
        kinds = {other["target"] for other in rows if other["index"] == row["index"]}
        assert kinds == {row["predicted"], row["label"]}


def test_vectors_have_values_and_no_image(tiny):
    found = explanation_tables(tiny.network, tiny.data, 2, MOMENT)["explanations"].to_pylist()
    assert found
    for row in found:
        assert (row["image"], row["shape"]) == (None, [5])
        assert row["values"] == tiny.inputs[row["index"]].tolist()
        assert set(row["y"]) <= {0}


def test_a_study_explains_its_last_checkpoint_the_same_after_a_stop(tmp_path):
    options = StudyOptions(**SMALL, explain=3)
    whole = run_study(options, tmp_path / "whole", progress=False)
    assert whole.tracings["checkpoint"].to_pylist() == [2]
    assert set(whole.explanations["checkpoint"].to_pylist()) == {2}
    accuracy = whole.network()["test_accuracy"].to_pylist()[-1]
    row = whole.tracings.to_pylist()[0]
    assert 1 - row["mistakes"] / row["samples"] == pytest.approx(accuracy)
    assert any("Explanations" in line or "explanations" in line for line in digest(whole))
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    shutil.rmtree(tmp_path / "again" / "rows" / "0002")
    again = run_study(options, tmp_path / "again", progress=False)
    assert again.explanations.equals(whole.explanations)
    assert Trajectory.load(tmp_path / "again").tracings.equals(whole.tracings)


def test_follow_explains_a_users_cnn(cnn, tmp_path):
    network, data, weights = cnn
    train, test = (
        (data.train_inputs[:500], data.train_labels[:500]),
        (data.test_inputs, data.test_labels),
    )
    found = follow(
        network,
        [weights],
        train,
        test,
        pairs=None,
        explain=2,
        folder=tmp_path / "run",
        progress=False,
    )
    row = found.tracings.to_pylist()[0]
    assert row["error"] is None
    assert 0 < row["jaccard_heat"] < 0.95
    assert Trajectory.load(tmp_path / "run").explanations.equals(found.explanations)


def test_a_network_that_cannot_be_traced_is_followed_to_its_end(tmp_path):
    data = load_dataset("digits")
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    network = Network(model, data.train_inputs[:2], capture="calls")
    test = (data.test_inputs, data.test_labels)
    found = follow(network, [model.state_dict()], test, test, pairs=None, explain=2, progress=False)
    row = found.tracings.to_pylist()[0]
    assert "graph" in row["error"]
    assert (row["samples"], row["compared"], row["jaccard"]) == (360, 0, None)
    assert len(found.explanations) == 0
    assert any("No prediction could be explained" in line for line in digest(found))


def test_options_are_checked(tiny):
    with pytest.raises(OptionError, match="explain"):
        StudyOptions.of(explain=-1)
    with pytest.raises(OptionError, match="without test data"):
        follow(tiny.network, [tiny.model.state_dict()], tiny.data, explain=2)


def test_the_tables_save_load_and_stay_away_unless_asked_for(tmp_path):
    run = with_explanations(synthetic.trajectory(layers=(6,), checkpoints=3))
    again = Trajectory.load(run.save(tmp_path / "run"))
    assert again.explanations.equals(run.explanations)
    assert again.tracings.schema.equals(TABLES["tracings"].schema)
    plain = synthetic.trajectory(layers=(6,), checkpoints=2)
    plain.save(tmp_path / "old")
    for name in LATER:
        (tmp_path / "old" / f"{name}.parquet").unlink()
    assert Trajectory.load(tmp_path / "old").explanations.equals(TABLES["explanations"].table())
    asked = Trajectory(
        **{n: getattr(run, n) for n in TABLES}, options={**run.options, "explain": 4}
    )
    asked.save(tmp_path / "asked")
    for name in LATER:
        (tmp_path / "asked" / f"{name}.parquet").unlink()
    with pytest.raises(ResultError, match=r"no tracings\.parquet.*explain = 4"):
        Trajectory.load(tmp_path / "asked")


@pytest.mark.parametrize("name", LATER)
def test_one_table_missing_or_of_another_checkpoint_is_an_error(tmp_path, name):
    folder = with_explanations(synthetic.trajectory(layers=(6,), checkpoints=2)).save(
        tmp_path / "run"
    )
    other = with_explanations(synthetic.trajectory(layers=(6,), checkpoints=3)).save(
        tmp_path / "other"
    )
    shutil.copy(other / f"{name}.parquet", folder / f"{name}.parquet")
    with pytest.raises(ResultError, match="not written together"):
        Trajectory.load(folder)
    (folder / f"{name}.parquet").unlink()
    with pytest.raises(ResultError, match=rf"{name}\.parquet"):
        Trajectory.load(folder)
