"""One photo with all its explanations side by side, as a picture."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from cofire.atomic import atomic_path
from cofire.explain import Explanation, title_of
from cofire.explain.drawing import draw
from cofire.explain.drawing.captions import class_told, explained_told, heat_told, percent
from cofire.explain.drawing.paper import PixelPaper, shortened
from cofire.report.explain.explained import Explained, alike, box_of, box_words, evidence_words
from cofire.report.notation import joined

_GAP, _TITLE, _ROW, _FOOT, _END = 26, 78, 46, 138, 60
_LARGE, _TEXT, _SMALL = 26, 22, 18
_LEAST_WIDE = 448


def write_picture(explained: Explained, path: str | Path, names: Sequence[str] | None) -> Path:
    """Write a PNG file: a row for each class, in it the photo and a panel for each method with heat map and box.

    Args:
        explained: The photo.
        path: Where to; the file appears whole or not at all.
        names: Names of all classes.

    Returns:
        The path.
    """
    first = explained.first
    width, height = draw.drawn_size(first.size)
    several = len(explained.rows) > 1 or int(first.target[0, 0]) != int(first.predicted[0])
    head = _ROW if several else 8
    wide, columns = max(width, _LEAST_WIDE), 1 + len(explained.rows[0])
    full = columns * (wide + _GAP) - _GAP
    paper = PixelPaper(
        full + 2 * _GAP, _TITLE + len(explained.rows) * (head + height + _FOOT) + _END
    )
    predicted = class_told(int(first.predicted[0]), names)
    confidence = percent(float(first.confidence[0]))
    paper.text(_GAP, 32, shortened(f"Predicted: {predicted} ({confidence})", _LARGE, full), _LARGE)
    paper.text(_GAP, 62, shortened(explained.told, _SMALL, full), _SMALL, muted=True)
    for number, row in enumerate(explained.rows):
        top = _TITLE + number * (head + height + _FOOT)
        if several:
            paper.text(
                _GAP,
                top + 24,
                shortened(f"For {explained_told(row[0], 0, names)}", _TEXT, full),
                _TEXT,
            )
        smooth = draw.is_smooth(first.size)
        photo = Image.fromarray(row[0].pictures[0].numpy())
        paper.picture(_GAP, top + head, width, height, photo, smooth=smooth)
        paper.text(_GAP, top + head + height + 24, "What the network sees", _TEXT)
        paper.text(
            _GAP,
            top + head + height + 54,
            f"{first.size[1]} × {first.size[0]} pixels",
            _SMALL,
            muted=True,
        )
        for column, explanation in enumerate(row, start=1):
            left = _GAP + column * (wide + _GAP)
            _panel(paper, explanation, left, top + head, width, height)
            _foot(paper, explanation, left, top + head + height, wide)
    _legend(paper, explained, paper.image.height - _END + 22, full)
    with atomic_path(path) as partial, partial.open("wb") as file:
        paper.image.save(file, "PNG", optimize=True)
    return Path(path)


def _panel(
    paper: PixelPaper, explanation: Explanation, left: int, top: int, width: int, height: int
) -> None:
    heat = draw.panel(explanation, 0, "heatmap")
    paper.picture(left, top, width, height, heat.base, smooth=draw.is_smooth(explanation.size))
    box = box_of(explanation)
    if box is not None:
        rows, columns = explanation.size
        across, down = width / columns, height / rows
        paper.frame(
            left + box[0] * across, top + box[1] * down, left + box[2] * across, top + box[3] * down
        )


def _foot(paper: PixelPaper, explanation: Explanation, left: int, top: int, width: int) -> None:
    paper.text(left, top + 24, title_of(explanation.method), _TEXT)
    _, largest = draw.heat_share(explanation.heatmap()[0])
    lines = [evidence_words(explanation)]
    if largest > 0:
        what, low, high = heat_told(explanation, largest)
        paper.picture(left, top + 42, width, 12, draw.bar(), smooth=True)
        paper.text(left, top + 68, low, _SMALL, muted=True)
        paper.text(left + width, top + 68, high, _SMALL, muted=True, right=True)
        paper.text(left + 34, top + 68, what, _SMALL, muted=True)
        lines.append(f"box: {box_words(explanation)}")
    for at, line in enumerate(lines):
        paper.text(
            left,
            top + (94 if largest > 0 else 54) + 24 * at,
            shortened(line, _SMALL, width),
            _SMALL,
        )


def _legend(paper: PixelPaper, explained: Explained, y: int, width: int) -> None:
    paper.frame(_GAP + 2, y - 8, _GAP + 30, y + 8)
    words = "box around the evidence     colours from 0 (the picture shows) to the number at the end of each bar"
    counted = [title_of(one.method) for one in explained.rows[0] if alike(one)]
    if counted:
        words += f"     {joined(counted)}: points are counted, there are no shares"
    paper.text(_GAP + 42, y, shortened(words, _SMALL, width - 42), _SMALL, muted=True)
