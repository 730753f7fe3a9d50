"""A model is read and run through a twin: whatever it holds, another thread sees no change."""

import functools
import threading

import pytest
import torch
from torch import nn

from cofire.errors import ExportError
from cofire.network import Network
from cofire.network.untouched import evaluation_twin

BOTH = pytest.mark.parametrize("capture", ["export", "calls"])


class Plain:
    """Holds a module, and is none."""

    def __init__(self, inner):
        self.inner = inner

    def __call__(self, x):
        return self.inner(x)


class Held(nn.Module):
    """Calls a dropout in the way that it is told."""

    def __init__(self, way):
        super().__init__()
        self.first, self.drop, self.last = nn.Linear(4, 6), nn.Dropout(0.5), nn.Linear(6, 3)
        drop = self.drop
        self.call = {
            "module": None,
            "list": [drop],
            "mapping": {"drop": drop},
            "method": drop.forward,
            "partial": functools.partial(drop),
            "function": lambda x: drop(x),
            "object": Plain(drop),
        }[way]

    def forward(self, x):
        call = self.drop if self.call is None else self.call
        call = (
            call["drop"] if isinstance(call, dict) else call[0] if isinstance(call, list) else call
        )
        return self.last(torch.relu(call(self.first(x))))


@BOTH
@pytest.mark.parametrize(
    "way", ["module", "list", "mapping", "method", "partial", "function", "object"]
)
def test_modules_are_in_evaluation_mode_wherever_a_model_holds_them(capture, way):
    model, x = Held(way).train(), torch.randn(3, 4)
    network = Network(model, x, capture=capture)
    found = network.run(x)
    assert model.training
    assert model.drop.training
    torch.testing.assert_close(found, model.eval()(x).detach())


def test_a_module_that_is_hidden_from_its_model_is_said_to_be():
    class Slotted:
        __slots__ = ("inner",)

        def __init__(self, inner):
            self.inner = inner

        def __call__(self, x):
            return self.inner(x)

    model = Held("module")
    model.call = Slotted(model.drop)
    with pytest.raises(
        ExportError, match="'drop', which the model calls through an object that hides it"
    ):
        Network(model, torch.zeros(1, 4), capture="calls")


def test_hooks_work_on_the_twin_and_what_a_pass_keeps_stays_there():
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    model[0].register_forward_hook(
        lambda module, _, output: setattr(module, "kept", output) or output + 1
    )
    twin, x = evaluation_twin(model), torch.randn(2, 4)
    torch.testing.assert_close(
        twin(x), model[2](torch.relu(nn.functional.linear(x, *model[0].parameters()) + 1))
    )
    assert hasattr(twin[0], "kept")
    assert not hasattr(model[0], "kept")


@BOTH
def test_another_thread_sees_the_model_in_its_own_mode(capture):
    model, x = Held("module").train(), torch.randn(3, 4)
    seen, done = set(), threading.Event()

    def look():
        while not done.is_set():
            seen.add(tuple(module.training for module in model.modules()))

    thread = threading.Thread(target=look)
    thread.start()
    network = Network(model, x, capture=capture)
    for _ in range(50):
        network.run(x)
    done.set()
    thread.join()
    assert seen == {(True,) * 4}
