"""The processes of a distributed run, each of which observes its share of the batches."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch

from cofire.live.observed import Observed


def _distributed() -> bool:
    return torch.distributed.is_available() and torch.distributed.is_initialized()


def rank() -> int:
    """The number of this process; the first one writes."""
    return torch.distributed.get_rank() if _distributed() else 0


def processes() -> int:
    """How many there are."""
    return torch.distributed.get_world_size() if _distributed() else 1


def of_all_processes(own: Observed | None) -> Observed | None:
    """What all processes of a distributed run observed; each calls it."""
    if processes() == 1:
        return own
    gathered: list[Any] = [None] * processes()
    torch.distributed.all_gather_object(gathered, own)
    found = [part for part in gathered if part is not None]
    whole: Observed | None = found[0] if found else None
    for part in found[1:]:
        whole = whole.merge(part)  # type: ignore[union-attr]
    # All saw the same steps, each its share of the batches.
    return whole if whole is None else replace(whole, steps=found[0].steps)
