"""Histograms of one pass: no count is split or lost, and the entropy is close to that of two passes."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cofire.activations import ActivationHistograms, ActivationStatistics
from cofire.activations.histograms import ranges_of
from cofire.activations.neurons import Grouping, view_matrix
from cofire.live.ranges import no_counts, over_own_range, widened
from cofire.patterns.measures import entropy_of_counts


def one_pass(batches, bins, precision="float32"):
    neurons = batches[0].shape[1]
    seen = ActivationStatistics.empty(neurons, precision=precision)
    found = no_counts(neurons, bins, precision, torch.device("cpu"))
    for batch in batches:
        view, group = view_matrix(batch), Grouping(torch.zeros(len(batch), dtype=torch.int64), True)
        seen.update(view, group)
        found = widened(found, seen.minimum, seen.maximum)
        found.updater()(view, group)
    return seen, found


def entropies(values, bins, size=64):
    """Entropy of one pass in batches, and of two passes."""
    seen, found = one_pass(values.split(size), bins, str(values.dtype).removeprefix("torch."))
    ends = ranges_of(seen, "own")
    exact = ActivationHistograms.empty(*ends, bins, found.precision)
    exact.updater()(
        view_matrix(values), Grouping(torch.zeros(len(values), dtype=torch.int64), True)
    )
    close = over_own_range(found, *ends, bins)
    assert torch.equal(close.counts.sum(dim=-1), exact.counts.sum(dim=-1))
    return entropy_of_counts(close.counts)[0], entropy_of_counts(exact.counts)[0]


SHAPES = {
    "normal": lambda x: x,
    "relu": torch.relu,
    "gelu": torch.nn.functional.gelu,
    "tanh": torch.tanh,
    "growing": lambda x: x * torch.linspace(0.1, 5, len(x))[:, None],
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("bins", [20, 100])
def test_the_entropy_of_one_pass_is_within_some_hundredths_of_a_nat_of_that_of_two(shape, bins):
    values = SHAPES[shape](torch.randn(20_000, 50, generator=torch.Generator().manual_seed(0)))
    close, exact = entropies(values, bins)
    assert (close - exact).abs().max() < 0.03
    assert float((close - exact).abs().mean()) < 0.006


@given(
    scale=st.sampled_from([1e-40, 1e-6, 1.0, 3e4, 1e37]),
    shift=st.sampled_from([0.0, -1.0, 7.0]),
    bins=st.integers(1, 30),
    seed=st.integers(0, 9),
)
@settings(max_examples=40, deadline=None)
def test_no_observation_is_lost_whatever_the_scale(scale, shift, bins, seed):
    draw = torch.Generator().manual_seed(seed)
    values = (torch.randn(60, 4, generator=draw) + shift) * scale
    values[:, 0] = 0
    values[:, 1] = shift * scale
    seen, found = one_pass(values.split(7), bins)
    assert torch.equal(found.counts.sum(dim=-1), seen.nonzero)
    edges = found.edges()[0].double()
    for neuron in range(4):
        x = values[:, neuron][values[:, neuron] != 0].double().numpy()
        if len(x):
            expected = np.histogram(x, edges[neuron].numpy())[0]
            assert (found.counts[0, neuron].numpy() == expected).all()


def test_a_neuron_that_is_silent_or_always_the_same_has_no_entropy():
    values = torch.zeros(10, 2)
    values[:, 1] = 3.0
    close, exact = entropies(values, 10)
    assert close.tolist() == exact.tolist() == [0.0, 0.0]


def test_a_neuron_whose_first_batch_holds_one_value_gets_fine_bins_later():
    values = torch.rand(5000, 3, generator=torch.Generator().manual_seed(0))
    values[1:64] = 0
    close, exact = entropies(values, 50)
    assert (close - exact).abs().max() < 0.03
