"""How much faster two single-threaded workers are than one: shards, torchrun and Ray, wall time, on one machine.

    python benchmarks/scaling.py [--samples 12288 --repetitions 3 --ways shards torchrun ray]

Each way is the whole command line, on a small ResNet at 32 pixels and data made by number; the same on a few
samples is taken off, which is what starting and writing takes. All ways and one worker in turn; the median of
the ratios, with the smallest and the largest, and the load of the machine meanwhile: with more work than cores
beside it, no ratio means anything.

    python benchmarks/scaling.py --begun [--samples 16384]

Two actors of Ray from when both have counted a piece, against one process: what remains of starting once a pass
takes minutes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODULE = """
import torch
from torchvision.models.resnet import BasicBlock, ResNet

SAMPLES = {samples}

def net():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ResNet(BasicBlock, [1, 1, 1, 1], num_classes=10).eval()

class Numbered(torch.utils.data.Dataset):
    def __len__(self):
        return SAMPLES

    def __getitem__(self, at):
        draw = torch.Generator().manual_seed(at)
        return torch.randn(3, 32, 32, generator=draw), at % 10

def data():
    return Numbered()
"""
FEW = 512
ASKED = [
    "summarize",
    "--model",
    "made:net",
    "--data",
    "made:data",
    "--no-images",
    "--workers",
    "0",
    "-q",
]
COFIRE = [sys.executable, "-m", "cofire"]
RANKS = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc-per-node=2",
    "-m",
    "cofire",
]


def run(place, *lines):
    """Commands at the same time, until all have ended."""
    path = os.pathsep.join([str(place), os.environ.get("PYTHONPATH", "")])
    told = os.environ | {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE", "PYTHONPATH": path}
    started = [
        subprocess.Popen(
            line, cwd=place, env=told, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        for line in lines
    ]
    for process in started:
        _, said = process.communicate()
        if process.returncode:
            raise SystemExit(said.decode())


def one(place):
    run(place, [*COFIRE, *ASKED, "--out", "one"])


def shards(place):
    ranges = []
    for _ in (1, 2):
        parts = [f"part{number}" for number in (1, 2)]
        asked = [*COFIRE, *ASKED, *ranges]
        run(
            place,
            *([*asked, "--shard", f"{n}/2", "--out", part] for n, part in enumerate(parts, 1)),
        )
        run(place, [*COFIRE, "merge", *parts, "--out", "shards"])
        ranges = ["--ranges", "shards/ranges.safetensors"]


def torchrun(place):
    run(place, [*RANKS, *ASKED, "--out", "torchrun"])


def ray(place):
    run(place, [*COFIRE, *ASKED, "--engine", "ray", "--actors", "2", "--out", "ray"])


WAYS = {"shards": shards, "torchrun": torchrun, "ray": ray}


def spent(way, samples):
    """Seconds of all samples beyond those of a few, and the file that was written."""
    took = []
    for size in (FEW, samples):
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "made.py").write_text(MODULE.format(samples=size))
            start = time.perf_counter()
            way(place)
            took.append(time.perf_counter() - start)
            written = (place / way.__name__ / "summary.safetensors").read_bytes()
    return took[1] - took[0], took[1], written


class Clocked:
    """Counts a piece, and says when that was done."""

    def __init__(self, work):
        self.work = work

    def __call__(self, piece):
        return self.work(piece), time.time()


def begun(samples):
    """Blocks a second of one process, and of two actors that have begun, both passes."""
    import torch

    from cofire import summarize
    from cofire.scale.ray_engine import RayEngine, cluster
    from cofire.scale.ray_passes import on_actors

    torch.set_num_threads(1)
    rates = []

    def each(work, pieces):
        start = time.time()
        counted, ended = zip(*RayEngine(2).each(Clocked(work), pieces), strict=True)
        first, last = sorted(ended)[1], max(ended)
        blocks = sum(len(piece) for piece in pieces)
        rates.append(blocks * (1 - 2 / len(pieces)) / (last - first))
        print(
            f"  a pass of two actors: {first - start:.1f} s until both have counted a piece, {last - first:.1f} s more"
        )
        return iter(counted)

    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "made.py").write_text(MODULE.format(samples=samples))
        sys.path.insert(0, folder)
        import made

        start = time.time()
        summarize(made.net(), made.data(), progress=False)
        alone = 2 * samples / 256 / (time.time() - start)
        with cluster(), on_actors(each, False):
            summarize(made.net(), made.data(), progress=False)
    told = ", ".join(f"× {rate / alone:.2f}" for rate in rates)
    print(
        f"one process {alone:.2f} blocks/s, two actors {told} in the two passes; load {os.getloadavg()[0]:.1f}"
    )


def main(samples, repetitions, ways):
    beyond, whole = ({name: [] for name in ways} for _ in range(2))
    for _ in range(repetitions):
        alone = spent(one, samples)
        for name in ways:
            found = spent(WAYS[name], samples)
            assert found[2] == alone[2], f"{name} wrote another file"
            beyond[name].append(alone[0] / found[0])
            whole[name].append(alone[1] / found[1])
            print(
                f"  one {alone[0]:.1f} s of {alone[1]:.1f}, {name} {found[0]:.1f} s of {found[1]:.1f}; "
                f"load {os.getloadavg()[0]:.1f}",
                flush=True,
            )
    for name in ways:
        told = (
            f"× {statistics.median(of):.2f} ({min(of):.2f} to {max(of):.2f})"
            for of in (beyond[name], whole[name])
        )
        print(f"{name:9s} {next(told)} of one worker; with starting and writing {next(told)}")


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--samples", type=int, default=12_288)
    asked.add_argument("--repetitions", type=int, default=3)
    asked.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    asked.add_argument("--begun", action="store_true")
    given = vars(asked.parse_args())
    if given.pop("begun"):
        begun(given["samples"])
    else:
        main(**given)
