"""The part of an evaluation's page on occlusion (P3 Figure 4): the box alone, all but it, and the class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.faithfulness import filled
from cofire.evaluate.judging import Judge
from cofire.evaluate.localisation import inside_boxes
from cofire.explain import title_of
from cofire.explain.drawing.captions import class_told
from cofire.images.collection import Collection
from cofire.images.preparation import Preparation
from cofire.report.notation import percent
from cofire.report.pages.cases import opened, shown_method
from cofire.report.pages.page import Panel, image_address, panel
from cofire.report.section import Section

_FALLS = ("falls least, or rises", "lies in the middle", "falls most")


@dataclass(frozen=True)
class Occluded:
    """What the page has of one image.

    Attributes:
        file: Its name.
        predicted: The class that the network takes it for.
        why: Which of all images it is, in words.
        area: The share of the image that the box takes up.
        addresses: Of the image, of the box alone, and of the rest without it.
        probabilities: Of the predicted class on each of them.
        drawn: The map with its box.
    """

    file: str
    predicted: str
    why: str
    area: float
    addresses: tuple[str, str, str]
    probabilities: tuple[float, float, float]
    drawn: Panel


class Occlusion(Section):
    """What the network makes of the box alone, and of all but the box."""

    id, title = "occluded", "What is left when only the box is kept, or removed?"
    label, template, wide = "Occlusion", "pages/occluded.html.j2", True

    def __init__(
        self, evaluation: Evaluation, cases: Sequence[Occluded], *, toggles: bool = False
    ) -> None:
        self.evaluation, self.cases, self.toggles = evaluation, cases, toggles
        self.method = title_of(shown_method(evaluation))

    def lead(self) -> str:
        """The change of confidence over all images, or that there is no box."""
        means = self.evaluation.table()[shown_method(self.evaluation)]
        if not self.cases:
            return f"{self.method} finds no box on any image: nothing can be kept or removed."
        rises, lost = means["increase"], means["drop"]
        ends = f"{percent(rises.low)} to {percent(rises.high)}"
        return (
            f"The box of {self.method} alone, {percent(means['kept_area'].value)} of the image, makes the network "
            f"more certain on {percent(rises.value)} of the images [{ends}]; on average {percent(lost.value)} of the "
            "class’s probability is lost."
        )


def show_occluded(
    evaluation: Evaluation,
    judge: Judge,
    collection: Collection,
    preparation: Preparation,
    names: Sequence[str] | None = None,
) -> list[Occluded]:
    """Three images, by what becomes of the predicted class when the box alone is kept: least, middle and most lost.

    Where it rises on several, the one with the smallest box is shown.

    Args:
        evaluation: What was judged; nothing is shown where it did not measure "confidence".
        judge: That judged them.
        collection: That they come from.
        preparation: Of the images.
        names: Of all classes.
    """
    if "confidence" not in evaluation.options["measures"]:
        return []
    method, found = shown_method(evaluation), []
    at = evaluation.methods.index(method)
    rises, lost, areas = (
        evaluation.values(name)[:, at] for name in ("increase", "drop", "kept_area")
    )
    # By how far it rises is not recorded: of those the smallest box says most.
    order = np.lexsort((areas, np.where(rises > 0.5, -1.0, lost)))
    order = order[np.isfinite(lost[order]) & (areas[order] > 0)]
    places = [order[number] for number in (0, len(order) // 2, -1)] if len(order) else []
    held = np.flatnonzero(evaluation.chosen())
    for place, why in dict(zip(places, _FALLS, strict=False)).items():
        rows, batch = opened(evaluation, int(held[place]), collection, preparation)
        row = rows[method]
        explained = judge.explain(
            batch.inputs, torch.tensor([row["predicted"]]), method, batch.pixels
        )
        box = explained.boxes().corners
        inside = inside_boxes([box], *batch.inputs.shape[2:])
        other = filled(batch.inputs, judge.fill)
        alone = torch.where(inside[:, None], batch.inputs, other)
        rest = torch.where(inside[:, None], other, batch.inputs)
        inputs = torch.cat([batch.inputs, alone, rest])
        told = class_told(row["predicted"], names)
        found.append(
            Occluded(
                row["file"],
                told,
                why,
                row["kept_area"],
                tuple(image_address(one.numpy()) for one in preparation.shades(inputs)),  # type: ignore[arg-type]
                tuple(judge.predict(inputs)[:, row["predicted"]].tolist()),
                panel(explained, f"{title_of(method)} for {told}"),
            )
        )
    return found
