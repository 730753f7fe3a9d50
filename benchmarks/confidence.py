"""How well activation patterns tell which predictions to trust, beside scores that read the logits.

    OMP_WAIT_POLICY=PASSIVE python benchmarks/confidence.py --data-root DIR --out runs/confidence

Fully connected networks 784-512-512-10 on MNIST and Fashion-MNIST, one for each seed. Each network
has mistakes on its own test data to find, and the other data set's test images to tell from its
own. Everything is fitted on training data, and no setting was chosen by these numbers. Six studies
of under a minute each on two cores; finished ones are taken from `--studies DIR`, folders
{mnist,fashion}-seed{k} whose last checkpoint counts.
"""

from __future__ import annotations

import argparse
import copy
import statistics
from pathlib import Path

from cofire.boost.baselines import Energy, MaxSoftmax, ReAct
from cofire.boost.confidence import PatternConfidence, judge
from cofire.network import Network
from cofire.study import StudyOptions, fcnn, load_dataset, run_study

DATASETS = {"mnist": "mnist", "fashion": "fashion-mnist"}
OTHER = {"mnist": "fashion", "fashion": "mnist"}
# P1's
RECIPES = {
    "mnist": {"optimizer": "adam", "learning_rate": 1e-2},
    "fashion": {"optimizer": "rmsprop", "learning_rate": 1e-3},
}
COLUMNS = {
    ("mnist", "outliers"): "OOD, MNIST → Fashion",
    ("fashion", "outliers"): "OOD, Fashion → MNIST",
    ("mnist", "misclassification"): "mistakes, MNIST",
    ("fashion", "misclassification"): "mistakes, Fashion",
}


def detectors(network, train):
    found = {
        "max softmax": MaxSoftmax(network),
        "energy": Energy(network),
        "ReAct, percentile 90": ReAct(network).fit(train),
    }
    for where, layers in (("both layers", None), ("last layer", "LL")):
        fitted = PatternConfidence(network, layers).fit(train)
        for score in ("likelihood", "overlap", "gap"):
            found[f"pattern {score}, {where}"] = other = copy.copy(
                fitted
            )  # the counts are the same for all three
            other.score = score
    return found


def checkpoint(chosen, name, seed):
    if chosen.studies is None:
        folder = chosen.out / f"{name}-seed{seed}"
        options = StudyOptions(
            data=DATASETS[name],
            seed=seed,
            dropout=0.2,
            checkpoints=1,
            pairs="none",
            **RECIPES[name],
        )
        run_study(options, folder, data_root=chosen.data_root)
    else:
        folder = chosen.studies / f"{name}-seed{seed}"
    return max((folder / "checkpoints").glob("*.safetensors"))


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root")
    parser.add_argument("--out", type=Path, default=Path("runs/confidence"))
    parser.add_argument(
        "--studies", type=Path, help="folder of finished studies {mnist,fashion}-seed{k}"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    chosen = parser.parse_args()

    data = {name: load_dataset(full, chosen.data_root) for name, full in DATASETS.items()}
    found: dict[str, dict[tuple[str, str], list]] = {}
    for name in DATASETS:
        own, other = data[name], data[OTHER[name]]
        for seed in chosen.seeds:
            bare = Network(fcnn(784, (512, 512), 10, dropout=0.2), own.train_inputs[:2])
            network = bare.with_weights(checkpoint(chosen, name, seed))
            ready = detectors(network, (own.train_inputs, own.train_labels))
            for row in judge(ready, (own.test_inputs, own.test_labels), other.test_inputs):
                found.setdefault(row.detector, {}).setdefault((name, row.task), []).append(row)

    print(
        f"AUROC in percent: mean over seeds {', '.join(map(str, chosen.seeds))} (smallest to largest); half the width"
    )
    print(
        "of the widest of the seeds' 95 % bootstrap intervals; false positives at 95 % true positives, mean.\n"
    )
    print("| score | " + " | ".join(COLUMNS.values()) + " |")
    print("| " + " | ".join("---" for _ in range(1 + len(COLUMNS))) + " |")
    for label, tasks in found.items():
        cells = []
        for key in COLUMNS:
            rows = tasks.get(key, [])
            if not rows:
                cells.append("no mistakes")
                continue
            areas = [100 * row.auroc.value for row in rows]
            width = 100 * max(row.auroc.high - row.auroc.low for row in rows) / 2
            alarms = 100 * statistics.mean(row.false_positive_rate for row in rows)
            cells.append(
                f"{statistics.mean(areas):.1f} ({min(areas):.1f} to {max(areas):.1f}) ± {width:.1f}; {alarms:.0f}"
            )
        print(f"| {label} | " + " | ".join(cells) + " |")
    for name in DATASETS:
        rows = next(iter(found.values())).get((name, "misclassification"), [])
        print(
            f"\n{name}: mistakes on the test data {', '.join(str(row.positives) for row in rows)}"
        )


if __name__ == "__main__":
    main()
