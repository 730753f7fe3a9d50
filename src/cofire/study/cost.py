"""What a study will take on this machine, measured on a few steps before it begins."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from cofire.activations import summarize
from cofire.arguments import validated
from cofire.errors import BudgetError
from cofire.network import Network
from cofire.study.networks import build
from cofire.study.options import StudyOptions
from cofire.study.samples import Samples
from cofire.study.training import Course, Training, seeded

_FEW = 8
_MOST_BYTES = 4e9
_PATIENCE = 5.0
"""Seconds that a measured step may take; of a slower one a part is measured."""


@dataclass(frozen=True)
class Cost:
    """What a study takes.

    Attributes:
        parameters: Of its network.
        training: Seconds.
        looking: Seconds of observing neurons and testing at all checkpoints; graphs, boosters and
            explanations come on top.
    """

    parameters: int
    training: float
    looking: float

    def __str__(self) -> str:
        return (
            f"{self.parameters:,} parameters; about {in_time(self.training)} of training and "
            f"{in_time(self.looking)} of observing neurons; graphs and boosters come on top"
        )


def in_time(seconds: float) -> str:
    """A time as one says it.

    Example:
        >>> in_time(41), in_time(600), in_time(9000)
        ('41 s', '10 min', '2.5 h')
    """
    if seconds < 100:
        return f"{max(1, math.ceil(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"


@validated
def expected_cost(
    options: StudyOptions, shape: Sequence[int], classes: int, samples: int, test_samples: int
) -> Cost:
    """What a study will take here: a few of its steps are made with images of noise.

    Args:
        options: Of the study.
        shape: Of a sample.
        classes: Of the data.
        samples: That it is trained on.
        test_samples: Of the test data.

    Raises:
        OptionError: There are fewer steps than checkpoints, or the network does not take such
            samples.
        BudgetError: The network is too large to be measured aside.

    Example:
        >>> cost = expected_cost(StudyOptions(hidden=(8,)), (1, 8, 8), 10, 1437, 360)
        >>> cost.parameters, cost.training < 100
        (610, True)
    """
    course = Course.of(options, samples)
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in build(options, shape, classes).parameters())
    if 16 * parameters > _MOST_BYTES:
        raise BudgetError(
            f"{parameters:,} parameters, {16 * parameters / 1e9:.1f} GB with gradients and the optimiser's state",
            f"at most {_MOST_BYTES / 1e9:g} GB to be measured",
            "start the study where there is as much memory and look at its first steps",
        )
    with seeded(options.seed, "weights", 0), TemporaryDirectory() as folder:
        model = build(options, shape, classes)
        inputs = torch.rand(min(samples, options.batch_size), *shape)
        data = Samples(
            inputs, torch.arange(len(inputs)) % classes, [str(k) for k in range(classes)]
        )

        def steps(of: Samples) -> Callable[[], object]:
            training = Training(model, options, of, course, Path(folder))
            return lambda: training.train(0, 1)

        few = data.part(torch.arange(min(_FEW, len(data) // 2)))
        step = _seconds(steps(few)) * len(data) / len(few)
        if step < _PATIENCE:
            step = _seconds(steps(data))
        else:
            data = data.part(torch.arange(2 * len(few)))
        network = Network(model, inputs[:2])
        look = _seconds(lambda: summarize(network, data, bins=options.bins, progress=False)) / len(
            data
        )
    seen = (options.observe or samples) + test_samples
    return Cost(
        parameters,
        step * course.checkpoints[-1],
        look * seen * len(course.checkpoints),
    )


def _seconds(run: Callable[[], object]) -> float:
    """Of the second time: the first one prepares."""
    run()
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
