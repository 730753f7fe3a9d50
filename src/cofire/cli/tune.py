"""`cofire tune`: learn what a method is told best, on images whose objects have boxes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import typer
from rich.table import Table
from rich.text import Text

from cofire.activations.progress import progress_over
from cofire.cli.explain import OURS, asked_methods
from cofire.cli.options import BoxedImagesOptions, Output, tell
from cofire.cli.terminal import claim, command_line, note, print_table, say
from cofire.errors import DataError, MissingExtraError, OptionError
from cofire.evaluate.tuned import WEIGHTS, Tuned, defaults_of, search_space
from cofire.evaluate.tuning import LearningOptions, told
from cofire.evaluate.tuning import tune as run_tune
from cofire.explain import METHODS
from cofire.explain.methods.registry import kind_of
from cofire.images.collection import sample
from cofire.images.seen import checked
from cofire.options import option
from cofire.reading import named
from cofire.report.export import write_images
from cofire.report.pages import (
    left_out,
    option_title,
    tuned_figures,
    tuned_findings,
    write_tuned,
)
from cofire.storage import versions

RESULT, PAGE = "weights-of-layers.json", "regret.html"


class Tune(BoxedImagesOptions, LearningOptions):
    """Whose options are learnt, and how."""

    out: Path = option(Path("cofire-tune"), "Folder", "Folder for the results.", panel=Output.panel)
    method: str = option(OURS, "Method", f"One of {', '.join(METHODS)}.")
    candidates: list[str] | None = option(
        None,
        "Candidates",
        f"Values to try: contrast, {', '.join(WEIGHTS)} …; NAME= leaves it as it is.",
    )
    alpha: tuple[float, ...] | None = option(
        None, "Alpha", "Weights of current, preceding, succeeding support to begin with: 1,1,1."
    )
    contrast: float | None = option(
        METHODS[OURS].options.model_fields["contrast"].default,
        "Contrast",
        "To begin with; none makes maps and boxes of points, whose options are learnt.",
        ge=0,
        le=1,
    )
    figures: bool = option(
        False,
        "Figures",
        "Also write the figures as PNG and SVG (needs the extra 'figures').",
        panel=Output.panel,
    )


def tune(options: Tune) -> dict[str, Any]:
    """Learn options of a method, on images whose objects have boxes.

    Of discernible: how much of the rival's evidence is taken away, blur and box; where its maps and
    boxes are made of points, and of discernible-p3 and cnn-fixations, the weights of layers, how
    many inputs are chosen, box and blur; of other methods the box. Half of all images, told by the
    hash of their names, are for tuning; the others are for cofire evaluate and are not used. Each
    option is learnt as a bandit (UCB1): a value is tried on an image, and is rewarded if the
    explanation's box fits the object's. cofire explain --weights-of-layers takes what was learnt.
    """
    out, most = options.out, options.samples
    if len(methods := asked_methods(options.method)) > 1:
        raise OptionError(f"--method {options.method}", "one method", "name the first alone")
    method = methods[0]
    start: dict[str, Any] = {
        name: getattr(options, name)
        for name in ("alpha", "contrast")
        if name in options.model_fields_set
    }
    tried = _candidates(method, options.candidates or [], start)
    claim(out, RESULT, "options")
    network, preparation = options.opened()
    tell(preparation)
    everything, _ = options.collection(network)
    collection = everything.split("tuning")
    if not len(collection):
        raise DataError(
            f"no image of the tuning half among {len(everything):,} in '{options.folder}'",
            "one or more: the hash of an image's name tells which half it is of",
            "add images: about every second one is of the tuning half",
        )
    # Drawn before they are read: of a hundred thousand images only those are looked at that
    # something is learnt on.
    if most is not None and most < len(collection):
        collection = sample(collection, most, options.seed)
    with progress_over(f"Reading {len(collection):,} tuning images", len(collection)) as advance:
        collection = checked(
            collection,
            preparation,
            skip_unreadable=options.skip_unreadable,
            skip_faulty=options.skip_unreadable,
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
            batch_size=options.batch_size,
            **{name: getattr(options, name) for name in LearningOptions.model_fields},
            advance=report,
            tell=lambda line: typer.echo(line, err=True),
        )
    found = found.with_setup(
        model=named(options.model),
        weights=options.weights and named(options.weights),
        weights_key=options.weights_key,
        images=named(options.folder),
        collection=collection.told,
        left_out=collection.left_out,
        **preparation.record,
        command=named(command_line()),
        versions=versions(),
    )
    out.mkdir(parents=True, exist_ok=True)
    write_tuned(found, out / PAGE)
    written = _images(found, out) if options.figures else []
    # What marks the folder as whole comes last.
    found.save(out / RESULT)
    print_table(_table(found))
    for finding in tuned_findings(found):
        typer.echo(str(finding))
    say(
        "Images",
        f"{found.images:,} of the split for tuning, {found.without_box:,} without a box left out",
    )
    for what, of in left_out(found.setup):
        say("Left out", f"{what}: {of}")
    say("Learnt", named(out / RESULT))
    for path in written:
        say("Figure", named(path))
    say("Page", named(out / PAGE))
    learnt = {one.name: one.chosen for one in found.learned}
    return {"report": out / PAGE, "learnt": learnt, "file": out / RESULT, "figures": written}


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
        return write_images(tuned_figures(found), out, formats=("png", "svg"))
    except MissingExtraError as error:
        # What took long to learn is not thrown away for an image.
        note(f"no figures as files: {error}")
        return []


def _table(found: Tuned) -> Table:
    table = Table(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for heading in ("option", "begun with", "learnt", "mean reward", "regret", ""):
        table.add_column(heading, overflow="fold")
    for one in found.learned:
        known = one.chosen in one.values
        cells = (
            option_title(found.method, one.name),
            told(one.start),
            told(one.chosen),
            f"{one.run.means[one.values.index(one.chosen)]:.2f}" if known else "–",
            f"{one.run.regret[-1]:.1f}",
            "all values do the same" if one.alike else "",
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
        parts = (part.strip() for part in values.split(","))
        found[key] = [_value(text, part, usual) for part in parts if part]
    search_space(method, found, kind)
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
