"""`cofire explain --summary`: beside an explanation, what the neurons that carried the decision fire for."""

import numpy as np
import pytest
from PIL import Image
from torch import nn

import cofire
from cofire.errors import OptionError, ResultError
from cofire.report.pages.carriers import check_summary
from tests.browser import seen_everywhere
from tests.cli.test_neurons import MODULE
from tests.golden.running import run

HOW = "--image-size 8 --resize 0 --mean 0 --std 1 --grey"


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("carriers")
    (folder / "mine.py").write_text(MODULE)
    shades = (cofire.study.load_dataset("digits").test_inputs[4, 0].numpy() * 255).round()
    Image.fromarray(shades.astype(np.uint8)).save(folder / "four.png")
    asked = "summarize --model mine:model --data digits --split test --by-class statistics"
    assert run((*asked.split(), "--out", "summed"), folder).exit == 0
    return folder


def told(place, line):
    return run(f"explain four.png --model mine:model {HOW} {line}".split(), place)


def test_the_page_shows_what_the_strongest_channels_fire_for(place, visit):
    more = "--summary summed/summary.safetensors --data digits --split test"
    assert told(place, f"{more} --out shown").exit == 0
    page = (place / "shown" / "explain.html").read_text()
    assert page.count("of the decision on four.png; it fires most for these") == 4
    assert page.count("data:image/webp") == 4 * 9
    seen_everywhere(visit(place / "shown" / "explain.html"))
    assert told(place, f"{more} --no-images --out bare").exit == 0
    assert "data:image/webp" not in (place / "bare" / "explain.html").read_text()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--data digits", "pass --summary, or leave them out"),
        ("--summary summed/summary.safetensors", "without data"),
        ("--summary summed/summary.safetensors --views mirror", "views have no neurons"),
        ("--summary summed/summary.safetensors --data digits --method gradcam", "without discern"),
        ("--summary summed/summary.safetensors --data digits", "in the same order"),
    ],
)
def test_a_summary_without_its_data_or_other_data_is_refused(place, line, words):
    found = told(place, f"{line} --out wrong")
    assert found.exit == 1
    assert words in found.err
    assert not (place / "wrong" / "explain.html").exists()


def test_a_summary_of_another_network_or_of_elements_is_refused():
    digits = cofire.study.load_dataset("digits")
    data = digits.test_inputs[:20], digits.test_labels[:20]
    models = [
        nn.Sequential(nn.Conv2d(1, n, 3), nn.ReLU(), nn.Flatten(), nn.Linear(36 * n, 10))
        for n in (2, 3)
    ]
    one, two = (cofire.Network(model, data[0][:1]) for model in models)
    with pytest.raises(ResultError, match="another network"):
        check_summary(cofire.summarize(one, data), two)
    with pytest.raises(OptionError, match="unit='channel'"):
        check_summary(cofire.summarize(one, data, unit="element"), one)
