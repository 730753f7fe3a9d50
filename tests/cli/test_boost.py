"""`cofire boost` and boosted studies, as a user runs them."""

import json

import pyarrow.parquet as pq
import pytest
import torch

from cofire import Booster, Network, StudyOptions, Trajectory, follow, run_study
from cofire.errors import OptionError
from cofire.study import load_dataset
from cofire.study.networks import fcnn
from tests.cli.test_cli import cofire

MODULE = """
import torch
from cofire.study import load_dataset
from cofire.study.networks import fcnn

DIGITS = load_dataset("digits")

def model():
    torch.manual_seed(0)
    model = fcnn(64, (32, 16), 10)
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    for _ in range(4):
        for chosen in torch.randperm(1000).split(64):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(DIGITS.train_inputs[chosen]), DIGITS.train_labels[chosen])
            loss.backward()
            optimizer.step()
    return model

def train():
    return DIGITS.train_inputs[:1000], DIGITS.train_labels[:1000]

def held_out():
    return DIGITS.train_inputs[1000:], DIGITS.train_labels[1000:]

def test():
    return torch.utils.data.TensorDataset(DIGITS.test_inputs, DIGITS.test_labels)

def batches():
    return [(DIGITS.test_inputs, DIGITS.test_labels)]
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("user")
    (folder / "mine.py").write_text(MODULE)
    return folder


ARGUMENTS = ("boost", "--model", "mine:model", "--train", "mine:train", "--test", "mine:test")


def test_boost_writes_a_booster_a_program_tables_and_a_page(place):
    told = cofire(*ARGUMENTS, "--validation", "mine:held_out", "--out", "out", cwd=place)
    out = place / "out"
    assert "Accuracy" in told.stdout
    assert "over the best control" in told.stdout
    assert "of that by reading all layers" in told.stdout
    assert "by who fires" in told.stdout
    assert {path.name for path in out.iterdir()} == {
        "boost.json",
        "boost_classes.parquet",
        "boosted.pt2",
        "booster.safetensors",
        "boosts.parquet",
        "flips.parquet",
        "report.html",
    }
    assert len(pq.read_table(out / "boosts.parquet")) == 16
    assert json.loads((out / "boost.json").read_text())["boost"] == "readout"
    page = (out / "report.html").read_text()
    assert "last layer trained on" in page
    namespace: dict = {}
    exec(MODULE, namespace)
    images, _ = namespace["held_out"]()
    booster = Booster.load(out / "booster.safetensors", Network(namespace["model"](), images[:2]))
    program = torch.export.load(out / "boosted.pt2").module()
    assert torch.equal(program(images), booster(images))
    again = cofire(
        *ARGUMENTS,
        "--validation-from-test",
        "0.5",
        "--booster",
        "auxiliary",
        "--out",
        "out",
        cwd=place,
    )
    assert "made earlier is replaced" in again.stderr
    assert json.loads((out / "boost.json").read_text())["test_samples"] == 180


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--booster", "readuot"), "pass 'readout'"),
        (("--validation", "mine:train"), "in the training data as well"),
        (("--validation", "mine:held_out", "--validation-from-test", "0.5"), "one of the two"),
        (("--validation-from-test", "1.5"), "above 0 and below 1"),
        (("--test", "mine:batches", "--validation-from-test", "0.5"), "with data of type list"),
        (("--layer", "relu9"), "relu9"),
        (("--threshold", "median"), "'mean'"),
        (("--out", "."), "holds other files"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_writes_nothing(place, more, said):
    out = () if "--out" in more else ("--out", "refused")
    told = cofire(*ARGUMENTS, *more, *out, cwd=place, ok=False)
    assert told.returncode in (1, 2)
    assert said in told.stderr
    assert "Traceback" not in told.stderr
    assert not (place / "refused").exists()


OPTIONS = {"data": "digits", "hidden": (16, 12), "epochs": 2, "checkpoints": 2, "pairs": "none"}


@pytest.mark.slow
def test_a_study_boosts_every_checkpoint_and_goes_on_after_a_stop(tmp_path):
    options = StudyOptions(**OPTIONS, boost="auto", boost_layers="LL")
    assert options.validation == 0.1
    whole = run_study(options, tmp_path / "whole", progress=False)
    boosts = whole.boosts.to_pylist()
    assert [row["checkpoint"] for row in boosts if row["role"] == "booster"] == [1, 2]
    assert {row["role"] for row in boosts} == {"base", "best control", "booster", ""}
    base = [row["test_accuracy"] for row in boosts if row["role"] == "base"]
    assert base == pytest.approx(whole.network()["test_accuracy"].to_pylist())
    assert len(whole.boost_classes) == 20

    class StopError(Exception):
        pass

    def stop(*_):
        raise StopError

    with pytest.raises(StopError):
        run_study(options, tmp_path / "stopped", progress=False, report=stop)
    run_study(options, tmp_path / "stopped", progress=False)
    again = Trajectory.load(tmp_path / "stopped")
    assert again.boosts.equals(whole.boosts)
    assert again.flips.equals(whole.flips)


def test_follow_boosts_a_users_checkpoints():
    data = load_dataset("digits")
    model = fcnn(64, (16, 12), 10)
    network = Network(model, data.train_inputs[:2])
    train = (data.train_inputs[:300], data.train_labels[:300])
    held_out = (data.train_inputs[300:500], data.train_labels[300:500])
    found = follow(
        network,
        [model.state_dict()],
        train,
        (data.test_inputs, data.test_labels),
        pairs=None,
        boost="readout",
        held_out=held_out,
        progress=False,
    )
    assert len(found.boosts) == 16
    with pytest.raises(OptionError, match="without test data"):
        follow(network, [model.state_dict()], train, boost="readout")
    with pytest.raises(OptionError, match="without boost"):
        follow(network, [model.state_dict()], train, held_out=held_out)
    with pytest.raises(OptionError, match="with boost='none'"):
        follow(network, [model.state_dict()], train, boost_threshold="mean")
    assert found.options["boost_threshold"] == 0.0
    by_mean = follow(
        network,
        [model.state_dict()],
        train,
        (data.test_inputs, data.test_labels),
        pairs=None,
        boost="readout",
        boost_threshold="mean",
        boost_unit="channel-max",
        held_out=held_out,
        progress=False,
    )
    assert (by_mean.options["boost_threshold"], by_mean.options["boost_unit"]) == (
        "mean",
        "channel-max",
    )
    assert not by_mean.boosts.equals(found.boosts)


def test_a_studys_booster_takes_unit_and_threshold():
    options = StudyOptions(**OPTIONS, boost="readout", boost_unit="element", boost_threshold="mean")
    assert (options.boost_unit, options.boost_threshold) == ("element", "mean")
    assert StudyOptions.of(**OPTIONS, boost="readout", boost_threshold="0.5").boost_threshold == 0.5
    with pytest.raises(OptionError, match="boost_threshold='mean' with boost='none'"):
        StudyOptions.of(**OPTIONS, boost_threshold="mean")
    with pytest.raises(OptionError, match="boost_unit"):
        StudyOptions.of(**OPTIONS, boost="readout", boost_unit="channel")
