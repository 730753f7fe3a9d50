"""Samples whose prediction a booster changes, with their images: what a person can look at."""

from __future__ import annotations

import io
from dataclasses import dataclass

import torch
from PIL import Image
from torch import Tensor

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
        inputs: Tensor,
        labels: Tensor,
        base: tuple[Tensor, Tensor, Tensor],
        boosted: tuple[Tensor, Tensor, Tensor],
    ) -> None:
        """Look through a batch.

        Args:
            inputs: (samples, ...).
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
    picture = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels)
    picture.thumbnail((_SIDE, _SIDE))
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()
