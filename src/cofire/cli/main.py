"""The verbs, each imported when it is called, and what a user sees when something goes wrong."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from cofire import plugins
from cofire.cli.help import STATUS, VARIABLES, Ended, epilog, told
from cofire.cli.terminal import version_flag
from cofire.errors import CofireError, OptionError

VERBS = {
    "demo": "The study on scikit-learn's digits: train, watch the neurons, boost, explain, report.",
    "study": "Train a classifier, keep checkpoints, and hold what its neurons do against its accuracy.",
    "follow": "What the neurons did over the checkpoints of a finished training run, next to its accuracy.",
    "summarize": "What the neurons of one model do on one data set: a summary file, tables and a report.",
    "merge": "The parts that commands with --shard did, as one result.",
    "report": "Write the report of finished results again, and its figures as files.",
    "graph": "Which neurons of a layer fire together: the graph of one checkpoint, as a file for Gephi.",
    "neurons": "What neurons of a layer fire for: pictures of the samples with their highest activations.",
    "boost": "Boost a trained model by what its neurons do, and hold it against controls.",
    "explain": "Which pixels of images carried the decisions of a network: a page, images and numbers.",
    "evaluate": "Judge explanations: do they show where the object is, and what the network uses?",
    "tune": "Learn options of a method, on images whose objects have boxes.",
    "trust": "Whose maps do people trust? Two networks' maps, blinded: the study made, served and reported.",
    "recipes": "The experiments that a study has by name, with their options, the papers' numbers and their cost.",
    "doctor": "Versions, devices, what is installed, and what an extra would add.",
}
"""The verbs and what the list of them says; the module of a verb is imported when it is called."""

_GO_ON = ("demo", "study", "follow", "evaluate", "serve")
"""Verbs that go on where they were when they are called again."""

_SHARED = ("summarize",)
"""Verbs whose passes over the data torchrun's processes share."""

_MEASURED = ("demo", "study", "follow", "summarize")


class _Verbs(Ended, TyperGroup):
    """Verbs that are known by name and line until one of them is called."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = {name: TyperCommand(name, help=line) for name, line in VERBS.items()}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, command, rest = super().resolve_command(ctx, args)
        if name not in _SHARED:
            _alone(name)
        return name, name and command and _verb(name), rest


def _alone(name: str | None) -> None:
    """Refuses a verb that several processes of torchrun would each run whole, into one folder."""
    processes = int(os.environ.get("WORLD_SIZE", "1"))
    if processes == 1 or "TORCHELASTIC_RUN_ID" not in os.environ:
        return
    if os.environ.get("RANK") != "0":
        sys.exit(1)  # the first process says it, once
    raise OptionError(
        f"`cofire {name}` in {processes} processes of torchrun",
        f"one process: those that share their work are {', '.join(_SHARED)}",
        f"call `cofire {name}` without torchrun",
    )


def _verb(name: str) -> Any:
    module = import_module(f"cofire.cli.{'study' if name == 'demo' else name}")
    parts = getattr(module, "PARTS", ())
    if not parts:
        return _command(module, name, name)
    return TyperGroup(
        name=name,
        help=VERBS[name],
        commands={part: _command(module, part, f"{name} {part}") for part in parts},
        no_args_is_help=True,
        context_settings={"help_option_names": ["--help", "-h"]},
    )


def _command(module: Any, name: str, typed: str) -> Any:
    from cofire.cli.parameters import command

    return command(
        name,
        getattr(module, name.capitalize()),
        getattr(module, name),
        goes_on=name in _GO_ON,
        epilog=epilog(typed, *([_measures()] if name in _MEASURED else [])),
    )


def _measures() -> str:
    """What is measured of neurons, those of plugins with it."""
    from cofire.patterns import MEASURES

    lines = [
        f"{one.name}: {one.title}{f' ({one.unit})' if one.unit else ''}. {one.meaning}"
        for one in MEASURES.values()
    ]
    return "\n".join(
        ["Measures of neurons, to which --plugin adds:", *(f"  {one}" for one in lines)]
    )


def _load(names: list[str]) -> list[str]:
    plugins.load(names)
    return names


app = typer.Typer(
    name="cofire",
    cls=_Verbs,
    help="Which neurons of a PyTorch classifier fire, which fire together, over training and next to its accuracy.",
    epilog="\n\n".join((told("Exit status", STATUS), told("Environment", VARIABLES))),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["--help", "-h"]},
)


@app.callback()
def _root(
    version: Annotated[bool, version_flag()] = False,
    plugin: Annotated[
        list[str],
        typer.Option(
            metavar="MODULE|FILE.py",
            callback=_load,
            is_eager=True,
            help="Own code that registers measures, methods, rules or sections; again for more. "
            f"{plugins.VARIABLE} names them too, with commas.",
        ),
    ] = [],  # noqa: B006 (typer makes a list of each call's own)
) -> None:
    pass


def main() -> None:
    """Run the command line; every error of cofire becomes one message and exit status 1."""
    try:
        app()
    except CofireError as error:
        _stop(str(error))
    except Exception as error:
        # A fault of ours, or of the user's own model or data code: no traceback unless asked for.
        if os.environ.get("COFIRE_DEBUG"):
            raise
        _stop(f"{type(error).__name__}: {error}\nCOFIRE_DEBUG=1 shows where this happened.")


def _stop(message: str) -> None:
    told = True
    if "TORCHELASTIC_RUN_ID" in os.environ:
        from cofire.scale.ranks import first_to_tell

        told = first_to_tell()
    if told:
        typer.echo(f"cofire: {message}", err=True)
    sys.exit(1)
