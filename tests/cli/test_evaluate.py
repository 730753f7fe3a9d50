"""`cofire evaluate` as a user runs it: tables, files, again in the same folder, and every way to ask wrongly."""

import json
import os
import shutil

import pytest
import torch
from typer.testing import CliRunner

from cofire.cli.main import app
from cofire.errors import CofireError, DataError, MergeError, OptionError
from cofire.evaluate.evaluation import Evaluation
from tests.evaluate.judged import SIDE, tiny_model, write_photos
from tests.report.synthetic_pages import tuned

FILES = {"rows", "records.parquet", "evaluation.json", "evaluation.html", "table.md"}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = write_photos(tmp_path_factory.mktemp("evaluate"), 12)
    program = torch.export.export(
        tiny_model(),
        (torch.zeros(2, 3, SIDE, SIDE),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, folder / "net.pt2")
    return folder


@pytest.fixture
def evaluate(place, monkeypatch):
    """Runs the command in the place; an error comes out as it is raised."""
    monkeypatch.chdir(place)

    def run(*arguments):
        given = [
            "--model",
            "net.pt2",
            "--data",
            "photos",
            "--boxes",
            "boxes.json",
            "--resize",
            "0",
        ]
        given += ["--mean", "0.5", "--std", "0.25", *map(str, arguments)]
        told = CliRunner().invoke(app, ["evaluate", *given], catch_exceptions=True)
        if isinstance(told.exception, CofireError):
            raise told.exception
        assert told.exit_code == 0, (told.output, told.exception)
        return told.output

    return run


def test_all_of_it(evaluate, tmp_path):
    out = tmp_path / "out"
    asked = (
        "--out",
        out,
        "--method",
        "discernible,gradcam,centre",
        "--classes",
        "names.txt",
        "--split",
        "all",
    )
    told = evaluate(
        *asked,
        "--robustness",
        "2",
        "--against",
        "net.pt2",
        "--against-mean",
        "0.5",
        "--against-std",
        "0.25",
    )
    assert {path.name for path in out.iterdir()} == FILES | {
        "robustness.html",
        "robustness.json",
        "two-networks.html",
        "two-networks.json",
    }
    for words in (
        "Best at pointing: ",
        "Better than the centre: ",
        "Most sensitive to the class: ",
        "To use: ",
    ):
        assert words in told
    found = Evaluation.load(out)
    assert found.methods == ("discernible", "gradcam", "centre")
    usual = ["localisation", "confidence", "soft", "sensitivity", "mistakes"]
    assert found.options["measures"] == usual
    assert "cofire" in found.options["command"]
    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert "two-networks.html" in page
    assert "robustness.html" in page
    table = (out / "table.md").read_text(encoding="utf-8")
    assert "| Discernible neurons |" in table
    assert len(told[told.index("3 methods judged") : told.index("Records ")].splitlines()) <= 9
    for text in (table, page):
        assert "share of the maximum (threshold)" in text
        assert "pixels (connected)" in text
    assert table.count("connected with the maximum") + table.count("all that reach it") == 3
    # The same again reads what is there, other options are refused.
    before = (out / "records.parquet").read_bytes()
    evaluate(*asked)
    assert (out / "records.parquet").read_bytes() == before
    with pytest.raises(MergeError, match="seed"):
        evaluate(*asked, "--seed", "3")


def test_methods_are_judged_in_several_views(evaluate, tmp_path):
    asked = ("--method", "gradcam,centre", "--measures", "localisation", "--limit", "1")
    told = evaluate("--out", tmp_path / "out", *asked, "--views", "mirror")
    assert "each image is explained in 2 views" in told
    found = Evaluation.load(tmp_path / "out")
    assert found.options["options"] == {"gradcam": {"views": "mirror"}}


def test_draws_measures_and_fill(evaluate, tmp_path):
    told = evaluate(
        "--out",
        tmp_path / "out",
        "--method",
        "centre,random",
        "--measures",
        "localisation,soft",
        "--sample",
        "3",
        "--draws",
        "2",
        "--fill",
        "black",
        "--batch-size",
        "2",
        "--tuning-images",
        "3",
        "--margin",
        "5",
    )
    found = Evaluation.load(tmp_path / "out")
    assert found.options["fill"] == "black"
    assert found.options["tuning_images"] == 3
    assert found.margin == 0.05
    assert (
        "within ±5 points of a share, ±0.05 of other measures"
        in (tmp_path / "out" / "table.md").read_text()
    )
    assert len(found.draw_means()) == 2
    assert "2 draws of 3 images each" in told
    assert "p = " not in told
    asked = f"--out {tmp_path / 'out'} --method centre,random --measures localisation,soft"
    again = "--sample 3 --draws 2 --fill black --batch-size 2 --tuning-images 3 --margin 5 -v"
    told = evaluate(*asked.split(), *again.split())
    assert "Centre less each rival" in told
    assert "p = " in told


def test_all_methods_and_measures_by_name(evaluate, tmp_path):
    evaluate("--out", tmp_path / "out", "--method", "all", "--measures", "all", "--limit", "1")
    found = Evaluation.load(tmp_path / "out")
    assert found.methods[:3] == ("discernible", "discernible-p3", "discernible-points")
    assert found.methods[-3:] == ("centre", "random", "edges")
    assert "curves" in found.options["measures"]
    assert found.records["deletion"].null_count < len(found.records)


def test_what_was_learnt_is_used(evaluate, tmp_path):
    tuned(options={"alpha": [1.0, 0.0, 1.0], "k": 5, "contrast": None}).save(
        tmp_path / "learnt.json"
    )
    asked = (
        "--measures",
        "localisation",
        "--limit",
        "2",
        "--weights-of-layers",
        tmp_path / "learnt.json",
    )
    evaluate("--out", tmp_path / "out", "--method", "discernible,centre", *asked)
    options = Evaluation.load(tmp_path / "out").options["options"]
    assert options["discernible"]["k"] == 5
    assert options["discernible"]["sigma"] == 0.05
    assert "k = 5" in (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")
    with pytest.raises(OptionError, match="discernible"):
        evaluate("--out", tmp_path / "other", "--method", "centre", *asked)


def test_a_study_is_never_written_into(evaluate, tmp_path):
    (tmp_path / "rows").mkdir()
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(OptionError, match="holds a study"):
        evaluate("--out", tmp_path, "--method", "centre")


def test_photos_without_a_half_can_be_left_out(evaluate, place, tmp_path):
    entries = json.loads((place / "boxes.json").read_text())
    (tmp_path / "fewer.json").write_text(json.dumps(entries[:-2]))
    asked = (
        "--boxes",
        tmp_path / "fewer.json",
        "--method",
        "centre",
        "--measures",
        "localisation",
        "--split",
        "all",
    )
    with pytest.raises(DataError, match=r"010\.png"):
        evaluate(*asked, "--out", tmp_path / "out")
    told = evaluate(*asked, "--out", tmp_path / "out", "--skip-unmatched")
    assert "2 images without an entry" in told


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--method", "gradcm"), "gradcam"),
        (("--method", ","), "discernible"),
        (("--measures", "pointing"), "localisation"),
        (("--fill", "white"), "mean"),
        (("--split", "test"), "evaluation"),
        (("--robustness", "-1"), "from 0"),
        (("--margin", "-1"), "from 0"),
        (("--margin", "inf"), "0"),
        (("--against-weights", "x.pt"), "--against"),
        (("--draws", "2"), "samples"),
        (("--sample", "99"), "--sample"),
        (("--against-std", "0.5"), "--against-std without --against"),
    ],
)
def test_what_cannot_be_asked_for_is_refused(evaluate, tmp_path, arguments, told):
    with pytest.raises(OptionError, match=told):
        evaluate("--out", tmp_path / "out", *arguments)
    assert not (tmp_path / "out" / "rows").exists()


