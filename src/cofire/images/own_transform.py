"""Images prepared by a function of the user's own, and what of an image that function lets a network see.

Explanations need more than the input: which part of the image it is, and how it looks. Both are
    found by asking the
function itself. It is shown a black and a white image, which tell how values are scaled, and
images that grow brighter from left to right and from top to bottom, which tell where each pixel
of the input comes from, to within a few thousandths of the image's side: that is what 8 bits of
brightness hold.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cofire.errors import ImageError, OptionError
from cofire.images.preparation import Preparation, Prepared
from cofire.references import referenced, theirs

_PROBE = (256, 256)
"""Height and width of the images that the function is tried on, where those of the data are not known."""
_STRAIGHT = 0.02
"""How far places may lie from a straight line, in sides of the image: resizing and 8 bits account for less."""
_MADE_OF = "a function that resizes, crops and scales images, the same way each time"


class OwnPreparation(Preparation):
    """A function in place of resizing, cropping and scaling; `mean` and `std` are those that its values tell.

    Args:
        function: Called with an image of mode "RGB", "L" for a `grey` one; gives (channels,
            height, width).
        name: What it is called in messages and results.
        grey: Whether it is handed grey images.
        probe: Height and width of the images that it is tried on.

    Raises:
        OptionError: It fails, draws, or gives something other than images scaled channel by
            channel.

    Example:
        >>> def halves(image):
        ...     pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        ...     return (pixels[:, :, 2:6] / 255 - 0.5) / 0.5
        >>> own = OwnPreparation(halves, "mine:halves", probe=(4, 8))
        >>> own.told, own.shape, own.mean[0], own.std[0]
        ('by mine:halves to 4 × 4', (3, 4, 4), 0.5, 0.5)
        >>> own.crop(Image.new("RGB", (8, 4)), "a.png").region
        (2.0, 0.0, 6.0, 4.0)
    """

    function: Callable[[Image.Image], Any]
    name: str
    grey: bool
    regions: dict[tuple[int, int], tuple[float, float, float, float]]

    def __init__(
        self,
        function: Callable[[Image.Image], Any],
        name: str,
        *,
        grey: bool = False,
        probe: tuple[int, int] = _PROBE,
    ) -> None:
        for attribute, value in (
            ("function", function),
            ("name", name),
            ("grey", grey),
            ("regions", {}),
        ):
            object.__setattr__(self, attribute, value)
        black, white = (self._tried(self._shade(probe, value)) for value in (0, 255))
        ramp = _ramp(probe[::-1], across=True).convert(self._mode)
        if black.shape != white.shape or not torch.equal(self._tried(ramp), self._tried(ramp)):
            raise OptionError(
                f"--transform {name} gives another tensor each time that it is shown the same image",
                _MADE_OF,
                "name the transform of evaluation, without what draws",
            )
        channels, height, width = black.shape
        mean, std = self._scale(black.double(), white.double())
        super().__init__((channels, height, width), 0, mean, std)

    @property
    def told(self) -> str:
        """In words."""
        channels, height, width = self.shape
        return f"by {self.name} to {width} × {height}" + (", grey" if channels == 1 else "")

    @property
    def record(self) -> dict[str, Any]:
        """As results keep it, for JSON."""
        return {"prepared": self.told, "input_shape": list(self.shape), "transform": self.name}

    @property
    def _mode(self) -> str:
        return "L" if self.grey else "RGB"

    def can_fail(self, size: tuple[int, int]) -> bool:
        """Whether an image may be none that can be prepared: nobody knows what the function takes."""
        return True

    def crop(self, image: Image.Image, name: str) -> Prepared:
        """What the network sees of an image, as `Preparation.crop`.

        Raises:
            ImageError: The function fails on it, or gives a tensor of another shape than of other
                images.
            OptionError: What it gives is no upright part of the image.
        """
        values = self._values(image, name)
        region = self._region(image.size)
        mean, std = (np.array(each, np.float32)[:, None, None] for each in (self.mean, self.std))
        shades = np.rint((values * std + mean) * 255).clip(0, 255).astype(np.uint8)
        return Prepared(shades.transpose(1, 2, 0), image.size, region, values)

    def __call__(self, image: Image.Image) -> Tensor:
        """An image as the network gets it, (channels, height, width), float32."""
        return torch.from_numpy(self._values(image, str(image.info.get("name", "an image"))))

    def inputs(self, seen: Sequence[Prepared]) -> Tensor:
        """A batch for the network, (images, channels, height, width), float32."""
        return torch.from_numpy(np.stack([one.values for one in seen if one.values is not None]))

    def _values(self, image: Image.Image, name: str) -> NDArray[np.float32]:
        told = f"--transform {self.name} fails on '{name}'"
        remedy = "correct the function, or leave the image out"
        with theirs(told, _MADE_OF, remedy, ImageError):
            values = _tensor(self.function(image.convert(self._mode)))
        if values is None or tuple(values.shape) != self.shape:
            raise ImageError(
                f"--transform {self.name} makes {'no tensor' if values is None else tuple(values.shape)} of '{name}', "
                f"which is {image.width} × {image.height} pixels",
                f"{self.shape}, as of other images",
                "add a resize and a crop to one size to it",
            )
        found: NDArray[np.float32] = values.numpy()
        return found

    def _shade(self, size: tuple[int, int], value: int) -> Image.Image:
        return Image.new(self._mode, size[::-1], value if self.grey else (value,) * 3)

    def _tried(self, image: Image.Image) -> Tensor:
        """What the function makes of an image that it is tried on."""
        with theirs(
            f"--transform {self.name} fails",
            "a function that takes an image (PIL.Image) and returns a tensor (channels, height, width)",
            "check that it can be called with one image",
        ):
            found = _tensor(self.function(image))
        if found is None or found.ndim != 3 or len(found) not in (1, 3):
            raise OptionError(
                f"--transform {self.name} gives {'no tensor' if found is None else f'a tensor {tuple(found.shape)}'}",
                "a tensor of numbers (channels, height, width) with one channel or three",
                "end it with transforms.ToTensor()",
            )
        return found

    def _scale(self, black: Tensor, white: Tensor) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Mean and standard deviation of each channel in (x - mean) / std, x from 0 to 1."""
        mean, std = [], []
        for low, high in zip(black, white, strict=True):
            seen = high != low
            steps = (high - low)[seen]
            if not len(steps) or steps.min() <= 0 or steps.max() - steps.min() > 1e-3 * steps.max():
                raise OptionError(
                    f"--transform {self.name} gives values that are no shades of the image, (x - mean) / std of each "
                    "channel",
                    _MADE_OF,
                    "leave what depends on the image's own values out; or name a function that gives the data "
                    "themselves, as tensors, with --data",
                )
            std.append(float(1 / steps.median()))
            mean.append(float(-low[seen].median() * std[-1]))
        return tuple(round(value, 6) for value in mean), tuple(round(value, 6) for value in std)

    def _region(self, size: tuple[int, int]) -> tuple[float, float, float, float]:
        if size not in self.regions:
            (left, right), (top, bottom) = (
                self._edges(_ramp(size, across=across), side, across=across)
                for side, across in zip(size, (True, False), strict=True)
            )
            self.regions[size] = left, top, right, bottom
        return self.regions[size]

    def _edges(self, ramp: Image.Image, side: int, *, across: bool) -> tuple[float, float]:
        """Where the input begins and ends on a side of the image, from an image that grows brighter along it."""
        low, high = (
            self._tried(self._shade(ramp.size[::-1], value)).double() for value in (0, 255)
        )
        seen = self._tried(ramp.convert(self._mode)).double()
        shown = (high != low).all(0)
        share = ((seen - low) / torch.where(high == low, 1.0, high - low)).mean(0)
        if not across:
            share, shown = share.T, shown.T
        used = shown.any(0)
        places = torch.arange(share.shape[1], dtype=torch.float64)[used] + 0.5
        rows = [
            column[kept].numpy()
            for column, kept in zip(share.T, shown.T, strict=True)
            if kept.any()
        ]
        means = np.array([row.mean() for row in rows])
        # What lies at the edges is mixed with nothing from beyond them when a part is enlarged.
        inner = slice(len(means) // 8, len(means) - len(means) // 8)
        straight = len(means) > 1
        step, start = (
            np.polyfit(places.numpy()[inner], means[inner], 1)
            if straight
            else (1 / share.shape[1], 0.0)
        )
        line = step * places.numpy() + start
        off = max(
            (float(np.abs(row - at).max()) for row, at in zip(rows, line, strict=True)), default=0.0
        )
        if step <= 0 or off > max(_STRAIGHT, 1.5 / side):
            raise OptionError(
                f"--transform {self.name} turns, mirrors or bends images",
                "an upright part of the image, so that boxes and maps have their place on it",
                "leave that step out where explanations are made",
            )
        return tuple(
            _near_whole(float(edge) * side) for edge in (start, step * share.shape[1] + start)
        )  # type: ignore[return-value]


def own_preparation(
    spec: str,
    shape: tuple[int, ...] | None = None,
    *,
    grey: bool = False,
    probe: tuple[int, int] | None = None,
) -> OwnPreparation:
    """The preparation that `package.module:name` names: a function of an image, or one of nothing that gives it.

    Args:
        spec: The name.
        shape: Of the network's input where it is known already.
        grey: Whether the function is handed grey images.
        probe: Height and width of the data's images, where they are known.

    Raises:
        OptionError: There is no such function, it fails, or what it gives does not fit the network.
    """
    with theirs(
        f"--transform '{spec}'",
        "package.module:function that takes an image (PIL.Image) and returns a tensor",
        "check that it can be imported from the current folder",
    ):
        function = referenced(spec)
        function = function() if _is_maker(function) else function
    if not callable(function):
        raise OptionError(
            f"--transform '{spec}', a {type(function).__name__}",
            "a function of an image",
            "name such a function",
        )
    found = OwnPreparation(function, spec, grey=grey, probe=probe or _PROBE)
    if shape is not None and tuple(shape) != found.shape:
        raise OptionError(
            f"--transform {spec} gives {found.shape}",
            f"{tuple(shape)}, which the network was exported with",
            "resize and crop to that in it",
        )
    return found


def _is_maker(function: Any) -> bool:
    """Whether something is called without arguments, and gives the transform."""
    if not callable(function):
        return False
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return False
    required = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    return not any(one.kind in (*required, inspect.Parameter.VAR_POSITIONAL) for one in parameters)


def _tensor(given: Any) -> Tensor | None:
    """What a function gave as float32, None if it is no tensor of numbers."""
    if not isinstance(given, Tensor | np.ndarray):
        return None
    found = torch.as_tensor(given)
    return None if found.is_complex() else found.detach().cpu().float().contiguous()


def _ramp(size: tuple[int, int], *, across: bool) -> Image.Image:
    """A grey image that grows brighter to the right, or downwards: at each pixel's middle its place on the side."""
    width, height = size
    side = width if across else height
    shades = np.rint((np.arange(side) + 0.5) / side * 255).astype(np.uint8)
    pixels = np.broadcast_to(shades if across else shades[:, None], (height, width))
    return Image.fromarray(np.ascontiguousarray(pixels))


def _near_whole(place: float) -> float:
    """A place on an image; a tenth of a pixel off a whole one is what 8 bits of brightness leave."""
    return float(round(place)) if abs(place - round(place)) < 0.1 else place
