"""One reader: every kind of file, every way of damage, and what none of them may cost."""

import contextlib
import os
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from cofire.errors import ImageError
from cofire.images import reading
from cofire.images.reading import find_images, plain_image, read_image
from tests.images.odd_images import SIDE, odd_images

RAMP = np.arange(256, dtype=np.uint8).reshape(16, 16)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_all_turns_show_the_same_upright_image(tmp_path, turn, ending):
    upright = np.zeros((16, 32, 3), np.uint8)
    upright[:8, :16] = 255
    back = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = Image.fromarray(upright)
    stored = stored.transpose(back[turn]) if turn in back else stored
    exif = Image.Exif()
    exif[0x0112] = turn
    stored.save(tmp_path / f"a.{ending}", exif=exif, quality=100)
    seen = np.asarray(read_image(tmp_path / f"a.{ending}")).astype(int)
    assert seen.shape == upright.shape
    assert np.abs(seen - upright).max() < 40


def test_every_kind_is_grey_or_colour_of_8_bits_of_its_own_size(tmp_path):
    for name in odd_images(tmp_path):
        image = read_image(tmp_path / name)
        assert image.mode in ("L", "RGB"), name
        assert image.size == (SIDE, SIDE), name


def test_shades_of_16_bits_are_divided_not_cut_off(tmp_path):
    shades = np.array([[0, 128, 129, 257, 32768, 65407, 65535]], np.uint16)
    Image.fromarray(shades).save(tmp_path / "a.png")
    assert np.asarray(read_image(tmp_path / "a.png")).tolist() == [[0, 0, 1, 1, 128, 255, 255]]
    Image.fromarray(shades).save(tmp_path / "b.png", transparency=257)
    assert np.asarray(read_image(tmp_path / "b.png")).tolist() == [[0, 0, 1, 255, 128, 255, 255]]


def test_strips_of_a_large_image_are_put_together_again(tmp_path, monkeypatch):
    wide = np.arange(40 * 50, dtype=np.uint16).reshape(40, 50) * 32
    Image.fromarray(wide).save(tmp_path / "deep.png")
    clear = np.dstack([wide.astype(np.uint8)] * 3 + [(wide // 256).astype(np.uint8)])
    Image.fromarray(clear).save(tmp_path / "clear.png")
    whole = [np.asarray(read_image(tmp_path / name)) for name in ("deep.png", "clear.png")]
    monkeypatch.setattr(reading, "_AT_ONCE", 120)
    for name, expected in zip(("deep.png", "clear.png"), whole, strict=True):
        assert (np.asarray(read_image(tmp_path / name)) == expected).all()
    assert (whole[0] == (wide.astype(int) + 128) // 257).all()


def _png(width, height, depth=16, kind=0, rows=0):
    def chunk(name, body):
        return (
            struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        )

    body = zlib.compress(bytes(rows * (1 + width * depth // 8)), 9)
    head = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [9_460, 13_000, 50_000])
def test_a_small_file_of_many_pixels_is_refused_before_it_is_opened(tmp_path, side):
    (tmp_path / "a.png").write_bytes(_png(side, side, rows=1))
    with pytest.raises(ImageError, match=r"pixels.*at most 89,478,485.*make the image smaller"):
        read_image(tmp_path / "a.png")


def test_warnings_as_errors_change_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(_png(13_000, 13_000, rows=1))
    with pytest.raises(ImageError, match="at most 89,478,485"):
        read_image(tmp_path / "a.png")


def test_a_image_opened_elsewhere_has_the_same_bounds(monkeypatch):
    monkeypatch.setattr(reading, "MOST_PIXELS", 100)
    with pytest.raises(ImageError, match="11 × 10 pixels"):
        plain_image(Image.new("RGB", (11, 10)), "a.png")
    with pytest.raises(ImageError, match="no pixels"):
        plain_image(Image.new("RGB", (0, 10)), "a.png")


def test_a_file_of_too_many_bytes_is_refused(tmp_path, monkeypatch):
    Image.fromarray(RAMP).save(tmp_path / "a.png")
    monkeypatch.setattr(reading, "MOST_BYTES", 50)
    with pytest.raises(ImageError, match=r"a file of \d+ bytes"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("name", ["a\0b", "x" * 5000, "x\ud800", "/dev/null", ".", "absent.png"])
def test_what_is_no_file_is_one_error_that_names_it(tmp_path, name):
    with pytest.raises(ImageError, match="cannot be read"):
        read_image(tmp_path / name)


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    with pytest.raises(ImageError, match="no file"):
        read_image(tmp_path / "a.png")


def test_only_images_are_decoded(tmp_path):
    (tmp_path / "a.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\nshowpage\n"
    )
    with pytest.raises(ImageError, match="not a format"):
        read_image(tmp_path / "a.jpg")


def test_a_image_that_a_data_set_opened_may_be_damaged(tmp_path):
    Image.fromarray(RAMP).save(tmp_path / "a.bmp")
    (tmp_path / "a.bmp").write_bytes((tmp_path / "a.bmp").read_bytes()[:-100])
    with (
        Image.open(tmp_path / "a.bmp") as opened,
        pytest.raises(ImageError, match=r"a\.bmp.*cannot be read"),
    ):
        plain_image(opened, "a.bmp")


@pytest.mark.parametrize("ending", ["png", "jpg", "gif", "webp", "tif", "bmp", "ppm"])
def test_damaged_files_are_read_or_refused(tmp_path, ending):
    draw = np.random.default_rng(7)
    good = tmp_path / f"good.{ending}"
    Image.fromarray(draw.integers(0, 255, (20, 25, 3), dtype=np.uint8)).save(good)
    data, bad = good.read_bytes(), tmp_path / f"bad.{ending}"
    for trial in range(20):
        spoiled = bytearray(data)
        for _ in range(1 + trial % 5):
            spoiled[draw.integers(len(data))] ^= 1 << draw.integers(8)
        bad.write_bytes(spoiled if trial % 3 else spoiled[: draw.integers(len(data))])
        with contextlib.suppress(ImageError):
            read_image(bad)


def test_places_that_cannot_be_looked_into_are_told(tmp_path):
    with pytest.raises(ImageError, match="cannot be looked into"):
        find_images([tmp_path / ("x" * 5000)])
    with pytest.raises(ImageError, match="no file"):
        find_images([tmp_path / "absent"])
    with pytest.raises(ImageError, match="no image in the folder"):
        find_images([tmp_path])
