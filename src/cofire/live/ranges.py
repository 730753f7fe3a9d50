"""Histograms whose ranges grow with the data: one pass instead of two."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from cofire.activations import ActivationHistograms

FINER = 4
"""Bins that are counted for each one that is asked for: at least half of them lie within the data."""

_GUARD = {"float32": (22, 140), "float64": (50, 1000)}
"""A bin is no narrower than the largest number over 2^this, nor than 2^-this: edges are exact."""


def no_counts(
    neurons: int, bins: int, precision: str, device: torch.device
) -> ActivationHistograms:
    """Histograms before any data, without a range yet.

    Args:
        neurons: Of the layer.
        bins: Bins that are asked for.
        precision: "float32" or "float64".
        device: Where the activations lie.
    """
    nowhere = torch.zeros(1, neurons, dtype=torch.float64, device=device)
    return ActivationHistograms.empty(nowhere, nowhere.clone(), FINER * bins, precision)


def widened(
    histograms: ActivationHistograms, low: Tensor, high: Tensor, *, tight: bool = False
) -> ActivationHistograms:
    """The same counts over ranges that hold all data so far; itself where they do already.

    Bins are `[g 2^k, (g + 1) 2^k)` with whole numbers g and k, the smallest k for which the data
    fit. A wider range has a larger k, whose bins are unions of the old ones: no count is ever
    split, and histograms of other data go onto one range in the same way.

    Args:
        histograms: Of one class.
        low: Smallest non-zero activation of all that is or will be counted, (1, neurons); +inf
            where there is none.
        high: Largest one, -inf where there is none.
        tight: Choose every range anew, so that it follows from `low` and `high` alone.
    """
    bins = histograms.bins
    fresh = histograms.upper == histograms.lower
    outside = fresh | (low < histograms.lower) | (high >= histograms.upper)
    outside = (low <= high) & (outside | tight)
    if not bool(outside.any()):
        return histograms
    at = outside[0].nonzero()[:, 0]
    first, last = low[0, at], high[0, at]
    digits, least = _GUARD[histograms.precision]
    power = torch.frexp((last - first) / bins).exponent
    # Of zero, frexp gives no small power.
    power = torch.where(last > first, power, -least)
    largest = torch.frexp(torch.maximum(first.abs(), last.abs())).exponent
    power = torch.maximum(power, largest - digits).clamp(min=-least)
    width = _two_to(power)
    power += torch.floor(last / width) - torch.floor(first / width) >= bins
    width = _two_to(power)
    begin = torch.floor(first / width)
    lower, upper = histograms.lower.clone(), histograms.upper.clone()
    counts = histograms.counts.clone()
    old = (histograms.upper - histograms.lower)[0, at] / bins
    # A range that there was not yet has no counts: any place of theirs will do.
    old = torch.where(fresh[0, at], width, old)
    place = torch.arange(bins, dtype=torch.float64, device=at.device) * old[:, None]
    place = torch.floor((histograms.lower[0, at, None] + place) / width[:, None]) - begin[:, None]
    moved = torch.zeros_like(counts[0, at])
    moved.scatter_add_(1, place.clamp(0, bins - 1).to(torch.int64), counts[0, at])
    lower[0, at], upper[0, at], counts[0, at] = begin * width, (begin + bins) * width, moved
    return replace(histograms, lower=lower, upper=upper, counts=counts)


def _two_to(power: Tensor) -> Tensor:
    return torch.ldexp(torch.ones_like(power, dtype=torch.float64), power)


def over_own_range(
    histograms: ActivationHistograms, low: Tensor, high: Tensor, bins: int
) -> ActivationHistograms:
    """The counts over each neuron's own range, from its smallest to its largest non-zero activation.

    Where an edge falls within a bin of `histograms`, that bin's observations are taken to lie
    evenly in it: this alone is an estimate. The entropy of a neuron of 20,000 observations is
    within 0.03 nats of that of two passes, that of a layer's neurons within 0.006 on average.

    Args:
        histograms: Over ranges that `widened` gave, of one class.
        low: Where each histogram begins, (1, neurons); 0 for a silent neuron, like `high`.
        high: Where it ends.
        bins: How many bins.
    """
    many = histograms.bins
    width = (histograms.upper - histograms.lower) / many
    width = torch.where(width == 0, 1.0, width)[..., None]
    start, end, origin = low[..., None], high[..., None], histograms.lower[..., None]
    share = torch.arange(bins + 1, dtype=torch.float64, device=low.device) / bins
    edges = start + share * (end - start)
    inside = torch.floor((edges - origin) / width).clamp(0, many - 1)
    left = torch.clamp(origin + inside * width, min=start, max=end)
    right = torch.clamp(origin + (inside + 1) * width, min=start, max=end)
    part = ((edges - left) / torch.where(right > left, right - left, 1.0)).clamp(0, 1)
    before = torch.nn.functional.pad(histograms.counts.cumsum(-1), (1, 0))
    place = inside.to(torch.int64)
    below, above = before.gather(-1, place), before.gather(-1, place + 1)
    reached = torch.round(below + part * (above - below)).to(torch.int64)
    reached[..., 0], reached[..., -1] = 0, before[..., -1]
    single = low == high
    reached[..., : bins // 2 + 1][single] = 0
    reached[..., bins // 2 + 1 :][single] = before[..., -1:].expand_as(
        reached[..., bins // 2 + 1 :]
    )[single]
    return replace(histograms, lower=low, upper=high, counts=reached.diff(dim=-1))
