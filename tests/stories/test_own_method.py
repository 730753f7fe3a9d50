"""A method of one's own, in one file: it explains, it is judged, and pages know it."""

import json
import sys

import pytest
import torch
from typer.testing import CliRunner

import cofire
from cofire.cli.main import app
from cofire.errors import CofireError, ExplanationError, OptionError
from cofire.evaluate.methods import explained
from cofire.explain import METHODS
from tests.evaluate.judged import SIDE, tiny_model, write_photos

OWN = '''
"""Methods of my own."""

import cofire
import torch
from cofire.options import Options
from pydantic import Field


class BrightOptions(Options):
    least: float = Field(0.0, ge=-1, le=1, title="Least", description="Values above this are bright.")


@cofire.register_method(
    "bright", title="Bright pixels", options=BrightOptions, meaning="Where the image is bright."
)
def bright(network, images, classes, options):
    return (images.mean(1) - options.least).clamp(min=0)


@cofire.register_method("top", title="Brightest pixel", gives="points")
def top(network, images, classes, options):
    values = images.mean(1).flatten(1)
    first = torch.zeros_like(values).scatter(1, values.argmax(1, keepdim=True), 1.0)
    return first.reshape(len(images), *images.shape[2:])
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_photos(tmp_path_factory.mktemp("own"), 6)
    (folder / "own_methods.py").write_text(OWN)
    program = torch.export.export(
        tiny_model(),
        (torch.zeros(2, 3, SIDE, SIDE),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, folder / "net.pt2")
    return folder


@pytest.fixture(autouse=True)
def in_the_place(place, monkeypatch):
    """As after the user's file was imported; afterwards it never was."""
    monkeypatch.chdir(place)
    known = dict(METHODS)
    yield
    METHODS.clear()
    METHODS.update(known)
    # Verbs that were imported with the plugin list its method among their choices.
    own = ("cofire_plugin_own_methods", "cofire.cli.explain", "cofire.cli.evaluate")
    for name in [name for name in sys.modules if name.startswith(own)]:
        del sys.modules[name]


@pytest.fixture
def network():
    return cofire.Network(tiny_model(), torch.zeros(1, 3, SIDE, SIDE))


def run(*arguments):
    told = CliRunner().invoke(app, ["--plugin", "own_methods.py", *map(str, arguments)])
    if isinstance(told.exception, CofireError):
        raise told.exception
    assert told.exit_code == 0, (told.output, told.exception)
    return told.output


def test_it_explains(network):
    cofire.plugins.load(["own_methods.py"])
    images = torch.rand(2, 3, SIDE, SIDE)
    found = cofire.explain(network, images, method="bright", least=0.25)
    assert torch.equal(found.heatmap(), (images.mean(1) - 0.25).clamp(min=0))
    assert found.options == {"least": 0.25}
    assert found.target[:, 0].tolist() == network.run(images).argmax(1).tolist()
    assert found.boxes().found.all()
    points = cofire.explain(network, images, 0, "top")
    assert points.kind == "points"
    at = divmod(int(images[1].mean(0).argmax()), SIDE)
    assert [
        (int(y), int(x)) for y, x in zip(points.points(1).y, points.points(1).x, strict=True)
    ] == [at]
    assert torch.equal(explained(network, images, 0, "bright").maps, images.mean(1))
    assert "bright" in cofire.evaluate.EVALUATED


def test_its_options_are_checked_and_near_names_told(network):
    cofire.plugins.load(["own_methods.py"])
    images = torch.rand(2, 3, SIDE, SIDE)
    with pytest.raises(OptionError, match=r"least=2.*from -1 to 1.*pass least=0"):
        cofire.explain(network, images, method="bright", least=2)
    with pytest.raises(OptionError, match="pass 'least'"):
        cofire.explain(network, images, method="bright", leest=0.5)
    with pytest.raises(OptionError, match="pass 'bright'"):
        cofire.explain(network, images, method="brihgt")


def test_what_it_gives_wrongly_is_refused(network):
    @cofire.register_method("wrong", title="Wrong")
    def wrong(network, images, classes, options):
        return images

    with pytest.raises(ExplanationError, match=r"'wrong'.*shape \(2, \d+, \d+\).*register_method"):
        cofire.explain(network, torch.rand(2, 3, SIDE, SIDE), method="wrong")
    with pytest.raises(OptionError, match="lower-case"):
        cofire.register_method("My method", title="Mine")


def test_the_commands_and_their_pages_know_it(tmp_path):
    # As in a process of its own: the verb is imported after the plugin.
    for verb in ("explain", "evaluate"):
        sys.modules.pop(f"cofire.cli.{verb}", None)
    given = ("--model", "net.pt2", "--resize", "0", "--mean", "0.5", "--std", "0.25")
    assert "bright" in run("explain", "--help")
    told = run(
        "explain",
        "photos",
        *given,
        "--method",
        "bright,top",
        "--least",
        "0.25",
        "--out",
        tmp_path / "e",
    )
    assert "Bright pixels" in told
    page = (tmp_path / "e" / "explain.html").read_text(encoding="utf-8")
    assert "Bright pixels" in page
    assert "Brightest pixel" in page
    noted = json.loads((tmp_path / "e" / "explanations.json").read_text(encoding="utf-8"))
    assert [one["options"] for one in noted["images"][0]["explanations"]] == [{"least": 0.25}, {}]
    assert "--least" in run("explain", "--help")
    assert [one["method"] for one in noted["images"][0]["explanations"]] == ["bright", "top"]
    out = tmp_path / "j"
    run(
        "evaluate",
        *given,
        "--data",
        "photos",
        "--boxes",
        "boxes.json",
        "--method",
        "bright,top,centre",
        "--split",
        "all",
        "--out",
        out,
    )
    assert "Bright pixels" in (out / "evaluation.html").read_text(encoding="utf-8")
    assert "Bright pixels" in (out / "table.md").read_text(encoding="utf-8")
