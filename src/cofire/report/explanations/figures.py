"""Evidence drawn on images: heat maps, points, and where two classes differ, as small pictures within the page."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from cofire.explain.drawing import draw
from cofire.explain.drawing.captions import evidence_told
from cofire.explain.result.regions import heat
from cofire.report.explanations.facts import Example, Traced

_PNG = b"\x89PNG\r\n\x1a\n"
_MORE = np.array([240, 140, 40])
"""Where the predicted class has more evidence: orange, which with blue stays distinct for colour-blind readers."""
_LESS = np.array([75, 165, 255])
_GROUND = (70, 70, 70, 255)
"""What the colour bars lie on: a middling grey of the pictures under the colours."""

Dots = tuple[tuple[float, float, float], ...]


@dataclass(frozen=True)
class Evidence:
    """The drawing of one class's evidence.

    Attributes:
        heat: A data URI of the heat map, "" where there is no evidence.
        dots: Centre x, centre y and radius of each point, in pixels of the image.
    """

    heat: str
    dots: Dots


@dataclass(frozen=True)
class Pictures:
    """The drawings of one image.

    Attributes:
        width: Of the image in pixels.
        height: Of the image in pixels.
        crisp: Whether its pixels are to be seen.
        picture: A data URI of the image, "" where there is none.
        predicted: Evidence for the predicted class.
        true: Evidence for the true class, None where the prediction is right.
        difference: A data URI of where the two differ, "" where there are no two or they do not.
        hottest: The evidence of the hottest pixel, to which the heat maps are scaled, in words; ""
            where there is none.
        farthest: The largest difference, to which the difference is scaled, in words.
        stronger: How much stronger the difference is drawn than the heat maps, in words; "" where
            it is not.
    """

    width: int
    height: int
    crisp: bool
    picture: str
    predicted: Evidence
    true: Evidence | None
    difference: str
    hottest: str
    farthest: str
    stronger: str


def drawn(example: Example) -> Pictures:
    """Draw the evidence for the classes of one image, both on the same scale."""
    classes = [example.predicted, *([example.true] if example.true is not None else [])]
    maps = [_heat(traced, example.size) for traced in classes]
    hottest = max(float(values.max()) for values in maps)
    evidence = [
        Evidence(
            _uri(Image.fromarray(draw.coloured(values / hottest))) if len(traced.points) else "",
            _dots(traced, example.size),
        )
        for traced, values in zip(classes, maps, strict=True)
    ]
    comparable = len(maps) == 2 and all(len(traced.points) for traced in classes)
    apart = maps[0] - maps[1] if comparable else np.zeros(example.size)
    farthest = float(np.abs(apart).max())
    height, width = example.size
    known = example.picture is not None and example.picture.startswith(_PNG)
    return Pictures(
        width,
        height,
        not draw.is_smooth(example.size),
        _encoded(example.picture) if known and example.picture is not None else "",
        evidence[0],
        evidence[1] if len(evidence) == 2 else None,
        _uri(Image.fromarray(_opposed(apart / farthest))) if farthest > 0 else "",
        evidence_told(hottest) if hottest > 0 else "",
        evidence_told(farthest) if farthest > 0 else "",
        f"{hottest / farthest:.0f} times" if hottest > 1.5 * farthest > 0 else "",
    )


@cache
def heat_bar() -> str:
    """The colours from no evidence to the hottest pixel, as a data URI."""
    return _bar(draw.coloured(np.linspace(0, 1, 128)[None]))


@cache
def difference_bar() -> str:
    """The colours from more evidence for the true class to more for the predicted one, as a data URI."""
    return _bar(_opposed(np.linspace(-1, 1, 128)[None]))


def _heat(traced: Traced, size: tuple[int, int]) -> NDArray[Any]:
    points = traced.points
    values: NDArray[Any] = heat(points.y, points.x, points.score, *size).numpy().astype(np.float64)
    return values


def _dots(traced: Traced, size: tuple[int, int]) -> Dots:
    height, width = size
    longer = max(size)
    found = draw.dots_of(traced.points, size)
    return tuple(
        (round(x * width, 3), round(y * height, 3), round(r * longer, 3)) for x, y, r in found
    )


def _opposed(share: NDArray[Any]) -> NDArray[Any]:
    """Shares from -1 to 1 as two colours that fade out towards 0, (..., 4), uint8."""
    colours = np.where(share[..., None] > 0, _MORE, _LESS)
    opacity = 235 * np.sqrt(np.abs(share))
    return np.concatenate([colours, opacity[..., None]], axis=-1).round().astype(np.uint8)


def _bar(colours: NDArray[Any]) -> str:
    ground = Image.new("RGBA", (colours.shape[1], 1), _GROUND)
    ground.alpha_composite(Image.fromarray(colours))
    return _uri(ground.convert("RGB"))


def _uri(image: Image.Image) -> str:
    file = io.BytesIO()
    image.save(file, "PNG", optimize=True)
    return _encoded(file.getvalue())


def _encoded(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
