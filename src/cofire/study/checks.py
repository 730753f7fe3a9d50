"""What of a study's data is checked before the first step, and what somebody should know of it."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from cofire.activations.batches import check_labels
from cofire.activations.progress import progress_over
from cofire.boost.reading import hashes_of
from cofire.errors import BatchError, LabelError
from cofire.images.datasets import check_images
from cofire.study.samples import LEAST, Samples

_AT_ONCE = 1024


def same_classes(train: Samples, other: Samples, what: str) -> Samples:
    """Further data with labels that mean what those of the training data mean.

    Names that stand in another order are put in the order of the training data's; where one of the
    two has none, numbers stand for both.

    Raises:
        LabelError: They have other classes.
    """
    if other.classes == train.classes:
        return other
    if set(other.classes) == set(train.classes):
        place = torch.tensor([train.classes.index(name) for name in other.classes])
        return other.relabelled(place[other.labels], train.classes)
    if not (other.named and train.named):
        labels = check_labels(other.labels, len(other), len(train.classes), what)
        return other.relabelled(labels, train.classes)
    apart = sorted(set(train.classes) ^ set(other.classes))
    raise LabelError(
        f"{what} with {len(other.classes)} classes, the training data with {len(train.classes)} "
        f"('{apart[0]}' is in one alone)",
        "the same classes in both",
        "give both the same folders of classes",
    )


def check_parts(parts: Mapping[str, Samples]) -> None:
    """Refuse what would end a study later on, as far as labels and first samples tell.

    Args:
        parts: Training data, "train", and others.

    Raises:
        LabelError: A class without enough training samples.
        BatchError: Inputs of several shapes.
    """
    train = parts["train"]
    few = [at for at, size in enumerate(train.sizes) if size < LEAST]
    if few:
        raise LabelError(
            f"{train.sizes[few[0]]} training samples of class '{train.classes[few[0]]}'"
            + (f", and too few of {len(few) - 1:,} more classes" if len(few) > 1 else ""),
            f"at least {LEAST} of each class",
            "add samples, or leave the class out",
        )
    shapes = {name: tuple(part[0][0].shape) for name, part in parts.items()}
    for name, shape in shapes.items():
        if shape != shapes["train"]:
            raise BatchError(
                f"{name} data whose inputs are {shape}, and {shapes['train']} in the training data",
                "inputs of one shape",
                "resize them to one size",
            )


def check_files(parts: Mapping[str, Samples], progress: bool | None = None) -> None:
    """Refuse image files that are none, or that cannot be prepared, as far as their beginnings tell.

    Args:
        parts: Of which those in folders of classes are looked at.
        progress: Show progress bars; None shows them on a terminal.

    Raises:
        ImageError: There are such files; the message names them.
    """
    for name, part in parts.items():
        source: Any = part.source
        if files := _files(part):
            with progress_over(
                f"looking at the files of {name} data", len(files), progress
            ) as done:
                check_images(files, source.reads, done)


def shared_samples(train: Samples, others: Mapping[str, Samples]) -> dict[str, int]:
    """How many samples of each part are in the training data as well, by their content; only parts with some.

    Args:
        train: The training data.
        others: Further parts by their names. What is neither in memory nor in folders of classes is
            not looked at.

    Example:
        >>> train = Samples(torch.arange(6.0)[:, None], torch.arange(6) % 2, ("even", "odd"))
        >>> shared_samples(train, {"test": train.part(torch.tensor([0, 3]))})
        {'test': 2}
    """
    found = {}
    for name, part in others.items():
        shared = 0
        if train.in_memory and part.in_memory:
            shared = int(torch.isin(_hashes(part), _hashes(train)).sum())
        elif (files := _files(train)) and (of_part := _files(part)):
            shared = _shared(files, of_part)
        if shared:
            found[name] = shared
    return found


def _files(part: Samples) -> list[str]:
    """The files of samples in folders of classes."""
    named = getattr(part.source, "samples", None)
    if not (isinstance(named, list) and hasattr(part.source, "reads")):
        return []
    return [named[at][0] for at in part.chosen.tolist()]


def _hashes(part: Samples) -> Tensor:
    parts = torch.split(torch.arange(len(part)), _AT_ONCE)
    return torch.cat([hashes_of(part.batch(numbers)[0]) for numbers in parts])


def _shared(files: Sequence[str], others: Sequence[str]) -> int:
    """How many of the others have the content of one of the files; only those of one length are read."""
    sizes = [{file: Path(file).stat().st_size for file in each} for each in (files, others)]
    both = set(sizes[0].values()) & set(sizes[1].values())
    first, second = (
        [hashlib.sha256(Path(file).read_bytes()).digest() for file in each if each[file] in both]
        for each in sizes
    )
    known = set(first)
    return sum(digest in known for digest in second)
