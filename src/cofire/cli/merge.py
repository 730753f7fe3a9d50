"""`cofire merge`: the parts that shards counted, as one result."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import typer

from cofire.cli.options import DATA_ROOT, Output
from cofire.cli.sharing import RANGES, run_known
from cofire.cli.terminal import claim
from cofire.errors import MergeError
from cofire.options import option
from cofire.scale.parts import save_counts
from cofire.scale.shards import merged
from cofire.storage import check_same, versions

_PASSES = {"summarize": 2}


class Merge(Output):
    """Which parts, and where to."""

    parts: tuple[Path, ...] = option(..., "Parts", "Folders that commands with --shard wrote.")
    out: Path = option(..., "Folder", "Folder for the ranges or, after the last pass, the results.")
    data_root: Path | None = DATA_ROOT
    workers: int = option(0, "Workers", "Processes that read pictures.", ge=0)


def merge(options: Merge) -> dict[str, Any]:
    """The parts that commands with --shard counted, as one result.

    After the first pass that is the ranges, after the last the results.
    """
    passes, made = merged(options.parts)
    check_same(options.parts[0], {"versions": made["versions"]}, {"versions": versions()})
    verb = made["verb"]
    if len(passes) < _PASSES[verb]:
        claim(options.out, RANGES, "a merge")
        path = options.out / RANGES
        save_counts(path, passes, made)
        typer.echo(f"Pass {len(passes)} of {_PASSES[verb]}, all shards: {path}")
        typer.echo(f"Next: the same commands again, each with --ranges {path}")
        return {"ranges": path, "pass": len(passes)}
    module = import_module(f"cofire.cli.{verb}")
    model = getattr(module, verb.capitalize())
    told = {k: v for k, v in made.items() if k in model.model_fields}
    whole = model(**told, out=options.out, workers=options.workers, data_root=options.data_root)
    try:
        return run_known(getattr(module, f"{verb}_all"), whole, passes)
    except MergeError as error:
        raise MergeError(
            f"parts that do not fit the data and network here: {error.given}",
            error.expected,
            error.remedy,
        ) from error
