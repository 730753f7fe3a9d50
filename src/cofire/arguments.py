"""Arguments checked by what the signature declares: one way for every public function.

`validated` reads the annotations of a function, or of a class and its public methods. Types of
Python and torch mean what they say: `int` a whole number (of NumPy and torch too), `float` a finite
one, `Literal` a choice, `str` words that a file can hold, `str | Path` a path, `Tensor` finite real
numbers in a tensor or array, any class an instance of it. A count has the bound that
`cofire.limits` gives its name. `Annotated` with a mark of `cofire.marks` says more. pydantic goes
through unions, sequences and mappings. What does not fit is refused with the argument's name.
"""

from __future__ import annotations

import functools
import inspect
import operator
import sys
import typing
from collections import abc
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import (
    Annotated,
    Any,
    Literal,
    Self,
    TypeVar,
    Union,
    cast,
    get_args,
    get_origin,
    overload,
)

import numpy as np
from pydantic import BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from torch import Tensor

from cofire.bounds import Number, Whole
from cofire.errors import CofireError, OptionError
from cofire.limits import LARGEST, WIDEST
from cofire.marks import (
    Choice,
    Flag,
    Function,
    Instance,
    Later,
    Mark,
    Place,
    Refused,
    Sizes,
    Words,
    shown,
)
from cofire.tensors import Values

Checked = TypeVar("Checked", bound=Callable[..., Any])

