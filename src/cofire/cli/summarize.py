"""`cofire summarize`: one model, one data set."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any, Literal

import typer

from cofire.activations import DEFAULT_CAP, DEFAULT_TOP, ByClass, cost_of
from cofire.activations import summarize as run_summary
from cofire.activations.batches import classes_of
from cofire.activations.cofiring import narrowed
from cofire.activations.labelling import Labelling
from cofire.cli.options import DATA, LabelledDataOptions, Output
from cofire.cli.terminal import claim, command_line, note
from cofire.errors import OptionError
from cofire.images.classes import known_names
from cofire.options import option
from cofire.patterns import information_floor
from cofire.report import write_report
from cofire.storage import versions
from cofire.study import Moment, trajectory_of
from cofire.study.analyse import classes_told
from cofire.study.findings import digest
from cofire.study.graph_rows import GraphOptions
from cofire.study.sources import outputs_of

_BY_CLASS: dict[str, ByClass] = {"none": False, "statistics": "statistics", "full": True}
_GRAPH = "Activation pattern graph"
_OF_GRAPHS = {"top", "resolution", "community_runs", "null_graphs"}


class Summarize(LabelledDataOptions):
    """What is summarised, and how."""

    data: str = option(..., "Data", DATA, panel="Data")
    split: Literal["train", "test", "validation"] | None = option(
        None, "Split", "Which part of data that have several; train unless given.", panel="Data"
    )
    out: Path = option(
        Path("cofire-summary"), "Folder", "Folder for the results.", panel=Output.panel
    )
    layers: list[str] | None = option(
        None, "Layers", "Name, glob or kind:relu; may be repeated. All unless given."
    )
    unit: Literal["channel", "channel-mean", "channel-max", "element"] = option(
        "channel", "Unit", "What a neuron is."
    )
    bins: int = option(100, "Bins", "Bins R of the histograms.", ge=1)
    range: Literal["own", "zero-to-max", "global"] = option("own", "Range", "Of the histograms.")
    threshold: float = option(0.0, "Threshold", "A neuron is active above it.")
    by_class: Literal["none", "statistics", "full"] = option(
        "none", "By class", "Nothing, statistics (selectivity, information), or histograms as well."
    )
    min_class_samples: int | None = option(
        None,
        "Samples of a class",
        "Fewest of a class that occurs; 2 unless given, 1 where not all occur.",
    )
    max_bytes: int = option(
        DEFAULT_CAP, "Memory", "Refuse to start if the state would take more bytes."
    )
    pairs: Literal["none", "class", "union"] = option(
        "none", "Pairs", "Which pairs of neurons the graph counts; needs --by-class.", panel=_GRAPH
    )
    top: int = option(
        DEFAULT_TOP,
        "Representatives",
        "Representative neurons per class at the most, fewer in narrow layers.",
        panel=_GRAPH,
        ge=1,
    )
    resolution: float = option(
        2.0, "Resolution", "γ of Louvain's method; 2 is Gephi's 0.5.", panel=_GRAPH, gt=0
    )
    community_runs: int = option(
        10, "Seeds of communities", "And shuffles of weights.", panel=_GRAPH, ge=2, le=1000
    )
    null_graphs: int = option(
        10,
        "Null graphs",
        "With random labels, to hold each graph against; 0 for none.",
        panel=_GRAPH,
        ge=0,
        le=1000,
    )


def summarize(options: Summarize) -> dict[str, Any]:
    """What the neurons of one model do on one data set: a summary file, tables and a report."""
    counted = None if options.pairs == "none" else options.pairs
    if counted is None and options.model_fields_set & _OF_GRAPHS:
        raise OptionError(
            "options of graphs without --pairs",
            "a graph that they are options of",
            "add --pairs class, or leave them out",
        )
    if counted is not None and options.by_class == "none":
        raise OptionError(
            "--pairs without results by class",
            "--by-class full or statistics",
            "add --by-class full",
        )
    graphs = GraphOptions(resolution=options.resolution, community_runs=options.community_runs)
    claim(options.out, "summary.safetensors", "a summary")
    network, (source,), preparation = options.opened_with(
        (options.data, "train"), split=options.split
    )
    outputs = outputs_of(source, options.model, network.num_classes)
    names = None if classes_of(source) else known_names(options.model, network.num_classes)
    labelling = Labelling.of(network, source, names, outputs)
    # On a terminal the summary itself says these lines, beside its progress bars.
    silent = sys.stderr.isatty()
    if (reason := labelling.without_accuracy()) and not silent:
        note(reason)
    chosen = network.select(options.layers or None)
    kept = _BY_CLASS[options.by_class]
    counting: dict[str, Any] = {
        "unit": options.unit,
        "bins": options.bins,
        "by_class": kept,
        "pairs": counted,
        "top": options.top,
        "null_graphs": options.null_graphs if counted else 0,
    }
    cost = cost_of(chosen, num_classes=len(labelling.names), **counting)
    if not silent:
        every = f" if all {len(labelling.names):,} classes occur"
        told = every if kept and not classes_of(source) else ""
        typer.echo(f"{len(chosen)} layers, {cost}{told}", err=True)
    summary = run_summary(
        network,
        options.loader(source),
        layers=chosen,
        range=options.range,
        threshold=options.threshold,
        class_names=labelling.names,
        outputs=outputs,
        min_class_samples=options.min_class_samples,
        batch_size=options.batch_size,
        max_bytes=options.max_bytes,
        **counting,
    )
    record: dict[str, Any] = {"model": options.model}
    if network.model_name is not None:
        record["network"] = network.model_name
    record["weights"] = options.weights or "as given by the model"
    if options.weights_key is not None:
        record["weights_key"] = options.weights_key
    record |= {
        name: getattr(options, name)
        for name in ("data", "unit", "bins", "range", "threshold", "by_class")
    }
    if counted:
        record |= {name: counting[name] for name in ("pairs", "top", "null_graphs")} | vars(graphs)
    record |= classes_told(summary)
    if preparation is None and getattr(source, "transform", None) is not None:
        record["transform"] = str(source.transform)
    record |= options.prepared(preparation)
    if kept:
        classes = len(summary.options.classes)
        record["information_floor"] = information_floor(summary.samples, classes)
    record["versions"] = versions()
    tops = {layer.layer.name: layer.cofiring.top for layer in summary if layer.cofiring is not None}
    if (line := narrowed(tops, options.top)) and not silent:
        note(line)
    trajectory = trajectory_of(summary, Moment(1, 1.0, 1), None, record, graphs)
    summary.save(options.out / "summary.safetensors")
    trajectory.save(options.out)
    page = write_report(trajectory, options.out / "report.html", command=command_line())
    said = digest(trajectory)
    typer.echo("\n".join(said))
    typer.echo(f"Report: {page}")
    return {
        "report": page,
        "folder": options.out,
        "layers": trajectory.layers.to_pylist(),
        "digest": said,
    }
