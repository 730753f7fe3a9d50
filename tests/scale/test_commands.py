"""Shards and merge on the command line: two rounds give the files of one command."""

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
    monkeypatch.syspath_prepend(str(tmp_path))

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
