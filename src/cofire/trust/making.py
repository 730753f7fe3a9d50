"""Make a study of human trust: choose images that both networks classify rightly, and draw their maps blinded."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from cofire.atomic import atomic_path
from cofire.errors import DataError, ImageError, OptionError
from cofire.evaluate.localisation import area_overlap
from cofire.evaluate.methods import explained, fitting
from cofire.explain.drawing import draw
from cofire.images.collection import AnnotatedImage, Collection
from cofire.images.preparation import Preparation
from cofire.images.seen import SeenBatch, checked, read_batches
from cofire.network import Network
from cofire.trust.design import PICTURES, Picture

_BLOB = 0.18
"""Width of a wrong map's only spot, as a share of the shorter side."""


class Side(NamedTuple):
    """One of the two networks.

    Attributes:
        network: The classifier.
        preparation: How images are prepared for it.
        name: What the report calls it.
    """

    network: Network
    preparation: Preparation
    name: str


class Right(NamedTuple):
    """An image that both networks classify rightly.

    Attributes:
        image: What it is called.
        object: The name of its class.
        pixels: (height, width, 3), uint8, as the networks see it.
        maps: (methods, 2, height, width), float32: of both networks.
    """

    image: str
    object: str
    pixels: Tensor
    maps: Tensor


def choose(
    sides: tuple[Side, Side],
    images: Collection,
    methods: Mapping[str, Mapping[str, Any]],
    count: int,
    *,
    least: int,
    names: Sequence[str] | None = None,
    seed: int = 0,
    batch_size: int = 16,
    skip_unreadable: bool = False,
    advance: Callable[[int], object] = lambda done: None,
) -> list[Right]:
    """The first so many images of a random order that both networks classify rightly, with what explains them.

    Args:
        sides: The two networks, of the same classes.
        images: To choose from.
        methods: That draw the maps, with their options.
        count: How many, if there are so many.
        least: How many there must be.
        names: Of all classes; those of the images' folders unless given.
        seed: Of the order, and of methods that draw.
        batch_size: Images at a time.
        skip_unreadable: Leave images out that cannot be read, rather than refuse them.
        advance: Called with the number of images chosen since the last call.

    Raises:
        DataError: Too few images are right in both.
        OptionError: The networks do not see the same part of an image.
        ImageError: An image cannot be read.
    """
    found: list[Right] = []
    for batches in _drawn(sides, images, seed, batch_size, skip_unreadable):
        labels = batches[0].labels
        right = torch.ones(len(labels), dtype=torch.bool)
        for side, batch in zip(sides, batches, strict=True):
            right &= side.network.run(batch.inputs).argmax(1).cpu() == labels
        kept = right.nonzero()[: count - len(found), 0]
        if len(kept):
            _check_views(sides, batches, kept)
            maps = _maps(sides, batches, kept, methods, seed)
            for at, place in enumerate(kept.tolist()):
                one = batches[0].images[place]
                found.append(
                    Right(one.name, _object(one, names), batches[0].pixels[place], maps[:, :, at])
                )
            advance(len(kept))
        if len(found) == count:
            return found
    if len(found) >= least:
        return found
    raise DataError(
        f"{len(found)} of {len(images):,} images that both networks classify rightly",
        f"{least}: those to judge, those with wrong maps, and one for the instructions",
        "pass a smaller --count or give more images; if none is right, check the classes' order",
    )


def _drawn(
    sides: tuple[Side, Side],
    images: Collection,
    seed: int,
    batch_size: int,
    skip_unreadable: bool,
) -> Iterator[tuple[SeenBatch, ...]]:
    """Batches of the images in a random order, as each network sees them."""
    order = np.random.default_rng(seed).permutation(len(images)).tolist()
    for start in range(0, len(order), batch_size):
        part = tuple(replace(images[at], boxes=()) for at in order[start : start + batch_size])
        of = Collection(part, images.source)
        if skip_unreadable:
            try:
                of = checked(of, sides[0].preparation, skip_unreadable=True)
            except ImageError:  # none of these can be read
                continue
        yield tuple(next(read_batches(of, side.preparation, batch_size)) for side in sides)


def _check_views(sides: tuple[Side, Side], batches: Sequence[SeenBatch], kept: Tensor) -> None:
    """Refuse two views of an image: people would judge the views."""
    for at in kept.tolist():
        here, there = (batch.seen[at].region for batch in batches)
        if not np.allclose(here, there, atol=1.0):
            told = "; ".join(f"{side.name}: {side.preparation.told}" for side in sides)
            raise OptionError(
                f"networks that see other parts of '{batches[0].images[at].name}' ({told})",
                "the same part, so that their maps can be held against each other",
                "pass --image-size and --resize, which hold for both networks",
            )


