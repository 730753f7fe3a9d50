"""How good class probabilities are: their loss, their calibration, and which classes are mistaken for which."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cofire.activations.batches import check_labels
from cofire.arguments import validated
from cofire.errors import DataError, NonFiniteError


def check_finite(values: Tensor, what: str) -> None:
    """Refuse numbers that are not finite.

    Raises:
        NonFiniteError: One is NaN or infinite.
    """
    if not bool(torch.isfinite(values).all()):
        raise NonFiniteError(
            what, "finite numbers", "find what makes the network overflow, or its inputs"
        )


def check_logits(logits: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
    """Logits as float64 and labels, if they fit.

    Raises:
        DataError: Not (samples, classes), or no samples.
        LabelError: Labels that do not fit.
        NonFiniteError: A logit is NaN or infinite.
    """
    if logits.ndim != 2 or not logits.numel():
        raise DataError(
            f"scores of shape {tuple(logits.shape)}",
            "(samples, classes), at least one sample",
            "pass one row a sample",
        )
    check_finite(logits, "NaN or infinite scores")
    return logits.to(torch.float64), check_labels(labels, len(logits), logits.shape[1])


def negative_log_likelihood(logits: Tensor, labels: Tensor) -> float:
    """Mean of `-log p(label)` in nats.

    Args:
        logits: (samples, classes).
        labels: (samples,).

    Raises:
        DataError: Shapes that do not fit, or values that are not finite.

    Example:
        >>> round(negative_log_likelihood(torch.zeros(3, 4), torch.tensor([0, 1, 2])), 4)
        1.3863
    """
    given, labels = check_logits(logits, labels)
    return float(torch.nn.functional.cross_entropy(given, labels))


@validated
def calibration_error(probabilities: Tensor, labels: Tensor, bins: int = 15) -> float:
    """Expected calibration error: how far confidence and accuracy lie apart, 0 to 1.

    Samples are binned by their highest probability, bin k being `(k / bins, (k + 1) / bins]`; the
    error is `Σ_k |B_k| / n · |accuracy(B_k) - mean confidence(B_k)|`.

    Args:
        probabilities: (samples, classes), each row summing to one.
        labels: (samples,).
        bins: How many bins of equal width.

    Raises:
        DataError: Shapes that do not fit, or values that are no probabilities.
        OptionError: `bins` is no whole number from 1 up.

    Example:
        >>> sure = torch.tensor([[0.75, 0.25], [0.75, 0.25], [0.75, 0.25], [0.75, 0.25]])
        >>> calibration_error(sure, torch.tensor([0, 0, 1, 1]))
        0.25
    """
    given, labels = check_logits(probabilities, labels)
    if float(given.min()) < 0 or float((given.sum(dim=1) - 1).abs().max()) > 1e-2:
        raise DataError(
            "rows that do not sum to one",
            "probabilities",
            "if these are logits, pass logits.softmax(1)",
        )
    confidence, predicted = given.max(dim=1)
    return calibration_gap(confidence, predicted == labels, bins)


def calibration_gap(confidence: Tensor, correct: Tensor, bins: int = 15) -> float:
    """The calibration error of confidences that are known (see `calibration_error`).

    Args:
        confidence: (samples,), 0 to 1.
        correct: Whether the prediction was right, (samples,).
        bins: How many bins of equal width.
    """
    edges = torch.arange(bins + 1, dtype=torch.float64) / bins
    sure = confidence.to(torch.float64).clamp(max=1)
    number = (torch.bucketize(sure, edges) - 1).clamp(0, bins - 1)
    gap = correct.to(torch.float64) - sure
    return float(
        torch.zeros(bins, dtype=torch.float64).index_add_(0, number, gap).abs().sum()
    ) / len(sure)


def false_counts(predicted: Tensor, labels: Tensor, num_classes: int) -> tuple[Tensor, Tensor]:
    """False positives and false negatives of every class.

    Args:
        predicted: (samples,), whole numbers.
        labels: (samples,).
        num_classes: Number of classes.

    Returns:
        Twice (classes,), int64.

    Raises:
        LabelError: Classes that do not fit.

    Example:
        >>> false_counts(torch.tensor([0, 0, 1]), torch.tensor([0, 1, 1]), 2)
        (tensor([1, 0]), tensor([0, 1]))
    """
    predicted = check_labels(predicted, len(labels), num_classes, "the predictions")
    labels = check_labels(labels, len(labels), num_classes)
    wrong = predicted != labels
    positives = torch.bincount(predicted[wrong], minlength=num_classes)
    return positives, torch.bincount(labels[wrong], minlength=num_classes)


MOST = {"repaired": 12, "broken": 12, "moved": 6}


"""How many are kept: wrong and then right, right and then wrong, wrong both times."""


_SIDE = 96


@dataclass(frozen=True)
class Flip:
    """A sample whose prediction changed.

    Attributes:
        index: Its place in the data, from 0.
        label: Its class.
        base: What the classifier predicted.
        boosted: What the booster predicts.
        base_confidence: How sure the classifier was, 0 to 1.
        boosted_confidence: How sure the booster is.
        image: A PNG file, None where the sample is no image.
    """

    index: int
    label: int
    base: int
    boosted: int
    base_confidence: float
    boosted_confidence: float
    image: bytes | None


class FlipCollector:
    """Keeps the first samples of each kind that go by."""

    def __init__(self) -> None:
        self._found: dict[str, list[Flip]] = {kind: [] for kind in MOST}
        self._seen = 0

    def update(
        self,
        inputs: Any,
        labels: Tensor,
        base: tuple[Tensor, Tensor, Tensor],
        boosted: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        """Look through a batch.

        Args:
            inputs: Gives each by its place, (...).
            labels: (samples,).
            base: Predictions, confidences and losses, (samples,) each.
            boosted: The same of the booster.
        """
        for at in torch.nonzero(base[0] != boosted[0]).flatten().tolist():
            label, before, after = int(labels[at]), int(base[0][at]), int(boosted[0][at])
            kind = "repaired" if after == label else "broken" if before == label else "moved"
            if len(self._found[kind]) < MOST[kind]:
                flip = Flip(
                    self._seen + at,
                    label,
                    before,
                    after,
                    float(base[1][at]),
                    float(boosted[1][at]),
                    _png(inputs[at]),
                )
                self._found[kind].append(flip)
        self._seen += len(labels)

    def examples(self) -> list[Flip]:
        """What was found, in the order of the data."""
        return sorted(
            (flip for found in self._found.values() for flip in found), key=lambda flip: flip.index
        )


def _png(values: Tensor) -> bytes | None:
    """An image of one or three channels as a PNG; values outside 0 to 1 are stretched to it."""
    image = values.detach().to("cpu", torch.float32)
    if image.ndim != 3 or image.shape[0] not in (1, 3) or not bool(torch.isfinite(image).all()):
        return None
    low, high = float(image.min()), float(image.max())
    if low < 0 or high > 1:
        image = (image - low) / max(high - low, 1e-12)
    pixels = (image * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
    small = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    small.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    small.save(file, "PNG")
    return file.getvalue()
