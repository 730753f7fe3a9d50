"""What a command gave, as plain values: tables, JSON, graphs, programs, pages."""

from __future__ import annotations

import io
import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import networkx as nx
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image, UnidentifiedImageError

from tests.golden.text import lines_of, visible_lines

_CHANGING = {"forward_pass", "format", "position", "seconds", "sha256", "versions"}
"""Keys of durations, versions, and places in a layout, in which small errors grow."""
_HASH = re.compile(r"^[0-9a-f]{32,}$")
_TIMES = re.compile(r"seconds|forward_pass")
_INSIDE = {"rows", "checkpoints"}
"""Folders that only the package reads."""


def names_below(places: list[Path], folder: Path) -> list[str]:
    """Files that a command gave, and folders with a slash."""
    found = []
    for place in places:
        for path in sorted(place.iterdir()) if place.is_dir() else [place]:
            name = path.relative_to(folder).as_posix()
            found.append(f"{name}/" if path.is_dir() else name)
    return found


def values_below(places: list[Path], folder: Path) -> dict[str, Any]:
    """Values of all files that hold some, by name."""
    return {
        path.relative_to(folder).as_posix(): _READERS[path.suffix](path)
        for path in _files(places)
        if path.suffix in _READERS
    }


def pages_below(places: list[Path], folder: Path) -> dict[str, list[str]]:
    """Visible lines of all pages, by name."""
    read = {".html": visible_lines, ".md": lines_of}
    return {
        path.relative_to(folder).as_posix(): read[path.suffix](
            path.read_text(encoding="utf-8"), folder
        )
        for path in _files(places)
        if path.suffix in read
    }


def plain(value: Any) -> Any:
    """Values that JSON holds, floats with six digits, without what changes from run to run."""
    if isinstance(value, float):
        return float(f"{value:.6g}") + 0.0 if math.isfinite(value) else str(value)
    if isinstance(value, bytes):
        return _pixels(value)
    if isinstance(value, dict):
        return {str(key): plain(one) for key, one in value.items() if not _changes(key, one)}
    if isinstance(value, list | tuple):
        return [plain(one) for one in value]
    return value


def _pixels(value: bytes) -> list[Any]:
    """Shape and mean of an image; of other bytes their number and mean."""
    try:
        with Image.open(io.BytesIO(value)) as image:
            pixels = np.asarray(image)
    except UnidentifiedImageError:
        pixels = np.frombuffer(value, np.uint8)
    return [*pixels.shape, round(float(pixels.mean()), 2)]


def _changes(key: object, value: object) -> bool:
    named = key in _CHANGING and not isinstance(value, bool)
    return named or (isinstance(value, str) and bool(_HASH.match(value)))


def _files(places: list[Path]) -> list[Path]:
    found = []
    for place in places:
        found += sorted(place.rglob("*")) if place.is_dir() else [place]
    return [path for path in found if path.is_file() and not _INSIDE & set(path.parts)]


def _table(path: Path) -> dict[str, Any]:
    return _columns(pq.read_table(path))


def _columns(table: pa.Table) -> dict[str, Any]:
    columns = {
        field.name: [str(field.type), *map(plain, table[field.name].to_pylist())]
        for field in table.schema
        if not _TIMES.search(field.name)
    }
    return {"rows": len(table), "columns": columns}


def _graph(read: Callable[[Path], nx.Graph]) -> Callable[[Path], dict[str, Any]]:
    def values(path: Path) -> dict[str, Any]:
        graph = read(path)
        vertices = [{"vertex": name, **given} for name, given in graph.nodes(data=True)]
        edges = [{"from": a, "to": b, **given} for a, b, given in graph.edges(data=True)]
        return {"vertices": _by_column(vertices), "edges": _by_column(edges)}

    return values


def _by_column(rows: list[dict[str, Any]]) -> dict[str, Any]:
    names = dict.fromkeys(name for row in rows for name in row)
    return {name: [plain(row.get(name)) for row in rows] for name in names}


def _program(path: Path) -> dict[str, Any]:
    """What an exported program answers to four images that are always the same."""
    program = torch.export.load(path)
    (name,) = program.graph_signature.user_inputs
    (node,) = [node for node in program.graph.nodes if node.name == name]
    shape = (4, *map(int, node.meta["val"].shape[1:]))
    inputs = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        answer = program.module()(inputs)
    return {"answers": plain(answer.tolist())}


_READERS: dict[str, Callable[[Path], Any]] = {
    ".parquet": _table,
    ".json": lambda path: plain(json.loads(path.read_text(encoding="utf-8"))),
    ".gexf": _graph(nx.read_gexf),
    ".graphml": _graph(nx.read_graphml),
    ".pt2": _program,
}
