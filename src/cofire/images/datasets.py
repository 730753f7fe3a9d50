"""Data sets of images with a class each: folders of classes, and torchvision's, prepared as all images are."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from cofire.errors import DataError, ImageError, OptionError, near_matches
from cofire.images.files import refuse_all
from cofire.images.preparation import Preparation
from cofire.images.reading import ENDINGS, plain_image, read_image, size_of
from cofire.marks import CLASS_NAME
from cofire.reading import named

PARTS = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What the folders of a data set's parts are called."""


def folders_of_parts(folder: str | Path) -> dict[str, Path]:
    """The folders of a data set's parts, by the names of the parts; "" for the folder itself where it has none.

    A folder has parts where one in it is called as the training part is and has folders in it: a
    class of that name has images.
    """
    root = Path(folder)
    found = {
        part: root / name
        for part, names in PARTS.items()
        for name in reversed(names)
        if any(place.is_dir() for place in (root / name).glob("*"))
    }
    return found if "train" in found else {"": root}


PreparedFor = Callable[[tuple[int, int, int]], Preparation]
"""Gives the preparation for (channels, height, width) of a data set's first image."""


class ToInput:
    """What a network gets of an image file, or of an image that a data set opened.

    An object, so that worker processes can be handed it.

    Attributes:
        preparation: What is done to images; as long as it is not known, the image itself is
            given.
        shades: Give shades of 8 bits, (channels, height, width), which `Preparation.scaled` makes
            inputs of; not for a function of the user's own, which gives inputs.
    """

    def __init__(self) -> None:
        self.preparation: Preparation | None = None
        self.shades = False

    def __call__(self, image: Any) -> Any:
        """The input, shades or image of a file, by its path, of what has its `content`, or of an image.

        Raises:
            ImageError: It cannot be read or prepared.
            DataError: It is neither.
        """
        if isinstance(image, str):
            image, name = read_image(image), named(image)
        elif hasattr(image, "content"):
            name = str(image)
            image = read_image(name, image.content())
        elif isinstance(image, Image.Image):
            name = str(
                getattr(image, "filename", "")
                or image.info.get("name", "")
                or "an image of the data set"
            )
            image = plain_image(image, name)
        else:
            raise DataError(
                f"a data set of {type(image).__name__}s",
                "one of images",
                "name a function that gives the data themselves, as package.module:function",
            )
        image.info["name"] = name
        if self.preparation is None:
            return image
        if self.shades:
            seen = self.preparation.crop(image, name).pixels
            return torch.from_numpy(seen.transpose(2, 0, 1).copy())
        return self.preparation(image)

    def as_shades(self) -> Callable[[Tensor], Tensor] | None:
        """Give shades from here on, where they are enough; what makes inputs of a batch of them, else None."""
        self.shades = type(self.preparation) is Preparation
        return self.preparation.scaled if self.preparation and self.shades else None


def folder_of_classes(folder: str | Path, preparation: Preparation | PreparedFor) -> Any:
    """A data set of (input, label) from a folder with one folder of images for each class.

    Classes have the order of their folders' names. The preparation is the data set's attribute
    `preparation`.

    Args:
        folder: Where the folders of classes lie.
        preparation: What is done to the images, or what gives it when the first one is known, of
            which there are three channels: folders may mix grey images with others.

    Raises:
        DataError: There is no such folder, no class in it, or a class without images.
        OptionError: A folder's name can be no name of a class.
    """
    from torchvision.datasets import ImageFolder

    reads = ToInput()
    try:
        found = ImageFolder(str(folder), loader=reads, is_valid_file=_is_image)
    except (
        OSError,
        ValueError,
    ) as error:  # FileNotFoundError, also for a folder without classes or a class without images
        if bare := _without_images(Path(folder)):
            raise DataError(
                f"'{folder}': no image of class '{bare[0]}'"
                + (f", nor of {len(bare) - 1:,} more" if len(bare) > 1 else ""),
                f"images of each class: {', '.join(ENDINGS)}",
                "add images of it, or remove its folder",
            ) from error
        raise DataError(
            f"'{folder}': {error}",
            f"a folder with one folder of images per class: {', '.join(ENDINGS)}",
            "check the path",
        ) from error
    for name in found.classes:
        CLASS_NAME.of(f"'{named(folder)}': the folder of a class", name)
    if not isinstance(preparation, Preparation):
        first = reads(found.samples[0][0])
        preparation = preparation((3, first.height, first.width))
    reads.preparation = found.preparation = preparation
    found.reads = reads
    return found


