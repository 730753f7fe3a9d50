"""A monitor sees what training sees, changes nothing of it, and says once what it cannot do."""

import logging
from contextlib import nullcontext

import pytest
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

import cofire
from cofire.errors import LayerError, OptionError
from cofire.live import Monitor
from cofire.patterns import MEASURES


def network(dropout=0.0):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Linear(6, 12),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(12, 8),
        nn.Tanh(),
        nn.Linear(8, 3),
    )


def data(samples=96):
    inputs = torch.randn(samples, 6, generator=torch.Generator().manual_seed(1))
    return inputs, inputs[:, :3].argmax(dim=1)


def batches(size=16):
    inputs, labels = data()
    return list(zip(inputs.split(size), labels.split(size), strict=True))


def train(monitor, model, epochs=2, lr=0.1, **end):
    optimizer = torch.optim.SGD(model.parameters(), lr=lr)
    for _ in range(epochs):
        for inputs, labels in batches():
            optimizer.zero_grad()
            with monitor.step(inputs, labels):
                loss = nn.functional.cross_entropy(model(inputs), labels)
            loss.backward()
            optimizer.step()
        monitor.end_epoch(**end)
    return monitor


def said(caplog):
    return [record.getMessage() for record in caplog.records if record.name == "cofire.live"]


def test_an_epoch_of_fixed_weights_gives_what_two_passes_give():
    model = network()
    found = train(Monitor(model, every=1), model, epochs=1, lr=0.0).trajectory.layers.to_pylist()
    exact = cofire.summarize(model.eval(), data(), by_class="statistics", progress=False)
    for row, layer in zip(found, exact.layers, strict=True):
        for name, measure in MEASURES.items():
            column, how = next(iter(measure.columns.items()))
            known = measure.over(layer.measure(name), how)
            close = {"rel": 0.03} if name == "entropy" else {"rel": 1e-6}
            assert row[column] == pytest.approx(known, **close), name
        assert row["train_accuracy"] == exact.accuracy


def test_training_is_the_same_with_and_without_it_and_no_hook_is_left():
    with_it, without = network(0.5), network(0.5)
    torch.manual_seed(3)
    train(Monitor(with_it, every=1, reference=data()), with_it)
    torch.manual_seed(3)
    for _ in range(2):
        for inputs, labels in batches():
            optimizer = torch.optim.SGD(without.parameters(), lr=0.1)
            optimizer.zero_grad()
            nn.functional.cross_entropy(without(inputs), labels).backward()
            optimizer.step()
    for one, two in zip(with_it.parameters(), without.parameters(), strict=True):
        assert torch.equal(one, two)
    assert with_it.training
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in with_it.modules())


def test_an_exception_in_the_step_is_the_users_and_leaves_no_hook():
    model = network()
    monitor = Monitor(model, every=1)

    def fails():
        with monitor.step(*batches()[0]):
            model(batches()[0][0])
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()
    assert not any(m._forward_hooks for m in model.modules())
    train(monitor, model, epochs=1)
    assert monitor.trajectory.layers["train_accuracy"].null_count == 0


