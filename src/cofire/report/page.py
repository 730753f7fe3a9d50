"""The page: facts, sentences, tables and figures put into one file that needs nothing else."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from cofire.activations import ActivationSummary
from cofire.arguments import validated
from cofire.atomic import write_text
from cofire.report import tables, wording
from cofire.report.boost import section as boost_section
from cofire.report.boost.facts import boosts_of
from cofire.report.captions import captions
from cofire.report.explanations import section as explanations_section
from cofire.report.explanations.facts import explanations_of
from cofire.report.facts import MEASURES, Facts, Floats
from cofire.report.figures import draw
from cofire.report.graphs.facts import graphs_of
from cofire.report.graphs.section import Section
from cofire.report.notation import joined, number, percent, plural, short, signed
from cofire.report.other_results import OtherResult, write_other_result
from cofire.report.settings import is_fingerprint, settings, versions
from cofire.report.sheet import dumped, render
from cofire.study import Moment, Trajectory, trajectory_of
from cofire.study.analyse import classes_told

SHOWN = 20
"""Up to so many rows a table of correlations is shown whole."""


@dataclass(frozen=True)
class Tile:
    """A number at the head of the page.

    Attributes:
        label: What it is.
        value: The number.
        note: Where it comes from or how sure it is.
        line: Points of a small curve as an SVG polyline, or "".
        span: Low end, value and high end of a correlation from 0 (for -1) to 100 (for +1), or None.
    """

    label: str
    value: str
    note: str
    line: str = ""
    span: tuple[float, float, float] | None = None


@validated
def write_report(
    result: Trajectory | ActivationSummary | OtherResult,
    path: str | Path,
    *,
    title: str | None = None,
    command: str | None = None,
) -> Path:
    """Write what a result shows as one HTML file that loads nothing from anywhere.

    Args:
        result: A trajectory, or the summary of one network; with one checkpoint, all that needs a
            course of training is left out. An explanation, a comparison, an evaluation and what was
            tuned have pages of their own.
        path: Where to write; the file appears whole or not at all.
        title: Heading of the page; the data set's name is in it unless given.
        command: The command that makes this run again, printed as it is.

    Returns:
        The path.

    Raises:
        ResultError: The trajectory has no checkpoint.
        OptionError: The page needs to know more than the result does; the message names the
            function to call.
    """
    target = Path(path)
    if not isinstance(result, Trajectory | ActivationSummary):
        return write_other_result(result, target, title, command)
    facts = Facts(_trajectory(result))
    write_text(target, _render(facts, title, command, facts.trajectory.saved_in(target.parent)))
    return target


def _trajectory(result: Trajectory | ActivationSummary) -> Trajectory:
    if isinstance(result, Trajectory):
        return result
    options = {
        name: value
        for name, value in asdict(result.options).items()
        if name not in ("fingerprint", "class_names", "classes", "outputs")
    }
    options |= classes_told(result)
    return trajectory_of(result, Moment(1, 1.0, None), None, options)


def _render(facts: Facts, title: str | None, command: str | None, saved: tuple[str, ...]) -> str:
    test = facts.test is not None
    layers = tables.correlation_rows(facts.of("layer"), test=test)
    classes = tables.correlation_rows(facts.of("class"), test=test)
    lowest, highest = tables.extremes(classes) if len(classes) > SHOWN else ([], [])
    supported, reservations = wording.limits(facts)
    drawn = draw(facts)
    found = graphs_of(facts)
    graphs = Section(found, set(drawn), test=test) if found is not None and found.layers else None
    boosted = boosts_of(facts)
    boost = None if boosted is None else boost_section.Section(boosted)
    explained = explanations_of(facts)
    explanations = None if explained is None else explanations_section.Section(explained)
    for section in (graphs, boost, explanations):
        if section is not None:
            more = section.remarks()
            supported, reservations = [*supported, *more[0]], [*more[1], *reservations]
    return render(
        "report.html.j2",
        drawn,
        title=title or _title(facts),
        command=command or facts.options.get("command"),
        facts=facts,
        headline=[
            *wording.headline(facts),
            *(part.lead for part in (graphs, boost) if part and part.lead),
        ],
        tiles=_tiles(facts),
        settings=settings(facts.options),
        versions=versions(facts.options),
        captions=captions(facts)
        | (graphs.captions() if graphs else {})
        | (boost.captions() if boost else {}),
        graphs=graphs,
        graph_data=dumped(graphs.data) if graphs else "",
        boost=boost,
        explanations=explanations,
        saved=saved,
        files=joined([f"{name}.parquet" for name in saved]) if saved else "",
        no_graphs=found.told_bare() if found is not None and graphs is None else "",
        measures=[m for m in MEASURES if f"distribution-{m}" in drawn],
        checkpoint_rows=tables.checkpoint_rows(facts),
        layer_rows=tables.layer_rows(facts),
        test=test,
        network_rows=tables.correlation_rows(facts.of("network"), test=test),
        correlated_layers=layers,
        correlated_classes=classes,
        lowest=lowest,
        highest=highest,
        dead=tables.idle_neurons(facts, "dead"),
        always=tables.idle_neurons(facts, "always_active"),
        selective=tables.top_neurons(facts, "selectivity"),
        informative=tables.top_neurons(facts, "information"),
        supported=supported,
        reservations=reservations,
        shown=SHOWN,
    )


def _title(facts: Facts) -> str:
    subject = "What the neurons do" if facts.single else "Activation entropy over training"
    options = facts.options
    if dataset := options.get("dataset"):
        return f"{subject}: {dataset}{', small CNN' if options.get('network') == 'cnn' else ''}"
    # A command names the model as it was given, and its class beside it.
    model = next(
        (str(options[name]) for name in ("network", "model") if _is_name(options.get(name))), ""
    )
    data = str(options.get("data") or "")
    if data.startswith("imagefolder:"):
        data = "/".join(Path(data.removeprefix("imagefolder:")).parts[-2:])
    named = " on ".join(part for part in (model, short(data, 60)) if part)
    return f"{subject}: {named}" if named else subject


def _is_name(value: object) -> bool:
    return isinstance(value, str) and bool(value) and not is_fingerprint(value)


def _tiles(facts: Facts) -> list[Tile]:
    dead = int(facts.network("dead")[-1])
    idle = Tile("Dead neurons", f"{dead:,}", f"of {plural(facts.neurons, 'neuron')}")
    test = "" if facts.test is None else f"test {percent(facts.test[-1])}"
    if facts.single:
        whole = Tile("Entropy", number(facts.entropy[-1], 0), "nats, all neurons")
        size = Tile("Neurons", f"{facts.neurons:,}", f"in {plural(len(facts.layers), 'layer')}")
        if facts.train is None:
            return [whole, size, idle]
        return [
            whole,
            size,
            Tile("Accuracy", percent(facts.train[-1]), test or "on these samples"),
            idle,
        ]
    start, end = float(facts.entropy[0]), float(facts.entropy[-1])
    change = f"{signed(100 * (end / start - 1), 1)}\N{NO-BREAK SPACE}%" if start else number(end, 0)
    tiles = [
        Tile(
            "Entropy",
            change,
            f"{number(start, 0)} → {number(end, 0)} nats",
            _polyline(facts.entropy),
        )
    ]
    if facts.train is not None:
        note = f"from {percent(facts.train[0])}" + (f" · {test}" if test else "")
        tiles.append(
            Tile("Training accuracy", percent(facts.train[-1]), note, _polyline(facts.train))
        )
    if (
        (network := facts.of("network"))
        and (found := network[0].train)
        and found.pearson is not None
    ):
        span = f"{signed(found.pearson_serial_low)} to {signed(found.pearson_serial_high)}"
        note = (
            "no interval"
            if found.pearson_serial_low is None
            else f"95\N{NO-BREAK SPACE}% interval {span}"
        )
        ends = (found.pearson_serial_low, found.pearson, found.pearson_serial_high)
        low, middle, high = (50 + 50 * (found.pearson if end is None else end) for end in ends)
        tiles.append(Tile("Pearson’s r", signed(found.pearson), note, span=(low, middle, high)))
    idle = Tile(
        idle.label,
        idle.value,
        f"{idle.note}, at the last checkpoint",
        _polyline(facts.network("dead")),
    )
    return [*tiles, idle]


def _polyline(values: Floats) -> str:
    span = float(np.ptp(values))
    if not span:
        return ""
    heights = 22 - 20 * (values - values.min()) / span
    return " ".join(
        f"{x:.1f},{y:.1f}" for x, y in zip(np.linspace(2, 98, len(values)), heights, strict=True)
    )
