"""What judging explanations costs beside making them, and what each measure costs an image.

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=1 python benchmarks/evaluate.py --data-root DIR

DIR holds `imagenet-boxes` (images, boxes.json) and `weights` (squeezenet1_0-imagenet, as
safetensors). Everything is of one run and of one method, on the same photos in the same batches,
the parts taken in turn and the median over
repeats told:

- the run: `run_evaluation` into an empty folder, photos read from files, results saved;
- explanations: the same classes of the same photos explained, nothing else;
- passes: the forward passes that the measures need (the photos, and the photos kept in three ways);
- ratio: the run by explanations and passes, asked at most 1.3; beside it the ratio if heat maps and
  boxes, without
  which no measure is, count as part of explaining;
- measures, in milliseconds an image, asked at most 1 each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torchvision
from torch import Tensor

from cofire.evaluate.localisation import best_iou, fixed_boxes, pointing_hits
from cofire.evaluate.methods import EVALUATED, explained
from cofire.evaluate.running import run_evaluation
from cofire.explain import Explanation
from cofire.explain.result.regions import hull, staying
from cofire.images.collection import Collection
from cofire.images.layouts import open_collection
from cofire.images.preparation import Preparation, preparation_of
from cofire.images.seen import SeenBatch, read_batches
from cofire.network import Network, load_weights

PASSES = 4
"""Of each photo: as it is, with its box kept, with the window of equal area kept, and seen through its map."""


def made(root: Path, photos: int) -> tuple[Network, Collection, Preparation]:
    model = torchvision.models.squeezenet1_0()
    model.load_state_dict(load_weights(root / "weights" / "squeezenet1_0-imagenet.safetensors"))
    folder = root / "imagenet-boxes"
    collection = open_collection(folder / "images", folder / "boxes.json", num_classes=1000).split(
        "evaluation"
    )
    preparation = preparation_of("torchvision:squeezenet1_0", resize=0)
    return Network(model.eval(), torch.zeros(1, 3, 224, 224)), collection[:photos], preparation


def peak() -> float:
    """The highest resident size so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def taken(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def wanted(network: Network, batch: SeenBatch) -> tuple[Tensor, Tensor]:
    """Image and class of each explanation that the measures need: of the label and the two most probable, each once."""
    with torch.inference_mode():
        likely = network.run(batch.inputs).topk(2, dim=1).indices
    classes = torch.cat([batch.labels[:, None], likely.cpu()], dim=1)
    both = list(dict.fromkeys((at, of) for at, row in enumerate(classes.tolist()) for of in row))
    photo, target = torch.tensor(both).T
    return photo, target


def judge(
    network: Network, collection: Collection, preparation: Preparation, method: str, batch_size: int
) -> None:
    with tempfile.TemporaryDirectory() as out:
        run_evaluation(
            network, collection, preparation, [method], out, batch_size=batch_size, progress=False
        )


def explain_all(
    network: Network, batches: list[SeenBatch], asked: list[tuple[Tensor, Tensor]], method: str
) -> list[Explanation]:
    return [
        explained(network, batch.inputs[photo], target, method, images=batch.pixels[photo])
        for batch, (photo, target) in zip(batches, asked, strict=True)
    ]


def pass_all(network: Network, batches: list[SeenBatch]) -> None:
    with torch.inference_mode():
        for batch in batches:
            for _ in range(PASSES):
                network.run(batch.inputs)


def draw(explanations: list[Explanation]) -> None:
    for explanation in explanations:
        explanation.heatmap()
        explanation.boxes()


def read(collection: Collection, preparation: Preparation, batch_size: int) -> None:
    """Twice, as a run does: once to see that all can be read."""
    for _ in range(2):
        for _batch in read_batches(collection, preparation, batch_size):
            pass


def measures(explanations: list[Explanation], batches: list[SeenBatch], repeats: int) -> None:
    """Milliseconds an image, each measure on whole batches."""
    for explanation in explanations:
        explanation.boxes()  # what is found once and kept is not a measure's
    maps = [explanation.heatmap() for explanation in explanations]
    boxes = [explanation.boxes() for explanation in explanations]
    truth = [list(batch.boxes) for batch in batches]
    size = explanations[0].size
    if explanations[0].neurons is not None:
        points = [
            explanation.points(image)
            for explanation in explanations
            for image in range(len(explanation.target))
        ]
    else:
        points = []

    def outliers() -> None:
        for one in points:
            stay = staying(one.y, one.x, *size)
            hull(one.y[stay], one.x[stay])

    def each(function: Callable[..., object], *columns: list) -> None:
        for parts in zip(*columns, strict=True):
            function(*parts)

    ways = {
        "pointing_hits": partial(each, pointing_hits, maps, truth),
        "pointing_hits, 15 px": partial(each, partial(pointing_hits, tolerance=15.0), maps, truth),
        "best_iou": partial(
            each, lambda found, own: best_iou(found.corners, found.found, own), boxes, truth
        ),
        "fixed_boxes": partial(each, fixed_boxes, maps),
        "outliers and hull": outliers,
        "Explanation.heatmap (not asked)": partial(
            each, lambda explanation: explanation.heatmap(), explanations
        ),
        "Explanation.boxes": partial(each, lambda explanation: explanation.boxes(), explanations),
    }
    images = sum(len(explanation.target) for explanation in explanations)
    print("| measure | ms an image |")
    print("| --- | --- |")
    for name, way in ways.items():
        if name == "outliers and hull" and not points:
            continue
        way()
        found = statistics.median(taken(way) for _ in range(repeats))
        print(f"| {name} | {1000 * found / images:.3f} |", flush=True)


def main(root: Path, photos: int, repeats: int, method: str, batch_size: int) -> None:
    network, collection, preparation = made(root, photos)
    batches = list(read_batches(collection, preparation, batch_size))
    asked = [wanted(network, batch) for batch in batches]
    print(
        f"{len(collection)} photos, {sum(len(photo) for photo, _ in asked)} explanations by {method}, "
        f"batches of {batch_size}, {torch.get_num_threads()} threads"
    )
    # What is compiled is kept for the next process; compiling takes memory that explaining does not.
    first = multiprocessing.get_context("fork").Process(
        target=explain_all, args=(network, batches[:1], asked[:1], method)
    )
    first.start()
    first.join()
    before = peak()
    found = explain_all(network, batches, asked, method)
    alone = peak()
    parts = {
        "run": partial(judge, network, collection, preparation, method, batch_size),
        "explanations": partial(explain_all, network, batches, asked, method),
        "passes": partial(pass_all, network, batches),
        "heat maps and boxes": partial(draw, found),
        "reading": partial(read, collection, preparation, batch_size),
    }
    parts["run"]()
    whole = peak()
    rounds = [{name: taken(part) for name, part in parts.items()} for _ in range(repeats)]
    print("| part | ms a photo |")
    print("| --- | --- |")
    for name in parts:
        print(
            f"| {name} | {1000 * statistics.median(one[name] for one in rounds) / len(collection):.1f} |"
        )
    strict = [one["run"] / (one["explanations"] + one["passes"]) for one in rounds]
    drawn = [
        one["run"] / (one["explanations"] + one["passes"] + one["heat maps and boxes"])
        for one in rounds
    ]
    print(
        f"run / (explanations + passes): {statistics.median(strict):.2f} ({min(strict):.2f} to {max(strict):.2f})"
    )
    print(f"run / (explanations, drawn, + passes): {statistics.median(drawn):.2f}")
    print(
        f"highest resident size, MiB: {before:.0f} before, {alone:.0f} explained, {whole:.0f} judged",
        flush=True,
    )
    own = [
        explained(network, batch.inputs, batch.labels, method, images=batch.pixels)
        for batch in batches
    ]
    measures(own, batches, repeats)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=48)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--method", default="discernible", choices=EVALUATED)
    parser.add_argument("--batch-size", type=int, default=16)
    given = parser.parse_args()
    main(given.data_root, given.photos, given.repeats, given.method, given.batch_size)
