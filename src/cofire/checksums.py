"""What a file of results held when it was written, so that a flipped bit is not read as a result.

Files that were written before there were checksums have none, and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors import safe_open
from torch import Tensor

_HEADER_BYTES = 1 << 26
"""64 MiB: names and shapes of the tensors take some hundred bytes each, our notes a few million; it is JSON, which
takes ten times as much memory."""
_TENSORS = 1 << 17
"""The largest networks have some ten thousand; each is an object of its own."""
_FOOTER_BYTES = 1 << 26
"""The same of Parquet, of a few thousand bytes for each part and column."""
_COLUMNS, _CHUNKS = 1 << 10, 1 << 20
"""Our tables have up to some fifty columns, in parts of a million rows."""
_VALUES = 1 << 30
"""Of all columns: a study's largest tables have some hundred million; so many take 8 GB. A number that repeats takes no
space in a file, so that its size tells nothing."""
_TABLE_BYTES = 1 << 34
"""16 GiB as the file itself says, before it is unpacked."""
_KEY = "cofire.sha256"
_JSON_KEY = "sha256"
_CHANGED = "its content is not what was written: bits have changed, or another program changed it"


def hash_of_tensors(weights: Mapping[str, Tensor]) -> str:
    """A hash of tensors: the same for the same names, shapes, types and numbers.

    Example:
        >>> hash_of_tensors({"w": torch.zeros(2)}) == hash_of_tensors({"w": torch.zeros(3)})
        False
    """
    found = hashlib.sha256()
    for name, value in sorted(weights.items()):
        if isinstance(value, Tensor):
            plain = value.detach().cpu().contiguous()
            found.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
            found.update(plain.flatten().view(torch.uint8).numpy().data)
    return found.hexdigest()


def sealed(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> dict[str, str]:
    """Metadata of a safetensors file with a checksum of them and of its tensors.

    Example:
        >>> tensors = {"w": torch.zeros(2)}
        >>> metadata = sealed(tensors, {"format": "pt"})
        >>> check_tensors(tensors, metadata)
        >>> check_tensors({"w": torch.ones(2)}, metadata)
        Traceback (most recent call last):
        ValueError: its content is not what was written: bits have changed, or another program changed it
    """
    return {**metadata, _KEY: _of_tensors(tensors, metadata)}


def check_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None) -> None:
    """Hold tensors and metadata of a safetensors file against their checksum, where there is one.

    Raises:
        ValueError: They are not what was written.
    """
    kept = (metadata or {}).get(_KEY)
    others = {name: value for name, value in (metadata or {}).items() if name != _KEY}
    if kept is not None and kept != _of_tensors(tensors, others):
        raise ValueError(_CHANGED)


def check_header(path: str | Path) -> None:
    """Refuse a safetensors file whose header would cost more than any result or network needs.

    Raises:
        OSError: There is no such file.
        ValueError: Its header is too long.
    """
    with Path(path).open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
    if length > _HEADER_BYTES:
        raise ValueError(f"a header of {length:,} bytes, more than {_HEADER_BYTES:,}")


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file, held against their checksum, where there is one.

    Raises:
        OSError: There is no such file.
        safetensors.SafetensorError: It is damaged.
        ValueError: It is too large, or not what was written.
    """
    check_header(path)
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        if len(names) > _TENSORS:
            raise ValueError(f"{len(names):,} tensors, more than {_TENSORS:,}")
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in names}
    check_tensors(tensors, metadata)
    return tensors, metadata


def _of_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    return hashlib.sha256(
        json.dumps([hash_of_tensors(tensors), sorted(metadata.items())]).encode()
    ).hexdigest()


def checksum_of_json(content: Any) -> str:
    """A checksum of what JSON can hold, the same however it is laid out."""
    # Read back first: keys that are numbers become names, and are sorted as such.
    plain = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def sealed_json(content: Any) -> Any:
    """An object for JSON with its checksum, under "sha256"; what is no object stays as it is.

    Example:
        >>> kept = sealed_json({"a": 1})
        >>> check_json(kept)
        {'a': 1}
        >>> check_json({**kept, "a": 2})
        Traceback (most recent call last):
        ValueError: its content is not what was written: bits have changed, or another program changed it
    """
    return (
        {**content, _JSON_KEY: checksum_of_json(content)}
        if isinstance(content, Mapping)
        else content
    )


def check_json(content: Any) -> Any:
    """What JSON held, without its checksum, held against that where there is one.

    Raises:
        ValueError: It is not what was written.
    """
    if not isinstance(content, dict) or _JSON_KEY not in content:
        return content
    plain = {name: value for name, value in content.items() if name != _JSON_KEY}
    if content[_JSON_KEY] != checksum_of_json(plain):
        raise ValueError(_CHANGED)
    return plain


