"""Whether the parts of an explanation fit together, and how its file holds them: as a note and tensors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, Literal

import torch
from pydantic import AfterValidator, BaseModel, Field, PositiveInt
from torch import Tensor

from cofire.errors import ExplanationError
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.neurons import NEURON_COLUMNS, Neurons, Site
from cofire.explain.result.regions import Regions
from cofire.renamed import in_words_of_now

if TYPE_CHECKING:
    from cofire.explain.result.explanation import Explanation

TENSORS = {
    "target": torch.int64,
    "probability": torch.float32,
    "predicted": torch.int64,
    "confidence": torch.float32,
    "maps": torch.float32,
    "images": torch.uint8,
}
"""The tensors of an explanation besides its neurons, and their types."""

# Softmax in half precision can end a little above 1.
_ROUNDING = 1e-2

_LARGEST = 2**63 - 1


def noted(explanation: Explanation) -> tuple[dict[str, Any], dict[str, Tensor]]:
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
        "format": 1,
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
    read, tensors = _Note(**note), in_words_of_now(tensors)
    sites = []
    for site in read.sites:
        if not -len(site.shape) <= site.channel_axis < len(site.shape):
            raise ValueError(f"channel axis {site.channel_axis} of {site.shape}")
        sites.append(Site(site.name, site.kind, tuple(site.shape), site.channel_axis))
    neurons = None
    if "neurons.image" in tensors:
        neurons = Neurons(**{name: tensors[f"neurons.{name}"] for name in NEURON_COLUMNS})
    layer_maps = None
    if read.layer_maps is not None:
        maps = (tensors[f"layer_maps.{number}"] for number in range(len(read.layer_maps)))
        layer_maps = LayerMaps(tuple(read.layer_maps), tuple(maps))
    return {
        **{name: tensors.get(name) if name == "maps" else tensors[name] for name in TENSORS},
        "neurons": neurons,
        "layer_maps": layer_maps,
        "method": read.method,
        "options": read.options,
        "input_shape": tuple(read.input_shape),
        "sites": tuple(sites),
        "regions": Regions(**read.regions),
    }


def _possible(shape: list[int]) -> list[int]:
    if math.prod(shape) > _LARGEST:
        raise ValueError(f"shape {shape}")
    return shape


_Shape = Annotated[list[PositiveInt], Field(min_length=1), AfterValidator(_possible)]


class _Site(BaseModel, strict=True):
    name: str
    kind: str
    shape: _Shape
    channel_axis: int


class _Note(BaseModel, strict=True):
    format: Literal[1]
    method: str
    options: dict[str, Any]
    input_shape: _Shape
    sites: list[_Site]
    # Files of earlier versions have none of these.
    regions: dict[str, Any] = {}
    layer_maps: list[str] | None = None


def check_parts(explanation: Explanation) -> None:
    """Hold an explanation to what it promises.

    Raises:
        ExplanationError: Its parts do not fit together.
    """
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
        "images": (images, height, width, 3),
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
