"""What is done to an image before a network sees it: resized, cropped, scaled and normalised, for every command.

How images become inputs where nobody says it:

1. A published model gets what its trained weights want (torchvision's and timm's own notes).
2. Any other input of 128 pixels a side or more gets what ImageNet's networks get: the shorter side
resized to 8/7 of
   the input, the centre cut out, so that an eighth at the edges, where things seldom are, is lost.
3. Smaller inputs lose nothing that way: the shorter side is resized to the input's, and only what a
longer side has
   more is cut off.
4. An image that has the size of the input already was made for it: it passes unchanged. So does
every image of a
   data set whose images are all of one size and that nobody asked to be resized.

What is asked for is done to every image, whatever its size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field, PositiveFloat, model_validator
from torch import Tensor

from cofire.errors import ImageError, OptionError
from cofire.images.reading import MOST_PIXELS
from cofire.options import Options, option

_IMAGENET = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_MARGIN = 0.875
_SMALL = 128
"""Inputs below this side are resized to it and not cropped: there is nothing to spare at the edges."""
MOST_SIDE = math.isqrt(MOST_PIXELS)
"""The longest side of an input or of an image resized for it: a square of it is as large as an image can be."""


@dataclass(frozen=True, eq=False)
class Prepared:
    """An image as a network sees it.

    Attributes:
        pixels: (height, width, channels), uint8, before the scaling.
        size: Width and height of the upright image in its file.
        region: Left, top, right and bottom of what the network sees, in pixels of the upright
            image.
        values: (channels, height, width), float32, what the network gets; None where `pixels`
            scaled are that.
    """

    pixels: NDArray[np.uint8]
    size: tuple[int, int]
    region: tuple[float, float, float, float]
    values: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class Preparation:
    """How images become inputs: the shorter side resized, the centre cropped, (x - mean) / std of x from 0 to 1.

    Called with an image it gives the input, as transforms of data sets do.

    Attributes:
        shape: (channels, height, width) of the input; one channel is grey, three are red, green and
            blue.
        resize: What the shorter side is resized to before the crop; 0 leaves images as they are.
        mean: Per channel.
        std: Per channel.
        interpolation: "bilinear" or "bicubic".
        squash: Both sides are resized, to `resize` or, for 0, to those of the input, whatever the
            image's ratio.
        same_size: Images of just the input's size are "prepared" as others are, "kept" as they
            are, or "required": they are kept, and others refused.

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
    squash: bool = False
    same_size: Literal["prepared", "kept", "required"] = "prepared"

    @property
    def told(self) -> str:
        """In words."""
        channels, height, width = self.shape
        size = f"{width} × {height}"
        if self.same_size == "required":
            words = [f"as they are, {size}"]
        elif self.squash and not self.resize:
            words = [f"squashed to {size}"]
        else:
            squashed = (
                f"squashed to {self.resize} × {self.resize}"
                if self.squash
                else f"shorter side to {self.resize}"
            )
            words = [squashed] if self.resize else []
            words.append(f"centre crop {size}")
            if self.same_size == "kept" and self.resize != min(height, width):
                words.append("images of this size as they are")
        words += ["grey"] if channels == 1 else []
        mean, std = _listed(self.mean), _listed(self.std)
        if mean == "0":
            scaled = "x from 0 to 1" if std == "1" else f"x / {std}"
        else:
            scaled = f"x − {mean}" if std == "1" else f"(x − {mean}) / {std}"
        return ", ".join([*words, scaled])

    @property
    def record(self) -> dict[str, Any]:
        """As results keep it, for JSON."""
        return {
            "prepared": self.told,
            "input_shape": list(self.shape),
            "resize": self.resize,
            "squash": self.squash,
            "interpolation": self.interpolation,
            "same_size": self.same_size,
            "mean": list(self.mean),
            "std": list(self.std),
        }

    def __call__(self, image: Image.Image) -> Tensor:
        """An image as the network gets it, (channels, height, width), float32.

        Raises:
            ImageError: As `crop`.
        """
        return self.inputs([self.crop(image, str(image.info.get("name", "an image")))])[0]

    def crop(self, image: Image.Image, name: str) -> Prepared:
        """What the network sees of an image.

        Args:
            image: Upright, of mode "L" or "RGB".
            name: Of the file, for messages.

        Raises:
            ImageError: The image is smaller than the crop, or not of the size that is required.
        """
        channels, height, width = self.shape
        mode = "L" if channels == 1 else "RGB"
        view = image if image.mode == mode else image.convert(mode)
        if self.same_size == "required" and view.size != (width, height):
            raise ImageError(
                f"'{name}' is {view.width} × {view.height} pixels",
                f"{width} × {height}, as the first image is",
                f"pass --image-size {max(width, height)}, say: images are then resized and cropped to one size",
            )
        if self.same_size == "prepared" or view.size != (width, height):
            view = self._resized(view, name)
        if view.width < width or view.height < height:
            raise ImageError(
                f"'{name}' is {view.width} × {view.height} pixels"
                + (" when resized" if self.resize else ""),
                f"at least {width} × {height}, which the network sees",
                f"pass --resize {round(max(height, width) / (_MARGIN if max(height, width) >= _SMALL else 1))}, "
                "or leave --resize out",
            )
        left, top = round((view.width - width) / 2.0), round((view.height - height) / 2.0)
        across, down = image.width / view.width, image.height / view.height
        if view.size != (width, height):
            view = view.crop((left, top, left + width, top + height))
        seen = np.asarray(view).reshape(height, width, channels)
        region = (left * across, top * down, (left + width) * across, (top + height) * down)
        return Prepared(seen, image.size, region)

    def can_fail(self, size: tuple[int, int]) -> bool:
        """Whether an image of this width and height may be none that can be prepared, as one that is too small."""
        too_long = self.resize**2 * max(size) / min(size) > MOST_PIXELS
        return self.same_size == "required" or (
            not self.squash and (too_long or self.resize < max(self.shape[1:]))
        )

    def _resized(self, image: Image.Image, name: str) -> Image.Image:
        from torchvision.transforms import InterpolationMode
        from torchvision.transforms.functional import resize

        if self.squash:
            target = [self.resize, self.resize] if self.resize else list(self.shape[1:])
        elif self.resize:
            target = [self.resize]
            longer = self.resize * max(image.size) / min(image.size)
            if longer * self.resize > MOST_PIXELS:
                raise ImageError(
                    f"'{name}' is {image.width} × {image.height} pixels, with its shorter side resized to "
                    f"{self.resize} it would be {longer:,.0f} long",
                    f"an image of at most {MOST_PIXELS:,} pixels when resized",
                    "cut it, leave it out, or pass --crop 0, which squashes images instead of cutting them",
                )
        else:
            return image
        found: Image.Image = resize(image, target, InterpolationMode(self.interpolation))
        return found

    def inputs(self, seen: Sequence[Prepared]) -> Tensor:
        """A batch for the network, (images, channels, height, width), float32."""
        return self.scaled(
            torch.from_numpy(np.stack([one.pixels for one in seen])).permute(0, 3, 1, 2)
        )

    def scaled(self, shades: Tensor) -> Tensor:
        """A batch for the network of one of shades, (images, channels, height, width), uint8."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        return ((shades.float() / 255 - mean) / std).contiguous()

    def shades(self, inputs: Tensor) -> Tensor:
        """What `scaled` made a batch of, to look at, (images, height, width, 3), uint8."""
        mean, std = (torch.tensor(values)[:, None, None] for values in (self.mean, self.std))
        levels = ((inputs * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        return levels.permute(0, 2, 3, 1).expand(-1, -1, -1, 3)

    def pixels(self, seen: Sequence[Prepared]) -> Tensor:
        """The same to look at, (images, height, width, 3), uint8."""
        return torch.from_numpy(
            np.stack([np.broadcast_to(one.pixels, (*self.shape[1:], 3)) for one in seen])
        )


_Sizes = Annotated[int, Field(ge=0, le=MOST_SIDE)]
_PANEL = "What is done to the images"


class PreparationOptions(Options):
    """How images are prepared; what is not given is as is usual for the model."""

    image_size: Annotated[int, Field(ge=1, le=MOST_SIDE)] | None = option(
        None,
        "Image size",
        "Side of what the network sees; images of just this size stay as they are.",
        panel=_PANEL,
    )
    resize: _Sizes | None = option(
        None,
        "Resize",
        "The shorter side before the crop, for images of any size; 0 resizes none.",
        panel=_PANEL,
    )
    crop: _Sizes | None = option(
        None,
        "Crop",
        "Side of the centre crop; 0 squashes whole images to the image size.",
        panel=_PANEL,
    )
    mean: tuple[float, ...] | None = option(
        None, "Mean", "Subtracted from values of 0 to 1: 0.5 or 0.485,0.456,0.406.", panel=_PANEL
    )
    std: tuple[PositiveFloat, ...] | None = option(
        None, "Standard deviation", "Divided by: 0.5 or 0.229,0.224,0.225.", panel=_PANEL
    )
    grey: bool = option(False, "Grey", "The network takes one channel.", panel=_PANEL)
    transform: str | None = option(
        None,
        "Transform",
        "package.module:function in place of all these: called with an image, gives the input.",
        panel=_PANEL,
    )

    @model_validator(mode="after")
    def _together(self) -> Self:
        given = [
            f"--{name.replace('_', '-')}"
            for name in ("image_size", "resize", "crop", "mean", "std")
            if getattr(self, name) is not None
        ]
        names = " and ".join(given)
        if self.transform is not None and given:
            raise OptionError(
                f"--transform with {names}",
                "one or the other: the function decides all of it",
                f"leave {names} out",
            )
        if self.crop and self.image_size not in (None, self.crop):
            raise OptionError(
                f"--crop {self.crop} with --image-size {self.image_size}",
                "one side: what is cut out is what the network sees",
                "leave one of the two out",
            )
        if self.crop == 0 and self.resize is not None:
            raise OptionError(
                f"--resize {self.resize} with --crop 0, which squashes whole images to the input",
                "one of the two",
                "leave one out",
            )
        if (self.mean is None) != (self.std is None):
            raise OptionError(
                "--mean without --std, or the reverse", "both or neither", "pass both"
            )
        return self


def preparation_of(
    spec: str,
    shape: tuple[int, ...] | None = None,
    *,
    of_data: tuple[int, int, int] | None = None,
    **given: Any,
) -> Preparation:
    """The preparation for a model's name, in the parts that are not given as is usual for it.

    The rules stand at the head of this module. Grey inputs and those below 128 pixels get no mean.

    Args:
        spec: As `cofire.study.sources.open_network` takes it.
        shape: Of the network's input where it is known already, as that of a `.pt2` file is.
        of_data: (channels, height, width) of the first image of a data set whose images are
            kept as they are where neither the model nor an option says otherwise.
        given: Of `PreparationOptions`.

    Raises:
        OptionError: A number is out of bounds, `mean` and `std` do not fit, or the network takes no
            images.

    Example:
        >>> preparation_of("torchvision:squeezenet1_0", mean=[0.5], std=[0.5], resize=0).told
        'centre crop 224 × 224, (x − 0.5) / 0.5'
        >>> preparation_of("torchvision:inception_v3").shape
        (3, 299, 299)
        >>> preparation_of("mine:model", image_size=224, crop=0, mean=[0.5], std=[0.5]).told
        'squashed to 224 × 224, (x − 0.5) / 0.5'
    """
    from cofire.images.own_transform import OwnPreparation, own_preparation

    asked = PreparationOptions(**given)
    if asked.transform is not None:
        probe = None if of_data is None else of_data[1:]
        return own_preparation(asked.transform, shape, grey=asked.grey, probe=probe)
    resize, crop, side = asked.resize, asked.crop, asked.image_size or asked.crop
    usual, untouched = published(spec), (side, resize, crop) == (None,) * 3
    if asked.grey and spec.startswith(("torchvision:", "timm:")):
        raise OptionError(
            f"--grey with '{spec}'", "a network that takes one channel", "leave it out"
        )
    same_size: Literal["prepared", "kept", "required"] = "kept" if resize is None else "prepared"
    if shape is not None:
        _check_shape(spec, shape, side, asked.grey)
    elif of_data is not None and untouched and usual is None:
        shape, same_size = (1 if asked.grey else of_data[0], *of_data[1:]), "required"
    elif usual is not None and usual.function is not None and untouched and asked.mean is None:
        return OwnPreparation(usual.function, f"timm's own for {spec}")
    else:
        side = side or (usual.side if usual else 224)
        shape = (1 if asked.grey else 3, side, side)
    channels, height, width = shape[0], shape[1], shape[2]
    longer = max(height, width)
    mean, std = asked.mean, asked.std
    if mean is None or std is None:
        plain = channels != 3 or longer < _SMALL or same_size == "required"
        mean, std = (usual.mean, usual.std) if usual else ((0.0,), (1.0,)) if plain else _IMAGENET
    squash = crop == 0 or (usual is not None and usual.squash and crop is None and resize is None)
    if resize is None:
        resize = round(longer / (_MARGIN if longer >= _SMALL else 1))
        if crop == 0 or same_size == "required":
            resize = 0
        elif usual is not None and (longer == usual.side or longer >= _SMALL):
            resize = usual.resize if longer == usual.side else math.floor(longer / usual.share)
    return Preparation(
        (channels, height, width),
        0 if squash and resize == height == width else resize,
        _each("--mean", mean, channels),
        _each("--std", std, channels),
        usual.interpolation if usual else "bilinear",
        squash,
        same_size,
    )


def _check_shape(spec: str, shape: tuple[int, ...], side: int | None, grey: bool) -> None:
    if len(shape) != 3 or shape[0] not in (1, 3):
        channels = f"{shape[0]} channels" if len(shape) == 3 else f"inputs of shape {tuple(shape)}"
        raise OptionError(
            f"'{spec}' takes {channels}",
            "a network on images: (1, height, width) for grey or (3, height, width) for colour",
            "use cofire.explain from Python, which takes any tensor",
        )
    takes = f"inputs of {shape[0]} channels and {shape[2]} × {shape[1]} pixels"
    for given, refused in (
        (f"--image-size {side}", side is not None and (side, side) != tuple(shape[1:])),
        ("--grey", grey and shape[0] != 1),
    ):
        if refused:
            raise OptionError(
                f"{given} with '{spec}'", f"{takes}, which it was exported with", "leave it out"
            )


def _each(name: str, values: Sequence[float], channels: int) -> tuple[float, ...]:
    """One number for each channel."""
    found = tuple(values) * channels if len(values) == 1 else tuple(values)
    if len(found) != channels:
        raise OptionError(
            f"{name} {','.join(f'{value:g}' for value in values)}",
            f"one number, or one for each of {channels} channels",
            f"pass {name} 0.5",
        )
    return found


def _listed(values: tuple[float, ...]) -> str:
    return (
        f"{values[0]:g}"
        if len(set(values)) == 1
        else f"({', '.join(f'{value:g}' for value in values)})"
    )


@dataclass(frozen=True)
class Published:
    """A published preparation.

    Attributes:
        side: Of the square input.
        share: The side by what the shorter side of an image is resized to: 224 / 256.
        resize: What the shorter side is resized to, with `squash` both sides.
        mean: Per channel.
        std: Per channel.
        interpolation: "bilinear" or "bicubic".
        squash: Whether images are resized to a square, whatever the ratio of their sides.
        function: The library's own function, where the preparation is of another form than these
            numbers tell.
    """

    side: int
    share: float
    resize: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    squash: bool = False
    function: Callable[..., Any] | None = None


def published(spec: str) -> Published | None:
    """The preparation of a model's trained weights; None for models that nobody has published.

    Args:
        spec: As `cofire.study.sources.open_network` takes it.

    Example:
        >>> found = published("torchvision:resnet50")
        >>> found.side, found.resize, found.interpolation
        (224, 232, 'bilinear')
        >>> published("mine:model")
    """
    library, _, name = spec.partition(":")
    if library == "torchvision":
        from torchvision import models

        if name not in models.list_models(module=models):
            return None
        wants: Any = models.get_model_weights(name).DEFAULT.transforms()
        side, resize = wants.crop_size[0], wants.resize_size[0]
        scale = tuple(wants.mean), tuple(wants.std)
        return Published(side, side / resize, resize, *scale, wants.interpolation.value)
    if library != "timm":
        return None
    # Without timm, or with a name that it has not, opening the network says so.
    try:
        import timm
    except ImportError:
        return None
    data: Any = timm.data
    if name.split(".")[0] not in timm.list_models():
        return None
    noted: Any = timm.get_pretrained_cfg(name)
    if noted is None:
        return None
    wants = data.resolve_data_config(pretrained_cfg=noted.to_dict())
    _, height, width = wants["input_size"]
    simple = height == width and wants["crop_mode"] in ("center", "squash")
    share = float(wants["crop_pct"])
    return Published(
        width,
        share,
        math.floor(width / share),
        tuple(wants["mean"]),
        tuple(wants["std"]),
        "bilinear" if wants["interpolation"] == "bilinear" else "bicubic",
        wants["crop_mode"] == "squash",
        None if simple else data.create_transform(**wants, is_training=False),
    )
