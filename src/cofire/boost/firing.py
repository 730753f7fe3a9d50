"""What a neuron is to a booster, when it fires, and in which layers that tells nothing as almost all always do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from cofire.bounds import check_threshold
from cofire.errors import OptionError

MEAN: Literal["mean"] = "mean"
"""Each neuron's own threshold: its mean over the training data."""

Threshold = float | Literal["mean"]

BoosterUnit = Literal["channel-mean", "channel-max", "element"]

DEFAULT_UNIT: BoosterUnit = "channel-mean"
"""What a booster reads of a feature map unless told: on held-out data no other was shown to be better (see
docs/replication.md)."""

UNITS: tuple[BoosterUnit, ...] = ("channel-mean", "channel-max", "element")
"""Of which a sample has one observation each."""

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
            f"threshold={threshold!r}",
            "a finite number, or 'mean', each neuron's own",
            "pass threshold='mean'",
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
    return [
        float((part > ALWAYS).double().mean())
        for part in torch.split(probability, list(sizes), dim=1)
    ]


def count_always_active(shares: Mapping[str, float]) -> int:
    """In how many layers almost every neuron is always active.

    Args:
        shares: For each layer the share of P above 0.99, 0 to 1.

    Example:
        >>> count_always_active({"relu1": 0.93, "relu2": 0.86, "relu3": 0.1})
        2
    """
    return sum(share > MOST for share in shares.values())


def told_of_always_active(layers: int, full: int) -> str:
    """In how many layers who fires tells nothing, in a sentence; "" for none.

    Args:
        layers: That are read.
        full: Those in which almost every neuron is always active.

    Example:
        >>> told_of_always_active(4, 3)
        'In 3 of 4 layers almost every neuron is always active (over 80 % of P lies above 0.99): who fires tells \
nothing there.'
        >>> told_of_always_active(4, 0)
        ''
    """
    if not full:
        return ""
    where = "the one layer that is read" if layers == 1 else f"{full} of {layers} layers"
    return (
        f"In {where} almost every neuron is always active (over {100 * MOST:.0f} % of P lies above {ALWAYS}): who "
        "fires tells nothing there."
    )
