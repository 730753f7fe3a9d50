"""An explanation as one page that needs nothing else, with a slider from the input to the last layer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import numpy as np
import torch
from markupsafe import Markup
from PIL import Image

from cofire import __version__
from cofire.atomic import write_text
from cofire.explain.drawing import captions, draw, paper
from cofire.explain.methods.registry import title_of
from cofire.explain.result.neurons import Site

if TYPE_CHECKING:
    from cofire.explain.result.explanation import Explanation

MOST_ROWS = 1000
"""Neurons of a layer that the page holds at the most, the strongest first."""

MOST_CHANNELS = 10
MOST_PICTURES, _PICTURE = 8, 224
"""So many images are shown in a notebook, and so large."""


def write_html(
    explanation: Explanation,
    path: str | Path,
    *,
    class_names: Sequence[str] | None = None,
    title: str | None = None,
) -> Path:
    """Write the page; see `Explanation.write_html`."""
    width, height = draw.drawn_size(explanation.size)
    images = [_image(explanation, at, class_names) for at in range(len(explanation))]
    layers = [
        [
            layer_shown(explanation, at, index, class_names)
            for index in range(len(explanation.sites))
        ]
        if image["layers"]
        else []
        for at, image in enumerate(images)
    ]
    data = {
        "width": width,
        "height": height,
        "strip": len(explanation.input_shape) == 1,
        "images": layers,
    }
    page = _TEMPLATES.get_template("page.html.j2").render(
        title=title or f"{title_of(explanation.method)}: what carried the decision",
        explanation=explanation,
        captions=captions,
        method=title_of(explanation.method),
        without=len(explanation) - int(explanation.has_evidence.sum()),
        options=[
            (name, value if isinstance(value, str) else json.dumps(value, ensure_ascii=False))
            for name, value in explanation.options.items()
        ],
        images=images,
        width=width,
        height=height,
        pixelated=Markup(
            "" if draw.is_smooth(explanation.size) else 'style="image-rendering:pixelated"'
        ),
        stops=[Markup(f"rgb({r},{g},{b})") for r, g, b in np.asarray(draw.bar())[0, ::15].tolist()],
        dot=paper.DOT,
        dot_edge=paper.DOT_EDGE,
        frame=paper.FRAME,
        frame_edge=paper.FRAME_EDGE,
        version=__version__,
        data=_inert(json.dumps(data, separators=(",", ":"))),
    )
    write_text(path, page)
    return Path(path)


def pictures(explanation: Explanation, what: str) -> list[dict[str, str]]:
    """The first images as they are drawn, small, with their captions; for notebooks.

    Args:
        explanation: Of a batch.
        what: Which drawing of them, see `draw.panel`.

    Returns:
        For each its address, what it is told to be, and a note of what colours mean.
    """
    found = []
    for at in range(min(len(explanation), MOST_PICTURES)):
        panel = draw.panel(explanation, at, what)
        note = panel.note
        if panel.largest:
            told, _, high = captions.heat_told(explanation, panel.largest)
            note = f"{told}: 0 (dark) to {high} (bright)"
        drawn = draw.overlay(explanation, at, what, legend=False)
        drawn.thumbnail((_PICTURE, _PICTURE))
        told = captions.explained_told(explanation, at, None)
        found.append({"address": paper.png_address(drawn), "told": told, "note": note})
    return found


def _image(explanation: Explanation, at: int, names: Sequence[str] | None) -> dict[str, Any]:
    """What the page shows of one image besides its layers."""
    told = captions.explained_told(explanation, at, names)
    alone = explanation[at]
    evidence = bool(alone.has_evidence[0])
    panels = [_panel(alone, what, told) for what in draw.kinds(explanation)]
    return {
        "told": told,
        "predicted": captions.predicted_told(explanation, at, names),
        "evidence": evidence,
        "address": paper.png_address(Image.fromarray(explanation.images[at].numpy())),
        "panels": panels,
        "layers": len(explanation.sites) if alone.neurons is not None and len(alone.neurons) else 0,
    }


def _panel(alone: Explanation, what: str, told: str) -> dict[str, Any]:
    width, height = draw.drawn_size(alone.size)
    panel = draw.panel(alone, 0, what)
    longer = max(width, height)
    shown: dict[str, Any] = {
        "what": what,
        "title": draw.TITLES[what],
        "note": panel.note,
        "label": f"{draw.TITLES[what]}, {told}",
        "dots": [
            (f"{x * width:.5g}", f"{y * height:.5g}", f"{r * longer:.3g}") for x, y, r in panel.dots
        ],
        "frame": None,
        "heat": None,
        "ends": None,
        "measure": "",
        "sizes": [],
    }
    if panel.frame is not None:
        left, top, right, bottom = panel.frame
        place = (left * width, top * height, (right - left) * width, (bottom - top) * height)
        shown["frame"] = [f"{value:.6g}" for value in place]
    if panel.largest:
        share, _ = draw.heat_share(alone.heatmap()[0])
        shown["heat"] = paper.png_address(Image.fromarray(draw.coloured(share)))
        shown["measure"], *shown["ends"] = captions.heat_told(alone, panel.largest)
    if panel.dots:
        score = alone.points(0).score
        most, sizes = (
            float(score.max()),
            (1, 2) if float(score.min()) < 0.5 * float(score.max()) else (1,),
        )
        # In shares of the panel's width, so that the legend's dots are as large as those they
        # explain.
        part = 200 * panel.dots[0][2] * longer / width
        shown["sizes"] = [
            (f"{part / by:.3g}", captions.evidence_told(most / by**2)) for by in sizes
        ]
    return shown


def layer_shown(
    explanation: Explanation,
    image: int,
    index: int,
    names: Sequence[str] | None,
    most: int = MOST_ROWS,
) -> dict[str, Any]:
    """What the slider of a page shows of one layer of one image, as `templates/page.js` reads it.

    Args:
        explanation: With neurons.
        image: From 0.
        index: Of the site; 0 is the input.
        names: Names of all classes, in order.
        most: Neurons to hold at the most, the strongest first.
    """
    assert explanation.neurons is not None
    site, neurons = explanation.sites[index], explanation.neurons
    rows = neurons.rows_of(index, len(explanation), image)
    channel, y, x, score = (
        getattr(neurons, name)[rows].long() for name in ("channel", "y", "x", "score")
    )
    score = neurons.score[rows].double()
    vector = index == 0 and len(explanation.input_shape) == 1
    if vector:
        x, channel = channel, torch.zeros_like(channel)
    grid = (1, explanation.input_shape[0]) if vector else site.grid
    totals = torch.zeros(site.channels, dtype=torch.float64).index_add_(0, channel, score)
    places = torch.zeros(grid[0] * grid[1], dtype=torch.float64).index_add_(
        0, y * grid[1] + x, score
    )
    found = torch.zeros(site.channels, dtype=torch.int64).index_add_(
        0, channel, torch.ones_like(channel)
    )
    order = totals.argsort(descending=True, stable=True)
    order = order[totals[order] > 0]
    # Equal scores in no order: cutting them off from the bottom would make an image of its own.
    mixed = torch.randperm(len(score), generator=torch.Generator().manual_seed(0))
    strongest = mixed[score[mixed].argsort(descending=True, stable=True)[:most]]
    radius, least = draw.dot_radii(places[places > 0], explanation.size)
    longer = max(draw.drawn_size(explanation.size))
    # The set form of the paper: a neuron is in or out, and scores are counts.
    alike = explanation.options.get("carried") is False
    told = "a random choice of" if alike else "the strongest"
    one, several = ("class", "classes") if site.kind == "classes" else ("unit", "units")
    if site.has_positions:
        one, several = "channel", "channels"
    count, share = len(score), float(score.sum())
    # What single precision rounded off is not missing.
    share = 1.0 if share > 1 - 1e-4 else share
    facts = f"{_site_told(site)}. {captions.plural(count, 'selected neuron')}"
    facts += (
        f" in {len(order):,} {one if len(order) == 1 else several}" if site.has_positions else ""
    )
    facts += "." if alike else f", through which {captions.percent(share)} of the evidence passes."
    more = f"Drawn: {told} {most:,} neurons of {count:,}. " if count > most else ""
    if len(order) > MOST_CHANNELS:
        more += f"{len(order) - MOST_CHANNELS:,} more {several if len(order) > MOST_CHANNELS + 1 else one}."
    if count == 0:
        below = neurons.rows_of(0, len(explanation), image)
        why = (
            "the evidence goes past this layer"
            if below.stop > below.start
            else "the evidence ends above this layer"
        )
        facts = f"{_site_told(site)}. No neuron was selected here: {why}."
    placed = site.has_positions or vector
    return {
        "name": site.name,
        "facts": facts,
        "rows": grid[0],
        "columns": grid[1],
        "placed": placed,
        "nowhere": "No neuron of this layer was selected." if placed else _nowhere(site),
        "largest": float(places.max()) if count else 1.0,
        "radius": radius * longer,
        "least": least * longer,
        "key": f"largest dot: {captions.plural(round(float(places.max())), 'neuron')}"
        if alike
        else f"largest dot: {captions.evidence_told(float(places.max()))} of the evidence",
        "listed": (
            f"{several.capitalize()} with the most neurons" if alike else f"Strongest {several}"
        )
        if count and not vector
        else "",
        "strongest": []
        if vector
        else [
            {
                "channel": int(at),
                "name": captions.class_told(int(at), names)
                if site.kind == "classes"
                else f"{one} {int(at)}",
                "score": float(totals[at] / (totals.sum() if alike else 1)),
                "neurons": int(found[at]),
            }
            for at in order[:MOST_CHANNELS]
        ],
        "more": more,
        "channel": channel[strongest].tolist(),
        "y": y[strongest].tolist(),
        "x": x[strongest].tolist(),
        "score": [float(f"{value:.5g}") for value in score[strongest].tolist()],
    }


def _site_told(site: Site) -> str:
    """What a site is, in words."""
    if site.kind == "classes":
        return f"The {captions.plural(site.channels, 'class').replace('classs', 'classes')} of the network"
    kind = {"input": "The input", "activation": "Activation layer", "operator": "Operator"}.get(
        site.kind, site.kind
    )
    if not site.has_positions:
        return f"{kind}, {captions.plural(site.channels, 'feature' if site.kind == 'input' else 'unit')}"
    grid = " × ".join(f"{side:,}" for side in site.grid)
    return f"{kind}, {captions.plural(site.channels, 'channel')} on {grid} positions"


def _nowhere(site: Site) -> str:
    if site.kind == "classes":
        return "Classes have no place in the image: the evidence starts here."
    return "Neurons of this layer are not tied to a place in the image."


def _inert(text: str) -> Markup:
    """JSON that cannot end the script element it stands in, whatever the names in it are."""
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _source(name: str) -> Markup:
    assert _TEMPLATES.loader is not None
    return Markup(_TEMPLATES.loader.get_source(_TEMPLATES, name)[0])


_TEMPLATES = jinja2.Environment(
    loader=jinja2.PackageLoader("cofire.explain.drawing", "templates"),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_TEMPLATES.globals["source"] = _source
