"""The tables of a trajectory, column by column; those of measures follow their registry."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa

from cofire.patterns import MEASURES, Measure
from cofire.storage import with_columns

_MOMENT = "checkpoint:int32 epoch:float64 step:int64? "
WITHOUT = "without "
"""How the keys of a table's metadata begin that say what it has no rows of, and why."""
_ACCURACIES = " train_accuracy:float64? test_accuracy:float64?"


@dataclass(frozen=True)
class TableSpec:
    """A table: its columns, the order of its rows, and how it belongs to the others.

    Results of earlier versions open: a column that they do not have is null where it may be
    (`?`), and columns that are not known, of measures that are not registered here say, stay.

    Attributes:
        name: Of the table and its file.
        columns: "name:type" each, with "?" where it may be null; "*" for those of the measures.
        keys: Columns by which rows are ordered.
        of: What a row is about where it has columns of measures.
        optional: Whether there may be no rows at all.
        within: A table without whose checkpoints it has none; it may be without rows at any.
        option: What asks for it: without it, there need be no file.
    """

    name: str
    columns: str
    keys: str
    of: Literal["layer", "neuron", "class"] | None = None
    optional: bool = False
    within: str = ""
    option: str = ""

    @property
    def schema(self) -> pa.Schema:
        """Of the table, with the measures that are registered now."""
        fields: list[pa.Field] = []
        for column in self.columns.split():
            if column == "*":
                fields += [field for one in MEASURES.values() for field in self._of_measure(one)]
                continue
            name, _, kind = column.partition(":")
            fields.append(pa.field(name, _type(kind.rstrip("?")), nullable=kind.endswith("?")))
        return pa.schema(fields)

    def _of_measure(self, measure: Measure) -> list[pa.Field]:
        """Its columns, which say what they mean in the file itself."""
        if self.of == "class" and not measure.by_class:
            return []
        counted = pa.bool_() if self.of == "neuron" else pa.int64()
        columns = (
            measure.columns if self.of == "layer" else dict([next(iter(measure.columns.items()))])
        )
        about = {"title": measure.title, "unit": measure.unit, "meaning": measure.meaning}
        return [
            pa.field(
                name, counted if how == "count" else pa.float64(), measure.may_be_unknown, about
            )
            for name, how in columns.items()
        ]

    def table(self, rows: Iterable[dict[str, Any]] = ()) -> pa.Table:
        """The table of these rows."""
        return pa.Table.from_pylist(list(rows), schema=self.schema)

    def fit(self, table: pa.Table) -> pa.Table:
        """A table with today's columns.

        Raises:
            ResultError: A column that is always there is not, or one is of another type.
        """
        return with_columns(table, self.schema, f"a table '{self.name}'")


def _type(name: str) -> pa.DataType:
    inner = name.removeprefix("list<")
    return pa.type_for_alias(name) if inner == name else pa.list_(pa.type_for_alias(inner[:-1]))


_LAYERS = TableSpec(
    "layers",
    _MOMENT
    + "layer_index:int32 layer:string kind:string unit:string neurons:int64 * "
    + "entropy_halves:float64? entropy_shift:float64?"
    + _ACCURACIES,
    "checkpoint layer_index",
    of="layer",
)
"""One row per checkpoint and layer. `entropy` is the sum over the layer's neurons in nats, `activity` the mean share
of observations in which a neuron is active, `selectivity` the median over neurons (of mean activations, or where
these can be negative of activation probabilities), `information` the mean over neurons in bits; the last two are
null where no classes were kept. Of a sample of the data, `entropy_halves` is the entropy of one half of it less
that of the other, `entropy_shift` the mean of both less that of the whole (see `cofire.study.halves`), else null.
Accuracies are shares from 0 to 1 of the whole network, repeated in every layer's row; null where the network's
outputs have nothing to do with the classes."""

_CLASSES = TableSpec(
    "classes",
    _MOMENT + "class:int32 class_name:string samples:int64 *" + _ACCURACIES,
    "checkpoint class",
    of="class",
    optional=True,
)
"""One row per checkpoint and class that occurs. `class` is its number as the labels have it. `entropy` is the sum
over all neurons of all layers in nats, on the training samples of the class; the accuracies are
those of the class's
own samples."""

_NEURONS = TableSpec(
    "neurons",
    _MOMENT + "layer_index:int32 layer:string neuron:int64 * preferred_class:int32?",
    "checkpoint layer_index neuron",
    of="neuron",
)
"""One row per checkpoint and neuron, what the distributions in the report are drawn from."""

