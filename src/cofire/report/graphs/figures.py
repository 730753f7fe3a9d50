"""The figures about the graphs: unique-neuron matrices, modularity over the checkpoints, and still pictures."""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go

from cofire.report.canvas import canvas, fade, plain, series
from cofire.report.colours import LIGHT
from cofire.report.facts import Floats
from cofire.report.graphs.facts import MEASURES, GraphFacts
from cofire.report.graphs.palette import palette
from cofire.report.graphs.picture import Picture, pictured, pictures
from cofire.report.notation import short

NUMBERED = 12
"""Up to so many classes the cells of a matrix carry their numbers."""
MANY_CLASSES = 60
"""A matrix of more classes than this is not drawn."""
_SERIES = {
    "no-overlap": 0,
    "unweighted-overlap": 3,
    "weighted-overlap": 4,
    "kernighan-lin": 5,
    "louvain": 7,
}


def draw_graphs(facts: GraphFacts) -> dict[str, go.Figure]:
    """The figures that the page shows, by name: for each layer its matrices and its modularity."""
    drawn: dict[str, go.Figure | None] = {}
    for layer in pictured(facts)[0]:
        top = max(int(facts.matrix(layer, number).max(initial=0)) for number in facts.ends)
        for number in facts.ends:
            drawn[matrix_name(facts, layer, number)] = _matrix(facts, layer, number, top)
        if not facts.single and facts.measures:
            drawn[modularity_name(facts, layer)] = _modularity(facts, layer)
    return {name: figure for name, figure in drawn.items() if figure is not None}


def matrix_name(facts: GraphFacts, layer: str, checkpoint: int) -> str:
    """Name of the figure of a layer's unique-neuron matrix."""
    return f"unique-neurons-{_place(facts, layer)}-{_when(facts, checkpoint)}"


def modularity_name(facts: GraphFacts, layer: str) -> str:
    """Name of the figure of a layer's modularity."""
    return f"modularity-{_place(facts, layer)}"


def _place(facts: GraphFacts, layer: str) -> str:
    """A layer's number from 1: its name may hold what a file's must not."""
    return f"layer-{facts.layers.index(layer) + 1}"


def _when(facts: GraphFacts, checkpoint: int) -> str:
    return "first" if checkpoint == facts.checkpoints[0] and not facts.single else "last"


