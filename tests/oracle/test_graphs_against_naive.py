"""The graphs and modularities against equations written as loops (`naive_graphs.py`)."""

from __future__ import annotations

import json
import math

import networkx
import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from sklearn.metrics import adjusted_rand_score, normalized_mutual_info_score

from cofire.errors import CofireError
from cofire.functional import (
    activation_pattern_graph,
    modularity,
    overlapping_modularity,
    participation_coefficient,
    representative_neurons,
    unique_neuron_matrix,
    within_community_strength,
)

from . import naive_graphs as naive

PAIRS = ("class", "union")
FORMS = (torch.tensor, np.array)

often = settings(deadline=None, database=None)
seldom = settings(deadline=None, database=None)


def close(found, expected):
    np.testing.assert_allclose(
        np.asarray(found, dtype=float), np.asarray(expected, dtype=float), rtol=0, atol=1e-12
    )


def as_doubles(rows, form=torch.tensor):
    return form(rows, dtype=torch.float64 if form is torch.tensor else np.float64)


# What is drawn


@st.composite
def weighted_graphs(draw, most=9, scales=(1.0, 1e-6, 1e6)):
    """Symmetric weights without self-loops, from no edge at all to complete; often with isolated vertices."""
    n = draw(st.integers(1, most))
    density = draw(st.sampled_from((0.0, 0.15, 0.4, 0.8, 1.0)))
    kind = draw(st.sampled_from(("shares", "any", "ones", "wide")))
    scale = draw(st.sampled_from(scales))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    isolated = draw(st.sets(st.integers(0, n - 1), max_size=2))
    rows = [[0.0] * n for _ in range(n)]
    for v in range(n):
        for w in range(v):
            if v in isolated or w in isolated or generator.random() >= density:
                continue
            if kind == "shares":
                weight = int(generator.integers(1, 50)) / 50
            elif kind == "any":
                weight = float(generator.random())
            elif kind == "ones":
                weight = 1.0
            else:
                weight = float(np.exp(generator.uniform(-15, 15)))
            rows[v][w] = rows[w][v] = weight * scale
    return rows


@st.composite
def covers(draw, n):
    """Communities of n vertices: empty ones, overlapping ones, the same one twice, vertices that are in none."""
    found = draw(st.lists(st.sets(st.integers(0, n - 1)), min_size=1, max_size=5))
    return [draw(st.permutations(sorted(community))) for community in found]


@st.composite
def graphs_with_covers(draw):
    rows = draw(weighted_graphs())
    return rows, draw(covers(len(rows)))


@st.composite
def graphs_with_partitions(draw, lowest=0):
    rows = draw(weighted_graphs())
    return rows, draw(st.lists(st.integers(lowest, 3), min_size=len(rows), max_size=len(rows)))


@st.composite
def layers(draw):
    """Activations with their labels. Values and sums are exact in float64: what equals a mean, equals it.

    Columns lie on a grid, are dead, constant, constant within a class, hold the values of an
    earlier column in another order (an exact tie of the means), or are of one class only.
    """
    classes = draw(st.integers(2, 4))
    samples = draw(st.integers(classes, 24))
    neurons = draw(st.integers(1, 8))
    dtype = draw(st.sampled_from((np.float32, np.float64)))
    step = draw(st.sampled_from((0.25, 1.0, float(np.float32(0.1)), float(np.float32(1 / 3)))))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    labels = np.concatenate([np.arange(classes), generator.integers(0, classes, samples - classes)])
    generator.shuffle(labels)
    columns = []
    for _ in range(neurons):
        kind = draw(
            st.sampled_from(
                ("grid", "few", "signed", "dead", "constant", "steps", "shuffled", "one", "any")
            )
        )
        if kind == "shuffled" and not columns:
            kind = "grid"
        if kind == "grid":
            column = generator.integers(0, 9, samples) * step
        elif kind == "few":
            column = generator.integers(0, 2, samples) * step
        elif kind == "signed":
            column = generator.integers(-4, 5, samples) * step
        elif kind == "dead":
            column = np.where(generator.random(samples) < 0.5, 0.0, -0.0)
        elif kind == "constant":
            column = np.full(samples, step)
        elif kind == "steps":
            column = (labels + 1) * step
        elif kind == "shuffled":
            column = columns[int(generator.integers(len(columns)))].copy()
            for label in range(classes):
                column[labels == label] = generator.permutation(column[labels == label])
        elif kind == "one":
            column = np.where(
                labels == int(generator.integers(classes)),
                generator.integers(0, 5, samples) * step,
                0,
            )
        else:
            column = np.maximum(generator.normal(size=samples), 0).astype(np.float32)
        columns.append(column.astype(np.float32).astype(dtype))
    return np.stack(columns, axis=1), labels, classes, draw(st.integers(1, neurons))


