"""Whatever holds a data set, as checked batches that can be read twice."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, TensorDataset

from cofire.errors import BatchError, CofireError, DataError, ImageError, LabelError, NonFiniteError
from cofire.marks import CLASS_NAME, check_whole
from cofire.tensors import Values, dense

_INPUTS = Values(finite=False, error=BatchError)


_LABELS = Values(finite=False, error=LabelError)


_ARRAYS = (Tensor, np.ndarray)


@dataclass(frozen=True)
class Batch:
    """One checked batch.

    Attributes:
        index: Its number, from 0.
        inputs: (samples, ...).
        labels: (samples,), int64.
        start: Number of its first sample, from 0, in the order of reading.
        sources: Where it was put together of several: the place in it where each begins, and the
            number of each.
    """

    index: int
    inputs: Tensor
    labels: Tensor
    start: int
    sources: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "sources", self.sources or ((0, self.index),))

    def part(self, first: int, end: int) -> Batch:
        """Some of its samples."""
        some = slice(first, end)
        return Batch(self.index, self.inputs[some], self.labels[some], self.start + first)

    def where(self, sample: int | None = None) -> str:
        """The batch as it was read, in words: that of one of its samples, or all."""
        at = None if sample is None else [n for begin, n in self.sources if begin <= sample][-1]
        first, last = self.sources[0][1], self.sources[-1][1]
        if at is None and first != last:
            return f"batches {first} to {last}"
        return f"batch {first if at is None else at}"


class Batches:
    """A data set as batches of (inputs, labels), read anew by each loop over it.

    Args:
        data: A `DataLoader`, a `Dataset` of (input, label), a pair of tensors or arrays
            (inputs, labels), or any iterable of (inputs, labels) batches that can be read more than
            once.
        num_classes: Labels must lie below it.
        batch_size: For data that does not come in batches.

    Raises:
        DataError: The data can be read only once, or is none of these.

    Example:
        >>> data = Batches((torch.zeros(5, 3), torch.tensor([0, 1, 0, 1, 0])), num_classes=2, batch_size=2)
        >>> data.samples, [len(batch.labels) for batch in data]
        (5, [2, 2, 1])
    """

    def __init__(self, data: Any, num_classes: int, *, batch_size: int = 256) -> None:
        self._num_classes = num_classes
        self._pair: tuple[Tensor, Tensor] | None = None
        self._labels: Tensor | None = None
        self._held = False
        self._size = batch_size
        self._source: Iterable[Any] = ()
        pair = data.tensors if isinstance(data, TensorDataset) else data
        arrays = isinstance(pair, tuple) and all(isinstance(d, _ARRAYS) for d in pair)
        if arrays and len(pair) == 2:
            inputs, labels = _INPUTS.of("inputs", pair[0]), _LABELS.of("labels", pair[1])
            if inputs.ndim == 0 or labels.ndim == 0:
                raise _not_a_batch(pair, "the data")
            self._labels = check_labels(labels, len(inputs), num_classes)
            self._pair, self._held = (inputs, self._labels), True
        elif isinstance(data, Dataset) and not isinstance(data, DataLoader):
            known: Any = data
            if own := getattr(data, "in_batches", None):
                # `cofire.study.samples.Samples` put their batches together themselves.
                self._source, self._held = own(batch_size), known.in_memory
                self._labels = check_labels(known.labels, len(known), num_classes)
                return
            try:
                self._source = DataLoader(data, batch_size=self._size)
            except CofireError:
                raise
            except Exception as error:  # the data set's own __len__
                raise not_loaded(error, "batch 0") from error
        elif isinstance(data, tuple | list) and data and isinstance(data[0], _ARRAYS):
            raise _not_a_batch(data[0], "the data's first item")
        elif isinstance(data, Iterator):
            raise DataError(
                f"{type(data).__name__}, which can be read only once",
                "data that can be read twice, since ranges must be known before anything is counted",
                "pass the DataLoader, the Dataset, a list of batches or a pair of tensors itself",
            )
        elif _has_rows(data):
            self._source = DataLoader(data, batch_size=self._size)
        elif isinstance(data, Iterable) and not isinstance(data, (*_ARRAYS, str, bytes)):
            self._source = data
        else:
            raise DataError(
                f"data of type {type(data).__name__}",
                "a DataLoader, a Dataset, an iterable of (inputs, labels) or a pair of tensors",
                "pass inputs together with their labels",
            )

    @property
    def in_memory(self) -> bool:
        """Whether the data are tensors, so that every reading gives the same."""
        return self._held

    @property
    def samples(self) -> int | None:
        """How many samples there are, None where that cannot be known without reading them."""
        if self._labels is not None:
            return len(self._labels)
        loader = self._source
        # A sampler of batches draws as it likes; without a batch size, each item is a batch of its
        # own.
        if not isinstance(loader, DataLoader) or type(loader.batch_sampler) is not BatchSampler:
            return None
        if not isinstance(loader.sampler, Sized) or loader.batch_size is None:
            return None
        try:
            size = len(loader.sampler)
        except Exception:  # a data set that does not know
            return None
        return size - size % loader.batch_size if loader.drop_last else size

    def class_samples(self) -> Tensor:
        """Samples of each class, (num_classes,), int64; data whose labels are not known is read for it."""
        counts = torch.zeros(self._num_classes, dtype=torch.int64)
        batches = (batch.labels for batch in self)
        for labels in batches if self._labels is None else [self._labels]:
            counts += torch.bincount(labels.cpu(), minlength=self._num_classes)
        return counts

    def __iter__(self) -> Iterator[Batch]:
        if self._pair is not None:
            inputs, labels = self._pair
            for index, start in enumerate(range(0, len(labels), self._size)):
                part = slice(start, start + self._size)
                yield Batch(index, inputs[part], labels[part], start)
            return
        source: Iterator[Any] | None = None
        index = read = 0
        while True:
            try:
                source = iter(self._source) if source is None else source
                given = next(source)
            except StopIteration:
                self._check_ended(read)
                return
            except CofireError:
                raise
            except Exception as error:
                raise not_loaded(error, f"batch {index}") from error
            batch = self._checked(given, index, read)
            read += len(batch.labels)
            if len(batch.labels):
                yield batch
            index += 1

    def _check_ended(self, read: int) -> None:
        """A data set that raises StopIteration ends the loop over its loader like one that was read to its end."""
        if self.samples is not None and read < self.samples:
            raise DataError(
                f"data that ended after {read} of {self.samples} samples",
                "a data set that can be read to its end",
                "correct its __getitem__, or its __len__",
            )

    def _checked(self, given: Any, index: int, start: int) -> Batch:
        where, given = f"batch {index}", pair_of(given)
        if not isinstance(given, tuple | list) or len(given) != 2:
            raise _not_a_batch(given, where)
        try:
            inputs, labels = (dense(part, where) for part in given)
        except DataError as error:
            if isinstance(error.__cause__, Exception):
                raise _not_a_batch(given, where) from error
            raise BatchError(error.given, error.expected, error.remedy) from error
        if inputs.ndim == 0 or labels.ndim == 0:
            raise _not_a_batch(given, where)
        labels = check_labels(labels, len(inputs), self._num_classes, where)
        return Batch(index, inputs, labels, start)


def _has_rows(data: Any) -> bool:
    """Whether these are samples by number that have columns, as a data set of Hugging Face is."""
    by_number = hasattr(data, "__getitem__") and hasattr(data, "__len__")
    if not by_number or isinstance(data, list | tuple | str | bytes | Mapping | DataLoader):
        return False
    return hasattr(data, "column_names") or hasattr(data, "features")


def first_inputs(data: Any) -> Tensor:
    """Two samples of a data set, to read a network with.

    Raises:
        DataError: There are none.
    """
    # Labels are checked once the number of classes is known.
    for batch in Batches(data, num_classes=sys.maxsize, batch_size=2):
        return batch.inputs[:2]
    raise DataError(
        "no samples", "at least one batch of (inputs, labels)", "check what the loader returns"
    )


_OWN = re.compile(
    r"^cofire\.errors\.(\w+): (.*)\. Expected: (.*)\. To fix it: (.*)\.\s*\Z", re.M | re.S
)


"""The last line of a worker's traceback, of an error of cofire's own."""


_KINDS = (BatchError, DataError, ImageError, LabelError, NonFiniteError)


def not_loaded(error: Exception, what: str) -> DataError:
    """What a data set or loader raised, without the traceback that a worker process puts into it.

    Args:
        error: As it was raised here.
        what: What was read, in words.
    """
    own = _OWN.search(str(error))
    if own and (kind := {each.__name__: each for each in _KINDS}.get(own[1])):
        return kind(*own.groups()[1:])
    lines = [line for line in str(error).splitlines() if line.strip()] or [""]
    said = lines[-1] if "worker process" in lines[0] else f"{type(error).__name__}: {lines[0]}"
    given = f"{what} cannot be loaded: {said}"
    if "image file" in said:  # Pillow's own words
        return ImageError(given, "image files that Pillow can read", "replace or remove the file")
    if "default_collate" in str(error) or "stack expects" in str(error):
        return BatchError(
            given,
            "samples that are tensors of one shape",
            "add transforms.ToTensor() to the data set's transform, and a resize or crop to one size",
        )
    return DataError(
        given, "a data set that can be read to its end", "correct the data set or its files"
    )


def _not_a_batch(given: Any, where: str) -> BatchError:
    if isinstance(given, Tensor):
        remedy = "pass a tuple of two tensors or arrays, (inputs, labels), or batches that are such pairs"
    else:
        remedy = "make the data set return (input, label), or choose the two parts in collate_fn"
    if isinstance(given, tuple | list):
        shown = f"a {type(given).__name__} of {len(given)}: ({', '.join(type(g).__name__ for g in given[:4])})"
    else:
        shown = f"a {type(given).__name__}"
    return BatchError(
        f"{where} is {shown}",
        "a pair (inputs, labels) of tensors or arrays, the first axis counting samples",
        remedy,
    )


_INPUT_COLUMNS = ("pixel_values", "image", "img")


_LABEL_COLUMNS = ("label", "labels", "fine_label", "class")


"""What the columns of inputs and classes are called in Hugging Face's data sets."""


