"""Lightning, Hugging Face's Trainer and a plain loop end with the same tables."""

import logging
import warnings

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cofire.live import Monitor

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lightning.pytorch as pl
    import transformers

    import cofire.live.lightning
    import cofire.live.transformers

pytestmark = pytest.mark.filterwarnings("ignore")

OPTIONS = {"every": 2, "window": 3}
EPOCHS, SIZE = 3, 16


class Net(nn.Module):
    """A classifier as the Trainer wants it, with dropout, so that random numbers count."""

    dropout = 0.5

    def __init__(self):
        super().__init__()
        self.fc, self.act, self.drop = nn.Linear(6, 12), nn.ReLU(), nn.Dropout(self.dropout)
        self.out = nn.Linear(12, 3)

    def forward(self, inputs, labels=None):
        logits = self.out(self.drop(self.act(self.fc(inputs))))
        if labels is None:
            return logits
        return {"loss": nn.functional.cross_entropy(logits, labels), "logits": logits}


def network():
    torch.manual_seed(0)
    return Net()


def data():
    inputs = torch.randn(80, 6, generator=torch.Generator().manual_seed(1))
    return TensorDataset(inputs, inputs[:, :3].argmax(dim=1))


def optimizer_of(model):
    return torch.optim.SGD(model.parameters(), lr=0.1)


def plain(**options):
    model = network()
    monitor, optimizer = Monitor(model, **OPTIONS, **options), optimizer_of(model)
    torch.manual_seed(7)
    for _ in range(EPOCHS):
        for inputs, labels in DataLoader(data(), SIZE):
            with monitor.step(inputs, labels):
                loss = model(inputs, labels)["loss"]
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        monitor.end_epoch()
    return monitor


class Module(pl.LightningModule):
    def __init__(self, fails=False):
        super().__init__()
        self.net, self.fails = network(), fails

    def training_step(self, batch, index):
        loss = self.net(*batch)["loss"]
        if self.fails and self.global_step == 3:
            raise ZeroDivisionError
        return loss

    def validation_step(self, batch, index):
        self.log("val_acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())

    def configure_optimizers(self):
        return optimizer_of(self)


def lightning(folder, module=None, epochs=EPOCHS, callback=None, evaluate=False, **more):
    callback = callback or cofire.live.lightning.ActivationMonitor(**OPTIONS)
    module = module or Module()
    torch.manual_seed(7)
    trainer = pl.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=more.pop("logger", False),
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        default_root_dir=folder,
        callbacks=[callback],
        **more,
    )
    loader = DataLoader(data(), SIZE)
    trainer.fit(module, loader, loader if evaluate else None)
    return callback.monitor


def trainer(folder, callback=None, model=None, **more):
    callback = callback or cofire.live.transformers.ActivationMonitor(**OPTIONS)
    model = model or network()
    arguments = transformers.TrainingArguments(
        output_dir=str(folder),
        num_train_epochs=EPOCHS,
        per_device_train_batch_size=SIZE,
        max_grad_norm=0,
        save_strategy="no",
        disable_tqdm=True,
        use_cpu=True,
        **{"report_to": "none", **more},
    )

    class InOrder(transformers.Trainer):
        def get_train_dataloader(self):
            return DataLoader([{"inputs": x, "labels": y} for x, y in data()], SIZE, shuffle=False)

    optimizer = optimizer_of(model)
    fixed = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda _: 1.0)
    run = InOrder(
        model,
        arguments,
        train_dataset=data(),
        eval_dataset=[{"inputs": x, "labels": y} for x, y in data()],
        compute_metrics=lambda found: {
            "accuracy": float((found.predictions.argmax(1) == found.label_ids).mean())
        },
        optimizers=(optimizer, fixed),
        callbacks=[callback],
    )
    torch.manual_seed(7)
    run.train()
    return callback.monitor


def test_a_plain_loop_lightning_and_the_trainer_end_with_the_same_tables(tmp_path):
    expected = plain().trajectory
    assert expected.layers["step"].to_pylist() == [5, 10, 15]
    for run in (lightning, trainer):
        found = run(tmp_path).trajectory
        for name in ("layers", "neurons", "classes"):
            assert getattr(found, name) == getattr(expected, name), (run, name)


