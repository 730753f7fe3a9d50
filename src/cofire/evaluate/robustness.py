"""Robustness of explanations (P3 §4.3): images attacked by DeepFool, and explained before and after."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import PositiveInt
from torch import Tensor, nn

from cofire.arguments import validated
from cofire.errors import BatchError, DataError, ExplanationError
from cofire.evaluate.deepfool import Attacked, Bounds, deepfool, fitting_noise
from cofire.evaluate.localisation import share_inside
from cofire.evaluate.methods import explained
from cofire.evaluate.per_image import check_counts
from cofire.evaluate.results import (
    COMPARISONS,
    MEASURES,
    AttackCase,
    AttackedImage,
    MethodShift,
    Robustness,
)
from cofire.evaluate.sensitivity import shift
from cofire.explain import Explanation
from cofire.explain.inputs import probabilities_of
from cofire.images.preparation import Preparation
from cofire.network import Network, classifier
from cofire.options import Options, option

_SEEN = 90
"""Grey levels by which the strongest changes of a difference are drawn lighter or darker than middle grey."""


class AttackOptions(Options):
    """How images are attacked (see `cofire.evaluate.deepfool.deepfool`).

    Attributes:
        classes: The most probable classes whose boundaries are looked at.
        overshoot: How much further than to the boundary, as a share of the way.
        steps: At the most.
        seed: Of the noise, and of baselines that draw.
    """

    classes: int = option(10, "Classes", "Whose boundaries are looked at.", ge=2)
    overshoot: float = option(0.02, "Overshoot", "Further than to the boundary.", ge=0)
    steps: PositiveInt = option(50, "Steps", "Of DeepFool at the most.")
    seed: int = option(0, "Seed", "Of the noise.")


@validated
def run_robustness(
    network: Network | nn.Module,
    inputs: Tensor,
    images: Tensor,
    labels: Tensor | None,
    methods: Sequence[str],
    names: Sequence[str] | None = None,
    seed: int = 0,
    *,
    files: Sequence[str] | None = None,
    preparation: Preparation | None = None,
    boxes: Sequence[Tensor] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    batch_size: PositiveInt = 16,
    cases: int = 12,
    advance: Callable[[int], object] | None = None,
    **attack: Any,
) -> Robustness:
    """Attack images, and see how far their explanations move.

    Each image is changed by DeepFool until another class is predicted, and once more by random
    noise of the same length. Images that were fooled are explained as they were, with noise and
    attacked, see `cofire.evaluate.results.COMPARISONS`: an explanation that moves as little under
    the attack as under noise follows the image; one that moves with the new class follows the
    decision. Fooled images on which noise of that length does not fit within what an image can hold
    are left out, and counted.

    Args:
        network: With a graph; a module is read with the inputs.
        inputs: (images, channels, height, width), prepared as for prediction.
        images: The same to look at, (images, height, width, 3), uint8.
        labels: The true classes, (images,); None where they are not known.
        methods: Methods of `cofire.evaluate.methods`.
        names: Names of all classes.
        seed: Of the noise, and of baselines that draw.
        files: The images' names; numbers unless given.
        preparation: How inputs were made of images: changed ones then stay what an image can
            be, and changes are told in grey levels. Unless given there are no bounds.
        boxes: For each image the ground-truth boxes (boxes, 4) in pixels of the input, (0, 4) for
            none.
        options: Of the methods, by name.
        batch_size: Images at a time.
        cases: How many images are kept to look at.
        advance: Called with the number of images done, after each batch.
        attack: See `AttackOptions`.

    Raises:
        BatchError: Inputs, images, labels, files or boxes of other numbers, or of a shape that
            does not fit.
        DataError: There is no method, or one is there twice.
        ExplanationError: The network does not take images, or a method does not fit it.
        NonFiniteError: A pixel, a logit or a gradient is NaN or infinite.
        OptionError: A method or option does not exist or is out of bounds.
    """
    network, count = classifier(network, inputs), len(inputs)
    if not methods or len(set(methods)) < len(methods):
        raise DataError(
            f"methods {list(methods)}",
            "one or more, each once",
            "pass methods=['discernible', 'gradcam']",
        )
    if len(network.input_shape) != 3:
        raise ExplanationError(
            f"a network on inputs of shape {network.input_shape}",
            "images (channels, height, width)",
            "reshape them",
        )
    check_counts(count, images=images, labels=labels, files=files, boxes=boxes)
    if preparation is not None and preparation.shape != network.input_shape:
        raise BatchError(
            f"a preparation to {preparation.shape}",
            f"to {network.input_shape}",
            "pass the network's own",
        )
    bounds = None if preparation is None else _bounds(preparation)
    asked = AttackOptions(seed=seed, **attack)
    how = {"classes": asked.classes, "overshoot": asked.overshoot, "steps": asked.steps}
    told = list(map(str, range(count))) if files is None else list(files)
    attacked: list[AttackedImage] = []
    shifts: list[MethodShift] = []
    kept: list[tuple[float, int, AttackCase]] = []
    for first in range(0, count, batch_size):
        part = slice(first, first + batch_size)
        found = deepfool(network, inputs[part], bounds=bounds, batch_size=batch_size, **how)  # type: ignore[arg-type]
        start = inputs[part].detach().cpu().float()
        fooled = found.fooled.nonzero().flatten()
        noise = start.clone()
        noise[fooled], fits = fitting_noise(
            start[fooled], found.norm[fooled], bounds=bounds, seed=seed
        )
        fooled = fooled[fits]
        truth = None if labels is None else labels[part]
        known = None if boxes is None else list(boxes[part])
        attacked += _attacked(
            network, start, noise, fooled, found, truth, told[part], preparation, known
        )
        if len(fooled):
            # Whoever looks at the images sees what the network sees: changes in grey levels.
            scale, plain = _scale(start, preparation), images[part][fooled].cpu()
            levels = [_coloured((moved - start) * scale)[fooled] for moved in (noise, found.images)]
            changed = [(plain + each).round().clamp(0, 255).to(torch.uint8) for each in levels]
            shown, seen = [plain, *changed], [start[fooled], noise[fooled], found.images[fooled]]
            # The first class on all three, the new class attacked, and on the images as they were.
            wanted = [(at, found.before[fooled]) for at in range(3)]
            wanted += [(at, found.after[fooled]) for at in (2, 0)]
            explanations = {
                method: [
                    explained(
                        network,
                        seen[at],
                        target,
                        method,
                        images=shown[at],
                        seed=seed,
                        options=(options or {}).get(method, {}),
                    )
                    for at, target in wanted
                ]
                for method in methods
            }
            numbers = (fooled + first).tolist()
            some = None if boxes is None else [boxes[number] for number in numbers]
            rows = [
                row
                for method in methods
                for row in _shifts(explanations[method], method, numbers, some)
            ]
            shifts += rows
            moved = {
                row.image: row.centroid or 0.0
                for row in rows
                if (row.method, row.comparison) == (methods[0], "attack")
            }
            for at, number in enumerate(numbers):
                difference, times = _amplified(levels[1][at].numpy())
                plain_, noisy_, attacked_ = (each[at].numpy() for each in shown)
                own = {
                    method: tuple(e[at] for e in four[:4]) for method, four in explanations.items()
                }
                held = None if some is None else some[at]
                case = AttackCase(
                    number,
                    (plain_, noisy_, attacked_),
                    difference,
                    times,
                    own,  # type: ignore[arg-type]
                    held,
                )
                heapq.heappush(kept, (moved[number], -number, case))
                # Only so many are held at a time, however many images there are.
                if len(kept) > cases:
                    heapq.heappop(kept)
        if advance is not None:
            advance(len(start))
    occurring = {
        number
        for image in attacked
        for number in (image.before, image.after, image.noisy, image.label)
        if number is not None
    }
    order = {name: at for names_ in (methods, COMPARISONS) for at, name in enumerate(names_)}
    return Robustness(
        methods=tuple(methods),
        images=tuple(attacked),
        # In one order, however many images were in a batch.
        shifts=tuple(
            sorted(shifts, key=lambda row: (row.image, order[row.method], order[row.comparison]))
        ),
        classes={} if names is None else {number: names[number] for number in sorted(occurring)},
        options={**asked.record(), "bounded": bounds is not None},
        cases=tuple(case for _, _, case in sorted(kept, key=lambda each: each[:2], reverse=True)),
    )


def _bounds(preparation: Preparation) -> Bounds:
    mean, std = _statistics(preparation)
    return (0 - mean) / std, (1 - mean) / std


def _statistics(preparation: Preparation) -> tuple[Tensor, Tensor]:
    """Mean and deviation of each channel, to broadcast over (channels, height, width)."""
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (preparation.mean, preparation.std)
    )
    return mean, std


def _attacked(
    network: Network,
    start: Tensor,
    noise: Tensor,
    noised: Tensor,
    found: Attacked,
    labels: Tensor | None,
    files: Sequence[str],
    preparation: Preparation | None,
    boxes: Sequence[Tensor] | None,
) -> list[AttackedImage]:
    """What happened to the images of a batch, some of which have noise."""
    count, before = len(start), found.before
    plain, noisy, attacked = (
        probabilities_of(network.run(images)).cpu() for images in (start, noise, found.images)
    )
    levels: list[float | None] = [None] * count
    rounded: list[bool | None] = [None] * count
    if preparation is not None:
        mean, std = _statistics(preparation)
        change = ((found.images - start) * std * 255).double().flatten(1)
        levels = list(change.square().mean(dim=1).sqrt().tolist())
        whole = ((found.images * std + mean) * 255).round().clamp(0, 255)
        other = network.run((whole / 255 - mean) / std).argmax(1).cpu() != before
        rounded = list((other & found.fooled).tolist())
    at, has_noise = torch.arange(count), torch.zeros(count, dtype=torch.bool)
    has_noise[noised] = True

    def where_noise(values: Tensor) -> list[Any]:
        pairs = zip(values.tolist(), has_noise.tolist(), strict=True)
        return [value if there else None for value, there in pairs]

    columns: dict[str, Sequence[Any]] = {
        "file": files,
        "label": [None] * count if labels is None else labels.tolist(),
        "before": before.tolist(),
        "after": found.after.tolist(),
        "noisy": where_noise(noisy.argmax(1)),
        "confidence": plain[at, before].tolist(),
        "confidence_after": attacked[at, found.after].tolist(),
        "kept": attacked[at, before].tolist(),
        "kept_noisy": where_noise(noisy[at, before]),
        "norm": found.norm.tolist(),
        "levels": levels,
        "rounded": rounded,
        "steps": found.steps.tolist(),
        "fooled": found.fooled.tolist(),
        "covered": _inside(torch.ones(count, *start.shape[2:]), boxes),
    }
    rows = zip(*columns.values(), strict=True)
    return [AttackedImage(**dict(zip(columns, row, strict=True))) for row in rows]


def _shifts(
    found: Sequence[Explanation],
    method: str,
    numbers: Sequence[int],
    boxes: Sequence[Tensor] | None,
) -> list[MethodShift]:
    """How far the explanations after the first have moved from it."""
    inside = [_inside(each.heatmap(), boxes) for each in found]
    rows = []
    for comparison, second, held in zip(COMPARISONS, found[1:], inside[1:], strict=True):
        apart = shift(found[0], second)
        cells = [getattr(apart, name).cells() for name in MEASURES]
        for number, *values in zip(numbers, *cells, inside[0], held, strict=True):
            rows.append(MethodShift(number, method, comparison, *values))
    return rows


def _inside(maps: Tensor, boxes: Sequence[Tensor] | None) -> list[float | None]:
    """The share of each map that lies in its image's boxes, None where there are none."""
    return [None] * len(maps) if boxes is None else share_inside(maps, boxes).cells()


def _scale(start: Tensor, preparation: Preparation | None) -> Tensor:
    """Grey levels for a change of the input by 1, to broadcast over (images, channels, height, width)."""
    if preparation is not None:
        return 255 * torch.tensor(preparation.std)[None, :, None, None]
    low, high = start.flatten(1).aminmax(dim=1)
    return (255 / (high - low).clamp(min=torch.finfo(torch.float32).tiny))[:, None, None, None]


def _coloured(change: Tensor) -> Tensor:
    """(images, channels, height, width) as (images, height, width, 3)."""
    wide = (
        change if change.shape[1] == 3 else change.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)
    )
    return wide.permute(0, 2, 3, 1)


def _amplified(levels: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """A change around middle grey, as many times as strong as makes its strongest parts seen: 1, 2, 5, 10, ..."""
    strong = float(np.quantile(np.abs(levels), 0.995))
    wanted = _SEEN / strong if strong > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(max(wanted, 1.0)))
    times = int(max(step * power for step in (1, 2, 5) if step == 1 or step * power <= wanted))
    drawn: NDArray[Any] = np.clip(np.round(128 + times * levels), 0, 255).astype(np.uint8)
    return drawn, times
