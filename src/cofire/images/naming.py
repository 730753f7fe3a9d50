"""Names of classes: read from a file or known by the model, and found by what a user types."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from cofire.errors import DataError, OptionError, near_matches
from cofire.images.files import text_of
from cofire.marks import CLASS_NAME


def read_names(path: str | Path, num_classes: int) -> list[str]:
    """The names of all classes, in order.

    Args:
        path: A text file (UTF-8) with one name a line, or a JSON list of names or of objects with a
            "name".
        num_classes: How many there should be.

    Raises:
        DataError: The file cannot be read or is none of these, a name is empty, or there are more
            or fewer names.
    """
    text = text_of(path, "a text file (UTF-8) with one class name a line")
    names = _listed(text, path) if text.lstrip().startswith("[") else text.rstrip().splitlines()
    names = [
        CLASS_NAME.of(f"'{path}': class {number}", name.strip())
        for number, name in enumerate(names)
    ]
    if "" in names:
        raise DataError(
            f"'{path}' has no name for class {names.index('')}", "a name for each", "fill it in"
        )
    if len(names) != num_classes:
        raise DataError(
            f"{len(names):,} class names in '{path}'",
            f"{num_classes:,}, one for each class of the network",
            "give the names of all classes, in the order of the network's outputs",
        )
    return names


def known_names(spec: str, num_classes: int) -> list[str] | None:
    """The names that torchvision publishes with the trained weights of a model, if there is one for each class.

    Example:
        >>> known_names("torchvision:resnet18", 1000)[:2], known_names("torchvision:resnet18", 10)
        (['tench', 'goldfish'], None)
    """
    from torchvision import models

    name = spec.removeprefix("torchvision:")
    if name == spec or name not in models.list_models(module=models):
        return None
    names = models.get_model_weights(name).DEFAULT.meta.get("categories", ())
    return list(names) if len(names) == num_classes else None


def known_synsets(spec: str, num_classes: int) -> list[str] | None:
    """WordNet numbers of ImageNet's classes in the order of the outputs, of a torchvision or timm model with so many.

    None without timm, which has the list.
    """
    if not spec.startswith(("torchvision:", "timm:")):
        return None
    try:
        from timm.data.imagenet_info import ImageNetInfo
    except ImportError:
        return None
    synsets = [str(name) for name in ImageNetInfo("imagenet-1k").label_names()]  # type: ignore[no-untyped-call]
    return synsets if len(synsets) == num_classes else None


def class_number(wanted: str, names: Sequence[str] | None, num_classes: int) -> int:
    """A class by what a user typed: its name, in large or small letters, or its number from 0.

    Raises:
        OptionError: No such class, or several of that name.

    Example:
        >>> class_number("CAT", ["dog", "cat"], 2), class_number("0", ["dog", "cat"], 2)
        (1, 0)
    """
    typed = wanted.strip()
    for same in (str, str.casefold):
        found = [number for number, name in enumerate(names or ()) if same(name) == same(typed)]
        if len(found) > 1:
            raise OptionError(
                f"{len(found)} classes are named '{typed}'",
                "one class",
                f"pass a number: {', '.join(map(str, found))}",
            )
        if found:
            return found[0]
    if typed.isdecimal():
        if int(typed) < num_classes:
            return int(typed)
        raise OptionError(
            f"--target {typed}", f"a class from 0 to {num_classes - 1}", "pass one of these"
        )
    if names is None:
        raise OptionError(
            f"--target '{typed}' without class names",
            f"a number from 0 to {num_classes - 1}",
            "pass a number, or the names with --classes",
        )
    raise OptionError(
        f"no class '{typed}'",
        f"one of {num_classes:,} class names",
        f"try {near_matches(typed, names)}",
    )


def _listed(text: str, path: str | Path) -> list[str]:
    try:
        entries = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"'{path}' is no whole JSON: {error}", "a list of names", "mend the file"
        ) from error
    names: list[str] = []
    for number, entry in enumerate(entries):
        name = entry.get("name") if isinstance(entry, dict) else entry
        if not isinstance(name, str):
            raise DataError(
                f"entry {number} of '{path}' is {str(entry)[:80]}",
                "a name, or an object with a name",
                'write it as "cat" or {"name": "cat"}',
            )
        names.append(name)
    return names
