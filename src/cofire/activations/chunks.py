"""The pieces in which a network runs a data set: by the samples' numbers, however these are read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch

from cofire.activations.batches import Batch
from cofire.activations.sharing import BLOCK
from cofire.network import Network

_AT_ONCE, _LIVE = 1 << 30, 4
"""Bytes that a chunk may take on its way, and how many results of the largest size are alive at once."""


_FEW, _NEAR = 4, 1 << 27
"""Samples that a processor runs at once in any case, and bytes that more may take: memory beyond them is asked of the
system again for each result, and ResNet-50 takes half as long again for an image among 64 as for one among four."""


_MANY, _LITTLE = 1024, 1 << 24
"""Samples of a chunk of which all results take no more than these bytes: each chunk costs some tenths of a millisecond
beside what is computed, a sixth of what 256 samples of a small fully connected network take."""


def chunk_of(network: Network) -> int:
    """How many samples a network runs at once: 256, fewer of large ones, and of small ones up to 1024.

    On a GPU a GiB has to be enough for them, on a processor an eighth of it, or for four of them a
    GiB. A forward pass gives other last bits for a batch of another size, so the size follows from
    the network and the kind of its device alone: neither from how the data is read nor from the
    machine. All that the network computes counts, not the layers that are observed alone.

    Example:
        >>> of = lambda width: torch.nn.Sequential(torch.nn.Linear(4, width), torch.nn.Linear(width, 2))
        >>> [chunk_of(Network(of(width), torch.zeros(1, 4))) for width in (3, 2_000, 200_000)]
        [1024, 512, 32]
    """
    sample = network.most_values * network.dtype.itemsize * _LIVE
    fit = min(BLOCK, _fitting(sample, _AT_ONCE))
    if network.device.type == "cpu":
        fit = min(fit, max(_FEW, _fitting(sample, _NEAR)))
    # Where no size is known there is nothing to go by.
    return min(_MANY, max(fit, _fitting(sample, _LITTLE))) if sample else BLOCK


def block_of(network: Network) -> int:
    """How many samples of a network's data make a block: 256, or as many more as it runs at once."""
    return max(BLOCK, chunk_of(network))


def _fitting(sample: int, most: int) -> int:
    """The largest power of two, 1 at least, of samples that take no more than so many bytes."""
    return 1 << max(1, most // max(1, sample)).bit_length() - 1


def in_chunks(batches: Iterable[Batch], size: int) -> Iterator[Batch]:
    """The same samples in chunks that begin at multiples of a size, whatever the batches were.

    A chunk ends early where the next sample has another shape.

    Args:
        batches: As they are read.
        size: Of a chunk.

    Example:
        >>> from cofire.activations.batches import Batches
        >>> read = Batches((torch.zeros(10, 2), torch.zeros(10, dtype=torch.int64)), 2, batch_size=3)
        >>> [(chunk.start, len(chunk.labels), chunk.where()) for chunk in in_chunks(read, 4)]
        [(0, 4, 'batches 0 to 1'), (4, 4, 'batches 1 to 2'), (8, 2, 'batches 2 to 3')]
    """
    parts: list[Batch] = []
    for batch in batches:
        at, end = 0, len(batch.labels)
        if parts and _kind(parts[0]) != _kind(batch):
            yield _joined(parts)
            parts = []
        while at < end:
            start = batch.start + at
            upto = min(end, at + size - start % size)
            parts.append(batch if upto - at == end else batch.part(at, upto))
            at = upto
            if (batch.start + at) % size == 0:
                yield _joined(parts)
                parts = []
    if parts:
        yield _joined(parts)


def _kind(batch: Batch) -> tuple[torch.Size, torch.dtype, torch.device]:
    return batch.inputs.shape[1:], batch.inputs.dtype, batch.inputs.device


def _joined(parts: Sequence[Batch]) -> Batch:
    first = parts[0]
    if len(parts) == 1:
        return first
    sources = tuple(
        (one.start - first.start + offset, index) for one in parts for offset, index in one.sources
    )
    inputs, labels = (torch.cat([getattr(p, name) for p in parts]) for name in ("inputs", "labels"))
    return Batch(first.index, inputs, labels, first.start, sources)
