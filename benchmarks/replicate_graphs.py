"""Run the papers' studies and print the graphs' half of `docs/replication.md` beside the paper's figures.

    python benchmarks/replicate_graphs.py --data-root DIR --out runs/replication

The same twelve studies as `replicate.py`: what one of the two has run, the other reads.
"""

from __future__ import annotations

import argparse
import statistics
from contextlib import contextmanager, nullcontext
from pathlib import Path

from torch import nn

from cofire.study import StudyOptions, Trajectory, run_study
from replicate import DATASETS, HEADS, ends, signed, table

LAYERS = ("relu1", "relu2")
MEASURES = ("kernighan-lin", "no-overlap", "unweighted-overlap", "weighted-overlap")
NAMES = {
    "kernighan-lin": "Kernighan-Lin",
    "no-overlap": "No overlap (Eq. 2)",
    "louvain": "Louvain, γ = 2",
    "unweighted-overlap": "Unweighted, overlap (Eq. 3)",
    "weighted-overlap": "Weighted, overlap (Eq. 4)",
}
# P2 Table 4: (Pearson, Spearman) of layer 1, then of layer 2, in the order of MEASURES
PRINTED = {
    "mnist": (
        ((0.24, 0.16), (0.50, 0.61)),
        ((0.22, 0.19), (0.23, 0.19)),
        ((0.53, 0.37), (0.78, 0.68)),
        ((0.36, 0.33), (0.77, 0.57)),
    ),
    "mnist-mixed": (
        ((-0.76, -0.81), (-0.73, -0.84)),
        ((-0.44, -0.55), (0.46, 0.37)),
        ((-0.70, -0.73), (0.36, 0.37)),
        ((-0.63, -0.69), (0.48, 0.47)),
    ),
    "fashion-mnist": (
        ((-0.04, -0.10), (0.42, 0.44)),
        ((0.42, 0.46), (0.62, 0.61)),
        ((0.71, 0.67), (0.77, 0.72)),
        ((0.56, 0.46), (0.78, 0.79)),
    ),
    "fashion-mnist-mixed": (
        ((-0.03, -0.07), (-0.44, -0.38)),
        ((0.28, 0.40), (0.14, 0.29)),
        ((0.43, 0.51), (0.22, 0.35)),
        ((0.43, 0.51), (0.26, 0.38)),
    ),
}
# P2 Table 2: MNIST, layer 1, iterations 1 and 20: sum of the diagonal, sum of what is above it
PRINTED_UNIQUE = ((110, 464), (156, 381))
PRINTED_DIAGONAL = ((20, 11, 13, 11, 11, 7, 16, 14, 3, 4), (30, 23, 11, 10, 19, 12, 18, 21, 5, 7))


def graph_row(trajectory, layer, checkpoint):
    rows = trajectory.graphs.to_pylist()
    return next(r for r in rows if (r["layer"], r["checkpoint"]) == (layer, checkpoint))


def spread(values, shown=signed):
    known = [v for v in values if v is not None]
    return (
        f"{shown(statistics.median(known))} [{shown(min(known))}, {shown(max(known))}]"
        if known
        else "n.d."
    )


def unique_tables(found, seeds):
    print("### Unique neurons (P2 Table 2)\n")
    print("MNIST, layer 1: neurons that represent one class alone, by class.\n")
    rows = []
    for place, (number, title) in enumerate(((1, "iteration 1"), (20, "iteration 20"))):
        rows.append([f"{title}, P2", *PRINTED_DIAGONAL[place]])
        for seed in seeds:
            matrix = graph_row(found["mnist", seed], "relu1", number)["unique_matrix"]
            rows.append([f"{title}, seed {seed}", *(matrix[11 * c] for c in range(10))])
    table(["", *map(str, range(10))], rows)
    print(
        "Sum of the diagonal (representing one class alone) and above it (intersections of two classes' "
        "representatives), first → last checkpoint.\n"
    )
    rows = [
        [
            "P2, layer 1",
            f"{PRINTED_UNIQUE[0][0]} → {PRINTED_UNIQUE[1][0]}; "
            f"{PRINTED_UNIQUE[0][1]} → {PRINTED_UNIQUE[1][1]}",
            "",
            "",
            "",
        ]
    ]
    for layer in LAYERS:
        for seed in seeds:
            cells = []
            for name in DATASETS:
                first, last = (graph_row(found[name, seed], layer, k) for k in (1, 20))
                cells.append(
                    f"{first['unique_neurons']} → {last['unique_neurons']}; "
                    f"{first['shared_neurons']} → {last['shared_neurons']}"
                )
            rows.append([f"layer {layer[-1]}, seed {seed}", *cells])
    table(["", *HEADS], rows)


