"""What it costs that any cut of the data gives the same bits: exact sums against plain ones, processor time.

    OMP_NUM_THREADS=1 python benchmarks/same_bits.py

A summary (both passes) of a network of 784-512-512-10, all classes as one, ten and a thousand classes;
the two in turn, the median of the ratios with the smallest and the largest.
"""

from __future__ import annotations

import statistics
import time

import torch

from cofire import Network, summarize
from cofire.activations.sums import Sums
from cofire.study import fcnn

SAMPLES, REPETITIONS = 10_240, 7


def plain(self, rows, values):
    """Sums as floats, in the order in which they come."""
    self.digits[0].view(torch.float64).index_add_(0, rows, values)


def main():
    torch.manual_seed(0)
    inputs = torch.rand(SAMPLES, 1, 28, 28)
    exact = Sums.add
    for classes, by_class in ((10, False), (10, "statistics"), (1000, "statistics")):
        network = Network(fcnn(784, (512, 512), classes), inputs[:2])
        data = inputs, torch.randint(classes, (SAMPLES,))

        def spent(add, network=network, data=data, by_class=by_class):
            Sums.add = add
            start = time.process_time()
            summarize(
                network, data, by_class=by_class, top_samples=0, min_class_samples=1, progress=False
            )
            return time.process_time() - start

        spent(exact)
        ratios = [spent(exact) / spent(plain) for _ in range(REPETITIONS)]
        told = f"{classes} classes" if by_class else "all classes as one"
        print(
            f"{told:20s} {statistics.median(ratios):.3f} × plain sums "
            f"({min(ratios):.3f} to {max(ratios):.3f})"
        )


if __name__ == "__main__":
    main()
