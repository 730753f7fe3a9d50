"""P1's Tables 2, 3 and 4 with controls: what does a booster gain, and does it take activation patterns?

    python benchmarks/replicate_boost.py --data-root DATA --out FOLDER [--only
    mnist,fashion-mnist,…] [--tables]

Trains each network for three seeds with a tenth of the training data held out, keeps 20
checkpoints, and compares methods, controls and ablations at some of them (`Case.every`). What is
finished is kept under FOLDER, so that a stopped run goes on where it was. `--tables` prints
Markdown from what is there, of the seeds that are there.

Every lead over the best control is split: *layers* is the readout of values alone (how strongly
    neurons of all layers
fire) less the best control, which sees the last layer only; *patterns* is the method less that
readout of values.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from cofire.atomic import atomic_path
from cofire.boost import CONTROLS, MARGIN, METHODS, compare
from cofire.boost.methods import VALUES
from cofire.network import Network, load_weights
from cofire.statistics import Interval, paired_bootstrap, seed_interval
from cofire.study import StudyOptions
from cofire.study.networks import fcnn
from cofire.study.samples import Samples
from cofire.study.sources import LabelledData, hold_out, load_dataset
from cofire.study.training import Course, Training, checkpoint_path, seeded

SEEDS = (0, 1, 2)
CHECKPOINTS = 20


def folders(name: str, root: Path) -> LabelledData:
    """Image folders with the parts train and test, in memory."""
    from torchvision import datasets, transforms

    parts = []
    for part in ("train", "test"):
        found = datasets.ImageFolder(str(root / name / part), transforms.ToTensor())
        images, labels = zip(*found, strict=True)
        parts += [torch.stack(images), torch.tensor(labels)]
    return LabelledData(*parts, tuple(found.classes))


def plain_cnn(channels: int, side: int, classes: int) -> nn.Module:
    """Three convolutions with pools, then a hidden and an output layer."""
    layers: list[nn.Module] = []
    for width in (32, 64, 64):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    size = channels * (side // 8) ** 2
    return nn.Sequential(
        *layers,
        nn.Flatten(),
        nn.Linear(size, 128),
        nn.ReLU(),
        nn.Dropout(0.2),
        nn.Linear(128, classes),
    )


@dataclass(frozen=True)
class Case:
    """A row of the plan: data, network, how it is trained, and what the booster reads."""

    data: Callable[[Path, int], LabelledData]
    model: Callable[[], nn.Module]
    recipe: dict[str, object]
    layers: tuple[str, ...] = ("all",)
    methods: tuple[str, ...] = tuple(METHODS)
    every: int = 10

    @property
    def numbers(self) -> list[int]:
        """The checkpoints that are looked at."""
        return list(range(self.every, CHECKPOINTS + 1, self.every))


def mlp(inputs: int) -> Callable[[], nn.Module]:
    return lambda: fcnn(inputs, (512, 512), 10, dropout=0.2)


CASES = {
    "mnist": Case(
        lambda root, seed: load_dataset("mnist", root, seed=seed),
        mlp(784),
        {"optimizer": "adam", "learning_rate": 1e-2},
    ),
    "fashion-mnist": Case(
        lambda root, seed: load_dataset("fashion-mnist", root, seed=seed),
        mlp(784),
        {"optimizer": "rmsprop", "learning_rate": 1e-3},
    ),
    "cifar10-fcnn": Case(
        lambda root, seed: folders("cifar10-subset", root),
        mlp(3072),
        {"optimizer": "adam", "learning_rate": 1e-3, "epochs": 40},
        every=5,
    ),
    "cifar10-cnn": Case(
        lambda root, seed: folders("cifar10-subset", root),
        lambda: plain_cnn(3, 32, 10),
        {"optimizer": "adam", "learning_rate": 1e-3, "epochs": 40},
        ("all", "L2L", "LL"),
        ("auxiliary", "naive-bayes", "discriminant", "readout"),
        every=20,
    ),
    "plantvillage-cnn": Case(
        lambda root, seed: folders("plantvillage-subset", root),
        lambda: plain_cnn(3, 64, 7),
        {"optimizer": "adam", "learning_rate": 1e-3, "epochs": 40},
        ("all", "L2L", "LL"),
        ("auxiliary", "naive-bayes", "discriminant", "readout"),
        every=20,
    ),
}


PRINTED = {
    "mnist": [
        (95.7, 97.9, 95.2, 97.2),
        (96.8, 98.6, 96, 97.7),
        (97.3, 98.8, 96.3, 97.6),
        (97.5, 99.1, 96.4, 97.9),
        (97.7, 99.4, 96.7, 98.1),
        (97.8, 99.5, 96.7, 98.2),
        (97.4, 99.4, 96.5, 98),
        (97.5, 99.4, 96.7, 98.1),
        (97.4, 99.5, 96.7, 98.2),
        (97.4, 99.5, 96.5, 97.9),
        (97.1, 99.6, 96.2, 98),
        (97.8, 99.7, 96.4, 98),
        (97.3, 99.6, 96.5, 98.1),
        (97, 99.6, 96.4, 98.2),
        (97.6, 99.6, 96.6, 97.9),
        (97.6, 99.6, 96.7, 98),
        (97.6, 99.6, 96.7, 98),
        (97.4, 99.8, 96.7, 98.4),
        (97, 99.8, 96.2, 98.1),
        (97.5, 99.7, 96.7, 98.2),
    ],
    "fashion-mnist": [
        (85.8, 87, 84.8, 85.6),
        (88, 88.5, 86.5, 86.9),
        (88.4, 89.3, 86.4, 87.2),
        (89.3, 89.8, 87.3, 87.7),
        (89.7, 90.2, 87.6, 88),
        (90.1, 90.5, 87.6, 88.2),
        (90.5, 91.1, 87.9, 88.5),
        (90.9, 91, 87.9, 88.2),
        (91.1, 91.5, 88.6, 89),
        (91.3, 91.8, 88.4, 88.7),
        (91.9, 92, 88.9, 88.9),
        (92, 92.3, 88.8, 88.9),
        (92.2, 92.4, 88.7, 88.9),
        (92.5, 92.7, 89.1, 89.2),
        (92.5, 92.8, 89, 89.1),
        (92, 92.6, 88.4, 88.9),
        (92.7, 92.9, 88.8, 89.2),
        (92.9, 93.1, 88.8, 89.2),
        (93.6, 93.7, 89.2, 89.2),
        (92.5, 93.4, 88.9, 89.7),
    ],
    "cifar10-fcnn": [
        (23.1, 27.8, 22.9, 27.3),
        (30.7, 30.5, 30.4, 30.8),
        (31.6, 32.2, 31, 31.9),
        (33.6, 33.3, 32.8, 33.4),
        (33.1, 35.4, 32, 35.1),
        (33.2, 35.8, 31.9, 35.3),
        (33.9, 37.6, 32.3, 37),
        (34.3, 38.4, 32.6, 37.3),
        (33.5, 39, 31.5, 38.3),
        (33.8, 39.8, 31.6, 38.2),
        (34.6, 39.9, 32.1, 37.9),
        (35.1, 41.1, 32.2, 38.7),
        (34.7, 40.8, 31.6, 38.9),
        (36.9, 42, 33.5, 40.3),
        (34.5, 43.1, 31.8, 39.7),
        (36, 43.6, 32.4, 40.2),
        (35.4, 43.3, 32, 40.2),
        (38.4, 43.6, 34.2, 40.5),
        (38.5, 44.7, 34.6, 41.4),
        (37.6, 45, 33, 41.6),
    ],
}
"""P1 Tables 2 and 3: Tr, PTr, Te and PTe at iterations 1 to 20."""


def options_of(case: Case, seed: int) -> StudyOptions:
    return StudyOptions(checkpoints=CHECKPOINTS, dropout=0.2, seed=seed, **case.recipe)


def run(name: str, case: Case, seed: int, root: Path, out: Path) -> None:
    """Train one network and compare at its checkpoints; and once more after its steps were let shrink to zero."""
    folder = out / f"{name}-seed{seed}"
    options = options_of(case, seed)
    whole = case.data(root, seed)
    data, held_out = hold_out(whole, 0.1, seed=seed)
    train = (data.train_inputs, data.train_labels)
    course = Course.of(options, len(train[1]))
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    with seeded(seed, "weights"):
        model = case.model()
    training = Training(model, options, Samples(*train, data.class_names), course, folder)
    while training.done < CHECKPOINTS:
        training.advance()
    network = Network(case.model(), train[0][:2])
    decayed = folder / "checkpoints" / "decayed.safetensors"
    if not decayed.exists():
        decay(case, options, train, checkpoint_path(folder, CHECKPOINTS), decayed)
    for layers in case.layers:
        for number in [*case.numbers, 0]:
            target = folder / f"{layers}-{number:02d}.npz"
            if target.exists():
                continue
            weights = decayed if number == 0 else checkpoint_path(folder, number)
            found = compare(
                network.with_weights(weights),
                train,
                held_out,
                (data.test_inputs, data.test_labels),
                layers=None if layers == "all" else layers,
                methods=case.methods if layers == "all" else ("auxiliary", "readout"),
                seed=seed,
                progress=False,
                draws=200,
            )
            rows = {
                judged.name: [
                    judged.train_accuracy,
                    judged.held_out_accuracy,
                    judged.test_loss,
                    judged.test_calibration,
                ]
                for judged in found.judged.values()
            }
            predicted = np.stack(
                [found.predicted[name].numpy().astype(np.int16) for name in found.judged]
            )
            with atomic_path(target) as partial, partial.open("wb") as file:
                np.savez(
                    file,
                    labels=found.labels.numpy(),
                    predicted=predicted,
                    names=np.array(list(found.judged)),
                    rows=np.array(list(rows.values())),
                    best_control=np.array(found.best_control),
                )
            print(name, seed, layers, number, found, flush=True)


def decay(
    case: Case, options: StudyOptions, train: tuple[Tensor, Tensor], start: Path, target: Path
) -> None:
    """Three more epochs from a checkpoint, with steps that shrink to zero."""
    from cofire.network import save_weights

    torch.manual_seed(options.seed)
    model = case.model()
    model.load_state_dict(load_weights(start))
    kind = {"adam": torch.optim.Adam, "rmsprop": torch.optim.RMSprop}[options.optimizer]
    optimizer = kind(model.parameters(), lr=options.learning_rate)
    total = 3 * -(-len(train[1]) // options.batch_size)
    step = 0
    model.train()
    for _ in range(3):
        for chosen in torch.randperm(len(train[1])).split(options.batch_size):
            optimizer.param_groups[0]["lr"] = options.learning_rate * (1 - step / total)
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(train[0][chosen]), train[1][chosen]).backward()
            optimizer.step()
            step += 1
    save_weights(model.state_dict(), target)


def read(out: Path, name: str, layers: str, number: int) -> dict[int, dict[str, np.ndarray]]:
    """What was kept of a checkpoint, by seed."""
    found = {}
    for seed in SEEDS:
        path = out / f"{name}-seed{seed}" / f"{layers}-{number:02d}.npz"
        if path.exists():
            with np.load(path) as file:
                found[seed] = dict(file)
    return found


def right(one: dict[str, np.ndarray], name: str) -> np.ndarray:
    return (one["predicted"][list(one["names"]).index(name)] == one["labels"]).astype(np.float64)


def row(one: dict[str, np.ndarray], name: str, column: int) -> float:
    return float(one["rows"][list(one["names"]).index(name), column])


def best_control(one: dict[str, np.ndarray]) -> str:
    return str(one["best_control"])


def mean(values: list[float]) -> str:
    return f"{100 * float(np.mean(values)):.2f}"


def told(differences: np.ndarray) -> str:
    """A mean of differences in points, (seeds, samples): over samples and seeds, Student's t over seeds, the verdict.

    The wider of the two intervals decides.
    """
    drawn = paired_bootstrap(torch.from_numpy(differences))
    runs = seed_interval(differences.mean(axis=1).tolist())
    wide = (
        Interval(drawn.value, min(drawn.low, runs.low), max(drawn.high, runs.high))
        if runs.known
        else drawn
    )
    ends = [f"[{100 * one.low:+.2f}, {100 * one.high:+.2f}]" for one in (drawn, runs) if one.known]
    return f"{100 * drawn.value:+.2f} {', t '.join(ends)} {wide.says(MARGIN)}"


Pick = Callable[[dict[str, np.ndarray]], str]


def less(runs: list[list[dict[str, np.ndarray]]], first: Pick, second: Pick) -> np.ndarray:
    """How much more often one is right than another, as means over checkpoints, (seeds, samples)."""
    seeds = range(len(runs[0]))
    return np.stack(
        [
            np.mean([right(r[s], first(r[s])) - right(r[s], second(r[s])) for r in runs], axis=0)
            for s in seeds
        ]
    )


def split(runs: list[list[dict[str, np.ndarray]]], method: str = "readout") -> list[str]:
    """A method's lead over the best control, and its two parts: layers, and patterns."""

    def own(one: dict[str, np.ndarray]) -> str:
        return method

    def values(one: dict[str, np.ndarray]) -> str:
        return VALUES

    return [
        told(less(runs, *pair))
        for pair in ((own, best_control), (values, best_control), (own, values))
    ]


