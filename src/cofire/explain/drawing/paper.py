"""What an explanation is drawn on: the same images, dots, frames and words as pixels or as vectors."""

from __future__ import annotations

import base64
import contextlib
import io
import re
import unicodedata
from collections.abc import Iterable
from functools import cache

from markupsafe import Markup, escape
from PIL import Image, ImageDraw, ImageFont

INK, MUTED, GROUND, EDGE = "#1c2430", "#5a6473", "#ffffff", "#d5dae1"
# Bright on a dark edge: seen on any image, and by readers who do not tell red from green.
DOT, DOT_EDGE = "#f5d90a", "#10151c"
FRAME, FRAME_EDGE = "#56e0ff", "#10151c"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
_FINER = 4


_WIDER_FONTS = (
    "DejaVuSans.ttf",
    "LiberationSans-Regular.ttf",
    "NotoSans-Regular.ttf",
    "arial.ttf",
    "Arial.ttf",
)
_OWN_SIGNS = "…·’™±"

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
Area = tuple[float, float, float, float]
"""Left, top, width and height."""
Dots = Iterable[tuple[float, float, float]]
"""Centre x, centre y and radius."""


@cache
def _font(size: int) -> Font:
    return ImageFont.load_default(size)


@cache
def _wider_font(size: int) -> Font | None:
    for name in _WIDER_FONTS:
        with contextlib.suppress(OSError):
            return ImageFont.truetype(name, size)
    return None


def _written(words: str, size: int) -> tuple[str, Font]:
    """Words as a font at hand can write them: Pillow's own has English letters and little more."""
    words = re.sub(r"[\t\n\r]", " ", words.replace("\u00a0", " ").replace("×", "x"))
    words = "".join(sign for sign in words if unicodedata.category(sign) not in ("Cc", "Cs"))
    if all(sign <= "~" or sign in _OWN_SIGNS for sign in words):
        return words, _font(size)
    wider = _wider_font(size)
    if wider is not None:
        return words, wider
    bare = "".join(s for s in unicodedata.normalize("NFKD", words) if not unicodedata.combining(s))
    return "".join(sign if sign <= "~" or sign in _OWN_SIGNS else "?" for sign in bare), _font(size)


def shortened(words: str, size: int, width: float) -> str:
    """Words that fit a width in pixels, with an ellipsis where they were longer.

    Example:
        >>> shortened("tench", 20, 200), shortened("a very long name of a class", 20, 100)
        ('tench', 'a very lon…')
    """
    written, font = _written(words, size)
    if font.getlength(written) <= width:
        return words
    while words and font.getlength(_written(words, size)[0] + "…") > width:
        words = words[:-1]
    return words.rstrip() + "…"


