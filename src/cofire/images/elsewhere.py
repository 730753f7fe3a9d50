"""Labelled images that are no files of this machine: folders of classes by URL, Parquet files, WebDataset's tars.

What there is is listed once; images are read one by one, by number, where they lie.
"""

from __future__ import annotations

import functools
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import Dataset

from cofire.activations.batches import pair_of
from cofire.errors import DataError
from cofire.images.datasets import PARTS, PreparedFor, ToInput
from cofire.images.preparation import Preparation
from cofire.images.reading import ENDINGS
from cofire.marks import CLASS_NAME
from cofire.reading import reading
from cofire.remote import content_of, files_at, opened

KINDS = ("imagefolder", "parquet", "webdataset")
_PART_OF = {name: part for part, names in PARTS.items() for name in names}
_FIRST_WORD = re.compile(r"[A-Za-z]+")
_MOST_NOTE = 1 << 20
"""Bytes of a label's file in a tar."""


@dataclass(frozen=True, slots=True)
class Bytes:
    """An image's bytes, in a file or as a part of one."""

    file: str
    first: int | None = None
    end: int | None = None

    def content(self) -> bytes:
        """Read them."""
        return content_of(self.file, self.first, self.end)

    def __str__(self) -> str:
        return self.file if self.first is None else f"{self.file} (byte {self.first:,} and on)"


@dataclass(frozen=True, slots=True)
class Row:
    """An image in a row of a Parquet file."""

    file: str
    group: int
    row: int
    column: str

    def content(self) -> bytes:
        """Read them."""
        found = _group(self.file, self.group, self.column)[self.row].as_py()
        return bytes(found["bytes"] if isinstance(found, Mapping) else found)

    def __str__(self) -> str:
        return f"{self.file} (row {self.row:,} of part {self.group})"


Item = tuple[Bytes | Row, int | str]
"""An image and its class, by number or name."""


class ImagesElsewhere(Dataset[Any]):
    """A data set of (input, label).

    Attributes:
        targets: The label of each.
        classes: Their names; None where the data has none.
        preparation: What is done to images.
        reads: What makes inputs of them.
    """

    def __init__(
        self,
        items: Sequence[Item],
        names: Sequence[str] | None,
        preparation: Preparation | PreparedFor,
    ) -> None:
        found = names or sorted({label for _, label in items if isinstance(label, str)})
        numbers = {name: number for number, name in enumerate(found)}
        self.items = [item for item, _ in items]
        self.targets = [label if isinstance(label, int) else numbers[label] for _, label in items]
        self.classes = [CLASS_NAME.of("the name of a class", name) for name in found] or None
        self.reads = ToInput()
        if not isinstance(preparation, Preparation):
            first = self.reads(self.items[0])
            preparation = preparation((3, first.height, first.width))
        self.reads.preparation = self.preparation = preparation

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, at: int) -> tuple[Any, int]:
        return self.reads(self.items[at]), self.targets[at]


def parts_elsewhere(
    kind: str, url: str
) -> dict[str, Callable[[Preparation | PreparedFor], ImagesElsewhere]]:
    """How the parts of a data set are opened, by their names; "" for one without parts.

    Parts are folders, or for Parquet and tars files whose names begin with train, val or test.

    Args:
        kind: One of `KINDS`.
        url: A folder or file, by URL or on this machine.

    Raises:
        DataError: There is nothing of this kind.
    """
    endings = {"parquet": (".parquet",), "webdataset": (".tar",)}.get(kind, ENDINGS)
    file_system, root = opened(url)
    start = file_system.unstrip_protocol(root).removesuffix(root) if "://" in url else ""
    found: dict[str, list[tuple[str, str]]] = {}
    for name in sorted(files_at(url)):
        if name.lower().endswith(endings):
            below = name[len(root) :].strip("/") or PurePosixPath(name).name
            first = below.partition("/")[0]
            if kind != "imagefolder":
                word = _FIRST_WORD.match(PurePosixPath(name).name)
                first = first if first in _PART_OF else word[0] if word else ""
            elif "/" not in below:
                continue
            elif below.count("/") < 2:
                first = ""
            found.setdefault(_PART_OF.get(first, ""), []).append((below, start + name))
    if not found:
        raise DataError(
            f"no {kind} data at '{url}'",
            f"files that end with {', '.join(endings)}",
            "check the path",
        )
    if "train" not in found:
        found = {"": [one for files in found.values() for one in files]}
    return {
        part: functools.partial(
            _opened,
            *(kind, url),
            [(below.partition("/")[2] if part else below, file) for below, file in files],
        )
        for part, files in found.items()
    }


