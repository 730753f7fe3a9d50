"""Louvain against its equation, toys with a known answer, networkx and igraph."""

import random

import networkx as nx
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cofire.graphs.louvain import louvain
from tests.graphs.examples import overlapping_cliques, planted, random_graph

GRAPHS = {
    "random": random_graph(200, 0.1, 0),
    "dense": random_graph(150, 1.0, 1),
    "planted": planted(300, 6, 0.3, 0.05, 2)[0],
    "planted, hard": planted(300, 6, 0.2, 0.1, 3)[0],
    "cliques": overlapping_cliques(512, 10, 50, 4)[0],
}


def modularity(adjacency, member, resolution=1.0):
    """Q = 1/2m Σ_vw (A_vw − γ k_v k_w / 2m) δ(c_v, c_w), term by term."""
    adjacency = adjacency / adjacency.max()  # products of the smallest numbers would vanish
    strength, total = adjacency.sum(1), adjacency.sum()
    expected = resolution * strength[:, None] * strength / total
    return float(((adjacency - expected) * (member[:, None] == member)).sum() / total)


def ring_of_cliques(cliques, size):
    adjacency = torch.block_diag(*[torch.ones(size, size)] * cliques).double().fill_diagonal_(0)
    for c in range(cliques):
        v, w = c * size, ((c + 1) % cliques) * size + 1
        adjacency[v, w] = adjacency[w, v] = 1
    return adjacency


def is_numbered_by_size(member):
    sizes = torch.bincount(member)
    lowest = [int((member == c).nonzero()[0]) for c in range(len(sizes))]
    order = [(-int(size), first) for size, first in zip(sizes, lowest, strict=True)]
    return member.dtype == torch.int64 and bool((sizes > 0).all()) and order == sorted(order)


@st.composite
def graphs(draw):
    n = draw(st.integers(2, 12))
    weight = st.sampled_from([0.0, 0.0, 1.0, 0.5, 1e-3, 1e3]) | st.floats(0, 5)
    adjacency = torch.zeros(n, n, dtype=torch.float64)
    for v in range(n):
        for w in range(v + 1):
            if v != w or draw(st.integers(0, 5)) == 0:
                adjacency[v, w] = adjacency[w, v] = draw(weight)
    return adjacency


def test_two_cliques_joined_by_one_edge_are_two_communities():
    adjacency = torch.block_diag(torch.ones(3, 3), torch.ones(4, 4)).double().fill_diagonal_(0)
    adjacency[2, 3] = adjacency[3, 2] = 1
    member = louvain(adjacency)
    assert member.tolist() == [1, 1, 1, 0, 0, 0, 0]
    # 3 + 6 + 1 edges: 9/10 inside, strengths 7 and 13 of 20.
    assert modularity(adjacency, member) == pytest.approx(9 / 10 - (7 / 20) ** 2 - (13 / 20) ** 2)


def test_a_ring_of_cliques_comes_apart_into_its_cliques():
    member = louvain(ring_of_cliques(6, 5))
    assert member.tolist() == [c for c in range(6) for _ in range(5)]


def test_the_resolution_merges_or_splits_the_cliques_of_a_ring():
    adjacency = ring_of_cliques(30, 4)
    # Neighbouring cliques gain by merging if 1/m > 2 γ (14/2m)², with m = 210: below γ = 15/7.
    assert louvain(adjacency, resolution=2.2).max() == 29
    assert louvain(adjacency, resolution=1.0).max() < 29
    assert louvain(adjacency, resolution=0.0).max() == 0
    assert louvain(adjacency, resolution=1000.0).max() == 119


def test_without_vertices_edges_or_neighbours():
    assert louvain(torch.zeros(0, 0, dtype=torch.float64)).tolist() == []
    assert louvain(torch.zeros(1, 1, dtype=torch.float64)).tolist() == [0]
    assert louvain(torch.ones(1, 1, dtype=torch.float64)).tolist() == [0]
    assert louvain(torch.zeros(4, 4, dtype=torch.float64)).tolist() == [0, 1, 2, 3]


def test_isolated_vertices_are_communities_of_their_own():
    adjacency = torch.zeros(6, 6, dtype=torch.float64)
    adjacency[1, 3] = adjacency[3, 1] = 2
    adjacency[4, 4] = 7
    assert louvain(adjacency).tolist() == [1, 0, 2, 0, 3, 4]


