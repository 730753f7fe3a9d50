"""`ActivationMonitor` for the Trainer of Hugging Face's transformers."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from cofire.atomic import atomic_path
from cofire.live.monitor import Monitor

_FILE = "activation_monitor.pt"


class ActivationMonitor(TrainerCallback):
    """A `cofire.live.Monitor` of a run: `Trainer(…, callbacks=[ActivationMonitor(every=20)])`.

    Numbers go where the Trainer reports to; to TensorBoard as a run of its own, `runs/cofire` in the
    output folder.

    Args:
        accuracy: The name of the metric that is the accuracy of the evaluation, such as
            "eval_accuracy".
        log: See `cofire.live.Monitor`; where the Trainer reports to unless given, False for
            nowhere.
        options: Further ones of `cofire.live.Monitor`.

    Attributes:
        monitor: The monitor, once training has begun.
    """

    def __init__(self, *, accuracy: str | None = None, log: Any = None, **options: Any) -> None:
        self._accuracy, self._log, self._options = accuracy, log, options
        # What is wrong with an option is said here, not once training has begun.
        self.monitor = Monitor(nn.Identity(), **options)
        self._hook, self._step = ExitStack(), ExitStack()
        self._ended: float | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """Make the monitor, which goes on where the one of a checkpoint was."""
        log = self._log
        if log is None and state.is_world_process_zero:
            own = f"tensorboard:{Path(args.output_dir or '.') / 'runs' / 'cofire'}"
            kinds = {"tensorboard": own, "wandb": "wandb", "mlflow": "mlflow", "trackio": "trackio"}
            reported = args.report_to if isinstance(args.report_to, list) else [args.report_to]
            log = [kinds[name] for name in reported if name in kinds]
        self.monitor = Monitor(given["model"], log=log or None, **self._options)
        if state.global_step:
            self.monitor.go_on(lambda: _state(args, state), int(state.epoch or 0))

    def on_step_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        model: Any = None,
        **_: Any,
    ) -> None:
        """See the next forward pass, which alone knows the batch."""
        self._hook.close()
        self.monitor.updates = state.global_step + 1  # once this step is made
        self._hook.callback(model.register_forward_pre_hook(self._begin, with_kwargs=True).remove)

    def on_substep_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        """The next batch of those whose gradients are added up."""
        self.on_step_begin(args, state, control, **given)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        """Hooks off."""
        self._hook.close()

    def _begin(self, model: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        self._hook.close()
        inputs = named if named else args
        self._step.enter_context(self.monitor.step(inputs))
        # The last of the hooks, so that all others have seen the pass; also after exceptions.
        closing = model.register_forward_hook(self._close, always_call=True)
        self._step.callback(closing.remove)

    def _close(self, model: nn.Module, args: Any, output: Any) -> None:
        if output is None:
            error = RuntimeError("the forward pass failed")
            self._step.__exit__(type(error), error, None)
        self._step.close()

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """An epoch, whose row waits for the evaluation that may follow."""
        self._ended = float(state.epoch or 0)

    def on_evaluate(self, *_: Any, metrics: Any = None, **__: Any) -> None:
        """A row of the tables, with the accuracy of the evaluation."""
        found = (metrics or {}).get(self._accuracy) if self._accuracy else None
        self._row(None if found is None else float(found))

    def on_save(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """The state of the monitor beside that of the Trainer."""
        self._row()
        if state.is_world_process_zero:
            self.monitor.said.safely("checkpoint", self._save, _checkpoint(args, state))

    def _save(self, checkpoint: Path) -> None:
        with atomic_path(checkpoint / _FILE) as partial, partial.open("wb") as file:
            torch.save(self.monitor.state_dict(), file)

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        """The row of the epoch before, also where a checkpoint was made just before that."""
        self._row()
        if int(state.epoch or 0) > self.monitor.epoch:
            self.monitor.end_epoch(int(state.epoch or 0))

    def on_train_end(self, *_: Any, **__: Any) -> None:
        """The last row."""
        self._hook.close()
        self._row()

    def _row(self, accuracy: float | None = None) -> None:
        ended, self._ended = self._ended, None
        if ended is not None:
            self.monitor.end_epoch(ended, accuracy=accuracy)


def _checkpoint(args: TrainingArguments, state: TrainerState) -> Path:
    return Path(args.output_dir or ".") / f"checkpoint-{state.global_step}"


def _state(args: TrainingArguments, state: TrainerState) -> Any:
    """What was kept beside the checkpoint that a run goes on from; None where that is not there."""
    for folder in (Path(args.resume_from_checkpoint or "."), _checkpoint(args, state)):
        if not (folder / _FILE).exists():
            continue
        # Another run may have left a checkpoint of that name.
        own = TrainerState.load_from_json(str(folder / "trainer_state.json"))
        if own.log_history == state.log_history:
            return torch.load(folder / _FILE, weights_only=True)
    return None