class Functions(nn.Module):
    """Activations without modules of their own."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Linear(6, 12), nn.Linear(12, 3)

    def forward(self, x):
        return self.b(torch.relu(self.a(x)))


class NoExport(Functions):
    def forward(self, x):
        return super().forward(x) if float(x.detach().sum()) < 1e9 else x


@pytest.mark.parametrize("kind", [Functions, NoExport])
def test_what_hooks_do_not_reach_is_observed_by_a_pass_of_its_own(kind, caplog):
    torch.manual_seed(0)
    model = kind()
    with caplog.at_level(logging.WARNING):
        rows = train(Monitor(model, every=1), model).trajectory.layers
    assert len(rows) == 2
    assert len(said(caplog)) == (kind is NoExport)
    assert model.training


def test_a_network_or_a_compiled_model_is_observed_by_a_pass_of_its_own():
    model = network()
    view = cofire.Network(model, torch.zeros(1, 6))
    assert len(train(Monitor(view, every=1), model, epochs=1).trajectory.layers) == 2
    compiled = torch.compile(model, backend="eager")
    assert len(train(Monitor(compiled, every=1), model, epochs=1).trajectory.layers) == 2


def test_observe_makes_a_pass_of_its_own_and_counts_as_a_step():
    model = network(0.5)
    monitor = Monitor(model, every=2)
    for inputs, labels in batches():
        monitor.observe(inputs, labels)
    monitor.end_epoch()
    assert monitor.steps == 6
    half = [batch for number, batch in enumerate(batches()) if number % 2 == 0]
    exact = cofire.summarize(model, half, by_class="statistics", progress=False)
    assert monitor.trajectory.layers["activity"].to_pylist() == pytest.approx(
        [float(layer.probability().mean()) for layer in exact.layers]
    )


def test_dead_neurons_are_told_once_for_each_layer_and_level(caplog):
    model = network()
    with torch.no_grad():
        model[0].bias[:8] = -100
    with caplog.at_level(logging.WARNING):
        train(Monitor(model, every=2, window=6), model, epochs=3)
        with torch.no_grad():
            model[0].bias[:] = -100
        monitor = Monitor(model, every=1, window=6)
        train(monitor, model)
    told = said(caplog)
    assert told[0].startswith(
        "1: 67 % of neurons never fired in the last 6 steps, 3 of them observed"
    )
    assert told[1].startswith("1: 100 % of neurons never fired in the last 6 steps (")
    assert len(told) == 2


def test_saturated_neurons_are_told(caplog):
    model = network()
    with torch.no_grad():
        model[3].weight *= 1000
    log = {}
    with caplog.at_level(logging.WARNING):
        train(Monitor(model, every=1, log=lambda name, v, _: log.update({name: v})), model, 1, 0.0)
    assert "4: 100 % of neurons sat at the ends of tanh" in said(caplog)[0]
    assert log["cofire/4/saturated"] == 8


@pytest.mark.parametrize("amp", [torch.bfloat16, torch.float16])
def test_half_precision_is_observed_as_it_is(amp, caplog):
    model = network()
    monitor = Monitor(model, every=1)
    with caplog.at_level(logging.WARNING):
        for inputs, labels in batches():
            with monitor.step(inputs, labels), torch.autocast("cpu", amp):
                nn.functional.cross_entropy(model(inputs).float(), labels).backward()
        monitor.end_epoch()
    assert not said(caplog)
    assert len(monitor.trajectory.layers) == 2


def test_nan_is_named_once_and_the_next_window_is_whole(caplog):
    model = network()
    monitor = Monitor(model, every=1)
    with caplog.at_level(logging.WARNING):
        for number, (inputs, labels) in enumerate(batches()):
            with monitor.step(inputs * (float("nan") if number in (1, 2) else 1), labels):
                model(inputs * (float("nan") if number in (1, 2) else 1))
        monitor.end_epoch()
    assert len(said(caplog)) == 1
    assert "activation nan of neuron 0 of layer '1' in batch 2" in said(caplog)[0]
    assert monitor.trajectory.layers["train_accuracy"].null_count == 0


def test_batches_are_mappings_as_well_and_labels_need_not_be(caplog):
    model = network()
    monitor, bare = Monitor(model, every=1), Monitor(model, every=1)
    for inputs, labels in batches():
        for one, batch in ((monitor, {"x": inputs, "labels": labels}), (bare, [inputs])):
            with one.step(batch):
                model(inputs)
    monitor.end_epoch()
    bare.end_epoch()
    assert monitor.trajectory.layers["information"].null_count == 0
    assert bare.trajectory.layers["information"].null_count == 2
    assert bare.trajectory.layers["entropy"].to_pylist() == pytest.approx(
        monitor.trajectory.layers["entropy"].to_pylist()
    )
    assert not said(caplog)


WRONG = {
    "nothing is kept by class: labels of type torch.float32": lambda m, x, y: (x, y.float()),
    "a batch of type str": lambda m, x, y: ("x", y),
    "a batch without labels after": lambda m, x, y: (x, y if m.steps == 0 else None),
    "label 7 at position 0": lambda m, x, y: (x, y if m.steps == 0 else y * 0 + 7),
    "for 5 labels": lambda m, x, y: (x, y) if m.steps == 0 else (x[:5], y[:5]),
}


@pytest.mark.parametrize("text", WRONG)
def test_what_it_cannot_use_is_said_once_and_training_goes_on(text, caplog):
    model = network()
    monitor = Monitor(model, every=1)
    with caplog.at_level(logging.WARNING):
        for inputs, labels in batches():
            with monitor.step(*WRONG[text](monitor, inputs, labels)):
                model(inputs)
    assert [text in line for line in said(caplog)] == [True]


def test_a_model_without_layers_too_small_a_budget_or_no_forward_pass_is_said_once(caplog):
    plain, model = nn.Sequential(nn.Linear(6, 3)), network()
    with caplog.at_level(logging.WARNING):
        train(Monitor(plain, every=1), plain)
        train(Monitor(model, every=1, max_bytes=1000), model)
        train(Monitor(model, every=1, max_bytes=2 * 20 * (400 * 8 + 16 + 64) + 1), model)
        idle = Monitor(model, every=1)
        train(idle, network(), epochs=2)
    told = said(caplog)
    assert len(told) == 4
    assert "without activation layers" in told[0]
    assert "of state twice" in told[1]
    assert "nothing is kept by class: 20 neurons" in told[2]
    assert "no forward pass was observed" in told[3]


def test_a_folder_is_reported_goes_on_after_a_restart_and_refuses_other_options(tmp_path, caplog):
    model = network()
    folder = tmp_path / "run"
    given = {"every": 1, "folder": folder, "reference": data(), "checkpoints": True}
    train(Monitor(model, **given), model, epochs=3, accuracy=0.5)
    first = cofire.Trajectory.load(folder)
    assert first.checkpoints == (1, 2, 3)
    assert first.graph("4").vertices > 0
    assert set(first.layers["test_accuracy"].to_pylist()) == {0.5}
    again = Monitor(model, **given)
    for inputs, labels in batches():
        with again.step(inputs, labels):
            model(inputs)
    again.end_epoch(epoch=3)
    found = cofire.Trajectory.load(folder)
    assert found.checkpoints == (1, 2, 3)
    assert found.layers.slice(0, 4) == first.layers.slice(0, 4)
    assert "modularity" in cofire.write_report(found, tmp_path / "page.html").read_text()
    assert len(list((folder / "checkpoints").iterdir())) == 3
    with caplog.at_level(logging.WARNING):
        train(Monitor(model, **given, bins=10), model, epochs=1)
    assert "other values of bins" in said(caplog)[0]
    assert cofire.Trajectory.load(folder).layers == found.layers


def test_rows_come_every_so_many_epochs():
    model = network()
    monitor = train(Monitor(model, every=1, epochs=2), model, epochs=4)
    assert monitor.trajectory.layers["epoch"].to_pylist() == [2, 2, 4, 4]


def test_windows_of_one_epoch_merge_into_its_row():
    short, long = network(), network()
    found = [
        train(Monitor(model, every=1, window=window), model).trajectory.layers
        for model, window in ((short, 2), (long, 500))
    ]
    one, two = (
        table.drop_columns(["entropy", "entropy_mean", "entropy_median"]) for table in found
    )
    for mine, theirs in zip(one.to_pylist(), two.to_pylist(), strict=True):
        assert mine == pytest.approx(theirs)
    assert found[0]["entropy"].to_pylist() == pytest.approx(found[1]["entropy"].to_pylist())


class Several(nn.Module):
    """Two inputs, as a text model has them."""

    def __init__(self):
        super().__init__()
        self.body = network()

    def forward(self, inputs, mask, labels=None):
        return self.body(inputs * mask)


def test_inputs_by_name_are_put_in_the_order_of_the_models_parameters(caplog):
    model = Several()
    monitor, wrong = Monitor(model, every=1), Monitor(model, every=1)
    inputs, labels = batches()[0]
    batch = {"mask": torch.ones(16, 6), "inputs": inputs, "labels": labels}
    monitor.observe(batch)
    with monitor.step(batch):
        model(inputs, batch["mask"])
    monitor.end_epoch()
    assert not said(caplog)
    assert monitor.trajectory.layers["train_accuracy"].null_count == 0
    wrong.observe({"other": inputs, **batch})
    assert (
        "a batch of other, mask, inputs for a model that takes inputs, mask, labels"
        in said(caplog)[0]
    )


class Further(Several):
    """Takes on what a trainer adds, as models of transformers do."""

    def forward(self, inputs, mask=None, labels=None, **rest):
        return super().forward(inputs, mask)


def test_what_a_trainer_adds_to_the_inputs_is_no_input_of_the_network(caplog):
    model, (inputs, labels) = Further(), batches()[0]
    monitor = Monitor(model, every=1)
    batch = {"inputs": inputs, "mask": torch.ones(16, 6), "labels": labels}
    with monitor.step({**batch, "num_items_in_batch": torch.tensor(16)}):
        model(**batch)
    monitor.end_epoch()
    assert not said(caplog)
    assert monitor.trajectory.layers["information"].null_count == 0


class Shared(nn.Module):
    """One ReLU that works in place and is called three times, as in a residual network."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.norm, self.act = nn.BatchNorm1d(12), nn.ReLU(inplace=True)

    def forward(self, x):
        x = self.act(self.a(x))
        y = self.norm(self.act(self.b(x)))
        y += x
        return self.c(self.act(y))


