"""A figure drawn by matplotlib instead of plotly: lines, markers, bars, heat maps and images on the same axes."""

from __future__ import annotations

import base64
import importlib.util
import io
import re
from html import unescape
from typing import Any

import numpy as np
import plotly.graph_objects as go
from PIL import Image

from cofire.errors import MissingExtraError

_DOTS = 96
"""Pixels to an inch."""
_DASHES = {
    "dash": "--",
    "dot": ":",
    "dashdot": "-.",
    "longdash": (0, (8, 3)),
    "longdashdot": (0, (8, 3, 2, 3)),
}
_MARKERS = {
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "x": "x",
    "triangle-down": "v",
    "star": "*",
    "hexagon": "h",
}
_WIDTH = 720


def in_matplotlib(figure: go.Figure) -> Any:
    """The same figure, drawn by matplotlib.

    Args:
        figure: Of plotly, as this package draws them.

    Returns:
        A `matplotlib.figure.Figure` that no window holds.

    Raises:
        MissingExtraError: Matplotlib is absent.
    """
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingExtraError(
            "backend='matplotlib' without matplotlib",
            "the extra 'matplotlib'",
            'pip install "cofire[matplotlib]", or leave backend out',
        )
    from matplotlib.figure import Figure

    height = figure.layout.height or 400
    sheet = Figure(figsize=(_WIDTH / _DOTS, height / _DOTS), dpi=_DOTS, layout="constrained")
    places = list(dict.fromkeys((one.xaxis or "x", one.yaxis or "y") for one in figure.data))
    columns = len({x for x, _ in places}) or 1
    grid = sheet.subplots(-(-len(places) // columns) or 1, columns, squeeze=False).ravel()
    for axes, (x, y) in zip(grid, places, strict=False):
        before = None
        for trace in figure.data:
            if (trace.xaxis or "x", trace.yaxis or "y") == (x, y):
                _DRAWN[trace.type](axes, trace, before)
                before = trace
        for name, place in (("x", x), ("y", y)):
            _settle(axes, name, figure.layout[f"{name}axis{place[1:]}"])
        if axes.get_legend_handles_labels()[1]:
            axes.legend(frameon=False, fontsize="small")
    return sheet


def _scatter(axes: Any, trace: Any, before: Any) -> None:
    x, y = _numbers(trace.x if trace.x is not None else range(len(trace.y))), _numbers(trace.y)
    shown = trace.showlegend is not False and trace.name
    look = {"label": _words(trace.name) if shown else "_", "zorder": 2}
    if trace.fill == "tonexty":
        axes.fill_between(x, _numbers(before.y), y, color=_colour(trace.fillcolor), linewidth=0)
    lines, markers = (word in (trace.mode or "lines") for word in ("lines", "markers"))
    step = {"drawstyle": "steps-mid"} if trace.line.shape == "hvh" else {}
    if lines and trace.line.width != 0:
        dash = _DASHES.get(trace.line.dash, "-")
        width = 0.75 * (trace.line.width or 2)
        colour = _colour(trace.line.color)
        axes.plot(x, y, color=colour, linewidth=width, linestyle=dash, **step, **look)
        look["label"] = "_"
    if markers:
        kind = _MARKERS.get(trace.marker.symbol, "o")
        given = 7 if trace.marker.size is None else trace.marker.size
        size = (0.75 * np.asarray(given, dtype=float)) ** 2
        solid = trace.marker.opacity
        axes.scatter(
            x,
            y,
            s=size,
            color=_colour(trace.marker.color),
            marker=kind,
            alpha=1 if solid is None else solid,
            **look,
        )
    if trace.error_x.array is not None:
        ends = [_numbers(trace.error_x.arrayminus), _numbers(trace.error_x.array)]
        axes.errorbar(x, y, xerr=ends, fmt="none", ecolor=_colour(trace.marker.color), capsize=3)


def _bar(axes: Any, trace: Any, before: Any) -> None:
    start = None if before is None else _numbers(before.x)
    look = {"color": _colour(trace.marker.color), "label": _words(trace.name) or "_"}
    axes.barh(_numbers(trace.y), _numbers(trace.x), left=start, **look)


def _heatmap(axes: Any, trace: Any, before: Any) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    scale = LinearSegmentedColormap.from_list("scale", list(trace.colorscale))
    values = np.asarray(trace.z, dtype=float)
    drawn = axes.pcolormesh(
        trace.x, trace.y, values, cmap=scale, vmin=trace.zmin, vmax=trace.zmax, shading="nearest"
    )
    if trace.showscale is not False:
        axes.figure.colorbar(drawn, ax=axes, label=_words(trace.colorbar.title.text))
    if trace.texttemplate:
        middle = (drawn.norm.vmin + drawn.norm.vmax) / 2
        for (row, column), value in np.ndenumerate(values):
            ink = "white" if value > middle else "black"
            place = (trace.x[column], trace.y[row])
            axes.text(*place, f"{value:.0f}", ha="center", va="center", color=ink)


def _image(axes: Any, trace: Any, before: Any) -> None:
    held = base64.b64decode(trace.source.partition(",")[2])
    axes.imshow(np.asarray(Image.open(io.BytesIO(held)).convert("RGB")))


_DRAWN = {"scatter": _scatter, "bar": _bar, "heatmap": _heatmap, "image": _image}


def _settle(axes: Any, name: str, axis: Any) -> None:
    """The title, the ticks and the ends of an axis as plotly's has them."""
    own = getattr(axes, f"{name}axis")
    own.set_label_text(_words(axis.title.text))
    if axis.tickvals is not None:
        labels = axis.ticktext if axis.ticktext is not None else axis.tickvals
        own.set_ticks(list(axis.tickvals), [_words(label) for label in labels])
    if axis.range is not None:
        getattr(axes, f"set_{name}lim")(*axis.range)
    elif axis.rangemode == "tozero":
        getattr(axes, f"set_{name}lim")(**{"left" if name == "x" else "bottom": 0})
    if axis.autorange == "reversed" and not own.get_inverted():
        own.set_inverted(True)
    if axis.scaleanchor:
        axes.set_aspect("equal")
    if axis.visible is False:
        own.set_visible(False)
        axes.spines[:].set_visible(False)
    elif axis.showticklabels is False:
        own.set_ticks([])
        axes.spines[:].set_visible(False)
    elif axis.showgrid is not False:
        own.grid(True, color=axis.gridcolor, zorder=0)
    axes.set_axisbelow(True)


def _numbers(values: Any) -> Any:
    return np.asarray([np.nan if value is None else value for value in values], dtype=float)


def _words(text: Any) -> str:
    """Text without plotly's small HTML."""
    return unescape(re.sub(r"<[^>]*>", "", str(text or "").replace("<br>", "\n"))).replace(
        "$", r"\$"
    )


def _colour(colour: Any) -> Any:
    """A colour as matplotlib takes it."""
    found = re.fullmatch(r"rgba\((\d+),(\d+),(\d+),([\d.]+)\)", str(colour))
    if found is None:
        return colour
    *parts, opacity = found.groups()
    return (*(int(part) / 255 for part in parts), float(opacity))
