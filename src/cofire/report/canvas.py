"""The sheet that every figure is drawn on: fonts, axes, legend, and names that a theme can recolour later."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from cofire.report.colours import LIGHT

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'
MANY_LAYERS = 8
"""Up to so many layers get a line of their own; more are drawn as a heat map or as a band over depth."""
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")


def plain(text: object) -> str:
    """Text for plotly, which reads a small HTML of its own in names, ticks and hover boxes.

    Example:
        >>> plain("<b>cat</b>")
        '&lt;b&gt;cat&lt;/b&gt;'
    """
    return html.escape(str(text), quote=False)


def fade(colour: str, opacity: float) -> str:
    """A hex colour made transparent.

    Example:
        >>> fade("#0072b2", 0.25)
        'rgba(0,114,178,0.25)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity})"


def series(
    index: int, *, fill: float | None = None, muted: bool = False, mode: str = "lines"
) -> dict[str, Any]:
    """The look of a series: colour, dash and marker, and a note from which the page recolours it.

    Args:
        index: Which series; colour, dash and marker follow from it.
        fill: Opacity of the area under it, if there is one.
        muted: Draw it in grey and dashed: what something else is held against.
        mode: Plotly's mode, such as "lines+markers".

    Returns:
        Arguments for `plotly.graph_objects.Scatter`.
    """
    colour = LIGHT.muted if muted else LIGHT.series[index % len(LIGHT.series)]
    look: dict[str, Any] = {
        "mode": mode,
        "line": {
            "color": colour,
            "width": 1.6 if muted else 2.2,
            "dash": "dash" if muted else DASHES[index % 8],
        },
        "marker": {"color": colour, "size": 7, "symbol": MARKERS[index % 8]},
        "meta": {"colour": "muted" if muted else index % len(LIGHT.series), "fill": fill},
    }
    if fill is not None:
        look["fillcolor"] = fade(colour, fill)
    return look


def canvas(height: int, x: str, y: str, **layout: Any) -> go.Figure:
    """An empty figure with titled axes, the legend below, and a transparent ground.

    Args:
        height: In pixels.
        x: What the horizontal axis shows, with its unit.
        y: What the vertical axis shows, with its unit.
        **layout: Anything else that plotly's layout takes.
    """
    axis = {
        "gridcolor": LIGHT.grid,
        "linecolor": LIGHT.grid,
        "zeroline": False,
        "automargin": True,
        "ticks": "",
        "tickfont": {"color": LIGHT.muted, "size": 12},
    }

    def titled(text: str) -> dict[str, Any]:
        return {**axis, "title": {"text": text, "standoff": 10, "font": {"size": 13}}}

    figure = go.Figure()
    figure.update_layout(
        template=go.layout.Template(),
        height=height,
        margin={"l": 56, "r": 14, "t": 14, "b": 48},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"family": FONT, "size": 13, "color": LIGHT.ink},
        hoverlabel={
            "bgcolor": LIGHT.surface,
            "bordercolor": LIGHT.grid,
            "font": {"family": FONT, "color": LIGHT.ink},
            "align": "left",
        },
        # A distance in pixels keeps the legend clear of the axis title at every height.
        legend={
            "orientation": "h",
            "x": 0,
            "xanchor": "left",
            "y": 0,
            "yref": "container",
            "yanchor": "bottom",
        },
        xaxis=titled(x),
        yaxis=titled(y),
        uirevision="kept",
    )
    figure.update_layout(**layout)
    return figure


def checkpoint_axis(numbers: Sequence[int]) -> dict[str, Any]:
    """Ticks at real checkpoints only, the last one among them; plotly's own would name a checkpoint 0.

    Example:
        >>> checkpoint_axis(range(1, 21))["tickvals"]
        [1, 4, 7, 10, 13, 16, 20]
    """
    every = max(1, round(len(numbers) / 6))
    ticks = [*numbers[: len(numbers) - every // 2 - 1 : every], numbers[-1]]
    return {"tickmode": "array", "tickvals": ticks, "ticktext": [str(n) for n in ticks]}
