"""How options of `discernible` compare on photos and digits that nothing else uses: what its defaults were chosen by.

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 python benchmarks/explain_defaults.py --data-root DIR

DIR holds `imagenet-boxes` (images, boxes.json), `weights` (squeezenet1_0-imagenet,
mobilenet_v2-imagenet, cnn-mnist, as safetensors) and MNIST as torchvision lays it out. Photos:
those whose boxes cover less than 30 % of the image, the half whose file name has an even SHA-256.
For each set of options the share of photos on which the heat map's maximum lies in a box of the
true class, and the overlap (Jaccard) of its points with those of the most probable other class; for
digits, training samples: overlap of the points of the predicted class with those of every other,
and their number.

With `--maps`: heat maps and their boxes on all photos with small boxes. The threshold of a box is
learned on one half (by the parity of the file name's SHA-256) and used on the other, both ways, so that
no photo is judged by what it taught. For each set of options the share of photos whose maximum
lies in a box, the IoU of the box, Spearman's correlation of the maps of the true class and of the most
probable other one, and the paired difference of each from the first set, with a 95 % interval over
photos. `--keep FOLDER` keeps what was found of each set of options, and a second run goes on from it.

With `--tuning` the half that defaults are chosen by is all there is, for the threshold as well: the best
IoU of any, and at which.

With `--choose PREFIX` the set is learned like the threshold: of those whose names begin so, the one with
the highest sum of pointing and IoU on the half that teaches, among those whose correlation there is at
most 0.5 (the least correlated, where none is), judged on the other half.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torchvision.transforms import v2

from cofire.evaluate import best_iou, pointing_hits, rank_correlation, threshold_boxes
from cofire.explain import Explanation, explain
from cofire.network import Network, load_weights
from cofire.statistics import mean_interval

# What is traced: heat maps are the points, blurred.
POINTS = {"contrast": None}
MAPS: dict[str, dict[str, Any]] = {
    "LRP": {"method": "lrp"},
    "layers": {"method": "discernible-layers"},
    "relevance": {"method": "discernible-relevance"},
    "relevance, contrast 0": {"method": "discernible-relevance", "contrast": 0.0},
    "default": {},
    "everything goes on": {"guided": False},
    "rows 24": {"rows": 24},
    "sigma 12/224": {"sigma": 12 / 224},
    **{
        f"contrast {contrast}": {"contrast": contrast}
        for contrast in (0.0, 0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
    },
    "grad-cam": {"method": "gradcam"},
}
GRID = [step / 20 for step in range(1, 20)]
PHOTOS = {
    "defaults": {},
    "set form, k=1": {"k": 1, "k_linear": 1, "carried": False},
    "k=1": {"k": 1, "k_linear": 1},
    "k=5": {"k": 5},
    "most=100": {"most": 100},
    "all inputs of linear layers": {"k_linear": None},
    "not counted": {"counted": False},
    "preceding support 0.1": {"alpha": (1.0, 0.1, 1.0)},
    "preceding support 1": {"alpha": (1.0, 1.0, 1.0)},
}
DIGITS = {
    "defaults": {},
    "k=1": {"k": 1, "k_linear": 1},
    "k=5": {"k": 5},
    "k_linear=5": {"k_linear": 5},
    "all inputs of linear layers": {"k_linear": None},
    "cnn-fixations": {"method": "cnn-fixations"},
}


def overlap(first: Explanation, second: Explanation, image: int) -> float:
    one, other = (
        set(zip(p.y.tolist(), p.x.tolist(), strict=True))
        for p in (first.points(image), second.points(image))
    )
    return len(one & other) / len(one | other) if one | other else 1.0


def even(name: str) -> bool:
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 2 == 0


def photos(
    root: Path, mean: list[float], std: list[float], every: bool = False
) -> tuple[Tensor, Tensor, list[list[list[float]]], Tensor]:
    records = json.loads((root / "imagenet-boxes" / "boxes.json").read_text())
    chosen = [
        record for record in records if record["box_area"] < 0.3 and (every or even(record["file"]))
    ]
    prepare = v2.Compose(
        [
            v2.CenterCrop(224),
            v2.ToImage(),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
        ]
    )
    images = [
        prepare(Image.open(root / "imagenet-boxes" / "images" / r["file"]).convert("RGB"))
        for r in chosen
    ]
    # The photos have 227 pixels a side, the crop begins at the third one.
    boxes = [[[value - 2 for value in box] for box in record["boxes"]] for record in chosen]
    labels = torch.tensor([record["label"] for record in chosen])
    return torch.stack(images), labels, boxes, torch.tensor([even(r["file"]) for r in chosen])


def on_photos(
    name: str, network: Network, images: Tensor, labels: Tensor, boxes: list[list[list[float]]]
) -> None:
    best = network.run(images).topk(2, dim=1).indices
    others = torch.where(best[:, 0] == labels, best[:, 1], best[:, 0])
    print(
        f"\n| {name}, {len(images)} photos | maximum in a box, % | overlap of two classes |\n| --- | --- | --- |"
    )
    for words, options in PHOTOS.items():
        hits, shared = [], []
        for first in range(0, len(images), 8):
            part = slice(first, first + 8)
            own = explain(network, images[part], target=labels[part], **POINTS, **options)
            other = explain(network, images[part], target=others[part], **POINTS, **options)
            shared += [overlap(own, other, image) for image in range(len(own))]
            for heat, inside in zip(own.heatmap(), boxes[part], strict=True):
                y, x = divmod(int(heat.argmax()), heat.shape[1])
                hits.append(
                    heat.max() > 0 and any(a <= x < c and b <= y < d for a, b, c, d in inside)
                )
        print(
            f"| {words} | {100 * sum(hits) / len(hits):.0f} | {sum(shared) / len(shared):.2f} |",
            flush=True,
        )


def found_of(
    network: Network,
    images: Tensor,
    labels: Tensor,
    others: Tensor,
    truth: list[Tensor],
    options: dict[str, Any],
) -> dict[str, Tensor]:
    """Pointing, IoU by threshold and correlation of each photo."""
    found: dict[str, list[Tensor]] = {"hits": [], "overlaps": [], "alike": []}
    traces = options.get("method", "discernible").startswith("discernible")
    seen = options | ({"points": False} if traces else {})
    for first in range(0, len(images), 8):
        part = slice(first, first + 8)
        own, other = (
            explain(network, images[part], target=which[part], **seen).heatmap()
            for which in (labels, others)
        )
        found["hits"].append(pointing_hits(own, truth[part]).values)
        boxes = threshold_boxes(own, GRID, connected=True)
        each = [best_iou(box, box[:, 2] > box[:, 0], truth[part]).values for box in boxes]
        found["overlaps"].append(torch.stack(each, 1))
        found["alike"].append(rank_correlation(own, other).values)
    return {name: torch.cat(values) for name, values in found.items()}


def on_maps(
    name: str,
    network: Network,
    images: Tensor,
    labels: Tensor,
    boxes: list[list[list[float]]],
    half: Tensor,
    sets: list[str],
    keep: Path | None,
    prefix: str | None,
    tuning: bool,
) -> None:
    truth = [torch.tensor(found) for found in boxes]
    best = network.run(images).topk(2, dim=1).indices
    others = torch.where(best[:, 0] == labels, best[:, 1], best[:, 0])
    heads = [f"{name}, {len(images)}", "in a box, %", "IoU, %", "correlation"]
    if not tuning:
        heads += [f"{what} − {sets[0]}" for what in ("in a box", "IoU", "correlation")]
    heads.append("threshold")
    print(f"\n| {' | '.join(heads)} |\n|{' --- |' * len(heads)}")
    tables = {}
    for words in sets:
        kept = (
            None
            if keep is None
            else keep / f"{name}-{'tuning-' * tuning}{words.replace('/', '_')}.safetensors"
        )
        if kept is not None and kept.exists():
            found = load_file(kept)
        else:
            found = found_of(network, images, labels, others, truth, MAPS[words])
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                save_file(found, kept)
        tables[words] = {one: values.double() for one, values in found.items()}
    if tuning:
        for words, table in tables.items():
            mean = table["overlaps"].mean(0)
            best_at = int(mean.argmax())
            cells = (
                f"{100 * table['hits'].mean():.1f}",
                f"{100 * mean[best_at]:.1f}",
                f"{table['alike'].nanmean():.2f}",
            )
            print(f"| {words} | {' | '.join(cells)} | {GRID[best_at]} |", flush=True)
        return
    first: Judged | None = None
    for words, table in tables.items():
        judged = judged_across([table], half)
        told(words, judged, first, ", ".join(str(GRID[at]) for _, at in judged.learned))
        first = first or judged
    if prefix is not None:
        among = [words for words in tables if words.startswith(prefix)]
        judged = judged_across([tables[words] for words in among], half)
        which = "; ".join(f"{among[number]} at {GRID[at]}" for number, at in judged.learned)
        told(f"{prefix} chosen", judged, first, which)


class Judged(NamedTuple):
    """Each photo by what the other half chose: pointing, IoU and correlation; and what each half chose."""

    hits: Tensor
    overlaps: Tensor
    alike: Tensor
    learned: list[tuple[int, int]]


def judged_across(tables: list[dict[str, Tensor]], half: Tensor) -> Judged:
    """Set and threshold learned on one half and used on the other, both ways."""
    columns = [torch.full((len(half),), torch.nan, dtype=torch.float64) for _ in range(3)]
    learned = []
    for teaching in (half, ~half):
        thresholds = [int(table["overlaps"][teaching].mean(0).argmax()) for table in tables]
        alike = [float(table["alike"][teaching].nanmean()) for table in tables]
        worth = [
            float((table["overlaps"][teaching, at] + table["hits"][teaching]).mean())
            for table, at in zip(tables, thresholds, strict=True)
        ]
        least = min(range(len(tables)), key=alike.__getitem__)
        fine = [number for number, value in enumerate(alike) if value <= 0.5] or [least]
        best = max(fine, key=worth.__getitem__)
        learned.append((best, thresholds[best]))
        table, judging = tables[best], ~teaching
        found = (table["hits"], table["overlaps"][:, thresholds[best]], table["alike"])
        for column, values in zip(columns, found, strict=True):
            column[judging] = values[judging]
    return Judged(*columns, learned)


def told(words: str, judged: Judged, first: Judged | None, learned: str) -> None:
    """A row of the table: means, and differences from the first set."""
    means = [float(values.nanmean()) for values in judged[:3]]
    cells = [f"{100 * means[0]:.1f}", f"{100 * means[1]:.1f}", f"{means[2]:.2f}"]
    for own, theirs, scale in zip(judged[:3], (first or judged)[:3], (100, 100, 1), strict=True):
        found = mean_interval((own - theirs)[(own - theirs).isfinite()], differences=True)
        digits = 1 if scale > 1 else 2
        value, low, high = (
            f"{scale * one:+.{digits}f}" for one in (found.value, found.low, found.high)
        )
        said = f" {found.says()}" if scale > 1 else ""
        cells.append(f"{value} [{low}, {high}]{said}" if first else "")
    print(f"| {words} | {' | '.join(cells)} | {learned} |", flush=True)


def on_digits(root: Path) -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 20, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(20, 50, 5),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Linear(800, 500),
        nn.ReLU(),
        nn.Linear(500, 10),
    ).eval()
    model.load_state_dict(load_weights(root / "weights" / "cnn-mnist.safetensors"))
    digits = torchvision.datasets.MNIST(root, train=True).data[:60]
    images = ((digits.float() / 255 - 0.1307) / 0.3081)[:, None]
    network = Network(model, images[:1])
    print(
        f"\n| CNN, {len(images)} training digits | overlap with other classes | points |\n| --- | --- | --- |"
    )
    for words, options in DIGITS.items():
        every = [explain(network, images, target=number, **options) for number in range(10)]
        shared, points = [], []
        for image, own in enumerate(every[0].predicted.tolist()):
            points.append(len(every[own].points(image).y))
            shared += [
                overlap(every[own], every[other], image) for other in range(10) if other != own
            ]
        print(
            f"| {words} | {sum(shared) / len(shared):.2f} | {sum(points) / len(points):.0f} |",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--maps", nargs="*", choices=MAPS, metavar="SET")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--tuning", action="store_true")
    parser.add_argument("--choose", metavar="PREFIX")
    parser.add_argument("--networks", nargs="+", default=["squeezenet1_0", "mobilenet_v2"])
    given = parser.parse_args()
    root: Path = given.data_root
    if given.maps is None:
        on_digits(root)
    kinds = {
        "squeezenet1_0": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        "mobilenet_v2": ([0.5] * 3, [0.5] * 3),
    }
    for name in given.networks:
        mean, std = kinds[name]
        model = getattr(torchvision.models, name)(weights=None).eval()
        model.load_state_dict(load_weights(root / "weights" / f"{name}-imagenet.safetensors"))
        images, labels, boxes, half = photos(
            root, mean, std, every=given.maps is not None and not given.tuning
        )
        network = Network(model, images[:1])
        if given.maps is None:
            on_photos(name, network, images, labels, boxes)
        else:
            sets = given.maps or list(MAPS)
            kept, chosen = given.keep, given.choose
            on_maps(name, network, images, labels, boxes, half, sets, kept, chosen, given.tuning)


if __name__ == "__main__":
    main()
