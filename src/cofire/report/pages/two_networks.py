"""The page on two networks: who is right, what each looked at, and the images that only one is right about."""

from __future__ import annotations

import math
from pathlib import Path

import plotly.graph_objects as go

from cofire.errors import OptionError
from cofire.evaluate.localisation import chance_overlap
from cofire.evaluate.measures import MARGIN
from cofire.evaluate.results import KINDS, NetworkCase, TwoNetworks
from cofire.explain import title_of
from cofire.explain.drawing.captions import class_told
from cofire.report.notation import number, percent, plural
from cofire.report.pages.page import Setup, framed, image_address, panel, write_page
from cofire.report.plots import Point, intervals
from cofire.report.section import Section
from cofire.report.table import Column, Table
from cofire.statistics import Finding, Interval, Level, samples_to_decide, wilson

OPEN_CASES = 4
"""So many images are shown at first sight."""
_LOOKS = {"both": 2, "first": 0, "second": 1, "neither": 6}


class Compared(Section):
    """Who is right, and how far both look at the same parts."""

    id, title = "right", "Who is right, and where do they look?"
    label, template, wide = "Comparison", "pages/compared.html.j2", True

    def __init__(self, found: TwoNetworks) -> None:
        self.found = found
        first, second = found.networks
        names = ("both right", f"only {first} right", f"only {second} right", "neither right")
        self.names = dict(zip(KINDS, names, strict=True))
        self.kinds = [kind for kind in KINDS if found.of_kind(kind)]
        self.boxes = any(row.covered is not None for row in found.rows)
        self.chance = chance_overlap(found.options["area"])

    def figures(self) -> dict[str, go.Figure]:
        found = self.found
        points = [
            Point(self.names[kind], mean, look, f"for the {of} class")
            for kind in self.kinds
            for of, measure, look in (("predicted", "overlap", 0), ("true", "overlap_of_truth", 1))
            if (mean := found.mean(kind, measure)) is not None
        ]
        title = "overlap of the areas (1: the same)"
        drawn = {"overlap": intervals(points, title, line=self.chance, limits=(0.0, 1.0))}
        if self.boxes:
            held = [
                Point(self.names[kind], mean, look, name)
                for kind in self.kinds
                for name, look, at, measure in self._sides(kind)
                if (mean := found.mean(kind, measure, at)) is not None
            ]
            title = "evidence in the boxes (%)"
            drawn["inside"] = intervals(held, title, factor=100, line=None, limits=(0.0, 1.0))
        return drawn

    def _sides(self, kind: str) -> list[tuple[str, int, int | None, str]]:
        """Whose evidence is drawn: name, look, network and measure."""
        sides: list[tuple[str, int, int | None, str]] = []
        for at, name in enumerate(self.found.networks):
            sides.append((f"{name}, predicted class", at, at, "inside"))
            # Of a network that is right both classes are the same.
            if kind not in ("both", KINDS[1 + at]):
                sides.append((f"{name}, true class", 3 + at, at, "inside_of_truth"))
        return [*sides, ("spread evenly", 6, None, "covered")]

    def tables(self) -> dict[str, Table]:
        total = len(self.found.rows)
        counts = {kind: len(self.found.of_kind(kind)) for kind in KINDS}
        rows = [
            [
                self.names[kind],
                count,
                wilson(count / total, total),
                self.found.mean(kind, "overlap") if count else None,
                self.found.mean(kind, "overlap_of_truth") if count else None,
            ]
            for kind, count in counts.items()
        ]
        over = [Column(f"overlap for the {of} class") for of in ("predicted", "true")]
        columns = [Column("who"), Column("images"), Column("share", "%", 1), *over]
        return {"right": Table("Who is right, and how far areas overlap.", columns, rows)}


class OneRight(Section):
    """Images that only one of the two is right about."""

    id, title = "images", "Where is only one of them right?"
    label, template, wide = "Images", "pages/one_right.html.j2", True

    def __init__(self, found: TwoNetworks) -> None:
        self.found, self.open = found, OPEN_CASES

    def named(self, label: int) -> str:
        """A class by its name, or its number."""
        return self.found.classes.get(label, class_told(label, None))

    def addresses(self, case: NetworkCase) -> list[str]:
        """Addresses of what each network sees: usually both see the same, and it stands in the page once."""
        seen = [image_address(own.images[0].numpy()) for own, _ in case.explanations]
        return list(dict.fromkeys(seen))

    def boxes(self, case: NetworkCase) -> list[tuple[float, ...]]:
        """The object's boxes, as drawn."""
        corners = [] if case.boxes is None else case.boxes.tolist()
        return [framed(box, case.explanations[0][0].size) for box in corners]


