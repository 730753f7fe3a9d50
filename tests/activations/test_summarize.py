"""`summarize` from end to end: the same numbers as the pure functions, every unit, every kind of data."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cofire
from cofire import Network, functional, summarize
from cofire.activations import ActivationSummary, cost_of
from cofire.activations.batches import Batches
from cofire.errors import (
    BatchError,
    BudgetError,
    DataError,
    ImageError,
    LabelError,
    LayerError,
    NonFiniteError,
    OptionError,
    ResultError,
)


class Mixed(nn.Module):
    """Feature maps, tokens and vectors in one network; inputs that are not square."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(2, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.tokens = nn.Linear(6, 5)
        self.head = nn.Linear(5, 4)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        x = nn.functional.gelu(self.tokens(x.flatten(2).transpose(1, 2)))
        return self.head(torch.relu_(x.mean(dim=1)))


def recorded(network, inputs, batch_size):
    """The raw activations of every layer, which `summarize` never holds."""
    seen = {}
    for part in inputs.split(batch_size):
        network.run(part, lambda layer, values: seen.setdefault(layer, []).append(values.clone()))
    return {layer: torch.cat(parts) for layer, parts in seen.items()}


def observations_by_neuron(values, layer, unit):
    """(observations, neurons), written down naively."""
    if unit == "element":
        return values.flatten(1)
    moved = values.movedim(1 + layer.channel_axis, -1)
    if unit == "channel":
        return moved.flatten(0, -2)
    flat = moved.flatten(1, -2) if moved.ndim > 2 else moved[:, None, :]
    return flat.mean(dim=1) if unit == "channel-mean" else flat.amax(dim=1)


@pytest.fixture(scope="module")
def mixed():
    torch.manual_seed(1)
    model = Mixed()
    inputs, labels = torch.randn(50, 2, 7, 5), torch.arange(50) % 4
    return Network(model, inputs[:1]), inputs, labels


