"""What the page says and draws of explanations, read once from their two tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import torch

from cofire.explain.result.regions import Points
from cofire.report.facts import Facts


@dataclass(frozen=True, eq=False)
class Traced:
    """The evidence for one class on one sample.

    Attributes:
        name: Of the class.
        probability: That the network gives it, 0 to 1.
        points: Where its evidence ended.
    """

    name: str
    probability: float
    points: Points

    @property
    def evidence(self) -> float:
        """The share of it that reached the input, 0 to 1."""
        return float(self.points.score.sum(dtype=torch.float64))


@dataclass(frozen=True, eq=False)
class Example:
    """One explained test sample.

    Attributes:
        index: Its number in the test data.
        predicted: The class that it was taken for.
        true: Its own class where that is another, else None.
        size: Height and width in pixels; (1, features) for vectors.
        picture: A PNG, None where there is none.
        values: A vector's numbers, None for images.
    """

    index: int
    predicted: Traced
    true: Traced | None
    size: tuple[int, int]
    picture: bytes | None
    values: list[float] | None


class ExplanationFacts:
    """The explanations of the last checkpoint that has any.

    Args:
        tracings: A table of `tracings` with rows.
        explanations: A table of `explanations`.
        class_names: The name of every class that is known.

    Attributes:
        tracing: The row of `tracings`.
        right: Examples that were predicted right, in the order of their classes.
        wrong: Examples that were not, the most confident first.
    """

    def __init__(
        self, tracings: pa.Table, explanations: pa.Table, class_names: dict[int, str]
    ) -> None:
        self.tracing: dict[str, Any] = max(tracings.to_pylist(), key=lambda row: row["checkpoint"])
        last = pc.field("checkpoint") == self.tracing["checkpoint"]
        rows = explanations.filter(last).to_pylist()
        others = {row["index"]: row for row in rows if row["target"] != row["predicted"]}
        first = [row for row in rows if row["target"] == row["predicted"]]
        first.sort(key=lambda row: (row["label"], row["index"]))
        found = [(row, _example(row, others.get(row["index"]), class_names)) for row in first]
        self.right = [example for row, example in found if row["label"] == row["predicted"]]
        wrong = [
            (row["confidence"], example)
            for row, example in found
            if row["label"] != row["predicted"]
        ]
        self.wrong = [example for _, example in sorted(wrong, key=lambda pair: -pair[0])]

    @property
    def error(self) -> str | None:
        """Why nothing could be explained, None where it could."""
        reason: str | None = self.tracing["error"]
        return reason

    @property
    def vectors(self) -> bool:
        """Whether samples are vectors and no images."""
        return any(example.values is not None for example in (*self.right, *self.wrong))


def _example(row: dict[str, Any], other: dict[str, Any] | None, names: dict[int, str]) -> Example:
    shape = row["shape"]
    return Example(
        row["index"],
        _traced(row, names),
        None if other is None else _traced(other, names),
        (shape[1], shape[2]) if len(shape) == 3 else (1, shape[0]),
        row["picture"],
        row["values"],
    )


def _traced(row: dict[str, Any], names: dict[int, str]) -> Traced:
    y, x = (torch.tensor(row[axis], dtype=torch.int32) for axis in ("y", "x"))
    points = Points(y, x, torch.tensor(row["score"], dtype=torch.float32))
    return Traced(names.get(row["target"], f"class {row['target']}"), row["probability"], points)


def explanations_of(facts: Facts) -> ExplanationFacts | None:
    """What a trajectory explains, or None where that was not asked for."""
    run = facts.trajectory
    if not len(run.tracings):
        return None
    return ExplanationFacts(run.tracings, run.explanations, facts.class_names)
