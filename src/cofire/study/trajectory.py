"""What the neurons did at every checkpoint of a training run: tables that save, load and grow."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import pyarrow as pa
import pyarrow.compute as pc
from pydantic import Field

from cofire.arguments import validated
from cofire.errors import LayerError, MergeError, OptionError, ResultError, near_matches
from cofire.graphs import ActivationPatternGraph
from cofire.marks import choice
from cofire.patterns import MEASURES, OfLayer
from cofire.reading import reader
from cofire.renamed import removed
from cofire.shown import Shown
from cofire.storage import read_schema, read_table, write_table
from cofire.study.boosts import choices_of
from cofire.study.correlation import Correlation, correlate
from cofire.study.graph_rows import graph_from_tables
from cofire.study.options import of_now
from cofire.study.tables import TABLES, WITHOUT

_MOMENT = ("checkpoint", "epoch", "step")


_ACCURACIES = ("train_accuracy", "test_accuracy")
_HALVES = ("entropy_halves", "entropy_shift")


_SUBJECT = ("scope", "name", "measure", "top", "accuracy", "mean")


@validated
@dataclass(frozen=True, repr=False)
class Trajectory(Shown):
    """What the neurons did at every checkpoint of a training run.

    Attributes:
        layers: Arrow table, one row per checkpoint and layer (`layers`).
        classes: Arrow table, one row per checkpoint and class (`classes`).
        neurons: Arrow table, one row per checkpoint and neuron (`neurons`).
        options: How it was made: data set, unit, bins, range, threshold, seed and so on.
        graphs: Arrow table, one row per checkpoint and layer's activation pattern graph
            (`graphs`); like the following ones without rows where no graphs were made.
        modularities: Arrow table, one row per graph and measure (`modularities`).
        vertices: Arrow table, one row per graph and vertex (`vertices`).
        edges: Arrow table, one row per graph and edge (`edges`).
        boosts: Arrow table, one row per checkpoint and way to improve the network
            (`boosts`); like the following ones without rows unless that was asked for.
        boost_classes: Arrow table, errors class by class (`boost_classes`).
        flips: Arrow table, examples of predictions that change (`flips`).
        tracings: Arrow table, one row per explained checkpoint (`tracings`); like the
            following one without rows unless that was asked for.
        explanations: Arrow table, one row per explained test sample and class
            (`explanations`).
        pictures: Arrow table, one row per shown neuron and sample that it fires most for
            (`pictures`).
    """

    layers: pa.Table
    classes: pa.Table
    neurons: pa.Table
    options: dict[str, Any] = field(default_factory=dict)
    graphs: pa.Table = field(default_factory=TABLES["graphs"].table)
    modularities: pa.Table = field(default_factory=TABLES["modularities"].table)
    vertices: pa.Table = field(default_factory=TABLES["vertices"].table)
    edges: pa.Table = field(default_factory=TABLES["edges"].table)
    boosts: pa.Table = field(default_factory=TABLES["boosts"].table)
    boost_classes: pa.Table = field(default_factory=TABLES["boost_classes"].table)
    flips: pa.Table = field(default_factory=TABLES["flips"].table)
    tracings: pa.Table = field(default_factory=TABLES["tracings"].table)
    explanations: pa.Table = field(default_factory=TABLES["explanations"].table)
    pictures: pa.Table = field(default_factory=TABLES["pictures"].table)

    def __post_init__(self) -> None:
        for name, spec in TABLES.items():
            object.__setattr__(self, name, spec.fit(getattr(self, name)))

    @classmethod
    def empty(cls, options: dict[str, Any] | None = None) -> Self:
        """A trajectory without checkpoints, to start from."""
        return cls(
            **{name: spec.table() for name, spec in TABLES.items()},
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
        ordered = {
            name: pa.concat_tables([getattr(p, name) for p in pieces], promote_options="default")
            .sort_by([(key, "ascending") for key in spec.keys.split()])
            .combine_chunks()
            .replace_schema_metadata(_missing([getattr(p, name) for p in pieces]) or None)
            for name, spec in TABLES.items()
        }
        return cls(**ordered, options=pieces[0].options)

    @property
    def checkpoints(self) -> tuple[int, ...]:
        """Numbers of the checkpoints, in order."""
        return tuple(sorted(set(self.layers["checkpoint"].to_pylist())))

    def network(self) -> pa.Table:
        """One row per checkpoint for the whole network: entropy `E = Σ_j E_j` in nats and the accuracies.

        Returns:
            Table with checkpoint, epoch, step, neurons, a column for each measure that is a sum, a
            count or a mean, entropy_halves and entropy_shift as in the table of layers,
            train_accuracy and test_accuracy; sums and counts are over the layers, means over the
            neurons.
        """
        spec = TABLES["layers"]
        hows = {name: how for name, how in _first_columns().items() if how != "median"}
        rows = []
        for number in self.checkpoints:
            layers = self.layers.filter(pc.field("checkpoint") == number).to_pylist()
            neurons = sum(layer["neurons"] for layer in layers)
            row = {**layers[0], "neurons": neurons}
            for name, how in hows.items():
                parts = [(layer[name], layer["neurons"]) for layer in layers]
                if any(value is None for value, _ in parts):
                    row[name] = None
                elif how == "mean":
                    row[name] = sum(value * size for value, size in parts) / neurons
                else:
                    row[name] = sum(value for value, _ in parts)
            for name in _HALVES:
                halves = [layer[name] for layer in layers if layer[name] is not None]
                row[name] = sum(halves) if halves else None
            rows.append(row)
        kept = {*_MOMENT, "neurons", *hows, *_HALVES, *_ACCURACIES}
        schema = pa.schema([field for field in spec.schema if field.name in kept])
        return pa.Table.from_pylist(rows, schema=schema)

    def correlations(self, *, confidence: Annotated[float, Field(gt=0, lt=1)] = 0.95) -> pa.Table:
        """Each measure against accuracy over the checkpoints: P2 Tables 3, 4 (graphs), 5 (network) and 6 (classes).

        Returns:
            Table with one row per subject, measure and accuracy: scope ("network", "layer" or
            "class"), name, measure (each that is registered, "entropy" first; of a layer's graph
            also "community size", the mean over its communities, and those of the table
            `modularities`), top (representatives per class of the graph, else null), accuracy
            ("train" or "test"), the mean of the measure over the checkpoints, and the fields of
            `Correlation`. A class is held against its own accuracy.
        """
        rows: list[dict[str, Any]] = []

        def add(
            scope: str, name: str, table: pa.Table, columns: Mapping[str, str], top: Any = None
        ) -> None:
            for measure, column in columns.items():
                if column not in table.column_names or table[column].null_count:
                    continue
                values = table[column].to_pylist()
                for accuracy in ("train", "test"):
                    accuracies = table[f"{accuracy}_accuracy"]
                    if accuracies.null_count == 0:
                        found = correlate(values, accuracies.to_pylist(), confidence=confidence)
                        subject = (scope, name, measure, top, accuracy, sum(values) / len(values))
                        rows.append({**dict(zip(_SUBJECT, subject, strict=True)), **vars(found)})

        own = {name: name for name in MEASURES}
        add("network", "all layers", self.network(), own)
        for name in dict.fromkeys(self.layers["layer"].to_pylist()):
            here = pc.field("layer") == name
            add("layer", name, self.layers.filter(here), own)
            for top, graphs, of_layer in self._of_tops(here):
                add("layer", name, graphs, {"community size": "community_mean_size"}, top)
                for measure in dict.fromkeys(of_layer["measure"].to_pylist()):
                    rest = of_layer.filter(pc.field("measure") == measure)
                    add("layer", name, rest, {measure: "modularity"}, top)
        for number, name in sorted(self._listed_classes().items()):
            add("class", name, self.classes.filter(pc.field("class") == number), own)
        numbers = [f.name for f in fields(Correlation)]
        whole = ("top", "points")
        schema = pa.schema(
            [(n, pa.int64() if n in whole else pa.string()) for n in _SUBJECT[:-1]]
            + [(n, pa.int64() if n in whole else pa.float64()) for n in (_SUBJECT[-1], *numbers)]
        )
        return pa.Table.from_pylist(rows, schema=schema)

    def _of_tops(self, here: pc.Expression) -> Iterator[tuple[int, pa.Table, pa.Table]]:
        """Graphs and their modularities, apart by their number of representatives."""
        graphs, modularities = self.graphs.filter(here), self.modularities.filter(here)
        for top in sorted(set(graphs["top"].to_pylist())):
            same = pc.field("top") == top
            # Results of earlier versions have graphs of one number.
            yield top, graphs.filter(same), modularities.filter(same | pc.field("top").is_null())

    def chosen(self, top: int | None = None, boost_layers: str | None = None) -> Self:
        """The same with graphs of one number of representatives, and boosters of one choice of layers.

        Args:
            top: Representative neurons per class as they were asked for, of which a narrow layer
                has fewer; the first of the options' unless given.
            boost_layers: A choice as it was asked for; all layers, or else the first, unless given.

        Raises:
            OptionError: It was not asked for.
        """
        tables: dict[str, pa.Table] = {}
        asked = self.options.get("top")
        tops = asked if isinstance(asked, list | tuple) else []
        if len(tops) > 1:
            wanted = tops[0] if top is None else choice(tops).of("top", top)
            # The largest number up to it, in each layer.
            rows = self.graphs.select(["layer_index", "top"]).to_pylist()
            best: dict[int, int] = {}
            for row in rows:
                if row["top"] <= wanted:
                    best[row["layer_index"]] = max(row["top"], best.get(row["layer_index"], 0))
            pairs = pa.table({"layer_index": list(best), "top": list(best.values())})
            keys = pairs.cast(pa.schema([("layer_index", pa.int32()), ("top", pa.int64())]))
            for name in ("graphs", "modularities", "vertices", "edges"):
                order = [(key, "ascending") for key in TABLES[name].keys.split()]
                tables[name] = _rows_of(getattr(self, name), keys).sort_by(order)
        choices = choices_of(self.boosts)
        if len(choices) > 1:
            of = choices[0] if boost_layers is None else choice(choices).of("layers", boost_layers)
            for name in ("boosts", "boost_classes", "flips"):
                tables[name] = getattr(self, name).filter(
                    (pc.field("layers") == of) | pc.field("layers").is_null()
                )
        return replace(self, **tables)

    def graph(
        self, layer: str, checkpoint: int | None = None, top: int | None = None
    ) -> ActivationPatternGraph:
        """The activation pattern graph of a layer at a checkpoint, out of the tables.

        Args:
            layer: Its name.
            checkpoint: Its number; the last one unless given.
            top: Representative neurons per class, where graphs of several numbers were asked for;
                the first of them unless given.

        Raises:
            LayerError: No graph of such a layer.
            OptionError: No such checkpoint, or no such number of representatives.
            ResultError: The tables do not hold all edges of the graph.
        """
        number = max(self.checkpoints, default=0) if checkpoint is None else checkpoint
        if number not in self.checkpoints:
            raise OptionError(
                f"checkpoint {number}",
                f"one of {', '.join(map(str, self.checkpoints))}",
                "name one of them",
            )
        one = self.chosen(top)
        found = one.graphs.filter(
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
            found[0], one.vertices.filter(here), one.edges.filter(here), self.class_names()
        )

    def class_names(self) -> dict[int, str]:
        """Names of the classes by their numbers, as far as they are known."""
        listed = [str(name) for name in self.options.get("classes") or []]
        names = dict(
            zip(self.options.get("class_numbers") or range(len(listed)), listed, strict=False)
        )
        return {**names, **self._listed_classes()}

    def _listed_classes(self) -> dict[int, str]:
        columns = (self.classes[name].to_pylist() for name in ("class", "class_name"))
        return dict(zip(*columns, strict=True))

    def save(self, folder: str | Path) -> Path:
        """Write each table as a Parquet file of its name, whole or not at all.

        From three checkpoints on also correlations.parquet, which follows from them.

        Returns:
            The folder.
        """
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        tables = {name: getattr(self, name) for name in TABLES}
        if len(self.checkpoints) >= 3:
            tables["correlations"] = self.correlations()
        for name, table in tables.items():
            metadata = {"cofire": json.dumps(self.options, sort_keys=True)}
            whole = table.replace_schema_metadata(_missing([table]) | metadata)
            write_table(whole, target / f"{name}.parquet", compression="zstd")
        return target

    def saved_in(self, folder: str | Path) -> tuple[str, ...]:
        """Names of the tables with rows whose files in a folder were made under the same options."""
        wanted = json.loads(json.dumps(self.options))
        found = []
        for name in TABLES:
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

        Results of earlier versions open: what they did not have yet, tables of what was not asked
        for and columns that were added since, is without rows or null.

        Raises:
            ResultError: A table is missing, damaged or of another kind.
        """
        place = Path(folder)
        if not (place / "layers.parquet").exists():
            raise ResultError(
                f"'{folder}' {'without tables' if place.is_dir() else 'is no folder'}",
                "the folder of a study or a summary",
                "name the folder that was given with --out, or run the study again to make it",
            )
        there = {name for name in TABLES if (place / f"{name}.parquet").exists()}
        begun = {TABLES[name].option for name in there}
        tables, notes = {}, set()
        for name, spec in TABLES.items():
            path = place / f"{name}.parquet"
            if name not in there and spec.option and spec.option not in begun:
                tables[name] = spec.table()
                continue
            try:
                tables[name] = read_table(path)
            except (OSError, pa.ArrowInvalid) as error:
                raise ResultError(
                    f"{path}: {error if name in there else 'no such file'}",
                    "a readable table of a trajectory",
                    "run the study again to make it, or name its folder",
                ) from error
            notes.add((tables[name].schema.metadata or {}).get(b"cofire"))
            tables[name] = spec.fit(
                tables[name].replace_schema_metadata(_missing([tables[name]]) or None)
            )
        if notes == {None}:
            raise ResultError(
                f"{folder}: tables without cofire's options",
                "tables that cofire wrote",
                "name a folder of a study",
            )
        options = {} if len(notes) > 1 else json.loads(notes.pop() or "{}")
        for name, spec in TABLES.items():
            asked = options.get(spec.option) not in ("none", None, 0)
            if name not in there and asked:
                raise ResultError(
                    f"{folder}: no {name}.parquet, though the options say {spec.option} = {options[spec.option]!r}",
                    f"{name}.parquet beside the others",
                    "run the study again to make it",
                )
        _check_together(tables, f"{folder}", bool(notes))
        return cls(**tables, options=of_now(options))

    def __repr__(self) -> str:
        shown = self.checkpoints
        return (
            f"Trajectory({len(shown)} checkpoints, {len(set(self.layers['layer'].to_pylist()))} layers, "
            f"{len(set(self.classes['class'].to_pylist()))} classes)"
        )


