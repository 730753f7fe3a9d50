"""`cofire evaluate`: which explanation shows what the network saw, on images whose objects have boxes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import typer
from rich.markdown import Markdown

from cofire.activations.progress import progress_over
from cofire.atomic import write_text
from cofire.cli.explain import asked_methods, check_tuned, options_of, setup_of
from cofire.cli.options import BoxedImagesOptions, Output, RivalOptions, ViewOptions, tell
from cofire.cli.sharing import ShardOptions, run_shared
from cofire.cli.terminal import claim, print_table, say
from cofire.evaluate.evaluation import OPTIONS, RECORDS, Evaluation
from cofire.evaluate.judging import Judge
from cofire.evaluate.measures import GROUPS, MARGIN, asked_groups, usual
from cofire.evaluate.methods import EVALUATED
from cofire.evaluate.records import (
    IDENTITY,
    ROWS,
    JudgingOptions,
    check_methods,
    join_rows,
    started,
)
from cofire.evaluate.robustness import run_robustness
from cofire.evaluate.running import judge_of, run_evaluation
from cofire.evaluate.tuned import read_tuned
from cofire.evaluate.two_networks import Side, compare_networks
from cofire.evaluate.verdict import judged, verdict
from cofire.explain import BASELINES
from cofire.images.collection import Collection, sample
from cofire.images.preparation import Preparation
from cofire.images.seen import SeenBatch, read_batches
from cofire.network import Network
from cofire.options import option
from cofire.reading import named
from cofire.report.pages import (
    Setup,
    choose_cases,
    left_out,
    markdown,
    show_cases,
    show_mistakes,
    show_occluded,
    write_evaluation,
    write_robustness,
    write_two_networks,
)
from cofire.scale.ray_engine import EngineOptions
from cofire.scale.shards import Part

PAGE, TABLE = "evaluation.html", "table.md"

_MORE = "More than the tables"
_MOST_COMPARED = 300
"""Images that go through two networks at the most: all of them are held at once."""


class Evaluate(
    EngineOptions, ShardOptions, RivalOptions, BoxedImagesOptions, ViewOptions, JudgingOptions
):
    """Which methods are judged, by what, on which images."""

    out: Path = option(
        Path("cofire-evaluate"),
        "Folder",
        "Folder for the results; a killed run goes on in it.",
        panel=Output.panel,
    )
    method: str = option(
        ",".join(EVALUATED),
        "Methods",
        "With commas, or all; the first is held against each of the others.",
    )
    measures: str = option(
        ",".join(usual()),
        "Measures",
        f"Some of {', '.join(GROUPS)}, with commas, or all; curves take long.",
    )
    weights_of_layers: Path | None = option(None, "Learnt options", "What cofire tune learnt.")
    margin: float = option(
        100 * MARGIN,
        "Margin",
        "Points of a share, hundredths of other measures: differences below it count as none.",
        ge=0,
    )
    robustness: int = option(
        0, "Robustness", "Attack so many images and see what moves.", panel=_MORE, ge=0
    )
    verbose: bool = option(
        False,
        "Verbose",
        "All tables, how long it took, and where an error came from.",
        panel=Output.panel,
    )


def evaluate(options: Evaluate) -> dict[str, Any]:
    """Judge explanations: do they show where the object is, and what the network uses?

    All methods explain the same images. Half of all images, told by the hash of their names, are
    for tuning: on them the rules of boxes around heat are learned; methods are judged on the
    others. Every mean has a 95 % interval, and the first method is held against each of the others
    image by image.

    With --shard 3/16, sixteen commands judge a part of the images each, anywhere and in any order,
    and cofire merge puts their records together: tables, verdict and pages are made of the whole,
    attacks and the other network are run then.
    """
    return run_shared("evaluate", evaluate_all, options)


def evaluate_all(options: Evaluate, parts: Sequence[Sequence[Part]] = ()) -> dict[str, Any]:
    """All of it, or what of it is shared here.

    Args:
        options: As given.
        parts: What shards have judged.
    """
    out, against = options.out, options.against
    chosen = list(check_methods(asked_methods(options.method, tuple(EVALUATED))))
    asked = [part.strip().lower() for part in options.measures.split(",") if part.strip()]
    groups = asked_groups(GROUPS if asked == ["all"] else asked)
    learnt = options.weights_of_layers
    tuned = None if learnt is None else read_tuned(learnt)
    called = options.with_views(options_of(chosen, tuned=tuned))
    _ = options.rival  # refused before anything is read
    claim(out, OPTIONS, "an evaluation", f"{ROWS}/{IDENTITY}", quiet=started(out))
    for judged_parts in parts:
        join_rows(out, judged_parts)
    network, preparation = options.opened()
    tell(preparation)
    # Before all that takes long: what is wrong with it would end the run only after the tables.
    rival = options.opened_rival(network)
    check_tuned(tuned, network)
    collection, names = options.collection(network)
    setup = setup_of(options, preparation)
    seed, fill = options.seed, options.fill
    with options.each() as each:
        found = run_evaluation(
            network,
            collection,
            preparation,
            chosen,
            out,
            options=called,
            measures=groups,
            **{name: getattr(options, name) for name in JudgingOptions.model_fields},
            batch_size=options.batch_size,
            each=each,
            skip_unreadable=options.skip_unreadable,
            tell=lambda line: typer.echo(line, err=True),
            note={
                "model": setup.network,
                "weights": setup.weights,
                "weights_key": options.weights_key,
                "images": named(options.folder),
                "command": setup.command,
                "margin": options.margin / 100,
                "weights_of_layers": learnt and named(learnt),
            },
        )
    judge = judge_of(network, preparation, groups=groups, fill=fill, seed=seed, options=called)
    judge = judge.with_rules(found.options["thresholds"])
    images = _judged_images(found.images or collection, found)
    pages = []
    if options.robustness:
        shown = _some(images, options.robustness, seed)
        pages.append(_attack(options, judge, shown, preparation, chosen, setup, names))
    if rival is not None and against is not None:
        told = replace(
            setup,
            network=named(against),
            weights=named(options.against_weights or "the model's own"),
            prepared=rival[1].told,
        )
        sides = ((network, preparation, setup), (*rival, told))
        shown = _some(images, _MOST_COMPARED, seed)
        pages.append(_compare(options, judge, shown, sides, names, chosen[0]))
    look = (judge, images, preparation, names)
    height, width = preparation.shape[1:]
    write_evaluation(
        out / PAGE,
        found,
        show_cases(found, choose_cases(found), *look),
        mistaken=show_mistakes(found, *look),
        occluded=show_occluded(found, *look),
        size=(height, width),
        links=pages,
    )
    tables = markdown(found)
    write_text(out / TABLE, tables)
    typer.echo(judged(found))
    findings = [str(one) for one in verdict(found)]
    for line in findings:
        typer.echo(f"  {line}")
    if options.verbose:
        print_table(Markdown(tables[tables.index("\n## ") :]))
    say("Images", found.options["collection"])
    for what, of in left_out(found.options):
        say("Left out", f"{what}: {of}")
    say("Records", named(out / RECORDS))
    say("Tables", named(out / TABLE))
    for file, what in pages:
        say(what.split()[0], named(out / file))
    say("Page", named(out / PAGE))
    files = [out / PAGE, *(out / file for file, _ in pages)]
    return {"verdict": findings, "pages": files, "tables": out / TABLE, "records": out / RECORDS}


def _judged_images(collection: Collection, evaluation: Evaluation) -> Collection:
    """The images that the tables of an evaluation are about, as far as a collection has them."""
    held = evaluation.chosen().repeat(len(evaluation.methods))
    files = evaluation.records["file"].to_pylist()
    kept = {file for file, shown in zip(files, held, strict=True) if shown}
    return replace(collection, images=tuple(one for one in collection if one.name in kept))


def _attack(
    options: Evaluate,
    judge: Judge,
    images: Collection,
    preparation: Preparation,
    methods: Sequence[str],
    setup: Setup,
    names: Sequence[str] | None,
) -> tuple[str, str]:
    """Attack images and write what became of their explanations: the page's name, and what it is."""
    batch = _all(images, preparation)
    asked = [method for method in methods if method not in BASELINES] or list(methods)
    with progress_over(f"Attacking {len(batch.images)} images", len(batch.images)) as advance:
        found = run_robustness(
            judge.network,
            batch.inputs,
            batch.pixels,
            batch.labels,
            asked,
            names,
            judge.seed,
            files=[one.name for one in batch.images],
            preparation=preparation,
            boxes=batch.boxes,
            options={method: judge.options_of(method) for method in asked},
            batch_size=options.batch_size,
            advance=advance,
        )
    found.save(options.out / "robustness.json")
    write_robustness(options.out / "robustness.html", found, setup)
    return "robustness.html", "Attacked images"


