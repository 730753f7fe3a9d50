"""Everything that the section about the graphs is laid out from."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from cofire.report.graphs import tables, wording
from cofire.report.graphs.facts import GraphFacts
from cofire.report.graphs.figures import MANY_CLASSES, matrix_name, modularity_name
from cofire.report.graphs.palette import DOZEN, palette
from cofire.report.graphs.picture import EDGES, NEURONS, OWN_EDGES, packed, pictured, pictures
from cofire.report.graphs.roles import ROLES
from cofire.report.notation import count, plural
from cofire.report.wording import Remark

OPEN = 3
"""With up to so many layers, all that is said layer by layer lies open."""


@dataclass(frozen=True)
class Layer:
    """What is shown of one layer.

    Attributes:
        name: Its name.
        unique: A sentence about its unique neurons.
        matrices: Names of the figures of its matrices; none where there are too many classes.
        modularity: Name of the figure of its modularity, or "".
        course: A sentence about it.
        meanings: What each measure's value means: its name, and the rest of a sentence.
        classes: Its classes, row by row.
        more_classes: How many have no row.
        open: Whether it lies open.
    """

    name: str
    unique: str
    matrices: list[str]
    modularity: str
    course: str
    meanings: list[tuple[str, str]]
    classes: list[tables.ClassRow]
    more_classes: int
    open: bool


class Section:
    """The section about the graphs.

    Args:
        facts: The graphs.
        drawn: Names of the figures that were drawn.
        test: Whether test accuracy is known.
    """

    def __init__(self, facts: GraphFacts, drawn: set[str], *, test: bool) -> None:
        self._facts = facts
        self._drawn = drawn
        self.test = test
        self.single = facts.single
        self.drawn_layers, self.drawn_checkpoints = pictured(facts)
        self.all_layers = len(facts.layers)
        self.ends = facts.ends
        self.roles = ROLES
        self.clear = wording.CLEAR
        self.many_classes = MANY_CLASSES

    @property
    def lead(self) -> str:
        """The graphs in one sentence, for the top of the page."""
        return wording.lead_told(self._facts)

    @property
    def rules(self) -> str:
        """How the graphs were made, in sentences."""
        row = self._facts.row(self._facts.layers[-1], self._facts.checkpoints[-1])
        tops = {
            (self._facts.row(n, c)["top"], self._facts.row(n, c)["top_asked"])
            for n in self._facts.layers
            for c in self._facts.ends
        }
        asked, fewer = row["top_asked"], ""
        if any(top < wanted for top, wanted in tops):
            few = [(n, self._facts.row(n, self._facts.checkpoints[-1])) for n in self._facts.layers]
            shown = [f"{r['top']} in {n}" for n, r in few if r["top"] < r["top_asked"]]
            more = f" and {count(len(shown) - 3)} more layers" if len(shown) > 3 else ""
            # Graphs from before may have as many as there are neurons.
            fewer = (
                " (fewer in narrow layers, so that classes do not share most of them: "
                f"{', '.join(shown[:3])}{more})"
            )
        pairs = {
            "class": "For each class, two of its representatives are joined by the share of its samples on which "
            "both exceed their own mean over it.",
            "union": "For each class, any two of all representatives are joined by the share of its samples on "
            "which both exceed their own mean over it.",
        }.get(row["pairs"], f"Pairs of neurons were counted as “{row['pairs']}”.")
        return (
            f"The {count(asked)} neurons{fewer} with the highest mean activation over a class represent it. {pairs} "
            f"The weight of an edge is the sum of these shares over the classes.{self._crowding()}"
            + (f" {bare}" if (bare := self._facts.told_bare()) else "")
        )

    def _crowding(self) -> str:
        """A warning where there are hardly more neurons than representatives."""
        crowded = self._facts.crowded
        if not crowded:
            return ""
        shown = ", ".join(
            f"{top} of {neurons} neurons in {layer}" for layer, top, neurons in crowded[:3]
        )
        more = f" and {len(crowded) - 3} more layers" if len(crowded) > 3 else ""
        return (
            f" Mind that each class has {shown}{more}: classes share most of them whatever the network does. A smaller "
            "top (--top) tells classes apart."
        )

    @property
    def limits(self) -> str:
        """What of the graphs is not drawn, or ""."""
        facts, told = self._facts, []
        graphs = [
            facts.row(layer, number)
            for layer in self.drawn_layers
            for number in self.drawn_checkpoints
        ]
        if any(row["edges"] > EDGES for row in graphs):
            told.append(
                f"Of each graph up to {count(EDGES)} edges are drawn: the strongest of all, and the {OWN_EDGES} "
                "strongest of every neuron"
            )
        if any(row["vertices"] > NEURONS for row in graphs):
            told.append(f"the {count(NEURONS)} neurons with the greatest strength")
        if len(self.drawn_checkpoints) < len(facts.checkpoints):
            told.append(
                f"{len(self.drawn_checkpoints)} of {plural(len(facts.checkpoints), 'checkpoint')}"
            )
        if len(self.drawn_layers) < self.all_layers:
            told.append(f"{len(self.drawn_layers)} of {self.all_layers} layers")
        text = "; ".join(told)
        return f"{text[0].upper()}{text[1:]}." if text else ""

    @cached_property
    def data(self) -> dict[str, Any]:
        """The picture's data, as JSON takes it."""
        facts = self._facts
        scenes = pictures(facts)
        most = max(
            [
                len(facts.class_names),
                *(1 + int(p.graph.own.max(initial=0)) for s in scenes for p in s.pictures),
            ]
        )
        names = [facts.class_name(number) for number in range(most)]
        colours = {
            "class": {theme: palette(most, theme) for theme in ("light", "dark")},
            "community": {theme: list(DOZEN[theme]) for theme in ("light", "dark")},
        }
        return {**packed(facts, scenes, names), "palettes": colours}

    @property
    def last_place(self) -> int:
        """Position of the slider at the last checkpoint."""
        return len(self.drawn_checkpoints) - 1

    @property
    def description(self) -> str:
        """A text in place of the picture."""
        return wording.picture_told(self._facts)

    @cached_property
    def layers(self) -> list[Layer]:
        """The layers that are drawn, one by one."""
        return [self._layer(i, name) for i, name in enumerate(self.drawn_layers)]

    def _layer(self, place: int, name: str) -> Layer:
        facts = self._facts
        matrices = [matrix_name(facts, name, number) for number in facts.ends]
        modularity = modularity_name(facts, name)
        shown = modularity in self._drawn
        classes = tables.class_rows(facts, name)
        return Layer(
            name,
            wording.unique_told(facts, name),
            [figure for figure in matrices if figure in self._drawn],
            modularity if shown else "",
            wording.course_told(facts, name) if shown else "",
            wording.modularity_told(facts, name),
            classes,
            len(facts.matrix(name, facts.checkpoints[-1])) - len(classes),
            len(self.drawn_layers) <= OPEN or place in (0, len(self.drawn_layers) - 1),
        )

    @property
    def classes_told(self) -> str:
        """What the unique neurons did over training."""
        return "" if self.single else wording.classes_told(self._facts)

    @property
    def draws(self) -> str:
        """From how many draws the null models were made, in a sentence."""
        facts = self._facts
        rows = [
            facts.modularity(layer, measure, number)
            for layer in facts.layers
            for measure in facts.measures
            for number in facts.ends
        ]
        if all(row is None or row["labels_mean"] is None for row in rows):
            return "No graphs with random labels were made, so that it is open whether a value is more than chance."
        shuffles, graphs = (
            max(r[f"{n}_runs"] for r in rows if r is not None) for n in ("weights", "labels")
        )
        return (
            f"There are {plural(shuffles, 'shuffle')} and {plural(graphs, 'graph')} with random labels, which give a "
            "standard deviation only roughly: read a z for its order of magnitude."
        )

    @cached_property
    def null_rows(self) -> list[tables.NullRow]:
        """Measures of modularity against their null models."""
        return tables.null_rows(self._facts)

    @cached_property
    def measure_rows(self) -> list[tables.MeasureRow]:
        """Correlations with accuracy."""
        return tables.measure_rows(self._facts, test=self.test)

    @property
    def doubts_told(self) -> str:
        """Which correlations are noise."""
        return wording.doubts_told(self._facts)

    @cached_property
    def community_rows(self) -> list[tables.CommunityRow]:
        """The largest communities."""
        return tables.community_rows(self._facts)

    @property
    def communities_told(self) -> list[str]:
        """What they have to do with the classes."""
        return wording.communities_told(self._facts)

    @property
    def resolution(self) -> str:
        """The resolution at which communities were looked for."""
        return f"{self._facts.row(self._facts.layers[-1], self._facts.checkpoints[-1])['resolution']:g}"

    def captions(self) -> dict[str, str]:
        """A text for every figure of the section."""
        facts, said = self._facts, {}
        for layer in self.drawn_layers:
            for number in facts.ends:
                row = facts.row(layer, number)
                said[matrix_name(facts, layer, number)] = (
                    f"Unique-neuron matrix of {layer} at checkpoint {number}: {count(row['unique_neurons'])} neurons "
                    f"of one class alone, {count(row['shared_neurons'])} shared by pairs."
                )
            said[modularity_name(facts, layer)] = (
                f"Modularity of {layer} over the checkpoints, with accuracy below."
            )
        return said

    def remarks(self) -> tuple[list[Remark], list[Remark]]:
        """What may be concluded from the graphs, and what may not."""
        return wording.remarks(self._facts)