Seed = Annotated[int, Whole(0, 2**63 - 1)]
"""Of random numbers: what torch's generator takes."""
Count = Annotated[int, Whole(1, 1_000_000)]
"""Of repetitions: resamples, shuffles, trials. A million is more than any interval needs."""
BatchSize = Annotated[int, Whole(1, 1 << 20)]
"""Samples at once: more would hardly fit on any device."""
_PLAIN: dict[Any, Mark] = {
    int: Whole(),
    float: Number(),
    bool: Flag(),
    str: Words(),
    Path: Place(),
}
_WORDS = {abc.Sequence, abc.Iterable, abc.Collection, list, tuple}


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
        ... def halve(count: Annotated[int, Whole(1, 10)] = 2) -> float:
        ...     return count / 2
        >>> halve(np.int64(4))
        2.0
        >>> halve(11)
        Traceback (most recent call last):
        cofire.errors.OptionError: count=11. Expected: a whole number from 1 to 10. To fix it: pass count=2.
    """
    if thing is None:
        return functools.partial(validated, error=error, finite=finite)
    guard = functools.partial(
        _guarded, about=_About(None if inspect.isclass(thing) else error, finite)
    )
    if inspect.isclass(thing):
        for name, member in list(vars(thing).items()):
            if name not in ("__init__", "__call__", "__getitem__") and name.startswith("_"):
                continue
            if isinstance(member, staticmethod | classmethod):
                setattr(thing, name, type(member)(guard(member.__func__)))
            elif inspect.isfunction(member):
                made = name == "__init__"
                setattr(
                    thing, name, _guarded(member, _About(error, finite)) if made else guard(member)
                )
        return thing
    return cast("Checked", guard(thing))


@dataclass(frozen=True)
class _About:
    """What a function is told apart from its annotations, and the class that it stands in."""

    error: type[CofireError] | None
    finite: bool
    owner: type[Any] | None = None
    name: str = ""


def _guarded(function: Callable[..., Any], about: _About) -> Callable[..., Any]:
    if hasattr(function, "__declared__"):
        return function

    @functools.wraps(function)
    def call(*args: Any, **kwargs: Any) -> Any:
        checks, rest = declared()
        sizes: Sizes = {}
        given = list(args)
        for at, value in enumerate(args):
            check = checks[at] if at < len(checks) else rest
            if check is not None:
                given[at] = check(value, sizes)
        for name, value in kwargs.items():
            check = by_name.get(name)
            if check is not None:
                kwargs[name] = check(value, sizes)
        return function(*given, **kwargs)

    by_name: dict[str, _Check] = {}

    @functools.cache
    def declared() -> tuple[list[_Check | None], _Check | None]:
        """The checks of the parameters by position and of `*args`, read at the first call: not all are called."""
        checks: list[_Check | None] = []
        rest: _Check | None = None
        for name, parameter, check in _checks(function, about):
            if parameter.kind is parameter.VAR_POSITIONAL:
                rest = check
            elif parameter.kind is not parameter.VAR_KEYWORD:
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    checks.append(check)
                if check is not None and parameter.kind is not parameter.POSITIONAL_ONLY:
                    by_name[name] = check
        return checks, rest

    call.__declared__ = declared  # type: ignore[attr-defined]
    return call


_Check = Callable[[Any, Sizes], Any]


def _checks(
    function: Callable[..., Any], about: _About
) -> list[tuple[str, inspect.Parameter, _Check | None]]:
    about = replace(about, owner=_owner(function))
    # Without what it returns, which may be of a library that is not installed.
    taken = {name: hint for name, hint in function.__annotations__.items() if name != "return"}
    hints = typing.get_type_hints(
        SimpleNamespace(__annotations__=taken),
        inspect.unwrap(function).__globals__,
        include_extras=True,
    )
    found = []
    for at, (name, parameter) in enumerate(inspect.signature(function).parameters.items()):
        own = at == 0 and about.owner is not None and name in ("self", "cls")
        hint = Any if own else _declared(hints.get(name, Any), replace(about, name=name))
        found.append(
            (
                name,
                parameter,
                None if hint is Any else _check(name, hint, parameter.default, about.error),
            )
        )
    return found


def _check(name: str, hint: Any, default: Any, kind: type[CofireError] | None) -> _Check:
    mark = (
        next((m for m in get_args(hint)[1:] if isinstance(m, Mark)), None)
        if get_origin(hint) is Annotated
        else None
    )
    if isinstance(mark, Later):
        return lambda value, sizes: value
    adapter = TypeAdapter(hint, config=ConfigDict(arbitrary_types_allowed=True))

    def check(value: Any, sizes: Sizes) -> Any:
        try:
            try:
                return adapter.validator.validate_python(value, context=sizes)
            except TypeError:
                # What was checked is put into a sequence of the same type, which a torch.Size, say,
                # cannot be.
                if not isinstance(value, abc.Sequence) or type(value) in (list, tuple):
                    raise
                return adapter.validator.validate_python(tuple(value), context=sizes)
        except ValidationError as error:
            raised = _refusal(name, hint, default, value, error)
            raise (kind(raised.given, raised.expected, raised.remedy) if kind else raised) from None

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
    where = name + "".join(f"[{place}]" for place in places)
    expected = _expected(hint)
    kind = OptionError if cause is None or (len(faults) > 1 and not cause.given) else cause.error
    if cause is not None and cause.given:
        return kind(
            cause.given.replace("{name}", where), cause.expected, cause.remedy or f"correct {name}"
        )
    if len(faults) == 1 and cause is not None and places:
        expected = cause.expected
    if cause is not None and cause.remedy and len(faults) == 1:
        remedy = cause.remedy
    elif (
        default is not inspect.Parameter.empty
        and len(shown(default)) < 60
        and not callable(default)
    ):
        remedy = f"pass {name}={shown(default)}"
    else:
        example = _example(hint)
        remedy = f"pass {name}={example}" if example else f"pass {expected} as {name}"
    return kind(f"{where}={shown(inner if places else value)}", expected, remedy)


def _expected(hint: Any) -> str:
    """What an annotation asks for, in words."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is None or hint is NoneType:
        return "None"
    if hint is Any:
        return "anything"
    if origin is Annotated:
        mark = next((mark for mark in args[1:] if isinstance(mark, Mark)), None)
        return mark.expected if mark is not None else _expected(args[0])
    if origin in (Union, UnionType):
        # None last, as one says it.
        return " or ".join(_expected(arg) for arg in sorted(args, key=lambda arg: arg is NoneType))
    if origin is tuple and args and args[-1] is not Ellipsis:
        return f"({', '.join(map(_expected, args))})"
    if origin in _WORDS:
        return f"a sequence, each {_expected(args[0])}" if args else "a sequence"
    if origin in (abc.Mapping, dict):
        return f"a mapping of {_expected(args[0])} to {_expected(args[1])}" if args else "a mapping"
    return (
        "a function"
        if origin is abc.Callable or hint is Callable
        else getattr(hint, "__name__", str(hint))
    )


