"""A run that was killed and goes on from a checkpoint ends with the tables of one that nothing disturbed."""

import logging
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import cofire
from cofire.errors import ResultError
from cofire.live import Monitor
from tests.live.test_callbacks import OPTIONS, SIZE, Module, Net, data, network, optimizer_of, pl
from tests.live.test_monitor import said

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import transformers

pytestmark = pytest.mark.filterwarnings("ignore")

STOPS = pytest.mark.parametrize("stop", [5, 7], ids=["epoch's end", "middle of an epoch"])


class Killed(BaseException):
    """As a signal ends a process."""


def same(found, expected):
    for name in ("layers", "neurons", "classes"):
        one, two = (getattr(of, name).to_pylist() for of in (found, expected))
        assert len(one) == len(two), name
        for mine, theirs in zip(one, two, strict=True):
            assert mine == pytest.approx(theirs, nan_ok=True), name


def plain(folder, stop=None, checkpoint=None):
    """Three epochs of five batches; killed after `stop` of them, or going on from a checkpoint."""
    model = network().eval()  # without dropout
    monitor, optimizer = Monitor(model, **OPTIONS, folder=folder), optimizer_of(model)
    done = 0
    if checkpoint:
        kept = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(kept["model"])
        monitor.load_state_dict(kept["monitor"])
        done = monitor.steps
    for number, (inputs, labels) in enumerate([*DataLoader(data(), SIZE)] * 3, start=1):
        if number <= done:
            continue
        with monitor.step(inputs, labels):
            loss = model(inputs, labels)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if number % 5 == 0:
            monitor.end_epoch()
        if number == stop:
            state = {"model": model.state_dict(), "monitor": monitor.state_dict()}
            torch.save(state, folder.parent / "checkpoint.pt")
    return monitor.trajectory


@STOPS
def test_a_plain_loop(tmp_path, stop):
    expected = plain(tmp_path / "whole")
    plain(tmp_path / "run", stop)  # and on, to an end that is trained anew
    same(plain(tmp_path / "run", checkpoint=tmp_path / "checkpoint.pt"), expected)
    same(cofire.Trajectory.load(tmp_path / "run"), expected)


class Loader:
    """One that Lightning can take up in the middle of an epoch."""

    def __init__(self):
        self.begins = self.at = 0

    def __len__(self):
        return 5

    def __iter__(self):
        begins, self.begins = self.begins, 0
        for self.at, batch in enumerate(DataLoader(data(), SIZE), start=1):
            if self.at > begins:
                yield batch

    def state_dict(self):
        return {"at": self.at % 5}

    def load_state_dict(self, state):
        self.begins = state["at"]


class Kills(pl.Callback):
    def __init__(self, at):
        self.at = at

    def on_train_batch_start(self, trainer, *_):
        if trainer.global_step == self.at:
            raise Killed


def lightning(folder, stop=None, checkpoint=None, evaluate=False):
    callback = pl_monitor(folder / "run", accuracy="val_acc" if evaluate else None)
    saves = pl.callbacks.ModelCheckpoint(
        folder, "{step}", save_top_k=-1, **({} if evaluate else {"every_n_train_steps": 1})
    )
    trainer = pl.Trainer(
        max_epochs=3,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[callback, saves, Kills(stop)],
    )
    validation = DataLoader(data(), SIZE) if evaluate else None
    trainer.fit(Module(), Loader(), validation, ckpt_path=checkpoint)
    return callback.monitor.trajectory


def pl_monitor(folder, **more):
    import cofire.live.lightning

    return cofire.live.lightning.ActivationMonitor(**OPTIONS, folder=folder, **more)


@STOPS
@pytest.mark.parametrize("evaluate", [False, True])
def test_lightning(tmp_path, stop, evaluate, monkeypatch):
    monkeypatch.setattr(Net, "dropout", 0.0)  # Lightning keeps no random numbers
    expected = lightning(tmp_path / "whole", evaluate=evaluate)
    with pytest.raises(Killed):
        lightning(tmp_path / "part", stop + 2 * evaluate, evaluate=evaluate)
    step = 5 if evaluate else stop
    checkpoint = next((tmp_path / "part").glob(f"*step={step}.ckpt"))
    same(lightning(tmp_path / "part", checkpoint=checkpoint, evaluate=evaluate), expected)


