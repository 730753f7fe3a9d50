"""The page on attacked images: how far explanations moved, and images before and after."""

from __future__ import annotations

import statistics
from pathlib import Path

import plotly.graph_objects as go

from cofire.evaluate.measures import MARGIN
from cofire.evaluate.results import COMPARISONS, AttackCase, AttackedImage, Robustness
from cofire.evaluate.results import MEASURES as SHIFTS
from cofire.explain import title_of
from cofire.explain.drawing.captions import class_told
from cofire.report.notation import joined, percent, plural, signed
from cofire.report.pages.page import Setup, framed, image_address, panel, write_page
from cofire.report.plots import Point, intervals
from cofire.report.section import Section
from cofire.report.table import Cell, Column, Table
from cofire.statistics import Finding, Interval, Level, Outcome, verdicts

LABELS = {
    "noise": "noise, same class",
    "attack": "attack, same class",
    "decision": "attack, new class",
    "classes": "no attack, new class",
}
"""What is compared with the explanation of the image as it was."""
LOOKS = {"noise": 6, "attack": 0, "decision": 1, "classes": 3}
COLUMNS = {
    "centroid": Column("shift of the evidence", "%", 1),
    "box_iou": Column("box IoU"),
    "rank_correlation": Column("rank correlation"),
}
"""How the measures of a shift are written, in the order of `cofire.evaluate.results.MEASURES`."""
_ON_OBJECT = (
    Column("on the object", "%", 1),
    Column("less the untouched image’s", "points", 1, signed=True),
)
"""The same of the share of a map in the object's boxes."""
_INSIDE = (
    ("untouched, first class", 7, "attack", "inside_before"),
    (LABELS["attack"], 0, "attack", "inside_after"),
    (LABELS["decision"], 1, "decision", "inside_after"),
    (LABELS["classes"], 3, "classes", "inside_after"),
)
OPEN_CASES, OPEN_METHODS = 2, 2
"""So many images are shown at first sight, by so many methods each."""


class Movement(Section):
    """How far explanations moved, by method and what was changed."""

    id, title = "moved", "How far do explanations move?"
    label, template, wide = "Movement", "pages/movement.html.j2", True

    def __init__(self, found: Robustness) -> None:
        self.found = found
        self.boxes = any(row.inside_before is not None for row in found.shifts)

    def figures(self) -> dict[str, go.Figure]:
        found, drawn = self.found, {}
        for measure, column in COLUMNS.items():
            points = [
                Point(title_of(method), mean, LOOKS[which], LABELS[which])
                for method in found.methods
                for which in COMPARISONS
                if (mean := found.mean(method, which, measure)) is not None
            ]
            shares = measure == "centroid"
            title = "moved (% of the diagonal)" if shares else column.title
            factor, limits = (100, None) if shares else (1, (0.0, 1.0))
            drawn[f"moved-{measure}"] = intervals(points, title, factor=factor, limits=limits)
        if self.boxes:
            points = [
                Point(title_of(method), mean, look, label)
                for method in found.methods
                for label, look, which, measure in _INSIDE
                if (mean := found.mean(method, which, measure)) is not None
            ]
            title = "evidence in the boxes (%)"
            drawn["moved-inside"] = intervals(
                points, title, factor=100, line=None, limits=(0.0, 1.0)
            )
        return drawn

    def tables(self) -> dict[str, Table]:
        rows = []
        for method in self.found.methods:
            for which in COMPARISONS:
                means = [self.found.mean(method, which, measure) for measure in SHIFTS]
                if self.boxes:
                    means.append(self.found.mean(method, which, "inside_after"))
                    means.append(self.found.change(method, which))
                rows.append([title_of(method), LABELS[which], *map(_counted, means)])
        columns = [Column("compared"), *COLUMNS.values(), *(_ON_OBJECT if self.boxes else ())]
        return {"moved": Table("All means, with 95 % intervals.", columns, rows, by=True)}


class Attacked(Section):
    """Images before and after the attack, with their explanations."""

    id, title = "images", "What does it look like?"
    label, template, wide = "Images", "pages/attacked.html.j2", True

    def __init__(self, found: Robustness) -> None:
        self.found, self.open, self.open_methods = found, OPEN_CASES, OPEN_METHODS
        self.shifts = {(row.image, row.method, row.comparison): row for row in found.shifts}

    def named(self, label: int | None) -> str:
        """A class by its name, or its number."""
        return "" if label is None else self.found.classes.get(label, class_told(label, None))

    def boxes(self, case: AttackCase) -> list[tuple[float, ...]]:
        """The object's boxes, as drawn."""
        corners = [] if case.boxes is None else case.boxes.tolist()
        return [framed(box, case.images[0].shape[:2]) for box in corners]

    def inside(self, image: int, method: str, which: str) -> float | None:
        """The share of a map in the object's boxes: of the image as it was, or of what is compared."""
        row = self.shifts[image, method, "attack" if which == "image" else which]
        return row.inside_before if which == "image" else row.inside_after


def write_robustness(
    path: str | Path, found: Robustness, setup: Setup, title: str | None = None
) -> Path:
    """Write the page, one file that needs nothing else.

    Args:
        path: Where to; the file appears whole or not at all.
        found: What `run_robustness` gave; one that was loaded from a file has no images to look at.
        setup: How it was made: network, weights, preparation, command.
        title: Heading of the page.

    Returns:
        The path.
    """
    parts: list[Section] = [Movement(found)] if found.shifts else []
    return write_page(
        path,
        [*parts, *([Attacked(found)] if found.cases else [])],
        findings(found),
        name="robustness",
        title=title or "Do the explanations stand up to an attack?",
        size=found.cases[0].explanations[found.methods[0]][0].size if found.cases else (224, 224),
        options=found.options,
        setups=[("", setup)],
        found=found,
        panel=panel,
        image_address=image_address,
        margin=MARGIN,
        noise_fits=sum(image.fooled and image.noisy is not None for image in found.images),
    )


