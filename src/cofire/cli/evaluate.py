"""`cofire evaluate`: which explanation shows what the network saw, on photos whose objects have boxes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from cofire.atomic import write_text
from cofire.cli.collection_options import (
    BoxUnit,
    Difficult,
    FirstPixel,
    Several,
    SkipUnknown,
    SkipUnmatched,
    SkipUnreadable,
)
from cofire.cli.evaluate_more import check_against, photos_of, write_attacked, write_compared
from cofire.cli.explain_options import options_of
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
from cofire.evaluate.evaluation import OPTIONS, RECORDS
from cofire.evaluate.measures import GROUPS, MARGIN, asked_groups, usual
from cofire.evaluate.methods import EVALUATED
from cofire.evaluate.records import FILLS, IDENTITY, ROWS, SPLIT_CHOICES, check_methods, started
from cofire.evaluate.running import judge_of, run_evaluation
from cofire.evaluate.tuned import read_tuned
from cofire.evaluate.verdict import judged, verdict
from cofire.images.classes import known_names, read_names
from cofire.images.layouts import open_collection
from cofire.images.preparation import Preparation, preparation_of
from cofire.marks import check_from_zero
from cofire.reading import named
from cofire.report.evaluate.cases import choose_cases, show_cases
from cofire.report.evaluate.left_out import left_out_told
from cofire.report.evaluate.markdown import markdown
from cofire.report.evaluate.page import write_evaluation
from cofire.report.explain.page import Setup
from cofire.storage import version_of

PAGE, TABLE = "evaluation.html", "table.md"

_USUAL_METHODS = ",".join(EVALUATED)
_BOXES = "Which photos and boxes"
_MORE = "More than the tables"


def evaluate(
    images: Annotated[
        Path,
        typer.Option(help="Folder of photos, folders in it too; or ImageNet's, as Kaggle has it."),
    ],
    model: Annotated[
        str,
        typer.Option(help="torchvision:resnet50 | timm:NAME | package.module:function | file.pt2"),
    ],
    boxes: Annotated[
        Path | None,
        typer.Option(
            help="Boxes of the photos: boxes.json, COCO JSON, or a folder of VOC or ILSVRC XML."
        ),
    ] = None,
    weights: Weights = None,
    weights_key: WeightsKey = None,
    out: Annotated[
        Path, typer.Option(help="Folder for the results; a killed run goes on in it.")
    ] = Path("cofire-evaluate"),
    methods: Annotated[
        str, typer.Option(help="With commas; the first is held against each of the others. Or all.")
    ] = _USUAL_METHODS,
    measures: Annotated[
        str,
        typer.Option(help=f"Some of {', '.join(GROUPS)}, with commas, or all; curves take long."),
    ] = ",".join(usual()),
    weights_of_layers: Annotated[
        Path | None, typer.Option(metavar="FILE", help="What cofire tune learnt.")
    ] = None,
    fill: Annotated[
        str, typer.Option(help=f"In place of what is hidden: {', '.join(FILLS)}.")
    ] = "mean",
    split: Annotated[
        str,
        typer.Option(
            help=f"Photos to judge on: {', '.join(SPLIT_CHOICES)}.", rich_help_panel=_BOXES
        ),
    ] = "evaluation",
    limit: Annotated[
        int | None, typer.Option(help="The first N photos alone.", rich_help_panel=_BOXES)
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--sample", help="N photos that are drawn: 2501, say.", rich_help_panel=_BOXES
        ),
    ] = None,
    draws: Annotated[
        int, typer.Option(help="How often so many are drawn: 3, say.", rich_help_panel=_BOXES)
    ] = 1,
    tuning_photos: Annotated[
        int | None,
        typer.Option(
            help="Tuning photos on which boxes around heat are learned; 500 unless given, no more than are judged by "
            "--limit or --sample.",
            rich_help_panel=_BOXES,
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of draws and of what methods draw.")] = 0,
    margin: Annotated[
        float,
        typer.Option(
            help="Points of a share, hundredths of other measures: differences below it count as none."
        ),
    ] = 100 * MARGIN,
    classes: Annotated[
        Path | None,
        typer.Option(
            help="Names of all classes: one a line, or a JSON list.", rich_help_panel=_BOXES
        ),
    ] = None,
    synsets: Annotated[
        Path | None,
        typer.Option(help="WordNet ids of all classes, one a line.", rich_help_panel=_BOXES),
    ] = None,
    several: Several = "refuse",
    difficult: Difficult = False,
    first_pixel: FirstPixel = None,
    box_unit: BoxUnit = "pixel",
    skip_unmatched: SkipUnmatched = False,
    skip_unreadable: SkipUnreadable = False,
    skip_unknown: SkipUnknown = False,
    robustness: Annotated[
        int,
        typer.Option(
            metavar="N", help="Attack N photos and see what moves.", rich_help_panel=_MORE
        ),
    ] = 0,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="Another network on the same photos.", rich_help_panel=_MORE
        ),
    ] = None,
    against_weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Its weights.", rich_help_panel=_MORE)
    ] = None,
    against_weights_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Which copy in that file.", rich_help_panel=_MORE),
    ] = None,
    against_mean: Annotated[
        str | None,
        typer.Option(help="Its mean, where it is not the usual one.", rich_help_panel=_MORE),
    ] = None,
    against_std: Annotated[
        str | None, typer.Option(help="Its standard deviation.", rich_help_panel=_MORE)
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
    batch_size: Annotated[int, typer.Option(help="Photos at a time.")] = 16,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
) -> None:
    """Judge explanations: do they show where the object is, what the network uses, and do they depend on the class?

    All methods explain the same photos. Half of all photos, told by the hash of their names, are
    for tuning: on them the rules of boxes around heat are learned; methods are judged on the
    others. Every mean has a 95 % interval, and the first method is held against each of the others
    photo by photo.
    """
    chosen, least = _methods(methods), check_from_zero("margin", margin) / 100
    groups = asked_groups(GROUPS if measures.strip() == "all" else _listed(measures))
    tuned = None if weights_of_layers is None else read_tuned(weights_of_layers)
    options = options_of(chosen, tuned=tuned)
    if robustness < 0:
        raise OptionError(
            f"--robustness {robustness}", "a number of photos from 0 up", "leave it out"
        )
    alone = {
        "--against-weights": against_weights,
        "--against-weights-key": against_weights_key,
        "--against-mean": against_mean,
        "--against-std": against_std,
    }
    if against is None and (
        given := [option for option, value in alone.items() if value is not None]
    ):
        raise OptionError(
            f"{' and '.join(given)} without --against",
            "the other network",
            "pass --against MODEL as well",
        )
    claim(out, OPTIONS, "an evaluation", f"{ROWS}/{IDENTITY}", quiet=started(out))

    def preparing(
        spec: str, own_mean: str | None, own_std: str | None
    ) -> Callable[..., Preparation]:
        wanted = asked(image_size, resize, crop, own_mean, own_std, grey, transform)
        return lambda shape: preparation_of(spec, shape, **wanted)

    network, preparation = opened(
        model, weights, num_classes, device, preparing(model, mean, std), weights_key
    )
    tell(preparation)
    other = None
    if against is not None:
        # Before all that takes long: what is wrong with it would end the run only after the tables.
        other_preparing = preparing(against, against_mean, against_std)
        other = opened(
            against, against_weights, num_classes, device, other_preparing, against_weights_key
        )
        check_against(network, other[0], against)
    if tuned is not None:
        tuned.check(network)
        if note := tuned.note(network):
            typer.echo(f"Note: {note}.", err=True)
    names = (
        read_names(classes, network.num_classes)
        if classes
        else known_names(model, network.num_classes)
    )
    collection = open_collection(
        images,
        boxes,
        names=names,
        synsets=synsets,
        num_classes=network.num_classes,
        allow_unmatched=skip_unmatched,
        several=several,
        difficult=difficult,
        first_pixel=first_pixel,
        skip_unknown=skip_unknown,
        skip_faulty=skip_unreadable,
        unit=box_unit,
    )
    setup = Setup(
        named(model),
        named(weights or "the model's own"),
        preparation.told,
        named(shlex.join(["cofire", *sys.argv[1:]])),
        version_of("cofire") or "unknown",
    )
    found = run_evaluation(
        network,
        collection,
        preparation,
        chosen,
        out,
        options=options,
        measures=groups,
        split=split,
        limit=limit,
        samples=samples,
        draws=draws,
        tuning_photos=tuning_photos,
        fill=fill,
        seed=seed,
        batch_size=batch_size,
        skip_unreadable=skip_unreadable,
        tell=lambda line: typer.echo(line, err=True),
        note={
            "model": setup.network,
            "weights": setup.weights,
            "weights_key": weights_key,
            "images": named(images),
            "command": setup.command,
            "margin": least,
            "weights_of_layers": weights_of_layers and named(weights_of_layers),
        },
    )
    judge = judge_of(network, preparation, groups=groups, fill=fill, seed=seed, options=options)
    judge = judge.with_rules(found.options["thresholds"])
    photos = photos_of(found.photos or collection, found)
    pages = []
    if robustness:
        pages.append(
            write_attacked(
                out, judge, photos, preparation, chosen, setup, names, robustness, batch_size
            )
        )
    if against is not None and other is not None:
        told = replace(
            setup,
            network=named(against),
            weights=named(against_weights or "the model's own"),
            prepared=other[1].told,
        )
        sides = ((network, preparation, setup), (*other, told))
        pages.append(write_compared(out, judge, photos, sides, names, chosen[0], batch_size))
    cases = show_cases(found, choose_cases(found), judge, photos, preparation, names)
    height, width = preparation.shape[1:]
    write_evaluation(out / PAGE, found, cases, size=(height, width), links=pages)
    write_text(out / TABLE, markdown(found))
    typer.echo(judged(found))
    for finding in verdict(found):
        typer.echo(f"  {finding}")
    typer.echo(f"Photos    {without_commands(found.options['collection'])}")
    for what, names_of in left_out_told(found.options):
        typer.echo(f"Left out  {without_commands(f'{what}: {names_of}')}")
    typer.echo(f"Records   {without_commands(named(out / RECORDS))}")
    typer.echo(f"Tables    {without_commands(named(out / TABLE))}")
    for file, what in pages:
        typer.echo(f"{what.split()[0]:<9} {without_commands(named(out / file))}")
    typer.echo(f"Page      {without_commands(named(out / PAGE))}")


def _methods(text: str) -> list[str]:
    """The methods of a list such as "discernible,centre", each once; "all" for all."""
    found = list(EVALUATED) if text.strip() == "all" else list(dict.fromkeys(_listed(text)))
    return list(check_methods(found))


def _listed(text: str) -> list[str]:
    return [part.strip().lower() for part in text.split(",") if part.strip()]
