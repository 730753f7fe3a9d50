"""How long a bare forward pass takes for an image, by how many run at once.

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=2 python benchmarks/at_once.py
    MALLOC_MMAP_THRESHOLD_=8000000000 MALLOC_TRIM_THRESHOLD_=8000000000 MALLOC_TOP_PAD_=200000000 \
        OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=2 python benchmarks/at_once.py

The second tells glibc's allocator to keep all memory. Medians of three passes over the same images, random weights, as
multiples of the fastest size, and in MB the bytes that cofire reckons with for so many images.
"""

from __future__ import annotations

import statistics
import time

import torch
import torchvision

from cofire.activations.chunks import chunk_of
from cofire.network import Network

CASES = {"resnet50": 64, "mobilenet_v2": 64, "vgg16": 32, "vit_b_16": 32}
SIZES = (4, 8, 16, 32, 64)


def main() -> None:
    torch.manual_seed(0)
    print("| network | cofire's chunk | " + " | ".join(map(str, SIZES)) + " |")
    print("| --- | --- |" + " --- |" * len(SIZES))
    for name, count in CASES.items():
        model = getattr(torchvision.models, name)(weights=None).eval()
        images = torch.randn(count, 3, 224, 224)
        network = Network(model, images[:1])
        each = network.most_values * 16 / 1e6
        spent: dict[int, list[float]] = {size: [] for size in SIZES if size <= count}
        with torch.inference_mode():
            model(images[:4])
            for _ in range(3):
                for size, times in spent.items():
                    start = time.perf_counter()
                    for part in images.split(size):
                        model(part)
                    times.append(time.perf_counter() - start)
        took = {size: statistics.median(times) for size, times in spent.items()}
        least = min(took.values())
        cells = [
            f"{took[size] / least:.2f} ({size * each:.0f} MB)" if size in took else "–"
            for size in SIZES
        ]
        print(f"| {name} | {chunk_of(network)} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
