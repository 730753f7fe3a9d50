"""Collections: halves that are the same everywhere, and drawings that the seed decides."""

import hashlib
import os
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cofire.errors import OptionError
from cofire.images.collection import AnnotatedImage, Collection, sample, split_of


def collection(count):
    names = [f"cats/{i:04}.jpg" for i in range(count)]
    return Collection(
        tuple(AnnotatedImage(Path(name), name, 0, ()) for name in names), Path("images")
    )


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_the_split_is_the_parity_of_the_hash(name):
    even = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2 == 0
    assert split_of(name) == ("tuning" if even else "evaluation")


def test_names_of_any_bytes_have_a_split():
    assert split_of(os.fsdecode(b"\xff.jpg")) in ("tuning", "evaluation")


def test_the_splits_part_the_photos_in_halves_that_do_not_hang_on_folders():
    photos = collection(2000)
    tuning, evaluation = photos.split("tuning"), photos.split("evaluation")
    assert sorted([*tuning.images, *evaluation.images], key=lambda photo: photo.name) == list(
        photos
    )
    assert 900 < len(tuning) < 1100
    for photo in photos:
        assert photo.split == split_of(photo.file.name)
    with pytest.raises(OptionError):
        photos.split("test")


def test_a_drawing_is_decided_by_its_seed_and_keeps_the_order():
    photos = collection(50)
    first, again, other = (sample(photos, 20, seed) for seed in (1, 1, 2))
    assert first == again != other
    names = [photo.name for photo in first]
    assert names == sorted(set(names))
    assert sample(photos, 50) == photos
    for count, seed in ((0, 0), (51, 0), (2.5, 0), (5, -1), (True, 0)):
        with pytest.raises(OptionError):
            sample(photos, count, seed)
    with pytest.raises(OptionError, match="no images"):
        sample(photos[:0], 1)


def test_each_photo_is_as_likely_as_another():
    counts = Counter(
        photo.name for seed in range(2000) for photo in sample(collection(10), 3, seed)
    )
    assert all(abs(count - 600) < 100 for count in counts.values())


def test_parts_of_a_collection_are_collections_that_remember_what_was_left_out():
    photos = Collection(collection(5).images, Path("images")).leaving_out(
        unreadable=("x.jpg",), faulty=("a.jpg: box",)
    )
    assert len(photos[1:3]) == 2
    assert photos[1:3][0] == photos[1]
    assert photos[1:].told.endswith(
        "left out: 1 image that cannot be used, 1 box that does not fit"
    )
    assert "cats" not in repr(photos)
