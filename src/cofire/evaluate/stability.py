"""How far an explanation moves: two explanations of the same images, and a method under perturbed images."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import BatchError, DataError, OptionError
from cofire.evaluate.localisation import best_iou
from cofire.evaluate.per_image import PerImage, check_maps
from cofire.evaluate.sensitivity import rank_correlation
from cofire.explain.explanation import Explanation


@validated
@dataclass(frozen=True, eq=False)
class Shift:
    """How far explanations of a batch lie apart.

    Attributes:
        centroid: Distance of the centroids as a share of the image's diagonal, 0 to 1; not counted
            where one of the two has no evidence.
        box_iou: Intersection over union of the boxes, 0 to 1; 0 where one alone has a box, not
            counted where neither.
        rank_correlation: Spearman's of the heat maps, -1 to 1; not counted where one of them is
            constant.
    """

    centroid: PerImage
    box_iou: PerImage
    rank_correlation: PerImage

    def __len__(self) -> int:
        return len(self.centroid)


def centroids(explanation: Explanation) -> tuple[Tensor, Tensor]:
    """Where the evidence lies on average: the map's pixels, or the points, weighted by their evidence.

    Args:
        explanation: Of a batch of images.

    Returns:
        x and y of pixel centres, (images, 2), float64, zeros where there is no evidence; and
        whether there is any, (images,), bool.
    """
    height, width = explanation.size
    if explanation.maps is not None or explanation.layer_maps is not None:
        values = check_maps(explanation.heatmap()).double()
        weight = values.sum(dim=(1, 2))
        along = values.sum(dim=1) @ (torch.arange(width, dtype=torch.float64) + 0.5)
        down = values.sum(dim=2) @ (torch.arange(height, dtype=torch.float64) + 0.5)
        moments = torch.stack([along, down], dim=1)
    else:
        moments = torch.zeros(len(explanation), 2, dtype=torch.float64)
        weight = torch.zeros(len(explanation), dtype=torch.float64)
        for image in range(len(explanation)):
            points = explanation.points(image)
            score = points.score.double()
            weight[image] = score.sum()
            moments[image, 0] = (score * (points.x + 0.5)).sum()
            moments[image, 1] = (score * (points.y + 0.5)).sum()
    there = weight > 0
    return torch.where(
        there[:, None], moments / torch.where(there, weight, 1.0)[:, None], 0.0
    ), there


@validated
def shift(
    first: Explanation,
    second: Explanation,
    *,
    sigma: float | None = None,
    box: Mapping[str, Any] | None = None,
) -> Shift:
    """How far two explanations of the same images lie apart.

    Args:
        first: One explanation, such as that of the images as they were.
        second: Another, of as many images of the same size; of the same method and class if the
            images are to differ alone.
        sigma: Blur of the heat maps, not for maps (see `Explanation.heatmap`); the explanations'
            own unless given. The centroid and the box follow it where they are of the heat map (see
            `blurred_parts`), not where of points.
        box: Options of `Explanation.boxes`.

    Raises:
        DataError: Explanations of other numbers or sizes of images.
        OptionError: `sigma` or an option of the boxes is out of bounds.

    Example:
        The same map, one pixel to the right on 1 × 4 pixels, whose diagonal is √17:

        >>> def of(map):
        ...     return Explanation(
        ...         method="gradcam", options={}, target=torch.tensor([[0]]), probability=torch.tensor([[1.0]]),
        ...         predicted=torch.tensor([0]), confidence=torch.tensor([1.0]), input_shape=(1, 1, 4), sites=(),
        ...         neurons=None, maps=torch.tensor([[map]]), pictures=torch.zeros(1, 1, 4, 3, dtype=torch.uint8))
        >>> moved = shift(of([0.0, 1.0, 1.0, 0.0]), of([0.0, 0.0, 1.0, 1.0]))
        >>> [round(float(part.values[0]), 4) for part in (moved.centroid, moved.box_iou, moved.rank_correlation)]
        [0.2425, 0.3333, 0.0]
    """
    if len(first) != len(second) or first.size != second.size:
        raise DataError(
            f"explanations of {len(first)} images of {first.size} and of {len(second)} of {second.size}",
            "as many images of the same size",
            "explain the same images twice",
        )
    first, second = _blurred(first, sigma), _blurred(second, sigma)
    (here, some), (there, others) = centroids(first), centroids(second)
    apart = (here - there).square().sum(dim=1).sqrt() / math.hypot(*first.size)
    options = dict(box or {})
    one, other = first.boxes(**options), second.boxes(**options)
    given = [
        corners[None] if found else corners.new_zeros(0, 4)
        for corners, found in zip(other.corners, other.found.tolist(), strict=True)
    ]
    overlap = best_iou(one.corners, one.found, given)
    return Shift(
        centroid=PerImage(apart, some & others),
        box_iou=PerImage(overlap.values, one.found | other.found),
        rank_correlation=rank_correlation(first.heatmap(), second.heatmap()),
    )


def blurred_parts(explanation: Explanation) -> tuple[str, ...]:
    """The parts of a `Shift` that depend on how wide the heat map is blurred.

    Example:
        >>> blurred_parts(Explanation(
        ...     method="gradcam", options={}, target=torch.tensor([[0]]), probability=torch.tensor([[1.0]]),
        ...     predicted=torch.tensor([0]), confidence=torch.tensor([1.0]), input_shape=(1, 1, 4), sites=(),
        ...     neurons=None, maps=torch.ones(1, 1, 4), pictures=torch.zeros(1, 1, 4, 3, dtype=torch.uint8)))
        ()
    """
    if explanation.kind == "maps":
        return ()
    centroid = ("centroid",) if explanation.kind == "layers" else ()
    box = ("box_iou",) if explanation.boxed == "heat" else ()
    return (*centroid, *box, "rank_correlation")


def _blurred(explanation: Explanation, sigma: float | None) -> Explanation:
    """The same with heat maps, and what is made of them, blurred so."""
    if sigma is None:
        return explanation
    if explanation.kind == "maps":
        raise OptionError(
            f"sigma={sigma!r} for maps", "no sigma: maps are given as they are", "leave it out"
        )
    return replace(explanation, regions=replace(explanation.regions, sigma=sigma))


@validated
@dataclass(frozen=True, eq=False)
class Stability:
    """How far a method's explanations move when the images do.

    Attributes:
        shifts: One for each perturbation, in the order in which they were given.
    """

    shifts: tuple[Shift, ...]

    @property
    def centroid(self) -> PerImage:
        """The mean of each image's shifts of the centroid, over the perturbations that count for it."""
        return _averaged([each.centroid for each in self.shifts])

    @property
    def box_iou(self) -> PerImage:
        """The same of the boxes' intersection over union."""
        return _averaged([each.box_iou for each in self.shifts])

    @property
    def rank_correlation(self) -> PerImage:
        """The same of the maps' rank correlation."""
        return _averaged([each.rank_correlation for each in self.shifts])


