"""`run_evaluation`: methods judged on images, batch after batch, from where a killed run stopped."""

from __future__ import annotations

import functools
import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pyarrow as pa
import torch
from torch import nn

from cofire.activations.progress import progress_over
from cofire.activations.sharing import share_files
from cofire.activations.together import Each
from cofire.arguments import validated
from cofire.atomic import claimed
from cofire.errors import DataError, ImageError, OptionError
from cofire.evaluate.evaluation import OPTIONS, Evaluation
from cofire.evaluate.faithfulness import Fill
from cofire.evaluate.judging import Judge, fault_of_rules, learn_thresholds, view_of, with_threshold
from cofire.evaluate.measures import asked_groups, records_schema
from cofire.evaluate.records import FILLS, IDENTITY, ROWS, Chunks, EvaluationOptions
from cofire.explain.drawing.captions import plural
from cofire.images.collection import SPLITS, Collection, sample
from cofire.images.preparation import Preparation
from cofire.images.seen import SeenBatch, checked, read_batches
from cofire.marks import LATER, choice
from cofire.network import Network, classifier
from cofire.storage import versions

MOST_TUNING = 500
"""Images that the rules of boxes around heat are learned on, unless so many are not even judged."""

_TIMED = 30
"""Images from which on a run is long enough for two of them to be tried, to tell how long it takes."""

Tell = Callable[[str], object]
"""Called with a line for the user."""


@validated
def run_evaluation(
    network: Network | nn.Module,
    collection: Collection,
    preparation: Preparation,
    methods: Sequence[str],
    out: str | Path,
    *,
    skip_unreadable: bool = False,
    note: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    tell: Tell | None = None,
    each: Annotated[Each, LATER] = map,
    **options: Any,
) -> Evaluation:
    """Judge methods that explain on images with boxes, all on the same ones.

    For localisation the image's own class is explained, for faithfulness the predicted one; where
    they are the same, the same explanation serves. Finished batches are kept below `out`: a run
    that was killed goes on from there and ends with the same rows, but for how long explanations
    took.

    Args:
        network: The classifier; a module is read with an image of the preparation's shape.
        collection: Images with their classes and boxes.
        preparation: What is done to them.
        methods: Some of `cofire.evaluate.methods.EVALUATED`; the first is held against each of the
            others.
        out: A folder; `records.parquet` and `evaluation.json` go there, and what is finished of a
            run.
        skip_unreadable: Leave images out that cannot be read, and boxes that do not fit theirs,
            rather than refuse them.
        note: What else to keep among the result's options.
        progress: Show a bar; None shows it on a terminal.
        tell: Called with lines that say what the run costs: before anything is computed, and again
            when the first images have told how long one takes.
        each: What judges the batches: `map` in this process, or `RayEngine.each` on a cluster.
        options: See `EvaluationOptions`.

    Returns:
        The result, which is saved as well.

    Raises:
        OptionError: An option has a value it cannot have.
        ImageError: Images cannot be read; the message names all.
        DataError: There is no image of that split, or boxes do not fit their images.
        MergeError: The folder holds a run with other options, images or weights.
        ResultError: What it holds is damaged, another run writes there, or the disk is full.
        CofireError: Whatever methods raise on this network.
    """
    asked = EvaluationOptions(methods=tuple(methods), **options)
    network = classifier(network, lambda: torch.zeros(1, *preparation.shape))
    chosen, size = asked.methods, asked.batch_size
    images, draws, tuning = _drawn(collection, asked)
    boxed = "localisation" in asked.measures or "confidence" in asked.measures
    heated = with_threshold(network, chosen, asked.options) if boxed else []
    if tell is not None:
        learned_on = len(tuning) if heated else 0
        total = len(images) * len(chosen) + learned_on * len(heated)
        more = f", and {learned_on:,} to learn the boxes of {len(heated)} of them"
        tell(
            f"Cost: {plural(len(images), 'image')} explained by {plural(len(chosen), 'method')}"
            f"{more if learned_on else ''}: {total:,} explanations"
        )
    images, tuning = _readable(images, tuning, preparation, skip_unreadable, progress)
    judge = judge_of(
        network,
        preparation,
        groups=asked.measures,
        fill=asked.fill,
        steps=asked.steps,
        seed=asked.seed,
        options=asked.options,
    )
    identity = {
        **asked.record() | {"tuning_images": len(tuning)},
        "network": network.digest(),
        "device": network.device.type,
        **preparation.record,
        "judged": len(images),
        "files": _digest([images, tuning]),
        "versions": versions(),
    }
    with claimed(out, "an evaluation", [OPTIONS, f"{ROWS}/{IDENTITY}"], alone=False):
        chunks = Chunks(out, identity, lambda theirs: _as_now(theirs, identity))
        batches = [images[at : at + size] for at in range(0, len(images), size)]

        def learn() -> dict[str, Any]:
            title = f"Learning boxes on {len(tuning):,} images"
            with progress_over(title, len(tuning), progress) as advance:
                rules = learn_thresholds(
                    judge, tuning, preparation, heated, batch_size=size, advance=advance
                )
            # None for boxes that turned out to be of points: a file without a rule for each method
            # is damaged.
            return {method: rules.get(method) for method in heated}

        def learned() -> dict[str, Any]:
            rules = chunks.once("boxes", learn, lambda rules: fault_of_rules(rules, heated))
            return {method: rule for method, rule in rules.items() if rule is not None}

        def rows_of(number: int) -> pa.Table | None:
            return chunks.get(number, [image.name for image in batches[number]], chosen)

        def judge_batches(numbers: range) -> None:
            missing = [number for number in numbers if rows_of(number) is None]
            left, all_of = (sum(len(batches[at]) for at in part) for part in (missing, numbers))
            if tell is not None and len(images) + len(tuning) >= _TIMED:
                learned_on = 0 if chunks.has("boxes") or not heated else len(tuning)
                tell(_time_told(judge, images, preparation, chosen, left, learned_on, heated))
            if not missing:
                return
            ready = judge.with_rules(learned()) if heated else judge
            judging = functools.partial(_judged, ready, preparation, chosen, draws)
            title = f"Judging {len(chosen)} methods on {all_of:,} images"
            with progress_over(title, all_of, progress) as advance:
                advance(all_of - left)
                found = each(judging, [batches[number] for number in missing])
                for number, rows in zip(missing, found, strict=True):
                    chunks.put(number, rows)
                    advance(len(batches[number]))

        share_files(judge_batches, len(images), identity["network"], size, identity["files"])
        parts = [rows_of(number) for number, _ in enumerate(batches)]
        told = {
            "collection": images.told,
            "left_out": images.left_out,
            "thresholds": learned() if heated else {},
            **(note or {}),
        }
        found = Evaluation(pa.concat_tables(parts), {**identity, **told}, images)
        found.save(out)
        return found


