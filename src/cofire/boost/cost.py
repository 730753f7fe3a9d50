"""What a booster costs: numbers to keep, and time on top of the classifier's own."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.boost.booster import Booster
from cofire.bounds import check_whole
from cofire.errors import OptionError


@dataclass(frozen=True)
class Cost:
    """What a booster costs.

    Attributes:
        parameters: Numbers that it adds.
        time: A boosted forward pass over one of the classifier alone: the median of such ratios,
            each taken from two passes one after the other.
    """

    parameters: int
    time: float


@validated
def cost_of_boosting(booster: Booster, images: Tensor, repeats: int = 15) -> Cost:
    """Measure a booster against its classifier on a batch.

    Args:
        booster: Fitted.
        images: A batch.
        repeats: How often.

    Raises:
        OptionError: The booster is not fitted, or `repeats` is no whole number from 1 up.
    """
    repeats = check_whole("repeats", repeats)
    if booster.fitted is None:
        raise OptionError("a booster that is not fitted", "a fitted one", "call booster.fit first")
    network = booster.network

    def seconds(boosted: bool) -> float:
        start = time.perf_counter()
        if boosted:
            booster.predict(images)
        else:
            network.run(images)
        if network.device.type == "cuda":
            torch.cuda.synchronize(network.device)
        return time.perf_counter() - start

    for boosted in (False, True):
        seconds(boosted)
    ratios = []
    for number in range(repeats):
        # In turn, so that whatever the first of two passes pays falls on both.
        order = (True, False) if number % 2 else (False, True)
        taken = {boosted: seconds(boosted) for boosted in order}
        ratios.append(taken[True] / taken[False])
    return Cost(booster.fitted.parameters_added, statistics.median(ratios))
