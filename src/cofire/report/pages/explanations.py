"""The page of explained images: all methods side by side, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

from cofire.explain import METHODS, Explanation, title_of
from cofire.explain.drawing.captions import (
    class_told,
    explained_told,
    layers_told,
    map_box_rule,
    maps_told,
    percent,
    point_box_rule,
    spread_told,
)
from cofire.explain.drawing.draw import drawn_size
from cofire.explain.drawing.page import MOST_ROWS, layer_shown
from cofire.report.notation import joined, plural
from cofire.report.pages.explained import (
    Explained,
    alike,
    box_words,
    evidence_words,
)
from cofire.report.pages.page import Panel, Setup, image_address, panel, write_page
from cofire.report.section import Section
from cofire.report.sheet import dumped
from cofire.report.table import Column, Table
from cofire.statistics import Finding

MOST_IMAGES = 60
"""Images that a page has at the most."""
OPEN_PANELS = 24
"""So many panels are shown at first sight; further images are folded."""
UNSURE = 0.5
"""Below this probability a prediction is told as unsure."""
APART = 0.2
"""Boxes whose mean overlap (intersection over union) is below this hardly overlap."""
_LAYER_BYTES, _NEURON_BYTES, _LEAST_ROWS = 5_000_000, 20, 40


@dataclass(frozen=True)
class Drawn:
    """One method's explanation of one class.

    Attributes:
        method: Its title.
        drawn: What the page draws.
        words: How much was found.
        box: The size of the box, or why there is none.
        layers: What the slider through the layers shows of each; none of what is not traced.
    """

    method: str
    drawn: Panel
    words: str
    box: str
    layers: tuple[dict[str, Any], ...]


@dataclass(frozen=True)
class Row:
    """All methods on one class: its name with its probability, its name, and whether it is the predicted one."""

    told: str
    name: str
    is_predicted: bool
    panels: tuple[Drawn, ...]


@dataclass(frozen=True)
class Shown:
    """What the page has of one image: its name, address and prediction, and a row for each explained class."""

    file: str
    address: str
    predicted: str
    confidence: float
    rows: tuple[Row, ...]

    @property
    def overlap(self) -> float | None:
        """The mean intersection over union of any two methods' boxes; None where there are no two."""
        rows = [[p.drawn.frame for p in row.panels if p.drawn.frame] for row in self.rows]
        pairs = [_overlap(*two) for frames in rows for two in combinations(frames, 2)]
        return sum(pairs) / len(pairs) if pairs else None


