"""The ways ImageNet's validation images lie on a disk, in small, and lists of WordNet numbers."""

import json

import pytest

from cofire.errors import DataError, LabelError
from cofire.images.layouts import find_layout, open_collection, read_synsets

from .folders import image, xml

SYNSETS = ["n01440764", "n01443537", "n02099601"]
SHOWN = {1: 2, 2: 0, 3: 1, 4: 2}
"""The classes of four images."""


def name(number):
    return f"ILSVRC2012_val_{number:08}"


def annotations(folder):
    for number, label in SHOWN.items():
        xml(
            folder / f"{name(number)}.xml",
            (SYNSETS[label], (number, 0, 19, 9)),
            database="ILSVRC_2012",
        )


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("imagenet")
    for number, label in SHOWN.items():
        image(root / "flat" / f"{name(number)}.JPEG")
        image(root / "folders" / SYNSETS[label] / f"{name(number)}.JPEG")
        image(root / "kaggle" / "ILSVRC" / "Data" / "CLS-LOC" / "val" / f"{name(number)}.JPEG")
    annotations(root / "xml")
    annotations(root / "kaggle" / "ILSVRC" / "Annotations" / "CLS-LOC" / "val")
    (root / "kaggle" / "LOC_synset_mapping.txt").write_text(
        "".join(f"{wnid} a fish, a pet\n" for wnid in SYNSETS)
    )
    (root / "classes.json").write_text(
        json.dumps([{"wnid": wnid, "name": "fish"} for wnid in SYNSETS])
    )
    return root


def opened(root, layout):
    if layout == "flat":
        return open_collection(root / "flat", root / "xml", synsets=root / "classes.json")
    if layout == "folders":
        return open_collection(root / "folders", root / "xml", num_classes=3)
    if layout == "named":
        return open_collection(
            root / "folders", root / "xml", synsets=SYNSETS, names=["tench", "goldfish", "dog"]
        )
    return open_collection(root / "kaggle" / ("ILSVRC" if layout == "inner" else ""), num_classes=3)


@pytest.mark.parametrize("layout", ["flat", "folders", "named", "kaggle", "inner"])
def test_all_layouts_give_the_same_photos(root, layout):
    found = opened(root, layout)
    assert {int(photo.file.stem[-8:]): photo.label for photo in found} == SHOWN
    assert {int(photo.file.stem[-8:]): photo.boxes for photo in found} == {
        number: ((float(number), 0.0, 20.0, 10.0),) for number in SHOWN
    }
    assert {photo.file.name: photo.split for photo in found} == {
        photo.file.name: photo.split for photo in opened(root, "flat")
    }


def test_class_folders_need_no_boxes(root):
    found = open_collection(root / "folders", num_classes=3)
    assert {int(photo.file.stem[-8:]): photo.label for photo in found} == SHOWN
    assert found.without_box == 4


def test_some_class_folders_alone_do_not_tell_their_numbers(root):
    with pytest.raises(LabelError, match="without a list of classes"):
        open_collection(root / "folders", root / "xml", num_classes=1000)
    with pytest.raises(LabelError, match="without one class"):
        open_collection(root / "folders", num_classes=1000)


def test_what_is_given_goes_before_what_is_found(root):
    layout = find_layout(root / "kaggle", root / "xml", root / "classes.json")
    assert (layout.images.name, layout.boxes, layout.synsets) == (
        "val",
        root / "xml",
        root / "classes.json",
    )
    assert find_layout(root / "flat").boxes is None


def test_kaggles_layout_without_boxes_is_refused(tmp_path):
    image(tmp_path / "ILSVRC/Data/CLS-LOC/val/a.JPEG")
    with pytest.raises(DataError, match="and no"):
        open_collection(tmp_path)
    image(tmp_path / "Data/CLS-LOC/val/a.JPEG")
    with pytest.raises(DataError, match="twice"):
        open_collection(tmp_path)


class TestSynsets:
    def read(self, tmp_path, text, *args):
        (tmp_path / "s").write_text(text)
        return read_synsets(tmp_path / "s", *args)

    def test_lines_and_lists_are_read(self, tmp_path):
        assert self.read(tmp_path, "n01440764 tench\n\nn01443537,goldfish\n", 2) == SYNSETS[:2]
        assert (
            self.read(tmp_path, json.dumps(["n01443537", {"wnid": "n01440764", "name": 5}]))
            == SYNSETS[1::-1]
        )

    def test_lines_in_another_order_could_mean_either(self, tmp_path):
        with pytest.raises(LabelError, match="not in order"):
            self.read(tmp_path, "n01443537\nn01440764\n")

    @pytest.mark.parametrize(
        "text", ["tench\ngoldfish\n", "n01440764\n0 n01443537", "[5]", '["n1"]', "[", "n0144076"]
    )
    def test_what_is_no_number_is_refused(self, tmp_path, text):
        with pytest.raises(DataError):
            self.read(tmp_path, text)

    def test_there_is_one_for_each_class(self, tmp_path):
        for text, count in (("n01440764", 2), ("", None), ("[]", None)):
            with pytest.raises(LabelError):
                self.read(tmp_path, text, count)
        with pytest.raises(DataError):
            read_synsets(tmp_path / "absent")
