"""Correlations against SciPy, and where they are not defined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from cofire.errors import DataError, OptionError
from cofire.study import correlate

series = hnp.arrays(np.float64, 20, elements=st.integers(-50, 50).map(float))


@settings(max_examples=100, deadline=None)
@given(first=series, second=series)
def test_coefficients_and_the_interval_equal_scipys(first, second):
    found = correlate(first, second)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert found.pearson is None
        assert found.spearman is None
        return
    reference = stats.pearsonr(first, second)
    assert found.pearson == pytest.approx(reference.statistic, abs=1e-12)
    assert found.spearman == pytest.approx(stats.spearmanr(first, second).statistic, abs=1e-12)
    if abs(found.pearson) < 0.999999:
        interval = reference.confidence_interval(0.95)
        assert (found.pearson_low, found.pearson_high) == pytest.approx((interval.low, interval.high), abs=1e-9)


def test_two_series_that_only_drift_correlate_but_their_changes_do_not():
    rng = np.random.default_rng(0)
    time = np.arange(200.0)
    found = correlate(time + rng.normal(size=200), -time + rng.normal(size=200))
    assert found.pearson < -0.99
    assert abs(found.changes) < 0.2


def test_short_series_have_no_interval():
    assert correlate([1, 2], [3, 5]).pearson is None
    three = correlate([1, 2, 4], [3, 5, 4])
    assert three.pearson is not None
    assert three.pearson_low is None


def test_rounding_noise_around_a_constant_is_not_taken_for_a_signal():
    constant = [0.1 + 0.2, 0.3, 0.1 * 3, 0.3]
    assert correlate(constant, [1, 2, 3, 4]).pearson is None


@pytest.mark.parametrize(
    ("first", "second", "options", "error"),
    [
        ([1, 2, 3], [1, 2], {}, DataError),
        ([1, 2, float("nan")], [1, 2, 3], {}, DataError),
        ([[1, 2, 3]], [[1, 2, 3]], {}, DataError),
        ([1, 2, 3], [1, 2, 3], {"confidence": 1.0}, OptionError),
    ],
)
def test_bad_input_is_one_clear_error(first, second, options, error):
    with pytest.raises(error, match="To fix it"):
        correlate(first, second, **options)
