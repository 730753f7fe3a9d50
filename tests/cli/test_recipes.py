"""`cofire recipes`, and studies by a recipe of one's own."""

import json
import re

import pytest

from cofire.study import Trajectory
from tests.golden.running import run

SMALL = 'model = "fcnn"\nhidden = [12]\nepochs = 1\ncheckpoints = 3\npairs = "none"\nbins = 10\n'
OWN = f"""
title = "Twelve units"
assumed = ["everything"]
samples = 1437
classes = 10
[options]
data = "digits"
{SMALL}
[[numbers]]
table = "Table 1"
quantity = "entropy"
pearson = [0.25]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    (folder / "own.toml").write_text(OWN)
    (folder / "flat.toml").write_text(f'data = "digits"\n{SMALL}')
    return folder


def test_all_are_listed_with_their_tables_and_networks(place):
    told = run(("recipes",), place).out
    line = next(line for line in told.splitlines() if line.startswith("p1-cifar10-resnet50"))
    for part in (
        "ResNet-50 on CIFAR-10",
        "P1 Tables 1, 2, 3, 4",
        "torchvision:resnet50",
        "40 epochs of 50,000",
    ):
        assert part in line
    rows = json.loads(run(("recipes", "--json"), place).out)["recipes"]
    assert [row["name"] for row in rows if row["name"] == "digits"]


def test_one_is_shown_with_options_numbers_and_cost(place):
    told = run(("recipes", "own.toml"), place).out
    for part in (
        "Twelve units",
        "- everything",
        "Hidden units (--hidden)",
        "entropy (pearson)",
        "0.25",
    ):
        assert part in told
    assert "Cost here: about " in told
    found = json.loads(run(("recipes", "own.toml", "--json"), place).out)
    assert found["options"]["hidden"] == [12]
    assert found["cost"]["training"] > 0
    assert found["numbers"][0]["value"] == 0.25


def test_the_cost_of_a_network_too_large_to_be_measured_aside_is_its_size(place):
    told = run(("recipes", "p2-plantvillage"), place).out
    assert "not measured: 556,454,409 parameters, 8.9 GB with gradients" in told


def test_a_misspelt_recipe_is_told_the_right_one(place):
    for verb in ("recipes", "study"):
        done = run((verb, "p1-cifar10-resnet"), place)
        assert done.exit == 1
        assert "try 'p1-cifar10-resnet50'" in done.err


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (("own.toml", "--batch-size", "64"), "runs/own-seed0"),
        (("--config", "own.toml"), "runs/digits-seed0"),
        (("--config", "flat.toml", "--out", "flat"), "flat"),
    ],
)
def test_a_study_by_a_file_of_ones_own(arguments, folder, place):
    done = run(("study", *arguments), place)
    assert done.exit == 0, done.err
    found = Trajectory.load(place / folder)
    assert list(found.checkpoints) == [1, 2, 3]
    assert found.options["hidden"] == [12]
    page = (place / folder / "report.html").read_text(encoding="utf-8")
    if arguments[0] == "own.toml":
        assert found.options["recipe"] == "own.toml"
        assert "batch size: 64 in place of 128" in page
        assert "+0.25" in re.sub("<[^>]*>", "", page)  # what its paper prints
    else:
        assert found.options["recipe"] is None


def test_a_misspelt_option_names_the_file_it_is_in(place):
    (place / "wrong.toml").write_text("epocs = 3\n")
    for given in (("--config", "wrong.toml", "--data", "digits"), ("wrong.toml",)):
        done = run(("study", *given), place)
        assert done.exit == 1
        assert "'wrong.toml' with an option epocs" in done.err
        assert "write epochs in its place" in done.err