@pytest.mark.parametrize("unit", ["channel", "channel-mean", "channel-max", "element"])
@pytest.mark.parametrize("range", ["own", "zero-to-max"])
def test_every_unit_gives_what_the_pure_functions_give_on_the_raw_activations(mixed, unit, range):
    network, inputs, labels = mixed
    summary = summarize(
        network, (inputs, labels), unit=unit, bins=10, range=range, by_class=True, batch_size=16
    )
    raw = recorded(network, inputs, 16)
    assert [layer.kind for layer in raw] == ["relu", "gelu", "relu"]
    for layer, values in raw.items():
        found = summary[layer.name]
        matrix = observations_by_neuron(values, layer, unit)
        repeated = labels.repeat_interleave(len(matrix) // len(labels))
        # means of float32 over positions depend on the memory order in the last bit
        tolerance = {"rtol": 0, "atol": 1e-12 if unit != "channel-mean" else 0.2}
        assert torch.allclose(
            found.entropy(),
            functional.activation_entropy(matrix, bins=10, range=range),
            **tolerance,
        )
        assert torch.allclose(
            found.class_mean(), functional.mean_activation(matrix, repeated, 4), atol=1e-7
        )
        assert torch.equal(
            found.class_probability(), functional.activation_probability(matrix, repeated, 4)
        )
        if unit != "channel-mean":
            by_class = torch.stack(
                [
                    functional.activation_entropy(matrix[repeated == c], bins=10, range=range)
                    for c in (0, 1, 2, 3)
                ]
            )
            assert torch.allclose(found.class_entropy(), by_class, atol=1e-12)
        assert torch.equal(found.dead(), ~(matrix > 0).any(dim=0))
        assert torch.equal(found.always_active(), (matrix > 0).all(dim=0))
        assert found.neurons == layer.neurons(unit) == matrix.shape[1]
    assert summary.neurons == sum(layer.neurons(unit) for layer in raw)


def test_a_global_range_is_shared_by_all_layers(tiny):
    summary = summarize(tiny.network, tiny.data, range="global", bins=10)
    everything = torch.cat(list(tiny.activations().values()), dim=1)
    together = torch.cat([layer.entropy() for layer in summary])
    assert torch.allclose(
        together, functional.activation_entropy(everything, bins=10, range="global"), atol=1e-12
    )


def test_all_kinds_of_data_give_the_same_summary(tiny):
    inputs, labels = tiny.data
    dataset = TensorDataset(inputs, labels)

    class Rows(torch.utils.data.Dataset):
        def __len__(self):
            return len(labels)

        def __getitem__(self, i):
            return inputs[i], int(labels[i])

    kinds = [
        (inputs, labels),
        (inputs.numpy(), labels.numpy()),
        dataset,
        Rows(),
        DataLoader(dataset, batch_size=30),
        [
            (inputs[:30], labels[:30]),
            [inputs[30:60].numpy(), labels[30:60].to(torch.uint8)],
            (inputs[60:], labels[60:]),
        ],
    ]
    summaries = [
        summarize(tiny.network, kind, by_class=True, bins=10, batch_size=30) for kind in kinds
    ]
    for summary in summaries[1:]:
        assert summary.options == summaries[0].options
        for one, other in zip(summary, summaries[0], strict=True):
            assert torch.allclose(one.class_entropy(), other.class_entropy())
            # where a batch lies in memory can change the last bit of a matrix product
            assert torch.allclose(one.statistics.total, other.statistics.total, rtol=1e-5)


def test_accuracy_is_that_of_the_model(tiny):
    summary = summarize(tiny.network, tiny.data)
    predicted = tiny.model(tiny.inputs).argmax(dim=1)
    assert summary.accuracy == (predicted == tiny.labels).double().mean().item()
    by_class = [(predicted == c)[tiny.labels == c].double().mean().item() for c in (0, 1, 2)]
    assert summary.class_accuracy().tolist() == pytest.approx(by_class)


def test_the_model_is_left_as_it_was(tiny):
    tiny.model.train()
    tiny.model[0].weight.requires_grad_(False)
    tiny.model[2].weight.grad = torch.ones_like(tiny.model[2].weight)
    handle = tiny.model[1].register_forward_hook(lambda *_: None)
    before = {name: value.clone() for name, value in tiny.model.state_dict().items()}
    summarize(tiny.network, tiny.data, by_class=True)
    with pytest.raises(LabelError):
        summarize(tiny.network, (tiny.inputs, tiny.labels + 1))
    assert tiny.model.training
    assert all(module.training for module in tiny.model.modules())
    assert not tiny.model[0].weight.requires_grad
    assert tiny.model[2].weight.requires_grad
    assert torch.equal(tiny.model[2].weight.grad, torch.ones_like(tiny.model[2].weight))
    assert len(tiny.model[1]._forward_hooks) == 1
    handle.remove()
    assert all(torch.equal(value, before[name]) for name, value in tiny.model.state_dict().items())


def test_low_precision_models_are_summarized(tiny):
    network = Network(tiny.model.to(torch.bfloat16), tiny.inputs[:2])
    summary = summarize(network, tiny.data, bins=10)
    for layer, values in recorded(network, tiny.inputs, 256).items():
        assert torch.allclose(
            summary[layer.name].entropy(),
            functional.activation_entropy(values, bins=10),
            atol=1e-12,
        )


def test_channels_last_memory_changes_nothing(mixed):
    network, inputs, labels = mixed
    plain = summarize(network, (inputs, labels), bins=10)
    last = summarize(network, (inputs.to(memory_format=torch.channels_last), labels), bins=10)
    for one, other in zip(plain, last, strict=True):
        assert torch.allclose(one.mean(), other.mean(), atol=1e-5)
        assert torch.equal(one.statistics.samples, other.statistics.samples)


def test_a_summary_is_saved_and_read_back_whole(tiny, tmp_path):
    summary = summarize(
        tiny.network, tiny.data, by_class=True, bins=10, class_names=["a", "b", "ü"]
    )
    found = ActivationSummary.load(summary.save(tmp_path / "s.safetensors"))
    assert found.options == summary.options
    assert repr(found) == repr(summary)
    for one, other in zip(found, summary, strict=True):
        assert one.layer == other.layer
        assert torch.equal(one.class_entropy(), other.class_entropy())
        assert torch.equal(one.information(), other.information())
    assert [path.name for path in tmp_path.iterdir()] == ["s.safetensors"]


def test_a_damaged_or_foreign_file_is_no_summary(tiny, tmp_path):
    path = summarize(tiny.network, tiny.data).save(tmp_path / "s.safetensors")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ResultError, match="make the summary again"):
        ActivationSummary.load(path)
    with pytest.raises(ResultError):
        ActivationSummary.load(tmp_path / "absent")
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "weights.safetensors")
    with pytest.raises(ResultError, match="is no summary of this version"):
        ActivationSummary.load(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("function", [nn.GELU(), nn.Tanh(), nn.LeakyReLU(0.1)])
def test_selectivity_of_activations_below_zero_is_of_how_often_they_fire(function):
    generator = torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 9), function, nn.Linear(9, 3))
    images, labels = torch.randn(60, 4, generator=generator), torch.arange(60) % 3
    layer = summarize(Network(model, images[:1]), (images, labels), by_class="statistics").layers[0]
    assert layer.selectivity_of == "activation probability"
    assert (layer.class_mean() < 0).any(), "by means the formula would not stay between 0 and 1"
    fires = function(model[0](images)) > 0
    shares = torch.stack([fires[labels == c].double().mean(0) for c in range(3)])
    rest = (shares.sum(0) - shares.amax(0)) / 2
    torch.testing.assert_close(
        layer.selectivity(), (shares.amax(0) - rest) / (shares.amax(0) + rest)
    )


