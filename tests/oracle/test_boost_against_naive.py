"""What the booster is made of against equations written as loops (`naive_boost.py`), sklearn, scipy, torchmetrics."""

from __future__ import annotations

import json
import math
import random

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax, softmax
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.naive_bayes import BernoulliNB
from torch.nn.functional import cross_entropy

from cofire.boost.heads import fit_temperature
from cofire.boost.measures import calibration_error, false_counts, negative_log_likelihood
from cofire.errors import CofireError
from cofire.functional import activation_probability, propose
from cofire.patterns import discriminant_of_samples, linear_discriminant, log_odds_of_patterns
from cofire.statistics import paired_bootstrap

from . import naive_boost as naive

FORMS = (torch.from_numpy, np.asarray)
THRESHOLDS = (0.0, 0.1, 1 / 3, -0.5, 2.5)

often = settings(deadline=None, database=None)
seldom = settings(deadline=None, max_examples=15, database=None)


def close(found, expected, tolerance=1e-12):
    np.testing.assert_allclose(
        np.asarray(found), np.asarray(expected), rtol=tolerance, atol=tolerance
    )


def generators():
    return st.integers(0, 2**32 - 1).map(np.random.default_rng)


def labels_of(generator, samples, classes):
    """At least one sample of every class."""
    return generator.permutation(
        np.append(np.arange(classes), generator.integers(0, classes, samples - classes))
    )


@st.composite
def activations(draw, generator, samples, neurons):
    """Many zeros, values on the thresholds, dead neurons, neurons that always fire; of either sign."""
    dtype = draw(st.sampled_from((np.float32, np.float64)))
    values = generator.choice(
        np.array([0.0, -0.0, 0.1, 1 / 3, -0.5, 2.5, 1e-30, 7.0]), (samples, neurons)
    )
    values[:, generator.random(neurons) < 0.3] += 0.25
    values[:, generator.random(neurons) < 0.15] = 0.0
    return values.astype(dtype)


@pytest.fixture(scope="module")
def golden(shared):
    arrays = np.load(shared / "golden" / "patterns.npz")
    return arrays, json.loads((shared / "golden" / "patterns.json").read_text())


# Eq. 15 and 16


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_loops_meet_the_golden_proposal(golden, dtype):
    arrays, expected = golden

    found = naive.proposed(
        arrays["predicted"], expected["activation_probability"], arrays["activations"].astype(dtype)
    )

    close(found, expected["proposed"])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("form", FORMS)
def test_the_golden_proposal_is_met_to_1e_12(golden, form, dtype):
    arrays, expected = golden
    seen = form(arrays["activations"].astype(dtype))
    probability = activation_probability(seen, form(arrays["labels"]), expected["classes"])

    found = propose(form(arrays["predicted"]), probability, seen)

    assert found.dtype == torch.float64
    assert found.shape == (expected["samples"], expected["classes"])
    np.testing.assert_allclose(found.numpy(), expected["proposed"], rtol=0, atol=1e-12)


@often
@given(st.data(), generators(), st.sampled_from(THRESHOLDS), st.sampled_from(FORMS))
def test_a_proposal_is_the_overlap_times_the_prediction(data, generator, threshold, form):
    samples, classes, neurons = generator.integers(1, (20, 6, 12))
    seen = data.draw(activations(generator, samples, neurons))
    predicted = softmax(
        generator.normal(size=(samples, classes)) * generator.choice([0, 1, 30]), axis=1
    )
    probability = np.round(generator.random((classes, neurons)), generator.integers(0, 4))
    precision = data.draw(st.sampled_from((np.float32, np.float64)))
    predicted = predicted.astype(precision)

    found = propose(form(predicted), form(probability), form(seen), threshold=threshold)

    assert found.dtype == torch.float64
    close(found, naive.proposed(predicted, probability, seen, threshold))


