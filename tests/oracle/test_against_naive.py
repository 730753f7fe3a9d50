"""The package against equations written as loops (`naive.py`): the same counts, the same numbers."""

from __future__ import annotations

import functools
import math
import statistics

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cofire
from cofire.functional import activation_entropy, activation_probability, mean_activation
from cofire.study import correlate

from . import naive

BINS = (1, 2, 7, 100, 1000)
RANGES = ("own", "zero-to-max", "global")
UNITS = ("channel", "channel-mean", "channel-max", "element")
STEPS = (0.1, 1 / 3, 0.25, 1e-3, 1e30, 3e-40, 1e-45)
CLASSES = 3

often = settings(deadline=None, database=None)
seldom = settings(deadline=None, max_examples=15, database=None)


def close(found, expected, scale=1.0):
    np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-12, atol=1e-12 * scale)


@st.composite
def matrices(draw, types=(np.float32, np.float64), widest=4, signed=True):
    """Matrices that are hard on a histogram: gridded, constant, dead, denormal, huge, neighbouring floats."""
    dtype = np.dtype(draw(st.sampled_from(types)))
    rows = draw(st.integers(1, 60))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    columns = []
    for _ in range(draw(st.integers(1, widest))):
        step = draw(st.sampled_from(STEPS))
        kind = draw(
            st.sampled_from(
                ("grid", "mixed", "product", "narrow", "constant", "dead", "any", "wide")
            )
        )
        whole = generator.integers(0, 60, rows)
        if kind == "grid":
            column = (whole * step).astype(dtype)
        elif kind == "mixed":
            column = ((whole - 30) * step).astype(dtype)
        elif kind == "product":
            column = whole.astype(dtype) * dtype.type(step)
        elif kind == "narrow":
            start = dtype.type(draw(st.sampled_from((1.0, 0.1, 1e30, 7e-3))))
            column = start + whole.astype(dtype) * np.spacing(start) * draw(
                st.sampled_from((1, 1, 3, 50))
            )
        elif kind == "constant":
            column = np.where(whole > 20, dtype.type(step), dtype.type(0))
        elif kind == "dead":
            column = np.where(whole > 20, dtype.type(-0.0), dtype.type(0))
        elif kind == "any":
            column = generator.normal(size=rows).astype(dtype)
        else:
            column = np.exp(generator.uniform(-80, 80, rows)).astype(dtype)
        columns.append(np.abs(column) if not signed and kind != "dead" else column)
    return np.stack(columns, axis=1).astype(dtype)


# Matrices


@often
@given(matrices(), st.sampled_from(BINS), st.sampled_from(RANGES))
def test_entropy_counts_what_numpy_counts(matrix, bins, where):
    found = activation_entropy(torch.from_numpy(matrix), bins=bins, range=where)

    assert found.dtype == torch.float64
    close(found, naive.entropies(matrix, bins, where))


@often
@given(
    st.sampled_from((1.0, 0.1, 1 / 3, 1e30, 1e-30, -0.7, 1e-44, 3e-38)),
    st.integers(1, 3000),
    st.sampled_from(BINS),
    st.sampled_from((np.float32, np.float64)),
    st.integers(0, 2**32 - 1),
)
def test_neighbouring_floats_lie_in_the_last_bin_whose_edge_they_reach(
    start, width, bins, dtype, seed
):
    start = dtype(start)
    steps = np.random.default_rng(seed).integers(0, width + 1, 80)
    column = (start + steps.astype(dtype) * np.abs(np.spacing(start))).astype(dtype)

    found = activation_entropy(torch.from_numpy(column[:, None]), bins=bins)

    close(found, naive.entropies(column[:, None], bins))


