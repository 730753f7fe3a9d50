"""Studies made by recipes: each starts on shrunken data, and gives the paper's numbers beside its own."""

import math

import pytest
import torch

from cofire.boost import METHODS
from cofire.study import StudyOptions, run_study
from cofire.study.beside import beside, differences
from cofire.study.networks import build
from cofire.study.recipes import recipe, recipe_names
from tests.study.shrunken import folders

SMALL = {"epochs": 2, "checkpoints": 2, "batch_size": 32, "bins": 10}
PAPERS = [name for name in recipe_names() if name.startswith("p")]
BOOSTED = ("p1-mnist", "p1-plantvillage-resnet50")
WHOLE = ("p1-cifar10-resnet50", "p1-cifar10-inceptionv3")
"""Large networks that run as they are; the others are built, and run with few channels."""


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return folders(tmp_path_factory.mktemp("images"), 10, 32, (10, 2))


def shrunken(name, images):
    """The recipe's options with little data, and few units where it says how many."""
    asked = recipe(name).options
    own = {**SMALL, "recipe": name}
    if "pairs" not in asked:
        own |= {"top": (5, 3), "community_runs": 2, "null_graphs": 2}
    if "image_size" in asked:
        own |= {"data": f"imagefolder:{images}", "image_size": min(asked["image_size"], 75)}
    else:
        own["data"] = f"digits{'-mixed' * ('mixed' in name)}"
    if "hidden" in asked:
        own["hidden"] = tuple(8 + k for k in range(len(asked["hidden"])))
    elif name not in WHOLE:
        own |= {"model": "tests.study.shrunken:narrow_vgg", "weights": "none", "image_size": 32}
    if name not in BOOSTED:
        own["boost"] = "none"
    return StudyOptions(**own, train_samples=20 if name in WHOLE else 80)


@pytest.mark.slow
@pytest.mark.parametrize("name", PAPERS)
def test_each_recipe_runs_on_shrunken_data(name, images, tmp_path, monkeypatch):
    # The paper's booster and its controls; the other methods have tests of their own.
    monkeypatch.setattr("cofire.boost.comparison.METHODS", {"auxiliary": METHODS["auxiliary"]})
    options = shrunken(name, images)
    found = run_study(options, tmp_path / "study", progress=False)
    assert list(found.checkpoints) == [1, 2]
    pairs = beside(found)
    assert len(pairs) == len(recipe(name).printed())
    ours = {(p.printed.quantity, p.printed.layers): p.ours for p in pairs if p.ours is not None}
    if pairs:
        last = found.network().to_pylist()[-1]
        assert ours["test accuracy", ""] == pytest.approx(100 * last["test_accuracy"])
    if name in BOOSTED:
        layers = options.boost_layers[0]
        row = next(
            row
            for row in found.boosts.to_pylist()
            if (row["checkpoint"], row["method"]) == (2, "auxiliary")
            and row.get("layers", layers) == layers
        )
        assert ours["boosted test accuracy", layers] == pytest.approx(100 * row["test_accuracy"])
        assert math.isfinite(ours["test gain", layers])
    said = differences(found)
    assert any(line.startswith("data: ") and " in place of " in line for line in said)
    assert any(line.startswith("training samples: ") for line in said)


@pytest.mark.parametrize("name", [*PAPERS, "digits", "mnist"])
def test_every_network_is_built_whole(name):
    """Without memory for its weights."""
    one = recipe(name)
    options = StudyOptions(**one.options)
    side = options.image_size or 28
    with torch.device("meta"):
        model = build(options, (1 if options.grey else 3, side, side), one.classes or 10)
    assert [*model.parameters()][-1].shape == (one.classes or 10,)
