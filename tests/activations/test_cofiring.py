"""Co-firing counts: the compiled loops against the definition, streaming against the whole matrix, merging, costs."""

import copy
import pickle

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import cofire
from cofire import functional
from cofire.activations import cost_of
from cofire.activations.cofiring import CofiringCounts, adapted_top
from cofire.activations.neurons import Grouping, NeuronView
from cofire.activations.random_labels import shuffled_labels
from cofire.errors import BudgetError, DataError, LayerError, MergeError, OptionError


def batch(seed, neurons_last, precision, positions, samples=37, neurons=11, classes=4):
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(samples, neurons, positions, generator=generator, dtype=precision).relu()
    values[:, 3] = 0
    values[:, 4] = 0.1
    values[:, 5] = (values[:, 5] * 2).round() / 2
    labels = torch.randint(0, classes, (samples,), generator=generator)
    labels[:classes] = torch.arange(classes)
    view = NeuronView(values.transpose(1, 2).contiguous() if neurons_last else values, neurons_last)
    return view, labels


def means_of(view, labels, classes=4):
    x = view.neurons_first().to(torch.float64)
    return torch.stack(
        [x[labels == c].transpose(0, 1).flatten(1).mean(dim=1) for c in range(classes)]
    )


@settings(deadline=None)
@given(
    seed=st.integers(0, 10_000),
    neurons_last=st.booleans(),
    precision=st.sampled_from([torch.float32, torch.float64]),
    positions=st.sampled_from([1, 2, 63, 64, 65, 130]),
    pairs=st.sampled_from(["class", "union"]),
    top=st.integers(1, 11),
)
def test_the_compiled_loops_equal_their_definition(
    seed, neurons_last, precision, positions, pairs, top
):
    view, labels = batch(seed, neurons_last, precision, positions)
    seen = torch.bincount(labels) * positions
    fast, slow = (CofiringCounts.empty(means_of(view, labels), seen, top, pairs) for _ in range(2))
    for chosen in torch.arange(len(labels)).split(10):
        part = NeuronView(view.values[chosen], neurons_last)
        fast.update(part, Grouping(labels[chosen]))
        slow._update_torch(part, Grouping(labels[chosen]))
    if pairs == "class":
        assert torch.equal(fast.counts, slow.counts)
    else:
        assert torch.allclose(fast.counts, slow.counts, rtol=1e-13, atol=0)
    assert torch.equal(fast.counts.tril(), torch.zeros_like(fast.counts))


def test_counts_do_not_depend_on_the_number_of_threads():
    view, labels = batch(0, True, torch.float32, 5000)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            state = CofiringCounts.empty(
                means_of(view, labels), torch.bincount(labels), 11, "union"
            )
            state.update(view, Grouping(labels))
            found.append(state.counts)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


@pytest.mark.parametrize("pairs", ["class", "union"])
def test_a_summary_streams_what_the_whole_matrix_gives(tiny, pairs):
    summaries = [
        cofire.summarize(
            tiny.network, tiny.data, by_class="statistics", pairs=pairs, top=3, batch_size=size
        )
        for size in (90, 7)
    ]
    for name, values in tiny.activations().items():
        whole = functional.activation_pattern_graph(values, tiny.labels, 3, 3, pairs)
        for summary in summaries:
            graph = summary.graph(name)
            found = torch.zeros_like(whole)
            found[graph.neurons[:, None], graph.neurons] = graph.adjacency
            assert torch.allclose(found, whole, rtol=0, atol=1e-12)
            means = functional.mean_activation(values, tiny.labels, 3)
            assert graph.representatives.equal(functional.representative_neurons(means, 3))
            assert torch.allclose(
                graph.class_means, means.gather(1, graph.representatives), atol=1e-12
            )
            assert graph.entropy.equal(summary[name].entropy()[graph.neurons])


def test_every_position_of_a_feature_map_is_an_observation():
    torch.manual_seed(1)
    model = nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 3))
    inputs, labels = torch.randn(30, 1, 8, 8), torch.arange(30) % 3
    network = cofire.Network(model, inputs[:2])
    graph = cofire.summarize(
        network, (inputs, labels), by_class=True, pairs="class", top=3, batch_size=8
    ).graph("1")
    with torch.no_grad():
        maps = model[1](model[0](inputs))
    observations = maps.movedim(1, -1).flatten(0, -2)
    whole = functional.activation_pattern_graph(observations, labels.repeat_interleave(36), 3, 3)
    assert torch.allclose(graph.adjacency, whole[graph.neurons[:, None], graph.neurons], atol=1e-12)


