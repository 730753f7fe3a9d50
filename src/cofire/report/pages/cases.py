"""The images on which methods disagree most, explained once more to be looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.judging import Judge
from cofire.evaluate.measures import Criterion
from cofire.explain import BASELINES, title_of
from cofire.explain.drawing.captions import NO_EVIDENCE, class_told, percent
from cofire.images.collection import Collection
from cofire.images.preparation import Preparation
from cofire.images.seen import SeenBatch, read_batches
from cofire.report.pages.page import Panel, framed, image_address, panel

_FIRST = ("pointing", "iou")
_OTHERWISE = ("equal_drop", "drop", "soft_drop", "insertion", "deletion")


@dataclass(frozen=True)
class Case:
    """What the page has of one image.

    Attributes:
        file: Its name.
        label: Its class in words.
        predicted: What the network takes it for, with the probability.
        correct: Whether that is so.
        failure: Whether the first method does worse on it than the others.
        image: Address of the image.
        boxes: Of its class: left, top, width and height, as drawn.
        panels: For each method whether its hottest pixel lies on the object (None where that was
            not measured), how well it does in words, and what is drawn.
    """

    file: str
    label: str
    predicted: str
    correct: bool
    failure: bool
    image: str
    boxes: tuple[tuple[float, ...], ...]
    panels: tuple[tuple[str, bool | None, str, Panel], ...]


def counted(evaluation: Evaluation) -> list[Criterion]:
    """By what images are chosen: pointing and IoU, or the first of the others that was measured."""
    measured = {criterion.name: criterion for criterion in evaluation.criteria}
    return [measured[name] for name in _FIRST if name in measured] or [
        measured[name] for name in _OTHERWISE if name in measured
    ][:1]


def of_label(evaluation: Evaluation) -> bool:
    """Whether boxes and evidence in the records are of the image's own class; of the predicted one otherwise."""
    return "localisation" in evaluation.options["measures"]


def choose_cases(
    evaluation: Evaluation, failures: int = 8, others: int = 4
) -> list[tuple[int, float]]:
    """The images on which the first method differs most from the mean of its rivals, failures first.

    How well a method does on an image is pointing + IoU, both from 0 to 1; where these were not
    measured, how little confidence it loses. Baselines are no rivals unless there are no others.

    Args:
        evaluation: What was judged.
        failures: Images on which the first method does worse, at the most.
        others: Images on which it does better, at the most.

    Returns:
        The place of each among the evaluation's images, and by how much better the first method
        does on it than the others on average. None where there is no rival, or nothing was measured
        by which one does better on an image.
    """
    methods = evaluation.methods
    bare = set(methods[1:]) <= set(BASELINES)
    rivals = [at for at, m in enumerate(methods) if at and (bare or m not in BASELINES)]
    criteria = counted(evaluation)
    if not criteria or not rivals:
        return []
    signs = [1 if one.better == "higher" else -1 for one in criteria]
    good = sum(
        sign * evaluation.values(one.name) for sign, one in zip(signs, criteria, strict=True)
    )
    gaps = np.asarray(good)[:, 0] - np.asarray(good)[:, rivals].mean(axis=1)
    order = [int(at) for at in np.argsort(gaps, kind="stable") if np.isfinite(gaps[at])]
    worse = [at for at in order if gaps[at] < 0][:failures]
    better = [at for at in reversed(order) if gaps[at] > 0][:others]
    held = np.flatnonzero(evaluation.chosen())
    return [(int(held[at]), float(gaps[at])) for at in (*worse, *better)]


def shown_method(evaluation: Evaluation) -> str:
    """The method whose maps are looked at: the first one that looks at the network, if there is one."""
    methods = evaluation.methods
    return next((method for method in methods if method not in BASELINES), methods[0])


def opened(
    evaluation: Evaluation, place: int, collection: Collection, preparation: Preparation
) -> tuple[dict[str, dict[str, Any]], SeenBatch]:
    """The records of one of an evaluation's images by method, and the image as a batch of its own."""
    methods = evaluation.methods
    table = evaluation.records.slice(place * len(methods), len(methods)).to_pylist()
    at = next(at for at, image in enumerate(collection) if image.name == table[0]["file"])
    (batch,) = read_batches(collection[at : at + 1], preparation, 1)
    return dict(zip(methods, table, strict=True)), batch


def show_cases(
    evaluation: Evaluation,
    chosen: Sequence[tuple[int, float]],
    judge: Judge,
    collection: Collection,
    preparation: Preparation,
    names: Sequence[str] | None = None,
) -> list[Case]:
    """Explain the chosen images once more, as they were judged, and draw them.

    Args:
        evaluation: What was judged.
        chosen: What `choose_cases` gave.
        judge: That judged them.
        collection: That they come from.
        preparation: Of the images.
        names: Of all classes.
    """
    methods = evaluation.methods
    shown = [method for method in methods if method not in BASELINES] or list(methods)
    found = []
    for place, gap in chosen:
        rows, batch = opened(evaluation, place, collection, preparation)
        row = rows[methods[0]]
        of = row["label" if of_label(evaluation) else "predicted"]
        panels = []
        for method in shown:
            explanation = judge.explain(batch.inputs, torch.tensor([of]), method, batch.pixels)
            drawn = panel(explanation, f"{title_of(method)} for {class_told(of, names)}")
            hit = rows[method]["pointing"]
            words = _words(rows[method], drawn) if drawn.heat else NO_EVIDENCE
            panels.append((title_of(method), None if hit is None else hit > 0.5, words, drawn))
        height, width = batch.inputs.shape[2:]
        found.append(
            Case(
                row["file"],
                class_told(row["label"], names),
                f"{class_told(row['predicted'], names)} ({percent(row['confidence'])})",
                row["correct"],
                gap < 0,
                image_address(batch.pixels[0].numpy()),
                tuple(framed(box, (height, width)) for box in batch.boxes[0].tolist()),
                tuple(panels),
            )
        )
    return found


def _words(row: dict[str, Any], drawn: Panel) -> str:
    """How well a method does on an image."""
    if row["iou"] is not None:
        return "no box" if drawn.frame is None else f"IoU {percent(row['iou'], 0)}"
    drops = (row[name] for name in ("equal_drop", "drop", "soft_drop") if row[name] is not None)
    return next((f"drop {percent(drop, 0)}" for drop in drops), "")
