"""Images with their classes and boxes: files of images and lists of boxes brought together."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import overload

from cofire.errors import OptionError
from cofire.images.annotations import Corners
from cofire.marks import check_whole
from cofire.reading import named

SPLITS = ("tuning", "evaluation")


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
    """Images in the order of their names, and what was left out on the way; pictures themselves are not held.

    Attributes:
        images: Each with a class, in the order of their names.
        source: The folder of images.
        unmatched_images: Names of images left out because nothing says where their boxes are.
        unmatched_boxes: Names of entries of the list of boxes left out because there is no such
            image.
        classless: Names of images left out because they show several classes, or none that is told.
        unreadable: Names of images left out because they cannot be used, as damaged ones.
        faulty: Boxes left out because they do not fit their image, in words.
        boxes_left_out: How many boxes were left out when their list was read, and why, in words.
        odd_boxes: Of these the boxes that are none, in words.
        unknown_classes: Of these the classes that the network has not, in words.

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
    unmatched_images: tuple[str, ...] = field(default=(), repr=False)
    unmatched_boxes: tuple[str, ...] = field(default=(), repr=False)
    classless: tuple[str, ...] = field(default=(), repr=False)
    unreadable: tuple[str, ...] = field(default=(), repr=False)
    faulty: tuple[str, ...] = field(default=(), repr=False)
    boxes_left_out: str = field(default="", repr=False)
    odd_boxes: tuple[str, ...] = field(default=(), repr=False)
    unknown_classes: tuple[str, ...] = field(default=(), repr=False)

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

    @property
    def left_out(self) -> dict[str, list[str]]:
        """What was left out by the reason in words: names of images and entries, and boxes that do not fit.

        Names are told as files of text can hold them: the system's may be any bytes.
        """
        left_out = {
            "images without an entry": self.unmatched_images,
            "entries without an image": self.unmatched_boxes,
            "images without one class": self.classless,
            "images that cannot be used": self.unreadable,
            "boxes that do not fit": self.faulty,
            "boxes that are none": self.odd_boxes,
            "classes of boxes that the network has not": self.unknown_classes,
        }
        return {
            reason: [named(name) for name in names] for reason, names in left_out.items() if names
        }

    @property
    def told(self) -> str:
        """In words: how many images and boxes, and how many were left out for which reason."""
        words = [
            _number(len(self), "image"),
            _number(sum(len(image.boxes) for image in self.images), "box", "boxes"),
        ]
        if others := sum(image.others for image in self.images):
            words.append(f"{_number(others, 'box', 'boxes')} of other classes")
        if self.without_box:
            words.append(f"{_number(self.without_box, 'image')} without a box")
        left_out = [
            f"{_number(len(names), one, more)} {reason}"
            for names, one, more, reason in (
                (self.unmatched_images, "image", "images", "without an entry"),
                (self.unmatched_boxes, "entry", "entries", "without an image"),
                (self.classless, "image", "images", "without one class"),
                (self.unreadable, "image", "images", "that cannot be used"),
                (self.faulty, "box", "boxes", "not fitting"),
            )
            if names
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
        if which not in SPLITS:
            raise OptionError(f"split '{which}'", " or ".join(SPLITS), "pass one of these")
        return replace(self, images=tuple(image for image in self.images if image.split == which))


def split_of(name: str) -> str:
    """Whether options are learned on a image or methods judged on it: half of all names each, the same everywhere.

    Even SHA-256 of the name is "tuning", odd "evaluation".

    Args:
        name: The image file's, without its folders.

    Example:
        >>> split_of("ILSVRC2012_val_00000580.JPEG"), split_of("a.jpg")
        ('evaluation', 'tuning')
    """
    return SPLITS[hashlib.sha256(named(name).encode()).digest()[-1] % 2]


def sample(collection: Collection, count: int, seed: int = 0) -> Collection:
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
    check_whole("seed", seed, least=0)
    if not len(collection):
        raise OptionError(
            f"count={count} of no images", "images to draw from", "give a folder with images"
        )
    if not check_whole("count", count) <= len(collection):
        raise OptionError(
            f"count={count} of {_number(len(collection), 'image')}",
            f"a whole number from 1 to {len(collection)}",
            f"pass count={len(collection)} or fewer",
        )
    chosen = sorted(random.Random(seed).sample(range(len(collection)), count))
    return replace(collection, images=tuple(collection.images[place] for place in chosen))


def _number(count: int, one: str, more: str | None = None) -> str:
    return f"{count:,} {one if count == 1 else more or one + 's'}"
