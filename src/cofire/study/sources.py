"""Models and data sets named by a word on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from cofire.activations.batches import classes_of, first_inputs
from cofire.errors import (
    CofireError,
    MissingExtraError,
    OptionError,
    WeightsError,
    near_matches,
)
from cofire.images.classes import ClassTable, known_names, known_synsets
from cofire.images.datasets import folder_of_classes, torchvision_images
from cofire.images.preparation import Preparation, preparation_of
from cofire.network import Network
from cofire.references import referenced
from cofire.study.datasets import data_root

__all__ = ["class_names_of", "first_inputs", "open_data", "open_network", "outputs_of"]

_UNTRAINED = "none"


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
        _refuse(
            spec,
            device=device != "cpu",
            capture=capture != "export",
            num_classes=num_classes is not None,
        )
        network = Network.load(spec)
        return network.with_weights(file, weights_key=weights_key) if file else network
    kind, _, name = spec.partition(":")
    if kind in ("torchvision", "timm"):
        model = _published_model(kind, name, weights, num_classes)
    else:
        _refuse(spec, num_classes=num_classes is not None)
        model = _called(spec, "model")
        if not isinstance(model, nn.Module):
            raise OptionError(
                f"'{spec}' gives a {type(model).__name__}",
                "a torch.nn.Module",
                "return the model from that function",
            )
    try:
        model.to(torch.device(device))
    except (RuntimeError, AssertionError) as error:
        raise OptionError(
            f"device '{device}': {error}",
            "a device that this machine has",
            "see them with: cofire doctor",
        ) from error
    network = Network(model, example, capture=capture)
    return network.with_weights(file, weights_key=weights_key) if file else network


def _refuse(spec: str, **given: bool) -> None:
    """Refuse options that would do nothing."""
    for name, is_given in given.items():
        if is_given:
            raise OptionError(
                f"the option {name.replace('_', '-')} with '{spec}'",
                "options that apply to it",
                f"leave --{name.replace('_', '-')} out: what '{spec}' gives decides it",
            )


def _published_model(
    kind: str, name: str, weights: str | None, num_classes: int | None
) -> nn.Module:
    """A model of torchvision or timm."""
    options: dict[str, Any] = {} if num_classes is None else {"num_classes": num_classes}
    if kind == "torchvision":
        from torchvision import models

        known, listed = models.list_models(module=models), "torchvision.models.list_models()"
        make: Callable[..., nn.Module] = models.get_model
        trained: dict[str, Any] = {"weights": "DEFAULT"}
        plain: dict[str, Any] = {"weights": None}
        if name in ("inception_v3", "googlenet") and weights not in (None, _UNTRAINED):
            options["init_weights"] = False  # the slow initialisation, which weights replace
    else:
        try:
            import timm
        except ImportError as error:
            raise MissingExtraError(
                f"'timm:{name}' without timm", "the extra 'timm'", "pip install timm"
            ) from error
        known, listed = timm.list_models(), "timm.list_models()"
        make, trained, plain = timm.create_model, {"pretrained": True}, {"pretrained": False}
    if (name.split(".")[0] if kind == "timm" else name) not in known:
        raise OptionError(
            f"{kind} has no classifier '{name}'",
            f"one of {listed}",
            f"try {near_matches(name, known)}",
        )
    if weights is not None:
        # Drawn the same each time.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            return make(name, **plain, **options)
    try:
        return make(name, **trained, **options)
    except Exception as error:
        said = (str(error).splitlines() or [repr(error)])[0]
        raise WeightsError(
            f"trained weights of {name} could not be loaded: {said}",
            "a download of its weights, or a file",
            "pass --weights FILE, or --weights none for the untrained network",
        ) from error


def open_data(
    spec: str,
    *,
    root: str | Path | None = None,
    split: str | None = None,
    model: str = "",
    shape: tuple[int, ...] | None = None,
    own_weights: bool = False,
    **asked: Any,
) -> Any:
    """A data set from its name; one of pictures tells in its attribute `preparation` what is done to them.

    Args:
        spec: `imagefolder:DIR` (one folder per class), `torchvision:NAME`, or
            `package.module:function` (called without arguments, gives what `cofire.summarize`
            takes).
        root: Where torchvision's data sets lie (see `cofire.study.data_root`).
        split: "train" (unless given) or "test", for torchvision's data sets.
        model: Whose published preparation is taken where `asked` does not say otherwise, as
            `open_network` takes it.
        shape: Of the network's input where it is known already, as that of a `.pt2` file is.
        own_weights: Whether the model has other weights than the published ones: torchvision's
            pictures then stay as they are, as it was probably trained on them.
        asked: How pictures are prepared: `image_size`, `resize`, `crop`, `mean`, `std`, `grey` and
            `transform`, as `cofire.images.preparation.preparation_of` takes them.

    Raises:
        OptionError: No such data set, or options that do not fit it.
        DataError: It is not there.
    """
    if spec.startswith("imagefolder:"):
        _refuse(spec, split=split is not None)
        return folder_of_classes(
            spec.removeprefix("imagefolder:"), preparation_of(model, shape, **asked)
        )
    if spec.startswith("torchvision:"):
        part = split or "train"
        if part not in ("train", "test"):
            raise OptionError(f"split '{part}'", "train or test", "pass --split test")

        def prepared_for(first: tuple[int, int, int]) -> Preparation:
            return preparation_of("" if own_weights else model, shape, of_data=first, **asked)

        return torchvision_images(
            spec.removeprefix("torchvision:"), data_root(root), part, prepared_for
        )
    given = {name: value is not None and value is not False for name, value in asked.items()}
    _refuse(spec, split=split is not None, **given)
    return _called(spec, "data set")


def _called(spec: str, what: str) -> Any:
    module, _, name = spec.partition(":")
    if not module or not name:
        raise OptionError(
            f"{what} '{spec}'",
            ("torchvision:NAME, timm:NAME, " if what == "model" else "torchvision:NAME, ")
            + "package.module:function, "
            + ("or a .pt2 file" if what == "model" else "or imagefolder:DIR"),
            "name it in one of these ways",
        )
    try:
        return referenced(spec)()
    except CofireError:
        raise
    except Exception as error:
        raise OptionError(
            f"'{spec}' failed: {type(error).__name__}: {error}",
            f"a function without arguments that returns the {what}",
            "check that it can be imported and called from the current folder",
        ) from error


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
