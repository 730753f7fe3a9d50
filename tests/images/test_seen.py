"""Boxes in the network's view: moved with resize, crop and the camera's turning, and nothing wrong let through."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from cofire.errors import DataError, ImageError, OptionError
from cofire.images.boxes import read_boxes
from cofire.images.collection import AnnotatedImage, Collection
from cofire.images.layouts import match
from cofire.images.preparation import Preparation, Prepared
from cofire.images.reading import orientation_of, oriented
from cofire.images.seen import checked, in_view, placed, read_batches, seen_boxes

from .folders import boxes_json, entry, image

PLAIN = Preparation((3, 8, 8), 8, (0.0,) * 3, (1.0,) * 3)
WHOLE = Preparation((3, 10, 20), 0, (0.0,) * 3, (1.0,) * 3)


def photo(*boxes, size=(20, 10), file="a.jpg"):
    return AnnotatedImage(Path(file), Path(file).name, 0, tuple(boxes), size)


def prepared(size, region):
    return Prepared(np.zeros((1, 1, 3), np.uint8), size, region)


class TestTurning:
    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_a_box_goes_where_its_pixels_go(self, tmp_path, orientation):
        file = tmp_path / "a.png"
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = np.zeros((5, 7), np.uint8)
        pixels[1:3, 2:6] = 255
        Image.fromarray(pixels).save(file, exif=exif)
        with Image.open(file) as opened:
            upright = np.asarray(ImageOps.exif_transpose(opened))
        assert orientation_of(file) == orientation
        left, top, right, bottom = map(int, oriented((2.0, 1.0, 6.0, 3.0), orientation, (7, 5)))
        assert upright[top:bottom, left:right].min() == 255
        assert upright.sum() == 255 * (bottom - top) * (right - left)

    def test_a_note_that_is_none_leaves_the_photo_as_it_is(self, tmp_path):
        assert orientation_of(image(tmp_path / "a.jpg", orientation=0)) == 1
        assert orientation_of(image(tmp_path / "b.jpg", orientation=77)) == 1
        (tmp_path / "c.jpg").write_text("no image")
        assert orientation_of(tmp_path / "c.jpg") == 1

    def test_the_size_tells_whether_boxes_were_drawn_on_the_upright_photo(self):
        box = (0.0, 0.0, 4.0, 2.0)
        assert placed(photo(box, size=(20, 10)), (10, 20), 6) == ([(8.0, 0.0, 10.0, 4.0)], [])
        assert placed(photo(box, size=(10, 20)), (10, 20), 6) == ([box], [])
        assert placed(photo(box, size=None), (10, 20), 6) == ([(8.0, 0.0, 10.0, 4.0)], [])
        assert placed(photo(box), (20, 10), 3) == ([(16.0, 8.0, 20.0, 10.0)], [])

    def test_a_turned_file_is_found_in_the_view(self, tmp_path):
        file = image(tmp_path / "a.jpg", (200, 100), orientation=6)
        (batch,) = read_batches(
            Collection((photo((0.0, 0.0, 40.0, 20.0), size=(200, 100), file=file),), tmp_path),
            Preparation((3, 200, 100), 0, (0.0,) * 3, (1.0,) * 3),
        )
        assert batch.boxes[0].tolist() == [[80.0, 0.0, 100.0, 40.0]]


class TestSizes:
    def test_boxes_of_another_size_are_scaled_if_the_ratio_is_the_same(self):
        assert placed(photo((2.0, 1.0, 4.0, 5.0)), (500, 250)) == ([(50.0, 25.0, 100.0, 125.0)], [])

    @given(st.integers(40, 800), st.integers(40, 800), st.integers(20, 600))
    def test_rounding_to_whole_pixels_is_no_other_ratio(self, width, height, side):
        scale = side / min(width, height)
        small = int(width * scale), round(height * scale)
        whole = photo((0.0, 0.0, float(width), float(height)), size=(width, height))
        assert placed(whole, small) == ([(0.0, 0.0, float(small[0]), float(small[1]))], [])

    def test_squashed_or_cropped_images_are_refused(self):
        for size in ((227, 227), (375, 500), (500, 300)):
            boxes, faults = placed(
                photo((0.0, 0.0, 9.0, 9.0), (1.0, 1.0, 2.0, 2.0), size=size), (500, 375)
            )
            assert boxes == []
            assert len(faults) == 2
            assert f"was drawn on {size[0]} × {size[1]}, the image is 500 × 375" in faults[0]

    def test_boxes_over_the_edge_are_refused_but_for_a_pixel_that_is_cut(self):
        boxes, faults = placed(
            photo(
                (-1.0, 0.0, 21.0, 11.0),
                (-1.5, 0.0, 5.0, 5.0),
                (0.0, 0.0, 5.0, 11.5),
                (20.0, 0.0, 21.0, 5.0),
            ),
            (20, 10),
        )
        assert boxes == [(0.0, 0.0, 20.0, 10.0)]
        assert [fault.split(" goes ")[0].split(" lies ")[0] for fault in faults] == [
            "a.jpg: box -1.5, 0, 5, 5",
            "a.jpg: box 0, 0, 5, 11.5",
            "a.jpg: box 20, 0, 21, 5",
        ]

    def test_what_is_no_box_is_refused(self):
        odd = photo((5.0, 0.0, 1.0, 4.0), (0.0, 0.0, float("nan"), 4.0), (1.0, 1.0, 1.0, 4.0))
        assert len(placed(odd, (20, 10))[1]) == 3
        with pytest.raises(DataError, match=r"\(3\)"):
            seen_boxes(odd, prepared((20, 10), (0, 0, 20, 10)), (3, 10, 20))


class TestView:
    def test_boxes_outside_of_the_crop_are_dropped_and_others_cut(self):
        one = photo((0.0, 0.0, 5.0, 10.0), (0.0, 0.0, 10.0, 5.0), (15.0, 0.0, 20.0, 10.0))
        found = seen_boxes(one, prepared((20, 10), (5.0, 0.0, 15.0, 10.0)), (3, 20, 20))
        assert found.tolist() == [[0.0, 0.0, 10.0, 10.0]]
        assert found.dtype == torch.float32

    def test_slivers_at_an_edge_are_outside(self):
        # The last float64 below 224 is 224 as float32: a box without width.
        whole = (0.0, 0.0, 224.0, 224.0)
        assert in_view([(223.99999999999997, 0.0, 224.0, 9.0)], whole, (224, 224)) == []
        edges = [
            (0.0, 0.0, 1e-4, 9.0),
            (0.0, 223.9995, 9.0, 224.0),
            (0.0, 0.0, 9.0, 1e-4),
            (223.9999, 0.0, 224.0, 9.0),
        ]
        assert in_view(edges, whole, (224, 224)) == []
        assert in_view([(0.0, 0.0, 9.0, 0.01)], whole, (224, 224)) == [
            (0.0, 0.0, 9.0, float(np.float32(0.01)))
        ]

    def test_without_a_box_there_are_none_of_four_numbers(self):
        assert seen_boxes(photo(), prepared((20, 10), (0, 0, 20, 10)), (10, 20)).shape == (0, 4)

    @settings(deadline=None)
    @given(st.integers(30, 90), st.integers(30, 90), st.integers(24, 40), st.data())
    def test_a_box_goes_where_resize_and_crop_bring_its_pixels(self, width, height, resize, data):
        left, top = data.draw(st.integers(0, width - 10)), data.draw(st.integers(0, height - 10))
        right, bottom = (
            data.draw(st.integers(left + 8, width)),
            data.draw(st.integers(top + 8, height)),
        )
        pixels = np.zeros((height, width), np.uint8)
        pixels[top:bottom, left:right] = 255
        view = Preparation((1, 24, 24), resize, (0.0,), (1.0,)).crop(Image.fromarray(pixels), "a")
        box = photo((float(left), float(top), float(right), float(bottom)), size=(width, height))
        found = seen_boxes(box, view, (1, 24, 24))
        inside = np.zeros((24, 24))
        for x0, y0, x1, y1 in found.tolist():
            for y in range(24):
                for x in range(24):
                    inside[y, x] += max(0, min(x1, x + 1) - max(x0, x)) * max(
                        0, min(y1, y + 1) - max(y0, y)
                    )
        # Resizing blurs edges over some pixels of the larger image, by no more than one or two of
        # the smaller.
        core, rim = inside == 1, inside == 0
        shrunk = np.zeros_like(core)
        shrunk[1:-1, 1:-1] = (
            core[1:-1, 1:-1] & core[:-2, 1:-1] & core[2:, 1:-1] & core[1:-1, :-2] & core[1:-1, 2:]
        )
        assert view.pixels[..., 0][shrunk].min(initial=255) > 200
        far = np.zeros_like(rim)
        far[1:-1, 1:-1] = (
            rim[1:-1, 1:-1] & rim[:-2, 1:-1] & rim[2:, 1:-1] & rim[1:-1, :-2] & rim[1:-1, 2:]
        )
        assert view.pixels[..., 0][far].max(initial=0) < 128


@pytest.fixture
def folder(tmp_path):
    for number in range(7):
        image(tmp_path / "images" / f"{number}.png", shade=number)
    boxes_json(tmp_path / "b.json", *(entry(f"{number}.png", number) for number in range(7)))
    return tmp_path


def collection(folder):
    return match(folder / "images", read_boxes(folder / "b.json"))


class TestBatches:
    def test_every_photo_comes_once_in_order(self, folder):
        batches = list(read_batches(collection(folder), PLAIN, 3))
        assert [len(batch.images) for batch in batches] == [3, 3, 1]
        assert torch.cat([batch.labels for batch in batches]).tolist() == list(range(7))
        assert batches[0].inputs.shape == (3, 3, 8, 8)
        assert batches[0].pixels.shape == (3, 8, 8, 3)
        assert batches[0].pixels[2, 0, 0, 2] == 2
        assert [batch.cropped for batch in batches] == [3, 3, 1]
        assert all(boxes.shape == (0, 4) for boxes in batches[0].boxes)

    def test_of_a_collection_one_batch_is_read_at_a_time(self, folder, monkeypatch):
        from cofire.images import seen

        read = []
        monkeypatch.setattr(
            seen, "read_image", lambda file: read.append(file) or Image.new("RGB", (20, 10))
        )
        batches = read_batches(collection(folder), WHOLE, 2)
        next(batches)
        assert len(read) == 2
        with pytest.raises(OptionError):
            next(read_batches(collection(folder), WHOLE, 0))


class TestChecking:
    def test_what_is_whole_stays_as_it_is(self, folder):
        told = []
        found = collection(folder)
        assert checked(found, WHOLE, progress=told.append) == found
        assert sum(told) == 7

    def test_all_images_that_cannot_be_used_are_named(self, folder):
        images = folder / "images"
        whole = (images / "1.png").read_bytes()
        (images / "1.png").write_bytes(whole[: len(whole) // 2])
        (images / "3.png").write_bytes(b"")
        image(images / "4.png", (19, 10))
        (images / "6.png").unlink()
        (images / "6.png").symlink_to("gone.png")
        with pytest.raises(ImageError) as caught:
            checked(collection(folder), WHOLE)
        message = str(caught.value)
        assert "images that cannot be used (4)" in message
        for words in (
            "1.png' cannot be read",
            "3.png' cannot be read",
            "4.png' is 19 × 10",
            "6.png' is no file",
        ):
            assert words in message
        found = checked(collection(folder), WHOLE, skip_unreadable=True)
        assert [photo.name for photo in found] == ["0.png", "2.png", "5.png"]
        assert found.left_out == {
            "images that cannot be used": ["1.png", "3.png", "4.png", "6.png"]
        }
        assert "4 images that cannot be used" in found.told
        for name in "025":
            (images / f"{name}.png").write_text("")
        with pytest.raises(ImageError, match="none of 3"):
            checked(found, WHOLE, skip_unreadable=True)

    @pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
    def test_a_pipe_named_as_an_image_does_not_stop_everything(self, folder):
        (folder / "images" / "1.png").unlink()
        os.mkfifo(folder / "images" / "1.png")
        assert checked(collection(folder), WHOLE, skip_unreadable=True).left_out == {
            "images that cannot be used": ["1.png"]
        }

    def test_all_boxes_that_do_not_fit_are_named_or_left_out_and_their_photos_stay(self, folder):
        good, out, over = (0, 0, 5, 5), (30, 0, 35, 5), (15, 5, 25, 9)
        boxes_json(
            folder / "b.json",
            entry("0.png", boxes=[good, out]),
            entry("1.png", boxes=[over]),
            entry("2.png", boxes=[good, good], size=(30, 30)),
            entry("3.png", boxes=[(0, 0, 50, 50)], size=(200, 100)),
            *(entry(f"{number}.png", size=None) for number in (4, 5, 6)),
        )
        with pytest.raises(DataError) as caught:
            checked(collection(folder), WHOLE)
        message = str(caught.value)
        assert "boxes that do not fit their images (4)" in message
        for words in (
            "0.png: box 30, 0, 35, 5 lies outside",
            "1.png: box 15, 5, 25, 9 goes over",
            "2.png: box 0",
        ):
            assert words in message
        found = checked(collection(folder), WHOLE, skip_faulty=True)
        assert [len(photo.boxes) for photo in found] == [1, 0, 0, 1, 1, 1, 1]
        assert (found.without_box, len(found.left_out["boxes that do not fit"])) == (2, 4)
        (batch,) = read_batches(found, WHOLE)
        assert batch.boxes[3].tolist() == [[0.0, 0.0, 5.0, 5.0]]
        assert [len(boxes) for boxes in batch.boxes] == [1, 0, 0, 1, 1, 1, 1]
        assert batch.cropped == 0

    def test_who_interrupts_does_not_wait_for_the_rest(self, folder, monkeypatch):
        from cofire.images import seen

        read = []
        monkeypatch.setattr(seen, "_MOST_READERS", 1)
        monkeypatch.setattr(
            seen, "read_image", lambda file: read.append(file) or Image.new("RGB", (20, 10))
        )

        def stop(_):
            raise KeyboardInterrupt

        many = Collection(collection(folder).images * 300, folder)
        with pytest.raises(KeyboardInterrupt):
            checked(many, WHOLE, progress=stop)
        assert len(read) < len(many)
