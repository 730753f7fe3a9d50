"""Jaccard of points and rank correlation of maps, against sets and scipy."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from cofire.errors import DataError, NonFiniteError
from cofire.evaluate.sensitivity import jaccard, rank_correlation
from cofire.explain.result.regions import Points

places = st.lists(st.tuples(st.integers(0, 4), st.integers(0, 4)), max_size=12)


def points(pixels):
    y, x = (torch.tensor([pixel[axis] for pixel in pixels], dtype=torch.int32) for axis in (0, 1))
    return Points(y, x, torch.ones(len(pixels)))


@given(st.lists(st.tuples(places, places), min_size=1, max_size=3))
def test_jaccard_is_that_of_sets(pairs):
    found = jaccard([points(first) for first, _ in pairs], [points(second) for _, second in pairs])
    for at, (first, second) in enumerate(pairs):
        joined = set(first) | set(second)
        assert found.counted[at].item() == bool(joined)
        assert found.values[at].item() == (
            len(set(first) & set(second)) / len(joined) if joined else 0
        )


def test_points_that_do_not_fit_are_refused():
    with pytest.raises(DataError):
        jaccard([points([])], [])
    with pytest.raises(DataError):
        jaccard([points([(0, -1)])], [points([])])


@given(st.integers(0, 1000), st.integers(2, 5), st.integers(1, 30))
def test_rank_correlation_is_scipys(seed, side, most):
    first, second = (
        np.random.default_rng(seed).integers(0, most + 1, (2, 3, side, side)).astype(np.float32)
    )
    found = rank_correlation(torch.from_numpy(first), torch.from_numpy(second))
    for at in range(3):
        flat = [maps[at].ravel() for maps in (first, second)]
        varied = all(values.min() < values.max() for values in flat)
        assert found.counted[at].item() == varied
        if varied:
            assert found.values[at].item() == pytest.approx(spearmanr(*flat).statistic, abs=1e-12)


def test_a_constant_map_is_not_counted_and_the_others_are():
    maps = torch.tensor([[[1.0, 2, 3]], [[1.0, 1, 1]], [[3.0, 2, 1]]])
    found = rank_correlation(maps, maps[[0, 0, 0]])
    assert (found.values.tolist(), found.counted.tolist()) == ([1, 0, -1], [True, False, True])
    assert len(rank_correlation(torch.zeros(0, 2, 2), torch.zeros(0, 2, 2))) == 0


def test_maps_that_do_not_fit_are_refused():
    with pytest.raises(DataError):
        rank_correlation(torch.ones(1, 2, 2), torch.ones(1, 2, 3))
    with pytest.raises(NonFiniteError):
        rank_correlation(torch.ones(1, 2, 2) / 0, torch.ones(1, 2, 2))
