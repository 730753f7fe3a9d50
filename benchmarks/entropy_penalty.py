"""Does entropy as a term of the loss help (P1 §8)? Accuracy and calibration, beside dropout and weight decay.

    python benchmarks/entropy_penalty.py --data-root DATA --out FOLDER [--only mnist/entropy +0.03/0]
    python benchmarks/entropy_penalty.py --out FOLDER --tables

One cell is a case (data and network), a treatment and a seed; each takes 5 to 25 seconds of a
core. What is finished is kept under FOLDER, so that a stopped run goes on where it was; `--only`
takes the beginning of a cell's name. All treatments of a case and seed start from the same weights
and see the same batches. `--tables` prints Markdown from what is there: what no treatment gives, and
each treatment less that on the same test samples, with the wider of two 95 % intervals: over samples
and seeds (paired bootstrap), and over seeds alone (Student's t). Bold is what leaves out 0.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torchvision import datasets, transforms

import cofire
from cofire.atomic import atomic_path
from cofire.boost.measures import calibration_error
from cofire.statistics import paired_bootstrap, seed_interval
from cofire.study import cnn, fcnn

SEEDS, BATCH, TRAIN, TEST = (0, 1, 2), 64, 6_000, 5_000
WEIGHTS = (-1.0, -0.3, -0.1, 0.1, 0.3, 1.0)
# Data, shape of a sample, network, training samples, epochs.
CASES = {
    "mnist": ("MNIST", (1, 28, 28), "fcnn", TRAIN, 10),
    "fashion-mnist": ("FashionMNIST", (1, 28, 28), "fcnn", TRAIN, 10),
    "cifar10": ("cifar10-jpeg", (3, 32, 32), "fcnn", TRAIN, 10),
    "fashion-mnist-cnn": ("FashionMNIST", (1, 14, 14), "cnn", 4_000, 10),
}
TREATMENTS = {
    "none": {},
    **{f"entropy {weight:+g}": {"entropy": weight} for weight in WEIGHTS},
    "dropout 0.2": {"dropout": 0.2},
    "dropout 0.5": {"dropout": 0.5},
    # AdamW takes learning rate × this off each weight: less does nothing within 940 steps.
    "weight decay 0.1": {"decay": 0.1},
    "weight decay 0.3": {"decay": 0.3},
}
_loaded: dict[str, list[torch.Tensor]] = {}


def samples(name, root):
    """Training and test samples in memory, the same in every cell."""
    if name not in _loaded:
        _loaded.clear()
        parts = []
        for train, count in ((True, TRAIN), (False, TEST)):
            if name == "cifar10-jpeg":
                place = root / name / ("train" if train else "test")
                data = datasets.ImageFolder(place, transforms.ToTensor())
            else:
                data = getattr(datasets, name)(root, train=train, transform=transforms.ToTensor())
            order = torch.randperm(len(data), generator=torch.Generator().manual_seed(0))
            chosen = [data[at] for at in order[:count].tolist()]
            parts += [torch.stack([x for x, _ in chosen]), torch.tensor([y for _, y in chosen])]
        _loaded[name] = parts
    return _loaded[name]


def cell(case, treatment, seed, root):
    """Train once; logits on the test samples, and the mean entropy of a neuron at the end."""
    name, shape, kind, count, epochs = CASES[case]
    inputs, labels, tests, _ = samples(name, root)
    if tests.shape[1:] != shape:
        inputs, tests = (nn.functional.adaptive_avg_pool2d(x, shape[1:]) for x in (inputs, tests))
    given = TREATMENTS[treatment]
    torch.manual_seed(seed)
    share = given.get("dropout", 0.0)
    if kind == "cnn":
        model = cnn(shape, (128,), 10, dropout=share)
    else:
        model = fcnn(int(np.prod(shape)), (256, 256), 10, dropout=share)
    decay = given.get("decay", 0.0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=decay, fused=True)
    penalty = cofire.EntropyPenalty(model, bins=20, weight=given.get("entropy", 0.0))
    order = torch.Generator().manual_seed(seed)
    for _ in range(epochs):
        for batch in torch.randperm(count, generator=order).split(BATCH):
            optimizer.zero_grad()
            if penalty.weight:
                with penalty.watch(inputs[batch]):
                    loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
                loss = loss + penalty()
            else:
                loss = nn.functional.cross_entropy(model(inputs[batch]), labels[batch])
            loss.backward()
            optimizer.step()
    model.eval()
    with torch.no_grad():
        logits = model(tests)
    summary = cofire.summarize(model, (tests, torch.zeros(len(tests), dtype=torch.int64)), bins=20)
    return logits.numpy(), summary.entropy() / summary.neurons


def run(root, out, only):
    for case in CASES:
        for seed in SEEDS:
            for treatment in TREATMENTS:
                name = f"{case}/{treatment}/{seed}"
                path = out / f"{name.replace('/', '_').replace(' ', '_')}.npz"
                if path.exists() or not name.startswith(only):
                    continue
                logits, entropy = cell(case, treatment, seed, root)
                labels = samples(CASES[case][0], root)[3].numpy()
                with atomic_path(path) as partial, partial.open("wb") as file:
                    np.savez_compressed(file, logits=logits, labels=labels, entropy=entropy)
                right = (logits.argmax(1) == labels).mean()
                print(f"{name}: accuracy {right:.4f}, entropy {entropy:.3f} nats", flush=True)


def read(out, case, treatment):
    """Of each seed that is there: right or wrong and log loss per sample, calibration error, entropy."""
    found = {}
    for seed in SEEDS:
        path = out / f"{case}_{treatment.replace(' ', '_')}_{seed}.npz"
        if path.exists():
            kept = np.load(path)
            logits, labels = torch.from_numpy(kept["logits"]), torch.from_numpy(kept["labels"])
            error = calibration_error(logits.softmax(1), labels)
            right = (logits.argmax(1) == labels).numpy().astype(float)
            loss = nn.functional.cross_entropy(logits, labels, reduction="none").numpy()
            found[seed] = (
                100 * right,
                loss.astype(float),
                100 * np.float64(error),
                float(kept["entropy"]),
            )
    return found


def less(apart, digits):
    """A mean difference, the wider of its intervals, bold where that leaves out 0."""
    by_seed = apart.reshape(len(apart), -1).mean(axis=1)
    told = f"{by_seed.mean():+.{digits}f}"
    found = [seed_interval(by_seed)] + [paired_bootstrap(apart)] * (apart.ndim > 1)
    found = [one for one in found if np.isfinite(one.low)]
    if not found:
        return told
    wide = max(found, key=lambda one: one.high - one.low)
    told += f" ({wide.low:+.{digits}f} to {wide.high:+.{digits}f})"
    return told if wide.low <= 0 <= wide.high else f"**{told}**"


def tables(out):
    for case in CASES:
        base = read(out, case, "none")
        if not base:
            continue
        names = ["", "seeds", "entropy, nats", "accuracy, %", "log loss", "calibration error, %"]
        print(f"\n| {case}{' | '.join(names)} |\n|{' --- |' * len(names)}")
        for treatment in TREATMENTS:
            found = read(out, case, treatment)
            seeds = [seed for seed in found if seed in base]
            if not seeds:
                continue
            row = [treatment, str(len(seeds)), f"{np.mean([found[s][3] for s in seeds]):.2f}"]
            for at, digits in ((0, 2), (1, 3), (2, 2)):
                if treatment == "none":
                    row.append(f"{np.mean([found[s][at].mean() for s in seeds]):.{digits}f}")
                else:
                    row.append(less(np.stack([found[s][at] - base[s][at] for s in seeds]), digits))
            print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default="")
    parser.add_argument("--tables", action="store_true")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.tables:
        tables(asked.out)
    else:
        run(asked.data_root, asked.out, asked.only)