_GRAPHS = TableSpec(
    "graphs",
    _MOMENT
    + "layer_index:int32 layer:string pairs:string top:int64 top_asked:int64 vertices:int64 "
    "isolated:int64 edges:int64 edges_kept:int64 weight:float64 resolution:float64 "
    "communities:int64 singletons:int64 community_sizes:list<int64> "
    "community_mean_size:float64 nmi:float64 ari:float64 stability:float64? "
    "unique_neurons:int64 shared_neurons:int64 unique_matrix:list<int64> "
    "modularity_halves:float64?" + _ACCURACIES,
    "checkpoint layer_index top",
    optional=True,
)
"""One row per checkpoint, layer and number of representatives: its activation pattern graph. `top` representative
neurons per class (`top_asked` were asked for, where several numbers come to the same the lowest: a
narrow layer has fewer, see `cofire.summarize`); `isolated` vertices
have no edge; `edges` have a weight above zero and `edges_kept` of them, the heaviest, stand in the
table of edges; `weight` is their sum. `communities` are those that Louvain's method finds at
`resolution`, `singletons` of them have one vertex, `community_sizes` are in falling order,
`community_mean_size` is vertices / communities. `nmi` and `ari` compare them with the classes
(normalised mutual information, adjusted Rand index); `stability` is the median adjusted Rand index
between the communities of different seeds. `unique_matrix` is the unique-neuron matrix (P2 Table 2)
row by row, a row for each class that occurs, `unique_neurons` the sum of its diagonal,
`shared_neurons` that of the entries above it. Of a sample of the data, `modularity_halves` is the
modularity (Eq. 4) of the graph of one half less that of the other, else null."""

_MODULARITIES = TableSpec(
    "modularities",
    _MOMENT
    + "layer_index:int32 layer:string top:int64? measure:string modularity:float64 low:float64? "
    "high:float64? runs:int64 weights_mean:float64? weights_std:float64? "
    "weights_z:float64? labels_mean:float64? labels_std:float64? labels_z:float64? "
    "weights_runs:int64 labels_runs:int64" + _ACCURACIES,
    "checkpoint layer_index top measure",
    optional=True,
)
"""One row per graph and measure of modularity; `top` is the graph's, null in results of earlier versions, as in the
following tables. `measure` is "no-overlap" (P2 Eq. 2),
"unweighted-overlap" (Eq. 3), "weighted-overlap" (Eq. 4), each of the sets of representative
neurons, or "kernighan-lin" or "louvain" (Eq. 2 of what that method finds): for the last two
`modularity` is the median over `runs` seeds and `low` and `high` are the extremes, null elsewhere.
`weights_mean`, `weights_std` and `weights_z` say what the same graph gives with its weights
shuffled over its edges, and how many standard deviations the value lies above that; `labels_…` the
same for graphs built with the labels in random order; `…_runs` how many graphs by chance there
were. Null where there was no such comparison, z also where chance always gives the same and of
fewer than 5
graphs."""

_VERTICES = TableSpec(
    "vertices",
    _MOMENT + "layer_index:int32 layer:string top:int64? neuron:int64 classes:list<int32> "
    "class_means:list<float64> class:int32 community:int32 mean_activation:float64 "
    "entropy:float64 degree:int64 strength:float64 within_strength:float64 "
    "participation:float64",
    "checkpoint layer_index top neuron",
    optional=True,
)
"""One row per graph and vertex. `classes` are those that the neuron represents, in order,
`class_means` its mean activation over each; `class` is the one of them with the highest,
`community` the number of the found community (0 is the largest). `mean_activation` and `entropy`
(nats) are over all observations. `degree` is its number of edges, `strength` the sum of their
weights, `within_strength` the part of it inside its own class,
`participation` how evenly its edges spread over the classes, 0 to 1."""

_EDGES = TableSpec(
    "edges",
    "checkpoint:int32 layer_index:int32 top:int64? source:int32 target:int32 weight:float64",
    "checkpoint layer_index top source target",
    within="graphs",
)
"""One row per graph and edge, between two neurons, `source` below `target`; the heaviest where there are
very many."""

_BOOSTS = TableSpec(
    "boosts",
    _MOMENT + "layers:string? method:string kind:string role:string title:string fitted_on:string "
    "train_accuracy:float64? validation_accuracy:float64? test_accuracy:float64 "
    "test_nll:float64 test_ece:float64 parameters:int64 gain:float64? gain_low:float64? "
    "gain_high:float64? base_gain:float64? base_gain_low:float64? base_gain_high:float64? "
    "repaired:int64? broken:int64? values_gain:float64? values_gain_low:float64? "
    "values_gain_high:float64? layers_read:int64? layers_always_active:int64?",
    "checkpoint layers kind method",
    optional=True,
    option="boost",
)
"""One row per checkpoint, choice of layers and way to improve the trained network. `layers` are those that boosters
read, as they were asked for, null in results of earlier versions. `kind` is "base" (the network as it is), "control"
(sees nothing of hidden layers but what goes into the last), "ablation" (the readout of all layers
with half of what it reads taken away: "values", how strongly neurons fire, or "patterns", which do)
or "method". Each choice of a checkpoint has exactly one row of each `role`: "base", "best control" (a control,
chosen on validation data) and "booster" (the default or asked-for method); the others have "".
`title` is a short name for people; `fitted_on` is "", "training data", "held-out data",
"cross-fitted training data" or "training and held-out data". Accuracies are shares from 0 to 1,
`test_nll` is the mean negative log-likelihood in nats, `test_ece` the expected calibration error
from 0 to 1 over 15 bins, `parameters` are those added to the network's. `gain` is the test accuracy
less the best control's, `base_gain` less the base's, `values_gain` less that of the readout of
values alone, each with a 95 % paired interval `…_low` to `…_high`; null where there is nothing to
compare with: `gain` and `values_gain` for base and controls, `base_gain` for the base,
`values_gain` for the values themselves. The `gain` of "values" is what all layers bring instead of
the last, the `values_gain` of the booster what patterns bring on top: together they are the
booster's `gain`. `repaired` counts test predictions that the base has wrong and the row right,
`broken` the reverse; null for the base. Of the `layers_read`, so many are `layers_always_active`:
more than four fifths of their P (Eq. 14), over classes and neurons, lie above 0.99; null where
nothing of hidden layers is read. The last five columns are null in
results of earlier versions."""

