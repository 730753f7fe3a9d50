"""A page about boosting alone, for one model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from cofire.arguments import validated
from cofire.atomic import write_text
from cofire.report.boost.facts import BoostFacts
from cofire.report.boost.figures import draw_boosts
from cofire.report.boost.section import Section
from cofire.report.settings import settings, versions
from cofire.report.sheet import render
from cofire.study.boosts import margin_of


@validated
def write_boost_report(
    boosts: pa.Table,
    boost_classes: pa.Table,
    flips: pa.Table,
    path: str | Path,
    *,
    class_names: Sequence[str],
    options: Mapping[str, Any],
    title: str | None = None,
    command: str | None = None,
) -> Path:
    """Write what boosting did to one model as one HTML file that loads nothing from anywhere.

    Args:
        boosts: A table of `boosts`, of one checkpoint or more.
        boost_classes: A table of `boost_classes`, which may be without rows.
        flips: A table of `flips`, which may be without rows.
        path: Where to write; the file appears whole or not at all.
        class_names: Name of every class by its number.
        options: How it was made, printed one by one.
        title: Heading of the page; the data set's name is in it unless given.
        command: The command that makes this again, printed as it is; unless given, the options'
            "command".

    Returns:
        The path.

    Raises:
        ResultError: `boosts` has no rows, a table has other columns, or a checkpoint has not one
            row of each role.
    """
    facts = BoostFacts(
        boosts, boost_classes, flips, dict(enumerate(map(str, class_names))), margin_of(options)
    )
    section = Section(facts, alone=True)
    target = Path(path)
    page = render(
        "boost/page.html.j2",
        draw_boosts(facts),
        title=title or _title(options),
        command=command or options.get("command"),
        headline=[section.lead, *([section.course] if section.course else [])],
        captions=section.captions(),
        settings=settings(options),
        versions=versions(options),
        boost=section,
        graphs=None,
    )
    write_text(target, page)
    return target


def _title(options: Mapping[str, Any]) -> str:
    subject = "Boosting a model by what its neurons do"
    dataset = options.get("dataset")
    return f"{subject}: {dataset}" if dataset else subject
