"""Images with their classes and boxes: files of images and lists of boxes brought together."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import overload

from pydantic import NonNegativeInt, PositiveInt

from cofire.arguments import validated
from cofire.errors import OptionError
from cofire.images.annotations import Corners
from cofire.marks import choice
from cofire.reading import named

SPLITS = ("tuning", "evaluation")
REASONS = {
    "unmatched_images": "images without an entry",
    "unmatched_boxes": "entries without an image",
    "classless": "images without one class",
    "unreadable": "images that cannot be used",
    "faulty": "boxes that do not fit",
    "odd": "boxes that are none",
    "unknown": "classes of boxes that the network has not",
}
"""Why something was left out, by a key."""


@dataclass(frozen=True, slots=True)
class AnnotatedImage:
    """An image file with its class and the boxes of that class.

    Attributes:
        file: Where it is.
        name: Its path below the folder of images, with "/" between folders, as
            `cofire.reading.named` tells it.
        label: Its class.
        boxes: Of its class, in pixels of `annotated_size`; empty if it has none.
        annotated_size: Width and height of the image that the boxes were drawn on; None for the
            file's own.
        others: How many boxes of other classes it has.
    """

    file: Path
    name: str
    label: int
    boxes: tuple[Corners, ...]
    annotated_size: tuple[int, int] | None = None
    others: int = 0

    @property
    def split(self) -> str:
        """Tuning or evaluation, by the file's own name: whatever folder it lies in, it is the same."""
        return split_of(PurePosixPath(self.name).name)


@dataclass(frozen=True)
class Collection(Sequence[AnnotatedImage]):
    """Images in the order of their names, and what was left out on the way; their pixels are not held.

    Attributes:
        images: Each with a class, in the order of their names.
        source: The folder of images.
        left_out: What was left out by the reason in words: names of images and entries, and boxes,
            as files of text can hold them.
        boxes_left_out: How many boxes were left out when their list was read, and why, in words.

    Example:
        >>> box = (0.0, 0.0, 4.0, 4.0)
        >>> images = tuple(AnnotatedImage(Path(n), n, 0, (box,)) for n in ("a.jpg", "b.jpg", "f.jpg"))
        >>> collection = Collection(images, Path("images"))
        >>> [image.split for image in collection], len(collection.split("tuning"))
        (['tuning', 'tuning', 'evaluation'], 2)
        >>> collection.told
        '3 images, 3 boxes'
    """

    images: tuple[AnnotatedImage, ...] = field(repr=False)
    source: Path
    left_out: Mapping[str, list[str]] = field(default_factory=dict, repr=False)
    boxes_left_out: str = field(default="", repr=False)

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[AnnotatedImage]:
        return iter(self.images)

    @overload
    def __getitem__(self, at: int) -> AnnotatedImage: ...

    @overload
    def __getitem__(self, at: slice) -> Collection: ...

    def __getitem__(self, at: int | slice) -> AnnotatedImage | Collection:
        return replace(self, images=self.images[at]) if isinstance(at, slice) else self.images[at]

    @property
    def without_box(self) -> int:
        """How many images have no box of their class; they are in the collection."""
        return sum(not image.boxes for image in self.images)

    def leaving_out(self, **names: Iterable[str]) -> Collection:
        """The same with more that was left out, by the key of its reason in `REASONS`."""
        joined = {
            reason: [*self.left_out.get(reason, ()), *map(named, names.get(key, ()))]
            for key, reason in REASONS.items()
        }
        return replace(self, left_out={reason: those for reason, those in joined.items() if those})

    @property
    def told(self) -> str:
        """In words: how many images and boxes, and how many were left out for which reason."""
        words = [
            _number(len(self), "images"),
            _number(sum(len(image.boxes) for image in self.images), "boxes"),
        ]
        if others := sum(image.others for image in self.images):
            words.append(_number(others, "boxes of other classes"))
        if self.without_box:
            words.append(_number(self.without_box, "images without a box"))
        # Boxes that were left out as their list was read are counted in `boxes_left_out`.
        left_out = [
            _number(len(self.left_out[reason]), reason)
            for key, reason in REASONS.items()
            if reason in self.left_out and key not in ("odd", "unknown")
        ]
        told = ", ".join(words) + (f"; left out: {', '.join(left_out)}" if left_out else "")
        return told + (f"; boxes not taken: {self.boxes_left_out}" if self.boxes_left_out else "")

    def split(self, which: str) -> Collection:
        """The images of one split.

        Args:
            which: "tuning", for what options are learned on, or "evaluation", for what is judged
                on.

        Raises:
            OptionError: It is neither.
        """
        choice(SPLITS).of("split", which)
        return replace(self, images=tuple(image for image in self.images if image.split == which))


def split_of(name: str) -> str:
    """Whether options are learned on an image or methods judged on it: half of all names each, the same everywhere.

    Even SHA-256 of the name is "tuning", odd "evaluation".

    Args:
        name: The image file's, without its folders.

    Example:
        >>> split_of("ILSVRC2012_val_00000580.JPEG"), split_of("a.jpg")
        ('evaluation', 'tuning')
    """
    return SPLITS[hashlib.sha256(named(name).encode()).digest()[-1] % 2]


@validated
def sample(collection: Collection, count: PositiveInt, seed: NonNegativeInt = 0) -> Collection:
    """A drawing of images without putting back, in the order of their names.

    The images and the seed alone decide it.

    Args:
        collection: What to draw from.
        count: How many images, from 1 up to all.
        seed: From 0 up; another one draws others.

    Raises:
        OptionError: A number is out of bounds.

    Example:
        >>> images = tuple(AnnotatedImage(Path(f"{i}.jpg"), f"{i}.jpg", 0, ()) for i in range(9))
        >>> [image.name for image in sample(Collection(images, Path("images")), 3, seed=1)]
        ['1.jpg', '2.jpg', '8.jpg']
    """
    if not len(collection):
        raise OptionError(
            f"count={count} of no images", "images to draw from", "give a folder with images"
        )
    if count > len(collection):
        raise OptionError(
            f"count={count} of {_number(len(collection), 'images')}",
            f"a whole number from 1 to {len(collection)}",
            f"pass count={len(collection)} or fewer",
        )
    chosen = sorted(random.Random(seed).sample(range(len(collection)), count))
    return replace(collection, images=tuple(collection.images[place] for place in chosen))


def _number(count: int, what: str) -> str:
    word, _, rest = what.partition(" ")
    one = {"images": "image", "entries": "entry", "boxes": "box"}[word]
    if count == 1:
        word, rest = one, rest.replace("do not", "does not")
    return f"{count:,} {word} {rest}".rstrip()
