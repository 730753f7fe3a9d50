"""One batch of photos judged by one method: every measure that is asked for, and nothing computed twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from cofire.evaluate.curves import deletion, insertion
from cofire.evaluate.faithfulness import Fill, confidence_change, kept, probability_of, soft_map
from cofire.evaluate.localisation import best_iou, fixed_boxes, pointing_hits, threshold_boxes
from cofire.evaluate.methods import BOX_RULE, box_around_heat, explained, kind_for, regions_for
from cofire.evaluate.per_image import PerImage, pixels_of
from cofire.evaluate.schema import Group
from cofire.evaluate.sensitivity import jaccard, rank_correlation
from cofire.explain import Explanation
from cofire.explain.inputs import chances_of
from cofire.explain.result.regions import Boxes
from cofire.images.collection import Collection
from cofire.images.preparation import Preparation
from cofire.images.seen import read_batches
from cofire.network import Network

TOLERANCE = 15.0
"""Pixels by which the tolerant pointing game lets the maximum miss a box."""

EQUAL_AREA = 0.25
"""Share of the view that the window keeps by which methods are compared at equal area."""

SMALL = 0.3
"""Boxes that cover less of the view than this are small."""

Columns = dict[str, list[Any]]


@dataclass(frozen=True, eq=False)
class View:
    """A batch of photos as the network sees them, and what it says of them.

    Attributes:
        inputs: (photos, channels, height, width).
        pictures: The same to look at, (photos, height, width, 3), uint8.
        labels: Their classes, (photos,), int64.
        boxes: Of these classes, one (boxes, 4) for each photo, in pixels of the input.
        predicted: What the network takes them for, (photos,), int64.
        other: The next probable class, (photos,), int64.
        confidence: Softmax of the predicted class, (photos,), float64.
        probability: Softmax of the label, (photos,), float64.
    """

    inputs: Tensor
    pictures: Tensor
    labels: Tensor
    boxes: Sequence[Tensor]
    predicted: Tensor
    other: Tensor
    confidence: Tensor
    probability: Tensor

    def columns(self) -> Columns:
        """What the records have of each photo whatever the method."""
        height, width = self.inputs.shape[2:]
        shares = [_covered(boxes, height, width) for boxes in self.boxes]
        return {
            "label": self.labels.tolist(),
            "predicted": self.predicted.tolist(),
            "correct": (self.labels == self.predicted).tolist(),
            "probability": self.probability.tolist(),
            "confidence": self.confidence.tolist(),
            "boxes": [len(boxes) for boxes in self.boxes],
            "box_share": shares,
            "small": [None if share is None else share < SMALL for share in shares],
        }


def view_of(
    network: Network, inputs: Tensor, pictures: Tensor, labels: Tensor, boxes: Sequence[Tensor]
) -> View:
    """A batch with the network's answers.

    Raises:
        NonFiniteError: A logit is NaN or infinite.
    """
    chances = chances_of(network.run(inputs)).cpu().double()
    # A network of one class has no other: it is compared with itself, and every map is as sensitive
    # as it can be.
    best = chances.topk(min(2, chances.shape[1]), dim=1)
    return View(
        inputs,
        pictures,
        labels,
        boxes,
        best.indices[:, 0],
        best.indices[:, -1],
        best.values[:, 0],
        chances.gather(1, labels[:, None]).flatten(),
    )


@dataclass(frozen=True, eq=False)
class _Asked:
    """Explanations that are needed of a batch: each pair of photo and class once.

    Attributes:
        photo: Of each explanation, (explanations,).
        target: Its class, (explanations,).
        rows: For "label", "predicted" and "other" the explanation of each photo, (photos,), where
            it is needed.
    """

    photo: Tensor
    target: Tensor
    rows: Mapping[str, Tensor]


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures methods on batches of photos.

    Attributes:
        network: The classifier.
        groups: What is measured.
        fill: What takes the place of pixels that are not kept.
        steps: Of deletion and insertion curves.
        seed: Of what methods draw.
        options: Of each method that is not called with its defaults.
        thresholds: For methods whose boxes are around heat, from which share of a map's maximum
            they begin.
        connected: For those methods, whether boxes are only around what hangs together with the
            maximum.
    """

    network: Network
    groups: Sequence[Group]
    fill: Fill
    steps: int = 28
    seed: int = 0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    thresholds: Mapping[str, float] = field(default_factory=dict)
    connected: Mapping[str, bool] = field(default_factory=dict)

    def judge(self, view: View, method: str) -> Columns:
        """The columns of one method for the photos of a batch, None where a measure does not count."""
        asked = _asked(view, self.groups)
        begun = time.perf_counter()
        found = self.explain(
            view.inputs[asked.photo], asked.target, method, view.pictures[asked.photo]
        )
        seconds = (time.perf_counter() - begun) / len(asked.photo)
        main = asked.rows.get("label", asked.rows.get("predicted"))
        assert main is not None
        photos = len(view.labels)
        columns: Columns = {
            "method": [method] * photos,
            "evidence": found.has_evidence[main].tolist(),
            "seconds": [seconds] * photos,
        }
        heat, boxes = found.heatmap(), found.boxes()
        columns["box"] = [
            corners if there else None
            for corners, there in zip(
                boxes.corners[main].tolist(), boxes.found[main].tolist(), strict=True
            )
        ]
        if box_around_heat(found):
            columns["threshold"] = [found.regions.threshold] * photos
            columns["connected"] = [found.regions.connected] * photos
        if "localisation" in self.groups:
            columns |= _localised(view, heat[main], _of(boxes, main))
        if "predicted" in asked.rows:
            rows = asked.rows["predicted"]
            if "confidence" in self.groups:
                columns |= self._confident(view, heat[rows], _of(boxes, rows))
            if "soft" in self.groups:
                change = confidence_change(
                    view.confidence, self._after(view, soft_map(view.inputs, heat[rows], self.fill))
                )
                columns |= {
                    "soft_increase": _flags(change.increase),
                    "soft_drop": _numbers(change.drop),
                }
            if "curves" in self.groups:
                columns |= self._curves(view, heat[rows])
            if "sensitivity" in self.groups:
                columns |= _sensitive(found, heat, rows, asked.rows["other"])
        return columns

    def explain(self, inputs: Tensor, target: Tensor, method: str, pictures: Tensor) -> Explanation:
        """The explanations of a batch by a method with its options."""
        return explained(
            self.network,
            inputs,
            target,
            method,
            pictures=pictures,
            seed=self.seed,
            options=self.options_of(method),
        )

    def options_of(self, method: str) -> dict[str, Any]:
        """What a method is called with: its options, and the rule that was learned for its boxes."""
        learned: dict[str, Any] = (
            {"threshold": self.thresholds[method]} if method in self.thresholds else {}
        )
        learned |= {"connected": self.connected[method]} if method in self.connected else {}
        return {**learned, **self.options.get(method, {})}

    def with_rules(self, learned: Mapping[str, Mapping[str, Any]]) -> Judge:
        """The same with the rules of boxes that were learned, as `thresholds.learn_thresholds` gives them."""
        return replace(
            self,
            thresholds={method: one["threshold"] for method, one in learned.items()},
            connected={method: one["connected"] for method, one in learned.items()},
        )

    def predict(self, inputs: Tensor) -> Tensor:
        """Softmax probabilities, (inputs, classes), float64."""
        return chances_of(self.network.run(inputs)).cpu().double()

    def _after(self, view: View, inputs: Tensor) -> Tensor:
        """The probability of the predicted class for other inputs.

        Where an input is the photo itself it is that of the photo to the last bit: in another batch
            it could differ
        there, and count as a rise.
        """
        after = probability_of(self.predict, inputs, view.predicted)
        return torch.where((inputs == view.inputs).flatten(1).all(dim=1), view.confidence, after)

    def _confident(self, view: View, heat: Tensor, boxes: Boxes) -> Columns:
        height, width = view.inputs.shape[2:]
        equal = fixed_boxes(heat, EQUAL_AREA)
        own, alike = (
            confidence_change(
                view.confidence,
                self._after(view, kept(view.inputs, part.corners, part.found, self.fill)),
            )
            for part in (boxes, equal)
        )
        window = (_areas(equal.corners) / (height * width)).tolist()
        return {
            "increase": _flags(own.increase),
            "drop": _numbers(own.drop),
            "kept_area": (_areas(boxes.corners) / (height * width)).tolist(),
            "equal_increase": _flags(alike.increase),
            "equal_drop": _numbers(alike.drop),
            "equal_area": [
                share if there else None
                for share, there in zip(window, equal.found.tolist(), strict=True)
            ],
        }

    def _curves(self, view: View, heat: Tensor) -> Columns:
        out = deletion(
            self.predict, view.inputs, heat, view.predicted, steps=self.steps, fill=self.fill
        )
        back = insertion(self.predict, view.inputs, heat, view.predicted, steps=self.steps)
        return {"deletion": _numbers(out.area), "insertion": _numbers(back.area)}


