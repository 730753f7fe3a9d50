"""The rules of boxes around heat that were learned for an evaluation, told once for page, terminal and Markdown."""

from __future__ import annotations

from dataclasses import dataclass

from cofire.evaluate.evaluation import Evaluation
from cofire.explain.drawing.captions import percent
from cofire.report.evaluate.tables import method_name

RULE_TITLE = (
    "Boxes around heat: their rule, learned on tuning photos for each method from the same choice"
)

RULE_HEADS = (
    "share of the maximum (threshold)",
    "pixels (connected)",
    "mean IoU on tuning photos",
    "photos",
)
"""Of the columns beside the method."""


@dataclass(frozen=True)
class Rule:
    """What was learned of one method's boxes.

    Attributes:
        name: Of the method, as it is written.
        threshold: Share of the maximum that pixels in the box reach.
        pixels: Which of those.
        iou: Mean on the photos that it was learned on.
        photos: How many these were.
    """

    name: str
    threshold: str
    pixels: str
    iou: str
    photos: str

    @property
    def cells(self) -> tuple[str, ...]:
        """Beside the method's name, as `RULE_HEADS` has them."""
        return (self.threshold, self.pixels, self.iou, self.photos)


def rules_told(evaluation: Evaluation) -> list[Rule]:
    """The rules of all methods whose boxes were learned; none where boxes were not asked for.

    Args:
        evaluation: What was judged.
    """
    return [
        Rule(
            method_name(method),
            percent(one["threshold"], 0),
            "connected with the maximum" if one["connected"] else "all that reach it",
            "–" if one["iou"] is None else percent(one["iou"]),
            f"{one['photos']:,}" if one["photos"] else "none: the method’s own rule",
        )
        for method, one in evaluation.options.get("thresholds", {}).items()
    ]
