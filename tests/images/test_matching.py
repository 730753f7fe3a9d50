"""Images and entries brought together: by names that end alike, with all that do not match told at once."""

import os
import shutil

import pytest

from cofire.errors import DataError, ImageError, LabelError, OptionError
from cofire.images.boxes import read_boxes
from cofire.images.collection import split_of
from cofire.images.layouts import images_below, match

from .folders import boxes_json, coco, entry, image, xml


def matched(folder, *entries, **options):
    return match(folder / "images", read_boxes(boxes_json(folder / "b.json", *entries)), **options)


def refused(error, *args, **options):
    with pytest.raises(error) as caught:
        matched(*args, **options)
    assert type(caught.value) is error
    return str(caught.value)


@pytest.fixture
def folder(tmp_path):
    for name in ("b.jpg", "a.png", "sub/c.JPEG"):
        image(tmp_path / "images" / name)
    (tmp_path / "images" / "readme.txt").write_text("no image")
    return tmp_path


def test_photos_come_in_the_order_of_their_names_whatever_that_of_the_list(folder):
    found = matched(
        folder, entry("sub/c.JPEG", 2), entry("b.jpg", 1, []), entry("a.png", 0, [(0, 0, 1, 1)] * 2)
    )
    assert [(photo.name, photo.label, len(photo.boxes)) for photo in found] == [
        ("a.png", 0, 2),
        ("b.jpg", 1, 0),
        ("sub/c.JPEG", 2, 1),
    ]
    assert found[2].file == folder / "images" / "sub" / "c.JPEG"
    assert found.told == "3 images, 3 boxes, 1 image without a box"
    assert found.without_box == 1


@pytest.mark.parametrize(
    "written", ["c.JPEG", "c", "sub/c.JPEG", "val/sub/c.JPEG", "/data/x/sub/c.JPEG", "./sub/c"]
)
def test_names_match_that_end_alike(folder, written):
    found = matched(folder, entry("a.png"), entry("b.jpg"), entry(written, 5))
    assert found[2].label == 5


@pytest.mark.parametrize(
    "written", ["other/c.JPEG", "c.jpg", "c.jpeg", "C.JPEG", "xc.JPEG", "sub", "."]
)
def test_names_that_are_those_of_other_files_do_not(folder, written):
    message = refused(DataError, folder, entry("a.png"), entry("b.jpg"), entry(written))
    assert "without an entry" in message
    assert "sub/c.JPEG" in message
    assert f"entries without an image (1): {written}" in message


def test_all_mismatches_are_told_up_to_twenty_of_each_kind(folder):
    for i in range(30):
        image(folder / "images" / f"x{i:02}.png", (1, 1))
    message = refused(DataError, folder, *(entry(f"y{i:02}.png") for i in range(40)))
    for words in (
        "(33): a.png; b.jpg; sub/c.JPEG; x00.png",
        "x16.png; and 13 more",
        "(40): y00.png",
        "and 20 more",
    ):
        assert words in message
    assert "x17.png" not in message


def test_what_has_no_partner_is_left_out_and_named_when_allowed(folder):
    found = matched(folder, entry("a.png"), entry("z.png"), allow_unmatched=True)
    assert [photo.name for photo in found] == ["a.png"]
    assert found.left_out == {
        "images without an entry": ["b.jpg", "sub/c.JPEG"],
        "entries without an image": ["z.png"],
    }
    assert (
        found.told
        == "1 image, 1 box; left out: 2 images without an entry, 1 entry without an image"
    )
    assert "no image in" in refused(DataError, folder, entry("z.png"), allow_unmatched=True)


def test_two_images_of_one_stem_need_their_endings(folder):
    image(folder / "images" / "a.jpg")
    message = refused(DataError, folder, entry("a"), entry("b"), entry("c"))
    assert "(1): a could be a.jpg, a.png" in message
    assert len(matched(folder, entry("a.jpg"), entry("a.png"), entry("b"), entry("c"))) == 4


