"""What surrounds a call changes nothing, and a call changes nothing of what surrounds it."""

import logging
import os
import sys
import warnings

import pytest
import torch
from torch import nn

import cofire
from cofire import evaluate
from cofire.boost.baselines import MaxSoftmax
from cofire.errors import ExportError
from cofire.network import Network

from .models import DataDependent, Reused

IMAGES, LABELS = (
    torch.randn(12, 3, 8, 8, generator=torch.Generator().manual_seed(0)),
    torch.arange(12) % 3,
)


def classifier():
    torch.manual_seed(0)
    body = (nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU())
    return nn.Sequential(*body, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 3)).eval()


def results(network):
    summary = cofire.summarize(
        network, (IMAGES, LABELS), by_class=True, pairs="class", top=2, progress=False
    )
    data = (IMAGES[:6], LABELS[:6]), (IMAGES[6:], LABELS[6:])
    found = {
        "logits": network.run(IMAGES),
        "entropy": summary.layers[0].entropy(),
        "graph": summary.graph("1").adjacency,
        "booster": cofire.Booster(network).fit(*data, progress=False)(IMAGES),
        "patterns": cofire.PatternConfidence(network).fit(data[0]).predict(IMAGES),
        "softmax": MaxSoftmax(network).predict(IMAGES),
    }
    if network.has_graph:
        found |= {
            method: cofire.explain(network, IMAGES, method=method).heatmap()
            for method in cofire_methods()
        }
        found["deepfool"] = evaluate.deepfool(network, IMAGES[:2]).images
    return found


def cofire_methods():
    return ("discernible", "discernible-p3", "gradcam", "gradcam++", "lrp")


@pytest.mark.parametrize("capture", ["export", "calls"])
def test_autocast_around_our_calls_changes_nothing(capture):
    plain = results(Network(classifier(), IMAGES[:1], capture=capture))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = results(Network(classifier(), IMAGES[:1], capture=capture))
        assert torch.is_autocast_enabled("cpu")
    for name, values in plain.items():
        assert torch.equal(values, found[name]), name


def test_torch_says_nothing_of_a_failed_export_before_our_message(capfd, caplog):
    streams, filters = sys.stderr, list(warnings.filters)
    loggers = {
        name: list(logging.getLogger(name).filters)
        for name in list(logging.root.manager.loggerDict)
    }
    with caplog.at_level(logging.WARNING), pytest.raises(ExportError, match="does not export"):
        Network(DataDependent(), torch.zeros(1, 4))
    out, err = capfd.readouterr()
    assert (out, err, caplog.records) == ("", "", [])
    assert sys.stderr is streams
    assert warnings.filters == filters
    assert all(logging.getLogger(name).filters == before for name, before in loggers.items())


def test_what_a_model_itself_prints_is_heard(capsys):
    class Speaks(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(4, 2)

        def forward(self, x):
            sys.stderr.write("here")
            return self.fc(x)

    Network(Speaks(), torch.zeros(1, 4))
    assert "here" in capsys.readouterr().err


def test_environment_and_warning_filters_stay_as_they_are():
    environment, filters = dict(os.environ), list(warnings.filters)
    results(Network(classifier(), IMAGES[:1]))
    assert dict(os.environ) == environment
    assert warnings.filters == filters


@pytest.mark.parametrize("capture", ["export", "calls"])
def test_no_call_moves_the_random_generator(capture):
    model = Reused()
    before = torch.get_rng_state()
    network = Network(model, IMAGES[:1], capture=capture)
    network.run(IMAGES)
    cofire.summarize(network, (IMAGES, LABELS), progress=False)
    if network.has_graph:
        cofire.explain(network, IMAGES)
    assert torch.equal(before, torch.get_rng_state())
