"""How options of `discernible` compare on photos and digits that nothing else uses: what its defaults were chosen by.

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 python benchmarks/explain_defaults.py --data-root DIR

DIR holds `imagenet-boxes` (images, boxes.json), `weights` (squeezenet1_0-imagenet,
mobilenet_v2-imagenet, cnn-mnist, as safetensors) and MNIST as torchvision lays it out. Photos:
those whose boxes cover less than 30 % of the image, the half whose file name has an even SHA-256.
For each set of options the share of photos on which the heat map's maximum lies in a box of the
true class, and the overlap (Jaccard) of its points with those of the most probable other class; for
digits, training samples: overlap of the points of the predicted class with those of every other,
and their number.

With `--layers`: how heat maps are made of the evidence of layers, on the same photos and their
mirror images (twice as many, to tell luck from quality): the maximum in a box, IoU of the box, and
Spearman's correlation of the maps of the true class and of the most probable other one. Grad-CAM
beside it.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from pathlib import Path

import torch
import torchvision
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms import v2

from cofire.evaluate import best_iou, pointing_hits, rank_correlation
from cofire.explain import Explanation, explain
from cofire.network import Network, load_weights

# What is traced: heat maps are the points, blurred.
POINTS = {"contrast": None}
LAYERS = {
    "contrast 0.7, sigma 12/224": {},
    "contrast 0": {"contrast": 0.0},
    "contrast 0.5": {"contrast": 0.5},
    "contrast 1": {"contrast": 1.0},
    "sigma 20/224": {"sigma": 20 / 224},
    "threshold 0.3": {"threshold": 0.3},
    "threshold 0.6": {"threshold": 0.6},
    "all pixels above the threshold": {"connected": False},
    "points": POINTS,
    "grad-cam": {"method": "gradcam"},
}
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


def photos(
    root: Path, mean: list[float], std: list[float]
) -> tuple[Tensor, Tensor, list[list[list[float]]]]:
    records = json.loads((root / "imagenet-boxes" / "boxes.json").read_text())
    chosen = [
        record
        for record in records
        if record["box_area"] < 0.3
        and int(hashlib.sha256(record["file"].encode()).hexdigest(), 16) % 2 == 0
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
    return torch.stack(images), torch.tensor([record["label"] for record in chosen]), boxes


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


def on_layers(
    name: str, network: Network, images: Tensor, labels: Tensor, boxes: list[list[list[float]]]
) -> None:
    width = images.shape[3]
    images, labels = torch.cat([images, images.flip(3)]), torch.cat([labels, labels])
    boxes = boxes + [[[width - c, b, width - a, d] for a, b, c, d in found] for found in boxes]
    truth = [torch.tensor(found) for found in boxes]
    best = network.run(images).topk(2, dim=1).indices
    others = torch.where(best[:, 0] == labels, best[:, 1], best[:, 0])
    print(
        f"\n| {name}, {len(images)} | maximum in a box, % | IoU, % | correlation of two classes |"
    )
    print("| --- | --- | --- | --- |")
    for words, options in LAYERS.items():
        hits, overlaps, alike = [], [], []
        for first in range(0, len(images), 8):
            part = slice(first, first + 8)
            own = explain(network, images[part], target=labels[part], **options)
            heat, found = own.heatmap(), own.boxes()
            other = explain(network, images[part], target=others[part], **options).heatmap()
            hits.append(pointing_hits(heat, truth[part]).values)
            overlaps.append(best_iou(found.corners, found.found, truth[part]).values)
            correlation = rank_correlation(heat, other)
            alike.append(correlation.values[correlation.counted])
        means = [torch.cat(values).mean().item() for values in (hits, overlaps, alike)]
        print(
            f"| {words} | {100 * means[0]:.0f} | {100 * means[1]:.1f} | {means[2]:.2f} |",
            flush=True,
        )


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
    parser.add_argument("--layers", action="store_true")
    parser.add_argument("--networks", nargs="+", default=["squeezenet1_0", "mobilenet_v2"])
    given = parser.parse_args()
    root: Path = given.data_root
    if not given.layers:
        on_digits(root)
    kinds = {
        "squeezenet1_0": ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        "mobilenet_v2": ([0.5] * 3, [0.5] * 3),
    }
    for name in given.networks:
        mean, std = kinds[name]
        model = getattr(torchvision.models, name)(weights=None).eval()
        model.load_state_dict(load_weights(root / "weights" / f"{name}-imagenet.safetensors"))
        images, labels, boxes = photos(root, mean, std)
        (on_layers if given.layers else on_photos)(
            name, Network(model, images[:1]), images, labels, boxes
        )


if __name__ == "__main__":
    main()