def test_a_proposal_worked_out_by_hand():
    predicted = torch.tensor([[0.5, 0.5], [1.0, 0.0]])
    probability = torch.tensor([[1.0, 0.25, 0.5], [0.0, 0.75, 0.5]])
    seen = torch.tensor([[2.0, 0.0, 0.1], [0.0, 3.0, -1.0]])

    assert propose(predicted, probability, seen).tolist() == [[0.75, 0.25], [0.25, 0.0]]
    assert propose(predicted, probability, seen, threshold=0.25).tolist() == [
        [0.5, 0.0],
        [0.25, 0.0],
    ]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_activations_propose_the_same(dtype):
    seen = (torch.rand(30, 9) * 4 - 1).to(dtype)
    predicted, probability = torch.randn(30, 3).softmax(1), torch.rand(3, 9)

    found = propose(predicted, probability, seen, threshold=0.25)

    close(found, naive.proposed(predicted.numpy(), probability.numpy(), seen.float().numpy(), 0.25))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 10, 300])
def test_what_softmax_rounds_to_is_taken(dtype, classes):
    predicted = (torch.randn(50, classes) * 3).softmax(1).to(dtype)

    found = propose(predicted, torch.rand(classes, 4), torch.randn(50, 4))

    assert found.dtype == torch.float64
    assert bool(found.isfinite().all())


@seldom
@given(st.data(), generators())
def test_a_neuron_more_that_is_silent_changes_nothing(data, generator):
    samples, classes, neurons = generator.integers(1, (20, 6, 12))
    seen = data.draw(activations(generator, samples, neurons))
    predicted = softmax(generator.normal(size=(samples, classes)), axis=1)
    probability = generator.random((classes, neurons))

    before = propose(predicted, probability, seen)
    after = propose(
        predicted,
        np.concatenate([probability, generator.random((classes, 1))], axis=1),
        np.concatenate([seen, np.zeros((samples, 1), seen.dtype)], axis=1),
    )

    close(before, after)


def good():
    return {
        "predicted": torch.tensor([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]]),
        "activation_probability": torch.rand(2, 4),
        "activations": torch.randn(3, 4),
    }


def with_one(name, value):
    arguments = good()
    arguments[name] = arguments[name].clone()
    arguments[name][1, 1] = value
    return arguments