def trainer(folder, stop=None, checkpoint=None, name="run", **more):
    import cofire.live.transformers

    class Stops(transformers.TrainerCallback):
        def on_step_begin(self, args, state, control, **_):
            if state.global_step == stop:
                raise Killed

    callback = cofire.live.transformers.ActivationMonitor(
        **OPTIONS, folder=folder / "run", accuracy="eval_accuracy"
    )
    model = network()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder / name),
        num_train_epochs=3,
        per_device_train_batch_size=SIZE,
        save_strategy="steps",
        save_steps=1,
        disable_tqdm=True,
        use_cpu=True,
        report_to="none",
        logging_steps=1,
        **more,
    )
    rows = [{"inputs": x, "labels": y} for x, y in data()]
    run = transformers.Trainer(
        model,
        arguments,
        train_dataset=rows,
        eval_dataset=rows,
        compute_metrics=lambda found: {
            "accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())
        },
        callbacks=[callback, Stops()],
    )
    run.train(resume_from_checkpoint=checkpoint)
    return callback.monitor.trajectory


@pytest.mark.slow
@STOPS
@pytest.mark.parametrize("when", ["no", "epoch"])
def test_the_trainer(tmp_path, stop, when, monkeypatch):
    if stop == 5:  # the Trainer draws others in an epoch that it begins after a restart
        monkeypatch.setattr(Net, "dropout", 0.0)
        monkeypatch.setattr(transformers.Trainer, "_get_train_sampler", lambda *_: None)
    expected = trainer(tmp_path / "whole", eval_strategy=when)
    with pytest.raises(Killed):
        trainer(tmp_path / "part", stop, eval_strategy=when)
    same(trainer(tmp_path / "part", checkpoint=True, eval_strategy=when), expected)


def test_a_checkpoint_of_elsewhere_is_named_once_and_counting_begins_anew(tmp_path, caplog):
    with pytest.raises(Killed):
        trainer(tmp_path, 7)
    kept = tmp_path / "run" / "checkpoint-6"
    with caplog.at_level(logging.WARNING):
        trainer(tmp_path, checkpoint=str(kept), name="other")
    assert said(caplog) == [
        "the checkpoint holds no state of the monitor: batches are counted anew (nothing need be done)"
    ]


def test_other_options_or_no_folder_cost_what_the_checkpoint_held_and_are_said_once(
    monkeypatch, caplog
):
    model, (inputs, labels) = network(), data().tensors
    first = Monitor(model, every=1)
    for _ in range(2):
        with first.step(inputs, labels):
            model(inputs)
    state = first.state_dict()
    first.end_epoch()
    assert first.trajectory.layers["step"].to_pylist() == [2]
    other = Monitor(model, every=1, bins=10)
    with caplog.at_level(logging.WARNING):
        other.load_state_dict({**state, "epoch": 3.0})
        with other.step(inputs, labels):
            model(inputs)
        other.end_epoch()
    rows = other.trajectory.layers.select(["step", "epoch"])
    assert rows.to_pylist() == [{"step": 3, "epoch": 4.0}]
    assert said(caplog) == [
        "rows of the tables up to epoch 3 are not kept (pass folder, which keeps them)",
        "of the epoch until the checkpoint nothing is kept: other values of bins"
        " (go on with the options that the run had)",
    ]
    monkeypatch.setattr("cofire.live.monitor.processes", lambda: 2)
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        Monitor(model, every=1).load_state_dict(state)
    assert "what other processes observed is not kept" in said(caplog)[0]
    with pytest.raises(ResultError, match="a state of a monitor without 'whole'"):
        other.load_state_dict({"steps": 3})
    with pytest.raises(ResultError, match="a state of a monitor without 'updates'"):
        other.load_state_dict({"steps": 9, "epoch": 9, "whole": None})
    assert (other.steps, other.epoch) == (3, 4.0)


def test_a_state_holds_what_was_observed_when_it_was_made():
    model, (inputs, labels) = nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 3)), data()[:]
    monitor = Monitor(model, every=1)
    monitor.observe(inputs, labels)
    state = monitor.state_dict()
    monitor.observe(inputs, labels)
    assert int(state["whole"]["samples"].sum()) == 80
    assert int(state["whole"]["statistics"]["1"]["samples"].sum()) == 80
