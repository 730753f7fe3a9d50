"""Passes over data that the actors of a Ray cluster share: each counts whole blocks, and what all counted is merged."""

from __future__ import annotations

import io
import pickle
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cofire.activations import ActivationSummary
from cofire.activations import summarize as summarize_here
from cofire.activations.batches import pair_of
from cofire.activations.progress import progress_over
from cofire.activations.sharing import BLOCK, Count, Counted, blocks_of, shared
from cofire.activations.together import Each
from cofire.errors import BatchError, DataError
from cofire.network import Network
from cofire.network.untouched import without_autocast
from cofire.scale.parts import from_bytes, to_bytes
from cofire.scale.ray_engine import RayEngine, cluster, packed, quiet

_PIECES = 64
"""In about how many pieces a pass is cut: enough for actors of unlike speed, and few states to move."""


def summarize(
    network: Network | nn.Module,
    data: Any,
    *,
    engine: RayEngine | None = None,
    address: str | None = None,
    progress: bool | None = None,
    **options: Any,
) -> ActivationSummary:
    """`cofire.summarize` on a Ray cluster: the same summary, to the last bit.

    It is called as `cofire.scale.summarize`; Ray is imported when it is.

    Args:
        network: The classifier; each actor holds it.
        data: A `ray.data.Dataset` whose columns are those of a sample, `pixel_values` or `image` and
            `label`, say: its rows are read where they lie, piece by piece, in their order. Or what
            `cofire.summarize` takes, with samples by number, which actors read themselves.
        engine: How many actors, and what each takes; as many as fit unless given.
        address: Of the cluster (see `cofire.scale.ray_engine.cluster`).
        progress: Show a bar for each pass; None shows it on a terminal.
        options: Of `cofire.summarize`.

    Raises:
        CofireError: As `cofire.summarize`.
        DataError: The rows have no such columns.
        OptionError: Nobody answers at the address.
        MissingExtraError: Ray is not installed.

    Example:
        >>> import ray.data  # doctest: +SKIP
        >>> rows = ray.data.read_parquet("s3://data/prepared")  # doctest: +SKIP
        >>> cofire.scale.summarize(network, rows, by_class=True).samples  # doctest: +SKIP
        1281167
    """
    engine = engine or RayEngine()
    with cluster(address):
        each: Each = engine.each
        if hasattr(data, "iter_batches") and hasattr(data, "map_batches"):
            data = RayRows(data)
            each = data.on(engine)
        with on_actors(each, progress):
            return summarize_here(network, data, progress=progress, **options)


