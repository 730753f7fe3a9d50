"""Whatever a file holds, a reader reads it or raises an error of cofire that names it.

`COFIRE_FUZZ=2500` tries so many instead of the usual few, `COFIRE_FUZZ_SEED` others.
"""

import json
import os
import random
import time

import pytest
import torch
from torch import nn

import cofire
from cofire import evaluate
from cofire.errors import CofireError, OptionError
from cofire.evaluate.bandit import BanditRun
from cofire.graphs import ActivationPatternGraph
from cofire.images.classes import read_names
from cofire.reading import read_json

from .spoiling import damaged

CASES = int(os.environ.get("COFIRE_FUZZ", "150"))
SEED = int(os.environ.get("COFIRE_FUZZ_SEED", "0"))


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Files that can be read, and what reads them."""
    place = tmp_path_factory.mktemp("good")
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    network, x, y = (
        cofire.Network(model, torch.zeros(1, 4)),
        torch.rand(12, 4),
        torch.arange(12) % 3,
    )
    cofire.save_weights(model.state_dict(), place / "w.safetensors")
    torch.save(model.state_dict(), place / "w.pt")
    summary = cofire.summarize(network, (x, y), by_class=True, pairs="class", top=2, progress=False)
    summary.save(place / "s.safetensors")
    summary.graph("1").save(place / "g.safetensors")
    cofire.explain(network, x[:2]).save(place / "e.safetensors")
    evaluate.ucb1(3, torch.rand(9, 3), 9).save(place / "bandit.json")
    (place / "options.toml").write_text('data = "digits"\nhidden = [8, 8]\nepochs = 1\n')
    (place / "names.json").write_text(json.dumps(["a", {"name": "b"}, "c"]))
    return {
        place / "w.safetensors": network.with_weights,
        place / "w.pt": network.with_weights,
        place / "s.safetensors": cofire.ActivationSummary.load,
        place / "g.safetensors": ActivationPatternGraph.load,
        place / "e.safetensors": cofire.Explanation.load,
        place / "bandit.json": BanditRun.load,
        place / "options.toml": cofire.StudyOptions.of,
        place / "names.json": lambda path: read_names(path, 3),
    }


def test_a_damaged_file_is_read_or_an_error_of_ours(files, tmp_path):
    draw, foreign = random.Random(SEED), []
    for path, read in files.items():
        read(path)
    for _ in range(CASES):
        path, read = draw.choice(list(files.items()))
        trial = tmp_path / path.name
        trial.write_bytes(damaged(draw, path.read_bytes()))
        try:
            read(trial)
        except CofireError:
            continue
        except Exception as error:
            foreign.append(f"{path.name}: {type(error).__name__}: {str(error)[:100]}")
    assert not foreign


@pytest.mark.parametrize("name", ["missing", "x" * 5000, "a\x00b", "lone\ud800"])
def test_a_path_to_nothing_is_an_error_of_ours(files, tmp_path, name):
    for read in files.values():
        with pytest.raises(CofireError):
            read(tmp_path / name)
        with pytest.raises(CofireError):
            read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "a." * 50_000 + "b = 1",
        "a = " + "[" * 30_000,
        "seed = " + "9" * 6000,
        "a = 1\n" * 50_000,
        '"a" . ' * 9000 + "b=1",
    ],
    ids=["dotted", "nested", "digits", "long", "quoted"],
)
def test_options_that_cost_more_than_they_say_are_refused_at_once(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    begun = time.process_time()
    with pytest.raises(OptionError, match=r"a\.toml"):
        cofire.StudyOptions.of(tmp_path / "a.toml")
    assert time.process_time() - begun < 20


def test_a_file_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    assert read_json(tmp_path / "a.json", most=9) == [1, 2, 3]
    with pytest.raises(ValueError, match="more than 8 bytes"):
        read_json(tmp_path / "a.json", most=8)