@pytest.mark.parametrize("step", [0.1, 1 / 3, 0.25, 0.05, 0.7])
@pytest.mark.parametrize("bins", [7, 100, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_values_on_bin_edges_lie_where_numpy_puts_them(step, bins, dtype):
    columns = [np.arange(first, first + bins + 1) for first in (-bins // 2, 0, 1, 3, 17)]
    matrix = np.stack([(column * step).astype(dtype) for column in columns], axis=1)

    for where in RANGES:
        close(
            activation_entropy(matrix, bins=bins, range=where), naive.entropies(matrix, bins, where)
        )


@pytest.mark.parametrize(
    ("given_type", "counted_type"),
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.int64, torch.float64),
        (torch.uint8, torch.float64),
        (torch.int32, torch.float64),
    ],
)
def test_half_precision_and_whole_numbers_are_widened_first(given_type, counted_type):
    torch.manual_seed(0)
    matrix = (torch.rand(200, 5) * 20).to(given_type)

    for bins in BINS:
        found = activation_entropy(matrix, bins=bins)
        close(found, naive.entropies(matrix.to(counted_type).numpy(), bins))


def test_layout_in_memory_does_not_matter():
    torch.manual_seed(0)
    matrix = torch.randn(6, 200).T[::2, ::2]

    close(activation_entropy(matrix), naive.entropies(matrix.numpy(), 100))
    close(activation_entropy(matrix.numpy()), naive.entropies(matrix.numpy(), 100))


@often
@given(matrices(), st.sampled_from((0.0, 0.1, 1 / 3, -0.5, 2.5)), st.integers(1, 4), st.randoms())
def test_means_and_probabilities_of_classes_are_plain_averages(matrix, threshold, classes, random):
    classes = min(classes, len(matrix))
    labels = [row % classes for row in range(len(matrix))]
    random.shuffle(labels)
    samples = range(len(matrix))

    found_means = mean_activation(matrix, np.array(labels), classes).numpy()
    found = activation_probability(
        torch.from_numpy(matrix), torch.tensor(labels), classes, threshold
    ).numpy()

    share = functools.partial(naive.probabilities, threshold=threshold)
    close(found, naive.by_class(share, matrix, samples, labels, classes))
    expected = naive.by_class(naive.means, matrix, samples, labels, classes)
    for j in range(matrix.shape[1]):
        close(found_means[:, j], expected[:, j], scale=float(np.abs(matrix[:, j]).max()))


# Networks


def whole(model, most=3):
    """Small whole numbers as weights, so that every sum is exact in any order."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(torch.randint(-most, most + 1, parameter.shape, generator=generator))
    return model


class Tokens(nn.Module):
    def __init__(self):
        super().__init__()
        self.into, self.act, self.out = nn.Linear(4, 5), nn.GELU(), nn.Linear(5, CLASSES)

    def forward(self, x):
        return self.out(self.act(self.into(x)).mean(1))


def dense():
    return nn.Sequential(
        nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 5), nn.ReLU(), nn.Dropout(), nn.Linear(5, CLASSES)
    )


def gelu():
    return nn.Sequential(
        nn.Linear(6, 7), nn.GELU(), nn.Linear(7, 5), nn.GELU(), nn.Linear(5, CLASSES)
    )


def leaky():
    return nn.Sequential(nn.Linear(6, 8), nn.LeakyReLU(0.25), nn.Linear(8, CLASSES))


def convolutions():
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Conv2d(4, 3, (2, 3), stride=(1, 2)),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(3, CLASSES),
    )
    norm = model[1]
    with torch.no_grad():
        norm.running_mean.uniform_(-0.3, 0.3)
        norm.running_var.uniform_(0.3, 2)
        norm.weight.uniform_(-1, 1)
        norm.bias.uniform_(-0.3, 0.3)
    return model


MODELS = {  # name: (model, shape of a sample, activation modules, the channels' axis)
    "dense": (dense, (6,), ("1", "3"), 1),
    "gelu": (gelu, (6,), ("1", "3"), 1),
    "leaky": (leaky, (6,), ("1",), 1),
    "convolutions": (convolutions, (2, 4, 7), ("2", "4"), 1),
    "tokens": (Tokens, (6, 4), ("act",), 2),
}


@functools.cache
def built(name, dtype=torch.float32, channels_last=False):
    torch.manual_seed(11)
    make, shape, *_ = MODELS[name]
    model = make().to(dtype)
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    return model, cofire.Network(model, torch.zeros(1, *shape, dtype=dtype))


def inputs_of(name, samples, dtype=torch.float32, seed=3):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(samples, *MODELS[name][1], generator=generator).to(dtype)


def labels_of(samples, seed=4):
    """Uneven classes, each with two samples at least where there are six."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat(
        [
            torch.arange(CLASSES),
            torch.arange(CLASSES),
            torch.randint(CLASSES, (samples,), generator=generator),
        ]
    )
    return labels[:samples][torch.randperm(samples, generator=generator)]


def summarize(network, data, **options):
    return cofire.summarize(network, data, progress=False, **options)


class Expected:
    """What a network's layers do on data, by loops."""

    def __init__(self, name, model, inputs, labels, unit="channel", size=256):
        _, _, self.modules, axis = MODELS[name]
        batches = list(zip(inputs.split(size), labels.split(size), strict=True))
        seen, self.logits = naive.record(model, self.modules, [batch for batch, _ in batches])
        self.labels = [label for _, batch in batches for label in batch.tolist()]
        self.classes = CLASSES
        self.observed = [naive.observe(seen[module], unit, axis) for module in self.modules]
        pooled = unit == "channel-mean" and self.observed[0][0].dtype == np.float32
        self.mean_error = (
            1e-6 if pooled else 1e-12
        )  # a pooled mean is rounded to the activations' precision

    def check(self, summary, bins, where="own", threshold=0.0):
        assert [layer.layer.name for layer in summary.layers] == list(self.modules)
        network = [matrix for matrix, _ in self.observed]
        total, class_total = 0.0, np.zeros(self.classes)
        for layer, (matrix, samples) in zip(summary.layers, self.observed, strict=True):
            entropies = naive.entropies(matrix, bins, where, network)
            close(layer.entropy(), entropies)
            total += entropies.sum()
            self.check_counts(layer, matrix, bins, where, network)
            self.check_activity(layer, matrix, threshold)
            if layer.class_histograms is not None:
                class_total += self.check_classes(layer, matrix, samples, bins, where, threshold)
        assert summary.entropy() == pytest.approx(total, rel=1e-12, abs=1e-12)
        if summary.layers[0].class_histograms is not None:
            close(summary.class_entropy(), class_total)
        assert summary.samples == len(self.labels)
        assert summary.accuracy == pytest.approx(
            naive.accuracy(self.logits, self.labels), abs=1e-15
        )

    def check_counts(self, layer, matrix, bins, where, network):
        counts = layer.histograms.counts[0].numpy()
        everything = naive.nonzero_of(network)
        for j in range(matrix.shape[1]):
            expected = naive.neuron_counts(matrix[:, j], everything, bins, where)
            if expected is None:
                assert counts[j].max(initial=0) == (matrix[:, j] != 0).sum()
            else:
                np.testing.assert_array_equal(counts[j], expected)

    def check_activity(self, layer, matrix, threshold):
        active = naive.active_counts(matrix, threshold)
        np.testing.assert_array_equal(layer.statistics.active.sum(0), active)
        np.testing.assert_array_equal(layer.statistics.nonzero.sum(0), (matrix != 0).sum(0))
        np.testing.assert_array_equal(layer.dead(), active == 0)
        np.testing.assert_array_equal(layer.always_active(), active == len(matrix))
        close(layer.probability(), active / len(matrix))
        self.close_means(layer.mean(), naive.means(matrix), matrix)

    def close_means(self, found, expected, matrix):
        scale = float(np.abs(matrix).max())
        np.testing.assert_allclose(found, expected, rtol=0, atol=self.mean_error * scale)

    def check_classes(self, layer, matrix, samples, bins, where, threshold):
        by_class = functools.partial(
            naive.by_class, matrix=matrix, samples=samples, labels=self.labels, classes=self.classes
        )
        means = by_class(naive.means)
        probabilities = by_class(functools.partial(naive.probabilities, threshold=threshold))
        self.close_means(layer.class_mean(), means, matrix)
        close(layer.class_probability(), probabilities)
        close(
            layer.information(),
            naive.information(matrix, samples, self.labels, self.classes, threshold),
        )
        signed = layer.layer.signed or (matrix < 0).any()
        compared = probabilities if signed else means
        error = 1e-12 if signed else 10 * self.mean_error
        np.testing.assert_allclose(
            layer.selectivity(), naive.selectivity(compared), rtol=0, atol=error
        )
        best = layer.preferred_class().numpy()
        for j, column in enumerate(compared.T):
            assert column[best[j]] == pytest.approx(column.max(), rel=self.mean_error)
            if sorted(column)[-1] - sorted(column)[-2] == 0:
                assert best[j] == column.argmax()
        if where == "global":
            return layer.class_entropy().sum(1).numpy()
        entropies = by_class(functools.partial(naive.entropies, bins=bins, where=where))
        close(layer.class_entropy(), entropies)
        return entropies.sum(1)


def split(inputs, size):
    return list(inputs.split(size))


@pytest.mark.parametrize("bins", [7, 100])
@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", MODELS)
def test_a_summary_holds_what_loops_count(name, unit, bins):
    model, network = built(name)
    inputs, labels = inputs_of(name, 22), labels_of(22)

    summary = summarize(
        network, (inputs, labels), unit=unit, bins=bins, by_class=True, batch_size=8
    )

    Expected(name, model, inputs, labels, unit, 8).check(summary, bins)


@pytest.mark.parametrize("name", ["dense", "gelu"])
def test_a_summary_is_that_of_the_activations_which_the_batches_give_as_they_are(name):
    """Forward hooks on the user's own batches see the same activations, to the last bit."""
    model, network = built(name)
    inputs, labels = inputs_of(name, 22), labels_of(22)

    summary = summarize(network, (inputs, labels), batch_size=22)

    for layer, (matrix, _) in zip(
        summary.layers, Expected(name, model, inputs, labels).observed, strict=True
    ):
        highest = [column[column != 0].max(initial=-np.inf) for column in matrix.T]
        np.testing.assert_array_equal(layer.statistics.maximum[0], highest)


@pytest.mark.parametrize("bins", [1, 2, 1000])
@pytest.mark.parametrize("where", RANGES)
@pytest.mark.parametrize("name", ["dense", "gelu", "convolutions"])
def test_bins_lie_over_the_range_that_was_asked_for(name, where, bins):
    model, network = built(name)
    inputs, labels = inputs_of(name, 16), labels_of(16)

    summary = summarize(network, (inputs, labels), bins=bins, range=where, by_class=True)

    Expected(name, model, inputs, labels).check(summary, bins, where)


@pytest.mark.parametrize("name", ["dense", "gelu", "tokens"])
def test_one_range_for_all_neurons_is_for_a_class_that_of_its_own_samples(name):
    model, network = built(name)
    inputs, labels = inputs_of(name, 24), labels_of(24)

    summary = summarize(network, (inputs, labels), bins=7, range="global", by_class=True)

    for label in range(CLASSES):
        chosen = inputs[labels == label]
        alone = Expected(name, model, inputs, labels)
        observed = [
            naive.of_class(matrix, samples, alone.labels, label)
            for matrix, samples in alone.observed
        ]
        for layer, matrix in zip(summary.layers, observed, strict=True):
            assert len(matrix) % len(chosen) == 0
            close(layer.class_entropy()[label], naive.entropies(matrix, 7, "global", observed))


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
@pytest.mark.parametrize("name", ["dense", "gelu", "convolutions", "tokens"])
@pytest.mark.parametrize("unit", UNITS)
def test_a_network_may_be_of_any_floating_type(name, dtype, unit):
    model, network = built(name, dtype)
    inputs, labels = inputs_of(name, 19, dtype), labels_of(19)

    summary = summarize(network, (inputs, labels), unit=unit, bins=100, by_class=True, batch_size=5)

    Expected(name, model, inputs, labels, unit, 5).check(summary, 100)
    wide = "float64" if dtype == torch.float64 else "float32"
    assert {layer.histograms.precision for layer in summary.layers} == {wide}


@pytest.mark.parametrize("unit", UNITS)
def test_channels_may_lie_last_in_memory(unit):
    model, network = built("convolutions", channels_last=True)
    inputs, labels = inputs_of("convolutions", 14), labels_of(14)
    inputs = inputs.to(memory_format=torch.channels_last)

    summary = summarize(network, (inputs, labels), unit=unit, bins=7, by_class=True, batch_size=4)

    Expected("convolutions", model, inputs, labels, unit, 4).check(summary, 7)


@pytest.mark.parametrize("size", [1, 3, 10, 17, 64])
@pytest.mark.parametrize("name", ["dense", "convolutions"])
def test_any_batch_size_sees_all_of_the_data(name, size):
    model, network = built(name)
    inputs, labels = inputs_of(name, 17), labels_of(17)

    summary = summarize(network, (inputs, labels), bins=100, by_class=True, batch_size=size)

    # Whatever the batches were, the network ran all of these samples at once.
    Expected(name, model, inputs, labels).check(summary, 100)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", MODELS)
def test_one_sample_is_enough(name, unit):
    model, network = built(name)
    inputs, labels = inputs_of(name, 1), torch.tensor([2])

    summary = summarize(network, (inputs, labels), unit=unit, bins=7)

    Expected(name, model, inputs, labels, unit).check(summary, 7)


@pytest.mark.parametrize("threshold", [0.05, 0.5, -0.1])
@pytest.mark.parametrize("name", ["dense", "gelu"])
def test_the_threshold_decides_what_is_active_and_not_what_is_binned(name, threshold):
    model, network = built(name)
    inputs, labels = inputs_of(name, 20), labels_of(20)

    summary = summarize(network, (inputs, labels), bins=7, by_class=True, threshold=threshold)

    Expected(name, model, inputs, labels).check(summary, 7, threshold=threshold)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_value_at_the_threshold_is_not_active(dtype):
    _, network = passing_on(4, dtype, 0.0)
    matrix = (torch.arange(24).reshape(6, 4) * 0.1).to(dtype)
    data = matrix, torch.tensor([0, 0, 1, 1, 2, 2])

    for threshold in (0.1, 0.5, 1.1):
        layer = summarize(network, data, threshold=threshold, by_class=True).layers[0]
        np.testing.assert_array_equal(
            layer.statistics.active.sum(0), naive.active_counts(matrix.numpy(), threshold)
        )
        close(layer.class_probability(), activation_probability(*data, CLASSES, threshold))


def test_data_may_come_in_every_form():
    model, network = built("convolutions")
    inputs, labels = inputs_of("convolutions", 23), labels_of(23)
    dataset = TensorDataset(inputs, labels)
    batches = list(zip(inputs.split(5), labels.split(5), strict=True))
    forms = {
        "loader": (DataLoader(dataset, batch_size=5), {}),
        "dataset": (dataset, {"batch_size": 5}),
        "list": (batches, {}),
        "tensors": ((inputs, labels), {"batch_size": 5}),
        "arrays": ((inputs.numpy(), labels.numpy()), {"batch_size": 5}),
        "wider arrays": ((inputs.double().numpy(), labels.int().numpy()), {"batch_size": 5}),
    }
    expected = Expected("convolutions", model, inputs, labels, "channel", 5)

    for data, options in forms.values():
        expected.check(summarize(network, data, bins=100, by_class=True, **options), 100)


def test_batches_may_be_of_uneven_sizes():
    model, network = built("dense")
    inputs, labels = inputs_of("dense", 20), labels_of(20)
    sizes = [1, 7, 2, 10]

    data = list(zip(inputs.split(sizes), labels.split(sizes), strict=True))
    summary = summarize(network, data, bins=100, by_class=True)

    Expected("dense", model, inputs, labels).check(summary, 100)


def everything_in(summary):
    for layer in summary.layers:
        for part in (layer.statistics, layer.histograms, layer.class_histograms):
            for name in part.__dataclass_fields__:
                if isinstance(value := getattr(part, name), torch.Tensor):
                    yield f"{layer.layer.name}.{type(part).__name__}.{name}", value
        for name in (
            "entropy",
            "class_entropy",
            "mean",
            "class_mean",
            "information",
            "selectivity",
        ):
            yield f"{layer.layer.name}.{name}", getattr(layer, name)()


def assert_same(first, second):
    for (name, one), (_, other) in zip(everything_in(first), everything_in(second), strict=True):
        assert torch.equal(one, other), name


@functools.cache
def whole_network(name, dtype=torch.float64):
    make, shape, *_ = MODELS[name]
    model = nn.Sequential(*(module for module in make() if not isinstance(module, nn.BatchNorm2d)))
    return whole(model.to(dtype)), shape


def whole_inputs(shape, samples, dtype=torch.float64):
    return torch.randint(-3, 4, (samples, *shape), generator=torch.Generator().manual_seed(8)).to(
        dtype
    )


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", ["dense", "convolutions"])
def test_the_order_of_the_samples_does_not_matter(name, unit):
    model, shape = whole_network(name)
    network = cofire.Network(model, torch.zeros(1, *shape, dtype=torch.float64))
    inputs, labels = whole_inputs(shape, 40), labels_of(40)
    order = torch.randperm(40, generator=torch.Generator().manual_seed(1))

    options = {"unit": unit, "bins": 100, "by_class": True}
    first = summarize(network, (inputs, labels), batch_size=7, **options)
    second = summarize(network, (inputs[order], labels[order]), batch_size=16, **options)

    for (name_, one), (_, other) in zip(everything_in(first), everything_in(second), strict=True):
        if unit == "channel-mean" and one.is_floating_point():  # sums of rounded means
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12, msg=name_)
        else:
            assert torch.equal(one, other), name_


