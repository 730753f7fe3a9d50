"""From which share of its maximum a map's box begins: learned on photos that nothing is judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from cofire.evaluate.judging import Judge
from cofire.evaluate.localisation import best_iou, threshold_boxes
from cofire.explain.options import DEFAULTS
from cofire.photos.collection import Collection
from cofire.photos.preparation import Preparation
from cofire.photos.seen import read_batches

__all__ = ["GRID", "UNLEARNED", "learn_thresholds", "with_threshold"]

GRID = tuple(step / 20 for step in range(1, 20))
"""The shares that are tried."""
UNLEARNED = 0.5
"""The share where there is nothing to learn it on."""


def with_threshold(methods: Sequence[str], options: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """The methods whose boxes begin at a share of a map's maximum that nobody has set.

    Example:
        >>> with_threshold(["discernible", "gradcam", "edges"], {"edges": {"threshold": 0.2}})
        ['gradcam']
    """
    return [name for name in methods if name not in DEFAULTS and "threshold" not in options.get(name, {})]


def learn_thresholds(
    judge: Judge,
    collection: Collection,
    preparation: Preparation,
    methods: Sequence[str],
    *,
    batch_size: int = 16,
    advance: Callable[[int], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """For each method the share of a map's maximum at which its boxes fit best: highest mean IoU over photos.

    Args:
        judge: Explains.
        collection: Photos to learn on; those without a box are passed over.
        preparation: Of the photos.
        methods: That give maps.
        batch_size: Photos at a time.
        advance: Called with the number of photos finished.

    Returns:
        By method "threshold", the mean "iou" that it reaches there, "photos" that it was learned on, and the "curve"
        of mean IoUs along `GRID`. Of several that are equally good the lowest; `UNLEARNED` where no photo has a box.
    """
    sums = {method: torch.zeros(len(GRID), dtype=torch.float64) for method in methods}
    photos = 0
    for batch in read_batches(collection, preparation, batch_size):
        rows = torch.tensor([number for number, boxes in enumerate(batch.boxes) if len(boxes)], dtype=torch.int64)
        boxes = [batch.boxes[row] for row in rows.tolist()]
        photos += len(rows)
        for method in methods if len(rows) else ():
            found = judge.explain(batch.inputs[rows], batch.labels[rows], method, batch.pictures[rows])
            for number, corners in enumerate(threshold_boxes(found.heatmap(), GRID)):
                sums[method][number] += best_iou(corners, corners[:, 2] > corners[:, 0], boxes).values.sum()
        if advance is not None:
            advance(len(batch.photos))
    learned: dict[str, dict[str, Any]] = {}
    for method in methods:
        if not photos:
            learned[method] = {"threshold": UNLEARNED, "iou": None, "photos": 0, "curve": []}
            continue
        means = (sums[method] / photos).tolist()
        best = max(range(len(GRID)), key=lambda at: means[at])
        learned[method] = {"threshold": GRID[best], "iou": means[best], "photos": photos, "curve": means}
    return learned
