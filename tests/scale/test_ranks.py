"""Processes of one job give the bytes of one process; one that fails or dies ends the job with one message."""

import os
import socket
import subprocess
import sys

import pytest
import torch.distributed as dist

from cofire.errors import OptionError
from cofire.scale.ranks import first_to_tell, on_gpu

SCRIPT = """
import atexit, os, sys, signal
import torch
import cofire
from cofire.errors import CofireError
from cofire.activations.sharing import shared
from cofire.scale.ranks import Follower, ranks
from pathlib import Path

@atexit.register
def left():
    threads = [task / "comm" for task in Path("/proc/self/task").glob("*")]
    if any("gloo" in thread.read_text() for thread in threads if thread.exists()):
        print("threads of the group outlive it")

from tests.scale.test_shards import HOW, MADE, network

draw = torch.Generator().manual_seed(1)
labels = torch.randint(3, (6000,), generator=draw)
inputs = torch.randn(6000, 4, generator=draw)
out, what = Path(sys.argv[1]), sys.argv[2]
if what == "wrong" and os.environ["RANK"] == "1":
    inputs[-1] = torch.nan
out.mkdir(exist_ok=True)
with ranks(out / "ranges.safetensors", MADE, 2) as sharing:
    if what == "dies":
        ended = type(sharing)._gathered
        def dying(self, count):
            if self._left == 0 and self._rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return ended(self, count)
        type(sharing)._gathered = dying
    try:
        with shared(sharing):
            found = cofire.summarize(network(), (inputs, labels), **HOW)
        found.save(out / "summary.safetensors")
    except Follower:
        sys.exit(3)
    except CofireError as error:
        print(error)
        sys.exit(1)
"""


def job(size, place, what="all"):
    """Exit codes of the processes, and what all of them said."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size)}
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(place), what],
            env=os.environ | told | {"RANK": str(rank), "OMP_NUM_THREADS": "1"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(size)
    ]
    outputs = [process.communicate(timeout=500) for process in processes]
    # They may abort a process that ends: code -6, now and then.
    assert not any("outlive" in out for out, _ in outputs)
    return [p.returncode for p in processes], "".join(out for out, _ in outputs), outputs


def test_each_process_takes_a_gpu_of_its_own(monkeypatch):
    taken = []
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.set_device", taken.append)
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert [on_gpu(device) for device in ("cpu", "cuda", "auto")] == [False, True, True]
    assert taken == [1, 1]
    with pytest.raises(OptionError, match="device='cuda:1' under torchrun"):
        on_gpu("cuda:1")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "3")
    with pytest.raises(OptionError, match=r"3 processes on a machine with 2 GPUs.*per-node 2"):
        on_gpu("cuda")
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    with pytest.raises(OptionError, match="pass device='cpu'"):
        on_gpu("cuda")


def test_one_process_of_a_job_tells_an_error(monkeypatch):
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    told = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": store.port, "RANK": 0, "WORLD_SIZE": 2}
    for name, value in (told | {"TORCHELASTIC_RUN_ID": "some"}).items():
        monkeypatch.setenv(name, str(value))
    assert [first_to_tell() for _ in range(3)] == [True, False, False]
    monkeypatch.setattr("cofire.scale.ranks._ANSWERS_WITHIN", 1)
    monkeypatch.setenv("MASTER_PORT", "9")
    assert first_to_tell()
    monkeypatch.setenv("RANK", "1")
    assert not first_to_tell()
    monkeypatch.setenv("WORLD_SIZE", "1")
    assert first_to_tell()


@pytest.mark.slow
def test_an_error_before_the_data_is_read_is_said_once():
    started = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2")
    told = subprocess.run(
        [*started, "-m", "cofire", "summarize", "--model", "nowhere:net", "--data", "digits"],
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert told.returncode
    assert told.stderr.count("To fix it") == 1, told.stderr


@pytest.mark.slow
def test_one_two_and_four_processes_write_the_same_bytes(tmp_path):
    files = set()
    for size in (1, 2, 4):
        codes, _, outputs = job(size, tmp_path / str(size))
        assert codes == [0] + [3] * (size - 1), outputs
        files.add((tmp_path / str(size) / "summary.safetensors").read_bytes())
    assert len(files) == 1


@pytest.mark.slow
def test_what_goes_wrong_in_one_process_is_said_once(tmp_path):
    codes, said, outputs = job(2, tmp_path, "wrong")
    assert codes == [1, 3], outputs
    assert said.count("To fix it") == 1
    assert "NaN" in said or "nan" in said


@pytest.mark.slow
def test_a_process_that_dies_ends_the_job_and_the_next_goes_on_with_the_second_pass(tmp_path):
    codes, said, outputs = job(2, tmp_path, "dies")
    assert codes == [1, -9], outputs
    assert said.count("a process of this job died") == 1
    assert (tmp_path / "ranges.safetensors").exists()
    codes, _, outputs = job(2, tmp_path)
    assert codes == [0, 3], outputs
