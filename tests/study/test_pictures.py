"""Pictures of neurons as rows of a trajectory, and as a part of the report."""

import io
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

import cofire
from cofire.images.pictures import address, encoded
from cofire.network import Network
from cofire.report.section import Results
from cofire.report.sections.strips import Strips
from cofire.study import Trajectory
from cofire.study.analysis_options import AnalysisOptions
from cofire.study.follow import follow_asked
from cofire.study.pictures import (
    BROAD,
    CLASSES,
    LAYERS,
    OF_NEURON,
    OF_VERTEX,
    SIDE,
    VERTEX_SIDE,
    VERTICES,
)


@pytest.fixture(scope="module")
def seen():
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 8, 3),
        nn.ReLU(),
        nn.Conv2d(8, 9, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(144, 3),
    )
    inputs, labels = torch.rand(60, 1, 8, 8), torch.arange(60) % 3
    inputs[labels == 1, :, :4] = 0
    return Network(model, inputs[:1]), model, (inputs, labels)


def followed(seen, **options):
    network, model, data = seen
    weights = [model.state_dict()] * 2
    return cofire.follow(network, weights, data, bins=5, pairs=None, **options)


def test_the_most_and_the_least_selective_neurons_of_the_last_checkpoint_are_kept(seen):
    rows = followed(seen).pictures.to_pylist()
    assert {row["checkpoint"] for row in rows} == {2}
    assert {row["layer"] for row in rows} == {"1", "3"}
    network, _, data = seen
    layer = cofire.summarize(network, data, by_class=True)["3"]
    own = [row for row in rows if row["layer"] == "3"]
    kept = {row["neuron"] for row in own if row["role"] == "selective"}
    selectivity, best = layer.selectivity().tolist(), layer.preferred_class().tolist()
    often = [n for n in range(9) if layer.probability()[n] >= 0.01]
    assert kept == {
        max((n for n in often if best[n] == label), key=selectivity.__getitem__)
        for label in {best[n] for n in often}
    }
    least = sorted(often, key=selectivity.__getitem__)[: 3 if len(often) > 6 else 0]
    assert {row["neuron"] for row in own if row["role"] == "broad"} == set(least)
    top = layer.top_samples()
    for row in own:
        assert row["sample"] == int(top.samples[row["neuron"], row["rank"]])
        assert row["label"] == row["sample"] % 3
        assert Image.open(io.BytesIO(row["image"])).size == tuple(row["shown"]) == (5, 5)


def test_images_can_be_left_out_and_are_then_in_no_table_and_on_no_page(seen, tmp_path):
    network, _, data = seen
    run = followed(seen)
    page = cofire.write_report(run, tmp_path / "with.html").read_text()
    assert "What do neurons fire for?" in page
    assert 0 < page.count("data:image/webp") < 200
    asked = AnalysisOptions(bins=5, pairs="none", no_images=True)
    bare = follow_asked(asked, network, [network.state_dict()], data)
    assert len(bare.pictures)
    assert bare.pictures["image"].null_count == len(bare.pictures)
    page = cofire.write_report(bare, tmp_path / "without.html").read_text()
    assert "Pictures are left out" in page
    assert "data:image/webp" not in page
    none = AnalysisOptions(bins=5, pairs="none", top_samples=0)
    assert not len(follow_asked(none, network, [network.state_dict()], data).pictures)


def test_what_cannot_be_shown_is_no_reason_to_fail(seen, tmp_path):
    network, _, (inputs, labels) = seen
    shuffled = DataLoader(TensorDataset(inputs, labels), batch_size=7, shuffle=True)
    run = cofire.follow(network, [network.state_dict()], shuffled, bins=5, pairs=None)
    assert not len(run.pictures)
    why = "without the samples that neurons fire most for"
    assert Strips.of(Results(run)).lead().count(why) == 1
    assert Strips.of(Results(Trajectory.load(run.save(tmp_path / "run")))).lead().count(why) == 1
    page = cofire.write_report(run, tmp_path / "report.html").read_text()
    assert page.count(why) == 1


def test_why_there_are_no_pictures_is_told_once(seen, monkeypatch):
    def fails(*_, **__):
        raise RuntimeError("no memory")

    monkeypatch.setattr("cofire.study.pictures.neuron_pictures", fails)
    section = Strips.of(Results(followed(seen)))
    assert section.lead() == "There are no pictures of layer 1 and layer 3: RuntimeError: no memory"


def test_pictures_of_an_earlier_last_checkpoint_are_not_mixed_with_those_of_the_last(seen):
    run = followed(seen)
    earlier = run.pictures.set_column(
        0, run.pictures.schema.field(0), pa.array([1] * len(run.pictures), pa.int32())
    )
    both = replace(run, pictures=pa.concat_tables([earlier, run.pictures]))
    assert Results(both).pictures == Results(run).pictures


def test_how_many_pictures_there_are_has_a_bound(seen):
    network, _, data = seen
    asked = AnalysisOptions(bins=5, pairs="none", top_samples=60)
    kept = follow_asked(asked, network, [network.state_dict()], data).pictures
    assert max(kept["rank"].to_pylist()) == OF_NEURON - 1
    noise = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    per_page = LAYERS * (CLASSES + BROAD) * OF_NEURON, LAYERS * VERTICES * OF_VERTEX
    assert sum(per_page) == 618
    sizes = [len(address(encoded(Image.fromarray(noise), side))) for side in (SIDE, VERTEX_SIDE)]
    assert sum(n * size for n, size in zip(per_page, sizes, strict=True)) < 2e6
