"""One batch of images judged by one method: every measure that is asked for, and nothing computed twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from operator import attrgetter
from typing import Any

import torch
from pydantic import BaseModel, Field, TypeAdapter, ValidationError
from torch import Tensor

from cofire.activations.chunks import chunk_of
from cofire.evaluate.faithfulness import (
    Curve,
    Fill,
    deletion,
    insertion,
    kept,
    probability_of,
    soft_map,
)
from cofire.evaluate.localisation import best_iou, fixed_boxes, share_inside, threshold_boxes
from cofire.evaluate.measures import Criterion, measured
from cofire.evaluate.methods import BOX_RULE, box_around_heat, explained, kind_for, regions_for
from cofire.explain import Explanation
from cofire.explain.inputs import probabilities_of
from cofire.explain.result.regions import Boxes, Points
from cofire.images.collection import Collection
from cofire.images.preparation import Preparation
from cofire.images.seen import read_batches
from cofire.network import Network

EQUAL_AREA = 0.25
"""Share of the view that the window keeps by which methods are compared at equal area."""

SMALL = 0.3
"""Boxes that cover less of the view than this are small."""

Columns = dict[str, list[Any]]


@dataclass(frozen=True, eq=False)
class View:
    """A batch of images as the network sees them, and what it says of them.

    Attributes:
        inputs: (images, channels, height, width).
        images: The same to look at, (images, height, width, 3), uint8.
        label: Their classes, (images,), int64.
        boxes: Of these classes, one (boxes, 4) for each image, in pixels of the input.
        predicted: What the network takes them for, (images,), int64.
        other: The next probable class, (images,), int64.
        confidence: Softmax of the predicted class, (images,), float64.
        probability: Softmax of the label, (images,), float64.
    """

    inputs: Tensor
    images: Tensor
    label: Tensor
    boxes: Sequence[Tensor]
    predicted: Tensor
    other: Tensor
    confidence: Tensor
    probability: Tensor

    def columns(self) -> Columns:
        """What the records have of each image whatever the method."""
        even = torch.ones(len(self.label), *self.inputs.shape[2:])
        shares = share_inside(even, self.boxes).cells()
        return {
            "label": self.label.tolist(),
            "predicted": self.predicted.tolist(),
            "correct": (self.label == self.predicted).tolist(),
            "probability": self.probability.tolist(),
            "confidence": self.confidence.tolist(),
            "boxes": [len(boxes) for boxes in self.boxes],
            "box_share": shares,
            "small": [None if share is None else share < SMALL for share in shares],
        }


def view_of(
    network: Network, inputs: Tensor, images: Tensor, labels: Tensor, boxes: Sequence[Tensor]
) -> View:
    """A batch with the network's answers.

    Raises:
        NonFiniteError: A logit is NaN or infinite.
    """
    found = probabilities_of(network.run(inputs)).cpu().double()
    # A network of one class has no other: it is compared with itself, and every map is as sensitive
    # as it can be.
    best = found.topk(min(2, found.shape[1]), dim=1)
    label = found.gather(1, labels[:, None]).flatten()
    ranked = best.indices[:, 0], best.indices[:, -1]
    return View(inputs, images, labels, boxes, *ranked, best.values[:, 0], label)


@dataclass(frozen=True, eq=False)
class Explained:
    """The explanation of one class of each image, and what measures take of it, computed when first asked for.

    Attributes:
        judge: With the network, the fill and the steps.
        view: The images.
        found: The explanations.
        rows: That of each image, (images,).
        heat: Its heat map, (images, height, width).
        corners: Its box, (images, 4); left, top, right and bottom in pixels.
        there: Whether it has a box, (images,), bool.
    """

    judge: Judge
    view: View
    found: Explanation
    rows: Tensor
    heat: Tensor
    corners: Tensor
    there: Tensor

    @cached_property
    def points(self) -> list[Points] | None:
        """The points of each image; None of a method that has none."""
        if self.found.neurons is None:
            return None
        return [self.found.points(row) for row in self.rows.tolist()]

    @cached_property
    def area(self) -> Tensor:
        """The share of the image that the box takes up, (images,), float64; 0 without a box."""
        return self._share(self.corners)

    @cached_property
    def window(self) -> Boxes:
        """The window of a quarter of the image that holds most of the map."""
        return fixed_boxes(self.heat, EQUAL_AREA)

    @cached_property
    def window_area(self) -> list[float | None]:
        """The share of the image that the window takes up, None where there is none."""
        shares = self._share(self.window.corners).tolist()
        return [
            share if there else None
            for share, there in zip(shares, self.window.found.tolist(), strict=True)
        ]

    @cached_property
    def after_box(self) -> Tensor:
        """The probability of the predicted class when the box alone is kept, (images,), float64."""
        return self._after(kept(self.view.inputs, self.corners, self.there, self.judge.fill))

    @cached_property
    def after_window(self) -> Tensor:
        """The same when the window alone is kept."""
        window = self.window
        return self._after(kept(self.view.inputs, window.corners, window.found, self.judge.fill))

    @cached_property
    def after_soft(self) -> Tensor:
        """The same when each pixel is kept as far as the map says."""
        return self._after(soft_map(self.view.inputs, self.heat, self.judge.fill))

    @cached_property
    def deletion(self) -> Curve:
        """The probability of the predicted class while pixels go."""
        judge, view = self.judge, self.view
        return deletion(
            judge.predict,
            view.inputs,
            self.heat,
            view.predicted,
            steps=judge.steps,
            fill=judge.fill,
        )

    @cached_property
    def insertion(self) -> Curve:
        """The same while pixels come, onto the blurred image."""
        judge, view = self.judge, self.view
        return insertion(judge.predict, view.inputs, self.heat, view.predicted, steps=judge.steps)

    def _share(self, corners: Tensor) -> Tensor:
        pixels = self.heat.shape[1] * self.heat.shape[2]
        return (corners[:, 2:] - corners[:, :2]).double().prod(dim=1) / pixels

    def _after(self, inputs: Tensor) -> Tensor:
        # Where an input is the image itself its probability is that to the last bit: in another
        # batch it could differ, and count as a rise.
        view = self.view
        after = probability_of(self.judge.predict, inputs, view.predicted)
        return torch.where((inputs == view.inputs).flatten(1).all(dim=1), view.confidence, after)


@dataclass(frozen=True, eq=False)
class Judged:
    """What a criterion can take of a batch (see `cofire.evaluate.measures.Criterion`).

    Attributes:
        boxes: Ground truth, one (boxes, 4) for each image.
        mistaken: The same of misclassified images, none of others.
        confidence: Softmax of the predicted class, (images,), float64.
        label: The explanation of the label, where one is asked for.
        predicted: That of the predicted class.
        other: That of the next probable class.
    """

    boxes: Sequence[Tensor]
    mistaken: Sequence[Tensor]
    confidence: Tensor
    label: Explained | None = None
    predicted: Explained | None = None
    other: Explained | None = None

    def column(self, criterion: Criterion) -> list[Any]:
        """What a criterion says of each image, None where it does not count."""
        given = [attrgetter(name)(self) for name in criterion.takes]
        if any(each is None for each in given):
            return [None] * len(self.boxes)
        values = criterion.measure.judge(*given).cells()
        if criterion.unit != "images":
            return list(values)
        return [None if value is None else value > 0.5 for value in values]


@dataclass(frozen=True, eq=False)
class Judge:
    """Measures methods on batches of images.

    Attributes:
        network: The classifier.
        groups: What is measured.
        fill: What takes the place of pixels that are not kept.
        steps: Of deletion and insertion curves.
        seed: Of what methods draw.
        options: Of each method that is not called with its defaults.
        rules: For methods whose boxes are around heat, the rule that was learned for them.
    """

    network: Network
    groups: Sequence[str]
    fill: Fill
    steps: int = 28
    seed: int = 0
    options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    rules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def judge(self, view: View, method: str) -> Columns:
        """The columns of one method for the images of a batch, None where a measure does not count."""
        criteria, images = measured(self.groups), len(view.label)
        roles = ("label", "predicted", "other")
        taken = {name.partition(".")[0] for one in criteria for name in one.takes}
        taken = taken & set(roles) or {"predicted"}
        # What serves two purposes is explained once: each pair of an image and a class.
        pairs: dict[tuple[int, int], int] = {}
        rows = {
            role: torch.tensor(
                [
                    pairs.setdefault(each, len(pairs))
                    for each in enumerate(getattr(view, role).tolist())
                ]
            )
            for role in roles
            if role in taken
        }
        image, target = torch.tensor(list(pairs)).T
        begun = time.perf_counter()
        found = self.explain(view.inputs[image], target, method, view.images[image])
        seconds = (time.perf_counter() - begun) / len(image)
        heat, boxes = found.heatmap(), found.boxes()
        own = {
            role: Explained(self, view, found, at, heat[at], boxes.corners[at], boxes.found[at])
            for role, at in rows.items()
        }
        wrong = (view.label != view.predicted).tolist()
        mistaken = [boxes if at else boxes[:0] for boxes, at in zip(view.boxes, wrong, strict=True)]
        judged = Judged(view.boxes, mistaken, view.confidence, **own)
        main = judged.label or judged.predicted or judged.other
        assert main is not None
        rule = found.regions if box_around_heat(found) else None
        return {
            "method": [method] * images,
            "evidence": found.has_evidence[main.rows].tolist(),
            "seconds": [seconds] * images,
            "box": [
                corners if there else None
                for corners, there in zip(main.corners.tolist(), main.there.tolist(), strict=True)
            ],
            "threshold": [rule and rule.threshold] * images,
            "connected": [rule and rule.connected] * images,
            **{one.name: judged.column(one) for one in criteria},
            "equal_area": judged.predicted.window_area
            if judged.predicted and "confidence" in self.groups
            else [None] * images,
        }

    def explain(self, inputs: Tensor, target: Tensor, method: str, images: Tensor) -> Explanation:
        """The explanations of a batch by a method with its options."""
        return explained(
            self.network,
            inputs,
            target,
            method,
            images=images,
            seed=self.seed,
            options=self.options_of(method),
        )

    def options_of(self, method: str) -> dict[str, Any]:
        """What a method is called with: its options, and the rule that was learned for its boxes."""
        rule = self.rules.get(method, {})
        learned = {name: rule[name] for name in BOX_RULE if name in rule}
        return {**learned, **self.options.get(method, {})}

    def with_rules(self, learned: Mapping[str, Mapping[str, Any]]) -> Judge:
        """The same with the rules of boxes that were learned, as `learn_thresholds` gives them."""
        return replace(self, rules=learned)

    def predict(self, inputs: Tensor) -> Tensor:
        """Softmax probabilities, (inputs, classes), float64, as many at once as in a pass over data."""
        parts = torch.split(inputs, chunk_of(self.network))
        return torch.cat([probabilities_of(self.network.run(p)).cpu().double() for p in parts])


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


class _Rule(BaseModel, strict=True):
    threshold: float = Field(gt=0, le=1)
    connected: bool
    iou: float | None = Field(gt=-1, le=1)
    images: int = Field(ge=0)


_RULES = TypeAdapter(dict[str, _Rule | None])


def fault_of_rules(rules: Any, methods: Sequence[str] | None = None) -> str:
    """What is wrong with rules of boxes that were read from a file, "" if nothing is.

    Args:
        rules: As `learn_thresholds` gives them; None for a method whose boxes turned out to be of
            points.
        methods: Those that must be there, and no others; whichever are there unless given.

    Example:
        >>> rule = {"threshold": 0.4, "connected": True, "iou": 0.5, "images": 7, "curve": {}}
        >>> fault_of_rules({"gradcam": rule}, ["gradcam"]), fault_of_rules({}, ["gradcam"])
        ('', 'it has rules for none, not for gradcam')
    """
    try:
        held = _RULES.validate_python(rules)
    except ValidationError as error:
        first = error.errors()[0]
        return f"{' '.join(map(str, first['loc']))}: {first['msg']}".lstrip(": ")
    if methods is not None and set(held) != set(methods):
        return (
            f"it has rules for {', '.join(held) or 'none'}, not for {', '.join(methods) or 'none'}"
        )
    return ""


def learn_thresholds(
    judge: Judge,
    collection: Collection,
    preparation: Preparation,
    methods: Sequence[str],
    *,
    batch_size: int = 16,
    advance: Callable[[int], object] | None = None,
) -> dict[str, dict[str, Any]]:
    """For each method the rule by which its boxes around heat fit best: highest mean IoU over images.

    Every method has the same choice, each pair of a share in `GRID` and of `PIXELS`.

    Args:
        judge: Explains.
        collection: Images to learn on; those without a box are passed over.
        preparation: Of the images.
        methods: Whose boxes are around heat.
        batch_size: Images at a time.
        advance: Called with the number of images finished.

    Returns:
        By method "threshold" and whether "connected", the mean "iou" that it reaches so, "images"
        that it was learned on, and the "curve" of mean IoUs along `GRID` for "all" pixels and for
        "connected" ones. Of several rules that are equally good one of all pixels, and the lowest
        share; the method's own where no image has a box.
    """
    sums = {method: torch.zeros(len(PIXELS), len(GRID), dtype=torch.float64) for method in methods}
    images = 0
    for batch in read_batches(collection, preparation, batch_size):
        rows = torch.tensor(
            [number for number, boxes in enumerate(batch.boxes) if len(boxes)], dtype=torch.int64
        )
        boxes = [batch.boxes[row] for row in rows.tolist()]
        images += len(rows)
        for method in methods if len(rows) else ():
            found = judge.explain(
                batch.inputs[rows], batch.labels[rows], method, batch.pixels[rows]
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
            advance(len(batch.images))
    learned: dict[str, dict[str, Any]] = {}
    for method in sums:
        if not images:
            usual = regions_for(judge.network, method, judge.options.get(method, {}))
            own = {"threshold": usual.threshold, "connected": usual.connected}
            learned[method] = {**own, "iou": None, "images": 0, "curve": {}}
            continue
        means = sums[method] / images
        place, number = divmod(int(means.argmax()), len(GRID))
        learned[method] = {
            "threshold": GRID[number],
            "connected": list(PIXELS.values())[place],
            "iou": float(means[place, number]),
            "images": images,
            "curve": dict(zip(PIXELS, means.tolist(), strict=True)),
        }
    return learned
