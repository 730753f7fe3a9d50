"""Run the papers' studies of entropy and print what `docs/replication.md` shows beside the papers' figures.

    python benchmarks/replicate.py --data-root DIR --out runs/replication

Twelve studies of about a minute each on two cores, and the checkpoints of seed 0 again under other
numbers of bins. Stopped and started again, it goes on where it was.
"""

from __future__ import annotations

import argparse
import statistics
from pathlib import Path

from torch import nn

from cofire.network import Network
from cofire.study import (
    StudyOptions,
    Trajectory,
    correlate,
    fcnn,
    follow,
    load_dataset,
    run_study,
)

DATASETS = ("mnist", "mnist-mixed", "fashion-mnist", "fashion-mnist-mixed")
HEADS = ("MNIST", "MNIST mixed", "Fashion-MNIST", "Fashion-MNIST mixed")

# P2 Table 5, and P1 Table 1 for the same four columns
NETWORK = {"pearson": (-0.87, 0.22, -0.95, 0.57), "spearman": (-0.94, 0.51, -0.99, 0.67)}
# P2 Table 1: training and test accuracy in percent
ACCURACY = ((99.56, 98.24), (12.44, 9.85), (91.80, 88.9), (11.02, 10.12))
# P2 Table 6: (Pearson, Spearman) of classes 1 to 10
CLASSES = {
    "mnist": (
        (-0.55, -0.67),
        (-0.54, -0.71),
        (-0.22, -0.31),
        (-0.35, -0.7),
        (-0.71, -0.73),
        (-0.55, -0.52),
        (0, 0.16),
        (-0.09, -0.29),
        (-0.67, -0.8),
        (-0.39, -0.77),
    ),
    "mnist-mixed": (
        (-0.06, -0.29),
        (0.18, -0.16),
        (0.47, -0.02),
        (0.36, 0.11),
        (0.33, -0.1),
        (-0.14, -0.07),
        (0.19, 0.44),
        (0.09, 0.33),
        (0.46, 0.62),
        (0.09, 0.01),
    ),
    "fashion-mnist": (
        (0.1, 0.21),
        (-0.24, -0.45),
        (0.37, 0.22),
        (-0.57, -0.84),
        (-0.41, -0.30),
        (-0.67, -0.67),
        (-0.83, -0.95),
        (-0.43, -0.62),
        (-0.9, -0.96),
        (-0.67, -0.60),
    ),
    "fashion-mnist-mixed": (
        (-0.13, -0.4),
        (0.77, -0.15),
        (0.47, 0.31),
        (0.25, -0.18),
        (0.48, 0.11),
        (0.33, -0.17),
        (0.67, 0.17),
        (0.7, 0.3),
        (0.63, 0.33),
        (0.90, 0.86),
    ),
}


def table(head, rows):
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for row in rows:
        print("| " + " | ".join(str(cell) for cell in row) + " |")
    print()


def signed(value):
    return "n.d." if value is None else f"{value:+.2f}".replace("-", "−")


def ends(row, measure):
    """The interval that takes checkpoints as independent, and the one that allows for their dependence."""
    plain, serial = (
        f"[{signed(row[f'{measure}{kind}_low'])}, {signed(row[f'{measure}{kind}_high'])}]"
        for kind in ("", "_serial")
    )
    return f"{plain}; {serial}" + (f", n* = {row['effective']:.1f}" if measure == "pearson" else "")


def whole(trajectory, accuracy="train"):
    return next(
        r
        for r in trajectory.correlations().to_pylist()
        if r["scope"] == "network" and r["accuracy"] == accuracy
    )


def network_tables(found, seeds):
    print("### Entropy of the network against accuracy (P2 Table 5, P1 Table 1)\n")
    print(
        "Two 95 % intervals: the first takes checkpoints as independent, the second counts them as n* and decides.\n"
    )
    rows = []
    for measure in ("pearson", "spearman"):
        rows.append([f"{measure.capitalize()}, papers", *(signed(v) for v in NETWORK[measure])])
        for seed in seeds:
            cells = []
            for name in DATASETS:
                row = whole(found[name, seed])
                cells.append(f"{signed(row[measure])} {ends(row, measure)}")
            rows.append([f"{measure.capitalize()}, seed {seed}", *cells])
    for seed in seeds:
        cells = [signed(whole(found[name, seed], "test")["pearson"]) for name in DATASETS]
        rows.append([f"Pearson with test accuracy, seed {seed}", *cells])
    for seed in seeds:
        rows.append(
            [
                f"Pearson of changes, seed {seed}",
                *(signed(whole(found[n, seed])["changes"]) for n in DATASETS),
            ]
        )
    table(["", *HEADS], rows)

    print("### Accuracy at the last checkpoint, training / test in percent (P2 Table 1)\n")
    rows = [["P2", *(f"{a:.2f} / {b:.2f}" for a, b in ACCURACY)]]
    for seed in seeds:
        last = [found[name, seed].network().to_pylist()[-1] for name in DATASETS]
        shown = [f"{100 * r['train_accuracy']:.2f} / {100 * r['test_accuracy']:.2f}" for r in last]
        rows.append([f"seed {seed}", *shown])
    table(["", *HEADS], rows)

    print("### Entropy in nats, first → last checkpoint\n")
    rows = []
    for seed in seeds:
        tables = [found[name, seed].network()["entropy"].to_pylist() for name in DATASETS]
        rows.append([f"seed {seed}", *(f"{e[0]:,.0f} → {e[-1]:,.0f}" for e in tables)])
    table(["", *HEADS], rows)


