"""The page on two networks: who is right, what each looked at, and the photos that only one is right about."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from cofire.atomic import write_text
from cofire.errors import OptionError
from cofire.evaluate.results import KINDS, NetworkCase, TwoNetworks
from cofire.explain import Explanation, title_of
from cofire.explain.drawing.captions import class_told, percent
from cofire.report.evaluate.intervals import Chart, Group, Line, chart
from cofire.report.evaluate.layout import laid_out
from cofire.report.evaluate.panels import framed, panel
from cofire.report.evaluate.two_networks_wording import kind_told, lead, reading, verdicts
from cofire.report.explain.addresses import photo_address
from cofire.report.explain.page import Setup
from cofire.report.notation import number

_COLOURS = {"both": "both", "first": "attack", "second": "decision", "neither": "noise"}
"""Colours of who is right."""


def write_two_networks(
    path: str | Path, found: TwoNetworks, setups: tuple[Setup, Setup], title: str | None = None
) -> Path:
    """Write the page, one file that needs nothing else.

    Args:
        path: Where to; the file appears whole or not at all.
        found: What `compare_networks` gave; one that was loaded from a file has no photos to look
            at.
        setups: How each network was opened, and photos prepared for it.
        title: Heading of the page.

    Returns:
        The path.

    Raises:
        OptionError: Not one setup for each network.
    """
    if len(setups) != 2:
        raise OptionError(f"{len(setups)} setups", "two, one for each network", "pass both")
    boxes = any(row.covered is not None for row in found.rows)
    first, second = found.networks
    page = laid_out(
        "two_networks.html.j2",
        found.cases[0].explanations[0][0].size if found.cases else (224, 224),
        title=title or f"{first} or {second}: what did they look at?",
        lead=lead(found),
        setups=list(zip(found.networks, setups, strict=True)),
        method=title_of(found.method),
        right=_right(found),
        verdicts=verdicts(found),
        charts=_charts(found, boxes=boxes),
        photos=[_shown(found, case) for case in found.cases],
        reading=reading(found, boxes=boxes),
    )
    write_text(path, page)
    return Path(path)


def _right(found: TwoNetworks) -> list[dict[str, Any]]:
    """The parts of the bar that says who is right."""
    counts = {kind: len(found.of_kind(kind)) for kind in KINDS}
    return [
        {
            "kind": _COLOURS[kind],
            "name": kind_told(found, kind),
            "count": count,
            "share": percent(count / len(found.rows)),
            "width": f"{100 * count / len(found.rows):.3f}",
        }
        for kind, count in counts.items()
    ]


def _charts(found: TwoNetworks, *, boxes: bool) -> list[Chart]:
    kinds = [kind for kind in KINDS if found.of_kind(kind)]
    overlap = [
        Group(
            f"for the {of} class",
            tuple(
                Line(kind_told(found, kind), _COLOURS[kind], found.mean(kind, measure))
                for kind in kinds
            ),
        )
        for of, measure in (("predicted", "overlap"), ("true", "overlap_of_truth"))
    ]
    drawn = [
        chart(
            "Overlap of the areas they look at",
            "1 is the same area",
            overlap,
            number,
            tick=_plain,
            most=1.0,
        )
    ]
    if not boxes:
        return drawn
    first, second = found.networks
    held = []
    for kind in kinds:
        lines = [
            Line(f"{first}, predicted", "attack", found.mean(kind, "inside", 0)),
            Line(f"{second}, predicted", "decision", found.mean(kind, "inside", 1)),
        ]
        # Of a network that is right both classes are the same.
        if kind in ("second", "neither"):
            lines.append(
                Line(f"{first}, true class", "attack", found.mean(kind, "inside_of_truth", 0))
            )
        if kind in ("first", "neither"):
            lines.append(
                Line(f"{second}, true class", "decision", found.mean(kind, "inside_of_truth", 1))
            )
        lines.append(Line("spread evenly", "noise", found.mean(kind, "covered")))
        held.append(Group(kind_told(found, kind), tuple(lines)))
    drawn.append(
        chart(
            "Evidence on the object",
            "share in the ground-truth boxes",
            held,
            percent,
            tick=_round,
            most=1.0,
        )
    )
    return drawn


def _round(share: float) -> str:
    return f"{100 * share:.3g}\u00a0%"


def _plain(value: float) -> str:
    return f"{value:.3g}"


def _shown(found: TwoNetworks, case: NetworkCase) -> dict[str, Any]:
    """What the page has of one photo."""
    row = found.rows[case.photo]
    names = None
    if found.classes:
        names = [found.classes.get(at, f"class {at}") for at in range(max(found.classes) + 1)]
    wrong = 0 if row.kind == "second" else 1
    right, other = found.networks[1 - wrong], found.networks[wrong]
    truth = class_told(row.label, names)
    mistaken = class_told(row.predicted[wrong], names)
    size = case.explanations[0][0].size
    drawn = [
        _panel(
            case.explanations[at][0],
            found.networks[at],
            class_told(row.predicted[at], names),
            row.confidence[at],
            row.inside[at],
            right=at != wrong,
            at=at,
        )
        for at in (0, 1)
    ]
    drawn.append(
        _panel(
            case.explanations[wrong][1],
            other,
            truth,
            row.probability[wrong],
            row.inside_of_truth[wrong],
            right=None,
            at=wrong,
        )
    )
    pictures = [photo_address(own.pictures[0].numpy()) for own, _ in case.explanations]
    return {
        "truth": truth,
        "file": row.file,
        "sub": f"{right} is right; {other} takes it for {mistaken}",
        # Both networks usually see the same pixels: then the picture stands in the page once.
        "pictures": pictures[:1] if pictures[0] == pictures[1] else pictures,
        "boxes": []
        if case.boxes is None
        else [framed(corners, size) for corners in case.boxes.tolist()],
        "covered": None if row.covered is None else percent(row.covered),
        "overlap": None if row.overlap is None else number(row.overlap),
        "panels": drawn,
    }


def _panel(
    explanation: Explanation,
    network: str,
    name: str,
    probability: float,
    inside: float | None,
    *,
    right: bool | None,
    at: int,
) -> dict[str, Any]:
    verdict = {True: "right", False: "wrong", None: "the true class"}[right]
    return {
        **panel(explanation),
        "network": network,
        "kind": ("attack", "decision")[at],
        "told": f"{name} {percent(probability)}",
        "verdict": verdict,
        "label": f"{network} for {name}",
        "inside": None if inside is None else f"{percent(inside)} of it on the object",
        "under": at,
    }