def communities_of(membership):
    return [[v for v, own in enumerate(membership) if own == c] for c in range(max(membership) + 1)]


def by_networkx(rows, communities, weight="weight"):
    graph = networkx.from_numpy_array(np.array(rows))
    return networkx.community.modularity(graph, [c for c in communities if c], weight=weight)


# The golden numbers


@pytest.fixture(scope="module")
def golden(shared):
    arrays = np.load(shared / "golden" / "patterns.npz")
    return arrays, json.loads((shared / "golden" / "patterns.json").read_text())


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("pairs", PAIRS)
def test_the_loops_meet_the_golden_numbers(golden, pairs, dtype):
    arrays, expected = golden
    activations, labels = arrays["activations"].astype(dtype).tolist(), arrays["labels"].tolist()
    classes, top, graph = expected["classes"], expected["top"], expected[f"graph_{pairs}"]

    means = naive.class_means(activations, labels, classes)
    representatives = naive.representative_neurons(means, top)
    membership = naive.membership(means, representatives)
    adjacency = naive.activation_pattern_graph(activations, labels, classes, top, pairs)

    close(means, expected["mean_activation"])
    assert representatives == expected["representatives"]
    assert naive.unique_neuron_matrix(representatives) == expected["unique_neuron_matrix"]
    assert membership == expected["membership"]
    assert [v for v in range(len(membership)) if membership[v] != -1] == expected["vertices"]
    close(adjacency, graph["adjacency"])
    close(naive.modularity(adjacency, membership), graph["modularity"])
    close(
        naive.overlapping_modularity(adjacency, representatives, False),
        graph["overlapping_modularity_unweighted"],
    )
    close(
        naive.overlapping_modularity(adjacency, representatives, True),
        graph["overlapping_modularity_weighted"],
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("pairs", PAIRS)
@pytest.mark.parametrize("form", [torch.from_numpy, np.asarray])
def test_the_golden_numbers_are_met_to_1e_12(golden, form, pairs, dtype):
    arrays, expected = golden
    activations, labels = form(arrays["activations"].astype(dtype)), form(arrays["labels"])
    classes, top, graph = expected["classes"], expected["top"], expected[f"graph_{pairs}"]

    means = np.array(expected["mean_activation"])
    representatives = representative_neurons(form(means), top)
    adjacency = activation_pattern_graph(activations, labels, classes, top, pairs)

    assert representatives.tolist() == expected["representatives"]
    assert unique_neuron_matrix(representatives).tolist() == expected["unique_neuron_matrix"]
    close(adjacency, graph["adjacency"])
    for given_graph in (adjacency, form(np.array(graph["adjacency"]))):
        close(modularity(given_graph, expected["membership"]), graph["modularity"])
        for communities in (representatives, representatives.tolist()):
            unweighted = overlapping_modularity(given_graph, communities, weighted=False)
            close(unweighted, graph["overlapping_modularity_unweighted"])
            close(
                overlapping_modularity(given_graph, communities),
                graph["overlapping_modularity_weighted"],
            )


# The loops themselves


@often
@given(graphs_with_partitions())
def test_the_loops_give_networkxs_modularity_of_a_partition(drawn):
    rows, partition = drawn
    assume(any(map(any, rows)))
    communities = communities_of(partition)
    ones = [[float(weight > 0) for weight in row] for row in rows]

    close(naive.modularity(rows, partition), by_networkx(rows, communities))
    close(
        naive.overlapping_modularity(rows, communities, weighted=True),
        by_networkx(rows, communities),
    )
    close(
        naive.overlapping_modularity(rows, communities, weighted=False),
        by_networkx(rows, communities, None),
    )
    close(naive.modularity(ones, partition), by_networkx(rows, communities, None))


@often
@given(
    st.integers(1, 12).flatmap(
        lambda n: st.tuples(*[st.lists(st.integers(0, 3), min_size=n, max_size=n)] * 2)
    )
)
def test_the_loops_compare_partitions_as_scikit_learn_does(pair):
    close(naive.nmi(*pair), normalized_mutual_info_score(*pair, average_method="arithmetic"))
    close(naive.adjusted_rand(*pair), adjusted_rand_score(*pair))


@often
@given(graphs_with_partitions(lowest=-1))
def test_the_loops_weigh_a_vertex_within_and_between_communities(drawn):
    rows, partition = drawn
    inside, spread = naive.within_strength(rows, partition), naive.participation(rows, partition)

    alone = [0 if own != -1 else -1 for own in partition]
    strength = naive.within_strength(rows, alone)
    for v, own in enumerate(partition):
        assert 0 <= spread[v] < 1
        if own == -1 or strength[v] == 0:
            assert (inside[v], spread[v]) == (0, 0)
        elif math.isclose(inside[v], strength[v], rel_tol=1e-15):
            assert spread[v] == pytest.approx(0, abs=1e-14)


# Representatives


@often
@given(
    st.sampled_from((1, 3, 8, 40, 300)),
    st.integers(2, 4),
    st.sampled_from((1, 2, 5, 1000)),
    st.sampled_from((torch.float32, torch.float64)),
    st.integers(0, 2**32 - 1),
    st.data(),
)
def test_representatives_are_the_best_neurons_and_ties_go_to_the_lower_index(
    neurons, classes, values, dtype, seed, data
):
    top = data.draw(st.integers(1, min(neurons, 50)))
    generator = np.random.default_rng(seed)
    sign = generator.choice([-1.0, 1.0], (classes, neurons))  # negative zeros among them
    means = torch.from_numpy(generator.integers(0, values, (classes, neurons)) * 0.1 * sign).to(
        dtype
    )

    found = representative_neurons(means, top)

    assert found.dtype == torch.int64
    assert found.tolist() == naive.representative_neurons(means.tolist(), top)
    assert representative_neurons(means.numpy(), top).tolist() == found.tolist()


@often
@given(st.integers(1, 8), st.integers(2, 5), st.data())
def test_unique_neurons_are_counted_one_by_one(neurons, classes, data):
    top = data.draw(st.integers(1, neurons))
    chosen = [data.draw(st.permutations(range(neurons)))[:top] for _ in range(classes)]

    found = unique_neuron_matrix(torch.tensor(chosen))

    assert found.dtype == torch.int64
    assert found.tolist() == naive.unique_neuron_matrix(chosen)
    assert unique_neuron_matrix(np.array(chosen)).tolist() == found.tolist()
    alone = unique_neuron_matrix(torch.tensor(chosen), exclusive=True)
    assert alone.tolist() == naive.unique_neuron_matrix(chosen, exclusive=True)
    assert alone.sum(1).max() <= top


# The activation pattern graph


@often
@given(layers(), st.sampled_from(PAIRS))
def test_the_graph_counts_the_samples_in_which_both_exceed_their_mean(layer, pairs):
    activations, labels, classes, top = layer

    found = activation_pattern_graph(
        torch.from_numpy(activations), torch.from_numpy(labels), classes, top, pairs=pairs
    )

    assert found.dtype == torch.float64
    close(
        found,
        naive.activation_pattern_graph(activations.tolist(), labels.tolist(), classes, top, pairs),
    )
    assert torch.equal(
        activation_pattern_graph(activations, labels, classes, top, pairs=pairs), found
    )


@seldom
@given(layers())
def test_pairs_of_a_class_are_the_default(layer):
    activations, labels, classes, top = layer

    assert torch.equal(
        activation_pattern_graph(activations, labels, classes, top),
        activation_pattern_graph(activations, labels, classes, top, pairs="class"),
    )


@seldom
@given(layers(), st.sampled_from(PAIRS))
def test_the_three_modularities_of_an_activation_pattern_graph_are_those_of_the_loops(layer, pairs):
    activations, labels, classes, top = layer
    rows, known = activations.tolist(), labels.tolist()
    means = naive.class_means(rows, known, classes)
    communities = naive.representative_neurons(means, top)
    membership = naive.membership(means, communities)
    expected = naive.activation_pattern_graph(rows, known, classes, top, pairs)

    adjacency = activation_pattern_graph(activations, labels, classes, top, pairs=pairs)

    close(modularity(adjacency, membership), naive.modularity(expected, membership))
    for weighted in (True, False):
        found = overlapping_modularity(adjacency, torch.tensor(communities), weighted=weighted)
        close(found, naive.overlapping_modularity(expected, communities, weighted))


@pytest.mark.parametrize("value", [0.1, 0.3, 1 / 3, 0.7, 1e-3, 1e30, 3e-40])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("pairs", PAIRS)
def test_a_constant_neuron_never_exceeds_its_mean(value, dtype, pairs):
    """A sum of equal values, divided by their number, may round to less than each of them."""
    for samples in range(1, 40):
        activations = np.full((2 * samples, 3), value, dtype=dtype)
        activations[0] = 2 * activations[0]  # class 0 has an outlier, class 1 has not
        labels = np.arange(2 * samples) % 2

        found = activation_pattern_graph(activations, labels, 2, 3, pairs=pairs)

        share = 1 / samples if samples > 1 else 0.0
        close(found, share * (1 - np.eye(3)))


@pytest.mark.parametrize("pairs", PAIRS)
def test_dead_neurons_have_no_edges(pairs):
    torch.manual_seed(0)
    activations = torch.rand(40, 6)
    activations[:, [1, 4]] = 0.0

    found = activation_pattern_graph(activations, torch.arange(40) % 2, 2, 6, pairs=pairs)

    assert found[[1, 4]].abs().sum() == 0
    assert found[:, [1, 4]].abs().sum() == 0
    assert (found[0, [2, 3, 5]] > 0).all()


# Modularity


@often
@given(graphs_with_partitions(lowest=-1), st.sampled_from(FORMS))
def test_modularity_is_the_sum_over_pairs_of_vertices(drawn, form):
    rows, partition = drawn

    found = modularity(as_doubles(rows, form), form(partition))

    assert isinstance(found, float)
    close(found, naive.modularity(rows, partition))


@often
@given(graphs_with_covers(), st.booleans(), st.sampled_from(FORMS))
def test_overlapping_modularity_is_the_sum_over_communities_and_pairs(drawn, weighted, form):
    rows, communities = drawn

    found = overlapping_modularity(as_doubles(rows, form), communities, weighted=weighted)

    assert isinstance(found, float)
    close(found, naive.overlapping_modularity(rows, communities, weighted))


@often
@given(weighted_graphs(), st.booleans(), st.data())
def test_communities_of_one_size_may_be_a_table(rows, weighted, data):
    top = data.draw(st.integers(1, len(rows)))
    communities = [
        data.draw(st.permutations(range(len(rows))))[:top]
        for _ in range(data.draw(st.integers(1, 4)))
    ]
    expected = naive.overlapping_modularity(rows, communities, weighted)

    for form in FORMS:
        close(
            overlapping_modularity(as_doubles(rows), form(communities), weighted=weighted), expected
        )


@often
@given(graphs_with_partitions())
def test_on_a_partition_every_modularity_is_networkxs(drawn):
    rows, partition = drawn
    adjacency, communities = as_doubles(rows), communities_of(partition)
    if not any(map(any, rows)):
        assert modularity(adjacency, partition) == 0
        assert overlapping_modularity(adjacency, communities) == 0
        assert overlapping_modularity(adjacency, communities, weighted=False) == 0
        return

    close(modularity(adjacency, partition), by_networkx(rows, communities))
    close(overlapping_modularity(adjacency, communities), by_networkx(rows, communities))
    close(
        overlapping_modularity(adjacency, communities, weighted=False),
        by_networkx(rows, communities, None),
    )
    close(modularity((adjacency > 0).double(), partition), by_networkx(rows, communities, None))


@seldom
@given(
    weighted_graphs(scales=(1.0,)),
    st.sampled_from((2.0**-500, 2.0**-100, 2.0**100, 2.0**500)),
    st.data(),
)
def test_the_unit_of_the_weights_does_not_matter(rows, unit, data):
    communities = data.draw(covers(len(rows)))
    partition = data.draw(st.lists(st.integers(-1, 2), min_size=len(rows), max_size=len(rows)))
    adjacency = as_doubles(rows)

    close(modularity(adjacency * unit, partition), naive.modularity(rows, partition))
    for weighted in (True, False):
        expected = naive.overlapping_modularity(rows, communities, weighted)
        close(overlapping_modularity(adjacency * unit, communities, weighted=weighted), expected)


@seldom
@given(graphs_with_covers(), st.booleans(), st.randoms())
def test_the_order_of_vertices_and_communities_does_not_matter(drawn, weighted, random):
    rows, communities = drawn
    order = list(range(len(rows)))
    random.shuffle(order)
    at = {v: i for i, v in enumerate(order)}
    moved = [[rows[v][w] for w in order] for v in order]
    renamed = [[at[v] for v in community] for community in reversed(communities)]

    found = overlapping_modularity(as_doubles(moved), renamed, weighted=weighted)

    close(found, overlapping_modularity(as_doubles(rows), communities, weighted=weighted))


PATH = [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 2.0, 0.0], [0.0, 2.0, 0.0, 0.0], [0.0, 0.0, 0.0, 0.0]]


