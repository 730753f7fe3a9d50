"""What a data set says of itself: the names of its classes, and its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor
from torch.utils.data import TensorDataset

from cofire.marks import CLASS_NAME

_LABELS = ("label", "labels", "fine_label", "class")
"""What the column of classes is called in Hugging Face's data sets."""


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
                (features[name].names for name in _LABELS if hasattr(features.get(name), "names")),
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


_ARRAYS = (Tensor, np.ndarray)