@pytest.mark.parametrize("name", ["predicted", "activation_probability", "activations"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused(name, value):
    with pytest.raises(CofireError):
        propose(**with_one(name, value))


@pytest.mark.parametrize("value", [-0.01, 1.01, 17.0])
def test_a_probability_outside_0_and_1_is_refused(value):
    with pytest.raises(CofireError):
        propose(**with_one("activation_probability", value))


@pytest.mark.parametrize("row", [[0.5, 0.48], [0.5, 0.52], [0.0, 0.0], [1.0, 1.0], [3.0, 2.0]])
def test_rows_that_do_not_sum_to_one_are_refused(row):
    with pytest.raises(CofireError):
        propose(**(good() | {"predicted": torch.tensor([row, [0.5, 0.5], [1.0, 0.0]])}))


@pytest.mark.parametrize("row", [[-2.0, 1.5], [-1.0, 2.0], [-0.5, -0.5]])
def test_logits_for_probabilities_are_called_by_their_name(row):
    with pytest.raises(CofireError, match="logits"):
        propose(**(good() | {"predicted": torch.tensor([[0.5, 0.5], row, [1.0, 0.0]])}))


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("predicted", (2, 2)),
        ("predicted", (3, 1)),
        ("predicted", (3, 3)),
        ("predicted", (2,)),
        ("predicted", (3, 2, 1)),
        ("activation_probability", (3, 4)),
        ("activation_probability", (1, 4)),
        ("activation_probability", (2, 1)),
        ("activation_probability", (4, 2)),
        ("activation_probability", (4,)),
        ("activations", (3, 1)),
        ("activations", (3, 5)),
        ("activations", (1, 4)),
        ("activations", (4,)),
        ("activations", (3, 4, 1)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(name, shape):
    with pytest.raises(CofireError):
        propose(**(good() | {name: torch.full(shape, 1 / shape[-1])}))


@pytest.mark.parametrize("threshold", [math.nan, math.inf, -math.inf])
def test_a_threshold_that_is_not_finite_is_refused(threshold):
    with pytest.raises(CofireError):
        propose(**good(), threshold=threshold)


# Evidence of the pattern


def evidence_of_patterns(probability, samples, fires):
    weights, bias = log_odds_of_patterns(probability, samples)
    return torch.as_tensor(fires, dtype=torch.float64) @ weights.T + bias


@often
@given(st.data(), generators(), st.sampled_from(THRESHOLDS), st.sampled_from(FORMS))
def test_the_evidence_of_a_pattern_is_naive_bayes(data, generator, threshold, form):
    classes, neurons, samples, others = generator.integers(1, (6, 12, 30, 20))
    labels = labels_of(generator, samples + classes, classes)
    everything = data.draw(activations(generator, samples + classes + others, neurons))
    seen, new = everything[:-others], everything[-others:]
    probability = activation_probability(form(seen), form(labels), int(classes), threshold)

    found = evidence_of_patterns(
        probability, torch.from_numpy(np.bincount(labels)), new > threshold
    )

    assert found.dtype == torch.float64
    close(found, naive.log_likelihood(labels, seen, new, classes, threshold))
    limit = seen.dtype.type(threshold)
    judge = BernoulliNB(alpha=1.0, binarize=None).fit(seen > limit, labels)
    close(found, judge.predict_joint_log_proba(new > limit) - judge.class_log_prior_, 1e-10)


def test_evidence_worked_out_by_hand():
    probability = torch.tensor([[1.0, 0.0], [0.5, 0.25]])
    samples = torch.tensor([3, 4])
    p = [[4 / 5, 1 / 5], [3 / 6, 2 / 6]]

    found = evidence_of_patterns(probability, samples, [[1, 0], [0, 1]])

    expected = [
        [math.log(first) + math.log(1 - second) for first, second in p],
        [math.log(1 - first) + math.log(second) for first, second in p],
    ]
    close(found, expected)


def test_evidence_stays_finite_where_the_class_never_did_this():
    found = evidence_of_patterns(torch.tensor([[0.0, 1.0]]), torch.tensor([10**6]), [[1, 0]])

    close(found, [[-2 * math.log(10**6 + 2)]], 1e-9)


# The linear discriminant


@st.composite
def clouds(draw):
    """Whole eighths (all sums are exact), a dead neuron now and then; more samples than classes."""
    generator = draw(generators())
    classes, neurons, extra = generator.integers((1, 1, 2), (5, 6, 25))
    labels = labels_of(generator, 2 * classes + extra, classes)
    centres = generator.integers(0, 30, (classes, neurons))
    values = (centres[labels] + generator.integers(-12, 13, (len(labels), neurons))) / 8
    values = np.maximum(values, 0) if draw(st.booleans()) else values
    if neurons > 1 and draw(st.booleans()):
        values[:, 0] = 0.0
    within = sum(values[labels == label].var(axis=0).sum() for label in range(classes))
    assume(within > 0.01)
    return values, labels, int(classes)


def moments(values, labels, classes):
    sums = np.stack([values[labels == label].sum(axis=0) for label in range(classes)])
    counts = np.bincount(labels, minlength=classes)
    return torch.from_numpy(counts), torch.from_numpy(sums), torch.from_numpy(values.T @ values)


def scores(values, weights, bias):
    return values @ np.asarray(weights).T + np.asarray(bias)


@seldom
@given(clouds(), st.sampled_from((0.01, 1e-3, 0.5, 3.0)))
def test_the_discriminant_is_the_one_of_exact_fractions(cloud, ridge):
    values, labels, classes = cloud

    weights, bias = linear_discriminant(*moments(*cloud), ridge=ridge)

    assert (weights.dtype, bias.dtype) == (torch.float64, torch.float64)
    assert (weights.shape, bias.shape) == ((classes, values.shape[1]), (classes,))
    expected = naive.discriminant(values, labels, classes, ridge)
    close(weights, expected[0], 1e-9)
    close(bias, expected[1], 1e-9)


@seldom
@given(clouds(), st.sampled_from([0.01, 0.5]))
def test_products_of_samples_give_the_same_discriminant(cloud, ridge):
    values, labels, _ = cloud
    counts, sums, second = moments(*cloud)

    found = discriminant_of_samples(
        counts, sums, torch.as_tensor(values), torch.as_tensor(labels), ridge
    )

    for one, other in zip(found, linear_discriminant(counts, sums, second, ridge), strict=True):
        close(one, other, 1e-8)


def test_a_ridge_of_one_percent_is_the_default():
    values, labels = np.random.default_rng(4).normal(size=(40, 3)), np.arange(40) % 3
    given_moments = moments(values, labels, 3)

    for found, expected in zip(
        linear_discriminant(*given_moments),
        linear_discriminant(*given_moments, ridge=0.01),
        strict=True,
    ):
        close(found, expected)


@pytest.mark.parametrize("seed", range(5))
def test_almost_no_ridge_decides_as_sklearns_discriminant(seed):
    generator = np.random.default_rng(seed)
    classes, neurons = 2 + seed, 6
    labels = labels_of(generator, 120, classes)
    mixing = generator.normal(size=(neurons, neurons))
    values = (
        generator.normal(size=(classes, neurons))[labels]
        + generator.normal(size=(120, neurons)) @ mixing
    )

    found = scores(values, *linear_discriminant(*moments(values, labels, classes), ridge=1e-12))

    judge = LinearDiscriminantAnalysis(solver="lsqr").fit(values, labels)
    expected = judge.decision_function(values)
    found = found - found[:, :1]
    expected = expected[:, None] * [0, 1] if classes == 2 else expected - expected[:, :1]
    close(found, expected, 1e-7)
    np.testing.assert_array_equal(found.argmax(axis=1), judge.predict(values))


@pytest.mark.parametrize("ridge", [0.01, 0.3])
def test_a_ridge_is_sklearns_shrinkage_in_another_unit(ridge):
    generator = np.random.default_rng(1)
    labels = labels_of(generator, 90, 4)
    values = generator.normal(size=(4, 5))[labels] + generator.normal(size=(90, 5))

    weights, bias = linear_discriminant(*moments(values, labels, 4), ridge=ridge)

    # (1 - s) S + s m I with s = r / (1 + r) is (S + r m I) / (1 + r).
    judge = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=ridge / (1 + ridge)).fit(
        values, labels
    )
    prior = np.log(judge.priors_)
    close(weights * (1 + ridge), judge.coef_, 1e-10)
    close((bias.numpy() - prior) * (1 + ridge), judge.intercept_ - prior, 1e-10)


# Measures


@st.composite
def judged(draw):
    """Probabilities and labels; often the confidence lies on the edge of a bin, as a plain quotient writes it."""
    generator = draw(generators())
    samples, classes = (int(value) for value in generator.integers((1, 2), (40, 6)))
    bins = draw(st.sampled_from((1, 2, 7, 10, 15, 100)))
    if draw(st.booleans()):
        probabilities = softmax(
            generator.normal(size=(samples, classes)) * generator.choice([1, 8]), axis=1
        )
    else:
        rest = np.zeros((samples, classes))
        top = np.array([k / bins for k in generator.integers((bins + 1) // 2, bins + 1, samples)])
        rest[:, 0], rest[:, 1] = np.maximum(top, 1 - top), np.minimum(top, 1 - top)
        probabilities = generator.permuted(rest, axis=1)
    labels = np.where(
        generator.random(samples) < 0.6,
        probabilities.argmax(1),
        generator.integers(0, classes, samples),
    )
    return probabilities, labels, bins


@often
@given(judged())
def test_calibration_error_is_the_gap_of_each_bin(case):
    probabilities, labels, bins = case

    found = calibration_error(torch.from_numpy(probabilities), torch.from_numpy(labels), bins=bins)

    assert type(found) is float
    assert found == pytest.approx(
        naive.calibration_error(probabilities, labels.tolist(), bins), abs=1e-12
    )


@often
@given(generators(), st.sampled_from((2, 4, 8, 16)))
def test_confidences_on_the_edges_of_bins_lie_below_them_in_any_precision(generator, bins):
    sixteenths = generator.multinomial(16, softmax(generator.normal(size=4) * 2), 30)
    labels = generator.integers(0, 4, 30)

    for dtype in (np.float16, np.float32, np.float64):
        probabilities = (sixteenths / 16).astype(dtype)
        found = calibration_error(
            torch.from_numpy(probabilities), torch.from_numpy(labels), bins=bins
        )
        assert found == pytest.approx(
            naive.calibration_error(probabilities, labels.tolist(), bins), abs=1e-12
        )


def test_calibration_worked_out_by_hand():
    sure = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    half = torch.tensor([[0.75, 0.25]] * 4)

    assert calibration_error(sure, torch.tensor([0, 1])) == 0
    assert calibration_error(sure, torch.tensor([1, 0])) == 1
    assert calibration_error(half, torch.tensor([0, 0, 0, 1])) == pytest.approx(0, abs=1e-15)
    assert calibration_error(half, torch.tensor([0, 1, 1, 1])) == pytest.approx(0.5)
    # 0.5 and 0.75 in one bin: 1.25 of 2 expected, 1 right.
    assert calibration_error(
        torch.tensor([[0.75, 0.25], [0.5, 0.5]]), torch.tensor([0, 1]), bins=1
    ) == pytest.approx(0.125)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("classes", [2, 3, 10])
def test_calibration_error_is_torchmetrics(classes, dtype):
    metrics = pytest.importorskip("torchmetrics.functional.classification")
    generator = torch.Generator().manual_seed(classes)
    probabilities = (torch.randn(500, classes, generator=generator) * 2).softmax(1).to(dtype)
    labels = torch.multinomial(probabilities.sqrt(), 1, generator=generator)[:, 0]

    found = calibration_error(probabilities, labels)

    # No confidence lies on an edge, where torchmetrics closes its bins on the other side.
    expected = metrics.multiclass_calibration_error(
        probabilities, labels, num_classes=classes, n_bins=15, norm="l1"
    )
    assert found > 0.02
    assert found == pytest.approx(float(expected), abs=1e-6)


@often
@given(
    generators(), st.sampled_from((0.1, 1.0, 50.0, 1e4)), st.sampled_from((np.float32, np.float64))
)
def test_negative_log_likelihood_is_the_mean_surprise_in_nats(generator, scale, dtype):
    samples, classes = (int(value) for value in generator.integers((1, 1), (40, 8)))
    logits = (
        generator.normal(size=(samples, classes)) * scale + generator.choice([0, 300])
    ).astype(dtype)
    labels = generator.integers(0, classes, samples)

    found = negative_log_likelihood(torch.from_numpy(logits), torch.from_numpy(labels))

    assert type(found) is float
    expected = naive.negative_log_likelihood(logits, labels.tolist())
    assert found == pytest.approx(expected, rel=1e-12, abs=1e-12 * scale)
    wide = torch.from_numpy(logits).double()
    assert found == pytest.approx(
        float(cross_entropy(wide, torch.from_numpy(labels))), rel=1e-12, abs=1e-12 * scale
    )
    if scale <= 1:
        assert found == pytest.approx(
            -log_softmax(wide.numpy(), axis=1)[range(samples), labels].mean()
        )


def test_the_surprise_of_equal_logits_is_that_of_a_fair_die():
    assert negative_log_likelihood(
        torch.full((5, 6), 4.0), torch.tensor([0, 1, 2, 3, 5])
    ) == pytest.approx(math.log(6))


@often
@given(generators())
def test_false_counts_are_counted_by_class(generator):
    samples, classes = (int(value) for value in generator.integers((1, 1), (60, 8)))
    predicted, labels = generator.integers(0, classes, (2, samples))

    found = false_counts(torch.from_numpy(predicted), torch.from_numpy(labels), classes + 1)

    expected = naive.false_counts(predicted.tolist(), labels.tolist(), classes + 1)
    assert tuple(counts.tolist() for counts in found) == expected
    assert {counts.dtype for counts in found} == {torch.int64}
    assert int(found[0].sum()) == int(found[1].sum()) == int((predicted != labels).sum())


# The paired bootstrap


def low_and_high(found):
    return np.array([found.low, found.high])


def gains(generator, samples):
    """Right minus right of two classifiers: -1, 0 or 1."""
    return generator.choice([-1.0, 0.0, 1.0], samples, p=[0.1, 0.65, 0.25])


@pytest.mark.parametrize("kind", ["normal", "gains", "skewed"])
def test_the_interval_is_that_of_bootstrapped_loops(kind):
    generator = np.random.default_rng(8)
    draws = {
        "normal": generator.normal(size=40),
        "gains": gains(generator, 400),
        "skewed": generator.exponential(size=40),
    }
    differences = draws[kind]

    found = paired_bootstrap(torch.from_numpy(differences), draws=20_000)

    assert found.value == pytest.approx(differences.mean(), abs=1e-12)
    expected = naive.bootstrap([differences.tolist()], 4000, random.Random(1))
    # The quantiles of 4000 draws have a standard error of 4 % of the spread.
    spread = differences.std() / math.sqrt(len(differences))
    np.testing.assert_allclose(low_and_high(found), expected, rtol=0, atol=0.2 * spread)


def runs_of(generator, runs, samples, between, shared, own):
    """Differences of several runs: what a run is worth, what a sample is worth to all runs, the rest."""
    return (
        between * generator.normal(size=(runs, 1))
        + shared * generator.normal(size=(1, samples))
        + own * generator.normal(size=(runs, samples))
    )


@pytest.mark.parametrize(
    ("between", "shared", "own"), [(1.0, 0.1, 0.1), (0.01, 3.0, 0.1), (0.5, 2.0, 2.0)]
)
def test_runs_and_samples_are_drawn_and_all_runs_see_the_same_samples(between, shared, own):
    differences = runs_of(np.random.default_rng(2), 5, 25, between, shared, own)

    found = paired_bootstrap(torch.from_numpy(differences), draws=20_000)

    assert found.value == pytest.approx(differences.mean(), abs=1e-12)
    means = naive.bootstrapped_means(differences.tolist(), 3000, random.Random(1))
    expected = naive.quantile(means, 0.025), naive.quantile(means, 0.975)
    np.testing.assert_allclose(low_and_high(found), expected, rtol=0, atol=0.25 * np.std(means))


@pytest.mark.parametrize("shape", [(7,), (1, 7), (3, 7), (3, 1), (1,)])
def test_no_difference_anywhere_is_no_difference(shape):
    found = paired_bootstrap(torch.zeros(shape))

    assert (found.value, found.low, found.high) == (0, 0, 0)


@seldom
@given(generators(), st.booleans())
def test_the_interval_moves_with_the_differences(generator, several):
    differences = torch.from_numpy(generator.normal(size=(3, 12) if several else 12))

    plain, again = (
        paired_bootstrap(differences, draws=300),
        paired_bootstrap(differences, draws=300),
    )
    moved = paired_bootstrap(2 * differences + 5, draws=300)

    assert plain.low <= plain.value <= plain.high
    assert (plain.value, plain.low, plain.high) == (again.value, again.low, again.high)
    close(
        [moved.value, moved.low, moved.high],
        [2 * x + 5 for x in (plain.value, plain.low, plain.high)],
    )
    assert paired_bootstrap(differences, draws=300, seed=1).low != plain.low


@pytest.mark.parametrize("shape", [(30,), (4, 30)])
def test_the_interval_of_the_other_way_round_is_the_mirrored_one(shape):
    differences = torch.from_numpy(np.random.default_rng(5).exponential(size=shape))

    one, other = (
        paired_bootstrap(differences, draws=20_000),
        paired_bootstrap(-differences, draws=20_000),
    )

    assert other.value == -one.value
    # The draws may be others; the quantiles of 20,000 have a standard error of 2 % of the spread.
    np.testing.assert_allclose(
        [other.low, other.high], [-one.high, -one.low], rtol=0, atol=0.03 * (one.high - one.low)
    )


@pytest.mark.parametrize("kind", ["gains", "normal", "runs"])
def test_the_interval_holds_the_truth_about_as_often_as_it_says(kind):
    generator = np.random.default_rng(6)
    held = 0
    for repetition in range(200):
        if kind == "gains":
            differences, truth = gains(generator, 150), 0.15
        elif kind == "normal":
            differences, truth = generator.normal(0.3, 1, 50), 0.3
        else:
            differences, truth = 0.3 + runs_of(generator, 15, 40, 0.3, 1.0, 0.3), 0.3
        found = paired_bootstrap(torch.from_numpy(differences), draws=500, seed=repetition)
        held += found.low <= truth <= found.high

    assert 0.88 <= held / 200 <= 0.99


# The temperature


@st.composite
def uncertain(draw, spread=(0.3, 1.0, 4.0)):
    """Logits and labels drawn from what they say at another temperature: a minimum exists."""
    generator = draw(generators())
    classes = int(generator.integers(2, 6))
    logits = generator.normal(size=(150, classes)) * draw(st.sampled_from(spread))
    shares = softmax(logits / draw(st.sampled_from((0.5, 1.0, 3.0))), axis=1)
    labels = np.array([generator.choice(classes, p=row) for row in shares])
    steep = [naive.slope(logits.tolist(), labels.tolist(), beta) for beta in (0.02, 20)]
    assume(steep[0] < 0 < steep[1])
    return logits, labels


@seldom
@given(uncertain())
def test_the_temperature_makes_the_labels_least_surprising(case):
    logits, labels = case

    found = fit_temperature(torch.from_numpy(logits), torch.from_numpy(labels))

    def surprise(log_temperature):
        return -log_softmax(logits / math.exp(log_temperature), axis=1)[
            range(len(labels)), labels
        ].mean()

    judge = minimize_scalar(
        surprise, bounds=(math.log(0.03), math.log(100)), method="bounded", options={"xatol": 1e-8}
    )
    assert type(found) is float
    assert found == pytest.approx(math.exp(judge.x), rel=1e-3)
    assert found == pytest.approx(naive.temperature(logits, labels.tolist()), rel=1e-3)
    assert surprise(math.log(found)) <= surprise(0.0) + 1e-12


@seldom
@given(
    uncertain(spread=(1.0,)),
    st.sampled_from((0.1, 3.0, 20.0)),
    st.sampled_from((np.float32, np.float64)),
)
def test_the_temperature_scales_with_the_logits(case, scale, dtype):
    logits, labels = case
    expected = naive.temperature(logits, labels.tolist())
    assume(0.02 < scale * expected < 50)  # a search may have bounds

    shift = np.random.default_rng(0).normal(size=(len(logits), 1)) * 5
    found = fit_temperature(
        torch.from_numpy((scale * logits + shift).astype(dtype)), torch.from_numpy(labels)
    )

    assert found == pytest.approx(scale * expected, rel=1e-3)


@pytest.mark.parametrize("right", [True, False])
def test_a_temperature_without_a_minimum_is_an_error_or_a_number(right):
    logits = torch.eye(3).repeat(10, 1) * 4
    labels = (torch.arange(30) + (not right)) % 3

    try:
        found = fit_temperature(logits, labels)
    except CofireError:
        return
    assert math.isfinite(found)
    assert found > 0