def _example(hint: Any) -> str:
    if get_origin(hint) is not Annotated:
        return ""
    return next((mark.example for mark in get_args(hint)[1:] if isinstance(mark, Mark)), "")


def _declared(hint: Any, about: _About) -> Any:
    """The annotation with a mark at every leaf, for pydantic to go through."""
    origin, args = get_origin(hint), get_args(hint)
    if hint is Self:
        hint = about.owner
    if hint in (Any, None, NoneType, inspect.Parameter.empty, object):
        return Any if hint in (Any, inspect.Parameter.empty, object) else None
    if isinstance(hint, TypeVar):
        return _declared(hint.__bound__, about) if hint.__bound__ is not None else Any
    if origin is Annotated:
        if any(isinstance(mark, Mark) for mark in args[1:]):
            return hint
        return Annotated[(_declared(args[0], about), *args[1:])]
    if origin in (Union, UnionType):
        return _either(args, about)
    if origin is Literal:
        return Annotated[Any, Choice(args)]
    if origin is np.ndarray or hint is np.ndarray:
        return Annotated[Any, Values(array=True)]
    if origin is abc.Callable or hint in (abc.Callable, typing.Callable):
        return Annotated[
            Any, Function(len(args[0]) if args and isinstance(args[0], list) else None)
        ]
    if origin in _WORDS:
        inner = tuple(arg if arg is Ellipsis else _declared(arg, about) for arg in args)
        kind = origin if origin in (tuple, list) else abc.Sequence
        return Annotated[kind[inner], BeforeValidator(_listed)]
    if origin in (abc.Mapping, dict):
        return abc.Mapping[_declared(args[0], about), _declared(args[1], about)]  # type: ignore[misc]
    if origin is not None:
        return _declared(origin, about)
    if hint is int and about.name in LARGEST:
        return Annotated[Any, Whole(0, LARGEST[about.name])]
    if hint is float and about.name in WIDEST:
        return Annotated[Any, Number(most=WIDEST[about.name])]
    if hint is Tensor:
        return Annotated[Any, Values(finite=about.finite)]
    if hint in _PLAIN:
        return Annotated[Any, _PLAIN[hint]]
    if isinstance(hint, type) and not getattr(hint, "_is_protocol", False):
        return Annotated[Any, Instance(hint)]
    return Any


def _either(args: tuple[Any, ...], about: _About) -> Any:
    rest = list(args)
    if str in rest and Path in rest:
        rest[rest.index(Path)] = Annotated[Path, Place()]
        rest.remove(str)
    declared = [_declared(arg, about) for arg in rest if arg is not NoneType]
    if Any in declared:
        return Any
    hint = functools.reduce(operator.or_, declared)
    if len(declared) > 1:
        hint = Annotated[hint, Field(union_mode="left_to_right")]
    return hint | None if NoneType in rest else hint


def _listed(value: Any) -> Any:
    """Arrays, ranges and views as lists; text is no sequence of letters, and a set has no order."""
    if isinstance(value, list | tuple | str | bytes | abc.Mapping | abc.Set):
        return value
    if isinstance(value, Tensor | np.ndarray):
        return list(value) if value.ndim else value
    return tuple(value) if isinstance(value, abc.Sequence | abc.Iterable) else value


def _owner(function: Callable[..., Any]) -> type[Any] | None:
    """The class that a method stands in."""
    names = function.__qualname__.split(".")[:-1]
    thing: Any = sys.modules.get(function.__module__)
    for name in names:
        thing = getattr(thing, name, None)
    return thing if names and isinstance(thing, type) else None
