"""`cofire explain` on the file systems that there are: other volumes, links, names of any bytes and any length."""

import errno
import json
import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from cofire.cli.main import app
from cofire.errors import CofireError, ImageError, OptionError, ResultError
from cofire.report.pages import (
    IMAGES,
    MARK,
    PAGE,
    replaced,
)
from tests.cli.test_explain import exported

WRITTEN = {MARK, PAGE, IMAGES}


@pytest.fixture(scope="module")
def net(tmp_path_factory):
    path = tmp_path_factory.mktemp("net") / "net.pt2"
    exported(path)
    return path


@pytest.fixture
def photos(tmp_path):
    """Writes photos of the names given, and says where."""

    def write(*names):
        folder = tmp_path / "photos"
        folder.mkdir(exist_ok=True)
        for seed, name in enumerate(names):
            pixels = np.random.default_rng(seed).integers(0, 256, (12, 12, 3), dtype=np.uint8)
            with (folder / name).open("wb") as file:
                Image.fromarray(pixels).save(file, "PNG")
        return folder

    return write


@pytest.fixture
def explain(net, monkeypatch):
    """Runs the command as if typed; an error comes out as it is raised."""

    def run(*arguments):
        typed = ["explain", *map(str, arguments), "--model", str(net)]
        monkeypatch.setattr("sys.argv", ["cofire", *typed])
        told = CliRunner().invoke(app, typed)
        if isinstance(told.exception, CofireError):
            raise told.exception
        assert told.exit_code == 0, (told.output, told.exception)
        return told.output

    return run


@pytest.fixture
def volume(tmp_path, monkeypatch):
    """A folder that files cannot be renamed into or out of, as that of another file system."""
    folder = tmp_path / "volume"
    folder.mkdir()
    rename = Path.replace

    def replace(self, target):
        if (folder in self.resolve().parents) != (
            folder in Path(target).parent.resolve().joinpath("x").parents
        ):
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(self), None, str(target))
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", replace)
    return folder


@pytest.fixture
def nothing_computed(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("computed")

    monkeypatch.setattr("cofire.cli.explain.run_explain", refuse)
    monkeypatch.setattr("cofire.network.Network.run", refuse)


def records(out):
    return json.loads((out / MARK).read_text(encoding="utf-8"))


def test_a_mounted_volume_itself_can_be_the_folder(explain, photos, volume):
    for _ in range(2):
        explain(photos("a.png"), "--out", volume)
        assert {path.name for path in volume.iterdir()} == WRITTEN


@pytest.mark.parametrize("there", [True, False], ids=["there", "dangling"])
def test_a_link_to_another_volume_can_be_the_folder(explain, photos, volume, tmp_path, there):
    if there:
        (volume / "deep").mkdir()
    (tmp_path / "out").symlink_to(volume / "deep", target_is_directory=True)
    explain(photos("a.png"), "--out", tmp_path / "out")
    assert (tmp_path / "out").is_symlink()
    assert {path.name for path in (volume / "deep").iterdir()} == WRITTEN
    assert {path.name for path in tmp_path.iterdir()} == {"out", "volume", "photos"}


@pytest.mark.parametrize("there", [True, False], ids=["there", "dangling"])
def test_the_images_can_lie_on_another_volume(explain, photos, volume, tmp_path, there):
    out = tmp_path / "out"
    explain(photos("a.png"), "--out", out)
    shutil.rmtree(out / IMAGES)
    if there:
        (volume / "deep").mkdir()
    (out / IMAGES).symlink_to(volume / "deep", target_is_directory=True)
    explain(photos("a.png"), "--out", out)
    assert [path.name for path in (volume / "deep").iterdir()] == ["a.png"]
    assert {path.name for path in out.iterdir()} == WRITTEN


def test_other_file_systems_of_this_machine_take_results(explain, photos, tmp_path):
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("no other file system here")
    with tempfile.TemporaryDirectory(dir=memory) as other:
        (tmp_path / "out").symlink_to(other, target_is_directory=True)
        explain(photos("a.png"), "--out", tmp_path / "out")
        assert {path.name for path in Path(other).iterdir()} == WRITTEN


def test_a_run_that_fails_leaves_an_earlier_one_as_it_was(tmp_path):
    (tmp_path / MARK).write_text("{}")

    def fail():
        with replaced(tmp_path) as staged:
            assert staged.parent == tmp_path.resolve()
            (staged / MARK).write_text("[]")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert [(path.name, path.read_text()) for path in tmp_path.iterdir()] == [(MARK, "{}")]


@pytest.mark.parametrize("kind", ["images are a file", "the page is a folder", "a name too long"])
def test_what_cannot_be_written_is_found_before_anything_is_computed(
    explain, photos, tmp_path, nothing_computed, kind
):
    out = tmp_path / "out"
    out.mkdir()
    (out / MARK).write_text("{}")
    if kind == "images are a file":
        (out / IMAGES).write_text("")
    elif kind == "the page is a folder":
        (out / PAGE).mkdir()
    else:
        out = out / "deep" / ("a" * 300)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ResultError, match="cannot be written") as raised:
        explain(photos(), "--out", out)
    assert raised.value.remedy
    assert [path for path in sorted(tmp_path.rglob("*")) if path.name != "photos"] == before


