"""Checkpoints that somebody else's training left on disk: which files, in which order, and when each was taken."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cofire.errors import WeightsError

_ENDINGS = (".safetensors", ".pt", ".pth", ".ckpt", ".bin")
# What Hugging Face's Trainer and cofire's own studies keep beside the weights.
_NO_WEIGHTS = re.compile(r"(optimizer|scheduler|scaler|rng_state.*|training_args|training)\.\w+$")
_OF_FOLDER = ("model.safetensors", "pytorch_model.bin")
_NUMBER = re.compile(r"(\d+)")
_EPOCH = re.compile(r"epoch(=|[-_]?)(\d+(?:\.\d+)?(?!\d))", re.IGNORECASE)
_STEP = re.compile(r"(?:step|iter(?:ation)?|checkpoint)[=_-]?(\d+)", re.IGNORECASE)


@dataclass(frozen=True)
class CheckpointFiles:
    """Files of weights in order.

    Attributes:
        paths: The files.
        epochs: Passes over the training data of each; None where a name does not say.
        steps: Optimiser steps of each; None where a name does not say.
        left_out: Files of a folder that are none of a series, such as `last.ckpt`.
    """

    paths: tuple[Path, ...]
    epochs: tuple[float, ...] | None
    steps: tuple[int, ...] | None
    left_out: tuple[Path, ...] = ()


def checkpoint_files(given: Sequence[Path]) -> CheckpointFiles:
    """The checkpoints among files and folders, in the order of the numbers in their names.

    Of a folder they are the files of weights in it, or where there are none, `model.safetensors` or
    `pytorch_model.bin` of each folder in it, as Hugging Face's Trainer writes them. Where some have
    numbers, those without are left out. `epoch=0` of Lightning is one pass over the data,
    `epoch_1` and `epoch1` are as well; `step=100`, `checkpoint-100` and `iter_100` are steps.

    Args:
        given: Files and folders. Of several files the order is by their numbers too.

    Raises:
        WeightsError: There is none, or one is missing.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name in ("epoch=9-step=100.ckpt", "epoch=10-step=110.ckpt", "last.ckpt"):
        ...     (folder / name).touch()
        >>> found = checkpoint_files([folder])
        >>> [path.name for path in found.paths], found.epochs, found.steps
        (['epoch=9-step=100.ckpt', 'epoch=10-step=110.ckpt'], (10.0, 11.0), (100, 110))
        >>> [path.name for path in found.left_out]
        ['last.ckpt']
    """
    paths: list[Path] = []
    left_out: list[Path] = []
    for path in given:
        found = _of_folder(path) if path.is_dir() else [path]
        numbered = [one for one in found if _NUMBER.search(_name(one, path))]
        if path.is_dir() and numbered:
            left_out += [one for one in found if one not in numbered]
            found = numbered
        paths += found
    missing = [path for path in paths if not path.is_file()]
    if missing or not paths:
        told = f"no file '{missing[0]}'" if missing else f"no file of weights in '{given[0]}'"
        raise WeightsError(
            told,
            f"files of weights ({', '.join(_ENDINGS)}), or a folder of them",
            "name the folder that training wrote its checkpoints to",
        )
    paths = sorted(dict.fromkeys(paths), key=_natural)
    epochs = [_EPOCH.search(_said(path)) for path in paths]
    steps = [_STEP.search(_said(path)) for path in paths]
    return CheckpointFiles(
        tuple(paths),
        tuple(float(one[2]) + (one[1] == "=") for one in epochs if one) if all(epochs) else None,
        tuple(int(one[1]) for one in steps if one) if all(steps) else None,
        tuple(left_out),
    )


def _of_folder(folder: Path) -> list[Path]:
    files = [path for path in sorted(folder.iterdir()) if path.suffix in _ENDINGS]
    weights = [path for path in files if not _NO_WEIGHTS.match(path.name)]
    below = [
        next((path / name for name in _OF_FOLDER if (path / name).is_file()), None)
        for path in sorted(folder.iterdir())
        if path.is_dir()
    ]
    return weights or [path for path in below if path is not None]


def _said(path: Path) -> str:
    """What names a checkpoint: its file, or the folder of a file that is always called alike."""
    return path.parent.name if path.name in _OF_FOLDER else path.stem


def _name(path: Path, folder: Path) -> str:
    return _said(path) if path.parent != folder else path.stem


def _natural(path: Path) -> list[tuple[int, str]]:
    """Names by their numbers: 9 comes before 10."""
    parts = [part for name in path.parts for part in _NUMBER.split(name)]
    return [(int(part), "") if part.isdigit() else (-1, part) for part in parts]
