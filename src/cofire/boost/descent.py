"""Adam on one tensor: small problems of a few thousand steps, where each call of an optimiser would cost more."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Adam"]


class Adam:
    """Adam's steps (Kingma & Ba 2015), with its usual decay rates 0.9 and 0.999.

    Args:
        value: What is changed, in place.
    """

    def __init__(self, value: Tensor) -> None:
        self._value = value
        self._first = torch.zeros_like(value)
        self._second = torch.zeros_like(value)
        self._steps = 0

    def step(self, slope: Tensor, rate: Tensor | float) -> None:
        """One step.

        Args:
            slope: Gradient, of the value's shape.
            rate: Step size, a number or of a shape that broadcasts to the value's.
        """
        self._steps += 1
        self._first.lerp_(slope, 0.1)
        self._second.mul_(0.999).addcmul_(slope, slope, value=0.001)
        size = (self._second / (1 - 0.999**self._steps)).sqrt_().add_(1e-8)
        self._value.sub_(rate * self._first / size.mul_(1 - 0.9**self._steps))