def test_selectivity_of_activations_from_zero_up_is_of_their_means(tiny):
    layer = summarize(tiny.network, tiny.data, by_class="statistics").layers[0]
    assert layer.selectivity_of == "mean activation"


def test_results_by_class_are_refused_where_they_were_not_kept(tiny):
    summary = summarize(tiny.network, tiny.data)
    with pytest.raises(DataError, match="by_class='statistics'"):
        summary.layers[0].selectivity()
    partial = summarize(tiny.network, tiny.data, by_class="statistics")
    assert partial.layers[0].information().shape == (8,)
    with pytest.raises(DataError, match="by_class=True"):
        partial.class_entropy()
    with pytest.raises(LayerError, match=r"try '3', '1'|try '1', '3'"):
        summary["9"]


def test_a_summary_has_a_report_of_its_own(tiny, tmp_path):
    page = cofire.write_report(
        summarize(tiny.network, tiny.data, by_class=True), tmp_path / "report.html"
    )
    assert "14 neurons in 2 layers" in page.read_text()


def test_the_cost_is_known_and_a_cap_refuses_with_the_remedy(tiny):
    layers = tiny.network.activation_layers
    assert cost_of(layers, unit="channel", bins=100).neurons == 14
    with pytest.raises(BudgetError, match=r"14 neurons.*by_class='statistics'"):
        summarize(tiny.network, tiny.data, by_class=True, max_bytes=1000)


def test_progress_says_the_cost_first(tiny, capsys):
    summarize(tiny.network, tiny.data, progress=True)
    assert capsys.readouterr().err.startswith("2 layers, 14 neurons, 13.8 kB of state")


X, Y = torch.randn(6, 5), torch.tensor([0, 1, 2, 0, 1, 2])


class Augmented(torch.utils.data.Dataset):
    def __len__(self):
        return 64

    def __getitem__(self, i):
        return torch.randn(5), i % 3


class Unequal(Augmented):
    def __getitem__(self, i):
        return torch.zeros(4 + i % 2), 0


class Images(Augmented):
    def __getitem__(self, i):
        return Image.new("L", (2, 2)), 0


class Drifting:
    """Gives other data each time it is read: what changes decides what must be noticed."""

    def __init__(self, change):
        self.change, self.reads = change, 0

    def __iter__(self):
        self.reads += 1
        yield self.change(self.reads)


@pytest.mark.parametrize(
    "change",
    [
        lambda read: (X[:3] * read, Y[:3]),
        lambda read: (X[:3] * (-1) ** read, Y[:3]),
        lambda read: (X, Y.roll(read)),
        lambda read: (X[: 7 - read], Y[: 7 - read]),
        lambda read: (X + 1e-4 * read, Y),
    ],
)
def test_a_second_pass_over_other_data_is_noticed(tiny, change):
    with pytest.raises(DataError, match="second pass saw other data"):
        summarize(tiny.network, Drifting(change))


