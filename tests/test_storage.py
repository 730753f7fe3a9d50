"""A folder belongs to one run at a time; what a killed run left does not stand in the way of the next."""

import errno
import fcntl
import os
import resource
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

import cofire
from cofire.atomic import atomic_folder, atomic_path, claimed, partial_name, sweep, write_text
from cofire.cli.main import app
from cofire.cli.terminal import running
from cofire.errors import OptionError, ResultError
from cofire.evaluate import run_evaluation
from cofire.report.pages import replaced
from tests.conftest import Tiny
from tests.evaluate.judged import PREPARATION, tiny_collection, tiny_network, write_photos

RESULTS = ["summary.safetensors"]


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def run_in(folder, kind="a summary"):
    with claimed(folder, kind, RESULTS) as claim:
        (Path(folder) / RESULTS[0]).write_text("whole")
    return claim.earlier


def test_a_folder_is_as_before_after_a_run_but_for_its_results(tmp_path):
    out = tmp_path / "deep" / "out"
    assert not run_in(out)
    assert names(out) == RESULTS
    assert run_in(out)
    assert names(out) == RESULTS


def test_a_run_that_fails_before_it_writes_leaves_nothing(tmp_path):
    def fail(out):
        with claimed(out, "a summary", RESULTS):
            raise ZeroDivisionError

    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "deep" / "out", tmp_path / "empty"):
        with pytest.raises(ZeroDivisionError):
            fail(out)
    assert names(tmp_path) == ["empty"]
    assert names(tmp_path / "empty") == []


@pytest.mark.parametrize(
    ("held", "said"),
    [
        ("thesis.txt", "holds other files"),
        ("study.json", "holds a study"),
        ("boost.json", "holds other files"),
    ],
)
def test_files_of_others_are_left_alone(tmp_path, held, said):
    (tmp_path / held).write_text("years")
    with pytest.raises(OptionError, match=said):
        run_in(tmp_path)
    assert names(tmp_path) == [held]