def _asked(view: View, groups: Sequence[Group]) -> _Asked:
    """Which explanations are needed: what serves two purposes is asked for once."""
    wanted: dict[str, Tensor] = {}
    if "localisation" in groups:
        wanted["label"] = view.labels
    if set(groups) - {"localisation"}:
        wanted["predicted"] = view.predicted
    if "sensitivity" in groups:
        wanted["other"] = view.other
    pairs: dict[tuple[int, int], int] = {}
    rows = {
        role: torch.tensor(
            [pairs.setdefault((photo, of), len(pairs)) for photo, of in enumerate(classes.tolist())]
        )
        for role, classes in wanted.items()
    }
    photo, target = torch.tensor(list(pairs)).T
    return _Asked(photo, target, rows)


def _localised(view: View, heat: Tensor, boxes: Boxes) -> Columns:
    fitting = best_iou(boxes.corners, boxes.found, view.boxes)
    pixels = heat.shape[1] * heat.shape[2]
    return {
        "pointing": _numbers(pointing_hits(heat, view.boxes)),
        "pointing_15": _numbers(pointing_hits(heat, view.boxes, TOLERANCE)),
        "iou": _numbers(fitting),
        "iou_50": _flags(PerImage((fitting.values >= 0.5).double(), fitting.counted)),
        "box_area": _numbers(PerImage(_areas(boxes.corners) / pixels, fitting.counted)),
    }


