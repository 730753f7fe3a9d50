"""`cofire summarize`: one model, one data set."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import typer
from torch.utils.data import DataLoader, Dataset

from cofire.activations import DEFAULT_CAP, DEFAULT_TOP, ByClass, cost_of
from cofire.activations import summarize as run_summary
from cofire.activations.batches import classes_of
from cofire.activations.cofiring import narrowed
from cofire.activations.labelling import Labelling
from cofire.cli.folders import claim
from cofire.cli.graph_options import CommunityRuns, NullGraphs, Resolution, Top
from cofire.cli.preparation_options import (
    Crop,
    Grey,
    ImageSize,
    Mean,
    Resize,
    Std,
    Transform,
    WeightsKey,
    asked,
    tell,
)
from cofire.errors import OptionError
from cofire.images.classes import known_names
from cofire.patterns import information_floor
from cofire.report import write_report
from cofire.storage import versions
from cofire.study import Moment, trajectory_of
from cofire.study.analyse import classes_told
from cofire.study.digest import digest
from cofire.study.graph_rows import GraphOptions
from cofire.study.sources import first_inputs, open_data, open_network, outputs_of

_BY_CLASS: dict[str, ByClass] = {"none": False, "statistics": "statistics", "full": True}


def summarize(
    model: Annotated[
        str,
        typer.Option(help="torchvision:resnet50 | timm:NAME | package.module:function | file.pt2"),
    ],
    data: Annotated[
        str, typer.Option(help="imagefolder:DIR | torchvision:MNIST | package.module:function")
    ],
    weights: Annotated[
        str | None,
        typer.Option(
            help="file.safetensors or file.pt; none for an untrained torchvision or timm model."
        ),
    ] = None,
    weights_key: WeightsKey = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("cofire-summary"),
    layers: Annotated[
        list[str] | None,
        typer.Option("--layer", help="Name, glob or kind:relu; may be repeated. All unless given."),
    ] = None,
    unit: Annotated[
        Literal["channel", "channel-mean", "channel-max", "element"],
        typer.Option(help="What a neuron is."),
    ] = "channel",
    bins: Annotated[int, typer.Option(help="Bins R of the histograms.")] = 100,
    range: Annotated[
        Literal["own", "zero-to-max", "global"], typer.Option(help="Their range.")
    ] = "own",
    threshold: Annotated[float, typer.Option(help="A neuron is active above it.")] = 0.0,
    by_class: Annotated[
        Literal["none", "statistics", "full"],
        typer.Option(
            help="Per class: nothing, statistics (selectivity, information), or histograms as well."
        ),
    ] = "none",
    pairs: Annotated[
        Literal["none", "class", "union"],
        typer.Option(
            help="Of the activation pattern graph: none, class or union; needs --by-class."
        ),
    ] = "none",
    top: Top = None,
    resolution: Resolution = None,
    community_runs: CommunityRuns = None,
    null_graphs: NullGraphs = None,
    data_root: Annotated[
        Path | None,
        typer.Option(help="Where torchvision's data sets lie; COFIRE_DATA or ./data unless given."),
    ] = None,
    split: Annotated[
        Literal["train", "test"] | None,
        typer.Option(help="Of a torchvision data set; train unless given."),
    ] = None,
    image_size: ImageSize = None,
    resize: Resize = None,
    crop: Crop = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    transform: Transform = None,
    num_classes: Annotated[
        int | None, typer.Option(help="Outputs of a torchvision or timm model, if not its own.")
    ] = None,
    capture: Annotated[
        Literal["export", "calls"],
        typer.Option(help="How to read the model; calls where it does not export."),
    ] = "export",
    batch_size: Annotated[int, typer.Option(help="Samples at a time.")] = 64,
    workers: Annotated[
        int, typer.Option(help="Processes that load images; 0 loads in this one.")
    ] = 0,
    min_class_samples: Annotated[
        int | None,
        typer.Option(
            help="Fewest samples of a class that occurs; 2 unless given, 1 where not all occur."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
    max_bytes: Annotated[
        int, typer.Option(help="Refuse to start if the state would be larger.")
    ] = DEFAULT_CAP,
) -> None:
    """What the neurons of one model do on one data set: a summary file, tables and a report."""
    counted = None if pairs == "none" else pairs
    if counted is None and (top, resolution, community_runs, null_graphs) != (
        None,
        None,
        None,
        None,
    ):
        raise OptionError(
            "options of graphs without --pairs",
            "a graph that they are options of",
            "add --pairs class, or leave them out",
        )
    usual = GraphOptions()
    graphs = GraphOptions(
        resolution=usual.resolution if resolution is None else resolution,
        community_runs=usual.community_runs if community_runs is None else community_runs,
    )
    top = DEFAULT_TOP if top is None else top
    null_graphs = (10 if counted else 0) if null_graphs is None else null_graphs
    if counted is not None and by_class == "none":
        raise OptionError(
            "--pairs without results by class",
            "--by-class full or statistics",
            "add --by-class full",
        )
    claim(out, "summary.safetensors", "a summary")
    opening: dict[str, Any] = {
        "weights": weights,
        "weights_key": weights_key,
        "num_classes": num_classes,
        "capture": capture,
        "device": device,
    }
    # An exported program says itself how large its inputs are.
    network = open_network(model, torch.zeros(0), **opening) if model.endswith(".pt2") else None
    source = open_data(
        data,
        root=data_root,
        split=split,
        model=model,
        shape=None if network is None else network.input_shape,
        own_weights=weights is not None,
        **asked(image_size, resize, crop, mean, std, grey, transform),
    )
    preparation = getattr(source, "preparation", None)
    tell(preparation)
    if network is None:
        network = open_network(model, first_inputs(source), **opening)
    kept = _BY_CLASS[by_class]
    outputs = outputs_of(source, model, network.num_classes)
    names = None if classes_of(source) else known_names(model, network.num_classes)
    labelling = Labelling.of(network, source, names, outputs)
    # On a terminal the summary itself says these lines, beside its progress bars.
    quiet = sys.stderr.isatty()
    if (reason := labelling.without_accuracy()) and not quiet:
        typer.echo(f"Note: {reason}", err=True)
    chosen = network.select(layers or None)
    cost = cost_of(
        chosen,
        unit=unit,
        bins=bins,
        by_class=kept,
        num_classes=len(labelling.names),
        pairs=counted,
        top=top,
        null_graphs=null_graphs,
    )
    every = (
        f" if all {len(labelling.names):,} classes occur" if kept and not classes_of(source) else ""
    )
    if not quiet:
        typer.echo(f"{len(chosen)} layers, {cost}{every}", err=True)
    loader = source
    if isinstance(source, Dataset) and not isinstance(source, DataLoader):
        loader = DataLoader(source, batch_size=batch_size, num_workers=workers)
    summary = run_summary(
        network,
        loader,
        layers=chosen,
        unit=unit,
        bins=bins,
        range=range,
        threshold=threshold,
        by_class=kept,
        pairs=counted,
        top=top,
        null_graphs=null_graphs,
        class_names=labelling.names,
        outputs=outputs,
        min_class_samples=min_class_samples,
        batch_size=batch_size,
        max_bytes=max_bytes,
    )
    chance = (
        {"information_floor": information_floor(summary.samples, len(summary.options.classes))}
        if kept
        else {}
    )
    options = {
        "model": model,
        **({} if network.model_name is None else {"network": network.model_name}),
        "weights": weights or "as given by the model",
        **({} if weights_key is None else {"weights_key": weights_key}),
        "data": data,
        "unit": unit,
        "bins": bins,
        "range": range,
        "threshold": threshold,
        "by_class": by_class,
        **(
            {"pairs": pairs, "top": top, "null_graphs": null_graphs, **vars(graphs)}
            if counted
            else {}
        ),
        **classes_told(summary),
        **(
            {"transform": str(source.transform)}
            if getattr(source, "transform", None) is not None
            else {}
        ),
        **(
            {}
            if preparation is None
            else {"prepared": preparation.told, "preparation": preparation.record}
        ),
        **chance,
        "versions": versions(),
    }
    tops = {layer.layer.name: layer.cofiring.top for layer in summary if layer.cofiring is not None}
    if (line := narrowed(tops, top)) and not quiet:
        typer.echo(f"Note: {line}", err=True)
    trajectory = trajectory_of(summary, Moment(1, 1.0, 1), None, options, graphs)
    summary.save(out / "summary.safetensors")
    trajectory.save(out)
    page = write_report(
        trajectory, out / "report.html", command=shlex.join(["cofire", *sys.argv[1:]])
    )
    typer.echo("\n".join(digest(trajectory)))
    typer.echo(f"Report: {page}")
