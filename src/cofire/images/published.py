"""What the trained weights of a published model want done to pictures, as torchvision and timm note it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Published:
    """A published preparation.

    Attributes:
        side: Of the square input.
        share: The side by what the shorter side of a picture is resized to: 224 / 256.
        resize: What the shorter side is resized to, with `squash` both sides.
        mean: Per channel.
        std: Per channel.
        interpolation: "bilinear" or "bicubic".
        squash: Whether pictures are resized to a square, whatever the ratio of their sides.
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

    def resize_for(self, side: int) -> int:
        """What the shorter side is resized to before a centre crop of another side."""
        return self.resize if side == self.side else math.floor(side / self.share)


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
    if spec.startswith("torchvision:"):
        return _torchvision(spec.removeprefix("torchvision:"))
    if spec.startswith("timm:"):
        return _timm(spec.removeprefix("timm:"))
    return None


def _torchvision(name: str) -> Published | None:
    from torchvision import models

    if name not in models.list_models(module=models):
        return None
    wants: Any = models.get_model_weights(name).DEFAULT.transforms()
    side, resize = wants.crop_size[0], wants.resize_size[0]
    return Published(
        side, side / resize, resize, tuple(wants.mean), tuple(wants.std), wants.interpolation.value
    )


def _timm(name: str) -> Published | None:
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
