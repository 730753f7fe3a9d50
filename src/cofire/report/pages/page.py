"""What pages of images and their explanations share: one writer, images with heat map and box, and their set-up."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from cofire.atomic import write_text
from cofire.explain import Explanation
from cofire.explain.drawing import draw, paper
from cofire.explain.drawing.captions import NO_EVIDENCE, heat_told
from cofire.images.files import listed
from cofire.images.pictures import address
from cofire.report.notation import settings, versions
from cofire.report.section import Section
from cofire.report.sheet import render
from cofire.statistics import Finding

_SHADES = 256
_SMALL_SIDE = 64


@dataclass(frozen=True)
class Setup:
    """How explanations were made, for the end of a page.

    Attributes:
        network: The model as it was named.
        weights: Where its weights are from.
        prepared: What was done to the images, in words.
        command: That makes the page again.
        version: Of cofire.
    """

    network: str
    weights: str
    prepared: str
    command: str
    version: str


@dataclass(frozen=True)
class Panel:
    """What a page draws of the explanation of one image.

    Attributes:
        label: Which explanation of what.
        heat: Address of the heat map, "" where it is cold.
        ends: What the colour bar measures, and the numbers at its ends; none where it is cold.
        frame: Left, top, width and height of the box, as drawn; none without a box.
        dots: Centre and radius of every point, as drawn.
        hottest: Centre of the hottest pixel, as drawn; none where all are alike.
    """

    label: str
    heat: str
    ends: tuple[str, str, str] | None
    frame: tuple[float, ...] | None
    dots: tuple[tuple[float, float, float], ...]
    hottest: tuple[float, float] | None

    @property
    def nothing(self) -> str:
        """Why it is cold; "" where it is not."""
        return "" if self.heat else NO_EVIDENCE


def panel(explanation: Explanation, label: str) -> Panel:
    """What a page draws of an explanation of one image, told as in its label."""
    heat = explanation.heatmap()[0]
    (share, largest), box = draw.heat_share(heat), box_of(explanation)
    width, height = draw.drawn_size(explanation.size)
    rows, columns = explanation.size
    y, x = divmod(int(heat.argmax()), columns)
    points = () if explanation.neurons is None else explanation.points(0)
    dots = draw.dots_of(points, explanation.size) if points else ()
    return Panel(
        label,
        heat_address(share) if largest > 0 else "",
        heat_told(explanation, largest) if largest > 0 else None,
        None if box is None else framed(box, explanation.size),
        tuple((x * width, y * height, r * max(width, height)) for x, y, r in dots),
        ((x + 0.5) * width / columns, (y + 0.5) * height / rows)
        if bool(heat.max() > heat.min())
        else None,
    )


def box_of(explanation: Explanation) -> list[float] | None:
    """Left, top, right and bottom of the box of a single image, in pixels of the network's input; None for no box."""
    boxes = explanation.boxes()
    corners: list[float] = boxes.corners[0].tolist()
    return corners if bool(boxes.found[0]) else None


def framed(corners: Sequence[float], size: tuple[int, int]) -> tuple[float, ...]:
    """Left, top, width and height of a box, in units in which an image of a height and width is drawn."""
    width, height = draw.drawn_size(size)
    across, down = width / size[1], height / size[0]
    left, top, right, bottom = corners
    return left * across, top * down, (right - left) * across, (bottom - top) * down


def heat_address(share: NDArray[Any]) -> str:
    """A heat map as an image of 256 colours, a third of the bytes, from shares of the largest value, 0 to 1.

    Opacity goes with the square root of the share. So do the steps between the colours, that no
    edges are seen where it is cold.
    """
    image = Image.fromarray(np.round(np.sqrt(share) * (_SHADES - 1)).astype(np.uint8))
    image.putpalette(draw.coloured(np.linspace(0, 1, _SHADES) ** 2).tobytes(), "RGBA")
    return paper.png_address(image)


def image_address(pixels: NDArray[Any]) -> str:
    """An image (height, width, 3), uint8: as JPEG, small ones, whose every pixel is seen, as PNG."""
    image = Image.fromarray(pixels)
    if max(image.size) <= _SMALL_SIDE:
        return paper.png_address(image)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=90, optimize=True)
    return address(file.getvalue())


def left_out(options: Mapping[str, Any]) -> list[tuple[str, str]]:
    """The reason with the number, and the first names, of what a run's options say was left out.

    Args:
        options: With "left_out", as `cofire.images.collection.Collection.left_out` gives it, or
            without.

    Example:
        >>> left_out({"left_out": {"images without an entry": ["a.jpg", "b.jpg"]}})
        [('images without an entry (2)', 'a.jpg; b.jpg')]
    """
    return [
        (f"{reason} ({len(names):,})", listed(names))
        for reason, names in options.get("left_out", {}).items()
    ]


def write_page(
    path: str | Path,
    parts: Sequence[Section],
    findings: Sequence[Finding],
    *,
    name: str,
    title: str,
    size: tuple[int, int] = (224, 224),
    options: Mapping[str, Any] | None = None,
    setups: Sequence[tuple[str, Setup]] = (),
    **words: Any,
) -> Path:
    """Write a page: the verdict, how to read it, part by part, and how it was made; it needs nothing else.

    Args:
        path: Where to; the file appears whole or not at all.
        parts: What it consists of.
        findings: The verdict.
        name: Of the templates that say how to read it and how it was made: "pages/NAME.html.j2".
        title: Its heading.
        size: Height and width of the images in pixels.
        options: How it was made, printed one by one; "command", "versions" and "left_out" by
            themselves.
        setups: How explanations were made, by the name of the network.
        **words: What else the templates lay out.
    """
    given = dict(options or {})
    width, height = draw.drawn_size(size)
    stops = ", ".join(f"rgb({r},{g},{b})" for r, g, b in np.asarray(draw.bar())[0, ::15].tolist())
    held = [(part, dict(part.figures()), dict(part.tables())) for part in parts]
    shown = {key: value for key, value in given.items() if key != "left_out" and value is not None}
    page = render(
        "report.html.j2",
        {name: figure for _, drawn, _ in held for name, figure in drawn.items()},
        name=f"pages/{name}.html.j2",
        title=title,
        parts=held,
        findings=findings,
        styles=("page.css", "report.css", "sections.css", "pages/pages.css"),
        look={
            "frame": paper.FRAME,
            "frame-edge": paper.FRAME_EDGE,
            "dot": paper.DOT,
            "dot-edge": paper.DOT_EDGE,
            "heat": f"linear-gradient(to right, {stops})",
        },
        width=width,
        height=height,
        pixelated=Markup("" if draw.is_smooth(size) else 'style="image-rendering:pixelated"'),
        settings=settings({key: value for key, value in shown.items() if key != "command"}),
        versions=versions(given),
        command=setups[0][1].command if setups else given.get("command"),
        setups=setups,
        left_out=left_out(given),
        **{"scripts": (), "results": None, **words},
    )
    write_text(path, page)
    return Path(path)
