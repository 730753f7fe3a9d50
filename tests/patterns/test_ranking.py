"""AUROC against scikit-learn and a double loop, its interval, and the rate of false alarms."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score, roc_curve

from cofire.errors import DataError, NonFiniteError, OptionError
from cofire.patterns.ranking import auroc, auroc_interval, false_positive_rate

# Few distinct values, so that ties are the rule.
tied = st.lists(st.integers(-3, 3).map(float), min_size=1, max_size=40)
any_score = st.lists(st.floats(-1e6, 1e6, allow_subnormal=False), min_size=1, max_size=40)
scores = tied | any_score


@given(scores, scores)
def test_auroc_is_that_of_scikit_learn_and_of_the_definition(low, high):
    labels = [0] * len(low) + [1] * len(high)
    found = auroc(torch.tensor(low, dtype=torch.float64), np.array(high))
    assert found == pytest.approx(roc_auc_score(labels, low + high), abs=1e-12)
    wins = sum((p > n) + (p == n) / 2 for n in low for p in high)
    assert found == wins / (len(low) * len(high))


@given(scores, scores)
def test_swapping_the_two_kinds_turns_the_area_over(low, high):
    low, high = torch.tensor(low), torch.tensor(high)
    assert auroc(low, high) == pytest.approx(1 - auroc(high, low), abs=1e-12)


@given(scores, scores, st.sampled_from([0.5, 0.8, 0.95, 1.0]))
def test_the_false_positive_rate_is_the_lowest_of_the_curve_at_that_rate(low, high, at):
    labels = [0] * len(low) + [1] * len(high)
    false, true, _ = roc_curve(labels, low + high, drop_intermediate=False)
    expected = false[true >= at - 1e-9].min()
    assert false_positive_rate(np.array(low), np.array(high), at) == pytest.approx(
        expected, abs=1e-12
    )


def test_separated_and_equal_scores():
    low, high = torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])
    assert (auroc(low, high), auroc(high, low), auroc(low, low)) == (1.0, 0.0, 0.5)
    assert auroc_interval(low, high) == (1.0, 1.0)
    assert (false_positive_rate(low, high), false_positive_rate(high, low)) == (0.0, 1.0)


def test_any_shape_and_type_of_scores_and_nothing_is_written_to():
    low = torch.tensor([[3.0, 1.0], [2.0, 0.0]])
    assert auroc(low, torch.tensor([2, 4], dtype=torch.uint8)) == (2.5 + 4) / 8
    assert auroc(low.to(torch.bfloat16).requires_grad_(), [5.0]) == 1.0
    assert low.flatten().tolist() == [3.0, 1.0, 2.0, 0.0]


def test_the_interval_is_that_of_resamples_one_by_one():
    draw = np.random.default_rng(5)
    low, high = draw.normal(size=150).round(1), (draw.normal(size=60) + 0.8).round(1)
    one_by_one = []
    for _ in range(2000):
        n, p = draw.choice(low, 150), draw.choice(high, 60)[:, None]
        one_by_one.append((p > n).mean() + (p == n).mean() / 2)
    expected = np.quantile(one_by_one, [0.025, 0.975])
    found = auroc_interval(low, high, draws=2000)
    assert found == pytest.approx(tuple(expected), abs=0.01)
    assert found[0] < auroc(low, high) < found[1]
    assert auroc_interval(low, high, draws=2000) == found
    assert auroc_interval(low, high, draws=2000, seed=1) != found


def test_a_bootstrap_in_slices_is_as_wide(monkeypatch):
    low, high = torch.randn(80), torch.randn(70) + 1
    whole = auroc_interval(low, high, draws=2000)
    monkeypatch.setattr("cofire.patterns.ranking._CELLS", 3000)
    assert auroc_interval(low, high, draws=2000) == pytest.approx(whole, abs=0.01)


@pytest.mark.parametrize("function", [auroc, auroc_interval, false_positive_rate])
def test_scores_that_cannot_be_ranked_are_refused(function):
    some = torch.tensor([0.0, 1.0])
    with pytest.raises(DataError, match="negatives of shape \\(0,\\)"):
        function(torch.zeros(0), some)
    with pytest.raises(DataError, match="positives of shape \\(0,\\)"):
        function(some, torch.zeros(0))
    with pytest.raises(DataError, match="complex"):
        function(some, torch.zeros(2, dtype=torch.complex64))
    for bad in (torch.nan, torch.inf):
        with pytest.raises(NonFiniteError, match="NaN or infinite positives"):
            function(some, torch.tensor([bad]))


@pytest.mark.parametrize("draws", [0, -1, 2.5, True])
def test_resamples_are_a_whole_number(draws):
    with pytest.raises(OptionError, match="draws"):
        auroc_interval(torch.zeros(2), torch.ones(2), draws=draws)


@pytest.mark.parametrize("at", [0, -0.5, 1.01, float("nan")])
def test_the_share_to_be_flagged_is_a_share(at):
    with pytest.raises(OptionError, match="at="):
        false_positive_rate(torch.zeros(2), torch.ones(2), at)
