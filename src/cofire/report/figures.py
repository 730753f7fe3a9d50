"""Every figure of the page, by name."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from cofire.arguments import validated
from cofire.report.boost.facts import boosts_of
from cofire.report.boost.figures import draw_boosts
from cofire.report.canvas import MANY_LAYERS, canvas, checkpoint_axis, plain, series
from cofire.report.colours import LIGHT
from cofire.report.distributions import distribution
from cofire.report.facts import MEASURES, Facts, Floats
from cofire.report.graphs.facts import graphs_of
from cofire.report.graphs.figures import draw_graphs, draw_pictures
from cofire.report.notation import short
from cofire.study.trajectory import Trajectory


@validated
def figures(trajectory: Trajectory) -> dict[str, go.Figure]:
    """The figures of the report in the light theme: those that the page shows, and of graphs still pictures.

    Args:
        trajectory: One checkpoint or more.

    Returns:
        Figures by name. What a trajectory does not have is left out: with one checkpoint there are
        only the distributions; without a layer that has dead neurons there is no "dead-neurons".

    Raises:
        ResultError: The trajectory has no checkpoint.
    """
    facts = Facts(trajectory)
    graphs = graphs_of(facts)
    return draw(facts) | (draw_pictures(graphs) if graphs and graphs.layers else {})


def draw(facts: Facts) -> dict[str, go.Figure]:
    """The figures of the page, from facts that were read already."""
    drawn: dict[str, go.Figure | None] = {}
    if not facts.single:
        drawn["entropy-accuracy"] = _normalised(facts)
        drawn["entropy-accuracy-raw"] = _raw(facts)
        drawn["entropy-vs-accuracy"] = _scatter(facts)
        drawn["layer-entropy"] = _layer_entropy(facts)
    for measure in MEASURES:
        drawn[f"distribution-{measure}"] = distribution(facts, measure)
    if not facts.single:
        drawn["dead-neurons"] = _counts(facts, "dead", "dead neurons")
        drawn["always-active"] = _counts(facts, "always_active", "always active neurons")
    if (graphs := graphs_of(facts)) and graphs.layers:
        drawn |= draw_graphs(graphs)
    if boosts := boosts_of(facts):
        drawn |= draw_boosts(boosts)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def _min_max(values: Floats) -> Floats:
    span = float(np.ptp(values))
    # A constant series has no shape; a line in the middle claims none.
    return (values - values.min()) / span if span > 0 else np.full_like(values, 0.5)


def _accuracies(facts: Facts) -> list[tuple[int, str, Floats]]:
    known = [(1, "training accuracy", facts.train), (2, "test accuracy", facts.test)]
    return [(index, name, values) for index, name, values in known if values is not None]


def _normalised(facts: Facts) -> go.Figure:
    figure = canvas(400, "checkpoint", "scaled to 0–1", hovermode="x unified")
    lines = [(0, "entropy", facts.entropy, "nats", 1.0)]
    lines += [(index, name, values, "%", 100.0) for index, name, values in _accuracies(facts)]
    for index, name, values, unit, factor in lines:
        figure.add_scatter(
            x=list(facts.checkpoints),
            y=_min_max(values),
            customdata=values * factor,
            name=name,
            hovertemplate=f"%{{y:.2f}} (%{{customdata:,.2f}} {unit})",
            **series(index, mode="lines+markers"),
        )
    figure.update_xaxes(showgrid=False, **checkpoint_axis(facts.checkpoints))
    figure.update_yaxes(range=[-0.06, 1.06], tickvals=[0, 0.25, 0.5, 0.75, 1])
    return figure


def _raw(facts: Facts) -> go.Figure:
    accuracies = _accuracies(facts)
    figure = canvas(
        440 if accuracies else 320, "checkpoint", "entropy (nats)", hovermode="x unified"
    )
    figure.add_scatter(
        x=list(facts.checkpoints),
        y=facts.entropy,
        name="entropy",
        hovertemplate="%{y:,.1f} nats",
        **series(0, mode="lines+markers"),
    )
    figure.update_xaxes(showgrid=False, **checkpoint_axis(facts.checkpoints))
    if accuracies:
        # Two panels and not two scales in one: where the lines of two scales cross means nothing.
        figure.update_layout(yaxis={"domain": [0.54, 1]}, xaxis={"anchor": "y2"})
        second = {**figure.layout.yaxis.to_plotly_json(), "domain": [0, 0.46], "anchor": "x"}
        second["title"] = {**second["title"], "text": "accuracy (%)"}
        figure.update_layout(yaxis2=second)
    for index, name, values in accuracies:
        figure.add_scatter(
            x=list(facts.checkpoints),
            y=100 * values,
            name=name,
            yaxis="y2",
            hovertemplate="%{y:.2f} %",
            **series(index, mode="lines+markers"),
        )
    return figure


def _scatter(facts: Facts) -> go.Figure | None:
    accuracies = _accuracies(facts)
    if not accuracies:
        return None
    figure = canvas(400, "accuracy (%)", "entropy (nats)", hovermode="closest")
    last = len(facts.checkpoints) - 1
    for index, name, values in accuracies:
        look = series(index, mode="lines+markers+text")
        look["line"] |= {"width": 1, "dash": "dot"}
        # Later checkpoints are more solid, so that the direction of time is visible without a
        # legend.
        look["marker"] |= {"size": 9, "opacity": np.linspace(0.35, 1, last + 1).tolist()}
        ends = {0: f"{facts.checkpoints[0]}", last: f"{facts.checkpoints[-1]}"}
        figure.add_scatter(
            x=100 * values,
            y=facts.entropy,
            name=name,
            text=[f"<b>{ends[i]}</b>" if i in ends else "" for i in range(last + 1)],
            textposition=["bottom center" if i == last else "top center" for i in range(last + 1)],
            textfont={"color": look["line"]["color"]},
            cliponaxis=False,
            customdata=list(facts.checkpoints),
            hovertemplate="checkpoint %{customdata}<br>%{x:.2f} %, %{y:,.1f} nats<extra>"
            + name
            + "</extra>",
            **look,
        )
    return figure


def _layer_entropy(facts: Facts) -> go.Figure:
    values = facts.layer("entropy_mean")
    if len(facts.layers) <= MANY_LAYERS:
        return _lines(facts, values, "entropy per neuron (nats)", "%{y:.3f} nats per neuron")
    with np.errstate(divide="ignore", invalid="ignore"):
        change = 100 * (values / values[:, :1] - 1)
    change[~np.isfinite(change)] = np.nan
    limit = max(float(np.nanmax(np.abs(change), initial=0.0)), 1e-9)
    hover = "%{text}<br>checkpoint %{x}: %{z:+.1f} %<br>%{customdata:.3f} nats per neuron<extra></extra>"
    return _heat(
        facts,
        change,
        "diverging",
        (-limit, limit),
        "change since the<br>first checkpoint (%)",
        hover,
        values,
    )


def _counts(facts: Facts, column: str, name: str) -> go.Figure | None:
    values = facts.layer(column)
    if not np.nansum(values):
        return None
    sizes = facts.layer("neurons")
    share = np.divide(100 * values, sizes, out=np.zeros_like(values), where=sizes > 0)
    if len(facts.layers) <= MANY_LAYERS:
        figure = _lines(
            facts, values, name, "%{y:,} of the layer’s neurons (%{customdata:.1f} %)", share
        )
        # Plotly would put ticks at halves of a neuron where there are few.
        figure.update_yaxes(
            rangemode="tozero", tickformat=",d", dtick=1 if np.nanmax(values) <= 6 else None
        )
        return figure
    hover = "%{text}<br>checkpoint %{x}: %{customdata:,} neurons, %{z:.2f} %<extra></extra>"
    top = max(float(np.nanmax(share)), 1e-9)
    return _heat(facts, share, "sequential", (0, top), f"{name}<br>(% of the layer)", hover, values)


def _lines(
    facts: Facts, values: Floats, title: str, hover: str, custom: Floats | None = None
) -> go.Figure:
    figure = canvas(360, "checkpoint", title, hovermode="x unified")
    for i, layer in enumerate(facts.layers):
        figure.add_scatter(
            x=list(facts.checkpoints),
            y=values[i],
            customdata=None if custom is None else custom[i],
            name=plain(short(layer, 24)),
            hovertemplate=hover,
            showlegend=True,
            **series(i, mode="lines+markers"),
        )
    figure.update_xaxes(showgrid=False, **checkpoint_axis(facts.checkpoints))
    return figure


def _heat(
    facts: Facts,
    values: Floats,
    scale: str,
    limits: tuple[float, float],
    title: str,
    hover: str,
    custom: Floats,
) -> go.Figure:
    layers = len(facts.layers)
    figure = canvas(
        max(360, min(900, 130 + 9 * layers)), "checkpoint", "layer, from input (top) to output"
    )
    figure.add_heatmap(
        x=list(facts.checkpoints),
        y=list(range(1, layers + 1)),
        z=values,
        text=[[plain(name)] * len(facts.checkpoints) for name in facts.layers],
        customdata=custom,
        zmin=limits[0],
        zmax=limits[1],
        colorscale=LIGHT.scale(scale),
        meta={"scale": scale},
        xgap=1,
        ygap=1,
        hovertemplate=hover,
        colorbar={
            "title": {"text": title, "side": "right", "font": {"size": 12}},
            "thickness": 12,
            "outlinewidth": 0,
            "tickfont": {"size": 11},
        },
    )
    figure.update_xaxes(showgrid=False, **checkpoint_axis(facts.checkpoints))
    figure.update_yaxes(autorange="reversed", showgrid=False, tickformat="d")
    return figure
