"""The tables of a trajectory, column by column."""

from __future__ import annotations

import pyarrow as pa

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
        pa.field("train_accuracy", pa.float64()),
        pa.field("test_accuracy", pa.float64()),
    ]
)
"""One row per checkpoint and layer. `entropy` is the sum over the layer's neurons in nats, `activity` the
mean share of observations in which a neuron is active, `selectivity` the median over neurons (of
mean activations, or where these can be negative of activation probabilities), `information` the
mean over neurons in bits; the last two are null where no classes were kept. Accuracies are shares
from 0 to 1 of the whole network, repeated in every layer's row; null where the network's
outputs have nothing to do with the classes."""

CLASSES_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("class", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("entropy", pa.float64(), nullable=False),
        pa.field("train_accuracy", pa.float64()),
        pa.field("test_accuracy", pa.float64()),
    ]
)
"""One row per checkpoint and class that occurs. `class` is its number as the labels have it. `entropy` is the sum
over all neurons of all layers in nats, on the training samples of the class; the accuracies are
those of the class's
own samples."""

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

GRAPHS_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("layer_index", pa.int32(), nullable=False),
        pa.field("layer", pa.string(), nullable=False),
        pa.field("pairs", pa.string(), nullable=False),
        pa.field("top", pa.int64(), nullable=False),
        pa.field("top_asked", pa.int64(), nullable=False),
        pa.field("vertices", pa.int64(), nullable=False),
        pa.field("isolated", pa.int64(), nullable=False),
        pa.field("edges", pa.int64(), nullable=False),
        pa.field("edges_kept", pa.int64(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
        pa.field("resolution", pa.float64(), nullable=False),
        pa.field("communities", pa.int64(), nullable=False),
        pa.field("singletons", pa.int64(), nullable=False),
        pa.field("community_sizes", pa.list_(pa.int64()), nullable=False),
        pa.field("community_mean_size", pa.float64(), nullable=False),
        pa.field("nmi", pa.float64(), nullable=False),
        pa.field("ari", pa.float64(), nullable=False),
        pa.field("stability", pa.float64()),
        pa.field("unique_neurons", pa.int64(), nullable=False),
        pa.field("shared_neurons", pa.int64(), nullable=False),
        pa.field("unique_matrix", pa.list_(pa.int64()), nullable=False),
        pa.field("train_accuracy", pa.float64()),
        pa.field("test_accuracy", pa.float64()),
    ]
)
"""One row per checkpoint and layer: its activation pattern graph. `top` representative neurons per class
(`top_asked` were asked for: a narrow layer has fewer, see `cofire.summarize`); `isolated` vertices
have no edge; `edges` have a weight above zero and `edges_kept` of them, the heaviest, stand in the
table of edges; `weight` is their sum. `communities` are those that Louvain's method finds at
`resolution`, `singletons` of them have one vertex, `community_sizes` are in falling order,
`community_mean_size` is vertices / communities. `nmi` and `ari` compare them with the classes
(normalised mutual information, adjusted Rand index); `stability` is the median adjusted Rand index
between the communities of different seeds. `unique_matrix` is the unique-neuron matrix (P2 Table 2)
row by row, a row for each class that occurs, `unique_neurons` the sum of its diagonal,
`shared_neurons` that of the entries above it."""

MODULARITIES_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("layer_index", pa.int32(), nullable=False),
        pa.field("layer", pa.string(), nullable=False),
        pa.field("measure", pa.string(), nullable=False),
        pa.field("modularity", pa.float64(), nullable=False),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("runs", pa.int64(), nullable=False),
        *[
            pa.field(f"{null}_{number}", pa.float64())
            for null in ("weights", "labels")
            for number in ("mean", "std", "z")
        ],
        pa.field("weights_runs", pa.int64(), nullable=False),
        pa.field("labels_runs", pa.int64(), nullable=False),
        pa.field("train_accuracy", pa.float64()),
        pa.field("test_accuracy", pa.float64()),
    ]
)
"""One row per checkpoint, layer and measure of modularity. `measure` is "no-overlap" (P2 Eq. 2),
"unweighted-overlap" (Eq. 3), "weighted-overlap" (Eq. 4), each of the sets of representative
neurons, or "kernighan-lin" or "louvain" (Eq. 2 of what that method finds): for the last two
`modularity` is the median over `runs` seeds and `low` and `high` are the extremes, null elsewhere.
`weights_mean`, `weights_std` and `weights_z` say what the same graph gives with its weights
shuffled over its edges, and how many standard deviations the value lies above that; `labels_…` the
same for graphs built with the labels in random order; `…_runs` how many graphs by chance there
were. Null where there was no such comparison, z also where chance always gives the same and of
fewer than 5
graphs."""

