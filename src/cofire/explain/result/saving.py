"""Whether the parts of an explanation fit together, and how its file holds them: as a note and tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from cofire.errors import ExplanationError, OptionError
from cofire.explain.result.explained import Explained
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.neurons import NEURON_COLUMNS, Neurons, Site
from cofire.explain.result.regions import Regions

_FORMAT = 1

TENSORS = {
    "target": torch.int64,
    "probability": torch.float32,
    "predicted": torch.int64,
    "confidence": torch.float32,
    "maps": torch.float32,
    "pictures": torch.uint8,
}
"""The tensors of an explanation besides its neurons, and their types."""

# Softmax in half precision can end a little above 1.
_ROUNDING = 1e-2

_LARGEST = 2**63 - 1


def noted(explanation: Explained) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The note and the tensors that a file holds."""
    tensors = {name: getattr(explanation, name) for name in TENSORS}
    if explanation.neurons is not None:
        tensors |= {
            f"neurons.{name}": getattr(explanation.neurons, name) for name in NEURON_COLUMNS
        }
    layers = explanation.layer_maps
    if layers is not None:
        tensors |= {f"layer_maps.{number}": values for number, values in enumerate(layers.maps)}
    note = {
        "format": _FORMAT,
        "method": explanation.method,
        "options": explanation.options,
        "input_shape": explanation.input_shape,
        "sites": [asdict(site) for site in explanation.sites],
        "regions": asdict(explanation.regions),
        "layer_maps": None if layers is None else list(layers.names),
    }
    # The file format refuses tensors that share memory, as parts of a larger result may.
    return note, {name: values.clone() for name, values in tensors.items() if values is not None}


def parts_noted(note: dict[str, Any], tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The parts of an explanation as its file has them, each of its type.

    Raises:
        ValueError: The file is of another format, or a part of another type, or a shape that no
            tensor has.
        KeyError: A part is missing.
        ExplanationError: Names and maps of layers do not fit together.
    """
    if note["format"] != _FORMAT:
        raise ValueError(note["format"])
    traced = "neurons.image" in tensors
    return {
        **{name: tensors.get(name) if name == "maps" else tensors[name] for name in TENSORS},
        "neurons": Neurons(**{name: tensors[f"neurons.{name}"] for name in NEURON_COLUMNS})
        if traced
        else None,
        "layer_maps": _layer_maps(note, tensors),
        "method": _of(str, note["method"]),
        "options": _of(dict, note["options"]),
        "input_shape": _shape(note["input_shape"]),
        "sites": tuple(_site(_of(dict, site)) for site in _of(list, note["sites"])),
        # Files of earlier versions have none.
        "regions": _regions(_of(dict, note.get("regions", {}))),
    }


def _layer_maps(note: dict[str, Any], tensors: Mapping[str, Tensor]) -> LayerMaps | None:
    # Files of earlier versions have none.
    if note.get("layer_maps") is None:
        return None
    names = tuple(_of(str, name) for name in _of(list, note["layer_maps"]))
    return LayerMaps(names, tuple(tensors[f"layer_maps.{number}"] for number in range(len(names))))


def _site(noted: dict[str, Any]) -> Site:
    shape, axis = _shape(noted["shape"]), _of(int, noted["channel_axis"])
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"channel axis {axis} of {shape}")
    return Site(_of(str, noted["name"]), _of(str, noted["kind"]), shape, axis)


def _regions(noted: dict[str, Any]) -> Regions:
    try:
        return Regions(**noted)
    except OptionError as error:
        raise ValueError(str(error)) from error


def _shape(noted: object) -> tuple[int, ...]:
    shape = tuple(_of(int, size) for size in _of(list, noted))
    if min(shape, default=0) < 1 or math.prod(shape) > _LARGEST:
        raise ValueError(f"shape {shape}")
    return shape


def _of(kind: type, noted: object) -> Any:
    # Not isinstance: true is no 1.
    if type(noted) is not kind:
        raise ValueError(f"{noted!r} is no {kind.__name__}")
    return noted


def check_parts(explanation: Explained) -> None:
    """Hold an explanation to what it promises.

    Raises:
        ExplanationError: Its parts do not fit together.
    """
    if not isinstance(explanation.method, str):
        raise _misfit(f"method={explanation.method!r}", "its name")
    if len(explanation.input_shape) not in (1, 3) or min(explanation.input_shape) < 1:
        raise _misfit(
            f"input_shape={explanation.input_shape}", "(channels, height, width) or (features,)"
        )
    images, (height, width) = len(explanation), explanation.size
    classes = explanation.target.shape[1] if explanation.target.ndim == 2 else 1
    shapes = {
        "target": (images, classes),
        "probability": (images, classes),
        "predicted": (images,),
        "confidence": (images,),
        "maps": (images, height, width),
        "pictures": (images, height, width, 3),
    }
    for name, shape in shapes.items():
        values: Tensor | None = getattr(explanation, name)
        if values is not None and (values.shape != shape or values.dtype != TENSORS[name]):
            raise _misfit(
                f"{name} of {values.dtype} and shape {tuple(values.shape)}",
                f"{TENSORS[name]}, {shape}",
            )
    for name in ("probability", "confidence"):
        values = getattr(explanation, name)
        if not bool(((values >= 0) & (values <= 1 + _ROUNDING)).all()):
            raise _misfit(f"{name} outside 0 to 1", "probabilities")
    maps, neurons, sites = explanation.maps, explanation.neurons, explanation.sites
    if (neurons is None) == (maps is None):
        raise _misfit("neurons and maps together, or neither", "one of the two")
    if maps is not None and not bool((torch.isfinite(maps) & (maps >= 0)).all()):
        raise _misfit("maps with values below 0 or not finite", "finite values from 0 up")
    if explanation.layer_maps is not None and (
        neurons is None or len(explanation.layer_maps) != images
    ):
        raise _misfit(
            f"maps of layers for {len(explanation.layer_maps)} images",
            f"neurons, and {images} of each",
        )
    if neurons is not None:
        if len(sites) < 2 or sites[0].kind != "input" or sites[-1].kind != "classes":
            raise _misfit(
                f"sites {[site.name for site in sites]}", "sites from the input to the classes"
            )
        if tuple(sites[0].shape) != explanation.input_shape:
            raise _misfit(
                f"an input site of shape {sites[0].shape}", f"the input's {explanation.input_shape}"
            )
        neurons.check(sites, images)


def _misfit(given: str, expected: str) -> ExplanationError:
    return ExplanationError(
        given, expected, "make the explanation with cofire.explain, or mend its parts"
    )
