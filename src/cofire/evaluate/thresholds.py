"""Where a box around heat begins, and around which of the hot pixels: learned on photos that nothing is judged by."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from cofire.evaluate.judging import Judge
from cofire.evaluate.kinds import BOX_RULE, box_around_heat, kind_for, regions_for
from cofire.evaluate.localisation import best_iou, threshold_boxes
from cofire.images.collection import Collection
from cofire.images.preparation import Preparation
from cofire.images.seen import read_batches
from cofire.network import Network

GRID = tuple(step / 20 for step in range(1, 20))
"""The shares of the maximum that are tried."""

PIXELS = {"all": False, "connected": True}
"""Around which of the pixels that reach the share: all of them, or those that hang together with the maximum."""


def with_threshold(
    network: Network, methods: Sequence[str], options: Mapping[str, Mapping[str, Any]]
) -> list[str]:
    """The methods whose boxes are around heat, by a rule that nobody has set.

    Args:
        network: That is explained.
        methods: Their names.
        options: Of methods that are not called with their defaults.

    Raises:
        OptionError: A number is out of bounds.
        CofireError: As `cofire.evaluate.kinds.kind_for`.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU(), torch.nn.Flatten(),
        ...                             torch.nn.Linear(72, 2))
        >>> network = Network(model, torch.zeros(1, 1, 8, 8))
        >>> asked = ["discernible", "discernible-p3", "gradcam", "edges"]
        >>> with_threshold(network, asked, {"edges": {"threshold": 0.2}})
        ['discernible', 'gradcam']
    """
    found = []
    for name in methods:
        own = options.get(name, {})
        kind = kind_for(network, name, own)
        of_heat = kind == "maps" or (
            kind == "layers" and regions_for(network, name, own).around == "heat"
        )
        if of_heat and not set(BOX_RULE) & set(own):
            found.append(name)
    return found


def fault_of_rules(rules: Any, methods: Sequence[str] | None = None) -> str:
    """What is wrong with rules of boxes that were read from a file, "" if nothing is.

    Args:
        rules: As `learn_thresholds` gives them; None for a method whose boxes turned out to be of
            points.
        methods: Those that must be there, and no others; whichever are there unless given.

    Example:
        >>> rule = {"threshold": 0.4, "connected": True, "iou": 0.5, "photos": 7, "curve": {}}
        >>> fault_of_rules({"gradcam": rule}, ["gradcam"]), fault_of_rules({}, ["gradcam"])
        ('', 'it has rules for none, not for gradcam')
    """
    if not isinstance(rules, Mapping):
        return "it is no table of rules by method"
    if methods is not None and set(rules) != set(methods):
        return (
            f"it has rules for {', '.join(rules) or 'none'}, not for {', '.join(methods) or 'none'}"
        )
    for method, rule in rules.items():
        if rule is not None and not (
            isinstance(rule, Mapping)
            and _number(rule.get("threshold"), above=0.0)
            and isinstance(rule.get("connected"), bool)
            and ("iou" in rule and (rule["iou"] is None or _number(rule["iou"])))
            and (type(rule.get("photos")) is int and rule["photos"] >= 0)
        ):
            return f"the rule of {method} lacks a threshold, connected, iou or photos, or has another value there"
    return ""


def _number(value: Any, above: float = -1.0) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and above < value <= 1


def learn_thresholds(
    judge: Judge,
    collection: Collection,
    preparation: Preparation,
    methods: Sequence[str],
    *,
    batch_size: int = 16,
    advance: Callable[[int], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """For each method the rule by which its boxes around heat fit best: highest mean IoU over photos.

    Every method has the same choice, each pair of a share in `GRID` and of `PIXELS`.

    Args:
        judge: Explains.
        collection: Photos to learn on; those without a box are passed over.
        preparation: Of the photos.
        methods: Whose boxes are around heat.
        batch_size: Photos at a time.
        advance: Called with the number of photos finished.

    Returns:
        By method "threshold" and whether "connected", the mean "iou" that it reaches so, "photos"
        that it was learned on, and the "curve" of mean IoUs along `GRID` for "all" pixels and for
        "connected" ones. Of several rules that are equally good one of all pixels, and the lowest
        share; the method's own where no photo has a box.
    """
    sums = {method: torch.zeros(len(PIXELS), len(GRID), dtype=torch.float64) for method in methods}
    photos = 0
    for batch in read_batches(collection, preparation, batch_size):
        rows = torch.tensor(
            [number for number, boxes in enumerate(batch.boxes) if len(boxes)], dtype=torch.int64
        )
        boxes = [batch.boxes[row] for row in rows.tolist()]
        photos += len(rows)
        for method in methods if len(rows) else ():
            found = judge.explain(
                batch.inputs[rows], batch.labels[rows], method, batch.pictures[rows]
            )
            if not box_around_heat(found):
                # No gradient leads to the layers: the boxes are of points after all.
                sums.pop(method, None)
                continue
            heat = found.heatmap()
            for place, connected in enumerate(PIXELS.values()):
                for number, corners in enumerate(threshold_boxes(heat, GRID, connected=connected)):
                    overlap = best_iou(corners, corners[:, 2] > corners[:, 0], boxes)
                    sums[method][place, number] += overlap.values.sum()
        if advance is not None:
            advance(len(batch.photos))
    learned: dict[str, dict[str, Any]] = {}
    for method in sums:
        if not photos:
            usual = regions_for(judge.network, method, judge.options.get(method, {}))
            own = {"threshold": usual.threshold, "connected": usual.connected}
            learned[method] = {**own, "iou": None, "photos": 0, "curve": {}}
            continue
        means = sums[method] / photos
        place, number = divmod(int(means.argmax()), len(GRID))
        learned[method] = {
            "threshold": GRID[number],
            "connected": list(PIXELS.values())[place],
            "iou": float(means[place, number]),
            "photos": photos,
            "curve": dict(zip(PIXELS, means.tolist(), strict=True)),
        }
    return learned
