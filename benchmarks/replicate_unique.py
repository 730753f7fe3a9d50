"""Print P2's unique neurons by its words and by its numbers, for several numbers of representatives S.

    python benchmarks/replicate_unique.py --data-root DIR --out runs/replication --studies mnist:0
    fashion-mnist:0

Reads the checkpoints of `replicate.py` and `replicate_graphs.py`; a study that neither has run is
trained in a folder of its own, without graphs. Of each checkpoint only the mean activations of the
classes are needed.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from cofire import summarize
from cofire.functional import representative_neurons, unique_neuron_matrix
from cofire.network import Network
from cofire.study import StudyOptions, fcnn, load_dataset, run_study
from replicate import DATASETS, HEADS, table

ENDS = (1, 20)
# P2 Table 2: MNIST, layer 1, iterations 1 and 20
PRINTED = (
    (
        (20, 1, 9, 8, 7, 14, 11, 7, 7, 4),
        (1, 11, 14, 17, 4, 7, 8, 10, 19, 7),
        (9, 14, 13, 17, 5, 9, 16, 4, 15, 5),
        (8, 17, 17, 11, 4, 19, 6, 4, 14, 5),
        (7, 4, 5, 4, 11, 11, 11, 14, 14, 28),
        (14, 7, 9, 19, 11, 7, 6, 6, 22, 12),
        (11, 8, 16, 6, 11, 6, 16, 5, 7, 3),
        (7, 10, 4, 4, 14, 6, 5, 14, 8, 20),
        (7, 19, 15, 14, 14, 22, 7, 8, 3, 20),
        (4, 7, 5, 5, 28, 12, 3, 20, 20, 4),
    ),
    (
        (30, 0, 7, 5, 3, 6, 7, 4, 5, 2),
        (0, 23, 7, 12, 4, 4, 4, 9, 13, 10),
        (7, 7, 11, 13, 8, 3, 13, 7, 16, 8),
        (5, 12, 13, 10, 1, 18, 3, 4, 13, 7),
        (3, 4, 8, 1, 19, 5, 10, 10, 12, 24),
        (6, 4, 3, 18, 5, 12, 7, 5, 15, 10),
        (7, 4, 13, 3, 10, 7, 18, 3, 10, 8),
        (4, 9, 7, 4, 10, 5, 3, 21, 10, 15),
        (5, 13, 16, 13, 12, 15, 10, 10, 5, 21),
        (2, 10, 8, 7, 24, 10, 8, 15, 21, 7),
    ),
)


def class_means(
    name: str, seed: int, out: Path, data_root: str | None
) -> dict[int, list[torch.Tensor]]:
    """Mean activations (classes, neurons) of each layer at the first and the last checkpoint."""
    folder = out / f"{name}-seed{seed}"
    if not (folder / "checkpoints" / f"{ENDS[-1]:04d}.safetensors").exists():
        folder = out / f"{name}-seed{seed}-training"
        run_study(StudyOptions(data=name, seed=seed, pairs="none"), folder, data_root=data_root)
    data = load_dataset(name, data_root, seed=seed)
    network = Network(fcnn(784, (512, 512), 10, dropout=0.5), data.train_inputs[:2])
    found = {}
    for number in ENDS:
        now = network.with_weights(folder / "checkpoints" / f"{number:04d}.safetensors")
        summary = summarize(
            now, (data.train_inputs, data.train_labels), by_class="statistics", progress=False
        )
        found[number] = [layer.class_mean() for layer in summary.layers]
    return found


def matrix_tables(means, seed):
    head = ["", *map(str, range(10)), "sum"]
    for place, number in enumerate(ENDS):
        print(f"Iteration {number}, P2:\n")
        table(head, [[c, *row, sum(row)] for c, row in enumerate(PRINTED[place])])
        print(f"Iteration {number}, seed {seed}: in numbers / in words.\n")
        chosen = representative_neurons(means[number][0], top=50)
        both = [unique_neuron_matrix(chosen, exclusive=exclusive) for exclusive in (False, True)]
        rows = []
        for c in range(10):
            numbers, words = (matrix[c].tolist() for matrix in both)
            cells = [
                f"{a} / {b}" if k != c else a
                for k, (a, b) in enumerate(zip(numbers, words, strict=True))
            ]
            rows.append([c, *cells, f"{sum(numbers)} / {sum(words)}"])
        table(head, rows)


def sums_tables(found, tops):
    for layer in (0, 1):
        print(
            f"Layer {layer + 1}: one class alone; pairs in numbers; pairs in words, each first → last checkpoint.\n"
        )
        rows = []
        for (name, seed), means in found.items():
            row = [f"{HEADS[DATASETS.index(name)]}, seed {seed}"]
            for top in tops:
                sums = []
                for number in ENDS:
                    chosen = representative_neurons(means[number][layer], top=top)
                    numbers, words = (
                        unique_neuron_matrix(chosen, exclusive=exclusive)
                        for exclusive in (False, True)
                    )
                    pairs = [int(torch.triu(matrix, 1).sum()) for matrix in (numbers, words)]
                    sums.append((int(numbers.diagonal().sum()), *pairs))
                row.append(
                    "; ".join(f"{first} → {last}" for first, last in zip(*sums, strict=True))
                )
            rows.append(row)
        table(["", *(f"S = {top}" for top in tops)], rows)


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root")
    parser.add_argument("--out", type=Path, default=Path("runs/replication"))
    parser.add_argument(
        "--studies",
        nargs="+",
        default=[f"{name}:{seed}" for seed in (0, 1, 2) for name in DATASETS],
    )
    parser.add_argument("--top", type=int, nargs="+", default=[25, 50, 100])
    chosen = parser.parse_args()
    found = {}
    for study in chosen.studies:
        name, seed = study.split(":")
        found[name, int(seed)] = class_means(name, int(seed), chosen.out, chosen.data_root)
    for (name, seed), means in found.items():
        if name == "mnist":
            print(f"### Unique neurons of MNIST's layer 1, seed {seed}, S = 50 (P2 Table 2)\n")
            matrix_tables(means, seed)
    print("### Unique neurons under other numbers of representatives S\n")
    sums_tables(found, chosen.top)


if __name__ == "__main__":
    main()
