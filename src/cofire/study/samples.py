"""Labelled samples by number, from memory or read anew from disk, in batches, shares and samples of a size."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    TensorDataset,
    default_collate,
)

from cofire.activations.batches import Batches, check_labels, classes_of, not_loaded, pair_of
from cofire.activations.progress import progress_over
from cofire.errors import (
    BatchError,
    CofireError,
    DataError,
    LabelError,
    NonFiniteError,
    OptionError,
)

Batch = tuple[Tensor, Tensor]
"""Inputs (samples, ...), float32, and labels (samples,), int64."""
_AT_ONCE = 256
"""Samples that are read at a time."""
LEAST = 2
"""Samples of each class that what is kept by class needs at the least (see `cofire.summarize`)."""


class Samples(Dataset[tuple[Tensor, int]]):
    """A data set of (input, label), of which a batch can be had by any numbers.

    `cofire.summarize` and whatever else reads data takes it, and its batches are then put together
    at once, by worker processes where it is on disk.

    Attributes:
        labels: (samples,), int64; known without reading an input.
        classes: One name per class.
        named: Whether the names are the data's own, not numbers for want of any.
        workers: Processes that read what is on disk; 0 reads in this one.

    Args:
        source: Inputs of all samples, (samples, ...), or a data set of (input, label) on disk.
        labels: Their labels.
        classes: Names.
        scale: Makes a batch of inputs, float32, out of a batch as `source` has it, such as shades of
            8 bits; None where that is the same.
        chosen: Numbers in `source` of the samples that are meant; all unless given.
        given: Labels as `source` gives them, where `labels` are others.
        workers: As above.
        named: As above.

    Example:
        >>> digits = Samples(torch.arange(4.0)[:, None], torch.tensor([0, 1, 0, 1]), ("even", "odd"))
        >>> digits.batch([3, 1]), digits[2], digits.part(torch.tensor([0, 2])).labels.tolist()
        ((tensor([[3.],
                [1.]]), tensor([1, 1])), (tensor([2.]), 0), [0, 0])
    """

    def __init__(
        self,
        source: Tensor | Any,
        labels: Tensor,
        classes: Sequence[str],
        *,
        scale: Callable[[Tensor], Tensor] | None = None,
        chosen: Tensor | None = None,
        given: Tensor | None = None,
        workers: int = 0,
        named: bool = True,
    ) -> None:
        self.source = source
        self.labels = labels
        self.classes = tuple(classes)
        self.scale = scale
        self.chosen = torch.arange(len(labels)) if chosen is None else chosen
        self.given = labels if given is None else given
        self.workers = workers
        self.named = named

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        inputs, labels = self.batch([range(len(self))[at]])
        return inputs[0], int(labels[0])

    @property
    def in_memory(self) -> bool:
        """Whether inputs are held, so that every reading gives the same."""
        return isinstance(self.source, Tensor)

    @property
    def sizes(self) -> list[int]:
        """Samples of each class."""
        return torch.bincount(self.labels, minlength=len(self.classes)).tolist()

    def batch(self, numbers: Sequence[int] | Tensor) -> Batch:
        """The samples of some numbers, in their order.

        Raises:
            DataError: A sample cannot be read.
        """
        at = torch.as_tensor(numbers)
        inputs = self._unscaled(at)
        return inputs if self.scale is None else self.scale(inputs), self.labels[at]

    def _unscaled(self, at: Tensor) -> Tensor:
        if isinstance(self.source, Tensor):
            return self.source[self.chosen[at]]
        inputs: list[Tensor] = []
        known = zip(self.chosen[at].tolist(), self.given[at].tolist(), strict=True)
        for place, before in known:
            try:
                one, label = pair_of(self.source[place])
                inputs.append(torch.as_tensor(one))
            except CofireError:
                raise
            except Exception as error:
                raise not_loaded(error, f"sample {place}") from error
            if int(label) != before:
                raise LabelError(
                    f"sample {place} of class {int(label)}, which was of class {before} before",
                    "a data set that gives the same labels each time, those that its targets list",
                    "correct the data set",
                )
            if inputs[-1].shape != inputs[0].shape:
                raise BatchError(
                    f"sample {place} is {tuple(inputs[-1].shape)}, others are {tuple(inputs[0].shape)}",
                    "samples of one shape",
                    "resize or crop them to one size",
                )
        return as_float(torch.stack(inputs), self.chosen[at])

    def batches(self, numbers: Iterable[Sequence[int] | Tensor]) -> Iterator[Batch]:
        """A batch for each list of numbers, read ahead by the workers where it is on disk.

        Nothing is drawn of torch's own random state.

        Raises:
            DataError: A sample cannot be read.
        """
        if self.in_memory or not self.workers:
            yield from map(self.batch, numbers)
            return
        lists = [torch.as_tensor(each).tolist() for each in numbers]
        source = iter(self._loader(batch_sampler=lists))
        for number in range(len(lists)):
            try:
                found = next(source)
            except CofireError:
                raise
            except Exception as error:
                raise not_loaded(error, f"batch {number}") from error
            yield found

    def in_batches(self, size: int) -> Iterable[Batch]:
        """All samples in order in batches of a size, to be read as often as one likes."""
        return _Slices(self, size) if self.in_memory else self._loader(batch_size=size)

    def _loader(self, **how: Any) -> DataLoader[Any]:
        # Its own generator: a loader draws a seed for its workers, which is not the caller's matter.
        return DataLoader(
            _Read(self),
            num_workers=self.workers,
            collate_fn=_as_it_is,
            generator=torch.Generator().manual_seed(0),
            **how,
        )

    def _with(self, **other: Any) -> Self:
        """The same, but for some of what it was made of."""
        return type(self)(**vars(self) | other)

    def part(self, numbers: Tensor) -> Self:
        """Some of the samples, by their numbers, as a data set of its own; nothing is read."""
        of_samples = ("labels", "given", "chosen")
        return self._with(**{name: getattr(self, name)[numbers] for name in of_samples})

    def relabelled(self, labels: Tensor, classes: Sequence[str]) -> Self:
        """The same samples with other labels."""
        return self._with(labels=labels, classes=classes)

    @property
    def bytes(self) -> int:
        """Of all inputs as they are kept in memory."""
        one = self._unscaled(torch.tensor([0]))
        return one.numel() * one.element_size() * len(self)

    def split(self, share: float, seed: int, option: str) -> tuple[Self, Self]:
        """A share held out of each class, and the rest first.

        Args:
            share: Above 0 and below 1.
            seed: Of the choice.
            option: What asks for it, for the message.

        Raises:
            OptionError: Too few samples of a class for both parts.
        """
        from sklearn.model_selection import train_test_split

        rows = np.arange(len(self))
        try:
            kept, held = train_test_split(
                rows, test_size=share, stratify=self.labels.numpy(), random_state=seed % 2**32
            )
        except ValueError as error:
            fewest, at = min((size, at) for at, size in enumerate(self.sizes) if size)
            raise OptionError(
                f"{option}={share} of {len(rows):,} samples, {fewest:,} of class '{self.classes[at]}'",
                f"samples of each of {len(self.classes):,} classes in both parts",
                "hold out another share, use more data, or leave small classes out",
            ) from error
        rest, part = (self.part(torch.from_numpy(np.sort(each))) for each in (kept, held))
        return rest, part

    def sample(self, count: int, seed: int, option: str) -> Self:
        """So many of the samples, the same share of each class as far as whole numbers allow (see `stratified`).

        Args:
            count: How many.
            seed: Of the choice.
            option: What asks for it, for the message.

        Raises:
            OptionError: There are fewer samples, or more classes.
        """
        _, sizes = np.unique(self.labels.numpy(), return_counts=True)
        if not (least := int(np.minimum(sizes, LEAST).sum())) <= count <= len(self):
            raise OptionError(
                f"{option}={count} of {len(self):,} samples of {len(sizes):,} classes",
                f"from {least:,}, {LEAST} of each class, to {len(self):,}",
                f"pass another {option}, or leave it out",
            )
        return self.part(torch.from_numpy(stratified(self.labels.numpy(), count, seed)))

    def held(self, title: str, progress: bool | None = None) -> Self:
        """The same with all inputs read into memory, once, as `source` has them.

        Raises:
            DataError: A sample cannot be read.
        """
        if self.in_memory:
            return self
        plain, starts = self._with(scale=None), torch.split(torch.arange(len(self)), _AT_ONCE)
        found: Tensor | None = None
        with progress_over(title, len(self), progress) as advance:
            for numbers, (inputs, _) in zip(starts, plain.batches(starts), strict=True):
                if found is None:
                    found = inputs.new_empty((len(self), *inputs.shape[1:]))
                found[numbers] = inputs
                advance(len(inputs))
        return self._with(source=found, chosen=torch.arange(len(self)))


@dataclass(frozen=True)
class _Read(Dataset[Any]):
    """Samples that a loader asks for by whole batches."""

    dataset: Samples

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, at: int) -> tuple[Tensor, int]:
        return self.dataset[at]

    def __getitems__(self, numbers: Sequence[int]) -> Batch:
        return self.dataset.batch(numbers)


@dataclass(frozen=True)
class _Slices:
    """Samples in memory, one batch after the other."""

    dataset: Samples
    size: int

    def __iter__(self) -> Iterator[Batch]:
        return map(self.dataset.batch, torch.split(torch.arange(len(self.dataset)), self.size))


def _as_it_is(batch: Any) -> Any:
    return batch


def stratified(labels: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Numbers of samples, drawn so that each class has the same share of its own, and two at least if it has them.

    Args:
        labels: (samples,).
        count: How many, from two for each class that occurs up to all samples.
        seed: Of the choice; a larger sample of the same seed holds the smaller one, but where whole
            numbers fall otherwise.

    Returns:
        (count,), int64, ascending.

    Example:
        >>> labels = np.array([0, 0, 0, 0, 0, 0, 1, 1, 2])
        >>> np.bincount(labels[stratified(labels, 6, seed=0)]).tolist()
        [3, 2, 1]
    """
    _, of_class, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    wanted = count * sizes / len(labels)
    least = np.minimum(sizes, LEAST)
    taken = np.maximum(least, np.floor(wanted)).astype(np.int64)
    while taken.sum() < count:
        taken[np.argmax(np.where(taken < sizes, wanted - taken, -np.inf))] += 1
    while taken.sum() > count:
        taken[np.argmax(np.where(taken > least, taken - wanted, -np.inf))] -= 1
    order = np.random.default_rng(seed).permutation(len(labels))
    by_class = order[np.argsort(of_class[order], kind="stable")]
    place = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(by_class[place < np.repeat(taken, sizes)]).astype(np.int64)


