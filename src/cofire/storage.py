"""Results on disk: JSON, safetensors and Parquet, each with a checksum, so that a flipped bit is not read as a result.

Files that were written before there were checksums have none, and are read as they are.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from cofire.atomic import atomic_path, write_text
from cofire.errors import CofireError, MergeError, ResultError
from cofire.reading import read_json
from cofire.renamed import WORDS

Result = TypeVar("Result")

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


def version_of(package: str) -> str | None:
    """The installed version of a package, None if it is not installed.

    Example:
        >>> version_of("no-such-package") is None
        True
    """
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions() -> dict[str, str]:
    """The versions that a result depends on, to be noted beside it."""
    return {name: version_of(name) or "unknown" for name in ("cofire", "torch", "numpy")}


Read = Callable[[Mapping[str, Any]], Mapping[str, Any]]
"""How the record of a run is read that another version may have started: `Options.completed`, say."""


def begin(
    path: Path,
    options: Mapping[str, Any],
    *,
    read: Read | None = None,
    error: type[CofireError] = MergeError,
) -> None:
    """Note what a run is started with, or hold it against what the run in its folder was started with.

    Args:
        path: The file in the run's folder.
        options: What JSON can hold.
        read: See `check_same`.
        error: What is raised where they are others.

    Raises:
        CofireError: `error`: the run was started with others.
        ResultError: The file is damaged.
    """
    mine = json.loads(json.dumps(dict(options)))
    if not path.exists():
        write_text(path, json.dumps(mine, indent=2, sort_keys=True) + "\n")
        return
    try:
        theirs = dict(read_json(path))
    except (OSError, ValueError, TypeError, RecursionError) as fault:
        raise ResultError(
            f"'{path}' is damaged: {fault}",
            "what a run was started with",
            "delete it to start anew",
        ) from fault
    check_same(path.parent, theirs, mine, read=read, error=error)


def check_same(
    folder: Path,
    theirs: Mapping[str, Any],
    mine: Mapping[str, Any],
    *,
    read: Read | None = None,
    error: type[CofireError] = MergeError,
) -> None:
    """Refuse results that were made with other options.

    Args:
        folder: Where they are.
        theirs: What they were made with.
        mine: What the run is started with.
        read: Says what theirs are in the words of this version. What only they name is then of
            another version, and tells nothing.
        error: What is raised where they are others.

    Raises:
        CofireError: `error`: they were.
    """
    names = mine.keys() if read else {*theirs, *mine}
    theirs = read(theirs) if read else theirs
    changed = sorted(k for k in names if theirs.get(k) != mine.get(k))
    if changed:
        shown = [f"{k} {theirs.get(k)!r:.200} there, {mine.get(k)!r:.200} now" for k in changed]
        raise error(
            f"'{folder}' was started with other values of {', '.join(changed)}: {'; '.join(shown[:4])}",
            "the data, network and options that this folder was started with",
            "choose another folder, or delete this one to start anew",
        )


def checksum_of_json(content: Any) -> str:
    """A checksum of what JSON can hold, the same however it is laid out."""
    # Read back first: keys that are numbers become names, and are sorted as such.
    plain = json.loads(json.dumps(content))
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()


def save_json(path: str | Path, content: Mapping[str, Any]) -> Path:
    """Write JSON with its checksum, whole or not at all.

    Returns:
        The path.
    """
    whole = {**content, _JSON_KEY: checksum_of_json(content)}
    write_text(path, json.dumps(whole, indent=1, ensure_ascii=False, allow_nan=False) + "\n")
    return Path(path)


def load_json(path: str | Path) -> Any:
    """What JSON held, without its checksum, held against that where there is one.

    Raises:
        OSError: There is no such file.
        ValueError: It is no JSON, or not what was written.
        RecursionError: It is nested too deep.

    Example:
        >>> import tempfile
        >>> path = save_json(Path(tempfile.mkdtemp()) / "a.json", {"seed": 1})
        >>> load_json(path)
        {'seed': 1}
        >>> _ = path.write_text(path.read_text().replace("1,", "2,"))
        >>> load_json(path)
        Traceback (most recent call last):
        ValueError: its content is not what was written: bits have changed, or another program changed it
    """
    content = read_json(path)
    if not isinstance(content, dict) or _JSON_KEY not in content:
        return content
    plain = {name: value for name, value in content.items() if name != _JSON_KEY}
    if content[_JSON_KEY] != checksum_of_json(plain):
        raise ValueError(_CHANGED)
    return plain


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
            # One number alone counts as contiguous whatever its stride, and then has no bytes to view.
            flat = plain.as_strided((plain.numel(),), (1,))
            found.update(flat.view(torch.uint8).numpy().data)
    return found.hexdigest()


def _of_tensors(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    whole = [hash_of_tensors(tensors), sorted(metadata.items())]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()


def write_tensors(
    path: str | Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file with a checksum of its tensors and metadata, whole or not at all.

    Raises:
        ValueError: Its header is longer than is read again.
    """
    plain = {name: value.contiguous() for name, value in tensors.items()}
    with atomic_path(path) as partial:
        save_file(plain, partial, metadata={**metadata, _KEY: _of_tensors(plain, metadata)})
        _check_header(partial)
        _order_metadata(partial)


def _order_metadata(path: Path) -> None:
    """Sort the metadata of a safetensors file, which come in any order: the same result is the same file."""
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False)
        file.seek(8)
        file.write(text.encode().ljust(size))