def test_evaluation_in_the_middle_of_an_epoch_is_not_observed(tmp_path, monkeypatch):
    monkeypatch.setattr(Net, "dropout", 0.0)  # a loader that is started draws a random number
    expected = plain().trajectory.layers
    half = {"evaluate": True, "val_check_interval": 2}
    callback = cofire.live.lightning.ActivationMonitor(**OPTIONS, accuracy="val_acc")
    found = [lightning(tmp_path, callback=callback, **half).trajectory.layers]
    callback = cofire.live.transformers.ActivationMonitor(**OPTIONS, accuracy="eval_accuracy")
    steps = {"eval_strategy": "steps", "eval_steps": 2}
    found.append(trainer(tmp_path, callback, **steps).trajectory.layers)
    for table in found:
        assert table["activity"] == expected["activity"]
    assert found[0]["test_accuracy"].null_count == 0
    callback = cofire.live.transformers.ActivationMonitor(**OPTIONS, accuracy="eval_accuracy")
    each = trainer(tmp_path, callback, eval_strategy="epoch").trajectory.layers
    assert each["test_accuracy"].null_count == 0


def test_gradients_that_are_added_up_over_batches_count_as_steps_of_the_optimiser(tmp_path):
    for run, more in (
        (lightning, {"accumulate_grad_batches": 2}),
        (trainer, {"gradient_accumulation_steps": 2}),
    ):
        kind, charts = getattr(cofire.live, run.__name__.replace("trainer", "transformers")), []
        callback = kind.ActivationMonitor(
            every=1, window=2, log=lambda name, value, step, to=charts: to.append(step)
        )
        monitor = run(tmp_path, callback=callback, **more)
        assert sorted(set(charts)) == list(range(1, 10))
        assert monitor.steps == 15
        assert monitor.trajectory.layers["step"].to_pylist() == [3, 6, 9]


def test_nothing_is_left_on_the_model_after_an_exception(tmp_path):
    module = Module(fails=True)
    with pytest.raises(ZeroDivisionError):
        lightning(tmp_path, module)
    assert not any(m._forward_hooks for m in module.modules())

    class Fails(Net):
        calls = 0

        def forward(self, inputs, labels=None):
            Fails.calls += labels is not None and self.training
            if Fails.calls == 4:
                raise ZeroDivisionError
            return super().forward(inputs, labels)

    torch.manual_seed(0)
    model = Fails()
    with pytest.raises(ZeroDivisionError):
        trainer(tmp_path, model=model)
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())


class Two(pl.LightningModule):
    """Two optimisers, and a classifier among other modules."""

    def __init__(self):
        super().__init__()
        self.automatic_optimization = False
        self.net, self.other = network(), nn.Linear(6, 6)

    def training_step(self, batch, index):
        loss = self.net(self.other(batch[0]), batch[1])["loss"]
        self.manual_backward(loss)
        for optimizer in self.optimizers():
            optimizer.step()
            optimizer.zero_grad()

    def configure_optimizers(self):
        return [optimizer_of(self.net), optimizer_of(self.other)]


def test_several_optimisers_and_the_classifier_by_its_path(tmp_path):
    callback = cofire.live.lightning.ActivationMonitor("net", **OPTIONS)
    assert lightning(tmp_path, Two(), 1, callback).trajectory.layers["layer"].to_pylist() == ["act"]
    with pytest.raises(cofire.errors.OptionError, match="without forward, with 2 modules"):
        lightning(tmp_path, Two(), 1)


def test_wrong_options_are_refused_before_training():
    for kind in (cofire.live.lightning, cofire.live.transformers):
        with pytest.raises(cofire.errors.OptionError, match="every=0"):
            kind.ActivationMonitor(every=0)


def test_the_loggers_of_the_trainers_are_used(tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    logger = pl.loggers.TensorBoardLogger(tmp_path / "pl")
    lightning(tmp_path, logger=logger)
    trainer(tmp_path / "hf", report_to="tensorboard")
    for folder in (logger.log_dir, tmp_path / "hf" / "runs" / "cofire"):
        events = EventAccumulator(str(folder)).Reload()
        told = next(tag for tag in events.Tags()["scalars"] if tag.endswith("act/dead"))
        assert events.Scalars(told)[0].step == 3


def test_a_logger_that_is_not_installed_is_said_once(caplog, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "trackio", None)
    with caplog.at_level(logging.WARNING):
        plain(log="trackio")
    assert len([r for r in caplog.records if r.name == "cofire.live"]) == 1