def write_table(table: pa.Table, path: Path, **options: Any) -> None:
    """Write a Parquet file with a checksum of its rows and metadata.

    Args:
        table: To write.
        path: Where to.
        options: Of `pyarrow.parquet.write_table`.
    """
    metadata = {
        name: value
        for name, value in (table.schema.metadata or {}).items()
        if name != _KEY.encode()
    }
    kept = {**metadata, _KEY.encode(): _of_table(table.replace_schema_metadata(metadata)).encode()}
    pq.write_table(table.replace_schema_metadata(kept), path, **options)


def read_table(path: Path) -> pa.Table:
    """Read a Parquet file, and hold it against its checksum, where there is one.

    Raises:
        OSError: There is no such file, or it cannot be read.
        pyarrow.ArrowInvalid: It is damaged, or larger than any table of results.
    """
    try:
        _check_size(path)
        table = pq.read_table(path)
    except (pa.ArrowInvalid, OSError):
        raise
    except (
        pa.ArrowException,
        ValueError,
        KeyError,
        TypeError,
        MemoryError,
        OverflowError,
    ) as error:
        raise pa.ArrowInvalid(str(error)) from error
    metadata = dict(table.schema.metadata or {})
    kept = metadata.pop(_KEY.encode(), None)
    plain = table.replace_schema_metadata(metadata or None)
    if kept is not None and kept != _of_table(plain).encode():
        raise pa.ArrowInvalid(_CHANGED)
    return plain


def read_schema(path: Path) -> pa.Schema:
    """The columns of a Parquet file, without its rows.

    Raises:
        OSError: There is no such file, or it cannot be read.
        ValueError: It is damaged, or larger than any table of results.
    """
    _check_size(path)
    return pq.read_schema(path)


def _check_size(path: Path) -> None:
    """Refuse a Parquet file by what it says of itself, before anything of that size is made."""
    with path.open("rb") as file:
        if file.seek(0, 2) >= 8:
            file.seek(-8, 2)
            _check_most(
                "a footer of {} bytes", int.from_bytes(file.read(4), "little"), _FOOTER_BYTES
            )
    about = pq.read_metadata(path)
    columns, parts = about.num_columns, about.num_row_groups
    _check_most("{} columns", columns, _COLUMNS)
    _check_most("{} parts of columns", columns * parts, _CHUNKS)
    _check_most("{} rows", about.num_rows, _VALUES)
    values = bytes_ = 0
    for part in range(parts):
        group = about.row_group(part)
        for column in range(columns):
            chunk = group.column(column)
            values += max(chunk.num_values, group.num_rows)
            bytes_ += chunk.total_uncompressed_size
    _check_most("{} values", values, _VALUES)
    _check_most("{} bytes when unpacked", bytes_, _TABLE_BYTES)


def _check_most(told: str, count: int, most: int) -> None:
    if count > most:
        raise pa.ArrowInvalid(f"{told.format(f'{count:,}')}, more than {most:,}")


def _of_table(table: pa.Table) -> str:
    found = hashlib.sha256(repr(sorted((table.schema.metadata or {}).items())).encode())
    found.update(str(table.num_rows).encode())
    for field, column in zip(table.schema, table.columns, strict=True):
        found.update(f"{field.name} {field.nullable}".encode())
        _update(found, column.combine_chunks())
    return found.hexdigest()


def _update(found: Any, values: Any) -> None:
    """Hash values, not how they lie in memory: what lies under a null, say, is nobody's."""
    values = pa.concat_arrays(values.chunks) if isinstance(values, pa.ChunkedArray) else values
    kind = values.type
    # What the elements of a list are called differs between a table and the same read back.
    found.update(b"list" if pa.types.is_list(kind) else str(kind).encode())
    found.update(np.packbits(values.is_valid().to_numpy(zero_copy_only=False)))
    if pa.types.is_list(kind):
        found.update(
            pc.fill_null(pc.list_value_length(values), 0).to_numpy(zero_copy_only=False).tobytes()
        )
        _update(found, pc.list_flatten(values))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        plain = pc.fill_null(values, False if pa.types.is_boolean(kind) else 0)
        found.update(plain.to_numpy(zero_copy_only=False).tobytes())
    else:
        # Names are few, whatever the number of rows.
        coded = values.dictionary_encode()
        found.update(pc.fill_null(coded.indices, -1).to_numpy(zero_copy_only=False).tobytes())
        found.update(repr(coded.dictionary.to_pylist()).encode(errors="surrogatepass"))