def pair_of(item: Any) -> Any:
    """(input, label) of a sample or batch that has them by name, as Hugging Face's have; any other as it is.

    Example:
        >>> pair_of({"pixel_values": 1.0, "labels": 3, "id": 9}), pair_of((1.0, 3))
        ((1.0, 3), (1.0, 3))
    """
    if not isinstance(item, Mapping):
        return item
    columns = (_INPUT_COLUMNS, _LABEL_COLUMNS)
    found = [next((name for name in names if name in item), None) for names in columns]
    return item if None in found else tuple(item[name] for name in found)


def classes_of(data: Any) -> tuple[str, ...] | None:
    """The names that a data set gives its classes, in the order of the labels.

    They are its `classes`, as those of torchvision have them, or the names of the label in its
    `features`, as those of Hugging Face have them. A loader and a part have those of the data set
    behind them; several data sets in one have names if all have the same. Where labels are changed
    on the way (`target_transform`), names mean nothing.

    Args:
        data: What `cofire.summarize` takes.

    Returns:
        The names; None if there are none.

    Example:
        >>> class Pets:
        ...     classes = ["cat", "dog"]
        >>> classes_of(Pets()), classes_of([])
        (('cat', 'dog'), None)
    """
    found = {_named(one) for one in _behind(data)}
    return found.pop() if len(found) == 1 else None