def size_tables(found, seeds):
    print("### The eight largest communities of layer 2 (P2 Table 3), Louvain at γ = 2\n")
    rows = []
    for name, head in zip(DATASETS, HEADS, strict=True):
        for seed in seeds:
            for number in (1, 20):
                row = graph_row(found[name, seed], "relu2", number)
                sizes = row["community_sizes"][:8]
                rows.append(
                    [
                        f"{head}, seed {seed}, iteration {number}",
                        ", ".join(map(str, sizes)),
                        row["vertices"],
                        row["communities"],
                        row["singletons"],
                        f"{row['community_mean_size']:.1f}",
                        f"{row['nmi']:.2f}",
                        signed(row["ari"]),
                        signed(row["stability"]),
                    ]
                )
    table(
        [
            "",
            "sizes",
            "vertices",
            "communities",
            "singletons",
            "mean size",
            "NMI",
            "ARI",
            "ARI between seeds",
        ],
        rows,
    )
    print(
        "Mean size of a community against training accuracy over the checkpoints, Pearson: median over the seeds, "
        "with the smallest and the largest.\n"
    )
    rows = []
    for layer in LAYERS:
        cells = [
            spread([corr(found[n, s], layer, "community size")["pearson"] for s in seeds])
            for n in DATASETS
        ]
        rows.append([f"layer {layer[-1]}", *cells])
    table(["", *HEADS], rows)


def corr(trajectory, layer, measure, accuracy="train"):
    rows = trajectory.correlations().to_pylist()
    key = ("layer", layer, measure, accuracy)
    return next(r for r in rows if (r["scope"], r["name"], r["measure"], r["accuracy"]) == key)


def correlation_tables(found, seeds):
    print("### Modularity against training accuracy (P2 Table 4)\n")
    print(
        "Median over the seeds, with the smallest and the largest; Q is the mean over the checkpoints, smallest and "
        "largest over the seeds.\n"
    )
    for name, head in zip(DATASETS, HEADS, strict=True):
        rows = []
        for layer, place in (("relu1", 0), ("relu2", 1)):
            for k, measure in enumerate((*MEASURES, "louvain")):
                of_seeds = [corr(found[name, s], layer, measure) for s in seeds]
                paper = PRINTED[name][k][place] if k < len(MEASURES) else (None, None)
                q = [r["mean"] for r in of_seeds]
                rows.append(
                    [
                        f"L{layer[-1]}",
                        NAMES[measure],
                        "" if paper[0] is None else signed(paper[0]),
                        spread([r["pearson"] for r in of_seeds]),
                        "" if paper[1] is None else signed(paper[1]),
                        spread([r["spearman"] for r in of_seeds]),
                        f"{signed3(min(q))} to {signed3(max(q))}",
                        spread(
                            [corr(found[name, s], layer, measure, "test")["pearson"] for s in seeds]
                        ),
                    ]
                )
        print(f"**{head}**\n")
        table(
            [
                "",
                "measure",
                "PCC paper",
                "PCC ours",
                "SCC paper",
                "SCC ours",
                "Q",
                "PCC with test accuracy",
            ],
            rows,
        )
    later_layers_table(found, seeds)
    print(
        "### Each seed's correlation with training accuracy, with its 95 % intervals: Eq. 4, Pearson\n"
    )
    rows = []
    for layer in LAYERS:
        for seed in seeds:
            cells = []
            for name in DATASETS:
                row = corr(found[name, seed], layer, "weighted-overlap")
                cells.append(
                    f"{signed(row['pearson'])} {ends(row, 'pearson')}; changes {signed(row['changes'])}"
                )
            rows.append([f"layer {layer[-1]}, seed {seed}", *cells])
    table(["", *HEADS], rows)


def later_layers_table(found, seeds):
    """P2 §7.2: "A stronger correlation is observed in later layers for all the dataset"."""
    print(
        "Of the eight correlations of the paper's measures (two decimals), those that are higher in layer 2.\n"
    )
    rows = [["P2"], ["ours"]]
    for name in DATASETS:
        higher = [0, 0]
        for k, measure in enumerate(MEASURES):
            for place, kind in enumerate(("pearson", "spearman")):
                higher[0] += PRINTED[name][k][1][place] > PRINTED[name][k][0][place]
                of_layers = [
                    statistics.median(corr(found[name, s], layer, measure)[kind] for s in seeds)
                    for layer in LAYERS
                ]
                higher[1] += round(of_layers[1], 2) > round(of_layers[0], 2)
        for row, count in zip(rows, higher, strict=True):
            row.append(f"{count} of {2 * len(MEASURES)}")
    table(["", *HEADS], rows)