def test_two_images_of_one_name_need_their_folders(folder):
    image(folder / "images" / "sub" / "b.jpg")
    others = entry("a.png"), entry("c")
    found = matched(folder, *others, entry("b.jpg", 1), entry("sub/b.jpg", 2))
    assert {photo.name: photo.label for photo in found} == {
        "a.png": 0,
        "b.jpg": 1,
        "sub/b.jpg": 2,
        "sub/c.JPEG": 0,
    }
    assert "x/sub/b.jpg" in refused(
        DataError, folder, *others, entry("x/sub/b.jpg"), entry("x/b.jpg")
    )


def test_two_entries_for_one_image_are_refused_even_if_written_differently(folder):
    message = refused(
        DataError, folder, entry("a.png"), entry("b.jpg"), entry("c"), entry("sub/c.JPEG")
    )
    assert "c and sub/c.JPEG are both sub/c.JPEG" in message


def test_a_label_is_one_of_the_networks_classes(folder):
    message = refused(
        LabelError, folder, entry("a.png", 7), entry("b.jpg", 8), entry("c", 1), num_classes=5
    )
    assert "(2): a.png is of class 7 of 5; b.jpg is of class 8 of 5" in message


def test_folders_without_images_are_refused(tmp_path):
    with pytest.raises(ImageError, match="no folder"):
        images_below(tmp_path / "absent")
    (tmp_path / "x" / "y").mkdir(parents=True)
    with pytest.raises(ImageError, match="no image"):
        images_below(tmp_path / "x")


def test_boxes_left_out_when_their_list_was_read_are_told(folder):
    odd = entry("a.png", boxes=[(0, 0, 1, 1), (5, 0, 2, 1)])
    boxes = read_boxes(
        boxes_json(folder / "b.json", odd, entry("b.jpg"), entry("c")), skip_faulty=True
    )
    assert match(folder / "images", boxes).told == "3 images, 3 boxes; boxes not taken: 1 faulty"


def test_links_to_folders_are_followed_unless_they_lead_back(folder):
    shutil.move(folder / "images" / "sub", folder / "elsewhere")
    (folder / "images" / "sub").symlink_to(folder / "elsewhere")
    (folder / "images" / "gone.jpg").symlink_to(folder / "gone.jpg")
    assert list(images_below(folder / "images")) == ["a.png", "b.jpg", "gone.jpg", "sub/c.JPEG"]
    (folder / "elsewhere" / "back").symlink_to(folder / "images")
    with pytest.raises(DataError, match="leads back"):
        images_below(folder / "images")


