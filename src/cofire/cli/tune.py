"""`cofire tune`: learn what a method is told best, on photos whose objects have boxes."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from cofire.activations.progress import progress_over
from cofire.cli.collection_options import (
    BoxUnit,
    Difficult,
    FirstPixel,
    Several,
    SkipUnknown,
    SkipUnmatched,
    SkipUnreadable,
)
from cofire.cli.explain_options import OURS, contrast_of
from cofire.cli.folders import claim
from cofire.cli.numbers import numbers
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
from cofire.errors import DataError, MissingExtraError, OptionError
from cofire.evaluate.search_space import WEIGHTS, defaults_of, knobs_of
from cofire.evaluate.tuned import Tuned
from cofire.evaluate.tuning import told
from cofire.evaluate.tuning import tune as run_tune
from cofire.explain import METHODS
from cofire.explain.methods.registry import kind_of
from cofire.images.classes import known_names, read_names
from cofire.images.collection import sample
from cofire.images.layouts import open_collection
from cofire.images.preparation import Preparation, preparation_of
from cofire.images.seen import checked
from cofire.marks import check_whole
from cofire.reading import named
from cofire.report.evaluate.left_out import left_out_told
from cofire.report.evaluate.regret import regret_figures, write_regret_page
from cofire.report.evaluate.regret_words import option_told, verdict
from cofire.report.export import write_images
from cofire.storage import versions

RESULT, PAGE = "weights-of-layers.json", "regret.html"

_BOXES = "Which photos and boxes"


def tune(
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
    out: Annotated[Path, typer.Option(help="Folder for the results.")] = Path("cofire-tune"),
    method: Annotated[str, typer.Option(help=f"One of {', '.join(METHODS)}.")] = OURS,
    candidates: Annotated[
        list[str] | None,
        typer.Option(
            "--try",
            metavar="NAME=V,V…",
            help=f"Values to try: contrast, {', '.join(WEIGHTS)} …; NAME= leaves it as it is.",
        ),
    ] = None,
    alpha: Annotated[
        str | None,
        typer.Option(
            help="Weights of current, preceding, succeeding support to begin with: 1,1,1."
        ),
    ] = None,
    contrast: Annotated[
        str | None,
        typer.Option(
            help="To begin with; none makes maps and boxes of points, whose options are learnt."
        ),
    ] = None,
    photos: Annotated[int, typer.Option(help="Tuning photos to draw at the most.")] = 1000,
    trials: Annotated[
        int | None, typer.Option(help="For each option; as many as photos unless given.")
    ] = None,
    least_iou: Annotated[
        float, typer.Option(help="A box earns a reward from this overlap with the object's up.")
    ] = 0.5,
    exact: Annotated[
        bool,
        typer.Option(
            "--exact", help="Try every value on every photo, so that regret is known; takes longer."
        ),
    ] = False,
    seed: Annotated[int, typer.Option(help="Of the draw of photos and their order.")] = 0,
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
    batch_size: Annotated[
        int, typer.Option(help="Photos at a time where several are explained together.")
    ] = 16,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 …")] = "cpu",
    figures: Annotated[
        bool,
        typer.Option(
            "--figures", help="Also write the figures as PNG and SVG (needs the extra 'figures')."
        ),
    ] = False,
) -> None:
    """Learn options of a method, on photos whose objects have boxes.

    Of discernible: how much of the rival's evidence is taken away, blur and box; where its maps and
        boxes are made of
    points, and of discernible-p3 and cnn-fixations, the weights of layers, how many inputs are
    chosen, box and blur; of other methods the box. Half of all photos, told by the hash of their
    names, are for tuning; the others are for cofire evaluate and are not used. Each option is
    learnt as a bandit (UCB1): a value is tried on a photo, and is rewarded if the explanation's box
    fits the object's. cofire explain --weights-of-layers takes what was learnt.
    """
    start: dict[str, Any] = {} if alpha is None else {"alpha": numbers(alpha)}
    start |= {} if contrast is None else {"contrast": contrast_of(contrast)}
    tried = _candidates(method, candidates or [], start)
    claim(out, RESULT, "options")

    wanted_images = asked(image_size, resize, crop, mean, std, grey, transform)

    def prepared_for(shape: tuple[int, ...] | None) -> Preparation:
        return preparation_of(model, shape, **wanted_images)

    network, preparation = opened(model, weights, num_classes, device, prepared_for, weights_key)
    tell(preparation)
    names = (
        read_names(classes, network.num_classes)
        if classes
        else known_names(model, network.num_classes)
    )
    everything = open_collection(
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
    collection = everything.split("tuning")
    if not len(collection):
        raise DataError(
            f"no photo of the tuning half among {len(everything):,} in '{images}'",
            "one or more: the hash of a photo's name tells which half it is of",
            "add photos: about every second one is of the tuning half",
        )
    # Drawn before they are read: of a hundred thousand photos only those are looked at that
    # something is learnt on.
    if 0 < photos < len(collection):
        collection = sample(collection, photos, check_whole("seed", seed, least=0))
    with progress_over(f"Reading {len(collection):,} tuning photos", len(collection)) as advance:
        collection = checked(
            collection,
            preparation,
            skip_unreadable=skip_unreadable,
            skip_faulty=skip_unreadable,
            progress=advance,
        )
    with _bar() as report:
        found = run_tune(
            network,
            collection,
            preparation,
            method,
            candidates=tried,
            start=start,
            photos=photos,
            trials=trials,
            least_iou=least_iou,
            exact=exact,
            seed=seed,
            batch_size=batch_size,
            advance=report,
            tell=lambda line: typer.echo(line, err=True),
        )
    found = found.with_setup(
        model=named(model),
        weights=weights and named(weights),
        weights_key=weights_key,
        images=named(images),
        collection=collection.told,
        left_out=collection.left_out,
        **preparation.record,
        command=named(shlex.join(["cofire", *sys.argv[1:]])),
        versions=versions(),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_regret_page(found, out / PAGE)
    written = _images(found, out) if figures else []
    # What marks the folder as whole comes last.
    found.save(out / RESULT)
    Console(width=None if sys.stdout.isatty() else 120).print(_table(found))
    typer.echo(verdict(found))
    typer.echo(
        f"Photos    {found.photos:,} of the split for tuning, {found.without_box:,} without a box left out"
    )
    for what, names_of in left_out_told(found.setup):
        typer.echo(f"Left out  {without_commands(f'{what}: {names_of}')}")
    typer.echo(f"Learnt    {without_commands(named(out / RESULT))}")
    for path in written:
        typer.echo(f"Figure    {without_commands(named(path))}")
    typer.echo(f"Page      {without_commands(named(out / PAGE))}")


@contextmanager
def _bar() -> Iterator[Callable[[int, int], None]]:
    """A bar whose end is known once the first explanation was judged."""
    with ExitStack() as stack:
        bars: list[Callable[[int], None]] = []

        def advance(done: int, total: int) -> None:
            if not bars:
                bars.append(stack.enter_context(progress_over("Learning", total)))
            bars[0](done)

        yield advance


def _images(found: Tuned, out: Path) -> list[Path]:
    try:
        return write_images(regret_figures(found), out, formats=("png", "svg"))
    except MissingExtraError as error:
        # What took long to learn is not thrown away for a picture.
        typer.echo(f"Note: no figures as files: {error}", err=True)
        return []


def _table(found: Tuned) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("option", "begun with", "learnt", "mean reward", "regret", ""):
        table.add_column(heading, overflow="fold")
    for one in found.learned:
        note = "all values do the same" if one.alike else ""
        best = (
            f"{one.run.means[one.values.index(one.chosen)]:.2f}"
            if one.chosen in one.values
            else "–"
        )
        cells = (
            option_told(one.name),
            told(one.start),
            told(one.chosen),
            best,
            f"{one.run.regret[-1]:.1f}",
            note,
        )
        table.add_row(*map(Text, cells))
    return table


def _candidates(
    method: str, given: Sequence[str], start: Mapping[str, Any]
) -> dict[str, list[Any]]:
    """Values by name of the option, as "k=5,10,all" gives them.

    Args:
        method: Whose.
        given: What the user says.
        start: Options to begin with, which decide what maps and boxes are made of.

    Raises:
        OptionError: The method has no such option, or a value cannot be.
    """
    if method not in METHODS:
        raise OptionError(
            f"--method '{method}'", f"one of {', '.join(METHODS)}", f"pass --method {OURS}"
        )
    kind = kind_of(method, start)
    defaults = defaults_of(method, kind)
    found: dict[str, list[Any]] = {}
    for text in given:
        name, sign, values = text.partition("=")
        key = name.strip().replace("-", "_")
        if not sign or key in found:
            raise OptionError(
                f"--try {text}",
                "an option, = and its values, each option once",
                "pass --try threshold=0.3,0.5, say",
            )
        usual = 1.0 if key in WEIGHTS else defaults.get(key)
        found[key] = [
            _value(text, part.strip(), usual) for part in values.split(",") if part.strip()
        ]
    knobs_of(method, found, kind)
    return found


def _value(text: str, part: str, usual: Any) -> Any:
    """A value of the kind that an option has."""
    words = {"all": None, "none": None, "yes": True, "true": True, "no": False, "false": False}
    if part.lower() in words:
        return words[part.lower()]
    try:
        return float(part) if isinstance(usual, float) else int(part)
    except ValueError as error:
        raise OptionError(
            f"--try {text}: '{part}'",
            "a number" + ("" if isinstance(usual, float) else ", all, yes or no"),
            "name values with commas between them",
        ) from error
