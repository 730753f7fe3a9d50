"""`cofire merge`: the parts that shards did, as one result."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from cofire.activations.sharing import shared
from cofire.cli.options import DATA_ROOT, Output
from cofire.cli.sharing import RANGES, ROUNDS, made_again
from cofire.cli.terminal import claim
from cofire.errors import MergeError, OptionError, ResultError
from cofire.options import option
from cofire.reading import named
from cofire.scale.parts import save_counts
from cofire.scale.shards import Known, merged
from cofire.storage import check_same, versions


class Merge(Output):
    """Which parts, and where to."""

    parts: tuple[Path, ...] = option(..., "Parts", "Folders that commands with --shard wrote.")
    out: Path = option(..., "Folder", "Folder for the ranges or, after the last pass, the results.")
    data_root: Path | None = DATA_ROOT
    workers: int = option(0, "Workers", "Processes that read pictures.", ge=0)


def merge(options: Merge) -> dict[str, Any]:
    """The parts that commands with --shard did, as one result.

    Of summarize that is the ranges after the first pass, and the results after the second; of
    evaluate, explain and boost the results. Network and data must be there too.
    """
    out = options.out
    if out.resolve() in [part.resolve() for part in options.parts]:
        raise OptionError(
            f"out='{out}', which is one of the parts",
            "a folder of its own for the whole",
            "choose another folder with --out",
        )
    passes, made, parts = merged(options.parts)
    verb = made.get("verb")
    if verb not in ROUNDS or not isinstance(made.get("versions"), dict):
        raise ResultError(
            f"'{options.parts[0]}', parts of '{verb}'",
            f"parts of {', '.join(ROUNDS)}",
            "run the commands with --shard again",
        )
    check_same(options.parts[0], {"versions": made["versions"]}, {"versions": versions()})
    if len(passes) < ROUNDS[verb]:
        claim(out, RANGES, "a merge")
        path = out / RANGES
        save_counts(path, passes, made)
        typer.echo(f"Pass {len(passes)} of {ROUNDS[verb]}, all shards: {named(path)}")
        typer.echo(f"Next: the same commands again, each with --ranges {named(path)}")
        return {"ranges": path, "pass": len(passes)}
    module = import_module(f"cofire.cli.{verb}")
    model = getattr(module, verb.capitalize())
    whole = made_again(model, made, out=out, workers=options.workers, data_root=options.data_root)
    try:
        with shared(Known(passes)):
            found: dict[str, Any] = getattr(module, f"{verb}_all")(whole, parts)
            return found
    except MergeError as error:
        raise MergeError(
            f"parts that do not fit the data and network here: {error.given}",
            error.expected,
            error.remedy,
        ) from error
