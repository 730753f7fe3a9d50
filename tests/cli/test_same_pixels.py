"""Every verb shows a network the same pixels of the same files, prepared the same way."""

import json

import pytest
import torch
from typer.testing import CliRunner

from cofire.cli import boost, evaluate, explain, summarize, tune
from cofire.cli.main import app
from cofire.images.preparation import preparation_of
from cofire.images.reading import read_image
from cofire.images.seen import read_batches
from tests.images.odd_images import SIDE, odd_images

MINE = """
import torch
from torch import nn


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2))


def halved(image):
    import numpy as np
    pixels = np.asarray(image.crop((4, 2, 20, 18)), dtype=np.float32).transpose(2, 0, 1)
    return torch.from_numpy(pixels / 255 - 0.5)
"""


class SeenError(Exception):
    """What a verb was about to show its network."""

    def __init__(self, inputs):
        self.inputs = inputs


@pytest.fixture
def place(tmp_path, monkeypatch):
    names = odd_images(tmp_path / "images" / "0")
    (tmp_path / "images" / "1").mkdir()
    for name in names[:1]:
        (tmp_path / "images" / "1" / "last.png").write_bytes(
            (tmp_path / "images" / "0" / name).read_bytes()
        )
    (tmp_path / "halving.py").write_text(MINE)
    entry = {"size": [SIDE, SIDE], "boxes": [[2, 2, 20, 20]]}
    entries = [{"file": name, "label": 0, **entry} for name in names] + [
        {"file": "last.png", "label": 1, **entry}
    ]
    (tmp_path / "boxes.json").write_text(json.dumps(entries))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def stop_at_data(monkeypatch, module, name, which):
    def stop(network, *data, **_):
        raise SeenError(torch.cat([inputs for inputs, _ in data[which]]))

    monkeypatch.setattr(module, name, stop)


def stop_at_collection(monkeypatch, module, name):
    def stop(network, collection, preparation, *_, **__):
        ordered = sorted(collection, key=lambda photo: photo.name)
        raise SeenError(
            torch.cat(
                [
                    b.inputs
                    for b in read_batches(
                        type(collection)(tuple(ordered), collection.source), preparation
                    )
                ]
            )
        )

    monkeypatch.setattr(module, name, stop)


def stop_at_explanation(monkeypatch):
    def stop(network, inputs, *_, **__):
        raise SeenError(inputs)

    monkeypatch.setattr(explain, "run_explain", stop)


def seen_by(verb, monkeypatch, *options):
    data, boxes = ["imagefolder:images"], ["--data", "images", "--boxes", "boxes.json"]
    arguments = {
        "summarize": ["--data", *data],
        "boost": ["--train", *data, "--test", *data, "--validation", *data],
        "explain": ["images/0", "images/1", "--batch-size", "64", "--target", "0"],
        "evaluate": [*boxes, "--split", "all"],
        "tune": boxes,
    }
    stop_at_data(monkeypatch, summarize, "run_summary", 0)
    stop_at_data(monkeypatch, boost, "compare", 0)
    stop_at_explanation(monkeypatch)
    stop_at_collection(monkeypatch, evaluate, "run_evaluation")
    monkeypatch.setattr(tune, "checked", lambda collection, *_, **__: collection)
    stop_at_collection(monkeypatch, tune, "run_tune")
    command = [verb, *arguments[verb], "--model", "halving:model", "--out", f"out-{verb}", *options]
    found = CliRunner().invoke(app, command)
    assert isinstance(found.exception, SeenError), found.output
    return found.exception.inputs, found.output


@pytest.mark.parametrize(
    "options",
    [
        ["--image-size", "16", "--mean", "0.5", "--std", "0.25"],
        ["--image-size", str(SIDE)],
        ["--transform", "halving:halved"],
    ],
)
def test_every_verb_sees_the_same_pixels_and_says_how(place, monkeypatch, options):
    given = dict(zip(options[::2], options[1::2], strict=True))
    wanted = preparation_of(
        "halving:model",
        transform=given.get("--transform"),
        image_size=int(given["--image-size"]) if "--image-size" in given else None,
        mean=[0.5] if "--mean" in given else None,
        std=[0.25] if "--mean" in given else None,
    )
    files = sorted((place / "images").glob("*/*"), key=lambda file: (file.parent.name, file.name))
    expected = torch.stack([wanted(read_image(file)) for file in files])
    told = set()
    for verb in ("summarize", "boost", "explain", "evaluate"):
        inputs, output = seen_by(verb, monkeypatch, *options)
        assert torch.equal(inputs, expected), verb
        told |= {line for line in output.splitlines() if line.startswith("Images: ")}
    assert told == {f"Images: {wanted.told}"}
    tuning, _ = seen_by("tune", monkeypatch, *options)
    assert all((expected == one).all(dim=(1, 2, 3)).any() for one in tuning)
