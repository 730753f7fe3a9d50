"""Labels that can be trusted: whole numbers, one per sample, within range; and the samples in their order."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from cofire.bounds import check_whole
from cofire.errors import LabelError


def check_labels(labels: Tensor, samples: int, num_classes: int, where: str = "") -> Tensor:
    """The labels as int64, if they fit.

    Args:
        labels: What was given as labels.
        samples: How many samples they belong to.
        num_classes: Classes are numbered from 0 to one less than this.
        where: Which batch, for the message; empty if there is only one.

    Returns:
        (samples,), int64.

    Raises:
        OptionError: `num_classes` is no whole number from 1 up.
        LabelError: They are not whole numbers, not flat, of another length, or out of range.

    Example:
        >>> check_labels(torch.tensor([2, 0], dtype=torch.uint8), 2, 3)
        tensor([2, 0])
    """
    place = f" in {where}" if where else ""
    num_classes = check_whole("num_classes", num_classes)
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise LabelError(
            f"labels of type {labels.dtype}{place}",
            "whole numbers from 0",
            _as_whole_numbers(labels),
        )
    if labels.ndim == 2 and labels.shape[1] == 1:
        raise LabelError(
            f"labels of shape {tuple(labels.shape)}{place}",
            f"one whole number per sample, ({samples},)",
            "drop the second axis with labels.squeeze(1)",
        )
    if labels.ndim != 1:
        raise LabelError(
            f"labels of shape {tuple(labels.shape)}{place}",
            f"one whole number per sample, ({samples},)",
            "turn one-hot rows into numbers with labels.argmax(dim=1)",
        )
    if len(labels) != samples:
        raise LabelError(
            f"{len(labels)} labels for {samples} samples{place}",
            "one label per sample",
            "pass them in the same order",
        )
    labels = labels.to(torch.int64)  # comparing is not implemented for all types
    wrong = torch.nonzero((labels < 0) | (labels >= num_classes)).flatten()
    if len(wrong):
        at = int(wrong[0])
        raise LabelError(
            f"label {int(labels[at])} at position {at}{place}",
            f"a class from 0 to {num_classes - 1}",
            "number the classes from 0, or check that the network has as many outputs as the data has classes",
        )
    return labels


def _as_whole_numbers(labels: Tensor) -> str:
    """What to do with labels of another type: what keeps their meaning, and no more than that."""
    if labels.ndim == 2 and labels.shape[1] > 1:
        return "take the likeliest class of each sample with labels.argmax(dim=1)"
    if labels.is_complex() or not bool((labels == labels.to(torch.float64).round()).all()):
        return "pass the class number of each sample: these numbers are none, so rounding them would change the classes"
    return "convert them with labels.long()"


@dataclass(frozen=True)
class Grouping:
    """The samples of a batch by class: counts are then written once per class, not once per sample.

    Attributes:
        labels: Class of every sample, as the samples lie, (samples,), int64.
        one_class: Whether all labels are the same, so that nothing need be put in order.

    Example:
        >>> batch = Grouping(torch.tensor([1, 0, 1]))
        >>> batch.order, batch.ordered
        (tensor([1, 0, 2]), tensor([0, 1, 1]))
    """

    labels: Tensor
    one_class: bool = False

    @cached_property
    def order(self) -> Tensor:
        """The samples in the order of their classes, (samples,), int64."""
        if self.one_class:
            return torch.arange(len(self.labels), device=self.labels.device)
        return torch.argsort(self.labels, stable=True)

    @cached_property
    def ordered(self) -> Tensor:
        """The classes in that order, (samples,), int64."""
        return self.labels if self.one_class else self.labels[self.order]

    @cached_property
    def arrays(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The classes in their order, and the order, for the compiled loops."""
        return self.ordered.numpy(), self.order.numpy()

    @cached_property
    def members(self) -> list[tuple[int, Tensor]]:
        """Each class that occurs, with the indices of its samples."""
        present, sizes = torch.unique_consecutive(self.ordered, return_counts=True)
        return list(zip(present.tolist(), torch.split(self.order, sizes.tolist()), strict=True))

    def together(self) -> Grouping:
        """The same samples as one class."""
        return Grouping(torch.zeros_like(self.labels), one_class=True)
