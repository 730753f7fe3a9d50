"""How several processes share the samples of a pass, and what all of them counted, put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from itertools import pairwise
from typing import Self

from cofire.activations.statistics import State
from cofire.errors import MergeError, OptionError

BLOCK = 256
"""Samples of a block: work is shared between processes and machines in whole blocks, by number."""


def blocks_of(samples: int, part: int = 1, parts: int = 1) -> range:
    """The blocks of a data set that one of several processes takes: neighbours, as many as the others have or one less.

    Args:
        samples: Of the data set.
        part: Which process, from 1.
        parts: How many there are.

    Raises:
        OptionError: There is no such part.

    Example:
        >>> [blocks_of(2000, part, 3) for part in (1, 2, 3)]
        [range(0, 2), range(2, 5), range(5, 8)]
    """
    if not 1 <= part <= parts:
        raise OptionError(
            f"part {part} of {parts}", "a part from 1 to their number", "count parts from 1"
        )
    blocks = -(-samples // BLOCK)
    return range(blocks * (part - 1) // parts, blocks * part // parts)


@dataclass(frozen=True)
class Counted:
    """What a pass counted in some blocks of a data set; it merges, in any order, to the same bits.

    Attributes:
        blocks: Which, ascending, apart from each other.
        samples: Of the whole data set.
        network: Its digest, of architecture and weights.
        states: What was counted, by name.
    """

    blocks: tuple[range, ...]
    samples: int
    network: str
    states: Mapping[str, State]

    def merge(self, other: Self) -> Self:
        """What was counted in the blocks of both.

        Raises:
            MergeError: A block is in both, or they are of other data or options.
        """
        blocks = sorted((*self.blocks, *other.blocks), key=lambda part: part.start)
        twice = [two.start for one, two in pairwise(blocks) if two.start < one.stop]
        other.check_of(self.samples, self.network)
        if twice:
            raise MergeError(
                f"block {twice[0]} twice (samples {twice[0] * BLOCK:,} and on)",
                "each block of the data once",
                "leave out the part that was given twice",
            )
        states = {**self.states, **other.states}
        states |= {
            name: self.states[name].merge(other.states[name])
            for name in self.states.keys() & other.states.keys()
        }
        return type(self)(joined(blocks), self.samples, self.network, states)

    def check_of(self, samples: int, network: str) -> None:
        """Refuse what was counted of other data or another network.

        Raises:
            MergeError: It was.
        """
        if self.samples != samples:
            raise MergeError(
                f"counts of data of {self.samples:,} samples, and data of {samples:,}",
                "parts of one data set",
                "make all parts of the same data",
            )
        if self.network != network:
            raise MergeError(
                f"counts of a network with other weights ({self.network[:12]}, not {network[:12]})",
                "parts of one network",
                "make all parts with the same model and weights",
            )

    def check(self, samples: int, network: str) -> None:
        """Refuse what is not of all this data and of this network.

        Raises:
            MergeError: It is not.
        """
        self.check_of(samples, network)
        if missing := self.missing():
            part = missing[0]
            first, last = part.start * BLOCK, min(samples, part.stop * BLOCK) - 1
            raise MergeError(
                f"no counts of blocks {part.start} to {part.stop - 1} (samples {first:,} to {last:,})",
                f"all {blocks_of(samples).stop:,} blocks",
                "make and name the part that is missing",
            )

    def missing(self) -> tuple[range, ...]:
        """Blocks of the data that nobody has counted."""
        every = range(blocks_of(self.samples).stop)
        ends = (range(0, 0), *self.blocks, range(every.stop, every.stop))
        return tuple(range(a.stop, b.start) for a, b in pairwise(ends) if b.start > a.stop)


def joined(blocks: Sequence[range]) -> tuple[range, ...]:
    """Ranges in order, of which neighbours become one and empty ones are left out."""
    found: list[range] = []
    for part in blocks:
        if found and part and found[-1].stop == part.start:
            found[-1] = range(found[-1].start, part.stop)
        elif part:
            found.append(part)
    return tuple(found)


Count = Callable[[range], Counted]
"""Runs some blocks here, once."""
Sharing = Callable[[Count, int], Counted]
"""Gives what all processes counted in a pass, of which it may run blocks here; takes the number of samples as well."""
_SHARING: ContextVar[Sharing | None] = ContextVar("sharing", default=None)


@contextmanager
def shared(sharing: Sharing) -> Iterator[None]:
    """Each pass over data inside is shared between processes."""
    before = _SHARING.set(sharing)
    try:
        yield
    finally:
        _SHARING.reset(before)


def sharing_now() -> Sharing | None:
    """How passes are shared here; None where they are not."""
    return _SHARING.get()
