"""Everything that the section about boosting is laid out from."""

from __future__ import annotations

from functools import cached_property

from cofire.report.boost import tables, wording
from cofire.report.boost.facts import BoostFacts
from cofire.report.notation import plural
from cofire.report.wording import Remark

_KINDS = {
    "base": "",
    "control": "controls: see nothing of hidden layers but what goes into the last",
    "ablation": "ablations: the same readout of all layers, with half of what it reads taken away",
    "method": "methods: see activation patterns of all layers",
}


class Group:
    """Examples of one kind of change.

    Args:
        title: What happened to them.
        flips: The examples.
        total: How many there are in all, None where that is not known.
    """

    def __init__(self, title: str, flips: list[tables.Flip], total: int | None) -> None:
        self.title = title
        self.flips = flips
        self.note = f"{len(flips)} of {total:,}" if total is not None and total > len(flips) else ""


class Section:
    """The section about boosting.

    Args:
        facts: The tables.
        alone: Whether the page has no other section, so that its head has said the verdict already.
    """

    def __init__(self, facts: BoostFacts, *, alone: bool = False) -> None:
        self._facts = facts
        self.alone = alone
        self.single = facts.single
        self.paper = wording.PAPER
        self.split = wording.SPLIT
        self.verdict = wording.verdict_told(facts)
        self.course = wording.course_told(facts)

    @property
    def lead(self) -> str:
        """The verdict in two sentences, for the top of the page."""
        return self.verdict.lead

    @cached_property
    def methods(self) -> list[tuple[str, list[tables.MethodRow]]]:
        """Everything that was tried at the last checkpoint, in groups with their headings; the network has none."""
        rows = tables.method_rows(self._facts)
        return [
            (heading, part)
            for kind, heading in _KINDS.items()
            if (part := [r for r in rows if r.kind == kind])
        ]

    @cached_property
    def checkpoints(self) -> list[tables.CourseRow]:
        """All checkpoints, or none where there is one only."""
        return [] if self.single else tables.course_rows(self._facts)

    @property
    def means(self) -> dict[str, str]:
        """Mean gains over the checkpoints."""
        return tables.mean_row(self._facts)

    @cached_property
    def classes(self) -> list[tables.ClassRow]:
        """Errors class by class."""
        return tables.class_rows(self._facts)

    @property
    def classes_told(self) -> str:
        """Which classes the table has."""
        total = len(self._facts.last_classes)
        if len(self.classes) == total:
            return "the classes whose errors change most first"
        return f"the {len(self.classes)} of {plural(total, 'class', 'classes')} whose errors change most"

    @property
    def flips_told(self) -> str:
        """How many predictions change."""
        return wording.flips_told(self._facts)

    @cached_property
    def groups(self) -> list[Group]:
        """Examples of predictions that change, by what happened to them."""
        repaired, broken, other = tables.flips(self._facts)
        row = self._facts.last.booster
        found = [
            Group("Wrong, then right", repaired, row["repaired"]),
            Group("Right, then wrong", broken, row["broken"]),
            Group("Wrong, then wrong in another way", other, None),
        ]
        return [group for group in found if group.flips]

    def captions(self) -> dict[str, str]:
        """A text for every figure of the section."""
        return {
            "boost-accuracy": "Test accuracy of the model, the best control and the booster over the checkpoints.",
            "boost-gain": "What the booster gains over the best control at each checkpoint, in points of test "
            "accuracy, with 95\N{NO-BREAK SPACE}% intervals, and what it gains over the readout of values alone, which "
            "is what patterns add. Where a bar crosses the dashed line, that checkpoint by itself shows no gain.",
            "boost-methods": "What everything that was tried gains over the model, in points of test accuracy, with "
            "95\N{NO-BREAK SPACE}% intervals. The dashed line is the model; the best control and the booster are bold.",
        }

    def remarks(self) -> tuple[list[Remark], list[Remark]]:
        """What may be concluded from boosting, and what may not."""
        return wording.remarks(self._facts)
