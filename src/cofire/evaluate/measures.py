"""What is measured of explanations: a row for each, from which run, records, verdict, tables and metrics follow.

A row of `MEASURES` says what is measured of each image, what it takes for that, and what it means;
`measures.toml` has those of the package, `register_measure` adds one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import pyarrow as pa

from cofire.arguments import validated
from cofire.errors import OptionError, near_matches
from cofire.evaluate import metrics
from cofire.evaluate.metrics import Measure
from cofire.evaluate.per_image import PerImage
from cofire.reading import read_toml

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
    meaning: str
    measure: Measure
    takes: tuple[str, ...]
    unit: Unit = ""
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
            name, title, group or name, better, meaning, kind(), tuple(takes), unit, asks
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


def _measured_here() -> Iterator[Criterion]:
    for name, row in read_toml(Path(__file__).with_suffix(".toml")).items():
        kind, takes = row["measure"].pop("kind"), tuple(row["takes"])
        measure: Measure = getattr(metrics, kind)(**row["measure"])
        yield Criterion(**{"name": name, **row, "takes": takes, "measure": measure})


MEASURES.update({one.name: one for one in _measured_here()})
