"""Passes over the same data that go together: each batch is run once, and everybody sees what they would see alone."""

import pytest
import torch
from torch import nn

import cofire
from cofire.activations.labelling import Labelling
from cofire.activations.summarize import summarizing
from cofire.activations.together import alone, in_part, together
from cofire.boost.comparison import comparing
from cofire.errors import DataError, NonFiniteError
from cofire.study.analyse import tallying

QUICK = {"methods": ["auxiliary"], "method": "auxiliary", "draws": 20, "batch_size": 32}


@pytest.fixture
def toy():
    """A network, and training, held-out and test data."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Linear(6, 9), nn.ReLU(), nn.Linear(9, 7), nn.ReLU(), nn.Linear(7, 3)
        )
        inputs = torch.randn(240, 6)
    labels = inputs[:, :3].argmax(dim=1)
    network = cofire.Network(model, inputs[:2])
    return network, *[(inputs[k : k + 80], labels[k : k + 80]) for k in (0, 80, 160)]


def counted(network, monkeypatch):
    """The batches that the network runs, from here on."""
    runs, run = [], type(network).run

    def counting(self, inputs, *rest):
        runs.append(len(inputs) if len(inputs) > 2 else 0)  # one or two samples show what it gives
        return run(self, inputs, *rest)

    monkeypatch.setattr(type(network), "run", counting)
    return runs


def tasks(network, train, held, test):
    chosen = [None, "L2L", "LL"]
    return [
        summarizing(network, train, batch_size=32, by_class=True, progress=False),
        tallying(network, test, Labelling.of(network, test), 32),
        *(comparing(network, train, held, test, layers=layers, **QUICK) for layers in chosen),
    ]


def test_a_summary_and_three_boosters_read_the_training_data_twice_and_other_data_once(
    toy, monkeypatch
):
    network, *data = toy
    runs = counted(network, monkeypatch)
    together(network, tasks(network, *data), False)
    assert sum(runs) == 80 * (2 + 1 + 1)


def test_each_sees_what_it_sees_alone(toy):
    network, *data = toy
    one = together(network, tasks(network, *data), False)
    others = [alone(network, task, False) for task in tasks(network, *data)]
    assert torch.equal(one[0].layers[0].histograms.counts, others[0].layers[0].histograms.counts)
    assert torch.equal(one[1].correct, others[1].correct)
    for mine, theirs in zip(one[2:], others[2:], strict=True):
        assert mine.judged == theirs.judged


def test_a_threshold_of_each_neurons_own_joins_a_pass_as_well(toy, monkeypatch):
    network, train, held, test = toy
    runs = counted(network, monkeypatch)
    together(
        network,
        [
            summarizing(network, train, batch_size=32, progress=False),
            comparing(network, train, held, test, threshold="mean", **QUICK),
        ],
        False,
    )
    assert sum(runs) == 80 * (3 + 1 + 1)


def test_a_part_sees_its_own_samples_of_batches_that_others_see_whole(toy):
    network, train, *_ = toy
    chosen = torch.arange(80) >= 40  # nothing of the first batch
    half = train[0][chosen], train[1][chosen]

    def task():
        return summarizing(network, half, batch_size=32, progress=False)

    found = alone(network, in_part(task(), train, chosen), False)
    theirs = alone(network, task(), False)
    assert found.samples == theirs.samples == 40
    for mine, other in zip(found.layers, theirs.layers, strict=True):
        assert torch.allclose(mine.statistics.total, other.statistics.total)


def test_what_goes_wrong_in_a_pass_is_told_with_its_batch(toy):
    network, train, held, _ = toy
    with pytest.raises(DataError, match="no samples"):
        alone(network, tallying(network, [], Labelling.of(network, train), 32), False)
    wrong = train[0].clone()
    wrong[40] = float("inf")
    with pytest.raises(NonFiniteError, match="batch 1"):
        cofire.compare(network, train, held, (wrong, train[1]), progress=False, **QUICK)
