"""Options of a verb: one model, from which command line, stored record and report read them.

```python
class TrainingOptions(Options):
    epochs: PositiveInt = option(20, "Epochs", "Passes over the data.", panel="Training")
    dropout: float = option(0.5, "Dropout", "After each hidden layer.", panel="Training", ge=0, lt=1)
```

A value that does not fit is an `OptionError` that says what fits; a name or choice that is nearly
right is told the right one. Validators raise `ValueError` with what is expected, or an
`OptionError` of their own.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self, get_origin

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from cofire.arguments import NONE, Check, check_of
from cofire.errors import OptionError, near_matches
from cofire.marks import in_words
from cofire.reading import read_toml, reader


def option(default: Any, title: str, description: str, *, panel: str = "", **bounds: Any) -> Any:
    """A field of `Options`.

    Args:
        default: Its value unless given; `...` for none.
        title: How pages call it.
        description: The help of its flag, one sentence.
        panel: The part of the command's help that lists it.
        bounds: Of pydantic's `Field`: `ge`, `gt`, `le`, `lt`.
    """
    extra: Any = {"panel": panel} if panel else None
    return Field(default, title=title, description=description, json_schema_extra=extra, **bounds)


class Options(BaseModel):
    """What a verb does; frozen, and without names that it does not know.

    Fields are declared with `option` or pydantic's `Field`: `title` is how pages call it,
    `description` the help of its flag, `ge`, `gt`, `le`, `lt` its bounds, and
    `json_schema_extra["panel"]` where the command's help lists it.

    Raises:
        OptionError: An option is unknown, or has a value that it cannot have.

    Example:
        >>> class Boxes(Options):
        ...     share: float = option(0.25, "Share", "Of the map's sum.", gt=0, le=1)
        >>> Boxes(share=0.5).record()
        {'share': 0.5}
        >>> list(Boxes().labelled())
        [('Share', '0.25', "Of the map's sum.")]
        >>> Boxes(shere=0.5)
        Traceback (most recent call last):
        cofire.errors.OptionError: no option shere. Expected: one of share. To fix it: write share in its place.
        >>> Boxes(share=2)
        Traceback (most recent call last):
        cofire.errors.OptionError: share=2. Expected: a finite number above 0 and up to 1. To fix it: pass share=0.25.
    """

    renamed: ClassVar[Mapping[str, str]] = {}
    """What records of earlier versions call an option, and its name now."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True
    )

    def __init__(self, **given: Any) -> None:
        checks = self._checks()
        given |= self._several(given)
        for name in given.keys() & checks.keys():
            given[name] = self._read(name, given[name], checks[name])
        try:
            super().__init__(**given)
        except ValidationError as error:
            raise self._refusal(error) from None

    @classmethod
    def _several(cls, given: Mapping[str, Any]) -> dict[str, tuple[Any, ...]]:
        """Those given as one value of fields that take several."""
        return {
            name: (given[name],)
            for name, field in cls.model_fields.items()
            if get_origin(field.annotation) is tuple
            and isinstance(given.get(name), str | int | float)
        }

    @classmethod
    @functools.cache
    def _checks(cls) -> dict[str, Check]:
        checks = {}
        for name, field in cls.model_fields.items():
            hint: Any = field.annotation
            hint = Annotated[(hint, *field.metadata)] if field.metadata else hint
            check = check_of(name, hint, NONE if field.is_required() else field.default)
            if check is not None:
                checks[name] = check
        return checks

    @staticmethod
    def _read(name: str, value: Any, check: Check) -> Any:
        try:
            return check(value, {})
        except OptionError:
            if isinstance(value, str):
                # A number, from the command line.
                with contextlib.suppress(ValueError, OptionError):
                    return check(float(value), {})
            raise

    @classmethod
    def of(cls, file: str | Path | None = None, **flags: Any) -> Self:
        """Options from a TOML file, overridden by those given by name (None: not given).

        Raises:
            OptionError: The file cannot be read, or an option is unknown or has a value it cannot
                have.
        """
        given = {} if file is None else read_options(file)
        return cls(**given | {name: value for name, value in flags.items() if value is not None})

    def record(self) -> dict[str, Any]:
        """What is stored of them, as JSON holds it."""
        return self.model_dump(mode="json")

    @classmethod
    def completed(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        """What a run of this version or another one was started with, to be held against what another is.

        Options have their names of now, and those that there were not yet their defaults, as the
        run had them; what else the record says stays.

        Example:
            >>> class Boxes(Options):
            ...     share: float = 0.25
            >>> Boxes.completed({"network": "net.pt2"})
            {'share': 0.25, 'network': 'net.pt2'}
        """
        return cls.model_construct().model_dump(mode="json") | cls.renamed_in(record)

    @classmethod
    def renamed_in(cls, record: Mapping[str, Any]) -> dict[str, Any]:
        """A record in the words of now; what can be several now may have been one."""
        told = {cls.renamed.get(name, name): value for name, value in record.items()}
        return told | {name: list(one) for name, one in cls._several(told).items()}

    def labelled(self) -> Iterator[tuple[str, str, str]]:
        """For each option its title, its value as text, and its description, for a page."""
        for name, field in type(self).model_fields.items():
            title = field.title or name.replace("_", " ").capitalize()
            yield title, _as_text(getattr(self, name)), field.description or ""

    @classmethod
    def _refusal(cls, error: ValidationError) -> OptionError:
        """The error in three parts, of what is wrong first."""
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        said = str(first.get("ctx", {}).get("error", first["msg"]))
        if first["type"] == "extra_forbidden" and (new := cls.renamed.get(name)):
            return OptionError(
                f"the option {name}", f"{new}, as it is called now", f"write {new} in its place"
            )
        if first["type"] == "extra_forbidden":
            near = near_matches(name, cls.model_fields, most=1).strip("'")
            names = ", ".join(cls.model_fields)
            return OptionError(f"no option {name}", f"one of {names}", f"write {near} in its place")
        if first["type"] == "missing":
            hint = cls.model_fields[name].annotation
            return OptionError(f"no {name}", in_words(hint, name), f"pass {name}")
        return OptionError("options that do not go together", said, "correct one of them")


def _as_text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, list | tuple):
        return ", ".join(map(_as_text, value))
    return str(value)


@reader(OptionError, "a readable TOML file", "correct it or leave it out")
def read_options(file: str | Path) -> dict[str, Any]:
    """The options that a TOML file holds.

    Raises:
        OptionError: It cannot be read.
    """
    return read_toml(file)
