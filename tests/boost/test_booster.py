"""The booster as a module: fitted, saved, exported, moved, and refused where it must be."""

import copy
import subprocess
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Subset, SubsetRandomSampler, TensorDataset

from cofire.boost import CONTROLS, METHODS, Booster
from cofire.boost.comparison import cost_of_boosting
from cofire.boost.kept_readings import KeptReadings, keep_readings
from cofire.boost.reading import Reader, hashes_of
from cofire.errors import (
    BatchError,
    BudgetError,
    DataError,
    ExportError,
    LabelError,
    LayerError,
    MergeError,
    NonFiniteError,
    OptionError,
    ResultError,
)
from cofire.functional import activation_probability, propose
from cofire.network import Network
from tests.boost.examples import images, toy

EVERY = [*METHODS, *CONTROLS]


def activations(network, inputs):
    found = []
    logits = network.run(inputs, lambda layer, values: found.append(values.clone()))
    return logits, torch.cat(found, dim=1)


@pytest.mark.parametrize("method", EVERY)
def test_every_method_saves_loads_and_exports_to_the_same_predictions(method, tmp_path):
    _, network, (train, held, test) = toy()
    booster = Booster(network, method=method).fit(train, held, progress=False)
    expected = booster.predict(test[0])
    assert expected.probabilities.shape == (len(test[0]), 3)
    assert torch.allclose(expected.probabilities.sum(dim=1), torch.ones(len(test[0])))
    assert torch.equal(expected.base_logits, network.run(test[0]))
    again = Booster.load(booster.save(tmp_path / "b.safetensors"), network)
    assert torch.equal(again(test[0]), expected.probabilities)
    assert again.method == method
    assert again.fitted.fitted_on == booster.fitted.fitted_on
    program = torch.export.load(booster.export(tmp_path / "b.pt2")).module()
    assert torch.equal(program(test[0]), expected.probabilities)
    assert torch.equal(program(test[0][:1]), booster(test[0][:1]))  # another batch size


@pytest.mark.parametrize("method", EVERY)
def test_every_method_works_without_held_out_data_and_on_feature_maps(method):
    _, network, (train, _, test) = images()
    booster = Booster(network, method=method).fit(train, progress=False)
    assert torch.isfinite(booster.logits(test[0])).all()


@pytest.mark.parametrize("method", ["readout", "patterns", "auxiliary", "naive-bayes", "values"])
@pytest.mark.parametrize("unit", ["channel-mean", "channel-max", "element"])
def test_each_neurons_own_mean_is_a_threshold(method, unit, tmp_path):
    _, network, (train, held, test) = images()
    booster = Booster(network, method=method, unit=unit, threshold="mean").fit(
        train, held, progress=False
    )
    reader = Reader(network, network.activation_layers, unit)
    reading = reader(train[0])
    limits = torch.cat([layer.double().mean(dim=0) for layer in reading.layers])
    if method != "values":
        assert torch.allclose(booster.fitted.evidence.thresholds.double(), limits, atol=1e-6)
    again = Booster.load(booster.save(tmp_path / "b.safetensors"), network)
    assert torch.equal(again(test[0]), booster(test[0]))
    assert again.always_active == booster.always_active != {}
    program = torch.export.load(booster.export(tmp_path / "b.pt2")).module()
    assert torch.equal(program(test[0]), booster(test[0]))


def test_means_are_of_what_is_fitted_on():
    """Without held-out data, a fifth is set aside: it has no part in the thresholds."""
    _, network, (train, _, _) = images()
    booster = Booster(network, threshold="mean").fit(train, progress=False)
    kept = (hashes_of(train[0]) >> 42) % 5 != 0
    reading = Reader(network, network.activation_layers, "channel-mean")(train[0][kept])
    limits = torch.cat([layer.double().mean(dim=0) for layer in reading.layers])
    assert torch.allclose(booster.fitted.evidence.thresholds.double(), limits, atol=1e-6)


def test_a_booster_of_elements_keeps_to_its_budget():
    _, network, (train, held, test) = images()
    booster = Booster(network, unit="element", max_bytes=60_000).fit(train, held, progress=False)
    assert torch.isfinite(booster(test[0])).all()
    with pytest.raises(BudgetError, match="channel-max"):
        Booster(network, unit="element", max_bytes=2_000).fit(train, held, progress=False)