@validated
def stability(
    explained: Callable[[Tensor], Explanation],
    images: Tensor,
    perturbed: Sequence[Tensor],
    *,
    sigma: float | None = None,
    box: Mapping[str, Any] | None = None,
) -> Stability:
    """How far a method's explanations move when images are perturbed.

    Args:
        explained: Explains a batch; always for the same classes, or the class moves the explanation
            as well.
        images: The batch as it was.
        perturbed: The same batch, each time changed in another way.
        sigma: As in `shift`.
        box: As in `shift`.

    Raises:
        BatchError: No perturbed batch, or one of another shape.
        DataError: An explanation of other images.
        OptionError: An option is out of bounds.
    """
    if not perturbed or any(each.shape != images.shape for each in perturbed):
        raise BatchError(
            f"perturbed batches of shapes {[tuple(each.shape) for each in perturbed]}",
            f"one or more of shape {tuple(images.shape)}",
            "perturb the batch without changing its shape",
        )
    before = explained(images)
    return Stability(
        tuple(shift(before, explained(each), sigma=sigma, box=box) for each in perturbed)
    )


def _averaged(parts: Sequence[PerImage]) -> PerImage:
    times = torch.stack([part.counted for part in parts]).sum(dim=0)
    total = torch.stack([part.values for part in parts]).sum(dim=0)
    return PerImage(total / times.clamp(min=1), times > 0)