def _opened(
    kind: str, url: str, files: Sequence[tuple[str, str]], preparation: Preparation | PreparedFor
) -> ImagesElsewhere:
    names: Sequence[str] | None = None
    with reading(url, DataError, f"{kind} data, images with a class each"):
        if kind == "imagefolder":
            items: list[Item] = [(Bytes(file), below.partition("/")[0]) for below, file in files]
            # As torchvision orders a folder.
            items.sort(key=lambda one: (one[1], one[0].file.rpartition("/")))
        elif kind == "webdataset":
            items = [one for _, file in files for one in _in_tar(file)]
        else:
            read = [_in_parquet(file) for _, file in files]
            items, names = [one for rows, _ in read for one in rows], read[0][1]
        if not items:
            raise ValueError("no image")
        return ImagesElsewhere(items, names, preparation)


def _in_tar(file: str) -> Iterator[Item]:
    """The samples of a tar: members of one name but for what follows its first dot."""
    file_system, path = opened(file)
    samples: dict[str, dict[str, tarfile.TarInfo]] = {}
    with file_system.open(path, "rb") as held, tarfile.open(fileobj=held, mode="r:") as tar:
        for member in tar:
            folder, _, name = member.name.rpartition("/")
            key, _, ending = name.partition(".")
            if member.isfile() and key:
                samples.setdefault(f"{folder}/{key}", {})[ending.lower()] = member
        for key, parts in samples.items():
            image = next((parts[one] for one in parts if f".{one}".endswith(ENDINGS)), None)
            note = next((parts[one] for one in ("cls", "json", "txt") if one in parts), None)
            if image is None:
                continue
            if note is None or note.size > _MOST_NOTE:
                raise ValueError(f"sample {key} without a class (.cls, or .json with a label)")
            told = tar.extractfile(note)
            assert told is not None
            yield (
                Bytes(file, image.offset_data, image.offset_data + image.size),
                _label(told.read().decode(), key),
            )


def _label(text: str, key: str) -> int | str:
    found = text.strip()
    if found.startswith("{"):
        pair = pair_of({"image": None, **json.loads(found)})
        found = str(pair[1] if isinstance(pair, tuple) else "")
    if not found:
        raise ValueError(f"sample {key} without a class (.cls, or .json with a label)")
    return int(found) if found.isdecimal() else found


def _in_parquet(file: str) -> tuple[list[Item], Sequence[str] | None]:
    """The rows of a Parquet file, and the names of classes where it says them as Hugging Face's do."""
    file_system, path = opened(file)
    with file_system.open(path, "rb") as held:
        table = pq.ParquetFile(held)
        columns = pair_of({name: name for name in table.schema_arrow.names})
        if not isinstance(columns, tuple):
            raise ValueError(
                f"columns {', '.join(table.schema_arrow.names)}, none of images and labels"
            )
        image, label = columns
        told = json.loads((table.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        names = told.get("info", {}).get("features", {}).get(label, {}).get("names")
        items: list[Item] = []
        for group in range(table.num_row_groups):
            labels = table.read_row_group(group, columns=[label])[label].to_pylist()
            items += [(Row(file, group, row, image), of) for row, of in enumerate(labels)]
    if not all(isinstance(of, int | str) for _, of in items):
        raise ValueError(f"a {label} that is neither number nor name")
    return items, names


@functools.lru_cache(maxsize=2)
def _group(file: str, group: int, column: str) -> pa.ChunkedArray:
    """One part of a Parquet file, whose images are mostly read one after the other."""
    file_system, path = opened(file)
    with file_system.open(path, "rb") as held:
        return pq.ParquetFile(held).read_row_group(group, columns=[column])[column]
