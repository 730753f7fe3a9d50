"""Measures of explanations as metrics of torchmetrics."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cofire.arguments import validated
from cofire.errors import MissingExtraError
from cofire.evaluate.metrics import Measure

if TYPE_CHECKING:
    from cofire.evaluate.wrapped_measure import WrappedMeasure


@validated
def as_torchmetric(measure: Measure) -> WrappedMeasure:
    """A measure as a `torchmetrics.Metric`: for `MetricCollection`, Lightning, and several processes.

    It starts empty, takes what the measure's `judge` takes, and computes the mean over the images
    that count; its `measure()` gives the measure back, with the interval.

    Args:
        measure: Whose options it has; what it holds is left behind.

    Raises:
        MissingExtraError: torchmetrics is not installed.

    Example:
        >>> import torch
        >>> from cofire.evaluate.metrics import PointingGame
        >>> metric = as_torchmetric(PointingGame())
        >>> metric.update(torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]]), [torch.tensor([[1.0, 0.0, 2.0, 1.0]])] * 2)
        >>> metric.compute(), metric.measure()
        (tensor(0.5000, dtype=torch.float64), PointingGame(tolerance=0.0, 2 images, 0 left out))
    """
    try:
        from cofire.evaluate.wrapped_measure import WrappedMeasure
    except ImportError as error:
        raise MissingExtraError(
            "a torchmetrics metric without torchmetrics", "the library", "pip install torchmetrics"
        ) from error
    return WrappedMeasure(measure)
