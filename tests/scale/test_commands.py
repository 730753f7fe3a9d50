"""Shards and merge on the command line: two rounds give the files of one command."""

import socket

import pytest

from tests.cli.test_help import run

MODEL = """
import torch
def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.Linear(64, 12), torch.nn.ReLU(), torch.nn.Linear(12, 10)
        )
"""
ASKED = (
    "summarize",
    "--model",
    "shared_net:net",
    "--data",
    "digits",
    "--bins",
    "20",
    "--no-images",
)


@pytest.mark.slow
def test_two_rounds_of_shards_give_the_files_of_one_command(tmp_path, monkeypatch):
    (tmp_path / "shared_net.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)

    def called(*arguments):
        told = run(arguments, tmp_path)
        assert told.exit == 0, told
        return told.out

    called(*ASKED, "--out", "one")
    ranges = ()
    for _ in (1, 2):
        for part in (2, 1):
            shard = ("--shard", f"{part}/2", "--out", f"part{part}", "--batch-size", f"{50 * part}")
            assert "cofire merge" in called(*ASKED, *shard, *ranges)
        said = called("merge", "part1", "part2", "--out", "whole")
        ranges = ("--ranges", "whole/ranges.safetensors")
    assert "Report" in said
    for name in ("summary.safetensors", "layers.parquet", "neurons.parquet"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    refused = run((*ASKED, "--ranges", "whole/ranges.safetensors", "--out", "x"), tmp_path)
    assert refused.exit == 1
    assert "--ranges 'whole/ranges.safetensors' without shard" in refused.err.replace(
        "ranges='", "--ranges '"
    )


def test_what_was_left_of_another_job_and_ways_of_sharing_that_do_not_go_together(
    tmp_path, monkeypatch
):
    (tmp_path / "left_net.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    asked = ("summarize", "--model", "left_net:net", *ASKED[3:])
    for part in (1, 2):
        run((*asked, "--shard", f"{part}/2", "--out", f"part{part}"), tmp_path)
    assert run(("merge", "part1", "part2", "--out", "whole"), tmp_path).exit == 0
    (tmp_path / "odd").mkdir()
    (tmp_path / "job").mkdir()
    for other in ("odd/summarize-pass1.safetensors", "job/ranges.safetensors"):
        (tmp_path / other).write_bytes((tmp_path / "whole/ranges.safetensors").read_bytes())
    assert (
        "which is no part of a command with --shard"
        in run(("merge", "odd", "--out", "x"), tmp_path).err
    )

    (tmp_path / "left_net.py").write_text(MODEL.replace("manual_seed(0)", "manual_seed(1)"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "RANK": 0, "WORLD_SIZE": 1}
    for name, value in (started | {"LOCAL_RANK": 0, "TORCHELASTIC_RUN_ID": "none"}).items():
        monkeypatch.setenv(name, str(value))
    told = run((*asked, "--out", "job"), tmp_path)
    assert told.exit == 1
    assert "ranges.safetensors', kept by a job that was stopped: " in told.err
    assert "delete that file to start anew" in told.err
    assert (
        "one way of sharing the data" in run((*asked, "--shard", "1/2", "--out", "y"), tmp_path).err
    )
