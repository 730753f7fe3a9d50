"""Everything that the section about explanations is laid out from."""

from __future__ import annotations

from functools import cached_property

from cofire.explain import title_of
from cofire.explain.drawing.captions import percent
from cofire.report.explanations import wording
from cofire.report.explanations.bars import Bars, bars
from cofire.report.explanations.facts import Example, ExplanationFacts, Traced
from cofire.report.explanations.figures import Pictures, difference_bar, drawn, heat_bar
from cofire.report.notation import count, number
from cofire.report.wording import Remark

OPEN = 4
"""So many mistakes lie open; more are folded."""


class Class:
    """One explained class of a sample.

    Args:
        traced: Its evidence.
    """

    def __init__(self, traced: Traced) -> None:
        self.name = traced.name
        self.probability = percent(traced.probability)
        self.arrived = wording.arrived_told(traced)
        self.found = bool(len(traced.points))


class Shown:
    """One explained sample.

    Args:
        example: The sample.
    """

    def __init__(self, example: Example) -> None:
        self.index = count(example.index)
        self.anchor = f"explained-{example.index}"
        self.predicted = Class(example.predicted)
        self.true = None if example.true is None else Class(example.true)
        self.shared = wording.shared_told(example)
        self.bars: Bars | None = bars(example) if example.values is not None else None
        self.pictures: Pictures | None = drawn(example) if example.values is None else None


class Gauge:
    """A number from 0 to 1 as a mark on a line.

    Args:
        label: What it is.
        value: The number.
        chance: What chance gives, None where that is not known.
    """

    def __init__(self, label: str, value: float, chance: float | None = None) -> None:
        self.label = label
        self.value = number(value)
        self.at = round(100 * value, 1)
        self.chance = None if chance is None else round(100 * chance, 1)
        self.chance_told = "" if chance is None else f"{number(chance)} by chance (dotted)"


class Section:
    """The section about explanations.

    Args:
        facts: The tables.
    """

    def __init__(self, facts: ExplanationFacts) -> None:
        self._facts = facts
        self.error = facts.error
        self.vectors = facts.vectors
        self.method = title_of(facts.tracing["method"])
        self.mistakes_told = wording.mistakes_told(facts)
        self.all_arrived = wording.all_arrived(facts)
        self.sensitivity = wording.sensitivity_told(facts)
        self.heat_bar = heat_bar()
        self.difference_bar = difference_bar()
        self.open = OPEN

    @cached_property
    def wrong(self) -> list[Shown]:
        """Mistakes, the most confident first."""
        return [Shown(example) for example in self._facts.wrong]

    @cached_property
    def right(self) -> list[Shown]:
        """Right predictions, class by class."""
        return [Shown(example) for example in self._facts.right]

    @property
    def gauges(self) -> list[Gauge]:
        """How far explanations of different classes overlap; none where that is not known."""
        row = self._facts.tracing
        if row["jaccard"] is None:
            return []
        return [
            Gauge("of the points", row["jaccard"], row["jaccard_chance"]),
            Gauge(f"of the {'bars' if self.vectors else 'heat maps'}", row["jaccard_heat"]),
        ]

    def remarks(self) -> tuple[list[Remark], list[Remark]]:
        """What may be concluded from the explanations, and what may not."""
        return wording.remarks(self._facts)
