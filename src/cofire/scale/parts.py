"""What a pass counted, as a file, and as bytes for another process: tensors and a note, nothing to unpickle."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as tensors_of_bytes
from safetensors.torch import save as bytes_of_tensors
from torch import Tensor

from cofire.activations import (
    ActivationHistograms,
    ActivationStatistics,
    CofiringCounts,
    TopSamples,
)
from cofire.activations.passes import DataSeen
from cofire.activations.sharing import Counted, blocks_of
from cofire.activations.statistics import State
from cofire.activations.sums import Sums
from cofire.errors import ResultError
from cofire.reading import reading
from cofire.storage import load_result, save_result

_STATES: tuple[type[State], ...] = (
    ActivationHistograms,
    ActivationStatistics,
    CofiringCounts,
    DataSeen,
    Sums,
    TopSamples,
)
_KINDS = {kind.__name__: kind for kind in _STATES}
_WHOLE, _EXACT = (torch.int64,), (torch.float64,)
_SHORT, _FLOAT = (torch.int32,), (torch.float32, torch.float64)
_SHAPES: dict[str, dict[str, tuple[tuple[torch.dtype, ...], str]]] = {
    "ActivationHistograms": {
        "lower": (_EXACT, "cn"),
        "upper": (_EXACT, "cn"),
        "counts": (_WHOLE, "cnb"),
    },
    "ActivationStatistics": {
        "samples": (_WHOLE, "c"),
        **dict.fromkeys(("total", "minimum", "maximum"), (_EXACT, "cn")),
        **dict.fromkeys(("nonzero", "active"), (_WHOLE, "cn")),
        "classes": (_WHOLE, "c"),
    },
    "CofiringCounts": {
        "observations": (_WHOLE, "c"),
        "representatives": (_WHOLE, "ct"),
        "means": (_EXACT, "ct"),
        "neurons": (_WHOLE, "cp"),
        "thresholds": (_EXACT, "cp"),
        "counts": (_EXACT, "spp"),
    },
    "DataSeen": {"sums": (_EXACT, "c6"), "direction": (_FLOAT, "v"), "outputs": (_WHOLE, "c")},
    "Sums": {"digits": (_WHOLE, "3cn"), "level": (_WHOLE, "n"), "classes": (_WHOLE, "c")},
    "TopSamples": {
        "values": (_FLOAT, "cnk"),
        "samples": (_SHORT, "cnk"),
        "places": (_SHORT, "cnk"),
        "classes": (_WHOLE, "c"),
    },
}
"""Types and shapes of each state's tensors: a letter is the same size wherever it stands in a state."""
_PLAIN: dict[str, tuple[type, ...]] = {
    "positions": (int,),
    "threshold": (int, float),
    "precision": (str,),
    "outputs": (type(None),),
}


def _packed(counted: Counted) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors: dict[str, Tensor] = {}
    states = []
    for number, (name, state) in enumerate(sorted(counted.states.items())):
        values = {f.name: getattr(state, f.name) for f in fields(state)}
        # Each of its own memory, as a file must have them.
        held = {k: v.detach().cpu().clone() for k, v in values.items() if isinstance(v, Tensor)}
        tensors |= {f"{number}.{k}": v.contiguous() for k, v in held.items()}
        plain = {k: v for k, v in values.items() if not isinstance(v, Tensor)}
        states.append({"name": name, "kind": type(state).__name__, "plain": plain})
    note = {
        "blocks": [[part.start, part.stop] for part in counted.blocks],
        "samples": counted.samples,
        "network": counted.network,
        "size": counted.size,
        "data": counted.data,
        "states": states,
    }
    return note, tensors


def _unpacked(note: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> Counted:
    states = {}
    for number, told in enumerate(note["states"]):
        start = f"{number}."
        held = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
        state = states[told["name"]] = _KINDS[told["kind"]](**held, **told["plain"])
        _check(state)
    blocks = tuple(range(*ends) for ends in note["blocks"])
    of = (note["samples"], note["network"], note["size"], note["data"])
    if [type(one) for one in of] != [int, str, int, str] or min(note["samples"], note["size"]) < 0:
        raise ValueError("a note of other types")
    last = blocks_of(note["samples"], size=max(1, note["size"])).stop
    ends = [0, *(end for one in blocks for end in (one.start, one.stop)), last]
    if ends != sorted(ends) or not all(blocks):
        raise ValueError("blocks that the data has not")
    return Counted(blocks, note["samples"], note["network"], states, note["size"], note["data"])


def _check(state: State) -> None:
    """Refuse a state whose tensors are not of its types, or do not fit each other."""
    shapes, sizes = _SHAPES[type(state).__name__], dict[str, int]()
    for name, value in ((one.name, getattr(state, one.name)) for one in fields(state)):
        if not isinstance(value, Tensor):
            if not isinstance(value, _PLAIN[name]):
                raise ValueError(f"{name} of another type")
            continue
        types, dims = shapes[name]
        wanted = [int(d) if d.isdigit() else sizes.get(d) for d in dims]
        if value.dtype not in types or value.ndim != len(dims):
            raise ValueError(f"{name} of another type")
        for dim, size, known in zip(dims, value.shape, wanted, strict=True):
            if sizes.setdefault(dim, size if known is None else known) != size:
                raise ValueError(f"{name} of another shape")


def to_bytes(counted: Counted) -> bytes:
    """What a pass counted, for another process."""
    note, tensors = _packed(counted)
    told = json.dumps(note).encode()
    return len(told).to_bytes(8, "little") + told + bytes_of_tensors(tensors)


def from_bytes(content: bytes) -> Counted:
    """What `to_bytes` gave."""
    end = 8 + int.from_bytes(content[:8], "little")
    return _unpacked(json.loads(content[8:end]), tensors_of_bytes(content[end:]))


def save_counts(path: Path, passes: Sequence[Counted], record: Mapping[str, Any]) -> None:
    """Write what some passes counted to one file, whole or not at all.

    Args:
        path: Where to.
        passes: In their order.
        record: What they were made with, as JSON holds it.
    """
    notes, tensors = [], {"passes": torch.tensor(len(passes))}
    for number, counted in enumerate(passes):
        note, held = _packed(counted)
        notes.append(note)
        tensors |= {f"{number}.{name}": value for name, value in held.items()}
    save_result(path, "counts", {"passes": notes, "record": dict(record)}, tensors)


def load_counts(path: Path) -> tuple[list[Counted], dict[str, Any]]:
    """Read what `save_counts` wrote.

    Raises:
        ResultError: The file is missing, damaged, or holds something else.
    """

    def read(note: dict[str, Any], tensors: dict[str, Tensor]) -> tuple[list[Counted], Any]:
        passes = []
        for number, told in enumerate(note["passes"]):
            start = f"{number}."
            held = {k.removeprefix(start): v for k, v in tensors.items() if k.startswith(start)}
            passes.append(_unpacked(told, held))
        return passes, note["record"]

    with reading(path, ResultError, "what a command with --shard wrote"):
        return load_result(path, "counts", read)
