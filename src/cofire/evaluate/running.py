"""`run_evaluation`: methods judged on photos, batch after batch, from where a killed run stopped."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import nn

from cofire.activations.progress import progress_over
from cofire.arguments import validated
from cofire.errors import DataError, ImageError, OptionError, near_matches
from cofire.evaluate.cost import Tell, cost_told, duration_told, seconds_of, tuning_part
from cofire.evaluate.evaluation import OPTIONS, Evaluation
from cofire.evaluate.faithfulness import Fill
from cofire.evaluate.judging import Judge, fault_of_rules, learn_thresholds, view_of, with_threshold
from cofire.evaluate.measures import asked_groups, records_schema
from cofire.evaluate.methods import EVALUATED
from cofire.evaluate.records import IDENTITY, ROWS, Chunks
from cofire.images.collection import SPLITS, Collection, sample
from cofire.images.preparation import Preparation
from cofire.images.seen import SeenBatch, checked, read_batches
from cofire.marks import check_whole
from cofire.network import Network, classifier
from cofire.storage import claimed

FILLS = ("mean", "blur", "black")
SPLIT_CHOICES = ("evaluation", "tuning", "all")

_TIMED = 30
"""Photos from which on a run is long enough for two of them to be tried, to tell how long it takes."""

_JUDGED_WITH = ("cofire", "torch", "numpy", "captum", "grad-cam", "zennit")
"""The packages whose versions numbers depend on: another one is another run."""


@dataclass(frozen=True)
class _Drawn:
    """The photos that are judged.

    Attributes:
        photos: In the order of their names.
        draws: Of each photo the numbers of the samples that it is in.
    """

    photos: Collection
    draws: tuple[tuple[int, ...], ...]


@validated
def run_evaluation(
    network: Network | nn.Module,
    collection: Collection,
    preparation: Preparation,
    methods: Sequence[str],
    out: str | Path,
    *,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    measures: Sequence[str] | None = None,
    split: str = "evaluation",
    limit: int | None = None,
    samples: int | None = None,
    draws: int = 1,
    tuning_photos: int | None = None,
    fill: str = "mean",
    steps: int = 28,
    seed: int = 0,
    batch_size: int = 16,
    skip_unreadable: bool = False,
    note: Mapping[str, Any] | None = None,
    progress: bool | None = None,
    tell: Tell | None = None,
) -> Evaluation:
    """Judge methods that explain on photos with boxes, all on the same ones.

    For localisation the photo's own class is explained, for faithfulness the predicted one; where
    they are the same, the same explanation serves. Finished batches are kept below `out`: a run
    that was killed goes on from there and ends with the same rows, but for how long explanations
    took.

    Args:
        network: The classifier; a module is read with an image of the preparation's shape.
        collection: Photos with their classes and boxes.
        preparation: What is done to them.
        methods: Some of `cofire.evaluate.methods.EVALUATED`; the first is held against each of the
            others.
        out: A folder; `records.parquet` and `evaluation.json` go there, and what is finished of a
            run.
        options: Of methods that are not called with their defaults, as `cofire.explain` takes them.
        measures: Some of `cofire.evaluate.measures.GROUPS`; `usual()` unless given.
        split: "evaluation", "tuning" or "all"; tables are about the evaluation split wherever there
            is one.
        limit: Judge on the first photos alone.
        samples: Judge on so many photos that are drawn.
        draws: How often so many are drawn, each time from all; photos that are drawn twice are
            judged once.
        tuning_photos: On how many photos of the tuning split the rules of boxes around heat are
            learned at the most; 500 unless given, and no more than are judged where `limit` or
            `samples` says how many that are.
        fill: What takes the place of pixels that are not kept: "mean" is the value that the network
            takes for 0, which is the data's mean colour after the usual normalisation (without one,
            each image's own mean colour); "blur" is the image blurred, "black" is black. Insertion
            curves start from the blurred image whatever it is.
        steps: Of deletion and insertion curves.
        seed: Of draws and of what methods draw.
        batch_size: Photos at a time.
        skip_unreadable: Leave photos out that cannot be read, and boxes that do not fit theirs,
            rather than refuse them.
        note: What else to keep among the result's options.
        progress: Show a bar; None shows it on a terminal.
        tell: Called with lines that say what the run costs: before anything is computed, and again
            when the first photos have told how long one takes.

    Returns:
        The result, which is saved as well.

    Raises:
        OptionError: An option has a value it cannot have.
        ImageError: Photos cannot be read; the message names all.
        DataError: There is no photo of that split, or boxes do not fit their photos.
        MergeError: The folder holds a run with other options, photos or weights.
        ResultError: What it holds is damaged, another run writes there, or the disk is full.
        CofireError: Whatever methods raise on this network.
    """
    network = classifier(network, lambda: torch.zeros(1, *preparation.shape))
    groups = asked_groups(measures)
    chosen = check_methods(methods)
    given = {name: dict(own) for name, own in (options or {}).items() if own and name in chosen}
    batch_size, seed = check_whole("batch_size", batch_size), check_whole("seed", seed, least=0)
    steps = check_whole("steps", steps)
    drawn, tuning = _photos(collection, split, limit, samples, draws, seed, tuning_photos)
    boxed = "localisation" in groups or "confidence" in groups
    heated = with_threshold(network, chosen, given) if boxed else []
    if tell is not None:
        tell(f"Cost: {cost_told(len(drawn.photos), chosen, len(tuning), heated)}")
    drawn, tuning = _readable(drawn, tuning, preparation, skip_unreadable, progress)
    judge = judge_of(
        network, preparation, groups=groups, fill=fill, steps=steps, seed=seed, options=given
    )
    identity = {
        "methods": list(chosen),
        "measures": list(groups),
        "options": given,
        "split": split,
        "limit": limit,
        "samples": samples,
        "draws": draws,
        "tuning_photos": len(tuning),
        "fill": fill,
        "steps": steps,
        "seed": seed,
        "batch_size": batch_size,
        "network": network.digest(),
        "device": network.device.type,
        **preparation.record,
        "photos": len(drawn.photos),
        "files": _digest([drawn.photos, tuning]),
        "versions": {name: _version(name) for name in _JUDGED_WITH},
    }
    with claimed(out, "an evaluation", [OPTIONS, f"{ROWS}/{IDENTITY}"], alone=False):
        chunks = Chunks(out, identity)
        if tell is not None and len(drawn.photos) + len(tuning) >= _TIMED:
            left = sum(
                len(drawn.photos[number : number + batch_size])
                for number in range(0, len(drawn.photos), batch_size)
                if not chunks.has(number // batch_size)
            )
            learned_on = 0 if chunks.has("boxes") else len(tuning)
            tell(_time_told(judge, drawn.photos, preparation, chosen, left, learned_on, heated))

        def learn() -> dict[str, Any]:
            title = f"Learning boxes on {len(tuning):,} photos"
            with progress_over(title, len(tuning), progress) as advance:
                rules = learn_thresholds(
                    judge, tuning, preparation, heated, batch_size=batch_size, advance=advance
                )
            # None for boxes that turned out to be of points: a file without a rule for each method
            # is damaged.
            return {method: rules.get(method) for method in heated}

        noted = (
            chunks.once("boxes", learn, lambda rules: fault_of_rules(rules, heated))
            if heated
            else {}
        )
        learned = {method: rule for method, rule in noted.items() if rule is not None}
        judge = judge.with_rules(learned)
        parts = []
        with progress_over(
            f"Judging {len(chosen)} methods on {len(drawn.photos):,} photos",
            len(drawn.photos),
            progress,
        ) as advance:
            for number in range(math.ceil(len(drawn.photos) / batch_size)):
                place = slice(number * batch_size, (number + 1) * batch_size)
                part = chunks.get(number, [photo.name for photo in drawn.photos[place]], chosen)
                if part is None:
                    (batch,) = read_batches(drawn.photos[place], preparation, batch_size)
                    part = chunks.put(number, _rows(judge, batch, chosen, drawn.draws[place]))
                parts.append(part)
                advance(len(part) // len(chosen))
        told = {
            "collection": drawn.photos.told,
            "left_out": drawn.photos.left_out,
            "thresholds": learned,
            **(note or {}),
        }
        found = Evaluation(pa.concat_tables(parts), {**identity, **told}, drawn.photos)
        found.save(out)
        return found


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """The methods, each once.

    Raises:
        OptionError: There is no such method, one is there twice, or there is none.

    Example:
        >>> check_methods(["gradcam", "centre"])
        ('gradcam', 'centre')
    """
    for name in methods:
        if name not in EVALUATED:
            raise OptionError(
                f"method '{name}'",
                f"some of {', '.join(EVALUATED)}",
                f"try {near_matches(str(name), EVALUATED, most=1)}",
            )
    if not methods or len(set(methods)) < len(methods):
        raise OptionError(
            f"methods {', '.join(methods) or 'none'}", "one or more, each once", "name each once"
        )
    return tuple(methods)


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
    """What measures methods on batches of photos that were prepared in one way; arguments as `run_evaluation` has them.

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
    if kind == "blur":
        return Fill("blur")
    mean, std = (
        torch.tensor(values, dtype=torch.float64) for values in (preparation.mean, preparation.std)
    )
    if kind == "black":
        return Fill("black", -mean / std)
    if kind == "mean":
        return Fill("mean", torch.zeros(len(mean))) if bool((mean != 0).any()) else Fill("mean")
    raise OptionError(
        f"fill '{kind}'", f"one of {', '.join(FILLS)}", f"try {near_matches(kind, FILLS, most=1)}"
    )


