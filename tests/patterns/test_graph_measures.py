"""Agreement of partitions against scikit-learn, resolution against networkx, and what a graph must be."""

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from cofire.errors import DataError, NonFiniteError, OptionError
from cofire.patterns import (
    adjusted_rand_index,
    graph_of,
    modularity,
    normalized_mutual_information,
    overlapping_modularity,
    participation_coefficient,
    partition_of,
)

partitions = st.integers(1, 40).flatmap(
    lambda n: st.tuples(*[st.lists(st.integers(0, 6), min_size=n, max_size=n) for _ in range(2)])
)


@settings(deadline=None)
@given(partitions)
def test_agreement_is_scikit_learns(pair):
    first, second = (np.array(p) for p in pair)
    assert adjusted_rand_index(first, second) == pytest.approx(
        adjusted_rand_score(first, second), abs=1e-12
    )
    expected = normalized_mutual_info_score(first, second)
    found = normalized_mutual_information(first, second)
    if len(set(pair[0])) == len(set(pair[1])) == 1:
        assert found == 1.0
    else:
        assert found == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("second", [[0, 1], [0, 1, -1], []])
def test_partitions_of_other_vertices_do_not_agree(second):
    for measure in (adjusted_rand_index, normalized_mutual_information):
        with pytest.raises(DataError):
            measure(torch.tensor([0, 1, 1]), torch.tensor(second, dtype=torch.int64))


@settings(deadline=None)
@given(seed=st.integers(0, 1000), resolution=st.sampled_from([0.0, 0.5, 1.0, 2.0]))
def test_resolution_multiplies_the_null_model_as_in_networkx(seed, resolution):
    generator = torch.Generator().manual_seed(seed)
    a = torch.rand(12, 12, generator=generator, dtype=torch.float64).triu(1)
    a[a < 0.5] = 0
    a += a.T.clone()
    membership = torch.randint(0, 3, (12,), generator=generator)
    groups = [set(torch.nonzero(membership == c).flatten().tolist()) for c in range(3)]
    expected = nx.community.modularity(
        nx.from_numpy_array(a.numpy()), groups, resolution=resolution
    )
    assert modularity(a, membership, resolution=resolution) == pytest.approx(expected, abs=1e-12)


def test_symmetry_is_checked_across_tiles_and_allows_for_rounding():
    a = torch.rand(1100, 1100, dtype=torch.float64)
    a += a.T.clone()
    a[3, 1050] *= 1 + 1e-14
    kept = graph_of(a).adjacency
    assert torch.equal(kept, kept.T)
    single = torch.rand(400, 400)
    near = torch.corrcoef(single).abs()  # symmetric up to float32's rounding
    assert torch.equal(graph_of(near).adjacency, graph_of(near).adjacency.T)
    a[3, 1050] = 5
    with pytest.raises(DataError, match=r"weight 5 from vertex 3 to 1050"):
        graph_of(a)


def test_weights_whose_sum_is_infinite_are_refused():
    with pytest.raises(NonFiniteError, match="divide them by their maximum"):
        graph_of(torch.tensor([[0.0, 8e307], [8e307, 8e307]], dtype=torch.float64))


@pytest.mark.parametrize(
    ("weighted", "min_weight"), [(True, 0.1), (False, -0.1), (False, float("nan"))]
)
def test_a_least_weight_is_for_graphs_without_weights(weighted, min_weight):
    with pytest.raises(OptionError):
        overlapping_modularity(
            torch.zeros(2, 2), [[0, 1]], weighted=weighted, min_weight=min_weight
        )


def test_the_smallest_weights_count_as_any():
    path = torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]], dtype=torch.float64)
    for scale in (1.0, 1e-310):
        membership = torch.tensor([0, 0, 1])
        assert participation_coefficient(path * scale, membership).tolist() == pytest.approx(
            [0, 0.5, 0]
        )
        assert overlapping_modularity(path * scale, [[0, 1], [1, 2]]) == pytest.approx(
            overlapping_modularity(path, [[0, 1], [1, 2]]), abs=1e-9
        )


@pytest.mark.parametrize("dtype", [torch.uint8, torch.uint16, torch.uint32, torch.int32])
def test_every_type_of_whole_number_counts(dtype):
    a = torch.ones(4, 4).fill_diagonal_(0)
    membership = torch.tensor([0, 0, 1, 1], dtype=dtype)
    assert modularity(a, membership) == modularity(a, membership.long())
    assert overlapping_modularity(a, [membership]) == overlapping_modularity(a, [[0, 1]])


@pytest.mark.parametrize(
    "act",
    [
        lambda a: overlapping_modularity(a, None),
        lambda a: overlapping_modularity(a, [["x"]]),
        lambda a: adjusted_rand_index(3, 4),
        lambda a: partition_of(a, torch.tensor(3)),
        lambda a: modularity(a, torch.tensor(0)),
    ],
)
def test_what_is_no_graph_or_partition_is_an_error_of_ours(act):
    with pytest.raises(DataError):
        act(torch.zeros(2, 2))


def test_a_least_weight_drops_edges():
    a = torch.tensor([[0, 0.9, 0.1], [0.9, 0, 0.1], [0.1, 0.1, 0]])
    communities = [[0, 1], [2]]
    without = overlapping_modularity((a > 0.2).float(), communities, weighted=False)
    assert overlapping_modularity(a, communities, weighted=False, min_weight=0.2) == without
    assert overlapping_modularity(a, communities, weighted=False) != without


def test_sets_and_arrays_name_communities_as_well():
    a = torch.ones(4, 4).fill_diagonal_(0)
    expected = overlapping_modularity(a, [[0, 1], [1, 2, 3]])
    assert overlapping_modularity(a, [{1, 0}, np.array([3, 2, 1, 1])]) == expected


def test_where_means_tie_the_lower_class_has_the_neuron():
    means = torch.tensor([[1.0, 2.0, 2.0], [2.0, 2.0, 1.0]])
    assert partition_of(means, torch.tensor([[1, 2], [0, 1]])).tolist() == [1, 0, 0]
    with pytest.raises(DataError, match="with 2 classes"):
        partition_of(means[:, :2], torch.tensor([[1, 0], [0, 1], [0, 1]]))
