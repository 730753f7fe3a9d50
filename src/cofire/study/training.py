"""Networks of a study, and training in intervals that a kill cannot harm."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cofire.arguments import validated
from cofire.atomic import atomic_path
from cofire.errors import OptionError, ResultError, WeightsError
from cofire.network import load_weights, save_weights
from cofire.storage import checksum_of_json, hash_of_tensors
from cofire.study.options import StudyOptions
from cofire.study.sources import drawn_seed

_STATE = "training.pt"


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


@dataclass(eq=False)
class Training:
    """Trains a model from checkpoint to checkpoint.

    Random numbers are drawn anew from (seed, purpose, number) for every epoch's order and every
    interval's dropout, so that nothing but weights and optimiser need be kept to go on.

    Attributes:
        model: Freshly made; its weights are replaced by the seed's or the last checkpoint's.
        options: Of the study.
        inputs: (samples, ...).
        labels: (samples,).
        steps: The optimiser steps after which checkpoints are taken.
        folder: Where checkpoints are kept.
    """

    model: nn.Module
    options: StudyOptions
    inputs: Tensor
    labels: Tensor
    steps: list[int]
    folder: Path

    def __post_init__(self) -> None:
        kinds: dict[str, type[torch.optim.Optimizer]] = {
            "adam": torch.optim.Adam,
            "rmsprop": torch.optim.RMSprop,
            "sgd": torch.optim.SGD,
        }
        make: Any = kinds[self.options.optimizer]
        self._optimizer = make(self.model.parameters(), lr=self.options.learning_rate)
        self._steps_per_epoch = -(-len(self.labels) // self.options.batch_size)
        self.done = self._restore()

    def _restore(self) -> int:
        """Weights and optimiser of the last interval that ended, and its number."""
        path = self.folder / _STATE
        if not path.exists():
            with _random(self.options.seed, "weights", 0):
                for module in self.model.modules():
                    if callable(reset := getattr(module, "reset_parameters", None)):
                        reset()
            return 0
        try:
            state: dict[str, Any] = torch.load(path, weights_only=True)
            kept = state.pop("sha256", None)
            if kept is not None and kept != _checksum(state):
                raise ValueError("its content is not what was written")
            number = int(state["checkpoint"])
            self._optimizer.load_state_dict(state["optimizer"])
        except Exception as error:
            # torch's message goes on for pages.
            raise WeightsError(
                f"{path}: {(str(error).splitlines() or [repr(error)])[0]}",
                "a whole file of the optimiser's state",
                "delete it to train again from the start",
            ) from error
        self.model.load_state_dict(load_weights(checkpoint_path(self.folder, number)))
        return number

    @property
    def samples_ahead(self) -> int:
        """Samples to be seen until the next checkpoint, about."""
        start = self.steps[self.done - 1] if self.done else 0
        return (self.steps[self.done] - start) * self.options.batch_size

    def advance(self, done: Callable[[int], None] | None = None) -> int:
        """Train to the next checkpoint and write it.

        Args:
            done: Called with the number of samples of every step.

        Returns:
            The checkpoint's number, from 1.
        """
        number = self.done + 1
        start = self.steps[self.done - 1] if self.done else 0
        with _random(self.options.seed, "dropout", number):
            self._train(start, self.steps[number - 1], done)
        save_weights(self.model.state_dict(), checkpoint_path(self.folder, number))
        # Written second: if only the first write happens, the interval is trained again, to the
        # same end.
        with atomic_path(self.folder / _STATE) as partial:
            state = {"checkpoint": number, "optimizer": self._optimizer.state_dict()}
            torch.save({**state, "sha256": _checksum(state)}, partial)
        self.done = number
        return number

    def _train(self, start: int, end: int, done: Callable[[int], None] | None) -> None:
        self.model.train()
        size = self.options.batch_size
        for step, chosen in zip(range(start, end), self._batches(start), strict=False):
            loss = nn.functional.cross_entropy(self.model(self.inputs[chosen]), self.labels[chosen])
            self._optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            self._optimizer.step()
            if (step % 64 == 0 or step == end - 1) and not bool(torch.isfinite(loss)):
                raise ResultError(
                    f"a loss of {float(loss.detach())} at step {step}",
                    "a finite loss",
                    "train with a smaller learning rate",
                )
            if done is not None:
                done(min(size, len(chosen)))

    def _batches(self, start: int) -> Iterator[Tensor]:
        epoch, first = divmod(start, self._steps_per_epoch)
        while True:
            draw = torch.Generator().manual_seed(_seed(self.options.seed, "order", epoch))
            order = torch.randperm(len(self.labels), generator=draw)
            yield from torch.split(order, self.options.batch_size)[first:]
            epoch, first = epoch + 1, 0


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
    purposes = {"weights": 10, "order": 11, "dropout": 12}
    return drawn_seed(seed, purposes[purpose], number)


@contextmanager
def _random(seed: int, purpose: str, number: int) -> Iterator[None]:
    """Torch's random state set for a purpose, and the caller's put back."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_seed(seed, purpose, number))
        yield


