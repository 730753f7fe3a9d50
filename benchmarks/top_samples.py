"""What keeping the samples that each neuron fires most for adds to the two passes, in processor time.

    OMP_NUM_THREADS=1 python benchmarks/top_samples.py resnet18 fcnn --by-class
    python benchmarks/top_samples.py resnet50 --device cuda

Passes with and without take turns, batch by batch within a repetition; each figure is the median
over the repetitions of (with − without) / without, with the smallest and the largest.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torchvision import models

import cofire
from cofire.network import Network
from cofire.study import fcnn

CASES = {
    "resnet18": (lambda: models.resnet18(weights=None), (3, 224, 224), 16),
    "resnet50": (lambda: models.resnet50(weights=None), (3, 224, 224), 16),
    "mobilenet": (lambda: models.mobilenet_v3_small(weights=None), (3, 224, 224), 16),
    "fcnn": (lambda: fcnn(784, (512, 512), 10), (1, 28, 28), 256),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("networks", nargs="+", choices=CASES)
    parser.add_argument("--samples", type=int)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument(
        "--by-class", action="store_true", help="with 10 classes; all as one unless given"
    )
    parser.add_argument("--device", default="cpu")
    given = parser.parse_args()
    for name in given.networks:
        torch.manual_seed(0)
        make, shape, size = CASES[name]
        samples = given.samples or (20_000 if name == "fcnn" else 64)
        inputs = torch.rand(samples, *shape, device=given.device)
        data = inputs, torch.arange(samples, device=given.device) % 10
        network = Network(make().eval().to(given.device), inputs[:2])
        by_class = "statistics" if given.by_class else False

        def spent(k: int, network=network, data=data, by_class=by_class, size=size) -> float:
            if given.device != "cpu":
                torch.cuda.synchronize()
            clock = time.process_time if given.device == "cpu" else time.perf_counter
            start = clock()
            cofire.summarize(
                network,
                data,
                top_samples=k,
                by_class=by_class,
                batch_size=size,
                min_class_samples=1,
                progress=False,
            )
            if given.device != "cpu":
                torch.cuda.synchronize()
            return clock() - start

        spent(9), spent(0)
        found, bare = [], []
        for _ in range(given.repetitions):
            bare.append((spent(0), spent(9), spent(9), spent(0)))
            a, b, c, d = bare[-1]
            found.append((b + c) / (a + d) - 1)
        print(
            f"{name}, {samples} samples, batches of {size}, {'10 classes' if by_class else 'one class'}, "
            f"{given.device}: passes {statistics.median(sum(b[::3]) / 2 for b in bare):.2f} s, top samples "
            f"{100 * statistics.median(found):+.1f} % ({100 * min(found):+.1f} to {100 * max(found):+.1f})"
        )


if __name__ == "__main__":
    main()
