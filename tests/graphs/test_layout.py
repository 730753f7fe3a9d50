"""The layout: finite, repeatable, the same in any unit, and with communities apart."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cofire.errors import DataError, OptionError
from cofire.graphs.layout import force_layout
from tests.graphs.examples import overlapping_cliques, planted, symmetric


def distances(positions, group):
    """Mean distance within communities, and between them."""
    apart = torch.cdist(positions, positions)
    known = (group[:, None] >= 0) & (group >= 0)
    same = (group[:, None] == group) & known & ~torch.eye(len(group), dtype=torch.bool)
    return float(apart[same].mean()), float(apart[(group[:, None] != group) & known].mean())


def is_framed(positions):
    reach = torch.quantile(positions.norm(dim=1), 0.98)
    return bool(positions.isfinite().all()) and torch.allclose(
        torch.cat((positions.mean(0), reach[None])),
        torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64),
        atol=1e-9,
    )


@st.composite
def graphs(draw):
    n = draw(st.integers(3, 10))
    weight = st.sampled_from([0.0, 0.0, 1.0, 1e-20, 1e-300, 1e9, 1e300]) | st.floats(0, 5)
    adjacency = torch.zeros(n, n, dtype=torch.float64)
    for v in range(n):
        for w in range(v + 1):
            adjacency[v, w] = adjacency[w, v] = draw(weight)
    return adjacency


CLIQUES = overlapping_cliques(300, 8, 35, 0)
PLANTED = planted(250, 6, 0.3, 0.03, 1)
DENSE = planted(200, 4, 1.0, 0.4, 2)


@pytest.mark.parametrize(("graph", "most"), [(CLIQUES, 0.3), (PLANTED, 0.35), (DENSE, 0.5)])
@pytest.mark.parametrize("seed", range(3))
def test_communities_come_apart(graph, most, seed):
    adjacency, group = graph
    within, between = distances(force_layout(adjacency, seed=seed), group)
    assert within < most * between


def test_two_cliques_joined_by_one_edge_lie_apart():
    adjacency = torch.block_diag(torch.ones(6, 6), torch.ones(6, 6)).double().fill_diagonal_(0)
    adjacency[5, 6] = adjacency[6, 5] = 1
    positions = force_layout(adjacency)
    within, between = distances(positions, torch.arange(12) // 6)
    assert is_framed(positions)
    assert within < 0.4 * between


def test_a_ring_of_cliques_shows_every_clique():
    adjacency = torch.block_diag(*[torch.ones(6, 6)] * 8).double().fill_diagonal_(0)
    for c in range(8):
        v, w = 6 * c, (6 * c + 7) % 48
        adjacency[v, w] = adjacency[w, v] = 1
    within, between = distances(force_layout(adjacency), torch.arange(48) // 6)
    assert within < 0.2 * between


def test_without_vertices_or_edges():
    assert force_layout(torch.zeros(0, 0, dtype=torch.float64)).shape == (0, 2)
    assert force_layout(torch.ones(1, 1, dtype=torch.float64)).tolist() == [[0.0, 0.0]]
    for n in (2, 3, 20):
        positions = force_layout(torch.zeros(n, n, dtype=torch.float64))
        assert is_framed(positions)
        assert torch.pdist(positions).min() > 1e-2


def test_two_vertices_lie_on_two_sides_of_the_centre():
    positions = force_layout(torch.tensor([[0.0, 3.0], [3.0, 0.0]], dtype=torch.float64))
    assert torch.allclose(positions[0], -positions[1])
    assert torch.allclose(positions.norm(dim=1), torch.ones(2, dtype=torch.float64))


def test_isolated_vertices_lie_around_the_others_and_do_not_squeeze_them():
    adjacency = torch.zeros(300, 300, dtype=torch.float64)
    adjacency[:250, :250] = PLANTED[0]
    adjacency[260, 260] = 5
    reach = force_layout(adjacency).norm(dim=1)
    assert reach[250:].max() < 1.2
    assert reach[250:].min() > reach[:250].quantile(0.9)
    assert reach[:250].quantile(0.98) > 0.8


def test_an_isolated_vertex_stays_where_it_is_when_others_join_it():
    adjacency, _ = PLANTED
    padded = torch.zeros(256, 256, dtype=torch.float64)
    padded[:250, :250] = adjacency
    before = force_layout(padded)
    padded[255, 0] = padded[0, 255] = 1
    after = force_layout(padded, initial=before)
    assert (after[250:255] - before[250:255]).norm(dim=1).max() < 0.1


def test_a_vertex_of_a_separate_pair_does_not_fly_away():
    adjacency = torch.block_diag(PLANTED[0], torch.tensor([[0.0, 0.01], [0.01, 0.0]]).double())
    assert force_layout(adjacency).norm(dim=1).max() < 2


@settings(deadline=None)
@given(graphs(), st.integers(0, 5), st.sampled_from([0.0, 0.3, 1.0]), st.booleans())
def test_positions_are_finite_framed_and_repeatable(adjacency, seed, gravity, coincident):
    n = len(adjacency)
    initial = torch.full((n, 2), 7.0, dtype=torch.float64) if coincident else None
    positions = force_layout(adjacency, initial=initial, iterations=60, gravity=gravity, seed=seed)
    assert positions.dtype == torch.float64
    assert positions.shape == (n, 2)
    assert is_framed(positions)
    assert positions.equal(
        force_layout(adjacency, initial=initial, iterations=60, gravity=gravity, seed=seed)
    )


@pytest.mark.parametrize("factor", [2.0**-900, 2.0**900])
def test_the_unit_of_the_weights_does_not_matter(factor):
    adjacency, _ = PLANTED
    assert force_layout(adjacency * factor).equal(force_layout(adjacency))


def test_the_diagonal_does_not_matter_and_nothing_is_changed():
    adjacency, _ = PLANTED
    before = adjacency.clone()
    initial = force_layout(adjacency, seed=1)
    kept = initial.clone()
    heavy = adjacency + 50 * torch.eye(len(adjacency))
    assert force_layout(heavy, initial=initial).equal(force_layout(adjacency, initial=initial))
    assert adjacency.equal(before)
    assert initial.equal(kept)


@pytest.mark.parametrize("graph", [CLIQUES, PLANTED, DENSE])
def test_a_start_from_the_drawing_before_moves_only_a_little(graph):
    adjacency, _ = graph
    draw = np.random.default_rng(9)
    changed = adjacency * symmetric(np.exp(0.1 * draw.standard_normal(adjacency.shape)))
    before = force_layout(adjacency)
    moved = (force_layout(changed, initial=before) - before).norm(dim=1).mean()
    anew = (force_layout(changed, seed=1) - before).norm(dim=1).mean()
    assert moved < 0.25
    assert moved < 0.35 * anew


def test_faint_ties_alone_do_not_hold_a_vertex():
    adjacency = torch.zeros(8, 8, dtype=torch.float64)
    adjacency[0, 1] = adjacency[1, 0] = 1
    adjacency[2, 3:] = adjacency[3:, 2] = 0.6e-15
    assert is_framed(force_layout(adjacency))


def test_coincident_starts_come_apart():
    adjacency, group = PLANTED
    some = torch.zeros(250, 2, dtype=torch.float64)
    some[0] = 1
    for initial in (torch.zeros(250, 2, dtype=torch.float64), some):
        within, between = distances(force_layout(adjacency, initial=initial), group)
        assert within < 0.5 * between


def test_no_iterations_leave_a_start_in_its_place():
    adjacency, _ = PLANTED
    initial = force_layout(adjacency)
    assert (force_layout(adjacency, initial=initial, iterations=0) - initial).norm(
        dim=1
    ).max() < 0.01


def test_gravity_that_overflows_is_refused():
    with pytest.raises(OptionError, match="gravity"):
        force_layout(torch.ones(3, 3).double(), gravity=1e308)


def test_less_gravity_leaves_more_space_between_communities():
    adjacency, group = PLANTED
    ratios = []
    for gravity in (0.1, 1.0, 10.0):
        within, between = distances(force_layout(adjacency, gravity=gravity), group)
        ratios.append(within / between)
    assert ratios == sorted(ratios)


@pytest.mark.parametrize(
    ("adjacency", "said"),
    [
        (torch.tensor(1.0), "vertices"),
        (-torch.ones(2, 2), "negative|from 0 up"),
        (torch.ones(2, 3), "vertices"),
    ],
)
def test_a_matrix_that_is_no_graph_has_no_layout(adjacency, said):
    with pytest.raises(DataError, match=said):
        force_layout(adjacency)
