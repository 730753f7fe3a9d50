"""Models and data sets named by a word: torchvision, timm, folders, functions, and the data of a study."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from cofire.activations.batches import classes_of, first_inputs
from cofire.arguments import validated
from cofire.errors import (
    DataError,
    MissingExtraError,
    OptionError,
    WeightsError,
    near_matches,
)
from cofire.images.classes import ClassTable, known_names, known_synsets
from cofire.marks import choice
from cofire.network import Network
from cofire.options import option
from cofire.references import referenced, theirs
from cofire.renamed import removed

__all__ = ["class_names_of", "first_inputs", "open_network", "outputs_of"]

WEIGHTS_KEY: str | None = option(
    None,
    "Copy of the weights",
    "Where that file holds the network twice: model, ema_model …",
    panel="Network",
)
DEVICE: str = option("cpu", "Device", "cpu, cuda, cuda:1 …", panel="Network")
WORKERS: int = option(
    0, "Workers", "Processes that load images; 0 loads in this one.", panel="Data", ge=0
)
"""Options that studies share with other verbs."""
_UNTRAINED = "none"
_SLOW = ("torchvision:inception_v3", "torchvision:googlenet")
"""Models whose initialisation takes seconds, unless they are told to leave it out."""


def open_network(
    spec: str,
    example: Tensor,
    *,
    weights: str | None = None,
    weights_key: str | None = None,
    num_classes: int | None = None,
    capture: Literal["export", "calls"] = "export",
    device: str = "cpu",
) -> Network:
    """A network from its name.

    Args:
        spec: `torchvision:NAME`, `timm:NAME`, `package.module:function` (called without arguments,
            gives the model), or a `.pt2` file that `torch.export.save` wrote.
        example: A batch of inputs.
        weights: A file of weights. "none" leaves a torchvision or timm model as initialised (by
            seed 0); without any, its trained weights are loaded.
        weights_key: Which copy of the network, where the file holds it several times.
        num_classes: Outputs of a torchvision or timm model, where they differ from its usual ones.
        capture: How the model is read (see `Network`).
        device: Where it runs; a program in a `.pt2` file stays where it was exported.

    Raises:
        OptionError: No such model, or no such device.
        WeightsError: The weights are missing, damaged, or do not fit.
        ExportError: The model cannot be read.
    """
    file = weights if weights not in (None, _UNTRAINED) else None
    if weights == _UNTRAINED and not spec.startswith(("torchvision:", "timm:")):
        raise OptionError(
            f"--weights none with '{spec}'",
            "a torchvision or timm model",
            "leave it out: the weights are its own",
        )
    if weights_key is not None and file is None:
        raise OptionError(
            f"--weights-key {weights_key} without a file of weights",
            "--weights FILE",
            "add it, or leave the key out",
        )
    if spec.endswith(".pt2"):
        refuse_idle(
            spec,
            device=device != "cpu",
            capture=capture != "export",
            num_classes=num_classes is not None,
        )
        network = Network.load(spec)
        return network.with_weights(file, weights_key=weights_key) if file else network
    if not is_published(spec):
        refuse_idle(spec, num_classes=num_classes is not None)
        model = build_model(spec)
    elif weights is None:
        model = build_model(spec, num_classes, trained=True)
    else:
        slow = file is not None and spec in _SLOW
        more = {"init_weights": False} if slow else {}  # which weights replace
        # Drawn the same each time.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            model = build_model(spec, num_classes, **more)
    place(model, device)
    network = Network(model, example, capture=capture)
    return network.with_weights(file, weights_key=weights_key) if file else network


def place(model: nn.Module, device: str) -> None:
    """Move a model to a device.

    Raises:
        OptionError: No such device.
    """
    try:
        model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"device '{device}': {error}",
            "a device that this machine has",
            "see them with: cofire doctor",
        ) from error


def refuse_idle(spec: str, **given: bool) -> None:
    """Refuse options that would do nothing."""
    for name, is_given in given.items():
        if is_given:
            raise OptionError(
                f"the option {name.replace('_', '-')} with '{spec}'",
                "options that apply to it",
                f"leave --{name.replace('_', '-')} out: what '{spec}' gives decides it",
            )


def is_published(spec: str) -> bool:
    """Whether a model's name is one of torchvision's or timm's."""
    return spec.startswith(("torchvision:", "timm:"))