def _check_header(path: str | Path) -> None:
    """Refuse a safetensors file whose header would cost more than any result or network needs."""
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
    _check_header(path)
    with safe_open(path, framework="pt") as file:
        names = list(file.keys())
        if len(names) > _TENSORS:
            raise ValueError(f"{len(names):,} tensors, more than {_TENSORS:,}")
        metadata = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in names}
    others = {name: value for name, value in metadata.items() if name != _KEY}
    if metadata.get(_KEY) not in (None, _of_tensors(tensors, others)):
        raise ValueError(_CHANGED)
    return tensors, metadata


def save_result(
    path: str | Path, kind: str, note: dict[str, Any], tensors: Mapping[str, Tensor]
) -> Path:
    """Write tensors and a note about them to one safetensors file, whole or not at all.

    Args:
        path: Where to.
        kind: Of result, "summary" say: what the file is asked for when it is read.
        note: What JSON can hold.
        tensors: By name.

    Returns:
        The path.

    Raises:
        ResultError: The note is longer than is read again.
    """
    try:
        write_tensors(path, tensors, {f"cofire.{kind}": json.dumps(note)})
    except ValueError as error:
        told = f"a {kind} whose note does not fit its file: {error}"
        raise ResultError(told, "one that can be read again", "save it in parts") from error
    return Path(path)


def load_result(
    path: str | Path, kind: str, read: Callable[[dict[str, Any], dict[str, Tensor]], Result]
) -> Result:
    """Read what `save_result` wrote.

    Args:
        path: The file.
        kind: Of result.
        read: Makes the result of note and tensors.

    Raises:
        ResultError: The file is missing, damaged, or holds something else.
    """
    try:
        tensors, metadata = read_tensors(path)
    except (OSError, SafetensorError, ValueError) as error:
        raise ResultError(
            f"{path}: {error}", f"a whole file with a {kind}", f"make the {kind} again"
        ) from error
    try:
        return read(json.loads(metadata.get(f"cofire.{kind}", "{}")), tensors)
    except (ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise ResultError(
            f"{path} is no {kind} of this version",
            f"a file that the {kind}'s save wrote",
            f"name another file (not weights), or make the {kind} again with this version",
        ) from error


def write_table(table: pa.Table, path: str | Path, **options: Any) -> None:
    """Write a Parquet file with a checksum of its rows and metadata, whole or not at all.

    Args:
        table: To write.
        path: Where to.
        options: Of `pyarrow.parquet.write_table`.
    """
    key, metadata = _KEY.encode(), dict(table.schema.metadata or {})
    metadata.pop(key, None)
    plain = table.replace_schema_metadata(metadata)
    whole = plain.replace_schema_metadata({**metadata, key: _of_table(plain).encode()})
    with atomic_path(path) as partial:
        pq.write_table(whole, partial, **options)


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
        ArithmeticError,
        LookupError,
        MemoryError,
        TypeError,
        ValueError,
    ) as e:
        raise pa.ArrowInvalid(str(e)) from e
    metadata = dict(table.schema.metadata or {})
    kept = metadata.pop(_KEY.encode(), None)
    plain = table.replace_schema_metadata(metadata or None)
    if kept is not None and kept != _of_table(plain).encode():
        raise pa.ArrowInvalid(_CHANGED)
    return plain


def with_columns(table: pa.Table, schema: pa.Schema, told: str) -> pa.Table:
    """A table that an earlier version may have written, with the columns of now; those that are its own come last.

    Args:
        table: As it was read.
        schema: The columns of now; one that the table lacks is null.
        told: What the table is, for a message.

    Raises:
        ResultError: A column that is never null is missing, or one is of another type.
    """
    notes = table.schema.metadata  # which new names would take away
    # The words of now, where the table has none of them.
    now = [WORDS.get(name, name) for name in table.column_names]
    table = table.rename_columns(now) if len(set(now)) == len(now) else table
    names = set(table.column_names)
    missing = [one.name for one in schema if one.name not in names and not one.nullable]
    try:
        if missing:
            raise ValueError(f"no column {', '.join(missing)}")
        others = [one for one in table.schema if one.name not in schema.names]
        known = [
            table[one.name] if one.name in names else pa.nulls(len(table), one.type)
            for one in schema
        ]
        whole = pa.table(
            [*known, *(table[one.name] for one in others)],
            [*schema.names, *(one.name for one in others)],
        )
        return whole.cast(pa.schema([*schema, *others], notes))
    except (pa.ArrowException, ValueError) as error:
        raise ResultError(
            f"{told}: {error}",
            f"the columns {', '.join(f'{one.name} ({one.type})' for one in schema)}",
            "make it again with this version of cofire",
        ) from error


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

    def check(told: str, count: int, most: int) -> None:
        if count > most:
            raise pa.ArrowInvalid(f"{told.format(f'{count:,}')}, more than {most:,}")

    with path.open("rb") as file:
        if file.seek(0, 2) >= 8:
            file.seek(-8, 2)
            length = int.from_bytes(file.read(4), "little")
            check("a footer of {} bytes", length, _FOOTER_BYTES)
    about = pq.read_metadata(path)
    groups = [about.row_group(part) for part in range(about.num_row_groups)]
    check("{} columns", about.num_columns, _COLUMNS)
    check("{} parts of columns", about.num_columns * len(groups), _CHUNKS)
    check("{} rows", about.num_rows, _VALUES)
    with pq.ParquetFile(path) as file:
        for part, _ in enumerate(groups):
            # A fault of a column's description, an error here, would end the whole process below.
            next(file.iter_batches(1, row_groups=[part], use_threads=False), None)
    chunks = [(group, group.column(at)) for group in groups for at in range(about.num_columns)]
    values = sum(max(chunk.num_values, group.num_rows) for group, chunk in chunks)
    check("{} values", values, _VALUES)
    unpacked = sum(chunk.total_uncompressed_size for _, chunk in chunks)
    check("{} bytes when unpacked", unpacked, _TABLE_BYTES)


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
