"""Trajectories of classes that are some of a network's outputs, or none; what data and network are called."""

import json

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

import cofire
from cofire.errors import LabelError, OptionError
from cofire.report import write_report
from cofire.storage import write_table
from cofire.study import Trajectory, follow
from cofire.study.findings import digest

OPTIONS = {"bins": 10, "community_runs": 2, "null_graphs": 2}


class Leaves(Dataset):
    """Leaves of three classes, as a user's data set has them."""

    classes = ("apple", "corn", "pepper")

    def __init__(self, samples):
        generator = torch.Generator().manual_seed(samples)
        self.inputs = torch.randn(samples, 5, generator=generator)
        self.labels = torch.arange(samples) % 3

    def __len__(self):
        return len(self.labels)

    def __getitem__(self, index):
        return self.inputs[index], int(self.labels[index])


class Classifier(nn.Sequential):
    """A user's own class."""


def wide():
    torch.manual_seed(0)
    model = Classifier(nn.Linear(5, 12), nn.ReLU(), nn.Linear(12, 1000))
    return model, cofire.Network(model, torch.zeros(2, 5))


def followed(tmp_path=None, **options):
    model, network = wide()
    states = [{k: v * scale for k, v in model.state_dict().items()} for scale in (1.0, 2.0)]
    train, test = DataLoader(Leaves(60), batch_size=16), DataLoader(Leaves(30), batch_size=16)
    return follow(network, states, train, test, folder=tmp_path, **{**OPTIONS, **options})


def section(page, name):
    return page.split(f'<section id="{name}"')[1].split("</section>")[0]


def test_a_network_of_other_outputs_is_followed_by_class(tmp_path):
    trajectory = followed(tmp_path / "run")
    assert trajectory.network()["train_accuracy"].to_pylist() == [None, None]
    assert trajectory.network()["test_accuracy"].to_pylist() == [None, None]
    assert trajectory.classes["class_name"].to_pylist() == ["apple", "corn", "pepper"] * 2
    assert trajectory.graph("1").class_names == ("apple", "corn", "pepper")
    assert len(trajectory.correlations()) == 0
    told = digest(trajectory)
    assert "left out" in told[1]
    again = followed(tmp_path / "run")
    assert again.neurons.equals(trajectory.neurons)
    assert Trajectory.load(tmp_path / "run").layers.equals(trajectory.layers)


def test_names_and_sizes_of_data_and_network_are_in_the_report(tmp_path):
    trajectory = followed(tmp_path / "run")
    named = {
        name: trajectory.options[name] for name in ("model", "data", "samples", "test_samples")
    }
    assert named == {"model": "Classifier", "data": "Leaves", "samples": 60, "test_samples": 30}
    page = write_report(trajectory, tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert "<h1>What the neurons do: Classifier on Leaves</h1>" in page
    setup = section(page, "setup")
    for words in (
        "3 classes: apple, corn, pepper",
        "Classifier",
        "Leaves",
        "not known, so that there is no accuracy",
    ):
        assert words in setup
    assert "Accuracy is left out" in section(page, "course")
    assert "layers.parquet, classes.parquet, neurons.parquet" in page


def test_files_that_were_not_written_are_not_mentioned(tmp_path):
    page = write_report(followed(), tmp_path / "report.html").read_text(encoding="utf-8")
    assert ".parquet" not in page
    # Nor are those of another run that lie there.
    followed(tmp_path / "other", bins=20).save(tmp_path)
    page = write_report(followed(), tmp_path / "report.html").read_text(encoding="utf-8")
    assert ".parquet" not in page


def test_classes_keep_their_numbers_in_the_tables(tmp_path):
    _, network = wide()
    leaves = Leaves(60)
    data = leaves.inputs, torch.tensor([7, 400, 999])[leaves.labels]
    summary = cofire.summarize(network, data, by_class=True, pairs="class", top=3, bins=10)
    page = write_report(summary, tmp_path / "report.html").read_text(encoding="utf-8")
    assert "7, 400, 999" in section(page, "setup")
    trajectory = follow(network, [wide()[0].state_dict()], data, top=3, **OPTIONS)
    assert trajectory.classes["class"].to_pylist() == [7, 400, 999]
    assert set(pc.list_flatten(trajectory.vertices["classes"]).to_pylist()) == {7, 400, 999}
    assert set(trajectory.vertices["class"].to_pylist()) <= {7, 400, 999}
    assert len(trajectory.graphs["unique_matrix"][0].as_py()) == 9
    assert trajectory.graph("1").class_names == ("7", "400", "999")
    assert isinstance(trajectory.network()["train_accuracy"][0].as_py(), float)


def test_what_works_on_the_outputs_themselves_is_refused():
    for options in ({"boost": "readout"}, {"explain": 2}):
        with pytest.raises(OptionError, match="3 classes, of a network with 1000 outputs"):
            followed(**options)
    leaves = Leaves(60)
    with pytest.raises(OptionError, match="a booster with 3 classes"):
        cofire.Booster(wide()[1]).fit(leaves)
    with pytest.raises(OptionError, match="of each class with 3 classes"):
        cofire.PatternConfidence(wide()[1]).fit(leaves)


def test_test_data_of_other_classes_is_refused():
    model, network = wide()
    fewer = Leaves(30)
    fewer.classes = ("corn", "pepper")
    with pytest.raises(LabelError, match="'apple' is in one alone"):
        follow(network, [model.state_dict()], Leaves(60), fewer, **OPTIONS)
    named = follow(
        network, [model.state_dict()], Leaves(60), fewer, class_names=Leaves.classes, **OPTIONS
    )
    assert named.options["classes"] == ["apple", "corn", "pepper"]


def test_rows_from_before_data_had_names_are_taken_up(tmp_path):
    trajectory = followed(tmp_path / "run")
    names = ("model", "data", "samples", "test_samples")
    for folder in (tmp_path / "run" / "rows" / "0001", tmp_path / "run" / "rows" / "0002"):
        for file in folder.glob("*.parquet"):
            table = pq.read_table(file)
            note = json.loads(table.schema.metadata[b"cofire"])
            older = {name: value for name, value in note.items() if name not in names}
            write_table(
                table.replace_schema_metadata({"cofire": json.dumps(older, sort_keys=True)}), file
            )
    again = followed(tmp_path / "run")
    assert again.options == trajectory.options


def test_tables_from_before_accuracy_could_be_unknown_open_and_join(tiny, tmp_path):
    trajectory = follow(tiny.network, [tiny.model.state_dict()], tiny.data, bins=10, pairs=None)
    path = trajectory.save(tmp_path / "older") / "layers.parquet"
    table = pq.read_table(path)
    strict = pa.schema(
        [f.with_nullable(False) if f.name == "train_accuracy" else f for f in table.schema],
        table.schema.metadata,
    )
    write_table(table.cast(strict), path)
    older = Trajectory.load(tmp_path / "older")
    assert older.layers.equals(trajectory.layers)
    Trajectory.concat([Trajectory.empty(trajectory.options), older])
