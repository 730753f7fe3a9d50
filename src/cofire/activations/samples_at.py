"""Single samples of a data set by their numbers, in the order of reading."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import Tensor
from torch.utils.data import (
    BatchSampler,
    DataLoader,
    Dataset,
    IterableDataset,
    SequentialSampler,
    TensorDataset,
    default_collate,
)

from cofire.activations.batches import Batches
from cofire.errors import DataError


def samples_at(
    data: Any, numbers: Iterable[int], num_classes: int
) -> dict[int, tuple[Tensor, int]]:
    """Inputs and labels of some samples, by their numbers.

    Data that gives single samples is asked for these; other data is read up to the last of them.

    Args:
        data: What `cofire.summarize` takes.
        numbers: From 0, in the order of reading.
        num_classes: Labels must lie below it.

    Raises:
        DataError: The data has fewer samples, or cannot be read.

    Example:
        >>> import torch
        >>> data = torch.arange(4.0)[:, None], torch.tensor([0, 1, 0, 1])
        >>> samples_at(data, [3, 0], 2)
        {0: (tensor([0.]), 0), 3: (tensor([3.]), 1)}
    """
    wanted = sorted(set(numbers))
    source, found = data, {}
    in_order = isinstance(data, DataLoader) and isinstance(data.sampler, SequentialSampler)
    # One with batches of its own has a sampler as well, which it does not use.
    if in_order and type(data.batch_sampler) in (BatchSampler, type(None)):
        source = data.dataset if data.collate_fn is default_collate else data
    whole = isinstance(source, Dataset) and not isinstance(
        source, DataLoader | TensorDataset | IterableDataset
    )
    if whole and len(source) > max(wanted, default=0):
        known: Any = source
        pairs: Any = [default_collate([known[number]]) for number in wanted]
        for number, batch in zip(wanted, Batches(pairs, num_classes), strict=True):
            found[number] = (batch.inputs[0], int(batch.labels[0]))
        return found
    for batch in Batches(source, num_classes):
        while wanted and wanted[0] < batch.start + len(batch.labels):
            number = wanted.pop(0)
            at = number - batch.start
            found[number] = (batch.inputs[at].clone(), int(batch.labels[at]))
        if not wanted:
            return found
    if wanted:
        raise DataError(
            f"data without a sample {wanted[-1]:,}",
            "the data that the summary is of",
            "pass the same data, in the same order",
        )
    return found
