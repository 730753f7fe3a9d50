"""The page of a study of trust: whose maps people prefer and trust, how sure that is, and what the paper says."""

from __future__ import annotations

from pathlib import Path

import plotly.graph_objects as go

from cofire.explain import title_of
from cofire.report.notation import joined, number, percent, plural
from cofire.report.pages.page import write_page
from cofire.report.plots import Point, intervals
from cofire.report.section import Section
from cofire.report.table import Column, Table
from cofire.statistics import Finding, Interval, Level
from cofire.trust.design import Study
from cofire.trust.judging import PAPER, Judgement

RELIABLE, TENTATIVE = 0.8, 0.667
"""Krippendorff's own bounds of alpha: from the one on conclusions may be drawn, from the other on tentative ones."""


class Preference(Section):
    """Which map describes the object better."""

    id, title = "preference", "Which network’s maps describe the object better?"
    label = "Preference"

    def __init__(self, found: Judgement) -> None:
        self.found = found
        self.rows = [
            ("votes, other people and images", found.preference),
            *(
                ((f"by {title_of(method)}", held) for method, held in found.by_method.items())
                if len(found.by_method) > 1
                else ()
            ),
            ("votes, as if independent", found.by_answer),
            *([("people, most of their votes", found.by_person)] if found.by_person else ()),
            ("votes, nobody left out for checks", found.with_all),
        ]

    def lead(self) -> str:
        """Of what the votes are."""
        found = self.found
        return (
            f"The share for {found.networks[1]}; at 50\N{NO-BREAK SPACE}% neither is preferred. "
            f"{plural(found.people, 'person', 'people')} saw {plural(found.images, 'image')}."
        )

    def figures(self) -> dict[str, go.Figure]:
        """The shares."""
        points = [
            Point(name, held, 0 if at == 0 else 6) for at, (name, held) in enumerate(self.rows)
        ]
        title = f"preferred {self.found.networks[1]} (%)"
        drawn = intervals(points, title, factor=100, digits=1, line=0.5, limits=(0.0, 1.0))
        return {"preference": drawn.update_layout(meta={"caption": _HOW})}

    def tables(self) -> dict[str, Table]:
        """The same in numbers."""
        columns = [
            Column("what"),
            Column(f"for {self.found.networks[1]}", "%", 1),
            Column("counted"),
        ]
        rows = [[name, held, held.counted] for name, held in self.rows]
        return {"preference": Table("Preference, with 95 % intervals.", columns, rows)}


_HOW = (
    "First: a bootstrap that draws people and images anew. As if independent: exact binomial, too narrow where "
    "a person’s votes, or those on an image, are alike. People: exact binomial of who mostly votes for it."
)


class Reliability(Section):
    """How reliable the maps are."""

    id, title = "reliability", "How reliable are the maps?"
    label = "Reliability"

    def __init__(self, found: Judgement) -> None:
        self.found = found

    def lead(self) -> str:
        """Ours beside the paper's, and how its numbers are read."""
        first, second = self.found.networks
        ours = [percent(share.value) for share in self.found.shares]
        theirs = [percent(score / sum(PAPER.values())) for score in PAPER.values()]
        printed = " and ".join(f"{score:.2f} for {name}" for name, score in PAPER.items())
        return (
            f"Of all points given, {first} got {ours[0]} and {second} {ours[1]}. The paper prints {printed}, "
            f"normalised it does not say how; as shares of all points, which any divisor leaves alone, they are "
            f"{theirs[0]} and {theirs[1]}."
        )

    def figures(self) -> dict[str, go.Figure]:
        """Means, with the gap told in the table."""
        points = [
            Point(name, held, look)
            for look, (name, held) in enumerate(
                zip(self.found.networks, self.found.ratings, strict=True)
            )
        ]
        drawn = intervals(points, "reliability (1 to 5)", line=None, limits=(1.0, 5.0))
        told = "Mean reliability, with 95 % intervals for other people and images."
        return {"reliability": drawn.update_layout(meta={"caption": told})}

    def tables(self) -> dict[str, Table]:
        """Ours beside the paper's."""
        found, paper = self.found, PAPER
        total = sum(paper.values())
        columns = [
            Column("network"),
            Column("mean, 1 to 5"),
            Column("share of points", "%", 2),
            Column("ratio to the first", digits=3),
        ]
        low, high = found.shares[1].low, found.shares[1].high
        middle, low, high = (share / (1 - share) for share in (found.shares[1].value, low, high))
        ratio = Interval(middle, low, high)
        rows: list[list[object]] = [
            ["this study", found.networks[0], found.ratings[0], found.shares[0], 1.0],
            ["this study", found.networks[1], found.ratings[1], found.shares[1], ratio],
        ]
        names = list(paper)
        rows += [
            [
                "the paper: 12 people, 58 images",
                f"{name}, printed as {paper[name]:.2f}",
                None,
                paper[name] / total,
                paper[name] / paper[names[0]],
            ]
            for name in names
        ]
        return {"reliability": Table("Reliability, beside the paper’s.", columns, rows, by=True)}