def _maps(
    sides: tuple[Side, Side],
    batches: Sequence[SeenBatch],
    kept: Tensor,
    methods: Mapping[str, Mapping[str, Any]],
    seed: int,
) -> Tensor:
    """(methods, 2, images, height, width), at the size that the first network sees."""
    size = tuple(batches[0].pixels.shape[1:3])
    found = []
    for method, options in methods.items():
        for side, batch in zip(sides, batches, strict=True):
            heat = explained(
                side.network,
                batch.inputs[kept],
                batch.labels[kept],
                method,
                images=batch.pixels[kept],
                seed=seed,
                options=fitting(side.network, method, options),
            ).heatmap()
            if tuple(heat.shape[1:]) != size:
                heat = functional.interpolate(heat[:, None], size, mode="bilinear")[:, 0]
            found.append(heat)
    return torch.stack(found).reshape(len(methods), 2, len(kept), *size)


def _object(image: AnnotatedImage, names: Sequence[str] | None) -> str:
    """What an image shows: the name of its class, or of the folder that it lies in."""
    if names is not None:
        return names[image.label]
    folder = image.name.rpartition("/")[0].rpartition("/")[2]
    return folder or f"class {image.label}"


def draw_pictures(
    chosen: Sequence[Right], count: int, checks: int, folder: Path
) -> tuple[list[Picture], list[Picture], Picture]:
    """Draw what people see: pairs of maps, attention checks, and the example of the instructions.

    All maps have the same colours: a colour is a share of the map's own maximum. Of the images
    beyond the pairs, those where the two networks' maps agree best are for checks and instructions,
    each with a wrong map: a single spot in the corner farthest from where the right map is hot.

    Args:
        chosen: The images, in the order that chance gave them.
        count: How many are pairs: the first ones, so that no map decides which.
        checks: How many attention checks.
        folder: Of the study.

    Returns:
        Pairs, checks and the example.
    """
    spare = chosen[count:]
    maps = torch.stack([one.maps[0] for one in spare])
    alike = area_overlap(maps[:, 0], maps[:, 1])
    agreed = torch.where(alike.counted, alike.values, -1.0)
    best = agreed.argsort(descending=True, stable=True)[: checks + 1].tolist()
    # Of both networks in turn: neither is known by its checks.
    example, *wrong = (_with_wrong(spare[at], n % 2, folder) for n, at in enumerate(best))
    return [_picture(one, one.maps, folder) for one in chosen[:count]], wrong, example


def _with_wrong(one: Right, network: int, folder: Path) -> Picture:
    right = one.maps[0, network]
    return _picture(one, torch.stack([right, far_from(right)])[None], folder)


def far_from(heat: Tensor) -> Tensor:
    """A map that is obviously wrong: one spot in the corner farthest from the centre of another's heat.

    Args:
        heat: (height, width), from 0 up.

    Example:
        >>> heat = torch.zeros(8, 8)
        >>> heat[1, 2] = 1.0
        >>> divmod(int(far_from(heat).argmax()), 8)
        (7, 7)
    """
    height, width = heat.shape
    rows, columns = torch.arange(height).double(), torch.arange(width).double()
    mass = heat.double() / heat.sum().double().clamp(min=1e-300)
    y, x = float(mass.sum(1) @ rows), float(mass.sum(0) @ columns)
    corner = (0 if y >= (height - 1) / 2 else height - 1, 0 if x >= (width - 1) / 2 else width - 1)
    squared = (rows[:, None] - corner[0]).square() + (columns - corner[1]).square()
    return torch.exp(-squared / (2 * (_BLOB * min(height, width)) ** 2)).float()


def _picture(one: Right, maps: Tensor, folder: Path) -> Picture:
    pixels = one.pixels.numpy()
    size = draw.drawn_size((pixels.shape[0], pixels.shape[1]))

    def drawn(heat: Tensor) -> str:
        base = Image.fromarray(draw.grey(pixels)).convert("RGBA")
        base.alpha_composite(Image.fromarray(draw.coloured(draw.heat_share(heat)[0])))
        return _kept(base.convert("RGB"), size, folder)

    shown = _kept(Image.fromarray(pixels), size, folder)
    both = tuple((drawn(first), drawn(second)) for first, second in maps)
    return Picture(one.image, one.object, shown, both)


def _kept(image: Image.Image, size: tuple[int, int], folder: Path) -> str:
    """Write a picture; its name is a hash of its content."""
    smooth = draw.is_smooth((image.height, image.width))
    enlarged = image.resize(size, Image.Resampling.BICUBIC if smooth else Image.Resampling.NEAREST)
    file = io.BytesIO()
    if smooth:
        enlarged.save(file, "JPEG", quality=90, optimize=True)
    else:
        enlarged.save(file, "PNG", optimize=True)
    content = file.getvalue()
    name = f"{name_of(content)}.{'jpg' if smooth else 'png'}"
    with atomic_path(folder / PICTURES / name) as partial:
        partial.write_bytes(content)
    return name


def name_of(content: bytes) -> str:
    """What a picture is called, without its ending."""
    return hashlib.sha256(content).hexdigest()[:24]
