"""Data sets by name, with the parts that are found in them, and the data of a study."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from cofire.errors import OptionError
from cofire.images.datasets import PARTS, folder_of_classes, folders_of_parts, torchvision_images
from cofire.images.elsewhere import KINDS, parts_elsewhere
from cofire.images.preparation import Preparation, preparation_of
from cofire.remote import is_url
from cofire.study.checks import check_files, check_parts, same_classes, shared_samples
from cofire.study.samples import Samples, samples_of
from cofire.study.sources import (
    DATASETS,
    called,
    data_root,
    drawn_seed,
    load_dataset,
    refuse_idle,
)

IN_MEMORY = 2_000_000_000
"""Bytes of all inputs of a study up to which they are kept in memory."""
_PART_OF = {name: part for part, names in PARTS.items() for name in names}
_OF_TEST, _OF_VALIDATION, _OF_TRAINING = 3, 2, 4
"""What random numbers are drawn for."""

Opened = Callable[[Any], Any]
"""Opens a part of a data set, given the preparation or what makes it of the first image."""


def open_data(
    spec: str,
    *,
    root: str | Path | None = None,
    split: str | None = None,
    part: str | Sequence[str] = "train",
    model: str = "",
    shape: tuple[int, ...] | None = None,
    own_weights: bool = False,
    **asked: Any,
) -> Any:
    """A data set from its name; one of images tells in its attribute `preparation` what is done to them.

    Args:
        spec: `digits`, `mnist`, `fashion-mnist`, `imagefolder:DIR` (one folder per class, or folders
            train and test or val of them), `parquet:PATH`, `webdataset:PATH` (a file, or a folder of
            files whose names may begin with train, test or val), each also by URL, `torchvision:NAME`,
            or `package.module:function` (called without arguments, gives what `cofire.summarize`
            takes, or a dict or pair of training and test data).
        root: Where torchvision's data sets lie (see `cofire.study.data_root`).
        split: "train", "test" or "validation" of a data set that has such parts; refused for others.
        part: Without `split` the part that is meant where there are parts; of several the first
            that there is.
        model: Whose published preparation is taken where `asked` does not say otherwise, as
            `open_network` takes it.
        shape: Of the network's input where it is known already, as that of a `.pt2` file is.
        own_weights: Whether the model has other weights than the published ones: torchvision's
            images then stay as they are, as it was probably trained on them.
        asked: How images are prepared: `image_size`, `resize`, `crop`, `mean`, `std`, `grey` and
            `transform`, as `cofire.images.preparation.preparation_of` takes them.

    Raises:
        OptionError: No such data set, or options that do not fit it.
        DataError: It is not there.
    """
    parts = _parts(spec, root, 0, asked)
    if "" in parts:
        refuse_idle(spec, split=split is not None)
    wanted = split or part
    opened = _part(spec, parts, *((wanted,) if isinstance(wanted, str) else wanted))
    if spec.partition(":")[0] in KINDS:
        return opened(preparation_of(model, shape, **asked))

    def how(first: tuple[int, int, int]) -> Preparation:
        return preparation_of("" if own_weights else model, shape, of_data=first, **asked)

    return opened(how)


def _part(spec: str, parts: Mapping[str, Opened], *wanted: str) -> Opened:
    """How the first part that there is is opened; of data without parts all of it."""
    for part in (*wanted, ""):
        if part in parts:
            return parts[part]
    raise OptionError(
        f"no {' or '.join(wanted)} data in '{spec}'",
        f"a part that it has: {' or '.join(parts)}",
        "name other data"
        if len(parts) < 2
        else f"pass split={list(parts)[-1]}, or name other data",
    )


def _parts(
    spec: str, root: str | Path | None, seed: int, asked: Mapping[str, Any]
) -> dict[str, Opened]:
    """How the parts of a data set are opened, by their names; "" for one without parts."""
    kind, _, name = spec.partition(":")
    if kind in KINDS and (kind != "imagefolder" or is_url(name)):
        return dict(parts_elsewhere(kind, name))
    if kind == "imagefolder":
        return {
            part: partial(folder_of_classes, folder)
            for part, folder in folders_of_parts(name).items()
        }
    if kind == "torchvision":
        where = data_root(root)
        return {part: partial(torchvision_images, name, where, part) for part in ("train", "test")}
    given = {name: value is not None and value is not False for name, value in asked.items()}
    refuse_idle(spec, **given)
    if spec in DATASETS:
        data = load_dataset(spec, root, seed=seed)
        sets: dict[str, Any] = {
            "train": Samples(data.train_inputs, data.train_labels, data.class_names),
            "test": Samples(data.test_inputs, data.test_labels, data.class_names),
        }
    else:
        found = called(spec, "data set")
        pair = isinstance(found, tuple) and len(found) == 2
        if isinstance(found, Mapping):
            sets = {_PART_OF.get(str(name), str(name)): one for name, one in found.items()}
        elif pair and not all(isinstance(one, Tensor | np.ndarray) for one in found):
            sets = dict(zip(("train", "test"), found, strict=True))
        else:
            sets = {"": found}
    return {part: partial(_whatever, one) for part, one in sets.items()}


def _whatever(data: Any, _: Any) -> Any:
    return data


@dataclass(frozen=True)
class StudyData:
    """The data of a study.

    Attributes:
        train: What the network is trained on and observed on.
        test: What nothing is fitted to.
        held_out: What boosters are fitted and chosen by; None unless asked for.
        preparation: What is done to images; None where data are taken as they are given.
        notes: What somebody should know of how the parts came about, a sentence each.
        shared: How many samples of other parts are in the training data as well, where some are.
    """

    train: Samples
    test: Samples
    held_out: Samples | None = None
    preparation: Preparation | None = None
    notes: tuple[str, ...] = ()
    shared: Mapping[str, int] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Samples]:
        """The parts that there are, by their names."""
        parts = {"train": self.train, "test": self.test, "held_out": self.held_out}
        return {name: part for name, part in parts.items() if part is not None}

    @property
    def classes(self) -> tuple[str, ...]:
        """One name per class."""
        return self.train.classes

    @property
    def record(self) -> dict[str, Any]:
        """What a study's options tell of its data, for JSON."""
        prepared = self.preparation and {
            "prepared": self.preparation.told,
            "preparation": self.preparation.record,
        }
        return {
            "samples": len(self.train),
            "validation_samples": 0 if self.held_out is None else len(self.held_out),
            "test_samples": len(self.test),
            "classes": list(self.classes),
            **{f"{name}_shared": count for name, count in self.shared.items()},
            **(prepared or {}),
        }


