"""What is measured of explanations: a row for each, from which run, records, verdict, tables and metrics follow.

A row of `MEASURES` says what is measured of each image, what it takes for that, and what it means;
`register_measure` adds one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import pyarrow as pa

from cofire.arguments import validated
from cofire.errors import OptionError, near_matches
from cofire.evaluate.metrics import (
    BoxArea,
    ChangeInConfidence,
    ClassSensitivity,
    DeletionInsertion,
    EvidenceInside,
    Localisation,
    Measure,
    PointingGame,
    SoftChange,
)
from cofire.evaluate.per_image import PerImage

Better = Literal["higher", "lower", "neither"]
Unit = Literal["images", "%", ""]
Judge = TypeVar("Judge", bound=Callable[..., PerImage])

SUBSETS = ("all", "correct", "wrong", "small", "large")
"""Of images: all; predicted correctly or wrongly; boxes covering less than 0.3 of the view, or more."""

MARGIN = 0.02
"""Differences of a measure below it count as none, unless another margin is given: two percentage points of a share."""


@dataclass(frozen=True, eq=False)
class Criterion:
    """One thing that is measured of each image, by which methods are judged.

    Attributes:
        name: Of the column.
        title: In a few words, for the head of a table.
        group: What it is measured with, which can be left out: what is of one group shares
            explanations or passes.
        better: Which way is better; "neither" for what only says how to read the others.
        unit: "images", yes or no of each image, told as the share of images in percent; "%", a
            share of something from 0 to 1, told in percent; "" for any other number.
        meaning: In a sentence.
        measure: What judges it.
        takes: What the measure's `judge` takes, in order, as `cofire.evaluate.judging.Judged` has
            it: "boxes", "mistaken" (those of misclassified images alone), "confidence", and
            "label.heat", "predicted.after_box" and so on of the explanation of the label, of the
            predicted class, or of the "other" next probable one.
        asks: The heading of the verdict that it answers; "" for none. Of several criteria with one
            heading the first that was measured answers.
    """

    name: str
    title: str
    group: str
    better: Better
    unit: Unit
    meaning: str
    measure: Measure
    takes: tuple[str, ...]
    asks: str = ""

    @property
    def percent(self) -> bool:
        """Whether it is told in percent."""
        return self.unit != ""

    @property
    def digits(self) -> int:
        """How many digits it is told with after the point."""
        return 1 if self.percent else 3

    def told(self, value: float) -> str:
        r"""A value as it is written, with its unit.

        Example:
            >>> MEASURES["pointing"].told(0.5), MEASURES["rank_correlation"].told(-0.25)
            ('50.0\xa0%', '−0.250')
        """
        return (f"{100 * value:.1f}\u00a0%" if self.percent else f"{value:.3f}").replace("-", "−")

    @property
    def field(self) -> pa.Field:
        """The column of the records."""
        return pa.field(self.name, pa.bool_() if self.unit == "images" else pa.float64())


GROUPS: dict[str, str] = {
    "localisation": "Localisation: does it show where the object is?",
    "confidence": "Change in confidence: does it show what the network uses?",
    "soft": "Change in confidence with the map itself in place of a box",
    "curves": "Deletion and insertion curves",
    "sensitivity": "Class sensitivity: does it depend on the class?",
    "mistakes": "Misclassified images: what do the maps of both classes show?",
}
"""What can be measured or left out, with the heading of its table; each needs explanations or passes of its own."""

MEASURES: dict[str, Criterion] = {}
"""Everything that is measured, in the order of the columns."""


@validated
def register_measure(
    name: str,
    *,
    title: str,
    better: Better,
    takes: Sequence[str],
    meaning: str,
    unit: Unit = "",
    group: str = "",
    asks: str = "",
) -> Callable[[Judge], Judge]:
    """Measure explanations by a function of one's own wherever they are judged.

    It is then measured by `run_evaluation` and `cofire evaluate`, has a column in the records, a
    place in tables and page, and a metric with mergeable states, `MEASURES[name].measure`.

    Args:
        name: Of the column; that of a measure that is there takes its place.
        title: In a few words.
        better: Which way is better.
        takes: What the function takes, in order (see `Criterion`): ("predicted.heat",), say.
        meaning: In a sentence.
        unit: "images" (yes or no of each image), "%" (a share from 0 to 1) or "".
        group: The name by which it can be asked for or left out; its own unless given.
        asks: The heading of its line in the verdict, if it has one.

    Returns:
        A decorator for a function that gives a `PerImage`.

    Example:
        >>> import torch
        >>> @register_measure("spread", title="spread", better="lower", unit="%", takes=("predicted.heat",),
        ...                   meaning="How much of the image is hotter than its mean.")
        ... def spread(heat: torch.Tensor) -> PerImage:
        ...     return PerImage.of_all((heat > heat.mean((1, 2), keepdim=True)).double().mean((1, 2)))
        >>> metric, _ = MEASURES.pop("spread").measure, GROUPS.pop("spread")
        >>> metric.update(torch.tensor([[[0.0, 0.0, 0.0, 1.0]]]))
        >>> metric
        spread(1 images, 0 left out)
    """

    def register(judge: Judge) -> Judge:
        kind = type(name, (Measure,), {"judge": staticmethod(judge), "__doc__": meaning})
        GROUPS.setdefault(group or name, f"{title[:1].upper()}{title[1:]}")
        MEASURES[name] = Criterion(
            name, title, group or name, better, unit, meaning, kind(), tuple(takes), asks
        )
        return judge

    return register


def usual() -> tuple[str, ...]:
    """What is measured unless more is asked for: curves take dozens of passes for each image and method."""
    return tuple(group for group in GROUPS if group != "curves")


def asked_groups(names: Iterable[str] | None) -> tuple[str, ...]:
    """The groups of measures that are asked for, in their own order; the usual ones of None.

    Raises:
        OptionError: There is no such group, or none is left.

    Example:
        >>> asked_groups(["sensitivity", "localisation"])
        ('localisation', 'sensitivity')
    """
    asked, known = usual() if names is None else tuple(names), tuple(GROUPS)
    for name in asked:
        if name not in known:
            raise OptionError(
                f"measures '{name}'",
                f"some of {', '.join(known)}",
                f"try {near_matches(str(name), known, most=1)}",
            )
    if not asked:
        raise OptionError(
            "no measures", f"some of {', '.join(known)}", "leave them out to get the usual ones"
        )
    return tuple(group for group in known if group in asked)


def measured(chosen: Iterable[str]) -> tuple[Criterion, ...]:
    """The criteria of some groups.

    Example:
        >>> [criterion.name for criterion in measured(["soft"])]
        ['soft_increase', 'soft_drop']
    """
    asked = set(chosen)
    return tuple(one for one in MEASURES.values() if one.group in asked)


def records_schema() -> pa.Schema:
    """The columns of the records: one row for each image and method.

    - `file` as it was named in the collection; `label` its class; `predicted` what the network
      takes it for.
    - `probability` of the label, `confidence` of the prediction: softmax, 0 to 1.
    - `boxes` of the class that the network sees, `box_share` how much of the view they cover
      together, `small` whether that is less than 0.3; both null without a box.
    - `split` is "tuning" or "evaluation"; `draws` the samples that the image is in.
    - `evidence` whether anything was found; `box` around it: left, top, right, bottom in pixels of
      the network's input, null where there is none; `threshold` the share of the map's maximum that
      the pixels in it reach, `connected` whether it is only around those that hang together with
      the maximum; both null where boxes are around points.
    - the criteria (see `MEASURES`), null where one does not count; `equal_area` the share of the
      window that the measures at equal area keep.
    - `seconds` that one explanation took, on an average of the batch: the one column that a second
      run does not repeat.

    `pointing`, `iou` and `box` are of the explanation of `label`, what is about confidence of that
    of `predicted`.
    """
    needed = {"file": pa.string(), "label": pa.int64(), "predicted": pa.int64()}
    needed |= {"correct": pa.bool_(), "probability": pa.float64(), "confidence": pa.float64()}
    needed |= {"boxes": pa.int64()}
    then = {"split": pa.string(), "draws": pa.list_(pa.int64()), "method": pa.string()}
    then |= {"evidence": pa.bool_()}
    return pa.schema(
        [
            *(pa.field(name, kind, nullable=False) for name, kind in needed.items()),
            pa.field("box_share", pa.float64()),
            pa.field("small", pa.bool_()),
            *(pa.field(name, kind, nullable=False) for name, kind in then.items()),
            pa.field("box", pa.list_(pa.float64())),
            pa.field("threshold", pa.float64()),
            pa.field("connected", pa.bool_()),
            *(one.field for one in MEASURES.values()),
            pa.field("equal_area", pa.float64()),
            pa.field("seconds", pa.float64(), nullable=False),
        ]
    )


_CLASS = "The predicted class gets more probable when"
_LOST = "The share of the predicted class’s probability that is lost when"
_WINDOW = "all is filled but a quarter: the window with most of the map’s sum."
_AREA = "Area under the probability of the predicted class while pixels are"
_BOX = ("label.corners", "label.there", "boxes")
_MISTAKEN = "Of misclassified images:"
_CRITERIA = (
    Criterion(
        "pointing",
        "pointing game",
        "localisation",
        "higher",
        "%",
        "The map’s maximum lies in a box of the image’s class; ties give the share of tied pixels that do.",
        PointingGame(),
        ("label.heat", "boxes"),
        "Best at pointing",
    ),
    Criterion(
        "pointing_15",
        "pointing, 15 px",
        "localisation",
        "higher",
        "%",
        "The same, with 15 pixels around the boxes allowed.",
        PointingGame(15.0),
        ("label.heat", "boxes"),
    ),
    Criterion(
        "iou",
        "IoU",
        "localisation",
        "higher",
        "%",
        "Intersection over union of the explanation’s box and the best box of the image’s class; 0 without a box.",
        Localisation(),
        _BOX,
        "Best boxes",
    ),
    Criterion(
        "iou_50",
        "IoU ≥ 0.5",
        "localisation",
        "higher",
        "images",
        "The share of images whose IoU reaches one half.",
        Localisation(at=0.5),
        _BOX,
    ),
    Criterion(
        "box_area",
        "box area",
        "localisation",
        "neither",
        "%",
        "How much of what the network sees the explanation’s box takes up.",
        BoxArea(),
        ("label.area", "boxes"),
    ),
    Criterion(
        "increase",
        "increase",
        "confidence",
        "higher",
        "images",
        f"{_CLASS} all but the explanation’s box is filled.",
        ChangeInConfidence("increase"),
        ("confidence", "predicted.after_box"),
    ),
    Criterion(
        "drop",
        "drop",
        "confidence",
        "lower",
        "%",
        f"{_LOST} all but the box is filled; 0 where it rises.",
        ChangeInConfidence("drop"),
        ("confidence", "predicted.after_box"),
    ),
    Criterion(
        "kept_area",
        "area kept",
        "confidence",
        "neither",
        "%",
        "How much that box keeps: one that keeps everything drops nothing.",
        BoxArea(),
        ("predicted.area",),
    ),
    Criterion(
        "equal_increase",
        "increase at equal area",
        "confidence",
        "higher",
        "images",
        f"{_CLASS} {_WINDOW}",
        ChangeInConfidence("increase"),
        ("confidence", "predicted.after_window"),
    ),
    Criterion(
        "equal_drop",
        "drop at equal area",
        "confidence",
        "lower",
        "%",
        f"{_LOST} {_WINDOW}",
        ChangeInConfidence("drop"),
        ("confidence", "predicted.after_window"),
        "Most faithful",
    ),
    Criterion(
        "soft_increase",
        "increase, soft map",
        "soft",
        "higher",
        "images",
        f"{_CLASS} each pixel is kept as far as the map, scaled to 0 to 1, says.",
        SoftChange("increase"),
        ("confidence", "predicted.after_soft"),
    ),
    Criterion(
        "soft_drop",
        "drop, soft map",
        "soft",
        "lower",
        "%",
        f"{_LOST} pixels are kept as far as the map says.",
        SoftChange("drop"),
        ("confidence", "predicted.after_soft"),
        "Most faithful",
    ),
    Criterion(
        "deletion",
        "deletion",
        "curves",
        "lower",
        "",
        f"{_AREA} removed, hottest first.",
        DeletionInsertion("deletion"),
        ("predicted.deletion",),
        "Most faithful",
    ),
    Criterion(
        "insertion",
        "insertion",
        "curves",
        "higher",
        "",
        f"{_AREA} put in, hottest first.",
        DeletionInsertion("insertion"),
        ("predicted.insertion",),
    ),
    Criterion(
        "jaccard",
        "points shared",
        "sensitivity",
        "lower",
        "%",
        "Points that the predicted class and the next probable one have in common, of all points of the two.",
        ClassSensitivity("points"),
        ("predicted.points", "other.points"),
    ),
    Criterion(
        "rank_correlation",
        "rank correlation",
        "sensitivity",
        "lower",
        "",
        "Spearman’s correlation of the maps of the predicted class and of the next probable one: 1 is the same map.",
        ClassSensitivity("maps"),
        ("predicted.heat", "other.heat"),
        "Most sensitive to the class",
    ),
    Criterion(
        "mistaken_pointing",
        "pointing, true class",
        "mistakes",
        "higher",
        "%",
        f"{_MISTAKEN} the maximum of the true class’s map lies in a box of the object.",
        PointingGame(),
        ("label.heat", "mistaken"),
    ),
    Criterion(
        "mistaken_pointing_predicted",
        "pointing, predicted class",
        "mistakes",
        "neither",
        "%",
        f"{_MISTAKEN} the maximum of the predicted class’s map lies in a box of the object.",
        PointingGame(),
        ("predicted.heat", "mistaken"),
    ),
    Criterion(
        "mistaken_inside",
        "on the object, true class",
        "mistakes",
        "higher",
        "%",
        f"{_MISTAKEN} the share of the true class’s map in the object’s boxes.",
        EvidenceInside(),
        ("label.heat", "mistaken"),
    ),
    Criterion(
        "mistaken_inside_predicted",
        "on the object, predicted class",
        "mistakes",
        "neither",
        "%",
        f"{_MISTAKEN} the share of the predicted class’s map in the object’s boxes.",
        EvidenceInside(),
        ("predicted.heat", "mistaken"),
    ),
)
MEASURES.update({one.name: one for one in _CRITERIA})
