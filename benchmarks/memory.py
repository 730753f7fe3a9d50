"""Memory of a summary by class of 1,000 classes against the number of samples: one process, shards, their merge.

    OMP_NUM_THREADS=1 python benchmarks/memory.py [--samples 250000 500000 1000000 2000000] [--shards 4]

Data is made on the way, by the samples' numbers, so that none is held. Each figure is the largest resident
memory of a process of its own; "merge" is the one that puts the shards' parts together, which are files.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import torch
from torch.utils.data import DataLoader, Dataset

from cofire import Network, summarize
from cofire.activations.sharing import shared
from cofire.scale.parts import load_counts, save_counts
from cofire.scale.shards import Known, PartWritten, Shard, merged
from cofire.study import fcnn

CLASSES, VALUES = 1000, 16


class Numbered(Dataset):
    """Samples that follow from their numbers."""

    def __init__(self, samples):
        self.samples = samples
        self.waves = torch.rand(VALUES, generator=torch.Generator().manual_seed(0)).double()

    def __len__(self):
        return self.samples

    def __getitems__(self, numbers):
        at = torch.tensor(numbers)
        return torch.sin(at[:, None] * self.waves).float(), at * 7919 % CLASSES


def summary(samples, sharing=None):
    torch.manual_seed(0)
    network = Network(fcnn(VALUES, (64, 64), CLASSES), torch.zeros(2, VALUES))
    data = DataLoader(Numbered(samples), batch_size=256, collate_fn=lambda pair: pair)
    how = {"by_class": True, "top_samples": 3, "progress": False}
    if sharing is None:
        return summarize(network, data, **how)
    with shared(sharing):
        return summarize(network, data, **how)


def step(what, samples, place, shards):
    """What one process does."""
    place = Path(place)
    parts = [place / f"part{number}" for number in range(1, shards + 1)]
    if what == "one":
        summary(samples).save(place / "one.safetensors")
    elif what.isdecimal():
        ranges = place / "ranges"
        known = load_counts(ranges)[0] if ranges.exists() else []
        with suppress(PartWritten):
            summary(samples, Shard(f"{what}/{shards}", parts[int(what) - 1], {}, known))
    elif what == "ranges":
        save_counts(place / "ranges", merged(parts)[0], {})
    else:
        passes, _ = merged(parts)
        summary(samples, Known(passes)).save(place / "merged.safetensors")
    print(json.dumps(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measured(what, samples, place, shards):
    """Largest resident memory of a process that does it, in MB, and its seconds."""
    start = time.perf_counter()
    asked = [sys.executable, __file__, "--step", what, "--samples", str(samples)]
    told = subprocess.run(
        [*asked, "--place", place, "--shards", str(shards)],
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(told.stdout.splitlines()[-1]), time.perf_counter() - start


def main(sizes, shards):
    print("samples    | one process     | largest shard   | merge | same file")
    for samples in sizes:
        with tempfile.TemporaryDirectory() as place:
            one, spent = measured("one", samples, place, shards)
            counts = [str(number) for number in range(1, shards + 1)]
            steps = [*counts, "ranges", *counts, "merge"]
            found = [(what, *measured(what, samples, place, shards)) for what in steps]
            rounds = [(held, took) for what, held, took in found if what.isdecimal()]
            merge = max(held for what, held, _ in found if not what.isdecimal())
            same = len({file.read_bytes() for file in Path(place).glob("*.safetensors")}) == 1
            print(
                f"{samples:>10,} | {one:>5,.0f} MB, {spent:>4,.0f} s | {max(m for m, _ in rounds):>5,.0f} MB, "
                f"{sum(s for _, s in rounds):>4,.0f} s | {merge:,.0f} MB | {'yes' if same else 'NO'}",
                flush=True,
            )


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument(
        "--samples", type=int, nargs="+", default=[250_000, 500_000, 1_000_000, 2_000_000]
    )
    asked.add_argument("--shards", type=int, default=4)
    asked.add_argument("--step", help=argparse.SUPPRESS)
    asked.add_argument("--place", help=argparse.SUPPRESS)
    given = asked.parse_args()
    if given.step:
        step(given.step, given.samples[0], given.place, given.shards)
    else:
        main(given.samples, given.shards)
