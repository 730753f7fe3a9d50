"""The figures about boosting: accuracy and gain over the checkpoints, or all gains at a single one."""

from __future__ import annotations

import textwrap
from typing import Any

import plotly.graph_objects as go

from cofire.report.boost.facts import BoostFacts
from cofire.report.canvas import canvas, checkpoint_axis, plain, series
from cofire.report.notation import short
from cofire.statistics import Interval
from cofire.study.boosts import gain_of

_BASE, _CONTROL, _BOOSTER = 2, 1, 0


def draw_boosts(facts: BoostFacts) -> dict[str, go.Figure]:
    """The figures by name: accuracy and gain over several checkpoints, or the gains of one."""
    if facts.single:
        return {"boost-methods": _methods(facts)}
    return {"boost-accuracy": _accuracy(facts), "boost-gain": _gain(facts)}


def _accuracy(facts: BoostFacts) -> go.Figure:
    figure = canvas(380, "checkpoint", "test accuracy (%)", hovermode="x unified")
    lines: list[tuple[str, list[dict[str, Any]], dict[str, Any]]] = [
        ("booster", [b.booster for b in facts.boosts], series(_BOOSTER, mode="lines+markers")),
        ("best control", [b.control for b in facts.boosts], series(_CONTROL, mode="lines+markers")),
        (
            "the model",
            [b.base for b in facts.boosts],
            series(_BASE, muted=True, mode="lines+markers"),
        ),
    ]
    for name, rows, look in lines:
        figure.add_scatter(
            x=list(facts.checkpoints),
            y=[100 * row["test_accuracy"] for row in rows],
            customdata=[plain(short(row["title"], 40)) for row in rows],
            name=name,
            hovertemplate="%{y:.2f} %" + ("" if name == "the model" else " (%{customdata})"),
            **look,
        )
    figure.update_xaxes(showgrid=False, **checkpoint_axis(facts.checkpoints))
    return figure


def _bars(gains: list[Interval]) -> dict[str, Any]:
    """Interval bars in points; none where there is no interval."""
    high = [max(0.0, 100 * (g.high - g.value)) if g.known else 0.0 for g in gains]
    low = [max(0.0, 100 * (g.value - g.low)) if g.known else 0.0 for g in gains]
    return {
        "type": "data",
        "symmetric": False,
        "array": high,
        "arrayminus": low,
        "thickness": 1.8,
        "width": 4,
    }


def _said(gains: list[Interval]) -> list[str]:
    return [f" [{100 * g.low:+.2f}, {100 * g.high:+.2f}]" if g.known else "" for g in gains]


def _gain(facts: BoostFacts) -> go.Figure:
    figure = canvas(320, "checkpoint", "gain of the<br>booster (points)", hovermode="x unified")
    ends = [facts.checkpoints[0] - 0.6, facts.checkpoints[-1] + 0.6]
    figure.add_scatter(
        x=ends, y=[0, 0], showlegend=False, hoverinfo="skip", **series(0, muted=True)
    )
    of_control = [
        (number, b.over_control) for number, b in zip(facts.checkpoints, facts.boosts, strict=True)
    ]
    of_values = [
        (number, b.of_patterns) for number, b in zip(facts.checkpoints, facts.boosts, strict=True)
    ]
    lines = (
        ("over the best control", of_control, -0.12, _BOOSTER),
        ("over values alone", of_values, 0.12, _CONTROL),
    )
    for name, measured, aside, colour in lines:
        known = [(number, gain) for number, gain in measured if gain is not None]
        if not known:
            continue
        gains = [gain for _, gain in known]
        figure.add_scatter(
            x=[number + aside for number, _ in known],
            y=[100 * gain.value for gain in gains],
            error_y=_bars(gains),
            customdata=_said(gains),
            name=name,
            hovertemplate="%{y:+.2f} points%{customdata}",
            **series(colour, mode="markers"),
        )
    figure.update_xaxes(showgrid=False, range=ends, **checkpoint_axis(facts.checkpoints))
    return figure


def _methods(facts: BoostFacts) -> go.Figure:
    gain = {row["method"]: gain_of(row, "base_gain") for row in facts.last_rows}
    rows = [row for row in facts.last_rows if gain[row["method"]] is not None][::-1]
    figure = canvas(max(240, 130 + 40 * len(rows)), "gain over the model (points)", "")
    places = list(range(len(rows)))
    figure.add_scatter(
        x=[0, 0],
        y=[-0.6, len(rows) - 0.4],
        showlegend=False,
        hoverinfo="skip",
        **series(0, muted=True),
    )
    kinds = (
        ("control", "controls", _CONTROL),
        ("ablation", "values or patterns alone", _BASE),
        ("method", "with activation patterns", _BOOSTER),
    )
    for kind, name, index in kinds:
        held = [
            (place, found, row["title"])
            for place, row in zip(places, rows, strict=True)
            if (found := gain[row["method"]]) is not None and row["kind"] == kind
        ]
        if not held:
            continue
        gains = [gain for _, gain, _ in held]
        look = series(index, mode="markers")
        look["marker"] |= {"size": 9}
        figure.add_scatter(
            x=[100 * gain.value for gain in gains],
            y=[place for place, _, _ in held],
            error_x=_bars(gains),
            name=name,
            text=[plain(title) for _, _, title in held],
            customdata=_said(gains),
            hovertemplate="%{text}: %{x:+.2f} points%{customdata}<extra></extra>",
            **look,
        )
    names = [_label(row) for row in rows]
    figure.update_yaxes(
        tickmode="array",
        tickvals=places,
        ticktext=names,
        showgrid=False,
        range=[-0.6, len(rows) - 0.4],
    )
    figure.update_layout(hovermode="closest")
    return figure


def _label(row: dict[str, Any]) -> str:
    lines = textwrap.wrap(row["title"], 19, max_lines=2, placeholder="…") or [""]
    name = "<br>".join(plain(line) for line in lines)
    return f"<b>{name}</b>" if row["role"] in ("booster", "best control") else name
