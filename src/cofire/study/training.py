"""Training in intervals that a kill cannot harm."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import lr_scheduler

from cofire.atomic import atomic_path, write_text
from cofire.errors import OptionError, ResultError, WeightsError
from cofire.network import load_weights, save_weights
from cofire.reading import read_json, reading
from cofire.renamed import removed
from cofire.storage import checksum_of_json, hash_of_tensors
from cofire.study.augmentation import augmented
from cofire.study.options import SMALL_NETWORKS, StudyOptions
from cofire.study.samples import Samples
from cofire.study.sources import drawn_seed, place

_STATE = "training.pt"
_DIVERGED = "diverged.json"
_OPTIMIZERS: dict[str, Callable[..., torch.optim.Optimizer]] = {
    "adam": torch.optim.Adam,
    "adamw": torch.optim.AdamW,
    "rmsprop": torch.optim.RMSprop,
    "sgd": torch.optim.SGD,
}
_HALF = {"bf16": torch.bfloat16, "fp16": torch.float16}
_CHECKED_EVERY = 64
"""Steps after which a loss is looked at where that makes the device wait."""


def checkpoint_path(folder: Path, number: int) -> Path:
    """Where the weights of a checkpoint lie."""
    return folder / "checkpoints" / f"{number:04d}.safetensors"


def checkpoint_steps(total: int, checkpoints: int) -> list[int]:
    """The optimiser steps after which checkpoints are taken, uniformly, the last one at the end.

    Raises:
        OptionError: There are fewer steps than checkpoints.

    Example:
        >>> checkpoint_steps(240, 4)
        [60, 120, 180, 240]
    """
    if total < checkpoints:
        raise OptionError(
            f"{checkpoints} checkpoints in {total} training steps",
            "at least one step for each",
            "train longer, with smaller batches, or keep fewer checkpoints",
        )
    return [round(total * k / checkpoints) for k in range(1, checkpoints + 1)]


@dataclass(frozen=True)
class Course:
    """How many steps a study takes, and after which its checkpoints are taken.

    A last batch of one sample is added to the one before it, as batch normalisation cannot train on
    one; not so for the study's own small networks, which have none.

    Attributes:
        epoch: Steps of an epoch.
        checkpoints: Steps after which checkpoints are taken, the last one at the end.
    """

    epoch: int
    checkpoints: list[int]

    @classmethod
    def of(cls, options: StudyOptions, samples: int) -> Course:
        """The course of a study on so many samples.

        Raises:
            OptionError: There are fewer steps than checkpoints.

        Example:
            >>> Course.of(StudyOptions(epochs=3, batch_size=8, checkpoint_every="2 epochs"), 17)
            Course(epoch=3, checkpoints=[6, 9])
        """
        epoch, rest = divmod(samples, options.batch_size)
        alone = rest == 1 and epoch > 0 and options.model not in SMALL_NETWORKS
        epoch += 0 if alone or not rest else 1
        total = epoch * options.epochs
        if options.checkpoint_every is None:
            return cls(epoch, checkpoint_steps(total, options.checkpoints or 1))
        count, unit = options.checkpoint_every.split()
        every = max(1, round(float(count) * (epoch if unit == "epochs" else 1)))
        return cls(epoch, [*range(every, total, every), total])


@dataclass(eq=False)
class Training:
    """Trains a model from checkpoint to checkpoint.

    Random numbers are drawn anew from (seed, purpose, number) for every epoch's order, every step's
    augmentation and every interval's dropout, so that nothing but weights and the states of
    optimiser, schedule and gradient scale need be kept to go on.

    Attributes:
        model: With the weights to start from; they are replaced by the last checkpoint's.
        options: Of the study.
        data: What it is trained on.
        course: Steps and checkpoints.
        folder: Where checkpoints are kept.
        black: What augmentation puts beside shifted images, (channels,).
    """

    model: nn.Module
    options: StudyOptions
    data: Samples
    course: Course
    folder: Path
    black: Tensor = field(default_factory=lambda: torch.zeros(1))

    def __post_init__(self) -> None:
        options = self.options
        place(self.model, options.device)
        self._device = torch.device(options.device)
        if options.channels_last:
            self.model.to(memory_format=torch.channels_last)
        self._optimizer = _optimizer(self.model, options)
        self._schedule = _schedule(self._optimizer, options, self.course)
        self._scaler = torch.amp.GradScaler(self._device.type, enabled=options.precision == "fp16")
        self._stateful: dict[str, Any] = {
            "optimizer": self._optimizer,
            "schedule": self._schedule,
            "scaler": self._scaler,
        }
        self.done = self._restore()

    def _restore(self) -> int:
        """Weights and states of the last interval that ended, and its number."""
        path = self.folder / _STATE
        if not path.exists():
            return 0
        remedy = "delete it to train again from the start"
        with reading(path, WeightsError, "a whole file of the optimiser's state", remedy):
            state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
            kept = state.pop("sha256", None)
            if kept is not None and kept != _checksum(state):
                raise ValueError("its content is not what was written")
            number = int(state["checkpoint"])
            for name, part in self._stateful.items():
                if name in state:  # before there were schedules, none was written
                    part.load_state_dict(state[name])
        self.model.load_state_dict(load_weights(checkpoint_path(self.folder, number)))
        return number

    @property
    def _start(self) -> int:
        return self.course.checkpoints[self.done - 1] if self.done else 0

    @property
    def samples_ahead(self) -> int:
        """Samples to be seen until the next checkpoint, about."""
        return (self.course.checkpoints[self.done] - self._start) * self.options.batch_size

    def advance(self, done: Callable[[int], None] | None = None) -> int:
        """Train to the next checkpoint and write it.

        Args:
            done: Called with the number of samples of every step.

        Returns:
            The checkpoint's number, from 1.

        Raises:
            ResultError: The loss is not finite, now or when it was tried before.
        """
        number = self.done + 1
        record = self.folder / _DIVERGED
        if record.exists():
            raise ResultError(*read_json(record))
        try:
            with seeded(self.options.seed, "dropout", number, self._device):
                self.train(self._start, self.course.checkpoints[number - 1], done)
        except ResultError as error:
            # Tried again, it would end the same way.
            write_text(record, json.dumps([error.given, error.expected, error.remedy]) + "\n")
            raise
        save_weights(self.model.state_dict(), checkpoint_path(self.folder, number))
        # Written second: if only the first write happens, the interval is trained again, to the
        # same end.
        state = {name: part.state_dict() for name, part in self._stateful.items()}
        state |= {"checkpoint": number}
        # To an open file: torch writes the name of one that it opens itself into it.
        with atomic_path(self.folder / _STATE) as partial, partial.open("wb") as file:
            torch.save({**state, "sha256": _checksum(state)}, file)
        self.done = number
        return number

    def train(self, start: int, end: int, done: Callable[[int], None] | None = None) -> None:
        """Take the steps from one to another; nothing is written.

        Raises:
            ResultError: The loss is not finite.
        """
        self.model.train()
        options = self.options
        every = 1 if self._device.type == "cpu" else _CHECKED_EVERY
        numbers = islice(self._order(start), end - start)
        for step, (inputs, labels) in enumerate(self.data.batches(numbers), start=start):
            self._optimizer.zero_grad()
            loss = self._loss(step, inputs, labels.to(self._device, non_blocking=True))
            self._scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
            if options.clip is not None:
                self._scaler.unscale_(self._optimizer)
                nn.utils.clip_grad_norm_(self.model.parameters(), options.clip)
            before = self._scaler.get_scale()
            self._scaler.step(self._optimizer)
            self._scaler.update()
            if (step % every == 0 or step == end - 1) and not bool(torch.isfinite(loss)):
                raise self._diverged(step, f"a loss of {float(loss.detach())}")
            if self._scaler.get_scale() >= before:  # else the step was left out
                self._schedule.step()
            if done is not None:
                done(len(labels))
        if not all(bool(torch.isfinite(weight).all()) for weight in self.model.parameters()):
            raise self._diverged(end - 1, "weights that are not finite")

    def _loss(self, step: int, inputs: Tensor, labels: Tensor) -> Tensor:
        options = self.options
        inputs = inputs.to(self._device, non_blocking=True)
        if options.augment:
            seed = _seed(options.seed, "augmentation", step)
            inputs = augmented(inputs, options.augment, seed, self.black)
        if options.channels_last:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        half = _HALF.get(options.precision)
        with torch.autocast(self._device.type, half, enabled=half is not None):
            return nn.functional.cross_entropy(
                self.model(inputs), labels, label_smoothing=options.label_smoothing
            )

    def _order(self, start: int) -> Iterator[Tensor]:
        """The numbers of each step's samples, from a step on."""
        epoch, first = divmod(start, self.course.epoch)
        while True:
            draw = torch.Generator().manual_seed(_seed(self.options.seed, "order", epoch))
            order = torch.randperm(len(self.data), generator=draw)
            parts = list(torch.split(order, self.options.batch_size))
            if len(parts) > self.course.epoch:
                parts[-2:] = [torch.cat(parts[-2:])]
            yield from parts[first:]
            epoch, first = epoch + 1, 0

    def _diverged(self, step: int, what: str) -> ResultError:
        rate = self._optimizer.param_groups[0]["lr"]
        kept = f"; {self.done} checkpoints from before are kept in '{self.folder}'"
        return ResultError(
            f"{what} at step {step}, with a learning rate of {rate:g}",
            "training that stays finite",
            "train with a smaller learning rate, or with clip=1, in another folder"
            + (kept if self.done else ""),
        )


