"""Training: any optimiser, schedule and precision; stopped anywhere it ends with the same weights."""

import multiprocessing
import os
import re
import signal
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from torch import nn

from cofire import StudyOptions, run_study, save_weights
from cofire.cli.study import Study
from cofire.errors import OptionError, ResultError, WeightsError
from cofire.study.augmentation import augmented
from cofire.study.cost import expected_cost
from cofire.study.networks import build, load_start
from cofire.study.samples import Samples
from cofire.study.tables import TABLES
from cofire.study.training import Course, Training, checkpoint_path, seeded

CLASSES = tuple("abc")


def points(samples=45, shape=(1, 8, 8)):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % 3
    inputs = torch.rand(samples, *shape, generator=draw) + labels.reshape(-1, *[1] * len(shape))
    return Samples(inputs, labels, CLASSES)


def training(folder, data=None, made=None, **given):
    options = StudyOptions(
        **{"hidden": (6,), "epochs": 4, "checkpoints": 3, "batch_size": 8} | given
    )
    data = data or points()
    with seeded(options.seed, "weights"):
        model = made() if made else build(options, (1, 8, 8), 3)
    folder.mkdir(exist_ok=True)
    return Training(model, options, data, Course.of(options, len(data)), folder)


def ended(folder, *, stops=(), **given):
    """The last weights of a training that is stopped in the middle of some intervals."""
    for stop in stops:
        stopped = training(folder, **given)
        seen = []

        def one(count, seen=seen, stop=stop):
            seen.append(count)
            if len(seen) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            trained(stopped, one)
    return trained(training(folder, **given))


def trained(run, done=None):
    while run.done < len(run.course.checkpoints):
        run.advance(done)
    return run.model.state_dict()


def same(one, other):
    return all(torch.equal(one[name], other[name]) for name in one)


CHOICES = [
    {"optimizer": "sgd", "momentum": 0.9, "schedule": "cosine", "learning_rate": 0.05},
    {"optimizer": "adamw", "schedule": "step", "decay": 0.5, "decay_every": 1.0},
    {"optimizer": "rmsprop", "momentum": 0.5, "schedule": "one-cycle", "clip": 1.0},
    {"optimizer": "adam", "weight_decay": 0.01, "label_smoothing": 0.1, "precision": "bf16"},
    {"precision": "fp16", "schedule": "cosine", "clip": 1.0},
    {"augment": ("crop", "flip"), "model": "cnn", "channels_last": True, "schedule": "one-cycle"},
]


@pytest.mark.parametrize("given", CHOICES, ids=lambda given: "-".join(map(str, given.values())))
def test_stopped_in_the_middle_and_started_again_it_ends_with_the_same_weights(tmp_path, given):
    undisturbed = ended(tmp_path / "a", **given)
    assert same(undisturbed, ended(tmp_path / "b", stops=(3, 10, 12), **given))
    assert all(torch.isfinite(value).all() for value in undisturbed.values())
    assert not same(undisturbed, ended(tmp_path / "c", **given, seed=1))


@pytest.mark.parametrize(
    ("given", "rates"),
    [
        ({}, [1, 1, 1, 1]),
        ({"schedule": "step", "decay_every": 2.0}, [1, 1, 0.1, 0.1]),
        ({"schedule": "cosine"}, [1, 0.8536, 0.5, 0.1464]),
        ({"schedule": "one-cycle", "warmup": 0.5}, [0.04, 1, 0.5, 0]),
    ],
)
def test_schedules_set_the_rate_of_every_step(tmp_path, given, rates):
    run = training(tmp_path / "run", batch_size=45, checkpoints=4, learning_rate=1.0, **given)
    seen = []
    for _ in rates:
        seen.append(run._optimizer.param_groups[0]["lr"])
        run.advance()
    assert seen == pytest.approx(rates, abs=0.02 if "warmup" in given else 1e-3)


def test_the_study_of_two_checkpoints_runs_in_each_precision(tmp_path):
    small = {"hidden": (8,), "epochs": 2, "checkpoints": 2, "pairs": "none"}
    for precision in ("bf16", "fp16"):
        options = StudyOptions(**small, precision=precision, optimizer="adamw")
        assert run_study(options, tmp_path / precision).checkpoints == (1, 2)


def test_checkpoints_are_taken_every_so_many_steps_or_epochs_and_at_the_end():
    def steps(every, samples=17, **given):
        options = StudyOptions(checkpoint_every=every, epochs=3, batch_size=8, **given)
        return Course.of(options, samples).checkpoints

    assert steps("2 epochs") == [6, 9]
    assert steps("4 steps") == [4, 8, 9]
    assert steps("1epoch") == [3, 6, 9]
    assert steps("1 epochs", model="torchvision:resnet18") == [2, 4, 6]
    with pytest.raises(OptionError, match=r"checkpoint_every='5 hours'.*steps or epochs"):
        steps("5 hours")


