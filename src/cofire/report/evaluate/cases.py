"""The photos on which methods disagree most, explained once more to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.judging import Judge
from cofire.evaluate.measures import Criterion
from cofire.explain import BASELINES, Explanation
from cofire.explain.drawing import draw
from cofire.explain.drawing.captions import NO_EVIDENCE, class_told, percent
from cofire.images.collection import Collection
from cofire.images.preparation import Preparation
from cofire.images.seen import SeenBatch, read_batches
from cofire.report.evaluate.panels import framed, panel
from cofire.report.evaluate.tables import method_name
from cofire.report.explain.addresses import photo_address
from cofire.report.notation import joined

_FIRST = ("pointing", "iou")
_OTHERWISE = ("equal_drop", "drop", "soft_drop", "insertion", "deletion")


@dataclass(frozen=True)
class Chosen:
    """A photo that is shown.

    Attributes:
        row: Its place among the evaluation's photos.
        failure: Whether the first method does worse on it than the others.
        gap: By how much better the first method does than the others on average; below 0 worse.
    """

    row: int
    failure: bool
    gap: float


@dataclass(frozen=True)
class Case:
    """What the page has of one photo.

    Attributes:
        file: Its name.
        label: Its class in words.
        predicted: What the network takes it for, with the probability.
        correct: Whether that is so.
        explained: The class that the panels explain, in words.
        failure: Whether the first method does worse on it than the others.
        picture: Address of the photo.
        boxes: Of its class: left, top, width and height, as drawn.
        panels: For each method name, address of the heat map, frame, hottest spot, and words.
    """

    file: str
    label: str
    predicted: str
    correct: bool
    explained: str
    failure: bool
    picture: str
    boxes: tuple[list[str], ...]
    panels: tuple[dict[str, Any], ...]


def choose_cases(evaluation: Evaluation, failures: int = 8, others: int = 4) -> list[Chosen]:
    """The photos on which the first method differs most from the mean of its rivals, failures first.

    How well a method does on a photo is pointing + IoU, both from 0 to 1; where these were not
    measured, how little confidence it loses. Baselines are no rivals unless there are no others.

    Args:
        evaluation: What was judged.
        failures: Photos on which the first method does worse, at the most.
        others: Photos on which it does better, at the most.

    Returns:
        None where there is no rival, or nothing was measured by which one does better on a photo.
    """
    counted, rivals = _counted(evaluation), _rivals(evaluation)
    if not counted or not rivals:
        return []
    held = np.flatnonzero(evaluation.chosen())
    good = np.stack(
        [(1 if one.better == "higher" else -1) * evaluation.values(one.name) for one in counted]
    ).sum(axis=0)
    gaps = good[:, 0] - good[:, rivals].mean(axis=1)
    order = [int(at) for at in np.argsort(gaps, kind="stable") if np.isfinite(gaps[at])]
    worse = [at for at in order if gaps[at] < 0][:failures]
    better = [at for at in reversed(order) if gaps[at] > 0][:others]
    return [Chosen(int(held[at]), bool(gaps[at] < 0), float(gaps[at])) for at in (*worse, *better)]


def cases_told(evaluation: Evaluation) -> str:
    """By what photos are chosen and which class is explained on them, in two sentences.

    Args:
        evaluation: What was judged.
    """
    what = joined([criterion.title for criterion in _counted(evaluation)])
    others = "the other methods"
    if len(_rivals(evaluation)) < len(evaluation.methods) - 1:
        others += " (without those that look at no network)"
    of = "the photo’s own class" if _of_label(evaluation) else "the class that the network predicts"
    return (
        f"Photos on which {method_name(evaluation.methods[0])} and the mean of {others} lie furthest apart in {what}. "
        f"Each panel explains {of}."
    )


def _counted(evaluation: Evaluation) -> list[Criterion]:
    """By what photos are chosen: pointing and IoU, or the first of the others that was measured."""
    measured = {criterion.name: criterion for criterion in evaluation.criteria}
    return [measured[name] for name in _FIRST if name in measured] or [
        measured[name] for name in _OTHERWISE if name in measured
    ][:1]


def _rivals(evaluation: Evaluation) -> list[int]:
    """The places of the methods whose mean the first is held against."""
    bare = set(evaluation.methods[1:]) <= set(BASELINES)
    return [
        at
        for at, method in enumerate(evaluation.methods)
        if at and (bare or method not in BASELINES)
    ]


def _of_label(evaluation: Evaluation) -> bool:
    """Whether boxes and evidence in the records are of the photo's own class; of the predicted one otherwise."""
    return "localisation" in evaluation.options["measures"]


