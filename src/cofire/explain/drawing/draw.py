"""An explanation on its image: heat map, points and box, alone or as a sheet, as pixels and as vectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from cofire.atomic import atomic_path, write_text
from cofire.errors import OptionError, near_matches
from cofire.explain.drawing import captions
from cofire.explain.drawing.paper import Paper, PixelPaper, VectorPaper, shortened
from cofire.explain.methods.registry import title_of
from cofire.explain.result.regions import Points

if TYPE_CHECKING:
    from cofire.explain.result.explanation import Explanation

ALPHA = 0.85
"""Opacity of the heat map where it is hottest."""

SCALE = (
    "#0d0887",
    "#46039f",
    "#7201a8",
    "#9c179e",
    "#bd3786",
    "#d8576b",
    "#ed7953",
    "#fb9f3a",
    "#fdca26",
    "#f0f921",
)
"""Plasma (matplotlib), evenly spaced: even steps to the eye, and readable without telling red from green."""

_SIDE = 448
_STRIP = 56
_SMOOTH = 64
_DOT_MOST, _DOT_LEAST = 0.028, 0.003
# Of the image; more would hide what the dots lie on.
_DOTS_COVER = 0.14
TITLES = {"image": "Image", "heatmap": "Heat map", "points": "Points", "box": "Box"}
_GAP, _HEAD, _FOOT, _TEXT, _SMALL = 24, 84, 100, 24, 19


@dataclass(frozen=True)
class Panel:
    """One drawing of one image, without its words.

    Attributes:
        what: "image", "heatmap", "points" or "box".
        base: Its pixels, at the image's own size.
        dots: Centre x, centre y, and radius as shares of the drawing's width, its height, and its
            longer side.
        frame: Left, top, right and bottom as shares of width and height; None for no box.
        largest: Value at the hot end of the colour bar; None for no bar.
        note: What the drawing says in numbers.
    """

    what: str
    base: Image.Image
    dots: tuple[tuple[float, float, float], ...] = ()
    frame: tuple[float, float, float, float] | None = None
    largest: float | None = None
    note: str = ""


def coloured(share: NDArray[Any], alpha: float = ALPHA) -> NDArray[Any]:
    """Shares of the maximum as colours that fade out towards zero.

    Opacity is `alpha` × the square root of the share, so that what is cold shows the image.

    Args:
        share: Any shape, 0 to 1.
        alpha: Opacity at 1.

    Returns:
        The same shape and 4 (red, green, blue, opacity), uint8.

    Example:
        >>> coloured(np.array([0.0, 0.25, 1.0]), alpha=1.0).tolist()
        [[13, 8, 135, 0], [124, 7, 166, 128], [240, 249, 33, 255]]
    """
    anchors = np.array(
        [[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in SCALE], dtype=np.float64
    )
    places = np.linspace(0, 1, len(SCALE))
    channels = [np.interp(share, places, anchors[:, channel]) for channel in range(3)]
    stacked = np.stack([*channels, 255 * alpha * np.sqrt(share)], axis=-1)
    found: NDArray[Any] = np.round(stacked).astype(np.uint8)
    return found


def grey(pixels: NDArray[Any]) -> NDArray[Any]:
    """An image without its colours and a little darker, on which colours stand out, (height, width, 3), uint8."""
    light = pixels.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    found: NDArray[Any] = np.repeat((0.82 * light).round().astype(np.uint8)[:, :, None], 3, axis=2)
    return found


def heat_share(values: Tensor) -> tuple[NDArray[Any], float]:
    """A map as shares of its maximum, and the maximum; all zero where there is nothing."""
    largest = float(values.max()) if values.numel() else 0.0
    plain = values.numpy().astype(np.float64)
    return (np.minimum(plain / largest, 1.0) if largest > 0 else np.zeros_like(plain)), largest


def dot_radii(score: Tensor, size: tuple[int, int]) -> tuple[float, float]:
    """How large the dots of scores are drawn: the strongest, and the least that can be seen.

    Many dots of like scores get smaller, so that all together cover a small part of the image.

    Args:
        score: (dots,), above 0.
        size: Height and width of the image.

    Returns:
        Two radii as shares of the drawing's longer side.

    Example:
        >>> import torch
        >>> few = dot_radii(torch.ones(3), (224, 224))
        >>> many = dot_radii(torch.ones(1000), (224, 224))
        >>> [round(radius, 4) for radius in (*few, *many)]
        [0.028, 0.003, 0.0067, 0.003]
    """
    width, height = drawn_size(size)
    together = float((score.double() / score.max().double()).sum()) if len(score) else 1.0
    fitting = math.sqrt(
        _DOTS_COVER * min(width, height) / max(width, height) / (math.pi * together)
    )
    largest = min(_DOT_MOST, fitting)
    return largest, min(_DOT_LEAST, largest)


def dots_of(points: Points, size: tuple[int, int]) -> tuple[tuple[float, float, float], ...]:
    """Points as dots whose area grows with the score, the largest first so that none hides another.

    Args:
        points: Pixels.
        size: Height and width of the image.

    Returns:
        Centre x, centre y, and radius as shares of width, height and longer side.
    """
    if len(points) == 0:
        return ()
    order = points.score.argsort(descending=True, stable=True)
    largest, least = dot_radii(points.score, size)
    radius = (largest * (points.score[order].double() / points.score.max().double()).sqrt()).clamp(
        min=least
    )
    x, y = (points.x[order].double() + 0.5) / size[1], (points.y[order].double() + 0.5) / size[0]
    return tuple(zip(x.tolist(), y.tolist(), radius.tolist(), strict=True))


def panel(explanation: Explanation, image: int, what: str, alpha: float = ALPHA) -> Panel:
    """One drawing of one image.

    Args:
        explanation: Of a batch.
        image: From 0.
        what: "image", "heatmap", "points" or "box".
        alpha: Opacity of the heat map where it is hottest.

    Raises:
        OptionError: No such drawing, or `alpha` is out of bounds.
        ExplanationError: Points of an explanation by maps.
    """
    if what not in TITLES:
        raise OptionError(
            f"what={what!r}",
            f"one of {', '.join(TITLES)}",
            f"try {near_matches(str(what), TITLES)}",
        )
    pixels, size = explanation.images[image].numpy(), explanation.size
    if what == "image":
        return Panel(
            what, Image.fromarray(pixels), note=captions.size_told(explanation.input_shape)
        )
    if what == "heatmap":
        share, largest = heat_share(explanation[image].heatmap()[0])
        base = Image.fromarray(grey(pixels)).convert("RGBA")
        base.alpha_composite(Image.fromarray(coloured(share, alpha)))
        return Panel(
            what,
            base.convert("RGB"),
            largest=largest,
            note=captions.cold_told(explanation[image], largest),
        )
    if what == "points":
        points = explanation.points(image)
        note = captions.points_told(explanation, points.score.tolist())
        return Panel(what, Image.fromarray(grey(pixels)), dots=dots_of(points, size), note=note)
    alone = explanation[image]
    corners = [float(value) for value in alone.boxes().corners[0]]
    note = captions.box_told(
        corners, bool(alone.has_evidence[0]), explanation.input_shape, explanation.boxed
    )
    left, top, right, bottom = (value / size[1 - at % 2] for at, value in enumerate(corners))
    frame = (left, top, right, bottom) if right > left else None
    return Panel(what, Image.fromarray(pixels), frame=frame, note=note)


def drawn_size(size: tuple[int, int]) -> tuple[int, int]:
    """Width and height at which an image is drawn: enlarged by a whole number up to about 448 pixels.

    The single row of a vector is drawn higher than wide, to be seen.

    Example:
        >>> drawn_size((224, 224)), drawn_size((8, 8)), drawn_size((600, 800)), drawn_size((1, 64))
        ((448, 448), (448, 448), (800, 600), (448, 56))
    """
    height, width = size
    times = max(1, _SIDE // max(height, width))
    return width * times, _STRIP if height == 1 else height * times


def is_smooth(size: tuple[int, int]) -> bool:
    """Whether an image of a height and width is enlarged smoothly; small ones keep their pixels."""
    return max(size) >= _SMOOTH and min(size) > 1


def overlay(
    explanation: Explanation,
    image: int,
    what: str,
    *,
    alpha: float = ALPHA,
    legend: bool = True,
    class_names: Sequence[str] | None = None,
) -> Image.Image:
    """One drawing of one image as pixels, with or without its legend; see `Explanation.overlay`."""
    drawing = panel(explanation, image, what, alpha)
    width, height = drawn_size(explanation.size)
    if not legend:
        paper = PixelPaper(width, height)
        _place(paper, drawing, 0, 0, width, height)
        return paper.image
    wide = max(width, _SIDE)
    paper = PixelPaper(wide + 2 * _GAP, height + _HEAD + _FOOT + _GAP // 2)
    _head(paper, explanation, image, class_names, _GAP, _GAP // 2, wide)
    _place(paper, drawing, _GAP, _HEAD, width, height)
    _foot(paper, explanation, drawing, _GAP, _HEAD + height, wide, alpha)
    return paper.image


def save_png(
    explanation: Explanation, path: str | Path, *, class_names: Sequence[str] | None = None
) -> Path:
    """Write a sheet with one row per image as pixels; see `Explanation.save_png`."""
    paper = PixelPaper(*_sheet_size(explanation))
    _sheet(paper, explanation, class_names)
    with atomic_path(path) as partial, partial.open("wb") as file:
        paper.image.save(file, "PNG")
    return Path(path)


def save_svg(
    explanation: Explanation, path: str | Path, *, class_names: Sequence[str] | None = None
) -> Path:
    """Write the same sheet as vectors; see `Explanation.save_svg`."""
    paper = VectorPaper(*_sheet_size(explanation), repr(explanation))
    _sheet(paper, explanation, class_names)
    write_text(path, paper.document())
    return Path(path)


def kinds(explanation: Explanation) -> list[str]:
    """What can be drawn of an explanation: maps have no points."""
    return [what for what in TITLES if what != "points" or explanation.neurons is not None]


def _sheet_size(explanation: Explanation) -> tuple[int, int]:
    width, height = drawn_size(explanation.size)
    columns = len(kinds(explanation))
    row = _HEAD + height + _FOOT
    return columns * max(width, _SIDE) + (columns + 1) * _GAP, max(len(explanation), 1) * row + _GAP


def _sheet(paper: Paper, explanation: Explanation, class_names: Sequence[str] | None) -> None:
    width, height = drawn_size(explanation.size)
    wide = max(width, _SIDE)
    if len(explanation) == 0:
        paper.text(_GAP, _HEAD, "no images", _TEXT)
    for image in range(len(explanation)):
        top = _GAP // 2 + image * (_HEAD + height + _FOOT)
        drawings = [panel(explanation, image, what) for what in kinds(explanation)]
        _head(
            paper, explanation, image, class_names, _GAP, top, len(drawings) * (wide + _GAP) - _GAP
        )
        for column, drawing in enumerate(drawings):
            left = _GAP + column * (wide + _GAP)
            _place(paper, drawing, left, top + _HEAD, width, height)
            _foot(paper, explanation, drawing, left, top + _HEAD + height, wide, ALPHA)


def _place(paper: Paper, drawing: Panel, left: int, top: int, width: int, height: int) -> None:
    smooth = is_smooth((drawing.base.height, drawing.base.width))
    area = (left, top, width, height)
    paper.pixels(area, drawing.base, smooth=smooth)
    if drawing.dots:
        longer = max(width, height)
        paper.dots(area, ((x * width, y * height, r * longer) for x, y, r in drawing.dots))
    if drawing.frame is not None:
        x0, y0, x1, y1 = drawing.frame
        paper.frame(left + x0 * width, top + y0 * height, left + x1 * width, top + y1 * height)


def _head(
    paper: Paper,
    explanation: Explanation,
    image: int,
    names: Sequence[str] | None,
    left: int,
    top: int,
    width: int,
) -> None:
    told = captions.explained_told(explanation, image, names)
    more = f"{captions.predicted_told(explanation, image, names)} · {title_of(explanation.method)}"
    if not bool(explanation[image].has_evidence[0]):
        more += f" · {captions.NO_EVIDENCE}"
    paper.text(left, top + 22, shortened(told, _TEXT, width), _TEXT)
    paper.text(left, top + 52, shortened(more, _SMALL, width), _SMALL, muted=True)


def _foot(
    paper: Paper,
    explanation: Explanation,
    drawing: Panel,
    left: int,
    top: int,
    width: int,
    alpha: float,
) -> None:
    paper.text(left, top + 22, TITLES[drawing.what], _SMALL)
    if not drawing.largest:
        paper.text(left, top + 48, shortened(drawing.note, _SMALL, width), _SMALL, muted=True)
        return
    what, low, high = captions.heat_told(explanation, drawing.largest)
    paper.text(left + width, top + 22, what, _SMALL, muted=True, right=True)
    paper.pixels((left, top + 38, width, 14), bar(alpha), smooth=True)
    paper.text(left, top + 68, low, _SMALL, muted=True)
    paper.text(left + width, top + 68, high, _SMALL, muted=True, right=True)


def bar(alpha: float = ALPHA) -> Image.Image:
    """The colour bar as the colours look on a middling grey."""
    ground = Image.new("RGBA", (256, 1), (105, 105, 105, 255))
    ground.alpha_composite(Image.fromarray(coloured(np.linspace(0, 1, 256)[None], alpha)))
    return ground.convert("RGB")
