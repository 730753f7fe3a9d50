"""What is done to a picture before a network sees it: resized, cropped, scaled and normalised."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cofire.errors import ImageError, OptionError

__all__ = ["Preparation", "Prepared", "preparation_of"]

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MARGIN = 0.875
_SMALL = 128
"""Inputs below this side are resized to it and not cropped: there is nothing to spare at the edges."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """A picture as a network sees it.

    Attributes:
        pixels: (height, width, channels), uint8, before the scaling.
        size: Width and height of the upright picture in its file.
        region: Left, top, right and bottom of what the network sees, in pixels of the upright picture.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    region: tuple[float, float, float, float]


@dataclass(frozen=True)
class Preparation:
    """How pictures become inputs: the shorter side resized, the centre cropped, (x - mean) / std of x from 0 to 1.

    Attributes:
        shape: (channels, height, width) of the input; one channel is grey, three are red, green and blue.
        resize: What the shorter side is resized to before the crop; 0 leaves pictures as they are.
        mean: Per channel.
        std: Per channel.
        interpolation: "bilinear" or "bicubic".

    Example:
        >>> wanted = Preparation((1, 2, 2), resize=0, mean=(0.5,), std=(0.5,))
        >>> seen = wanted.crop(Image.fromarray(np.arange(16, dtype=np.uint8).reshape(4, 4)), "a.png")
        >>> seen.pixels[..., 0].tolist(), seen.region
        ([[5, 6], [9, 10]], (1.0, 1.0, 3.0, 3.0))
        >>> wanted.told
        'centre crop 2 × 2, grey, (x − 0.5) / 0.5'
    """

    shape: tuple[int, int, int]
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str = "bilinear"

    @property
    def told(self) -> str:
        """In words."""
        words = [f"shorter side to {self.resize}"] if self.resize else []
        words.append(f"centre crop {self.shape[2]} × {self.shape[1]}")
        words += ["grey"] if self.shape[0] == 1 else []
        mean, std = _listed(self.mean), _listed(self.std)
        if mean == "0":
            scaled = "x from 0 to 1" if std == "1" else f"x / {std}"
        else:
            scaled = f"x − {mean}" if std == "1" else f"(x − {mean}) / {std}"
        return ", ".join([*words, scaled])

    def crop(self, photo: Image.Image, name: str) -> Prepared:
        """What the network sees of a picture.

        Args:
            photo: Upright, of mode "L" or "RGB".
            name: Of the file, for messages.

        Raises:
            ImageError: The picture is smaller than the crop.
        """
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.functional import center_crop, resize

        channels, height, width = self.shape
        image = photo.convert("L" if channels == 1 else "RGB")
        if self.resize:
            image = resize(image, [self.resize], InterpolationMode(self.interpolation))
        if image.width < width or image.height < height:
            raise ImageError(
                f"'{name}' is {image.width} × {image.height} pixels" + (" when resized" if self.resize else ""),
                f"at least {width} × {height}, which the network sees",
                f"pass --resize {round(max(height, width) / (_MARGIN if max(height, width) >= _SMALL else 1))}, "
                "or leave --resize out",
            )
        seen = np.asarray(center_crop(image, [height, width])).reshape(height, width, channels)
        left, top = round((image.width - width) / 2.0), round((image.height - height) / 2.0)
        across, down = photo.width / image.width, photo.height / image.height
        region = (left * across, top * down, (left + width) * across, (top + height) * down)
        return Prepared(seen, photo.size, region)

    def inputs(self, seen: Sequence[Prepared]) -> Tensor:
        """A batch for the network, (images, channels, height, width), float32."""
        pixels = torch.from_numpy(np.stack([one.pixels for one in seen])).permute(0, 3, 1, 2)
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return ((pixels.float() / 255 - mean) / std).contiguous()

    def pictures(self, seen: Sequence[Prepared]) -> Tensor:
        """The same to look at, (images, height, width, 3), uint8."""
        return torch.from_numpy(np.stack([np.broadcast_to(one.pixels, (*self.shape[1:], 3)) for one in seen]))