@contextmanager
def on_actors(each: Each, progress: bool | None = None) -> Iterator[None]:
    """Each pass over data inside is shared between what `each` runs on: `RayEngine.each`, say.

    Args:
        each: Counts pieces of the data.
        progress: Show a bar; None shows it on a terminal.
    """

    def sharing(count: Count, samples: int, size: int = BLOCK) -> Counted:
        blocks = blocks_of(samples, size=size)
        most = max(1, -(-len(blocks) // _PIECES))
        pieces = [blocks[at : at + most] for at in range(0, len(blocks), most)] or [blocks]
        found: Counted | None = None
        with progress_over(f"{len(pieces)} pieces on a cluster", samples, progress) as advance:
            for piece, counted in zip(pieces, each(_Counting(count, size), pieces), strict=True):
                one = from_bytes(counted)
                found = one if found is None else found.merge(one)
                advance(min(samples, piece.stop * size) - piece.start * size)
        assert found is not None
        return found

    with shared(sharing):
        yield


class _Unpickler(pickle.Unpickler):
    """Unpacks what this command sent, with things that are here already in their places, by number."""

    def __init__(self, content: bytes, here: Sequence[Any]) -> None:
        super().__init__(io.BytesIO(content))
        self._here = here

    def persistent_load(self, number: int) -> Any:
        return self._here[number]


class _Counting:
    """Counts pieces in another process, each from nothing: of one that was lost nothing is counted twice.

    Network and data, which no piece changes, are there once for all pieces of a process.

    Attributes:
        block: Samples of a block.
    """

    def __init__(self, count: Count, block: int) -> None:
        self.block = block
        self._once: list[Any] = []
        self._packed = packed(count, self._kept)

    def _kept(self, thing: Any) -> int | None:
        """The number of a thing that all pieces share."""
        if not isinstance(thing, Network | Dataset | DataLoader):
            return None
        number = next((n for n, one in enumerate(self._once) if one is thing), len(self._once))
        self._once[number:] = self._once[number:] or [thing]
        return number

    def __call__(self, blocks: range) -> bytes:
        count: Count = _Unpickler(self._packed, self._once).load()
        with torch.inference_mode(False), torch.no_grad(), without_autocast():
            return to_bytes(count(blocks))


class RayRows(Dataset[tuple[Tensor, int]]):
    """A Ray data set as one of (input, label) whose inputs stay where they lie.

    Attributes:
        labels: (samples,), int64; read once.

    Args:
        rows: The Ray data set.

    Raises:
        DataError: It has no columns of inputs and labels.
    """

    in_memory = False
    elsewhere = True

    def __init__(self, rows: Any) -> None:
        with quiet():
            names = rows.columns() or []
        found = pair_of({name: name for name in names})
        if not isinstance(found, tuple):
            raise DataError(
                f"a Ray data set with columns {', '.join(names) or 'of no name'}",
                "a column of inputs (pixel_values, image) and one of classes (label)",
                "rename them with rename_columns({'yours': 'label'})",
            )
        self._names: tuple[str, str] = found
        self._rows = _in_order(rows.select_columns(list(found)))
        labels = _in_order(rows.select_columns([found[1]]))
        with quiet():
            parts = [part[found[1]] for part in labels.iter_batches(batch_size=None)]
        self.labels = torch.as_tensor(np.concatenate(parts)) if parts else torch.zeros(0).long()

    def __getstate__(self) -> dict[str, Any]:
        # What actors count comes to them; the rows themselves stay here.
        return vars(self) | {"_rows": None}

    def __len__(self) -> int:
        return len(self.labels)

    def in_batches(self, size: int) -> Iterable[tuple[Tensor, Tensor]]:
        """All samples in order in batches of a size."""
        with quiet():
            for part in self._rows.iter_batches(batch_size=size):
                yield self._tensors(part)

    def part(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Samples of the piece that this actor was sent, by their numbers."""
        start, rows = _HERE["piece"]
        inputs, labels = self._tensors(rows)
        return inputs[numbers - start], labels[numbers - start]

    def on(self, engine: RayEngine) -> Each:
        """What does work for pieces of these rows: `RayEngine.each` that sends the rows along."""

        def each(work: Any, pieces: Iterable[range]) -> Iterator[bytes]:
            import ray

            first = next(iter(pieces))
            with quiet():
                numbered = self._rows.zip(ray.data.range(len(self)))
            size = len(first) * work.block
            return engine.over(
                numbered.repartition(target_num_rows_per_block=size, strict=True), _OnRows(work)
            )

        return each

    def _tensors(self, rows: dict[str, Any]) -> tuple[Tensor, Tensor]:
        inputs, labels = (rows[name] for name in self._names)
        if inputs.dtype == object:
            try:
                inputs = np.stack(list(inputs))
            except ValueError as error:
                raise BatchError(
                    "rows whose inputs differ in shape",
                    "inputs of one shape",
                    "resize or crop them to one size",
                ) from error
        return torch.tensor(inputs), torch.tensor(labels)


def _in_order(rows: Any) -> Any:
    rows.context.execution_options.preserve_order = True
    return rows


_HERE: dict[str, tuple[int, dict[str, Any]]] = {}
"""The rows of the piece that this process works on, and the number of the first."""


class _OnRows:
    """Work for a piece, beside whose rows it is done."""

    def __init__(self, work: _Counting) -> None:
        self._work = work

    def __call__(self, rows: dict[str, Any]) -> bytes:
        first, count, block = int(rows["id"][0]), len(rows["id"]), self._work.block
        _HERE["piece"] = (first, rows)
        try:
            return self._work(range(first // block, -(-(first + count) // block)))
        finally:
            _HERE.clear()
