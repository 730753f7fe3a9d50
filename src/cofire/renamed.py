"""Where things went that had another place or name before.

One table. A module that moved is still imported by its old path, with a `DeprecationWarning`; a
public name that is gone gives an error that says the new one.
"""

from __future__ import annotations

import importlib
import importlib.abc
import importlib.machinery
import sys
import warnings
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any

# A module's old path -> its new one.
MODULES = {
    "cofire.checksums": "cofire.storage",
    "cofire.evaluate.comparisons": "cofire.evaluate.results",
    "cofire.noted": "cofire.storage",
    "cofire.study.datasets": "cofire.study.sources",
    "cofire.report.evaluate": "cofire.report.pages",
    "cofire.report.evaluate.page": "cofire.report.pages.evaluation",
    "cofire.report.evaluate.robustness": "cofire.report.pages.robustness",
    "cofire.report.evaluate.two_networks": "cofire.report.pages.two_networks",
    "cofire.report.explain": "cofire.report.pages",
    "cofire.report.explain.page": "cofire.report.pages.page",
    "cofire.photos": "cofire.images",
    "cofire.photos.boxes": "cofire.images.boxes",
    "cofire.photos.collection": "cofire.images.collection",
    "cofire.photos.layouts": "cofire.images.layouts",
    "cofire.photos.naming": "cofire.images.classes",
    "cofire.photos.preparation": "cofire.images.preparation",
    "cofire.photos.reading": "cofire.images.reading",
}

# A name that moved or changed, inside a module above or out of one that is still there:
# "old module.old name" -> "new module.new name".
FORWARDED = {
    "cofire.study.sources.open_data": "cofire.study.data.open_data",
    "cofire.study.training.cnn": "cofire.study.networks.cnn",
    "cofire.study.training.fcnn": "cofire.study.networks.fcnn",
    "cofire.study.trajectory.Fragments": "cofire.study.fragments.Fragments",
    "cofire.noted.load_noted": "cofire.storage.load_result",
    "cofire.noted.save_noted": "cofire.storage.save_result",
    "cofire.photos.reading.read_photo": "cofire.images.reading.read_image",
    "cofire.photos.reading.find_photos": "cofire.images.reading.find_images",
    "cofire.photos.collection.Photo": "cofire.images.collection.AnnotatedImage",
}

# A public name that is gone -> what takes its place.
REMOVED = {
    "cofire.network.open_module": "cofire.Network.module",
    "cofire.network.writes_in_place": "cofire.Network.writes_in_place",
}

# A word that arguments, keys and columns had before -> the word of now.
WORDS = {"photo": "image", "photos": "images", "picture": "image", "pictures": "images"}

# An argument that means something else now -> the one that means what it did, and cannot be left out.
MEANT = {"images": "inputs"}


def in_words_of_now(record: Any) -> Any:
    """What an earlier version wrote, by the names of now.

    Example:
        >>> in_words_of_now({"photos": 3, "rows": [{"photo": "a.jpg"}]})
        {'images': 3, 'rows': [{'image': 'a.jpg'}]}
    """
    if isinstance(record, Mapping):
        return {WORDS.get(name, name): in_words_of_now(value) for name, value in record.items()}
    return [in_words_of_now(each) for each in record] if isinstance(record, list) else record


def removed(module: str) -> Callable[[str], Any]:
    """The `__getattr__` of a module whose names are told by `REMOVED` or `FORWARDED`.

    Args:
        module: Its path.

    Returns:
        A function that finds a name that moved, and refuses others; of one that is gone the error
        says the new one.

    Example:
        >>> removed("cofire")("nothing")
        Traceback (most recent call last):
        AttributeError: module 'cofire' has no attribute 'nothing'
    """

    def refuse(name: str) -> Any:
        if (place := FORWARDED.get(f"{module}.{name}")) is not None:
            warnings.warn(f"{module}.{name} is now {place}", DeprecationWarning, stacklevel=2)
            return _at(place)
        if (new := REMOVED.get(f"{module}.{name}")) is not None:
            # No AttributeError: `from cofire import …` would drop its words.
            raise ImportError(f"{module}.{name} is now {new}. To fix it: use {new}.", name=name)
        raise AttributeError(f"module {module!r} has no attribute {name!r}")

    return refuse


def _at(place: str) -> Any:
    module, _, name = place.rpartition(".")
    return getattr(importlib.import_module(module), name)


class _Forwarding(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Imports a module of `MODULES` by its old path."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in MODULES:
            return None
        is_package = any(old.startswith(f"{name}.") for old in MODULES)
        return importlib.machinery.ModuleSpec(name, self, is_package=is_package)

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> None:
        return None

    def exec_module(self, module: ModuleType) -> None:
        old = module.__name__
        new = importlib.import_module(MODULES[old])
        warnings.warn(
            f"{old} is now {MODULES[old]}: import it from there", DeprecationWarning, stacklevel=2
        )

        def forward(name: str) -> Any:
            if (place := FORWARDED.get(f"{old}.{name}")) is None:
                return getattr(new, name)
            return _at(place)

        module.__dict__["__getattr__"] = forward
        module.__dict__["__all__"] = [name for name in vars(new) if not name.startswith("_")]


if not any(isinstance(finder, _Forwarding) for finder in sys.meta_path):
    sys.meta_path.append(_Forwarding())
