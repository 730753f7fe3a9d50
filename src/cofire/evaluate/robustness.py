"""Robustness of explanations (P3 §4.3): photos attacked by DeepFool, and explained before and after."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from cofire.arguments import validated
from cofire.errors import BatchError, DataError, ExplanationError
from cofire.evaluate.deepfool import Attacked, Bounds, deepfool, fitting_noise
from cofire.evaluate.localisation import share_inside
from cofire.evaluate.methods import explained
from cofire.evaluate.per_image import PerImage
from cofire.evaluate.sensitivity import shift
from cofire.evaluate.shifts import (
    COMPARISONS,
    MEASURES,
    AttackCase,
    AttackedPhoto,
    MethodShift,
    Robustness,
)
from cofire.explain import Explanation
from cofire.explain.inputs import chances_of
from cofire.images.preparation import Preparation
from cofire.marks import check_whole
from cofire.network import Network, classifier

_SEEN = 90
"""Grey levels by which the strongest changes of a difference are drawn lighter or darker than middle grey."""

_STRONGEST = 0.995


@validated
def run_robustness(
    network: Network | nn.Module,
    inputs: Tensor,
    pictures: Tensor,
    labels: Tensor | None,
    methods: Sequence[str],
    names: Sequence[str] | None = None,
    seed: int = 0,
    *,
    files: Sequence[str] | None = None,
    preparation: Preparation | None = None,
    boxes: Sequence[Tensor] | None = None,
    options: Mapping[str, Mapping[str, Any]] | None = None,
    classes: int = 10,
    overshoot: float = 0.02,
    steps: int = 50,
    batch_size: int = 16,
    cases: int = 12,
    advance: Callable[[int], object] | None = None,
) -> Robustness:
    """Attack photos, and see how far their explanations move.

    Each photo is changed by DeepFool until another class is predicted, and once more by random
    noise of the same length. Photos that were fooled are explained as they were, with noise and
    attacked, see `cofire.evaluate.shifts.COMPARISONS`: an explanation that moves as little under
    the attack as under noise follows the photo; one that moves with the new class follows the
    decision. Fooled photos on which noise of that length does not fit within what a photo can hold
    are left out, and counted.

    Args:
        network: With a graph; a module is read with the inputs.
        inputs: (images, channels, height, width), prepared as for prediction.
        pictures: The same to look at, (images, height, width, 3), uint8.
        labels: The true classes, (images,); None where they are not known.
        methods: Methods of `cofire.evaluate.methods`.
        names: Names of all classes.
        seed: Of the noise, and of baselines that draw.
        files: The photos' names; numbers unless given.
        preparation: How inputs were made of pictures: changed photos then stay what a picture can
            be, and changes are told in grey levels. Unless given there are no bounds.
        boxes: For each image the ground-truth boxes (boxes, 4) in pixels of the input, (0, 4) for
            none.
        options: Of the methods, by name.
        classes: See `deepfool`.
        overshoot: See `deepfool`.
        steps: See `deepfool`.
        batch_size: Images at a time.
        cases: How many photos are kept to look at.
        advance: Called with the number of photos done, after each batch.

    Raises:
        BatchError: Images, pictures, labels, files or boxes of other numbers, or of a shape that
            does not fit.
        DataError: There is no method, or one is there twice.
        ExplanationError: The network does not take images, or a method does not fit it.
        NonFiniteError: A pixel, a logit or a gradient is NaN or infinite.
        OptionError: A method or option does not exist or is out of bounds.
    """
    batch_size, cases = check_whole("batch_size", batch_size), check_whole("cases", cases, least=0)
    seed = check_whole("seed", seed, least=0)
    network = classifier(network, inputs)
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
    count = len(inputs)
    parts = {"pictures": pictures, "labels": labels, "files": files, "boxes": boxes}
    for what, given in parts.items():
        if given is not None and len(given) != count:
            raise BatchError(
                f"{len(given)} {what} for {count} images",
                f"{count}, one for each",
                f"pass all {what}",
            )
    if preparation is not None and preparation.shape != network.input_shape:
        raise BatchError(
            f"a preparation to {preparation.shape}",
            f"to {network.input_shape}",
            "pass the network's own",
        )
    bounds = None if preparation is None else _bounds(preparation)
    told = [str(number) for number in range(count)] if files is None else list(files)
    photos: list[AttackedPhoto] = []
    shifts: list[MethodShift] = []
    kept: list[tuple[float, int, AttackCase]] = []
    for first in range(0, count, batch_size):
        part = slice(first, first + batch_size)
        found = deepfool(
            network,
            inputs[part],
            classes=classes,
            overshoot=overshoot,
            steps=steps,
            bounds=bounds,
            batch_size=batch_size,
        )
        start = inputs[part].detach().cpu().float()
        fooled = found.fooled.nonzero().flatten()
        noise = start.clone()
        noise[fooled], fits = fitting_noise(
            start[fooled], found.norm[fooled], bounds=bounds, seed=seed
        )
        fooled = fooled[fits]
        truth = None if labels is None else labels[part]
        photos += _photos(network, start, noise, fooled, found, truth, told[part], preparation)
        if len(fooled):
            scale = _scale(start, preparation)
            levels = [
                _coloured((images - start) * scale)[fooled] for images in (noise, found.images)
            ]
            plain = pictures[part][fooled].cpu()
            shown = [
                plain,
                *((plain + each).round().clamp(0, 255).to(torch.uint8) for each in levels),
            ]
            explanations = {
                method: _explained(
                    network,
                    [start[fooled], noise[fooled], found.images[fooled]],
                    shown,
                    found.before[fooled],
                    found.after[fooled],
                    method,
                    seed,
                    (options or {}).get(method, {}),
                )
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
                row.photo: row.centroid or 0.0
                for row in rows
                if (row.method, row.comparison) == (methods[0], "attack")
            }
            for at, number in enumerate(numbers):
                case = _case(at, number, shown, explanations, levels[1][at].numpy())
                heapq.heappush(kept, (moved[number], -number, case))
                # Only so many are held at a time, however many photos there are.
                if len(kept) > cases:
                    heapq.heappop(kept)
        if advance is not None:
            advance(len(start))
    told_of = (
        number
        for photo in photos
        for number in (photo.before, photo.after, photo.noisy, photo.label)
    )
    occurring = {number for number in told_of if number is not None}
    return Robustness(
        methods=tuple(methods),
        photos=tuple(photos),
        # In one order, however many photos were in a batch.
        shifts=tuple(
            sorted(
                shifts,
                key=lambda row: (
                    row.photo,
                    methods.index(row.method),
                    COMPARISONS.index(row.comparison),
                ),
            )
        ),
        classes={} if names is None else {number: names[number] for number in sorted(occurring)},
        options={
            "classes": classes,
            "overshoot": overshoot,
            "steps": steps,
            "seed": seed,
            "bounded": bounds is not None,
        },
        cases=tuple(case for _, _, case in sorted(kept, key=lambda each: each[:2], reverse=True)),
    )


def _bounds(preparation: Preparation) -> Bounds:
    mean, std = (
        torch.tensor(values)[:, None, None] for values in (preparation.mean, preparation.std)
    )
    return (0 - mean) / std, (1 - mean) / std


def _photos(
    network: Network,
    start: Tensor,
    noise: Tensor,
    noised: Tensor,
    found: Attacked,
    labels: Tensor | None,
    files: Sequence[str],
    preparation: Preparation | None,
) -> list[AttackedPhoto]:
    """What happened to the photos of a batch, some of which have noise."""
    chances, spoilt, after = (
        chances_of(network.run(images)).cpu() for images in (start, noise, found.images)
    )
    levels: list[float | None] = [None] * len(start)
    rounded: list[bool | None] = [None] * len(start)
    if preparation is not None:
        mean, std = (
            torch.tensor(values)[:, None, None] for values in (preparation.mean, preparation.std)
        )
        change = ((found.images - start) * std * 255).double().flatten(1)
        levels = list(change.square().mean(dim=1).sqrt().tolist())
        whole = ((found.images * std + mean) * 255).round().clamp(0, 255)
        rounded = list(
            (network.run((whole / 255 - mean) / std).argmax(1).cpu() != found.before).tolist()
        )
    at, with_noise = torch.arange(len(start)), set(noised.tolist())
    before = found.before
    return [
        AttackedPhoto(
            file=files[number],
            label=None if labels is None else int(labels[number]),
            before=int(before[number]),
            after=int(found.after[number]),
            noisy=int(spoilt[number].argmax()) if number in with_noise else None,
            confidence=float(chances[at, before][number]),
            confidence_after=float(after[at, found.after][number]),
            kept=float(after[at, before][number]),
            kept_noisy=float(spoilt[at, before][number]) if number in with_noise else None,
            norm=float(found.norm[number]),
            levels=levels[number],
            rounded=rounded[number] and bool(found.fooled[number]),
            steps=int(found.steps[number]),
            fooled=bool(found.fooled[number]),
        )
        for number in range(len(start))
    ]


def _explained(
    network: Network,
    images: Sequence[Tensor],
    pictures: Sequence[Tensor],
    before: Tensor,
    after: Tensor,
    method: str,
    seed: int,
    options: Mapping[str, Any],
) -> tuple[Explanation, ...]:
    """The first class on all three, the new class attacked, and the new class on the photos as they were."""
    plain, noise, attacked = zip(images, pictures, strict=True)
    asked = (
        (plain, before),
        (noise, before),
        (attacked, before),
        (attacked, after),
        (plain, after),
    )
    return tuple(
        explained(network, batch, target, method, pictures=drawn, seed=seed, options=options)
        for (batch, drawn), target in asked
    )


def _shifts(
    found: Sequence[Explanation],
    method: str,
    numbers: Sequence[int],
    boxes: Sequence[Tensor] | None,
) -> list[MethodShift]:
    first = found[0]
    nothing = PerImage(torch.zeros(len(first)), torch.zeros(len(first), dtype=torch.bool))
    inside = [nothing if boxes is None else share_inside(each.heatmap(), boxes) for each in found]
    rows = []
    for comparison, second, held in zip(COMPARISONS, found[1:], inside[1:], strict=True):
        apart = shift(first, second)
        for at, number in enumerate(numbers):
            measures = {name: _value(getattr(apart, name), at) for name in MEASURES}
            rows.append(
                MethodShift(
                    photo=number,
                    method=method,
                    comparison=comparison,
                    **measures,
                    inside_before=_value(inside[0], at),
                    inside_after=_value(held, at),
                )
            )
    return rows


def _value(of: PerImage, at: int) -> float | None:
    return float(of.values[at]) if bool(of.counted[at]) else None


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


def _case(
    at: int,
    number: int,
    shown: Sequence[Tensor],
    explanations: Mapping[str, tuple[Explanation, ...]],
    levels: NDArray[Any],
) -> AttackCase:
    drawn, times = _amplified(levels)
    plain, noise, attacked = (pictures[at].numpy() for pictures in shown)
    own = {
        method: (one[at], two[at], three[at], four[at])
        for method, (one, two, three, four, _) in explanations.items()
    }
    return AttackCase(number, (plain, noise, attacked), drawn, times, own)


def _amplified(levels: NDArray[Any]) -> tuple[NDArray[Any], int]:
    """A change around middle grey, as many times as strong as makes its strongest parts seen: 1, 2, 5, 10, ..."""
    strong = float(np.quantile(np.abs(levels), _STRONGEST))
    wanted = _SEEN / strong if strong > 0 else 1.0
    power = 10.0 ** math.floor(math.log10(max(wanted, 1.0)))
    times = int(max(step * power for step in (1, 2, 5) if step == 1 or step * power <= wanted))
    drawn: NDArray[Any] = np.clip(np.round(128 + times * levels), 0, 255).astype(np.uint8)
    return drawn, times
