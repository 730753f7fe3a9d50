"""What a study's training costs over a bare PyTorch loop, and a checkpoint's analysis over its parts one by one.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/study.py
    OMP_WAIT_POLICY=PASSIVE python benchmarks/study.py --model fcnn --steps 200
    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/study.py --analysis

Blocks of steps of the two are taken in turn, so that a change of the machine's speed meets both; the
ratio is of the fastest block of each. Analyses are held against each other by the time that the
processor worked, which others on the machine leave alone.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from torch import nn

from cofire import Network, StudyOptions
from cofire.activations.labelling import Labelling
from cofire.activations.summarize import summarizing
from cofire.activations.together import alone, together
from cofire.boost.comparison import comparing
from cofire.study.analyse import tallying
from cofire.study.networks import build
from cofire.study.samples import Samples
from cofire.study.training import Course, Training


def analysis(model):
    """A summary, test accuracy and boosters of the last and the last two layers: together, and one by one."""
    sizes, shape = (400, 100, 300), (1, 28, 28) if model == "fcnn" else (3, 32, 32)
    parts = [(torch.rand(n, *shape), torch.arange(n) % 10) for n in sizes]
    network = Network(build(StudyOptions(model=model), shape, 10).eval(), parts[0][0][:2])

    def tasks():
        train, held, test = parts
        yield summarizing(network, train, by_class=True, progress=False)
        yield tallying(network, test, Labelling.of(network, test), 256)
        for layers in ("L2L", "LL"):
            yield comparing(
                *(network, train, held, test),
                method="auxiliary",
                methods=["auxiliary"],
                layers=layers,
                batch_size=256,
            )

    def seconds(work):
        start = time.process_time()
        work()
        return time.process_time() - start

    together(network, list(tasks()), False)  # compiles loops
    joined = seconds(lambda: together(network, list(tasks()), False))
    apart = seconds(lambda: [alone(network, task, False) for task in tasks()])
    print(f"{model}: an analysis takes {joined:.1f} s together, {apart / joined:.2f} × one by one")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="torchvision:resnet50")
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--steps", type=int, default=4, help="of a block")
    parser.add_argument("--blocks", type=int, default=5)
    parser.add_argument("--analysis", action="store_true", help="in place of training")
    chosen = parser.parse_args()
    if chosen.analysis:
        analysis(chosen.model)
        return
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