def test_counts_merge_and_refuse_what_does_not_belong_together():
    view, labels = batch(3, True, torch.float32, 4)
    means, seen = means_of(view, labels), torch.bincount(labels) * 4
    whole, one, other = (CofiringCounts.empty(means, seen, 5, "class") for _ in range(3))
    whole.update(view, Grouping(labels))
    one.update(NeuronView(view.values[:11], True), Grouping(labels[:11]))
    copied = pickle.loads(pickle.dumps(copy.deepcopy(one)))
    copied.update(NeuronView(view.values[:0], True), Grouping(labels[:0]))
    other.update(NeuronView(view.values[11:], True), Grouping(labels[11:]))
    assert torch.equal(copied.merge(other).counts, whole.counts)
    assert torch.equal(other.merge(copied).counts, whole.counts)
    with pytest.raises(MergeError, match="merge the statistics of pass 1 first"):
        whole.merge(CofiringCounts.empty(means + 0.1, seen, 5, "class"))
    with pytest.raises(MergeError):
        whole.merge(CofiringCounts.empty(means, seen, 5, "union"))


def test_a_copy_counts_in_its_own_memory():
    view, labels = batch(3, True, torch.float32, 4)
    state = CofiringCounts.empty(means_of(view, labels), torch.bincount(labels) * 4, 5, "class")
    state.update(view, Grouping(labels))
    before = state.counts.clone()
    copied = copy.deepcopy(state)
    copied.update(view, Grouping(labels))
    assert torch.equal(state.counts, before)
    assert torch.equal(copied.counts, 2 * before)


def test_a_narrow_layer_has_fewer_representatives_than_asked_for_and_says_so(tiny):
    summary = cofire.summarize(tiny.network, tiny.data, by_class=True, pairs="class", top=50)
    graph = summary.graph("3")
    assert (graph.top, graph.top_asked) == (3, 50)  # half of 6 neurons
    two = tiny.inputs[tiny.labels < 2], tiny.labels[tiny.labels < 2]
    assert cofire.summarize(tiny.network, two, by_class=True, pairs="class").graph("1").top == 4


@pytest.mark.parametrize(
    ("neurons", "classes", "top"),
    [
        (512, 10, 50),
        (500, 10, 50),
        (128, 10, 38),
        (16, 10, 4),
        (20, 10, 6),
        (64, 2, 32),
        (1, 2, 1),
        (96, 1000, 1),
    ],
)
def test_representatives_are_at_most_half_of_a_layer_and_three_classes_a_neuron(
    neurons, classes, top
):
    assert adapted_top(50, neurons, classes) == top
    assert adapted_top(3, neurons, classes) == min(3, top)


def test_the_pure_function_takes_no_more_representatives_than_there_are_neurons(tiny):
    summary = cofire.summarize(tiny.network, tiny.data, by_class=True)
    with pytest.raises(OptionError, match="top=50 of 6 neurons"):
        functional.representative_neurons(summary["3"].class_mean(), 50)


@pytest.mark.parametrize("pairs", ["class", "union"])
def test_what_the_state_costs_is_said_before(tiny, pairs):
    layers = tiny.network.activation_layers
    options = {"unit": "channel", "bins": 100, "by_class": "statistics", "num_classes": 3}
    summary = cofire.summarize(
        tiny.network,
        tiny.data,
        by_class="statistics",
        pairs=pairs,
        top=4,
        null_graphs=2,
        batch_size=30,
    )
    held = sum(
        tensor.numel() * 8
        for layer in summary.layers
        for state in (layer.cofiring, *layer.by_chance)
        for tensor in (
            state.counts,
            state.neurons,
            state.thresholds,
            state.representatives,
            state.means,
        )
    )
    graph = (
        cost_of(layers, **options, pairs=pairs, top=4, null_graphs=2).bytes
        - cost_of(layers, **options).bytes
    )
    # Exact sums of random classes, and of shares of the union, take three numbers each beside.
    assert held <= graph <= (2 if pairs == "class" else 5) * held + 3 * 14 * 2 * 24
    with pytest.raises(BudgetError, match="a smaller top"):
        cofire.summarize(
            tiny.network, tiny.data, by_class=True, pairs=pairs, top=4, max_bytes=20_000
        )


