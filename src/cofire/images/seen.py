"""Photos as a network sees them, with their boxes in the same pixels, a batch at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from cofire.errors import ImageError
from cofire.images.annotated import Corners
from cofire.images.collection import Collection, Photo
from cofire.images.faults import refuse_all
from cofire.images.placing import in_view, placed
from cofire.images.preparation import Preparation, Prepared
from cofire.images.reading import read_photo
from cofire.images.turning import orientation_of
from cofire.marks import check_whole

_MOST_READERS = 16
_FITTING = "boxes within images of the size that they were drawn on"


@dataclass(frozen=True, eq=False)
class SeenBatch:
    """Some photos as a network sees them.

    Attributes:
        photos: In the order of the collection.
        seen: Each as it was cut.
        inputs: (images, channels, height, width), float32, for the network.
        pictures: (images, height, width, 3), uint8, to look at.
        labels: (images,), int64.
        boxes: For each image (boxes, 4), float32: left, top, right and bottom in pixels of the
            input.
        cropped: How many boxes lie outside of what the network sees.
    """

    photos: tuple[Photo, ...]
    seen: tuple[Prepared, ...]
    inputs: Tensor
    pictures: Tensor
    labels: Tensor
    boxes: tuple[Tensor, ...]
    cropped: int


def seen_boxes(photo: Photo, prepared: Prepared, shape: tuple[int, ...]) -> Tensor:
    """A photo's boxes in the pixels of what a network sees.

    x' = (x - left of the view) * width of the map / width of the view, likewise for y, cut at the
    view's edges.

    Args:
        photo: With its boxes.
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
        >>> photo = Photo(Path("a.jpg"), "a.jpg", 0, ((0.0, 0.0, 30.0, 20.0), (0.0, 0.0, 10.0, 40.0)))
        >>> prepared = Prepared(np.zeros((8, 8, 3), np.uint8), (60, 40), (10.0, 0.0, 50.0, 40.0))
        >>> seen_boxes(photo, prepared, (3, 8, 8))
        tensor([[0., 0., 4., 4.]])
    """
    boxes, faults = placed(photo, prepared.size, orientation_of(photo.file) if photo.boxes else 1)
    refuse_all(
        faults,
        f"boxes that do not fit '{photo.file}'",
        _FITTING,
        "mend the list of boxes, or leave them out when checking the collection: skip_faulty=True (--skip-unreadable)",
    )
    height, width = shape[-2:]
    return torch.tensor(
        in_view(boxes, prepared.region, (height, width)), dtype=torch.float32
    ).reshape(-1, 4)


def read_batches(
    collection: Collection, preparation: Preparation, batch_size: int = 16
) -> Iterator[SeenBatch]:
    """The photos of a collection as a network sees them; one batch is held at a time.

    Args:
        collection: Best after `checked`, so that nothing is wrong on the way.
        preparation: What is done to the photos.
        batch_size: How many at a time.

    Raises:
        ImageError: A photo cannot be read, or is too small.
        DataError: Boxes do not fit their photo.
        OptionError: `batch_size` is below 1.
    """
    check_whole("batch_size", batch_size)
    for start in range(0, len(collection), batch_size):
        photos = collection.photos[start : start + batch_size]
        seen = tuple(preparation.crop(read_photo(photo.file), str(photo.file)) for photo in photos)
        boxes = tuple(
            seen_boxes(photo, one, preparation.shape)
            for photo, one in zip(photos, seen, strict=True)
        )
        yield SeenBatch(
            photos,
            seen,
            preparation.inputs(seen),
            preparation.pictures(seen),
            torch.tensor([photo.label for photo in photos], dtype=torch.int64),
            boxes,
            sum(len(photo.boxes) for photo in photos) - sum(map(len, boxes)),
        )


def checked(
    collection: Collection,
    preparation: Preparation,
    *,
    skip_unreadable: bool = False,
    skip_faulty: bool = False,
    progress: Callable[[int], None] | None = None,
) -> Collection:
    """The collection after every photo was read once, so that a long run does not end at its last photo.

    Args:
        collection: What to read.
        preparation: What will be done to the photos: those too small for it are found too.
        skip_unreadable: Leave photos out that cannot be read or are too small, and name them,
            rather than refuse them.
        skip_faulty: The same for boxes that do not fit their photo; the photo stays.
        progress: Called with the number of photos read since the last call.

    Returns:
        The collection; `unreadable` and `faulty` name what was left out.

    Raises:
        ImageError: Photos cannot be read or are too small; the message names all. Or none is left.
        DataError: Boxes do not fit their photos; the message names all.
    """
    photos: list[Photo] = []
    unreadable: list[tuple[str, str]] = []
    faulty: list[str] = []
    with ThreadPoolExecutor(max_workers=min(os.cpu_count() or 1, _MOST_READERS)) as readers:
        try:
            found = readers.map(lambda photo: _read(photo, preparation), collection.photos)
            for photo, (fitting, problem, faults) in zip(collection.photos, found, strict=True):
                if problem:
                    unreadable.append((photo.name, problem))
                else:
                    photos.append(replace(photo, boxes=fitting))
                    faulty += faults
                if progress:
                    progress(1)
        except BaseException:
            # Who interrupts this does not want to wait until the photos that are left were read.
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
    if not photos:
        raise ImageError(
            f"none of {len(collection):,} images in '{collection.source}' can be used",
            "at least one that can",
            "check the folder",
        )
    return replace(
        collection,
        photos=tuple(photos),
        faulty=(*collection.faulty, *faulty),
        unreadable=(*collection.unreadable, *(name for name, _ in unreadable)),
    )


def _read(
    photo: Photo, preparation: Preparation
) -> tuple[tuple[Corners, ...], str | None, list[str]]:
    """The boxes that fit a photo, why it cannot be used, and why other boxes do not fit."""
    try:
        # Opening what is no file, as a pipe, could wait for ever.
        if not photo.file.is_file():
            return (), f"'{photo.file}' is no file", []
        image = read_photo(photo.file)
        if preparation.can_fail(image.size):
            preparation.crop(image, str(photo.file))
    except ImageError as error:
        return (), error.given, []
    orientation = orientation_of(photo.file) if photo.boxes else 1
    fitting: list[Corners] = []
    faults: list[str] = []
    for box in photo.boxes:
        _, fault = placed(replace(photo, boxes=(box,)), image.size, orientation)
        faults += fault
        fitting += [] if fault else [box]
    return tuple(fitting), None, faults
