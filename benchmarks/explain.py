"""What explaining costs beside a bare forward pass of the same batch, in time and in memory.

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=2 python benchmarks/explain.py --batches 1
    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=2 python benchmarks/explain.py --batches 16 --repeats 3
    \
        --ways cnn-fixations discernible gradcam gradcam++
    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=2 python benchmarks/explain.py --memory

Random weights, 224 pixels. Time: the median over passes taken in turn. Memory: the highest resident
size of a process that does nothing else, above what it has before the first pass; one process for
each figure.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from functools import partial

import torch
import torchvision

from cofire.explain import explain
from cofire.network import Network

NETWORKS = ("vgg16", "resnet50", "alexnet", "inception_v3")
WAYS = {
    "cnn-fixations": {"method": "cnn-fixations"},
    "discernible": {},
    "points alone": {"contrast": None},
    "points, full score": {"contrast": None, "alpha": (1.0, 0.1, 1.0)},
    "lrp": {"method": "lrp"},
    "gradcam": {"method": "gradcam"},
    "gradcam++": {"method": "gradcam++"},
}


def made(name: str) -> tuple[torch.nn.Module, Network]:
    torch.manual_seed(0)
    extra = {"init_weights": False} if name == "inception_v3" else {}
    model = getattr(torchvision.models, name)(weights=None, **extra).eval()
    return model, Network(model, torch.zeros(1, 3, 224, 224))


def taken(function) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def bare(model: torch.nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        model(images)


def times(names: list[str], batches: list[int], repeats: int, chosen: list[str]) -> None:
    ways = {way: WAYS[way] for way in chosen}
    print("| network | batch | bare, ms | " + " | ".join(ways) + " |")
    print("| --- | --- | --- |" + " --- |" * len(ways))
    for name in names:
        model, network = made(name)
        for batch in batches:
            images = torch.rand(batch, 3, 224, 224)
            ratios: dict[str, list[float]] = {way: [] for way in ways}
            alone = []
            for options in ways.values():
                explain(network, images, **options)
            for _ in range(repeats):
                for way, options in ways.items():
                    before = taken(partial(bare, model, images))
                    with_it = taken(partial(explain, network, images, **options))
                    ratios[way].append(with_it / before - 1)
                    alone.append(before)
            cells = " | ".join(f"{statistics.median(values):.2f}" for values in ratios.values())
            print(
                f"| {name} | {batch} | {1000 * statistics.median(alone):.0f} | {cells} |",
                flush=True,
            )


def resident(name: str, way: str, batch: int) -> None:
    """Prints the highest resident size, in MiB, of one process that does one thing three times."""
    model, network = made(name)
    images = torch.rand(batch, 3, 224, 224)
    small = images[:1]
    if way == "bare":
        bare(model, small)
    else:
        explain(network, small, **WAYS[way])
    for _ in range(2):
        bare(model, images) if way == "bare" else explain(network, images, **WAYS[way])
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(names: list[str], batches: list[int]) -> None:
    ways = ("cnn-fixations", "points alone", "discernible")
    idle = _child(
        "import torch, torchvision, cofire; from benchmarks import explain as e; import resource; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    print("| network | batch | bare, MiB | " + " | ".join(ways) + " |")
    print("| --- | --- | --- |" + " --- |" * len(ways))
    for name in names:
        for batch in batches:
            code = "from benchmarks.explain import resident; resident({!r}, {!r}, {!r})"
            plain = _child(code.format(name, "bare", batch)) - idle
            cells = " | ".join(
                f"{(_child(code.format(name, way, batch)) - idle) / plain:.2f}" for way in ways
            )
            print(f"| {name} | {batch} | {plain:.0f} | {cells} |", flush=True)


def _child(code: str) -> float:
    return float(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS))
    parser.add_argument("--memory", action="store_true")
    given = parser.parse_args()
    memory(given.networks, given.batches) if given.memory else times(
        given.networks, given.batches, given.repeats, given.ways
    )