class Raters(Section):
    """Who answered, who does not count, and how far they agree."""

    id, title = "raters", "Who answered, and do they agree?"
    label = "People"

    def __init__(self, found: Judgement) -> None:
        self.found = found

    def lead(self) -> str:
        """Agreement in words."""
        votes, ratings = self.found.agreement
        told = [
            f"{what}: {number(alpha)}"
            if alpha is not None
            else f"{what}: not known, as all said the same"
            if self.found.people > 1
            else f"{what}: not known from one person"
            for what, alpha in (("votes", votes), ("ratings", ratings))
        ]
        again = self.found.repeated
        more = (
            f" When a pair came again, {percent(again.value)} of votes were the same."
            if again
            else ""
        )
        return f"Krippendorff’s alpha is 1 where all agree, 0 where they agree by chance; of {joined(told)}.{more}"

    def tables(self) -> dict[str, Table]:
        """Who is left out, and why."""
        columns = [Column("person"), Column("left out, as this person")]
        rows = [[person, why] for person, why in self.found.left_out]
        return {"left-out": Table("Who does not count.", columns, rows)} if rows else {}


def findings(found: Judgement) -> list[Finding]:
    """The verdict: nothing that the intervals leave open is claimed."""
    first, second = found.networks
    lines = []
    if found.simulated:
        lines.append(
            Finding("problem", "Simulated raters: no person answered this", advice="ask people")
        )
    share = found.preference
    gap = Interval(share.value - 0.5, share.low - 0.5, share.high - 0.5, share.counted)
    said = gap.says()
    votes = f"{percent(share.value)} of votes for {second}"
    what = {
        "better": f"People prefer the maps of {second}: {votes}",
        "worse": f"People prefer the maps of {first}: {votes}",
    }.get(said, f"No preference is found: {votes}")
    lines.append(_line(what, said, _ends(share, 100, "\N{NO-BREAK SPACE}%"), "preference"))
    trust = found.rating_gap
    said = trust.says()
    means = f"{number(found.ratings[1].value)} for {second}, {number(found.ratings[0].value)} for {first}"
    what = {
        "better": f"They find the maps of {second} more reliable: {means}",
        "worse": f"They find the maps of {first} more reliable: {means}",
    }.get(said, f"Neither’s maps are found more reliable: {means}")
    lines.append(_line(what, said, f"a gap of {_ends(trust, 1, '')}", "reliability"))
    alpha = found.agreement[0]
    if alpha is not None:
        how = "well" if alpha >= RELIABLE else "somewhat" if alpha >= TENTATIVE else "little"
        level: Level = "fine" if alpha >= RELIABLE else "note"
        lines.append(
            Finding(
                level, f"People agree {how} on single pairs: alpha {number(alpha)}", about="raters"
            )
        )
    failed = len(found.left_out)
    if failed:
        lines.append(
            Finding(
                "note",
                f"{plural(failed, 'person', 'people')} of {failed + found.people} left out",
                sure="They did not finish, or failed a check that was fixed before anybody answered",
                about="raters",
            )
        )
    return lines


def _line(what: str, said: str, ends: str, about: str) -> Finding:
    level: Level = "note" if said == "undecided" else "fine"
    advice = "ask more people" if said == "undecided" else ""
    return Finding(level, what, sure=f"95\N{NO-BREAK SPACE}%: {ends}", advice=advice, about=about)


def _ends(held: Interval, factor: float, unit: str) -> str:
    if not held.known:
        return "not known from one person or image"
    digits = 1 if unit else 2
    ends = (number(factor * end, digits) for end in (held.low, held.high))
    return f"{' to '.join(ends)}{unit}"


def write_judgement(path: str | Path, study: Study, found: Judgement) -> Path:
    """Write the page, one file that needs nothing else.

    Args:
        path: Where to; the file appears whole or not at all.
        study: What was asked.
        found: What the answers amount to.
    """
    first, second = found.networks
    return write_page(
        path,
        [Preference(found), Reliability(found), Raters(found)],
        findings(found),
        name="trust",
        title=f"{first} or {second}: whose maps do people trust?",
        options=study.options,
        study=study,
        found=found,
    )