def _behind(data: Any) -> Iterator[Any]:
    """The data sets behind loaders, parts and joined ones."""
    several = getattr(data, "datasets", None)
    inner = getattr(data, "dataset", None)
    if getattr(data, "target_transform", None) is not None:
        yield None
    elif isinstance(several, list | tuple):
        for one in several:
            yield from _behind(one)
    elif (
        getattr(data, "classes", None) is None and inner is not None and not isinstance(inner, str)
    ):
        yield from _behind(inner)
    else:
        yield data


def _named(data: Any) -> tuple[str, ...] | None:
    names = getattr(data, "classes", None)
    if names is None:
        features = getattr(data, "features", None)
        if isinstance(features, dict):
            names = next(
                (
                    features[name].names
                    for name in _LABEL_COLUMNS
                    if hasattr(features.get(name), "names")
                ),
                None,
            )
    if not isinstance(names, list | tuple) or len(names) < 2:
        return None
    # ImageNet's classes have several names each.
    first = [name[0] if isinstance(name, list | tuple) and name else name for name in names]
    if not all(isinstance(name, str | int) for name in first):
        return None
    return tuple(
        CLASS_NAME.of(f"classes[{number}]", str(name)) for number, name in enumerate(first)
    )


def name_of(data: Any) -> str:
    """A short name of a data set: its kind, and where images lie the end of their path; "" if nothing tells.

    Example:
        >>> name_of((np.zeros((2, 3)), np.zeros(2))), name_of([])
        ('tensors', '')
    """
    names = dict.fromkeys(_own_name(one) for one in _behind(data))
    return " + ".join(name for name in names if name)


