"""Arguments checked by what the signature declares: one way for every public function.

`validated` reads the annotations of a function, or of a class and its public methods, as
`cofire.marks` says; `Tensor` is finite real numbers in a tensor or array. pydantic goes through
unions, sequences and mappings. What does not fit is refused with the argument's name.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import typing
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Self, TypeVar, Union, cast, get_args, get_origin, overload

from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from cofire.errors import CofireError, OptionError
from cofire.marks import LATER, Refused, Sizes, in_words, mark_of, shown
from cofire.renamed import MEANT, WORDS

Checked = TypeVar("Checked", bound=Callable[..., Any])
Check = Callable[[Any, Sizes], Any]
"""Gives a value as the function gets it; an error of cofire where it does not fit."""
NONE = inspect.Parameter.empty


@overload
def validated(thing: Checked) -> Checked: ...
@overload
def validated(
    *, error: type[CofireError] | None = None, finite: bool = True
) -> Callable[[Checked], Checked]: ...
def validated(
    thing: Checked | None = None, *, error: type[CofireError] | None = None, finite: bool = True
) -> Checked | Callable[[Checked], Checked]:
    """Check the arguments of a function, or of a class and its public methods, by their annotations.

    The signature, docstring and types stay as they are. What is annotated `Any`, and defaults, are
    taken as they come.

    Args:
        thing: The function or class.
        error: What kind of error every refusal of a function, or of making an object, is; else the
            mark's own.
        finite: Whether a `Tensor` is refused that has NaN or infinite values; not where the
            function says better which.

    Returns:
        The function in its checked form; the class itself.

    Example:
        >>> @validated
        ... def halve(count: Annotated[int, Field(ge=1, le=10)] = 2) -> float:
        ...     return count / 2
        >>> import numpy as np
        >>> halve(np.int64(4))
        2.0
        >>> halve(11)
        Traceback (most recent call last):
        cofire.errors.OptionError: count=11. Expected: a whole number from 1 to 10. To fix it: pass count=2.
    """
    if thing is None:
        return functools.partial(validated, error=error, finite=finite)
    if not inspect.isclass(thing):
        return cast("Checked", _guarded(thing, error, finite))
    for name, member in list(vars(thing).items()):
        if name not in ("__init__", "__call__", "__getitem__") and name.startswith("_"):
            continue
        if isinstance(member, staticmethod | classmethod):
            setattr(thing, name, type(member)(_guarded(member.__func__, None, finite)))
        elif inspect.isfunction(member):
            setattr(thing, name, _guarded(member, error if name == "__init__" else None, finite))
    return thing


def _guarded(
    function: Callable[..., Any], error: type[CofireError] | None, finite: bool
) -> Callable[..., Any]:
    if hasattr(function, "__declared__"):
        return function
    parameters = inspect.signature(function).parameters
    required = {
        name
        for name, each in parameters.items()
        if each.default is each.empty or name in WORDS.values()
    }
    positional = [
        name
        for name, each in parameters.items()
        if each.kind in (each.POSITIONAL_ONLY, each.POSITIONAL_OR_KEYWORD)
    ]
    rest = next((name for name, each in parameters.items() if each.kind is each.VAR_POSITIONAL), "")

    @functools.cache
    def declared() -> dict[str, Check]:
        """The checks by the parameters' names, read at the first call: not all are called."""
        owner = _owner(function)
        # Without what it returns, which may be of a library that is not installed.
        taken = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
        hints = typing.get_type_hints(
            SimpleNamespace(__annotations__=taken),
            inspect.unwrap(function).__globals__,
            include_extras=True,
        )
        found = {
            name: check_of(name, hints[name], each.default, error=error, finite=finite, owner=owner)
            for name, each in parameters.items()
            if name in hints and each.kind is not each.VAR_KEYWORD
        }
        return {name: check for name, check in found.items() if check is not None}

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        checks = declared()
        sizes: Sizes = {}
        given = list(args)
        for at, value in enumerate(args):
            check = checks.get(positional[at] if at < len(positional) else rest)
            if check is not None:
                given[at] = check(value, sizes)
        for name, value in kwargs.items():
            now = MEANT.get(name, "") if name in parameters else WORDS.get(name, "")
            if now in required and now not in kwargs and now not in positional[: len(args)]:
                raise (error or OptionError)(
                    f"{name}=", f"{now}=, as it is called now", f"pass {now}="
                )
            if name in checks and name != rest:
                kwargs[name] = checks[name](value, sizes)
        return function(*given, **kwargs)

    call.__declared__ = declared  # type: ignore[attr-defined]
    return call


def _owner(function: Callable[..., Any]) -> type[Any] | None:
    """The class that a method stands in."""
    names = function.__qualname__.split(".")[:-1]
    thing: Any = sys.modules.get(function.__module__)
    for name in names:
        thing = getattr(thing, name, None)
    return thing if names and isinstance(thing, type) else None


