"""The sentences of the page on two networks."""

from __future__ import annotations

import math

from cofire.evaluate.localisation import chance_overlap
from cofire.evaluate.measures import MARGIN
from cofire.evaluate.results import TwoNetworks
from cofire.explain import title_of
from cofire.explain.drawing.captions import number, percent, plural
from cofire.statistics import Interval, samples_to_decide


def kind_told(found: TwoNetworks, kind: str) -> str:
    """Who is right, in words."""
    first, second = found.networks
    return {
        "both": "both right",
        "first": f"only {first}",
        "second": f"only {second}",
        "neither": "neither",
    }[kind]


def lead(found: TwoNetworks) -> str:
    """How often each of the two is right."""
    first, second = found.networks
    return (
        f"{plural(len(found.rows), 'photo')}, seen by {first} and by {second}. {first} is right in "
        f"{percent(found.correct(0))} of them, {second} in {percent(found.correct(1))}. What each of them looked at is "
        f"told by {title_of(found.method)}."
    )


def verdicts(found: TwoNetworks) -> list[str]:
    """What the numbers say; nothing that their intervals leave open is claimed."""
    first, second = found.networks
    area = found.options["area"]
    told = []
    both, apart = found.mean("both", "overlap"), _one_right(found)
    if both is not None and apart is not None:
        outcome = _unpaired(apart, both).says(MARGIN)
        told.append(
            f"Where both are right, the areas they look at overlap by {number(both.value)}; where only one is, by "
            f"{number(apart.value)}: "
            + {
                "worse": "they look at other parts.",
                "better": "they look at more of the same.",
                "equal": f"equal within ±{MARGIN:g}.",
                "undecided": "whether these differ is undecided.",
            }[outcome]
            + f" Areas that know nothing of each other would overlap by {number(chance_overlap(area))}."
        )
    for at, name in enumerate((first, second)):
        right, wrong = ("first", "second")[at], ("second", "first")[at]
        held, missed = found.mean(right, "inside", at), found.mean(wrong, "inside", at)
        if held is None or missed is None:
            continue
        true = found.mean(wrong, "inside_of_truth", at)
        told.append(
            f"{name} has {percent(missed.value)} of its evidence on the object where it alone is wrong "
            f"(for the true class {percent(0 if true is None else true.value)}), and {percent(held.value)} where it "
            "alone is right."
        )
    difference = found.mean("both", "inside")
    if difference is not None:
        outcome = difference.says(MARGIN)
        if outcome in ("better", "worse"):
            better, other = (first, second) if difference.value > 0 else (second, first)
            told.append(
                f"Where both are right, {better} has more of its evidence on the object than {other}, by "
                f"{number(100 * abs(difference.value))} percentage points."
            )
        elif outcome == "equal":
            told.append(
                f"Where both are right, they have as much of their evidence on the object, within ±{100 * MARGIN:g} "
                "percentage points."
            )
        else:
            needed = samples_to_decide(difference, MARGIN)
            told.append(
                "Where both are right, which one has more of its evidence on the object is undecided"
                + (f"; about {needed:,} such photos would decide." if needed else ".")
            )
    return told


def _unpaired(one: Interval, other: Interval) -> Interval:
    """The difference of two means over other photos, each end as far as the two intervals' ends are together."""
    value = one.value - other.value
    return Interval(
        value,
        value - math.hypot(one.value - one.low, other.high - other.value),
        value + math.hypot(one.high - one.value, other.value - other.low),
    )


def _one_right(found: TwoNetworks) -> Interval | None:
    """The overlap over photos that exactly one is right about."""
    return (
        found.mean(("first", "second"), "overlap")
        if found.of_kind("first") or found.of_kind("second")
        else None
    )


def reading(found: TwoNetworks, *, boxes: bool) -> list[tuple[str, str]]:
    """How to read the page."""
    area = found.options["area"]
    told = [
        (
            "Heat map, box",
            "Where evidence for the class lies, and the box around it. Colours reach from 0, where the photo shows, to "
            "the largest value of that panel: compare panels by the numbers at their colour bars.",
        ),
        (
            "Overlap of areas",
            f"Of each map the {percent(area, 0)} of the pixels with most evidence; what the two have in common, as a "
            f"share of what they cover together. Areas anywhere would reach {number(chance_overlap(area))}. It "
            "compares what each network uses for the class that it predicts itself.",
        ),
    ]
    if boxes:
        told.append(
            (
                "Evidence on the object",
                "Which share of a heat map lies in the ground-truth boxes, drawn dashed on the photo. Evidence spread "
                "evenly would have as much there as the boxes cover of the image.",
            )
        )
    told.append(
        (
            "For the true class",
            "What a network that was wrong found for the right answer. Evidence at the right place for both classes "
            "means that it saw the object and mistook it; evidence elsewhere, that it looked at something else.",
        )
    )
    told.append(("Intervals", "95 %, by drawing photos anew. They cover photos like these."))
    ones = len(found.of_kind("first")) + len(found.of_kind("second"))
    if found.cases:
        shown = len(found.cases)
        told.append(
            (
                "The photos below",
                f"{'All' if shown == ones else f'Of {ones} the {shown}'} that only one of the two is right about"
                f"{'' if shown == ones else ' with the least overlap'}; the least overlap first.",
            )
        )
    return told
