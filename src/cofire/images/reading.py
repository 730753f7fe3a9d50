"""Image files of every common kind, upright, of 8 bits, grey or in colour: the one way that cofire reads.

Whatever asks for images, data sets of folders as well as explanations, gets them from here, so
that a network sees the same pixels wherever it is shown a file.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from cofire.errors import ImageError
from cofire.images.annotations import Corners
from cofire.reading import named

ENDINGS = (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
"""What the images of a folder end with, in small or capital letters."""
MOST_PIXELS = 89_478_485
"""Pixels of the largest image, about 9,459 × 9,459, from which on Pillow warns of files made to fill the memory.

In colour they take a third of a gigabyte; a network sees a thousandth of them.
"""
MOST_BYTES = 512 << 20
"""Bytes of the largest file: more than so many pixels take without any compression."""
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")
"""The decoders that are tried. Pillow's others include one that runs Ghostscript on what calls itself an image."""
_MOST_16 = 65535
_AT_ONCE = 1 << 20
"""Pixels whose values are widened at a time, so that the memory needed is that of the image."""


def find_images(named: Iterable[str | Path]) -> list[Path]:
    """The image files that are meant by files and folders.

    Args:
        named: Files, taken as they are, and folders, of which all images are taken in the order of
            their names; folders in them are not entered.

    Returns:
        Each file once, in the order in which it was first named.

    Raises:
        ImageError: A file or folder is missing, or a folder has no image.
    """
    found: dict[Path, Path] = {}
    for place in map(Path, named):
        for file in _files_of(place):
            found.setdefault(file.resolve(), file)
    return list(found.values())


def _files_of(place: Path) -> list[Path]:
    try:
        if place.is_file():
            return [place]
        if not place.is_dir():
            raise ImageError(
                f"no file '{named(place)}'", "an image file, or a folder of them", "check the path"
            )
        files = sorted(
            path for path in place.iterdir() if path.suffix.lower() in ENDINGS and path.is_file()
        )
    except OSError as error:
        raise ImageError(
            f"'{named(place)}' cannot be looked into: {error}",
            "an image file, or a folder of them",
            "check the path",
        ) from error
    if not files:
        raise ImageError(
            f"no image in the folder '{named(place)}'",
            f"files that end with {', '.join(ENDINGS)}",
            "name the folder that holds the images themselves, or the files",
        )
    return files


def read_image(path: str | Path, content: bytes | None = None) -> Image.Image:
    """An image file, of mode "L" (grey) or "RGB".

    It stands upright, as its EXIF note says. What is transparent lies on white, as on a page. 16
    bits become 8 by division, not by cutting off. Of a moving image the first frame is taken.

    Args:
        path: The file, or what it is called.
        content: Its bytes, where they were read elsewhere.

    Raises:
        ImageError: The file cannot be decoded, has more than `MOST_PIXELS` or `MOST_BYTES`, or
            holds values that are no shades of 8 or 16 bits.
    """
    try:
        # Opening what is no file, as a pipe, could wait for ever; a device has no size either.
        if (bytes_ := _bytes_of(Path(path)) if content is None else len(content)) > MOST_BYTES:
            raise ImageError(
                f"'{named(path)}' is a file of {bytes_:,} bytes",
                f"at most {MOST_BYTES:,}, which hold any image that can be used",
                "make the image smaller, or leave it out",
            )
        held = path if content is None else io.BytesIO(content)
        with Image.open(held, formats=_FORMATS) as file:
            return plain_image(file, named(path))
    except ImageError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise _too_large(
            named(path), str(error).partition(" pixels)")[0].replace("Image size (", "") + " pixels"
        ) from error
    # Decoders raise whatever damaged bytes lead them to: EOFError, IndexError, struct.error,
    # zlib.error, ...
    except Exception as error:
        raise _unreadable(named(path), error) from error


def plain_image(image: Image.Image, name: str) -> Image.Image:
    """An image that was opened elsewhere, as by a data set, in the form that `read_image` gives.

    Args:
        image: As Pillow holds it, of any mode.
        name: Of the file, for messages.

    Raises:
        ImageError: As `read_image`.

    Example:
        >>> image = Image.new("RGBA", (2, 1), (0, 0, 0, 0))
        >>> image.putpixel((1, 0), (0, 0, 0, 255))
        >>> seen = plain_image(image, "a.png")
        >>> seen.mode, seen.getpixel((0, 0)), seen.getpixel((1, 0))
        ('RGB', (255, 255, 255), (0, 0, 0))
    """
    width, height = image.size
    if not width * height:
        raise ImageError(f"'{name}' has no pixels", "an image", "replace the file, or leave it out")
    if width * height > MOST_PIXELS:
        raise _too_large(name, f"{width:,} × {height:,} pixels")
    try:
        image.load()
        # Without a turn this would be a copy of the whole image.
        upright = ImageOps.exif_transpose(image) if _has_orientation(image) else image
        return _plain(upright, name)
    except ImageError:
        raise
    except Exception as error:
        raise _unreadable(name, error) from error


