"""The samples that each neuron fires most for: against a loop that looks at every sample, and through `summarize`."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader, TensorDataset

import cofire
from cofire.activations import ActivationSummary, TopSamples, cost_of
from cofire.activations.neurons import Grouping, NeuronView
from cofire.errors import DataError, LabelError, MergeError
from cofire.network import Network


def slowly(values, labels, classes, k):
    """For each class and neuron the k best (activation, number, place), by looking at every sample."""
    _, neurons, positions = values.shape
    found = {}
    for c in range(classes):
        for j in range(neurons):
            all_of_it = []
            for n in range(len(values)):
                if labels[n] == c:
                    row = values[n, j].tolist()
                    place = max(range(positions), key=lambda p, row=row: (row[p], -p))
                    all_of_it.append((-row[place], n, place))
            best = [(-v, n, p) for v, n, p in sorted(all_of_it)[:k]]
            found[c, j] = best + [(-math.inf, -1, -1)] * (k - len(best))
    return found


def as_lists(state):
    classes, neurons, _ = state.values.shape
    parts = (state.values, state.samples, state.places)
    return {
        (c, j): list(zip(*(part[c, j].tolist() for part in parts), strict=True))
        for c in range(classes)
        for j in range(neurons)
    }


@st.composite
def batches(draw):
    seed, neurons_last = draw(st.integers(0, 10_000)), draw(st.booleans())
    precision = draw(st.sampled_from([torch.float32, torch.float64]))
    samples, positions = draw(st.integers(1, 40)), draw(st.sampled_from([1, 6, 33]))
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(samples, 19, positions, generator=generator, dtype=precision)
    values = values.relu() if draw(st.booleans()) else values
    # Few different values: most samples are as good as others.
    values = (2 * values).round() if draw(st.booleans()) else values
    values[:, 4] = 0
    values[::2, 5] = -0.0
    values[:, 6] = -3
    labels = torch.randint(0, 3, (samples,), generator=generator)
    size = draw(st.integers(1, samples))
    order = torch.randperm(-(-samples // size), generator=generator).tolist()
    return values, labels, neurons_last, size, order


def view(part, neurons_last):
    part = part.transpose(1, 2).contiguous() if neurons_last else part.contiguous()
    return NeuronView(part, neurons_last)


@settings(deadline=None)
@given(batches(), st.sampled_from([1, 4, 9]), st.booleans())
def test_the_best_samples_are_those_of_a_loop_in_batches_of_any_size_and_order(given, k, compiled):
    values, labels, neurons_last, size, order = given
    state = TopSamples.empty(19, k, classes=torch.arange(3), dtype=values.dtype)
    for number in order:
        part = slice(number * size, (number + 1) * size)
        batch, classes = view(values[part], neurons_last), Grouping(labels[part])
        if compiled:
            state.update(batch, classes, part.start)
        else:
            state._update_torch(batch.neurons_first(), classes, part.start, True)
    assert as_lists(state) == slowly(values, labels, 3, k)
    together = slowly(values, torch.zeros_like(labels), 1, k)
    assert as_lists(state.over_classes()) == together


@settings(deadline=None)
@given(batches(), st.sampled_from([1, 4, 9]))
def test_states_of_parts_merge_to_that_of_the_whole(given, k):
    values, labels, neurons_last, size, order = given
    whole = None
    for number in order:
        part = slice(number * size, (number + 1) * size)
        own = torch.unique(labels[part])
        state = TopSamples.empty(19, k, classes=own, dtype=values.dtype)
        rows = torch.searchsorted(own, labels[part])
        state.update(view(values[part], neurons_last), Grouping(rows), part.start)
        whole = state if whole is None else whole.merge(state)
    present, rows = torch.unique(labels, return_inverse=True)
    assert torch.equal(whole.classes, present)
    assert as_lists(whole) == slowly(values, rows, len(present), k)


def test_what_does_not_belong_together_does_not_merge():
    with pytest.raises(MergeError, match="top samples of"):
        TopSamples.empty(3, 4).merge(TopSamples.empty(3, 5))
    with pytest.raises(MergeError, match="all classes as one"):
        TopSamples.empty(3, 4).merge(TopSamples.empty(3, 4, classes=torch.arange(2)))


def test_more_samples_than_can_be_numbered_are_refused():
    state = TopSamples.empty(2, 1)
    batch = NeuronView(torch.zeros(1, 1, 2), neurons_last=True)
    with pytest.raises(DataError, match="top_samples=0"):
        state.update(batch, Grouping(torch.zeros(1, dtype=torch.int64)), 2**31 - 1)


@pytest.fixture(scope="module")
def seen():
    torch.manual_seed(3)
    model = torch.nn.Sequential(
        torch.nn.Conv2d(2, 5, 3, padding=1),
        torch.nn.ReLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(5 * 42, 7),
        torch.nn.GELU(),
        torch.nn.Linear(7, 3),
    )
    inputs, labels = torch.randn(40, 2, 7, 6), torch.arange(40) % 3
    with torch.no_grad():
        maps = torch.relu(model[0](inputs))
    return Network(model, inputs[:1]), inputs, labels, maps


@pytest.mark.parametrize("unit", ["channel", "channel-mean", "channel-max", "element"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_every_unit_names_its_best_samples_and_where_in_them(seen, unit, channels_last):
    network, inputs, labels, maps = seen
    if channels_last:
        inputs = inputs.to(memory_format=torch.channels_last)
    summary = cofire.summarize(network, (inputs, labels), unit=unit, by_class=True, batch_size=7)
    found = summary["1"].top_samples()
    flat = maps.flatten(2)
    of_sample = {
        "channel": flat.amax(2),
        "channel-max": flat.amax(2),
        "channel-mean": flat.mean(2),
        "element": maps.flatten(1),
    }[unit]
    expected = of_sample.sort(dim=0, descending=True, stable=True)
    assert found.samples.shape == (of_sample.shape[1], 9)
    assert torch.allclose(found.activations, expected.values[:9].T.double(), atol=1e-6)
    best = found.samples[:, 0]
    assert torch.allclose(of_sample[best, torch.arange(len(best))], expected.values[0], atol=1e-6)
    if unit == "channel-mean":
        assert bool((found.places == -1).all())
    elif unit == "element":
        assert found.places[:, 0].tolist() == list(range(42)) * 5
    else:
        assert torch.equal(flat[best, torch.arange(5)].argmax(1), found.places[:, 0])
    of_class = summary["1"].top_samples(2)
    assert bool((labels[of_class.samples] == 2).all())


def test_batches_and_loaders_give_the_same(seen):
    network, inputs, labels, _ = seen
    data = TensorDataset(inputs, labels)
    found = [
        cofire.summarize(network, given, batch_size=size)["4"].top_samples()
        for given, size in [((inputs, labels), 3), (DataLoader(data, batch_size=11), 1), (data, 40)]
    ]
    assert all(torch.equal(one.samples, found[0].samples) for one in found)


def test_a_loader_that_shuffles_has_none_and_says_so(seen, capsys):
    network, inputs, labels, _ = seen
    loader = DataLoader(TensorDataset(inputs, labels), batch_size=8, shuffle=True)
    summary = cofire.summarize(network, loader, progress=True)
    assert "read in another order the second time" in capsys.readouterr().err
    assert summary.options.top_samples == 0
    with pytest.raises(DataError, match="a loader that does not shuffle"):
        summary["1"].top_samples()


def test_classes_that_are_not_there_and_summaries_without_are_told(seen):
    network, inputs, labels, _ = seen
    by_class = cofire.summarize(network, (inputs, labels), by_class="statistics")
    with pytest.raises(LabelError, match="0, 1, 2"):
        by_class["1"].top_samples(7)
    with pytest.raises(LabelError, match="by_class"):
        cofire.summarize(network, (inputs, labels))["1"].top_samples(1)
    with pytest.raises(DataError, match="top_samples=9"):
        cofire.summarize(network, (inputs, labels), top_samples=0)["1"].top_samples()


def test_they_are_saved_and_files_without_them_open(seen, tmp_path):
    network, inputs, labels, _ = seen
    summary = cofire.summarize(network, (inputs, labels), by_class=True, top_samples=50)
    again = ActivationSummary.load(summary.save(tmp_path / "s.safetensors"))
    for label in (None, 1):
        for name in ("samples", "activations", "places"):
            one, two = (getattr(s["1"].top_samples(label), name) for s in (summary, again))
            assert torch.equal(one.nan_to_num(-1), two.nan_to_num(-1))
    assert bool((again["1"].top_samples(1).samples[:, 13:] == -1).all())
    without = replace(summary, layers=tuple(replace(layer, tops=None) for layer in summary))
    assert ActivationSummary.load(without.save(tmp_path / "w.safetensors"))["1"].tops is None


def test_their_memory_is_counted_before_anything_runs(seen):
    network, inputs, labels, _ = seen
    layers, options = network.activation_layers, {"unit": "element", "bins": 10}
    kept = cost_of(layers, **options, by_class=True, num_classes=3, top_samples=9)
    without = cost_of(layers, **options, by_class=True, num_classes=3)
    state = cofire.summarize(network, (inputs, labels), unit="element", by_class=True)["1"].tops
    size = sum(p.numel() * p.element_size() for p in (state.values, state.samples, state.places))
    assert kept.bytes - without.bytes == size * (210 + 7) // 210


def test_networks_in_double_precision_count_for_what_they_keep(seen):
    _, inputs, labels, _ = seen
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(84, 3), torch.nn.ReLU())
    network = Network(
        torch.nn.Sequential(model, torch.nn.Linear(3, 3)).double(), inputs[:1].double()
    )
    bare = cost_of(network.activation_layers, unit="channel", bins=100).bytes
    data = inputs.double(), labels
    found = cofire.summarize(network, data, max_bytes=bare + 16 * 3 * 4 + 15)
    assert found.options.top_samples == 4
    state = found.layers[0].tops
    assert state.values.element_size() + 8 == 16


def test_they_take_a_quarter_of_the_memory_at_the_most_and_fewer_are_told(seen, capsys):
    network, inputs, labels, _ = seen
    layers = network.activation_layers
    without = cost_of(layers, unit="channel", bins=100).bytes
    neurons = sum(layer.neurons("channel") for layer in layers)
    for free, kept in ((12 * neurons * 5, 5), (12 * neurons - 1, 0)):
        given = {"max_bytes": without + free, "progress": True}
        assert free < given["max_bytes"] // 4
        summary = cofire.summarize(network, (inputs, labels), **given)
        assert summary.options.top_samples == kept
    assert "none of the 9 top samples" in capsys.readouterr().err
    with pytest.raises(DataError, match="max_bytes"):
        summary["1"].top_samples()
    assert cofire.summarize(network, (inputs, labels), max_bytes=10**6).options.top_samples == 9
