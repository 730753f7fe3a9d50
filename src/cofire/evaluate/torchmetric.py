"""The torchmetrics metric around a measure; this file needs torchmetrics, `torchmetric.py` says so politely."""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities import dim_zero_cat

from cofire.evaluate.metrics import Measure


class WrappedMeasure(Metric):
    """A measure whose numbers torchmetrics gathers across processes.

    Args:
        measure: Whose options it has.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, measure: Measure) -> None:
        super().__init__()
        empty = {**measure.state(), "values": torch.zeros(0, dtype=torch.float64), "left_out": 0}
        self._inner: Measure = type(measure).from_state(empty)
        # A collection lets metrics share a state that were equal after the first batch, as those of
        # two tolerances may be by chance. Names of the state's own keep them apart.
        told = json.dumps([type(measure).__name__, dict(measure.options)], sort_keys=True)
        mark = hashlib.sha256(told.encode()).hexdigest()[:12]
        self._held, self._missed = f"values_{mark}", f"left_out_{mark}"
        self.add_state(self._held, default=[], dist_reduce_fx="cat")
        self.add_state(
            self._missed, default=torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum"
        )
        # A process without images sends an empty tensor of the metric's type: it must be that of
        # the numbers.
        self.set_dtype(torch.float64)
        self._update_signature = inspect.signature(measure.judge)

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Judge a batch and add it; takes what the measure's `judge` takes."""
        found = self._inner.judge(*args, **kwargs)
        getattr(self, self._held).append(found.values[found.counted].to(self.device))
        setattr(self, self._missed, getattr(self, self._missed) + found.left_out)

    def compute(self) -> Tensor:
        """The mean over the images that count, float64.

        Raises:
            DataError: No image counts.
        """
        return torch.tensor(
            self.measure().result(draws=1).mean, dtype=torch.float64, device=self.device
        )

    def measure(self) -> Measure:
        """The measure with the numbers of this process: for its interval, and to merge or keep it."""
        held: Any = getattr(self, self._held)
        # Gathered from several processes it is one tensor, else a list that may be empty.
        values = dim_zero_cat(held) if len(held) else torch.zeros(0, dtype=torch.float64)
        state = {
            **self._inner.state(),
            "values": values.double().cpu(),
            "left_out": int(getattr(self, self._missed)),
        }
        return type(self._inner).from_state(state)
