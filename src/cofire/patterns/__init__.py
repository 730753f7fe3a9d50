"""Pure maths on counts, means and weights: tensors in, tensors out; no model, no file, no screen."""

from cofire.patterns.adjacency import (
    Array,
    ArrayLike,
    WeightedGraph,
    check_communities,
    check_membership,
    graph_of,
)
from cofire.patterns.communities import (
    adjusted_rand_index,
    modularity,
    normalized_mutual_information,
    overlapping_modularity,
    participation_coefficient,
    within_community_strength,
)
from cofire.patterns.evidence import (
    check_every_class,
    discriminant_of_samples,
    linear_discriminant,
    log_odds_of_patterns,
    propose,
)
from cofire.patterns.measures import (
    MEASURES,
    Measure,
    OfLayer,
    class_selectivity,
    entropy_of_counts,
    information_floor,
    mutual_information,
    register_measure,
)
from cofire.patterns.representatives import (
    partition_of,
    representative_neurons,
    unique_neuron_matrix,
)
from cofire.tensors import dense as tensor_of

__all__ = [
    "MEASURES",
    "Array",
    "ArrayLike",
    "Measure",
    "OfLayer",
    "WeightedGraph",
    "adjusted_rand_index",
    "check_communities",
    "check_every_class",
    "check_membership",
    "class_selectivity",
    "discriminant_of_samples",
    "entropy_of_counts",
    "graph_of",
    "information_floor",
    "linear_discriminant",
    "log_odds_of_patterns",
    "modularity",
    "mutual_information",
    "normalized_mutual_information",
    "overlapping_modularity",
    "participation_coefficient",
    "partition_of",
    "propose",
    "register_measure",
    "representative_neurons",
    "tensor_of",
    "unique_neuron_matrix",
    "within_community_strength",
]
