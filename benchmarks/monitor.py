"""What `cofire.live.Monitor` adds to a training step of ResNet-50 (10 classes, batch 16, 224 px): time and memory.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/monitor.py
    python benchmarks/monitor.py memory

Steps without a monitor, with one that observes the batch and with one that does not are taken in
turn, so that a change of the machine's speed meets all. Times are of the processor, over all
threads, which other processes on the machine disturb least; each figure is the median over the
repetitions, with the smallest and the largest. What `every=20` costs follows from one step of
twenty that is observed; what is done once (reading the network) and at the end of a window (500
steps) stands by itself.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
from torch import nn
from torchvision import models

from cofire.activations import cost_of
from cofire.live import Monitor
from cofire.live.ranges import FINER
from cofire.network import Network

BATCH, PIXELS, CLASSES = 16, 224, 10


def setting():
    torch.manual_seed(0)
    model = models.resnet50(weights=None, num_classes=CLASSES)
    inputs, labels = torch.randn(BATCH, 3, PIXELS, PIXELS), torch.randint(CLASSES, (BATCH,))
    return model, inputs, labels, torch.optim.SGD(model.parameters(), lr=1e-4)


def step(model, inputs, labels, optimizer, monitor=None):
    """One step of training; what it took of the processor and of the clock."""
    start, began = time.process_time(), time.perf_counter()
    optimizer.zero_grad()
    if monitor is None:
        loss = nn.functional.cross_entropy(model(inputs), labels)
    else:
        with monitor.step(inputs, labels):
            loss = nn.functional.cross_entropy(model(inputs), labels)
    loss.backward()
    optimizer.step()
    return time.process_time() - start, time.perf_counter() - began


def spread(values):
    return f"{statistics.median(values):.3f} × ({min(values):.3f} to {max(values):.3f})"


def times(repetitions):
    given = setting()
    always, seldom = Monitor(given[0], every=1), Monitor(given[0], every=10**6)
    step(*given)
    first = [step(*given, monitor) for monitor in (always, seldom)]
    kinds = {"bare": None, "observed": always, "not observed": seldom}
    taken = {name: [] for name in kinds}
    for _ in range(repetitions):
        for name, monitor in kinds.items():
            taken[name].append(step(*given, monitor))
    for at, clock in enumerate(("processor", "wall clock")):
        bare = [one[at] for one in taken["bare"]]
        ratios = {
            name: [one[at] / base for one, base in zip(taken[name], bare, strict=True)]
            for name in ("observed", "not observed")
        }
        print(f"{clock}: bare step {statistics.median(bare):.2f} s, {repetitions} repetitions")
        print(f"  every=1   {spread(ratios['observed'])}")
        both = zip(ratios["observed"], ratios["not observed"], strict=True)
        print(f"  every=20  {spread([(one + 19 * other) / 20 for one, other in both])}")
        print(f"  a step that is not observed {spread(ratios['not observed'])}")
    start = time.process_time()
    always.end_epoch()
    print(f"the first step, in which the network is read: {first[0][0]:.1f} s of the processor")
    print(f"the end of a window and a row of the tables: {time.process_time() - start:.1f} s")


def peak(monitored):
    given = setting()
    monitor = Monitor(given[0], every=1) if monitored else None
    for _ in range(2):
        step(*given, monitor)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def memory():
    found = {}
    for name in ("bare", "monitored"):
        done = subprocess.run(
            [sys.executable, __file__, name], check=True, capture_output=True, text=True
        )
        found[name] = int(done.stdout.split()[-1])
    network = Network(setting()[0], torch.zeros(1, 3, PIXELS, PIXELS))
    asked = {"unit": "channel", "bins": 100 * FINER, "by_class": "statistics"}
    state = cost_of(network.activation_layers, **asked, num_classes=CLASSES).bytes
    largest = max(layer.neurons("element") for layer in network.activation_layers) * BATCH * 4
    print(f"peak of two steps: bare {found['bare'] / 1e6:,.0f} MB")
    print(f"with a monitor {(found['monitored'] - found['bare']) / 1e6:+,.0f} MB")
    print(f"state {state / 1e6:,.0f} MB, activations of the largest layer {largest / 1e6:,.0f} MB")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="?", default="times")
    parser.add_argument("--repetitions", type=int, default=7)
    asked = parser.parse_args()
    if asked.what == "times":
        times(asked.repetitions)
    elif asked.what == "memory":
        memory()
    else:
        peak(asked.what == "monitored")
