"""The command line from end to end, as a user runs it."""

import json
import re
import sys
from types import SimpleNamespace

import networkx
import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from cofire import ActivationPatternGraph, Trajectory
from cofire.activations import ActivationSummary
from tests.golden.running import run

MODULE = """
import torch
from torch import nn

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3))

def flat():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))

def digits():
    from cofire.study import load_dataset
    data = load_dataset("digits")
    return data.test_inputs, data.test_labels

def broken():
    raise RuntimeError("no such luck")

def nothing():
    return 7

class Branchy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(64, 10)
    def forward(self, x):
        x = torch.relu(x.flatten(1))
        return self.layer(x) if x.sum() > 0 else self.layer(-x)

def branchy():
    return Branchy()
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a user's module, images in three classes, and weights."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(MODULE)
    rng = np.random.default_rng(0)
    for number, name in enumerate(("ant", "bee", "cat")):
        (folder / "images" / name).mkdir(parents=True)
        for k in range(4):
            pixels = rng.integers(0, 80 * (number + 1), (24, 20, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / "images" / name / f"{k}.png")
    return folder


def cofire(*arguments, cwd, ok=True):
    """Run a command in this process, in a folder; what it says must be no traceback."""
    told = run(tuple(map(str, arguments)), cwd)
    assert "Traceback" not in told.err, told.err
    assert (told.exit == 0) == ok, (told.exit, told.out, told.err)
    return SimpleNamespace(returncode=told.exit, stdout=told.out, stderr=told.err)


SMALL = (
    "study",
    "digits",
    "--hidden",
    "16",
    "--epochs",
    "3",
    "--checkpoints",
    "3",
    "--bins",
    "10",
    "--top",
    "4",
    "--community-runs",
    "2",
    "--null-graphs",
    "2",
)


@pytest.mark.slow
def test_study_prints_its_verdict_and_the_report_which_can_be_rendered_again(tmp_path):
    done = cofire(*SMALL, cwd=tmp_path)
    lines = done.stdout.splitlines()
    heads = ["Analysed", "Accuracy", "Entropy", "Verdict"]
    assert [line.split()[0] for line in lines[:4]] == heads
    assert lines[-1].startswith("Report:")
    assert 4 <= len(lines[3:-1]) <= 6
    folder = tmp_path / "runs" / "digits-seed0"
    page = (folder / "report.html").read_text()
    assert "digits" in page
    (folder / "report.html").unlink()
    again = cofire("report", folder, cwd=tmp_path)
    assert "report.html" in again.stdout
    assert (folder / "report.html").exists()
    assert len(Trajectory.load(folder).checkpoints) == 3


@pytest.mark.slow
def test_study_takes_a_config_file_and_flags_win(tmp_path):
    (tmp_path / "study.toml").write_text(
        'data = "digits-mixed"\nhidden = [8]\nepochs = 9\ncheckpoints = 3\n'
    )
    cofire(
        "study",
        "--config",
        "study.toml",
        "--epochs",
        "2",
        "--seed",
        "4",
        "--out",
        "run",
        cwd=tmp_path,
    )
    options = json.loads((tmp_path / "run" / "study.json").read_text())
    assert (options["data"], options["hidden"], options["epochs"], options["seed"]) == (
        "digits-mixed",
        [8],
        2,
        4,
    )


@pytest.mark.slow
def test_summarize_takes_a_users_own_model_and_image_folder(place, tmp_path):
    done = cofire(
        "summarize",
        "--model",
        "mine:model",
        "--data",
        "imagefolder:images",
        "--image-size",
        "16",
        "--by-class",
        "full",
        "--bins",
        "10",
        "--out",
        tmp_path / "out",
        cwd=place,
    )
    assert "1 layers, 4 neurons" in done.stderr
    summary = ActivationSummary.load(tmp_path / "out" / "summary.safetensors")
    assert summary.options.class_names == ("ant", "bee", "cat")
    assert summary.samples == 12
    assert (tmp_path / "out" / "report.html").exists()
    assert len(Trajectory.load(tmp_path / "out").checkpoints) == 1


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["safetensors", "pt", "pt2"])
def test_summarize_loads_weights_and_exported_programs(place, tmp_path, kind):
    torch.manual_seed(3)
    model = nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10)).eval()
    file = tmp_path / f"w.{kind}"
    if kind == "pt2":
        batch = torch.export.Dim("batch")
        torch.export.save(
            torch.export.export(model, (torch.zeros(2, 1, 8, 8),), dynamic_shapes=({0: batch},)),
            file,
        )
        chosen = ("--model", file)
    elif kind == "pt":
        torch.save(model.state_dict(), file)
        chosen = ("--model", "mine:flat", "--weights", file)
    else:
        save_file(model.state_dict(), file)
        chosen = ("--model", "mine:flat", "--weights", file)
    cofire("summarize", *chosen, "--data", "mine:digits", "--out", tmp_path / "out", cwd=place)
    from cofire.study import load_dataset

    data = load_dataset("digits")
    right = (model(data.test_inputs).argmax(1) == data.test_labels).double().mean().item()
    assert ActivationSummary.load(
        tmp_path / "out" / "summary.safetensors"
    ).accuracy == pytest.approx(right)


@pytest.mark.slow
def test_summarize_takes_torchvisions_models_and_data_sets(mnist_root, tmp_path):
    (tmp_path / "tiny.py").write_text(
        "from torch import nn\n"
        "def model():\n    return nn.Sequential(nn.Flatten(), nn.Linear(784, 8), nn.ReLU(), nn.Linear(8, 10))\n"
    )
    done = cofire(
        "summarize",
        "--model",
        "tiny:model",
        "--data",
        "torchvision:MNIST",
        "--split",
        "test",
        "--data-root",
        mnist_root,
        "--out",
        "out",
        cwd=tmp_path,
    )
    assert "torchvision:MNIST" in done.stdout
    assert ActivationSummary.load(tmp_path / "out" / "summary.safetensors").samples == 10_000


@pytest.mark.slow
def test_a_pretrained_network_is_summarized_on_real_digits(shared, mnist_root, tmp_path):
    weights = shared / "data" / "weights" / "cnn-mnist.safetensors"
    if not weights.exists():
        pytest.skip("no pretrained network in the shared data")
    (tmp_path / "trained.py").write_text(
        "from torch import nn\n"
        "def model():\n"
        "    return nn.Sequential(\n"
        "        nn.Conv2d(1, 20, 5), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),\n"
        "        nn.Flatten(), nn.Linear(800, 500), nn.ReLU(), nn.Linear(500, 10))\n"
    )
    cofire(
        "summarize",
        "--model",
        "trained:model",
        "--weights",
        weights,
        "--data",
        "torchvision:MNIST",
        "--split",
        "test",
        "--data-root",
        mnist_root,
        "--mean",
        "0.1307",
        "--std",
        "0.3081",
        "--by-class",
        "statistics",
        "--out",
        "out",
        cwd=tmp_path,
    )
    summary = ActivationSummary.load(tmp_path / "out" / "summary.safetensors")
    assert summary.accuracy > 0.985
    assert [layer.neurons for layer in summary] == [20, 50, 500]
    last = summary.layers[-1]
    assert 0.1 < last.information().max() <= 1
    assert last.selectivity().median() > 0.3


@pytest.mark.slow
def test_a_mismatch_of_classes_and_outputs_is_said(place, tmp_path):
    done = cofire(
        "summarize",
        "--model",
        "torchvision:squeezenet1_1",
        "--weights",
        "none",
        "--data",
        "imagefolder:images",
        "--image-size",
        "64",
        "--out",
        tmp_path / "out",
        cwd=place,
    )
    assert "the data has 3 classes and the network 1000 outputs" in done.stderr
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Accuracy is left out" in page


@pytest.mark.slow
def test_doctor_says_what_is_there(tmp_path):
    done = cofire("doctor", cwd=tmp_path)
    assert re.search(rf"torch +{re.escape(torch.__version__.split('+')[0])}", done.stdout)
    assert "Ready." in done.stdout


def summarize(model, data, *more):
    return ("summarize", "--model", model, "--data", data, "--out", "nowhere", *more)


FAULTS = {
    "unknown data set": (("study", "minst"), "mnist"),
    "unknown option in the file": (("study", "--config", "odd.toml"), "epoch"),
    "data that is not there": (
        ("study", "mnist", "--data-root", "noplace", "--out", "nowhere"),
        "--data-root",
    ),
    "no results": (("report", "absent"), "is no folder"),
    "unknown torchvision model": (
        summarize("torchvision:resnet5", "imagefolder:images"),
        "resnet50",
    ),
    "unknown timm model": (summarize("timm:resnet5o", "imagefolder:images"), "timm"),
    "unknown torchvision data": (summarize("mine:model", "torchvision:MINST"), "MNIST"),
    "no trained weights": (summarize("torchvision:alexnet", "imagefolder:images"), "--weights"),
    "model spec": (summarize("resnet50", "imagefolder:images"), "package.module:function"),
    "model fails": (summarize("mine:broken", "imagefolder:images"), "no such luck"),
    "model is none": (summarize("mine:nothing", "imagefolder:images"), "torch.nn.Module"),
    "no such module": (summarize("yours:model", "imagefolder:images"), "yours"),
    "no such folder": (summarize("mine:model", "imagefolder:absent"), "absent"),
    "unreadable image": (
        summarize("mine:model", "imagefolder:damaged", "--image-size", "16"),
        "dog.png",
    ),
    "no such layer": (
        summarize("mine:model", "imagefolder:images", "--image-size", "16", "--layer", "7"),
        "'1'",
    ),
    "weights that do not fit": (
        summarize("mine:flat", "mine:digits", "--weights", "other.safetensors"),
        "1.weight",
    ),
    "truncated weights": (
        summarize("mine:flat", "mine:digits", "--weights", "half.safetensors"),
        "half",
    ),
    "missing weights": (
        summarize("mine:flat", "mine:digits", "--weights", "absent.pt"),
        "absent.pt",
    ),
    "a pickle": (summarize("mine:flat", "mine:digits", "--weights", "evil.pt"), "evil.pt"),
    "no export": (summarize("mine:branchy", "mine:digits"), "calls"),
    "too much state": (summarize("mine:flat", "mine:digits", "--max-bytes", "100"), "max_bytes"),
    "a folder of a study": (
        ("summarize", "--model", "mine:flat", "--data", "mine:digits", "--out", "run"),
        "study",
    ),
    "nowhere to write": (
        ("summarize", "--model", "mine:flat", "--data", "mine:digits", "--out", "a.txt/b"),
        "a.txt",
    ),
    "an option that does nothing": (
        summarize("mine:flat", "mine:digits", "--image-size", "9"),
        "--image-size",
    ),
    "mean without std": (summarize("mine:model", "imagefolder:images", "--mean", "0.5"), "both"),
    "no such device": (summarize("mine:flat", "mine:digits", "--device", "abacus"), "abacus"),
}


@pytest.fixture(scope="module")
def faulty(place):
    (place / "odd.toml").write_text("epoch = 3\n")
    (place / "a.txt").write_text("")
    (place / "run").mkdir()
    (place / "run" / "study.json").write_text("{}")
    for name in ("damaged/dog",):
        (place / name).mkdir(parents=True)
        Image.new("RGB", (20, 20), (200, 10, 30)).save(place / name / f"{name.split('/')[1]}.png")
    whole = (place / "damaged/dog/dog.png").read_bytes()
    (place / "damaged/dog/dog.png").write_bytes(whole[: len(whole) // 2])
    save_file({"1.weights": torch.zeros(2)}, place / "other.safetensors")
    whole = (place / "other.safetensors").read_bytes()
    (place / "half.safetensors").write_bytes(whole[:20])
    import pickle

    (place / "evil.pt").write_bytes(pickle.dumps(print))
    return place


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_message_and_exit_status_1_and_writes_nothing(
    faulty, fault, monkeypatch, capsys
):
    arguments, words = FAULTS[fault]
    monkeypatch.chdir(faulty)
    monkeypatch.setattr(sys, "argv", ["cofire", *arguments])
    from cofire.cli import main

    with pytest.raises(SystemExit) as stopped:
        main()
    shown = capsys.readouterr()
    assert stopped.value.code == 1
    message = shown.err[shown.err.index("cofire: ") :]
    assert words in message
    assert re.search("Expected: .*To fix it: ", message, re.DOTALL), message
    assert "Traceback" not in shown.err
    assert not (faulty / "nowhere").exists()


def test_wrong_words_on_the_command_line_exit_with_2(monkeypatch, capsys):
    from cofire.cli import main

    monkeypatch.setattr(sys, "argv", ["cofire", "summarize", "--unit", "pixel"])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2


@pytest.mark.slow
def test_graph_describes_a_checkpoint_and_writes_it_for_other_tools(tmp_path):
    cofire(*SMALL, "--out", "run", cwd=tmp_path)
    done = cofire(
        "graph",
        "run",
        "--communities",
        "louvain",
        "--resolution",
        "2",
        "--out",
        "last.gexf",
        cwd=tmp_path,
    )
    assert done.stdout.startswith("ActivationPatternGraph('relu1', ")
    assert "Communities(louvain at γ = 2, " in done.stdout
    assert "a smaller --top" not in done.stderr
    first = cofire(
        "graph",
        "run",
        "--checkpoint",
        "1",
        "--layer",
        "relu1",
        "--out",
        "first.graphml",
        cwd=tmp_path,
    )
    assert first.stdout != done.stdout
    assert networkx.read_gexf(tmp_path / "last.gexf").number_of_nodes() > 4
    assert networkx.read_graphml(tmp_path / "first.graphml").number_of_nodes() > 4
    cofire("graph", "run", "--out", "last.safetensors", cwd=tmp_path)
    assert ActivationPatternGraph.load(tmp_path / "last.safetensors").top == 4
    for wrong in (
        ("--out", "last.txt"),
        ("--checkpoint", "9"),
        ("--layer", "relu7"),
        ("--resolution", "2"),
    ):
        failed = cofire("graph", "run", *wrong, cwd=tmp_path, ok=False)
        assert "To fix it" in failed.stderr
    assert not (tmp_path / "last.txt").exists()


@pytest.mark.slow
def test_summarize_makes_graphs_where_asked(place, tmp_path):
    cofire(
        "summarize",
        "--model",
        "mine:model",
        "--data",
        "imagefolder:images",
        "--image-size",
        "16",
        "--by-class",
        "full",
        "--pairs",
        "class",
        "--top",
        "2",
        "--null-graphs",
        "2",
        "--out",
        tmp_path / "out",
        cwd=place,
    )
    assert ActivationSummary.load(tmp_path / "out" / "summary.safetensors").options.pairs == "class"
    assert len(Trajectory.load(tmp_path / "out").graphs) == 1
    described = cofire("graph", tmp_path / "out", cwd=place).stdout
    assert "3 classes" in described
    failed = cofire(
        "summarize",
        "--model",
        "mine:model",
        "--data",
        "imagefolder:images",
        "--image-size",
        "16",
        "--pairs",
        "class",
        "--out",
        tmp_path / "other",
        cwd=place,
        ok=False,
    )
    assert "--by-class full" in failed.stderr
    assert not (tmp_path / "other").exists()
