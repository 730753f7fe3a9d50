"""The page of an evaluation: the verdict in words, tables, figures, and photos on which methods disagree."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from cofire.atomic import write_text
from cofire.evaluate.evaluation import RECORDS, Evaluation
from cofire.evaluate.verdict import judged, verdict
from cofire.explain.drawing import draw, paper
from cofire.report.evaluate.cases import Case, cases_told
from cofire.report.evaluate.figures import draw_evaluation, figure_caption
from cofire.report.evaluate.left_out import left_out_told
from cofire.report.evaluate.rules import RULE_HEADS, RULE_TITLE, rules_told
from cofire.report.evaluate.tables import (
    Table,
    difference_tables,
    draws_tables,
    group_tables,
    headline,
    method_name,
)
from cofire.report.notation import settings, versions
from cofire.report.sheet import render

_SUBSETS = {
    "correct": "Photos that the network classifies correctly",
    "wrong": "Photos that it classifies wrongly",
    "small": "Small objects: boxes cover less than 30 % of the view",
}
_TOLD_ELSEWHERE = (
    "methods",
    "measures",
    "options",
    "thresholds",
    "names",
    "command",
    "versions",
    "files",
    "network",
    "left_out",
)


@dataclass(frozen=True)
class _Part:
    """Tables of some of the photos."""

    title: str
    photos: int
    tables: Sequence[Table]


def write_evaluation(
    path: str | Path,
    evaluation: Evaluation,
    cases: Sequence[Case] = (),
    *,
    size: tuple[int, int] = (224, 224),
    links: Sequence[tuple[str, str]] = (),
    title: str | None = None,
) -> Path:
    """Write what was judged as one HTML file that loads nothing from anywhere.

    Args:
        path: Where to; the file appears whole or not at all.
        evaluation: What was judged; its options' "command" is printed.
        cases: Photos to look at, as `cofire.report.evaluate.cases.show_cases` gives them.
        size: Height and width of the network's input in pixels.
        links: Other pages of the same run: address and what it is.
        title: Heading of the page.

    Returns:
        The path.
    """
    estimates = evaluation.table()
    criteria = {criterion.name: criterion for criterion in evaluation.criteria}
    drawn = draw_evaluation(evaluation, estimates)
    width, height = draw.drawn_size(size)
    page = render(
        "evaluate/page.html.j2",
        drawn,
        title=title or "Which explanation shows what the network saw?",
        graphs=None,
        boost=None,
        evaluation=True,
        records_kept=(Path(path).parent / RECORDS).is_file(),
        judged=judged(evaluation),
        verdict=verdict(evaluation),
        captions={name: figure_caption(criteria[name.removeprefix("judged-")]) for name in drawn},
        names={name: _titled(criteria[name.removeprefix("judged-")].title) for name in drawn},
        headline=headline(evaluation, estimates),
        tables=group_tables(evaluation, estimates),
        parts=_parts(evaluation),
        differences=difference_tables(evaluation, evaluation.differences()),
        first=method_name(evaluation.methods[0]),
        draws=draws_tables(evaluation),
        rules=rules_told(evaluation),
        rule_title=RULE_TITLE,
        rule_heads=RULE_HEADS,
        chosen=cases_told(evaluation),
        failures=[case for case in cases if case.failure],
        others=[case for case in cases if not case.failure],
        width=width,
        height=height,
        pixelated=Markup("" if draw.is_smooth(size) else 'style="image-rendering:pixelated"'),
        stops=[Markup(f"rgb({r},{g},{b})") for r, g, b in np.asarray(draw.bar())[0, ::15].tolist()],
        frame=paper.FRAME,
        frame_edge=paper.FRAME_EDGE,
        links=links,
        settings=settings(
            {
                k: v
                for k, v in evaluation.options.items()
                if k not in _TOLD_ELSEWHERE and v is not None
            }
        ),
        options=_options(evaluation),
        left_out=left_out_told(evaluation.options),
        margin=f"±{100 * evaluation.margin:g} points of a share, ±{evaluation.margin:g} of other measures",
        versions=versions(evaluation.options),
        command=evaluation.options.get("command"),
    )
    write_text(path, page)
    return Path(path)


def _titled(title: str) -> str:
    """A title with a capital at its start; "IoU" keeps its own."""
    return f"{title[0].upper()}{title[1:]}"


def _parts(evaluation: Evaluation) -> list[_Part]:
    found = []
    for subset, title in _SUBSETS.items():
        tables = group_tables(evaluation, evaluation.table(subset), subset)
        if tables:
            found.append(_Part(title, tables[0].photos, tables))
    return found


def _options(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Options of methods that were not called with their defaults."""
    given = evaluation.options.get("options", {})
    return [
        (method_name(method), ", ".join(f"{name} = {value}" for name, value in own.items()))
        for method, own in given.items()
        if own
    ]
