"""Figures on one sheet, which a theme recolours: courses over checkpoints, intervals and matrices."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cofire.report.colours import LIGHT, fade
from cofire.report.notation import interval, number, short
from cofire.statistics import Interval

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans", Arial, sans-serif'
MANY_LAYERS = 8
"""Up to so many layers get a line of their own; more are drawn as a heat map or as a band over depth."""
NAMED = 24
"""Up to so many layers are all named on an axis."""
MARKERS = ("circle", "square", "diamond", "triangle-up", "x", "triangle-down", "star", "hexagon")
DASHES = ("solid", "dash", "dot", "dashdot", "longdash", "longdashdot", "solid", "dash")


def plain(text: object) -> str:
    """Text for plotly, which reads a small HTML of its own in names, ticks and hover boxes.

    Example:
        >>> plain("<b>cat</b>")
        '&lt;b&gt;cat&lt;/b&gt;'
    """
    return html.escape(str(text), quote=False)


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


@dataclass(frozen=True)
class Line:
    """A series over the checkpoints.

    Attributes:
        name: In the legend.
        values: Shape (checkpoints,).
        look: Which series of the palette.
        ends: Lower and upper end of a band around it, shape (checkpoints,) each.
        aside: Numbers that the hover box names in its words, shape (checkpoints,) or more.
        hover: Plotly's words of the hover box.
        muted: Whether it is what something else is held against.
    """

    name: str
    values: Any
    look: int = 0
    ends: tuple[Any, Any] | None = None
    aside: Any = None
    hover: str = "%{y:.3g}"
    muted: bool = False


def courses(
    checkpoints: Sequence[int],
    lines: Sequence[Line],
    title: str,
    *,
    below: Sequence[Line] = (),
    below_title: str = "accuracy (%)",
    height: int = 360,
    over: str = "checkpoint",
) -> go.Figure:
    """Series over the checkpoints, with bands where they have ends, and others in a panel of their own below.

    Two panels and not two scales in one: where the lines of two scales cross means nothing.

    Args:
        checkpoints: Their numbers.
        lines: The series.
        title: Of the vertical axis, with its unit.
        below: Series of another unit.
        below_title: Of their axis.
        height: In pixels.
        over: What the numbers count.
    """
    figure = canvas(height, over, title, hovermode="x unified")
    x = list(checkpoints)
    for axis, held in (("y", lines), ("y2", below)):
        for line in held:
            if line.ends is not None:
                band = series(line.look, fill=0.16, muted=line.muted)
                band["line"] |= {"width": 0}
                shared = {"legendgroup": line.name, "showlegend": False, "hoverinfo": "skip"}
                low = {key: value for key, value in band.items() if key != "fillcolor"}
                figure.add_scatter(x=x, y=line.ends[0], yaxis=axis, **shared, **low)
                figure.add_scatter(
                    x=x, y=line.ends[1], yaxis=axis, fill="tonexty", **shared, **band
                )
            figure.add_scatter(
                x=x,
                y=line.values,
                customdata=line.aside,
                name=plain(short(line.name, 40)),
                legendgroup=line.name,
                hovertemplate=line.hover,
                yaxis=axis,
                showlegend=True,
                **series(line.look, muted=line.muted, mode="lines+markers"),
            )
    if below:
        figure.update_layout(yaxis={"domain": [0.44, 1]}, xaxis={"anchor": "y2"})
        second = {**figure.layout.yaxis.to_plotly_json(), "domain": [0, 0.36], "anchor": "x"}
        second["title"] = {**second["title"], "text": below_title}
        figure.update_layout(yaxis2=second)
    figure.update_xaxes(showgrid=False, **checkpoint_axis(checkpoints))
    return figure


def layer_courses(
    checkpoints: Sequence[int],
    layers: Sequence[str],
    values: Any,
    title: str,
    hover: str,
    *,
    shown: Any = None,
    heat: Any = None,
    heat_title: str = "",
) -> go.Figure:
    """A number of every layer over the checkpoints: a line each, or a heat map where there are many layers.

    Args:
        checkpoints: Their numbers.
        layers: Names of the layers, from input to output.
        values: Shape (layers, checkpoints).
        title: Of the number, with its unit.
        hover: Plotly's words of the hover box of a line.
        shown: What the hover box names beside, of the same shape.
        heat: What the heat map shows instead of the values; below zero it has two colours.
        heat_title: Of that.
    """
    if len(layers) <= MANY_LAYERS:
        beside = [None] * len(layers) if shown is None else shown
        return courses(
            checkpoints,
            [
                Line(name, values[i], i, aside=beside[i], hover=hover)
                for i, name in enumerate(layers)
            ],
            title,
        )
    seen = np.asarray(values if heat is None else heat, dtype=float)
    known = np.where(np.isfinite(seen), seen, 0.0)
    scale = "diverging" if known.min(initial=0.0) < 0 else "sequential"
    most = max(float(np.abs(known).max(initial=0.0)), 1e-9)
    figure = canvas(max(360, min(900, 130 + 9 * len(layers))), "checkpoint", "")
    figure.add_heatmap(
        x=list(checkpoints),
        y=list(range(len(layers))),
        z=np.where(np.isfinite(seen), seen, np.nan),
        text=[[plain(name)] * len(checkpoints) for name in layers],
        customdata=values,
        zmin=-most if scale == "diverging" else 0,
        zmax=most,
        xgap=1,
        ygap=1,
        hovertemplate="%{text}<br>checkpoint %{x}: %{z:.3g}, %{customdata:,.4g}<extra></extra>",
        **_scale(scale, heat_title or title),
    )
    figure.update_xaxes(showgrid=False, **checkpoint_axis(checkpoints))
    figure.update_yaxes(autorange="reversed", **layer_axis(layers, np.abs(known).max(axis=1)))
    return figure


def layer_axis(layers: Sequence[str], size: Any) -> dict[str, Any]:
    """Ticks at every layer, or of many at the first, the last, and those that stand out.

    Args:
        layers: Their names.
        size: How much each stands out, shape (layers,).

    Example:
        >>> layer_axis(["a", "b", "c"], [0, 2, 1])["ticktext"]
        ['a', 'b', 'c']
        >>> layer_axis([f"relu{i}" for i in range(40)], range(40))["tickvals"]
        [0, 21, 24, 27, 30, 33, 36, 39]
    """
    order = list(range(len(layers)))
    apart, most = (1, len(layers)) if len(layers) <= NAMED else (3, NAMED // 3)
    if apart > 1:
        order = [0, len(layers) - 1, *np.argsort(np.negative(size), kind="stable").tolist()]
    ticks: list[int] = []
    for at in order:
        if len(ticks) < most and all(abs(at - other) >= apart for other in ticks):
            ticks.append(at)
    text = [plain(short(layers[at], 18)) for at in sorted(ticks)]
    return {
        "tickmode": "array",
        "tickvals": sorted(ticks),
        "ticktext": text,
        "showgrid": False,
    }


def bars(
    layers: Sequence[str], numbers: Mapping[str, Sequence[float]], title: str, hover: str
) -> go.Figure:
    """Numbers of every layer as bars, from input (top) to output; several behind each other.

    Args:
        layers: Their names.
        numbers: One for each layer, by what they are of; "" for what the title says.
        title: Of the numbers, with their unit.
        hover: Plotly's words of the hover box.
    """
    figure = canvas(min(960, 130 + 34 * len(layers)), title, "", barmode="stack")
    for look, (name, values) in enumerate(numbers.items()):
        style = series(look)
        figure.add_bar(
            x=list(values),
            y=list(range(len(layers))),
            orientation="h",
            name=name,
            showlegend=bool(name),
            text=[plain(layer) for layer in layers],
            textposition="none",
            hovertemplate=hover,
            marker={"color": style["line"]["color"]},
            meta=style["meta"],
        )
    sizes = np.sum(list(numbers.values()), axis=0)
    figure.update_yaxes(autorange="reversed", **layer_axis(layers, sizes))
    figure.update_xaxes(rangemode="tozero")
    return figure


def _scale(name: str, title: str = "") -> dict[str, Any]:
    return {
        "colorscale": LIGHT.scale(name),
        "meta": {"scale": name},
        "colorbar": {
            "title": {"text": title, "side": "right", "font": {"size": 12}},
            "thickness": 12,
            "outlinewidth": 0,
            "tickfont": {"size": 11},
        },
    }


def matrix(names: Sequence[str], values: Any) -> go.Figure:
    """Whole numbers by two classes each, in a square; written into the cells where they have room.

    Args:
        names: Of the classes.
        values: Shape (classes, classes).
    """
    side, told = len(names), len(names) <= 12
    shown = [plain(short(name, 14)) for name in names]
    figure = canvas(400, "class", "class", dragmode=False)
    figure.add_heatmap(
        x=list(range(side)),
        y=list(range(side)),
        z=values.astype(float),
        zmin=0,
        zmax=max(1, int(values.max(initial=0))),
        showscale=not told,
        xgap=1.5 if told else 0.5,
        ygap=1.5 if told else 0.5,
        customdata=[
            [f"{a} alone" if i == j else f"{a} and {b}" for j, b in enumerate(shown)]
            for i, a in enumerate(shown)
        ],
        texttemplate="%{z:.0f}" if told else None,
        hovertemplate="%{customdata}: %{z:.0f} neurons<extra></extra>",
        **_scale("sequential"),
    )
    ticks = list(range(0, side, max(1, -(-side // 20))))
    axis = {"tickmode": "array", "tickvals": ticks, "showgrid": False}
    axis["ticktext"] = [shown[i] for i in ticks]
    figure.update_xaxes(**axis, side="bottom")
    figure.update_yaxes(**axis, autorange="reversed")
    return figure


@dataclass(frozen=True)
class Point:
    """A number with its interval in a plot of several.

    Attributes:
        name: What it is of; neighbours of the same name share a row.
        value: The number; its interval is drawn where it is known.
        look: Which series of the palette.
        kind: What the legend calls those that look like it, "" for no legend.
        strong: Whether the name is bold.
        told: What the hover box says; the number and its interval unless given.
    """

    name: str
    value: Interval
    look: int = 0
    kind: str = ""
    strong: bool = False
    told: str = ""


def intervals(
    points: Sequence[Point],
    title: str,
    *,
    factor: float = 1.0,
    digits: int = 2,
    line: float | None = 0.0,
    limits: tuple[float, float] | None = None,
) -> go.Figure:
    """Numbers with their 95 % intervals, one below the other.

    Args:
        points: From top to bottom.
        title: What is measured, with its unit.
        factor: What the numbers are multiplied by: 100 for shares in percent.
        digits: Decimals in the hover boxes.
        line: Where a dashed line stands, None for none.
        limits: Both ends of the axis; as wide as the intervals unless given.
    """
    groups = [list(run) for _, run in groupby(points, key=lambda point: point.name)]
    tops = np.cumsum([0, *(1 + 0.5 * (len(run) - 1) + 0.2 * (len(run) > 1) for run in groups)])
    places = [
        -top - 0.5 * i for top, run in zip(tops, groups, strict=False) for i in range(len(run))
    ]
    end = float(tops[-1])
    kinds = len({point.kind for point in points} - {""})
    figure = canvas(max(190, 110 + 20 * kinds + int(34 * end)), title, "", hovermode="closest")
    if line is not None:
        figure.add_scatter(
            x=[factor * line] * 2,
            y=[0.6, 0.4 - end],
            showlegend=False,
            hoverinfo="skip",
            **series(0, muted=True),
        )
    for kind, look in dict.fromkeys((p.kind, p.look) for p in points):
        held = [
            (place, p)
            for place, p in zip(places, points, strict=True)
            if (p.kind, p.look) == (kind, look)
        ]
        values = [p.value for _, p in held]
        up, down = (
            [
                factor * max(0.0, size) if v.known else 0.0
                for v, size in zip(values, ends, strict=True)
            ]
            for ends in ([v.high - v.value for v in values], [v.value - v.low for v in values])
        )
        style = series(look, mode="markers")
        style["marker"] |= {"size": 9}
        said = [
            p.told
            or number(factor * p.value.value, digits)
            + (
                f" [{interval(factor * p.value.low, factor * p.value.high, digits)}]"
                if p.value.known
                else ""
            )
            for _, p in held
        ]
        figure.add_scatter(
            x=[factor * v.value for v in values],
            y=[place for place, _ in held],
            error_x={
                "type": "data",
                "symmetric": False,
                "array": up,
                "arrayminus": down,
                "thickness": 1.8,
                "width": 4,
            },
            name=kind,
            showlegend=bool(kind),
            text=[plain(p.name) for _, p in held],
            customdata=said,
            hovertemplate="%{text}: %{customdata}<extra></extra>",
            **style,
        )
    first = [run[0] for run in groups]
    wrapped = [textwrap.wrap(p.name, 19, max_lines=2, placeholder="…") or [""] for p in first]
    names = ["<br>".join(map(plain, lines)) for lines in wrapped]
    figure.update_yaxes(
        tickmode="array",
        tickvals=[
            -float(top) - 0.25 * (len(run) - 1) for top, run in zip(tops, groups, strict=False)
        ],
        ticktext=[
            f"<b>{name}</b>" if p.strong else name for name, p in zip(names, first, strict=True)
        ],
        showgrid=False,
        range=[0.4 - end, 0.6],
    )
    if limits:
        figure.update_xaxes(range=[factor * end for end in limits])
    return figure