def tables(out: Path) -> None:
    """Markdown of all that is finished."""
    found: dict[
        tuple[str, str],
        tuple[list[list[dict[str, np.ndarray]]], list[dict[str, np.ndarray]], list[int]],
    ] = {}
    for name, case in CASES.items():
        for layers in case.layers:
            kept = {number: read(out, name, layers, number) for number in [*case.numbers, 0]}
            seeds = sorted(set.intersection(*(set(one) for one in kept.values())))
            if seeds:
                of = {number: [kept[number][seed] for seed in seeds] for number in kept}
                found[name, layers] = [of[number] for number in case.numbers], of[0], seeds
    print(f"Differences within {100 * MARGIN:g} points count as none.\n")
    print(
        "| network, layers | checkpoints | readout − best control | layers: values − best control "
        "| patterns: readout − values |"
    )
    print("| --- | --- | --- | --- | --- |")
    for (name, layers), (runs, decayed, seeds) in found.items():
        numbers = ", ".join(map(str, CASES[name].numbers))
        about = f"{name}, {layers}" + (f" ({len(seeds)} seeds)" if len(seeds) < len(SEEDS) else "")
        print(f"| {about} | {numbers} | {' | '.join(split(runs))} |")
        print(f"| {about} | decayed | {' | '.join(split([decayed]))} |")
    for (name, layers), (runs, decayed, seeds) in found.items():
        print(f"\n### {name}, layers: {layers}, seeds {', '.join(map(str, seeds))}\n")
        if layers == "all":
            checkpoint_table(CASES[name].numbers, runs, PRINTED.get(name))
        method_table(runs, decayed)