def test_nan_logits_are_no_accuracy(tiny):
    with torch.no_grad():
        tiny.model[4].bias.fill_(torch.nan)
    with pytest.raises(NonFiniteError, match="logit in batch 0"):
        summarize(tiny.network, tiny.data)


def test_networks_without_layers_are_refused_and_a_single_logit_is_two_classes():
    inputs = torch.randn(4, 5)
    with pytest.raises(LayerError, match="no activation layers"):
        summarize(Network(nn.Sequential(nn.Linear(5, 3)), inputs), (inputs, torch.zeros(4).long()))
    single = nn.Sequential(nn.Linear(5, 3), nn.ReLU(), nn.Linear(3, 1))
    found = summarize(Network(single, inputs), (inputs, torch.tensor([0, 1, 0, 1])))
    assert found.class_samples.tolist() == [2, 2]


def test_whole_number_inputs_are_taken_where_the_network_takes_them():
    class Words(nn.Module):
        def __init__(self):
            super().__init__()
            self.words = nn.Embedding(10, 6)
            self.hidden = nn.Linear(6, 5)
            self.head = nn.Linear(5, 2)

        def forward(self, x):
            return self.head(torch.relu(self.hidden(self.words(x).mean(dim=1))))

    tokens, labels = torch.randint(0, 10, (12, 7)), torch.arange(12) % 2
    assert summarize(Network(Words(), tokens), (tokens, labels)).samples == 12


def test_numpy_numbers_are_taken_as_options(tiny):
    summary = summarize(tiny.network, tiny.data, bins=np.int64(10), threshold=np.float32(0.5))
    assert (summary.options.bins, summary.options.threshold) == (10, 0.5)


def test_a_worker_process_that_fails_gives_one_line(tiny):
    class Broken(Augmented):
        def __getitem__(self, i):
            raise FileNotFoundError("no such file: 'x.npy'")

    loader = DataLoader(Broken(), batch_size=4, num_workers=1)
    with pytest.raises(DataError, match=r"x\.npy") as caught:
        summarize(tiny.network, loader)
    assert "Traceback" not in str(caught.value)


def test_the_number_of_samples_is_known_only_where_it_is_certain(tiny):
    dataset = TensorDataset(*tiny.data)
    known = [
        (DataLoader(dataset, batch_size=16), 90),
        (DataLoader(dataset, batch_size=16, drop_last=True), 80),
        (DataLoader(dataset, batch_size=None), None),
        (DataLoader(dataset, batch_sampler=[[0, 1], [2]]), None),
        (tiny.data, 90),
        ([tiny.data], None),
    ]
    assert [Batches(data, 3).samples for data, _ in known] == [samples for _, samples in known]


def unreadable():
    raise OSError("cannot identify image file 'cat.jpg'")
    yield


class Unreadable:
    def __iter__(self):
        return unreadable()