_CHANNELS = (16, 32)


@validated
def cnn(
    shape: Sequence[int], hidden: Sequence[int], classes: int, *, dropout: float = 0.0
) -> nn.Sequential:
    """A convolutional classifier: two 3 × 3 convolutions, each with ReLU and 2 × 2 max-pooling, then linear layers.

    Neither paper has it; it is for images from 8 × 8 (digits) over 28 × 28 (MNIST) to 32 × 32 in
    colour.

    Args:
        shape: (channels, height, width) of a sample.
        hidden: Units of the fully connected hidden layers, each followed by ReLU and dropout.
        classes: Units of the output layer, which gives logits.
        dropout: Share of the units of `hidden` left out in training.

    Returns:
        The network, freshly initialised from torch's random state.

    Raises:
        OptionError: Samples are no images, or of less than 4 × 4 pixels.

    Example:
        >>> network = cnn((1, 8, 8), (64,), 10)
        >>> sum(p.numel() for p in network.parameters()), [name for name, _ in network.named_children()][:7]
        (13706, ['conv1', 'relu1', 'pool1', 'conv2', 'relu2', 'pool2', 'flatten'])
    """
    least = 2 ** len(_CHANNELS)
    if len(shape) != 3 or min(shape[1:]) < least:
        raise OptionError(
            f"a cnn on samples of shape {tuple(shape)}",
            f"images, (channels, height, width), of {least} × {least} pixels at least",
            "use fcnn, which takes any shape",
        )
    channels, height, width = shape
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, features in enumerate(_CHANNELS, start=1):
        layers[f"conv{number}"] = nn.Conv2d(channels, features, 3, padding=1)
        layers[f"relu{number}"] = nn.ReLU()
        layers[f"pool{number}"] = nn.MaxPool2d(2)
        channels, height, width = features, height // 2, width // 2
    layers["flatten"] = nn.Flatten()
    return _with_dense(layers, channels * height * width, hidden, classes, dropout)


@validated
def fcnn(
    inputs: int, hidden: Sequence[int], classes: int, *, dropout: float = 0.0
) -> nn.Sequential:
    """A fully connected classifier: ReLU and dropout after each hidden layer (P2 §6, Table 1).

    Args:
        inputs: Values per sample; samples of any shape are flattened.
        hidden: Units of the hidden layers.
        classes: Units of the output layer, which gives logits.
        dropout: Share of hidden units left out in training.

    Returns:
        The network, freshly initialised from torch's random state.

    Example:
        >>> network = fcnn(784, (512, 512), 10, dropout=0.5)
        >>> sum(p.numel() for p in network.parameters()), [name for name, _ in network.named_children()]
        (669706, ['flatten', 'fc1', 'relu1', 'dropout1', 'fc2', 'relu2', 'dropout2', 'output'])
    """
    return _with_dense(OrderedDict(flatten=nn.Flatten()), inputs, hidden, classes, dropout)


def _with_dense(
    layers: OrderedDict[str, nn.Module],
    inputs: int,
    hidden: Sequence[int],
    classes: int,
    dropout: float,
) -> nn.Sequential:
    """The layers, the fully connected ones behind them, and the output."""
    first = 1 + sum(name.startswith("relu") for name in layers)
    for number, units in enumerate(hidden, start=first):
        layers[f"fc{number}"] = nn.Linear(inputs, units)
        layers[f"relu{number}"] = nn.ReLU()
        if dropout:
            layers[f"dropout{number}"] = nn.Dropout(dropout)
        inputs = units
    layers["output"] = nn.Linear(inputs, classes)
    return nn.Sequential(layers)
