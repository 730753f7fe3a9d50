"""What it costs that any cut of the data gives the same bits: exact sums against plain ones, processor time.

    OMP_NUM_THREADS=1 python benchmarks/same_bits.py [--repetitions 15] [--only "1000 classes"] [--of-a-class 40]

Whole summaries (both passes) of three networks: the fully connected one is the cheapest that we know, so what
comes on top weighs most there. The two in turn, whichever first changing places; the median of the ratios with
the interval in which it lies at 95 %, and the smallest and the largest. The same of the seconds spent in sums
alone, exact less plain, as a share of the whole: what else a run happens to take is left out there.
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
from torchvision import models

from cofire import Network, summarize
from cofire.activations.sums import Sums
from cofire.study import cnn, fcnn

NETWORKS = {
    "784-512-512-10": (lambda classes: fcnn(784, (512, 512), classes), (1, 28, 28), 10_240),
    "CNN, 32 px": (lambda classes: cnn((3, 32, 32), (256,), classes), (3, 32, 32), 1024),
    "ResNet-18, 32 px": (
        lambda classes: models.resnet18(weights=None, num_classes=classes),
        (3, 32, 32),
        512,
    ),
}
CASES = [
    *((name, 10, by_class) for name in NETWORKS for by_class in (False, "statistics")),
    ("784-512-512-10", 1000, "statistics"),
]


def plain(self, rows, values):
    """Sums as floats, in the order in which they come."""
    self.digits[0].view(torch.float64).index_add_(0, rows, values)


def interval(values):
    """The order statistics between which the median lies at 95 %, by the binomial distribution."""
    ordered, held = sorted(values), torch.distributions.Binomial(len(values), torch.tensor(0.5))
    below = held.log_prob(torch.arange(len(values) + 1.0)).exp().cumsum(0)
    at = max(0, int((below <= 0.025).sum()) - 1)
    return ordered[at], ordered[-1 - at]


def main(repetitions, only, of_a_class):
    exact, inside = Sums.add, 0.0

    def clocked(add):
        def timed(*given):
            nonlocal inside
            start = time.process_time()
            add(*given)
            inside += time.process_time() - start

        return timed

    for name, classes, by_class in CASES:
        told = f"{classes} classes" if by_class else "all classes as one"
        if only not in f"{name} {told}":
            continue
        torch.manual_seed(0)
        make, shape, samples = NETWORKS[name]
        samples = max(samples, of_a_class * classes)
        inputs = torch.rand(samples, *shape)
        network = Network(make(classes).eval(), inputs[:2])
        data = inputs, torch.randint(classes, (samples,))

        def spent(add, network=network, data=data, by_class=by_class):
            nonlocal inside
            inside, Sums.add = 0.0, clocked(add)
            start = time.process_time()
            summarize(
                network, data, by_class=by_class, top_samples=0, min_class_samples=1, progress=False
            )
            return time.process_time() - start, inside

        spent(exact)
        ratios, shares = [], []
        for number in range(repetitions):
            order = (exact, plain) if number % 2 else (plain, exact)
            took = {add: spent(add) for add in order}
            ratios.append(took[exact][0] / took[plain][0])
            shares.append((took[exact][1] - took[plain][1]) / took[plain][0])
        (low, high), (least, most) = interval(ratios), interval(shares)
        print(
            f"{name:17s} {told:19s} × {statistics.median(ratios):.3f} (95 %: {low:.3f} to {high:.3f}; "
            f"all: {min(ratios):.3f} to {max(ratios):.3f}); sums alone {statistics.median(shares):+.2%} "
            f"({least:+.2%} to {most:+.2%})",
            flush=True,
        )
    Sums.add = exact


if __name__ == "__main__":
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--repetitions", type=int, default=15)
    asked.add_argument("--of-a-class", type=int, default=40, help="samples of each class at least")
    asked.add_argument("--only", default="", help="cases in whose name this is")
    main(**vars(asked.parse_args()))
