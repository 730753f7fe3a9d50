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
from cofire.activations.sharing import Counted
from cofire.activations.statistics import State
from cofire.activations.sums import Sums
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
        states[told["name"]] = _KINDS[told["kind"]](**held, **told["plain"])
    blocks = tuple(range(*ends) for ends in note["blocks"])
    return Counted(blocks, note["samples"], note["network"], states, note["size"], note["data"])


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

    return load_result(path, "counts", read)
