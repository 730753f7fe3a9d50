"""Pictures and explanations as a page holds them, one image at a time."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cofire.explain import Explanation, drawing
from cofire.explain.captions import NO_EVIDENCE, heat_told
from cofire.explain.paper import png_address
from cofire.report.explain.explained import box_of

__all__ = ["framed", "panel", "photo_address"]

_PHOTO_SIDE = 64
_SHADES = 256


def photo_address(picture: NDArray[Any]) -> str:
    """A picture (height, width, 3), uint8, as an address: photos as JPEG, small ones, whose pixels are seen, as PNG."""
    image = Image.fromarray(picture)
    if max(image.size) <= _PHOTO_SIDE:
        return png_address(image)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=88, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"


def panel(explanation: Explanation) -> dict[str, Any]:
    """What a page draws of the explanation of one image: heat map, box, and the numbers at the colour bar's ends."""
    share, largest = drawing.heat_share(explanation.heatmap()[0])
    box = box_of(explanation)
    return {
        "heat": _heat(share) if largest > 0 else None,
        "ends": heat_told(explanation, largest) if largest > 0 else None,
        "frame": None if box is None else framed(box, explanation.size),
        "nothing": NO_EVIDENCE if largest <= 0 else None,
    }


def framed(corners: Sequence[float], size: tuple[int, int]) -> list[str]:
    """Left, top, width and height of a box, in units in which a picture of a height and width is drawn."""
    width, height = drawing.drawn_size(size)
    across, down = width / size[1], height / size[0]
    left, top, right, bottom = corners
    return [f"{place:.6g}" for place in (left * across, top * down, (right - left) * across, (bottom - top) * down)]


def _heat(share: NDArray[Any]) -> str:
    """A heat map of 256 colours, a third of the bytes; steps go with the square root, as opacity does."""
    image = Image.fromarray(np.round(np.sqrt(share) * (_SHADES - 1)).astype(np.uint8))
    image.putpalette(drawing.coloured(np.linspace(0, 1, _SHADES) ** 2).tobytes(), "RGBA")
    return png_address(image)