def _matrix(facts: GraphFacts, layer: str, checkpoint: int, top: int) -> go.Figure | None:
    values = facts.matrix(layer, checkpoint)
    side = len(values)
    if not 0 < side <= MANY_CLASSES:
        return None
    names = [plain(short(facts.class_name(c), 14)) for c in range(side)]
    figure = canvas(400, "class", "class")
    figure.add_heatmap(
        x=list(range(side)),
        y=list(range(side)),
        z=values.astype(float),
        zmin=0,
        zmax=max(1, top),
        colorscale=LIGHT.scale("sequential"),
        showscale=side > NUMBERED,
        meta={"scale": "sequential"},
        xgap=1.5 if side <= NUMBERED else 0.5,
        ygap=1.5 if side <= NUMBERED else 0.5,
        customdata=_spelled(names) if side <= NUMBERED else None,
        texttemplate="%{z:.0f}" if side <= NUMBERED else None,
        hovertemplate=f"{'%{customdata}' if side <= NUMBERED else 'classes %{y} and %{x}'}: %{{z:.0f}} neurons"
        "<extra></extra>",
        colorbar={"thickness": 10, "outlinewidth": 0, "tickfont": {"size": 11}},
    )
    every = max(1, -(-side // 20))
    ticks = list(range(0, side, every))
    shown = {
        "tickmode": "array",
        "tickvals": ticks,
        "ticktext": [names[i] for i in ticks],
        "showgrid": False,
    }
    figure.update_xaxes(**shown, side="bottom")
    figure.update_yaxes(**shown, autorange="reversed")
    figure.update_layout(dragmode=False)
    return figure


def _spelled(names: list[str]) -> list[list[str]]:
    return [[f"{a} alone" if a is b else f"{a} and {b}" for b in names] for a in names]


def _modularity(facts: GraphFacts, layer: str) -> go.Figure:
    figure = canvas(460, "checkpoint", "modularity Q", hovermode="x unified")
    x = list(facts.checkpoints)
    for measure in facts.measures:
        values = facts.modularity_course(layer, measure)
        low, high = (facts.modularity_course(layer, measure, end) for end in ("low", "high"))
        look = series(_SERIES[measure], mode="lines+markers")
        note = ""
        if np.isfinite(low).any():
            band = series(_SERIES[measure], fill=0.16)
            band["line"] |= {"width": 0}
            shared = {"legendgroup": measure, "showlegend": False, "hoverinfo": "skip"}
            figure.add_scatter(
                x=x, y=low, **shared, **{k: v for k, v in band.items() if k != "fillcolor"}
            )
            figure.add_scatter(x=x, y=high, fill="tonexty", **shared, **band)
            note = " (%{customdata[0]:.3f} to %{customdata[1]:.3f} over seeds)"
        figure.add_scatter(
            x=x,
            y=values,
            name=MEASURES[measure],
            legendgroup=measure,
            customdata=np.stack([low, high], axis=-1) if note else None,
            hovertemplate=f"%{{y:.3f}}{note}",
            **look,
        )
    _accuracy(figure, facts, layer, x)
    figure.update_xaxes(showgrid=False, **_ticks(facts))
    return figure


def _accuracy(figure: go.Figure, facts: GraphFacts, layer: str, x: list[int]) -> None:
    known: list[tuple[int, str, Floats]] = []
    for index, name, column in (
        (1, "training accuracy", "train_accuracy"),
        (2, "test accuracy", "test_accuracy"),
    ):
        values = facts.course(layer, column)
        if np.isfinite(values).all():
            known.append((index, name, values))
    if not known:
        return
    # Two panels and not two scales in one: where the lines of two scales cross means nothing.
    figure.update_layout(yaxis={"domain": [0.4, 1]}, xaxis={"anchor": "y2"})
    second = {**figure.layout.yaxis.to_plotly_json(), "domain": [0, 0.3], "anchor": "x"}
    second["title"] = {**second["title"], "text": "accuracy (%)"}
    figure.update_layout(yaxis2=second)
    for index, name, values in known:
        look = series(index, mode="lines+markers")
        figure.add_scatter(
            x=x, y=100 * values, name=name, yaxis="y2", hovertemplate="%{y:.2f} %", **look
        )


def _ticks(facts: GraphFacts) -> dict[str, object]:
    numbers = facts.checkpoints
    every = max(1, round(len(numbers) / 6))
    ticks = [*numbers[: len(numbers) - every // 2 - 1 : every], numbers[-1]]
    return {"tickmode": "array", "tickvals": ticks, "ticktext": [str(n) for n in ticks]}


def draw_pictures(facts: GraphFacts) -> dict[str, go.Figure]:
    """Still pictures of the first and the last graph of each layer, for a paper or a talk."""
    drawn = {}
    for scene in pictures(facts):
        ends = {"first": scene.pictures[0], "last": scene.pictures[-1]}
        for when in ("last",) if facts.single else ("first", "last"):
            drawn[f"graph-{_place(facts, scene.layer)}-{when}"] = _still(facts, ends[when])
    return drawn


def _still(facts: GraphFacts, picture: Picture) -> go.Figure:
    graph, where = picture.graph, picture.where
    figure = canvas(900, "", "", hovermode="closest")
    source, target = graph.source, graph.target
    inside = graph.own[source] == graph.own[target]
    present = np.unique(graph.own).tolist()
    colours = palette(max([len(facts.class_names), *(c + 1 for c in present)], default=1), "light")
    groups = [(None, ~inside), *((c, inside & (graph.own[source] == c)) for c in present)]
    for owner, mask in groups:
        colour = LIGHT.muted if owner is None else colours[owner]
        figure.add_scatter(
            **_lines(where, source[mask], target[mask]),
            mode="lines",
            line={"color": fade(colour, 0.13 if owner is None else 0.24), "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    strength = graph.numbers["strength"]
    size = 6 + 13 * np.sqrt(strength / max(float(strength.max(initial=0.0)), 1e-12))
    for owner in present:
        of_class = graph.own == owner
        figure.add_scatter(
            x=where[of_class, 0],
            y=-where[of_class, 1],
            mode="markers",
            name=plain(short(facts.class_name(owner), 24)),
            marker={
                "color": colours[owner],
                "size": size[of_class],
                "opacity": 1,
                "line": {"color": LIGHT.surface, "width": 1},
            },
            text=[str(n) for n in graph.neurons[of_class].tolist()],
            hovertemplate="neuron %{text}<extra></extra>",
            showlegend=len(present) <= NUMBERED,
        )
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False, scaleanchor="x")
    return figure


def _lines(where: Floats, source: np.ndarray, target: np.ndarray) -> dict[str, list[float | None]]:
    x: list[float | None] = []
    y: list[float | None] = []
    for a, b in zip(source.tolist(), target.tolist(), strict=True):
        x += [float(where[a, 0]), float(where[b, 0]), None]
        y += [-float(where[a, 1]), -float(where[b, 1]), None]
    return {"x": x, "y": y}
