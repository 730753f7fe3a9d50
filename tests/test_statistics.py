"""Intervals, tests and verdicts, held against SciPy, the slow and the obvious, and simulations of what they promise."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import optimize, stats

from cofire.errors import CofireError, DataError, NonFiniteError, OptionError
from cofire.statistics import (
    Interval,
    holm,
    mean_interval,
    mean_intervals,
    newcombe,
    paired_bootstrap,
    resampling,
    samples_to_decide,
    seed_interval,
    sign_flip,
    tango,
    verdict,
    verdicts,
    weakest,
    wilson,
)


def test_an_interval_is_that_of_the_bootstrap_of_one_column():
    values = np.random.default_rng(0).normal(0.3, 1.0, 120)
    (ours,), theirs = mean_intervals(values[:, None]), paired_bootstrap(torch.from_numpy(values))
    assert ours.value == pytest.approx(theirs.value)
    assert ours.low == pytest.approx(theirs.low, abs=0.02)
    assert ours.high == pytest.approx(theirs.high, abs=0.02)


def test_blocks_of_draws_are_the_draws_of_one(monkeypatch):
    values = torch.from_numpy(np.random.default_rng(0).normal(size=(2, 60)))
    whole = [paired_bootstrap(part, draws=50, seed=4) for part in (values, values[0])]
    monkeypatch.setattr(resampling, "_CELLS", 7 * 60)
    for part, one in zip((values, values[0]), whole, strict=True):
        again = paired_bootstrap(part, draws=50, seed=4)
        assert (again.low, again.high) == pytest.approx((one.low, one.high), abs=1e-12)


def test_photos_that_do_not_count_change_nothing():
    values = np.random.default_rng(1).random((60, 2))
    counted = np.ones((60, 2), dtype=bool)
    counted[::2, 1] = False
    found = mean_intervals(np.where(counted, values, np.nan), counted)
    assert [(one.counted, one.left_out) for one in found] == [(60, 0), (30, 30)]
    assert found[1].value == pytest.approx(values[1::2, 1].mean())
    assert found[1].low < found[1].value < found[1].high
    (alone,) = mean_intervals(values[1::2, 1:])
    assert found[1].high - found[1].low == pytest.approx(alone.high - alone.low, rel=0.15)


def test_equal_values_have_an_interval_without_width():
    (found,) = mean_intervals(np.full((7, 1), 0.1))
    assert found.low == found.value == found.high == pytest.approx(0.1)


def test_the_seed_alone_decides_the_draws():
    values = np.random.default_rng(2).random((30, 3))
    first, again, other = (mean_intervals(values, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first != other


@given(st.integers(1, 400), st.data())
def test_wilsons_interval_is_scipys(samples, data):
    count = data.draw(st.integers(0, samples))
    found, reference = (
        wilson(count / samples, samples),
        stats.binomtest(count, samples).proportion_ci(method="wilson"),
    )
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-12)
    assert found.low <= found.value <= found.high


def test_shares_near_zero_are_covered_as_often_as_promised():
    """Where all samples agree a percentile bootstrap has no width: of 100 samples it covers 0.01 in 63 % of cases."""
    random = np.random.default_rng(7)
    for share in (0.01, 0.05, 0.98):
        drawn = (random.random((100, 400)) < share).astype(float)
        held = [one.low <= share <= one.high for one in mean_intervals(drawn, draws=1)]
        assert np.mean(held) >= 0.91
    none = mean_interval(np.zeros(20))
    assert (none.low, none.high) == (0, pytest.approx(0.1611, abs=1e-4))


def test_a_share_with_ties_has_the_interval_of_a_share():
    hits = np.array([0.0] * 38 + [0.5, 0.25])
    found = mean_interval(hits)
    assert (found.low, found.high) == (wilson(hits.mean(), 40).low, wilson(hits.mean(), 40).high)
    spread = mean_interval(np.linspace(0, 1, 40))
    assert spread.high - spread.low < wilson(0.5, 40).high - wilson(0.5, 40).low


def naive_score(more, less, samples, at):
    """The score of a difference of paired shares, its nuisance parameter found by search."""
    counts = (more, less, samples - more - less)

    def loss(rest):
        shares = rest + at, rest, 1 - 2 * rest - at
        return -sum(
            count * np.log(max(share, 1e-300))
            for count, share in zip(counts, shares, strict=True)
            if count
        )

    bounds = max(0.0, -at), (1 - at) / 2
    rest = optimize.minimize_scalar(
        loss, bounds=bounds, method="bounded", options={"xatol": 1e-12}
    ).x
    return (more - less - samples * at) / np.sqrt(samples * (2 * rest + at * (1 - at)))


@pytest.mark.parametrize("counts", [(9, 4, 20), (5, 1, 30), (0, 0, 20), (3, 0, 10), (2, 7, 400)])
def test_tangos_ends_are_where_the_score_test_gives_five_percent(counts):
    found = tango(*counts)
    assert naive_score(*counts, found.low) == pytest.approx(1.96, abs=1e-3)
    assert naive_score(*counts, found.high) == pytest.approx(-1.96, abs=1e-3)


@settings(deadline=None)
@given(st.integers(0, 30), st.integers(0, 30), st.integers(0, 60))
def test_tangos_interval_changes_sides_with_the_shares(more, less, same):
    samples = max(1, more + less + same)
    one, other = tango(more, less, samples), tango(less, more, samples)
    assert (one.low, one.high) == pytest.approx((-other.high, -other.low), abs=1e-9)
    assert -1 <= one.low <= one.value <= one.high <= 1
    if more + less:
        mcnemar = (more - less) ** 2 / (more + less)
        assert (one.low > 0 or one.high < 0) == (mcnemar > 1.96**2)


def test_few_samples_that_differ_do_not_show_a_difference():
    assert mean_interval([0.0] * 10, differences=True).says(0.005) == "undecided"
    four = mean_interval([1] * 4 + [0] * 200, differences=True)
    assert four.low == 0  # the exact sign test of 4 against 0 has p = 0.125
    assert mean_interval([1] * 6 + [0] * 200, differences=True).low > 0


def test_paired_differences_are_covered_as_often_as_promised():
    random = np.random.default_rng(3)
    drawn = random.choice([-1.0, 0.0, 1.0], (150, 300), p=[0.01, 0.96, 0.03])
    held = [
        one.low <= 0.02 <= one.high for one in mean_intervals(drawn, differences=True, draws=300)
    ]
    assert np.mean(held) >= 0.93


@given(st.floats(0, 1), st.integers(1, 300), st.integers(1, 300))
def test_newcombes_ends_are_as_far_as_hanley_and_mcneils_error_there(area, negatives, positives):
    found, mean = newcombe(area, negatives, positives), (negatives + positives) / 2
    assert 0 <= found.low <= area <= found.high <= 1
    for end in (found.low, found.high):
        if 0 < end < 1:
            q1, q2 = end / (2 - end), 2 * end**2 / (1 + end)
            spread = end * (1 - end) + (mean - 1) * (q1 - end**2) + (mean - 1) * (q2 - end**2)
            assert abs(area - end) == pytest.approx(
                1.96 * np.sqrt(spread / (negatives * positives)), rel=1e-3
            )


def test_three_samples_that_are_told_apart_do_not_make_a_detector_sure():
    assert newcombe(1.0, 100, 3).low < 0.71
    assert newcombe(1.0, 100, 300).low > 0.96


@given(st.lists(st.floats(-5, 5), min_size=2, max_size=8))
def test_the_interval_over_seeds_is_that_of_the_t_test(values):
    found = seed_interval(values)
    spread = np.std(values, ddof=1) / np.sqrt(len(values))
    reference = stats.t(len(values) - 1, np.mean(values), spread) if spread > 0 else None
    ends = (np.mean(values),) * 2 if reference is None else reference.interval(0.95)
    assert (found.low, found.high) == pytest.approx(tuple(ends), abs=1e-9)


def test_one_seed_says_nothing_of_others():
    assert seed_interval([0.01]).says(1.0) == "undecided"
    with pytest.raises(DataError):
        seed_interval([])
    with pytest.raises(NonFiniteError):
        seed_interval([0.1, float("nan")])


def test_an_interval_that_includes_zero_is_no_evidence_of_equality():
    gain = Interval(0.021, 0.0, 0.046, 280)
    assert gain.says(0.005) == "undecided"
    assert 280 < samples_to_decide(gain, 0.005) < 1000
    assert Interval(0.0, -0.004, 0.004, 10_000).says(0.005) == "equal"
    assert Interval(0.1).says(0.005) == "undecided"
    assert samples_to_decide(Interval(0.1), 0.005) is None
    assert samples_to_decide(Interval(0.0, -0.1, 0.1, 50)) is None


def test_a_single_sample_decides_nothing():
    for values in ([0.3], [-0.3], [0.0]):
        found = mean_interval(values, differences=True)
        assert found.says(0.005) == "undecided"
        assert verdicts([found], 0.005) == ["undecided"]
        assert samples_to_decide(found, 0.005) is None or values == [0.0]


@pytest.mark.filterwarnings("error")
def test_differences_too_small_for_any_number_of_samples_are_told_as_such():
    for interval, margin in (
        (Interval(1e-160, -0.01, 0.01, 100), 0.0),
        (Interval(5e-324, -0.01, 0.01, 100), 0.0),
        (Interval(0.0, -0.01, 0.01, 100), 1e-200),
        (Interval(1e-5, -1e300, 1e300, 100), 0.0),
    ):
        assert samples_to_decide(interval, margin) is None


@pytest.mark.filterwarnings("error")
def test_an_interval_of_which_no_draw_holds_a_sample_has_no_ends():
    found = [
        mean_intervals([[5.0], [7.0], [9.0]], [[True], [False], [False]], draws=1, seed=s)[0]
        for s in range(6)
    ]
    assert {(one.value, one.counted, one.left_out) for one in found} == {(5.0, 1, 2)}
    assert {one.known for one in found} == {True, False}


def test_the_verdict_is_that_of_two_one_sided_tests():
    random = np.random.default_rng(5)
    for _ in range(200):
        values = random.normal(random.uniform(-0.3, 0.3), 1, 400)
        error = values.std(ddof=1) / 20
        found = Interval(
            values.mean(), values.mean() - 1.96 * error, values.mean() + 1.96 * error, 400
        )
        apart = stats.norm.sf(abs(found.value) / error) * 2
        within = max(
            stats.norm.sf((0.2 - found.value) / error), stats.norm.sf((0.2 + found.value) / error)
        )
        if min(abs(apart - 0.05), abs(within - 0.05)) < 1e-3:
            continue
        shown = "better" if found.value > 0 else "worse"
        assert found.says(0.2) == (
            shown if apart < 0.05 else "equal" if within < 0.05 else "undecided"
        )


@pytest.mark.parametrize(("true", "margin"), [(0.2, 0.0), (0.0, 0.15), (0.03, 0.15)])
def test_as_many_samples_as_told_decide_in_four_of_five_cases(true, margin):
    told = samples_to_decide(Interval(true, true - 0.3, true + 0.3, 50), margin)
    error = 0.3 / 1.96 * np.sqrt(50 / told)
    means = np.random.default_rng(1).normal(true, error, 4000)
    decided = [
        verdict(mean - 1.96 * error, mean + 1.96 * error, margin) != "undecided" for mean in means
    ]
    assert np.mean(decided) >= 0.78


def test_many_verdicts_are_held_to_five_percent_together():
    random = np.random.default_rng(2)
    claims = 0
    for _ in range(400):
        values = random.normal(0, 1, 20)
        family = [Interval(value, value - 1.96, value + 1.96, 100) for value in values]
        claims += any(said in ("better", "worse") for said in verdicts(family))
    assert claims / 400 == pytest.approx(0.05, abs=0.03)
    assert verdicts([]) == []


def test_a_claim_is_as_good_as_its_weakest_part():
    words = ("better", "equal", "undecided", "worse")
    for one, other in itertools.product(words, repeat=2):
        assert weakest(one, other) == words[max(words.index(one), words.index(other))]


@pytest.mark.parametrize(
    "call",
    [
        lambda: verdict(1.0, 0.0),
        lambda: verdict(float("nan"), 1.0),
        lambda: verdict(0.0, 1.0, -1.0),
        lambda: verdict(0.0, 1.0, float("nan")),
        lambda: samples_to_decide(Interval(0.1, 0.0, 0.2, 10), 0.0, tests=0),
    ],
)
def test_what_is_no_interval_or_margin_is_refused(call):
    with pytest.raises(OptionError):
        call()


def test_what_is_no_share_or_count_is_refused():
    for call in (
        lambda: wilson(1.1, 5),
        lambda: wilson(0.5, 0),
        lambda: tango(3, 3, 5),
        lambda: tango(-1, 0, 5),
        lambda: newcombe(0.5, 0, 4),
        lambda: newcombe(1.5, 4, 4),
    ):
        with pytest.raises(DataError):
            call()
    with pytest.raises(DataError):
        mean_interval([[1.0]])


@settings(deadline=None)
@given(
    arrays(
        np.float64, st.tuples(st.integers(1, 6), st.just(2)), elements=st.integers(-3, 3).map(float)
    )
)
def test_few_photos_are_tested_by_all_combinations_of_signs(table):
    found = sign_flip(table)
    for column in range(2):
        values = table[:, column]
        sums = [
            abs(sum(s * v for s, v in zip(signs, values, strict=True)))
            for signs in itertools.product((1, -1), repeat=len(values))
        ]
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
        mean_intervals([[float("nan")]])
    with pytest.raises(OptionError):
        mean_intervals([[1.0]], draws=0)
    with pytest.raises(DataError):
        mean_intervals([[1.0]], [[True, False]])


@pytest.mark.parametrize(
    "call",
    [
        lambda: mean_interval("many"),
        lambda: mean_interval(None),
        lambda: mean_interval([1.0], draws=2**62),
        lambda: mean_interval([1.0], left_out=-1),
        lambda: mean_intervals([[1.0]], "all"),
        lambda: paired_bootstrap([[1.0], [1.0, 2.0]]),
        lambda: sign_flip(object()),
        lambda: seed_interval(["a"]),
        lambda: wilson("half", 3),
        lambda: tango(1.5, 0, 3),
        lambda: holm([0.5, 2.0]),
        lambda: verdict("low", "high"),
        lambda: verdicts([0.5]),
        lambda: samples_to_decide(0.5),
    ],
)
def test_what_is_no_number_is_one_clear_error(call):
    with pytest.raises(CofireError, match="To fix it"):
        call()


def test_numbers_are_taken_as_they_come():
    values = np.arange(8.0)
    assert mean_interval(values[::-1]).value == mean_interval(values.tolist()).value == 3.5
    assert mean_interval(torch.from_numpy(values).float()).value == 3.5
