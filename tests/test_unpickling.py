"""No reader unpickles: what can run code is neither called on good files nor on bad ones."""

import io
import json
import pickle
import sys
import traceback

import numpy as np
import pytest
import torch
from PIL import Image

import cofire
from cofire import evaluate
from cofire.errors import CofireError
from cofire.evaluate.bandit import BanditRun
from cofire.evaluate.evaluation import Evaluation
from cofire.evaluate.measures import records_schema
from cofire.evaluate.records import Chunks
from cofire.evaluate.tuned import read_tuned
from cofire.graphs import ActivationPatternGraph
from cofire.images.boxes import read_boxes
from cofire.images.classes import read_names
from cofire.images.reading import read_image
from cofire.study import StudyOptions, run_study
from cofire.study.networks import fcnn
from cofire.study.samples import Samples
from cofire.study.training import Course, Training
from tests.conftest import Tiny

HELD = {"file": "a.png", "label": 0, "size": [8, 8], "boxes": [[0, 0, 4, 4]]}
VOC = (
    "<annotation><filename>v.jpg</filename><size><width>8</width><height>8</height></size><object><name>a</name>"
    "<bndbox><xmin>1</xmin><ymin>1</ymin><xmax>4</xmax><ymax>4</ymax></bndbox></object></annotation>"
)