def open_study_data(
    data: str,
    *,
    test: float | str | None = None,
    validation: float | str = 0.0,
    train_samples: int | None = None,
    model: str = "",
    pretrained: bool = False,
    seed: int = 0,
    root: str | Path | None = None,
    workers: int = 0,
    progress: bool | None = None,
    **asked: Any,
) -> StudyData:
    """Training, test and held-out data by name, checked, in memory where all of it takes at most 2 GB.

    Args:
        data: As `open_data` takes it.
        test: Test data by name, or a share of the training data, the same for every seed; what is
            found with the training data unless given.
        validation: A share of the training data, or data by name; where a share is asked for and
            validation data are found with the training data, these are taken. 0 for none.
        train_samples: Train on so many, the same share of each class.
        model: As `open_network` takes it, or a word for another network.
        pretrained: Whether training starts from the published weights, so that images are
            prepared as these want them; otherwise images stay as they are unless `asked` says how
            large they are to be.
        seed: Of labels that are mixed, of what is held out, and of the sample.
        root: Where torchvision's data sets lie.
        workers: Processes that read from disk.
        progress: Show progress bars; None shows them on a terminal.
        asked: As `open_data` takes it.

    Raises:
        OptionError: No such data set, no test data, or options that do not fit.
        DataError: Data that is not there, cannot be read, or whose parts do not fit together.

    Example:
        >>> found = open_study_data("digits", validation=0.1, train_samples=200)
        >>> len(found.train), len(found.held_out), len(found.test), found.classes[:2]
        (200, 144, 360, ('0', '1'))
    """
    published = model.startswith(("torchvision:", "timm:"))

    def how(first: tuple[int, int, int]) -> Preparation:
        # Networks of these two libraries take colours.
        of_data = (3, *first[1:]) if published else first
        return preparation_of(model if pretrained else "", None, of_data=of_data, **asked)

    known: Any = how

    def opened(spec: str, parts: Mapping[str, Opened], part: str) -> Samples:
        what = f"{'training' if part == 'train' else part} data"
        return samples_of(_part(spec, parts, part)(known), what, workers, progress)

    def further(spec: str, part: str) -> Samples:
        found = opened(spec, _parts(spec, root, seed, asked), part)
        return same_classes(train, found, f"{part} data")

    parts = _parts(data, root, seed, asked)
    train = opened(data, parts, "train")
    known = getattr(train.source, "preparation", how)
    notes: list[str] = []
    share = _as_share("test", test)
    found = next((part for part in ("test", "validation") if part in parts), None)
    if share is not None:
        train, tested = train.split(share, drawn_seed(0, _OF_TEST), "test")
        notes.append(
            f"{len(tested):,} of {len(tested) + len(train):,} samples of '{data}' are set aside as test data, the same "
            "for every seed"
        )
    elif test is not None:
        tested = further(str(test), "test")
    elif found is not None:
        tested = same_classes(train, opened(data, parts, found), f"{found} data")
    else:
        raise OptionError(
            f"'{data}' without test data",
            "folders train and test (or val) in it, or test data of their own"
            if data.startswith("imagefolder:")
            else "a function that gives {'train': …, 'test': …}, or test data of their own",
            "pass --test with the name of test data, or --test 0.2 to set a fifth aside",
        )
    held: Samples | None = None
    share = _as_share("validation", validation)
    if share is None:
        held = further(str(validation), "validation")
    elif share and "validation" in parts and (test is not None or found == "test"):
        held = same_classes(train, opened(data, parts, "validation"), "validation data")
        notes.append(f"the validation data of '{data}' are held out, in place of a share")
    elif share:
        train, held = train.split(share, drawn_seed(seed, _OF_VALIDATION), "validation")
    if train_samples is not None:
        train = train.sample(train_samples, drawn_seed(seed, _OF_TRAINING), "train_samples")
    whole = StudyData(train, tested, held, known if isinstance(known, Preparation) else None)
    check_parts(whole.parts)
    others = [name for name, part in whole.parts.items() if part.source is not train.source]
    if sum(part.bytes for part in whole.parts.values()) <= IN_MEMORY:
        read: dict[str, Any] = {
            name: part.held(f"reading {name} data", progress) for name, part in whole.parts.items()
        }
        whole = replace(whole, **read)
    else:
        check_files(whole.parts, progress)
    shared = shared_samples(whole.train, {name: whole.parts[name] for name in others})
    notes += [
        f"{count:,} of {len(whole.parts[name]):,} samples of the {name.replace('_', '-')} data are in the training "
        "data as well"
        for name, count in shared.items()
    ]
    return replace(whole, notes=tuple(notes), shared=shared)


def _as_share(option: str, given: float | str | None) -> float | None:
    """A share, None for a name."""
    try:
        share = None if given is None else float(given)
    except ValueError:
        return None
    if share is not None and (not 0 <= share < 1 or (option == "test" and not share)):
        raise OptionError(
            f"{option}={given}", "a share below 1, or data by name", f"pass {option}=0.2"
        )
    return share
