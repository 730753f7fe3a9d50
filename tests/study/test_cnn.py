"""The small convolutional network of studies: its shape on every data set, and a study of it like any other."""

import dataclasses
import json
import shutil

import pytest
import torch

from cofire import Network, StudyOptions, Trajectory, run_study
from cofire.errors import OptionError
from cofire.report import write_report
from cofire.study import cnn
from cofire.study.findings import digest

SMALL = {
    "model": "cnn",
    "hidden": (24,),
    "epochs": 4,
    "checkpoints": 4,
    "batch_size": 32,
    "pairs": "none",
}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cnn") / "run"
    return folder, run_study(StudyOptions(**SMALL, explain=2), folder)


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (1, 5, 7)])
def test_it_fits_images_of_every_size(shape):
    network = Network(cnn(shape, (12,), 10, dropout=0.5), torch.rand(2, *shape))
    assert [layer.name for layer in network.select(None)] == ["relu1", "relu2", "relu3"]
    assert network.run(torch.rand(3, *shape)).shape == (3, 10)


@pytest.mark.parametrize("shape", [(64,), (1, 3, 8), (1, 8, 2)])
def test_what_is_no_image_or_too_small_is_refused(shape):
    with pytest.raises(OptionError, match="4 × 4 pixels at least"):
        cnn(shape, (12,), 10)


def test_it_has_fewer_hidden_units_unless_some_are_given(tmp_path):
    assert StudyOptions.of().hidden == StudyOptions.of(model="fcnn").hidden == (512, 512)
    assert StudyOptions.of(model="cnn").hidden == (128,)
    assert StudyOptions.of(model="cnn", hidden=(7, 5)).hidden == (7, 5)
    file = tmp_path / "study.toml"
    file.write_text('model = "cnn"\n')
    assert StudyOptions.of(file).hidden == (128,)
    assert StudyOptions.of(file, model="fcnn").hidden == (512, 512)


def test_a_study_of_it_has_the_tables_of_any_study(undisturbed):
    folder, trajectory = undisturbed
    assert trajectory.checkpoints == (1, 2, 3, 4)
    rows = trajectory.layers.to_pylist()
    assert [(row["layer"], row["neurons"]) for row in rows[:3]] == [
        ("relu1", 16),
        ("relu2", 32),
        ("relu3", 24),
    ]
    assert trajectory.network().to_pylist()[-1]["test_accuracy"] > 0.7
    tracing = trajectory.tracings.to_pylist()[0]
    assert (tracing["error"], tracing["right_explained"], tracing["mistakes_explained"]) == (
        None,
        2,
        2,
    )
    assert tracing["jaccard_heat"] < 0.95
    assert json.loads((folder / "study.json").read_text())["model"] == "cnn"
    assert digest(trajectory)[0].startswith(
        "Analysed     digits by a small CNN: 4 checkpoints, 3 layers, 72 neurons"
    )


def test_what_is_lost_is_made_again_the_same_and_seeds_matter(undisturbed, tmp_path):
    folder, trajectory = undisturbed
    copy = tmp_path / "copy"
    shutil.copytree(folder, copy)
    shutil.rmtree(copy / "rows")
    shutil.rmtree(copy / "checkpoints")
    (copy / "training.pt").unlink()
    again = run_study(StudyOptions(**SMALL, explain=2), copy)
    assert again.neurons.equals(trajectory.neurons)
    assert again.explanations.equals(trajectory.explanations)
    other = run_study(StudyOptions(**SMALL, seed=1), tmp_path / "other")
    assert not other.neurons.equals(trajectory.neurons)


def test_a_folder_of_another_network_is_refused(undisturbed):
    with pytest.raises(OptionError, match="model 'cnn' there, 'fcnn' now"):
        run_study(StudyOptions(**{**SMALL, "model": "fcnn"}, explain=2), undisturbed[0])


def test_the_page_names_the_network_and_results_from_before_there_was_a_choice_load(
    undisturbed, tmp_path
):
    folder, trajectory = undisturbed
    title = "What the neurons do"
    page = write_report(Trajectory.load(folder), tmp_path / "page.html").read_text()
    assert f"<h1>{title}: a small CNN on digits</h1>" in page
    older = {name: value for name, value in trajectory.options.items() if name != "model"}
    loaded = Trajectory.load(
        dataclasses.replace(trajectory, options=older).save(tmp_path / "older")
    )
    assert f"<h1>{title}: digits</h1>" in write_report(loaded, tmp_path / "older.html").read_text()
    assert digest(loaded)[0].startswith("Analysed     digits: ")