def test_the_calls_of_a_shared_module_are_told_apart_as_summarize_does():
    torch.manual_seed(0)
    model = Shared().eval()
    found = train(Monitor(model, every=1), model, epochs=1, lr=0.0).trajectory
    exact = cofire.summarize(model, data(), by_class="statistics", progress=False)
    assert found.layers["layer"].to_pylist() == ["act", "act:1", "act:2"]
    assert [layer.layer.name for layer in exact.layers] == ["act", "act:1", "act:2"]
    for name in ("activity", "mean_activation"):
        known = torch.cat([layer.measure(name) for layer in exact.layers]).tolist()
        assert found.neurons[name].to_pylist() == pytest.approx(known)


def test_an_empty_or_an_infinite_first_batch_is_not_what_the_rest_is_judged_by(monkeypatch, caplog):
    torch.manual_seed(0)
    model, own = network(), []
    run = cofire.Network.run
    monkeypatch.setattr(cofire.Network, "run", lambda *a: own.append(len(a[1])) or run(*a))
    monitor = Monitor(model, every=1)
    inputs, labels = batches()[0]
    for factor, count in ((1, 0), (float("inf"), 16), (1, 16), (1, 16)):
        with monitor.step(factor * inputs[:count], labels[:count]):
            model(inputs[:count])
    monitor.end_epoch()
    assert monitor.trajectory.layers["train_accuracy"].null_count == 0
    # Two of the first that can be read, whole; then two samples by which hooks are checked.
    assert own[-1] == 2