def test_the_program_runs_without_cofire(tmp_path):
    _, network, (train, held, test) = images()
    booster = Booster(network).fit(train, held, progress=False)
    booster.export(tmp_path / "b.pt2")
    torch.save({"images": test[0], "expected": booster(test[0])}, tmp_path / "data.pt")
    code = (
        "import sys, torch\n"
        "sys.modules['cofire'] = None\n"
        f"data = torch.load(r'{tmp_path}/data.pt')\n"
        f"found = torch.export.load(r'{tmp_path}/b.pt2').module()(data['images'])\n"
        "assert torch.equal(found, data['expected'])\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_the_papers_network_sees_what_the_paper_says():
    _, network, (train, held, test) = toy()
    booster = Booster(network, method="auxiliary").fit(train, held, progress=False)
    _, of_training = activations(network, train[0])
    logits, of_test = activations(network, test[0])
    probability = activation_probability(of_training, train[1], 3)
    predicted = logits.softmax(dim=1)
    proposed = propose(predicted, probability, of_test)
    head = booster.fitted.head
    assert head.hidden.weight.shape == (6, 6)  # 2C units on 2C inputs
    evidence = of_test.gt(0).double() @ probability.T
    inputs = head.inputs(logits, evidence.float())
    assert torch.allclose(inputs, torch.cat([predicted, proposed.float()], dim=1), atol=1e-5)
    expected = head.output(head.hidden(inputs).relu()).softmax(dim=1)
    assert torch.allclose(booster(test[0]), expected, atol=1e-6)


def test_one_forward_pass_of_the_classifier_per_batch():
    _, network, (train, held, test) = toy()
    booster = Booster(network).fit(train, held, progress=False)
    runs = []
    original = network._engine.run
    network._engine.run = lambda *given: runs.append(1) or original(*given)
    booster(test[0])
    assert runs == [1]


def test_the_classifier_stays_as_it_is():
    model, network, (train, held, test) = toy()
    model.train()
    before = copy.deepcopy(model.state_dict())
    booster = Booster(network).fit(train, held, progress=False)
    booster(test[0])
    booster.train()
    booster.double()
    booster.float()
    assert model.training
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())
    assert all(
        v.grad is None and v.requires_grad and v.dtype == torch.float32 for v in model.parameters()
    )
    assert not any(module._forward_hooks for module in model.modules())
    assert not list(booster.parameters()) or all(not p.requires_grad for p in booster.parameters())


def test_fitting_does_not_draw_from_the_callers_random_numbers():
    _, network, (train, held, _) = toy()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    Booster(network, method="auto").fit(train, held, progress=False)
    assert torch.equal(torch.rand(3), expected)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
def test_output_has_the_classifiers_type(kind):
    model, _, (train, held, test) = toy()
    network = Network(copy.deepcopy(model).to(kind), test[0][:2].to(kind))
    booster = Booster(network).fit(train, held, progress=False)
    found = booster.predict(test[0])
    assert {found.probabilities.dtype, found.logits.dtype, found.base_logits.dtype} == {kind}
    assert float((found.probabilities.argmax(1) == test[1]).double().mean()) > 0.8


def test_order_and_batch_size_of_the_data_hardly_matter():
    _, network, (train, held, test) = toy()
    whole = Booster(network, method="discriminant").fit(train, held, progress=False)(test[0])
    order = torch.randperm(len(train[1]), generator=torch.Generator().manual_seed(1))
    shuffled = TensorDataset(train[0][order], train[1][order])
    parted = Booster(network, method="discriminant").fit(
        DataLoader(shuffled, batch_size=7), held, progress=False
    )
    assert torch.allclose(parted(test[0]), whole, atol=1e-4)


def test_the_same_fit_twice_is_the_same():
    _, network, (train, held, test) = toy()
    first, second = (Booster(network).fit(train, held, progress=False)(test[0]) for _ in range(2))
    assert torch.equal(first, second)


