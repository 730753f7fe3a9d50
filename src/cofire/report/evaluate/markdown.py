"""The tables of an evaluation as Markdown, to be quoted."""

from __future__ import annotations

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.verdict import judged, verdict
from cofire.report.evaluate.rules import RULE_HEADS, RULE_TITLE, rules_told
from cofire.report.evaluate.tables import (
    Table,
    difference_tables,
    draws_tables,
    group_tables,
    method_name,
)

_SUBSETS = {
    "all": "All photos",
    "correct": "Photos that the network classifies correctly",
    "small": "Small objects",
}


def markdown(evaluation: Evaluation) -> str:
    """The verdict and every table, for all photos, those classified correctly, and small objects.

    Args:
        evaluation: What was judged.
    """
    lines = ["# Explanations judged", "", judged(evaluation), ""]
    lines += [f"- **{told.lead}** {told.text}" for told in verdict(evaluation)]
    lines += [
        "",
        "Means with 95 % intervals over photos (Wilson’s of shares, else bootstrap). ↑ higher is better, ↓ lower "
        "is better; the best mean of a column is bold.",
    ]
    for subset, title in _SUBSETS.items():
        photos = int(evaluation.chosen(subset).sum())
        if not photos:
            continue
        estimates = evaluation.table(subset)
        lines += ["", f"## {title} ({photos:,})"]
        for table in group_tables(evaluation, estimates, subset):
            lines += ["", f"### {table.title}", "", *_lines(table)]
            if table.left_out:
                lines += ["", f"Photos that do not count: {'; '.join(table.left_out)}."]
        tables = difference_tables(evaluation, evaluation.differences(subset), subset)
        if tables:
            lines += [
                "",
                f"### {method_name(evaluation.methods[0])} less each rival, on the same photos",
                "",
                "Shares in percentage points. p is that of a two-sided sign-flip test, corrected by Holm’s method over "
                "the rivals; clear differences are bold. Equal: within "
                f"±{100 * evaluation.margin:g} points of a share, ±{evaluation.margin:g} of other measures, by two "
                "one-sided tests at 5 %. Undecided: neither, with about how many photos would decide.",
            ]
        for table in tables:
            lines += ["", *_lines(table)]
    for each in draws_tables(evaluation):
        lines += ["", f"## {each.title}", "", *_lines(each)]
    rules = rules_told(evaluation)
    if rules:
        lines += [
            "",
            f"## {RULE_TITLE}",
            "",
            _line(["method", *RULE_HEADS]),
            _line(["---", "---:", "---", "---:", "---:"]),
        ]
        lines += [_line([rule.name, *rule.cells]) for rule in rules]
    return "\n".join(lines) + "\n"


def _lines(table: Table) -> list[str]:
    heads = ["method", *table.heads]
    lines = [_line(heads), _line(["---", *("---:" for _ in table.heads)])]
    for row in table.rows:
        cells = [row.name]
        for cell in row.cells:
            value = f"**{cell.value}**" if cell.best or cell.mark else cell.value
            more = ", ".join(part for part in (cell.span, cell.p) if part)
            cells.append(f"{value} [{more}]" if more else value)
        lines.append(_line(cells))
    return lines


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"