def normalised():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 4), nn.BatchNorm1d(4), nn.Linear(4, 3))


def test_a_last_batch_of_one_joins_the_one_before_it(tmp_path):
    own = {"model": "mine:model", "hidden": None, "epochs": 2, "checkpoints": 2}
    run = training(tmp_path / "run", points(17), normalised, **own)
    assert run.course.epoch == 2
    seen = []
    run.advance(seen.append)
    assert seen == [8, 9]


@pytest.mark.parametrize("samples", [7, 8])
def test_augmentation_changes_each_image_by_itself_and_the_same_way_for_a_seed(samples):
    images = torch.arange(1, 65.0).reshape(1, 1, 8, 8).expand(samples, 3, 8, 8)
    black = torch.tensor([-1.0, -2.0, -3.0])
    one = augmented(images, ("crop", "flip"), 3, black)
    assert torch.equal(one, augmented(images, ("crop", "flip"), 3, black))
    assert not torch.equal(one, augmented(images, ("crop", "flip"), 4, black))
    assert len({tuple(image.flatten().tolist()) for image in one}) > samples // 2
    assert torch.equal(images, torch.arange(1, 65.0).reshape(1, 1, 8, 8).expand(samples, 3, 8, 8))
    for image in one:
        # Of all shifts by up to a pixel, mirrored or not, it is one.
        found = []
        for shown in (images[0], images[0].flip(-1)):
            wide = black[:, None, None].expand(3, 10, 10).clone()
            wide[:, 1:9, 1:9] = shown
            found += [wide[:, y : y + 8, x : x + 8] for y in range(3) for x in range(3)]
        assert any(torch.equal(image, each) for each in found)


