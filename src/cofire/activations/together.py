"""Passes over data that go together: whoever looks at the same data sees each batch of one run of the network."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Any, Protocol, TypeVar

import torch
from torch import Tensor

from cofire.activations.batches import Batch, Batches
from cofire.activations.chunks import block_of, chunk_of, in_chunks
from cofire.activations.progress import progress_over
from cofire.activations.samples_within import digest_of_data, samples_within
from cofire.activations.sharing import Counted, Sharing, joined, sharing_now
from cofire.activations.statistics import State
from cofire.errors import BatchError, DataError, NonFiniteError
from cofire.network import ActivationLayer, Network
from cofire.network.untouched import without_autocast

T = TypeVar("T")
Each = Callable[[Callable[[Any], Any], Iterable[Any]], Iterator[Any]]
"""Does a piece of work for each of some things and gives the results in their order: `map`, or actors of a cluster."""


class Kept(Protocol):
    """What is counted in a pass, which several processes can share."""

    def counted(self) -> dict[str, State]:
        """What was counted, by name; after it nothing more is counted."""

    def take(self, counted: Mapping[str, State]) -> None:
        """Take what several have counted in place of its own."""


@dataclass(frozen=True)
class Watch:
    """What somebody does with one batch.

    Attributes:
        finish: Called with the logits (samples, outputs) at the end.
        layers: Which layers are observed.
        observe: Called with each of them and its activation, as by `Network.run`.
        head: Called with what goes into the last linear layer; None where that is not wanted.
    """

    finish: Callable[[Tensor], None]
    layers: Sequence[ActivationLayer] = ()
    observe: Callable[[ActivationLayer, Tensor], None] = lambda layer, activation: None
    head: Callable[[Tensor], None] | None = None


@dataclass(frozen=True)
class Pass:
    """One reading of a data set that somebody asks for.

    Attributes:
        data: Which, as `cofire.summarize` takes it.
        num_classes: Labels must lie below it.
        batch_size: For data that does not come in batches.
        title: Of the progress bar.
        watch: Says for a batch what is done with it.
        kept: What is counted; None where it cannot be shared.
    """

    data: Any
    num_classes: int
    batch_size: int
    title: str
    watch: Callable[[Batch], Watch]
    kept: Kept | None = None
    key: tuple[int, ...] = field(init=False, repr=False)
    """Passes of one key go together."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", (id(self.data), self.num_classes, self.batch_size))


Task = Generator[Pass, None, T]
"""Work that needs passes over data: it gives each that it needs, goes on once that was made, and returns its result."""


def alone(network: Network, task: Task[T], progress: bool | None = None) -> T:
    """The result of one task (see `together`)."""
    found: T = together(network, [task], progress)[0]
    return found


def together(
    network: Network, tasks: Sequence[Task[Any]], progress: bool | None = None
) -> list[Any]:
    """The results of several tasks on one network, in as few passes over each data set as they allow.

    Each sees what it would see alone.

    Args:
        network: Runs each batch once, however many tasks look.
        tasks: In any order; where they ask for different data, most go first, and of as many those
            that have come furthest.
        progress: Show a bar for each pass; None shows it on a terminal.

    Raises:
        BatchError: A batch does not fit the network.
        NonFiniteError: The network gives NaN or infinite logits.
        DataError: No samples.
    """
    results: dict[int, Any] = {}
    waiting: dict[int, Pass] = {}

    def go_on(number: int) -> None:
        waiting.pop(number, None)
        try:
            waiting[number] = next(tasks[number])
        except StopIteration as end:
            results[number] = end.value

    with torch.inference_mode(False), torch.no_grad(), without_autocast():
        for number, _ in enumerate(tasks):
            go_on(number)
        while waiting:
            asked = Counter(one.key for one in waiting.values())
            key = max(reversed(waiting.values()), key=lambda one: asked[one.key]).key
            now = {number: one for number, one in waiting.items() if one.key == key}
            _run(network, list(now.values()), progress)
            for number in now:
                go_on(number)
    return [results[number] for number, _ in enumerate(tasks)]


def in_part(task: Task[T], data: Any, chosen: Tensor) -> Task[T]:
    """A task on some samples of a data set as one on all of it, which then costs no pass of its own.

    Args:
        task: On data that holds the chosen samples, in their order.
        data: All of it.
        chosen: Which samples they are, truth values (samples,).
    """
    while True:
        try:
            asked = next(task)
        except StopIteration as end:
            found: T = end.value
            return found
        yield replace(asked, data=data, watch=_PartWatch(asked.watch, chosen))


