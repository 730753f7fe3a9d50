"""The data sets that a study can name: embedded digits, MNIST, Fashion-MNIST, and each with shuffled labels."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, OptionError, near_matches

_MIXED = "-mixed"
DATASETS = tuple(
    f"{name}{mixed}" for name in ("digits", "mnist", "fashion-mnist") for mixed in ("", _MIXED)
)
"""Names that `load_dataset` knows."""


@validated
@dataclass(frozen=True)
class LabelledData:
    """A data set in memory.

    Attributes:
        train_inputs: (samples, 1, height, width), float32, 0 to 1.
        train_labels: (samples,), int64.
        test_inputs: (samples, 1, height, width), float32, 0 to 1.
        test_labels: (samples,), int64.
        class_names: One name per class.
    """

    train_inputs: Tensor
    train_labels: Tensor
    test_inputs: Tensor
    test_labels: Tensor
    class_names: tuple[str, ...]


@validated
def data_root(given: str | Path | None = None) -> Path:
    """Where data sets lie: what was given, else `COFIRE_DATA`, else `data` in the current folder."""
    return Path(given or os.environ.get("COFIRE_DATA") or "data")


@validated
def load_dataset(name: str, root: str | Path | None = None, *, seed: int = 0) -> LabelledData:
    """A data set by name.

    `digits` comes with scikit-learn: 1,437 training and 360 test images of 8 × 8, split by class.
    `mnist` and `fashion-mnist` are read from the layouts that torchvision writes under the root,
    and downloaded by torchvision if they are not there. `-mixed` permutes the labels of the
    training and of the test set once, by the seed: nothing can be learnt but by heart.

    Args:
        name: One of `DATASETS`.
        root: Where data sets lie (see `data_root`).
        seed: Of the permutation.

    Returns:
        The data, scaled to 0..1.

    Raises:
        OptionError: No such data set.
        DataError: It is not there and cannot be downloaded.

    Example:
        >>> data = load_dataset("digits")
        >>> tuple(data.train_inputs.shape), tuple(data.test_inputs.shape)
        ((1437, 1, 8, 8), (360, 1, 8, 8))
    """
    if name not in DATASETS:
        raise OptionError(
            f"data set '{name}'",
            f"one of {', '.join(DATASETS)}",
            f"did you mean {near_matches(name, DATASETS, 1)}?",
        )
    plain = name.removesuffix(_MIXED)
    data = _digits() if plain == "digits" else _torchvision(plain, data_root(root))
    if name == plain:
        return data
    draw = torch.Generator().manual_seed(drawn_seed(seed, 1))
    return replace(
        data,
        train_labels=data.train_labels[torch.randperm(len(data.train_labels), generator=draw)],
        test_labels=data.test_labels[torch.randperm(len(data.test_labels), generator=draw)],
    )


def hold_out(
    data: LabelledData, share: float, *, seed: int = 0
) -> tuple[LabelledData, tuple[Tensor, Tensor]]:
    """Part of the training data held out, the same share of each class.

    Args:
        data: The data.
        share: Above 0 and below 1.
        seed: Of the choice.

    Returns:
        The data without the part, and the part as (inputs, labels).

    Raises:
        OptionError: Too few samples of a class for both parts.

    Example:
        >>> rest, (inputs, labels) = hold_out(load_dataset("digits"), 0.1)
        >>> len(rest.train_labels), len(labels)
        (1293, 144)
    """
    from sklearn.model_selection import train_test_split

    rows = np.arange(len(data.train_labels))
    try:
        kept, held = train_test_split(
            rows,
            test_size=share,
            stratify=data.train_labels.numpy(),
            random_state=drawn_seed(seed, 2) % 2**32,
        )
    except ValueError as error:
        raise OptionError(
            f"validation={share} of {len(rows)} samples: {error}",
            "samples of each class in both parts",
            "hold out another share, or use more data",
        ) from error
    keep, hold = (torch.from_numpy(np.sort(part)) for part in (kept, held))
    rest = replace(data, train_inputs=data.train_inputs[keep], train_labels=data.train_labels[keep])
    return rest, (data.train_inputs[hold], data.train_labels[hold])


def drawn_seed(*numbers: int) -> int:
    """A seed for one purpose, drawn from the study's seed and the numbers of the purpose.

    Example:
        >>> drawn_seed(0, 1) == drawn_seed(0, 2)
        False
    """
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


def _digits() -> LabelledData:
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    images, labels = load_digits(return_X_y=True)
    # The split is the data set's own, not the study's: it must not move with a seed.
    parts = train_test_split(images, labels, test_size=360, random_state=0, stratify=labels)
    train, test = (
        torch.from_numpy(p.astype(np.float32) / 16).reshape(-1, 1, 8, 8) for p in parts[:2]
    )
    train_labels, test_labels = (torch.from_numpy(p.astype(np.int64)) for p in parts[2:])
    return LabelledData(train, train_labels, test, test_labels, tuple(str(d) for d in range(10)))


def _torchvision(name: str, root: Path) -> LabelledData:
    from torchvision import datasets

    kind = {"mnist": datasets.MNIST, "fashion-mnist": datasets.FashionMNIST}[name]
    parts = []
    for train in (True, False):
        try:
            found = kind(str(root), train=train, download=False)
        except (RuntimeError, ValueError, OSError):  # absent, or damaged
            try:
                found = kind(str(root), train=train, download=True)
            except Exception as error:
                raise DataError(
                    f"no {kind.__name__} under '{root}', and its download failed: {error}",
                    f"the files of torchvision.datasets.{kind.__name__} in '{root / kind.__name__ / 'raw'}'",
                    "name the folder that holds them with --data-root or COFIRE_DATA",
                ) from error
        parts.append((found.data.to(torch.float32)[:, None] / 255, found.targets.to(torch.int64)))
    names = tuple(c.split(" - ")[0] for c in found.classes)
    return LabelledData(*parts[0], *parts[1], names)
