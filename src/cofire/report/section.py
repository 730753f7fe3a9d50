"""What a part of the report is: a question, its answer, figures and tables; and the list of all parts.

A section of one's own is one class::

    from cofire.report import Section, Table, Column, register_section

    @register_section
    class Largest(Section):
        id, title = "largest", "Which layer is the largest?"

        def __init__(self, sizes):
            self.sizes = sizes

        @classmethod
        def of(cls, results):
            return cls(dict(zip(results.layers, results.layer("neurons")[:, -1])))

        def lead(self):
            return f"{max(self.sizes, key=self.sizes.get)} is."

        def tables(self):
            rows = list(self.sizes.items())
            return {"sizes": Table("Sizes.", [Column("layer"), Column("neurons", digits=0)], rows)}
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
import pyarrow as pa
import pyarrow.compute as pc

from cofire.errors import OptionError
from cofire.report.table import Table
from cofire.study.halves import sampling_interval
from cofire.study.trajectory import Trajectory

Floats = npt.NDArray[np.float64]


class Results:
    """A trajectory as sections read it.

    Args:
        trajectory: One checkpoint or more.
        folder: Where the page is written: the tables beside it are named in it.
        top: Of which number of representatives graphs are, where several were asked for; the first
            unless given.

    Attributes:
        whole: As given, with all its tables.
        trajectory: With graphs of one number of representatives and boosters of one choice of layers.
        options: How it was made.
        checkpoints: Numbers of the checkpoints, in order.
        layers: Names of the layers, from input to output.
        saved: Names of the tables that lie in the folder.
    """

    def __init__(
        self, trajectory: Trajectory, folder: Path | None = None, top: int | None = None
    ) -> None:
        self.whole = _with_spoken_layers(trajectory)
        self.trajectory = self.whole.chosen(top)
        self.options: dict[str, Any] = trajectory.options
        self.checkpoints = trajectory.checkpoints
        order = self.whole.layers.group_by(["layer"]).aggregate([("layer_index", "min")])
        self.layers: tuple[str, ...] = tuple(order.sort_by("layer_index_min")["layer"].to_pylist())
        self.saved = trajectory.saved_in(folder) if folder and self.checkpoints else ()

    @property
    def single(self) -> bool:
        """Whether there is one checkpoint only, so that nothing changes or correlates."""
        return len(self.checkpoints) == 1

    @property
    def when(self) -> str:
        """What of several checkpoints a number is of: " at the last checkpoint", or ""."""
        return "" if self.single else " at the last checkpoint"

    @cached_property
    def _network(self) -> pa.Table:
        return self.trajectory.network()

    def network(self, column: str) -> Floats:
        """A number of the whole network at every checkpoint, shape (checkpoints,); NaN where unknown."""
        return floats(self._network[column])

    def layer(self, column: str) -> Floats:
        """A number of every layer at every checkpoint, shape (layers, checkpoints); NaN where unknown."""
        rows = {name: i for i, name in enumerate(self.layers)}
        places = {number: i for i, number in enumerate(self.checkpoints)}
        table = self.trajectory.layers
        grid = np.full((len(rows), len(places)), np.nan)
        i = [rows[name] for name in table["layer"].to_pylist()]
        j = [places[number] for number in table["checkpoint"].to_pylist()]
        grid[i, j] = floats(table[column])
        return grid

    @cached_property
    def pictures(self) -> list[dict[str, Any]]:
        """Rows of the table of pictures: those of the last checkpoint, where one that was the last is still there."""
        rows: list[dict[str, Any]] = self.trajectory.pictures.to_pylist()
        last = max((row["checkpoint"] for row in rows), default=0)
        return [row for row in rows if row["checkpoint"] == last]

    @property
    def tops(self) -> list[int]:
        """The numbers of representatives per class that graphs were asked for, the one that is shown first."""
        asked = self.options.get("top")
        return list(asked) if isinstance(asked, list | tuple) else []

    def sampling_error(self, table: pa.Table, column: str) -> float | None:
        """Half of the 95 % interval of what was observed on a sample, at every checkpoint; None of whole data.

        Args:
            table: With one row, or rows to be added, for each checkpoint.
            column: What one half of the sample gives less what the other one does.
        """
        known = table.slice(0, 0)
        if column in table.column_names:
            known = table.select(["checkpoint", column]).drop_null()
        if not len(known):
            return None
        gaps = known.group_by("checkpoint").aggregate([(column, "sum")])[f"{column}_sum"]
        found = sampling_interval(0.0, gaps.to_pylist())
        return None if found is None else found.high

    @cached_property
    def accuracies(self) -> dict[str, Floats]:
        """Training and test accuracy as shares, shape (checkpoints,), as far as they were measured."""
        found = {n: self.network(f"{n}_accuracy") for n in ("train", "test")}
        return {name: values for name, values in found.items() if math.isfinite(values.sum())}

    def neurons(self, place: int = -1) -> pa.Table:
        """The neurons at a checkpoint: -1 is the last, 0 the first."""
        number = self.checkpoints[place]
        return self.trajectory.neurons.filter(pc.field("checkpoint") == number).combine_chunks()

    def living(self, measure: str, place: int = -1) -> dict[str, Floats]:
        """A measure of the neurons that are not dead, by layer; a layer without any is left out.

        Args:
            measure: A column of the table of neurons.
            place: Of which checkpoint: -1 is the last, 0 the first.
        """
        if measure not in self.trajectory.neurons.column_names:
            return {}
        table = self.neurons(place).filter(~pc.field("dead") & pc.is_finite(pc.field(measure)))
        values, names = floats(table[measure]), np.array(table["layer"].to_pylist(), dtype=object)
        return {name: values[here] for name in self.layers if (here := names == name).any()}

    @cached_property
    def class_names(self) -> dict[int, str]:
        """The name of every class number that is known."""
        return self.trajectory.class_names()

    def class_name(self, number: int) -> str:
        """The name of a class, or its number."""
        return self.class_names.get(number, str(number))

    @cached_property
    def classes(self) -> int:
        """How many classes occur; how many are named where nothing was kept by class."""
        return len(set(self.trajectory.classes["class"].to_pylist())) or len(self.class_names)


def _with_spoken_layers(run: Trajectory) -> Trajectory:
    """With "layer 12" in place of a name that is a number, as a network in sequence has them."""
    spoken = {}
    for one in fields(run):
        table = getattr(run, one.name)
        if isinstance(table, pa.Table) and "layer" in table.column_names:
            place = table.schema.get_field_index("layer")
            names = pc.replace_substring_regex(table["layer"], r"^(\d)", r"layer \1")
            spoken[one.name] = table.set_column(place, table.schema.field(place), names)
    return replace(run, **spoken)


def floats(column: pa.ChunkedArray) -> Floats:
    """A column of numbers, NaN where there is none."""
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)


class Section(Protocol):
    """A part of the report: one question.

    Attributes:
        id: Its place in the page's address, such as "boost".
        title: The question, its heading.
        label: The entry in the contents; the title unless given.
        template: Name of the template that lays it out, or the path of one of your own: by default
            figures, each with its caption, and under *Details* the tables.
        wide: Whether it takes the whole width of a broad screen from the start.
        scripts: Names of the scripts that it needs, in order.
    """

    id: ClassVar[str]
    title: ClassVar[str]
    label: ClassVar[str] = ""
    template: ClassVar[str] = "section.html.j2"
    wide: ClassVar[bool] = False
    scripts: tuple[str, ...] = ()

    @classmethod
    def of(cls, results: Results) -> Self | None:
        """The section of some results, or None where they do not answer the question."""
        return None

    def lead(self) -> str | None:
        """The answer in one sentence."""
        return None

    def figures(self) -> Mapping[str, go.Figure]:
        """Figures by name: in the page, in `cofire.report.figures` and of the files that are written."""
        return {}

    def tables(self) -> Mapping[str, Table]:
        """Tables by name."""
        return {}

    def stills(self) -> Mapping[str, go.Figure]:
        """Figures for a paper or a talk, in place of what moves in the page."""
        return {}


S = TypeVar("S", bound=type[Section])

SECTIONS: dict[str, type[Section]] = {}
"""Every section of the report by its id, in the page's order."""


def register_section(section: S) -> S:
    """Add a section to the report, after those that are there.

    Args:
        section: A class as `Section` describes it.

    Returns:
        The class, so that this can stand above it.

    Raises:
        OptionError: Its id cannot be an address in the page, or another section has it.
    """
    name = getattr(section, "id", None)
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", name):
        raise OptionError(
            f"a section with the id {name!r}",
            "small letters, digits and dashes, a letter first",
            'give the class an id such as id = "my-section"',
        )
    if SECTIONS.get(name, section).__qualname__ != section.__qualname__:
        raise OptionError(
            f"a section with the id {name!r}, which {SECTIONS[name].__qualname__} has",
            "an id of its own",
            "choose another id",
        )
    SECTIONS[name] = section
    return section
