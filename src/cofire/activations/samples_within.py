"""A range of a data set's samples as batches, without reading the others where that can be avoided."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import torch
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    Subset,
    TensorDataset,
)

from cofire.activations.batches import Batch, Batches
from cofire.errors import DataError


def samples_within(
    data: Any, first: int, end: int, num_classes: int, *, batch_size: int = 256
) -> Iterator[Batch]:
    """The samples from one number up to another, in batches that know their numbers.

    Args:
        data: What `cofire.summarize` takes.
        first: Number of the first of them, from 0 in the order of reading.
        end: One past the last.
        num_classes: Labels must lie below it.
        batch_size: For data that does not come in batches.

    Raises:
        DataError: A loader shuffles, so that numbers mean other samples each time.

    Example:
        >>> data = torch.arange(9.0)[:, None], torch.zeros(9, dtype=torch.int64)
        >>> [(one.start, one.inputs.flatten().tolist()) for one in samples_within(data, 3, 6, 2, batch_size=2)]
        [(3, [3.0, 4.0]), (5, [5.0])]
    """
    if first >= end:
        return
    part = _part(data, range(first, end))
    if part is not None:
        for batch in Batches(part, num_classes, batch_size=batch_size):
            yield replace(batch, start=batch.start + first)
        return
    for batch in Batches(data, num_classes, batch_size=batch_size):
        if batch.start >= end:
            return
        here = max(0, first - batch.start), min(len(batch.labels), end - batch.start)
        if here[0] < here[1]:
            yield batch.part(*here)


def _part(data: Any, numbers: range) -> Any:
    """These samples alone, where they can be had by number; None where not."""
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "ndim"):
        return tuple(of[numbers.start : numbers.stop] for of in data)
    if hasattr(data, "in_batches"):
        # `cofire.study.samples.Samples`
        return data.part(torch.arange(numbers.start, numbers.stop))
    if not isinstance(data, DataLoader):
        by_number = isinstance(data, Dataset) and not isinstance(data, IterableDataset)
        return Subset(data, numbers) if by_number else None
    if type(data.batch_sampler) is not BatchSampler:
        return None
    if isinstance(data.sampler, RandomSampler):
        raise DataError(
            "a loader that shuffles, shared between processes",
            "samples in the same order in each of them",
            "pass the DataLoader without shuffle=True",
        )
    if not isinstance(data.sampler, SequentialSampler):
        return None
    told = ("batch_size", "num_workers", "collate_fn", "pin_memory", "timeout", "worker_init_fn")
    return DataLoader(Subset(data.dataset, numbers), **{name: getattr(data, name) for name in told})