def test_shifted_images_have_black_beside_them_as_the_network_sees_it(tmp_path, monkeypatch):
    for part in ("train", "test"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            for k in range(4):
                Image.new("RGB", (8, 8), (40 * k, 90, 200)).save(
                    tmp_path / part / name / f"{k}.png"
                )
    seen = []
    monkeypatch.setattr(
        "cofire.study.training.augmented",
        lambda inputs, kinds, seed, black: seen.append(black.tolist()) or inputs,
    )
    scale = {"mean": (0.5, 0.5, 0.25), "std": (0.25, 0.5, 0.5)}
    small = {"hidden": (4,), "pairs": "none", "epochs": 1, "checkpoints": 1, "augment": ("crop",)}
    data = f"imagefolder:{tmp_path}"
    run_study(StudyOptions(data=data, image_size=8, **scale, **small), tmp_path / "run")
    assert seen[-1] == [-2, -1, -0.5]


def test_augmentation_is_of_training_alone(tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(
        "cofire.study.training.augmented",
        lambda inputs, *rest: seen.append(len(inputs)) or augmented(inputs, *rest),
    )
    small = {"model": "cnn", "hidden": (4,), "pairs": "none", "epochs": 1, "checkpoints": 1}
    run_study(StudyOptions(**small, batch_size=1437, augment=("flip",)), tmp_path / "run")
    assert set(seen) <= {8, 1437}
    assert (
        seen.count(1437) <= 3
    )  # the step, its rehearsal and its forecast, which begins with a few samples


def test_training_that_diverges_keeps_what_was_finished_and_says_so_again(tmp_path):
    data = points()
    spoiled = data.source.clone()
    spoiled[7] = float("nan")
    run = training(tmp_path / "run", epochs=3, batch_size=5)
    run.advance()
    run = training(tmp_path / "run", Samples(spoiled, data.labels, CLASSES), epochs=3, batch_size=5)
    for _ in range(2):
        with pytest.raises(
            ResultError,
            match=r"a loss of nan at step \d+, with a learning rate of 0.001.*1 checkp",
        ):
            run.advance()
    again = training(tmp_path / "run", epochs=3, batch_size=5)
    with pytest.raises(ResultError, match="a loss of nan at step"):
        again.advance(pytest.fail)  # no step is taken
    assert checkpoint_path(tmp_path / "run", 1).exists()


MODELS = """
import torch
from torch import nn

def eleven():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 11), nn.ReLU(), nn.Linear(11, 11))

def two_outputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(64, 10)
        def forward(self, x):
            return self.inner(x.flatten(1)), x
    return Two()

def normalised():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 10))

def vectors():
    draw = torch.Generator().manual_seed(0)
    inputs, labels = torch.randn(60, 5, generator=draw), torch.arange(60) % 3
    return {"train": (inputs, labels), "test": (inputs[:30], labels[:30])}
"""
FAULTS = {
    "outputs of another number": ({"model": "own_models:eleven"}, r"outputs \(11,\).*\(10,\)"),
    "two outputs": ({"model": "own_models:two_outputs"}, "outputs tuple"),
    "batches of one": ({"model": "own_models:normalised", "batch_size": 1}, "batches of two"),
    "channels": ({"model": "torchvision:resnet18"}, "3 channels.*without grey"),
    "too small": ({"model": "cnn", "data": "own_models:vectors"}, "a cnn on samples of shape"),
    "no images": ({"data": "own_models:vectors", "augment": ("flip",)}, "augment.*images"),
    "nothing to explain": ({"data": "own_models:vectors", "explain": 1}, "explain.*images"),
    "no such layer": ({"boost": "readout", "boost_layers": ("relu9",)}, "relu9"),
    "too much state": ({"bins": 1 << 20, "hidden": (1000,)}, "at most 4.0 GB"),
    "no such weights": ({"weights": "absent.pt"}, r"absent\.pt"),
    "no such device": ({"device": "abacus"}, "device 'abacus'"),
    "diverges at once": ({"learning_rate": 1e30, "optimizer": "sgd"}, "smaller learning rate"),
}


@pytest.fixture
def own_models(tmp_path, monkeypatch):
    (tmp_path / "own_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("fault", FAULTS)
def test_what_does_not_fit_is_told_before_the_first_step_and_claims_no_folder(own_models, fault):
    given, words = FAULTS[fault]
    with pytest.raises((OptionError, WeightsError, ResultError, Exception), match=words) as told:
        run_study(StudyOptions(**given), own_models / "run")
    assert "To fix it" in str(told.value)
    assert not (own_models / "run").exists()


def test_a_full_disk_is_foreseen(tmp_path, monkeypatch):
    usage = type("Usage", (), {"free": 10})()
    monkeypatch.setattr("cofire.study.rehearsal.shutil.disk_usage", lambda _: usage)
    with pytest.raises(OptionError, match=r"20 checkpoints of .* where 10 B are free"):
        run_study(StudyOptions(), tmp_path / "run")


def test_ones_own_network_is_studied(own_models):
    options = StudyOptions(model="own_models:normalised", epochs=1, checkpoints=2, pairs="none")
    found = run_study(options, own_models / "run")
    assert found.network()["neurons"].to_pylist() == [6, 6]


def test_training_starts_from_weights_and_a_head_of_another_size_is_said(tmp_path, capsys):
    options = StudyOptions(hidden=(6,), weights=str(tmp_path / "w.safetensors"))
    for classes, said in ((3, False), (5, True)):
        save_weights(build(options, (1, 8, 8), classes).state_dict(), tmp_path / "w.safetensors")
        model = build(options, (1, 8, 8), 3)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        load_start(model, options)
        after = model.state_dict()
        assert not torch.equal(before["fc1.weight"], after["fc1.weight"])
        assert torch.equal(before["output.weight"], after["output.weight"]) == said
        told = capsys.readouterr().err
        assert ("output.weight, output.bias" in told and "5 outputs" in told) == said
    wider = StudyOptions(hidden=(7,), weights=options.weights)
    with pytest.raises(WeightsError, match="shape"):
        load_start(build(wider, (1, 8, 8), 3), wider)


def test_what_it_will_take_is_foretold_and_nothing_changes(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("cofire.study.rehearsal.LONG", 0.0)
    monkeypatch.setattr("cofire.study.study.LONG", 0.0)
    small = {"hidden": (8,), "epochs": 1, "checkpoints": 2, "pairs": "none"}
    first = run_study(StudyOptions(**small), tmp_path / "a")
    said = capsys.readouterr().err
    assert re.search(
        r"Expected: about 1 s of training and \d+ s of analysis, for 2 checkpoints", said
    )
    monkeypatch.setattr("cofire.study.study.LONG", 60.0)
    monkeypatch.setattr("cofire.study.rehearsal.LONG", 60.0)
    assert run_study(StudyOptions(**small), tmp_path / "b").neurons.equals(first.neurons)
    assert "Expected" not in capsys.readouterr().err


def test_what_a_step_takes_anyway_is_not_taken_for_each_sample(monkeypatch):
    now = 0.0

    def train(self, start, end, done=None):
        nonlocal now
        now += (end - start) * (2.0 + 0.1 * min(self.options.batch_size, len(self.data)))

    monkeypatch.setattr("cofire.study.rehearsal.time", SimpleNamespace(perf_counter=lambda: now))
    monkeypatch.setattr(Training, "train", train)
    options = StudyOptions(hidden=(8,), batch_size=128, epochs=2)
    told = expected_cost(options, (1, 8, 8), 10, 1280, 360)
    assert told.training == pytest.approx(20 * (2.0 + 0.1 * 128))


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"dataset": "mnist"}, "data, as it is called now"),
        ({"network": "cnn"}, "model, as it is called now"),
        ({"model": "torchvision:resnet18", "hidden": (3,)}, "model of fcnn or cnn"),
        ({"momentum": 0.9}, "optimizer of sgd or rmsprop"),
        ({"decay_every": 2.0}, "schedule of step"),
        ({"warmup": 0.2, "schedule": "cosine"}, "schedule of one-cycle"),
        ({"checkpoints": 3, "checkpoint_every": "2 epochs"}, "leave checkpoints out"),
        ({"weights_key": "ema"}, "a file of weights"),
        ({"weights": "published"}, "torchvision or timm model"),
        ({"validation": 0.95}, "a share from 0 to 0.9, or data by name"),
        ({"validation": "dgits"}, "data by name.*'digits'"),
        ({"model": "resnet18"}, "torchvision:NAME"),
        ({"recipe": "p2-cifar"}, "p2-cifar10"),
    ],
)
def test_options_that_do_nothing_or_are_called_otherwise_now_are_told(given, words):
    with pytest.raises(OptionError, match=words):
        StudyOptions(**given)