VERTICES_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("layer_index", pa.int32(), nullable=False),
        pa.field("layer", pa.string(), nullable=False),
        pa.field("neuron", pa.int64(), nullable=False),
        pa.field("classes", pa.list_(pa.int32()), nullable=False),
        pa.field("class_means", pa.list_(pa.float64()), nullable=False),
        pa.field("class", pa.int32(), nullable=False),
        pa.field("community", pa.int32(), nullable=False),
        pa.field("mean_activation", pa.float64(), nullable=False),
        pa.field("entropy", pa.float64(), nullable=False),
        pa.field("degree", pa.int64(), nullable=False),
        pa.field("strength", pa.float64(), nullable=False),
        pa.field("within_strength", pa.float64(), nullable=False),
        pa.field("participation", pa.float64(), nullable=False),
    ]
)
"""One row per checkpoint, layer and vertex of the graph. `classes` are those that the neuron represents, in order,
`class_means` its mean activation over each; `class` is the one of them with the highest,
`community` the number of the found community (0 is the largest). `mean_activation` and `entropy`
(nats) are over all observations. `degree` is its number of edges, `strength` the sum of their
weights, `within_strength` the part of it inside its own class,
`participation` how evenly its edges spread over the classes, 0 to 1."""

EDGES_SCHEMA = pa.schema(
    [
        pa.field("checkpoint", pa.int32(), nullable=False),
        pa.field("layer_index", pa.int32(), nullable=False),
        pa.field("source", pa.int32(), nullable=False),
        pa.field("target", pa.int32(), nullable=False),
        pa.field("weight", pa.float64(), nullable=False),
    ]
)
"""One row per checkpoint, layer and edge, between two neurons, `source` below `target`; the heaviest where there are
very many."""

