"""What a study's training costs over a bare PyTorch loop of the same steps.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/study.py
    OMP_WAIT_POLICY=PASSIVE python benchmarks/study.py --model fcnn --steps 200

Blocks of steps of the two are taken in turn, so that a change of the machine's speed meets both; the
ratio is of the fastest block of each.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import nn

from cofire import StudyOptions
from cofire.study.networks import build
from cofire.study.samples import Samples
from cofire.study.training import Course, Training


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="torchvision:resnet50")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4, help="of a block")
    parser.add_argument("--blocks", type=int, default=5)
    chosen = parser.parse_args()
    torch.manual_seed(0)
    shape = (1, 28, 28) if chosen.model == "fcnn" else (3, 32, 32)
    inputs = torch.rand(chosen.batch_size * chosen.steps * (chosen.blocks + 1), *shape)
    labels = torch.arange(len(inputs)) % 10
    options = StudyOptions(
        model=chosen.model,
        batch_size=chosen.batch_size,
        epochs=1,
        checkpoints=1,
        optimizer="sgd",
        momentum=0.9,
        learning_rate=0.01,
    )
    data = Samples(inputs, labels, [str(k) for k in range(10)])
    study = Training(
        build(options, shape, 10), options, data, Course.of(options, len(data)), Path("nowhere")
    )
    bare = build(options, shape, 10).train()
    optimizer = torch.optim.SGD(bare.parameters(), lr=0.01, momentum=0.9)
    order = torch.randperm(len(inputs)).split(chosen.batch_size)
    times = {"study": [], "bare": []}
    for first in range(0, len(order), chosen.steps):
        start = time.perf_counter()
        study.train(first, first + chosen.steps)
        middle = time.perf_counter()
        for at in order[first : first + chosen.steps]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(bare(inputs[at]), labels[at]).backward()
            optimizer.step()
        times["study"].append(middle - start)
        times["bare"].append(time.perf_counter() - middle)
    study_step, bare_step = (min(times[name][1:]) / chosen.steps for name in ("study", "bare"))
    print(
        f"{chosen.model}, batches of {chosen.batch_size}: {bare_step * 1e3:.1f} ms a step bare, "
        f"{study_step / bare_step:.3f} × in a study"
    )


if __name__ == "__main__":
    main()
