"""`cofire study --model` and the two networks of `cofire demo`, as a user runs them."""

import json
import sys

import pytest

from cofire import Trajectory
from tests.cli.test_cli import cofire
from tests.report import synthetic
from tests.report.synthetic_explanations import with_explanations

SMALL = (
    "--epochs",
    "3",
    "--checkpoints",
    "3",
    "--batch-size",
    "32",
    "--top",
    "4",
    "--null-graphs",
    "2",
)


@pytest.mark.slow
def test_a_study_of_a_cnn_from_training_to_its_page(tmp_path):
    done = cofire("study", "digits", "--model", "cnn", *SMALL, "--explain", "2", cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert lines[0].startswith(
        "Analysed     digits by a small CNN: 3 checkpoints, 3 layers, 176 neurons"
    )
    heads = ["Analysed", "Accuracy", "Entropy", "Verdict"]
    assert [line.split()[0] for line in lines[:4]] == heads
    assert any("xplanations" in line for line in lines[4:])
    assert lines[-1].startswith("Report:")
    folder = tmp_path / "runs" / "digits-cnn-seed0"
    page = (folder / "report.html").read_text()
    assert "a small CNN on digits" in page
    assert page.count('<article class="case">') == 2
    options = json.loads((folder / "study.json").read_text())
    assert (options["model"], options["hidden"]) == ("cnn", [128])
    assert len(Trajectory.load(folder).checkpoints) == 3
    with_graph = cofire("graph", folder, "--layer", "relu2", cwd=tmp_path)
    assert with_graph.stdout.startswith("ActivationPatternGraph('relu2', ")


def test_an_unknown_network_is_refused_before_anything_is_trained(tmp_path):
    refused = cofire("study", "digits", "--model", "rnn", "--out", "run", cwd=tmp_path, ok=False)
    assert "--model 'rnn'. Expected: fcnn, cnn, torchvision:NAME" in refused.stderr
    assert not (tmp_path / "run").exists()


def test_the_demo_writes_a_page_for_each_network_and_says_where(tmp_path, monkeypatch, capsys):
    asked = []

    def study(options, folder, **_):
        asked.append(options)
        folder.mkdir(parents=True, exist_ok=True)
        return with_explanations(synthetic.trajectory(layers=(6,), checkpoints=3))

    monkeypatch.setattr("cofire.cli.study.run_study", study)
    monkeypatch.setattr(
        sys, "argv", ["cofire", "demo", "--out", str(tmp_path / "demo"), "--seed", "3"]
    )
    from cofire.cli import main

    with pytest.raises(SystemExit) as stopped:
        main()
    assert not stopped.value.code
    assert [(options.model, options.seed, options.explain, options.boost) for options in asked] == [
        ("fcnn", 3, 8, "readout"),
        ("cnn", 3, 8, "none"),
    ]
    pages = [tmp_path / "demo" / "report.html", tmp_path / "demo" / "cnn" / "report.html"]
    assert all('<section id="explanations"' in page.read_text() for page in pages)
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == f"Reports: {pages[0]} (fully connected), {pages[1]} (CNN)"
    assert [bool(line) for line in lines].count(False) == 2
