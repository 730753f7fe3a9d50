"""What the two passes cost over the bare forward pass of the same data, in time and in memory.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/two_passes.py resnet50
    OMP_WAIT_POLICY=PASSIVE python benchmarks/two_passes.py fcnn
    python benchmarks/two_passes.py memory
    OMP_WAIT_POLICY=PASSIVE python benchmarks/two_passes.py resnet50 --device cuda

Times are ratios to the forward pass over the same data, the three in turn, so that a change of the
machine's speed meets all; each figure is the median over the repetitions, with the smallest and the
largest.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

import numpy as np
import torch
from torch import nn
from torchvision import models

from cofire.activations import cost_of
from cofire.activations.chunks import chunk_of
from cofire.activations.labelling import Labelling
from cofire.activations.passes import FirstPass, SecondPass, pass_over
from cofire.activations.together import alone
from cofire.network import Network
from cofire.study import fcnn

BINS = 100


def case(name, samples):
    torch.manual_seed(0)
    if name == "resnet50":
        return models.resnet50(weights=None).eval(), torch.randn(samples, 3, 224, 224), 16
    return fcnn(784, (512, 512), 10).eval(), torch.rand(samples, 1, 28, 28), 256


def clock(device):
    if device != "cpu":
        torch.cuda.synchronize()
    return time.perf_counter()


def timed(device, action):
    start = clock(device)
    action()
    return clock(device) - start


class Recipe:
    """The papers' recipe: keep the matrix of all activations, normalise it, numpy.histogram per neuron."""

    def __init__(self, model):
        self.kept = []
        relus = [m for m in model.modules() if isinstance(m, nn.ReLU)]
        self.hooks = [m.register_forward_hook(self.keep) for m in relus]

    def keep(self, module, inputs, output):
        values = output if output.ndim == 2 else output.movedim(1, -1).flatten(0, -2)
        self.kept.append((id(module), values.cpu().numpy().copy()))

    def finish(self):
        by_module = {}
        for key, values in self.kept:
            by_module.setdefault((key, values.shape[1]), []).append(values)
        total = 0.0
        for parts in by_module.values():
            matrix = np.concatenate(parts)
            sums = matrix.sum(axis=0)
            matrix = matrix / np.where(sums == 0, 1, sums)
            for column in matrix.T:
                counts, _ = np.histogram(column[column != 0], bins=BINS)
                share = counts[counts > 0] / max(1, counts.sum())
                total -= float((share * np.log(share)).sum())
        for hook in self.hooks:
            hook.remove()
        return total


class Histc:
    """torch.histc per neuron in hooks, over ranges that are already known."""

    def __init__(self, model, ranges):
        self.counts, self.calls, self.ranges = {}, 0, ranges
        self.hooks = [
            m.register_forward_hook(self.count) for m in model.modules() if isinstance(m, nn.ReLU)
        ]

    def count(self, module, inputs, output):
        low, high = self.ranges[self.calls % len(self.ranges)]
        self.calls += 1
        values = output if output.ndim == 2 else output.movedim(1, -1).flatten(0, -2)
        for j in range(values.shape[1]):
            column = values[:, j]
            found = torch.histc(column[column != 0], BINS, low[j], high[j])
            key = (self.calls % len(self.ranges), j)
            self.counts[key] = self.counts.get(key, 0) + found

    def finish(self):
        for hook in self.hooks:
            hook.remove()


