"""What ImageNet through ResNet-50 on a cluster takes: bytes moved, time, cost, and where more GPUs stop helping.

    python benchmarks/cluster.py [--gpus 64 --gpu-images 2500 --gbit 25 --price 2.5]

Sizes of states and rates of decoding, packing and merging are measured here, on one core; images a
second of a GPU, the network and the price are what you say they are. What the model leaves out is
said in docs/scale.md.
"""

from __future__ import annotations

import argparse
import functools
import io
import time
from dataclasses import replace

import numpy as np
import torch
from PIL import Image
from torchvision import models

from cofire.activations import summarize
from cofire.activations.sharing import shared
from cofire.images.preparation import preparation_of
from cofire.network import Network
from cofire.scale.parts import from_bytes, to_bytes

IMAGES, CLASSES, IMAGE_BYTES = 1_281_167, 1000, 110_000
"""Of ImageNet's training data; a file of it has about 110 kB."""
PIECES = 64
FEW = 4


def seconds(work, repeats=3):
    found = []
    for _ in range(repeats):
        start = time.perf_counter()
        work()
        found.append(time.perf_counter() - start)
    return min(found)


def states(network, by_class):
    """The state of a piece after each pass, of data that has FEW classes."""
    found = []

    def keep(count, samples):
        found.append(count(range(1)))
        return found[-1]

    inputs = torch.randn(2 * FEW, *network.input_shape, generator=torch.Generator().manual_seed(0))
    with shared(keep):
        labels = torch.arange(2 * FEW) % FEW
        summarize(
            network,
            (inputs, labels),
            by_class=by_class,
            top_samples=0 if by_class else 9,
            batch_size=2 * FEW,
            class_names=list("abcd"),
        )
    return found


def merged(packed, one, other):
    from_bytes(packed)
    one.merge(other)


def decoding():
    """JPEG images a second that a core reads and prepares."""
    pixels = np.random.default_rng(0).integers(0, 255, (24, 32, 3), dtype=np.uint8)
    held = io.BytesIO()
    Image.fromarray(pixels).resize((500, 375), Image.Resampling.BICUBIC).save(
        held, "JPEG", quality=92
    )
    preparation = preparation_of("torchvision:resnet50")

    def read():
        for _ in range(16):
            preparation(Image.open(io.BytesIO(held.getvalue())).convert("RGB"))

    return 16 / seconds(read)


def main(gpus, gpu_images, gbit, price):
    torch.manual_seed(0)
    network = Network(models.resnet50(weights=None).eval(), torch.zeros(2, 3, 224, 224))
    decoded = decoding()
    read = 2 * IMAGES * IMAGE_BYTES
    computing = 2 * IMAGES / (gpus * gpu_images)
    print(
        f"A core decodes and prepares {decoded:,.0f} images/s: {gpu_images / decoded:,.0f} cores a GPU."
    )
    print(
        f"Images read, both passes: {read / 1e9:,.0f} GB; {read * 8 / computing / 1e9 / gpus:.1f} Gbit/s a GPU."
    )
    print(f"Both passes on {gpus} GPUs: {computing / 60:,.1f} min if nothing waits.\n")
    print(
        "by class   | state of a piece, pass 1, 2 | moved, GB | merging, s | whole, min | cost | GPUs that help"
    )
    for by_class in (False, "statistics"):
        rows = CLASSES / FEW if by_class else 1
        sizes, merging = [], 0.0
        for counted in states(network, by_class):
            packed = to_bytes(counted)
            # Statistics of classes grow with them, the histograms of the second pass do not.
            size = len(packed) * (1 if sizes else rows)
            other = from_bytes(packed)
            # Two halves of the data: merging refuses what was counted twice.
            other = replace(other, blocks=(range(1, 2),), samples=512)
            one = replace(counted, samples=512)
            work = seconds(functools.partial(merged, packed, one, other))
            merging += PIECES * work * size / len(packed)
            sizes.append(size)
        moved = PIECES * sum(sizes)
        merging = max(merging, moved * 8 / gbit / 1e9)
        whole = computing + merging
        # The coordinator merges one state after the other, however many count.
        help_ = 2 * IMAGES / gpu_images / merging
        cost = gpus * whole / 3600 * price
        told = " and ".join(f"{size / 1e6:,.1f} MB" for size in sizes)
        print(
            f"{by_class or 'none'!s:<10} | {told:<27} | {moved / 1e9:>9,.1f} | {merging:>10,.1f} | "
            f"{whole / 60:>10,.1f} | ${cost:>4,.2f} | {help_:>10,.0f}"
        )


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--gpus", type=int, default=64)
    asked.add_argument("--gpu-images", type=float, default=2500)
    asked.add_argument("--gbit", type=float, default=25)
    asked.add_argument("--price", type=float, default=2.5)
    main(**vars(asked.parse_args()))