@pytest.mark.parametrize(
    ("communities", "why"),
    [
        ([[0, 2], [0, 3], [1]], "0 has weight inside neither of its two communities"),
        ([[0, 2], [0, 1], [2]], "0 has weight inside one of its two communities, 2 inside neither"),
        ([[3], [3, 0], [1, 2]], "an isolated vertex in two communities"),
        ([[0], [1], [2], [3]], "everybody alone"),
        ([[0, 1, 2, 3]] * 3, "the same community three times"),
        ([[], [], []], "empty communities only"),
        ([[0, 1]], "vertices in no community"),
        ([[1, 2], [], [0, 1], [0, 1, 2, 3]], "an empty community among others"),
    ],
)
@pytest.mark.parametrize("weighted", [True, False])
def test_belonging_at_its_limits(communities, why, weighted):
    close(
        overlapping_modularity(as_doubles(PATH), communities, weighted=weighted),
        naive.overlapping_modularity(PATH, communities, weighted),
    )


def test_equal_shares_by_hand():
    # 2m = 6, k = (1, 3, 2). 0 has no weight inside {0, 2} and {0, 3}: half of it in either.
    # Q = Σ_c [a_c A a_c - (a_c·k)² / 6] / 6, and only {1} and the two halves have a·k: 3, 2.5, 0.5.
    found = overlapping_modularity(as_doubles(PATH), [[0, 2], [0, 3], [1]])

    assert found == pytest.approx(-(3**2 + 2.5**2 + 0.5**2) / 36, abs=1e-12)


