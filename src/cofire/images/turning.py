"""Boxes turned as their photo is: a camera's note says how the stored pixels stand upright."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from cofire.images.annotated import Corners

_ORIENTATION = 0x0112
_LIES_ON_ITS_SIDE = 5


def orientation_of(path: str | Path) -> int:
    """How the pixels of an image file are stored, as its EXIF note says: 1 (upright) to 8.

    A file without such a note, or that is no image, counts as upright; reading it is what tells
    what is wrong with it.
    """
    try:
        with Image.open(path) as file:
            noted = file.getexif().get(_ORIENTATION, 1)
    # As in reading: damaged notes raise whatever their bytes lead to, and Pillow then shows the
    # picture as stored.
    except Exception:
        return 1
    return noted if noted in range(1, 9) else 1


def turned(corners: Corners, orientation: int, size: tuple[int, int]) -> Corners:
    """A box of the stored pixels on the upright picture.

    Args:
        corners: Left, top, right and bottom in pixels as stored.
        orientation: As `orientation_of` tells it.
        size: Width and height as stored.

    Example:
        A box in the left upper corner of a picture that is to be turned by a quarter clockwise goes
        to the right:

        >>> turned((0.0, 0.0, 2.0, 1.0), 6, (4, 3))
        (2.0, 0.0, 3.0, 2.0)
    """
    left, top, right, bottom = corners
    width, height = size
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return (
        (top, left, bottom, right)
        if orientation >= _LIES_ON_ITS_SIDE
        else (left, top, right, bottom)
    )
