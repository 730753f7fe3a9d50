"""The tables of an evaluation, told once for the page, the terminal and Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cofire.evaluate.evaluation import Difference, Evaluation
from cofire.evaluate.measures import GROUPS, Criterion
from cofire.explain import BASELINES, title_of
from cofire.report.notation import number, signed
from cofire.statistics import Interval

HEADLINE = (
    "pointing",
    "iou",
    "iou_50",
    "increase",
    "drop",
    "equal_drop",
    "insertion",
    "rank_correlation",
)
"""The criteria of the first table, those of them that were measured."""

OF_DRAWS = ("pointing", "increase")
"""The criteria that the paper gives as means of draws."""

_BASELINE_NAMES = {"centre": "Centre", "random": "Random point", "edges": "Edges"}
_ARROWS = {"higher": "↑", "lower": "↓", "neither": ""}


@dataclass(frozen=True)
class Cell:
    """One number of a table.

    Attributes:
        value: The number, "–" for none.
        span: Its interval, "" for none.
        best: Whether it is the best of its column, or clearly better than nothing where differences
            are told.
        mark: Of a difference "better", "worse" or "".
        p: The corrected p-value of a difference, and where it is neither better nor worse, which of
            the two others; "" for none.
    """

    value: str
    span: str = ""
    best: bool = False
    mark: str = ""
    p: str = ""


@dataclass(frozen=True)
class Row:
    """The numbers of one method.

    Attributes:
        method: As options name it.
        name: As papers write it.
        baseline: Whether it looks at no network.
        cells: One for each column.
    """

    method: str
    name: str
    baseline: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """One row for each method, one column for each criterion.

    Attributes:
        title: Of the table.
        heads: Titles of the columns, with an arrow that says which way is better.
        meanings: What each column means, in a sentence.
        rows: In the order of the methods.
        photos: How many photos enter.
        left_out: For columns in which photos do not count, how many, in words.
    """

    title: str
    heads: tuple[str, ...]
    meanings: tuple[str, ...]
    rows: tuple[Row, ...]
    photos: int
    left_out: tuple[str, ...] = ()


def method_name(method: str) -> str:
    """A method's or baseline's name as it is written.

    Example:
        >>> method_name("centre"), method_name("gradcam++")
        ('Centre', 'Grad-CAM++')
    """
    return _BASELINE_NAMES.get(method) or title_of(method)


def value_told(value: float, criterion: Criterion) -> str:
    """A mean as it is written: shares in percent, without the sign.

    Example:
        >>> from cofire.evaluate.measures import MEASURES
        >>> value_told(0.5, MEASURES["pointing"]), value_told(0.5, MEASURES["rank_correlation"])
        ('50.0', '0.500')
    """
    return number(100 * value, 1) if criterion.percent else number(value, 3)


def span_told(low: float, high: float, criterion: Criterion) -> str:
    """An interval as it is written."""
    return f"{value_told(low, criterion)}–{value_told(high, criterion)}"


def margin_told(margin: float, criterion: Criterion) -> str:
    """The margin in which differences count as none.

    Example:
        >>> from cofire.evaluate.measures import MEASURES
        >>> margin_told(0.02, MEASURES["pointing"]), margin_told(0.02, MEASURES["rank_correlation"])
        ('within ±2 points', 'within ±0.02')
    """
    return f"within ±{100 * margin:g} points" if criterion.percent else f"within ±{margin:g}"


def headline(
    evaluation: Evaluation, estimates: dict[str, dict[str, Interval]], subset: str = "all"
) -> Table:
    """The criteria that matter most, in one table."""
    chosen = [criterion for criterion in evaluation.criteria if criterion.name in HEADLINE]
    return _table(
        "All methods at a glance",
        evaluation,
        estimates,
        chosen or list(evaluation.criteria),
        subset,
    )


def group_tables(
    evaluation: Evaluation, estimates: dict[str, dict[str, Interval]], subset: str = "all"
) -> list[Table]:
    """One table for each group of criteria that was measured; none for a subset without photos."""
    if not estimates:
        return []
    return [
        _table(title, evaluation, estimates, chosen, subset)
        for group, title in GROUPS.items()
        if (chosen := [criterion for criterion in evaluation.criteria if criterion.group == group])
    ]


def _table(
    title: str,
    evaluation: Evaluation,
    estimates: dict[str, dict[str, Interval]],
    chosen: Sequence[Criterion],
    subset: str,
) -> Table:
    best = {criterion.name: _best(criterion, estimates) for criterion in chosen}
    rows = tuple(
        Row(
            method,
            method_name(method),
            method in BASELINES,
            tuple(
                _cell(own.get(criterion.name), criterion, method in best[criterion.name])
                for criterion in chosen
            ),
        )
        for method, own in estimates.items()
    )
    told = []
    for criterion in chosen:
        left = [own[criterion.name].left_out for own in estimates.values() if criterion.name in own]
        if any(left):
            many = str(max(left)) if min(left) == max(left) else f"{min(left)} to {max(left)}"
            told.append(f"{criterion.title}: {many}")
    heads = tuple(f"{criterion.title} {_unit(criterion)}".rstrip() for criterion in chosen)
    photos = int(evaluation.chosen(subset).sum())
    return Table(
        title, heads, tuple(criterion.meaning for criterion in chosen), rows, photos, tuple(told)
    )


def _unit(criterion: Criterion) -> str:
    return "\u00a0".join(
        part for part in ("%" if criterion.percent else "", _ARROWS[criterion.better]) if part
    )


def _best(criterion: Criterion, estimates: dict[str, dict[str, Interval]]) -> list[str]:
    """The methods whose mean is the best."""
    means = {
        method: own[criterion.name].mean
        for method, own in estimates.items()
        if criterion.name in own
    }
    if not means or criterion.better == "neither":
        return []
    reached = (max if criterion.better == "higher" else min)(means.values())
    return [method for method, mean in means.items() if mean == reached]


def _cell(estimate: Interval | None, criterion: Criterion, best: bool) -> Cell:
    if estimate is None:
        return Cell("–")
    return Cell(
        value_told(estimate.mean, criterion),
        span_told(estimate.low, estimate.high, criterion),
        best,
    )


def difference_tables(
    evaluation: Evaluation, differences: dict[str, dict[str, Difference]], subset: str = "all"
) -> list[Table]:
    """By how much the first method lies above each rival: a table for each group of criteria, a row for each rival."""
    found = []
    for group, title in GROUPS.items():
        chosen = [
            criterion
            for criterion in evaluation.criteria
            if criterion.group == group and criterion.better != "neither"
            if any(criterion.name in own for own in differences.values())
        ]
        rows = tuple(
            Row(
                rival,
                method_name(rival),
                rival in BASELINES,
                tuple(_gap(own.get(criterion.name), criterion) for criterion in chosen),
            )
            for rival, own in differences.items()
        )
        if chosen and rows:
            heads = tuple(f"{criterion.title} {_ARROWS[criterion.better]}" for criterion in chosen)
            meanings = tuple(criterion.meaning for criterion in chosen)
            found.append(Table(title, heads, meanings, rows, int(evaluation.chosen(subset).sum())))
    return found


def draws_tables(evaluation: Evaluation) -> list[Table]:
    """The means of each draw by itself and their mean, where photos were drawn more than once.

    Of the criteria in `OF_DRAWS`; of the first that counts where none of these was measured.
    """
    each = evaluation.draw_means()
    if len(each) < 2:
        return []
    counted = [criterion for criterion in evaluation.criteria if criterion.better != "neither"]
    chosen = [criterion for criterion in counted if criterion.name in OF_DRAWS] or counted[:1]
    return [_of_draws(evaluation, each, criterion) for criterion in chosen]


def _of_draws(
    evaluation: Evaluation, each: Sequence[dict[str, dict[str, float]]], criterion: Criterion
) -> Table:
    rows = []
    for method in evaluation.methods:
        values = [draw[method][criterion.name] for draw in each if criterion.name in draw[method]]
        cells = [*values, sum(values) / len(values)] if values else []
        told = tuple(Cell(value_told(value, criterion)) for value in cells)
        rows.append(Row(method, method_name(method), method in BASELINES, told))
    heads = (*(f"draw {number + 1}" for number in range(len(each))), "mean")
    title = f"{criterion.title[0].upper()}{criterion.title[1:]} {_unit(criterion)} of each draw by itself"
    return Table(title, heads, (), tuple(rows), len(evaluation))


def _gap(difference: Difference | None, criterion: Criterion) -> Cell:
    if difference is None:
        return Cell("–")
    scale, digits = (100, 1) if criterion.percent else (1, 3)
    span = f"{signed(scale * difference.low, digits)} to {signed(scale * difference.high, digits)}"
    verdict = difference.verdict
    mark = verdict if verdict in ("better", "worse") else ""
    p = "p < 0.001" if difference.p_holm < 0.001 else f"p = {difference.p_holm:.3f}"
    if not mark:
        p += f", {verdict}" + (f" (≈ {difference.needed:,})" if difference.needed else "")
    return Cell(signed(scale * difference.value, digits), span, mark == "better", mark, p)
