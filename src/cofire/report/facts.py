"""What the page says and draws, read once from a trajectory into plain arrays."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from cofire.errors import ResultError
from cofire.study.correlation import Correlation
from cofire.study.trajectory import Trajectory

Floats = npt.NDArray[np.float64]

MEASURES = ("entropy", "activity", "selectivity", "information")
"""What is known of every neuron and drawn as a distribution."""


@dataclass(frozen=True)
class Subject:
    """One row of a correlation table: entropy of the network, a layer or a class against accuracy.

    Attributes:
        scope: "network", "layer" or "class".
        name: Name of the layer or class.
        train: Against training accuracy, None where that was not measured.
        test: Against test accuracy, None where that was not measured.
        constant: Why a correlation is not defined, "" where it is.
    """

    scope: str
    name: str
    train: Correlation | None
    test: Correlation | None
    constant: str = ""


class Facts:
    """A trajectory as the page needs it.

    Args:
        trajectory: One checkpoint or more.

    Raises:
        ResultError: The trajectory has no checkpoint.

    Attributes:
        checkpoints: Numbers of the checkpoints, in order.
        layers: Names of the layers, from input to output.
        options: How it was made.
        trajectory: The trajectory itself.
    """

    def __init__(self, trajectory: Trajectory) -> None:
        self.checkpoints = trajectory.checkpoints
        if not self.checkpoints:
            raise ResultError(
                "a trajectory without checkpoints",
                "at least one checkpoint",
                "analyse a checkpoint before reporting",
            )
        self.trajectory = trajectory
        self.options: dict[str, Any] = trajectory.options
        order = (
            trajectory.layers.group_by(["layer"])
            .aggregate([("layer_index", "min")])
            .sort_by("layer_index_min")
        )
        self.layers: tuple[str, ...] = tuple(order["layer"].to_pylist())
        self._network = trajectory.network()

    @property
    def single(self) -> bool:
        """Whether there is one checkpoint only, so that nothing changes or correlates."""
        return len(self.checkpoints) == 1

    def network(self, column: str) -> Floats:
        """A number of the whole network at every checkpoint, shape (checkpoints,); NaN where unknown."""
        return _floats(self._network[column])

    @cached_property
    def entropy(self) -> Floats:
        """Entropy of the network in nats, shape (checkpoints,)."""
        return self.network("entropy")

    @cached_property
    def train(self) -> Floats | None:
        """Training accuracy as a share, shape (checkpoints,), or None where it was not measured."""
        return _known(self.network("train_accuracy"))

    @cached_property
    def test(self) -> Floats | None:
        """Test accuracy as a share, shape (checkpoints,), or None where it was not measured."""
        return _known(self.network("test_accuracy"))

    @cached_property
    def neurons(self) -> int:
        """How many neurons there are in all layers at the last checkpoint."""
        return int(self.network("neurons")[-1])

    def layer(self, column: str) -> Floats:
        """A number of every layer at every checkpoint, shape (layers, checkpoints); NaN where unknown."""
        rows = {name: i for i, name in enumerate(self.layers)}
        columns = {number: i for i, number in enumerate(self.checkpoints)}
        table = self.trajectory.layers
        grid = np.full((len(rows), len(columns)), np.nan)
        i = [rows[name] for name in table["layer"].to_pylist()]
        j = [columns[number] for number in table["checkpoint"].to_pylist()]
        grid[i, j] = _floats(table[column])
        return grid

    @cached_property
    def first_neurons(self) -> pa.Table:
        """The neurons at the first checkpoint."""
        return self._neurons_at(self.checkpoints[0])

    @cached_property
    def last_neurons(self) -> pa.Table:
        """The neurons at the last checkpoint."""
        return self._neurons_at(self.checkpoints[-1])

    def _neurons_at(self, checkpoint: int) -> pa.Table:
        return self.trajectory.neurons.filter(pc.field("checkpoint") == checkpoint).combine_chunks()

    def living(self, measure: str, *, first: bool = False) -> dict[str, Floats]:
        """A measure of the neurons that are not dead, layer by layer.

        Args:
            measure: One of `MEASURES`.
            first: Take the first checkpoint and not the last.

        Returns:
            For each layer the known values, shape (neurons alive,); a layer without any is left
            out.
        """
        table = self.first_neurons if first else self.last_neurons
        values, dead = _floats(table[measure]), table["dead"].to_numpy(zero_copy_only=False)
        encoded = table["layer"].dictionary_encode().combine_chunks()
        codes = encoded.indices.to_numpy() if len(table) else np.zeros(0, dtype=int)
        code = (
            {name: i for i, name in enumerate(encoded.dictionary.to_pylist())} if len(table) else {}
        )
        keep = np.isfinite(values) & ~dead.astype(bool)
        found = {name: values[keep & (codes == code[name])] for name in self.layers if name in code}
        return {name: part for name, part in found.items() if len(part)}

    @cached_property
    def class_names(self) -> dict[int, str]:
        """The name of every class number that is known."""
        return self.trajectory.class_names()

    @cached_property
    def classes(self) -> int:
        """How many classes occur; how many are named where nothing was kept by class."""
        return len(set(self.trajectory.classes["class"].to_pylist())) or len(self.class_names)

    @cached_property
    def classes_of_one_sample(self) -> int:
        """How many of them have a single sample, as far as that is known."""
        table = self.trajectory.classes.filter(pc.field("samples") == 1)
        return len(set(table["class"].to_pylist())) or int(
            self.options.get("classes_of_one_sample") or 0
        )

    @property
    def without_outputs(self) -> bool:
        """Whether the classes have nothing to do with the network's outputs, so that there is no accuracy."""
        return self.options.get("outputs") == "none"

    @cached_property
    def subjects(self) -> tuple[Subject, ...]:
        """Every correlation of entropy over the checkpoints: the network, then the layers, then the classes."""
        if self.single or self.train is None:
            return ()
        pairs: list[tuple[str, str, dict[str, Correlation]]] = []
        names = [f.name for f in fields(Correlation)]
        for row in self.trajectory.correlations().to_pylist():
            if row["measure"] != "entropy":
                continue
            found = Correlation(**{n: row[n] for n in names})
            # Two classes may share a name: an accuracy that occurs again starts the next subject.
            if (
                not pairs
                or pairs[-1][:2] != (row["scope"], row["name"])
                or row["accuracy"] in pairs[-1][2]
            ):
                pairs.append((row["scope"], row["name"], {}))
            pairs[-1][2][row["accuracy"]] = found
        return tuple(
            Subject(
                scope, name, both.get("train"), both.get("test"), self._constant(scope, name, both)
            )
            for scope, name, both in pairs
        )

    def of(self, scope: str) -> tuple[Subject, ...]:
        """The subjects of one scope."""
        return tuple(s for s in self.subjects if s.scope == scope)

    def _constant(self, scope: str, name: str, both: dict[str, Correlation]) -> str:
        if all(c.pearson is not None for c in both.values()):
            return ""
        if len(self.checkpoints) < 3:
            return f"{len(self.checkpoints)} checkpoints are too few, it takes 3"
        if scope == "network":
            part = self._network
        elif scope == "layer":
            part = self.trajectory.layers.filter(pc.field("layer") == name)
        else:
            part = self.trajectory.classes.filter(pc.field("class_name") == name)
        series = {
            "entropy": part["entropy"],
            "training accuracy": part["train_accuracy"],
            "test accuracy": part["test_accuracy"],
        }
        still = [
            what
            for what, values in series.items()
            if values.null_count == 0 and _is_constant(_floats(values))
        ]
        return f"constant {' and '.join(still)}" if still else "a constant series"


def _is_constant(values: Floats) -> bool:
    return bool(np.ptp(values) <= 1e-13 * np.abs(values).max(initial=0.0))


def _floats(column: pa.ChunkedArray) -> Floats:
    return np.asarray(pc.cast(column, pa.float64()).to_numpy(), dtype=np.float64)


def _known(values: Floats) -> Floats | None:
    return values if math.isfinite(values.sum()) else None