def _has_orientation(image: Image.Image) -> bool:
    return bool(image.getexif().get(0x0112, 1) != 1)


def _bytes_of(path: Path) -> int:
    if not path.is_file():
        raise ImageError(
            f"'{named(path)}' cannot be read: "
            + ("it is no file" if path.exists() else "there is no such file"),
            "a whole image file: JPEG, PNG, WebP, TIFF, GIF or BMP",
            "replace the file, or leave it out",
        )
    return path.stat().st_size


def _too_large(name: str, told: str) -> ImageError:
    return ImageError(
        f"'{name}' has {told}",
        f"at most {MOST_PIXELS:,}: larger images need gigabytes to be opened, and a network sees a thousandth of it",
        "make the image smaller with any image program, to 4,000 pixels a side, say, or leave it out",
    )


def _unreadable(name: str, error: Exception) -> ImageError:
    told = (
        "not a format that Pillow knows"
        if "cannot identify" in str(error)
        else str(error) or repr(error)
    )
    return ImageError(
        f"'{name}' cannot be read: {told}",
        "a whole image file: JPEG, PNG, WebP, TIFF, GIF or BMP",
        "replace the file, or leave it out",
    )


def _plain(image: Image.Image, name: str) -> Image.Image:
    if image.mode == "F":
        raise ImageError(
            f"'{name}' holds floating point values",
            "shades of 8 or 16 bits",
            "save it as PNG with 8 or 16 bits",
        )
    if image.mode.startswith("I"):
        return _from_16_bits(image, name)
    grey = image.mode in ("1", "L", "LA", "La")
    if image.has_transparency_data:
        return _on_white(image, "L" if grey else "RGB")
    wanted = "L" if grey else "RGB"
    return image if image.mode == wanted else image.convert(wanted)


def _strips(image: Image.Image) -> Iterator[tuple[int, Image.Image]]:
    """Parts of an image from top to bottom, each with where it begins."""
    rows = max(1, _AT_ONCE // max(1, image.width))
    for top in range(0, image.height, rows):
        yield top, image.crop((0, top, image.width, min(top + rows, image.height)))


def _from_16_bits(image: Image.Image, name: str) -> Image.Image:
    found = Image.new("L", image.size)
    clear = image.info.get("transparency")
    for top, strip in _strips(image):
        values = np.asarray(strip).astype(np.int64)
        if values.size and (values.min() < 0 or values.max() > _MOST_16):
            raise ImageError(
                f"'{name}' holds values from {values.min()} to {values.max()}",
                "shades of 8 or 16 bits, 0 to 65535",
                "save it as PNG with 8 or 16 bits",
            )
        shades = (values + 128) // 257
        if isinstance(clear, int):
            shades[values == clear] = 255
        found.paste(Image.fromarray(shades.astype(np.uint8)), (0, top))
    return found


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    found = Image.new(mode, image.size)
    for top, strip in _strips(image):
        paper = Image.new("RGBA", strip.size, "white")
        paper.alpha_composite(strip.convert("RGBA"))
        found.paste(paper.convert(mode), (0, top))
    return found


def size_of(path: str | Path) -> tuple[int, int]:
    """Width and height of an image file as stored, of which nothing is read but its beginning.

    Raises:
        ImageError: It is no image.
    """
    try:
        with Image.open(path, formats=_FORMATS) as file:
            return file.size
    except Exception as error:
        raise _unreadable(named(path), error) from error


_ORIENTATION = 0x0112
_ON_ITS_SIDE = 5


def orientation_of(path: str | Path) -> int:
    """How the pixels of an image file are stored, as its EXIF note says: 1 (upright) to 8.

    A file without such a note, or that is no image, counts as upright; reading it is what tells
    what is wrong with it.
    """
    try:
        with Image.open(path) as file:
            noted = file.getexif().get(_ORIENTATION, 1)
    # As in reading: damaged notes raise whatever their bytes lead to, and Pillow then shows the
    # image as stored.
    except Exception:
        return 1
    return noted if noted in range(1, 9) else 1


def oriented(corners: Corners, orientation: int, size: tuple[int, int]) -> Corners:
    """A box of the stored pixels on the upright image.

    Args:
        corners: Left, top, right and bottom in pixels as stored.
        orientation: As `orientation_of` tells it.
        size: Width and height as stored.

    Example:
        A box in the left upper corner of an image that is to be turned by a quarter clockwise goes
        to the right:

        >>> oriented((0.0, 0.0, 2.0, 1.0), 6, (4, 3))
        (2.0, 0.0, 3.0, 2.0)
    """
    left, top, right, bottom = corners
    width, height = size
    if orientation in (2, 3, 7, 8):
        left, right = width - right, width - left
    if orientation in (3, 4, 6, 7):
        top, bottom = height - bottom, height - top
    return (top, left, bottom, right) if orientation >= _ON_ITS_SIDE else (left, top, right, bottom)
