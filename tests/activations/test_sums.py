"""Sums of floats do not depend on the order, the batches or the workers that they were added by."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import cofire
from cofire.activations.sums import Sums
from cofire.errors import MergeError, NonFiniteError

numbers = st.lists(
    st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1, max_size=40
)
ROW = torch.tensor([0])


def summed(values):
    state = Sums.empty(1, 1)
    for value in values:
        state.add(ROW, torch.tensor([[value]], dtype=torch.float64))
    return state


@settings(max_examples=60, deadline=None)
@given(values=numbers, data=st.data())
def test_any_order_and_any_cut_give_the_same_bits_and_the_right_sum(values, data):
    whole = summed(values)
    shuffled = data.draw(st.permutations(values))
    cut = data.draw(st.integers(0, len(values)))
    parts = summed(shuffled[cut:]).merge(summed(shuffled[:cut]))
    assert torch.equal(whole.digits, parts.digits)
    assert torch.equal(whole.level, parts.level)
    error = abs(float(whole.total()) - math.fsum(values))
    assert error <= 2.0**-52 * sum(map(abs, values))


def test_numbers_that_cancel_leave_what_a_float_would_lose():
    assert float(summed([1e16, 1.0, -1e16]).total()) == 1.0
    assert sum([1e16, 1.0, -1e16]) == 0.0


def test_the_definition_gives_the_same_digits_as_the_compiled_loop():
    draw = torch.Generator().manual_seed(0)
    fast, slow = Sums.empty(9, 1100), Sums.empty(9, 1100)
    for power in (-301, 0, 40, -300, 3, 250, 251):
        rows = torch.randperm(9, generator=draw)[:7]
        values = torch.randn(7, 1100, dtype=torch.float64, generator=draw)
        values *= torch.logspace(-1, 1, 1100, dtype=torch.float64) ** power
        values[torch.rand(7, 1100, generator=draw) < 0.2] = 0.0
        values[torch.rand(7, 1100, generator=draw) < 0.1] = -1.6e-308
        values[:, torch.rand(1100, generator=draw) < 0.1] *= 1e-290
        fast.add(rows, values)
        slow._add_torch(rows, values)
        assert torch.equal(fast.digits, slow.digits)
        assert torch.equal(fast.level, slow.level)


def test_sums_beyond_the_largest_float_are_refused():
    with pytest.raises(NonFiniteError, match=r"exceed 1\.8e\+308"):
        summed([math.inf])


def test_sums_of_other_neurons_do_not_merge():
    with pytest.raises(MergeError, match="sums of 2 and 3 columns"):
        Sums.empty(1, 2).merge(Sums.empty(1, 3))


@pytest.fixture(scope="module")
def images():
    """A convolutional network, and 2,600 images of three classes."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = torch.nn.Sequential(
            *(torch.nn.Conv2d(1, 6, 3), torch.nn.ReLU(), torch.nn.Flatten()),
            *(torch.nn.Linear(6 * 16, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3)),
        )
        inputs, labels = torch.randn(2600, 1, 6, 6), torch.randint(3, (2600,))
    return cofire.Network(model, inputs[:2]), inputs, labels


@pytest.mark.parametrize("pairs", ["class", "union"])
def test_whatever_the_batches_the_file_is_the_same(images, tmp_path, pairs):
    network, inputs, labels = images
    how = {"by_class": True, "pairs": pairs, "top": 4, "null_graphs": 2, "progress": False}
    data = torch.utils.data.TensorDataset(inputs, labels)
    loaders = [
        torch.utils.data.DataLoader(data, batch_size=batch, num_workers=workers)
        for batch, workers in ((1, 0), (77, 0), (1024, 0), (2600, 0), (50, 2))
    ]
    files = set()
    for loader in ((inputs, labels), *loaders):
        path = cofire.summarize(network, loader, **how).save(tmp_path / "summary.safetensors")
        files.add(path.read_bytes())
    assert len(files) == 1
