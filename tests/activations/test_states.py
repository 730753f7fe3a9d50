"""Pass 1 and pass 2 states: the compiled loops against the torch definition, merging, edges."""

import copy
import itertools
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from cofire.activations.histograms import ActivationHistograms, ranges_of
from cofire.activations.neurons import Grouping, NeuronView
from cofire.activations.statistics import ActivationStatistics
from cofire.errors import MergeError


def views(draw_seed, neurons_last, precision, samples=9, neurons=21, positions=13, scale=1.0):
    generator = torch.Generator().manual_seed(draw_seed)
    values = torch.randn(samples, neurons, positions, generator=generator, dtype=precision) * scale
    values[:, ::3] = values[:, ::3].relu()
    values[:, 5] = 0
    values[:, 7] = 1.5
    values[:, 8] = (values[:, 8] * 4).round() / 10  # on bin edges
    values[:, 9] = (
        1 + torch.finfo(precision).eps * values[:, 9].abs().round()
    )  # too narrow for that many bins
    values[:, 10] = torch.finfo(precision).tiny * values[:, 10].sign() / 4  # subnormal
    if neurons_last:
        values = values.transpose(1, 2).contiguous()
    return NeuronView(values, neurons_last)


def collect(view, labels, classes, compiled):
    state = ActivationStatistics.empty(
        view.neurons,
        classes=classes,
        positions=view.positions,
        precision=str(view.values.dtype)[6:],
    )
    good = (ActivationStatistics.update if compiled else _update_torch)(
        state, view, Grouping(labels)
    )
    assert good
    return state


def _update_torch(state, view, classes):
    state.samples.index_add_(0, classes.labels, torch.ones_like(classes.labels))
    present, _ = classes.present
    sums = torch.zeros(len(present), view.neurons, dtype=torch.float64)
    finite = state._update_torch(view, classes, sums)
    state.total[present] = sums
    return finite


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    neurons_last=st.booleans(),
    precision=st.sampled_from([torch.float32, torch.float64]),
    classes=st.sampled_from([1, 3]),
    positions=st.sampled_from([1, 13, 700]),
    scale=st.sampled_from([1.0, 1e-30, 1e30]),
)
def test_the_compiled_first_pass_equals_its_definition(
    seed, neurons_last, precision, classes, positions, scale
):
    view = views(seed, neurons_last, precision, positions=positions, scale=scale)
    labels = torch.randint(
        0, classes, (view.samples,), generator=torch.Generator().manual_seed(seed)
    )
    fast, slow = (collect(view, labels, classes, compiled) for compiled in (True, False))
    for name in ("samples", "nonzero", "active", "minimum", "maximum"):
        assert torch.equal(getattr(fast, name), getattr(slow, name)), name
    assert torch.allclose(fast.total, slow.total, rtol=1e-12, atol=1e-12 * scale * positions)


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    neurons_last=st.booleans(),
    precision=st.sampled_from([torch.float32, torch.float64]),
    classes=st.sampled_from([1, 3]),
    positions=st.sampled_from([1, 13, 700]),
    bins=st.sampled_from([1, 3, 10, 100, 1000]),
    choice=st.sampled_from(["own", "zero-to-max", "global"]),
)
def test_the_compiled_second_pass_equals_its_definition_and_numpy(
    seed, neurons_last, precision, classes, positions, bins, choice
):
    view = views(seed, neurons_last, precision, positions=positions)
    labels = torch.randint(
        0, classes, (view.samples,), generator=torch.Generator().manual_seed(seed)
    )
    statistics = collect(view, labels, classes, compiled=True)
    lower, upper = ranges_of(statistics, choice)
    state = ActivationHistograms.empty(lower, upper, bins, statistics.precision)
    state.updater()(view, Grouping(labels))
    assert torch.equal(state.counts.sum(dim=2), statistics.nonzero)
    edges = state.edges().numpy()
    first = view.neurons_first().numpy()
    for k in range(classes):
        for j in range(view.neurons):
            values = first[labels.numpy() == k, j].ravel()
            values = values[values != 0]
            if len(values) == 0:
                continue
            place = np.clip(np.searchsorted(edges[k, j], values, side="right") - 1, 0, bins - 1)
            assert np.array_equal(np.bincount(place, minlength=bins), state.counts[k, j].numpy())
            ends = values.dtype.type(lower[k, j]), values.dtype.type(upper[k, j])
            try:
                expected, numpys = np.histogram(values, bins=bins, range=ends)
            except ValueError:
                continue  # NumPy refuses ranges too narrow for that many bins
            assert np.array_equal(numpys, edges[k, j])
            if np.lib.NumpyVersion(np.__version__) >= "2.1.0":
                # Counts of NumPy 2.0.0 were seen that do not follow its own edges.
                assert np.array_equal(expected, state.counts[k, j].numpy())


