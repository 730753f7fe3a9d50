"""`cofire summarize`: one model, one data set."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import typer

from cofire.activations import DEFAULT_CAP, cost_of
from cofire.activations import summarize as run_summary
from cofire.activations.batches import classes_of
from cofire.activations.cofiring import narrowed
from cofire.activations.labelling import Labelling
from cofire.cli.options import DATA, LabelledDataOptions, Output
from cofire.cli.sharing import RangesOptions, parts_of, run_shared
from cofire.cli.terminal import claim, note
from cofire.cli.trajectories import reported
from cofire.images.classes import known_names
from cofire.options import option
from cofire.patterns import information_floor
from cofire.scale.ray_engine import EngineOptions
from cofire.scale.ray_passes import on_actors
from cofire.scale.shards import Part
from cofire.storage import versions
from cofire.study import Moment, trajectory_of
from cofire.study.analyse import classes_told
from cofire.study.analysis_options import ByClassWord, ObservationOptions
from cofire.study.graph_rows import GraphOptions
from cofire.study.pictures import picture_tables
from cofire.study.sources import outputs_of


class Summarize(ObservationOptions, EngineOptions, RangesOptions, LabelledDataOptions):
    """What is summarised, and how."""

    data: str = option(..., "Data", DATA, panel="Data")
    split: Literal["train", "test", "validation"] | None = option(
        None, "Split", "Which part of data that have several; train unless given.", panel="Data"
    )
    out: Path = option(
        Path("cofire-summary"), "Folder", "Folder for the results.", panel=Output.panel
    )
    by_class: ByClassWord = option(
        "none", "By class", "Nothing, statistics (selectivity, information), or histograms as well."
    )
    max_bytes: int = option(
        DEFAULT_CAP, "Memory", "Refuse to start if the state would take more bytes."
    )
    pairs: Literal["none", "class", "union"] = option(
        "none",
        "Pairs",
        "Which pairs of neurons the graph counts; needs --by-class.",
        panel="Activation pattern graph",
    )


def summarize(options: Summarize) -> dict[str, Any]:
    """What the neurons of one model do on one data set: a summary file, tables and a report.

    Large data can be shared. Under torchrun (torchrun --nproc-per-node 8 -m cofire summarize …) the
    processes share it. With --shard 3/16, sixteen commands count a part each, anywhere and in any
    order, in two rounds: each writes its ranges, cofire merge puts them together, each counts again
    with --ranges, and cofire merge gives the results. With --engine ray the actors of a Ray cluster
    share it. Any way gives the same numbers, to the last bit.
    """
    return run_shared("summarize", summarize_all, options)


def summarize_all(options: Summarize, parts: Sequence[Sequence[Part]] = ()) -> dict[str, Any]:
    """All of it, or what of it is shared here."""
    with options.each() as each, nullcontext() if options.engine == "here" else on_actors(each):
        return _summarize(options)


def _summarize(options: Summarize) -> dict[str, Any]:
    options.check_used()
    graphs = GraphOptions(options.resolution, options.community_runs, options.top)
    claim(options.out, "summary.safetensors", "a summary", *parts_of("summarize"))
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
    asked = options.summary | {"layers": chosen}
    kept, counted = asked["by_class"], asked["pairs"]
    counting = ("unit", "bins", "by_class", "pairs", "top", "null_graphs", "top_samples")
    cost = cost_of(
        chosen,
        num_classes=len(labelling.names),
        **{name: asked[name] for name in counting if name in asked},
    )
    if not silent:
        every = f" if all {len(labelling.names):,} classes occur"
        told = every if kept and not classes_of(source) else ""
        typer.echo(f"{len(chosen)} layers, {cost}{told}", err=True)
    summary = run_summary(
        network,
        options.loader(source),
        **asked,
        class_names=labelling.names,
        outputs=outputs,
        batch_size=options.batch_size,
        max_bytes=options.max_bytes,
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
        of_graphs = ("pairs", "top", "null_graphs", "resolution", "community_runs")
        record |= {name: options.record()[name] for name in of_graphs}
    record |= classes_told(summary)
    if preparation is None and getattr(source, "transform", None) is not None:
        record["transform"] = str(source.transform)
    record |= options.prepared(preparation)
    if kept:
        classes = len(summary.options.classes)
        record["information_floor"] = information_floor(summary.samples, classes)
    record["versions"] = versions()
    tops = {layer.layer.name: layer.cofiring.top for layer in summary if layer.cofiring is not None}
    if (line := narrowed(tops, max(options.top))) and not silent:
        note(line)
    moment = Moment(1, 1.0, 1)
    trajectory = trajectory_of(summary, moment, None, record, graphs)
    if options.top_samples:
        images = not options.no_images
        shown = picture_tables(network, source, summary, vars(moment), images=images)
        trajectory = replace(trajectory, **shown)
    summary.save(options.out / "summary.safetensors")
    trajectory.save(options.out)
    return reported(trajectory, options.out) | {"layers": trajectory.layers.to_pylist()}