def test_random_labels_keep_the_sizes_of_the_classes():
    sizes = torch.tensor([3, 0, 500, 40])
    drawn = shuffled_labels(sizes, runs=3)
    for run in drawn:
        assert torch.equal(torch.bincount(run, minlength=4), sizes)
    assert not torch.equal(drawn[0], drawn[1])
    assert torch.equal(drawn, shuffled_labels(sizes, runs=3))


def test_null_graphs_are_those_of_the_random_labels(tiny):
    inputs, labels = tiny.inputs[:75], torch.cat([torch.zeros(40), torch.arange(35) % 2 + 1]).long()
    drawn = shuffled_labels(torch.bincount(labels), runs=4)
    data = [(inputs[k : k + 13], labels[k : k + 13]) for k in range(0, 75, 13)]
    for form in (data, (inputs, labels)):
        summary = cofire.summarize(
            tiny.network, form, by_class=True, pairs="class", top=3, null_graphs=4
        )
        for name, values in tiny.activations().items():
            for order, graph in zip(drawn, summary.graph(name).by_chance, strict=True):
                whole = functional.activation_pattern_graph(values[:75], order, 3, 3)
                assert torch.allclose(
                    graph.adjacency, whole[graph.neurons[:, None], graph.neurons], atol=1e-12
                )


def test_a_constant_neuron_fires_with_nobody_by_chance_either():
    model = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    with torch.no_grad():
        model[0].weight[:2] = 0
        model[0].bias[:2] = torch.tensor([0.1, 0.7])
    data = torch.randn(300, 4), torch.arange(300) % 3
    network = cofire.Network(model, data[0][:2])
    for size in (300, 64):
        summary = cofire.summarize(
            network, data, by_class=True, pairs="class", top=4, null_graphs=3, batch_size=size
        )
        graph = summary.graph("1")
        assert {0, 1} & set(graph.neurons.tolist())
        for one in (graph, *graph.by_chance):
            assert float(one.strength()[one.neurons < 2].sum()) == 0


def test_data_that_grows_between_readings_is_refused(tiny):
    class Growing:
        readings = 0

        def __iter__(self):
            self.readings += 1
            yield tiny.data
            if self.readings > 1:
                yield tiny.data

    with pytest.raises(DataError, match="more than the 90 samples"):
        cofire.summarize(
            tiny.network, Growing(), by_class=True, pairs="class", top=3, null_graphs=2
        )


def test_whole_numbers_of_numpy_are_whole_numbers(tiny, tmp_path):
    summary = cofire.summarize(
        tiny.network, tiny.data, by_class=True, pairs="class", top=np.int64(3)
    )
    summary.save(tmp_path / "summary.safetensors")
    summary.graph("1").save(tmp_path / "graph.safetensors")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pairs": "class"}, "by_class=False"),
        ({"pairs": "both", "by_class": True}, "pairs='both'"),
        ({"pairs": "class", "by_class": True, "top": 0}, "top=0"),
        ({"pairs": "class", "by_class": True, "top": 2.5}, "top=2.5"),
        ({"pairs": "class", "by_class": True, "null_graphs": -1}, "null_graphs=-1"),
        ({"by_class": True, "null_graphs": 3}, "without pairs"),
        ({"by_class": True, "top": 7}, "without pairs"),
        ({"pairs": "class", "by_class": True, "null_graphs": 1}, "null_graphs=1"),
    ],
)
def test_options_that_cannot_be_are_refused(tiny, options, message):
    with pytest.raises(OptionError, match=message):
        cofire.summarize(tiny.network, tiny.data, **options)


def test_a_summary_without_counts_has_no_graph(tiny):
    summary = cofire.summarize(tiny.network, tiny.data, by_class=True)
    with pytest.raises(DataError, match="pairs='class'"):
        summary.graph("1")
    with pytest.raises(LayerError):
        summary.graph("nothing")


@pytest.mark.parametrize("pairs", ["class", "union"])
def test_a_summary_with_graphs_is_read_back_whole(tiny, tmp_path, pairs):
    summary = cofire.summarize(
        tiny.network, tiny.data, by_class=True, pairs=pairs, top=3, null_graphs=2
    )
    again = cofire.ActivationSummary.load(summary.save(tmp_path / "summary.safetensors"))
    assert again.options == summary.options
    for name in ("1", "3"):
        one, other = summary.graph(name), again.graph(name)
        assert torch.equal(one.adjacency, other.adjacency)
        assert len(other.by_chance) == 2
        assert torch.equal(one.by_chance[1].adjacency, other.by_chance[1].adjacency)
