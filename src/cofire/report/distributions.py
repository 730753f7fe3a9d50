"""How a measure spreads over the neurons of each layer: ridges for few layers, bands over depth for many."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import plotly.graph_objects as go

from cofire.report.canvas import MANY_LAYERS, canvas, plain, series
from cofire.report.facts import Facts, Floats
from cofire.report.notation import short

TITLES = {
    "entropy": "entropy (nats)",
    "activity": "activity (share of observations)",
    "selectivity": "class selectivity (0–1)",
    "information": "information about the class (bits)",
}
BINS = 40
_UNIT = ("activity", "selectivity")


def distribution(facts: Facts, measure: str) -> go.Figure | None:
    """A measure of the neurons, layer by layer, at the last checkpoint and the first.

    Dead neurons are left out: they have no activations to measure, and a spike at zero would hide
        the rest.

    Args:
        facts: What is known.
        measure: One of `facts.MEASURES`.

    Returns:
        A figure, or None where the measure is not known of any neuron.
    """
    last = facts.living(measure)
    first = {} if facts.single else facts.living(measure, first=True)
    if not last and not first:
        return None
    if len(facts.layers) <= MANY_LAYERS:
        return _ridges(facts, measure, first, last)
    return _bands(facts, measure, first, last)


def _edges(measure: str, parts: list[Floats]) -> Floats:
    top = max(float(part.max()) for part in parts)
    low = min(0.0, min(float(part.min()) for part in parts))
    if measure in _UNIT:
        top = max(1.0, top)
    return np.linspace(low, top if top > low else low + 1.0, BINS + 1)


def _ridges(
    facts: Facts, measure: str, first: dict[str, Floats], last: dict[str, Floats]
) -> go.Figure:
    edges = _edges(measure, [*first.values(), *last.values()])
    middles = (edges[:-1] + edges[1:]) / 2
    layers = len(facts.layers)
    figure = canvas(130 + max(110, 62 * layers), TITLES[measure], "", hovermode="closest")
    for i, layer in enumerate(facts.layers):
        floor = layers - 1 - i
        found = {"last": last.get(layer), "first": first.get(layer)}
        shares = {k: np.histogram(v, edges)[0] / len(v) for k, v in found.items() if v is not None}
        peak = max((float(s.max()) for s in shares.values()), default=1.0)
        if "last" in shares:
            floor_line = {
                "mode": "lines",
                "line": {"width": 0},
                "hoverinfo": "skip",
                "showlegend": False,
            }
            figure.add_scatter(x=middles, y=[floor] * BINS, legendgroup="last", **floor_line)
        for which, share in shares.items():
            look = series(0, fill=0.28 if which == "last" else None, muted=which == "first")
            look["line"] |= {"shape": "hvh", "width": 1.6}
            figure.add_scatter(
                x=middles,
                y=floor + 0.86 * share / peak,
                fill="tonexty" if which == "last" else None,
                name=_legend(facts, which),
                legendgroup=which,
                showlegend=i == 0 and bool(first),
                customdata=100 * share,
                text=[f"{a:.3g}–{b:.3g}" for a, b in pairwise(edges)],
                hovertemplate=f"{plain(layer)}, {_legend(facts, which)}<br>"
                "%{text}: %{customdata:.1f} % of the neurons<extra></extra>",
                **look,
            )
    figure.update_yaxes(
        tickvals=list(range(layers)),
        ticktext=[plain(short(name, 16)) for name in reversed(facts.layers)],
        range=[-0.08, layers],
        showgrid=True,
    )
    return figure


def _legend(facts: Facts, which: str) -> str:
    return (
        "neurons"
        if facts.single
        else f"checkpoint {facts.checkpoints[0 if which == 'first' else -1]}"
    )


def _bands(
    facts: Facts, measure: str, first: dict[str, Floats], last: dict[str, Floats]
) -> go.Figure:
    figure = canvas(340, "layer, from input to output", TITLES[measure], hovermode="closest")
    for which, parts in (("first", first), ("last", last)):
        if not parts:
            continue
        place = [i for i, name in enumerate(facts.layers) if name in parts]
        names = [facts.layers[i] for i in place]
        low, middle, high = (
            np.array([np.quantile(parts[n], q) for n in names]) for q in (0.25, 0.5, 0.75)
        )
        x = [i + 1 for i in place]
        muted = which == "first"
        name = _legend(facts, which)
        edge = series(0, muted=muted)
        edge["line"] |= {"width": 0}
        figure.add_scatter(
            x=x, y=low, showlegend=False, hoverinfo="skip", legendgroup=which, **edge
        )
        fill = series(0, fill=0.16 if muted else 0.26, muted=muted)
        fill["line"] |= {"width": 0}
        figure.add_scatter(
            x=x,
            y=high,
            fill="tonexty",
            showlegend=False,
            hoverinfo="skip",
            legendgroup=which,
            **fill,
        )
        figure.add_scatter(
            x=x,
            y=middle,
            name=f"{name}: median, middle half shaded",
            legendgroup=which,
            text=[plain(n) for n in names],
            customdata=np.stack([low, high], axis=-1),
            hovertemplate="%{text}<br>median %{y:.3g}, middle half %{customdata[0]:.3g} to "
            "%{customdata[1]:.3g}<extra>" + name + "</extra>",
            **series(0, muted=muted, mode="lines"),
        )
    figure.update_yaxes(rangemode="tozero")
    figure.update_xaxes(showgrid=False, tickformat="d")
    return figure