def test_a_reference_that_does_not_fit_costs_its_graph_alone(caplog):
    model = network()
    inputs, labels = data()
    for more in (
        {"reference": (inputs, labels + 50)},
        {"reference": (inputs, labels), "layers": "1", "graph_layers": "4"},
    ):
        found = train(Monitor(model, every=1, **more), model).trajectory
        assert len(found.layers) > 0
        assert len(found.graphs) == 0
    told = said(caplog)
    assert len(told) == 2
    assert "label 5" in told[0]
    assert "graphs of 4" in told[1]


def test_a_study_is_not_written_over(tmp_path, caplog):
    (tmp_path / "study.json").write_text("{}")
    model = network()
    monitor = train(Monitor(model, every=1, folder=tmp_path), model, epochs=1)
    assert len(monitor.trajectory.layers) == 2
    assert "without tables" in said(caplog)[0]
    assert [path.name for path in tmp_path.iterdir()] == ["study.json"]


def test_a_few_samples_are_no_sign_and_a_mapping_without_labels_is_told(caplog):
    model = network()
    monitor = Monitor(model, every=1)
    with torch.no_grad():
        model[0].bias[:] = -100
    for _ in range(3):
        with monitor.step({"input": data()[0][:1]}):
            model(data()[0][:1])
    monitor.end_epoch()
    assert said(caplog) == [
        "nothing is kept by class: a batch without 'labels' (nothing need be done)"
    ]


def test_epochs_and_charts_go_on_where_a_run_was_stopped(tmp_path):
    model, told = network(), []
    first = Monitor(model, every=1, folder=tmp_path, epochs=2)
    train(first, model, epochs=2)
    again = Monitor(
        model, every=1, folder=tmp_path, epochs=2, log=lambda *given: told.append(given[2])
    )
    again.epoch, again.updates = 2, 12
    train(again, model, epochs=2)
    assert again.trajectory.layers["epoch"].to_pylist() == [2, 2, 4, 4]
    assert set(told) == {12}


def test_an_option_that_would_do_nothing_is_refused():
    with pytest.raises(OptionError, match=r"checkpoints=True without folder.*pass folder"):
        Monitor(nn.Identity(), checkpoints=True)
    with pytest.raises(OptionError, match=r"graph_layers without reference.*pass reference"):
        Monitor(nn.Identity(), graph_layers=["relu"])


class Checkpointed(nn.Module):
    """Activations that are let go of, and found again on the way back."""

    def __init__(self, reentrant):
        super().__init__()
        self.body, self.reentrant = network(0.5), reentrant

    def forward(self, x):
        if self.reentrant is None:
            return self.body(x)
        return checkpoint(self.body, x, use_reentrant=self.reentrant)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [True, False])
def test_checkpointed_activations_are_counted_once(reentrant, caplog):
    found = []
    for model in (Checkpointed(reentrant), Checkpointed(None)):
        monitor = Monitor(model, every=1)
        torch.manual_seed(0)
        for inputs, labels in batches():
            with monitor.step(inputs, labels):
                loss = nn.functional.cross_entropy(model(inputs.requires_grad_()), labels)
                loss.backward()
        monitor.end_epoch()
        found.append(monitor.trajectory.layers)
    assert found[0] == found[1]
    assert not said(caplog)


@pytest.mark.filterwarnings("ignore:None of the inputs have requires_grad")
@pytest.mark.parametrize("reentrant", [True, False])
def test_a_penalty_of_checkpointed_activations_has_its_gradient_or_is_refused(reentrant):
    penalty, inputs = cofire.EntropyPenalty(model := Checkpointed(reentrant)), batches()[0][0]
    refused = pytest.raises(LayerError, match="at first") if reentrant else nullcontext()
    with refused, penalty.watch(inputs):
        model(inputs)
    if not reentrant:
        penalty().backward()
        assert float(model.body[0].weight.grad.abs().sum()) > 0
