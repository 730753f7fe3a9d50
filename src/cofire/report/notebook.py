"""What results show in a notebook: for each type one table and its figures, in one template."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import singledispatch
from itertools import chain
from typing import Any

import numpy as np
import plotly.graph_objects as go

from cofire.activations import ActivationSummary, LayerSummary
from cofire.arguments import validated
from cofire.boost import Booster, Comparison
from cofire.errors import OptionError, ResultError, near_matches
from cofire.evaluate import Evaluation, Robustness, Tuned
from cofire.evaluate.results import TwoNetworks
from cofire.explain import Explanation
from cofire.explain.drawing.page import MOST_PICTURES, pictures
from cofire.graphs import ActivationPatternGraph
from cofire.network import Network
from cofire.patterns import MEASURES
from cofire.report.notation import count, plural
from cofire.report.page import trajectory_shown
from cofire.report.pages.evaluation import Methods
from cofire.report.pages.robustness import Movement
from cofire.report.pages.tuned import Learnt, tuned_figures
from cofire.report.pages.two_networks import Compared
from cofire.report.plots import Point, bars, canvas, intervals, matrix, plain, series
from cofire.report.section import Results, Section
from cofire.report.sections import SECTIONS
from cofire.report.sections.graph_drawing import Graph, drawings, spread, still
from cofire.report.sheet import render
from cofire.report.table import Cell, Column, Table
from cofire.shown import Backend
from cofire.study import Trajectory

ROWS = 12
"""So many rows of a table are shown; of more, some at even distances, the first and the last among them."""

Figures = Mapping[str, go.Figure]


@dataclass(frozen=True)
class Display:
    """What is shown of a result.

    Attributes:
        table: Makes the table, None where there is none.
        figures: Each makes some figures by name; the first one of all is drawn unless another is
            asked for.
        told: The line above the table; the result's repr unless given.
        pictures: Makes images with their captions, in place of a table.
        left: What is said of what is not shown.
    """

    table: Callable[[], Table | None] = lambda: None
    figures: Sequence[Callable[[], Figures]] = ()
    told: str = ""
    pictures: Callable[[], Sequence[Mapping[str, str]]] = tuple
    left: str = ""


@singledispatch
def display(result: Any) -> Display:
    """What is shown of a result; register a function for a type of your own."""
    raise TypeError(f"nothing is known of how a {type(result).__name__} shows itself")


def in_notebook(result: Any) -> str:
    """A result as HTML for a notebook: small, in the colours of the page that it stands in."""
    shown = display(result)
    table, left = shown.table(), shown.left
    if table is not None and len(table.rows) > ROWS:
        left = f"{ROWS} of {count(len(table.rows))} rows, at even distances"
        places = spread(len(table.rows), ROWS)
        table = replace(table, rows=[table.rows[place] for place in places])
    told = shown.told or repr(result)
    return render("notebook.html.j2", told=told, table=table, left=left, pictures=shown.pictures())


@validated
def figure_of(result: Any, what: str | None = None, backend: Backend = "plotly") -> Any:
    """A figure of a result; see `Shown.plot`."""
    names: list[str] = []
    for name, figure in _figures(display(result)):
        if what in (None, name):
            if backend == "plotly":
                return figure
            from cofire.report.in_matplotlib import in_matplotlib

            return in_matplotlib(figure)
        names.append(name)
    if what is None:
        raise ResultError(
            f"{result!r}, of which nothing can be drawn",
            "a result with numbers in it",
            "fit or measure it first",
        )
    raise OptionError(
        f"plot({what!r}) of a {type(result).__name__}",
        f"one of {', '.join(names)}" if names else "a result with numbers in it",
        f"try {near_matches(what, names)}" if names else "fit or measure it first",
    )


def _figures(shown: Display) -> Iterator[tuple[str, go.Figure]]:
    return chain.from_iterable(make().items() for make in shown.figures)


@display.register
def _(network: Network) -> Display:
    layers = network.activation_layers

    def table() -> Table:
        columns = [Column(name) for name in ("layer", "function", "channels", "positions")]
        rows = [
            [one.name, one.kind, one.neurons(), one.observations() if len(one.shape) > 1 else None]
            for one in layers
        ]
        return Table("Activation layers.", columns, rows)

    def figures() -> Figures:
        values = [one.neurons() for one in layers]
        names = [one.name for one in layers]
        return {"channels": bars(names, {"": values}, "channels", "%{text}: %{x:,}")}

    return Display(table, [figures] if layers else [])


@display.register
def _(summary: ActivationSummary) -> Display:
    def table() -> Table:
        columns = [Column(name) for name in ("layer", "function", "neurons")]
        columns += [
            Column("mean entropy", "nats", 3),
            Column("mean activity", digits=3),
            Column("dead"),
        ]
        rows = [
            [
                one.layer.name,
                one.layer.kind,
                one.neurons,
                float(one.entropy().mean()),
                float(one.probability().mean()),
                int(one.dead().sum()),
            ]
            for one in summary
        ]
        return Table("Layers.", columns, rows)

    def entropy() -> Figures:
        names = [one.layer.name for one in summary]
        values = [float(one.entropy().mean()) for one in summary]
        hover = "%{text}: %{x:.3f} nats"
        return {"mean-entropy": bars(names, {"": values}, "entropy per neuron (nats)", hover)}

    return Display(table, [entropy, *_of_report(lambda: trajectory_shown(summary))])


@display.register
def _(layer: LayerSummary) -> Display:
    def known() -> dict[str, Any]:
        classes = len(layer.statistics.samples) > 1
        told = [one for one in MEASURES.values() if classes or not one.needs_classes]
        return {
            one.name: layer.measure(one.name).numpy() for one in told if "count" not in one.of_layer
        }

    def table() -> Table:
        columns = [
            Column("measure"),
            *(Column(name, digits=3) for name in ("least", "median", "most")),
        ]
        rows = [
            [MEASURES[name].title, *map(float, np.quantile(said, (0, 0.5, 1)))]
            for name, values in known().items()
            if len(said := values[np.isfinite(values)])
        ]
        return Table("Measures of the neurons.", columns, rows)

    def figures() -> Figures:
        found = {}
        for name, values in known().items():
            unit = MEASURES[name].unit
            title = MEASURES[name].title.lower() + (f" ({unit})" if unit else "")
            found[name] = canvas(320, "neurons, by what they have", title)
            order = np.argsort(-values, kind="stable")
            order = order[np.isfinite(values[order])]
            found[name].add_scatter(
                y=values[order],
                text=[str(n) for n in order.tolist()],
                hovertemplate="neuron %{text}: %{y:.3g}<extra></extra>",
                **series(0),
            )
        return found

    return Display(table, [figures])


@display.register
def _(graph: ActivationPatternGraph) -> Display:
    names = graph.class_names

    def table() -> Table:
        shared = graph.unique_neuron_matrix()
        columns = [Column(name) for name in ("class", "neurons of its own", "shared with others")]
        columns.append(Column("strength within", "%", 1))
        strength, within = graph.strength(), graph.within_strength()
        rows = []
        for number, name in enumerate(names):
            own = graph.partition == number
            whole = float(strength[own].sum())
            alone = int(shared[number, number])
            share = float(within[own].sum()) / whole if whole else None
            rows.append([name, alone, graph.top - alone, share])
        return Table("Classes.", columns, rows)

    def drawn() -> Figures:
        columns, (pairs, weights) = graph.vertex_columns(), graph.edges()
        told = ("degree", "strength", "within_strength")
        whole = Graph(
            1,
            {},
            graph.neurons.numpy(),
            graph.classes_of(),
            graph.partition.numpy(),
            {name: np.asarray(columns[name], dtype=np.float64) for name in told},
            pairs[:, 0].numpy(),
            pairs[:, 1].numpy(),
            weights.numpy(),
        )
        return {"graph": still(drawings([whole], len(names))[0], names)}

    def shared() -> Figures:
        return {"unique-neurons": matrix(names, graph.unique_neuron_matrix().numpy())}

    return Display(table, [drawn, shared])


@display.register
def _(run: Trajectory) -> Display:
    def table() -> Table | None:
        columns = [Column("checkpoint"), Column("epoch", digits=1), Column("entropy", "nats", 1)]
        columns += [Column(f"{part} accuracy", "%", 2) for part in ("training", "test")]
        kept = ("checkpoint", "epoch", "entropy", "train_accuracy", "test_accuracy")
        rows = [[row[name] for name in kept] for row in run.network().to_pylist()]
        return Table("Checkpoints.", columns, rows) if rows else None

    return Display(table, _of_report(lambda: run))


def _of_report(of: Callable[[], Trajectory]) -> list[Callable[[], Figures]]:
    """The figures of the report, made section by section until the one that is asked for is found."""
    known: list[Results] = []

    def figures(kind: type[Section]) -> Figures:
        known[:] = known or [Results(of())]
        if not known[0].checkpoints or (part := kind.of(known[0])) is None:
            return {}
        return {**part.figures(), **part.stills()}

    return [lambda kind=kind: figures(kind) for kind in SECTIONS.values()]  # type: ignore[misc]


@display.register
def _(explanation: Explanation) -> Display:
    def figures(what: str) -> Figures:
        drawn = pictures(explanation, what)
        figure = canvas(320, "", "", margin={"l": 8, "r": 8, "t": 8, "b": 40})
        bare = {"showticklabels": False, "showgrid": False, "zeroline": False}
        for at, picture in enumerate(drawn):
            place = str(at + 1) if at else ""
            across: dict[str, Any] = {
                "domain": [at / len(drawn), (at + 0.96) / len(drawn)],
                "constrain": "domain",
            }
            across["title"] = {"text": plain(picture["told"]), "font": {"size": 12}}
            down = {"scaleanchor": f"x{place}", "anchor": f"x{place}", "autorange": "reversed"}
            axes = {f"xaxis{place}": {**bare, **across}, f"yaxis{place}": {**bare, **down}}
            figure.update_layout(axes)
            where = {"xaxis": f"x{place}", "yaxis": f"y{place}"}
            figure.add_image(source=picture["address"], hoverinfo="skip", **where)
        return {what: figure} if drawn else {}

    kinds = ["heatmap", "points", "box", "image"]
    if explanation.neurons is None:
        kinds.remove("points")
    makers: list[Callable[[], Figures]] = [lambda what=what: figures(what) for what in kinds]  # type: ignore[misc]
    more = len(explanation) - MOST_PICTURES
    left = f"{plural(more, 'more image')}: write_html shows all" if more > 0 else ""
    return Display(figures=makers, pictures=lambda: pictures(explanation, "heatmap"), left=left)


@display.register
def _(booster: Booster) -> Display:
    known = booster.always_active
    told = f"Booster({booster.extra_repr()})"

    def table() -> Table:
        columns = [Column("layer"), Column("always active", "%", 1)]
        rows = [[name, known.get(name)] for name in booster.layers]
        return Table("Layers that it reads.", columns, rows)

    def figures() -> Figures:
        shares = [100 * share for share in known.values()]
        title = "always active (% of neurons and classes)"
        return {"always-active": bars(list(known), {"": shares}, title, "%{text}: %{x:.1f} %")}

    return Display(table, [figures] if known else [], told)


@display.register
def _(found: Comparison) -> Display:
    def table() -> Table:
        columns = [Column("what"), Column("kind"), Column("test accuracy", "%", 2)]
        columns += [
            Column(f"over {rival}", "points", 2, signed=True)
            for rival in ("the model", "best control")
        ]
        rows = [
            [
                Cell(one.title, strong=one.name == found.chosen),
                one.kind,
                one.test_accuracy,
                one.base_gain,
                one.gain,
            ]
            for one in found.judged.values()
        ]
        return Table("What was fitted and held against it.", columns, rows)

    def figures() -> Figures:
        kinds = {"control": 6, "ablation": 2, "method": 0}
        points = [
            Point(one.title, one.base_gain, kinds[one.kind], one.kind, one.name == found.chosen)
            for one in found.judged.values()
            if one.base_gain is not None
        ]
        return {"gain": intervals(points, "gain over the model (points)", factor=100)}

    return Display(table, [figures, *_of_report(lambda: trajectory_shown(found))])


@display.register
def _(evaluation: Evaluation) -> Display:
    part = Methods(evaluation)

    def table() -> Table:
        return part.means_table("Means.", list(part.asked.values()))

    return Display(table, [part.figures])


@display.register
def _(found: Robustness) -> Display:
    return _by_section(Movement(found))


@display.register
def _(found: TwoNetworks) -> Display:
    return _by_section(Compared(found))


@display.register
def _(tuned: Tuned) -> Display:
    return Display(_by_section(Learnt(tuned)).table, [lambda: tuned_figures(tuned)])


def _by_section(part: Section) -> Display:
    return Display(lambda: next(iter(part.tables().values()), None), [part.figures])
