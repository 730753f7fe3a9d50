"""Whether maps still cover the old object once an attack has changed the decision (P3 §4.3), on ImageNet photos.

    OMP_NUM_THREADS=1 python benchmarks/attacked.py --data-root DIR --network squeezenet1_0 --keep FOLDER

DIR holds `imagenet-boxes` (images, boxes.json) and `weights`. Photos of the evaluation half, in an order that is drawn,
`--photos` of them, are attacked by DeepFool (towards the four most probable classes) and explained by the default.
Printed are the shares of the map in the object's boxes, before and after, with 95 % bootstrap intervals over photos,
paired. What was found of each photo is kept in FOLDER, and a second run goes on from there. `cofire evaluate
--robustness 149` draws the same with pictures.
"""

from __future__ import annotations

import argparse
import random
from dataclasses import replace
from pathlib import Path

import torch
import torchvision
from safetensors.torch import load_file

from cofire.evaluate.results import Robustness
from cofire.evaluate.robustness import run_robustness
from cofire.images.collection import Collection
from cofire.images.layouts import open_collection
from cofire.images.preparation import Preparation
from cofire.images.seen import read_batches
from cofire.network import Network

METHOD, SIDE = "discernible", 224
USUAL = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
STATISTICS = {"squeezenet1_0": USUAL, "mobilenet_v2": ((0.5,) * 3, (0.5,) * 3)}


def attacked(network: Network, images: Collection, preparation: Preparation) -> Robustness:
    """What an attack does to the maps of some photos."""
    (batch,) = read_batches(images, preparation, len(images))
    return run_robustness(
        network,
        batch.inputs,
        batch.pixels,
        batch.labels,
        [METHOD],
        files=[image.name for image in batch.images],
        preparation=preparation,
        boxes=batch.boxes,
        options={METHOD: {"points": False}},
        cases=0,
        classes=4,
    )


def together(parts: list[Robustness]) -> Robustness:
    """Several runs as one."""
    shifts, images = [], []
    for part in parts:
        shifts += [replace(row, image=row.image + len(images)) for row in part.shifts]
        images += part.images
    return replace(parts[0], images=tuple(images), shifts=tuple(shifts))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--network", choices=STATISTICS, default="squeezenet1_0")
    parser.add_argument("--keep", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=149)
    given = parser.parse_args()
    model = getattr(torchvision.models, given.network)()
    model.load_state_dict(
        load_file(given.data_root / "weights" / f"{given.network}-imagenet.safetensors")
    )
    mean, std = STATISTICS[given.network]
    preparation = Preparation((3, SIDE, SIDE), resize=0, mean=mean, std=std)
    network = Network(model.eval(), torch.zeros(2, 3, SIDE, SIDE))
    boxes = given.data_root / "imagenet-boxes"
    images = open_collection(boxes / "images", boxes / "boxes.json", num_classes=1000)
    images, parts = images.split("evaluation"), []
    order = list(range(len(images)))
    random.Random(0).shuffle(order)
    for at in order[: given.photos]:
        image = images[at]
        file = given.keep / f"{given.network}-{image.file.stem}.json"
        if not file.exists():
            attacked(network, images[at : at + 1], preparation).save(file)
        parts.append(Robustness.load(file))
    found = together(parts)
    print(f"{found.fooled} of {len(found.images)} photos fooled; boxes cover {found.covered}")
    print("untouched, old class", found.mean(METHOD, "attack", "inside_before"))
    for which in ("noise", "attack", "decision", "classes"):
        print(which, found.mean(METHOD, which, "inside_after"), found.change(METHOD, which))
    print(
        "new class, attacked less untouched",
        found.difference(METHOD, "inside_after", "decision", "classes"),
    )


if __name__ == "__main__":
    main()