def measure(name, samples, repetitions, device, rivals):
    model, inputs, size = case(name, samples)
    model, inputs = model.to(device), inputs.to(device)
    labels = torch.zeros(samples, dtype=torch.int64, device=device)
    network = Network(model, inputs[:2])
    layers = network.activation_layers
    cost = cost_of(layers, unit="channel", bins=BINS)
    print(
        f"{name}: {len(layers)} layers, {cost}; {samples} samples in batches of {size}, "
        f"{torch.get_num_threads()} threads, torch {torch.__version__}, device {device}"
    )

    def forward(part):
        with torch.inference_mode():
            model(part)

    def whole_pass(observe):
        labelling = Labelling.of(network, (inputs, labels))
        about = network, (inputs, labels), labelling, None, layers, "channel", observe, ""
        alone(network, pass_over(*about, batch_size=size), False)

    forward(inputs[:size])
    known = FirstPass(0.0, None)
    whole_pass(known.observe)
    second = SecondPass(known, BINS, "own")
    whole_pass(second.observe)

    chunk = chunk_of(network)
    ratios = {f"forward, {chunk} at once": [], "nothing counted": [], "pass 1": [], "pass 2": []}
    bare = []
    for _ in range(repetitions):
        first = FirstPass(0.0, None)
        spent = {
            "forward": timed(device, lambda: [forward(part) for part in inputs.split(size)]),
            f"forward, {chunk} at once": timed(
                device, lambda: [forward(part) for part in inputs.split(chunk)]
            ),
            "nothing counted": timed(device, lambda: whole_pass(lambda layer, batch: None)),
            "pass 1": timed(device, lambda state=first: whole_pass(state.observe)),
            "pass 2": timed(device, lambda: whole_pass(second.observe)),
        }
        bare.append(spent["forward"])
        for key, found in ratios.items():
            found.append(spent[key] / spent["forward"])
    print(f"  {'forward pass':24s}{statistics.median(bare):8.2f} s for {samples} samples")
    for key, found in ratios.items():
        print(
            f"  {key:24s}{statistics.median(found):8.2f} × forward  ({min(found):.2f} to {max(found):.2f})"
        )
    if not rivals:
        return

    limit = samples if name == "fcnn" else size
    part = inputs[:limit]
    plain = timed(device, lambda: [forward(p) for p in part.split(size)])
    recipe = Recipe(model)

    def as_in_the_papers():
        for p in part.split(size):
            forward(p)
        recipe.finish()

    spent = timed(device, as_in_the_papers)
    print(
        f"  papers' recipe, matrix + numpy.histogram   {spent / plain:8.2f} × forward  ({limit} samples)"
    )
    ranges = []
    for state in known.statistics.values():
        dead = state.nonzero[0] == 0
        ranges.append(
            (
                state.minimum[0].masked_fill(dead, 0.0).tolist(),
                state.maximum[0].masked_fill(dead, 1.0).tolist(),
            )
        )
    part = inputs[: size * (20 if name == "fcnn" else 1)]
    plain = timed(device, lambda: [forward(p) for p in part.split(size)])
    histc = Histc(model, ranges)

    def in_hooks():
        for p in part.split(size):
            forward(p)

    spent = timed(device, in_hooks)
    histc.finish()
    print(
        f"  torch.histc per neuron in hooks            {spent / plain:8.2f} × forward  ({len(part)} samples)"
    )


def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def grow(name, samples, what):
    """In a fresh process: the peak after the bare forward pass, and how much the summary or the recipe adds."""
    from cofire import summarize

    model, inputs, size = case(name, samples)
    network = Network(model, inputs[:2])
    labels = torch.zeros(samples, dtype=torch.int64)
    summarize(
        network,
        (inputs[:size], labels[:size]),
        batch_size=size,
        layers=network.activation_layers[0],
    )
    with torch.inference_mode():
        for part in inputs.split(size):
            model(part)
    before = peak()
    if what == "cofire":
        summarize(network, (inputs, labels), batch_size=size)
    else:
        recipe = Recipe(model)
        with torch.inference_mode():
            for part in inputs.split(size):
                model(part)
        recipe.finish()
    layers = network.activation_layers
    batch = sum(int(np.prod(layer.shape)) for layer in layers) * 4 * size
    largest = max(int(np.prod(layer.shape)) for layer in layers) * 4 * size
    print(
        json.dumps(
            {
                "growth": peak() - before,
                "state": cost_of(layers, unit="channel", bins=BINS).bytes,
                "batch": batch,
                "largest": largest,
            }
        )
    )


def memory():
    for name, samples, what in (
        ("resnet50", 64, "cofire"),
        ("fcnn", 10_000, "cofire"),
        ("fcnn", 60_000, "cofire"),
        ("fcnn", 10_000, "recipe"),
        ("fcnn", 60_000, "recipe"),
    ):
        command = [sys.executable, __file__, "grow", name, str(samples), what]
        found = json.loads(
            subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[
                -1
            ]
        )
        mb = {key: value / 1e6 for key, value in found.items()}
        print(
            f"{name:9s} {samples:6d} samples, {what:6s}: peak memory grows by {mb['growth']:7.1f} MB "
            f"(state {mb['state']:.1f} MB; activations of one batch {mb['batch']:.1f} MB, "
            f"of its largest layer {mb['largest']:.1f} MB)"
        )


def main():
    if sys.argv[1:2] == ["grow"]:
        grow(sys.argv[2], int(sys.argv[3]), sys.argv[4])
        return
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("case", choices=["resnet50", "fcnn", "memory"])
    parser.add_argument("--samples", type=int)
    parser.add_argument("--repetitions", type=int, default=7)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--no-rivals", action="store_true")
    chosen = parser.parse_args()
    if chosen.case == "memory":
        memory()
        return
    samples = chosen.samples or {"resnet50": 64, "fcnn": 60_000}[chosen.case]
    measure(chosen.case, samples, chosen.repetitions, chosen.device, not chosen.no_rivals)


if __name__ == "__main__":
    main()