def write_two_networks(
    path: str | Path, found: TwoNetworks, setups: tuple[Setup, Setup], title: str | None = None
) -> Path:
    """Write the page, one file that needs nothing else.

    Args:
        path: Where to; the file appears whole or not at all.
        found: What `compare_networks` gave; one that was loaded from a file has no images to look
            at.
        setups: How each network was opened, and images prepared for it.
        title: Heading of the page.

    Returns:
        The path.

    Raises:
        OptionError: Not one setup for each network.
    """
    if len(setups) != 2:
        raise OptionError(f"{len(setups)} setups", "two, one for each network", "pass both")
    first, second = found.networks
    compared = Compared(found)
    return write_page(
        path,
        [compared, *([OneRight(found)] if found.cases else [])],
        findings(found),
        name="two_networks",
        title=title or f"{first} or {second}: what did they look at?",
        size=found.cases[0].explanations[0][0].size if found.cases else (224, 224),
        options={"method": title_of(found.method), "area": found.options["area"]},
        setups=list(zip(found.networks, setups, strict=True)),
        found=found,
        boxes=compared.boxes,
        chance=compared.chance,
        panel=panel,
    )


def findings(found: TwoNetworks) -> list[Finding]:
    """The verdict: nothing that the intervals leave open is claimed."""
    first, second = found.networks
    total = len(found.rows)
    shares = [percent(found.correct(at)) for at in (0, 1)]
    lines = [
        Finding(
            "fine",
            f"{first} is right about {shares[0]} of {plural(total, 'image')}, {second} about {shares[1]}",
            about="right",
        )
    ]
    both, apart = found.mean("both", "overlap"), found.mean(("first", "second"), "overlap")
    if both is not None and apart is not None:
        said = _unpaired(apart, both).says(MARGIN)
        what = {
            "worse": "Where only one is right, they look at other parts",
            "better": "Where only one is right, they look at more of the same",
            "equal": "Where only one is right, they look at the same parts as elsewhere",
            "undecided": "Whether they look at other parts where only one is right is undecided",
        }[said]
        numbers = f"Overlap {number(apart.value)}, where both are right {number(both.value)}"
        numbers += f"; areas anywhere: {number(chance_overlap(found.options['area']))}"
        level: Level = "note" if said == "undecided" else "fine"
        lines.append(Finding(level, what, sure=numbers, about="right"))
    for at, name in enumerate(found.networks):
        right, wrong = KINDS[1 + at], KINDS[2 - at]
        held, missed = found.mean(right, "inside", at), found.mean(wrong, "inside", at)
        true = found.mean(wrong, "inside_of_truth", at)
        if held is None or missed is None:
            continue
        said = _unpaired(missed, held).says(MARGIN)
        looked = {
            "worse": f"{name} looks away from the object where it alone is wrong",
            "undecided": f"Whether {name} looks away from the object where it alone is wrong is undecided",
        }.get(said, f"{name} sees the object where it alone is wrong, and mistakes it")
        numbers = f"{percent(missed.value)} of its evidence lies on the object"
        numbers += f" (for the true class {percent(true.value)})" if true is not None else ""
        numbers += f", {percent(held.value)} where it alone is right"
        level = "problem" if said == "worse" else "note"
        lines.append(Finding(level, looked, sure=numbers, about="images"))
    difference = found.mean("both", "inside")
    if difference is not None:
        lines.append(_more_on_object(difference, first, second))
    return lines


def _more_on_object(difference: Interval, first: str, second: str) -> Finding:
    said = difference.says(MARGIN)
    better, other = (first, second) if difference.value > 0 else (second, first)
    points = f"by {number(100 * abs(difference.value), 1)} points"
    if said in ("better", "worse"):
        what = f"Where both are right, {better} has more of its evidence on the object than {other}"
        return Finding("fine", what, sure=points.capitalize(), about="right")
    if said == "equal":
        what = "Where both are right, they have as much of their evidence on the object"
        return Finding("fine", what, sure=f"Within ±{100 * MARGIN:g} points", about="right")
    needed = samples_to_decide(difference, MARGIN)
    return Finding(
        "note",
        "Which one has more of its evidence on the object where both are right is undecided",
        sure=f"{better} is ahead {points}",
        advice=f"show both about {needed:,} such images" if needed else "",
        about="right",
    )


def _unpaired(one: Interval, other: Interval) -> Interval:
    """The difference of two means over other images, each end as far as the two intervals' ends are together."""
    value = one.value - other.value
    return Interval(
        value,
        value - math.hypot(one.value - one.low, other.high - other.value),
        value + math.hypot(one.high - one.value, other.value - other.low),
    )
