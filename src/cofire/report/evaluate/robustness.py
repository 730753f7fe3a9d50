"""The page on attacked photos: how far explanations moved, and photos before and after."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cofire.atomic import write_text
from cofire.evaluate.results import COMPARISONS, AttackCase, AttackedPhoto, MethodShift, Robustness
from cofire.evaluate.results import MEASURES as SHIFTS
from cofire.explain import Explanation, title_of
from cofire.explain.drawing.captions import class_told, percent
from cofire.report.evaluate.intervals import Chart, Group, Line, chart
from cofire.report.evaluate.layout import laid_out
from cofire.report.evaluate.panels import panel
from cofire.report.evaluate.robustness_wording import (
    LABELS,
    attack_told,
    lead,
    length_told,
    reading,
    rounded_told,
    verdict,
)
from cofire.report.explain.addresses import photo_address
from cofire.report.explain.page import Setup
from cofire.report.notation import MINUS, number
from cofire.statistics import Interval

_INSIDE = (
    ("photo", "attack", "inside_before", "untouched, first class"),
    ("attack", "attack", "inside_after", "attack, same class"),
    ("decision", "decision", "inside_after", "attack, new class"),
    ("classes", "classes", "inside_after", "no attack, new class"),
)
_OPEN = 3
"""Methods whose panels are open where there are more."""

_HEADS = {"centroid": "Shift", "box_iou": "Box IoU", "rank_correlation": "Rank correlation"}


def write_robustness(
    path: str | Path, found: Robustness, setup: Setup, title: str | None = None
) -> Path:
    """Write the page, one file that needs nothing else.

    Args:
        path: Where to; the file appears whole or not at all.
        found: What `run_robustness` gave; one that was loaded from a file has no photos to look at.
        setup: How it was made: network, weights, preparation, command.
        title: Heading of the page.

    Returns:
        The path.
    """
    boxes = any(row.inside_before is not None for row in found.shifts)
    page = laid_out(
        "robustness.html.j2",
        found.cases[0].explanations[found.methods[0]][0].size if found.cases else (224, 224),
        title=title or "Do the explanations stand up to an attack?",
        lead=lead(found),
        rounded=rounded_told(found),
        setup=setup,
        attack=attack_told(found),
        verdicts=[verdict(found, method) for method in found.methods] if found.shifts else [],
        charts=_charts(found, boxes=boxes) if found.shifts else [],
        kinds=[(comparison, LABELS[comparison]) for comparison in COMPARISONS],
        heads=list(_HEADS.values()),
        table=_table(found) if found.shifts else [],
        open=_OPEN if len(found.methods) > _OPEN + 1 else len(found.methods),
        photos=[_shown(found, case) for case in found.cases],
        reading=reading(found, boxes=boxes),
    )
    write_text(path, page)
    return Path(path)


def _charts(found: Robustness, *, boxes: bool) -> list[Chart]:
    def groups(measure: str) -> list[Group]:
        return [
            Group(
                title_of(method),
                tuple(
                    Line(LABELS[which], which, found.mean(method, which, measure))
                    for which in COMPARISONS
                ),
            )
            for method in found.methods
        ]

    shift, boxed, alike = (groups(measure) for measure in SHIFTS)
    drawn = [
        chart(
            "Shift of the evidence",
            "share of the diagonal; 0 has not moved",
            shift,
            _percent,
            tick=_round,
        ),
        chart(
            "Overlap of the boxes",
            "intersection over union; 1 has not moved",
            boxed,
            number,
            tick=_plain,
            most=1.0,
        ),
        chart(
            "Likeness of the heat maps",
            "rank correlation; 1 has not changed",
            alike,
            number,
            tick=_plain,
            most=1.0,
        ),
    ]
    if boxes:
        held = [
            Group(
                title_of(method),
                tuple(
                    Line(label, kind, found.mean(method, which, measure))
                    for kind, which, measure, label in _INSIDE
                ),
            )
            for method in found.methods
        ]
        drawn.append(
            chart(
                "Evidence on the object",
                "share in the ground-truth boxes",
                held,
                _percent,
                tick=_round,
                most=1.0,
            )
        )
    return drawn


def _percent(share: float) -> str:
    return percent(share) if share >= 0 else MINUS + percent(-share)


def _round(share: float) -> str:
    return f"{100 * share:.3g}\u00a0%".replace("-", MINUS)


def _plain(value: float) -> str:
    return f"{value:.3g}".replace("-", MINUS)


def _table(found: Robustness) -> list[dict[str, Any]]:
    """Every mean with its interval."""

    def cell(mean: Interval | None, measure: str) -> str:
        if mean is None:
            return "–"
        told = _percent if measure == "centroid" else number
        out = f", {mean.left_out} left out" if mean.left_out else ""
        return f"{told(mean.value)} ({told(mean.low)} to {told(mean.high)}{out})"

    return [
        {
            "method": title_of(method),
            "label": LABELS[which],
            "cells": [cell(found.mean(method, which, measure), measure) for measure in SHIFTS],
        }
        for method in found.methods
        for which in COMPARISONS
    ]


def _shown(found: Robustness, case: AttackCase) -> dict[str, Any]:
    """What the page has of one photo."""
    photo = found.photos[case.photo]
    names = _names(found)
    before, after = class_told(photo.before, names), class_told(photo.after, names)
    label = None if photo.label is None else class_told(photo.label, names)
    rows = {(row.method, row.comparison): row for row in found.shifts if row.photo == case.photo}
    plain, noise, attacked = (photo_address(picture) for picture in case.pictures)
    # Only photos with noise were explained.
    noisy = photo.before if photo.noisy is None else photo.noisy
    turned = "" if noisy == photo.before else f", taken for {class_told(noisy, names)}"
    return {
        "before": before,
        "after": after,
        "file": photo.file,
        "truth": None
        if label is None
        else "correct"
        if photo.label == photo.before
        else f"in truth {label}",
        "pictures": [
            (plain, "The photo", f"{before} {percent(photo.confidence)}"),
            (noise, "With random noise", f"{before} {percent(photo.kept_noisy or 0.0)}{turned}"),
            (
                attacked,
                "Attacked",
                f"{after} {percent(photo.confidence_after)}, {before} {percent(photo.kept)}",
            ),
            (
                photo_address(case.difference),
                f"The attack, {case.times:,} times as strong",
                _length(photo),
            ),
        ],
        "methods": [
            {
                "name": title_of(method),
                "panels": _panels(explanations, method, rows, before, after),
            }
            for method, explanations in case.explanations.items()
        ],
    }


def _length(photo: AttackedPhoto) -> str:
    return f"{length_told(photo.levels, photo.norm)}, {photo.steps} step{'s' * (photo.steps != 1)}"


def _panels(
    explanations: tuple[Explanation, ...],
    method: str,
    rows: dict[tuple[str, str], MethodShift],
    before: str,
    after: str,
) -> list[dict[str, Any]]:
    heads = [("photo", before), ("noise", before), ("attack", before), ("decision", after)]
    places = ["on the photo", "with noise", "attacked", "attacked"]
    drawn = []
    for at, ((which, name), explanation, place) in enumerate(
        zip(heads, explanations, places, strict=True)
    ):
        row = rows.get((method, which))
        drawn.append(
            {
                **panel(explanation),
                "under": min(at, 2),
                "kind": which,
                "name": name,
                "place": place,
                "label": f"{title_of(method)} for {name}, {place}",
                "moved": [] if row is None else _moved(row),
            }
        )
    return drawn


def _moved(row: MethodShift) -> list[str]:
    """What stands under a panel: how far it is from the first one."""
    if row.centroid is None and row.box_iou is None and row.rank_correlation is None:
        return ["nothing to compare"]
    shift = [] if row.centroid is None else [f"moved {_percent(row.centroid)}"]
    rest = [("box IoU", row.box_iou), ("correlation", row.rank_correlation)]
    return [
        *shift,
        ", ".join(f"{name} {number(value)}" for name, value in rest if value is not None),
    ]


def _names(found: Robustness) -> list[str] | None:
    if not found.classes:
        return None
    return [found.classes.get(at, f"class {at}") for at in range(max(found.classes) + 1)]