BOOSTS_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("method", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("role", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("fitted_on", pa.string(), nullable=False),
        pa.field("train_accuracy", pa.float64()),
        pa.field("validation_accuracy", pa.float64()),
        pa.field("test_accuracy", pa.float64(), nullable=False),
        pa.field("test_nll", pa.float64(), nullable=False),
        pa.field("test_ece", pa.float64(), nullable=False),
        pa.field("parameters", pa.int64(), nullable=False),
        *[
            pa.field(f"{gain}{end}", pa.float64())
            for gain in ("gain", "base_gain")
            for end in ("", "_low", "_high")
        ],
        pa.field("repaired", pa.int64()),
        pa.field("broken", pa.int64()),
        *[pa.field(f"values_gain{end}", pa.float64()) for end in ("", "_low", "_high")],
        pa.field("layers_read", pa.int64()),
        pa.field("layers_always_active", pa.int64()),
    ]
)
"""One row per checkpoint and way to improve the trained network. `kind` is "base" (the network as it is), "control"
(sees nothing of hidden layers but what goes into the last), "ablation" (the readout of all layers
with half of what it reads taken away: "values", how strongly neurons fire, or "patterns", which do)
or "method". Each checkpoint has exactly one row of each `role`: "base", "best control" (a control,
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

BOOSTS_ADDED = BOOSTS_SCHEMA.names[-5:]
"""Columns that results of earlier versions do not have."""

BOOST_CLASSES_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("class", pa.int32(), nullable=False),
        pa.field("class_name", pa.string(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("base_false_positives", pa.int64(), nullable=False),
        pa.field("base_false_negatives", pa.int64(), nullable=False),
        pa.field("boosted_false_positives", pa.int64(), nullable=False),
        pa.field("boosted_false_negatives", pa.int64(), nullable=False),
    ]
)
"""One row per checkpoint and class: errors on the test data of the base and of the row of role "booster"."""

FLIPS_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("index", pa.int64(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("base_class", pa.int32(), nullable=False),
        pa.field("boosted_class", pa.int32(), nullable=False),
        pa.field("base_confidence", pa.float64(), nullable=False),
        pa.field("boosted_confidence", pa.float64(), nullable=False),
        pa.field("image", pa.binary()),
    ]
)
"""One row per checkpoint and example of a test sample, number `index`, that the booster classifies otherwise than the
base. Confidences are shares from 0 to 1; `image` is a PNG, null where the sample is no picture. At
most 12 examples of
wrong to right, 12 of right to wrong and 6 of wrong to another wrong; how many there are in all
stands in `boosts`."""

TRACINGS_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("method", pa.string(), nullable=False),
        pa.field("samples", pa.int64(), nullable=False),
        pa.field("mistakes", pa.int64(), nullable=False),
        pa.field("right_explained", pa.int64(), nullable=False),
        pa.field("mistakes_explained", pa.int64(), nullable=False),
        pa.field("compared", pa.int64(), nullable=False),
        pa.field("jaccard", pa.float64()),
        pa.field("jaccard_heat", pa.float64()),
        pa.field("jaccard_chance", pa.float64()),
        pa.field("error", pa.string()),
    ]
)
"""One row per checkpoint at which predictions were explained, the last one of a study. Of `samples` test samples the
network gets `mistakes` wrong; `right_explained` and `mistakes_explained` stand in `explanations`.
`compared` pairs of an explained sample's predicted class and another class (the three most probable
others, and the true one) were held against each other: `jaccard` is the mean share of their pixels
that are points for both, from 0 to 1, `jaccard_heat` the same of their heat maps (sum of the lower
over sum of the higher values, each map 1 in all), `jaccard_chance` what as many pixels drawn from
those that are not zero would give; null where there was no pair. `error` says why nothing
could be explained, null where it could."""

EXPLANATIONS_SCHEMA = pa.schema(
    [
        *_MOMENT,
        pa.field("index", pa.int64(), nullable=False),
        pa.field("label", pa.int32(), nullable=False),
        pa.field("predicted", pa.int32(), nullable=False),
        pa.field("confidence", pa.float64(), nullable=False),
        pa.field("target", pa.int32(), nullable=False),
        pa.field("probability", pa.float64(), nullable=False),
        pa.field("shape", pa.list_(pa.int32()), nullable=False),
        pa.field("picture", pa.binary()),
        pa.field("values", pa.list_(pa.float32())),
        pa.field("y", pa.list_(pa.int32()), nullable=False),
        pa.field("x", pa.list_(pa.int32()), nullable=False),
        pa.field("score", pa.list_(pa.float32()), nullable=False),
    ]
)
"""One row per checkpoint, explained test sample (number `index`) and explained class `target`: the predicted class and,
where that is wrong, the true one. `confidence` is the softmax of the predicted class, `probability`
of the target, from 0 to 1. `shape` is that of a sample: (channels, height, width), or (features,).
`picture` is a PNG, at most 224 pixels wide and high; null where a sample is a vector, the numbers
of which are `values`, else null. The points lie at `y`, `x`
in pixels (0 and the feature for vectors); `score` is the share of the class's evidence that ended
there."""

SCHEMAS = {
    "layers": LAYERS_SCHEMA,
    "classes": CLASSES_SCHEMA,
    "neurons": NEURONS_SCHEMA,
    "graphs": GRAPHS_SCHEMA,
    "modularities": MODULARITIES_SCHEMA,
    "vertices": VERTICES_SCHEMA,
    "edges": EDGES_SCHEMA,
    "boosts": BOOSTS_SCHEMA,
    "boost_classes": BOOST_CLASSES_SCHEMA,
    "flips": FLIPS_SCHEMA,
    "tracings": TRACINGS_SCHEMA,
    "explanations": EXPLANATIONS_SCHEMA,
}
"""Every table of a trajectory by its name."""

SORT_KEYS = {
    "layers": ["checkpoint", "layer_index"],
    "classes": ["checkpoint", "class"],
    "neurons": ["checkpoint", "layer_index", "neuron"],
    "graphs": ["checkpoint", "layer_index"],
    "modularities": ["checkpoint", "layer_index", "measure"],
    "vertices": ["checkpoint", "layer_index", "neuron"],
    "edges": ["checkpoint", "layer_index", "source", "target"],
    "boosts": ["checkpoint", "kind", "method"],
    "boost_classes": ["checkpoint", "class"],
    "flips": ["checkpoint", "index"],
    "tracings": ["checkpoint"],
    "explanations": ["checkpoint", "index", "target"],
}
"""In which order the rows of each table lie."""