@functools.cache
def passing_on(neurons, dtype, slope):
    """A network whose activations are its inputs: all where positive, a share of them where negative."""
    model = nn.Sequential(
        nn.Linear(neurons, neurons, dtype=dtype),
        nn.LeakyReLU(slope) if slope else nn.ReLU(),
        nn.Linear(neurons, CLASSES, dtype=dtype),
    )
    torch.manual_seed(2)
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(neurons))
        model[0].bias.zero_()
        model[2].weight.uniform_(-1, 1)
    return model, cofire.Network(model, torch.zeros(1, neurons, dtype=dtype))


@pytest.mark.parametrize("unit", ["channel", "element"])
def test_the_number_of_threads_does_not_matter(unit):
    _, network = passing_on(48, torch.float32, 0.25)
    torch.manual_seed(6)
    data = torch.randn(6000, 48), torch.randint(CLASSES, (6000,))
    before = torch.get_num_threads()

    try:
        found = []
        for threads in (1, 2, 2, 1):
            torch.set_num_threads(threads)
            found.append(
                summarize(network, data, unit=unit, bins=100, by_class=True, batch_size=1024)
            )
    finally:
        torch.set_num_threads(before)

    for other in found[1:]:
        assert_same(found[0], other)


@pytest.mark.parametrize("unit", UNITS)
def test_the_number_of_threads_does_not_matter_to_feature_maps(unit):
    model, shape = whole_network("convolutions", torch.float32)
    network = cofire.Network(model, torch.zeros(1, *shape))
    data = whole_inputs(shape, 900, torch.float32), labels_of(900)
    before = torch.get_num_threads()

    try:
        found = []
        for threads in (1, 2):
            torch.set_num_threads(threads)
            found.append(
                summarize(network, data, unit=unit, bins=100, by_class=True, batch_size=256)
            )
    finally:
        torch.set_num_threads(before)

    assert_same(*found)