def test_a_diagonal_counts_as_it_stands_in_the_matrix():
    # A heavy diagonal makes its vertex strong, and the tie to it then no longer exceeds what is
    # expected.
    adjacency = torch.tensor(
        [[0.0, 1.0, 1.0], [1.0, 0.0, 1.0], [1.0, 1.0, 0.0]], dtype=torch.float64
    )
    assert louvain(adjacency).tolist() == [0, 0, 0]
    adjacency[2, 2] = 4
    # k = 2, 2, 6 of 10: joining 2 to 0 and 1 changes Q by 2 (2 − 4 · 6 / 10) / 10 < 0.
    assert louvain(adjacency).tolist() == [0, 0, 1]


@settings(deadline=None)
@given(graphs(), st.integers(0, 5), st.sampled_from([0.5, 1.0, 1.7]))
def test_no_move_of_a_single_vertex_raises_modularity(adjacency, seed, resolution):
    member = louvain(adjacency, resolution=resolution, seed=seed)
    assert member.shape == (len(adjacency),)
    assert is_numbered_by_size(member)
    assert member.equal(louvain(adjacency, resolution=resolution, seed=seed))
    if adjacency.sum() == 0:
        return
    reached = modularity(adjacency, member, resolution)
    for v in range(len(adjacency)):
        for c in range(int(member.max()) + 2):
            moved = member.clone()
            moved[v] = c
            assert modularity(adjacency, moved, resolution) <= reached + 1e-8


@pytest.mark.parametrize("name", GRAPHS)
def test_no_merger_of_two_communities_raises_modularity(name):
    adjacency = GRAPHS[name]
    member = louvain(adjacency)
    assert is_numbered_by_size(member)
    own = torch.nn.functional.one_hot(member).double()
    between = own.T @ adjacency @ own
    share = between.sum(1) / adjacency.sum()
    gain = between / adjacency.sum() - share[:, None] * share
    assert gain.fill_diagonal_(0).max() <= 1e-9


def test_the_unit_of_the_weights_does_not_matter():
    adjacency = GRAPHS["planted"]
    for factor in (2.0**-1000, 2.0**1000):
        assert louvain(adjacency * factor).equal(louvain(adjacency))


def test_the_order_of_storage_does_not_matter_and_nothing_is_changed():
    adjacency = GRAPHS["planted"].clone()
    before = adjacency.clone()
    assert louvain(adjacency.T).equal(louvain(adjacency))
    assert adjacency.equal(before)


def test_no_global_random_state_is_used_or_changed():
    states = random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state()
    member = louvain(GRAPHS["random"], seed=3)
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[:2]
    assert torch.get_rng_state().equal(states[2])
    random.seed(1)
    torch.manual_seed(1)
    assert louvain(GRAPHS["random"], seed=3).equal(member)


def test_planted_groups_are_found():
    adjacency, group = planted(300, 5, 0.4, 0.05, 7)
    member = louvain(adjacency)
    # One community for every group and the other way round.
    assert len(set(zip(member.tolist(), group.tolist(), strict=True))) == 5 == int(member.max()) + 1


@pytest.mark.parametrize("name", ["random", "planted", "cliques"])
def test_modularity_is_not_below_that_of_networkx(name):
    adjacency = GRAPHS[name]
    graph = nx.from_numpy_array(adjacency.numpy())
    theirs = [
        nx.community.modularity(graph, nx.community.louvain_communities(graph, seed=s))
        for s in range(2)
    ]
    ours = [modularity(adjacency, louvain(adjacency, seed=s)) for s in range(10)]
    assert np.median(ours) >= np.median(theirs) - 0.002


@pytest.mark.parametrize("name", GRAPHS)
def test_modularity_is_not_below_that_of_igraph(name):
    igraph = pytest.importorskip("igraph")
    adjacency = GRAPHS[name]
    v, w = np.nonzero(np.triu(adjacency.numpy()))
    graph = igraph.Graph(len(adjacency), list(zip(v.tolist(), w.tolist(), strict=True)))
    weights = adjacency.numpy()[v, w].tolist()
    state = random.getstate()
    theirs = []
    for seed in range(10):
        random.seed(seed)
        theirs.append(
            modularity(
                adjacency, torch.tensor(graph.community_multilevel(weights=weights).membership)
            )
        )
    random.setstate(state)
    ours = [modularity(adjacency, louvain(adjacency, seed=s)) for s in range(10)]
    assert np.median(ours) >= np.median(theirs) - 0.002
