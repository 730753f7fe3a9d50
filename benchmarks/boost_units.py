"""What a booster should read of feature maps: which unit and which threshold carry information, by held-out data.

    python benchmarks/boost_units.py --data-root DATA --out FOLDER
    python benchmarks/boost_units.py --out FOLDER --tables

Takes the small CNNs that `replicate_boost.py` trained under FOLDER (CIFAR-10 subset, Plant
Village), at checkpoint 20, and fits the readouts of values, of patterns and of both with each unit
and threshold. `--tables` prints Markdown of what is there: means over seeds of the loss and
accuracy on held-out data, by which the default is chosen, for each layer the share of P above 0.99,
and each choice less the default on the same networks, with Student's t over them.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np

from cofire.atomic import write_text
from cofire.boost import compare
from cofire.network import Network
from cofire.statistics import seed_interval
from cofire.study.sources import hold_out
from cofire.study.training import checkpoint_path
from replicate_boost import CASES, CHECKPOINTS, SEEDS

NETWORKS = ("cifar10-cnn", "plantvillage-cnn")
UNITS = ("channel-mean", "channel-max", "element")
THRESHOLDS = (0.0, "mean")
READS = ("last-layer", "values", "patterns", "readout")


def run(name: str, seed: int, unit: str, threshold: float | str, root: Path, out: Path) -> None:
    """One network under one unit and threshold."""
    target = out / "units" / f"{name}-seed{seed}-{unit}-{threshold}.json"
    if target.exists():
        return
    case = CASES[name]
    data, held_out = hold_out(case.data(root, seed), 0.1, seed=seed)
    network = Network(case.model(), data.train_inputs[:2])
    found = compare(
        network.with_weights(checkpoint_path(out / f"{name}-seed{seed}", CHECKPOINTS)),
        (data.train_inputs, data.train_labels),
        held_out,
        (data.test_inputs, data.test_labels),
        unit=unit,
        threshold=threshold,
        methods=("readout",),
        seed=seed,
        train_accuracy=False,
        batch_size=256,
        draws=200,
        progress=False,
    )
    rows = {
        one: [
            judged.held_out_loss,
            judged.held_out_accuracy,
            judged.test_loss,
            judged.test_accuracy,
        ]
        for one, judged in found.judged.items()
    }
    target.parent.mkdir(parents=True, exist_ok=True)
    write_text(
        target, json.dumps({"rows": rows, "always_active": dict(found.always_active)}) + "\n"
    )
    print(name, seed, unit, threshold, found, flush=True)


def tables(out: Path) -> None:
    """Markdown of all that is finished."""
    for name in NETWORKS:
        print(f"\n### {name}, checkpoint {CHECKPOINTS}\n")
        print(
            "| unit | threshold | seeds | P above 0.99, layer by layer | "
            + " | ".join(f"{one}: held-out loss, accuracy" for one in READS)
            + " |"
        )
        print("| --- | --- | --- | --- | " + " | ".join("---" for _ in READS) + " |")
        for unit in UNITS:
            for threshold in THRESHOLDS:
                paths = [
                    out / "units" / f"{name}-seed{seed}-{unit}-{threshold}.json" for seed in SEEDS
                ]
                found = [json.loads(path.read_text()) for path in paths if path.exists()]
                if not found:
                    continue
                active = np.mean([list(one["always_active"].values()) for one in found], axis=0)
                cells = []
                for one in READS:
                    loss, accuracy = np.mean([each["rows"][one][:2] for each in found], axis=0)
                    cells.append(f"{loss:.4f}, {100 * accuracy:.2f}")
                shares = ", ".join(f"{100 * share:.0f} %" for share in active)
                print(f"| {unit} | {threshold} | {len(found)} | {shares} | {' | '.join(cells)} |")


def rows_of(
    out: Path, name: str, seed: int, unit: str, threshold: float | str
) -> dict[str, list[float]]:
    """What was kept of a network, nothing where it is not there."""
    path = out / "units" / f"{name}-seed{seed}-{unit}-{threshold}.json"
    found: dict[str, list[float]] = json.loads(path.read_text())["rows"] if path.exists() else {}
    return found


def against_default(out: Path) -> None:
    """Held-out loss of each choice less that of channels' means above 0, on the same networks."""
    print("\n### Held-out loss less that of channel-mean and threshold 0, over networks\n")
    print("| unit | threshold | networks | values | patterns | readout |")
    print("| --- | --- | --- | --- | --- | --- |")
    for unit in UNITS:
        for threshold in THRESHOLDS:
            held = [
                [
                    rows_of(out, name, seed, *which)
                    for which in ((unit, threshold), (UNITS[0], THRESHOLDS[0]))
                ]
                for name in NETWORKS
                for seed in SEEDS
            ]
            pairs = [(own, default) for own, default in held if own and default]
            if not pairs or (unit, threshold) == (UNITS[0], THRESHOLDS[0]):
                continue
            cells = []
            for one in READS[1:]:
                found = seed_interval([own[one][0] - default[one][0] for own, default in pairs])
                ends = f" [{found.low:+.4f}, {found.high:+.4f}]" if found.known else ""
                cells.append(f"{found.value:+.4f}{ends}")
            print(f"| {unit} | {threshold} | {len(pairs)} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--only", default=",".join(NETWORKS))
    parser.add_argument("--units", default=",".join(UNITS))
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--tables", action="store_true", help="print what is there and stop")
    given = parser.parse_args()
    if given.tables:
        tables(given.out)
        against_default(given.out)
        return
    for unit in given.units.split(","):
        for seed in map(int, given.seeds.split(",")):
            for name in given.only.split(","):
                for threshold in THRESHOLDS:
                    run(name, seed, unit, threshold, given.data_root, given.out)


if __name__ == "__main__":
    main()
