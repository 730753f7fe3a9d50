"""Rows of a trajectory out of what a monitor observed, in memory and in a folder for `cofire report`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from cofire.activations import ActivationSummary, summarize
from cofire.errors import LayerError
from cofire.live.observed import Kept, Observed
from cofire.network import Selector, save_weights
from cofire.storage import check_same, versions
from cofire.study import Moment, Trajectory, trajectory_of
from cofire.study.graph_rows import GraphOptions, graph_tables


class Rows:
    """The tables of a run that is being monitored.

    Args:
        folder: Where they are kept; None for memory alone.
        reference: A fixed pair (inputs, labels) for graphs; None for none.
        graph_layers: Which layers have a graph; the last one where None.
        top: Representative neurons per class at the most.
        checkpoints: Whether weights are kept beside each row.
        noted: What else is noted of the run.
    """

    def __init__(
        self,
        folder: Path | None,
        reference: tuple[Tensor, Tensor] | None,
        graph_layers: Selector,
        top: int,
        checkpoints: bool,
        noted: dict[str, Any],
    ) -> None:
        self.folder, self._checkpoints, self._noted = folder, checkpoints, noted
        self._reference, self._graph_layers, self._top = reference, graph_layers, top
        self._refused = False
        self.trajectory = Trajectory.empty()

    def begin(self, kept: Kept) -> None:
        """Note what the rows are made under, and take what an earlier run left in the folder.

        Raises:
            MergeError: That was made under other options; nothing is written then.
            ResultError: It is damaged.
        """
        names = kept.labelling.names if kept.labelling is not None else ()
        options = {
            "model": kept.network.model_name or "an exported program",
            **self._noted,
            "unit": kept.unit,
            "bins": kept.bins,
            "range": "own",
            "threshold": kept.threshold,
            "by_class": "statistics" if kept.labelling is not None else False,
            "pairs": "class" if self._reference is not None else None,
            "top": self._top,
            "null_graphs": 0,
            "network": kept.network.fingerprint,
            "layers": [layer.name for layer in kept.layers],
            "classes": list(names),
            "versions": versions(),
        }
        if kept.labelling is not None and kept.labelling.matched == "none":
            options["outputs"] = "none"
        self.trajectory = Trajectory.empty(options)
        held = ("layers.parquet", "study.json")
        if self.folder is not None and any((self.folder / one).exists() for one in held):
            self._refused = True
            earlier = Trajectory.load(self.folder)
            apart = {"versions": options["versions"]}
            check_same(self.folder, {**earlier.options, **apart}, options)
            self.trajectory, self._refused = replace(earlier, options=options), False

    def has(self, epoch: float) -> bool:
        """Whether there is a row of an epoch."""
        return epoch in self.trajectory.layers["epoch"].to_pylist()

    def graphs(self, kept: Kept) -> ActivationSummary | None:
        """What the graphs of the reference are made of; None without one.

        Raises:
            CofireError: The reference, or the choice of layers, does not go with the network.
        """
        if self._reference is None:
            return None
        asked = self._graph_layers
        chosen = kept.network.select(kept.layers[-1:] if asked is None else asked)
        if not set(chosen) <= set(kept.layers):
            raise LayerError(
                f"graphs of {', '.join(layer.name for layer in chosen)}",
                f"some of {', '.join(layer.name for layer in kept.layers)}, which are observed",
                "choose these layers with layers= as well",
            )
        return summarize(
            kept.network,
            self._reference,
            layers=chosen,
            bins=kept.bins,
            unit=kept.unit,
            threshold=kept.threshold,
            by_class="statistics",
            pairs="class",
            top=self._top,
            class_names=None if kept.labelling is None else kept.labelling.names,
            progress=False,
        )

    def add(
        self,
        observed: Observed,
        kept: Kept,
        epoch: float,
        step: int,
        accuracy: float | None,
        graphs: ActivationSummary | None,
    ) -> dict[str, Any]:
        """Add a row; rows of the same and later epochs give way: they are trained anew.

        Returns:
            What there is to log, by names of charts.
        """
        earlier = _before(self.trajectory, epoch)
        moment = Moment(len(earlier.checkpoints) + 1, epoch, step)
        summary = observed.summary(kept)
        part = trajectory_of(summary, moment, None, self.trajectory.options)
        told: dict[str, Any] = {}
        if graphs is not None:
            accuracies = {"train_accuracy": summary.accuracy, "test_accuracy": None}
            tables = graph_tables(graphs, vars(moment), accuracies, GraphOptions())
            numbers = {layer.name: at for at, layer in enumerate(kept.layers)}
            places = pa.array([numbers[one.layer.name] for one in graphs.layers], pa.int32())
            part = replace(
                part,
                **{
                    name: _with(table, "layer_index", places.take(table["layer_index"]))
                    for name, table in tables.items()
                },
            )
            for row in part.modularities.to_pylist():
                told[f"{row['layer']}/modularity/{row['measure']}"] = row["modularity"]
        if accuracy is not None:
            told["test_accuracy"] = float(accuracy)
            for name in ("layers", "graphs", "modularities"):
                table = getattr(part, name)
                column = pa.repeat(pa.scalar(float(accuracy)), len(table))
                part = replace(part, **{name: _with(table, "test_accuracy", column)})
        self.trajectory = Trajectory.concat([earlier, part]) if earlier.checkpoints else part
        if self.folder is not None and not self._refused:
            self.trajectory.save(self.folder)
            if self._checkpoints:
                weights = self.folder / "checkpoints"
                weights.mkdir(exist_ok=True)
                state = kept.network.state_dict()
                save_weights(state, weights / f"{moment.checkpoint:04d}.safetensors")
        return told


def _before(trajectory: Trajectory, epoch: float) -> Trajectory:
    later = trajectory.layers.filter(pc.field("epoch") >= epoch)
    if not len(later):
        return trajectory
    kept = pc.field("checkpoint") < min(later["checkpoint"].to_pylist())
    tables = ("layers", "classes", "neurons", "graphs", "modularities", "vertices", "edges")
    return replace(trajectory, **{n: getattr(trajectory, n).filter(kept) for n in tables})


def _with(table: pa.Table, name: str, values: Any) -> pa.Table:
    at = table.schema.get_field_index(name)
    return table.set_column(at, table.schema.field(at), values)