@often
@given(
    matrices(widest=4),
    st.sampled_from((0.25, 0.0)),
    st.sampled_from(BINS),
    st.sampled_from(RANGES),
    st.integers(1, 70),
)
def test_a_summary_of_hard_values_holds_what_loops_count(matrix, slope, bins, where, size):
    matrix = np.tile(matrix, (1 if len(matrix) >= 2 * CLASSES else 2 * CLASSES, 1))
    matrix = np.pad(matrix, ((0, 0), (0, 4 - matrix.shape[1])))
    inputs, labels = torch.from_numpy(matrix), labels_of(len(matrix))
    model, network = passing_on(4, inputs.dtype, slope)

    summary = summarize(
        network, (inputs, labels), bins=bins, range=where, by_class=True, batch_size=size
    )

    activations, _ = naive.record(model, ["1"], split(inputs, size))
    matrix, samples = naive.observe(activations["1"], "channel", 1)
    layer = summary.layers[0]
    close(layer.entropy(), naive.entropies(matrix, bins, where))
    counts = layer.histograms.counts[0].numpy()
    for j in range(4):
        expected = naive.neuron_counts(matrix[:, j], naive.nonzero_of([matrix]), bins, where)
        if expected is not None:
            np.testing.assert_array_equal(counts[j], expected)
    for label in range(CLASSES if where != "global" else 0):
        chosen = naive.of_class(matrix, samples, labels.tolist(), label)
        close(layer.class_entropy()[label], naive.entropies(chosen, bins, where))
    np.testing.assert_array_equal(layer.dead(), naive.active_counts(matrix) == 0)
    close(layer.probability(), naive.probabilities(matrix))


