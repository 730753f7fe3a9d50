"""Pure maths on counts and means: hand-computed toys, properties, bad input."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cofire.errors import DataError, OptionError
from cofire.patterns import (
    MEASURES,
    class_selectivity,
    entropy_of_counts,
    information_floor,
    mutual_information,
    partition_of,
    register_measure,
    representative_neurons,
    unique_neuron_matrix,
)


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30))
def test_entropy_lies_between_0_and_the_logarithm_of_the_bins_and_ignores_their_order(counts):
    value = entropy_of_counts(torch.tensor(counts)).item()
    assert 0 <= value <= math.log(len(counts)) + 1e-12
    assert entropy_of_counts(torch.tensor(sorted(counts))).item() == pytest.approx(value, abs=1e-12)
    assert entropy_of_counts(torch.tensor(counts) * 3).item() == pytest.approx(value, abs=1e-12)


def test_entropy_of_a_large_state_equals_that_of_its_parts():
    counts = torch.randint(0, 9, (3, 9000, 100))
    whole = entropy_of_counts(counts)
    assert whole.shape == (3, 9000)
    assert torch.equal(whole[1, 77], entropy_of_counts(counts[1, 77]))


def test_a_fair_neuron_in_two_equal_classes():
    # active for 3 of 4 in one class, 1 of 4 in the other: 1 - H(1/4) bits
    expected = 1 + 0.25 * math.log2(0.25) + 0.75 * math.log2(0.75)
    found = mutual_information(torch.tensor([[3], [1]]), torch.tensor([4, 4]))
    assert found.item() == pytest.approx(expected, abs=1e-12)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=1, max_size=8))
def test_information_equals_the_sum_over_the_joint_table(pairs):
    active = [a for a, _ in pairs]
    seen = [a + silent for a, silent in pairs]
    total = sum(seen)
    expected = 0.0
    for a, n in zip(active, seen, strict=True):
        for count, margin in ((a, sum(active)), (n - a, total - sum(active))):
            if count:
                expected += count / total * math.log2(count * total / (n * margin))
    found = mutual_information(torch.tensor(active)[:, None], torch.tensor(seen))
    assert found.item() == pytest.approx(expected, abs=1e-9)
    assert 0 <= found.item() <= 1 + 1e-12


def test_the_floor_is_what_independent_neurons_show_on_average():
    generator = torch.Generator().manual_seed(0)
    samples, classes = 400, 5
    labels = torch.arange(samples) % classes
    fires = torch.rand(samples, 2000, generator=generator) < 0.4
    active = torch.stack([fires[labels == c].sum(dim=0) for c in torch.arange(classes).tolist()])
    found = mutual_information(active, labels.bincount()).mean().item()
    assert found == pytest.approx(information_floor(samples, classes), rel=0.1)


def test_selectivity_of_hand_computed_neurons():
    values = torch.tensor([[4.0, 2.0, 0.0, 1.0], [2.0, 2.0, 0.0, 0.0]])
    assert class_selectivity(values).tolist() == pytest.approx([1 / 3, 0, 0, 1])


@pytest.mark.parametrize(
    "call",
    [
        lambda: entropy_of_counts(torch.tensor([1, -1])),
        lambda: mutual_information(torch.tensor([[3]]), torch.tensor([2])),
        lambda: mutual_information(torch.tensor([3]), torch.tensor([3])),
        lambda: class_selectivity(torch.tensor([[1.0]])),
        lambda: class_selectivity(torch.tensor([[1.0], [-1.0]])),
        lambda: class_selectivity(torch.tensor([[1.0], [torch.nan]])),
        lambda: information_floor(0, 3),
    ],
)
def test_bad_input_is_one_clear_error(call):
    with pytest.raises(DataError, match="To fix it"):
        call()


def test_a_measure_is_refused_that_takes_what_is_not_known_or_has_a_name_that_is_taken():
    about = {"title": "A", "meaning": "B."}
    with pytest.raises(OptionError, match=r"'meen'.*try 'mean'"):

        @register_measure(**about)
        def own(meen):
            return meen

    with pytest.raises(OptionError, match="'entropy' with a column 'entropy'"):

        @register_measure(**about)
        def entropy(histogram):
            return histogram

    with pytest.raises(OptionError, match="of class_mean, by_class=True"):

        @register_measure(**about, by_class=True)
        def by_class(class_mean):
            return class_mean

    assert not {"own", "by_class"} & set(MEASURES)


def test_a_measure_gives_one_number_for_each_neuron(monkeypatch):
    @register_measure(title="A", meaning="B.")
    def whole(mean):
        return mean.sum()

    measure = MEASURES.pop("whole")
    with pytest.raises(DataError, match=r"gives \(\), torch.float32 for 3 neurons"):
        measure({"mean": torch.ones(3), "active": torch.ones(3)}.__getitem__)
    undefined = torch.tensor([1.0, float("nan"), 3.0])
    assert measure.over(undefined, "mean") == 2.0
    assert measure.over(undefined[1:2], "mean") is None


def test_representatives_are_of_several_classes_and_of_this_layer():
    means = torch.tensor([[3.0, 1.0, 2.0, 0.0], [0.0, 5.0, 5.0, 0.0]])
    with pytest.raises(DataError, match=r"of shape \(1, 2\).*at least two classes"):
        unique_neuron_matrix(torch.tensor([[0, 1]]))
    with pytest.raises(DataError, match=r"representative neuron 9.*from 0 to 3.*for this layer"):
        partition_of(means, torch.tensor([[0, 1], [2, 9]]))
    assert partition_of(means, representative_neurons(means, top=2)).tolist() == [0, 1, 1, -1]
