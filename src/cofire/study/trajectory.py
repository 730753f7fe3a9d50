"""What the neurons did at every checkpoint of a training run: three tables that save, load and grow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from cofire.atomic import atomic_path
from cofire.errors import MergeError, ResultError
from cofire.study.correlation import Correlation, correlate

__all__ = ["CLASSES_SCHEMA", "LAYERS_SCHEMA", "NEURONS_SCHEMA", "Trajectory"]

_MOMENT = [
    pa.field("checkpoint", pa.int32(), nullable=False),
    pa.field("epoch", pa.float64(), nullable=False),
    pa.field("step", pa.int64()),
]

LAYERS_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("layer_index", pa.int32(), nullable=False),
        pa.field("layer", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("unit", pa.string(), nullable=False),
        pa.field("neurons", pa.int64(), nullable=False),
        pa.field("entropy", pa.float64(), nullable=False),
        pa.field("entropy_mean", pa.float64(), nullable=False),
        pa.field("entropy_median", pa.float64(), nullable=False),
        pa.field("dead", pa.int64(), nullable=False),
        pa.field("always_active", pa.int64(), nullable=False),
        pa.field("activity", pa.float64(), nullable=False),
        pa.field("mean_activation", pa.float64(), nullable=False),
        pa.field("selectivity", pa.float64()),
        pa.field("information", pa.float64()),
        pa.field("train_accuracy", pa.float64(), nullable=False),
        pa.field("test_accuracy", pa.float64()),
    ]
)
"""One row per checkpoint and layer. `entropy` is the sum over the layer's neurons in nats, `activity` the
mean share of observations in which a neuron is active, `selectivity` the median over neurons,
`information` the mean over neurons in bits; the last two are null where no classes were kept.
Accuracies are shares from 0 to 1 of the whole network, repeated in every layer's row."""

CLASSES_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("class", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("entropy", pa.float64(), nullable=False),
        pa.field("train_accuracy", pa.float64(), nullable=False),
        pa.field("test_accuracy", pa.float64()),
    ]
)
"""One row per checkpoint and class. `entropy` is the sum over all neurons of all layers in nats, on the
training samples of the class; the accuracies are those of the class's own samples."""

NEURONS_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("layer_index", pa.int32(), nullable=False),
        pa.field("layer", pa.string(), nullable=False),
        pa.field("neuron", pa.int64(), nullable=False),
        pa.field("entropy", pa.float64(), nullable=False),
        pa.field("activity", pa.float64(), nullable=False),
        pa.field("mean_activation", pa.float64(), nullable=False),
        pa.field("dead", pa.bool_(), nullable=False),
        pa.field("always_active", pa.bool_(), nullable=False),
        pa.field("selectivity", pa.float64()),
        pa.field("information", pa.float64()),
        pa.field("preferred_class", pa.int32()),
    ]
)
"""One row per checkpoint and neuron, what the distributions in the report are drawn from."""

_SCHEMAS = {"layers": LAYERS_SCHEMA, "classes": CLASSES_SCHEMA, "neurons": NEURONS_SCHEMA}


