"""The page of `cofire tune`: what was learnt of each option, and what trying it out cost."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from cofire.atomic import write_text
from cofire.evaluate.tuned import Tuned
from cofire.evaluate.tuning import told
from cofire.explain import title_of
from cofire.report.evaluate.left_out import left_out_told
from cofire.report.evaluate.regret_words import (
    intervals_of,
    notes_of,
    option_told,
    reading,
    rows_of,
    verdict,
)
from cofire.report.notation import settings, versions
from cofire.report.plots import canvas, plain, series
from cofire.report.sheet import render

_ROW = 25
"""Height of a value in the figure of rewards, in pixels."""


def regret_figures(tuned: Tuned) -> dict[str, go.Figure]:
    """The figures by name: regret over the trials, and the mean reward of each value.

    Args:
        tuned: What was learnt.
    """
    return {"regret": _regret(tuned), "rewards": _rewards(tuned)} if tuned.learned else {}


def write_regret_page(tuned: Tuned, path: str | Path, *, title: str | None = None) -> Path:
    """Write what was learnt as one HTML file that loads nothing from anywhere.

    Args:
        tuned: What was learnt.
        path: Where to; the file appears whole or not at all.
        title: Heading of the page.

    Returns:
        The path.
    """
    shown = {
        "method": title_of(tuned.method),
        "tuning_photos": tuned.photos,
        "rewarded_from_an_intersection_over_union_of": tuned.least_iou,
        "seed": tuned.seed,
        **{
            name: value
            for name, value in tuned.setup.items()
            if name not in ("command", "versions", "left_out")
        },
    }
    page = render(
        "evaluate/regret.html.j2",
        regret_figures(tuned),
        title=title or f"Options of {title_of(tuned.method)}, learnt",
        command=tuned.setup.get("command"),
        verdict=verdict(tuned),
        notes=notes_of(tuned),
        reading=reading(tuned),
        rows=rows_of(tuned),
        captions={
            "regret": "Regret of each option up to each trial, in rewards.",
            "rewards": "Mean reward of every value, with 95 % intervals. What was learnt is filled.",
        },
        settings=settings(shown),
        left_out=left_out_told(tuned.setup),
        versions=versions(dict(tuned.setup)),
        graphs=None,
        boost=None,
    )
    write_text(path, page)
    return Path(path)


def _regret(tuned: Tuned) -> go.Figure:
    # A legend of many long names takes several lines.
    figure = canvas(
        380 + 12 * len(tuned.learned), "trial", "regret (rewards)", hovermode="x unified"
    )
    lines = -(-len(tuned.learned) // 2)
    figure.update_layout(margin={"b": 60 + 20 * lines})
    for index, learned in enumerate(tuned.learned):
        regret = learned.run.regret
        figure.add_scatter(
            x=list(range(1, len(regret) + 1)),
            y=regret,
            name=plain(_short(learned.name)),
            hovertemplate="%{y:.2f}",
            **series(index, muted=learned.alike),
        )
    figure.update_xaxes(showgrid=False, tickformat=",d")
    figure.update_yaxes(rangemode="tozero")
    return figure


def _rewards(tuned: Tuned) -> go.Figure:
    """A row for each value, in groups, from top to bottom."""
    places: list[float] = []
    names: list[str] = []
    line = 0.0
    figure = canvas(300, "mean reward", "", hovermode="closest")
    for index, learned in enumerate(tuned.learned):
        means, intervals = learned.run.means, intervals_of(learned)
        own = [line + 0.6 + arm for arm in range(len(means))]
        chosen = [
            value == learned.chosen and type(value) is type(learned.chosen)
            for value in learned.values
        ]
        look = series(index, muted=learned.alike, mode="markers")
        look["marker"] = {
            **look["marker"],
            "size": [11 if one else 8 for one in chosen],
            "symbol": ["circle" if one else "circle-open" for one in chosen],
        }
        figure.add_scatter(
            x=means,
            y=own,
            error_x={
                "type": "data",
                "symmetric": False,
                "array": [
                    max(0.0, each.high - mean) for each, mean in zip(intervals, means, strict=True)
                ],
                "arrayminus": [
                    max(0.0, mean - each.low) for each, mean in zip(intervals, means, strict=True)
                ],
                "thickness": 1.4,
                "width": 3,
            },
            customdata=[
                [plain(f"{learned.name} = {told(value)}"), int(count)]
                for value, count in zip(learned.values, learned.run.counts, strict=True)
            ],
            hovertemplate="%{customdata[0]}: %{x:.3f} in %{customdata[1]} trials<extra></extra>",
            showlegend=False,
            **look,
        )
        places += own
        names += [
            f"<b>{plain(f'{_short(learned.name)} = {told(value)}')}</b>"
            if one
            else plain(f"{_short(learned.name)} = {told(value)}")
            for value, one in zip(learned.values, chosen, strict=True)
        ]
        line += len(means) + 0.8
    figure.update_layout(height=110 + int(_ROW * line))
    figure.update_yaxes(
        tickmode="array",
        tickvals=places,
        ticktext=names,
        showgrid=False,
        range=[line + 0.2, -0.2],
        title=None,
    )
    figure.update_xaxes(range=[-0.03, 1.03])
    return figure


def _short(name: str) -> str:
    return f"α {name}" if option_told(name).startswith("α") else name