def test_layers_of_table_four():
    _, network, _ = toy()
    assert Booster(network).layers == ("1", "3")
    assert Booster(network, "LL").layers == ("3",)
    assert Booster(network, "L2L").layers == ("1", "3")
    assert Booster(network, "1").layers == ("1",)


def test_auto_takes_the_best_on_held_out_data():
    _, network, (train, held, _) = toy()
    assert Booster(network, method="auto").fit(train, held, progress=False).method in METHODS


def test_intercepted_calls_boost_as_well_but_do_not_export(tmp_path):
    model, network, (train, held, test) = toy()
    called = Network(model, test[0][:2], capture="calls")
    booster = Booster(called).fit(train, held, progress=False)
    assert torch.allclose(
        booster(test[0]), Booster(network).fit(train, held, progress=False)(test[0]), atol=1e-5
    )
    with pytest.raises(ExportError, match="graph"):
        booster.export(tmp_path / "b.pt2")


def test_a_booster_of_another_classifier_is_refused(tmp_path):
    _, network, (train, held, _) = toy()
    path = Booster(network).fit(train, held, progress=False).save(tmp_path / "b.safetensors")
    _, other, _ = images()
    with pytest.raises(ResultError, match="another architecture"):
        Booster.load(path, other)
    weights = {name: value + 1 for name, value in network.state_dict().items()}
    with pytest.raises(ResultError, match="other weights"):
        Booster.load(path, network.with_weights(weights))
    with pytest.raises(ResultError, match="absent"):
        Booster.load(tmp_path / "absent.safetensors", network)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ResultError):
        Booster.load(path, network)


def test_what_is_no_classifier_with_neurons_is_refused():
    linear = Network(nn.Linear(4, 2), torch.zeros(2, 4))
    with pytest.raises(LayerError, match="without activation layers"):
        Booster(linear)
    _, network, (train, held, test) = toy()
    with pytest.raises(LayerError):
        Booster(network, "nothing")
    with pytest.raises(OptionError, match="channel-mean"):
        Booster(network, unit="channel")
    with pytest.raises(OptionError, match="'mean'"):
        Booster(network, threshold="median")
    with pytest.raises(OptionError, match="a finite number"):
        Booster(network, threshold=float("nan"))
    for wrong in (0, 1e9):  # neither a number of bytes; what the message says to pass is one
        with pytest.raises(OptionError, match=r"max_bytes=.* pass max_bytes=\d+\.$"):
            Booster(network, max_bytes=wrong)
    with pytest.raises(OptionError, match="did you mean"):
        Booster(network, method="auxilary")
    with pytest.raises(OptionError, match="fit"):
        Booster(network)(test[0])
    with pytest.raises(OptionError, match="fit"):
        Booster(network).save("x.safetensors")
    booster = Booster(network).fit(train, held, progress=False)
    with pytest.raises(BatchError):
        booster(test[0][:, :3])
    with pytest.raises(OptionError, match="pt2"):
        booster.export("x.onnx")


def test_data_that_cannot_be_learnt_from_is_refused():
    _, network, (train, held, _) = toy()
    two = train[1] < 2
    with pytest.raises(LabelError, match="no samples of 1 of 3 classes"):
        Booster(network).fit((train[0][two], train[1][two]), held, progress=False)
    broken = train[0].clone()
    broken[5, 0] = float("nan")
    with pytest.raises(NonFiniteError):
        Booster(network).fit((broken, train[1]), held, progress=False)
    with pytest.raises(DataError):
        Booster(network).fit([], held, progress=False)


def test_a_discriminant_is_of_samples_where_the_square_of_neurons_has_no_room():
    _, network, (train, held, test) = toy()
    right = []
    for max_bytes in (1_000_000, 5_000):
        booster = Booster(network, method="discriminant", max_bytes=max_bytes)
        booster.fit(train, held, progress=False)
        right.append(float((booster(test[0]).argmax(1) == test[1]).double().mean()))
    assert abs(right[0] - right[1]) < 0.05


