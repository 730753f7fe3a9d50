"""When a neuron counts as firing, and in which layers that tells nothing because almost every neuron always does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from cofire.bounds import check_threshold
from cofire.errors import OptionError

__all__ = ["ALWAYS", "MEAN", "MOST", "Threshold", "always_active_shares", "check_firing", "told_of_always_active"]

MEAN: Literal["mean"] = "mean"
"""Each neuron's own threshold: its mean over the training data."""

Threshold = float | Literal["mean"]

ALWAYS = 0.99
"""A neuron that is active for a larger share of a class's samples is always active for that class."""

MOST = 0.8
"""Where a larger share of a layer's neurons is always active, its pattern tells nothing."""


def check_firing(threshold: Any) -> Threshold:
    """A threshold above which a neuron is active, or "mean".

    Raises:
        OptionError: It is neither.

    Example:
        >>> check_firing("mean"), check_firing(0)
        ('mean', 0.0)
    """
    if isinstance(threshold, str):
        if threshold == MEAN:
            return MEAN
        raise OptionError(
            f"threshold={threshold!r}", "a finite number, or 'mean', each neuron's own", "pass threshold='mean'"
        )
    return check_threshold(threshold)


def always_active_shares(probability: Tensor, sizes: Sequence[int]) -> list[float]:
    """For each layer the share of P (Eq. 14), over classes and neurons, that lies above 0.99.

    Args:
        probability: P, (classes, neurons of all layers).
        sizes: Neurons of each layer.

    Example:
        >>> always_active_shares(torch.tensor([[1.0, 1.0, 0.5], [1.0, 0.2, 0.0]]), [2, 1])
        [0.75, 0.0]
    """
    return [float((part > ALWAYS).double().mean()) for part in torch.split(probability, list(sizes), dim=1)]


def told_of_always_active(shares: Mapping[str, float]) -> str:
    """In how many layers who fires tells nothing; "" for none.

    Args:
        shares: For each layer the share of P above 0.99, 0 to 1.

    Example:
        >>> told_of_always_active({"relu1": 0.93, "relu2": 0.86, "relu3": 0.1})
        'In 2 of 3 layers almost every neuron is always active (86 to 93 % of P is above 0.99): who fires tells nothing \
there.'
        >>> told_of_always_active({"relu1": 0.5})
        ''
    """
    full = sorted(100 * share for share in shares.values() if share > MOST)
    if not full:
        return ""
    low, high = (f"{end:.0f}" for end in (full[0], full[-1]))
    span = low if low == high else f"{low} to {high}"
    where = "the layer that is read" if len(shares) == 1 else f"{len(full)} of {len(shares)} layers"
    return (
        f"In {where} almost every neuron is always active ({span} % of P is above {ALWAYS}): who fires tells nothing "
        "there."
    )
