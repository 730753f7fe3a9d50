"""`cofire tune`, and `cofire explain` with what it learnt, as a user runs them."""

import json

import pytest
import torch
from typer.testing import CliRunner

from cofire.cli.main import app
from cofire.cli.tune import PAGE, RESULT
from cofire.errors import CofireError, DataError, OptionError, ResultError
from cofire.evaluate.tuned import read_tuned
from cofire.images.collection import split_of
from cofire.report.pages import (
    MARK,
)
from tests.evaluate.tuned_network import collection_of, small_model


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tune")
    (folder / "photos").mkdir()
    photos = collection_of(folder / "photos", 14)
    rows = [
        {"file": p.name, "label": p.label, "size": [16, 16], "boxes": [list(p.boxes[0])]}
        for p in photos
    ]
    (folder / "boxes.json").write_text(json.dumps(rows))
    (folder / "far.json").write_text(json.dumps([{**row, "label": 7} for row in rows]))
    (folder / "fewer.json").write_text(json.dumps(rows[1:]))
    for seed, name in enumerate(("net.pt2", "other.pt2")):
        model = small_model(seed)
        program = torch.export.export(
            model, (torch.zeros(2, 1, 16, 16),), dynamic_shapes=({0: torch.export.Dim("batch")},)
        )
        torch.export.save(program, folder / name)
    return folder


@pytest.fixture
def run(place, monkeypatch):
    monkeypatch.chdir(place)

    def command(*arguments):
        told = CliRunner().invoke(app, [*map(str, arguments)], catch_exceptions=True)
        if isinstance(told.exception, CofireError):
            raise told.exception
        assert told.exit_code == 0, (told.output, told.exception)
        return told.output

    return command


TUNE = (
    "tune",
    "--data",
    "photos",
    "--boxes",
    "boxes.json",
    "--model",
    "net.pt2",
    "--resize",
    "0",
    "--trials",
    "4",
)
LAYERS = (*TUNE, "--try", "contrast=0,0.7", "--try", "sigma=0.05,0.2", "--try", "threshold=0.3,0.5")
QUICK = (
    *TUNE,
    "--contrast",
    "none",
    "--try",
    "current=0.5,1",
    "--try",
    "preceding=0,1",
    "--try",
    "succeeding=",
    "--try",
    "k=1,all",
    "--try",
    "k-linear=",
    "--try",
    "min_share=0.1,0.2",
    "--try",
    "radius=",
    "--try",
    "sigma=0.05,0.2",
)


@pytest.fixture(scope="module")
def learnt(place):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        told = CliRunner().invoke(app, [*QUICK, "--out", "learnt"])
    assert told.exit_code == 0, (told.output, told.exception)
    return place / "learnt" / RESULT, told.output


def explained(run, tmp_path, *more):
    command = (
        "explain",
        "photos/001.png",
        "--model",
        "net.pt2",
        "--resize",
        "0",
        "--out",
        tmp_path / "out",
    )
    told = run(*command, *more)
    return json.loads((tmp_path / "out" / MARK).read_text(encoding="utf-8")), told


def test_it_learns_and_tells(learnt, place):
    path, told = learnt
    assert {file.name for file in path.parent.iterdir()} == {RESULT, PAGE}
    found = read_tuned(path)
    assert [one.name for one in found.learned] == [
        "current",
        "preceding",
        "k",
        "min_share",
        "sigma",
    ]
    assert found.learned[2].values == (1, None)
    assert found.setup["model"] == "net.pt2"
    assert found.setup["command"].startswith("cofire")
    assert "weight of current support" in told
    assert "of the boxes lie on the object" in told


def test_explaining_uses_what_was_learnt_for_maps_boxes_and_page(learnt, run, tmp_path):
    path, _ = learnt
    found = read_tuned(path)
    noted, told = explained(
        run, tmp_path, "--weights-of-layers", path, "--method", "discernible,cnn-fixations"
    )
    ours, fixations = noted["images"][0]["explanations"]
    unused = {"attention": "values", "guided": True, "rows": 48}
    assert {**unused, **ours["options"]} == {**found.options, "n": 1}
    assert ours["regions"] == found.regions.used("points")
    assert fixations["regions"]["min_share"] == 0.05
    assert noted["setup"]["weights_of_layers"] == str(path)
    assert "Note" not in told
    by_hand, _ = explained(run, tmp_path / "hand")
    assert by_hand["images"][0]["explanations"][0]["box"] != ours["box"] or found.options["k"] == 10
    page = (tmp_path / "out" / "explain.html").read_text(encoding="utf-8")
    assert (
        f"standard deviation of {100 * found.regions.sigma:.3g}\u00a0%" in page
        or found.regions.sigma == 20 / 224
    )


