"""What is observed on a sample says how sure its numbers are, by two halves of it."""

import pytest
import torch
from torch import nn

import cofire
from cofire.activations.together import together
from cofire.errors import OptionError
from cofire.study import Trajectory, follow
from cofire.study.findings import digest
from cofire.study.halves import sampling_interval, standard_error, tasks_of_halves
from cofire.study.samples import Samples

QUICK = {"bins": 20, "top": (2, 3), "community_runs": 2, "null_graphs": 0, "progress": False}


def toy(samples, checkpoints):
    draw = torch.Generator().manual_seed(0)
    labels = torch.arange(samples) % 4
    centres = 2 * torch.randn(4, 8, generator=draw)
    inputs = torch.randn(samples, 8, generator=draw) + centres[labels]
    models = []
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        for _ in range(checkpoints):
            models.append(
                nn.Sequential(
                    nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 12), nn.ReLU(), nn.Linear(12, 4)
                )
            )
    return inputs, labels, models


def followed(samples=400, observe=120, **more):
    inputs, labels, models = toy(samples, 3)
    network = cofire.Network(models[0], inputs[:2])
    states = [model.state_dict() for model in models]
    return follow(network, states, (inputs, labels), observe=observe, **QUICK, **more)


def test_rows_of_a_sample_have_the_differences_of_its_halves(tmp_path):
    run = followed(folder=tmp_path)
    assert run.options["observe"] == 120
    assert run.network()["entropy_halves"].null_count == 0
    for table, column in ((run.layers, "entropy_halves"), (run.graphs, "modularity_halves")):
        assert all(value != 0 for value in table[column].to_pylist())
    assert "± " in "\n".join(digest(run))
    assert "for other samples of 120" in "\n".join(digest(run))
    again = followed(folder=tmp_path)
    assert again.layers.equals(run.layers)
    assert Trajectory.load(tmp_path).graphs.equals(run.graphs)


def test_without_a_sample_there_are_no_halves():
    run = followed(observe=None)
    assert run.layers["entropy_halves"].null_count == len(run.layers)
    assert run.graphs["modularity_halves"].null_count == len(run.graphs)
    assert "±" not in "\n".join(digest(run))


def test_the_sample_has_the_same_share_of_each_class_and_is_the_same_each_time():
    one, two = followed(), followed()
    assert one.classes["samples"].to_pylist() == [30] * 4 * 3
    assert one.neurons.equals(two.neurons)


def test_a_sample_that_cannot_be_is_refused_before_anything_is_analysed():
    with pytest.raises(OptionError, match="observe=500 of 400 samples"):
        followed(observe=500)


def test_halves_are_apart_and_are_the_sample_together():
    inputs, labels, models = toy(60, 1)
    network = cofire.Network(models[0], inputs[:2])
    options = {"by_class": True, "pairs": None, "progress": False}
    first, second = together(network, tasks_of_halves(network, (inputs, labels), 1, 0, **options))
    whole = cofire.summarize(network, (inputs, labels), **options)
    for layer in whole:
        halves = [half[layer.layer.name].statistics for half in (first, second)]
        assert torch.allclose(sum(one.total for one in halves), layer.statistics.total)
    assert (first.class_samples - second.class_samples).abs().max() <= 1


def test_no_halves_no_error():
    assert standard_error([None, None]) is None
    assert sampling_interval(1.0, [None]) is None


@pytest.mark.slow
def test_the_interval_covers_what_samples_give_but_not_what_all_data_give():
    """Of 100 samples of 1 in 5, the plug-in entropy of which is biased for want of samples in its bins."""
    inputs, labels, models = toy(1000, 4)
    networks = [cofire.Network(model, inputs[:2]) for model in models]
    data, options = Samples(inputs, labels, "abcd"), {"by_class": False, "bins": 100}
    whole = torch.tensor([cofire.summarize(one, data, **options).entropy() for one in networks])
    values, widths = [], []
    for seed in range(30):
        sample = data.sample(200, seed, "observe")
        values.append([cofire.summarize(one, sample, **options).entropy() for one in networks])
        differences = []
        for number, one in enumerate(networks):
            halves = together(
                one, tasks_of_halves(one, sample, number, seed, pairs=None, **options)
            )
            differences.append(halves[0].entropy() - halves[1].entropy())
        widths.append(sampling_interval(0.0, differences).high)
    found, half = torch.tensor(values), torch.tensor(widths)[:, None]
    covered = float(((found - found.mean(0)).abs() <= half).double().mean())
    assert covered >= 0.9
    assert float(((found - whole).abs() <= half).double().mean()) < 0.5
