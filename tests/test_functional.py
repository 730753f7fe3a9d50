"""The pure functions: golden numbers, hand-computed toys, NumPy, and bad input."""

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cofire import functional
from cofire.errors import DataError, LabelError, NonFiniteError, OptionError


def numpy_entropy(values, bins, range=None):
    values = values[values != 0]
    if len(values) == 0:
        return 0.0
    counts, _ = np.histogram(values, bins=bins, range=range)
    shares = counts[counts > 0] / counts.sum()
    return float(-(shares * np.log(shares)).sum())


@pytest.fixture(scope="module")
def golden(shared):
    arrays = np.load(shared / "golden" / "patterns.npz")
    return arrays, json.loads((shared / "golden" / "patterns.json").read_text())


def agree(found, expected):
    assert torch.allclose(found, torch.tensor(expected, dtype=torch.float64), rtol=0, atol=1e-12)


@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
def test_the_golden_numbers_are_met_to_1e_12(golden, precision):
    arrays, expected = golden
    activations = torch.tensor(arrays["activations"]).to(precision)
    labels, classes, bins = torch.tensor(arrays["labels"]), expected["classes"], expected["bins"]
    agree(functional.activation_entropy(activations, bins=bins), expected["entropy_own"])
    agree(
        functional.activation_entropy(activations, bins=bins, range="zero-to-max"),
        expected["entropy_zero_to_max"],
    )
    for number in range(classes):
        found = functional.activation_entropy(activations[labels == number], bins=bins)
        agree(found, expected["entropy_by_class"][number])
    agree(functional.mean_activation(activations, labels, classes), expected["mean_activation"])
    agree(
        functional.activation_probability(activations, labels, classes),
        expected["activation_probability"],
    )


def test_arrays_are_taken_as_well_as_tensors(golden):
    arrays, expected = golden
    agree(
        functional.activation_entropy(arrays["activations"], bins=expected["bins"]),
        expected["entropy_own"],
    )


def test_a_uniform_spread_over_all_bins_has_the_logarithm_of_their_number():
    activations = torch.arange(1, 101, dtype=torch.float64)[:, None]
    assert functional.activation_entropy(activations, bins=100).item() == pytest.approx(
        math.log(100), abs=1e-12
    )


def test_dead_constant_and_once_firing_neurons_have_no_entropy():
    activations = torch.zeros(10, 3)
    activations[:, 1] = 2.5
    activations[3, 2] = 7.0
    assert functional.activation_entropy(activations).tolist() == [0.0, 0.0, 0.0]


def test_a_global_range_differs_from_own_ranges():
    activations = torch.rand(200, 4) * torch.tensor([1.0, 10.0, 100.0, 1000.0])
    shared_range = functional.activation_entropy(activations, bins=50, range="global")
    low, high = float(activations[activations != 0].min()), float(activations.max())
    expected = [
        numpy_entropy(activations[:, j].numpy(), 50, (np.float32(low), np.float32(high)))
        for j in range(4)
    ]
    assert shared_range.tolist() == pytest.approx(expected, abs=1e-12)
    assert functional.activation_entropy(activations, bins=50)[0] > shared_range[0]


grids = st.sampled_from([0.1, 0.25, 1 / 3, 0.05, 1e-3, 1e3, 1e-20])


@settings(deadline=None)
@given(
    multiples=hnp.arrays(
        np.int64, st.tuples(st.integers(1, 60), st.integers(1, 5)), elements=st.integers(-20, 60)
    ),
    grid=grids,
    bins=st.sampled_from([1, 2, 3, 7, 10, 20, 100]),
    precision=st.sampled_from([np.float32, np.float64]),
)
def test_entropies_equal_numpy_also_on_values_that_lie_on_bin_edges(
    multiples, grid, bins, precision
):
    activations = (multiples * grid).astype(precision)
    found = functional.activation_entropy(torch.from_numpy(activations), bins=bins)
    expected = [numpy_entropy(activations[:, j], bins) for j in range(activations.shape[1])]
    assert found.tolist() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(
    activations=hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 40), st.integers(1, 4)),
        elements=st.floats(-100, 100, width=32),
    ),
    seed=st.integers(0, 1000),
)
def test_means_and_probabilities_equal_a_loop(activations, seed):
    labels = np.random.default_rng(seed).integers(0, 3, len(activations))
    labels[: min(3, len(labels))] = np.arange(min(3, len(labels)))
    classes = int(labels.max()) + 1
    means = functional.mean_activation(activations, labels, classes)
    probabilities = functional.activation_probability(activations, labels, classes, threshold=0.5)
    for c in range(classes):
        rows = [activations[i] for i in range(len(labels)) if labels[i] == c]
        for j in range(activations.shape[1]):
            assert means[c, j].item() == pytest.approx(
                sum(float(r[j]) for r in rows) / len(rows), abs=1e-9
            )
            assert probabilities[c, j].item() == sum(r[j] > 0.5 for r in rows) / len(rows)