def _check_together(tables: Mapping[str, pa.Table], folder: str, apart: bool) -> None:
    """Refuse tables that were not written together.

    Raises:
        ResultError: They were made under other options, or are not of the same checkpoints.
    """
    seen = {name: set(table["checkpoint"].to_pylist()) for name, table in tables.items()}
    # A summary without classes or graphs has no rows there.
    whole = {
        frozenset(seen[name])
        for name, spec in TABLES.items()
        if not spec.within and (seen[name] or not spec.optional)
    }
    strays = any(spec.within and not seen[n] <= seen[spec.within] for n, spec in TABLES.items())
    by_graph = ["checkpoint", "layer_index"]
    if not tables["edges"]["top"].null_count:
        by_graph.append("top")
    held = tables["edges"].group_by(by_graph).aggregate([("weight", "count")])
    kept = tables["graphs"].filter(pc.field("edges_kept") > 0)
    counts = [
        set(zip(*(table[name].to_pylist() for name in (*by_graph, column)), strict=True))
        for table, column in ((held, "weight_count"), (kept, "edges_kept"))
    ]
    if apart or len(whole) > 1 or strays or counts[0] != counts[1]:
        raise ResultError(
            f"{folder}: tables that were not written together"
            + (", edges that are not those of the graphs" if counts[0] != counts[1] else ""),
            f"{', '.join(f'{name}.parquet' for name in TABLES)} of one trajectory",
            "start the study again: it writes them anew from the checkpoints it knows",
        )


def _rows_of(table: pa.Table, keys: pa.Table) -> pa.Table:
    """The rows that have one of the keys."""
    chosen = table.append_column("_at", pa.array(range(len(table)), pa.int64()))
    names = keys.column_names
    kept = chosen.select([*names, "_at"]).join(keys, keys=names, join_type="left semi")["_at"]
    return table.take(kept)


def _first_columns() -> dict[str, OfLayer]:
    """The column of every measure in the table of layers, and how it is made of its neurons."""
    return dict(next(iter(measure.columns.items())) for measure in MEASURES.values())


if not TYPE_CHECKING:
    __getattr__ = removed(__name__)


def _missing(tables: Iterable[pa.Table]) -> dict[Any, Any]:
    """What tables have no rows of, as their metadata say."""
    notes = [note for table in tables for note in (table.schema.metadata or {}).items()]
    return {key: why for key, why in notes if key.startswith(WITHOUT.encode())}