def check_of(
    name: str,
    hint: Any,
    default: Any = NONE,
    *,
    error: type[CofireError] | None = None,
    finite: bool = True,
    owner: type[Any] | None = None,
) -> Check | None:
    """What checks a value by an annotation; None where anything fits.

    Args:
        name: Of the argument or option, for messages; it may tell an upper bound.
        hint: The annotation.
        default: What a message says to pass, where it is short.
        error: What kind of error every refusal is; else the mark's own.
        finite: Whether a `Tensor` is refused that has NaN or infinite values.
        owner: What `Self` stands for.

    Example:
        >>> check_of("bins", tuple[int, ...], (9,))([64, 0.5], {})
        Traceback (most recent call last):
        cofire.errors.OptionError: bins[1]=0.5. Expected: a whole number from 1 to 1048576. To fix it: pass bins=(9,).
    """
    declared = _Declared(name, finite, owner)(hint)
    if declared is Any or LATER in get_args(declared):
        return None
    adapter = TypeAdapter(declared, config=ConfigDict(arbitrary_types_allowed=True))

    def check(value: Any, sizes: Sizes) -> Any:
        try:
            return adapter.validator.validate_python(value, context=sizes)
        except ValidationError as refusal:
            raised = _refusal(name, declared, default, value, refusal)
            if error is not None:
                raised = error(raised.given, raised.expected, raised.remedy)
            raise raised from None

    return check


def _refusal(name: str, hint: Any, default: Any, value: Any, error: ValidationError) -> CofireError:
    """The error with the argument's name: what is closest to fitting decides."""
    faults = []
    for each in error.errors(include_url=False):
        cause = each.get("ctx", {}).get("error")
        places = [part for part in each["loc"] if isinstance(part, int)]
        faults.append((cause if isinstance(cause, Refused) else None, places, each["input"]))
    # A branch of a union that looked into the value, into its items or at its shape, is the one
    # that was meant.
    cause, places, inner = max(
        faults, key=lambda fault: (len(fault[1]), bool(fault[0] and fault[0].given))
    )
    alone = len(faults) == 1
    where = name + "".join(f"[{place}]" for place in places)
    kind = OptionError if cause is None or not (alone or cause.given) else cause.error
    if cause is not None and cause.given:
        given = cause.given.replace("{name}", where)
        remedy = cause.remedy.replace("{name}", where)
        return kind(given, cause.expected, remedy or f"correct {name}")
    expected = cause.expected if cause is not None and alone and places else in_words(hint)
    mark = mark_of(hint)
    if cause is not None and cause.remedy and alone:
        remedy = cause.remedy
    elif default is None:
        remedy = f"leave {name} out"
    elif default is not NONE and len(shown(default)) < 60 and not callable(default):
        remedy = f"pass {name}={shown(default)}"
    elif mark is not None and mark.example:
        remedy = f"pass {name}={mark.example}"
    else:
        remedy = f"pass {expected} as {name}"
    return kind(f"{where}={shown(inner if places else value)}", expected, remedy)


@dataclass(frozen=True)
class _Declared:
    """An annotation with a mark at every leaf, for pydantic to go through."""

    name: str
    finite: bool
    owner: type[Any] | None

    def __call__(self, hint: Any) -> Any:
        hint = self.owner if hint is Self else hint
        origin, args = get_origin(hint), get_args(hint)
        if hint in (Any, object) or hint is None or hint is NoneType:
            return None if hint in (None, NoneType) else Any
        if isinstance(hint, TypeVar):
            return self(hint.__bound__) if hint.__bound__ is not None else Any
        if origin in (Union, UnionType):
            return self._either(args)
        kind = hint if origin is None else origin
        if (kind.__module__, getattr(kind, "__name__", "")) in _ARRAYS:
            # Here, as the command line reads its options before it needs torch.
            from cofire.tensors import Values

            return Annotated[
                Any,
                Values(array=True) if kind.__module__ == "numpy" else Values(finite=self.finite),
            ]
        mark = mark_of(hint, self.name)
        if mark is not None:
            return Annotated[Any, mark]
        if origin is Annotated and get_origin(args[0]) in (Union, UnionType):
            # Bounds of `int | None` are those of the number.
            inside = get_args(args[0])
            return self._either(
                tuple(Annotated[(arg, *args[1:])] if arg in (int, float) else arg for arg in inside)
            )
        if origin is Annotated:
            return Annotated[(self(args[0]), *args[1:])]
        if origin in (abc.Sequence, abc.Iterable, abc.Collection, list, tuple):
            inner = tuple(arg if arg is Ellipsis else self(arg) for arg in args)
            kept = origin if origin in (tuple, list) else abc.Sequence
            return Annotated[kept[inner], BeforeValidator(_listed)]
        if origin in (abc.Mapping, dict):
            return abc.Mapping[self(args[0]), self(args[1])]  # type: ignore[misc]
        return self(origin) if origin is not None else Any

    def _either(self, args: tuple[Any, ...]) -> Any:
        rest = [arg for arg in args if arg is not NoneType and not (arg is str and Path in args)]
        declared = [self(arg) for arg in rest]
        if Any in declared:
            return Any
        hint = functools.reduce(operator.or_, declared)
        if len(declared) > 1:
            hint = Annotated[hint, Field(union_mode="left_to_right")]
        return hint | None if NoneType in args else hint


_ARRAYS = {("torch", "Tensor"), ("numpy", "ndarray")}


def _listed(value: Any) -> Any:
    """Arrays, ranges and views as lists; text is no sequence of letters, and a set has no order."""
    if isinstance(value, str | bytes | abc.Mapping | abc.Set) or type(value) in (list, tuple):
        return value
    if hasattr(value, "ndim"):
        return list(value) if value.ndim else value
    return tuple(value) if isinstance(value, abc.Sequence | abc.Iterable) else value
