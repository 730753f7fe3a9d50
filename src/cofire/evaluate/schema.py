"""What is kept of every judged photo: the columns of the table, and what each of them is a criterion of."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from cofire.errors import OptionError, near_matches

Better = Literal["higher", "lower", "neither"]
Group = Literal["localisation", "confidence", "soft", "curves", "sensitivity"]


@dataclass(frozen=True)
class Criterion:
    """One thing that is measured of each photo, by which methods are judged.

    Attributes:
        name: Of the column.
        title: In a few words, for the head of a table.
        group: What it is measured with.
        better: Which way is better; "neither" for what only says how to read the others.
        percent: Whether it is a share from 0 to 1, told in percent.
        meaning: In a sentence.
    """

    name: str
    title: str
    group: Group
    better: Better
    percent: bool
    meaning: str


GROUPS: tuple[Group, ...] = ("localisation", "confidence", "soft", "curves", "sensitivity")
"""What can be left out; each needs explanations or passes of its own."""

USUAL: tuple[Group, ...] = tuple(group for group in GROUPS if group != "curves")
"""What is measured unless more is asked for: curves take dozens of passes for each photo and method."""

CRITERIA: tuple[Criterion, ...] = (
    Criterion(
        "pointing",
        "pointing game",
        "localisation",
        "higher",
        True,
        "The map’s maximum lies in a box of the photo’s class; ties give the share of tied pixels that do.",
    ),
    Criterion(
        "pointing_15",
        "pointing, 15 px",
        "localisation",
        "higher",
        True,
        "The same, with 15 pixels around the boxes allowed.",
    ),
    Criterion(
        "iou",
        "IoU",
        "localisation",
        "higher",
        True,
        "Intersection over union of the explanation’s box and the best box of the photo’s class; 0 without a box.",
    ),
    Criterion(
        "iou_50",
        "IoU ≥ 0.5",
        "localisation",
        "higher",
        True,
        "The share of photos whose IoU reaches one half.",
    ),
    Criterion(
        "box_area",
        "box area",
        "localisation",
        "neither",
        True,
        "How much of what the network sees the explanation’s box takes up.",
    ),
    Criterion(
        "increase",
        "increase",
        "confidence",
        "higher",
        True,
        "The predicted class gets more probable when all but the explanation’s box is filled.",
    ),
    Criterion(
        "drop",
        "drop",
        "confidence",
        "lower",
        True,
        "The share of the predicted class’s probability that is lost when all but the box is filled; 0 where it rises.",
    ),
    Criterion(
        "kept_area",
        "area kept",
        "confidence",
        "neither",
        True,
        "How much that box keeps: one that keeps everything drops nothing.",
    ),
    Criterion(
        "equal_increase",
        "increase at equal area",
        "confidence",
        "higher",
        True,
        "The predicted class gets more probable when all is filled but a quarter: the window with most of the map’s "
        "sum.",
    ),
    Criterion(
        "equal_drop",
        "drop at equal area",
        "confidence",
        "lower",
        True,
        "The share of the predicted class’s probability that is lost when all is filled but a quarter: the window with "
        "most of the map’s sum.",
    ),
    Criterion(
        "soft_increase",
        "increase, soft map",
        "soft",
        "higher",
        True,
        "The predicted class gets more probable when each pixel is kept as far as the map, scaled to 0 to 1, says.",
    ),
    Criterion(
        "soft_drop",
        "drop, soft map",
        "soft",
        "lower",
        True,
        "The share of the predicted class’s probability that is lost when pixels are kept as far as the map says.",
    ),
    Criterion(
        "deletion",
        "deletion",
        "curves",
        "lower",
        False,
        "Area under the probability of the predicted class while pixels are removed, hottest first.",
    ),
    Criterion(
        "insertion",
        "insertion",
        "curves",
        "higher",
        False,
        "Area under the probability of the predicted class while pixels are put in, hottest first.",
    ),
    Criterion(
        "jaccard",
        "points shared",
        "sensitivity",
        "lower",
        True,
        "Points that the predicted class and the next probable one have in common, of all points of the two.",
    ),
    Criterion(
        "rank_correlation",
        "rank correlation",
        "sensitivity",
        "lower",
        False,
        "Spearman’s correlation of the maps of the predicted class and of the next probable one: 1 is the same map.",
    ),
)
"""Everything that is measured, in the order of the columns."""

MARGIN = 0.02
"""Differences of a measure below it count as none, unless another margin is given: two percentage points of a share."""

SUBSETS = ("all", "correct", "wrong", "small", "large")
"""Of photos: all; predicted correctly or wrongly; boxes covering less than 0.3 of the view, or more."""

_FLAGS = ("iou_50", "increase", "equal_increase", "soft_increase")

RECORDS_SCHEMA = pa.schema(
    [
        pa.field("file", pa.string(), nullable=False),
        pa.field("label", pa.int64(), nullable=False),
        pa.field("predicted", pa.int64(), nullable=False),
        pa.field("correct", pa.bool_(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("boxes", pa.int64(), nullable=False),
        pa.field("box_share", pa.float64()),
        pa.field("small", pa.bool_()),
        pa.field("split", pa.string(), nullable=False),
        pa.field("draws", pa.list_(pa.int64()), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("evidence", pa.bool_(), nullable=False),
        pa.field("box", pa.list_(pa.float64())),
        pa.field("threshold", pa.float64()),
        pa.field("connected", pa.bool_()),
        *(
            pa.field(one.name, pa.bool_() if one.name in _FLAGS else pa.float64())
            for one in CRITERIA
        ),
        pa.field("equal_area", pa.float64()),
        pa.field("seconds", pa.float64(), nullable=False),
    ]
)
"""The columns of the records: one row for each photo and method.