class PixelPaper:
    """A surface of pixels; places and sizes are in pixels from the top left corner."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width, height), GROUND)
        self._draw = ImageDraw.Draw(self.image)

    def pixels(self, area: Area, image: Image.Image, *, smooth: bool) -> None:
        """An image, stretched to an area; with hard pixels where it is not smooth."""
        x, y, width, height = area
        way = Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST
        self.image.paste(image.resize((round(width), round(height)), way), (round(x), round(y)))
        # A white image on white paper has no end without it.
        edge = (round(x) - 1, round(y) - 1, round(x + width), round(y + height))
        self._draw.rectangle(edge, outline=EDGE)

    def dots(self, area: Area, dots: Dots) -> None:
        """Dots relative to an area that they do not leave."""
        x, y, width, height = area
        # Pillow draws hard edges: draw larger and shrink.
        size = (round(width), round(height))
        fine = Image.new("RGBA", (size[0] * _FINER, size[1] * _FINER), (0, 0, 0, 0))
        draw = ImageDraw.Draw(fine)
        for cx, cy, radius in dots:
            box = [value * _FINER for value in (cx - radius, cy - radius, cx + radius, cy + radius)]
            draw.ellipse(box, fill=DOT, outline=DOT_EDGE, width=_FINER)
        layer = fine.resize(size, Image.Resampling.BOX)
        self.image.paste(layer, (round(x), round(y)), layer)

    def frame(self, left: float, top: float, right: float, bottom: float) -> None:
        """A box that can be seen on any image."""
        box = [
            round(left),
            round(top),
            max(round(right) - 1, round(left)),
            max(round(bottom) - 1, round(top)),
        ]
        outer = [box[0] - 1, box[1] - 1, box[2] + 1, box[3] + 1]
        self._draw.rectangle(outer, outline=FRAME_EDGE, width=6)
        self._draw.rectangle(box, outline=FRAME, width=4)

    def text(
        self, x: float, y: float, words: str, size: int, *, muted: bool = False, right: bool = False
    ) -> None:
        """A line of words by its left (or right) end; y is the middle of the line."""
        place = (round(x), round(y))
        words, font = _written(words, size)
        self._draw.text(place, words, MUTED if muted else INK, font, anchor="rm" if right else "lm")


class VectorPaper:
    """The same surface as an SVG file."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self._parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" font-family="{FONT}"><title>{_escaped(title)}</title>'
            f'<rect width="100%" height="100%" fill="{GROUND}"/>'
        ]
        self._areas = 0

    def pixels(self, area: Area, image: Image.Image, *, smooth: bool) -> None:
        """As on `PixelPaper`."""
        x, y, width, height = area
        self._parts.append(
            f'<rect x="{x - 0.5:g}" y="{y - 0.5:g}" width="{width + 1:g}" height="{height + 1:g}" fill="none" '
            f'stroke="{EDGE}"/>'
        )
        style = "" if smooth else ' style="image-rendering:pixelated"'
        self._parts.append(
            f'<image x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}" preserveAspectRatio="none"{style} '
            f'href="{png_address(image)}"/>'
        )

    def dots(self, area: Area, dots: Dots) -> None:
        """As on `PixelPaper`."""
        x, y, width, height = area
        self._areas += 1
        name = f"area{self._areas}"
        circles = "".join(
            f'<circle cx="{x + cx:.5g}" cy="{y + cy:.5g}" r="{radius:.3g}"/>'
            for cx, cy, radius in dots
        )
        self._parts.append(
            f'<clipPath id="{name}"><rect x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"/></clipPath>'
            f'<g clip-path="url(#{name})" fill="{DOT}" stroke="{DOT_EDGE}" stroke-width="1">{circles}</g>'
        )

    def frame(self, left: float, top: float, right: float, bottom: float) -> None:
        """As on `PixelPaper`."""
        shape = f'x="{left:g}" y="{top:g}" width="{right - left:g}" height="{bottom - top:g}" fill="none"'
        for colour, width in ((FRAME_EDGE, 6), (FRAME, 3)):
            self._parts.append(f'<rect {shape} stroke="{colour}" stroke-width="{width}"/>')

    def text(
        self, x: float, y: float, words: str, size: int, *, muted: bool = False, right: bool = False
    ) -> None:
        """As on `PixelPaper`."""
        end = ' text-anchor="end"' if right else ""
        self._parts.append(
            f'<text x="{x:g}" y="{y + 0.35 * size:g}" font-size="{size}" fill="{MUTED if muted else INK}"{end}>'
            f"{_escaped(words)}</text>"
        )

    def document(self) -> str:
        """The whole file."""
        return "".join(self._parts) + "</svg>\n"


Paper = PixelPaper | VectorPaper

# XML has no way to write these, not even as a number.
_NOT_XML = re.compile("[^\t\n\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def _escaped(words: str) -> Markup:
    return escape(_NOT_XML.sub("", words))


def png_address(image: Image.Image) -> str:
    """An image as an address that holds it, for pages and drawings that load nothing."""
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(file.getvalue()).decode()}"
