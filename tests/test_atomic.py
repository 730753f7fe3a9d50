"""Files appear whole or not at all."""

import os
import subprocess
import sys
import time

import pytest

from cofire.atomic import atomic_path, sweep, write_text
from cofire.errors import ResultError


def test_a_failure_keeps_the_old_file_and_leaves_nothing_behind(tmp_path):
    write_text(tmp_path / "a.txt", "old")

    def fail():
        with atomic_path(tmp_path / "a.txt") as partial:
            partial.write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_a_place_that_cannot_be_written_is_one_clear_error(tmp_path):
    write_text(tmp_path / "a.txt", "a file")
    with pytest.raises(ResultError, match="cannot be written"):
        write_text(tmp_path / "a.txt" / "b.txt", "below a file")


def test_what_a_killed_process_left_is_removed_once_it_is_old(tmp_path):
    (tmp_path / "rows").mkdir()
    old, new, own = (
        tmp_path / "rows" / ".a.1.partial",
        tmp_path / ".b.2.partial",
        tmp_path / "c.txt",
    )
    for path in (old, new, own):
        path.write_text("")
    os.utime(old, (time.time() - 7200,) * 2)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        ".b.2.partial",
        "c.txt",
    ]


def test_an_error_of_the_system_without_a_word_names_the_file_as_well(tmp_path):
    with (
        pytest.raises(ResultError, match=r"a\.txt' cannot be written: OSError"),
        atomic_path(tmp_path / "a.txt"),
    ):
        raise OSError
    assert not list(tmp_path.iterdir())


def test_the_next_that_writes_a_file_removes_what_killed_ones_left_of_it(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left, of_another = (tmp_path / f".{name}.{ended.pid}-0123abcd.partial" for name in "ab")
    alive = tmp_path / f".a.{os.getppid()}-0123abcd.partial"
    for path in (left, of_another, alive):
        path.write_text("half")
    write_text(tmp_path / "a", "whole")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        [alive.name, of_another.name, "a"]
    )