def preparation_of(
    spec: str,
    shape: tuple[int, ...] | None = None,
    *,
    image_size: int | None = None,
    resize: int | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    grey: bool = False,
) -> Preparation:
    """The preparation for a model's name, in the parts that are not given as is usual for it.

    A torchvision model gets that of its trained weights; what else takes pictures in colour of 128 pixels or more,
    ImageNet's; smaller or grey inputs get neither a crop nor a mean.

    Args:
        spec: As `cofire.study.sources.open_network` takes it.
        shape: Of the network's input where it is known already, as that of a `.pt2` file is.
        image_size: Side of the input.
        resize: What the shorter side is resized to before the crop; 0 leaves pictures as they are.
        mean: One number, or one per channel.
        std: As `mean`.
        grey: Whether the network takes one channel.

    Raises:
        OptionError: A number is out of bounds, `mean` and `std` do not fit, or the network takes no pictures.

    Example:
        >>> preparation_of("torchvision:squeezenet1_0", mean=[0.5], std=[0.5], resize=0).told
        'centre crop 224 × 224, (x − 0.5) / 0.5'
        >>> preparation_of("torchvision:inception_v3").shape
        (3, 299, 299)
    """
    usual = _published(spec)
    for name, value, least in (("--image-size", image_size, 1), ("--resize", resize, 0)):
        if value is not None and value < least:
            raise OptionError(f"{name} {value}", f"a whole number from {least} up", "leave it out")
    if grey and ":" in spec and spec.startswith(("torchvision:", "timm:")):
        raise OptionError(f"--grey with '{spec}'", "a network that takes one channel", "leave it out")
    if shape is None:
        side = image_size or (usual.crop_size[0] if usual else 224)
        shape = (1 if grey else 3, side, side)
    else:
        _check_shape(spec, shape, image_size, grey)
    channels, longer = shape[0], max(shape[1:])
    large = channels == 3 and longer >= _SMALL
    if (mean is None) != (std is None):
        raise OptionError("--mean without --std, or the reverse", "both or neither", "pass both")
    if mean is None or std is None:
        if usual:
            mean, std = usual.mean, usual.std
        else:
            mean, std = _IMAGENET if large else ((0.0,), (1.0,))
    if resize is None:
        as_published = usual and (image_size is None or image_size == usual.crop_size[0])
        resize = usual.resize_size[0] if as_published else round(longer / (_MARGIN if longer >= _SMALL else 1))
    return Preparation(
        (channels, shape[1], shape[2]), resize, _each("--mean", mean, channels),
        _each("--std", std, channels, positive=True), usual.interpolation.value if usual else "bilinear",
    )  # fmt: skip


def _published(spec: str) -> Any:
    """The preparation that torchvision publishes with the trained weights of a model; None for others."""
    from torchvision import models

    name = spec.removeprefix("torchvision:")
    if name == spec or name not in models.list_models(module=models):
        return None
    return models.get_model_weights(name).DEFAULT.transforms()


def _check_shape(spec: str, shape: tuple[int, ...], image_size: int | None, grey: bool) -> None:
    if len(shape) != 3 or shape[0] not in (1, 3):
        channels = f"{shape[0]} channels" if len(shape) == 3 else f"inputs of shape {tuple(shape)}"
        raise OptionError(
            f"'{spec}' takes {channels}",
            "a network on pictures: (1, height, width) for grey or (3, height, width) for colour",
            "use cofire.explain from Python, which takes any tensor",
        )
    if image_size is not None and (image_size, image_size) != tuple(shape[1:]):
        raise OptionError(
            f"--image-size {image_size} with '{spec}'",
            f"inputs of {shape[2]} × {shape[1]}, which it was exported with",
            "leave it out",
        )
    if grey and shape[0] != 1:
        raise OptionError(f"--grey with '{spec}'", f"{shape[0]} channels, which it was exported with", "leave it out")


def _each(name: str, values: Sequence[float], channels: int, *, positive: bool = False) -> tuple[float, ...]:
    """One finite number for each channel."""
    found = tuple(float(value) for value in values)
    found = found * channels if len(found) == 1 else found
    if len(found) != channels or not all(np.isfinite(found)) or (positive and min(found) <= 0):
        raise OptionError(
            f"{name} {','.join(f'{value:g}' for value in values)}",
            f"one {'positive ' if positive else ''}number, or one for each of {channels} channels",
            f"pass {name} 0.5",
        )
    return found


def _listed(values: tuple[float, ...]) -> str:
    return f"{values[0]:g}" if len(set(values)) == 1 else f"({', '.join(f'{value:g}' for value in values)})"