def _photos(
    collection: Collection,
    split: str,
    limit: int | None,
    samples: int | None,
    draws: int,
    seed: int,
    most: int | None,
) -> tuple[_Drawn, Collection]:
    """The photos that are judged, and those that boxes are learned on."""
    if split not in SPLIT_CHOICES:
        raise OptionError(
            f"split '{split}'", f"one of {', '.join(SPLIT_CHOICES)}", "pass split='evaluation'"
        )
    if limit is not None and samples is not None:
        raise OptionError(
            "limit and samples", "one of the two", "leave one out (--limit or --sample)"
        )
    draws = check_whole("draws", draws)
    if draws > 1 and samples is None:
        raise OptionError(
            f"draws={draws} without samples",
            "how many photos each draw has",
            "pass samples (--sample)",
        )
    photos = collection if split == "all" else collection.split(split)
    if not len(photos):
        raise DataError(
            f"no photo of the {split} split among {len(collection)}",
            "at least one",
            f"add photos, or pass split='{next(name for name in SPLITS if name != split)}' or 'all' (--split)",
        )
    if samples is None:
        if isinstance(limit, int) and limit < 1:
            raise OptionError(
                f"limit={limit}",
                "a number of photos from 1 up",
                "pass limit=100 (--limit 100), say",
            )
        photos = photos if limit is None else photos[: check_whole("limit", limit)]
        tuning = tuning_part(collection.split("tuning"), most, limit, seed)
        return _Drawn(photos, ((0,),) * len(photos)), tuning
    if isinstance(samples, int) and not 1 <= samples <= len(photos):
        raise OptionError(
            f"samples={samples} of {len(photos)} photos",
            f"from 1 to {len(photos)}",
            f"pass samples={len(photos)} (--sample {len(photos)}) or fewer, or leave it out for all",
        )
    tuning = tuning_part(collection.split("tuning"), most, samples, seed)
    members: dict[str, list[int]] = {}
    for draw in range(draws):
        for photo in sample(photos, samples, seed + draw):
            members.setdefault(photo.name, []).append(draw)
    held = tuple(photo for photo in photos if photo.name in members)
    return _Drawn(
        replace(photos, photos=held), tuple(tuple(members[photo.name]) for photo in held)
    ), tuning


