"""Commands on data whose classes are some of the network's outputs, or none; and what a command says of itself."""

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from torchvision import models
from typer.testing import CliRunner

from cofire.activations import ActivationSummary
from cofire.cli.main import app
from cofire.errors import OptionError
from cofire.study import DATASETS, Trajectory
from cofire.study.data import open_data
from cofire.study.sources import outputs_of

VERBS = ("study", "summarize", "report", "graph", "boost", "explain", "evaluate", "tune")


def run(*arguments):
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.mark.parametrize("verb", VERBS)
def test_a_command_without_arguments_shows_its_usage(verb):
    told = run(verb)
    assert told.exit_code == 2
    assert "Usage:" in told.output
    assert verb in told.output


def test_a_study_without_a_data_set_names_those_there_are(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    for arguments in ((), ("--epochs", "3")):
        told = run("study", *arguments)
        assert told.exit_code == 2
        words = " ".join(told.output.replace("│", " ").split())
        assert all(name in words for name in DATASETS)
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def folder(tmp_path):
    """Photos of three classes, and weights of a network of a thousand outputs."""

    def made(*names):
        for number, name in enumerate(names):
            (tmp_path / "photos" / name).mkdir(parents=True)
            for k in range(3):
                Image.new("RGB", (40, 40), (80 * number, 30 * k, 90)).save(
                    tmp_path / "photos" / name / f"{k}.png"
                )
        with torch.random.fork_rng():
            save_file(models.squeezenet1_1().state_dict(), tmp_path / "weights.safetensors")
        return [
            "--model",
            "torchvision:squeezenet1_1",
            "--weights",
            tmp_path / "weights.safetensors",
            "--data",
            f"imagefolder:{tmp_path / 'photos'}",
            "--image-size",
            "64",
            "--bins",
            "10",
            "--layer",
            "features.12*",
            "--out",
            tmp_path / "out",
        ]

    return made


@pytest.mark.slow
def test_an_imagenet_network_is_analysed_by_the_classes_of_a_folder(folder, tmp_path):
    told = run(
        "summarize", *folder("apple", "corn", "pepper"), "--by-class", "full", "--pairs", "class"
    )
    assert told.exit_code == 0, told.output
    note = "accuracy is left out: the data has 3 classes and the network 1000 outputs"
    assert told.stderr.count(note) == 1
    summary = ActivationSummary.load(tmp_path / "out" / "summary.safetensors")
    assert summary.options.class_names == ("apple", "corn", "pepper")
    assert summary.accuracy is None
    trajectory = Trajectory.load(tmp_path / "out")
    assert set(trajectory.graphs["top"].to_pylist()) == {32, 50}  # 64 and 256 channels
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "<h1>What the neurons do: SqueezeNet on " in page
    assert "Accuracy is left out" in page


@pytest.mark.slow
def test_names_that_are_those_of_the_models_outputs_give_an_accuracy(folder, tmp_path):
    told = run("summarize", *folder("goldfish", "tench", "tree_frog"), "--by-class", "statistics")
    assert told.exit_code == 0, told.output
    assert "left out" not in told.output
    summary = ActivationSummary.load(tmp_path / "out" / "summary.safetensors")
    assert summary.options.outputs == "name"
    data = open_data(f"imagefolder:{tmp_path / 'photos'}", image_size=64)
    assert outputs_of(data, "torchvision:squeezenet1_1", 1000) == [1, 0, 31]
    right = 0
    model = models.squeezenet1_1(num_classes=1000).eval()
    model.load_state_dict(load_file(tmp_path / "weights.safetensors"))
    with torch.no_grad():
        for inputs, label in data:
            right += int(model(inputs[None]).argmax()) == (1, 0, 31)[label]
    assert summary.accuracy == pytest.approx(right / 9)


def test_names_that_are_no_outputs_are_not_matched():
    class Pets:
        classes = ("tench", "my own dog")

    assert outputs_of(Pets(), "torchvision:resnet18", 1000) is None
    assert outputs_of(Pets(), "timm:resnet18", 1000) is None


def test_folders_of_wordnet_numbers_are_matched_where_timm_knows_them():
    pytest.importorskip("timm")

    class Synsets:
        classes = ("n01443537", "n01440764")

    for spec in ("torchvision:resnet18", "timm:resnet18"):
        assert outputs_of(Synsets(), spec, 1000) == [1, 0]
    assert outputs_of(Synsets(), "torchvision:resnet18", 10) is None
    assert outputs_of(Synsets(), "mine:model", 1000) is None


@pytest.mark.slow
def test_boosting_other_classes_is_refused(folder, tmp_path):
    model = folder("apple", "corn", "pepper")[:4]
    data = f"imagefolder:{tmp_path / 'photos'}"
    told = run(
        "boost",
        *model,
        "--train",
        data,
        "--test",
        data,
        "--image-size",
        "64",
        "--out",
        tmp_path / "out",
    )
    assert isinstance(told.exception, OptionError)
    assert "3 classes, of a network with 1000 outputs" in str(told.exception)
