"""`cofire explain`: which pixels of photos carried the decisions of a network."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import torch
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cofire.activations.progress import progress_over
from cofire.cli.explain_options import OURS, asked_methods, options_of
from cofire.cli.folders import claim
from cofire.cli.opening import opened, without_commands
from cofire.cli.preparation_options import (
    Crop,
    Grey,
    ImageSize,
    Mean,
    Resize,
    Std,
    Transform,
    Weights,
    WeightsKey,
    asked,
    tell,
)
from cofire.errors import OptionError
from cofire.evaluate.tuned import read_tuned
from cofire.explain import METHODS, Explanation, title_of
from cofire.explain import explain as run_explain
from cofire.explain.drawing.captions import percent, plural
from cofire.explain.methods.cam_layer import choose_cam_layer
from cofire.images.classes import class_number, known_names, read_names
from cofire.images.preparation import Preparation, Prepared, preparation_of
from cofire.images.reading import find_images, read_image
from cofire.network import Network
from cofire.reading import named
from cofire.report.explain.explained import Explained
from cofire.report.explain.page import MOST_PHOTOS, Setup, shown, write_page
from cofire.report.explain.pictures import write_picture
from cofire.report.explain.record import record_of, write_records
from cofire.report.explain.results import MARK, PAGE, PICTURES, replaced, settled
from cofire.storage import version_of, versions

_TRACING = f"Options of {OURS}"
_LONGEST = 200


def explain(
    images: Annotated[
        list[Path],
        typer.Argument(
            metavar="IMAGE...",
            help="Image files, or folders of them: JPEG, PNG, WebP, TIFF, GIF, BMP.",
        ),
    ],
    model: Annotated[
        str,
        typer.Option(help="torchvision:resnet50 | timm:NAME | package.module:function | file.pt2"),
    ],
    weights: Weights = None,
    weights_key: WeightsKey = None,
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("cofire-explain"),
    method: Annotated[
        str, typer.Option(help=f"Some of {', '.join(METHODS)}, with commas, or all.")
    ] = OURS,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Names of all classes: one a line, or a JSON list. A torchvision model knows its own."
        ),
    ] = None,
    target: Annotated[
        str | None,
        typer.Option(help="Explain this class, a name or number; the predicted one unless given."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(help="Explain the N most probable classes of each image, each by itself."),
    ] = None,
    layer: Annotated[
        str | None,
        typer.Option(help="Whose map gradcam and gradcam++ take; the last before the classifier."),
    ] = None,
    image_size: ImageSize = None,
    resize: Resize = None,
    crop: Crop = None,
    mean: Mean = None,
    std: Std = None,
    grey: Grey = False,
    transform: Transform = None,
    alpha: Annotated[
        str | None,
        typer.Option(
            help="Weights of current, preceding, succeeding support: 1,0,1.",
            rich_help_panel=_TRACING,
        ),
    ] = None,
    k: Annotated[
        str | None,
        typer.Option(
            help="Inputs chosen per neuron of a convolution, or all.", rich_help_panel=_TRACING
        ),
    ] = None,
    k_linear: Annotated[
        str | None,
        typer.Option(
            help="Inputs chosen per neuron of a linear layer, or all.", rich_help_panel=_TRACING
        ),
    ] = None,
    most: Annotated[
        str | None,
        typer.Option(
            help="Neurons of an image that go on from one place, or all.", rich_help_panel=_TRACING
        ),
    ] = None,
    counted: Annotated[
        bool | None,
        typer.Option(
            "--counted/--not-counted",
            help="Count inputs more that serve several neurons.",
            rich_help_panel=_TRACING,
        ),
    ] = None,
    carried: Annotated[
        bool | None,
        typer.Option(
            "--carried/--not-carried",
            help="Hand evidence on; else neurons all count 1.",
            rich_help_panel=_TRACING,
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            help="How much of the rival's evidence is taken away, 0 to 1; none makes maps of points.",
            rich_help_panel=_TRACING,
        ),
    ] = None,
    weights_of_layers: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="What cofire tune learnt; options given here come before it.",
            rich_help_panel=_TRACING,
        ),
    ] = None,
    num_classes: Annotated[
        int | None, typer.Option(help="Outputs of a torchvision or timm model, if not its own.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images at a time.")] = 16,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
) -> None:
    """Which pixels of images carried the decisions of a network: a page, pictures and numbers.

    Images are turned upright; what is transparent lies on white. Unless said otherwise a
    torchvision model gets them as its trained weights want them, another colour network as
    ImageNet's: shorter side to 256, centre crop of 224, ImageNet's mean and standard deviation.
    Grey inputs and those below 128 pixels get no mean: pass --mean and --std.
    """
    methods = asked_methods(method)
    tuned = None if weights_of_layers is None else read_tuned(weights_of_layers)
    options = options_of(
        methods,
        k=k,
        k_linear=k_linear,
        alpha=alpha,
        most=most,
        counted=counted,
        carried=carried,
        contrast=contrast,
        layer=layer,
        tuned=tuned,
    )
    if target is not None and top is not None:
        raise OptionError("--target and --top", "one of the two", "leave one out")
    for name, value in (("--top", top), ("--batch-size", batch_size)):
        if value is not None and value < 1:
            raise OptionError(f"{name} {value}", "a whole number from 1 up", "leave it out")
    claim(out, MARK, "explanations")
    settled(out)
    files = find_images(images)

    wanted_images = asked(image_size, resize, crop, mean, std, grey, transform)

    def prepared_for(shape: tuple[int, ...] | None) -> Preparation:
        return preparation_of(model, shape, **wanted_images)

    network, preparation = opened(model, weights, num_classes, device, prepared_for, weights_key)
    tell(preparation)
    if tuned is not None:
        tuned.check(network)
        if note := tuned.note(network):
            typer.echo(f"Note: {note}.", err=True)
    names = (
        read_names(classes, network.num_classes)
        if classes
        else known_names(model, network.num_classes)
    )
    wanted = None if target is None else class_number(target, names, network.num_classes)
    names = names and [without_commands(name) for name in names]
    if top is not None and top > network.num_classes:
        raise OptionError(
            f"--top {top}", f"at most {network.num_classes} classes", "pass a smaller number"
        )
    for name in methods:
        if name.startswith("gradcam"):
            choose_cam_layer(network, layer)
    seen = [preparation.crop(read_image(file), str(file)) for file in files]

    setup = Setup(
        f"{named(model)}, {plural(network.num_classes, 'class').replace('classs', 'classes')}",
        named(weights or "the model's own"),
        preparation.told,
        named(shlex.join(["cofire", *sys.argv[1:]])),
        version_of("cofire") or "unknown",
    )
    table = _table(methods, one_each=top is None and wanted is None)
    pages: list[dict[str, Any]] = []
    records: list[dict[str, Any]] = []
    with (
        replaced(out) as staged,
        progress_over(f"Explaining {plural(len(files), 'image')}", len(files)) as advance,
    ):
        example = None
        for explained in _all(
            network, preparation, files, seen, options, wanted, top or 1, batch_size
        ):
            example = explained
            write_picture(explained, staged / PICTURES / f"{explained.name}.png", names)
            records.append(record_of(explained, names))
            if len(pages) < MOST_PHOTOS:
                pages.append(shown(explained, names, min(len(files), MOST_PHOTOS)))
            _add_rows(table, records[-1], len(methods))
            advance(1)
        assert example is not None
        write_page(staged / PAGE, pages, example, setup, explained=len(files))
        noted = {
            "model": named(model),
            "weights": weights and named(weights),
            "weights_key": weights_key,
            "classes": network.num_classes,
            **preparation.record,
            "command": setup.command,
            "weights_of_layers": weights_of_layers and named(weights_of_layers),
            "versions": versions(),
        }
        write_records(staged / MARK, noted, records)
    # A table that is squeezed into the 80 columns assumed of a file could not be read by anyone.
    console = Console(width=None if sys.stdout.isatty() else 200)
    console.print(table)
    height, width = preparation.shape[1:]
    typer.echo(f"Images    {preparation.told}")
    typer.echo(
        f"Boxes     left, top to right, bottom in pixels of the {width} × {height} that the network sees"
    )
    typer.echo(f"Numbers   {without_commands(named(out / MARK))}")
    typer.echo(f"Pictures  {without_commands(named(out / PICTURES))} ({len(files)})")
    typer.echo(f"Page      {without_commands(named(out / PAGE))}")


def _all(
    network: Network,
    preparation: Preparation,
    files: Sequence[Path],
    seen: Sequence[Prepared],
    options: Mapping[str, Mapping[str, Any]],
    wanted: int | None,
    top: int,
    batch_size: int,
) -> Iterator[Explained]:
    """Every image with its explanations, a batch at a time, so that as many as one likes can be explained."""
    names, plain = _unique([file.stem for file in files]), Counter(file.name for file in files)
    for start in range(0, len(files), batch_size):
        part = seen[start : start + batch_size]
        inputs, pictures = preparation.inputs(part), preparation.pictures(part)
        if wanted is None:
            classes = network.run(inputs).topk(top, dim=1).indices.cpu()
        else:
            classes = torch.full((len(part), 1), wanted)
        rows: list[list[Explanation]] = [
            [
                run_explain(network, inputs, column, name, pictures=pictures, **own)
                for name, own in options.items()
            ]
            for column in classes.T
        ]
        for at, one in enumerate(part):
            explanations = tuple(tuple(explanation[at] for explanation in row) for row in rows)
            file = files[start + at]
            told = named(file.name if plain[file.name] == 1 else file)
            yield Explained(
                named(file), told, names[start + at], one.size, one.region, explanations
            )


def _unique(stems: Sequence[str]) -> list[str]:
    """Names of files as they are, with a number where one is there already, in whatever letters.

    Long ones are cut: number, ending and what a partial file is named have to fit into 255 bytes
        too.
    """
    taken: set[str] = set()
    found = []
    for stem in stems:
        # In some systems a backslash parts folders.
        stem = named(stem).replace("\\", "-").encode()[:_LONGEST].decode(errors="ignore")
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        found.append(name)
    return found


def _table(methods: Sequence[str], *, one_each: bool) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("image", "predicted", *([] if one_each else ["explained"])):
        table.add_column(heading, overflow="fold")
    for method in methods:
        table.add_column(f"box by {title_of(method)}", overflow="fold")
    return table


def _add_rows(table: Table, record: Mapping[str, Any], methods: int) -> None:
    """The lines of one image: one for each class."""

    def told(of: Mapping[str, Any]) -> str:
        name = f"class {of['class']}" if of["name"] is None else of["name"]
        return f"{name} {percent(of['probability'])}"

    found = record["explanations"]
    for start in range(0, len(found), methods):
        row = found[start : start + methods]
        head = [Path(record["file"]).name, told(record["predicted"])] if start == 0 else ["", ""]
        if len(table.columns) > methods + 2:
            head.append(told(row[0]))
        # As text: brackets in names are no markup.
        table.add_row(
            *(Text(without_commands(cell)) for cell in (*head, *(_box_told(one) for one in row)))
        )


def _box_told(one: Mapping[str, Any]) -> str:
    if not one["evidence"]:
        return "no evidence"
    if one["box"] is None:
        return "no box"
    left, top, right, bottom = (f"{place:.0f}" for place in one["box"])
    return f"{left}, {top} to {right}, {bottom}"
