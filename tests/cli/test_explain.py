"""`cofire explain` as a user runs it: every kind of file, every way to ask, and every way to ask wrongly."""

import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn
from typer.testing import CliRunner

from cofire.cli.main import app
from cofire.cli.main import main as run_main
from cofire.errors import CofireError, DataError, ImageError, LayerError, OptionError, RuleError
from cofire.explain import METHODS
from cofire.images.classes import class_number, known_names, read_names
from cofire.images.preparation import preparation_of
from cofire.images.reading import find_images, read_image
from cofire.report.pages import (
    MARK,
    replaced,
)

NAMES = ["ant", "bee", "cat"]

WITHOUT_RULE = """
import torch
from torch import nn

class Looking(nn.Module):
    def __init__(self):
        super().__init__()
        self.look = nn.Conv3d(1, 1, 3)
        self.last = nn.Linear(1, 4)

    def forward(self, x):
        return self.last(torch.relu(self.look(x[:, None])).mean((2, 3, 4)))

def looking():
    torch.manual_seed(0)
    return Looking().eval()

def grey():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3))
"""


def exported(path, channels=3, side=12):
    torch.manual_seed(1)
    model = nn.Sequential(
        nn.Conv2d(channels, 6, 3),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(6, 8, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(8 * ((side - 2) // 2 - 2) ** 2, 3),
    ).eval()
    program = torch.export.export(
        model,
        (torch.zeros(2, channels, side, side),),
        dynamic_shapes=({0: torch.export.Dim("batch")},),
    )
    torch.export.save(program, path)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    exported(folder / "net.pt2")
    exported(folder / "grey.pt2", channels=1)
    exported(folder / "four.pt2", channels=4)
    (folder / "looking.py").write_text(WITHOUT_RULE)
    (folder / "names.txt").write_text("ant\nbee\ncat\n")
    (folder / "photos").mkdir()
    rng = np.random.default_rng(0)
    for name, size in (("a.jpg", (16, 12)), ("b.png", (12, 12)), ("c.webp", (12, 20))):
        Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)).save(
            folder / "photos" / name
        )
    (folder / "photos" / "notes.txt").write_text("no image")
    (folder / "bad.jpg").write_bytes((folder / "photos" / "a.jpg").read_bytes()[:200])
    (folder / "empty").mkdir()
    return folder


@pytest.fixture
def explain(place, monkeypatch):
    """Runs the command in the place; an error comes out as it is raised."""
    monkeypatch.chdir(place)

    def run(*arguments):
        told = CliRunner().invoke(app, ["explain", *map(str, arguments)], catch_exceptions=True)
        if isinstance(told.exception, CofireError):
            raise told.exception
        assert told.exit_code == 0, (told.output, told.exception)
        return told.output

    return run


SMALL = ("photos", "--model", "net.pt2", "--mean", "0.5", "--std", "0.5")


def records(folder):
    return json.loads((folder / MARK).read_text(encoding="utf-8"))


def test_a_folder_by_all_methods(explain, tmp_path):
    out = tmp_path / "out"
    told = explain(*SMALL, "--classes", "names.txt", "--method", "all", "--out", out)
    assert {path.name for path in out.iterdir()} == {MARK, "explain.html", "images"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert sorted(path.name for path in (out / "images").iterdir()) == ["a.png", "b.png", "c.png"]
    assert "a.jpg" in told
    assert "box by Grad-CAM++" in told
    found = records(out)
    assert found["setup"]["prepared"] == "shorter side to 12, centre crop 12 × 12, (x − 0.5) / 0.5"
    first = found["images"][0]
    assert first["size"] == [16, 12]
    assert first["region"] == [2.0, 0.0, 14.0, 12.0]
    assert first["predicted"]["name"] in NAMES
    assert [one["method"] for one in first["explanations"]] == list(METHODS)
    by = {one["method"]: one for one in first["explanations"]}
    ours, paper, fixations = by["discernible"], by["discernible-p3"], by["cnn-fixations"]
    cam, lrp = by["gradcam"], by["lrp"]
    assert (paper["options"]["contrast"], paper["options"]["k"]) == (None, 1)
    assert ours["evidence_at_input"] == pytest.approx(1.0, abs=0.5)
    assert ours["points"] > 0
    assert len(ours["strongest"]) == min(ours["points"], 10)
    assert fixations["evidence_at_input"] is None
    assert cam["points"] is None
    assert cam["target_layer"]
    assert lrp["target_layer"] is None
    for one in first["explanations"]:
        if one["box"]:
            assert one["box_in_file"] == pytest.approx(
                [one["box"][0] + 2, one["box"][1], one["box"][2] + 2, one["box"][3]]
            )
    with Image.open(out / "images" / "a.png") as image:
        assert image.width > 4 * 400


def test_an_image_is_explained_in_several_views_whose_price_is_told(explain, tmp_path):
    told = explain(*SMALL, "--method", "discernible,gradcam", "--views", "both", "--out", tmp_path)
    assert "explained in 4 views, 4 times the time of its heat map alone" in told
    for one in records(tmp_path)["images"][0]["explanations"]:
        assert (one["options"]["views"], one["heat_map_of"]) == ("both", "maps")
    page = (tmp_path / "explain.html").read_text(encoding="utf-8")
    assert "the mean over views of the image (views=both)" in page


def test_a_class_is_explained_by_name_or_number(explain, tmp_path):
    for target in ("CAT", "2"):
        out = tmp_path / target
        told = explain(
            "photos/b.png", *SMALL[1:], "--classes", "names.txt", "--target", target, "--out", out
        )
        assert "explained" in told
        one = records(out)["images"][0]["explanations"]
        assert [(entry["class"], entry["name"]) for entry in one] == [(2, "cat")]


def test_the_most_probable_classes_are_explained_each_by_itself(explain, tmp_path):
    explain(
        "photos/b.png",
        *SMALL[1:],
        "--top",
        "3",
        "--method",
        "discernible,gradcam",
        "--out",
        tmp_path / "out",
    )
    found = records(tmp_path / "out")["images"][0]
    chances = [entry["probability"] for entry in found["explanations"]]
    assert len(chances) == 6
    assert chances == sorted(chances, reverse=True)
    assert sum(chances[::2]) == pytest.approx(1.0, abs=1e-5)
    assert found["explanations"][0]["class"] == found["predicted"]["class"]
    assert found["explanations"][0]["name"] is None


def test_options_reach_our_method_and_leave_the_published_one_alone(explain, tmp_path):
    explain(
        *SMALL,
        "--method",
        "discernible,cnn-fixations",
        "--k",
        "2",
        "--k-linear",
        "all",
        "--alpha",
        "1,0.5,2",
        "--most",
        "7",
        "--not-counted",
        "--not-carried",
        "--contrast",
        "none",
        "--out",
        tmp_path / "out",
    )
    ours, fixations = records(tmp_path / "out")["images"][0]["explanations"]
    assert ours["options"] == {
        "alpha": [1.0, 0.5, 2.0],
        "k": 2,
        "k_linear": None,
        "n": 1,
        "most": 7,
        "counted": False,
        "carried": False,
        "contrast": None,
        "points": True,
    }
    assert fixations["options"]["k"] == 1
    assert fixations["options"]["alpha"] == [1.0, 0.0, 1.0]


def test_batches_and_names_that_are_there_twice_change_nothing(explain, place, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "A.jpg").write_bytes((place / "photos" / "a.jpg").read_bytes())
    arguments = ("photos", tmp_path / "other", "photos/a.jpg", *SMALL[1:])
    explain(*arguments, "--out", tmp_path / "one", "--batch-size", "1")
    explain(*arguments, "--out", tmp_path / "four")
    one, four = records(tmp_path / "one")["images"], records(tmp_path / "four")["images"]
    assert [image["image"] for image in one] == [
        "images/a.png",
        "images/b.png",
        "images/c.png",
        "images/A-2.png",
    ]
    assert [image["explanations"][0]["box"] for image in one] == [
        image["explanations"][0]["box"] for image in four
    ]
    assert one[0]["explanations"][0]["points"] == one[3]["explanations"][0]["points"]


def test_an_earlier_run_is_replaced_with_its_images(explain, tmp_path):
    out = tmp_path / "out"
    explain(*SMALL, "--out", out)
    (out / "images" / "mine.png").write_bytes(b"")
    told = explain("photos/b.png", *SMALL[1:], "--out", out)
    assert "made earlier is replaced" in told
    assert sorted(path.name for path in (out / "images").iterdir()) == ["b.png", "mine.png"]


def test_a_torchvision_model_knows_its_preparation_and_names(explain, place, tmp_path):
    out = tmp_path / "out"
    told = explain(
        "photos/a.jpg", "--model", "torchvision:squeezenet1_1", "--weights", "none", "--out", out
    )
    assert "shorter side to 256, centre crop 224 × 224" in told
    assert records(out)["images"][0]["predicted"]["name"] in known_names(
        "torchvision:squeezenet1_1", 1000
    )


def test_a_network_of_one_channel_sees_grey(explain, tmp_path):
    explain("photos", "--model", "grey.pt2", "--out", tmp_path / "pt2")
    assert records(tmp_path / "pt2")["setup"]["input_shape"] == [1, 12, 12]
    asked = (
        "--model",
        "looking:grey",
        "--grey",
        "--image-size",
        "8",
        "--mean",
        "0.1307",
        "--std",
        "0.3081",
    )
    told = explain("photos", *asked, "--out", tmp_path / "module")
    assert "grey" in told
    assert "(x − 0.1307) / 0.3081" in told


@pytest.mark.parametrize(
    ("arguments", "error", "said"),
    [
        (("nowhere.jpg", *SMALL[1:]), ImageError, "no file 'nowhere.jpg'"),
        (("empty", *SMALL[1:]), ImageError, "no image in the folder 'empty'"),
        (("photos", "bad.jpg", *SMALL[1:]), ImageError, "'bad.jpg' cannot be read"),
        (("names.txt", *SMALL[1:]), ImageError, "not a format that Pillow knows"),
        (
            (*SMALL, "--resize", "0", "--model", "torchvision:squeezenet1_0", "--weights", "none"),
            ImageError,
            "16 × 12",
        ),
        ((*SMALL, "--classes", "names.txt", "--target", "cow"), OptionError, "no class 'cow'"),
        ((*SMALL, "--target", "cat"), OptionError, "the names with --classes"),
        ((*SMALL, "--target", "3"), OptionError, "a class from 0 to 2"),
        ((*SMALL, "--target", "1", "--top", "2"), OptionError, "--target and --top"),
        ((*SMALL, "--top", "4"), OptionError, "at most 3 classes"),
        ((*SMALL, "--top", "0"), OptionError, "--top 0"),
        ((*SMALL, "--method", "gradcam,gradkam"), OptionError, "try 'gradcam'"),
        ((*SMALL, "--method", ","), OptionError, "--method ','"),
        ((*SMALL, "--method", "gradcam", "--k", "3"), OptionError, "add discernible"),
        ((*SMALL, "--layer", "1"), OptionError, "add gradcam"),
        ((*SMALL, "--method", "gradcam", "--layer", "nine"), LayerError, "nine"),
        ((*SMALL, "--k", "0"), OptionError, "--k 0"),
        ((*SMALL, "--alpha", "1,1"), OptionError, "three numbers"),
        ((*SMALL, "--contrast", "much"), OptionError, "--contrast 'much'"),
        ((*SMALL, "--contrast", "2"), OptionError, "contrast"),
        ((*SMALL, "--image-size", "20"), OptionError, "12 × 12 pixels, which it was exported with"),
        ((*SMALL, "--grey"), OptionError, "3 channels"),
        ((*SMALL[:3], "--mean", "0.5"), OptionError, "both or neither"),
        ((*SMALL[:3], "--mean", "0.5,0.5", "--std", "1"), OptionError, "3 channels"),
        ((*SMALL[:3], "--mean", "0.5", "--std", "0"), OptionError, "above 0"),
        (("photos", "--model", "four.pt2"), OptionError, "4 channels"),
        (
            ("photos", "--model", "looking:looking", "--image-size", "8"),
            RuleError,
            "register a rule",
        ),
        ((*SMALL, "--out", "photos"), OptionError, "holds other files"),
        ((*SMALL, "--classes", "nothing.txt"), DataError, "'nothing.txt'"),
        ((*SMALL, "--batch-size", "0"), OptionError, "--batch-size 0"),
    ],
)
def test_what_cannot_be_done_is_one_message_and_writes_nothing(
    explain, place, arguments, error, said
):
    before = sorted(place.rglob("*"))
    out = () if "--out" in arguments else ("--out", "refused/here")
    with pytest.raises(error, match=said.replace("(", r"\(")) as raised:
        explain(*arguments, *out)
    assert raised.value.remedy
    assert [path for path in sorted(place.rglob("*")) if "__pycache__" not in str(path)] == [
        path for path in before if "__pycache__" not in str(path)
    ]


def test_the_message_is_all_that_a_user_sees(place, monkeypatch, capsys):
    monkeypatch.chdir(place)
    monkeypatch.setattr("sys.argv", ["cofire", "explain", "nowhere.jpg", "--model", "net.pt2"])
    with pytest.raises(SystemExit):
        run_main()
    assert capsys.readouterr().err.startswith("cofire: no file 'nowhere.jpg'. Expected: ")


@pytest.fixture
def saved(tmp_path):
    def save(image, name="image.png", **options):
        image.save(tmp_path / name, **options)
        return np.asarray(read_image(tmp_path / name))

    return save


def test_every_kind_of_image_becomes_grey_or_colour_of_8_bits(saved):
    ramp = np.arange(256, dtype=np.uint8).reshape(16, 16)
    assert (saved(Image.fromarray(ramp)) == ramp).all()
    deep = (np.arange(256, dtype=np.uint16) * 257).reshape(16, 16)
    assert (saved(Image.fromarray(deep)) == ramp).all()
    assert saved(Image.fromarray(ramp).convert("1")).shape == (16, 16)
    colours = np.stack([ramp, ramp.T, 255 - ramp], axis=2)
    few = Image.fromarray(colours).quantize(8)
    assert (saved(few) == np.asarray(few.convert("RGB"))).all()
    assert (saved(Image.fromarray(colours), "image.webp", lossless=True) == colours).all()
    assert saved(Image.fromarray(colours).convert("CMYK"), "image.jpg").shape == (16, 16, 3)


def test_what_is_transparent_lies_on_white(saved):
    clear = np.full((4, 4, 4), 10, dtype=np.uint8)
    clear[0, :, 3], clear[1:, :, 3] = 0, 255
    found = saved(Image.fromarray(clear))
    assert found[0].min() == 255
    assert found[1:].max() == 10
    grey = saved(Image.fromarray(clear[..., 2:]))
    assert grey.shape == (4, 4)
    assert grey[0].min() == 255
    palette = Image.fromarray(clear[..., 0]).convert("P")
    assert saved(palette, transparency=10).min() == 255


def test_images_stand_upright(saved):
    exif = Image.Exif()
    exif[0x0112] = 6
    wide = np.zeros((8, 16, 3), dtype=np.uint8)
    wide[:, :8] = 255
    found = saved(Image.fromarray(wide), "turned.jpg", exif=exif, quality=95)
    assert found.shape == (16, 8, 3)
    assert found[:6].mean() > 240
    assert found[10:].mean() < 15


def test_floats_and_larger_numbers_are_refused(saved):
    with pytest.raises(ImageError, match="floating point"):
        saved(Image.fromarray(np.zeros((4, 4), dtype=np.float32)), "a.tiff")
    with pytest.raises(ImageError, match="70000"):
        saved(Image.fromarray(np.full((4, 4), 70000, dtype=np.int32)), "b.tiff")


def test_files_are_found_once_and_in_order(place):
    found = find_images([place / "photos" / "c.webp", place / "photos"])
    assert [path.name for path in found] == ["c.webp", "a.jpg", "b.png"]


@pytest.mark.parametrize(
    ("spec", "options", "told"),
    [
        (
            "torchvision:vgg16",
            {"resize": 0, "mean": [0.5], "std": [0.5]},
            "centre crop 224 × 224, (x − 0.5) / 0.5",
        ),
        (
            "torchvision:squeezenet1_0",
            {"resize": 0},
            "centre crop 224 × 224, (x − (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)",
        ),
        (
            "mine:cifar",
            {"image_size": 32, "mean": [0.5], "std": [1.0]},
            "shorter side to 32, centre crop 32 × 32, x − 0.5",
        ),
        (
            "mine:mnist",
            {"image_size": 28, "grey": True, "mean": [0.1307], "std": [0.3081]},
            "shorter side to 28, centre crop 28 × 28, grey, (x − 0.1307) / 0.3081",
        ),
        (
            "mine:small",
            {"image_size": 32},
            "shorter side to 32, centre crop 32 × 32, x from 0 to 1",
        ),
        (
            "mine:bytes",
            {"image_size": 32, "mean": [0], "std": [2]},
            "shorter side to 32, centre crop 32 × 32, x / 2",
        ),
    ],
)
def test_preparations_are_said_in_words(spec, options, told):
    assert preparation_of(spec, **options).told == told


def test_a_preparation_is_torchvisions_own():
    from torchvision import models

    rng = np.random.default_rng(3)
    photo = Image.fromarray(rng.integers(0, 256, (301, 260, 3), dtype=np.uint8))
    ours = preparation_of("torchvision:resnet50")
    wanted = models.ResNet50_Weights.DEFAULT.transforms()(photo)
    assert torch.allclose(ours.inputs([ours.crop(photo, "a")])[0], wanted, atol=1e-6)


def test_names_come_as_lines_or_json(tmp_path):
    file = tmp_path / "names"
    for text in (
        "ant\nbee\ncat\n",
        '["ant", "bee", "cat"]',
        json.dumps([{"wnid": "n", "name": n} for n in NAMES]),
    ):
        file.write_text(text)
        assert read_names(file, 3) == NAMES
    for text, said in (
        ("ant\nbee", "2 class names"),
        ("ant\n\ncat", "no name for class 1"),
        ('["ant", 1, "b"]', "entry 1"),
        ('["ant"', "Expecting"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=said):
            read_names(file, 3)


def test_a_name_that_two_classes_have_needs_a_number():
    with pytest.raises(OptionError, match="pass a number: 0, 2"):
        class_number("CRANE", ["crane", "b", "Crane"], 3)
    assert class_number("Crane", ["crane", "b", "Crane"], 3) == 2
    with pytest.raises(OptionError, match="'tabby cat'"):
        class_number("tabby", ["dog", "tabby cat"], 2)


def test_a_run_that_fails_leaves_no_trace(tmp_path):
    def fail():
        with replaced(tmp_path / "deep" / "out") as staged:
            (staged / MARK).write_text("{}")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list(tmp_path.iterdir()) == []
