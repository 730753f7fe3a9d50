"""The commands, and what a user sees when something goes wrong."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import cofire
from cofire import plugins
from cofire.cli.boost import boost
from cofire.cli.doctor import doctor
from cofire.cli.evaluate import evaluate
from cofire.cli.explain import explain
from cofire.cli.folders import stoppable
from cofire.cli.graph import graph
from cofire.cli.study import demo, report, study
from cofire.cli.summarize import summarize
from cofire.cli.tune import tune
from cofire.errors import CofireError

app = typer.Typer(
    name="cofire",
    help="Which neurons of a PyTorch classifier fire, which fire together, over training and next to its accuracy.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command()(stoppable(demo, goes_on=True))
app.command(no_args_is_help=True)(stoppable(study, goes_on=True))
app.command(no_args_is_help=True)(stoppable(summarize))
app.command(no_args_is_help=True)(stoppable(report))
app.command(no_args_is_help=True)(stoppable(graph))
app.command(no_args_is_help=True)(stoppable(boost))
app.command(no_args_is_help=True)(stoppable(explain))
app.command(no_args_is_help=True)(stoppable(evaluate, goes_on=True))
app.command(no_args_is_help=True)(stoppable(tune))
app.command()(stoppable(doctor))


def _version(show: bool) -> None:
    if show:
        typer.echo(f"cofire {cofire.__version__}")
        raise typer.Exit


def _load(names: list[str]) -> list[str]:
    plugins.load(names)
    return names


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and stop."
        ),
    ] = False,
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
    typer.echo(f"cofire: {message}", err=True)
    sys.exit(1)
