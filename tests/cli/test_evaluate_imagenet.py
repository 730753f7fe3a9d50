"""P3's own setting, in small: ImageNet's validation set as it lies on a disk, so many images drawn three times."""

import json

import pytest
import torch
from PIL import Image
from typer.testing import CliRunner

from cofire.cli.main import app
from cofire.evaluate.evaluation import Evaluation
from tests.evaluate.judged import SIDE, tiny_model, write_photos
from tests.images.folders import xml

SYNSETS = ["n01440764", "n01443537", "n02099601"]


@pytest.fixture(scope="module")
def imagenet(tmp_path_factory):
    """The layout of the archive, with the annotations of localisation beside the images."""
    plain = write_photos(tmp_path_factory.mktemp("plain"), 16)
    root = tmp_path_factory.mktemp("imagenet")
    data, notes = (root / "ILSVRC" / part / "CLS-LOC" / "val" for part in ("Data", "Annotations"))
    data.mkdir(parents=True)
    for number, entry in enumerate(json.loads((plain / "boxes.json").read_text())):
        name = f"ILSVRC2012_val_{number + 1:08}"
        Image.open(plain / "photos" / entry["file"]).save(data / f"{name}.JPEG", quality=95)
        objects = [
            (SYNSETS[entry["label"]], (a, b, c - 1, d - 1))
            for a, b, c, d in entry["boxes"] or [[0, 0, 9, 9]]
        ]
        xml(notes / f"{name}.xml", *objects, size=(SIDE, SIDE), database="ILSVRC_2012")
    (root / "LOC_synset_mapping.txt").write_text(
        "".join(f"{wnid} a colour, one of three\n" for wnid in SYNSETS)
    )
    program = torch.export.export(
        tiny_model(),
        (torch.zeros(2, 3, SIDE, SIDE),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, root / "net.pt2")
    return root


def test_one_command_draws_three_times_and_gives_the_columns_of_table_1(imagenet, tmp_path):
    told = CliRunner().invoke(
        app,
        [
            "evaluate",
            "--model",
            str(imagenet / "net.pt2"),
            "--data",
            str(imagenet),
            "--resize",
            "0",
            "--mean",
            "0.5",
            "--std",
            "0.25",
            "--method",
            "discernible-p3,cnn-fixations,gradcam,gradcam++",
            "--sample",
            "4",
            "--draws",
            "3",
            "--out",
            str(tmp_path / "out"),
        ],
    )
    assert told.exit_code == 0, (told.output, told.exception)
    found = Evaluation.load(tmp_path / "out")
    means = found.draw_means()
    assert len(means) == 3
    table = found.table("all")
    for method in found.methods:
        assert {"pointing", "increase"} <= set(table[method])