class TestClasses:
    def test_that_of_the_boxes_counts_where_they_are_all_of_one(self, tmp_path):
        for name in "ab":
            image(tmp_path / "images" / f"{name}.jpg")
        xml(tmp_path / "xml" / "a.xml", ("cat", (1, 1, 2, 2)), ("cat", (1, 1, 3, 3)))
        xml(
            tmp_path / "xml" / "b.xml",
            ("cat", (1, 1, 9, 9)),
            ("dog", (1, 1, 2, 2)),
            ("dog", (1, 1, 2, 2)),
        )
        boxes = read_boxes(tmp_path / "xml", ["cat", "dog"])
        with pytest.raises(LabelError, match=r"b\.jpg has boxes of classes 0, 1"):
            match(tmp_path / "images", boxes)
        found = match(tmp_path / "images", boxes, several="largest")
        assert [(photo.label, len(photo.boxes), photo.others) for photo in found] == [
            (0, 2, 0),
            (0, 1, 2),
        ]
        assert found.told == "2 images, 3 boxes, 2 boxes of other classes"
        found = match(tmp_path / "images", boxes, several="skip")
        assert ([photo.name for photo in found], found.left_out) == (
            ["a.jpg"],
            {"images without one class": ["b.jpg"]},
        )
        with pytest.raises(OptionError):
            match(tmp_path / "images", boxes, several="any")

    def test_that_of_the_folder_counts_before_it(self, tmp_path):
        image(tmp_path / "images" / "dog" / "a.jpg")
        xml(tmp_path / "xml" / "a.xml", ("cat", (1, 1, 9, 9)), ("dog", (1, 1, 2, 2)))
        names = ["cat", "dog"]
        (photo,) = match(tmp_path / "images", read_boxes(tmp_path / "xml", names), names=names)
        assert (photo.label, photo.boxes, photo.others) == (1, ((0.0, 0.0, 2.0, 2.0),), 1)

    def test_folder_and_list_agree(self, tmp_path):
        for name in ("cat", "dog"):
            image(tmp_path / "images" / name / f"{name}.jpg")
        message = refused(
            LabelError, tmp_path, entry("cat.jpg", 0), entry("dog.jpg", 0), names=["cat", "dog"]
        )
        assert "(1): dog/dog.jpg is of class 0 in the list, 1 by its folder 'dog'" in message

    def test_a_photo_without_a_box_keeps_its_class(self, tmp_path):
        image(tmp_path / "images" / "dog" / "a.jpg")
        found = match(tmp_path / "images", None, names=["cat", "dog"])
        assert [(photo.label, photo.boxes) for photo in found] == [(1, ())]
        assert found.told == "1 image, 0 boxes, 1 image without a box"

    def test_without_a_box_or_folder_there_is_none(self, tmp_path):
        image(tmp_path / "images" / "a.jpg")
        image(tmp_path / "images" / "dgo" / "b.jpg")
        boxes = read_boxes(coco(tmp_path / "c.json", [(1, "a.jpg"), (2, "b.jpg")], []))
        with pytest.raises(LabelError) as caught:
            match(tmp_path / "images", boxes, names=["cat", "dog"])
        assert "a.jpg has neither a box nor a class" in str(caught.value)
        assert "dgo/b.jpg has neither a box nor a class (its folder is 'dgo', near 'dog'" in str(
            caught.value
        )
        # Nothing is left when all are left out, and nothing cannot be judged.
        with pytest.raises(LabelError):
            match(tmp_path / "images", boxes, several="skip")

    def test_order_names_folders_only_where_it_can_mean_nothing_else(self, tmp_path):
        for name in ("y", "x", "z"):
            image(tmp_path / "plain" / name / "a.jpg")
            image(tmp_path / "wordnet" / f"n0000000{'xyz'.index(name)}" / "a.jpg")
        assert [photo.label for photo in match(tmp_path / "plain", None, num_classes=3)] == [
            0,
            1,
            2,
        ]
        assert [
            photo.label for photo in match(tmp_path / "wordnet", None, names=["p", "q", "r"])
        ] == [0, 1, 2]
        for options in (
            {"names": ["p", "q", "r"]},
            {"num_classes": 4},
            {"synsets": ["n01", "n02", "n03"]},
            {},
        ):
            with pytest.raises(LabelError, match="images without one class"):
                match(tmp_path / "plain", None, **options)
        with pytest.raises(LabelError, match="images without one class"):
            match(tmp_path / "wordnet", None, num_classes=1000)


def test_names_that_are_no_utf_8_are_told_by_their_bytes_and_must_stay_apart(tmp_path):
    odd = os.fsdecode(b"caf\xe9.png")
    try:
        image(tmp_path / "images" / odd)
    except OSError:
        pytest.skip("this file system takes no such names")
    image(tmp_path / "images" / "a\nb.png")
    for name in (odd, "caf\\xe9.png"):
        found = matched(tmp_path, entry(name), entry("a\nb.png", 1))
        assert [photo.name for photo in found] == ["a\nb.png", "caf\\xe9.png"]
        assert found[1].file.name == odd
        assert found[1].split == split_of(odd)
    left = matched(
        tmp_path, entry("\ud800.png"), entry("a\nb.png", 1), allow_unmatched=True
    ).left_out
    assert left == {
        "images without an entry": ["caf\\xe9.png"],
        "entries without an image": ["\\ud800.png"],
    }
    image(tmp_path / "images" / "caf\\xe9.png")
    with pytest.raises(ImageError, match="both told as"):
        images_below(tmp_path / "images")


def test_class_names_are_such_as_can_be_written(folder):
    assert "control characters" in refused(
        OptionError, folder, entry("a.png"), names=["cat", "bell\x07"]
    )
