"""Images as a network sees them, with their boxes in the same pixels, a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import numpy as np
import torch
from pydantic import PositiveInt
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import ImageError
from cofire.images.annotations import Corners, corners_fault
from cofire.images.collection import AnnotatedImage, Collection
from cofire.images.files import refuse_all
from cofire.images.preparation import Preparation, Prepared
from cofire.images.reading import orientation_of, oriented, read_image

_MOST_READERS = 16
_FITTING = "boxes within images of the size that they were drawn on"


@dataclass(frozen=True, eq=False)
class SeenBatch:
    """Some images as a network sees them.

    Attributes:
        images: In the order of the collection.
        seen: Each as it was cut.
        inputs: (images, channels, height, width), float32, for the network.
        pixels: (images, height, width, 3), uint8, to look at.
        labels: (images,), int64.
        boxes: For each image (boxes, 4), float32: left, top, right and bottom in pixels of the
            input.
        cropped: How many boxes lie outside of what the network sees.
    """

    images: tuple[AnnotatedImage, ...]
    seen: tuple[Prepared, ...]
    inputs: Tensor
    pixels: Tensor
    labels: Tensor
    boxes: tuple[Tensor, ...]
    cropped: int


def seen_boxes(image: AnnotatedImage, prepared: Prepared, shape: tuple[int, ...]) -> Tensor:
    """An image's boxes in the pixels of what a network sees.

    x' = (x - left of the view) * width of the map / width of the view, likewise for y, cut at the
    view's edges.

    Args:
        image: With its boxes.
        prepared: As it was cut for the network.
        shape: Of the input or of a map of it: (..., height, width).

    Returns:
        (boxes, 4), float32; a box of which nothing is seen is not among them.

    Raises:
        DataError: Boxes lie outside of their image, are none, or were drawn on an image of another
            shape.

    Example:
        >>> import numpy as np
        >>> from pathlib import Path
        >>> image = AnnotatedImage(Path("a.jpg"), "a.jpg", 0, ((0.0, 0.0, 30.0, 20.0), (0.0, 0.0, 10.0, 40.0)))
        >>> prepared = Prepared(np.zeros((8, 8, 3), np.uint8), (60, 40), (10.0, 0.0, 50.0, 40.0))
        >>> seen_boxes(image, prepared, (3, 8, 8))
        tensor([[0., 0., 4., 4.]])
    """
    boxes, faults = placed(image, prepared.size, orientation_of(image.file) if image.boxes else 1)
    refuse_all(
        faults,
        f"boxes that do not fit '{image.file}'",
        _FITTING,
        "mend the list of boxes, or leave them out when checking the collection: skip_faulty=True (--skip-unreadable)",
    )
    height, width = shape[-2:]
    return torch.tensor(
        in_view(boxes, prepared.region, (height, width)), dtype=torch.float32
    ).reshape(-1, 4)


@validated
def read_batches(
    collection: Collection, preparation: Preparation, batch_size: PositiveInt = 16
) -> Iterator[SeenBatch]:
    """The images of a collection as a network sees them; one batch is held at a time.

    Args:
        collection: Best after `checked`, so that nothing is wrong on the way.
        preparation: What is done to the images.
        batch_size: How many at a time.

    Raises:
        ImageError: An image cannot be read, or is too small.
        DataError: Boxes do not fit their image.
        OptionError: `batch_size` is below 1.
    """
    for start in range(0, len(collection), batch_size):
        images = collection.images[start : start + batch_size]
        seen = tuple(preparation.crop(read_image(image.file), str(image.file)) for image in images)
        boxes = tuple(
            seen_boxes(image, one, preparation.shape)
            for image, one in zip(images, seen, strict=True)
        )
        yield SeenBatch(
            images,
            seen,
            preparation.inputs(seen),
            preparation.pixels(seen),
            torch.tensor([image.label for image in images], dtype=torch.int64),
            boxes,
            sum(len(image.boxes) for image in images) - sum(map(len, boxes)),
        )


def checked(
    collection: Collection,
    preparation: Preparation,
    *,
    skip_unreadable: bool = False,
    skip_faulty: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """The collection after every image was read once, so that a long run does not end at its last image.

    Args:
        collection: What to read.
        preparation: What will be done to the images: those too small for it are found too.
        skip_unreadable: Leave images out that cannot be read or are too small, and name them,
            rather than refuse them.
        skip_faulty: The same for boxes that do not fit their image; the image stays.
        progress: Called with the number of images read since the last call.

    Returns:
        The collection; its `left_out` names what was left out.

    Raises:
        ImageError: Images cannot be read or are too small; the message names all. Or none is left.
        DataError: Boxes do not fit their images; the message names all.
    """
    images: list[AnnotatedImage] = []
    unreadable: list[tuple[str, str]] = []
    faulty: list[str] = []
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, _MOST_READERS)) as readers:
        try:
            found = readers.map(lambda image: _read(image, preparation), collection.images)
            for image, (fitting, problem, faults) in zip(collection.images, found, strict=True):
                if problem:
                    unreadable.append((image.name, problem))
                else:
                    images.append(replace(image, boxes=fitting))
                    faulty += faults
                if progress:
                    progress(1)
        except BaseException:
            # Who interrupts this does not want to wait until the images that are left were read.
            readers.shutdown(cancel_futures=True)
            raise
    if not skip_unreadable:
        refuse_all(
            [problem for _, problem in unreadable],
            "images that cannot be used",
            "whole images, large enough",
            "replace them, or leave them out: skip_unreadable=True (--skip-unreadable)",
            ImageError,
        )
    if not skip_faulty:
        refuse_all(
            faulty,
            "boxes that do not fit their images",
            _FITTING,
            "mend the list of boxes, or leave them out: skip_faulty=True (--skip-unreadable)",
        )
    if not images:
        raise ImageError(
            f"none of {len(collection):,} images in '{collection.source}' can be used",
            "at least one that can",
            "check the folder",
        )
    rest = replace(collection, images=tuple(images))
    return rest.leaving_out(faulty=faulty, unreadable=[name for name, _ in unreadable])


def _read(
    image: AnnotatedImage, preparation: Preparation
) -> tuple[tuple[Corners, ...], str | None, list[str]]:
    """The boxes that fit an image, why it cannot be used, and why other boxes do not fit."""
    try:
        # Opening what is no file, as a pipe, could wait for ever.
        if not image.file.is_file():
            return (), f"'{image.file}' is no file", []
        read = read_image(image.file)
        if preparation.can_fail(read.size):
            preparation.crop(read, str(image.file))
    except ImageError as error:
        return (), error.given, []
    orientation = orientation_of(image.file) if image.boxes else 1
    fitting: list[Corners] = []
    faults: list[str] = []
    for box in image.boxes:
        _, fault = placed(replace(image, boxes=(box,)), read.size, orientation)
        faults += fault
        fitting += [] if fault else [box]
    return tuple(fitting), None, faults


SLACK = 1.0
"""How many pixels a box may go over the edge: as far apart are counting from 0 or 1, with or without the last one."""
_SLIVER = 1e-3
"""Pixels of a map: what is seen of a box and thinner than this shows nothing, and rounding alone could make it."""
_ON_ITS_SIDE = 5


def placed(
    image: AnnotatedImage, size: tuple[int, int], orientation: int = 1
) -> tuple[list[Corners], list[str]]:
    """The boxes of an image in pixels when it is upright.

    The size that boxes were drawn on may be another than the file's if the ratio of width to height
    is the same, up to the rounding of both to whole pixels: they are scaled. Boxes on an image that
    its camera's note turns are in pixels as stored, as the tools of VOC, ILSVRC and COCO show it,
    unless their size says that it stood upright.

    Args:
        image: With its boxes.
        size: Width and height of the upright image.
        orientation: Of the stored image, as `cofire.images.reading.orientation_of` tells it.

    Returns:
        The boxes that fit, cut at the image's edges, and why the others do not, in words.

    Example:
        >>> from pathlib import Path
        >>> image = AnnotatedImage(Path("a.jpg"), "a.jpg", 0, ((1.0, 0.0, 5.0, 4.0), (8.0, 0.0, 12.0, 4.0)), (10, 5))
        >>> placed(image, (20, 10))
        ([(2.0, 0.0, 10.0, 8.0)], ['a.jpg: box 8, 0, 12, 4 goes over the edges of 10 × 5'])
    """
    stored = size[::-1] if orientation >= _ON_ITS_SIDE else size
    drawn = image.annotated_size or stored
    upright = drawn != stored and not _alike(drawn, stored) and _alike(drawn, size)
    onto = size if upright else stored
    misfit = None
    if not _alike(drawn, onto):
        misfit = f"was drawn on {drawn[0]} × {drawn[1]}, the image is {stored[0]} × {stored[1]}"
    fitting: list[Corners] = []
    faults: list[str] = []
    for box in image.boxes:
        fault = misfit or corners_fault(box) or _edge_fault(box, drawn)
        if fault:
            faults.append(f"{image.name}: box {', '.join(f'{place:g}' for place in box)} {fault}")
            continue
        left, right = (min(max(x, 0.0), drawn[0]) * onto[0] / drawn[0] for x in box[::2])
        top, bottom = (min(max(y, 0.0), drawn[1]) * onto[1] / drawn[1] for y in box[1::2])
        corners = (left, top, right, bottom)
        fitting.append(corners if upright else oriented(corners, orientation, stored))
    return fitting, faults


def in_view(
    boxes: Sequence[Corners], region: tuple[float, float, float, float], shape: tuple[int, int]
) -> list[Corners]:
    """Boxes in pixels of a map of the part of an image that a network sees; those outside of it are left out.

    Places are rounded to float32, as tensors of boxes hold them. A sliver thinner than a thousandth
    of a pixel of the map counts as outside, and so does what lies within its first pixel: it shows
    nothing, and nobody could tell it from a box in fractions of the sides.

    Args:
        boxes: In pixels of the upright image.
        region: Left, top, right and bottom of what the network sees, in the same pixels.
        shape: Height and width of the map.

    Example:
        >>> in_view([(0.0, 0.0, 30.0, 20.0), (0.0, 0.0, 10.0, 40.0)], (10.0, 0.0, 50.0, 40.0), (8, 8))
        [(0.0, 0.0, 4.0, 4.0)]
    """
    height, width = shape
    start, ceiling, end, floor = region
    across, down = width / (end - start), height / (floor - ceiling)
    found: list[Corners] = []
    for left, top, right, bottom in boxes:
        left, right = (
            _rounded(min(max((x - start) * across, 0.0), float(width))) for x in (left, right)
        )
        top, bottom = (
            _rounded(min(max((y - ceiling) * down, 0.0), float(height))) for y in (top, bottom)
        )
        in_the_corner = right < 1 and bottom < 1
        if right - left >= _SLIVER and bottom - top >= _SLIVER and not in_the_corner:
            found.append((left, top, right, bottom))
    return found


def _rounded(place: float) -> float:
    return float(np.float32(place))


def _alike(one: tuple[int, int], other: tuple[int, int]) -> bool:
    """Whether one size is the other scaled, when each side was rounded to a whole pixel up or down."""
    off = abs(one[0] * other[1] - other[0] * one[1])
    return one == other or off < max(sum(one), sum(other))


def _edge_fault(box: Corners, size: tuple[int, int]) -> str | None:
    left, top, right, bottom = box
    width, height = size
    told = f"{width} × {height}"
    if right <= 0 or bottom <= 0 or left >= width or top >= height:
        return f"lies outside of {told}"
    if left < -SLACK or top < -SLACK or right > width + SLACK or bottom > height + SLACK:
        return f"goes over the edges of {told}"
    return None
