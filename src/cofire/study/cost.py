"""What a study takes on this machine, before there are data: tried on images of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.data import Dataset

from cofire.arguments import validated
from cofire.errors import BudgetError
from cofire.network import Network
from cofire.study.analyse import Analysis
from cofire.study.data import StudyData
from cofire.study.networks import build
from cofire.study.options import StudyOptions
from cofire.study.rehearsal import Expected, Rehearsal
from cofire.study.samples import Samples
from cofire.study.training import Course, seeded

_MOST_BYTES = 4e9
_PATIENCE = 20.0
"""Seconds that trying the analysis may take, about; of what takes longer the training alone is told."""


@dataclass(frozen=True)
class _Noise(Dataset[tuple[Tensor, int]]):
    """Images of noise, made when they are read."""

    shape: tuple[int, ...]
    classes: int

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        return torch.rand(
            self.shape, generator=torch.Generator().manual_seed(at)
        ), at % self.classes

    def samples(self, count: int) -> Samples:
        """So many of them."""
        return Samples(
            self, torch.arange(count) % self.classes, [str(k) for k in range(self.classes)]
        )


@validated
def expected_cost(
    options: StudyOptions, shape: Sequence[int], classes: int, samples: int, test_samples: int
) -> Expected:
    """What a study will take here: some of it is done with images of noise (see `cofire.study.rehearsal`).

    Args:
        options: Of the study.
        shape: Of a sample.
        classes: Of the data.
        samples: That it is trained on, with those held out.
        test_samples: Of the test data.

    Raises:
        OptionError: There are fewer steps than checkpoints, or the network does not take such
            samples.
        BudgetError: The network is too large to be measured aside.

    Example:
        >>> cost = expected_cost(StudyOptions(hidden=(8,)), (1, 8, 8), 10, 1437, 360)
        >>> cost.training < 100, cost.checkpoints
        (True, 20)
    """
    with torch.device("meta"):
        parameters = sum(weight.numel() for weight in build(options, shape, classes).parameters())
    if 16 * parameters > _MOST_BYTES:
        raise BudgetError(
            f"{parameters:,} parameters, {16 * parameters / 1e9:.1f} GB with gradients and the optimiser's state",
            f"at most {_MOST_BYTES / 1e9:g} GB to be measured",
            "start the study where there is as much memory and look at its first steps",
        )
    noise = _Noise(tuple(shape), classes)
    share = options.validation if isinstance(options.validation, float) else 0.0
    kept = round(samples * share)
    train, test = noise.samples(samples - kept), noise.samples(max(test_samples, classes))
    data = StudyData(train, test, noise.samples(kept) if kept else None)
    observed = train if options.observe is None else train.part(torch.arange(options.observe))
    with seeded(options.seed, "weights"):
        model = build(options, shape, classes)
    course = Course.of(options, len(train))
    rehearsal = Rehearsal(options, data, model, course, len(course.checkpoints))
    network = Network(model, train.batch([0, 1])[0])
    analysis = Analysis(options, observed, test, data.classes, {}, data.held_out)
    return rehearsal.expected(network, analysis, patience=_PATIENCE)
