"""`cofire neurons` as a user runs it, and its pictures against the network itself."""

import json
import re

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, IterableDataset, TensorDataset

import cofire
from cofire.activations.samples_at import samples_at
from cofire.errors import DataError, ResultError
from cofire.images.datasets import folder_of_classes
from cofire.images.pictures import address, as_image, neuron_pictures
from cofire.images.preparation import Preparation
from cofire.network import Network
from tests.browser import seen_everywhere
from tests.golden.running import run

MODULE = """
import torch
from torch import nn

def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 4, 3, stride=2), nn.ReLU(),
                         nn.Flatten(), nn.Linear(36, 10))

def other():
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 12), nn.ReLU(), nn.Linear(12, 10))
"""
ASKED = "neurons --model mine:model --data digits --split test"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("neurons")
    (folder / "mine.py").write_text(MODULE)
    return folder


def called(place, line):
    told = run(line.split(), place)
    return told.exit, told.out, told.err


def test_a_page_and_a_sheet_show_the_samples_that_a_neuron_fires_most_for(place):
    status, said, _ = called(place, f"{ASKED} --layer 3 --neuron 2,0 --out out --json")
    assert status == 0
    found = json.loads(said)
    page = (place / found["page"]).read_text()
    assert "layer 3, neuron 2" in page
    shown = re.findall(r"data:image/webp;base64,[\w+/=]+", page)
    assert len(shown) == 2 * (9 + 9 + 90)  # with the whole images, and strips of ten classes
    assert sum(map(len, shown)) < 100_000
    with Image.open(place / found["sheets"][0]) as sheet:
        assert sheet.width > 9 * 150
    data = cofire.study.load_dataset("digits")
    network = Network(_model(place), data.test_inputs[:1])
    values = []
    network.run(data.test_inputs, lambda _, v: values.append(v.flatten(2).amax(2)), ["3"])
    best = values[0][:, 2].argsort(descending=True, stable=True)[:9].tolist()
    rows = [r for r in found["pictures"] if r["neuron"] == 2 and r["of_class"] is None]
    assert [row["sample"] for row in rows] == best
    assert [row["label"] for row in rows] == data.test_labels[best].tolist()


def test_its_page_is_seen_everywhere(place, visit):
    assert called(place, f"{ASKED} --layer 3 --neuron 2,0 --out sheet")[0] == 0
    page = visit(place / "sheet" / "neurons.html")
    seen_everywhere(page)
    assert page.locator("figure.strip").count() == 2 * 11
    assert page.locator("figure.strip img:not([alt])").count() == 0


def _model(place):
    space = {}
    exec((place / "mine.py").read_text(), space)
    return space["model"]()


def test_a_summary_is_read_in_place_of_the_passes_and_gives_the_same(place):
    how = "--model mine:model --data digits --split test --by-class statistics --out summed"
    assert called(place, f"summarize {how}")[0] == 0
    summary = "--summary summed/summary.safetensors"
    one, two = (
        json.loads(called(place, f"{ASKED} --layer 1 --neuron 5 {more} --json")[1])["pictures"]
        for more in ("--out fresh", f"--out again {summary}")
    )
    assert one == two
    status, _, error = called(
        place, f"{ASKED} --layer 1 --neuron 5 {summary} --unit element --out x"
    )
    assert status == 1
    assert "--unit 'element', and a summary whose neurons are of --unit 'channel'" in error
    wrong = f"neurons --model mine:other --data digits --layer 2 --neuron 1 {summary} --out wrong"
    status, _, error = called(place, wrong)
    assert status == 1
    assert "a summary of another network" in error
    train = f"{ASKED.replace('test', 'train')} --layer 1 --neuron 5 {summary} --out wrong"
    status, _, error = called(place, train)
    assert status == 1
    assert "in the same order" in error


def test_without_images_none_of_the_data_is_in_the_results(place):
    status, said, _ = called(place, f"{ASKED} --layer 1 --neuron 0 --no-images --out bare")
    assert status == 0
    assert "fires most for" in said
    page = (place / "bare" / "neurons.html").read_text()
    assert "data:image/webp" not in page
    assert "Pictures are left out" in page
    assert not list((place / "bare").glob("*.png"))


