"""Data sets of images: folders of classes and torchvision's, read and prepared as every image is."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import datasets

from cofire.errors import DataError, ImageError, OptionError
from cofire.images.datasets import folder_of_classes
from cofire.images.files import files_below
from cofire.images.preparation import preparation_of
from cofire.images.reading import read_image
from cofire.study.data import open_data
from tests.images.odd_images import odd_images
from tests.study.shrunken import folders


class Turned(datasets.VisionDataset):
    """Opens files by itself, as many of torchvision's data sets do."""

    def __init__(self, root, split="train", transform=None, download=False):
        super().__init__(root, transform=transform)
        self.files = sorted(self.root_files())

    def root_files(self):
        from pathlib import Path

        return list(Path(self.root).iterdir())

    def __len__(self):
        return len(self.files)

    def __getitem__(self, at):
        with Image.open(self.files[at]) as opened:
            opened.load()
            return self.transform(opened), 0


class Loads(Turned):
    def __init__(self, root, split="train", transform=None, download=False, loader=None):
        super().__init__(root, split, transform)
        self.loader = loader

    def __getitem__(self, at):
        return self.transform(self.loader(self.files[at])), 0


class Numbers(Turned):
    def __getitem__(self, at):
        return self.transform(7), 0


class Bare(Turned):
    def __getitem__(self, at):
        return 7, 0


class Empty(Turned):
    def __len__(self):
        return 0


@pytest.fixture
def theirs(monkeypatch):
    def add(kind):
        monkeypatch.setattr(datasets, kind.__name__, kind, raising=False)
        monkeypatch.setattr(datasets, "__all__", (*datasets.__all__, kind.__name__))
        return f"torchvision:{kind.__name__}"

    return add


@pytest.mark.parametrize("kind", [Turned, Loads])
def test_images_of_torchvisions_data_sets_are_read_as_files_are(tmp_path, theirs, kind):
    odd_images(tmp_path)
    data = open_data(theirs(kind), root=tmp_path, image_size=16)
    assert data.preparation.told == "shorter side to 16, centre crop 16 × 16, x from 0 to 1"
    assert len(data)
    for at, file in enumerate(data.files):
        assert torch.equal(data[at][0], data.preparation(read_image(file))), file


def test_small_sets_stay_as_they_are_unless_published_weights_are_used(tmp_path, theirs):
    shades = np.arange(64, dtype=np.uint8).reshape(8, 8)
    Image.fromarray(shades).save(tmp_path / "a.png")
    spec = theirs(Turned)
    seen = open_data(spec, root=tmp_path)[0][0]
    assert torch.equal(seen, torch.from_numpy(shades)[None] / 255)
    assert open_data(spec, root=tmp_path, model="torchvision:vgg16").preparation.shape == (
        3,
        224,
        224,
    )
    own = open_data(spec, root=tmp_path, model="torchvision:vgg16", own_weights=True)
    assert own.preparation.told == "as they are, 8 × 8, grey, x from 0 to 1"
    assert open_data(spec, root=tmp_path, shape=(1, 8, 8)).preparation.shape == (1, 8, 8)


def test_images_of_several_sizes_need_one(tmp_path, theirs):
    for number, side in enumerate((8, 9)):
        Image.new("L", (side, side)).save(tmp_path / f"{number}.png")
    data = open_data(theirs(Turned), root=tmp_path)
    with pytest.raises(ImageError, match=r"1\.png.*9 × 9.*--image-size 8"):
        data[1]
    assert open_data("torchvision:Turned", root=tmp_path, image_size=8)[1][0].shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("kind", "said"),
    [(Numbers, "a data set of ints"), (Bare, "first item is a int"), (Empty, "without an image")],
)
def test_what_holds_no_images_is_refused(tmp_path, theirs, kind, said):
    Image.new("L", (1, 1)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=said):
        open_data(theirs(kind), root=tmp_path, image_size=8)


def test_names_that_torchvision_has_not_are_told_with_those_near(tmp_path):
    with pytest.raises(OptionError, match="MNIST"):
        open_data("torchvision:MNISTT", root=tmp_path)
    with pytest.raises(OptionError, match="train or test"):
        open_data("torchvision:MNIST", root=tmp_path, split="val")


def test_folders_are_classes_and_every_ending_counts(tmp_path):
    names = odd_images(tmp_path / "images" / "cat")
    Image.new("L", (9, 9)).save(tmp_path / "images" / "cat" / "last.GIF")
    (tmp_path / "images" / "cat" / "note.txt").write_text("no image")
    data = open_data(f"imagefolder:{tmp_path / 'images'}", image_size=16)
    assert data.classes == ["cat"]
    assert len(data) == len(names) + 1
    assert data.preparation == preparation_of("", image_size=16)
    with pytest.raises(DataError, match="one folder of images per class"):
        open_data(f"imagefolder:{tmp_path / 'images' / 'cat'}")


def test_folders_of_classes_have_names_that_can_be_written(tmp_path):
    for name in ("cat", "do\ng"):
        (tmp_path / name).mkdir()
        Image.new("RGB", (8, 8)).save(tmp_path / name / "a.png")
    with pytest.raises(OptionError, match="the folder of a class"):
        open_data(f"imagefolder:{tmp_path}", image_size=8)


@pytest.mark.parametrize("side", [20, 16])
def test_a_folder_of_classes_gives_what_torchvision_gives(side, tmp_path):
    from torchvision.datasets import ImageFolder
    from torchvision.transforms import CenterCrop, Compose, Normalize, Resize, ToTensor

    root = folders(tmp_path, 3, 20) / "train"
    mean, std = (0.5, 0.4, 0.3), (0.2, 0.3, 0.4)
    steps = [Resize(side), CenterCrop(side), ToTensor(), Normalize(mean, std)]
    theirs = ImageFolder(str(root), transform=Compose(steps))
    mine = folder_of_classes(root, preparation_of("", None, image_size=side, mean=mean, std=std))
    assert (mine.classes, mine.targets) == (theirs.classes, theirs.targets)
    assert [name for name, _ in mine.samples] == [name for name, _ in theirs.samples]
    for (one, label), (other, same) in zip(mine, theirs, strict=True):
        assert label == same
        assert torch.allclose(one, other, atol=1e-6)


def test_a_data_set_that_is_not_there_and_cannot_be_had_is_told(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise RuntimeError("no route to host")

    monkeypatch.setattr(datasets, "MNIST", offline)
    with pytest.raises(DataError, match=r"no MNIST under .*no route to host.*--data-root"):
        open_data("torchvision:MNIST", root=tmp_path)


def test_a_folder_that_cannot_be_entered_is_told(tmp_path):
    # As it is with folders of others, which this user may be allowed to read.
    with pytest.raises(DataError, match=r"'.*gone' cannot be entered.*let this user read it"):
        files_below(tmp_path / "gone", (".png",))