def _compare(
    options: Evaluate,
    judge: Judge,
    images: Collection,
    sides: Sequence[tuple[Network, Preparation, Setup]],
    names: Sequence[str] | None,
    method: str,
) -> tuple[str, str]:
    """Show images to two networks and write where one is right and the other wrong: the page's name, and what it is."""
    seen = [_all(images, preparation) for _, preparation, _ in sides]
    first, second = (
        Side(network, batch.inputs, batch.pixels, name, boxes=batch.boxes)
        for (network, _, _), batch, name in zip(sides, seen, options.names_of_both(), strict=True)
    )
    with progress_over(f"Comparing two networks on {len(images)} images", len(images)) as advance:
        found = compare_networks(
            first,
            second,
            seen[0].labels,
            method=method,
            names=names,
            files=[one.name for one in images],
            options=judge.options_of(method),
            seed=judge.seed,
            batch_size=options.batch_size,
            advance=advance,
        )
    found.save(options.out / "two-networks.json")
    write_two_networks(options.out / "two-networks.html", found, setups=(sides[0][2], sides[1][2]))
    return "two-networks.html", "Networks compared"


def _some(images: Collection, count: int, seed: int) -> Collection:
    return sample(images, count, seed) if len(images) > count else images


def _all(images: Collection, preparation: Preparation) -> SeenBatch:
    """All images as one batch."""
    (batch,) = read_batches(images, preparation, len(images))
    return batch
