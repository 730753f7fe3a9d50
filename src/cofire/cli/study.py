"""`cofire demo`, `cofire study` and `cofire report`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from cofire.boost.reading import DEFAULT_UNIT, UNITS
from cofire.cli.folders import claim
from cofire.cli.graph_options import CommunityRuns, NullGraphs, Resolution, Top
from cofire.report import write_figures, write_report
from cofire.study import DATASETS, StudyOptions, Trajectory, run_study
from cofire.study.digest import digest

Out = Annotated[
    Path | None,
    typer.Option(
        "--out",
        help="Folder; runs/DATASET-seedSEED unless given, of a cnn runs/DATASET-cnn-seedSEED.",
    ),
]
DataRoot = Annotated[
    Path | None,
    typer.Option("--data-root", help="Where data sets lie; COFIRE_DATA or ./data unless given."),
]


def demo(
    out: Annotated[Path, typer.Option("--out", help="Folder for the results.")] = Path(
        "cofire-demo"
    ),
    seed: Annotated[int, typer.Option(help="Of weights, order and dropout.")] = 0,
) -> None:
    """The study on scikit-learn's digits: train, watch the neurons, boost, explain decisions, write a report.

    Then the same of a small CNN, without boosting and graphs, in the folder cnn below.
    """
    command = shlex.join(["cofire", "demo", "--out", str(out), "--seed", str(seed)])
    dense = StudyOptions.of(dataset="digits", seed=seed, boost="readout", explain=8)
    # No graph: top neurons per class say nothing of a layer that has no more channels than those.
    convolutional = StudyOptions.of(
        dataset="digits",
        seed=seed,
        network="cnn",
        epochs=10,
        checkpoints=10,
        batch_size=32,
        pairs="none",
        explain=8,
    )
    first = _run(dense, out, None, command)
    typer.echo()
    second = _run(convolutional, out / "cnn", None, command)
    typer.echo(f"\nReports: {first} (fully connected), {second} (CNN)")


def study(
    dataset: Annotated[str | None, typer.Argument(help=f"One of {', '.join(DATASETS)}.")] = None,
    out: Out = None,
    config: Annotated[
        Path | None, typer.Option(help="TOML file of options; flags win over it.")
    ] = None,
    data_root: DataRoot = None,
    network: Annotated[
        str | None,
        typer.Option(help="fcnn (unless given), fully connected, or cnn, two small convolutions."),
    ] = None,
    hidden: Annotated[
        str | None,
        typer.Option(
            help="Units of the fully connected hidden layers; 512,512 unless given, of a cnn 128."
        ),
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Passes over the training data; 20 unless given.")
    ] = None,
    checkpoints: Annotated[
        int | None, typer.Option(help="How many are kept, at uniform intervals; 20 unless given.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Of training; 128 unless given.")] = None,
    optimizer: Annotated[
        str | None, typer.Option(help="adam (unless given), rmsprop or sgd.")
    ] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="Of the optimiser; 0.001 unless given.")
    ] = None,
    dropout: Annotated[
        float | None,
        typer.Option(help="After each fully connected hidden layer; 0.5 unless given, 0 for none."),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Of weights, order, dropout and label permutation; 0 unless given."),
    ] = None,
    bins: Annotated[
        int | None, typer.Option(help="Bins R of the entropy's histograms; 100 unless given.")
    ] = None,
    range: Annotated[
        str | None, typer.Option(help="Their range: own (unless given), zero-to-max or global.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="A neuron is active above it; 0 unless given.")
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(help="Of the activation pattern graph: class (unless given), union, or none."),
    ] = None,
    top: Top = None,
    resolution: Resolution = None,
    community_runs: CommunityRuns = None,
    null_graphs: NullGraphs = None,
    boost: Annotated[
        str | None,
        typer.Option(
            help="Boost every checkpoint: readout, auxiliary (the paper's), auto …; or none."
        ),
    ] = None,
    boost_layers: Annotated[
        str | None,
        typer.Option(help="Layers the booster reads: all (unless given), L2L, LL, or a name."),
    ] = None,
    boost_unit: Annotated[
        str | None,
        typer.Option(
            help=f"What the booster reads of feature maps: {', '.join(UNITS)}; {DEFAULT_UNIT} unless given."
        ),
    ] = None,
    boost_threshold: Annotated[
        str | None,
        typer.Option(
            help="Above it a neuron is active to the booster; or mean, each neuron's own; as --threshold."
        ),
    ] = None,
    validation: Annotated[
        float | None,
        typer.Option(
            help="Share of the training data held out; 0.1 unless given with --boost, else 0."
        ),
    ] = None,
    explain: Annotated[
        int | None,
        typer.Option(
            help="Explain up to so many test images predicted right and so many mistakes; 0 unless given."
        ),
    ] = None,
) -> None:
    """Train a classifier, keep checkpoints, and hold what its neurons do against its accuracy.

    Stopped at any moment and started again with the same options, it goes on where it was.
    """
    if dataset is None and config is None:
        raise typer.BadParameter(
            f"no data set: name one of {', '.join(DATASETS)}", param_hint="'DATASET'"
        )
    options = StudyOptions.of(
        config,
        dataset=dataset,
        network=network,
        hidden=None
        if hidden is None
        else tuple(int(part) if part.strip().isdigit() else part for part in hidden.split(",")),
        epochs=epochs,
        checkpoints=checkpoints,
        batch_size=batch_size,
        optimizer=optimizer,
        learning_rate=learning_rate,
        dropout=dropout,
        seed=seed,
        bins=bins,
        range=range,
        threshold=threshold,
        pairs=pairs,
        top=top,
        resolution=resolution,
        community_runs=community_runs,
        null_graphs=null_graphs,
        boost=boost,
        boost_layers=boost_layers,
        boost_unit=boost_unit,
        boost_threshold=boost_threshold,
        validation=validation,
        explain=explain,
    )
    kind = "" if options.network == "fcnn" else f"-{options.network}"
    target = out or Path("runs") / f"{options.dataset}{kind}-seed{options.seed}"
    typer.echo(f"Report: {_run(options, target, data_root, shlex.join(['cofire', *sys.argv[1:]]))}")


def report(
    folder: Annotated[Path, typer.Argument(help="Folder of a study or a summary.")],
    figures: Annotated[
        bool, typer.Option("--figures", help="Also write each figure as PNG and SVG.")
    ] = False,
) -> None:
    """Write the report of finished results again, and its figures as files."""
    trajectory = Trajectory.load(folder)
    typer.echo(f"Report: {write_report(trajectory, folder / 'report.html')}")
    if figures:
        for path in write_figures(trajectory, folder / "figures"):
            typer.echo(f"Figure: {path}")


def _run(options: StudyOptions, out: Path, data_root: Path | None, command: str) -> Path:
    """Run a study, write its page and print its digest.

    Returns:
        The page.
    """

    def line(so_far: Trajectory, checkpoints: int) -> None:
        now = so_far.network().slice(len(so_far.checkpoints) - 1).to_pylist()[0]
        typer.echo(
            f"checkpoint {now['checkpoint']:>3}/{checkpoints}  epoch {now['epoch']:g}  "
            f"entropy {now['entropy']:,.1f} nats  train {now['train_accuracy']:.4f}  test {now['test_accuracy']:.4f}",
            err=True,
        )

    claim(out, "study.json", "a study", quiet=True)
    trajectory = run_study(options, out, data_root=data_root, report=line)
    page = write_report(trajectory, out / "report.html", command=command)
    typer.echo("\n".join(digest(trajectory)))
    return page