@pytest.mark.parametrize(
    ("data", "options", "error", "words"),
    [
        ((X, Y + 1), {}, LabelError, "label 3 at position 2"),
        ([(X, Y), (X, Y - 1)], {}, LabelError, "in batch 1"),
        ((X, Y[:4]), {}, LabelError, "4 labels for 6 samples"),
        ([(X, Y.float())], {}, LabelError, "labels.long()"),
        ([(X, nn.functional.one_hot(Y))], {}, LabelError, "argmax"),
        ((X, torch.zeros(6).long()), {"by_class": True}, LabelError, "class '0' alone"),
        ((X[:4], Y[:4]), {"by_class": "statistics"}, LabelError, "'1' (1), '2' (1)"),
        ([], {}, DataError, "no samples"),
        ((X[:0], Y[:0]), {}, DataError, "no samples"),
        ([X], {}, BatchError, "a Tensor"),
        ([(X, Y, Y)], {}, BatchError, "a tuple of 3"),
        ((X, Y.tolist()), {}, BatchError, "(inputs, labels)"),
        ([X, Y], {}, BatchError, "(inputs, labels)"),
        ([(X, Y[:, None])], {}, LabelError, "squeeze"),
        ((X, (Y + 9).to(torch.uint16)), {}, LabelError, "label 9"),
        ([{"x": X}], {}, BatchError, "a dict"),
        ([("a", "b")], {}, BatchError, "batch 0"),
        ([(X[:, :4], Y)], {}, BatchError, "(batch, 5)"),
        ([(X.to(torch.uint8), Y)], {}, BatchError, "/ 255"),
        (iter([(X, Y)]), {}, DataError, "read only once"),
        (X, {}, DataError, "Tensor"),
        (7, {}, DataError, "int"),
        ((torch.full_like(X, torch.nan), Y), {}, NonFiniteError, "layer '1' in batch 0"),
        ([(X, Y), (X * torch.inf, Y)], {}, NonFiniteError, "in batch 1"),
        (Augmented(), {}, DataError, "random augmentation"),
        (Unreadable(), {}, ImageError, "cat.jpg"),
        ((X, Y), {"layers": "rely"}, LayerError, "rely"),
        ((X, Y), {"bins": 0}, OptionError, "bins=0"),
        ((X, Y), {"bins": True}, OptionError, "bins=True"),
        ((X, Y), {"range": "mine"}, OptionError, "zero-to-max"),
        ((X, Y), {"unit": "pixel"}, OptionError, "pixel"),
        ((X, Y), {"by_class": "yes"}, OptionError, "statistics"),
        ((X, Y), {"threshold": float("nan")}, OptionError, "threshold=nan"),
        ((X, Y), {"threshold": "high"}, OptionError, "threshold='high'"),
        ((X, Y), {"by_class": 1}, OptionError, "by_class=1"),
        ((X, Y), {"by_class": True, "min_class_samples": 0}, OptionError, "min_class_samples=0"),
        ((X, Y), {"max_bytes": None}, OptionError, "max_bytes=None"),
        ((X, Y), {"layers": []}, LayerError, "layers"),
        (Unequal(), {}, BatchError, "resize or crop"),
        (Images(), {}, BatchError, "ToTensor"),
        ((X, Y), {"class_names": ["a"]}, OptionError, "1 class names for 3"),
        ((X, Y), {"batch_size": 0}, OptionError, "batch_size=0"),
    ],
)
def test_bad_input_is_one_clear_error(tiny, data, options, error, words):
    with pytest.raises(error) as caught:
        summarize(tiny.network, data, **options)
    assert words in str(caught.value)


def test_one_sample_per_class_is_accepted_when_asked_for(tiny):
    summary = summarize(tiny.network, (X[:3], Y[:3]), by_class=True, min_class_samples=1)
    assert summary.class_entropy().tolist() == [0.0, 0.0, 0.0]


def test_a_shuffling_loader_is_fine(tiny):
    loader = DataLoader(TensorDataset(*tiny.data), batch_size=16, shuffle=True)
    summary = summarize(tiny.network, loader, bins=10)
    expected = summarize(tiny.network, tiny.data, bins=10)
    for one, other in zip(summary, expected, strict=True):
        assert torch.allclose(one.mean(), other.mean(), atol=1e-6)
        assert torch.equal(one.dead(), other.dead())


def test_a_network_on_mps_is_told_where_it_can_be_read(tiny, monkeypatch):
    monkeypatch.setattr(Network, "device", torch.device("mps"))
    with pytest.raises(OptionError, match=r"a network on mps.*move it to the cpu"):
        summarize(tiny.network, tiny.data)


def test_data_without_a_sample_is_told_before_a_module_is_read(tiny):
    with pytest.raises(DataError, match=r"no samples.*check what the loader returns"):
        summarize(tiny.model, [])


def test_a_measure_that_nobody_registered_is_told_with_the_nearest(tiny):
    layer = summarize(tiny.network, tiny.data).layers[0]
    with pytest.raises(OptionError, match=r"no measure 'entropie'.*try 'entropy'"):
        layer.measure("entropie")
    assert torch.equal(layer.measure("entropy"), layer.entropy())