def test_without_edges_there_is_no_modularity():
    nothing = torch.zeros(4, 4, dtype=torch.float64)

    assert modularity(nothing, [0, 0, 1, -1]) == 0
    assert (
        modularity(as_doubles(PATH), [0, -1, 0, 1]) == 0
    )  # its edges are those of the vertex left out
    assert modularity(as_doubles(PATH), [-1, -1, -1, -1]) == 0
    for weighted in (True, False):
        assert overlapping_modularity(nothing, [[0, 1], [1, 2], []], weighted=weighted) == 0


# Vertices


@often
@given(graphs_with_partitions(lowest=-1), st.sampled_from(FORMS))
def test_a_vertex_has_weight_within_its_community_and_a_share_in_the_others(drawn, form):
    rows, partition = drawn

    spread = participation_coefficient(as_doubles(rows, form), form(partition))
    inside = within_community_strength(as_doubles(rows, form), form(partition))

    assert spread.dtype == inside.dtype == torch.float64
    close(spread, naive.participation(rows, partition))
    scale = max(1.0, max(map(max, rows)))
    close(inside / scale, np.array(naive.within_strength(rows, partition)) / scale)


def test_what_is_no_vertex_has_no_weight_and_no_share():
    nobody = [-1, -1, -1, -1]

    assert participation_coefficient(as_doubles(PATH), nobody).tolist() == [0, 0, 0, 0]
    assert within_community_strength(as_doubles(PATH), nobody).tolist() == [0, 0, 0, 0]
    assert within_community_strength(as_doubles(PATH), [0, -1, 0, 1]).tolist() == [0, 0, 0, 0]
    assert within_community_strength(as_doubles(PATH), [0, 0, 1, -1]).tolist() == [1, 1, 0, 0]


