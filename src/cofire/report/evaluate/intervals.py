"""Means with their intervals as a drawing of HTML alone: it follows the page's colours and its width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cofire.statistics import Interval


@dataclass(frozen=True)
class Line:
    """One mean.

    Attributes:
        label: What it is of.
        kind: Name of its colour.
        mean: The mean and its interval, None where nothing counts.
    """

    label: str
    kind: str
    mean: Interval | None


@dataclass(frozen=True)
class Group:
    """Means that are read together, under a heading."""

    name: str
    lines: tuple[Line, ...]


@dataclass(frozen=True)
class Chart:
    """A drawing as the template takes it.

    Attributes:
        title: What is measured.
        note: Which way is which.
        ticks: Place from 0 to 1, and what stands there.
        groups: Name and rows of each group: label, kind, places of dot, low and high end, words,
            and all of it told.
        longest: Signs of the longest label.
    """

    title: str
    note: str
    ticks: tuple[tuple[float, str], ...]
    groups: tuple[tuple[str, tuple[dict[str, object], ...]], ...]
    longest: int


def chart(
    title: str,
    note: str,
    groups: Sequence[Group],
    told: Callable[[float], str],
    *,
    tick: Callable[[float], str] | None = None,
    least: float = 0.0,
    most: float | None = None,
) -> Chart:
    """Lay out means on one axis.

    Args:
        title: What is measured.
        note: Which way is which.
        groups: The means.
        told: A value in words.
        tick: The same at the axis, where values are round.
        least: The axis' start; where a value lies below it, a rounder number below that.
        most: Its end; a round number above all values unless given.
    """
    values = [
        value
        for group in groups
        for line in group.lines
        if line.mean is not None
        for value in (line.mean.low, line.mean.high)
    ]
    low = least if min(values, default=least) >= least else -_above(-min(values))
    high = most if most is not None else _above(max(values, default=0.0))
    high = high if high > low else low + 1

    def place(value: float) -> float:
        return min(max((value - low) / (high - low), 0.0), 1.0)

    def row(line: Line) -> dict[str, object]:
        mean = line.mean
        if mean is None:
            return {
                "label": line.label,
                "kind": line.kind,
                "dot": None,
                "words": "–",
                "told": f"{line.label}: none",
            }
        words = told(mean.value)
        whole = f"{line.label}: {words}, 95 % interval {told(mean.low)} to {told(mean.high)}, {mean.counted} photos"
        return {
            "label": line.label,
            "kind": line.kind,
            "dot": f"{100 * place(mean.value):.2f}",
            "low": f"{100 * place(mean.low):.2f}",
            "width": f"{100 * (place(mean.high) - place(mean.low)):.2f}",
            "words": words,
            "told": whole + (f", {mean.left_out} left out" if mean.left_out else ""),
        }

    at_axis = tick or told
    ticks = tuple((at, at_axis(low + at * (high - low))) for at in (0.0, 0.5, 1.0))
    rows = tuple((group.name, tuple(map(row, group.lines))) for group in groups)
    longest = max((len(line.label) for group in groups for line in group.lines), default=0)
    return Chart(title, note, ticks, rows, longest)


def _above(value: float) -> float:
    """The least of 1, 2, 3, 4, 5, 6, 8, 10 × a power of ten that is not below a value."""
    if value <= 0:
        return 1.0
    power = 1.0
    while power > value:
        power /= 10
    while power * 10 < value:
        power *= 10
    return next(
        step * power for step in (1, 2, 3, 4, 5, 6, 8, 10) if step * power >= value * (1 - 1e-12)
    )
