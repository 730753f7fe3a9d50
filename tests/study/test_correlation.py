"""Correlations against SciPy, and where they are not defined."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from cofire.errors import DataError, OptionError
from cofire.study import correlate
from cofire.study.correlation import effective_points

series = hnp.arrays(np.float64, 20, elements=st.integers(-50, 50).map(float))


@settings(deadline=None)
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
        assert (found.pearson_low, found.pearson_high) == pytest.approx(
            (interval.low, interval.high), abs=1e-9
        )


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


def naive_effective(x, y):
    """Bartlett's effective number written out: lag by lag, product by product."""
    n = len(x)

    def at(series, lag):
        mean = sum(series) / n
        return sum((series[t] - mean) * (series[t + lag] - mean) for t in range(n - lag)) / sum(
            (value - mean) ** 2 for value in series
        )

    total = sum((1 - lag / n) * at(x, lag) * at(y, lag) for lag in range(1, n - 1))
    return 1 / max(1 / n + 2 / n * total, 1 / n)


@settings(deadline=None)
@given(hnp.arrays(np.float64, (2, 9), elements=st.integers(-9, 9).map(float)))
def test_the_effective_number_is_bartletts(both):
    if min(np.ptp(both, axis=1)) > 0:
        assert effective_points(*both) == pytest.approx(naive_effective(*both.tolist()))
        assert effective_points(1e-200 * both[0], both[1]) == pytest.approx(effective_points(*both))


def share_clear(pairs):
    """In which share of pairs the plain and the serial interval exclude 0, of either coefficient."""
    plain, serial, ranks = [], [], []
    for first, second in pairs:
        found = correlate(first, second)
        plain.append(found.pearson_low * found.pearson_high > 0)
        serial.append(found.pearson_serial_low * found.pearson_serial_high > 0)
        ranks.append(found.spearman_serial_low * found.spearman_serial_high > 0)
    return np.mean(plain), np.mean(serial), np.mean(ranks)


def test_unrelated_random_walks_seldom_seem_related():
    walks = np.random.default_rng(1).normal(size=(1000, 2, 20)).cumsum(axis=-1)
    plain, serial, ranks = share_clear(walks)
    assert plain > 0.4
    assert serial <= 0.07
    assert ranks <= 0.08


def test_strongly_related_walks_are_still_found():
    steps = np.random.default_rng(2).normal(size=(400, 2, 20))
    steps[:, 1] = 0.9 * steps[:, 0] + np.sqrt(1 - 0.81) * steps[:, 1]
    _, serial, ranks = share_clear(steps.cumsum(axis=-1))
    assert serial > 0.8
    assert ranks > 0.65


def test_independent_points_keep_nearly_all_their_worth():
    noise = np.random.default_rng(3).normal(size=(400, 2, 20))
    assert share_clear(noise)[1] <= 0.05
    noise[:, 1] = 0.6 * noise[:, 0] + 0.8 * noise[:, 1]
    plain, serial, _ = share_clear(noise)
    assert plain - 0.1 < serial <= plain + 0.01


def test_two_smooth_curves_are_worth_few_points():
    time = np.arange(20.0)
    found = correlate(1 - np.exp(-time / 4), time + 0.01 * time**2)
    assert found.effective < 6
    assert found.pearson_low > 0.6
    assert found.pearson_serial_low < 0