def test_a_study_names_its_network_and_data_itself(place):
    made = "study digits --epochs 2 --checkpoints 2 --hidden 12 --null-graphs 0 --out studied"
    assert called(place, made)[0] == 0
    status, said, _ = called(
        place, "neurons --model studied --layer relu1 --neuron 3 --split test --out of-study --json"
    )
    assert status == 0
    network, data, options = cofire.study.open_study(place / "studied")
    assert options.hidden == (12,)
    values = []
    inputs, _ = data.test.batch(range(len(data.test)))
    network.run(inputs, lambda _, v: values.append(v), ["relu1"])
    best = values[0][:, 3].argsort(descending=True, stable=True)[:9].tolist()
    rows = [row for row in json.loads(said)["pictures"] if row["of_class"] is None]
    assert [row["sample"] for row in rows] == best
    first, _, _ = cofire.study.open_study(place / "studied", 1)
    assert first.fingerprint == network.fingerprint
    with pytest.raises(ResultError, match="one of 1 to 2"):
        cofire.study.open_study(place / "studied", 3)
    about = place / "studied" / "study.json"
    kept = about.read_text()
    about.write_text(json.dumps(json.loads(kept) | {"classes": ["another"] * 10}))
    with pytest.raises(ResultError, match=r"for the study in .* Expected: its data: classes="):
        cofire.study.open_study(place / "studied")
    about.write_text(kept)
    for more, words in (
        ("--data digits", "--data 'digits' beside a study"),
        ("--split validation", "without validation data"),
    ):
        line = f"neurons --model studied --layer relu1 --neuron 3 --out none {more}"
        status, _, error = called(place, line)
        assert status == 1
        assert words in error
    status, _, error = called(place, "neurons --model mine:model --layer 1 --neuron 0 --out none")
    assert status == 1
    assert "without --data" in error


def test_data_of_one_class_have_pictures_too(place):
    (place / "fours.py").write_text(
        "import cofire, torch\nfrom torch.utils.data import TensorDataset\n"
        "def data():\n    found = cofire.study.load_dataset('digits')\n"
        "    of = found.test_labels == 4\n"
        "    return TensorDataset(found.test_inputs[of], found.test_labels[of])\n"
    )
    line = "neurons --model mine:model --data fours:data --layer 1 --neuron 0 --out fours --json"
    status, said, error = called(place, line)
    assert (status, error.count("Error")) == (0, 0)
    rows = json.loads(said)["pictures"]
    assert {(row["of_class"], row["label"]) for row in rows} == {(None, 4)}


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ("--layer 1 --neuron 6", "a number below 6"),
        ("--layer 7 --neuron 0", "no activation layer '7'"),
        ("--layer kind:relu --neuron 0", "the name of one layer"),
        ("--layer 1 --neuron 0,1 --top-samples 900", "pass --top-samples 272"),
    ],
)
def test_neurons_and_layers_that_are_not_there_are_told(place, asked, words):
    status, _, error = called(place, f"{ASKED} {asked} --out none")
    assert status == 1
    assert words in error


class Streamed(IterableDataset):
    def __init__(self, data):
        self.data = data

    def __iter__(self):
        return zip(*self.data, strict=True)


def test_samples_are_found_by_number_in_data_of_every_kind():
    data = torch.arange(24.0).reshape(8, 3), torch.arange(8) % 3
    whole = TensorDataset(*data)
    parts = [(data[0][:5], data[1][:5]), (data[0][5:], data[1][5:])]
    own = DataLoader(
        whole, 3, collate_fn=lambda rows: tuple(map(torch.stack, zip(*rows, strict=True)))
    )
    # A loader with batches of its own reads in their order, not in that of its data.
    backwards = TensorDataset(*(part.flip(0) for part in data))
    mixed = DataLoader(backwards, batch_sampler=[[7, 6, 5], [4, 3, 2], [1, 0]])
    kinds = [data, whole, DataLoader(whole, 3), DataLoader(Streamed(data), 3), parts, own, mixed]
    for kind in kinds:
        found = samples_at(kind, [6, 2, 6], 3)
        assert list(found) == [2, 6]
        assert found[6][1] == 0
        assert torch.equal(found[6][0], data[0][6])
        with pytest.raises(DataError, match="without a sample 8"):
            samples_at(kind, [8], 3)


def test_pictures_are_those_of_the_files_and_the_preparation_is_undone(tmp_path):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (2, 4, 10, 12, 3), dtype=np.uint8)
    for label in range(2):
        (tmp_path / f"c{label}").mkdir()
        for number in range(4):
            Image.fromarray(pixels[label, number]).save(tmp_path / f"c{label}/{number}.png")
    how = Preparation((3, 10, 12), resize=0, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2))
    data = folder_of_classes(tmp_path, how)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(320, 2))
    network = Network(model, torch.zeros(1, 3, 10, 12))
    summary = cofire.summarize(network, data, batch_size=3)
    (shown,) = neuron_pictures(network, data, "1", summary["1"].top_samples(), [1]).values()
    assert len(shown) == 8
    for one in shown:
        assert np.array_equal(np.asarray(one.image), pixels[one.label, one.sample % 4])
        left, top, right, bottom = one.window
        assert (right - left, bottom - top) == one.crop.size == (3, 3)
        part = torch.from_numpy(np.asarray(one.crop).transpose(2, 0, 1).copy())[None]
        with torch.no_grad():
            given = model[0](how.scaled(part)).relu()
        assert float(given[0, 1]) == pytest.approx(one.activation, abs=1e-4)


def test_vectors_have_pictures_too_and_what_is_no_picture_has_no_address():
    assert as_image(torch.tensor([0.0, 5.0, 10.0])).size == (3, 1)
    assert as_image(torch.rand(7, 4, 5)).size == (5, 4)
    assert address(b"<script>") == ""
