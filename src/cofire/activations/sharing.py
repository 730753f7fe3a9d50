"""How several processes share the samples of a pass, and what all of them counted, put together again."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Protocol, Self

from cofire.activations.statistics import State
from cofire.errors import MergeError, OptionError

BLOCK = 256
"""Fewest samples of a block: work is shared between processes and machines in whole blocks, by number."""


def blocks_of(samples: int, part: int = 1, parts: int = 1, size: int = BLOCK) -> range:
    """The blocks of a data set that one of several processes takes: neighbours, as many as the others have or one less.

    Args:
        samples: Of the data set.
        part: Which process, from 1.
        parts: How many there are.
        size: Samples of a block.

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
    blocks = -(-samples // size)
    return range(blocks * (part - 1) // parts, blocks * part // parts)


@dataclass(frozen=True)
class Counted:
    """What a pass counted in some blocks of a data set; it merges, in any order, to the same bits.

    Attributes:
        blocks: Which, ascending, apart from each other.
        samples: Of the whole data set.
        network: Its digest, of architecture and weights.
        states: What was counted, by name; nothing where each block has left a file of its own.
        size: Samples of a block.
        data: A digest that tells the whole data set from others (see `digest_of_data`).
    """

    blocks: tuple[range, ...]
    samples: int
    network: str
    states: Mapping[str, State]
    size: int = BLOCK
    data: str = ""

    def merge(self, other: Self) -> Self:
        """What was counted in the blocks of both.

        Raises:
            MergeError: A block is in both, or they are of other data or options.
        """
        blocks = sorted((*self.blocks, *other.blocks), key=lambda part: part.start)
        twice = [two.start for one, two in pairwise(blocks) if two.start < one.stop]
        other.check_of(self.samples, self.network, self.size, self.data)
        if twice:
            raise MergeError(
                f"block {twice[0]} twice (samples {twice[0] * self.size:,} and on)",
                "each block of the data once",
                "leave out the part that was given twice",
            )
        if self.blocks and other.blocks and self.states.keys() != other.states.keys():
            raise MergeError(
                "counts of other layers",
                "what one command counts, in both",
                "make all parts with the same command",
            )
        states = {**self.states, **other.states}
        states |= {
            name: self.states[name].merge(other.states[name])
            for name in self.states.keys() & other.states.keys()
        }
        return replace(self, blocks=joined(blocks), states=states)

    def check_of(self, samples: int, network: str, size: int = BLOCK, data: str = "") -> None:
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
        if self.data != data:
            raise MergeError(
                f"counts of other data ({self.data[:12]}, not {data[:12]})",
                "parts of one data set",
                "make all parts of the same data: files of the same names that hold the same",
            )
        if self.size != size:
            raise MergeError(
                f"counts of blocks of {self.size:,} samples, and of {size:,}",
                "parts of one cut",
                "make all parts anew with this version, and with the same --batch-size",
            )

    def check(self, samples: int, network: str, size: int = BLOCK, data: str = "") -> None:
        """Refuse what is not of all this data and of this network.

        Raises:
            MergeError: It is not.
        """
        self.check_of(samples, network, size, data)
        if missing := self.missing():
            part = missing[0]
            first, last = part.start * size, min(samples, part.stop * size) - 1
            raise MergeError(
                f"no counts of blocks {part.start} to {part.stop - 1} (samples {first:,} to {last:,})",
                f"all {blocks_of(samples, size=size).stop:,} blocks",
                "make and name the part that is missing",
            )

    def missing(self) -> tuple[range, ...]:
        """Blocks of the data that nobody has counted."""
        every = blocks_of(self.samples, size=self.size)
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


class Sharing(Protocol):
    """Gives what all processes counted in a pass over some samples, of which it may run blocks here."""

    def __call__(self, count: Count, samples: int, size: int = BLOCK) -> Counted:
        """What all counted; `size` is the samples of a block."""


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


def share_files(
    make: Callable[[range], object], samples: int, network: str, size: int, data: str
) -> None:
    """Have a file made for each block of a data set: of all of them, or of those that are this process's.

    Args:
        make: Makes them for some blocks.
        samples: Of the data set.
        network: Its digest.
        size: Samples of a block.
        data: See `Counted`.

    Raises:
        MergeError: What others made is of other data or another network.
    """
    sharing = sharing_now()
    if sharing is None:
        make(blocks_of(samples, size=size))
        return

    def count(blocks: range) -> Counted:
        make(blocks)
        return Counted(joined([blocks]), samples, network, {}, size, data)

    sharing(count, samples, size).check(samples, network, size, data)
