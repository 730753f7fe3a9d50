"""Some of a data set's samples by their numbers, without reading the others where that can be avoided."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
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
from cofire.storage import hash_of_tensors

_LOOKED_AT = 64
"""Samples by which one data set is told from another."""


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


def digest_of_data(data: Any, samples: int) -> str:
    """What tells a data set from another without reading it: all labels where they are known, and 64 of its samples.

    Of data that cannot be read by number it is the first sample, of rows that lie elsewhere the labels alone.

    Args:
        data: What `cofire.summarize` takes.
        samples: How many it has.

    Example:
        >>> labels = torch.tensor([0, 1, 0])
        >>> one, other = ((torch.tensor(inputs), labels) for inputs in ([1.0, 2.0, 3.0], [1.0, 2.0, 4.0]))
        >>> digest_of_data(one, 3) == digest_of_data(other, 3)
        False
    """
    held = {"samples": torch.tensor(samples), "labels": _labels(data)}
    if samples and not getattr(data, "elsewhere", False):
        some = _part(data, range(0, samples, -(-samples // _LOOKED_AT)))
        # Labels are checked once they are counted, where it is known which samples these are.
        for batch in Batches(data if some is None else some, sys.maxsize, batch_size=1):
            held |= {f"{batch.start}.input": batch.inputs, f"{batch.start}.label": batch.labels}
            if some is None:
                break
    return hash_of_tensors(held)


def _labels(data: Any) -> Tensor:
    """Of all samples, none where they are not known."""
    if isinstance(data, DataLoader):
        return _labels(data.dataset)
    pair = data.tensors if isinstance(data, TensorDataset) else data
    named = next((getattr(data, name) for name in ("labels", "targets") if hasattr(data, name)), ())
    known = pair[1] if isinstance(pair, tuple) and len(pair) == 2 else named
    with suppress(TypeError, ValueError, RuntimeError):  # labels of another kind, or as text
        return torch.as_tensor(known).cpu()
    return torch.zeros(0)


def _part(data: Any, numbers: range) -> Any:
    """These samples alone, where they can be had by number; None where not."""
    if isinstance(data, TensorDataset):
        data = data.tensors
    if isinstance(data, tuple) and len(data) == 2 and hasattr(data[0], "ndim"):
        return tuple(of[numbers.start : numbers.stop : numbers.step] for of in data)
    if hasattr(data, "in_batches"):
        # `cofire.study.samples.Samples`
        return data.part(torch.arange(numbers.start, numbers.stop, numbers.step))
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