- `file` as it was named in the collection; `label` its class; `predicted` what the network takes it
  for.
- `probability` of the label, `confidence` of the prediction: softmax, 0 to 1.
- `boxes` of the class that the network sees, `box_share` how much of the view they cover together,
  `small` whether
  that is less than 0.3; both null without a box.
- `split` is "tuning" or "evaluation"; `draws` the samples that the photo is in.
- `evidence` whether anything was found; `box` around it: left, top, right, bottom in pixels of the
  network's input,
  null where there is none; `threshold` the share of the map's maximum that the pixels in it reach,
  `connected` whether it is only around those that hang together with the maximum; both null where
  boxes are around points.
- the criteria (see `CRITERIA`), null where one does not count; `equal_area` the share of the window
  that the
  measures at equal area keep.
- `seconds` that one explanation took, on an average of the batch: the one column that a second run
  does not repeat.

`pointing`, `iou` and `box` are of the explanation of `label`, what is about confidence of that of
`predicted`.
"""

assert set(_FLAGS) < {one.name for one in CRITERIA}


def asked_groups(names: Iterable[str] | None) -> tuple[Group, ...]:
    """The groups of measures that are asked for, in their own order; the usual ones of None.

    Raises:
        OptionError: There is no such group, or none is left.

    Example:
        >>> asked_groups(["sensitivity", "localisation"])
        ('localisation', 'sensitivity')
    """
    if names is None:
        return USUAL
    asked = list(names)
    for name in asked:
        if name not in GROUPS:
            raise OptionError(
                f"measures '{name}'",
                f"some of {', '.join(GROUPS)}",
                f"try {near_matches(str(name), GROUPS, most=1)}",
            )
    if not asked:
        raise OptionError(
            "no measures", f"some of {', '.join(GROUPS)}", "leave them out to get the usual ones"
        )
    return tuple(group for group in GROUPS if group in asked)


def measured(groups: Sequence[str]) -> tuple[Criterion, ...]:
    """The criteria of some groups.

    Example:
        >>> [criterion.name for criterion in measured(["soft"])]
        ['soft_increase', 'soft_drop']
    """
    return tuple(criterion for criterion in CRITERIA if criterion.group in groups)