def build_model(
    spec: str, num_classes: int | None = None, *, trained: bool = False, **options: Any
) -> nn.Module:
    """A model from its name, freshly made from torch's random state.

    Args:
        spec: `torchvision:NAME`, `timm:NAME`, or `package.module:function`, called without
            arguments.
        num_classes: Outputs of a torchvision or timm model, where they differ from its usual ones.
        trained: With the trained weights of torchvision or timm.
        options: Further ones of the torchvision or timm model.

    Raises:
        OptionError: No such model, or the function gives none.
        MissingExtraError: timm is not installed.
        WeightsError: The trained weights cannot be loaded.
    """
    if not is_published(spec):
        model = called(spec, "model")
        if not isinstance(model, nn.Module):
            raise OptionError(
                f"'{spec}' gives a {type(model).__name__}",
                "a torch.nn.Module",
                "return the model from that function",
            )
        return model
    kind, _, name = spec.partition(":")
    if num_classes is not None:
        options["num_classes"] = num_classes
    if kind == "torchvision":
        from torchvision import models

        known, listed = models.list_models(module=models), "torchvision.models.list_models()"
        make: Callable[..., nn.Module] = models.get_model
        options["weights"] = "DEFAULT" if trained else None
    else:
        try:
            import timm
        except ImportError as error:
            raise MissingExtraError(
                f"'timm:{name}' without timm", "the extra 'timm'", "pip install timm"
            ) from error
        known, listed = timm.list_models(), "timm.list_models()"
        make = timm.create_model
        options["pretrained"] = trained
    if (name.split(".")[0] if kind == "timm" else name) not in known:
        raise OptionError(
            f"{kind} has no classifier '{name}'",
            f"one of {listed}",
            f"try {near_matches(name, known)}",
        )
    try:
        return make(name, **options)
    except Exception as error:
        if not trained:
            raise
        said = (str(error).splitlines() or [repr(error)])[0]
        raise WeightsError(
            f"trained weights of {name} could not be loaded: {said}",
            "a download of its weights, or a file",
            "pass --weights FILE, or --weights none for the untrained network",
        ) from error


def called(spec: str, what: str) -> Any:
    """What the function that `package.module:function` names gives, called without arguments.

    Args:
        spec: The name.
        what: What it is to give: "model" or "data set".

    Raises:
        OptionError: There is no such function, or it fails.
    """
    module, _, name = spec.partition(":")
    if not module or not name:
        raise OptionError(
            f"{what} '{spec}'",
            ("torchvision:NAME, timm:NAME, " if what == "model" else "torchvision:NAME, ")
            + "package.module:function, "
            + (
                "or a .pt2 file"
                if what == "model"
                else "or imagefolder:DIR, parquet:PATH, webdataset:PATH"
            ),
            "name it in one of these ways",
        )
    with theirs(
        f"'{spec}' failed",
        f"a function without arguments that returns the {what}",
        "check that it can be imported and called from the current folder",
    ):
        return referenced(spec)()


def class_names_of(data: Any, num_classes: int) -> list[str] | None:
    """The names that a data set gives its classes, if it has one for each output."""
    names = classes_of(data)
    return list(names) if names is not None and len(names) == num_classes else None


def outputs_of(data: Any, spec: str, num_classes: int) -> list[int] | None:
    """The network's output for each class of a data set, by the names or WordNet numbers published with the model.

    Args:
        data: What `open_data` gives.
        spec: The model, as `open_network` takes it.
        num_classes: Outputs of the network.

    Returns:
        Numbers in the order of the labels; None where there is one class for each output already,
        or where a name is not known or belongs to several outputs.

    Example:
        >>> class Pets:
        ...     classes = ["goldfish", "Tench"]
        >>> outputs_of(Pets(), "torchvision:resnet18", 1000)
        [1, 0]
    """
    names = classes_of(data)
    if names is None or len(names) == num_classes:
        return None
    table = ClassTable(known_names(spec, num_classes), known_synsets(spec, num_classes))
    if not table.knows_names:
        return None
    found = [table.find(name.replace("_", " ")) for name in names]
    numbers = [number for number in found if number is not None]
    return numbers if len(set(numbers)) == len(names) else None


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
    choice(DATASETS).of("data set", name)
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


OF_OBSERVED = 5
"""What the observed sample is drawn for."""


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


if not TYPE_CHECKING:
    __getattr__ = removed(__name__)