_BOOST_CLASSES = TableSpec(
    "boost_classes",
    _MOMENT
    + "layers:string? class:int32 class_name:string samples:int64 base_false_positives:int64 "
    "base_false_negatives:int64 boosted_false_positives:int64 "
    "boosted_false_negatives:int64",
    "checkpoint layers class",
    optional=True,
    option="boost",
)
"""One row per checkpoint, choice of layers and class: errors on the test data of the base and of the row of role
"booster"."""

_FLIPS = TableSpec(
    "flips",
    _MOMENT
    + "layers:string? index:int64 label:int32 base_class:int32 boosted_class:int32 base_confidence:float64 "
    "boosted_confidence:float64 image:binary?",
    "checkpoint layers index",
    within="boosts",
    option="boost",
)
"""One row per checkpoint, choice of layers and example of a test sample, number `index`, that the booster classifies
otherwise than the base. Confidences are shares from 0 to 1; `image` is a PNG, null where the sample is no image. At
most 12 examples of
wrong to right, 12 of right to wrong and 6 of wrong to another wrong; how many there are in all
stands in `boosts`."""

_TRACINGS = TableSpec(
    "tracings",
    _MOMENT + "method:string samples:int64 mistakes:int64 right_explained:int64 "
    "mistakes_explained:int64 compared:int64 jaccard:float64? jaccard_heat:float64? "
    "jaccard_chance:float64? error:string?",
    "checkpoint",
    within="layers",
    option="explain",
)
"""One row per checkpoint at which predictions were explained, the last one of a study. Of `samples` test samples the
network gets `mistakes` wrong; `right_explained` and `mistakes_explained` stand in `explanations`.
`compared` pairs of an explained sample's predicted class and another class (the three most probable
others, and the true one) were held against each other: `jaccard` is the mean share of their pixels
that are points for both, from 0 to 1, `jaccard_heat` the same of their heat maps (sum of the lower
over sum of the higher values, each map 1 in all), `jaccard_chance` what as many pixels drawn from
those that are not zero would give; null where there was no pair. `error` says why nothing
could be explained, null where it could."""

_EXPLANATIONS = TableSpec(
    "explanations",
    _MOMENT + "index:int64 label:int32 predicted:int32 confidence:float64 target:int32 "
    "probability:float64 shape:list<int32> image:binary? values:list<float32>? "
    "y:list<int32> x:list<int32> score:list<float32>",
    "checkpoint index target",
    within="tracings",
    option="explain",
)
"""One row per checkpoint, explained test sample (number `index`) and explained class `target`: the predicted class and,
where that is wrong, the true one. `confidence` is the softmax of the predicted class, `probability`
of the target, from 0 to 1. `shape` is that of a sample: (channels, height, width), or (features,).
`image` is a PNG, at most 224 pixels wide and high; null where a sample is a vector, the numbers
of which are `values`, else null. The points lie at `y`, `x`
in pixels (0 and the feature for vectors); `score` is the share of the class's evidence that ended
there."""

_PICTURES = TableSpec(
    "pictures",
    _MOMENT
    + "layer_index:int32 layer:string neuron:int64 role:string class:int32? value:float64 rank:int32 "
    "sample:int64 label:int32 activation:float64 shown:list<int32> image:binary?",
    "checkpoint layer_index neuron role rank",
    within="layers",
    option="top_samples",
)
"""One row per neuron that is shown at the last checkpoint and sample that it fires most for, `rank` 0 the most. `role`
is "selective" (the most selective neuron for `class`), "broad" (of the least selective ones) or "graph" (a vertex of
the layer's graph, the classes' first representatives); `value` is the selectivity. `sample` is its number in the
order of reading, `label` its class, `activation` the neuron's highest in it. `image` is what the neuron sees of it, a
WebP of at most 64 pixels, `shown` its width and height before; null where pictures are left out."""

TABLES = {
    spec.name: spec
    for spec in (
        _LAYERS,
        _CLASSES,
        _NEURONS,
        _GRAPHS,
        _MODULARITIES,
        _VERTICES,
        _EDGES,
        _BOOSTS,
        _BOOST_CLASSES,
        _FLIPS,
        _TRACINGS,
        _EXPLANATIONS,
        _PICTURES,
    )
}
"""Every table of a trajectory by its name."""
