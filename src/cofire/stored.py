"""Dataclasses that are kept as JSON files: what is written follows from their fields, and so does how it is read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, ClassVar, Self, get_type_hints

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_jsonable_python

from cofire.errors import CofireError, ResultError
from cofire.reading import reader
from cofire.renamed import in_words_of_now
from cofire.storage import load_json, save_json


class Stored:
    """A dataclass whose fields are kept as a JSON file, whole or not at all.

    Attributes:
        stored_as: What the file says that it is.
        format: Its version.
        apart: Fields that are not kept, as what is there to look at.

    Example:
        >>> import tempfile
        >>> from dataclasses import dataclass
        >>> @dataclass(frozen=True)
        ... class Pair(Stored):
        ...     both: tuple[int, int]
        ...     stored_as = "pair"
        >>> file = Pair((1, 2)).save(Path(tempfile.mkdtemp()) / "pair.json")
        >>> Pair.load(file), Pair((1, 2)).described()
        (Pair(both=(1, 2)), {'format': 1, 'kind': 'pair', 'both': [1, 2]})
        >>> Pair.of({"format": 1, "kind": "pair", "both": [1, "2"]})
        Traceback (most recent call last):
        ValueError: both.1: Input should be a valid integer
    """

    stored_as: ClassVar[str]
    format: ClassVar[int] = 1
    apart: ClassVar[tuple[str, ...]] = ()

    def described(self) -> dict[str, Any]:
        """As JSON can hold it."""
        told = to_jsonable_python(values_of(self, self.apart))
        return {"format": self.format, "kind": self.stored_as, **told}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """What `described` gave.

        Raises:
            ValueError: It is something else, or damaged; so are other errors of Python and of cofire.
        """
        if (described["format"], described["kind"]) != (cls.format, cls.stored_as):
            raise ValueError(f"{described['kind']!r:.80} of format {described['format']!r:.80}")
        return cls(**fields_of(cls, described, cls.apart))

    def save(self, path: str | Path) -> Path:
        """Write it to a JSON file, whole or not at all.

        Returns:
            The path.
        """
        return save_json(path, self.described())

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; without what is there to look at.

        Raises:
            ResultError: The file is missing, damaged, or holds something else.
        """

        def read(path: str | Path) -> Any:
            try:
                return cls.of(in_words_of_now(load_json(path)))
            except CofireError as error:
                raise ValueError(f"{error.given}, expected is {error.expected}") from error

        guard = reader(ResultError, f"what {cls.__name__}.save wrote", "make it again")
        found: Self = guard(read)(path)
        return found


def values_of(held: Any, apart: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass, but for some, with what they hold."""
    return {one.name: getattr(held, one.name) for one in fields(held) if one.name not in apart}


def fields_of(kind: Any, held: Mapping[str, Any], apart: Sequence[str] = ()) -> dict[str, Any]:
    """The fields of a dataclass, but for some, from what JSON held of them.

    Raises:
        ValueError: A field is of another type.
        KeyError: It is missing.
    """
    hints = get_type_hints(kind, include_extras=True)
    return {
        one.name: typed(hints[one.name], held[one.name], one.name)
        for one in fields(kind)
        if one.name not in apart
    }


def typed(kind: Any, value: Any, name: str) -> Any:
    """What JSON held as the type that it has in Python.

    Raises:
        ValueError: It is none.
    """
    try:
        # As JSON, where strict types take lists for tuples.
        return TypeAdapter(kind).validate_json(json.dumps(value), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"{'.'.join(map(str, (name, *first['loc'])))}: {first['msg']}") from error
