"""What `cofire evaluate` prints: one row for each method, and what sets the first apart from each rival."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as Printed
from rich.text import Text

from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.verdict import draws
from cofire.report.evaluate.rules import RULE_HEADS, RULE_TITLE, rules_told
from cofire.report.evaluate.tables import (
    Row,
    Table,
    difference_tables,
    draws_tables,
    group_tables,
    method_name,
)
from cofire.report.notation import plural

_SUBSETS = {"all": "all photos", "correct": "photos classified correctly"}


def print_tables(evaluation: Evaluation, console: Console) -> None:
    """Print the tables of all photos, those of photos classified correctly, and paired differences.

    Args:
        evaluation: What was judged.
        console: Where to.
    """
    for subset, title in _SUBSETS.items():
        photos = int(evaluation.chosen(subset).sum())
        if not photos or (subset != "all" and photos == int(evaluation.chosen().sum())):
            continue
        for table in group_tables(evaluation, evaluation.table(subset), subset):
            _print(console, f"{table.title.split(':')[0]}, {title} ({photos:,})", table, "method")
    first = method_name(evaluation.methods[0])
    for table in difference_tables(evaluation, evaluation.differences()):
        title = f"{first} less each rival, {plural(table.photos, 'photo')}: {table.title.split(':')[0].lower()}"
        _print(console, title, table, "rival")
    if drawn := draws(evaluation):
        console.print(Text(drawn))
        console.print()
    for each in draws_tables(evaluation):
        _print(console, each.title, each, "method")
    rules = rules_told(evaluation)
    if rules:
        printed = _empty("method", RULE_HEADS)
        for rule in rules:
            printed.add_row(*map(Text, (rule.name, *rule.cells)))
        console.print(Text(RULE_TITLE, style="bold"))
        console.print(printed)
        console.print()


def _print(console: Console, title: str, table: Table, head: str) -> None:
    printed = _empty(head, table.heads)
    for row in table.rows:
        printed.add_row(*_cells(row))
    console.print(Text(title, style="bold"))
    console.print(printed)
    console.print()


def _empty(head: str, heads: Sequence[str]) -> Printed:
    printed = Printed(box=None, header_style="bold", pad_edge=False, padding=(0, 3, 0, 0))
    for name in (head, *heads):
        printed.add_column(name, overflow="fold", justify="left" if name == head else "right")
    return printed


def _cells(row: Row) -> list[Text]:
    cells = [Text(row.name, style="dim" if row.baseline else "")]
    for cell in row.cells:
        more = ", ".join(
            part for part in (cell.span, cell.p.replace(" = ", "=").replace(" < ", "<")) if part
        )
        style = {"better": "bold green", "worse": "bold red"}.get(
            cell.mark, "bold" if cell.best else ""
        )
        told = Text(cell.value, style=style)
        told.append(f" [{more}]" if more else "", style="dim")
        cells.append(told)
    return cells
