"""Image files of every common kind as upright pictures of 8 bits, grey or in colour."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cofire.errors import ImageError

__all__ = ["ENDINGS", "find_photos", "read_photo"]

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
"""What the images of a folder end with, in small or capital letters."""

_MOST_16 = 65535


def find_photos(named: Iterable[str | Path]) -> list[Path]:
    """The image files that are meant by files and folders.

    Args:
        named: Files, taken as they are, and folders, of which all images are taken in the order of their names;
            folders in them are not entered.

    Returns:
        Each file once, in the order in which it was first named.

    Raises:
        ImageError: A file or folder is missing, or a folder has no image.
    """
    found: dict[Path, Path] = {}
    for place in map(Path, named):
        files = [place]
        if place.is_dir():
            files = sorted(path for path in place.iterdir() if path.suffix.lower() in ENDINGS and path.is_file())
            if not files:
                raise ImageError(
                    f"no image in the folder '{place}'",
                    f"files that end with {', '.join(ENDINGS)}",
                    "name the folder that holds the images themselves, or the files",
                )
        elif not place.is_file():
            raise ImageError(f"no file '{place}'", "an image file, or a folder of them", "check the path")
        for file in files:
            found.setdefault(file.resolve(), file)
    return list(found.values())


def read_photo(path: str | Path) -> Image.Image:
    """An image file as a picture of mode "L" (grey) or "RGB".

    It stands upright, as its EXIF note says. What is transparent lies on white, as on a page. 16 bits become 8 by
    division, not by cutting off. Of a moving picture the first frame is taken.

    Raises:
        ImageError: The file cannot be decoded, or holds values that are no shades of 8 or 16 bits.
    """
    try:
        with Image.open(path) as file:
            file.load()
            return _plain(ImageOps.exif_transpose(file), path)
    except ImageError:
        raise
    # Decoders raise whatever damaged bytes lead them to: EOFError, IndexError, struct.error, zlib.error, ...
    except Exception as error:
        told = "not a format that Pillow knows" if "cannot identify" in str(error) else str(error) or repr(error)
        raise ImageError(
            f"'{path}' cannot be read: {told}",
            "a whole image file: JPEG, PNG, WebP, TIFF, GIF or BMP",
            "replace the file, or leave it out",
        ) from error


def _plain(image: Image.Image, path: str | Path) -> Image.Image:
    if image.mode == "F":
        raise ImageError(
            f"'{path}' holds floating point values", "shades of 8 or 16 bits", "save it as PNG with 8 or 16 bits"
        )
    if image.mode.startswith("I"):
        values = np.asarray(image).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > _MOST_16):
            raise ImageError(
                f"'{path}' holds values from {values.min()} to {values.max()}", "shades of 8 or 16 bits, 0 to 65535",
                "save it as PNG with 8 or 16 bits",
            )  # fmt: skip
        return Image.fromarray(((values + 128) // 257).astype(np.uint8))
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        image = paper
    return image.convert("L" if grey else "RGB")