def _optimizer(model: nn.Module, options: StudyOptions) -> torch.optim.Optimizer:
    momentum = {"momentum": options.momentum} if options.momentum else {}
    decay = {"weight_decay": options.weight_decay}
    make = _OPTIMIZERS[options.optimizer]
    return make(model.parameters(), lr=options.learning_rate, **momentum, **decay)


def _schedule(
    optimizer: torch.optim.Optimizer, options: StudyOptions, course: Course
) -> lr_scheduler.LRScheduler:
    """The learning rate of every step."""
    total = course.checkpoints[-1]
    if options.schedule == "step":
        every = options.epochs / 3 if options.decay_every is None else options.decay_every
        return lr_scheduler.StepLR(optimizer, max(1, round(every * course.epoch)), options.decay)
    if options.schedule == "cosine":
        return lr_scheduler.CosineAnnealingLR(optimizer, total)
    if options.schedule == "one-cycle":
        return lr_scheduler.OneCycleLR(
            optimizer,
            options.learning_rate,
            total,
            pct_start=options.warmup,
            cycle_momentum=False,  # momentum is an option of its own
        )
    return lr_scheduler.ConstantLR(optimizer, factor=1.0, total_iters=0)


def _checksum(state: dict[str, Any]) -> str:
    tensors: dict[str, Tensor] = {}

    def plain(part: Any, path: str) -> Any:
        if isinstance(part, Tensor):
            tensors[path] = part
            return None
        if isinstance(part, dict):
            return {str(name): plain(value, f"{path}.{name}") for name, value in part.items()}
        if isinstance(part, list | tuple):
            return [plain(value, f"{path}.{at}") for at, value in enumerate(part)]
        return part

    return checksum_of_json([plain(state, ""), hash_of_tensors(tensors)])


def _seed(seed: int, purpose: str, number: int) -> int:
    purposes = {"weights": 10, "order": 11, "dropout": 12, "augmentation": 13}
    return drawn_seed(seed, purposes[purpose], number)


@contextmanager
def seeded(
    seed: int, purpose: str, number: int = 0, device: torch.device | None = None
) -> Iterator[None]:
    """Torch's random state set for a purpose, and the caller's put back.

    Args:
        seed: Of the study.
        purpose: "weights" or "dropout".
        number: Of the interval.
        device: Whose random state is set and put back beside the CPU's.
    """
    devices = [] if device is None or device.type == "cpu" else [device]
    kind = device.type if devices and device is not None else "cuda"
    with torch.random.fork_rng(devices=devices, device_type=kind):
        torch.manual_seed(_seed(seed, purpose, number))
        yield


if not TYPE_CHECKING:
    __getattr__ = removed(__name__)
