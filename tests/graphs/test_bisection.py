"""Bisection against brute force, toys with a known answer, and networkx."""

import itertools
import random

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cofire.graphs.communities import bisect
from tests.graphs.examples import overlapping_cliques, planted, random_graph

GRAPHS = {
    "random": random_graph(150, 0.1, 0),
    "dense": random_graph(81, 1.0, 1),
    "two groups": planted(200, 2, 0.2, 0.1, 2)[0],
    "eight groups": planted(200, 8, 0.3, 0.05, 3)[0],
    "cliques": overlapping_cliques(256, 10, 25, 4)[0],
}


def cut(adjacency, half):
    return float((adjacency * (half[:, None] != half)).sum() / 2)


def least_cut(adjacency):
    n = len(adjacency)
    cuts = []
    for chosen in itertools.combinations(range(n), n // 2):
        half = torch.zeros(n, dtype=torch.int64)
        half[list(chosen)] = 1
        cuts.append(cut(adjacency, half))
    return min(cuts)


def is_balanced(half):
    ones = int(half.sum())
    return (
        set(half.tolist()) <= {0, 1}
        and abs(len(half) - 2 * ones) <= 1
        and (len(half) == 0 or half[0] == 0)
    )


@st.composite
def graphs(draw):
    n = draw(st.integers(1, 11))
    weight = st.sampled_from([0.0, 0.0, 1.0, 0.5, 1e-3, 1e3]) | st.floats(0, 5)
    adjacency = torch.zeros(n, n, dtype=torch.float64)
    for v in range(n):
        for w in range(v + 1):
            adjacency[v, w] = adjacency[w, v] = draw(weight)
    return adjacency


def test_two_cliques_joined_by_one_edge_are_the_halves():
    adjacency = torch.block_diag(torch.ones(5, 5), torch.ones(5, 5)).double().fill_diagonal_(0)
    adjacency[4, 5] = adjacency[5, 4] = 1
    for seed in range(5):
        assert bisect(adjacency, seed=seed).tolist() == [0] * 5 + [1] * 5


def test_a_ring_of_cliques_is_cut_at_two_edges():
    adjacency = torch.block_diag(*[torch.ones(6, 6)] * 4).double().fill_diagonal_(0)
    for c in range(4):
        v, w = 6 * c, (6 * c + 7) % 24
        adjacency[v, w] = adjacency[w, v] = 0.5
    assert cut(adjacency, bisect(adjacency)) == 1.0


@pytest.mark.parametrize(("first", "second"), [(3, 4), (4, 3)])
def test_an_odd_vertex_out_goes_where_less_is_cut(first, second):
    adjacency = (
        torch.block_diag(torch.ones(first, first), torch.ones(second, second))
        .double()
        .fill_diagonal_(0)
    )
    assert bisect(adjacency).tolist() == [0] * first + [1] * second


def test_without_vertices_or_edges():
    assert bisect(torch.zeros(0, 0, dtype=torch.float64)).tolist() == []
    assert bisect(torch.zeros(1, 1, dtype=torch.float64)).tolist() == [0]
    assert bisect(torch.ones(2, 2, dtype=torch.float64)).tolist() == [0, 1]
    assert is_balanced(bisect(torch.zeros(7, 7, dtype=torch.float64)))
    assert bisect(torch.zeros(7, 7, dtype=torch.float64)).dtype == torch.int64


def test_isolated_vertices_only_fill_up_the_halves():
    adjacency = torch.zeros(8, 8, dtype=torch.float64)
    adjacency[1:5, 1:5] = 1
    half = bisect(adjacency)
    assert cut(adjacency, half) == 0
    assert half.tolist() == [0, 1, 1, 1, 1, 0, 0, 0]


@settings(deadline=None)
@given(graphs(), st.integers(0, 5))
def test_halves_are_balanced_and_no_exchange_cuts_less(adjacency, seed):
    half = bisect(adjacency, seed=seed)
    assert is_balanced(half)
    assert half.equal(bisect(adjacency, seed=seed))
    reached = cut(adjacency, half)
    slack = 1e-9 * float(adjacency.sum())
    for v, w in itertools.combinations(range(len(half)), 2):
        exchanged = half.clone()
        exchanged[[v, w]] = half[[w, v]]
        assert cut(adjacency, exchanged) >= reached - slack
    if len(half) % 2:
        larger = int(2 * half.sum() > len(half))
        for v in (half == larger).nonzero().flatten():
            moved = half.clone()
            moved[v] = 1 - larger
            assert cut(adjacency, moved) >= reached - slack


@pytest.mark.parametrize("seed", range(5))
def test_small_graphs_are_cut_as_little_as_can_be(seed):
    adjacency = random_graph(11 + seed % 2, 0.5, seed)
    assert cut(adjacency, bisect(adjacency)) == pytest.approx(least_cut(adjacency))


@pytest.mark.parametrize("name", GRAPHS)
def test_no_more_is_cut_than_by_networkx(name):
    adjacency = GRAPHS[name]
    graph = nx.from_numpy_array(adjacency.numpy())
    theirs = []
    for seed in range(10):
        side = torch.zeros(len(adjacency), dtype=torch.int64)
        side[list(nx.community.kernighan_lin_bisection(graph, seed=seed)[1])] = 1
        theirs.append(cut(adjacency, side))
    ours = [cut(adjacency, bisect(adjacency, seed=seed)) for seed in range(10)]
    assert np.median(ours) <= np.median(theirs)


@pytest.mark.parametrize("name", GRAPHS)
def test_no_exchange_of_one_pair_cuts_less(name):
    adjacency = GRAPHS[name]
    half = bisect(adjacency)
    other = half[:, None] != half
    gain = (adjacency * other).sum(1) - (adjacency * ~other).sum(1)
    both = gain[:, None] + gain - 2 * adjacency
    assert is_balanced(half)
    assert both[other].max() <= 1e-8


def test_the_unit_of_the_weights_and_the_diagonal_do_not_matter():
    adjacency = GRAPHS["eight groups"]
    for factor in (2.0**-1000, 2.0**1000):
        assert bisect(adjacency * factor).equal(bisect(adjacency))
    assert bisect(adjacency + 100 * torch.eye(len(adjacency))).equal(bisect(adjacency))


def test_nothing_is_changed_and_no_global_random_state_is_used():
    adjacency = GRAPHS["random"].clone()
    before = random.getstate(), np.random.get_state()[1].tolist()
    half = bisect(adjacency, seed=2)
    assert adjacency.equal(GRAPHS["random"])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == before
    random.seed(5)
    assert bisect(adjacency, seed=2).equal(half)