def _readable(
    drawn: _Drawn, tuning: Collection, preparation: Preparation, skip: bool, progress: bool | None
) -> tuple[_Drawn, Collection]:
    """The same after each photo was read once, so that a long run does not end at its last photo."""
    together = {photo.name: photo for photo in (*drawn.photos, *tuning)}
    joined = replace(drawn.photos, photos=tuple(together[name] for name in sorted(together)))
    with progress_over(f"Reading {len(joined):,} photos", len(joined), progress) as advance:
        good = checked(
            joined, preparation, skip_unreadable=skip, skip_faulty=skip, progress=advance
        )
    found = {photo.name: photo for photo in good}
    kept = [at for at, photo in enumerate(drawn.photos) if photo.name in found]
    if not kept:
        raise DataError(
            f"none of {len(drawn.photos)} photos to judge on can be read",
            "at least one",
            "replace the files",
        )
    photos = tuple(found[drawn.photos[at].name] for at in kept)
    return (
        _Drawn(replace(good, photos=photos), tuple(drawn.draws[at] for at in kept)),
        replace(good, photos=tuple(found[photo.name] for photo in tuning if photo.name in found)),
    )


def _time_told(
    judge: Judge,
    photos: Collection,
    preparation: Preparation,
    methods: Sequence[str],
    left: int,
    tuning: int,
    heated: Sequence[str],
) -> str:
    """How long what is left of a run takes, as one photo tells that is judged and one that is learned on."""
    if not left and not tuning:
        return "Time: everything was computed before"
    (batch,) = read_batches(photos[:1], preparation, 1)
    seconds = left * seconds_of(lambda: _rows(judge, batch, methods, [(0,)]))
    if tuning and heated:
        seconds += tuning * seconds_of(
            lambda: [
                judge.explain(batch.inputs, batch.labels, name, batch.pictures) for name in heated
            ]
        )
    return f"Time: {duration_told(seconds)} on {judge.network.device}, as the first photo tells"


def _digest(collections: Sequence[Collection]) -> str:
    """A hash of photos, their classes, boxes and what their files hold."""
    # With all photos to judge on, those of the tuning half are in both.
    held = {
        photo.file: _held(photo.file)
        for photo in dict.fromkeys(photo for each in collections for photo in each)
    }
    told = [
        [photo.name, photo.label, photo.boxes, photo.annotated_size, held[photo.file]]
        for photos in collections
        for photo in photos
    ]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _held(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise ImageError(
            f"'{file}' cannot be read any more: {error}", "a file that stays", "begin again"
        ) from error


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def _rows(
    judge: Judge, batch: SeenBatch, methods: Sequence[str], draws: Sequence[tuple[int, ...]]
) -> pa.Table:
    """The records of a batch: photo after photo, of each all methods in their order."""
    view = view_of(judge.network, batch.inputs, batch.pictures, batch.labels, batch.boxes)
    photos = len(batch.photos)
    common = view.columns() | {
        "file": [photo.name for photo in batch.photos],
        "split": [photo.split for photo in batch.photos],
        "draws": [list(one) for one in draws],
    }
    found = [common | judge.judge(view, method) for method in methods]
    columns = {
        name: [
            columns[name][at] if name in columns else None
            for at in range(photos)
            for columns in found
        ]
        for name in records_schema().names
    }
    return pa.table(columns, schema=records_schema())