class Mark:
    """What runs when it is unpickled."""

    def __reduce__(self):
        return exec, ("raise SystemExit('a pickle ran')",)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A good file of every kind that is read, with its reader."""
    torch.manual_seed(0)
    place, tiny = tmp_path_factory.mktemp("read"), Tiny()
    network, weights = tiny.network, tiny.model.state_dict()
    cofire.save_weights(weights, place / "w.safetensors")
    torch.save(weights, place / "w.pt")
    torch.save({"state_dict": weights, "epoch": 3}, place / "w.ckpt")
    torch.save(weights, place / "old.pth", _use_new_zipfile_serialization=False)
    program = torch.export.export(
        tiny.model.eval(), (tiny.inputs[:2],), dynamic_shapes=({0: torch.export.Dim("b")},)
    )
    torch.export.save(program, place / "m.pt2")
    summary = cofire.summarize(network, tiny.data, by_class=True, pairs="class", top=2, bins=4)
    summary.save(place / "s.safetensors")
    summary.graph("3").save(place / "g.safetensors")
    cofire.explain(network, tiny.inputs[:2]).save(place / "e.safetensors")
    others = torch.randn(30, 5), torch.arange(30) % 3
    cofire.Booster(network).fit(tiny.data, others).save(place / "b.safetensors")
    cofire.PatternConfidence(network).fit(tiny.data).save(place / "c.safetensors")
    cofire.follow(
        network, [weights], tiny.data, top=2, null_graphs=0, community_runs=2, folder=place / "t"
    )
    evaluate.ucb1(3, torch.rand(10, 3), 10).save(place / "bandit.json")
    Chunks(place / "run", {"seed": 0}).put(0, records_schema().empty_table())
    (place / "boxes.json").write_text(json.dumps([HELD]))
    (place / "v.xml").write_text(VOC)
    (place / "names.json").write_text('["a", "b", "c"]')
    (place / "names.txt").write_text("a\nb\nc\n")
    (place / "c.toml").write_text('data = "digits"\n')
    for ending in ("png", "jpg", "tif", "gif", "webp", "bmp"):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / f"i.{ending}")
    options = StudyOptions.of(data="digits", hidden=(4,), epochs=1, checkpoints=1, pairs="none")
    run_study(options, place / "study", progress=False)
    return {
        **{
            place / name: network.with_weights
            for name in ("w.safetensors", "w.pt", "w.ckpt", "old.pth")
        },
        place / "m.pt2": cofire.Network.load,
        place / "s.safetensors": cofire.ActivationSummary.load,
        place / "g.safetensors": ActivationPatternGraph.load,
        place / "e.safetensors": cofire.Explanation.load,
        place / "b.safetensors": lambda path: cofire.Booster.load(path, network),
        place / "c.safetensors": lambda path: cofire.PatternConfidence.load(path, network),
        place / "t" / "layers.parquet": lambda path: cofire.Trajectory.load(path.parent),
        place / "bandit.json": BanditRun.load,
        place / "tuned.json": read_tuned,
        place / "evaluation.json": lambda path: Evaluation.load(path.parent),
        place / "run" / "rows" / "options.json": lambda path: Chunks(
            path.parent.parent, {"seed": 0}
        ),
        place / "run" / "rows" / "000000.parquet": lambda path: Chunks(
            path.parent.parent, {"seed": 0}
        ).get(0, [], []),
        place / "boxes.json": lambda path: read_boxes(path, ["a", "b", "c"]),
        place / "v.xml": lambda path: read_boxes(path, ["a", "b", "c"]),
        place / "names.json": lambda path: read_names(path, 3),
        place / "names.txt": lambda path: read_names(path, 3),
        place / "c.toml": StudyOptions.of,
        **{
            place / f"i.{ending}": read_image
            for ending in ("png", "jpg", "tif", "gif", "webp", "bmp")
        },
        place / "study" / "study.json": lambda path: run_study(
            options, path.parent, progress=False
        ),
        place / "study" / "training.pt": lambda path: state(options, path),
    }


def state(options, path):
    labels = torch.zeros(4, dtype=torch.int64)
    data = Samples(torch.zeros(4, 64), labels, "0123456789")
    return Training(fcnn(64, (4,), 10), options, data, Course(1, [1]), path.parent)


@pytest.fixture
def unpickled(monkeypatch):
    """Calls of what unpickles, each with where it came from; numba's own cache of compiled loops is not asked."""
    calls = []

    def notice(name):
        stack = traceback.extract_stack()
        if not any("numba" in frame.filename for frame in stack):
            calls.append((name, [f"{frame.filename}:{frame.lineno}" for frame in stack[-7:-2]]))

    def noticing(plain, name):
        def noticed(*args, **options):
            notice(name)
            return plain(*args, **options)

        return noticed

    def noticing_class(plain):
        class Noticed(plain):
            def __init__(self, *args, **options):
                notice(plain.__name__)
                super().__init__(*args, **options)

        return Noticed

    for module in (pickle, sys.modules["_pickle"]):
        for name in ("load", "loads"):
            monkeypatch.setattr(module, name, noticing(getattr(module, name), name))
        monkeypatch.setattr(module, "Unpickler", noticing_class(module.Unpickler))
    monkeypatch.setattr(pickle, "_Unpickler", noticing_class(pickle._Unpickler))
    monkeypatch.setattr(
        torch._C, "_pickle_load_obj", noticing(torch._C._pickle_load_obj, "_pickle_load_obj")
    )
    return calls


def test_the_hooks_notice(unpickled):
    held = io.BytesIO()
    torch.save({"a": {1, 2}}, held)
    held.seek(0)
    assert torch.load(held, weights_only=False) == {"a": {1, 2}}
    assert pickle.loads(pickle.dumps(1)) == 1
    assert {name for name, _ in unpickled} == {"Unpickler", "loads"}


def test_no_reader_unpickles_good_files(files, unpickled):
    for path, read in files.items():
        if path.exists():
            read(path)
        assert not unpickled, (path.name, unpickled[0])


def test_no_reader_unpickles_bad_files(files, unpickled):
    held = io.BytesIO()
    torch.save({"state_dict": Mark(), "checkpoint": 1}, held)
    bad = (pickle.dumps(Mark()), pickle.dumps(Mark(), protocol=0), held.getvalue())
    for path, read in files.items():
        whole = path.read_bytes() if path.exists() else None
        for content in bad:
            path.write_bytes(content)
            with pytest.raises(CofireError):
                read(path)
        if whole is None:
            path.unlink()
        else:
            path.write_bytes(whole)
        assert not unpickled, (path.name, unpickled[0])
