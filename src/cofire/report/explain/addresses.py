"""Photos and heat maps as addresses that a page holds in itself."""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cofire.explain.drawing import draw
from cofire.explain.drawing.paper import png_address

_SHADES = 256
_PHOTO_SIDE = 64


def heat_address(share: NDArray[Any]) -> str:
    """A heat map as a picture of 256 colours: a third of the bytes.

    Opacity goes with the square root of the share. So do the steps between the colours, that no
    edges are seen where it is cold.

    Args:
        share: Of the largest value, (height, width), 0 to 1.
    """
    image = Image.fromarray(np.round(np.sqrt(share) * (_SHADES - 1)).astype(np.uint8))
    image.putpalette(draw.coloured(np.linspace(0, 1, _SHADES) ** 2).tobytes(), "RGBA")
    return png_address(image)


def photo_address(picture: NDArray[Any]) -> str:
    """A picture (height, width, 3), uint8: photos as JPEG, small ones, whose every pixel is seen, as PNG."""
    image = Image.fromarray(picture)
    if max(image.size) <= _PHOTO_SIDE:
        return png_address(image)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, optimize=True)
    return f"data:image/jpeg;base64,{base64.b64encode(file.getvalue()).decode()}"