@seldom
@given(matrices(types=(np.float32,), widest=4), st.sampled_from((7, 100)))
def test_a_summary_agrees_with_the_functions_on_a_matrix(matrix, bins):
    matrix = np.tile(np.abs(matrix), (6, 1))
    matrix = np.pad(matrix, ((0, 0), (0, 4 - matrix.shape[1])))
    labels = labels_of(len(matrix))
    _, network = passing_on(4, torch.float32, 0.0)

    layer = summarize(network, (torch.from_numpy(matrix), labels), bins=bins, by_class=True).layers[
        0
    ]

    close(layer.entropy(), activation_entropy(matrix, bins=bins))
    close(layer.class_probability(), activation_probability(matrix, labels, CLASSES))
    close(layer.class_mean(), mean_activation(matrix, labels, CLASSES), scale=float(matrix.max()))


# Correlations


@st.composite
def series(draw, smallest=4):
    points = draw(st.integers(smallest, 30))
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    kind = draw(st.sampled_from(("ties", "normal", "together", "far")))
    if kind == "ties":
        first, second = generator.integers(0, 4, points), generator.integers(-2, 2, points)
    elif kind == "normal":
        first, second = generator.normal(size=(2, points))
    elif kind == "together":
        first = generator.normal(size=points)
        second = -3 * first + 0.1 * generator.normal(size=points)
    else:
        first, second = 1e6 + generator.normal(size=points), 1e-6 * generator.normal(size=points)
    first[0], second[-1] = first.max() + 1, second.min() - 1  # not constant
    return [float(x) for x in first], [float(x) for x in second]