def test_other_files_are_never_written_over(evaluate, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(OptionError, match="other files"):
        evaluate("--out", tmp_path, "--method", "centre")
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def test_what_is_skipped_is_named_and_no_obstacle_later(evaluate, place, tmp_path):
    entries = json.loads((place / "boxes.json").read_text())
    for entry in entries:
        entry["boxes"].append([90, 0, 99, 9])
    (tmp_path / "odd.json").write_text(
        json.dumps([*entries[:-1], {**entries[-1], "file": "gone.png"}])
    )
    asked = (
        "--boxes",
        tmp_path / "odd.json",
        "--method",
        "discernible,centre",
        "--measures",
        "localisation",
    )
    told = evaluate(
        *asked,
        "--split",
        "all",
        "--skip-unreadable",
        "--skip-unmatched",
        "--robustness",
        "2",
        "--out",
        tmp_path / "out",
    )
    named = Evaluation.load(tmp_path / "out").options["left_out"]
    assert named["images without an entry"] == ["011.png"]
    assert named["entries without an image"] == ["gone.png"]
    assert named["boxes that do not fit"][1] == "001.png: box 90, 0, 99, 9 lies outside of 16 × 16"
    assert len(named["boxes that do not fit"]) == 11
    page = (tmp_path / "out" / "evaluation.html").read_text(encoding="utf-8")
    for text in (told, page):
        assert "entries without an image (1)" in text
        assert "gone.png" in text.replace("<wbr>", "")


def test_another_network_is_looked_at_before_anything_is_judged(evaluate, tmp_path):
    program = torch.export.export(
        torch.nn.Sequential(torch.nn.Conv2d(3, 2, SIDE), torch.nn.Flatten()),
        (torch.zeros(2, 3, SIDE, SIDE),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, tmp_path / "two.pt2")
    with pytest.raises(DataError, match="a network of 2 classes"):
        evaluate("--out", tmp_path / "out", "--method", "centre", "--against", tmp_path / "two.pt2")
    with pytest.raises(CofireError, match=r"none\.safetensors"):
        evaluate(
            "--out",
            tmp_path / "out",
            "--against",
            "net.pt2",
            "--against-weights",
            "none.safetensors",
        )
    assert not (tmp_path / "out" / "rows").exists()


def test_boxes_of_several_or_unknown_classes_can_be_told_about(evaluate, place, tmp_path):
    rows = [
        {"file": f"{number:03d}.png", "size": [SIDE, SIDE], "boxes": [[0, 0, 4, 4]], "label": "red"}
        for number in (0, 1)
    ]
    (tmp_path / "some.json").write_text(json.dumps([rows[0], {**rows[1], "label": "lynx"}]))
    asked = (
        "--boxes",
        tmp_path / "some.json",
        "--classes",
        "names.txt",
        "--method",
        "centre",
        "--split",
        "all",
        "--measures",
        "localisation",
        "--skip-unmatched",
    )
    with pytest.raises(DataError, match=r"out: --skip-unknown\."):
        evaluate(*asked, "--out", tmp_path / "out")
    told = evaluate(
        *asked,
        "--skip-unknown",
        "--several",
        "skip",
        "--difficult",
        "--first-pixel",
        "0",
        "--out",
        tmp_path / "out",
    )
    assert "lynx (1)" in told
    with pytest.raises(OptionError, match="several"):
        evaluate(*asked, "--skip-unknown", "--several", "all", "--out", tmp_path / "other")


def test_photos_of_any_name_are_found_again_in_records_and_pages(evaluate, place, tmp_path):
    odd = {"000.png": os.fsdecode(b"caf\xe9.png"), "001.png": "a\nb.png"}
    shutil.copytree(place / "photos", tmp_path / "photos")
    try:
        for name, other in odd.items():
            (tmp_path / "photos" / name).rename(tmp_path / "photos" / other)
    except OSError:
        pytest.skip("this file system takes no such names")
    entries = json.loads((place / "boxes.json").read_text())
    boxes = tmp_path / "boxes.json"
    boxes.write_text(
        json.dumps([{**one, "file": odd.get(one["file"], one["file"])} for one in entries])
    )
    asked = (
        "--data",
        tmp_path / "photos",
        "--boxes",
        boxes,
        "--method",
        "gradcam,centre",
        "--split",
        "all",
    )
    out = tmp_path / "out"
    for _ in range(2):
        evaluate(*asked, "--measures", "localisation", "--robustness", "12", "--out", out)
    found = set(Evaluation.load(out).records["file"].to_pylist())
    assert {"caf\\xe9.png", "a\nb.png", "002.png"} <= found
    assert len(found) == 12
    for page in out.glob("*.html"):
        page.read_text(encoding="utf-8")