def test_overlap_is_found_by_index_and_by_content():
    _, network, (train, held, _) = toy()
    whole = TensorDataset(torch.cat([train[0], held[0]]), torch.cat([train[1], held[1]]))
    first, second = Subset(whole, range(300)), Subset(whole, range(299, 450))
    with pytest.raises(DataError, match="share 1 of 151"):
        Booster(network).fit(
            DataLoader(first, 64, shuffle=True), DataLoader(second, 64), progress=False
        )
    Booster(network).fit(first, Subset(whole, range(300, 450)), progress=False)
    with pytest.raises(DataError, match="in the training data as well"):
        Booster(network).fit(train, (train[0][:50], train[1][:50]), progress=False)


def test_a_bounded_sample_of_activations_is_enough():
    _, network, (train, held, test) = toy(2400)
    full = Booster(network).fit(train, held, progress=False)
    small = Booster(network, max_bytes=60_000).fit(train, held, progress=False)
    right = [float((one(test[0]).argmax(1) == test[1]).double().mean()) for one in (full, small)]
    assert abs(right[0] - right[1]) < 0.03


def test_hashes_depend_on_content_alone():
    draw = torch.Generator().manual_seed(0)
    inputs = torch.randn(5000, 3, 2, generator=draw)
    hashes = hashes_of(inputs)
    assert len(hashes.unique()) == 5000
    assert torch.equal(hashes[100:200], hashes_of(inputs[100:200]))
    assert 0.17 < float(((hashes >> 42) % 5 == 0).double().mean()) < 0.23
    assert 0.45 < float(((hashes & 0xFFFFF) < 2**19).double().mean()) < 0.55


@torch.no_grad()
def test_what_the_reader_reads_is_what_the_network_computes():
    model, network, (train, _, _) = images()
    reader = Reader(network, network.activation_layers, "channel-mean")
    reading = reader(train[0][:9], head=True)
    first = model[1](model[0](train[0][:9]))
    assert torch.allclose(reading.layers[0], first.mean(dim=(2, 3)), atol=1e-6)
    assert reading.head.shape == (9, 32)
    assert torch.allclose(model[6](reading.head), reading.logits, atol=1e-5)
    elements = Reader(network, network.activation_layers[-1:], "element")(train[0][:9])
    assert torch.allclose(elements.layers[0], reading.head)


