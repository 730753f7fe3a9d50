"""What the neurons did at every checkpoint of a training run: tables that save, load and grow."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from cofire.arguments import validated
from cofire.atomic import atomic_path
from cofire.checksums import read_schema, read_table, write_table
from cofire.errors import LayerError, MergeError, OptionError, ResultError, near_matches
from cofire.graphs import ActivationPatternGraph
from cofire.reading import reader
from cofire.study.correlation import Correlation, correlate
from cofire.study.graph_rows import graph_from_tables
from cofire.study.tables import (
    BOOST_CLASSES_SCHEMA,
    BOOSTS_ADDED,
    BOOSTS_SCHEMA,
    EDGES_SCHEMA,
    EXPLANATIONS_SCHEMA,
    FLIPS_SCHEMA,
    GRAPHS_SCHEMA,
    MODULARITIES_SCHEMA,
    SCHEMAS,
    SORT_KEYS,
    TRACINGS_SCHEMA,
    VERTICES_SCHEMA,
)

_OPTIONAL = ("classes", "graphs", "modularities", "vertices", "boosts", "boost_classes")


"""Tables that may be without rows."""


_SPARSE = ("edges", "flips", "tracings", "explanations")


"""Tables that may be without rows at single checkpoints: a graph may have no edges, a booster may change nothing, and
only the last checkpoint is explained."""


_WITHIN = {"flips": "boosts", "tracings": "layers", "explanations": "tracings"}


"""Tables that have no checkpoint which the other table has not."""


_LATER = {"boost": ("boosts", "boost_classes", "flips"), "explain": ("tracings", "explanations")}


"""Tables whose files results from before them do not have, by the option that asks for them."""


@validated
@dataclass(frozen=True, repr=False)
class Trajectory:
    """What the neurons did at every checkpoint of a training run.

    Attributes:
        layers: Arrow table, one row per checkpoint and layer (`LAYERS_SCHEMA`).
        classes: Arrow table, one row per checkpoint and class (`CLASSES_SCHEMA`).
        neurons: Arrow table, one row per checkpoint and neuron (`NEURONS_SCHEMA`).
        options: How it was made: data set, unit, bins, range, threshold, seed and so on.
        graphs: Arrow table, one row per checkpoint and layer's activation pattern graph
            (`GRAPHS_SCHEMA`); like the following ones without rows where no graphs were made.
        modularities: Arrow table, one row per graph and measure (`MODULARITIES_SCHEMA`).
        vertices: Arrow table, one row per graph and vertex (`VERTICES_SCHEMA`).
        edges: Arrow table, one row per graph and edge (`EDGES_SCHEMA`).
        boosts: Arrow table, one row per checkpoint and way to improve the network
            (`BOOSTS_SCHEMA`); like the following ones without rows unless that was asked for.
        boost_classes: Arrow table, errors class by class (`BOOST_CLASSES_SCHEMA`).
        flips: Arrow table, examples of predictions that change (`FLIPS_SCHEMA`).
        tracings: Arrow table, one row per explained checkpoint (`TRACINGS_SCHEMA`); like the
            following one without rows unless that was asked for.
        explanations: Arrow table, one row per explained test sample and class
            (`EXPLANATIONS_SCHEMA`).
    """

    layers: pa.Table
    classes: pa.Table
    neurons: pa.Table
    options: dict[str, Any] = field(default_factory=dict)
    graphs: pa.Table = field(default_factory=GRAPHS_SCHEMA.empty_table)
    modularities: pa.Table = field(default_factory=MODULARITIES_SCHEMA.empty_table)
    vertices: pa.Table = field(default_factory=VERTICES_SCHEMA.empty_table)
    edges: pa.Table = field(default_factory=EDGES_SCHEMA.empty_table)
    boosts: pa.Table = field(default_factory=BOOSTS_SCHEMA.empty_table)
    boost_classes: pa.Table = field(default_factory=BOOST_CLASSES_SCHEMA.empty_table)
    flips: pa.Table = field(default_factory=FLIPS_SCHEMA.empty_table)
    tracings: pa.Table = field(default_factory=TRACINGS_SCHEMA.empty_table)
    explanations: pa.Table = field(default_factory=EXPLANATIONS_SCHEMA.empty_table)

    def __post_init__(self) -> None:
        for name, schema in SCHEMAS.items():
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
        return cls(
            **{name: schema.empty_table() for name, schema in SCHEMAS.items()},
            options=dict(options or {}),
        )

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
        tables = {name: pa.concat_tables([getattr(p, name) for p in pieces]) for name in SCHEMAS}
        ordered = {
            name: table.sort_by([(key, "ascending") for key in SORT_KEYS[name]]).combine_chunks()
            for name, table in tables.items()
        }
        return cls(**ordered, options=pieces[0].options)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Numbers of the checkpoints, in order."""
        return tuple(sorted(set(self.layers["checkpoint"].to_pylist())))

    def network(self) -> pa.Table:
        """One row per checkpoint for the whole network: entropy `E = Σ_j E_j` in nats and the accuracies.

        Returns:
            Table with checkpoint, epoch, step, neurons, entropy, dead, always_active,
            train_accuracy and test_accuracy; entropies and counts are sums over the layers.
        """
        grouped = self.layers.group_by(
            ["checkpoint", "epoch", "step"], use_threads=False
        ).aggregate(
            [
                ("neurons", "sum"),
                ("entropy", "sum"),
                ("dead", "sum"),
                ("always_active", "sum"),
                ("train_accuracy", "first"),
                ("test_accuracy", "first"),
            ]
        )
        plain = grouped.rename_columns(
            [n.removesuffix("_sum").removesuffix("_first") for n in grouped.column_names]
        )
        return plain.sort_by("checkpoint")

    def correlations(self, *, confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95) -> pa.Table:
        """Each measure against accuracy over the checkpoints: P2 Tables 3, 4 (graphs), 5 (network) and 6 (classes).

        Returns:
            Table with one row per subject, measure and accuracy: scope ("network", "layer" or
                "class"), name,
            measure ("entropy"; of a layer's graph also "community size", the mean over its
            communities, and those of `MODULARITIES_SCHEMA`), accuracy ("train" or "test"), the mean
            of the measure over the checkpoints, and the fields of `Correlation`. A class is held
            against its own accuracy.
        """
        rows: list[dict[str, Any]] = []

        def add(
            scope: str,
            name: str,
            table: pa.Table,
            column: str = "entropy",
            measure: str = "entropy",
        ) -> None:
            for accuracy in ("train", "test"):
                accuracies = table[f"{accuracy}_accuracy"]
                if accuracies.null_count == 0:
                    values = table[column].to_pylist()
                    found = correlate(values, accuracies.to_pylist(), confidence=confidence)
                    subject = {
                        "scope": scope,
                        "name": name,
                        "measure": measure,
                        "accuracy": accuracy,
                    }
                    rows.append({**subject, "mean": sum(values) / len(values), **vars(found)})

        add("network", "all layers", self.network())
        for name in dict.fromkeys(self.layers["layer"].to_pylist()):
            add("layer", name, self.layers.filter(pc.field("layer") == name))
            graphs = self.graphs.filter(pc.field("layer") == name)
            if len(graphs):
                add("layer", name, graphs, "community_mean_size", "community size")
            of_layer = self.modularities.filter(pc.field("layer") == name)
            for measure in dict.fromkeys(of_layer["measure"].to_pylist()):
                add(
                    "layer",
                    name,
                    of_layer.filter(pc.field("measure") == measure),
                    "modularity",
                    measure,
                )
        names = dict(
            zip(
                self.classes["class"].to_pylist(),
                self.classes["class_name"].to_pylist(),
                strict=True,
            )
        )
        for number in sorted(names):
            add("class", names[number], self.classes.filter(pc.field("class") == number))
        numbers = Correlation.__dataclass_fields__
        schema = pa.schema(
            [(n, pa.string()) for n in ("scope", "name", "measure", "accuracy")]
            + [("mean", pa.float64())]
            + [(n, pa.int64() if n == "points" else pa.float64()) for n in numbers]
        )
        return pa.Table.from_pylist(rows, schema=schema)

    def graph(self, layer: str, checkpoint: int | None = None) -> ActivationPatternGraph:
        """The activation pattern graph of a layer at a checkpoint, out of the tables.

        Args:
            layer: Its name.
            checkpoint: Its number; the last one unless given.

        Raises:
            LayerError: No graph of such a layer.
            OptionError: No such checkpoint.
            ResultError: The tables do not hold all edges of the graph.
        """
        number = max(self.checkpoints, default=0) if checkpoint is None else checkpoint
        if number not in self.checkpoints:
            raise OptionError(
                f"checkpoint {number}",
                f"one of {', '.join(map(str, self.checkpoints))}",
                "name one of them",
            )
        found = self.graphs.filter(
            (pc.field("layer") == layer) & (pc.field("checkpoint") == number)
        ).to_pylist()
        if not found:
            layers = list(dict.fromkeys(self.graphs["layer"].to_pylist()))
            raise LayerError(
                f"no graph of a layer '{layer}'",
                f"one of {len(layers)} layers with a graph",
                f"try {near_matches(layer, layers)}"
                if layers
                else "make it again with pairs='class' (--pairs class)",
            )
        here = (pc.field("layer_index") == found[0]["layer_index"]) & (
            pc.field("checkpoint") == number
        )
        return graph_from_tables(
            found[0], self.vertices.filter(here), self.edges.filter(here), self.class_names()
        )

    def class_names(self) -> dict[int, str]:
        """Names of the classes by their numbers, as far as they are known."""
        listed = [str(name) for name in self.options.get("classes") or []]
        names = dict(
            zip(self.options.get("class_numbers") or range(len(listed)), listed, strict=False)
        )
        names.update(
            zip(
                self.classes["class"].to_pylist(),
                self.classes["class_name"].to_pylist(),
                strict=True,
            )
        )
        return names

    def save(self, folder: str | Path) -> Path:
        """Write each table as a Parquet file of its name, whole or not at all.

        From three checkpoints on also correlations.parquet, which follows from them.

        Returns:
            The folder.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        note = {"cofire": json.dumps(self.options, sort_keys=True)}
        for name in SCHEMAS:
            with atomic_path(target / f"{name}.parquet") as partial:
                write_table(
                    getattr(self, name).replace_schema_metadata(note), partial, compression="zstd"
                )
        if len(self.checkpoints) >= 3:
            with atomic_path(target / "correlations.parquet") as partial:
                write_table(
                    self.correlations().replace_schema_metadata(note), partial, compression="zstd"
                )
        return target

    def saved_in(self, folder: str | Path) -> tuple[str, ...]:
        """Names of the tables with rows whose files in a folder were made under the same options."""
        wanted = json.loads(json.dumps(self.options))
        found = []
        for name in SCHEMAS:
            try:
                note = (read_schema(Path(folder) / f"{name}.parquet").metadata or {}).get(b"cofire")
                same = json.loads(note or "null") == wanted
            except (OSError, ValueError, pa.ArrowException):
                continue
            if same and len(getattr(self, name)):
                found.append(name)
        return tuple(found)

    @classmethod
    @reader(ResultError, "the folder of a study or a summary", "run the study again to make it")
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Results from before there was boosting, or before there were explanations, have no files of
            them: where none of
        the tables is there and the options do not say that it was asked for, they are without rows.
        Columns that were added since are null.

        Raises:
            ResultError: A table is missing, damaged or of another kind.
        """
        tables = {}
        if not (Path(folder) / "layers.parquet").exists():
            raise ResultError(
                f"'{folder}' {'without tables' if Path(folder).is_dir() else 'is no folder'}",
                "the folder of a study or a summary",
                "name the folder that was given with --out, or run the study again to make it",
            )
        older = {
            option: names
            for option, names in _LATER.items()
            if not any((Path(folder) / f"{name}.parquet").exists() for name in names)
        }
        absent = [name for names in older.values() for name in names]
        for name in SCHEMAS:
            if name in absent:
                continue
            path = Path(folder) / f"{name}.parquet"
            try:
                tables[name] = read_table(path)
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
        options = {} if note is None else json.loads(note)
        for option, names in older.items():
            if options.get(option) not in ("none", None, 0):
                raise ResultError(
                    f"{folder}: no {names[0]}.parquet, though the options say {option} = {options[option]!r}",
                    f"{', '.join(f'{name}.parquet' for name in names)} beside the others",
                    "run the study again to make them",
                )
            tables |= {name: SCHEMAS[name].empty_table() for name in names}
        held = {
            n: t for n, t in tables.items() if n not in _SPARSE and "checkpoint" in t.column_names
        }
        seen = {name: set(table["checkpoint"].to_pylist()) for name, table in held.items()}
        # A summary without classes or graphs has no rows there.
        whole = {
            frozenset(numbers) for name, numbers in seen.items() if numbers or name not in _OPTIONAL
        }
        strays = [
            name
            for name, other in _WITHIN.items()
            if not _checkpoints(tables[name]) <= _checkpoints(tables[other])
        ]
        if note is None or notes or len(whole) > 1 or strays:
            raise ResultError(
                f"{folder}: tables that were not written together",
                f"{', '.join(f'{name}.parquet' for name in SCHEMAS)} of one trajectory",
                "start the study again: it writes them anew from the checkpoints it knows",
            )
        edges = (
            tables["edges"]
            .group_by(["checkpoint", "layer_index"])
            .aggregate([("weight", "count")])
            .to_pylist()
        )
        counted = {(row["checkpoint"], row["layer_index"]): row["weight_count"] for row in edges}
        rows = tables["graphs"].select(["checkpoint", "layer_index", "edges_kept"]).to_pylist()
        told = {
            (row["checkpoint"], row["layer_index"]): row["edges_kept"]
            for row in rows
            if row["edges_kept"]
        }
        if counted != told:
            raise ResultError(
                f"{folder}: edges that are not those of the graphs",
                "graphs.parquet and edges.parquet of one trajectory",
                "start the study again: it writes them anew from the checkpoints it knows",
            )
        plain = {
            name: _current(table.replace_schema_metadata(None), name)
            for name, table in tables.items()
        }
        return cls(**plain, options=options)

    def __repr__(self) -> str:
        shown = self.checkpoints
        return (
            f"Trajectory({len(shown)} checkpoints, {len(set(self.layers['layer'].to_pylist()))} layers, "
            f"{len(set(self.classes['class'].to_pylist()))} classes)"
        )


def _current(table: pa.Table, name: str) -> pa.Table:
    """A table with today's columns and types: those added since are null, and accuracies may be unknown."""
    schema = SCHEMAS[name]
    if name == "boosts" and table.schema.names == schema.names[: -len(BOOSTS_ADDED)]:
        for column in BOOSTS_ADDED:
            table = table.append_column(
                schema.field(column), pa.nulls(len(table), schema.field(column).type)
            )
    try:
        return table.cast(schema) if table.schema.names == schema.names else table
    except (pa.ArrowException, ValueError) as error:
        raise ResultError(
            f"a table '{name}' of other types: {error}",
            f"{', '.join(map(str, schema))}",
            "make the trajectory again with this version of cofire",
        ) from error


def _checkpoints(table: pa.Table) -> set[int]:
    return set(table["checkpoint"].to_pylist()) if "checkpoint" in table.column_names else set()


"""Options that rows from before were made without, since they change no number."""
