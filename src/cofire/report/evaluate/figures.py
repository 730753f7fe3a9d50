"""The figures of an evaluation: for each criterion all methods with their intervals, and the centre as a line."""

from __future__ import annotations

import plotly.graph_objects as go

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.measures import Criterion
from cofire.explain import BASELINES
from cofire.report.evaluate.tables import method_name, span_told, value_told
from cofire.report.plots import canvas, plain, series
from cofire.statistics import Interval

DRAWN = (
    "pointing",
    "iou",
    "equal_drop",
    "drop",
    "soft_drop",
    "deletion",
    "insertion",
    "rank_correlation",
)
"""The criteria that are drawn, those of them that were measured."""

_FIRST, _OTHERS = 0, 2
_ROW, _FRAME = 27, 96


def draw_evaluation(
    evaluation: Evaluation, estimates: dict[str, dict[str, Interval]]
) -> dict[str, go.Figure]:
    """The figures by name: "judged-" and the criterion."""
    return {
        f"judged-{criterion.name}": _figure(criterion, estimates, evaluation.methods[0])
        for criterion in evaluation.criteria
        if criterion.name in DRAWN and any(criterion.name in own for own in estimates.values())
    }


def figure_caption(criterion: Criterion) -> str:
    """What a figure shows."""
    way = {"higher": "More is better.", "lower": "Less is better.", "neither": ""}[criterion.better]
    return f"{criterion.meaning} {way}".rstrip()


def _figure(
    criterion: Criterion, estimates: dict[str, dict[str, Interval]], first: str
) -> go.Figure:
    held = [
        (method, own[criterion.name]) for method, own in estimates.items() if criterion.name in own
    ][::-1]
    scale = 100 if criterion.percent else 1
    arrow = {"higher": "→ better", "lower": "← better", "neither": ""}[criterion.better]
    # The name stands above the figure; a longer title would not fit on a telephone.
    title = f"{'%' if criterion.percent else ''} {arrow}".strip()
    figure = canvas(_FRAME + _ROW * len(held), title, "", hovermode="closest", showlegend=False)
    span = [-0.6, len(held) - 0.4]
    centre = next((estimate.mean for method, estimate in held if method == "centre"), None)
    if centre is not None:
        line = series(0, muted=True)
        figure.add_scatter(x=[scale * centre] * 2, y=span, hoverinfo="skip", **line)
    kinds = (
        [place for place, (method, _) in enumerate(held) if method == first],
        [
            place
            for place, (method, _) in enumerate(held)
            if method != first and method not in BASELINES
        ],
        [
            place
            for place, (method, _) in enumerate(held)
            if method != first and method in BASELINES
        ],
    )
    for number, places in enumerate(kinds):
        if not places:
            continue
        look = series(_FIRST if number == 0 else _OTHERS, muted=number == 2, mode="markers")
        look["marker"] |= {"size": 9, "symbol": ("circle", "square", "diamond")[number]}
        parts = [held[place][1] for place in places]
        figure.add_scatter(
            x=[scale * part.mean for part in parts],
            y=places,
            error_x={
                "type": "data",
                "symmetric": False,
                "thickness": 1.8,
                "width": 4,
                "array": [scale * (part.high - part.mean) for part in parts],
                "arrayminus": [scale * (part.mean - part.low) for part in parts],
            },
            text=[plain(method_name(held[place][0])) for place in places],
            customdata=[
                f"{value_told(part.mean, criterion)} [{span_told(part.low, part.high, criterion)}]"
                for part in parts
            ],
            hovertemplate="%{text}: %{customdata}<extra></extra>",
            **look,
        )
    names = [plain(method_name(method)) for method, _ in held]
    names = [
        f"<b>{name}</b>" if held[place][0] == first else name for place, name in enumerate(names)
    ]
    figure.update_yaxes(
        tickmode="array",
        tickvals=list(range(len(held))),
        ticktext=names,
        showgrid=False,
        range=span,
    )
    figure.update_layout(margin={"l": 56, "r": 14, "t": 8, "b": 44})
    return figure
