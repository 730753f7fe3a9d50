"""A verb's options model as parameters of the command line, and how a verb is run.

Every field is one option: its description is its help, its default stands in brackets, a `Literal`
is a choice, bounds are bounds, and the class that declares it names its panel. What is said in
Python's words (`batch_size=0`) is said in the shell's (`--batch-size 0`).
"""

from __future__ import annotations

import inspect
import io
import json
import math
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import typer
from pydantic.fields import FieldInfo
from typer.core import TyperCommand

from cofire.cli.help import Ended
from cofire.cli.terminal import running, version_flag
from cofire.errors import CofireError, OptionError
from cofire.options import Options
from cofire.remote import in_urls

RENAMED = {
    "boost": {"--method": "--booster"},
    "make": {"--images": "--data", "--methods": "--method"},
    "evaluate": {
        "--images": "--data",
        "--methods": "--method",
        "--tuning-photos": "--tuning-images",
    },
    "study": {"--network": "--model"},
    "tune": {"--images": "--data", "--photos": "--sample"},
}
"""Flags by their old names, for each verb."""

_VERSION = Annotated[bool, version_flag("Output")]

_FLAGS = {
    "as_json": ("--json",),
    "layers": ("--layer",),
    "quiet": ("--quiet", "-q"),
    "samples": ("--sample",),
    "candidates": ("--try",),
    "verbose": ("--verbose", "-v"),
}
"""Flags that are not called as their field is."""

_REPEATED = ("layers", "candidates")
_ARGUMENTS = {
    "recipe": "RECIPE",
    "files": "CHECKPOINT...",
    "folder": "FOLDER",
    "images": "IMAGE...",
    "parts": "PART...",
}
"""What is named without a flag."""

_METAVARS = {
    "candidates": "NAME=V,V…",
    "layers": "NAME",
    "transform": "MODULE:FUNCTION",
    "weights_key": "KEY",
}


def command(
    name: str,
    model: type[Options],
    function: Callable[[Any], dict[str, Any]],
    *,
    goes_on: bool = False,
    epilog: str,
) -> Any:
    """A verb as a command of the shell.

    Args:
        name: Of the verb.
        model: Its options, those of `Output` among them.
        function: Is called with them; what it gives is what `--json` prints.
        goes_on: Whether the same command, given again, goes on where it was.
        epilog: What its help ends with.
    """

    def run(ctx: typer.Context, **values: Any) -> None:
        given = {
            field: _read(model.model_fields[field], value)
            for field, value in values.items()
            if field in model.model_fields and _is_given(ctx, field)
        }
        with _in_shell_words(model), running(goes_on=goes_on):
            _run(function, model(**given))

    kinds = {field: _kind(model, field) for field in model.model_fields}
    positional = inspect.Parameter.KEYWORD_ONLY
    parameters = [inspect.Parameter("ctx", positional, annotation=typer.Context)]
    # What every verb has comes last.
    order = sorted(model.model_fields.items(), key=lambda one: _panel(model, one[0]) == "Output")
    for field, info in order:
        default = inspect.Parameter.empty if info.is_required() else _default(field, info)
        parameters.append(
            inspect.Parameter(field, positional, default=default, annotation=kinds[field])
        )
    parameters.append(inspect.Parameter("version", positional, default=False, annotation=_VERSION))
    run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {one.name: one.annotation for one in parameters}
    run.__doc__ = function.__doc__
    alone = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    required = any(info.is_required() for info in model.model_fields.values())
    alone.command(
        name,
        cls=_Command,
        epilog=epilog,
        no_args_is_help=required or name == "study",
        context_settings={"help_option_names": ["--help", "-h"]},
    )(run)
    return typer.main.get_command(alone)


class _Command(Ended, TyperCommand):
    """A command that tells a flag's new name."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        renamed = RENAMED.get(self.name or "", {})
        for flag in (argument.partition("=")[0] for argument in args):
            if flag in renamed:
                new = renamed[flag]
                raise OptionError(flag, f"{new}, as it is called now", f"pass {new}")
        return super().parse_args(ctx, args)


def _is_given(ctx: typer.Context, field: str) -> bool:
    source = ctx.get_parameter_source(field)
    return source is not None and source.name != "DEFAULT"


def _hint(info: FieldInfo) -> tuple[Any, bool]:
    """The type of a field without None, and whether None is one of its values."""
    found = info.annotation
    kinds = [found]
    if get_origin(found) in (Union, UnionType):
        kinds = list(get_args(found))
    inner = [kind for kind in kinds if kind is not NoneType]
    inner = [_plain(kind) for kind in inner]
    return inner[0] if len(inner) == 1 else str, NoneType in kinds


def _plain(kind: Any) -> Any:
    return get_args(kind)[0] if get_origin(kind) is Annotated else kind


def _kind(model: type[Options], field: str) -> Any:
    """A field's type on the command line, with what its help shows."""
    info = model.model_fields[field]
    hint, optional = _hint(info)
    choices = _choices(hint, info)
    more: dict[str, Any] = {"metavar": _METAVARS.get(field)}
    if get_origin(hint) in (list, tuple) or getattr(hint, "__name__", "") == "Sequence":
        hint = list[str] if field in _REPEATED else list[Path] if field in _ARGUMENTS else str
    elif choices:
        hint, told = str, tuple(choices)
        more = {"metavar": f"<{'|'.join(told)}>", "autocompletion": lambda: told}
    elif hint in (int, float):
        more["metavar"] = f"<{hint.__name__}{_bounds(info)}>"
        if optional and info.default is not None:
            hint = str  # a number, or the word for none
    elif hint not in (bool, Path):
        hint = str
    kind = hint | None if not info.is_required() and hint is not bool else hint
    about = {"help": info.description, **more}
    if field in _ARGUMENTS:
        return Annotated[kind, typer.Argument(**about | {"metavar": _ARGUMENTS[field]})]
    flags = _FLAGS.get(field, (f"--{field.replace('_', '-')}",))
    if hint is bool and info.default is not False:
        flags = (f"{flags[0]}/--not-{flags[0][2:]}",)
    return Annotated[kind, typer.Option(*flags, **about, rich_help_panel=_panel(model, field))]


