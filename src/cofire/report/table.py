"""A table of a page: typed columns and plain values, written the same way everywhere by one macro."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import Any

from cofire.report.colours import correlation_class
from cofire.report.notation import count, number, signed
from cofire.statistics import Interval


@dataclass(frozen=True)
class Cell:
    """A value with more than its column says.

    Attributes:
        value: What any cell may hold.
        note: A second line.
        shade: Style class of the cell; that of the column's scale unless given.
        ring: What a ring beside the value says, "" for none.
        tag: A word beside the value.
        link: Address that the value leads to, such as "#boost".
        image: A data URI shown before the value.
        strong: Whether it stands out: the best of its column, say.
    """

    value: object
    note: str = ""
    shade: str = ""
    ring: str = ""
    tag: str = ""
    link: str = ""
    image: str = ""
    strong: bool = False


@dataclass(frozen=True)
class Column:
    """How the values of a column are written.

    Attributes:
        title: Head of the column.
        unit: Beside the title; numbers of "%" and "points" are shares and are shown times 100.
        digits: Decimals of numbers that are no whole ones.
        signed: Whether numbers always show their sign.
        scale: "diverging" to shade numbers from -1 to 1.
        group: A heading over this column and its neighbours of the same group.

    Example:
        >>> Column("gain", "points", 1, signed=True).text(0.0124)
        '+1.2'
        >>> Column("layer").text("relu"), Column("neurons").text(1200), Column("z").text(None)
        ('relu', '1,200', '–')
    """

    title: str
    unit: str = ""
    digits: int = 2
    signed: bool = False
    scale: str = ""
    group: str = ""

    def text(self, value: Any) -> str:
        """A value as it is written; of an interval its middle."""
        if isinstance(value, Interval):
            value = value.value
        if isinstance(value, str):
            return value
        if isinstance(value, bool):
            return "yes" if value else "no"
        if isinstance(value, int):
            return signed(value, 0) if self.signed else count(value)
        if value is not None and self.unit in ("%", "points"):
            value = 100 * value
        return (signed if self.signed else number)(value, self.digits)

    def cell(self, value: Any) -> Cell:
        """A value as a cell of text."""
        given = value if isinstance(value, Cell) else Cell(value)
        note, shade, held = given.note, given.shade, given.value
        if isinstance(held, Interval) and held.known:
            factor = 100 if self.unit in ("%", "points") else 1
            written = signed if self.signed else number
            ends = (written(factor * end, self.digits) for end in (held.low, held.high))
            note = note or " to ".join(ends)
        middle = held.value if isinstance(held, Interval) else held
        if not shade and self.scale and (middle is None or isinstance(middle, int | float)):
            shade = correlation_class(middle)
        return replace(given, value=self.text(held), note=note, shade=shade)


@dataclass(frozen=True)
class Table:
    """A table, read by rows.

    Attributes:
        title: What it shows, in a sentence.
        columns: The columns; the first one names the row.
        rows: One value per column: text, a number, an `Interval`, a `Cell`, or None where nothing
            is known.
        by: Whether each row has one value more at its start: a heading that stands once over all
            rows that have it ("" for none).
        totals: A last row that sums up.

    Example:
        >>> table = Table("Layers.", [Column("layer"), Column("dead")], [["relu", 12]])
        >>> [[cell.value for cell in row] for _, rows in table.parts() for row in rows]
        [['relu', '12']]
    """

    title: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[object]]
    by: bool = False
    totals: Sequence[object] = field(default=())

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Headings over columns and how many columns each spans; none where there are none."""
        runs = [(name, len(list(run))) for name, run in groupby(c.group for c in self.columns)]
        return runs if any(name for name, _ in runs) else []

    def numeric(self, place: int) -> bool:
        """Whether a column holds numbers."""
        values = [row[place + self.by] for row in self.rows]
        held = [v.value if isinstance(v, Cell) else v for v in values]
        return any(v is not None and not isinstance(v, str) for v in held)

    def parts(self, start: int = 0, end: int | None = None) -> list[tuple[str, list[list[Cell]]]]:
        """Rows as cells of text, under their headings.

        Args:
            start: First row.
            end: The row after the last; to the end unless given.
        """
        rows = self.rows[start:end]
        runs = groupby(rows, key=lambda row: str(row[0])) if self.by else [("", rows)]
        return [(heading, [self.cells(row[self.by :]) for row in run]) for heading, run in runs]

    def cells(self, row: Sequence[object]) -> list[Cell]:
        """A row as cells of text."""
        return [column.cell(value) for column, value in zip(self.columns, row, strict=True)]

    def markdown(self) -> str:
        """The table to be quoted: what has to be known beside a value stands in brackets.

        Example:
            >>> print(Table("Layers.", [Column("layer"), Column("dead", "%")], [["relu", 0.5]]).markdown())
            | layer | dead (%) |
            | --- | ---: |
            | relu | 50.00 |
        """
        places = range(len(self.columns))
        heads = [f"{c.group}, {c.title}" if c.group else c.title for c in self.columns]
        lines = [
            [f"{h} ({c.unit})" if c.unit else h for h, c in zip(heads, self.columns, strict=True)]
        ]
        lines.append(["---:" if self.numeric(place) else "---" for place in places])
        for heading, rows in self.parts():
            lines += [[f"**{heading}**", *("" for _ in places[1:])]] if heading else []
            for row in rows:
                told = [
                    (f"**{c.value}**" if c.strong else str(c.value), c.tag, c.note) for c in row
                ]
                lines.append(
                    [" ".join((v, *(f"[{more}]" for more in rest if more))) for v, *rest in told]
                )
        return "\n".join(
            f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |" for line in lines
        )