def checkpoint_table(
    numbers: list[int],
    runs: list[list[dict[str, np.ndarray]]],
    printed: list[tuple[float, float, float, float]] | None,
) -> None:
    print(
        "| Iter | P1: Tr → PTr | P1: Te → PTe | Tr → PTr | Te → PTe | readout, Tr | readout, Te | values, Te "
        "| patterns, Te | best control, Te | readout − best control | layers | patterns |"
    )
    print("| --- " * 13 + "|")
    for number, seeds in zip(numbers, runs, strict=True):
        names = ("base", "auxiliary", "readout", "values", "patterns")
        tested = [mean([right(one, m).mean() for one in seeds]) for m in names]
        trained = [mean([row(one, m, 0) for one in seeds]) for m in names]
        control = mean([right(one, best_control(one)).mean() for one in seeds])
        theirs = ("–", "–")
        if printed is not None:
            of = printed[number - 1]
            theirs = (f"{of[0]} → {of[1]}", f"{of[2]} → {of[3]}")
        print(
            f"| {number} | {theirs[0]} | {theirs[1]} | {trained[0]} → {trained[1]} | {tested[0]} → {tested[1]} "
            f"| {trained[2]} | {' | '.join(tested[2:])} | {control} | {' | '.join(split([seeds]))} |"
        )


