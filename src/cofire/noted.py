"""Tensors and a note about them in one safetensors file: how results are kept."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from cofire.atomic import atomic_path
from cofire.checksums import check_header, read_tensors, sealed
from cofire.errors import ResultError

Result = TypeVar("Result")


def save_noted(
    path: str | Path, kind: str, note: dict[str, Any], tensors: Mapping[str, Tensor]
) -> Path:
    """Write tensors and a note, whole or not at all.

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
    with atomic_path(path) as partial:
        plain = {name: value.contiguous() for name, value in tensors.items()}
        save_file(plain, partial, metadata=sealed(plain, {f"cofire.{kind}": json.dumps(note)}))
        try:
            check_header(partial)
        except ValueError as error:
            told = f"a {kind} whose note does not fit its file: {error}"
            raise ResultError(told, "one that can be read again", "save it in parts") from error
    return Path(path)


def load_noted(
    path: str | Path, kind: str, read: Callable[[dict[str, Any], dict[str, Tensor]], Result]
) -> Result:
    """Read what `save_noted` wrote.

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