def findings(found: Robustness) -> list[Finding]:
    """The verdict: nothing that the intervals leave open is claimed."""
    fooled = [image for image in found.images if image.fooled]
    count = plural(len(found.images), "image")
    if not fooled:
        return [Finding("fine", f"DeepFool changed the decision on none of {count}")]
    noised = [image for image in fooled if image.noisy is not None]
    turned = sum(image.noisy != image.before for image in noised)
    told = f"; noise of the same length on {turned} of {len(noised)} changes it as well"
    need = f"Half of them need a change of {_length(fooled)} or less{told if noised else ''}"
    what = f"An attack changes the decision on {len(fooled)} of {count}"
    level: Level = "note" if len(fooled) == len(found.images) else "fine"
    lines = [Finding(level, what, sure=need, about="images")]
    shifts = [(method, found.difference(method, "centroid")) for method in found.methods]
    told_of = [(method, shift) for method, shift in shifts if shift is not None]
    held: dict[Outcome, list[str]] = {}
    said = verdicts([shift for _, shift in told_of], MARGIN)
    for (method, _), outcome in zip(told_of, said, strict=True):
        held.setdefault(outcome, []).append(_told(found, method))
    careful = "do not trust a single explanation of an image that somebody may have changed"
    more, within = "attack more images: cofire evaluate --robustness N", f"{100 * MARGIN:g} %"
    further = "Evidence moves {} under the attack than under noise"
    words: dict[Outcome, tuple[Level, str, str]] = {
        "better": ("problem", further.format("further"), careful),
        "equal": ("fine", f"Equal to noise, within ±{within} of the diagonal", ""),
        "worse": ("fine", further.format("less"), ""),
        "undecided": ("note", "Whether evidence moves further under the attack is undecided", more),
    }
    for outcome, (level, what, advice) in words.items():
        if outcome in held:
            lines.append(Finding(level, what, "", joined(held[outcome]), advice, "moved"))
    follows = [m for m in found.methods if _follows(found, m)]
    rest = [title_of(method) for method in found.methods if method not in follows]
    if held and follows:
        what = "Evidence follows the decision to its new class"
        lines.append(Finding("fine", f"{what}: {joined([title_of(method) for method in follows])}"))
    if held and rest:
        what = f"Evidence is not shown to follow the decision: {joined(rest)}"
        why = (
            "What hardly depends on the class is stable whatever happens, and is no better for that"
        )
        lines.append(Finding("note", what, sure=why))
    lines += _covering(found)
    if known := [image for image in fooled if image.rounded is not None]:
        left = sum(bool(image.rounded) for image in known)
        what = f"{left or 'None'} of {plural(len(known), 'attack')} still work once images are saved as files"
        why = "Files hold whole grey levels; images are explained unrounded"
        lines.append(Finding("note" if left else "fine", what, sure=why))
    return lines


def _covering(found: Robustness) -> list[Finding]:
    """Whether the maps of attacked images still cover the object that is still there (P3 §4.3)."""
    lines: list[str] = []
    changes: list[Interval] = []
    for method in found.methods:
        change = found.change(method, "decision")
        before, old, new = (
            found.mean(method, which, measure)
            for which, measure in (
                ("attack", "inside_before"),
                ("attack", "inside_after"),
                ("decision", "inside_after"),
            )
        )
        if change and before and old and new:
            told = f"{title_of(method)} {percent(new.value)} on it, for the old class {percent(old.value)}"
            ends = f"{_points(change.low)} to {_points(change.high)}"
            told += (
                f", untouched {percent(before.value)} (by {_points(change.value)} points [{ends}])"
            )
            lines.append(told)
            changes.append(change)
    held: dict[Outcome, list[str]] = {}
    for told, outcome in zip(lines, verdicts(changes, MARGIN), strict=True):
        held.setdefault(outcome, []).append(told)
    words: dict[Outcome, str] = {
        "worse": "The map of the new class covers less of the old object",
        "equal": "The map of the new class covers the old object as before",
        "better": "The map of the new class covers more of the old object",
        "undecided": "Whether the map of the new class covers less of the old object is undecided",
    }
    even = found.covered
    rest = "" if even is None else f". Spread evenly it would have {percent(even.value)} there"
    return [
        Finding(
            "note" if outcome == "undecided" else "fine",
            what,
            sure=f"{'; '.join(held[outcome])}{rest}",
            about="moved",
        )
        for outcome, what in words.items()
        if outcome in held
    ]


def _points(share: float) -> str:
    return signed(100 * share, 1)


def _length(fooled: list[AttackedImage]) -> str:
    levels = [image.levels for image in fooled if image.levels is not None]
    if len(levels) == len(fooled):
        return f"{statistics.median(levels):.3g} grey levels of 255"
    return f"length {statistics.median(image.norm for image in fooled):.3g}"


def _told(found: Robustness, method: str) -> str:
    """A method with its shift under attack and noise."""
    means = [found.mean(method, which, "centroid") for which in ("attack", "noise")]
    attack, noise = (percent(None if mean is None else mean.value) for mean in means)
    return f"{title_of(method)} ({attack} of the diagonal, under noise {noise})"


def _follows(found: Robustness, method: str) -> bool:
    """Whether evidence for the new class on the attacked image lies clearly away from that of the first class."""
    moved = found.difference(method, "centroid", "decision", "attack")
    return moved is not None and moved.says(MARGIN) == "better"


def _counted(mean: Interval | None) -> Cell | None:
    if mean is None:
        return None
    return Cell(mean, tag=f"{mean.left_out} left out" if mean.left_out else "")
