"""The page of explained photos: all methods side by side, in one file that needs nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from cofire.atomic import write_text
from cofire.explain import Explanation, title_of
from cofire.explain.drawing import draw, paper
from cofire.explain.drawing.captions import (
    NO_EVIDENCE,
    class_told,
    evidence_told,
    explained_told,
    heat_told,
    percent,
)
from cofire.explain.drawing.page import MOST_ROWS, layer_shown
from cofire.report.explain.addresses import heat_address, photo_address
from cofire.report.explain.explained import (
    Explained,
    box_of,
    box_words,
    evidence_at_input,
    evidence_words,
)
from cofire.report.explain.wording import lead, options_told, reading
from cofire.report.sheet import dumped

MOST_PHOTOS = 60
"""Photos that a page has at the most."""

_LAYER_BYTES = 5_000_000
_NEURON_BYTES = 20
_LEAST_ROWS = 40


@dataclass(frozen=True)
class Setup:
    """How explanations were made, for the head of the page.

    Attributes:
        network: The model as it was named.
        weights: Where its weights are from.
        prepared: What was done to the photos, in words.
        command: That makes the page again.
        version: Of cofire.
    """

    network: str
    weights: str
    prepared: str
    command: str
    version: str


def shown(explained: Explained, names: Sequence[str] | None, photos: int) -> dict[str, Any]:
    """What the page has of one photo.

    Args:
        explained: The photo.
        names: Names of all classes.
        photos: How many the page has: the more, the fewer neurons it holds of each layer.
    """
    first = explained.first
    traced = sum(explanation.neurons is not None for row in explained.rows for explanation in row)
    return {
        "file": explained.told,
        "picture": photo_address(first.pictures[0].numpy()),
        "predicted": class_told(int(first.predicted[0]), names),
        "confidence": percent(float(first.confidence[0])),
        "rows": [
            {
                "told": explained_told(row[0], 0, names),
                "name": class_told(int(row[0].target[0, 0]), names),
                "is_predicted": bool(row[0].target[0, 0] == first.predicted[0]),
                "panels": [_panel(explanation, names, photos * traced) for explanation in row],
            }
            for row in explained.rows
        ],
    }


def write_page(
    path: str | Path,
    photos: Sequence[Mapping[str, Any]],
    example: Explained,
    setup: Setup,
    *,
    explained: int,
    title: str | None = None,
) -> Path:
    """Write the page.

    Args:
        path: Where to; the file appears whole or not at all.
        photos: What `shown` gave of each photo that the page is to have, one or more.
        example: Any of the photos.
        setup: How they were made.
        explained: How many photos there were.
        title: Heading of the page.

    Returns:
        The path.
    """
    first = example.rows[0]
    width, height = draw.drawn_size(first[0].size)
    panels = [panel for photo in photos for row in photo["rows"] for panel in row["panels"]]
    sliders = [panel for panel in panels if panel["layers"]]
    for number, panel in enumerate(sliders):
        panel["number"] = number
    without = sum(not panel["evidence"] for panel in panels)
    environment = jinja2.Environment(
        loader=jinja2.ChoiceLoader(
            [
                jinja2.PrefixLoader(
                    {"photos": jinja2.PackageLoader("cofire.report", "templates/explain")}
                ),
                jinja2.PackageLoader("cofire.explain.drawing", "templates"),
            ]
        ),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )

    def source(name: str) -> Markup:
        assert environment.loader is not None
        return Markup(environment.loader.get_source(environment, name)[0])

    page = environment.get_template("photos/page.html.j2").render(
        source=source,
        title=title
        or ("Why the network decided so" if len(photos) > 1 else f"Why {photos[0]['predicted']}?"),
        lead=lead(explained, len(photos), first, _asked(photos), without),
        setup=setup,
        methods=[(title_of(one.method), options_told(one.options)) for one in first],
        photos=photos,
        traced=any(one.neurons is not None for one in first),
        width=width,
        height=height,
        pixelated=Markup(
            "" if draw.is_smooth(first[0].size) else 'style="image-rendering:pixelated"'
        ),
        no_evidence=NO_EVIDENCE,
        size=f"{first[0].size[1]} × {first[0].size[0]} pixels",
        stops=[Markup(f"rgb({r},{g},{b})") for r, g, b in np.asarray(draw.bar())[0, ::15].tolist()],
        dot=paper.DOT,
        dot_edge=paper.DOT_EDGE,
        frame=paper.FRAME,
        frame_edge=paper.FRAME_EDGE,
        reading=reading(first, panels),
        data=dumped(
            {
                "width": width,
                "height": height,
                "strip": False,
                "images": [panel["layers"] for panel in sliders],
            }
        ),
    )
    write_text(path, page)
    return Path(path)


def _asked(photos: Sequence[Mapping[str, Any]]) -> str:
    """Which classes were explained, in words."""
    rows = photos[0]["rows"]
    if len(rows) > 1:
        return f"each of the {len(rows)} most probable classes by itself"
    return (
        "the predicted class"
        if all(photo["rows"][0]["is_predicted"] for photo in photos)
        else rows[0]["name"]
    )


def _panel(explanation: Explanation, names: Sequence[str] | None, sliders: int) -> dict[str, Any]:
    """One method's drawing of one class."""
    width, height = draw.drawn_size(explanation.size)
    rows, columns = explanation.size
    share, largest = draw.heat_share(explanation.heatmap()[0])
    box = box_of(explanation)
    frame = None
    if box is not None:
        across, down = width / columns, height / rows
        frame = (
            box[0] * across,
            box[1] * down,
            (box[2] - box[0]) * across,
            (box[3] - box[1]) * down,
        )
    traced = explanation.neurons is not None
    dots = draw.dots_of(explanation.points(0), explanation.size) if traced else ()
    reached = evidence_at_input(explanation)
    told = explained_told(explanation, 0, names)
    layers: list[dict[str, Any]] = []
    if traced and bool(explanation.neurons):
        sites = len(explanation.sites)
        most = min(max(_LAYER_BYTES // (_NEURON_BYTES * sites * sliders), _LEAST_ROWS), MOST_ROWS)
        layers = [layer_shown(explanation, 0, site, names, most) for site in range(sites)]
    return {
        "method": title_of(explanation.method),
        "label": f"{title_of(explanation.method)} for {told}",
        "evidence": bool(explanation.has_evidence[0]),
        "traced": traced,
        "words": evidence_words(explanation),
        "reached": None if reached is None or not reached else evidence_told(reached),
        "box": box_words(explanation),
        "heat": heat_address(share) if largest > 0 else None,
        "ends": heat_told(explanation, largest) if largest > 0 else None,
        "frame": None if frame is None else [f"{value:.6g}" for value in frame],
        "dots": [
            (f"{x * width:.4g}", f"{y * height:.4g}", f"{r * max(width, height):.3g}")
            for x, y, r in dots
        ],
        "layers": layers,
        "number": None,
    }