class Overwriting(nn.Module):
    """Writes over its activation, and over what goes into its last layer, after it used them."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = torch.relu(self.first(x))
        y = self.second(h)
        h.mul_(3).sub_(1)
        return y + h[:, :3]


@pytest.mark.parametrize("method", ["readout", "auxiliary", "discriminant"])
def test_activations_that_are_written_over_are_read_before(method, tmp_path):
    _, _, (train, held, test) = toy()
    model = Overwriting()
    network = Network(model, test[0][:2])
    booster = Booster(network, method=method).fit(train, held, progress=False)
    expected = booster(test[0])
    assert torch.equal(booster.to_module()(test[0]), expected)
    assert torch.equal(
        torch.export.load(booster.export(tmp_path / "b.pt2")).module()(test[0]), expected
    )
    reading = booster._reader(test[0])
    assert torch.allclose(reading.layers[0], model.first(test[0]).relu().detach())


class Ending(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(6, 16), nn.Linear(16, 3)

    def forward(self, x):
        h = torch.relu(self.first(x))
        y = self.last(h)
        h.zero_()
        return y


def test_what_goes_into_the_last_layer_is_read_before_it_is_written_over():
    _, _, (_, _, test) = toy()
    network = Network(Ending(), test[0][:2])
    reading = Reader(network, network.activation_layers, "channel-mean")(test[0], head=True)
    assert float(reading.head.abs().sum()) > 0


@pytest.mark.parametrize("method", EVERY)
def test_every_method_takes_classifiers_of_double_precision(method):
    model, _, (train, held, test) = toy()
    network = Network(copy.deepcopy(model).double(), test[0][:2].double())
    booster = Booster(network, method=method).fit(train, held, progress=False)
    assert booster(test[0]).dtype == torch.float64


def test_the_module_is_of_its_own():
    _, network, (train, held, test) = toy()
    booster = Booster(network).fit(train, held, progress=False)
    expected = booster(test[0])
    booster.to_module().double()
    assert torch.equal(booster(test[0]), expected)
    assert not any(tensor.is_inference() for tensor in booster.predict(test[0]))


def test_a_booster_belongs_to_the_weights_it_was_fitted_to(tmp_path):
    model, network, (train, held, _) = toy()
    booster = Booster(network).fit(train, held, progress=False)
    with torch.no_grad():
        model[0].weight.add_(1)
    path = booster.save(tmp_path / "b.safetensors")
    with pytest.raises(ResultError, match="other weights"):
        Booster.load(path, network)


def test_augmented_training_data_needs_held_out_data():
    _, network, (train, held, _) = toy()

    class Noisy(torch.utils.data.Dataset):
        def __len__(self):
            return len(train[1])

        def __getitem__(self, index):
            return train[0][index] + torch.rand(6) / 100, train[1][index]

    with pytest.raises(DataError, match="changes from one reading to the next"):
        Booster(network).fit(Noisy(), progress=False)
    Booster(network).fit(Noisy(), held, progress=False)


def test_a_sampler_of_batches_of_ones_own_is_no_overlap():
    _, network, (train, held, _) = toy()
    whole = TensorDataset(torch.cat([train[0], held[0]]), torch.cat([train[1], held[1]]))
    parts = [
        DataLoader(whole, batch_sampler=BatchSampler(SubsetRandomSampler(r), 64, False))
        for r in (range(300), range(300, 450))
    ]
    Booster(network).fit(*parts, progress=False)


def test_options_without_effect_or_sense_are_refused():
    _, network, (train, held, _) = toy()
    with pytest.raises(BudgetError):
        Booster(network, max_bytes=1).fit(train, held, progress=False)
    with pytest.raises(OptionError):
        Booster(network, seed=2**70)

    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(6, 3)

        def forward(self, x, y):
            return self.layer(torch.relu(x + y))

    with pytest.raises(OptionError, match="2 inputs"):
        Booster(Network(Two(), (train[0][:2], train[0][:2])))


class Words(nn.Module):
    """A classifier of whole numbers, which a program of images cannot hold."""

    def __init__(self):
        super().__init__()
        self.embedded, self.act, self.last = nn.Embedding(5, 6), nn.ReLU(), nn.Linear(6, 3)

    def forward(self, x):
        return self.last(self.act(self.embedded(x).mean(1)))


def test_what_does_not_export_is_saved_all_the_same(tmp_path):
    data = (torch.arange(120).reshape(30, 4) % 5, torch.arange(30) % 3)
    booster = Booster(Network(Words(), data[0][:2])).fit(data)
    with pytest.raises(ExportError, match=r"does not export: .*use booster\.save"):
        booster.export(tmp_path / "words.pt2")
    assert not list(tmp_path.iterdir())
    booster.save(tmp_path / "words.safetensors")


def test_what_boosting_costs_is_known_once_it_is_fitted():
    _, network, (train, _, test) = toy()
    booster = Booster(network)
    with pytest.raises(OptionError, match=r"not fitted.*call booster\.fit first"):
        cost_of_boosting(booster, test[0])
    assert cost_of_boosting(booster.fit(train), test[0], repeats=1).time > 0


def test_a_sample_that_has_no_room_is_told():
    model = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 3))
    data = (torch.rand(30, 1, 8, 8), torch.arange(30) % 3)
    network = Network(model, data[0][:2])
    with pytest.raises(BudgetError, match=r"activations of no training sample.*raise max_bytes"):
        Booster(network, method="last-layer", max_bytes=200).fit(data)
    Booster(network, method="last-layer", max_bytes=100_000).fit(data)


def test_readings_of_data_that_changed_since_are_refused_where_one_is_looked_at(tmp_path):
    _, network, ((inputs, labels), _, _) = toy()
    reader = Reader(network, network.activation_layers, "element")
    keep_readings(reader, (inputs, labels), tmp_path, "test", range(1))
    others = inputs.clone()
    others[3] += 1
    for data, refused in ((inputs, False), (others, True)):
        kept = KeptReadings("test", (data, labels), [(tmp_path, [range(1)])])
        found = next(kept.chunks(reader))[0]
        assert torch.equal(found[2], inputs[2])
        if refused:
            with pytest.raises(MergeError, match=r"sample 3.*make all parts of the same data"):
                found[3]
