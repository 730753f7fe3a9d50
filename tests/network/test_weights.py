"""Weights from files and mappings: what fits is used, and what does not is named."""

import pathlib
import pickle

import pytest
import torch
from torch import nn

from cofire.errors import WeightsError
from cofire.network import Network, load_weights, save_weights

from .models import Reused

X = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))


@pytest.fixture
def model():
    torch.manual_seed(1)
    return Reused()


@pytest.fixture
def other():
    torch.manual_seed(2)
    return Reused().eval()


@pytest.mark.parametrize("capture", ["export", "calls"])
def test_other_weights_give_the_other_model_and_leave_the_first_alone(model, other, capture):
    network = Network(model, X, capture=capture)
    before, held = (
        network.run(X),
        {name: value.clone() for name, value in model.state_dict().items()},
    )
    swapped = network.with_weights(other.state_dict())
    torch.testing.assert_close(swapped.run(X), other(X).detach())
    torch.testing.assert_close(network.run(X), before)
    assert all(torch.equal(value, held[name]) for name, value in model.state_dict().items())
    assert swapped.activation_layers == network.activation_layers
    assert swapped.fingerprint == network.fingerprint
    assert swapped.activation_layers is network.activation_layers
    again = swapped.with_weights(model.state_dict())
    torch.testing.assert_close(again.run(X), before)


@pytest.mark.parametrize("holder", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_checkpoints_are_read_from_files(model, other, tmp_path, holder, prefix):
    state = {prefix + name: value for name, value in other.state_dict().items()}
    torch.save(state if holder is None else {holder: state, "epoch": 3}, tmp_path / "a.pth")
    save_weights(state, tmp_path / "a.safetensors")
    network = Network(model, X)
    for name in ("a.pth", "a.safetensors"):
        torch.testing.assert_close(network.with_weights(tmp_path / name).run(X), other(X).detach())
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.pth", "a.safetensors"]


def test_weights_are_brought_to_the_type_of_the_network(model, other):
    network = Network(model.double(), X)
    swapped = network.with_weights(other.state_dict())
    assert swapped.dtype == torch.float64
    torch.testing.assert_close(swapped.run(X), other.double()(X.double()).detach())


def test_tied_weights_may_be_written_once():
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.two, self.act = nn.Linear(4, 4), nn.Linear(4, 4), nn.ReLU()
            self.two.weight = self.one.weight

        def forward(self, x):
            return self.two(self.act(self.one(x)))

    model, x = Tied().eval(), torch.randn(2, 4)
    state = {name: value + 1 for name, value in model.state_dict().items() if name != "two.weight"}
    swapped = Network(model, x).with_weights(state)
    with torch.no_grad():
        for value in model.parameters():
            value.add_(1)
    torch.testing.assert_close(swapped.run(x), model(x).detach())


def test_old_checkpoints_lack_a_counter_that_evaluation_does_not_read(model, other):
    state = {name: value for name, value in other.state_dict().items() if "num_batches" not in name}
    torch.testing.assert_close(Network(model, X).with_weights(state).run(X), other(X).detach())


def broken_state(model, change):
    state = dict(model.state_dict())
    change(state)
    return state


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda s: s.pop("fc.weight"), "missing 'fc.weight'"),
        (
            lambda s: s.__setitem__("fc.weigth", s.pop("fc.weight")),
            "unexpected 'fc.weigth'.*near.*'fc.weight'",
        ),
        (
            lambda s: s.__setitem__("fc.bias", torch.zeros(7)),
            r"'fc.bias' of shape \(7,\).*shape \(3,\)",
        ),
        (
            lambda s: s.__setitem__("fc.bias", torch.full((3,), torch.nan)),
            "NaN or infinite numbers in 'fc.bias'",
        ),
        (
            lambda s: s.__setitem__("fc.bias", torch.full((3,), torch.inf)),
            "NaN or infinite numbers in 'fc.bias'",
        ),
    ],
)
@pytest.mark.parametrize("from_file", [True, False])
def test_weights_that_do_not_fit_are_named(model, tmp_path, change, said, from_file):
    state = broken_state(model, change)
    network = Network(model, X)
    if not from_file:
        with pytest.raises(WeightsError, match=said):
            network.with_weights(state)
        return
    save_weights(state, tmp_path / "bad.safetensors")
    with pytest.raises(WeightsError, match=rf"bad\.safetensors.*{said}"):
        network.with_weights(tmp_path / "bad.safetensors")


