"""Print the tables of `docs/replication.md` from folders of studies that were made by recipes.

    cofire study p1-cifar10-resnet50 --seed 0 --out runs/resnet50-0   # and so on, then
    python benchmarks/replication.py runs/resnet50-0 runs/resnet50-1 …
    python benchmarks/replication.py --checkpoints runs/…             # each checkpoint as well

Studies of one recipe that differ in the seed alone share a table: ours is the median over seeds,
with the smallest and the largest of several in brackets. Nothing is computed but what the tables of
a study hold.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from cofire.study import Trajectory
from cofire.study.beside import Beside, beside, differences, recipe_of
from cofire.study.options import of_now

SIGNED = ("pearson", "spearman", "points")
READ = ("predictions-only", "auxiliary", "last-layer", "values", "patterns", "readout")
"""P1's booster and its twin without patterns, the last layer trained on, and cofire's readouts."""


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    print("| " + " | ".join(head) + " |")
    print("| " + " | ".join("---" for _ in head) + " |")
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |")
    print()


def number(value: float | None, statistic: str) -> str:
    if value is None:
        return "n.d."
    digits = {"count": 0, "percent": 1}.get(statistic, 2)
    return f"{value:{'+' if statistic in SIGNED else ''}.{digits}f}".replace("-", "−")


def spread(values: Sequence[float | None], statistic: str) -> str:
    """The median, and of several the smallest and the largest."""
    known = [value for value in values if value is not None]
    if not known:
        return "n.d."
    ends = (number(end, statistic) for end in (min(known), max(known)))
    return number(statistics.median(known), statistic) + (
        f" [{', '.join(ends)}]" if len(known) > 1 else ""
    )


def interval(one: Beside) -> str:
    if one.low is None:
        return number(one.ours, one.printed.statistic)
    ends = (number(end, one.printed.statistic) for end in (one.low, one.high))
    return f"{number(one.ours, one.printed.statistic)} [{', '.join(ends)}]"


class Group:
    """Studies of one recipe under the same options, by their seeds."""

    def __init__(self, studies: Sequence[Trajectory]) -> None:
        self.studies = sorted(studies, key=lambda one: one.options["seed"])
        self.seeds = [one.options["seed"] for one in self.studies]
        self.recipe = recipe_of(self.studies[0])
        self.options = of_now(self.studies[0].options)
        self.pairs = list(zip(*map(beside, self.studies), strict=True))

    def heading(self) -> str:
        assert self.recipe is not None
        return f"{self.recipe.title} ({', '.join(self.recipe.tables) or 'in no paper'})"

    def about(self) -> None:
        assert self.recipe is not None
        print(f"### {self.heading()}\n")
        told = self.options
        last = [one.network().to_pylist()[-1] for one in self.studies]
        print(
            f"`cofire study {self.recipe.name}`, seeds {', '.join(map(str, self.seeds))}: "
            f"{told['samples']:,} training, {told.get('validation_samples', 0):,} held-out and "
            f"{told['test_samples']:,} test images, {told['epochs']} epochs, "
            f"{len(self.studies[0].checkpoints)} checkpoints"
            + (f", {told['observe']:,} of them observed" if told.get("observe") else "")
            + f". At the end {spread([100 * r['train_accuracy'] for r in last], 'percent')} % of the training and "
            f"{spread([100 * r['test_accuracy'] for r in last], 'percent')} % of the test images are right.\n"
        )
        if said := [line for line in differences(self.studies[0]) if not line.startswith("data:")]:
            print(f"In place of the recipe's: {'; '.join(said)}.\n")

    def take(self, wanted: Callable[[Beside], bool]) -> list[tuple[Beside, ...]]:
        return [pair for pair in self.pairs if wanted(pair[0])]

    def coefficients(self) -> None:
        """Correlations of entropy and modularity with training accuracy, of network, layers and classes."""
        for scope in ("network", "layer", "class"):
            rows: dict[tuple[str, str, str], dict[str, list[str]]] = defaultdict(dict)
            for pair in self.take(lambda one: one.printed.statistic in SIGNED[:2]):
                first = pair[0].printed
                if first.scope != scope:
                    continue
                subject = pair[0].name or (f"{scope} {first.number}" if first.number else "network")
                cells = [number(first.value, first.statistic)]
                cells.append(
                    "; ".join(map(interval, pair))
                    if scope == "network"
                    else spread([one.ours for one in pair], first.statistic)
                )
                rows[first.table, subject, first.quantity][first.statistic] = cells
            if rows:
                table(
                    ["table", scope, "measure", "PCC paper", "PCC ours", "SCC paper", "SCC ours"],
                    ([*key, *kinds["pearson"], *kinds["spearman"]] for key, kinds in rows.items()),
                )

    def course(self) -> None:
        """Accuracies at each checkpoint, the paper's and ours."""
        columns: dict[str, dict[tuple[str, str], dict[int, str]]] = defaultdict(
            lambda: defaultdict(dict)
        )
        for pair in self.take(lambda one: one.printed.statistic == "percent"):
            first = pair[0].printed
            ours = spread([one.ours for one in pair], "percent")
            cell = f"{number(first.value, 'percent')} / {'–' if ours == 'n.d.' else ours}"
            columns[first.table][first.quantity, first.layers][first.checkpoint] = cell
        for title, found in columns.items():
            places = sorted({place for cells in found.values() for place in cells})
            if len(places) > 1:
                print(f"{title}, in percent, paper / ours:\n")
                table(
                    ["iteration", *(", ".join(filter(None, key)) for key in found)],
                    ([k, *(cells.get(k, "") for cells in found.values())] for k in places),
                )

    def accuracies(self) -> None:
        """Accuracies and gains, at the last checkpoint; neurons of graphs."""
        last = max((p[0].printed.checkpoint for p in self.pairs), default=0)
        rows = []
        for pair in self.take(lambda one: one.printed.statistic in ("percent", "points", "count")):
            first = pair[0].printed
            if first.checkpoint not in (0, last) and first.statistic == "percent":
                continue
            what = first.quantity + (f", {first.layers}" if first.layers else "")
            if first.scope == "class":
                what += f", {pair[0].name or first.number}"
            rows.append(
                [
                    first.table,
                    "all" if not first.checkpoint else first.checkpoint,
                    what,
                    number(first.value, first.statistic),
                    spread([one.ours for one in pair], first.statistic),
                ]
            )
        if rows:
            table(["table", "iteration", "quantity", "paper", "ours"], rows)

    def boosters(self) -> None:
        """What boosters and controls gain over the network, in points of test accuracy."""
        found: dict[tuple[str, str], list[list[tuple[int, float]]]] = defaultdict(list)
        best: dict[str, list[list[tuple[int, float]]]] = defaultdict(list)
        for study in self.studies:
            own: dict[tuple[str, str], list[tuple[int, float]]] = defaultdict(list)
            control: dict[str, list[tuple[int, float]]] = defaultdict(list)
            for row in study.boosts.to_pylist():
                gain = row["base_gain"]
                if gain is not None:
                    place = row["checkpoint"], 100 * gain
                    own[row["layers"] or "all", row["method"]].append(place)
                    if row["role"] == "best control":
                        control[row["layers"] or "all"].append(place)
            for key, gains in own.items():
                found[key].append(gains)
            for layers, gains in control.items():
                best[layers].append(gains)
        if not found:
            return
        print("Points of test accuracy over the network, mean over checkpoints; at the last one:\n")
        kinds = list(dict.fromkeys(layers for layers, _ in found))
        told = []
        for name in ("best control", *READ):
            cells = []
            for layers in kinds:
                gains = best[layers] if name == "best control" else found[layers, name]
                means = [statistics.mean(gain for _, gain in one) for one in gains]
                ends = [max(one)[1] for one in gains]
                cells.append(f"{spread(means, 'points')}; {spread(ends, 'points')}")
            told.append([name, *cells])
        table(["", *kinds], told)


def groups(folders: Sequence[Path]) -> list[Group]:
    found: dict[str, list[Trajectory]] = defaultdict(list)
    for folder in folders:
        study = Trajectory.load(folder)
        if recipe_of(study) is None:
            raise SystemExit(f"{folder}: made by no recipe")
        told = {k: v for k, v in of_now(study.options).items() if k not in ("seed", "versions")}
        found[json.dumps(told, sort_keys=True)].append(study)
    return [Group(studies) for studies in found.values()]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--checkpoints", action="store_true", help="each checkpoint as well")
    given = parser.parse_args()
    for group in groups(given.folders):
        group.about()
        group.coefficients()
        group.accuracies()
        group.boosters()
        if given.checkpoints:
            group.course()


if __name__ == "__main__":
    main()