def test_half_precision_and_whole_numbers_are_taken():
    values = torch.tensor([[1, 2], [3, 4], [5, 9]])
    expected = functional.activation_entropy(values.double(), bins=3)
    for dtype in (torch.int32, torch.uint8, torch.bfloat16, torch.float16):
        assert torch.equal(functional.activation_entropy(values.to(dtype), bins=3), expected)


def test_gradients_are_left_alone():
    activations = torch.rand(10, 2, requires_grad=True)
    assert not functional.activation_entropy(activations).requires_grad
    assert activations.grad is None


MATRIX = torch.rand(6, 2)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: functional.activation_entropy(torch.rand(5)), DataError, "(samples, neurons)"),
        (
            lambda: functional.activation_entropy(torch.zeros(0, 3)),
            DataError,
            "at least one sample",
        ),
        (lambda: functional.activation_entropy(MATRIX, bins=0), OptionError, "bins=0"),
        (lambda: functional.activation_entropy(MATRIX, bins=2.5), OptionError, "bins=2.5"),
        (lambda: functional.activation_entropy(MATRIX, range="all"), OptionError, "zero-to-max"),
        (
            lambda: functional.activation_entropy(torch.tensor([[1.0, torch.nan]])),
            NonFiniteError,
            "neuron 1",
        ),
        (
            lambda: functional.activation_entropy(torch.tensor([[1.0, -torch.inf]])),
            NonFiniteError,
            "-inf",
        ),
        (
            lambda: functional.mean_activation(MATRIX, torch.zeros(5).long(), 1),
            LabelError,
            "5 labels for 6 samples",
        ),
        (
            lambda: functional.mean_activation(MATRIX, torch.zeros(6), 1),
            LabelError,
            "whole numbers",
        ),
        (
            lambda: functional.mean_activation(MATRIX, torch.zeros(6, 2).long(), 1),
            LabelError,
            "argmax",
        ),
        (
            lambda: functional.mean_activation(MATRIX, torch.full((6,), 3), 3),
            LabelError,
            "from 0 to 2",
        ),
        (
            lambda: functional.mean_activation(MATRIX, torch.full((6,), -1), 3),
            LabelError,
            "label -1",
        ),
        (
            lambda: functional.mean_activation(MATRIX, torch.zeros(6).long(), 0),
            OptionError,
            "num_classes=0",
        ),
        (lambda: functional.activation_entropy(np.array([["a"]])), DataError, "numbers"),
        (
            lambda: functional.activation_entropy(torch.tensor([[3e38], [-3e38]])),
            DataError,
            "range exceeds",
        ),
        (
            lambda: functional.activation_probability(
                MATRIX, torch.zeros(6).long(), 1, threshold=float("nan")
            ),
            OptionError,
            "threshold=nan",
        ),
        (
            lambda: functional.mean_activation(MATRIX, torch.zeros(6).long(), 2),
            DataError,
            "no samples of class 1",
        ),
        (
            lambda: functional.activation_probability(MATRIX, torch.zeros(6).long(), 2),
            DataError,
            "class 1",
        ),
    ],
)
def test_bad_input_is_one_clear_error(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert words in str(caught.value)
    assert "Expected:" in str(caught.value)
    assert "To fix it:" in str(caught.value)


def test_the_named_neuron_and_sample_of_a_bad_value_are_the_given_ones():
    activations = torch.rand(6, 3)
    activations[4, 2] = torch.nan
    with pytest.raises(NonFiniteError, match="neuron 2 in sample 4"):
        functional.mean_activation(activations, torch.tensor([1, 0, 1, 0, 0, 1]), 2)


def test_more_classes_than_samples_are_told_before_anything_is_kept_for_each():
    values, labels = np.random.default_rng(0).random((30, 4)), np.arange(30) % 3
    with pytest.raises(DataError, match="no samples of class 3: 1,000,000,000 classes and 30"):
        functional.mean_activation(values, labels, num_classes=10**9)
    assert functional.mean_activation(values, labels, num_classes=3).shape == (3, 4)


def test_lists_nested_without_end_are_no_matrix():
    values = 0.0
    for _ in range(70):
        values = [values]
    with pytest.raises(DataError, match=r"nested more than 64 deep.*pass an array"):
        functional.activation_entropy(values)


def test_sparse_values_that_torch_cannot_spread_out_are_told_with_a_type_that_it_can():
    def sparse(values):
        places = [[0, 1], [0, 1]]
        return torch.sparse_coo_tensor(places, values, (2, 2), check_invariants=True)

    with pytest.raises(DataError, match=r"sparse_coo, torch.float8_e4m3fn.*of float32 values"):
        functional.activation_entropy(sparse(torch.ones(2).to(torch.float8_e4m3fn)))
    assert functional.activation_entropy(sparse(torch.ones(2))).tolist() == [0.0, 0.0]