def method_table(
    runs: list[list[dict[str, np.ndarray]]], decayed: list[dict[str, np.ndarray]]
) -> None:
    shared = set.intersection(
        *({str(name) for name in one["names"]} for seeds in runs for one in seeds)
    )
    names = [name for name in (*CONTROLS, *METHODS) if name in shared]
    chosen = [[best_control(one) for one in seeds] for seeds in runs]
    which = {name: sum(row.count(name) for row in chosen) for name in CONTROLS}
    print(f"\nBest controls: {json.dumps({k: v for k, v in which.items() if v})}")
    twin = told(less(runs, lambda one: "auxiliary", lambda one: "predictions-only"))
    print(f"The paper's network − the same without activation patterns: {twin}\n")
    print(
        "| method | held out − base | test − base | test − best control | test − values | NLL | ECE "
        "| decayed: − base | decayed: − best control | decayed: − values |"
    )
    print("| --- " * 10 + "|")
    for method in names:
        held = np.mean([row(one, method, 1) - row(one, "base", 1) for r in runs for one in r])
        loss = np.mean([row(one, method, 2) for r in runs for one in r])
        calibration = np.mean([row(one, method, 3) for r in runs for one in r])
        others: list[Pick | None] = [
            None if method == "base" else lambda one: "base",
            best_control if method in (VALUES, "patterns", *METHODS) else None,
            (lambda one: VALUES) if method in ("patterns", *METHODS) else None,
        ]
        cells = [
            [
                "" if other is None else told(less(of, lambda one, m=method: m, other))
                for other in others
            ]  # type: ignore[misc]
            for of in (runs, [decayed])
        ]
        print(
            f"| {method} | {100 * held:+.2f} | {' | '.join(cells[0])} | {loss:.4f} | {calibration:.4f} "
            f"| {' | '.join(cells[1])} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tables", action="store_true", help="print what is there and stop")
    given = parser.parse_args()
    if given.tables:
        tables(given.out)
        return
    for seed in map(int, given.seeds.split(",")):
        for name in given.only.split(","):
            run(name, CASES[name], seed, given.data_root, given.out)


if __name__ == "__main__":
    main()
