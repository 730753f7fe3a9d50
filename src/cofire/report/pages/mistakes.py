"""The part of an evaluation's page on misclassified images (P3 §4.4): both classes side by side, and how far on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import plotly.graph_objects as go
import torch

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.judging import Judge
from cofire.evaluate.mistakes import MISTAKES, BothClasses, mistakes
from cofire.explain import title_of
from cofire.explain.drawing.captions import class_told, percent
from cofire.images.collection import Collection
from cofire.images.preparation import Preparation
from cofire.report.notation import plural
from cofire.report.pages.cases import opened, shown_method
from cofire.report.pages.page import Panel, framed, image_address, panel
from cofire.report.plots import Point, intervals
from cofire.report.section import Section
from cofire.report.table import Column, Table

MOST = 6
"""Images that are drawn at the most."""
_TITLES = {"pointing": "pointing", "inside": "on the object"}


@dataclass(frozen=True)
class Mistake:
    """What the page has of one misclassified image.

    Attributes:
        file: Its name.
        label: Its class in words.
        predicted: What the network takes it for.
        image: Address of the image.
        boxes: Of its class: left, top, width and height, as drawn.
        panels: For the predicted and the true class: which, its name with the probability, whether
            the hottest pixel lies in a box, the share of the map that does (None without evidence),
            and what is drawn.
    """

    file: str
    label: str
    predicted: str
    image: str
    boxes: tuple[tuple[float, ...], ...]
    panels: tuple[tuple[str, str, bool, float | None, Panel], ...]


class Mistakes(Section):
    """Whether maps of both classes lie on the object where the network is wrong."""

    id, title = "mistakes", "What does it show where the network is wrong?"
    label, template, wide = "Mistakes", "pages/mistakes.html.j2", True

    def __init__(
        self, evaluation: Evaluation, cases: Sequence[Mistake], *, toggles: bool = False
    ) -> None:
        self.evaluation, self.cases, self.toggles = evaluation, cases, toggles
        self.method = title_of(shown_method(evaluation))
        self.both = {measure: mistakes(evaluation, measure) for measure in MISTAKES}
        self.boxed = max((one.true.counted for one in self.both["pointing"].values()), default=0)

    def lead(self) -> str:
        """How many images this is about, or why there is nothing to say."""
        total, wrong = (int(self.evaluation.chosen(part).sum()) for part in ("all", "wrong"))
        if not wrong:
            return f"The network classifies all {plural(total, 'image')} correctly: nothing can be said."
        told = (
            f"{wrong:,} of {plural(total, 'image')} {'is' if wrong == 1 else 'are'} misclassified"
        )
        return f"{told}, {self.boxed or 'none'} of them with a box{'' if self.boxed else ': nothing can be said'}."

    def figures(self) -> dict[str, go.Figure]:
        return {
            f"mistaken-{measure}": self._figure(found, measure)
            for measure, found in self.both.items()
            if found
        }

    def _figure(self, found: dict[str, BothClasses], measure: str) -> go.Figure:
        points = [
            Point(title_of(method), mean, look, f"for the {of} class")
            for method, both in found.items()
            for of, look, mean in (("true", 0, both.true), ("predicted", 1, both.predicted))
        ]
        return intervals(
            points, f"{_TITLES[measure]} (%)", factor=100, line=None, limits=(0.0, 1.0)
        )

    def tables(self) -> dict[str, Table]:
        pointing, inside = self.both["pointing"], self.both["inside"]
        if not pointing:
            return {}
        rows = [
            [
                title_of(method),
                *(
                    value
                    for both in (pointing.get(method), inside.get(method))
                    for value in (
                        (both.true, both.predicted, both.difference) if both else (None,) * 3
                    )
                ),
            ]
            for method in self.evaluation.methods
        ]
        columns = [
            Column(title, unit, 1, signed=unit == "points", group=group)
            for group in _TITLES.values()
            for title, unit in (
                ("true class", "%"),
                ("predicted class", "%"),
                ("difference", "points"),
            )
        ]
        title = "Misclassified images with boxes: maps of both classes, with 95 % intervals."
        return {"mistakes": Table(title, [Column("method"), *columns], rows)}


def show_mistakes(
    evaluation: Evaluation,
    judge: Judge,
    collection: Collection,
    preparation: Preparation,
    names: Sequence[str] | None = None,
) -> list[Mistake]:
    """The misclassified images with boxes of which the network is surest, explained for both classes.

    Args:
        evaluation: What was judged; nothing is shown where it did not measure "mistakes".
        judge: That judged them.
        collection: That they come from.
        preparation: Of the images.
        names: Of all classes.
    """
    if "mistakes" not in evaluation.options["measures"]:
        return []
    method, found = shown_method(evaluation), []
    at = evaluation.methods.index(method)
    hits = evaluation.values(MISTAKES["pointing"])[:, at]
    held = np.flatnonzero(evaluation.chosen())[np.isfinite(hits)]
    sure = np.asarray(evaluation.records["confidence"])[:: len(evaluation.methods)][held]
    for place in held[np.argsort(-sure, kind="stable")][:MOST].tolist():
        rows, batch = opened(evaluation, place, collection, preparation)
        row = rows[method]
        classes = torch.tensor([row["predicted"], row["label"]])
        twice = [torch.cat([each, each]) for each in (batch.inputs, batch.pixels)]
        explained = judge.explain(twice[0], classes, method, twice[1])
        panels = []
        for number, (of, sort, end) in enumerate(
            (("predicted", "confidence", "_predicted"), ("label", "probability", ""))
        ):
            told = class_told(row[of], names)
            panels.append(
                (
                    "The true class" if of == "label" else "The predicted class",
                    f"{told} {percent(row[sort])}",
                    row[MISTAKES["pointing"] + end] > 0.5,
                    row[MISTAKES["inside"] + end],
                    panel(explained[number], f"{title_of(method)} for {told}"),
                )
            )
        size = tuple(batch.inputs.shape[2:])
        found.append(
            Mistake(
                row["file"],
                class_told(row["label"], names),
                class_told(row["predicted"], names),
                image_address(batch.pixels[0].numpy()),
                tuple(framed(box, size) for box in batch.boxes[0].tolist()),  # type: ignore[arg-type]
                tuple(panels),
            )
        )
    return found