class Images(Section):
    """Every image with what explains it."""

    id, title = "images", "What spoke for the decision?"
    label, template, wide = "Images", "pages/explained.html.j2", True

    def __init__(self, images: Sequence[Shown], rows: Sequence[Explanation]) -> None:
        self.images = images
        self.size = f"{rows[0].size[1]} × {rows[0].size[0]} pixels"
        self.traced = any(one.neurons is not None for one in rows)
        panels = sum(len(row.panels) for row in images[0].rows)
        self.open = max(1, OPEN_PANELS // max(1, panels))
        self.rows = rows

    def tables(self) -> dict[str, Table]:
        rows = [[title_of(one.method), _heat_rule(one), _box_rule(one)] for one in self.rows]
        columns = [Column("method"), Column("heat map"), Column("box")]
        options = [
            [title_of(one.method), _option(one.method, name), _value(value)]
            for one in self.rows
            for name, value in one.options.items()
        ]
        found = {"drawn": Table("What each method’s heat map and box are.", columns, rows)}
        if options:
            columns = [Column("option"), Column("value")]
            found["options"] = Table("Options of each method.", columns, options, by=True)
        return found


def shown(explained: Explained, names: Sequence[str] | None, images: int) -> Shown:
    """What the page has of one image.

    Args:
        explained: The image.
        names: Names of all classes.
        images: How many the page has: the more, the fewer neurons it holds of each layer.
    """
    first = explained.first
    traced = sum(explanation.neurons is not None for row in explained.rows for explanation in row)
    rows = [
        Row(
            explained_told(row[0], 0, names),
            class_told(int(row[0].target[0, 0]), names),
            bool(row[0].target[0, 0] == first.predicted[0]),
            tuple(_drawn(explanation, names, images * traced) for explanation in row),
        )
        for row in explained.rows
    ]
    return Shown(
        explained.told,
        image_address(first.images[0].numpy()),
        class_told(int(first.predicted[0]), names),
        float(first.confidence[0]),
        tuple(rows),
    )


def write_explanations(
    path: str | Path,
    images: Sequence[Shown],
    example: Explained,
    setup: Setup,
    *,
    explained: int,
    title: str | None = None,
    further: Sequence[Section] = (),
) -> Path:
    """Write the page.

    Args:
        path: Where to; the file appears whole or not at all.
        images: What `shown` gave of each image that the page is to have, one or more.
        example: Any of the images.
        setup: How they were made.
        explained: How many images there were.
        title: Heading of the page.
        further: Parts after the images.

    Returns:
        The path.
    """
    first = example.rows[0]
    part = Images(images, first)
    panels = [each for image in images for row in image.rows for each in row.panels]
    layers = [each.layers for each in panels if each.layers]
    one = f"Why {images[0].predicted}?"
    width, height = drawn_size(first[0].size)
    return write_page(
        path,
        [part, *further],
        findings(images, first, explained),
        name="explanations",
        title=title or ("Why the network decided so" if len(images) > 1 else one),
        size=first[0].size,
        setups=[("", setup)],
        rows=first,
        traced=part.traced,
        shares=any(one.neurons is not None and not alike(one) for one in first),
        maps=[title_of(one.method) for one in first if one.maps is not None],
        script="page.js",
        data=dumped({"width": width, "height": height, "strip": False, "images": layers}),
    )


def findings(images: Sequence[Shown], rows: Sequence[Explanation], explained: int) -> list[Finding]:
    """What was explained, and what to be careful with."""
    methods = joined([title_of(explanation.method) for explanation in rows])
    first, alone = images[0].rows, all(image.rows[0].is_predicted for image in images)
    asked = "the predicted class" if alone else first[0].name
    if len(first) > 1:
        asked = f"each of the {len(first)} most probable classes"
    them = "it" if explained == 1 else "them"
    what = f"{plural(explained, 'image')}: what in {them} spoke for {asked}"
    lines = [Finding("fine", what, sure=f"By {methods}", about="images")]
    if len(images) < explained:
        what = f"This page has the first {len(images)} images"
        lines.append(Finding("note", what, sure="All are in explanations.json and in images"))
    panels = [each for image in images for row in image.rows for each in row.panels]
    if without := sum(not each.drawn.heat for each in panels):
        what = f"No evidence in {without} of {plural(len(panels), 'explanation')}"
        why = "The output came about in spite of what the network saw, or from constants"
        lines.append(Finding("problem", what, sure=why, about="images"))
    if unsure := [image for image in images if image.confidence < UNSURE]:
        which = "; ".join(f"{one.file}, {percent(one.confidence)}" for one in unsure[:3])
        what = f"{len(unsure)} of {plural(len(images), 'prediction')} below {percent(UNSURE)}"
        advice = "explain the rivals as well: --top 2"
        lines.append(Finding("note", what, which, advice=advice, about="images"))
    known = [image for image in images if image.overlap is not None]
    if apart := [image for image in known if (image.overlap or 0) < APART]:
        of = f"on {len(apart)} of {plural(len(known), 'image')}" if len(known) > 1 else "here"
        what = f"Methods’ boxes hardly overlap {of}"
        advice = "judge the methods on images with boxes: cofire evaluate"
        lines.append(Finding("problem", what, "", "They cannot all be right", advice, "images"))
    elif known:
        overlap = sum(image.overlap or 0 for image in known) / len(known)
        what = f"Methods’ boxes overlap by {percent(overlap, 0)} in the mean"
        lines.append(Finding("fine", what, sure="Intersection over union of any two"))
    why = "It shows what the network used, not whether that was right"
    lines.append(Finding("note", "An explanation is no proof", sure=why))
    return lines


def _drawn(explanation: Explanation, names: Sequence[str] | None, sliders: int) -> Drawn:
    told = explained_told(explanation, 0, names)
    found: list[dict[str, Any]] = []
    if explanation.neurons is not None and bool(explanation.neurons):
        sites = len(explanation.sites)
        most = min(max(_LAYER_BYTES // (_NEURON_BYTES * sites * sliders), _LEAST_ROWS), MOST_ROWS)
        found = [layer_shown(explanation, 0, site, names, most) for site in range(sites)]
    return Drawn(
        title_of(explanation.method),
        panel(explanation, f"{title_of(explanation.method)} for {told}"),
        evidence_words(explanation),
        box_words(explanation),
        tuple(found),
    )


def _overlap(one: Sequence[float], other: Sequence[float]) -> float:
    """Intersection over union of two frames: left, top, width and height."""
    sides = [
        max(0.0, min(a + across, b + wide) - max(a, b))
        for a, across, b, wide in zip(one[:2], one[2:], other[:2], other[2:], strict=True)
    ]
    shared = sides[0] * sides[1]
    return shared / (one[2] * one[3] + other[2] * other[3] - shared)


def _heat_rule(explanation: Explanation) -> str:
    if explanation.maps is not None:
        return f"{maps_told(explanation)}."
    if explanation.kind == "layers":
        return f"{layers_told(explanation.options, explanation.regions)}."
    counts = " It counts points: they have no shares." if alike(explanation) else ""
    return f"The points, {spread_told(explanation.regions)}.{counts}"


def _box_rule(explanation: Explanation) -> str:
    if explanation.boxed == "points":
        return f"Around the points that are no outliers. {point_box_rule(explanation.regions)}."
    return f"Around {map_box_rule(explanation.regions)}."


def _option(method: str, name: str) -> str:
    """An option by its title, with its name."""
    fields = METHODS[method].options.model_fields if method in METHODS else {}
    title = fields[name].title if name in fields else None
    return f"{title} ({name})" if title else name.replace("_", " ")


def _value(value: Any) -> str:
    if isinstance(value, Mapping | list | tuple):
        return ", ".join(map(_value, value))
    if value is None or isinstance(value, bool):
        return {None: "not set", True: "yes", False: "no"}[value]
    return f"{value:.3g}" if isinstance(value, float) else str(value)