def leverage_table(found, seeds, first=3):
    print(
        f"### Without the first {first} checkpoints, and dead neurons of 1,024 at the last: Pearson / Spearman; dead\n"
    )
    rows = []
    for seed in seeds:
        row = [f"seed {seed}"]
        for name in DATASETS:
            table_of = found[name, seed].network()
            both = correlate(
                *(table_of[c].to_pylist()[first:] for c in ("entropy", "train_accuracy"))
            )
            row.append(
                f"{signed(both.pearson)} / {signed(both.spearman)}; {table_of['dead'].to_pylist()[-1]}"
            )
        rows.append(row)
    table(["", *HEADS], rows)


def glorot_table(folder, data_root, seeds):
    """The same on MNIST from Glorot's uniform weights and zero biases, instead of PyTorch's own."""

    def glorot(layer):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)

    nn.Linear.reset_parameters = glorot
    print("### MNIST from Glorot's initialisation\n")
    rows = []
    for seed in seeds:
        found = run_study(
            StudyOptions(data="mnist", seed=seed),
            folder / f"mnist-glorot{seed}",
            data_root=data_root,
        )
        row = whole(found)
        rows.append(
            [
                f"seed {seed}",
                signed(row["pearson"]),
                signed(row["spearman"]),
                signed(row["changes"]),
            ]
        )
    table(["", "Pearson", "Spearman", "changes"], rows)


def class_tables(found, seeds):
    print("### Entropy of each class against its own training accuracy (P2 Table 6)\n")
    print(
        f"Median over seeds {', '.join(map(str, seeds))}, with the smallest and the largest in brackets.\n"
    )
    for name, head in zip(DATASETS, HEADS, strict=True):
        by_seed = [
            [
                r
                for r in found[name, s].correlations().to_pylist()
                if r["scope"] == "class" and r["accuracy"] == "train"
            ]
            for s in seeds
        ]
        rows = []
        for k, printed in enumerate(CLASSES[name]):
            row = [by_seed[0][k]["name"]]
            for measure, paper in zip(("pearson", "spearman"), printed, strict=True):
                values = [
                    rows_of[k][measure] for rows_of in by_seed if rows_of[k][measure] is not None
                ]
                middle = signed(statistics.median(values)) if values else "n.d."
                row += [
                    signed(paper),
                    f"{middle} [{signed(min(values))}, {signed(max(values))}]"
                    if values
                    else middle,
                ]
            rows.append(row)
        print(f"**{head}**\n")
        table(["class", "PCC paper", "PCC ours", "SCC paper", "SCC ours"], rows)


def bins_table(folder, data_root, bins):
    print("### The same checkpoints (seed 0) under other numbers of bins R: Pearson / Spearman\n")
    rows = []
    for number in bins:
        row = [f"R = {number}"]
        for name in DATASETS:
            data = load_dataset(name, data_root, seed=0)
            run = folder / f"{name}-seed0"
            network = Network(fcnn(784, (512, 512), 10, dropout=0.5), data.train_inputs[:2])
            checkpoints = sorted((run / "checkpoints").iterdir())
            again = follow(
                network,
                checkpoints,
                (data.train_inputs, data.train_labels),
                bins=number,
                by_class=False,
                pairs=None,
                folder=folder / f"{name}-seed0-bins{number}",
            )
            entropy, accuracy = (
                again.network()[c].to_pylist() for c in ("entropy", "train_accuracy")
            )
            both = correlate(entropy, accuracy)
            row.append(f"{signed(both.pearson)} / {signed(both.spearman)}")
        rows.append(row)
    table(["", *HEADS], rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root")
    parser.add_argument("--out", type=Path, default=Path("runs/replication"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--bins", type=int, nargs="*", default=[25, 256, 1000])
    parser.add_argument(
        "--glorot", type=int, nargs="*", default=[0, 1], help="seeds for Glorot's initialisation"
    )
    chosen = parser.parse_args()
    found: dict[tuple[str, int], Trajectory] = {}
    for seed in chosen.seeds:
        for name in DATASETS:
            folder = chosen.out / f"{name}-seed{seed}"
            found[name, seed] = run_study(
                StudyOptions(data=name, seed=seed),
                folder,
                data_root=chosen.data_root,
                progress=None,
            )
    network_tables(found, chosen.seeds)
    leverage_table(found, chosen.seeds)
    class_tables(found, chosen.seeds)
    if chosen.bins:
        bins_table(chosen.out, chosen.data_root, chosen.bins)
    if chosen.glorot:
        glorot_table(chosen.out, chosen.data_root, chosen.glorot)


if __name__ == "__main__":
    main()