class Unsafe:
    def __reduce__(self):
        return print, ("this must not run",)


def test_a_pickle_that_runs_code_is_not_loaded(tmp_path, capsys):
    torch.save({"state_dict": Unsafe()}, tmp_path / "unsafe.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(Unsafe()))
    torch.save(Reused(), tmp_path / "whole.pt")
    for name in ("unsafe.pt", "plain.pt", "whole.pt"):
        with pytest.raises(WeightsError, match=rf"{name}.*unsafe"):
            load_weights(tmp_path / name)
    assert "must not run" not in capsys.readouterr().out


def test_damaged_and_missing_files_are_named(tmp_path, model):
    save_weights(model.state_dict(), tmp_path / "a.safetensors")
    torch.save(model.state_dict(), tmp_path / "a.pt")
    for name in ("a.safetensors", "a.pt"):
        content = (tmp_path / name).read_bytes()
        for cut in (0, 5, len(content) // 2, len(content) - 3):
            (tmp_path / f"cut-{name}").write_bytes(content[:cut])
            with pytest.raises(WeightsError, match=f"cut-{name}"):
                load_weights(tmp_path / f"cut-{name}")
    for name in ("b.safetensors", "b.pt"):
        (tmp_path / name).write_bytes(b"\x00\x01 no weights at all")
        with pytest.raises(WeightsError, match=name):
            load_weights(tmp_path / name)
    with pytest.raises(WeightsError, match=r"no file.*a\.safetensor'.*'a\.safetensors'"):
        load_weights(tmp_path / "a.safetensor")


def test_a_file_without_tensors_by_name_is_named(tmp_path):
    for content in ({"epoch": 3}, [torch.zeros(2)], torch.zeros(2)):
        torch.save(content, tmp_path / "odd.pt")
        with pytest.raises(WeightsError, match=r"odd\.pt.*state dict"):
            load_weights(tmp_path / "odd.pt")


def mlp(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2))


def below(prefix, state):
    return {f"{prefix}{name}": value for name, value in state.items()}


def same(network, expected):
    inputs = torch.randn(5, 3)
    return torch.equal(network.run(inputs), expected(inputs).detach())


OPTIMISER = torch.optim.Adam(mlp(3).parameters())
OPTIMISER.zero_grad()
mlp(3)(torch.zeros(1, 3)).sum().backward()
OPTIMISER.step()


@pytest.mark.parametrize("holder", ["model_state_dict", "net", "network", "classifier", "weights"])
@pytest.mark.parametrize(
    "prefix", ["", "module.", "_orig_mod.", "model.", "module.model._orig_mod."]
)
@pytest.mark.parametrize("loss", [0.5, torch.tensor(0.5)])
def test_a_nested_state_dict_is_found_under_any_key(tmp_path, holder, prefix, loss):
    network, trained = Network(mlp(0), torch.zeros(1, 3)), mlp(1)
    kept = {"optimizer_state_dict": OPTIMISER.state_dict(), "epoch": 3, "loss": loss}
    torch.save({**kept, holder: below(prefix, trained.state_dict())}, tmp_path / "a.pt")
    assert same(network.with_weights(tmp_path / "a.pt"), trained)
    assert (
        load_weights(tmp_path / "a.pt").keys()
        == below(
            prefix.removeprefix("module.").removeprefix("_orig_mod."), trained.state_dict()
        ).keys()
    )


def test_the_state_dict_that_fits_is_taken(tmp_path):
    network, trained = Network(mlp(0), torch.zeros(1, 3)), mlp(1)
    others = {
        "critic": nn.Linear(3, 4).state_dict(),
        "wide": nn.Sequential(nn.Linear(9, 4)).state_dict(),
    }
    torch.save({**others, "nets": {"actor": trained.state_dict()}}, tmp_path / "a.pt")
    assert same(network.with_weights(tmp_path / "a.pt"), trained)
    with pytest.raises(
        WeightsError,
        match=r"holds state dicts 3 times, as .critic., .wide. and .nets\.actor.\..*wide",
    ):
        load_weights(tmp_path / "a.pt")
    assert (
        load_weights(tmp_path / "a.pt", weights_key="nets.actor").keys()
        == trained.state_dict().keys()
    )


def test_weights_held_by_a_training_module_are_found():
    network, trained = Network(mlp(0), torch.zeros(1, 3)), mlp(1)
    held = below("net.", trained.state_dict())
    assert same(network.with_weights({**held, "loss.weight": torch.ones(2)}), trained)
    assert same(network.with_weights({"module.0.weight": torch.ones(9), **held}), trained)


@pytest.mark.parametrize(
    ("content", "first", "second"),
    [
        (
            lambda a, b: {"state_dict": below("model.", a) | below("ema_model.", b)},
            "model",
            "ema_model",
        ),
        (
            lambda a, b: below("model.", a) | below("ema_model.module.", b),
            "model",
            "ema_model.module",
        ),
        (lambda a, b: {"model": a, "model_ema": b, "epoch": 1}, "model", "model_ema"),
        (
            lambda a, b: {"last": {"state_dict": a}, "best": {"state_dict": b}},
            "last.state_dict",
            "best.state_dict",
        ),
        (lambda a, b: a | below("ema.", b), "", "ema"),
    ],
)
def test_a_network_held_twice_is_named_and_chosen_by_its_key(tmp_path, content, first, second):
    network, one, two = Network(mlp(0), torch.zeros(1, 3)), mlp(1), mlp(2)
    torch.save(content(one.state_dict(), two.state_dict()), tmp_path / "a.ckpt")
    example = max(first, second)
    with pytest.raises(
        WeightsError,
        match=rf"the network twice, as '{first}' and '{second}'.*--weights-key {example}",
    ):
        network.with_weights(tmp_path / "a.ckpt")
    assert same(network.with_weights(tmp_path / "a.ckpt", weights_key=first), one)
    assert same(network.with_weights(tmp_path / "a.ckpt", weights_key=f"{second}."), two)
    with pytest.raises(WeightsError, match="weights_key='emma' names none of its state dicts"):
        network.with_weights(tmp_path / "a.ckpt", weights_key="emma")


def test_a_key_of_what_does_not_fit_is_told_by_its_names(tmp_path):
    torch.save(
        {"critic": nn.Linear(3, 4).state_dict(), "actor": mlp(1).state_dict()}, tmp_path / "a.pt"
    )
    network = Network(mlp(0), torch.zeros(1, 3))
    with pytest.raises(WeightsError, match=r"missing '0\.weight'.*unexpected 'weight'"):
        network.with_weights(tmp_path / "a.pt", weights_key="critic")


def test_a_file_refused_for_what_it_holds_beside_weights_can_be_written_anew_as_told(tmp_path):
    trained = mlp(1)
    torch.save(
        {"net": trained.state_dict(), "config": pathlib.PurePosixPath("a")}, tmp_path / "a.pt"
    )
    network = Network(mlp(0), torch.zeros(1, 3))
    with pytest.raises(
        WeightsError, match=r"torch\.load\(path, weights_only=False\).*cofire\.save_weights\(state"
    ):
        network.with_weights(tmp_path / "a.pt")
    save_weights(
        torch.load(tmp_path / "a.pt", weights_only=False)["net"], tmp_path / "weights.safetensors"
    )
    assert same(network.with_weights(tmp_path / "weights.safetensors"), trained)