def _sensitive(found: Explanation, heat: Tensor, predicted: Tensor, other: Tensor) -> Columns:
    ranks = rank_correlation(heat[predicted], heat[other])
    shared: list[float | None] = [None] * len(predicted)
    if found.neurons is not None:
        first, second = (
            [found.points(row) for row in rows.tolist()] for rows in (predicted, other)
        )
        shared = _numbers(jaccard(first, second))
    return {"jaccard": shared, "rank_correlation": _numbers(ranks)}


def _covered(boxes: Tensor, height: int, width: int) -> float | None:
    """Which share of the view boxes cover together, None without a box."""
    if not len(boxes):
        return None
    inside = torch.zeros(height, width, dtype=torch.bool)
    for left, top, right, bottom in pixels_of(
        boxes, torch.zeros(len(boxes)), height, width
    ).tolist():
        inside[top:bottom, left:right] = True
    return float(inside.double().mean())


def _areas(corners: Tensor) -> Tensor:
    """Areas of boxes in pixels, (boxes,), float64; 0 for none."""
    return (corners[:, 2:] - corners[:, :2]).double().prod(dim=1)


def _of(boxes: Boxes, rows: Tensor) -> Boxes:
    return Boxes(boxes.corners[rows], boxes.found[rows])


def _numbers(measure: PerImage) -> list[float | None]:
    pairs = zip(measure.values.tolist(), measure.counted.tolist(), strict=True)
    return [value if counted else None for value, counted in pairs]


def _flags(measure: PerImage) -> list[bool | None]:
    return [None if value is None else value > 0.5 for value in _numbers(measure)]


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
        CofireError: As `cofire.evaluate.methods.kind_for`.

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