def _choices(hint: Any, info: FieldInfo) -> list[str]:
    if get_origin(hint) is Literal:
        return [str(one) for one in get_args(hint)]
    kinds = get_args(info.annotation)
    marks = [mark for kind in kinds for mark in getattr(kind, "__metadata__", ())]
    return [one for mark in (*info.metadata, *marks) for one in getattr(mark, "choices", ())]


def _bounds(info: FieldInfo) -> str:
    """What a number may be, as its place in the help shows it."""
    marks = {
        name: getattr(mark, name)
        for mark in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if hasattr(mark, name)
    }
    least = (
        f" from {marks['ge']:g}"
        if "ge" in marks
        else f" above {marks['gt']:g}"
        if "gt" in marks
        else ""
    )
    most = (
        f" to {marks['le']:g}"
        if "le" in marks
        else f" below {marks['lt']:g}"
        if "lt" in marks
        else ""
    )
    return least + most


def _panel(model: type[Options], field: str) -> str | None:
    extra = model.model_fields[field].json_schema_extra
    if isinstance(extra, dict) and "panel" in extra:
        return str(extra["panel"])
    owner = next(
        each for each in reversed(model.__mro__) if field in vars(each).get("__annotations__", {})
    )
    return vars(owner).get("panel")


def _default(field: str, info: FieldInfo) -> Any:
    """A default as the command line would say it."""
    found = info.get_default(call_default_factory=True)
    if isinstance(found, list | tuple) and field not in _REPEATED:
        return ",".join(f"{one:g}" if isinstance(one, float) else str(one) for one in found)
    return found


def _read(info: FieldInfo, value: Any) -> Any:
    """What is said on the command line as a value of the field."""
    hint, optional = _hint(info)
    if not isinstance(value, str):
        return value
    if optional and value.lower() in ("all", "none") and info.default is not None:
        return None
    if get_origin(hint) in (list, tuple):
        kind = _plain(get_args(hint)[0])
        parts = [part.strip() for part in value.split(",") if part.strip()]
        try:
            return [kind(part) if kind in (int, float) else part for part in parts]
        except ValueError as error:
            raise typer.BadParameter(f"'{value}' is no list of numbers such as 0.5,1") from error
    if optional and hint in (int, float):
        try:
            return hint(value)
        except ValueError:
            pass
    return value


def _run(function: Callable[[Any], dict[str, Any]], options: Any) -> None:
    """Call a verb, and say what is asked for of what it says."""
    start = time.monotonic()
    with ExitStack() as stack:
        if options.quiet:
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stderr(nowhere))
        if options.as_json:
            stack.enter_context(redirect_stdout(io.StringIO()))
        found = function(options)
    if options.as_json:
        typer.echo(in_urls(json.dumps(_known(found), indent=2, default=str, allow_nan=False)))
    if options.verbose:
        typer.echo(f"Took {time.monotonic() - start:.1f} s.", err=True)


def _known(found: Any) -> Any:
    """Results without numbers that JSON does not have: what is not known is null."""
    if isinstance(found, dict):
        return {name: _known(value) for name, value in found.items()}
    if isinstance(found, list | tuple):
        return [_known(value) for value in found]
    return None if isinstance(found, float) and not math.isfinite(found) else found


@contextmanager
def _in_shell_words(model: type[Options]) -> Iterator[None]:
    """Errors that name options as the shell does."""
    try:
        yield
    except CofireError as error:
        parts = [
            in_shell_words(part, model) for part in (error.given, error.expected, error.remedy)
        ]
        if parts == [error.given, error.expected, error.remedy]:
            raise
        raise type(error)(*parts) from error


def _flag(name: str) -> str:
    return _ARGUMENTS.get(name) or _FLAGS.get(name, (f"--{name.replace('_', '-')}",))[0]


def in_shell_words(text: str, model: type[Options]) -> str:
    """Words that name options of a verb as Python does, in the shell's.

    Example:
        >>> from cofire.cli.options import Output
        >>> in_shell_words("quiet=True and as_json='x'", Output)
        "--quiet and --json 'x'"
    """

    def flag(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        said = _flag(name)
        if found["pass"] and value == "None":
            return f"leave {said} out"
        return (found["pass"] or "") + (said if value == "True" else f"{said} {value}")

    names = "|".join(sorted(model.model_fields, key=len, reverse=True))
    asked = rf"\b(leave (?=\w+ out)|pass another )({names})\b"
    text = re.sub(asked, lambda found: found[1] + _flag(found[2]), text)
    value = r"(?:\[\d+\])?=(?P<value>'[^']*'|[^\s,;()]+)"
    said = re.sub(rf"(?P<pass>pass )?(?<!--try )(?<![\w.-])(?P<name>{names}){value}", flag, text)
    return in_urls(re.sub(r"(--[\w-]+) \(\1\)", r"\1", said))