@dataclass
class _PartWatch:
    """Shows of each batch what is chosen."""

    watch: Callable[[Batch], Watch]
    chosen: Tensor
    _start: int = 0
    _taken: int = 0

    def __call__(self, batch: Batch) -> Watch:
        end = self._start + len(batch.labels)
        at = torch.nonzero(self.chosen[self._start : end]).flatten()
        self._start = end
        if not len(at):
            return Watch(lambda logits: None)
        sources = tuple((int((at < begin).sum()), index) for begin, index in batch.sources)
        one = self.watch(
            Batch(batch.index, batch.inputs[at], batch.labels[at], self._taken, sources)
        )
        self._taken += len(at)
        head = one.head
        return Watch(
            lambda logits: one.finish(logits[at]),
            one.layers,
            lambda layer, activation: one.observe(layer, activation[at]),
            None if head is None else lambda value: head(value[at]),
        )


def _run(network: Network, passes: Sequence[Pass], progress: bool | None) -> None:
    first, sharing = passes[0], sharing_now()
    batches = Batches(first.data, first.num_classes, batch_size=first.batch_size)
    samples = batches.samples
    if sharing is None:
        samples = _run_batches(network, passes, batches, samples, progress)
    else:
        samples = _share(network, passes, batches, sharing, progress)
    if not samples:
        raise DataError(
            "no samples", "at least one batch of (inputs, labels)", "check what the loader returns"
        )


def _share(
    network: Network,
    passes: Sequence[Pass],
    batches: Batches,
    sharing: Sharing,
    progress: bool | None,
) -> int:
    """Run the blocks that are this process's, and take what all have counted; how many samples there are."""
    samples = batches.samples
    if samples is None or any(one.kept is None for one in passes):
        raise DataError(
            "data whose size is not known"
            if samples is None
            else f"{passes[0].title}, which cannot be shared between processes",
            "a data set that has a length, and a command that can share it",
            "pass a data set, or a loader of one, or run the command in one process",
        )
    size, digest = samples, network.digest()
    data, block = digest_of_data(passes[0].data, size), block_of(network)

    def count(blocks: range) -> Counted:
        first, end = blocks.start * block, min(size, blocks.stop * block)
        about = passes[0]
        part = samples_within(
            *(about.data, first, end, about.num_classes), batch_size=about.batch_size
        )
        _run_batches(network, passes, part, max(0, end - first), progress)
        states = {
            f"{number}.{name}": state.to("cpu")  # where what other processes counted arrives
            for number, one in enumerate(passes)
            for name, state in ({} if one.kept is None else one.kept.counted()).items()
        }
        return Counted(joined([blocks]), size, digest, states, block, data)

    found = sharing(count, size, block)
    found.check(size, digest, block, data)
    for number, one in enumerate(passes):
        states = {
            name.partition(".")[2]: state.to(network.device)
            for name, state in found.states.items()
            if name.startswith(f"{number}.")
        }
        if one.kept is not None and states:
            one.kept.take(states)
    return size


def _run_batches(
    network: Network,
    passes: Sequence[Pass],
    batches: Iterable[Batch],
    samples: int | None,
    progress: bool | None,
) -> int:
    count, title = 0, ", ".join(dict.fromkeys(one.title for one in passes))
    with progress_over(title, samples, progress) as advance:
        for batch in in_chunks(batches, chunk_of(network)):
            _run_batch(network, batch, [one.watch(batch) for one in passes])
            count += len(batch.labels)
            advance(len(batch.labels))
    return count


def _run_batch(network: Network, batch: Batch, watches: Sequence[Watch]) -> None:
    wanted = {layer for watch in watches for layer in watch.layers}
    heads = [watch.head for watch in watches if watch.head is not None]

    def observe(layer: ActivationLayer, activation: Tensor) -> None:
        for watch in watches:
            if layer in watch.layers:
                watch.observe(layer, activation)

    def observe_head(value: Tensor) -> None:
        for head in heads:
            head(value)

    # Heads, too, which are no activation layers.
    layers = network.select(tuple(wanted)) if wanted else ()
    try:
        logits = network.run(batch.inputs, observe, layers, observe_head if heads else None)
    except BatchError as error:
        raise BatchError(f"{batch.where()}: {error.given}", error.expected, error.remedy) from error
    except NonFiniteError as error:
        # Activations are named with their batch already.
        raise error if "in batch" in error.given else _wrong_logit(network, batch) from error
    if not math.isfinite(float(logits.sum(dtype=torch.float64))):
        raise _wrong_logit(network, batch)
    for watch in watches:
        watch.finish(logits)


def _wrong_logit(network: Network, batch: Batch) -> NonFiniteError:
    """Says in which batch, as they were read, it is."""
    begins = [begin for begin, _ in batch.sources]
    wrong = None
    for begin, end in pairwise((*begins, len(batch.labels))):
        try:
            network.run(batch.inputs[begin:end])
        except NonFiniteError:
            wrong = begin
            break
    return NonFiniteError(
        f"a NaN or infinite logit in {batch.where(wrong)}",
        "finite numbers",
        "find what makes the network overflow (weights, learning rate, inputs), or leave that batch out",
    )