def show_cases(
    evaluation: Evaluation,
    chosen: Sequence[Chosen],
    judge: Judge,
    collection: Collection,
    preparation: Preparation,
    names: Sequence[str] | None = None,
) -> list[Case]:
    """Explain the chosen photos once more, as they were judged, and draw them.

    Args:
        evaluation: What was judged.
        chosen: What `choose_cases` gave.
        judge: That judged them.
        collection: That they come from.
        preparation: Of the photos.
        names: Of all classes.
    """
    records, methods = evaluation.records, evaluation.methods
    shown = [method for method in methods if method not in BASELINES] or list(methods)
    by_name = {photo.name: number for number, photo in enumerate(collection)}
    found = []
    for one in chosen:
        rows = {
            method: records.slice(one.row * len(methods) + at, 1).to_pylist()[0]
            for at, method in enumerate(methods)
        }
        place = by_name[rows[methods[0]]["file"]]
        (batch,) = read_batches(collection[place : place + 1], preparation, 1)
        of = rows[methods[0]]["label" if _of_label(evaluation) else "predicted"]
        panels = tuple(_panel(judge, batch, of, method, rows[method]) for method in shown)
        found.append(_case(batch, rows[methods[0]], one, panels, of, names))
    return found


def _case(
    batch: SeenBatch,
    row: dict[str, Any],
    one: Chosen,
    panels: tuple[dict[str, Any], ...],
    of: int,
    names: Sequence[str] | None,
) -> Case:
    height, width = batch.inputs.shape[2:]
    return Case(
        row["file"],
        class_told(row["label"], names),
        f"{class_told(row['predicted'], names)} ({percent(row['confidence'])})",
        row["correct"],
        class_told(of, names),
        one.failure,
        photo_address(batch.pictures[0].numpy()),
        tuple(framed(box, (height, width)) for box in batch.boxes[0].tolist()),
        panels,
    )


def _panel(
    judge: Judge, batch: SeenBatch, of: int, method: str, row: dict[str, Any]
) -> dict[str, Any]:
    """One method's drawing of a class on the photo: the class that the method's row is of."""
    found = judge.explain(batch.inputs, torch.tensor([of]), method, batch.pictures)
    heat, spot = found.heatmap()[0], None
    if bool(heat.max() > heat.min()):
        y, x = divmod(int(heat.argmax()), found.size[1])
        width, height = draw.drawn_size(found.size)
        spot = (
            f"{(x + 0.5) * width / found.size[1]:.4g}",
            f"{(y + 0.5) * height / found.size[0]:.4g}",
        )
    drawn = panel(found)
    return {
        "method": method_name(method),
        "heat": drawn["heat"],
        "frame": drawn["frame"],
        "spot": spot,
        "hit": row["pointing"],
        "words": _words(row, found),
    }


def _words(row: dict[str, Any], found: Explanation) -> str:
    """What the panel says in numbers."""
    if not bool(found.has_evidence[0]):
        return NO_EVIDENCE
    if row["iou"] is not None:
        return f"IoU {percent(row['iou'], 0)}" if bool(found.boxes().found[0]) else "no box"
    told = (("equal_drop", "drop at equal area"), ("drop", "drop"), ("soft_drop", "drop"))
    return next(
        (f"{words} {percent(row[name], 0)}" for name, words in told if row[name] is not None), ""
    )