def signed3(value):
    return f"{value:+.3f}".replace("-", "−")


def null_tables(found, seeds):
    print(f"### What chance gives (not in the paper): last checkpoint, seed {seeds[0]}\n")
    print(
        "Q; mean and z against the same edges with shuffled weights; mean and z against graphs of the same "
        "activations with random labels.\n"
    )
    rows = []
    for name, head in zip(DATASETS, HEADS, strict=True):
        for row in found[name, seeds[0]].modularities.to_pylist():
            if row["checkpoint"] != 20:
                continue
            cells = [signed3(row["modularity"])]
            for null in ("weights", "labels"):
                z = row[f"{null}_z"]
                cells.append(
                    f"{signed3(row[f'{null}_mean'])}; {'n.d.' if z is None else f'{z:+,.1f}'.replace('-', '−')}"
                )
            rows.append([f"{head}, L{row['layer'][-1]}", NAMES[row["measure"]], *cells])
    table(["", "measure", "Q", "shuffled weights; z", "random labels; z"], rows)
    print("### Q of Eq. 4, first → last checkpoint\n")
    rows = []
    for layer in LAYERS:
        for seed in seeds:
            cells = []
            for name in DATASETS:
                q = values_of(found[name, seed], layer, "weighted-overlap")
                cells.append(f"{signed3(q[0])} → {signed3(q[-1])}")
            rows.append([f"layer {layer[-1]}, seed {seed}", *cells])
    table(["", *HEADS], rows)


def recipe_table(folder, data_root, seed=0):
    """The same on MNIST under other recipes: how far the findings are findings about dropout or initialisation."""
    recipes = {
        "dropout 0.5, Adam (the recipe of all tables above)": {},
        "no dropout": {"dropout": 0.0},
        "dropout 0.2": {"dropout": 0.2},
        "RMSprop": {"optimizer": "rmsprop"},
        "Glorot's initialisation": {"glorot": True},
        "Glorot's, no dropout": {"glorot": True, "dropout": 0.0},
    }
    print(f"### MNIST under other recipes, seed {seed}\n")
    print(
        "Per layer: neurons of one class; shared neurons; Q of Eq. 4, each first → last checkpoint; Pearson's r "
        "of Q with training accuracy.\n"
    )
    rows = []
    for title, changes in recipes.items():
        options = StudyOptions(
            data="mnist", seed=seed, **{k: v for k, v in changes.items() if k != "glorot"}
        )
        name = "-".join(["mnist", *(f"{k}{v}" for k, v in changes.items()), f"seed{seed}"])
        with glorot() if "glorot" in changes else nullcontext():
            found = run_study(options, folder / name, data_root=data_root)
        last = found.network().to_pylist()[-1]
        row = [title, f"{100 * last['train_accuracy']:.2f} / {100 * last['test_accuracy']:.2f}"]
        for layer in LAYERS:
            first, end = (graph_row(found, layer, k) for k in (1, 20))
            q = values_of(found, layer, "weighted-overlap")
            row.append(
                f"{first['unique_neurons']} → {end['unique_neurons']}; {first['shared_neurons']} → "
                f"{end['shared_neurons']}; {signed3(q[0])} → {signed3(q[-1])}; "
                f"{signed(corr(found, layer, 'weighted-overlap')['pearson'])}"
            )
        rows.append(row)
    table(["", "accuracy, train / test", "layer 1", "layer 2"], rows)


def values_of(trajectory, layer, measure):
    rows = trajectory.modularities.to_pylist()
    return [r["modularity"] for r in rows if (r["layer"], r["measure"]) == (layer, measure)]


@contextmanager
def glorot():
    """Layers made inside start from Glorot's uniform weights and zero biases."""

    def reset(layer):
        nn.init.xavier_uniform_(layer.weight)
        nn.init.zeros_(layer.bias)

    before = nn.Linear.reset_parameters
    nn.Linear.reset_parameters = reset
    try:
        yield
    finally:
        nn.Linear.reset_parameters = before


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root")
    parser.add_argument("--out", type=Path, default=Path("runs/replication"))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()
    found: dict[tuple[str, int], Trajectory] = {}
    for seed in chosen.seeds:
        for name in DATASETS:
            folder = chosen.out / f"{name}-seed{seed}"
            found[name, seed] = run_study(
                StudyOptions(data=name, seed=seed), folder, data_root=chosen.data_root
            )
    unique_tables(found, chosen.seeds)
    size_tables(found, chosen.seeds)
    correlation_tables(found, chosen.seeds)
    null_tables(found, chosen.seeds)
    recipe_table(chosen.out, chosen.data_root)


if __name__ == "__main__":
    main()
