"""`ActivationMonitor` for Lightning's Trainer."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import Any

from torch import nn

from cofire.errors import OptionError
from cofire.live.monitor import Monitor

try:
    from lightning.pytorch import Callback, LightningModule, Trainer
except ImportError:
    from pytorch_lightning import (  # type: ignore[assignment]
        Callback,
        LightningModule,
        Trainer,
    )


class ActivationMonitor(Callback):
    """A `cofire.live.Monitor` of a Lightning run: `Trainer(callbacks=[ActivationMonitor(every=20)])`.

    Args:
        model: The path of the classifier within the LightningModule; itself unless given, or the
            one module it holds that has parameters, where it has no `forward`.
        accuracy: The name of the metric that is the accuracy on validation data, such as "val_acc".
        batch: Gives (inputs, labels) of a batch that is neither such a pair nor a mapping with
            "labels".
        log: See `cofire.live.Monitor`; the loggers of the Trainer unless given, False for none.
        options: Further ones of `cofire.live.Monitor`.

    Attributes:
        monitor: The monitor, once training has begun.
    """

    def __init__(
        self,
        model: str | None = None,
        *,
        accuracy: str | None = None,
        batch: Callable[[Any], tuple[Any, Any]] | None = None,
        log: Any = None,
        **options: Any,
    ) -> None:
        self._path, self._accuracy, self._parts = model, accuracy, batch
        self._log, self._options = log, options
        # What is wrong with an option is said here, not once training has begun.
        self.monitor = Monitor(nn.Identity(), **options)
        self._step = ExitStack()
        self._state: dict[str, Any] | None = None

    @property
    def state_key(self) -> str:
        """What a checkpoint calls the state of this monitor, of several."""
        return self._generate_state_key(model=self._path, layers=self._options.get("layers"))

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return self.monitor.state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Of a checkpoint, from which the monitor will go on."""
        self._state = state_dict

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Make the monitor, which goes on where the one of a checkpoint was."""
        log = list(trainer.loggers) if self._log is None else self._log
        self.monitor = Monitor(self._classifier(pl_module), log=log or None, **self._options)
        state, self._state = self._state, None
        if trainer.global_step:
            self.monitor.go_on(lambda: state, trainer.current_epoch)

    def on_train_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int
    ) -> None:
        """Hooks on, if this batch is observed."""
        self._step.close()
        # A checkpoint was made just before the row of the epoch that it ended.
        if trainer.current_epoch > self.monitor.epoch:
            self.monitor.end_epoch(trainer.current_epoch)
        self._step.enter_context(self.monitor.step(*self._unpacked(batch)))

    def on_train_batch_end(self, trainer: Trainer, *_: Any, **__: Any) -> None:
        """Hooks off."""
        self.monitor.updates = trainer.global_step
        self._step.close()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, error: Any) -> None:
        """Hooks off, whatever happened."""
        self._step.__exit__(type(error), error, error.__traceback__)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """A row of the tables."""
        found = trainer.callback_metrics.get(self._accuracy) if self._accuracy else None
        self.monitor.end_epoch(
            trainer.current_epoch + 1,
            accuracy=None if found is None else float(found),
        )

    def _unpacked(self, batch: Any) -> tuple[Any, Any]:
        if self._parts is not None:
            return self._parts(batch)
        if isinstance(batch, list | tuple) and len(batch) == 2:
            return batch[0], batch[1]
        return batch, None

    def _classifier(self, module: LightningModule) -> nn.Module:
        if self._path is not None:
            return module.get_submodule(self._path)
        if type(module).forward is not LightningModule.forward:
            return module
        held = [one for one in module.children() if next(one.parameters(), None) is not None]
        if len(held) != 1:
            raise OptionError(
                f"{type(module).__name__} without forward, with {len(held)} modules that have parameters",
                "a forward, or the path of the classifier",
                "pass ActivationMonitor(model='net'), where self.net is the classifier",
            )
        return held[0]