def test_a_disk_that_cannot_be_written_is_found_before_anything_is_computed(
    explain, photos, tmp_path, nothing_computed, monkeypatch
):
    def refuse(*_, **__):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr("tempfile.mkdtemp", refuse)
    with pytest.raises(ResultError, match=r"cannot be written: .*Read-only") as raised:
        explain(photos("a.png"), "--out", tmp_path / "out")
    assert raised.value.remedy


def test_a_damaged_photo_among_others_is_found_before_anything_is_computed(
    explain, photos, tmp_path, nothing_computed
):
    folder = photos("a.png", "b.png", "c.png")
    (folder / "b.png").write_bytes((folder / "a.png").read_bytes()[:120])
    with pytest.raises(ImageError, match=r"b\.png' cannot be read"):
        explain(folder, "--out", tmp_path / "out", "--batch-size", "1")
    assert not (tmp_path / "out").exists()


def test_names_that_are_no_utf_8_are_written_out(explain, photos, tmp_path):
    names = [os.fsdecode(b"lat\xe9.png"), os.fsdecode(b"lat\xe8.png"), "a\x1b[31m\n.png"]
    try:
        folder = photos(*names)
    except OSError:
        pytest.skip("this file system takes no such names")
    out = tmp_path / os.fsdecode(b"out\xe9")
    told = explain(*(folder / name for name in names), "--out", out)
    found = records(out)
    assert [Path(image["file"]).name for image in found["images"]] == [
        "lat\\xe9.png",
        "lat\\xe8.png",
        names[2],
    ]
    assert [image["image"] for image in found["images"][:2]] == [
        "images/lat-xe9.png",
        "images/lat-xe8.png",
    ]
    assert all((out / image["image"]).is_file() for image in found["images"])
    assert "lat\\xe9.png" in found["setup"]["command"]
    assert "lat\\xe9.png" in (out / PAGE).read_text(encoding="utf-8")
    assert "lat\\xe9.png" in told
    assert "out\\xe9/explain.html" in told
    assert "\x1b" not in told
    explain(folder / names[1], "--out", out)
    assert [path.name for path in (out / IMAGES).iterdir()] == ["lat-xe8.png"]


def test_names_of_any_length_get_images(explain, photos, tmp_path):
    names = ["a" * 250 + ".png", "a" * 249 + "b.png", "a" * 200 + ".png", "é" * 120 + ".png"]
    folder = photos(*names)
    explain(*(folder / name for name in names), "--out", tmp_path / "out")
    found = records(tmp_path / "out")["images"]
    stems = ["a" * 200, "a" * 200 + "-2", "a" * 200 + "-3", "é" * 100]
    assert [image["image"] for image in found] == [f"images/{stem}.png" for stem in stems]
    assert [Path(image["file"]).name for image in found] == names


@pytest.mark.parametrize("name", ["a\x00\x0c\x1b[2J\x9b", "two\nlines", "\ud800"])
def test_class_names_that_no_file_can_hold_are_refused(explain, photos, tmp_path, name):
    (tmp_path / "names.json").write_text(json.dumps([name, "b", "c"]))
    with pytest.raises(OptionError, match="text without control characters or broken letters"):
        explain(photos("a.png"), "--classes", tmp_path / "names.json", "--out", tmp_path / "top")
    assert not (tmp_path / "top" / PAGE).exists()
