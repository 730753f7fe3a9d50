"""What is tried before a study begins: whether everything fits together, and how long it will take."""

from __future__ import annotations

import copy
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from cofire.activations import DEFAULT_CAP, cost_of
from cofire.activations.progress import announce
from cofire.activations.summarize import in_units
from cofire.boost.reading import SHARED, chosen_layers
from cofire.errors import BudgetError, CofireError, DataError, OptionError
from cofire.network import Network
from cofire.study.analyse import Analysis, Moment
from cofire.study.data import StudyData
from cofire.study.options import StudyOptions
from cofire.study.samples import Samples
from cofire.study.training import Course, Training, seeded

_FEW, _STEPS, _SECONDS = 8, 5, 2.0
"""Samples of a first step, steps that are timed at the most, and for how long they are."""
_PATIENCE = 5.0
"""Seconds that a step may take; of one that would take longer parts are timed."""
_MORE = 4
"""How many times as many samples the larger of two trials has, which tell what each sample takes."""
LONG = 60.0
"""Seconds from which on it is said how long training takes, and the analysis is tried too."""
_PER_CLASS, _LEAST = 8, 64
"""Samples that the analysis is tried on: of each class, and altogether at least."""
_PASSES = 1 + 1 + 4
"""Of how many times as many samples the trials are together."""


