"""Classes as files of boxes and folders of images write them: by name, by WordNet number or by place."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from cofire.errors import DataError, LabelError, OptionError, near_matches
from cofire.images.files import SHOWN, refuse_all, rows_of
from cofire.marks import CLASS_NAME

_LONGEST = 100
_WNID = re.compile(r"n\d{8}")


def is_wnid(text: str) -> bool:
    """Whether a name is a WordNet number, as ImageNet names its classes.

    Example:
        >>> is_wnid("n01440764"), is_wnid("tench")
        (True, False)
    """
    return _WNID.fullmatch(text) is not None


class ClassTable:
    """The numbers of a network's classes, by their names and WordNet numbers.

    Args:
        names: Of all classes, in the order of the network's outputs.
        synsets: WordNet numbers of all classes, in the same order.
        num_classes: How many there are, where neither is given.

    Raises:
        OptionError: The three do not agree on the number of classes, or a name cannot be written.
        LabelError: A WordNet number is named twice.

    Example:
        >>> table = ClassTable(["tench", "crane", "crane"], ["n01440764", "n02012849", "n03126707"])
        >>> table.find("n03126707"), table.find("Tench"), table.find("dog"), table.is_several("crane")
        (2, 0, None, True)
    """

    def __init__(
        self,
        names: Sequence[str] | None = None,
        synsets: Sequence[str] | None = None,
        num_classes: int | None = None,
    ) -> None:
        lengths = {"names": names, "WordNet numbers": synsets}
        counts = {word: len(given) for word, given in lengths.items() if given is not None}
        if num_classes is not None:
            counts["num_classes"] = num_classes
        if len(set(counts.values())) > 1:
            raise OptionError(
                ", ".join(f"{count:,} {word}" for word, count in counts.items()),
                "one number of classes",
                "give those of the same network",
            )
        self.names = [CLASS_NAME.of(f"names[{at}]", name) for at, name in enumerate(names or ())]
        self.synsets = list(synsets or ())
        self.num_classes: int | None = next(iter(counts.values()), None)
        twice = [wnid for wnid, count in Counter(self.synsets).items() if count > 1]
        refuse_all(
            twice,
            "WordNet numbers given to several classes",
            "each once",
            "mend the list",
            LabelError,
        )
        # WordNet numbers go before names, and names as they are before names in other letters.
        self._number: dict[str, int | None] = {}
        for texts in (self.synsets, self.names, [name.casefold() for name in self.names]):
            places: dict[str, list[int]] = {}
            for place, text in enumerate(texts):
                places.setdefault(text.strip(), []).append(place)
            for text, numbers in places.items():
                self._number.setdefault(text, numbers[0] if len(numbers) == 1 else None)

    @property
    def knows_names(self) -> bool:
        """Whether there are names or WordNet numbers to find a class by."""
        return bool(self.names or self.synsets)

    def find(self, text: str) -> int | None:
        """The number of a class; None if there is no such class, or several of that name."""
        text = text.strip()
        return self._number[text] if text in self._number else self._number.get(text.casefold())

    def is_several(self, text: str) -> bool:
        """Whether several classes have this name."""
        text = text.strip()
        return self.find(text) is None and (text in self._number or text.casefold() in self._number)

    def fault(self, text: str) -> str:
        """Why a name is no class, in words, with the nearest names that are."""
        text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"
        if self.is_several(text):
            return f"'{text}' names several classes"
        if not self.knows_names:
            return f"'{text}' without a list of classes"
        candidates = self.synsets if is_wnid(text) and self.synsets else self.names or self.synsets
        return f"'{text}', near {near_matches(text, candidates, most=3)}"

    def refuse_unknown(self, texts: Sequence[str]) -> None:
        """Raise one error for all names that are no class.

        Raises:
            LabelError: There is one.
        """
        refuse_all(
            # The names nearest to one take long to find; those that are not shown need none.
            [self.fault(text) if at < SHOWN else text for at, text in enumerate(texts)],
            "class names that the network has not",
            "names of its classes, or their WordNet numbers"
            if self.knows_names
            else "a list of class names",
            "give the names (--classes), or WordNet numbers (--synsets), of all classes in the order of the network's "
            "outputs, or leave boxes of other classes out: skip_unknown=True (--skip-unknown)",
            LabelError,
        )

    def holds(self, number: int) -> bool:
        """Whether a number is that of a class; without a number of classes each from 0 up is."""
        return number >= 0 and (self.num_classes is None or number < self.num_classes)


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
    rows, _ = rows_of(path, "a text file (UTF-8) with one class name a line, or a JSON list")
    names = []
    for number, row in enumerate(rows):
        name = row.get("name") if isinstance(row, dict) else row
        if not isinstance(name, str):
            raise DataError(
                f"entry {number} of '{path}' is {str(row)[:80]}",
                "a name, or an object with a name",
                'write it as "cat" or {"name": "cat"}',
            )
        names.append(CLASS_NAME.of(f"'{path}': class {number}", name.strip()))
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


def read_synsets(path: str | Path, num_classes: int | None = None) -> list[str]:
    r"""The WordNet numbers of all classes, in the order of the network's outputs.

    Args:
        path: A text file with one number a line, anything after it is not read, in the order of the
            numbers, as `LOC_synset_mapping.txt` is; or a JSON list of numbers, or of objects with a
            "wnid", in any order.
        num_classes: How many there should be.

    Raises:
        DataError: The file cannot be read, or a line is not of this form.
        LabelError: There are more or fewer, one is there twice, or the lines of a text file are in
            another order.

    Example:
        >>> import tempfile
        >>> file = Path(tempfile.mkdtemp()) / "LOC_synset_mapping.txt"
        >>> _ = file.write_text("n01440764 tench, Tinca tinca\nn01443537 goldfish, Carassius auratus\n")
        >>> read_synsets(file)
        ['n01440764', 'n01443537']
    """
    rows, in_text = rows_of(path, "a list of WordNet numbers")
    found = [
        (number, _wnid_of(row)) for number, row in enumerate(rows, 1) if not in_text or row.strip()
    ]
    refuse_all(
        [f"{'line' if in_text else 'entry'} {number}" for number, wnid in found if wnid is None],
        f"'{path}' has lines without a WordNet number",
        "n and 8 digits, as n01440764, at the start of each",
        "name the file of WordNet numbers, not that of names",
    )
    wnids = [wnid for _, wnid in found if wnid is not None]
    if len(wnids) != (len(wnids) if num_classes is None else num_classes) or not wnids:
        raise LabelError(
            f"{len(wnids):,} WordNet numbers in '{path}'",
            "one for each class of the network"
            + (f", {num_classes:,}" if num_classes is not None else ""),
            "give those of all classes",
        )
    if in_text and wnids != sorted(wnids):
        raise LabelError(
            f"the WordNet numbers in '{path}' are not in order",
            "the order of the numbers, in which networks for ImageNet have their outputs",
            "sort the lines; or write a JSON list, whose order is taken as it is",
        )
    return wnids


def _wnid_of(row: Any) -> str | None:
    text = row.get("wnid") if isinstance(row, dict) else row
    start = re.split(r"[\s,;:]", text.strip(), maxsplit=1)[0] if isinstance(text, str) else ""
    return start if is_wnid(start) else None


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
    typed, table = wanted.strip(), ClassTable(names, None, None if names else num_classes)
    same = [at for at, name in enumerate(table.names) if name.casefold() == typed.casefold()]
    several = len(same) > 1 and table.names.count(typed) != 1
    number = table.find(typed)
    if number is None and typed.isdecimal() and not several:
        number = int(typed)
    if number is not None and number < num_classes and not several:
        return number
    if several:
        raise OptionError(
            f"{len(same)} classes are named '{typed}'",
            "one class",
            f"pass a number: {', '.join(map(str, same))}",
        )
    number_typed = typed.isdecimal() or not names
    raise OptionError(
        f"no class '{typed}'",
        f"a class from 0 to {num_classes - 1}" + (", or its name" if names else ""),
        "pass one of these, or the names with --classes"
        if number_typed
        else f"try {near_matches(typed, names or ())}",
    )