def test_what_is_given_comes_before_what_was_learnt(learnt, run, tmp_path):
    noted, _ = explained(
        run, tmp_path, "--weights-of-layers", learnt[0], "--k", "3", "--alpha", "1,0.3,1"
    )
    options = noted["images"][0]["explanations"][0]["options"]
    assert (options["k"], options["alpha"]) == (3, [1.0, 0.3, 1.0])


def test_options_of_maps_of_layers_are_learnt_and_used(run, tmp_path, learnt):
    assert "contrast" in run(*LAYERS, "--out", tmp_path / "learnt")
    found = read_tuned(tmp_path / "learnt" / RESULT)
    assert [one.name for one in found.learned] == ["contrast", "sigma", "threshold", "connected"]
    noted, _ = explained(run, tmp_path, "--weights-of-layers", tmp_path / "learnt" / RESULT)
    ours = noted["images"][0]["explanations"][0]
    assert ours["regions"] == found.regions.used("layers")
    assert ours["options"]["contrast"] == found.options["contrast"]
    noted, _ = explained(
        run, tmp_path, "--weights-of-layers", tmp_path / "learnt" / RESULT, "--contrast", "0.1"
    )
    assert noted["images"][0]["explanations"][0]["options"]["contrast"] == 0.1
    for file, contrast in ((tmp_path / "learnt" / RESULT, "none"), (learnt[0], "0.5")):
        with pytest.raises(OptionError, match="contrast"):
            explained(run, tmp_path / "other", "--weights-of-layers", file, "--contrast", contrast)


def test_another_network_is_noted_and_no_obstacle(learnt, run, tmp_path):
    _, told = explained(run, tmp_path, "--weights-of-layers", learnt[0], "--model", "other.pt2")
    assert "Note: the weights of layers were learnt on other weights of this network" in told


def test_a_file_that_is_none_stops_before_anything_is_read(run, tmp_path, learnt):
    (tmp_path / "bad.json").write_text(learnt[0].read_text()[:200])
    for file in (tmp_path / "bad.json", tmp_path / "none.json"):
        with pytest.raises(ResultError):
            explained(run, tmp_path, "--weights-of-layers", file)
    with pytest.raises(OptionError, match="weights-of-layers"):
        explained(run, tmp_path, "--weights-of-layers", learnt[0], "--method", "cnn-fixations")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("more", "error"),
    [
        (("--try", "magic=1,2"), OptionError),
        (("--try", "k"), OptionError),
        (("--try", "k=1"), OptionError),
        (("--try", "k=1,2.5"), OptionError),
        (("--try", "k=1,2", "--try", "k=2,3"), OptionError),
        (("--try", "sigma=no,maybe"), OptionError),
        (("--method", "magic"), OptionError),
        (("--alpha", "0,0,1"), OptionError),
        (("--least-iou", "0"), OptionError),
        (("--sample", "0"), OptionError),
        (("--try", "threshold=0.2,0.5", "--contrast", "none"), OptionError),
        (("--contrast", "much"), OptionError),
        (("--try", "connected=no,7"), OptionError),
        (("--try", "contrast=0.5,none"), OptionError),
        (("--trials", "1"), OptionError),
        (("--boxes", "far.json"), DataError),
        (("--boxes", "none.json"), DataError),
        (("--boxes", "fewer.json"), DataError),
    ],
)
def test_what_is_asked_wrongly_is_an_error_and_leaves_nothing(run, tmp_path, more, error):
    with pytest.raises(error):
        run(*TUNE, *more, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unmatched_photos_can_be_left_out(run, tmp_path):
    told = run(*QUICK, "--boxes", "fewer.json", "--skip-unmatched", "--out", tmp_path / "out")
    assert "Learnt" in told
    (named,) = read_tuned(tmp_path / "out" / RESULT).setup["left_out"].values()
    assert f"images without an entry (1): {named[0]}" in told
    assert named[0] in (tmp_path / "out" / PAGE).read_text(encoding="utf-8").replace("<wbr>", "")


def test_photos_of_the_other_half_alone_are_told_apart(run, place, tmp_path):
    photos = tmp_path / "photos"
    photos.mkdir()
    rows = [
        row
        for row in json.loads((place / "boxes.json").read_text())
        if split_of(row["file"]) == "evaluation"
    ]
    for row in rows:
        (photos / row["file"]).write_bytes((place / "photos" / row["file"]).read_bytes())
    (tmp_path / "half.json").write_text(json.dumps(rows))
    with pytest.raises(DataError, match=f"no image of the tuning half among {len(rows)}"):
        run(
            "tune",
            "--data",
            photos,
            "--boxes",
            tmp_path / "half.json",
            *TUNE[5:],
            "--out",
            tmp_path / "out",
        )