def samples_of(data: Any, what: str, workers: int = 0, progress: bool | None = None) -> Samples:
    """Whatever holds labelled data as samples whose labels are known.

    Labels that a data set lists (`targets`) are taken from there, others are read once. What is no
    data set on disk is put together in memory.

    Args:
        data: What `cofire.summarize` takes.
        what: In words, for bars and messages.
        workers: Processes that read from disk.
        progress: Show progress bars; None shows them on a terminal.

    Raises:
        DataError: See `cofire.summarize`; or its order is drawn, or there is one class alone.
    """
    if isinstance(data, Samples):
        return data
    if isinstance(data, DataLoader):
        if data.collate_fn is not default_collate:
            raise DataError(
                f"{what}: a DataLoader with a collate_fn of its own",
                "samples that can be had by their numbers, in any order",
                "give the data set itself, whose items are (input, label)",
            )
        data = data.dataset
    source, names = data, classes_of(data)
    on_disk = isinstance(data, Dataset) and not isinstance(data, TensorDataset | IterableDataset)
    labels = _labels_told(data) if on_disk else None
    if labels is None:
        batches = Batches(data, sys.maxsize, batch_size=_AT_ONCE)
        inputs, rows = [], []
        with progress_over(f"reading {what}", batches.samples, progress) as advance:
            for batch in batches:
                rows.append(batch.labels)
                inputs += [] if on_disk else [batch.inputs]
                advance(len(batch.labels))
        labels = torch.cat(rows) if rows else torch.zeros(0, dtype=torch.int64)
        if inputs:
            source = as_float(torch.cat(inputs), torch.arange(len(labels)))
    classes = names or tuple(map(str, range(int(labels.max()) + 1 if len(labels) else 0)))
    if len(classes) < 2 or not len(labels):
        raise LabelError(
            f"{what}: {len(labels)} samples of {len(classes)} classes",
            "samples of two classes at least",
            "name data with several classes",
        )
    labels = check_labels(labels, len(labels), len(classes), what)
    reads = getattr(data, "reads", None)
    scale = None if reads is None else reads.as_shades()
    return Samples(source, labels, classes, scale=scale, workers=workers, named=names is not None)


def _labels_told(data: Any) -> Tensor | None:
    """The labels of all samples, where the data set lists them and gives them as they are."""
    if getattr(data, "target_transform", None) is not None:
        return None
    if isinstance(data, Subset):
        inner = _labels_told(data.dataset)
        return None if inner is None else inner[torch.as_tensor(data.indices)]
    for name in ("targets", "labels", "_labels"):
        with suppress(TypeError, ValueError, RuntimeError):
            found = torch.as_tensor(getattr(data, name, None))
            if found.shape == (len(data),) and not found.is_floating_point():
                return found.long()
    return None


def as_float(inputs: Tensor, numbers: Tensor) -> Tensor:
    """Inputs as float32, but whole numbers as they are.

    Args:
        inputs: (samples, ...).
        numbers: Of the samples, for the message.

    Raises:
        NonFiniteError: One is NaN or infinite.
    """
    if not inputs.is_floating_point():
        return inputs
    wrong = ~torch.isfinite(inputs).flatten(1).all(dim=1)
    if bool(wrong.any()):
        raise NonFiniteError(
            f"sample {int(numbers[wrong][0])} with NaN or infinite values",
            "finite inputs",
            "correct the data set, or leave the sample out",
        )
    return inputs.float()