def _without_images(folder: Path) -> list[str]:
    """Folders of classes in which no file is an image."""
    folders = sorted(place for place in folder.glob("*") if place.is_dir())
    return [one.name for one in folders if not any(_is_image(str(file)) for file in one.rglob("*"))]


def _is_image(path: str) -> bool:
    return path.lower().endswith(ENDINGS)


def check_images(files: Sequence[str], reads: ToInput, done: Callable[[int], None]) -> None:
    """Refuse files that are no images, or that cannot be prepared, as far as their beginnings tell.

    An image whose size may be none that can be prepared is read.

    Args:
        files: Their paths.
        reads: What makes inputs of them.
        done: Called with the number of files done since the last call.

    Raises:
        ImageError: There are such files; the message names them all.
    """
    preparation, faults = reads.preparation, []
    assert preparation is not None
    wanted = preparation.shape[:0:-1]
    for file in files:
        try:
            size = size_of(file)
            kept = size == wanted and preparation.same_size != "prepared"
            if not kept and preparation.can_fail(size):
                reads(file)
        except ImageError as error:
            faults.append(error)
        done(1)
    if faults:
        told = [error.given for error in faults]
        refuse_all(told, "images", faults[0].expected, faults[0].remedy, ImageError)


def torchvision_images(
    name: str, root: Path, split: str, prepared_for: Preparation | PreparedFor
) -> Any:
    """One of torchvision's data sets of images as one of (input, label).

    Args:
        name: As it is called in `torchvision.datasets`.
        root: Where its files lie; it is downloaded if they do not.
        split: "train" or "test".
        prepared_for: The preparation, or what gives it when the first image is known.

    Raises:
        OptionError: There is no such data set.
        DataError: It is not there and cannot be downloaded, or is none of images.
    """
    from torchvision import datasets

    kind = getattr(datasets, name, None)
    if kind is None or name not in datasets.__all__:
        raise OptionError(
            f"torchvision has no data set '{name}'",
            "a name in torchvision.datasets, such as MNIST",
            f"try {near_matches(name, datasets.__all__)}",
        )
    reads = ToInput()
    options: dict[str, Any] = {"transform": reads}
    # Those that let us, read files as we do; the others open them, and their images are put right
    # afterwards.
    if _takes_loader(kind):
        options["loader"] = read_image
    found = _opened(kind, name, root, split, options)
    first = _first_image(found, name)
    channels = 1 if first.mode == "L" else 3
    if not isinstance(prepared_for, Preparation):
        prepared_for = prepared_for((channels, first.height, first.width))
    reads.preparation = found.preparation = prepared_for
    found.reads = reads
    return found


def _takes_loader(kind: Any) -> bool:
    from torchvision.datasets import ImageFolder

    return "loader" in inspect.signature(kind).parameters or (
        isinstance(kind, type) and issubclass(kind, ImageFolder)
    )


def _opened(kind: Any, name: str, root: Path, split: str, options: dict[str, Any]) -> Any:
    reasons: list[str] = []
    # Some sets call the part that is tested on val.
    names = (split, "val") if split == "test" else (split,)
    ways: list[dict[str, Any]] = [{"train": split == "train"}, *({"split": one} for one in names)]
    for chosen in ways:
        for download in (False, True):
            try:
                return kind(str(root), download=download, **chosen, **options)
            except TypeError as error:
                reasons.append(str(error))
                break
            except Exception as error:
                reasons.append(str(error))
                if "for argument split" in str(error):
                    break
        else:
            break
    raise DataError(
        f"no {name} under '{root}', and its download failed: {reasons[-1] if reasons else ''}",
        "the files of that torchvision data set",
        "name the folder that holds them with --data-root or COFIRE_DATA, or use package.module:function",
    )


def _first_image(data: Any, name: str) -> Image.Image:
    if not len(data):
        raise DataError(f"torchvision's {name} without an image", "one or more", "check its files")
    item = data[0]
    image = item[0] if isinstance(item, tuple) else item
    if not isinstance(image, Image.Image):
        raise DataError(
            f"torchvision's {name}, whose first item is a {type(image).__name__}",
            "a data set of images",
            "name a function that gives the data themselves, as package.module:function",
        )
    return image