def test_a_recipe_gives_defaults_and_what_it_says_of_other_networks_falls_away(tmp_path):
    plain = StudyOptions(recipe="p2-cifar10")
    assert (plain.model, plain.epochs, plain.top) == ("fcnn", 40, (50, 25, 100))
    other = StudyOptions(recipe="p2-cifar10", model="torchvision:vgg11", checkpoint_every="1 epoch")
    assert (other.hidden, other.checkpoints, other.epochs) == (None, None, 40)
    assert StudyOptions(**other.model_dump()) == other
    assert (plain.grey, other.grey) == (True, False)  # published networks take colours
    file = tmp_path / "study.toml"
    file.write_text('recipe = "p2-cifar10"\nepochs = 3\n')
    assert StudyOptions.of(file, seed=2).epochs == 3


def test_flags_win_over_what_a_file_says_of_other_options_but_a_file_has_to_fit_itself(tmp_path):
    file = tmp_path / "own.toml"
    file.write_text('data = "digits"\nhidden = [16]\ncheckpoints = 3\n')
    own = Study(config=file, model="torchvision:resnet18", checkpoint_every="1 epoch")
    assert (own.hidden, own.checkpoints) == (None, None)
    file.write_text('data = "digits"\nmodel = "torchvision:resnet18"\nhidden = [16]\n')
    with pytest.raises(OptionError, match="leave hidden out"):
        Study(config=file)


def command(arguments, folder):
    """The command line, in a process of its own."""
    os.chdir(folder)
    sys.argv = ["cofire", *arguments]
    from cofire.cli import main

    main()


@pytest.mark.slow
def test_a_resnet_on_image_folders_killed_twice_ends_with_the_rows_of_an_undisturbed_one(tmp_path):
    draw = torch.Generator().manual_seed(0)
    for part, count in (("train", 60), ("test", 12)):
        for number, name in enumerate(("cat", "dog")):
            (tmp_path / "pets" / part / name).mkdir(parents=True)
            for k in range(count):
                shades = torch.randint(0, 120, (12, 12, 3), generator=draw, dtype=torch.uint8)
                image = Image.fromarray((shades + 100 * number).numpy())
                image.save(tmp_path / "pets" / part / name / f"{k}.png")
    line = (
        *(
            "study",
            "--data",
            "imagefolder:pets",
            "--model",
            "torchvision:resnet18",
            "--image-size",
            "16",
        ),
        *("--epochs", "3", "--checkpoints", "3", "--batch-size", "17", "--optimizer", "sgd"),
        *("--momentum", "0.9", "--learning-rate", "0.01", "--schedule", "cosine"),
        *("--augment", "crop,flip", "--pairs", "none", "--bins", "10", "--out"),
    )
    context = multiprocessing.get_context("forkserver")  # torch is imported once for all of them
    context.set_forkserver_preload(["cofire.study", "cofire.cli.study", "torchvision.models"])

    def started(out, kill_at=None, wait=0.0):
        process = context.Process(target=command, args=([*line, out], tmp_path))
        process.start()
        if kill_at is not None:
            while not (tmp_path / out / kill_at).exists() and process.is_alive():
                time.sleep(0.005)
            time.sleep(wait)
            process.kill()
        process.join()
        return process.exitcode

    assert started("whole") == 0
    killed = -signal.SIGKILL
    assert started("killed", "rows/0001", wait=0.1) == killed  # in the middle of an interval
    assert started("killed", "checkpoints/0002.safetensors") == killed  # between two
    assert not (tmp_path / "killed" / "rows" / "0003").exists()
    assert started("killed") == 0

    def rows(out):
        return {n: pq.read_table(Path(tmp_path, out, f"{n}.parquet")).to_pylist() for n in TABLES}

    assert rows("killed") == rows("whole")