@often
@given(series(), st.sampled_from((0.95, 0.9, 0.5)))
def test_correlations_and_the_interval_of_pearsons_are_scipys(pair, confidence):
    found = correlate(*pair, confidence=confidence)

    expected = stats.pearsonr(*pair)
    low, high = expected.confidence_interval(confidence)
    assert found.pearson == pytest.approx(expected.statistic, abs=1e-12)
    assert found.pearson == pytest.approx(naive.pearson(*pair), abs=1e-12)
    assert (found.pearson_low, found.pearson_high) == pytest.approx((low, high), abs=1e-9)
    assert found.spearman == pytest.approx(stats.spearmanr(*pair).statistic, abs=1e-12)
    assert found.spearman == pytest.approx(naive.pearson(*map(naive.rank, pair)), abs=1e-12)
    assert found.points == len(pair[0])
    assert found.confidence == confidence


@often
@given(series(), st.sampled_from((0.95, 0.9, 0.5)))
def test_the_interval_of_spearmans_has_bonett_and_wrights_variance(pair, confidence):
    found = correlate(*pair, confidence=confidence)

    rho = naive.pearson(*map(naive.rank, pair))
    if abs(rho) > 1 - 1e-12:
        # Fisher's z is infinite there: no interval rather than one without width.
        assert (found.spearman_low, found.spearman_high) == (None, None)
        return
    error = math.sqrt((1 + rho**2 / 2) / (len(pair[0]) - 3))
    reach = statistics.NormalDist().inv_cdf((1 + confidence) / 2) * error
    expected = math.tanh(math.atanh(rho) - reach), math.tanh(math.atanh(rho) + reach)
    assert (found.spearman_low, found.spearman_high) == pytest.approx(expected, abs=1e-9)


@often
@given(series())
def test_the_correlation_of_changes_is_that_of_the_differences(pair):
    found = correlate(*pair)

    first, second = (np.diff(values) for values in pair)
    if np.ptp(first) == 0 or np.ptp(second) == 0:
        assert found.changes is None
    else:
        assert found.changes == pytest.approx(stats.pearsonr(first, second).statistic, abs=1e-9)


def test_what_is_not_defined_is_none():
    constant = correlate([1.0, 1.0, 1.0, 1.0], [1.0, 2.0, 3.0, 4.0])
    short = correlate([1.0, 2.0], [3.0, 1.0])
    three = correlate([1.0, 2.0, 4.0], [3.0, 1.0, 0.5])

    assert (constant.pearson, constant.spearman, constant.pearson_low) == (None, None, None)
    assert (short.pearson, short.spearman) == (None, None)
    assert three.pearson == pytest.approx(stats.pearsonr([1, 2, 4], [3, 1, 0.5]).statistic)
    assert (three.pearson_low, three.pearson_high, three.spearman_low) == (None, None, None)
