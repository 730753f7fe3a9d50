"""Activation pattern entropy: how unpredictable a neuron's activation is."""

from __future__ import annotations

import torch
from torch import Tensor

from cofire.errors import DataError

_SLICE = 1 << 20


def entropy_of_counts(counts: Tensor) -> Tensor:
    """Shannon entropy in nats of histograms, `E_j = -Σ_k h_k log h_k` with `h_k = H_k / Σ H` (P2 §5.2).

    P2 prints the sum with a second minus sign; every sign it reports needs the positive form used
    here.

    Args:
        counts: Histograms, (..., bins), whole numbers from 0 up.

    Returns:
        Entropies in nats, (...), float64, from 0 to log(bins). An empty histogram (a neuron that
        never fires) has entropy 0.

    Raises:
        DataError: A count is negative.

    Example:
        >>> entropy_of_counts(torch.tensor([[1, 1, 1, 1], [4, 0, 0, 0], [0, 0, 0, 0]]))
        tensor([1.3863, 0.0000, 0.0000], dtype=torch.float64)
    """
    if counts.numel() and bool((counts < 0).any()):
        raise DataError(
            "a histogram with negative counts", "counts from 0 up", "pass counts, not densities"
        )
    rows = counts.reshape(-1, counts.shape[-1])
    # In slices: shares of a whole state at once would take as much memory again, several times
    # over.
    slices = [_entropy(part) for part in torch.split(rows, max(1, _SLICE // rows.shape[1]))]
    return torch.cat(slices).reshape(counts.shape[:-1])


def _entropy(counts: Tensor) -> Tensor:
    total = counts.sum(dim=-1, dtype=torch.float64, keepdim=True).clamp(min=1.0)
    entropies: Tensor = torch.special.entr(counts / total).sum(dim=-1)
    return entropies + 0.0  # no negative zeros