def test_a_file_or_a_folder_without_rights_is_refused(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    with pytest.raises(OptionError, match="is a file"):
        run_in(tmp_path / "file" / "out")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    with pytest.raises((OptionError, ResultError), match="circle"):
        run_in(tmp_path / "circle")
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(OptionError, match="cannot be written"):
        run_in(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_claim_within_a_claim_is_the_same(tmp_path):
    with claimed(tmp_path, "a study", ["study.json"]):
        with claimed(tmp_path, "a study", ["study.json"]) as inner:
            (tmp_path / "study.json").write_text("{}")
        assert inner.folder == tmp_path.resolve()
        with pytest.raises(ZeroDivisionError), claimed(tmp_path, "a study", ["study.json"]):
            raise ZeroDivisionError
        assert ".cofire.lock" in names(tmp_path)
    assert names(tmp_path) == ["study.json"]


HOLDER = """
import sys, time
from pathlib import Path
from cofire.atomic import claimed

with claimed(sys.argv[1], "a summary", ["summary.safetensors"]):
    (Path(sys.argv[1]) / "layers.parquet").write_text("half")
    print("held", flush=True)
    time.sleep(100)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that writes to a folder."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path / "out")], stdout=subprocess.PIPE
    )
    assert process.stdout.readline() == b"held\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_a_second_process_is_told_and_a_killed_one_gives_its_folder_free(tmp_path, holder):
    out = tmp_path / "out"
    with pytest.raises(
        ResultError, match=rf"another run of cofire writes: process {holder.pid} on .*, since 20"
    ):
        run_in(out)
    (out / ".cofire.json").write_text('{"kind": "a summary", "by": "a\\u001b[2J"}')
    with pytest.raises(ResultError, match=r"another run of cofire writes\. Expected"):
        run_in(out)
    assert names(out) == [".cofire.json", ".cofire.lock", "layers.parquet"]
    partial = out / partial_name("x.parquet").replace(f".{os.getpid()}-", f".{holder.pid}-")
    partial.write_text("half")
    (out / partial.name.replace("x.", "rows.")).mkdir()
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    with pytest.raises(OptionError, match="holds a summary that was begun"):
        run_in(out, "a booster")
    assert run_in(out)
    assert names(out) == ["layers.parquet", *RESULTS]


def follow_in(folder):
    tiny = Tiny()
    cofire.follow(
        tiny.network,
        [tiny.model.state_dict()],
        tiny.data,
        pairs=None,
        folder=folder,
        progress=False,
    )


def evaluate_in(folder):
    photos = tiny_collection(
        folder.parent if (folder.parent / "photos").exists() else write_photos(folder.parent)
    )
    options = {"measures": ["soft"], "limit": 1, "progress": False}
    run_evaluation(tiny_network(), photos, PREPARATION, ["centre"], folder, **options)


@pytest.mark.parametrize("run", [follow_in, evaluate_in])
def test_what_python_calls_keep_in_a_folder_is_locked_and_swept_too(tmp_path, holder, run):
    out = tmp_path / "out"
    write_text(out / "thesis.txt", "years")
    left = out / "rows" / f".0001.{holder.pid}-0123abcd.partial"
    left.mkdir(parents=True)
    with pytest.raises(ResultError, match="another run of cofire writes"):
        run(out)
    assert left.exists()
    holder.kill()
    holder.wait()
    run(out)
    assert not left.exists()
    assert (out / "thesis.txt").read_text() == "years"
    assert not {".cofire.json", ".cofire.lock"} & set(names(out))


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_written_to_as_well(tmp_path, monkeypatch, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(fcntl, "flock", fail)
    assert not run_in(tmp_path / "out")
    assert run_in(tmp_path / "out")
    assert names(tmp_path / "out") == RESULTS


def test_what_killed_processes_left_is_swept_and_the_living_are_left_alone(tmp_path):
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    for folder in (tmp_path, tmp_path / "rows"):
        folder.mkdir(exist_ok=True)
        for process in (ended.pid, os.getpid()):
            (folder / f".a.{process}-0123abcd.partial").write_text("")
            (folder / f".b.{process}-0123abcd.partial").mkdir()
            (folder / f".b.{process}-0123abcd.partial" / "c.txt").write_text("")
    (tmp_path / "mine.partial").write_text("")
    sweep(tmp_path)
    assert names(tmp_path / "rows") == [f".{name}.{os.getpid()}-0123abcd.partial" for name in "ab"]
    assert {"mine.partial", "rows"} < set(names(tmp_path))
    assert len(names(tmp_path)) == 4


def test_a_killed_run_with_the_number_of_this_one_is_swept_as_containers_give_all_the_same(
    tmp_path,
):
    earlier, own = (tmp_path / f".{name}.{os.getpid()}-0123abcd.partial" for name in "ab")
    for path in (earlier, own):
        path.write_text("half")
    os.utime(earlier, (time.time() - 3000, time.time() - 3000))
    # As if this process were a short one, even if the tests have gone on for an hour.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cofire.atomic._BEGUN", time.time() - 60)
        sweep(tmp_path)
    assert names(tmp_path) == [own.name]


def test_a_folder_appears_once_and_whole(tmp_path):
    with atomic_folder(tmp_path / "rows" / "0001") as partial:
        write_text(partial / "a.txt", "whole")
        assert not (tmp_path / "rows" / "0001").exists()

    def again():
        with atomic_folder(tmp_path / "rows" / "0001") as partial:
            write_text(partial / "a.txt", "other")

    with pytest.raises(ResultError, match="one run in a folder at a time"):
        again()
    assert names(tmp_path / "rows") == ["0001"]
    assert (tmp_path / "rows" / "0001" / "a.txt").read_text() == "whole"


WRITERS = {
    "text": lambda path: path.write_text("x" * 50_000),
    "bytes": lambda path: path.write_bytes(bytes(50_000)),
    "safetensors": lambda path: save_file({"a": torch.zeros(50_000)}, path),
    "parquet": lambda path: pq.write_table(pa.table({"a": torch.randn(50_000).numpy()}), path),
    "torch": lambda path: torch.save({"a": torch.zeros(50_000)}, path),
}


@contextmanager
def full_disk():
    """A system on which no file can be larger than 1,000 bytes; only for a moment, as pytest may write to one."""
    before = (
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN),
        resource.getrlimit(resource.RLIMIT_FSIZE),
    )
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1][1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before[1])
        signal.signal(signal.SIGXFSZ, before[0])


@pytest.mark.parametrize("kind", WRITERS)
def test_a_full_disk_is_said_and_the_old_file_kept(tmp_path, kind):
    write_text(tmp_path / "a", "old")

    def write():
        with full_disk(), atomic_path(tmp_path / "a") as partial:
            WRITERS[kind](partial)

    with pytest.raises(ResultError, match=r"the disk is full.*free some room"):
        write()
    assert (tmp_path / "a").read_text() == "old"
    assert names(tmp_path) == ["a"]


@pytest.mark.parametrize("begin", [atomic_folder, replaced])
def test_what_cannot_be_written_is_told_by_the_name_that_it_would_have(tmp_path, begin):
    if begin is replaced:
        (tmp_path / "out").mkdir()
    before = list(tmp_path.rglob("*"))

    def write():
        with begin(tmp_path / "out") as partial, full_disk():
            write_text(partial / "a", "x" * 50_000)

    with pytest.raises(
        ResultError, match=f"'{tmp_path}/out/a' cannot be written: the disk is full"
    ):
        write()
    assert list(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_fails_last_is_said_as_well(tmp_path, monkeypatch, step, code):
    def fail(*_):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os if step == "fsync" else Path, step, fail)
    with pytest.raises(ResultError, match=rf"a\.txt' cannot be written: .*{os.strerror(code)}"):
        write_text(tmp_path / "a.txt", "x")
    assert names(tmp_path) == []


def test_faults_of_other_files_are_not_taken_for_those_of_the_disk(tmp_path):
    def read_another():
        with atomic_path(tmp_path / "a.txt"):
            (tmp_path / "missing.txt").read_text()

    with pytest.raises(FileNotFoundError, match="missing"):
        read_another()


def test_files_have_the_rights_that_the_system_gives(tmp_path):
    write_text(tmp_path / "a.txt", "x")
    (tmp_path / "b.txt").write_text("x")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.parametrize(
    ("goes_on", "said"), [(True, "goes on where it was"), (False, "starts anew")]
)
def test_a_command_that_is_stopped_says_what_comes_next(capsys, goes_on, said):
    with pytest.raises(Exception) as raised, running(goes_on=goes_on):
        raise KeyboardInterrupt
    assert raised.value.exit_code == 130
    assert f"The same command {said}." in capsys.readouterr().err


def test_a_stopped_command_gives_its_folder_free(tmp_path, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("cofire.cli.options.open_data", stop)
    told = CliRunner().invoke(
        app, ["summarize", "--model", "a:b", "--data", "c:d", "--out", str(tmp_path / "out")]
    )
    assert told.exit_code == 130
    assert "starts anew" in told.output
    assert names(tmp_path) == []


def test_a_note_that_could_not_be_read_again_is_not_written(tmp_path, monkeypatch, tiny):
    monkeypatch.setattr("cofire.storage._HEADER_BYTES", 100)
    with pytest.raises(ResultError, match=r"a summary whose note does not fit.*save it in parts"):
        cofire.summarize(tiny.network, tiny.data).save(tmp_path / "summary.safetensors")
    assert not list(tmp_path.iterdir())
