"""How fast a study's data are read from disk and from memory, against a bare loop over torchvision's ImageFolder.

python benchmarks/data.py FOLDER [--images 4000] [--repeats 5] [--workers 2]

FOLDER has train/ and test/ with a folder of images for each class.
"""

import argparse
import statistics
import time

import torch
from torchvision.datasets import ImageFolder
from torchvision.transforms import ToTensor

from cofire.study import data as study_data
from cofire.study.data import open_study_data


def seconds(work):
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def main(folder, images, repeats, workers, size=128):
    spec = f"imagefolder:{folder}"
    memory = open_study_data(spec, train_samples=images).train
    study_data.IN_MEMORY = 0
    disk = open_study_data(spec, train_samples=images).train
    bare = ImageFolder(f"{folder}/train", transform=ToTensor())
    order = torch.randperm(images, generator=torch.Generator().manual_seed(0))
    numbers = torch.split(order, size)
    rows = [disk.chosen[each].tolist() for each in numbers]

    def loop():
        for each in rows:
            torch.stack([bare[one][0] for one in each])

    def through(samples, of):
        samples.workers = of
        for _ in samples.batches(numbers):
            pass

    ways = {
        "torchvision's ImageFolder and ToTensor, bare loop": loop,
        "from disk": lambda: through(disk, 0),
        f"from disk, {workers} workers": lambda: through(disk, workers),
        "from memory": lambda: through(memory, 0),
    }
    # In turn, so that whatever else the machine does slows all of them.
    rounds = [[seconds(work) for work in ways.values()] for _ in range(repeats)]
    print(f"{images:,} images in batches of {size}, medians of {repeats} rounds")
    for name, took in zip(ways, zip(*rounds, strict=True), strict=True):
        ratio = statistics.median(each[0] / own for each, own in zip(rounds, took, strict=True))
        print(f"{name:<50} {images / statistics.median(took):>10,.0f} images/s   x {ratio:.2f}")
    held = memory.source.numel() * memory.source.element_size()
    print(f"memory: {held / images:,.0f} bytes an image")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("folder")
    parser.add_argument("--images", type=int, default=4000)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    given = parser.parse_args()
    main(given.folder, given.images, given.repeats, given.workers)
