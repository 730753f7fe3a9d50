"""Intervals and tests of many columns at once, held against the slow and the obvious."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from cofire.boost import bootstrap
from cofire.boost.bootstrap import paired_bootstrap
from cofire.errors import DataError, NonFiniteError, OptionError
from cofire.evaluate.statistics import bootstrap_means, holm, sign_flip


def test_an_interval_is_that_of_the_bootstrap_of_one_column():
    values = np.random.default_rng(0).normal(0.3, 1.0, 120)
    ours, theirs = bootstrap_means(values[:, None]), paired_bootstrap(torch.from_numpy(values))
    assert ours.mean[0] == pytest.approx(theirs.value)
    assert ours.low[0] == pytest.approx(theirs.low, abs=0.02)
    assert ours.high[0] == pytest.approx(theirs.high, abs=0.02)


def test_blocks_of_draws_are_the_draws_of_one(monkeypatch):
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 60)))
    whole = [paired_bootstrap(part, draws=50, seed=4) for part in (values, values[0])]
    monkeypatch.setattr(bootstrap, "_CELLS", 7 * 60)
    for part, one in zip((values, values[0]), whole, strict=True):
        again = paired_bootstrap(part, draws=50, seed=4)
        assert (again.low, again.high) == pytest.approx((one.low, one.high), abs=1e-12)


def test_photos_that_do_not_count_change_nothing():
    values = np.random.default_rng(1).random((60, 2))
    counted = np.ones((60, 2), dtype=bool)
    counted[::2, 1] = False
    found = bootstrap_means(np.where(counted, values, np.nan), counted)
    assert found.counted.tolist() == [60, 30]
    assert found.mean[1] == pytest.approx(values[1::2, 1].mean())
    assert found.low[1] < found.mean[1] < found.high[1]
    alone = bootstrap_means(values[1::2, 1:])
    assert found.high[1] - found.low[1] == pytest.approx(alone.high[0] - alone.low[0], rel=0.15)


def test_equal_values_have_an_interval_without_width():
    found = bootstrap_means(np.full((7, 1), 0.1))
    assert found.low[0] == found.mean[0] == found.high[0] == pytest.approx(0.1)


def test_the_seed_alone_decides_the_draws():
    values = np.random.default_rng(2).random((30, 3))
    first, again, other = (bootstrap_means(values, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.low, again.low)
    assert not np.array_equal(first.low, other.low)


@settings(max_examples=40, deadline=None)
@given(arrays(np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=st.integers(-3, 3).map(float)))
def test_few_photos_are_tested_by_all_combinations_of_signs(table):
    found = sign_flip(table)
    for column in range(2):
        values = table[:, column]
        sums = [abs(sum(s * v for s, v in zip(signs, values, strict=True)))
                for signs in itertools.product((1, -1), repeat=len(values))]  # fmt: skip
        assert found[column] == pytest.approx(np.mean([one >= abs(values.sum()) for one in sums]))


def test_many_photos_are_tested_by_random_signs():
    rng = np.random.default_rng(0)
    alike, apart = rng.normal(0, 1, 200), rng.normal(0.5, 1, 200)
    found = sign_flip(np.stack([alike, apart, np.zeros(200)], axis=1))
    assert found[0] > 0.05
    assert found[1] == pytest.approx(0.0001)
    assert found[2] == 1.0
    exact = sign_flip(alike[:13, None])
    padded = np.concatenate([alike[:13], np.zeros(60)])
    assert sign_flip(padded[:, None], flips=20_000)[0] == pytest.approx(exact[0], abs=0.02)


def test_p_values_hold_what_they_promise():
    rng = np.random.default_rng(5)
    found = sign_flip(rng.normal(0, 1, (40, 400)), flips=999)
    assert np.mean(found <= 0.05) == pytest.approx(0.05, abs=0.03)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_holm_raises_and_keeps_the_order(p):
    raised = holm(p)
    assert all(one >= own for one, own in zip(raised, p, strict=True))
    assert max(raised) <= 1
    smallest = min(range(len(p)), key=lambda at: p[at])
    assert raised[smallest] == pytest.approx(min(1, p[smallest] * len(p)))
    order = sorted(range(len(p)), key=lambda at: p[at])
    assert all(raised[a] <= raised[b] for a, b in itertools.pairwise(order))


@pytest.mark.parametrize("values", [[], [[]], [1.0, 2.0]])
def test_what_is_no_table_is_refused(values):
    with pytest.raises(DataError):
        sign_flip(np.array(values).reshape(0, 1) if not np.size(values) else values)


def test_bad_numbers_are_refused():
    with pytest.raises(NonFiniteError):
        bootstrap_means([[float("nan")]])
    with pytest.raises(OptionError):
        bootstrap_means([[1.0]], draws=0)
    with pytest.raises(DataError):
        bootstrap_means([[1.0]], [[True, False]])
