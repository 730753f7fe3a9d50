"""Held-out data must not be training data: found by indices where they are known, and by content."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    SubsetRandomSampler,
)

from cofire.errors import DataError

_DUPLICATES = 0.05
"""Data sets hold some images twice; that much of the held-out data may lie in the training data as well."""


def check_apart_by_index(
    training: Any, held_out: Any, what: str = "held-out data", other: str = "the training data"
) -> None:
    """Refuse two loaders that draw a sample of one data set twice, where their indices are known.

    Args:
        training: What `Batches` takes.
        held_out: What `Batches` takes.
        what: The second, for the message.
        other: The first.

    Raises:
        DataError: They do.

    Example:
        >>> data = torch.utils.data.TensorDataset(torch.zeros(9, 2), torch.zeros(9))
        >>> check_apart_by_index(Subset(data, range(6)), Subset(data, range(6, 9)))
    """
    first, second = _indices(training), _indices(held_out)
    if first is None or second is None or first[0] is not second[0]:
        return
    both = np.intersect1d(first[1], second[1])
    if len(both):
        raise DataError(
            f"{what} that share {len(both):,} of {len(second[1]):,} samples with {other}, index "
            f"{int(both[0])} the first",
            f"samples that {other} does not have",
            "split the data set once, with torch.utils.data.random_split, and pass one part as each",
        )


def check_apart_by_content(
    training: Tensor,
    held_out: Tensor,
    what: str = "held-out data",
    other: str = "the training data",
) -> None:
    """Refuse held-out data much of which is in the training data.

    Args:
        training: Hashes of the training samples, (samples,), int64.
        held_out: Those of the others.
        what: The second, for the message.
        other: The first.

    Raises:
        DataError: More than a twentieth of them are.
    """
    shared = int(torch.isin(held_out, training).sum())
    if shared > _DUPLICATES * len(held_out):
        raise DataError(
            f"{what} of which {shared:,} of {len(held_out):,} samples are in {other} as well",
            f"samples that {other} does not have",
            "split the data set once, with torch.utils.data.random_split, and pass one part as each",
        )


def _indices(data: Any) -> tuple[object, npt.NDArray[np.int64]] | None:
    """The innermost data set and the indices drawn of it, None where they are not known."""
    chosen: npt.NDArray[np.int64] | None = None
    if isinstance(data, DataLoader):
        sampler = data.sampler
        if (
            type(data.batch_sampler) is not BatchSampler
            or data.batch_sampler.sampler is not sampler
        ):
            return None
        if isinstance(sampler, SubsetRandomSampler):
            chosen = np.asarray(list(sampler.indices), dtype=np.int64)
        elif not isinstance(sampler, SequentialSampler | RandomSampler):
            return None
        data = data.dataset
    if not isinstance(data, Dataset) or not hasattr(data, "__len__"):
        return None
    if chosen is None:
        chosen = np.arange(len(data))
    while isinstance(data, Subset):
        chosen = np.asarray(list(data.indices), dtype=np.int64)[chosen]
        data = data.dataset
    return data, chosen
