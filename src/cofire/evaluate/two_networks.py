"""Two networks on the same images (P3 §4.2, §4.4): who is right, and what each looked at."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import torch
from pydantic import Field, PositiveInt
from torch import Tensor
from torch.nn import functional

from cofire.arguments import validated
from cofire.errors import BatchError, DataError, LabelError
from cofire.evaluate.localisation import area_overlap, share_inside
from cofire.evaluate.methods import explained, fitting
from cofire.evaluate.per_image import PerImage, check_counts
from cofire.evaluate.results import NetworkCase, NetworkRow, TwoNetworks
from cofire.explain import Explanation
from cofire.explain.inputs import probabilities_of
from cofire.network import Network, classifier


@validated
@dataclass(frozen=True, eq=False)
class Side:
    """One of the two networks, and the images as it sees them.

    Attributes:
        network: The classifier; a module is read with the inputs.
        inputs: (images, channels, height, width), prepared as this network wants them.
        images: The same to look at, (images, height, width, 3), uint8.
        name: What it is called on the page; short.
        boxes: For each image the ground-truth boxes (boxes, 4) in pixels of these inputs, (0, 4)
            for none.
    """

    network: Network
    inputs: Tensor
    images: Tensor
    name: str
    boxes: Sequence[Tensor] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "network", classifier(self.network, self.inputs))


@validated
def compare_networks(
    first: Side,
    second: Side,
    labels: Tensor,
    method: str = "discernible",
    names: Sequence[str] | None = None,
    *,
    files: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    seed: int = 0,
    area: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.2,
    batch_size: PositiveInt = 16,
    cases: int = 24,
    advance: Callable[[int], object] | None = None,
) -> TwoNetworks:
    """Explain the same images through two networks.

    Each network explains the class it predicts and, where that is another, the true class. Told is
    how far both look at the same part of an image, as the overlap of the areas where they have most
    evidence, and how much of each one's evidence lies in the ground-truth boxes. The two see the
    same part of each image; where one takes other numbers of pixels, maps are brought to the first
    one's size before they are compared.

    Args:
        first: One network.
        second: The other, of the same classes.
        labels: The true classes, (images,).
        method: Of `cofire.evaluate.methods`.
        names: Names of all classes.
        files: The images' names; numbers unless given.
        options: Of the method.
        seed: Of baselines that draw.
        area: Share of the image's area that counts as what a network looks at.
        batch_size: Images at a time.
        cases: How many images are kept to look at: those that one of the two alone gets right,
            those with the least overlap first.
        advance: Called with the number of images done, after each batch.

    Raises:
        BatchError: Inputs, images, labels, files or boxes of other numbers, or of a shape that
            does not fit.
        DataError: The networks have other numbers of classes.
        ExplanationError: The method does not fit a network.
        LabelError: A label is no class.
        NonFiniteError: A pixel or a logit is NaN or infinite.
        OptionError: The method or an option does not exist or is out of bounds.
    """
    sides = (first, second)
    count = len(labels)
    _check(sides, labels, files)
    told = [str(number) for number in range(count)] if files is None else list(files)
    rows: list[NetworkRow] = []
    shown: list[NetworkCase] = []

    def overlap(case: NetworkCase) -> float:
        # Images whose maps cannot be compared come last.
        found = rows[case.image].overlap
        return 2.0 if found is None else found

    for start in range(0, count, batch_size):
        part = slice(start, start + batch_size)
        truth = labels[part].detach().cpu().long()
        seen = [_seen(side, part, truth, method, options or {}, seed) for side in sides]
        found = _rows(sides, seen, part, truth, told[part], area)
        rows += found
        for at, row in enumerate(found):
            if row.kind in ("first", "second"):
                pairs = tuple((own[at], true[at]) for own, true, _ in seen)
                boxes = None if first.boxes is None else first.boxes[start + at]
                shown.append(NetworkCase(start + at, pairs, boxes))
        # Only so many are held at a time, however many images there are.
        shown = sorted(shown, key=lambda case: (overlap(case), case.image))[:cases]
        if advance is not None:
            advance(len(truth))
    occurring = sorted({number for row in rows for number in (row.label, *row.predicted)})
    return TwoNetworks(
        networks=(first.name, second.name)
        if first.name != second.name
        else (f"{first.name} (first)", f"{second.name} (second)"),
        method=method,
        rows=tuple(rows),
        classes={} if names is None else {number: names[number] for number in occurring},
        options={"area": area, "seed": seed, "method": dict(options or {})},
        cases=tuple(shown),
    )


def _check(sides: tuple[Side, Side], labels: Tensor, files: Sequence[str] | None) -> None:
    first, second = (side.network.num_classes for side in sides)
    if first != second:
        raise DataError(
            f"networks of {first} and {second} classes",
            "the same classes",
            "compare other networks",
        )
    if labels.ndim != 1 or not len(labels):
        raise BatchError(
            f"labels of shape {tuple(labels.shape)}",
            "(images,), one or more",
            "pass one for each image",
        )
    if bool(((labels < 0) | (labels >= first)).any()):
        raise LabelError(
            f"labels from {int(labels.min())} to {int(labels.max())}",
            f"0 to {first - 1}",
            "check the classes' order",
        )
    for side in sides:
        seen = {"inputs": side.inputs, "images": side.images, "boxes": side.boxes}
        check_counts(len(labels), f" of '{side.name}'", **seen, files=files)
        if len(side.network.input_shape) != 3:
            raise BatchError(
                f"a network on inputs of shape {side.network.input_shape}",
                "images (channels, height, width)",
                "compare networks that take images",
            )


def _seen(
    side: Side, part: slice, truth: Tensor, method: str, options: Mapping[str, Any], seed: int
) -> tuple[Explanation, Explanation, Tensor]:
    """The explanations of the predicted and of the true class, and the probabilities of all classes."""
    inputs, images = side.inputs[part], side.images[part]
    probabilities = probabilities_of(side.network.run(inputs)).cpu()
    predicted, options = probabilities.argmax(1), fitting(side.network, method, options)
    own = explained(
        side.network, inputs, predicted, method, images=images, seed=seed, options=options
    )
    if bool((predicted == truth).all()):
        return own, own, probabilities
    true = explained(side.network, inputs, truth, method, images=images, seed=seed, options=options)
    return own, true, probabilities


def _rows(
    sides: tuple[Side, Side],
    seen: Sequence[tuple[Explanation, Explanation, Tensor]],
    part: slice,
    truth: Tensor,
    files: Sequence[str],
    area: float,
) -> list[NetworkRow]:
    size = seen[0][0].size
    heat = [[each.heatmap() for each in (own, true)] for own, true, _ in seen]
    overlap, overlap_of_truth = (
        area_overlap(heat[0][which], _at_size(heat[1][which], size), area).cells()
        for which in (0, 1)
    )

    def inside(network: int, maps: Tensor) -> list[float | None]:
        boxes = sides[network].boxes
        none = PerImage.of_none(len(truth))
        return (none if boxes is None else share_inside(maps, boxes[part])).cells()

    # What a map that is the same everywhere would have inside.
    covered = inside(0, torch.ones(len(truth), *sides[0].network.input_shape[1:]))
    held = [[inside(network, heat[network][which]) for network in (0, 1)] for which in (0, 1)]
    best = [each.max(1) for _, _, each in seen]
    columns: dict[str, Iterable[Any]] = {
        "file": files,
        "label": truth.tolist(),
        "predicted": zip(*(one.indices.tolist() for one in best), strict=True),
        "confidence": zip(*(one.values.tolist() for one in best), strict=True),
        "probability": zip(
            *(each.gather(1, truth[:, None])[:, 0].tolist() for _, _, each in seen), strict=True
        ),
        "overlap": overlap,
        "overlap_of_truth": overlap_of_truth,
        "inside": zip(*held[0], strict=True),
        "inside_of_truth": zip(*held[1], strict=True),
        "covered": covered,
    }
    rows = zip(*columns.values(), strict=True)
    return [NetworkRow(**dict(zip(columns, row, strict=True))) for row in rows]


def _at_size(maps: Tensor, size: tuple[int, int]) -> Tensor:
    if tuple(maps.shape[1:]) == size:
        return maps
    return functional.interpolate(maps[:, None], size, mode="bilinear", align_corners=False)[
        :, 0
    ].clamp(min=0)