def in_time(seconds: float) -> str:
    """A time as one says it.

    Example:
        >>> in_time(41), in_time(600), in_time(9000)
        ('41 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{max(1, math.ceil(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@dataclass(frozen=True)
class Expected:
    """How long a study will take on this machine, about.

    Attributes:
        training: Seconds.
        analysis: Seconds; None where training is too short for it to be tried beforehand.
        checkpoints: How many are left.
    """

    training: float
    analysis: float | None
    checkpoints: int

    def __str__(self) -> str:
        """In words.

        Example:
            >>> str(Expected(5400.0, 620.0, 20))
            'about 90 min of training and 10 min of analysis, for 20 checkpoints'
        """
        told = f"about {in_time(self.training)} of training"
        if self.analysis is not None:
            told += f" and {in_time(self.analysis)} of analysis"
        return f"{told}, for {self.checkpoints} checkpoint{'s' if self.checkpoints > 1 else ''}"


@dataclass(frozen=True)
class Rehearsal:
    """A study before it begins, tried on copies: of it nothing changes, nor of torch's random state.

    Attributes:
        options: Of the study.
        data: Its data.
        model: With the weights that training starts from, or goes on with.
        course: Steps and checkpoints.
        left: How many checkpoints are not there yet.
    """

    options: StudyOptions
    data: StudyData
    model: nn.Module
    course: Course
    left: int

    def check(self, folder: Path) -> None:
        """Refuse what would end in an error later.

        Args:
            folder: Where the study's files will lie.

        Raises:
            OptionError: Options that do not fit data or network, or too little space.
            DataError: A booster is asked for, and would be judged on what the network was trained on.
        """
        options, shape = self.options, tuple(self._example.shape[1:])
        images = [
            name for name in ("augment", "channels_last", "explain") if getattr(options, name)
        ]
        if images and (len(shape) != 3 or shape[0] not in (1, 3)):
            raise OptionError(
                f"{', '.join(images)} with samples of shape {shape}",
                "images, (1 or 3 channels, height, width)",
                f"leave {' and '.join(images)} out",
            )
        for name, count in self.data.shared.items() if options.boost != "none" else ():
            if count > SHARED * (samples := len(self.data.parts[name])):
                raise DataError(
                    f"boost={options.boost!r} with {name.replace('_', '-')} data of which {count:,} of {samples:,} "
                    "samples are in the training data as well",
                    "samples that the training data does not have",
                    "name other data, or leave boost out",
                )
        size = sum(value.nbytes for value in self.model.state_dict().values())
        place = next(each for each in (folder, *folder.absolute().parents) if each.exists())
        # The optimiser's state is written twice, before the older one goes.
        needed, free = size * (self.left + 6), shutil.disk_usage(place).free
        if needed > free:
            raise OptionError(
                f"{self.left} checkpoints of {in_units(size)} where {in_units(free)} are free ('{place}')",
                f"{in_units(needed)}",
                "keep fewer checkpoints, or choose another folder",
            )
        self._check_outputs()

    @property
    def _example(self) -> Tensor:
        return self.data.train.batch(range(min(2, self.options.batch_size, len(self.data.train))))[
            0
        ]

    def _check_outputs(self) -> None:
        """A pass of a small batch in training, for an error in the words of options."""
        options, classes = self.options, len(self.data.classes)
        inputs = self._example
        model = copy.deepcopy(self.model).train()
        told = f"'{options.model}' on {len(inputs)} samples of shape {tuple(inputs.shape[1:])}"
        try:
            with seeded(options.seed, "dropout", device=_device(model)), torch.no_grad():
                found = model(inputs.to(_device(model)))
        except Exception as error:
            said = (str(error).splitlines() or [repr(error)])[0]
            raise OptionError(
                f"{told}: {type(error).__name__}: {said}",
                "a network that takes them",
                "choose another network, prepare images otherwise (a larger image_size, say, or without grey), or take "
                "batches of two at least, which batch normalisation needs",
            ) from error
        if not isinstance(found, Tensor) or found.shape != (len(inputs), classes):
            given = tuple(found.shape[1:]) if isinstance(found, Tensor) else type(found).__name__
            raise OptionError(
                f"{told} with outputs {given}",
                f"({classes},): one output for each class of the data",
                "make the network with as many outputs as the data has classes, and nothing beside them",
            )

    def check_network(self, network: Network) -> None:
        """Refuse layers that the network has not, and more neurons than fit in memory.

        Raises:
            LayerError: A booster's layer is not there.
            BudgetError: The state of the analysis takes too much memory.
        """
        options, asked = self.options, self.options.summary
        for booster in options.boosting.values():
            chosen_layers(network, booster["layers"])
        counted = ("unit", "bins", "by_class", "pairs", "top", "null_graphs")
        cost = cost_of(
            network.select(options.layers),
            num_classes=len(self.data.classes),
            **{name: asked[name] for name in counted if name in asked},
        )
        if cost.bytes > DEFAULT_CAP:
            raise BudgetError(
                f"{cost} to be kept of each checkpoint",
                f"at most {in_units(DEFAULT_CAP)}",
                "pass fewer null_graphs, a smaller top, fewer bins, or pairs='none'",
            )

    def expected(
        self, network: Network, analysis: Analysis, *, patience: float = math.inf
    ) -> Expected:
        """How long the study will take, from a few steps and, if that is long, an analysis of a few samples.

        Args:
            network: The model's.
            analysis: What is done at each checkpoint.
            patience: Seconds that trying the analysis may take, about.

        Raises:
            ResultError: The first steps already diverge.
        """
        steps = self.course.checkpoints
        ahead = steps[-1] - (steps[-1 - self.left] if self.left < len(steps) else 0)
        step = self._seconds_of_a_step()
        training, analysed = step * ahead, None
        # Each sample of the trial is read about as long as one is trained on.
        trial = _PASSES * self._few * step / self.options.batch_size
        if training > LONG and trial < patience:
            analysed = self._seconds_of_analysis(network, analysis)
        return Expected(training, None if analysed is None else analysed * self.left, self.left)

    def _seconds_of_a_step(self) -> float:
        nowhere = Path("nowhere")  # where no state is found, and none is written
        model, data = copy.deepcopy(self.model), self.data.train
        few = data.part(torch.arange(min(_FEW, len(data))))
        with seeded(self.options.seed, "dropout", device=_device(model)):
            part = Training(model, self.options, few, self.course, nowhere)
            whole = max(len(few), min(self.options.batch_size, len(data)))
            share = whole / len(few)
            if share * (taken := _timed(lambda: part.train(0, 1))) > _PATIENCE:
                taken = _timed(lambda: part.train(1, 2))
            if share * taken > _PATIENCE:
                # Updating many weights takes as long for few samples as for all.
                larger = data.part(torch.arange(min(_MORE * len(few), whole)))
                part = Training(model, self.options, larger, self.course, nowhere)
                part.train(0, 1)
                longer = _timed(lambda: part.train(1, 2))
                return _grown(whole, (len(few), taken), (len(larger), longer))
            trial = Training(model, self.options, data, self.course, nowhere)
            at = [time.perf_counter()]
            # The first step finds memory, and which algorithms are fast.
            trial.train(0, 1, lambda _: at.append(time.perf_counter()))
            more = min(_STEPS, self.course.checkpoints[-1], int(_SECONDS / (at[1] - at[0])))
            if more < 2:
                return at[1] - at[0]
            at.clear()
            trial.train(1, 1 + more, lambda _: at.append(time.perf_counter()))
        return (at[-1] - at[0]) / (len(at) - 1)

    @property
    def _few(self) -> int:
        """Samples of the smaller trial of the analysis."""
        return max(_LEAST, _PER_CLASS * len(self.data.classes))

    def _seconds_of_analysis(self, network: Network, analysis: Analysis) -> float | None:
        """Of one checkpoint: what it takes anyway, and what it takes for each sample."""
        few = self._few
        every = len(self.data.train)

        def seconds(count: int) -> float:
            parts: dict[str, Any] = {
                name: _part(getattr(analysis, name), math.ceil(count * share / every))
                for name, share in (
                    ("train", len(analysis.train)),
                    ("test", len(self.data.test)),
                    ("held_out", 0 if self.data.held_out is None else len(self.data.held_out)),
                )
            }
            trial = replace(analysis, **parts)
            moment = Moment(1, 1.0, 1)
            return _timed(lambda: trial.at(network, moment, last=False, progress=False))

        try:
            seconds(few)  # compiles loops
            small, large = seconds(few), seconds(_MORE * few)
        except CofireError as error:
            announce(f"Note: a trial of the analysis on {few} samples failed: {error}", True)
            return None
        return _grown(every, (few, small), (min(_MORE * few, every), large))


def _grown(samples: int, few: tuple[int, float], more: tuple[int, float]) -> float:
    """Seconds of so many samples, by those of a few and of more: what is taken anyway, and for each."""
    if more[0] <= few[0]:
        return few[1]
    return few[1] + max(0.0, more[1] - few[1]) / (more[0] - few[0]) * max(0, samples - few[0])


def _part(data: Samples | None, count: int) -> Samples | None:
    """So many of the samples, or all where there are no more; one of each class at least."""
    if data is None:
        return None
    least = len(data.labels.unique())  # type: ignore[no-untyped-call]
    return data.sample(min(max(count, least * _PER_CLASS), len(data)), 0, "a trial")


def _timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def _device(model: nn.Module) -> torch.device:
    return next((weight.device for weight in model.parameters()), torch.device("cpu"))
