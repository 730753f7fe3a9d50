"""What the page says and draws of boosting, read once from its three tables."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from cofire.boost import MARGIN
from cofire.errors import ResultError
from cofire.report.facts import Facts
from cofire.statistics import Outcome, verdicts
from cofire.study.boosts import Boost, boost_at, margin_of
from cofire.study.tables import TABLES


class BoostFacts:
    """The tables of boosting as the page needs them.

    Args:
        boosts: A table of `boosts`.
        classes: A table of `boost_classes`.
        flips: A table of `flips`.
        class_names: The name of every class that is known.
        margin: A difference of test accuracy below it counts as none.

    Raises:
        ResultError: `boosts` has no rows, a table has other columns, or a checkpoint has not one
            row of each role.

    Attributes:
        class_names: As given, with those of `classes`.
        checkpoints: Numbers of the checkpoints, in order.
        boosts: For each checkpoint the rows that are held against each other.
        margin: As given.
    """

    def __init__(
        self,
        boosts: pa.Table,
        classes: pa.Table,
        flips: pa.Table,
        class_names: Mapping[int, str],
        margin: float = MARGIN,
    ) -> None:
        schemas = {
            "boosts": TABLES["boosts"].schema,
            "boost_classes": TABLES["boost_classes"].schema,
            "flips": TABLES["flips"].schema,
        }
        for (name, schema), table in zip(schemas.items(), (boosts, classes, flips), strict=True):
            if table.schema.names != schema.names:
                raise ResultError(
                    f"a table '{name}' with the columns {table.schema.names}",
                    f"the columns {schema.names}",
                    "make it again with this version of cofire",
                )
        if not len(boosts):
            raise ResultError(
                "a table 'boosts' without rows", "at least one checkpoint", "boost a network first"
            )
        self._rows: list[dict[str, Any]] = boosts.to_pylist()
        self._classes, self._flips = classes, flips
        named = zip(classes["class"].to_pylist(), classes["class_name"].to_pylist(), strict=True)
        self.class_names: dict[int, str] = {**class_names, **dict(named)}
        self.checkpoints: tuple[int, ...] = tuple(sorted({row["checkpoint"] for row in self._rows}))
        self.margin = margin
        counted = dict.fromkeys(self.checkpoints, 0)
        for row in classes.to_pylist():
            counted[row["checkpoint"]] = counted.get(row["checkpoint"], 0) + row["samples"]
        self.boosts: tuple[Boost, ...] = tuple(
            boost_at(boosts, number, counted[number], margin) for number in self.checkpoints
        )

    @cached_property
    def verdicts(self) -> list[Outcome]:
        """What the gain over the best control says at each checkpoint, held to 5 % for all of them together."""
        return verdicts([boost.over_control for boost in self.boosts], self.margin)

    @property
    def single(self) -> bool:
        """Whether there is one checkpoint only."""
        return len(self.checkpoints) == 1

    @property
    def last(self) -> Boost:
        """The rows that are held against each other at the last checkpoint."""
        return self.boosts[-1]

    @cached_property
    def last_rows(self) -> list[dict[str, Any]]:
        """Everything that was tried at the last checkpoint: the base, the controls, the ablations, the methods."""
        order = ("base", "control", "ablation", "method")
        found = [row for row in self._rows if row["checkpoint"] == self.checkpoints[-1]]
        return sorted(
            found, key=lambda row: order.index(row["kind"]) if row["kind"] in order else len(order)
        )

    @cached_property
    def last_classes(self) -> list[dict[str, Any]]:
        """Errors class by class at the last checkpoint."""
        return self._last(self._classes)

    @cached_property
    def last_flips(self) -> list[dict[str, Any]]:
        """Examples of predictions that change at the last checkpoint."""
        return self._last(self._flips)

    def _last(self, table: pa.Table) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = table.filter(
            pc.field("checkpoint") == self.checkpoints[-1]
        ).to_pylist()
        return rows

    def class_name(self, number: int) -> str:
        """The name of a class, or its number."""
        return self.class_names.get(number, str(number))


def boosts_of(facts: Facts) -> BoostFacts | None:
    """What a trajectory says of boosting, or None where it was not asked for."""
    run = facts.trajectory
    if not len(run.boosts):
        return None
    return BoostFacts(
        run.boosts, run.boost_classes, run.flips, facts.class_names, margin_of(run.options)
    )
