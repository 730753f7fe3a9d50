"""What the paper of a study's recipe prints, beside what the study gives."""

from __future__ import annotations

from typing import Self

from cofire.report.notation import number, signed
from cofire.report.section import Results, Section
from cofire.report.table import Cell, Column, Table
from cofire.study.beside import Beside, beside, differences, recipe_of
from cofire.study.recipes import PAPERS, Printed, Recipe

_WORDS = {
    "pearson": ("Pearson’s r of {} and training accuracy", 2),
    "spearman": ("Spearman’s ρ of {} and training accuracy", 2),
    "percent": ("{} (%)", 1),
    "points": ("{} (points)", 1),
    "count": ("{}", 0),
}
"""What each statistic is of, and its decimals."""


class Papers(Section):
    """The numbers that a paper prints, beside those of the study."""

    id, title = "papers", "How close is it to the paper?"
    label = "The paper"
    template, wide = "sections/papers.html.j2", True

    def __init__(self, recipe: Recipe, pairs: list[Beside], differing: list[str]) -> None:
        self.recipe, self.pairs, self.differing = recipe, pairs, differing
        self.paper = PAPERS.get(recipe.paper, recipe.paper)
        self.known = sum(pair.ours is not None for pair in pairs)
        self.agree = [_agrees(pair) for pair in pairs]

    @classmethod
    def of(cls, results: Results) -> Self | None:
        if not results.layers or not (pairs := beside(results.whole)):
            return None
        recipe = recipe_of(results.whole)
        assert recipe is not None  # the pairs are of one
        return cls(recipe, pairs, differences(results.whole))

    def tables(self) -> dict[str, Table]:
        columns = [Column(head) for head in ("what", "of", "paper", "this study", "agrees")]
        rows = [[pair.printed.table, *_told(pair)] for pair in self.pairs]
        return {"papers": Table("The paper’s numbers, and this study’s.", columns, rows, by=True)}


def _agrees(pair: Beside) -> bool | None:
    """Whether our interval includes the paper's number; None where there is no interval."""
    if pair.low is None or pair.high is None:
        return None
    return pair.low <= pair.printed.value <= pair.high


def _told(pair: Beside) -> list[object]:
    """A row: what is measured, of what, the paper's number, ours with its interval, and whether they agree."""
    one = pair.printed
    words, digits = _WORDS[one.statistic]
    write = signed if one.statistic in ("pearson", "spearman", "points") else number
    ends = [write(end, digits) for end in (pair.low, pair.high) if end is not None]
    parts = (
        f"class {pair.name}" if pair.name and one.scope == "class" else pair.name or _place(one),
        f"checkpoint {one.checkpoint}" if one.checkpoint else "",
        one.layers and f"boosters that read {one.layers}",
    )
    ours = Cell(write(pair.ours, digits), " to ".join(ends))
    of = ", ".join(part for part in parts if part)
    return [words.format(one.quantity), of, write(one.value, digits), ours, _agrees(pair)]


def _place(one: Printed) -> str:
    return f"{one.scope} {one.number}" if one.number else "network"
