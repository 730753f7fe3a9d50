"""Whatever a file holds, a reader reads it or raises an error of cofire that names it.

`make fuzz` tries many, others every day.
"""

import time
from contextlib import suppress

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import cofire
from cofire.errors import CofireError, OptionError
from cofire.reading import read_json
from cofire.storage import read_table

from .cage import cases, drawn, judged, told
from .readable import good_files
from .spoiling import damaged, resealed

CASES = 250
"""In CI; `make fuzz` tries twenty times as many."""
BEGUN = {"study.json", "training.pt", "options.json", "000000.parquet"}
"""Where there is none of these, a run is begun."""


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    return good_files(tmp_path_factory.mktemp("good"))


def test_a_damaged_file_is_read_or_an_error_of_ours(files, tmp_path):
    files = {path: read for path, read in files.items() if path.exists()}
    for read, path in zip(files.values(), files, strict=True):
        read(path)
    faults = []
    for number in cases(CASES):
        draw = drawn(number)
        path, read = draw.choice(list(files.items()))
        whole = path.read_bytes()
        path.write_bytes(damaged(draw, whole) if draw.random() < 0.4 else resealed(draw, path))
        with judged(faults, number, path.name):
            read(path)
        path.write_bytes(whole)
    assert not faults, told(faults, "files")


@pytest.mark.parametrize("bit", [0, 6])
def test_no_damage_to_what_a_table_says_of_itself_ends_the_process(tmp_path, bit):
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"a": [1, None, 3]}), path, store_schema=False)
    whole = path.read_bytes()
    for at in range(-8 - int.from_bytes(whole[-8:-4], "little"), 0):
        spoiled = bytearray(whole)
        spoiled[at] ^= 1 << bit
        path.write_bytes(spoiled)
        with suppress(OSError, ValueError):
            read_table(path)


@pytest.mark.parametrize("name", ["missing", "x" * 5000, "a\x00b", "lone\ud800"])
def test_a_path_to_nothing_is_an_error_of_ours(files, tmp_path, name):
    for path, read in files.items():
        if path.name in BEGUN:
            continue
        with pytest.raises(CofireError):
            read(tmp_path / name)
        with pytest.raises(CofireError):
            read(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "a." * 50_000 + "b = 1",
        "a = " + "[" * 30_000,
        "seed = " + "9" * 6000,
        "a = 1\n" * 50_000,
        '"a" . ' * 9000 + "b=1",
    ],
    ids=["dotted", "nested", "digits", "long", "quoted"],
)
def test_options_that_cost_more_than_they_say_are_refused_at_once(tmp_path, text):
    (tmp_path / "a.toml").write_text(text)
    begun = time.process_time()
    with pytest.raises(OptionError, match=r"a\.toml"):
        cofire.StudyOptions.of(tmp_path / "a.toml")
    assert time.process_time() - begun < 20


def test_a_file_is_read_up_to_its_bound(tmp_path):
    (tmp_path / "a.json").write_text("[1, 2, 3]")
    assert read_json(tmp_path / "a.json", most=9) == [1, 2, 3]
    with pytest.raises(ValueError, match="more than 8 bytes"):
        read_json(tmp_path / "a.json", most=8)
