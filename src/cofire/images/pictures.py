"""What a neuron fires for, as pictures: the samples with its highest activations, and what of them it sees."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from cofire.activations import NeuronSamples
from cofire.activations.neurons import view_neurons
from cofire.activations.samples_at import samples_at
from cofire.arguments import validated
from cofire.errors import DataError
from cofire.images.preparation import Preparation
from cofire.network import ActivationLayer, Network, Unit, receptive_field

SIDE = 96
"""Pixels of a picture's longer side in a page, at the most."""
_AT_ONCE = 64
_CLOSE = 1e-3
"""How far an activation may lie from the recorded one, of its size: batches of another size round otherwise."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A sample that a neuron fires for.

    Attributes:
        sample: Its number in the order in which the data is read.
        label: Its class.
        activation: The neuron's highest in it.
        image: What the network sees of it.
        window: What of that the neuron sees: left, top, right and bottom in pixels.
    """

    sample: int
    label: int
    activation: float
    image: Image.Image
    window: tuple[int, int, int, int]

    @property
    def crop(self) -> Image.Image:
        """What the neuron sees."""
        return self.image.crop(self.window)

    @property
    def whole(self) -> bool:
        """Whether it sees all of the image."""
        return self.window == (0, 0, *self.image.size)


@validated
def neuron_pictures(
    network: Network,
    data: Any,
    layer: ActivationLayer | str,
    top: NeuronSamples,
    neurons: Sequence[int],
    *,
    unit: Unit = "channel",
    most: int = 9,
    num_classes: int | None = None,
) -> dict[int, list[Picture]]:
    """Pictures of the samples that some neurons of a layer fire most for.

    Each sample is read once and runs through the network, which must give the recorded activation:
    other data or weights than those of the summary are noticed.

    Args:
        network: The network that was summarised.
        data: The data that it was summarised on.
        layer: The neurons' layer.
        top: What `LayerSummary.top_samples` gives.
        neurons: Which neurons.
        unit: What a neuron is, as in the summary.
        most: Samples of each.
        num_classes: Labels lie below it; as many as the network has unless given.

    Returns:
        For each neuron its pictures, the highest activation first.

    Raises:
        DataError: The data or the network is another one, or cannot be read.
    """
    (found,) = network.select(layer)
    numbers = [top.samples[neuron, :most].tolist() for neuron in neurons]
    wanted = sorted({number for row in numbers for number in row if number >= 0})
    read = samples_at(data, wanted, num_classes or network.num_classes)
    preparation = getattr(data, "preparation", None)
    images = {number: as_image(inputs, preparation) for number, (inputs, _) in read.items()}
    _check_same(network, found, top, neurons, most, unit, read)
    field, pictures = receptive_field(network, found), {}
    for neuron, row in zip(neurons, numbers, strict=True):
        pictures[neuron] = [
            Picture(
                number,
                read[number][1],
                float(top.activations[neuron, rank]),
                images[number],
                _window(field.window(int(top.places[neuron, rank])), images[number]),
            )
            for rank, number in enumerate(row)
            if number >= 0
        ]
    return pictures


def _window(window: tuple[slice, ...], image: Image.Image) -> tuple[int, int, int, int]:
    if len(window) != 2 or any(one.start == one.stop for one in window):
        return (0, 0, *image.size)
    rows, columns = window
    return (columns.start, rows.start, columns.stop, rows.stop)


def _check_same(
    network: Network,
    layer: ActivationLayer,
    top: NeuronSamples,
    neurons: Sequence[int],
    most: int,
    unit: Unit,
    read: Mapping[int, tuple[Tensor, int]],
) -> None:
    order = list(read)
    seen: list[Tensor] = []

    def keep(_: ActivationLayer, values: Tensor) -> None:
        view = view_neurons(values, layer, unit)
        seen.append(view.neurons_first().amax(dim=2)[:, list(neurons)].double().cpu())

    with torch.inference_mode():
        for start in range(0, len(order), _AT_ONCE):
            part = [read[number][0] for number in order[start : start + _AT_ONCE]]
            network.run(torch.stack(part), keep, [layer])
    places = {number: place for place, number in enumerate(order)}
    values = torch.cat(seen) if seen else torch.zeros(0, len(neurons))
    for column, neuron in enumerate(neurons):
        for number, noted in zip(
            top.samples[neuron, :most].tolist(), top.activations[neuron].tolist(), strict=False
        ):
            if number < 0:
                continue
            now = float(values[places[number], column])
            if abs(now - noted) > _CLOSE * max(1.0, abs(noted)):
                raise DataError(
                    f"sample {number}, to which neuron {neuron} of '{layer.name}' gave {noted:.4g} and now {now:.4g}",
                    "the network, the weights and the data that the summary is of, in the same order",
                    "pass the same, or summarize again",
                )


def as_image(inputs: Tensor, preparation: Any = None) -> Image.Image:
    """An input of a network to look at.

    Args:
        inputs: (channels, height, width), or other numbers, which become one row.
        preparation: What was done to images, which is undone; values outside of 0 to 1 are
            stretched to it where that is not known.
    """
    values = inputs.detach().to("cpu", torch.float32)
    values = values if values.ndim == 3 else values.reshape(1, 1, -1)
    if isinstance(preparation, Preparation) and len(preparation.mean) == len(values):
        mean, std = (torch.tensor(n)[:, None, None] for n in (preparation.mean, preparation.std))
        values = (values * std + mean).clamp(0, 1)
    values = values if len(values) in (1, 3) else values.mean(dim=0, keepdim=True)
    low, high = float(values.min()), float(values.max())
    if low < 0 or high > 1:
        values = (values - low) / max(high - low, 1e-12)
    pixels = (values * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    return Image.fromarray(
        pixels[:, :, 0] if pixels.shape[2] == 1 else np.ascontiguousarray(pixels)
    )


def encoded(image: Image.Image, side: int = SIDE) -> bytes:
    """An image as WebP of a few hundred bytes to a few thousand, no longer than `side` pixels.

    Small ones, whose every pixel is seen, keep all of them.

    Example:
        >>> encoded(Image.new("L", (200, 100)))[8:12], len(encoded(Image.new("L", (200, 100)))) < 200
        (b'WEBP', True)
    """
    small = image.copy()
    small.thumbnail((side, side), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "WEBP", quality=78, method=6, lossless=max(image.size) <= 24)
    return file.getvalue()


_BEGINS = {b"\x89PNG\r\n\x1a\n": "png", b"RIFF": "webp", b"\xff\xd8\xff": "jpeg"}


def address(picture: bytes | None) -> str:
    """The bytes of a picture as an address within a page; "" for what is none.

    Example:
        >>> address(encoded(Image.new("L", (2, 2))))[:23], address(b"<script>")
        ('data:image/webp;base64,', '')
    """
    held = picture or b""
    kind = next((kind for begins, kind in _BEGINS.items() if held.startswith(begins)), None)
    return f"data:image/{kind};base64,{base64.b64encode(held).decode('ascii')}" if kind else ""
