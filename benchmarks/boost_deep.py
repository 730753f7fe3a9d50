"""What boosting a deep network costs: time and memory of `Booster.fit` and `cofire.compare` on ResNet-50.

    OMP_NUM_THREADS=1 OMP_WAIT_POLICY=PASSIVE python benchmarks/boost_deep.py compare all

Random images of 32 pixels in 10 classes: half to learn from, a quarter held out, a quarter to test.
Seconds are of the processor, and beside them those of one forward pass over all images, so that
machines can be compared.
"""

from __future__ import annotations

import argparse
import resource
import time

import torch
import torchvision

import cofire


def peak() -> float:
    """The highest resident size so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(what: str, layers: str, samples: int, methods: list[str] | None) -> None:
    torch.manual_seed(0)
    model = torchvision.models.resnet50(num_classes=10).eval()
    labels = torch.randint(10, (samples,))
    images = torch.rand(samples, 3, 32, 32) + labels[:, None, None, None] * 0.01
    ends = [samples // 2, samples // 4, samples - samples // 2 - samples // 4]
    train, held, test = zip(torch.split(images, ends), torch.split(labels, ends), strict=True)
    network = cofire.Network(model, images[:2])
    begun = time.process_time()
    for batch in torch.split(images, 256):
        network.run(batch)
    forward, before = time.process_time() - begun, peak()
    chosen = None if layers == "all" else layers
    begun = time.process_time()
    if what == "fit":
        cofire.Booster(network, chosen).fit(train, held, progress=False)
    else:
        cofire.compare(network, train, held, test, layers=chosen, methods=methods, progress=False)
    taken = time.process_time() - begun
    print(
        f"{what} {layers}, {samples} images: {taken:.1f} s, a forward pass {forward:.1f} s; "
        f"highest resident size {before:.0f} MiB before, {peak():.0f} MiB after"
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("fit", "compare"))
    parser.add_argument("layers", help="all, L2L or LL")
    parser.add_argument("--samples", type=int, default=2000)
    parser.add_argument("--methods", nargs="*")
    given = parser.parse_args()
    main(given.what, given.layers, given.samples, given.methods)
