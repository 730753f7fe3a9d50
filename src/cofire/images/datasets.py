"""Data sets of pictures with a class each: folders of classes, and torchvision's, prepared as all pictures are."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image
from torch import Tensor

from cofire.errors import DataError, OptionError, near_matches
from cofire.images.preparation import Preparation
from cofire.images.reading import ENDINGS, plain_image, read_image
from cofire.marks import CLASS_NAME
from cofire.reading import named

PreparedFor = Callable[[tuple[int, int, int]], Preparation]
"""Gives the preparation for (channels, height, width) of a data set's first picture."""


class _FileToInput:
    """The input that a network gets of an image file; an object, so that worker processes can be handed it."""

    def __init__(self, preparation: Preparation) -> None:
        self.preparation = preparation

    def __call__(self, path: str) -> Tensor:
        image = read_image(path)
        image.info["name"] = named(path)
        return self.preparation(image)


class _ImageToInput:
    """The same of a picture that a data set opened; as long as nothing is known of its pictures, the picture itself."""

    def __init__(self) -> None:
        self.preparation: Preparation | None = None

    def __call__(self, picture: Any) -> Any:
        if not isinstance(picture, Image.Image):
            raise DataError(
                f"a data set of {type(picture).__name__}s",
                "one of pictures",
                "name a function that gives the data themselves, as package.module:function",
            )
        name = str(
            getattr(picture, "filename", "")
            or picture.info.get("name", "")
            or "a picture of the data set"
        )
        upright = plain_image(picture, name)
        upright.info["name"] = name
        return upright if self.preparation is None else self.preparation(upright)


def folder_of_classes(folder: str | Path, preparation: Preparation) -> Any:
    """A data set of (input, label) from a folder with one folder of images for each class.

    Classes have the order of their folders' names. The preparation is the data set's attribute
    `preparation`.

    Args:
        folder: Where the folders of classes lie.
        preparation: What is done to the pictures.

    Raises:
        DataError: There is no such folder, no class in it, or a class without images.
        OptionError: A folder's name can be no name of a class.
    """
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(folder), loader=_FileToInput(preparation), is_valid_file=_is_image)
    except (
        OSError,
        ValueError,
    ) as error:  # FileNotFoundError, also for a folder without classes or a class without images
        raise DataError(
            f"'{folder}': {error}",
            f"a folder with one folder of images per class: {', '.join(ENDINGS)}",
            "check the path",
        ) from error
    for name in found.classes:
        CLASS_NAME.of(f"'{named(folder)}': the folder of a class", name)
    found.preparation = preparation
    return found


def _is_image(path: str) -> bool:
    return path.lower().endswith(ENDINGS)


def torchvision_images(name: str, root: Path, split: str, prepared_for: PreparedFor) -> Any:
    """One of torchvision's data sets of pictures as one of (input, label).

    Args:
        name: As it is called in `torchvision.datasets`.
        root: Where its files lie; it is downloaded if they do not.
        split: "train" or "test".
        prepared_for: Gives the preparation when the first picture is known.

    Raises:
        OptionError: There is no such data set.
        DataError: It is not there and cannot be downloaded, or is none of pictures.
    """
    from torchvision import datasets

    kind = getattr(datasets, name, None)
    if kind is None or name not in datasets.__all__:
        raise OptionError(
            f"torchvision has no data set '{name}'",
            "a name in torchvision.datasets, such as MNIST",
            f"try {near_matches(name, datasets.__all__)}",
        )
    prepare = _ImageToInput()
    options: dict[str, Any] = {"transform": prepare}
    # Those that let us, read files as we do; the others open them, and their pictures are put right
    # afterwards.
    if _takes_loader(kind):
        options["loader"] = read_image
    found = _opened(kind, name, root, split, options)
    first = _first_image(found, name)
    channels = 1 if first.mode == "L" else 3
    prepare.preparation = found.preparation = prepared_for((channels, first.height, first.width))
    return found


def _takes_loader(kind: Any) -> bool:
    from torchvision.datasets import ImageFolder

    return "loader" in inspect.signature(kind).parameters or (
        isinstance(kind, type) and issubclass(kind, ImageFolder)
    )


def _opened(kind: Any, name: str, root: Path, split: str, options: dict[str, Any]) -> Any:
    reasons: list[str] = []
    for chosen in ({"train": split == "train"}, {"split": split}):
        for download in (False, True):
            try:
                return kind(str(root), download=download, **chosen, **options)
            except TypeError as error:
                reasons.append(str(error))
                break
            except Exception as error:
                reasons.append(str(error))
    raise DataError(
        f"no {name} under '{root}', and its download failed: {reasons[-1] if reasons else ''}",
        "the files of that torchvision data set",
        "name the folder that holds them with --data-root or COFIRE_DATA, or use package.module:function",
    )


def _first_image(data: Any, name: str) -> Image.Image:
    if not len(data):
        raise DataError(f"torchvision's {name} without a picture", "one or more", "check its files")
    item = data[0]
    picture = item[0] if isinstance(item, tuple) else item
    if not isinstance(picture, Image.Image):
        raise DataError(
            f"torchvision's {name}, whose first item is a {type(picture).__name__}",
            "a data set of pictures",
            "name a function that gives the data themselves, as package.module:function",
        )
    return picture