def _as_now(theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> dict[str, Any]:
    """What a run was started with by another version, in the words of this one."""
    told = EvaluationOptions.completed(theirs)
    if isinstance(told.get("versions"), dict):
        told["versions"] = {name: told["versions"].get(name) for name in versions()}
    # Earlier versions said how images were prepared in one sentence alone.
    if "prepared" in theirs:
        parts = ("resize", "squash", "same_size", "mean", "std")
        told = {name: mine[name] for name in parts} | told
    return told


def judge_of(
    network: Network,
    preparation: Preparation,
    *,
    groups: Sequence[str] | None = None,
    fill: str = "mean",
    steps: int = 28,
    seed: int = 0,
    options: Mapping[str, Mapping[str, Any]] | None = None,
) -> Judge:
    """What measures methods on batches of images that were prepared in one way; arguments as `EvaluationOptions`.

    Raises:
        OptionError: There is no such fill or group of measures.
    """
    return Judge(
        network, asked_groups(groups), fill_of(fill, preparation), steps, seed, options or {}
    )


def fill_of(kind: str, preparation: Preparation) -> Fill:
    """What takes the place of pixels that are not kept, in the units of the network's inputs.

    Raises:
        OptionError: There is no such kind.

    Example:
        >>> wanted = Preparation((1, 8, 8), resize=8, mean=(0.5,), std=(0.25,))
        >>> fill_of("mean", wanted).colour.tolist(), fill_of("black", wanted).colour.tolist()
        ([0.0], [-2.0])
    """
    mean, std = (
        torch.tensor(values, dtype=torch.float64) for values in (preparation.mean, preparation.std)
    )
    if choice(FILLS).of("fill", kind) == "black":
        return Fill("black", -mean / std)
    centred = kind == "mean" and bool((mean != 0).any())
    return Fill("mean", torch.zeros(len(mean))) if centred else Fill(kind)  # type: ignore[arg-type]


def _drawn(
    collection: Collection, asked: EvaluationOptions
) -> tuple[Collection, dict[str, list[int]], Collection]:
    """The images that are judged, of each the draws that it is in, and those that boxes are learned on."""
    images = collection if asked.split == "all" else collection.split(asked.split)
    if not len(images):
        raise DataError(
            f"no image of the {asked.split} split among {len(collection)}",
            "at least one",
            f"add images, or pass split='{next(name for name in SPLITS if name != asked.split)}' or 'all' (--split)",
        )
    samples, members = asked.samples, dict[str, list[int]]()
    if samples is None:
        images = images if asked.limit is None else images[: asked.limit]
        members = {image.name: [0] for image in images}
    elif not 1 <= samples <= len(images):
        raise OptionError(
            f"samples={samples} of {len(images)} images",
            f"from 1 to {len(images)}",
            f"pass samples={len(images)} (--sample {len(images)}) or fewer, or leave it out for all",
        )
    else:
        for draw in range(asked.draws):
            for image in sample(images, samples, asked.seed + draw):
                members.setdefault(image.name, []).append(draw)
        images = replace(images, images=tuple(each for each in images if each.name in members))
    # No more are learned on than are judged, where somebody wanted few of them judged.
    judged = asked.limit or samples or MOST_TUNING
    most, tuning = asked.tuning_images or min(MOST_TUNING, judged), collection.split("tuning")
    return images, members, sample(tuning, most, asked.seed) if len(tuning) > most else tuning


def _readable(
    images: Collection,
    tuning: Collection,
    preparation: Preparation,
    skip: bool,
    progress: bool | None,
) -> tuple[Collection, Collection]:
    """The same after each image was read once, so that a long run does not end at its last one."""
    together = {image.name: image for image in (*images, *tuning)}
    joined = replace(images, images=tuple(together[name] for name in sorted(together)))
    with progress_over(f"Reading {len(joined):,} images", len(joined), progress) as advance:
        good = checked(
            joined, preparation, skip_unreadable=skip, skip_faulty=skip, progress=advance
        )
    found = {image.name: image for image in good}
    judged, learned = (
        replace(good, images=tuple(found[each.name] for each in part if each.name in found))
        for part in (images, tuning)
    )
    if not len(judged):
        raise DataError(
            f"none of {len(images)} images to judge on can be read",
            "at least one",
            "replace the files",
        )
    return judged, learned


def _time_told(
    judge: Judge,
    images: Collection,
    preparation: Preparation,
    methods: Sequence[str],
    left: int,
    tuning: int,
    heated: Sequence[str],
) -> str:
    """How long what is left of a run takes, as one image tells that is judged and one that is learned on."""
    if not left and not tuning:
        return "Time: everything was computed before"
    (batch,) = read_batches(images[:1], preparation, 1)
    seconds = left * seconds_of(lambda: _rows(judge, batch, methods, {}))
    if tuning:
        seconds += tuning * seconds_of(
            lambda: [
                judge.explain(batch.inputs, batch.labels, name, batch.pixels) for name in heated
            ]
        )
    return f"Time: {duration_told(seconds)} on {judge.network.device}, as the first image tells"


def seconds_of(call: Callable[[], object]) -> float:
    """How long a call takes, after one that may load or compile what it needs."""
    call()
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def duration_told(seconds: float) -> str:
    """About how long, in words.

    Example:
        >>> duration_told(3), duration_told(500), duration_told(9000)
        ('less than a minute', 'about 8 minutes', 'about 2.5 hours')
    """
    if seconds < 60:
        return "less than a minute"
    minutes = round(seconds / 60)
    return (
        f"about {plural(minutes, 'minute')}"
        if minutes < 90
        else f"about {seconds / 3600:.1f} hours"
    )


def _digest(collections: Sequence[Collection]) -> str:
    """A hash of images, their classes, boxes and what their files hold."""
    # With all images to judge on, those of the tuning half are in both.
    files = dict.fromkeys(image.file for each in collections for image in each)
    held = {}
    for file in files:
        try:
            with file.open("rb") as opened:
                held[file] = hashlib.file_digest(opened, "sha256").hexdigest()
        except OSError as error:
            raise ImageError(
                f"'{file}' cannot be read any more: {error}", "a file that stays", "begin again"
            ) from error
    told = [
        [image.name, image.label, image.boxes, image.annotated_size, held[image.file]]
        for images in collections
        for image in images
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _judged(
    judge: Judge,
    preparation: Preparation,
    methods: Sequence[str],
    draws: Mapping[str, list[int]],
    images: Collection,
) -> pa.Table:
    """The records of some images, read as one batch."""
    (batch,) = read_batches(images, preparation, len(images))
    return _rows(judge, batch, methods, draws)


def _rows(
    judge: Judge, batch: SeenBatch, methods: Sequence[str], draws: Mapping[str, list[int]]
) -> pa.Table:
    """The records of a batch: image after image, of each all methods in their order."""
    view = view_of(judge.network, batch.inputs, batch.pixels, batch.labels, batch.boxes)
    common = view.columns() | {
        "file": [image.name for image in batch.images],
        "split": [image.split for image in batch.images],
        "draws": [draws.get(image.name, []) for image in batch.images],
    }
    found, schema = [common | judge.judge(view, method) for method in methods], records_schema()
    columns = {
        name: [
            columns[name][at] if name in columns else None
            for at in range(len(batch.images))
            for columns in found
        ]
        for name in schema.names
    }
    return pa.table(columns, schema=schema)
