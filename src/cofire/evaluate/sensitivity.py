"""Class sensitivity: how alike explanations of different classes of the same image are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from pydantic import NonNegativeFloat
from scipy.stats import rankdata
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import BatchError, DataError, LayerError, OptionError
from cofire.evaluate.localisation import best_iou
from cofire.evaluate.per_image import PerImage, check_alike, check_counts, check_maps, constant
from cofire.explain.result.explanation import Explanation
from cofire.explain.result.regions import Points
from cofire.marks import check_whole
from cofire.network import Network, check_decides


@validated
def jaccard(first: Sequence[Points], second: Sequence[Points]) -> PerImage:
    """Jaccard index of two sets of pixels per image: `|A ∩ B| / |A ∪ B|`, whatever the pixels score.

    Args:
        first: The points of each image, such as `explanation.points(i)` gives.
        second: As many again, of another class, say.

    Returns:
        Per image, 0 (nothing in common) to 1 (the same pixels). An image is not counted where both
        sets are empty.

    Raises:
        DataError: Points of other numbers of images, or pixels with a place below 0.

    Example:
        >>> def at(*columns):
        ...     return Points(torch.zeros(len(columns)).int(), torch.tensor(columns).int(), torch.ones(len(columns)))
        >>> jaccard([at(1, 2, 3)], [at(2, 3, 4)]).values.tolist()
        [0.5]
    """
    check_counts(len(first), points=second)
    shared, joined = [], []
    for one, other in zip(first, second, strict=True):
        here, there = _places(one), _places(other)
        common = len(np.intersect1d(here, there, assume_unique=True))
        shared.append(common)
        joined.append(len(here) + len(there) - common)
    total = torch.tensor(joined, dtype=torch.float64)
    return PerImage(torch.tensor(shared, dtype=torch.float64) / total.clamp(min=1), total > 0)


def _places(points: Points) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """Each pixel as one number, once."""
    y, x = points.y.long(), points.x.long()
    if len(y) and int(torch.minimum(y.min(), x.min())) < 0:
        raise DataError(
            "points at places below 0", "rows and columns from 0 up", "pass places on the image"
        )
    return np.unique((y * (1 << 31) + x).numpy())


@validated
def rank_correlation(first: Tensor, second: Tensor) -> PerImage:
    """Spearman's rank correlation of two maps per image: Pearson's of the ranks, ties sharing their mean rank.

    Args:
        first: (images, H, W), from 0 up.
        second: The same shape.

    Returns:
        Per image, -1 to 1. An image is not counted where a map is constant.

    Raises:
        DataError: Shapes that differ, or values below 0.
        NonFiniteError: A value is NaN or infinite.

    Example:
        >>> rank_correlation(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[1.0, 3.0, 2.0]]])).values.tolist()
        [0.5]
    """
    given = check_alike(first, second)
    counted = ~(constant(given[0]) | constant(given[1]))
    ranks = [torch.from_numpy(rankdata(maps[counted].flatten(1).numpy(), axis=1)) for maps in given]
    centred = [rank - rank.mean(dim=1, keepdim=True) for rank in ranks]
    lengths = [part.square().sum(dim=1) for part in centred]
    found = torch.zeros(len(counted), dtype=torch.float64)
    found[counted] = (
        (centred[0] * centred[1]).sum(dim=1) / (lengths[0] * lengths[1]).sqrt()
    ).clamp(-1, 1)
    return PerImage(found, counted)


@validated
@dataclass(frozen=True, eq=False)
class Cascade:
    """What became of an explanation while a network's weights were randomised from the top down.

    Attributes:
        layers: What each stage randomised in addition to the stages before it.
        rank_correlation: Spearman's of each stage's maps with the original ones, -1 to 1. 1 says
            that the explanation did not see what was randomised. Not counted where a map is
            constant.
    """

    layers: tuple[tuple[str, ...], ...]
    rank_correlation: tuple[PerImage, ...]

    def __len__(self) -> int:
        return len(self.layers)


@validated
def randomisation(
    network: Network,
    explained: Callable[[Network], Explanation],
    *,
    stages: int | None = None,
    seed: int = 0,
    sigma: NonNegativeFloat | None = None,
) -> Cascade:
    """Explain the same images while the weights are randomised, from the layer next to the classes downwards.

    Args:
        network: As it was trained; it stays so.
        explained: Explains the images by a network; always the same images and classes.
        stages: In how many stages, each of as many layers; None for a stage each layer.
        seed: Of the random order of the weights.
        sigma: Blur of the heat maps, not for maps (see `Explanation.heatmap`); the explanations'
            own unless given.

    Returns:
        One entry for each stage.

    Raises:
        DataError: An explanation of other images.
        ExportError: The network has no operator graph.
        LayerError: The network has no weights.
        OptionError: `stages` or `seed` is no such number, or there are fewer layers than stages.

    Example:
        >>> from cofire.explain import explain
        >>> model = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
        >>> images = torch.rand(2, 8, generator=torch.Generator().manual_seed(0))
        >>> found = randomisation(Network(model, images), lambda other: explain(other, images, 0, k_linear=None))
        >>> found.layers, len(found.rank_correlation)
        ((('2',), ('0',)), 2)
    """
    check_decides(network)
    original = explained(network)
    before = original.heatmap(sigma)
    layers, found = [], []
    for names, other in randomised(network, stages=stages, seed=seed):
        after = explained(other)
        if len(after) != len(original) or after.size != original.size:
            raise DataError(
                f"an explanation of {len(after)} images of {after.size}",
                f"of {len(original)} of {original.size}",
                "explain the same images at every stage",
            )
        layers.append(names)
        found.append(rank_correlation(before, after.heatmap(sigma)))
    return Cascade(tuple(layers), tuple(found))


@validated
def randomised(
    network: Network, *, stages: int | None = None, seed: int = 0
) -> Iterator[tuple[tuple[str, ...], Network]]:
    """The network with ever more of its layers randomised, from the one next to the classes downwards.

    The numbers of each weight change places at random among themselves, so that each keeps its
    distribution. What a normalisation counted in training (running means and variances) stays.

    Args:
        network: As it was trained; it stays so.
        stages: In how many stages; None for a stage each layer.
        seed: The same numbers for the same weight, whatever else is randomised.

    Yields:
        The layers that a stage adds, and the network with them and those of all stages before.

    Raises:
        ExportError: The network has no operator graph.
        LayerError: The network has no weights.
        OptionError: `stages` or `seed` is no such number, or there are fewer layers than stages.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 2))
        >>> [names for names, _ in randomised(Network(model, torch.zeros(1, 4)))]
        [('2',), ('0',)]
    """
    layers = _layers(network)
    if not layers:
        raise LayerError("a network without weights", "one that was trained", "check the model")
    several = len(layers) if stages is None else check_whole("stages", stages, most=len(layers))
    reference, tensors = network.reference, network.state_dict()
    names = list(layers)
    for stage in range(several):
        added = names[stage * len(names) // several : (stage + 1) * len(names) // several]
        chosen = [reference[name] for layer in added for name in layers[layer]]
        for name in tensors:
            # A weight that several layers share has several names, and must remain one weight.
            if any(each is reference[name] for each in chosen):
                first = next(other for other in reference if reference[other] is reference[name])
                tensors[name] = _permuted(tensors[name], seed, first)
        yield tuple(added), network.with_weights(tensors)


def _layers(network: Network) -> dict[str, list[str]]:
    """Names of weights by the path of their module, the last to be used first; each weight once."""
    found: dict[str, list[str]] = {}
    seen: list[Tensor] = []
    for node in reversed(list(network.graph.nodes)):
        for operand in node.all_input_nodes:
            name = operand.meta.get("tensor_name")
            held = network.reference.get(name) if name is not None else None
            if (
                held is None
                or not held.is_floating_point()
                or not isinstance(held, torch.nn.Parameter)
            ):
                continue
            if held.numel() > 1 and not any(held is other for other in seen):
                seen.append(held)
                found.setdefault(name.rpartition(".")[0] or name, []).append(name)
    return found


def _permuted(values: Tensor, seed: int, name: str) -> Tensor:
    """The same numbers in a random order, drawn from the seed and the weight's name."""
    order = np.random.default_rng([seed, *name.encode()]).permutation(values.numel())
    flat = values.detach().flatten()
    return flat[torch.from_numpy(order).to(flat.device)].reshape(values.shape)


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
    sigma: NonNegativeFloat | None = None,
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
        ...         neurons=None, maps=torch.tensor([[map]]), images=torch.zeros(1, 1, 4, 3, dtype=torch.uint8))
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
        ...     neurons=None, maps=torch.ones(1, 1, 4), images=torch.zeros(1, 1, 4, 3, dtype=torch.uint8)))
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
class Stability(Shift):
    """How far a method's explanations move when images do: each image's mean over what counts for it.

    Attributes:
        shifts: One for each perturbation, in the order in which they were given.
    """

    shifts: tuple[Shift, ...]


@validated
def stability(
    explained: Callable[[Tensor], Explanation],
    images: Tensor,
    perturbed: Sequence[Tensor],
    *,
    sigma: NonNegativeFloat | None = None,
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
    shifts = tuple(shift(before, explained(each), sigma=sigma, box=box) for each in perturbed)
    parts: dict[str, Any] = {
        part.name: _averaged([getattr(each, part.name) for each in shifts])
        for part in fields(Shift)
    }
    return Stability(**parts, shifts=shifts)


def _averaged(parts: Sequence[PerImage]) -> PerImage:
    times = torch.stack([part.counted for part in parts]).sum(dim=0)
    total = torch.stack([part.values for part in parts]).sum(dim=0)
    return PerImage(total / times.clamp(min=1), times > 0)
