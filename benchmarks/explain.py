"""What explaining costs beside a bare forward pass of the same batch, in time and in memory.

    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=2 python benchmarks/explain.py
    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=2 python benchmarks/explain.py \
        --networks resnet50 --batches 1 --ways everything --repeats 9
    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=2 python benchmarks/explain.py \
        --networks squeezenet1_0 mobilenet_v2 --weights DIR --photos DIR
    OMP_WAIT_POLICY=PASSIVE OMP_NUM_THREADS=2 python benchmarks/explain.py --memory

224 pixels. Weights are random unless a folder holds NETWORK-imagenet.safetensors, and so are images
unless a folder of photos is given: what is traced depends on both. Each cell is the median, over
passes taken in turn with bare ones, of the extra time: first of the processor, which other work on
the machine changes least, then by the clock. Memory: the highest resident size of a process that
does nothing else, above what it has before the first pass; one process for each figure.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torchvision
from PIL import Image
from safetensors.torch import load_file
from torchvision.transforms import v2

from cofire.errors import CofireError
from cofire.explain import explain
from cofire.explain.tracing import plan
from cofire.network import Network

NETWORKS = ("vgg16", "resnet50", "alexnet", "inception_v3", "vit_b_16")
WAYS = {
    "everything": {},
    "heat map": {"points": False},
    "layers": {"method": "discernible-layers"},
    "layers heat map": {"method": "discernible-layers", "points": False},
    "points": {"contrast": None},
    "full score": {"contrast": None, "alpha": (1.0, 0.1, 1.0)},
    "cnn-fixations": {"method": "cnn-fixations"},
    "lrp": {"method": "lrp"},
    "gradcam": {"method": "gradcam"},
    "gradcam++": {"method": "gradcam++"},
}
TABLE = ("everything", "heat map", "full score", "cnn-fixations")


def made(name: str, weights: Path | None = None) -> tuple[torch.nn.Module, Network]:
    torch.manual_seed(0)
    extra = {"init_weights": False} if name == "inception_v3" else {}
    model = getattr(torchvision.models, name)(weights=None, **extra).eval()
    if name == "vit_b_16":
        # Made of zeros, it says nothing for any class.
        torch.nn.init.normal_(model.heads.head.weight, std=0.02)
    if weights is not None:
        model.load_state_dict(load_file(weights / f"{name}-imagenet.safetensors"))
    return model, Network(model, torch.zeros(1, 3, 224, 224))


def taken(function) -> tuple[float, float]:
    """Seconds of the processor and by the clock."""
    processor, clock = time.process_time(), time.perf_counter()
    function()
    return time.process_time() - processor, time.perf_counter() - clock


def bare(model: torch.nn.Module, images: torch.Tensor) -> None:
    with torch.inference_mode():
        model(images)


def explained(network: Network, images: torch.Tensor, way: str) -> None:
    """The explanation and what is read off it: heat maps, and points and neurons where they are asked for."""
    found = explain(network, images, **WAYS[way])
    if way in ("everything", "heat map", "layers", "layers heat map"):
        found.heatmap()
    if found.neurons is not None:
        for image in range(len(found)):
            found.points(image)


def pictures(folder: Path | None, many: int) -> torch.Tensor:
    """Photos as ImageNet's networks take them, or numbers by chance."""
    if folder is None:
        return torch.rand(many, 3, 224, 224)
    prepared = v2.Compose(
        [
            v2.PILToTensor(),
            v2.Resize(256),
            v2.CenterCrop(224),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    files = sorted(file for file in folder.rglob("*") if file.suffix.lower() in (".jpg", ".jpeg"))
    return torch.stack([prepared(Image.open(file).convert("RGB")) for file in files[:many]])


def times(given: argparse.Namespace) -> None:
    print("extra time of the processor (by the clock) over the bare forward pass")
    print("| network | batch | bare, ms | " + " | ".join(given.ways) + " |")
    print("| --- | --- | --- |" + " --- |" * len(given.ways), flush=True)
    for name in given.networks:
        model, network = made(name, given.weights)
        for batch in given.batches:
            images = pictures(given.photos, batch)
            ways = []
            for way in given.ways:
                try:
                    explained(network, images, way)
                    ways.append(way)
                except CofireError as error:
                    print(f"{name}, {way}: {str(error).splitlines()[0]}", file=sys.stderr)
            ratios: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
            alone = []
            for _ in range(given.repeats):
                for way in ways:
                    before = taken(partial(bare, model, images))
                    with_it = taken(partial(explained, network, images, way))
                    pairs = zip(with_it, before, strict=True)
                    ratios[way].append(tuple(more / less - 1 for more, less in pairs))
                    alone.append(before[0])
            cells = []
            for way in given.ways:
                spent = [statistics.median(part) for part in zip(*ratios.get(way, []), strict=True)]
                cells.append("{:.2f} ({:.2f})".format(*spent) if spent else "–")
            middle = 1000 * statistics.median(alone) if alone else 0
            print(f"| {name} | {batch} | {middle:.0f} | {' | '.join(cells)} |", flush=True)


def resident(name: str, way: str, batch: int) -> None:
    """Prints the highest resident size, in MiB, of one process that does one thing three times."""
    model, network = made(name)
    images = torch.rand(batch, 3, 224, 224)
    once = partial(bare, model) if way == "bare" else partial(explained, network, way=way)
    for part in (images[:1], images, images):
        once(part)
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def memory(given: argparse.Namespace) -> None:
    idle = _child(
        "import torch, torchvision, cofire; from benchmarks import explain as e; import resource; "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)"
    )
    print("| network | batch | bare, MiB | " + " | ".join(given.ways) + " |")
    print("| --- | --- | --- |" + " --- |" * len(given.ways))
    for name in given.networks:
        for batch in given.batches:
            code = "from benchmarks.explain import resident; resident({!r}, {!r}, {!r})"
            plain = _child(code.format(name, "bare", batch)) - idle
            cells = " | ".join(
                f"{(_child(code.format(name, way, batch)) - idle) / plain:.2f}"
                for way in given.ways
            )
            print(f"| {name} | {batch} | {plain:.0f} | {cells} |", flush=True)


def _child(code: str) -> float:
    return float(
        subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True
        ).stdout
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", default=list(NETWORKS))
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 16])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--ways", nargs="+", default=list(TABLE), choices=list(WAYS))
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--keep", type=int, help="MiB of values kept at once, in place of ENOUGH")
    parser.add_argument("--long", type=int, help="MiB of values, in place of _LONG")
    chosen = parser.parse_args()
    module: Any = sys.modules["cofire.explain.methods.discernible"]
    module._LONG = module._LONG if chosen.long is None else chosen.long << 20
    plan.ENOUGH = chosen.keep << 20 if chosen.keep else plan.ENOUGH
    memory(chosen) if chosen.memory else times(chosen)
