"""What boosting costs: a boosted forward pass over the classifier's own, both in the same run.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/boost.py

Every ratio is the median over pairs of passes, one after the other, in alternating order.
"""

from __future__ import annotations

import statistics
import time

import torch
import torchvision

from cofire.boost import Booster
from cofire.network import Network
from cofire.study.networks import fcnn


def ratios(network, booster, images, repeats):
    def seconds(run):
        start = time.perf_counter()
        run(images)
        return time.perf_counter() - start

    with torch.inference_mode():
        for run in (network.run, booster):
            seconds(run)
        found = []
        for number in range(repeats):
            if number % 2:
                base, boosted = seconds(network.run), seconds(booster)
            else:
                boosted, base = seconds(booster), seconds(network.run)
            found.append((boosted / base, base))
    return statistics.median(r for r, _ in found), statistics.median(b for _, b in found)


def data(samples, shape, classes):
    draw = torch.Generator().manual_seed(0)
    return torch.rand(samples, *shape, generator=draw), torch.arange(samples) % classes


def main():
    torch.manual_seed(0)
    print("| network | batch | method | layers | boosted / base | base |")
    print("| --- | --- | --- | --- | --- | --- |")
    cases = [
        ("FCNN 784-512-512-10", fcnn(784, (512, 512), 10), (1, 28, 28), 10, 512, (256, 1), 400),
        (
            "ResNet-50",
            torchvision.models.resnet50(num_classes=10),
            (3, 224, 224),
            10,
            40,
            (16,),
            12,
        ),
    ]
    for name, model, shape, classes, samples, batches, repeats in cases:
        network = Network(model, torch.zeros(2, *shape))
        train, held = data(samples, shape, classes), data(samples // 2, shape, classes)
        held = (held[0].flip(0) * 0.9, held[1])
        for method, layers in (("readout", None), ("auxiliary", None), ("readout", "LL")):
            booster = Booster(network, layers, method).fit(
                train, held, batch_size=16, progress=False
            )
            for batch in batches:
                images = data(batch, shape, classes)[0]
                ratio, base = ratios(network, booster, images, repeats)
                row = f"| {name} | {batch} | {method} | {layers or 'all'} | {ratio:.3f} | {1000 * base:.2f} ms |"
                print(row, flush=True)


if __name__ == "__main__":
    main()
