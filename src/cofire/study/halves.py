"""How sure numbers of a sample of the data are: two halves of the sample, held against each other and the whole.

Two halves differ from each other by chance, d, so that the number of the whole sample has a
standard error of √(mean d² / 4) over the checkpoints, each of which is halved otherwise. That is
how far the same number of another sample of this size would lie from it. It is not how far the
number of all data lies from it: the entropy of fewer samples is lower, as they leave bins empty,
and under the range "own" higher, as they span less. Every checkpoint has that bias alike;
`entropy_shift`, the mean of the halves less the whole, says what half as many samples would add.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import torch
from scipy import stats

from cofire.activations import ActivationSummary, LayerSummary
from cofire.activations.summarize import summarizing
from cofire.activations.together import Task, in_part
from cofire.graphs import Measure
from cofire.network import Network
from cofire.statistics import Interval
from cofire.study.samples import samples_of
from cofire.study.sources import drawn_seed

_OF_HALVES = 6
"""What random numbers are drawn for."""
MODULARITY: Measure = "weighted-overlap"
"""Of which measure of modularity the halves are held against each other (P2 Eq. 4)."""


def tasks_of_halves(
    network: Network, observed: Any, number: int, seed: int, **options: Any
) -> list[Task[ActivationSummary]]:
    """What the neurons do on each half of a sample, as tasks that read all of it; what they do by chance is left out.

    Args:
        network: At a checkpoint.
        observed: The sample, as `cofire.summarize` takes it.
        number: Of the checkpoint.
        seed: Of the choice.
        options: Of `cofire.summarize`.

    Raises:
        OptionError: A class has one sample alone.
    """
    whole = samples_of(observed, "the observed sample")
    halves = whole.split(0.5, drawn_seed(seed, _OF_HALVES, number), "observe")
    options |= {
        "null_graphs": 0,
        "top_samples": 0,
        "min_class_samples": 1 if options["by_class"] else None,
    }
    if options["by_class"]:
        options["by_class"] = "statistics"
    return [
        in_part(
            summarizing(network, half, **options), observed, torch.isin(whole.chosen, half.chosen)
        )
        for half in halves
    ]


def entropy_columns(
    whole: LayerSummary, halves: tuple[ActivationSummary, ActivationSummary] | None
) -> dict[str, float | None]:
    """The columns `entropy_halves` and `entropy_shift` of a layer, null without halves."""
    if halves is None:
        return {"entropy_halves": None, "entropy_shift": None}
    one, two = (float(half[whole.layer.name].entropy().sum()) for half in halves)
    shift = (one + two) / 2 - float(whole.entropy().sum())
    return {"entropy_halves": one - two, "entropy_shift": shift}


def modularity_difference(
    layer: str, top: int, halves: tuple[ActivationSummary, ActivationSummary] | None
) -> float | None:
    """The column `modularity_halves` of a layer's graph, null without halves."""
    if halves is None:
        return None
    one, two = (half.graph(layer, top).modularity(MODULARITY) for half in halves)
    return one - two


def standard_error(differences: Sequence[float | None]) -> float | None:
    """Of a number of a sample, from the differences of its halves at every checkpoint; None without.

    Example:
        >>> standard_error([2.0, -4.0, 4.0]), standard_error([None])
        (1.7320508075688772, None)
    """
    known = [value**2 for value in differences if value is not None]
    return (sum(known) / len(known) / 4) ** 0.5 if known else None


def sampling_interval(value: float, differences: Sequence[float | None]) -> Interval | None:
    """Where the mean number of samples of this size lies, in 95 of 100 cases; None unless halves were compared.

    Args:
        value: Of the sample.
        differences: Of its halves at every checkpoint.

    Example:
        >>> found = sampling_interval(100.0, [2.0, -4.0, 4.0])
        >>> round(found.low, 2), round(found.high, 2)
        (94.49, 105.51)
    """
    error = standard_error(differences)
    if error is None:
        return None
    points = sum(one is not None for one in differences)
    half = float(stats.t.ppf(0.975, points)) * error
    return Interval(value, value - half, value + half)


def entropy_interval(network: pa.Table, row: int) -> Interval | None:
    """The same of the whole network's entropy at one of its checkpoints.

    Args:
        network: What `Trajectory.network` gives.
        row: Of which checkpoint, -1 for the last.
    """
    if "entropy_halves" not in network.column_names:
        return None
    values, differences = (network[name].to_pylist() for name in ("entropy", "entropy_halves"))
    return sampling_interval(values[row], differences)
