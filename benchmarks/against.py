"""How long the main work takes against another commit, both in turn in one run.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/against.py REVISION

Each round starts both trees once in a process of its own; a figure is the ratio of this tree's time
to the other's, the median over the rounds, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torchvision import models

ROOT = Path(__file__).resolve().parents[1]
REPEATS = 2


def cases() -> dict[str, Callable[[], Any]]:
    """What is measured, by calls that both trees know."""
    import cofire
    from cofire.graphs.louvain import louvain
    from cofire.patterns import overlapping_modularity

    draw = torch.Generator().manual_seed(0)
    torch.manual_seed(0)
    flat = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU())
    flat.append(nn.Linear(512, 10))
    rows, classes = torch.rand(10_000, 784, generator=draw), torch.arange(10_000) % 10
    images, labels = torch.rand(32, 3, 224, 224, generator=draw), torch.arange(32) % 2
    mlp, resnet = (
        cofire.Network(flat.eval(), rows[:2]),
        cofire.Network(models.resnet18().eval(), images[:2]),
    )
    weights = torch.rand(1_000, 1_000, generator=draw, dtype=torch.float64).triu(1)
    adjacency = weights + weights.T
    members = torch.arange(1_000).reshape(20, 50)
    return {
        "summarize, FCNN of 1,024 neurons, 10,000 samples": lambda: cofire.summarize(
            mlp, (rows, classes), progress=False
        ),
        "summarize, ResNet-18, 32 images of 224 px": lambda: cofire.summarize(
            resnet, (images, labels), progress=False, batch_size=16
        ),
        "overlapping modularity (Eq. 4), 1,000 vertices": lambda: overlapping_modularity(
            adjacency, members
        ),
        "communities (Louvain), 1,000 vertices": lambda: louvain(adjacency, seed=0),
        "boost, readout, 2,000 samples": lambda: cofire.Booster(mlp).fit(
            (rows[:2_000], classes[:2_000]), progress=False
        ),
        "explain, discernible-p3, ResNet-18, 4 images": lambda: cofire.explain(
            resnet, images[:4], method="discernible-p3"
        ),
        "explain, discernible, ResNet-18, 4 images": lambda: cofire.explain(resnet, images[:4]),
        "explain, gradcam, ResNet-18, 4 images": lambda: cofire.explain(
            resnet, images[:4], method="gradcam"
        ),
    }


def measure() -> None:
    """Print the least seconds of each case, and the peak memory, as JSON."""
    found: dict[str, float | str] = {}
    for name, call in cases().items():
        try:
            call()
            seconds = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                call()
                seconds.append(time.perf_counter() - start)
            found[name] = min(seconds)
        except Exception as error:  # what the other tree does not know
            print(f"{name}: {type(error).__name__}: {error}", file=sys.stderr)
    found["peak memory of all"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(json.dumps(found), file=sys.stderr)
    print(json.dumps(found))


def measured(tree: Path) -> dict[str, float]:
    """What a process with a tree's package measures."""
    told = subprocess.run(
        [sys.executable, "-W", "ignore", __file__, "--measure"],
        env={**os.environ, "PYTHONPATH": str(tree / "src")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    return dict(json.loads(told.stdout.splitlines()[-1]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("revision", nargs="?")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.measure:
        measure()
        return
    with tempfile.TemporaryDirectory() as folder:
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", folder, given.revision], check=True)
        try:
            rounds = [(measured(ROOT), measured(Path(folder))) for _ in range(given.rounds)]
        finally:
            subprocess.run([*git, "remove", "--force", folder], check=True)
    print("| case | before | now | ratio |\n| --- | --- | --- | --- |")
    for name in rounds[0][0]:
        if name not in rounds[0][1]:
            continue
        now, before = ([each[side][name] for each in rounds] for side in (0, 1))
        ratios = sorted(a / b for a, b in zip(now, before, strict=True))
        unit = "GB" if "memory" in name else "s"
        print(
            f"| {name} | {statistics.median(before):.3g} {unit} | {statistics.median(now):.3g} {unit} | "
            f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )


if __name__ == "__main__":
    main()