@pytest.mark.parametrize("neurons_last", [True, False])
@pytest.mark.parametrize("precision", [torch.float32, torch.float64])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_a_single_bad_value_anywhere_is_noticed(neurons_last, precision, bad):
    view = views(0, neurons_last, precision, positions=700)
    view.neurons_first()[-1, -1, -1] = bad
    labels = torch.zeros(view.samples, dtype=torch.int64)
    for update in (ActivationStatistics.update, _update_torch):
        state = ActivationStatistics.empty(
            view.neurons, positions=700, precision=str(precision)[6:]
        )
        assert not update(state, view, Grouping(labels))


def test_threads_do_not_change_a_single_bit():
    view = views(3, True, torch.float32, samples=400, neurons=500, positions=3)
    labels = torch.zeros(400, dtype=torch.int64)
    before = torch.get_num_threads()
    try:
        states = []
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            states.append(collect(view, labels, 1, compiled=True))
    finally:
        torch.set_num_threads(before)
    for state in states[1:]:
        assert torch.equal(state.total, states[0].total)
        assert torch.equal(state.minimum, states[0].minimum)


@pytest.mark.parametrize("again", [copy.deepcopy, lambda state: pickle.loads(pickle.dumps(state))])
def test_a_copied_state_counts_on_in_its_own_memory(again):
    view = views(1, True, torch.float32)
    labels = torch.zeros(view.samples, dtype=torch.int64)
    state = collect(view, labels, 1, compiled=True)
    before = state.active.clone()
    other = again(state)
    assert other.update(view, Grouping(labels))
    assert torch.equal(other.active, 2 * before)
    assert torch.equal(state.active, before)


def parts_of(view, labels, cuts):
    return [
        (NeuronView(view.values[a:b].contiguous(), view.neurons_last), labels[a:b])
        for a, b in itertools.pairwise(cuts)
    ]


def test_merging_is_associative_commutative_and_equals_seeing_everything_at_once():
    view = views(5, False, torch.float64)
    labels = torch.arange(view.samples) // 3
    whole = collect(view, labels, 3, compiled=True)
    a, b, c = (collect(v, y, 3, compiled=True) for v, y in parts_of(view, labels, [0, 2, 5, 9]))
    for merged in (a.merge(b).merge(c), a.merge(b.merge(c)), c.merge(a).merge(b)):
        for name in ("samples", "nonzero", "active", "minimum", "maximum"):
            assert torch.equal(getattr(merged, name), getattr(whole, name))
        assert torch.allclose(merged.total, whole.total, rtol=1e-13, atol=1e-13)
    empty = ActivationStatistics.empty(view.neurons, classes=3, positions=13, precision="float64")
    assert torch.equal(a.merge(empty).minimum, a.minimum)

    lower, upper = ranges_of(whole, "own")
    states = []
    for v, y in [(view, labels), *parts_of(view, labels, [0, 2, 5, 9])]:
        state = ActivationHistograms.empty(lower, upper, 10, "float64")
        state.updater()(v, Grouping(y))
        states.append(state)
    assert torch.equal(states[3].merge(states[1]).merge(states[2]).counts, states[0].counts)


def test_states_under_different_options_do_not_merge():
    one = ActivationStatistics.empty(3)
    for other in (
        ActivationStatistics.empty(4),
        ActivationStatistics.empty(3, classes=2),
        ActivationStatistics.empty(3, threshold=0.5),
        ActivationStatistics.empty(3, positions=2),
        ActivationStatistics.empty(3, precision="float64"),
    ):
        with pytest.raises(MergeError):
            one.merge(other)
    zeros, ones = torch.zeros(1, 3), torch.ones(1, 3)
    with pytest.raises(MergeError):
        ActivationHistograms.empty(zeros, ones, 5, "float32").merge(
            ActivationHistograms.empty(zeros, 2 * ones, 5, "float32")
        )
    with pytest.raises(MergeError):
        ActivationHistograms.empty(zeros, ones, 5, "float32").merge(
            ActivationHistograms.empty(zeros, ones, 6, "float32")
        )