def _own_name(data: Any) -> str:
    if isinstance(data, TensorDataset) or (
        isinstance(data, tuple) and all(isinstance(d, _ARRAYS) for d in data)
    ):
        return "tensors"
    info = getattr(getattr(data, "info", None), "dataset_name", None)
    if isinstance(info, str) and info:
        return info
    kind = type(data)
    if data is None or kind.__module__ == "builtins":
        return ""
    root = getattr(data, "root", None)
    folder = hasattr(data, "imgs") and isinstance(root, str | Path)
    return (
        f"{kind.__name__} {'/'.join(Path(root).parts[-2:])}"
        if folder and root is not None
        else kind.__name__
    )


def check_labels(labels: Tensor, samples: int, num_classes: int, where: str = "") -> Tensor:
    """The labels as int64, if they fit.

    Args:
        labels: What was given as labels.
        samples: How many samples they belong to.
        num_classes: Classes are numbered from 0 to one less than this.
        where: Which batch, for the message; empty if there is only one.

    Returns:
        (samples,), int64.

    Raises:
        OptionError: `num_classes` is no whole number from 1 up.
        LabelError: They are not whole numbers, not flat, of another length, or out of range.

    Example:
        >>> check_labels(torch.tensor([2, 0], dtype=torch.uint8), 2, 3)
        tensor([2, 0])
    """
    place = f" in {where}" if where else ""
    num_classes = check_whole("num_classes", num_classes)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise LabelError(
            f"labels of type {labels.dtype}{place}",
            "whole numbers from 0",
            _as_whole_numbers(labels),
        )
    if labels.ndim != 1:
        column = labels.ndim == 2 and labels.shape[1] == 1
        raise LabelError(
            f"labels of shape {tuple(labels.shape)}{place}",
            f"one whole number per sample, ({samples},)",
            "drop the second axis with labels.squeeze(1)"
            if column
            else "turn one-hot rows into numbers with labels.argmax(dim=1)",
        )
    if len(labels) != samples:
        raise LabelError(
            f"{len(labels)} labels for {samples} samples{place}",
            "one label per sample",
            "pass them in the same order",
        )
    labels = labels.to(torch.int64)  # comparing is not implemented for all types
    wrong = torch.nonzero((labels < 0) | (labels >= num_classes)).flatten()
    if len(wrong):
        at = int(wrong[0])
        raise LabelError(
            f"label {int(labels[at])} at position {at}{place}",
            f"a class from 0 to {num_classes - 1}",
            "number the classes from 0, or check that the network has as many outputs as the data has classes",
        )
    return labels


def _as_whole_numbers(labels: Tensor) -> str:
    """What to do with labels of another type: what keeps their meaning, and no more than that."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        return "take the likeliest class of each sample with labels.argmax(dim=1)"
    if labels.is_complex() or not bool((labels == labels.to(torch.float64).round()).all()):
        return "pass the class number of each sample: these numbers are none, so rounding them would change the classes"
    return "convert them with labels.long()"
