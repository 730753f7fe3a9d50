"""What a network gives of data sets, kept in files: shards read, and methods are fitted to what all have read."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from cofire.activations.batches import Batches
from cofire.activations.chunks import block_of, chunk_of, in_chunks
from cofire.activations.progress import progress_over
from cofire.activations.samples_at import samples_at
from cofire.activations.samples_within import samples_within
from cofire.boost.reading import Inputs, Reader, Reading, hashes_of
from cofire.errors import DataError, MergeError
from cofire.network.untouched import without_autocast
from cofire.storage import load_result, save_result

READINGS = "readings"
"""The folder of a shard's files, below its own: one for each block of samples."""


def samples_of(reader: Reader, data: Any) -> int:
    """How many samples a data set has.

    Raises:
        DataError: That is not known.
    """
    found = Batches(data, reader.network.num_classes).samples
    if found is None:
        raise DataError(
            "data whose size is not known, in shards",
            "a data set that has a length",
            "pass a data set, or a loader of one, or leave --shard out",
        )
    return found


def keep_readings(reader: Reader, data: Any, folder: Path, name: str, blocks: range) -> None:
    """Read some blocks of a data set, each into a file of its own; goes on after those that are there.

    Args:
        reader: Of the classifier.
        data: What `cofire.summarize` takes.
        folder: Of the shard.
        name: Of the data set.
        blocks: Which.

    Raises:
        CofireError: As `cofire.summarize` about data and network.
    """
    left = next((at for at in blocks if not _path(folder, name, at).exists()), blocks.stop)
    samples, classes = samples_of(reader, data), reader.network.num_classes
    block = block_of(reader.network)
    first, end = left * block, min(samples, blocks.stop * block)
    parts: list[tuple[Tensor, Tensor, Reading]] = []
    with (
        progress_over(f"Reading {name} data", max(0, end - first)) as advance,
        torch.inference_mode(False),
        torch.no_grad(),
        without_autocast(),
    ):
        batches = samples_within(data, first, end, classes)
        for batch in in_chunks(batches, chunk_of(reader.network)):
            reading = reader(batch.inputs, head=True)
            parts.append((hashes_of(batch.inputs), batch.labels.cpu(), reading))
            upto = batch.start + len(batch.labels)
            if upto % block == 0 or upto == end:
                _write(_path(folder, name, batch.start // block), parts)
                parts = []
            advance(len(batch.labels))


def _path(folder: Path, name: str, block: int) -> Path:
    return folder / READINGS / f"{name}-{block:06d}.safetensors"


def _write(path: Path, parts: Sequence[tuple[Tensor, Tensor, Reading]]) -> None:
    hashes, labels, readings = zip(*parts, strict=True)
    columns = {
        "logits": [one.logits for one in readings],
        "head": [one.head for one in readings],
        **{
            f"layer{at}": [one.layers[at] for one in readings]
            for at, _ in enumerate(readings[0].layers)
        },
    }
    values = {name: torch.cat(column).cpu() for name, column in columns.items()}
    tensors = {name: _packed(one) for name, one in values.items()}
    # What goes into the last linear layer is what the layer before gives, as a rule.
    head = next(
        (n for n, one in tensors.items() if n != "head" and torch.equal(one, tensors["head"])), None
    )
    if head is not None:
        del values["head"], tensors["head"]
    note = {"head": head, "shapes": {name: list(one.shape) for name, one in values.items()}}
    note["type"] = str(values["logits"].dtype).removeprefix("torch.")
    tensors |= {"hashes": torch.cat(hashes), "labels": torch.cat(labels)}
    save_result(path, "readings", note, tensors)


def _packed(values: Tensor) -> Tensor:
    """Values as fewer bytes, from which they come back to the bit: first bytes of all, second ones, and so on."""
    whole = values.contiguous().numpy()
    planes = whole.reshape(-1).view(np.uint8).reshape(-1, whole.itemsize).T
    return torch.frombuffer(
        bytearray(pa.compress(planes.tobytes(), "zstd", asbytes=True)), dtype=torch.uint8
    )


def _unpacked(packed: Tensor, shape: tuple[int, ...], kind: torch.dtype) -> Tensor:
    """The values of a shape and type again."""
    size = math.prod(shape)
    try:
        content = pa.decompress(
            packed.numpy().tobytes(), size * kind.itemsize, "zstd", asbytes=True
        )
    except OSError as error:
        raise ValueError("values that cannot be unpacked") from error
    planes = torch.frombuffer(bytearray(content), dtype=torch.uint8).reshape(kind.itemsize, size)
    return planes.T.contiguous().view(kind).reshape(shape)


@dataclass(frozen=True)
class KeptReadings:
    """What shards have read of a data set.

    Attributes:
        name: Of the data set.
        data: The data set itself, for the pictures of a few samples.
        parts: Folders of shards, of each the blocks that are its own, in order.
    """

    name: str
    data: Any
    parts: Sequence[tuple[Path, Sequence[range]]]

    def chunks(self, reader: Reader) -> Iterator[tuple[Inputs, Tensor, Reading]]:
        """Inputs, labels and readings in the chunks in which the network ran, on its device.

        Raises:
            ResultError: A file is damaged, missing, or of another network.
        """
        samples, size = samples_of(reader, self.data), chunk_of(reader.network)
        block = block_of(reader.network)
        for folder, parts in self.parts:
            for number in (number for part in parts for number in part):
                start = number * block
                count = min(samples, start + block) - start
                found = self._block(_path(folder, self.name, number), reader, count)
                for at in range(0, count, size):
                    some = {name: value[at : at + size] for name, value in found.items()}
                    layers = tuple(some[f"layer{place}"] for place, _ in enumerate(reader.layers))
                    reading = Reading(some["logits"], layers, some["head"])
                    inputs = _KeptInputs(some["hashes"].cpu(), start + at, self.data, reader)
                    yield inputs, some["labels"], reading

    @staticmethod
    def _block(path: Path, reader: Reader, count: int) -> dict[str, Tensor]:
        classes = reader.network.num_classes
        wide = {f"layer{at}": size for at, size in enumerate(reader.sizes)}

        def read(note: Mapping[str, Any], tensors: dict[str, Tensor]) -> dict[str, Tensor]:
            shapes = {name: (count, size) for name, size in wide.items()}
            shapes["logits"] = (count, classes)
            if note["head"] is None:
                shapes["head"] = (count, int(note["shapes"]["head"][1]))
            kind = {"float32": torch.float32, "float64": torch.float64}[note["type"]]
            hashes, labels = tensors.pop("hashes"), tensors.pop("labels")
            if {n: list(shape) for n, shape in shapes.items()} != note["shapes"] or (
                tensors.keys() != shapes.keys()
            ):
                raise ValueError("other shapes")
            for whole in (hashes, labels):
                if whole.dtype != torch.int64 or whole.shape != (count,):
                    raise ValueError("other types")
            if not bool(((labels >= 0) & (labels < classes)).all()):
                raise ValueError("other labels")
            found = {name: _unpacked(tensors[name], shape, kind) for name, shape in shapes.items()}
            if note["head"] is not None:
                found["head"] = found[note["head"]]
            found |= {"hashes": hashes, "labels": labels}
            return {name: value.to(reader.network.device) for name, value in found.items()}

        return load_result(path, "readings", read)


class _KeptInputs(Inputs):
    """Inputs that were read elsewhere: their hashes are known, and they are read anew where one is looked at."""

    def __init__(self, hashes: Tensor, start: int, data: Any, reader: Reader) -> None:
        self._hashes, self._start, self._data, self._reader = hashes, start, data, reader

    def hashes(self) -> Tensor:
        """See `Inputs`."""
        return self._hashes

    def __getitem__(self, at: int) -> Tensor:
        number = self._start + at
        found, _ = samples_at(self._data, [number], self._reader.network.num_classes)[number]
        if int(hashes_of(found[None])[0]) != int(self._hashes[at]):
            raise MergeError(
                f"sample {number:,}, which is another one than a shard has read",
                "the data that all shards have read",
                "make all parts of the same data",
            )
        return found


_KEPT: ContextVar[Mapping[int, KeptReadings]] = ContextVar("kept_readings")


@contextmanager
def kept_readings(every: Sequence[KeptReadings]) -> Iterator[None]:
    """Inside, these data sets are not read again: what shards have read takes the place of the network."""
    before = _KEPT.set({id(one.data): one for one in every})
    try:
        yield
    finally:
        _KEPT.reset(before)


def kept_of(data: Any) -> KeptReadings | None:
    """What shards have read of a data set, if they have."""
    return _KEPT.get({}).get(id(data))
