"""Networks, and what holds them, are copied and sent to other processes."""

import copy
import pickle

import pytest
import torch
import torch.multiprocessing
from torch import nn

import cofire
from cofire.network import Network

from .models import InPlaceView, NoGrad, Reused, SqueezeExcite, Tokens, Windows

BOTH = pytest.mark.parametrize("capture", ["export", "calls"])
WAYS = {
    "pickle": lambda thing: pickle.loads(pickle.dumps(thing)),
    "deepcopy": copy.deepcopy,
    "copy": copy.copy,
}
INPUTS = {
    Reused: torch.randn(3, 3, 8, 8),
    SqueezeExcite: torch.randn(3, 3, 8, 8),
    NoGrad: torch.randn(3, 4),
    Windows: torch.randn(3, 4, 3),
    Tokens: torch.arange(21).reshape(3, 7),
    InPlaceView: torch.randn(3, 4),
}


@BOTH
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("made", INPUTS)
def test_a_copy_of_a_network_is_the_same_network(capture, way, made):
    inputs = INPUTS[made]
    network = Network(made(), inputs, capture=capture)
    again = WAYS[way](network)
    seen = [[], []]
    for one, values in ((network, seen[0]), (again, seen[1])):
        one.run(inputs, lambda layer, value, values=values: values.append((layer, value.clone())))
    assert [layer for layer, _ in seen[0]] == [layer for layer, _ in seen[1]]
    # Where its weights lie in memory decides the last digits of a product.
    for (_, first), (_, second) in zip(*seen, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(network.run(inputs), again.run(inputs), rtol=1e-5, atol=1e-6)
    assert (again.gates, again.unreadable) == (network.gates, network.unreadable)
    assert (again.fingerprint, again.digest()) == (network.fingerprint, network.digest())


@pytest.mark.parametrize("way", WAYS)
def test_a_copy_explains_the_same(way):
    images = INPUTS[SqueezeExcite]
    network = Network(SqueezeExcite(), images)
    again = WAYS[way](network)
    for method in ("discernible", "gradcam"):
        found = (cofire.explain(one, images, method=method).heatmap() for one in (network, again))
        torch.testing.assert_close(*found, rtol=1e-4, atol=1e-5)


def test_a_deep_copy_follows_the_copy_of_its_model_and_a_pickled_network_keeps_its_weights():
    model, inputs = Reused(), INPUTS[Reused]
    network = Network(model, inputs)
    other, follows = copy.deepcopy((model, network))
    kept, before = pickle.loads(pickle.dumps(network)), network.run(inputs)
    with torch.no_grad():
        other.fc.bias.add_(1)
    torch.testing.assert_close(follows.run(inputs), before + 1)
    assert torch.equal(network.run(inputs), before)
    assert torch.equal(kept.run(inputs), before)


def test_a_network_of_a_local_class_is_sent_without_it():
    class Local(nn.Sequential):
        pass

    model = Local(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    network = pickle.loads(pickle.dumps(Network(model, torch.zeros(1, 4))))
    torch.testing.assert_close(network.run(torch.ones(1, 4)), model(torch.ones(1, 4)).detach())


def test_a_long_chain_of_calls_is_no_deep_pickle():
    parts = [part for _ in range(400) for part in (nn.Linear(2, 2), nn.ReLU())]
    network = Network(nn.Sequential(*parts, nn.Linear(2, 2)), torch.zeros(1, 2), capture="calls")
    assert len(pickle.loads(pickle.dumps(network)).activation_layers) == 400


def holders():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    inputs = torch.randn(60, 4)
    labels = (inputs[:, 0] > 0).long()
    network = Network(model, inputs)
    data = inputs[:40], labels[:40]
    held_out = inputs[40:], labels[40:]
    summary = cofire.summarize(network, data, by_class=True, pairs="class", top=2, progress=False)
    return inputs, {
        "Network": network,
        "Network by calls": Network(model, inputs, capture="calls"),
        "Booster": cofire.Booster(network).fit(data, held_out, progress=False),
        "PatternConfidence": cofire.PatternConfidence(network).fit(data),
        "summary": summary,
        "graph": summary.graph("1"),
        "Explanation": cofire.explain(network, inputs[:3]),
        "Trajectory": cofire.follow(
            network,
            [model.state_dict()],
            data,
            top=2,
            null_graphs=0,
            community_runs=2,
            progress=False,
        ),
    }


def told(thing, inputs):
    """Numbers that a thing gives, to be compared."""
    if isinstance(thing, Network):
        return thing.run(inputs)
    if isinstance(thing, cofire.Booster):
        return thing(inputs)
    if isinstance(thing, cofire.PatternConfidence):
        return thing.predict(inputs)
    if isinstance(thing, cofire.ActivationSummary):
        return thing.layers[0].entropy()
    if isinstance(thing, cofire.ActivationPatternGraph):
        return torch.tensor(thing.vertices)
    if isinstance(thing, cofire.Explanation):
        return thing.heatmap()
    return torch.tensor([len(thing.checkpoints)])


@pytest.mark.parametrize("way", ["pickle", "deepcopy"])
def test_results_and_what_holds_networks_are_copied(way):
    inputs, things = holders()
    for name, thing in things.items():
        assert torch.equal(told(WAYS[way](thing), inputs), told(thing, inputs)), name


def answer(things, inputs, queue):
    queue.put({name: told(thing, inputs).numpy() for name, thing in things.items()})


@pytest.mark.slow
def test_a_spawned_process_computes_the_same():
    inputs, things = holders()
    context = torch.multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    process = context.Process(target=answer, args=(things, inputs, queue))
    process.start()
    found = queue.get()
    process.join()
    for name, thing in things.items():
        assert (found[name] == told(thing, inputs).numpy()).all(), name