# Errors

MATRICES = {
    "not square": [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]],
    "no matrix": [0.0, 1.0, 0.0],
    "asymmetric": [[0.0, 1.0, 0.0], [0.5, 0.0, 0.0], [0.0, 0.0, 0.0]],
    "one way": [[0.0, 1.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]],
    "negative": [[0.0, -1.0, 0.0], [-1.0, 0.0, 2.0], [0.0, 2.0, 0.0]],
    "not a number": [[0.0, math.nan, 0.0], [math.nan, 0.0, 1.0], [0.0, 1.0, 0.0]],
    "infinite": [[0.0, math.inf, 0.0], [math.inf, 0.0, 1.0], [0.0, 1.0, 0.0]],
}
TRIANGLE = [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("rows", MATRICES.values(), ids=MATRICES)
def test_what_is_no_adjacency_is_an_error(rows, form):
    adjacency = as_doubles(rows, form)
    for function in (modularity, participation_coefficient, within_community_strength):
        with pytest.raises(CofireError):
            function(adjacency, [0, 0, 1])
    for weighted in (True, False):
        with pytest.raises(CofireError):
            overlapping_modularity(adjacency, [[0, 1], [1, 2]], weighted=weighted)


@pytest.mark.parametrize("communities", [[[0, 3]], [[0, 1], [-1]], [[0], [1], [2, 99]], [[0, -3]]])
@pytest.mark.parametrize("weighted", [True, False])
def test_communities_hold_vertices_that_exist(communities, weighted):
    with pytest.raises(CofireError):
        overlapping_modularity(as_doubles(TRIANGLE), communities, weighted=weighted)


def test_a_table_of_communities_holds_vertices_that_exist():
    for wrong in ([[0, 3]], [[0, -1]]):
        for form in FORMS:
            with pytest.raises(CofireError):
                overlapping_modularity(as_doubles(TRIANGLE), form(wrong))


@pytest.mark.parametrize(
    "membership", [[0, 0], [0, 0, 1, 1], [], [0, -2, 1], [-7, 0, 0], [[0, 1, 1]]]
)
def test_a_membership_names_a_community_or_none_of_every_vertex(membership):
    for function in (modularity, participation_coefficient, within_community_strength):
        with pytest.raises(CofireError):
            function(as_doubles(TRIANGLE), membership)


@pytest.mark.parametrize("top", [0, -1, 5, 100])
def test_there_are_only_so_many_representatives(top):
    with pytest.raises(CofireError):
        representative_neurons(torch.rand(2, 4), top)
    with pytest.raises(CofireError):
        activation_pattern_graph(torch.rand(6, 4), torch.arange(6) % 2, 2, top)


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        ([0, 0, 0, 0], 1),
        ([0, 0, 0, 0], 0),
        ([0, 1, 2, 0], 2),
        ([0, 1, -1, 0], 2),
        ([0, 1, 0], 2),
        ([0, 1, 0, 1, 0], 2),
        ([0, 0, 0, 0], 2),
    ],
    ids=[
        "one class",
        "no class",
        "too high",
        "negative",
        "too few",
        "too many",
        "a class without samples",
    ],
)
def test_labels_number_two_classes_or_more(labels, classes):
    with pytest.raises(CofireError):
        activation_pattern_graph(torch.rand(4, 3), torch.tensor(labels), classes, 2)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_activations_and_means_are_finite(value):
    activations = torch.rand(6, 3)
    activations[2, 1] = value
    with pytest.raises(CofireError):
        activation_pattern_graph(activations, torch.arange(6) % 2, 2, 2)
    with pytest.raises(CofireError):
        representative_neurons(activations, 2)


def test_pairs_are_those_of_a_class_or_of_the_union():
    with pytest.raises(CofireError):
        activation_pattern_graph(torch.rand(6, 3), torch.arange(6) % 2, 2, 2, pairs="all")