@dataclass(frozen=True, repr=False)
class Trajectory:
    """What the neurons did at every checkpoint of a training run.

    Attributes:
        layers: Arrow table, one row per checkpoint and layer (`LAYERS_SCHEMA`).
        classes: Arrow table, one row per checkpoint and class (`CLASSES_SCHEMA`).
        neurons: Arrow table, one row per checkpoint and neuron (`NEURONS_SCHEMA`).
        options: How it was made: data set, unit, bins, range, threshold, seed and so on.
    """

    layers: pa.Table
    classes: pa.Table
    neurons: pa.Table
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, schema in _SCHEMAS.items():
            table: pa.Table = getattr(self, name)
            if table.schema.names != schema.names:
                raise ResultError(
                    f"a table '{name}' with the columns {table.schema.names}",
                    f"the columns {schema.names}",
                    "make the trajectory again with this version of cofire",
                )

    @classmethod
    def empty(cls, options: dict[str, Any] | None = None) -> Self:
        """A trajectory without checkpoints, to start from."""
        layers, classes, neurons = (schema.empty_table() for schema in _SCHEMAS.values())
        return cls(layers, classes, neurons, dict(options or {}))

    @classmethod
    def concat(cls, parts: Iterable[Self]) -> Self:
        """Trajectories of different checkpoints under the same options, put in order.

        Raises:
            MergeError: The options differ, or a checkpoint occurs twice.
            ResultError: There is nothing to put together.
        """
        pieces = list(parts)
        if not pieces:
            raise ResultError("no trajectories", "at least one", "analyse a checkpoint first")
        seen: set[int] = set()
        for piece in pieces:
            if piece.options != pieces[0].options:
                raise MergeError(
                    "trajectories made under different options",
                    "the same data, layers, unit, bins, range and threshold in all",
                    "analyse the checkpoints again under one set of options",
                )
            if twice := seen & set(piece.checkpoints):
                raise MergeError(
                    f"the checkpoint {min(twice)} in two trajectories",
                    "each checkpoint once",
                    "drop one of the two",
                )
            seen |= set(piece.checkpoints)
        tables = [pa.concat_tables([getattr(p, name) for p in pieces]) for name in _SCHEMAS]
        keys = [
            ["checkpoint", "layer_index"],
            ["checkpoint", "class"],
            ["checkpoint", "layer_index", "neuron"],
        ]
        ordered = [
            t.sort_by([(k, "ascending") for k in key]).combine_chunks() for t, key in zip(tables, keys, strict=True)
        ]
        layers, classes, neurons = ordered
        return cls(layers, classes, neurons, pieces[0].options)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Numbers of the checkpoints, in order."""
        return tuple(sorted(set(self.layers["checkpoint"].to_pylist())))

    def network(self) -> pa.Table:
        """One row per checkpoint for the whole network: entropy `E = Σ_j E_j` in nats and the accuracies.

        Returns:
            Table with checkpoint, epoch, step, neurons, entropy, dead, always_active, train_accuracy and
            test_accuracy; entropies and counts are sums over the layers.
        """
        grouped = self.layers.group_by(["checkpoint", "epoch", "step"], use_threads=False).aggregate(
            [
                ("neurons", "sum"),
                ("entropy", "sum"),
                ("dead", "sum"),
                ("always_active", "sum"),
                ("train_accuracy", "first"),
                ("test_accuracy", "first"),
            ]
        )
        plain = grouped.rename_columns([n.removesuffix("_sum").removesuffix("_first") for n in grouped.column_names])
        return plain.sort_by("checkpoint")

    def correlations(self, *, confidence: float = 0.95) -> pa.Table:
        """Entropy against accuracy over the checkpoints: P2 Table 5 (network), Table 6 (classes), and layers.

        Returns:
            Table with one row per subject and accuracy: scope ("network", "layer" or "class"), name,
            accuracy ("train" or "test"), and the fields of `Correlation`. A class is held against its own
            accuracy.
        """
        rows: list[dict[str, Any]] = []

        def add(scope: str, name: str, table: pa.Table) -> None:
            for accuracy in ("train", "test"):
                values = table[f"{accuracy}_accuracy"]
                if values.null_count == 0:
                    found = correlate(table["entropy"].to_pylist(), values.to_pylist(), confidence=confidence)
                    rows.append({"scope": scope, "name": name, "accuracy": accuracy, **vars(found)})

        add("network", "all layers", self.network())
        for name in dict.fromkeys(self.layers["layer"].to_pylist()):
            add("layer", name, self.layers.filter(pc.field("layer") == name))
        names = dict(zip(self.classes["class"].to_pylist(), self.classes["class_name"].to_pylist(), strict=True))
        for number in sorted(names):
            add("class", names[number], self.classes.filter(pc.field("class") == number))
        numbers = [n for n in Correlation.__dataclass_fields__ if n != "points"]
        schema = pa.schema(
            [(n, pa.string()) for n in ("scope", "name", "accuracy")]
            + [(n, pa.float64()) for n in numbers[:-1]]
            + [("points", pa.int64()), ("confidence", pa.float64())]
        )
        return pa.Table.from_pylist(rows, schema=schema)

    def save(self, folder: str | Path) -> Path:
        """Write layers.parquet, classes.parquet and neurons.parquet, each whole or not at all.

        From three checkpoints on also correlations.parquet, which follows from them.

        Returns:
            The folder.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        note = {"cofire": json.dumps(self.options, sort_keys=True)}
        for name in _SCHEMAS:
            with atomic_path(target / f"{name}.parquet") as partial:
                pq.write_table(getattr(self, name).replace_schema_metadata(note), partial, compression="zstd")
        if len(self.checkpoints) >= 3:
            with atomic_path(target / "correlations.parquet") as partial:
                pq.write_table(self.correlations().replace_schema_metadata(note), partial, compression="zstd")
        return target

    @classmethod
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ResultError: A table is missing, damaged or of another kind.
        """
        tables = {}
        for name in _SCHEMAS:
            path = Path(folder) / f"{name}.parquet"
            try:
                tables[name] = pq.read_table(path)
            except (OSError, pa.ArrowInvalid) as error:
                raise ResultError(
                    f"{path}: {'no such file' if isinstance(error, FileNotFoundError) else error}",
                    "a readable table of a trajectory",
                    "run the study again to make it, or name its folder",
                ) from error
        notes = {(table.schema.metadata or {}).get(b"cofire") for table in tables.values()}
        note = notes.pop()
        if note is None and not notes:
            raise ResultError(
                f"{folder}: tables without cofire's options",
                "tables that cofire wrote",
                "name a folder of a study",
            )
        seen = {name: set(t["checkpoint"].to_pylist()) for name, t in tables.items() if "checkpoint" in t.column_names}
        # A summary without classes has no rows there.
        whole = {frozenset(numbers) for name, numbers in seen.items() if numbers or name != "classes"}
        if note is None or notes or len(whole) > 1:
            raise ResultError(
                f"{folder}: tables that were not written together",
                "layers.parquet, classes.parquet and neurons.parquet of one trajectory",
                "start the study again: it writes them anew from the checkpoints it knows",
            )
        plain = {name: table.replace_schema_metadata(None) for name, table in tables.items()}
        return cls(**plain, options=json.loads(note))

    def __repr__(self) -> str:
        shown = self.checkpoints
        return (
            f"Trajectory({len(shown)} checkpoints, {len(set(self.layers['layer'].to_pylist()))} layers, "
            f"{len(set(self.classes['class'].to_pylist()))} classes)"
        )
