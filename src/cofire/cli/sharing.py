"""One command's data shared by several processes: shards that `cofire merge` puts together, and torchrun."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import torch
import typer

from cofire.activations.sharing import Counted, shared
from cofire.errors import MergeError, OptionError
from cofire.options import Options, option
from cofire.scale.parts import load_counts
from cofire.scale.ranks import Follower, launched, ranks
from cofire.scale.shards import Known, PartWritten, Shard
from cofire.storage import check_same, versions

_WHERE = "Several machines"
_FREE = (
    "out",
    "shard",
    "ranges",
    "batch_size",
    "workers",
    "data_root",
    "quiet",
    "verbose",
    "as_json",
)
"""Options in which parts may differ."""
RANGES = "ranges.safetensors"
"""The file with what all parts counted in the passes before the last."""
PARTS_OF = ("pass1.safetensors", "pass2.safetensors", RANGES)
"""Files that a folder of results may hold already when the command that makes these is called."""


class SharedOptions(Options):
    """Which part of the data this command counts."""

    shard: str | None = option(
        None,
        "Shard",
        "Count a part of the data alone, such as 3/16; cofire merge puts all parts together.",
        panel=_WHERE,
    )
    ranges: Path | None = option(
        None,
        "Ranges",
        "In the second pass of a shard: ranges.safetensors, which merge made of all first passes.",
        panel=_WHERE,
    )


O = TypeVar("O", bound=SharedOptions)  # noqa: E741
Verb = Callable[[Any], dict[str, Any]]


def made_with(verb: str, options: SharedOptions) -> dict[str, Any]:
    """What parts of one result have in common, as JSON holds it."""
    told = {name: value for name, value in options.record().items() if name not in _FREE}
    return {"verb": verb, **told, "versions": versions()}


def run_shared(
    verb: str, run: Callable[[O], dict[str, Any]], options: O, passes: int = 2
) -> dict[str, Any]:
    """Run a verb: all of it, a shard of one of its passes, or as one of torchrun's processes.

    Args:
        verb: Its name.
        run: What it does.
        options: As given.
        passes: Over the data.
    """
    if options.shard is None and options.ranges is not None:
        raise OptionError(
            f"ranges='{options.ranges}' without shard",
            "the shard whose second pass this is",
            "pass shard=1/2, say, or leave ranges out",
        )
    if launched() and (options.shard is not None or getattr(options, "engine", None) == "ray"):
        raise OptionError(
            "torchrun with --shard or --engine ray",
            "one way of sharing the data",
            "start the command without torchrun, or leave these options out",
        )
    if options.shard is not None:
        return _run_shard(verb, run, options, options.shard, passes)
    if launched():
        return _run_ranks(verb, run, options, passes)
    return run(options)


def _run_shard(
    verb: str, run: Callable[[O], dict[str, Any]], options: O, shard: str, passes: int
) -> dict[str, Any]:
    made = made_with(verb, options)
    known: list[Counted] = []
    if options.ranges is not None:
        known, theirs = load_counts(options.ranges)
        check_same(options.ranges.parent, theirs, made)
    out: Path = options.out  # type: ignore[attr-defined]
    try:
        with shared(Shard(shard, out, made, known)):
            return run(options)
    except PartWritten as part:
        typer.echo(f"Pass {part.number} of {passes}, shard {shard}: {part.path}")
        again = f", then this again with --ranges WHOLE/{RANGES}" if part.number < passes else ""
        typer.echo(f"Next, once all shards are there: cofire merge FOLDER… --out WHOLE{again}")
        return {"part": part.path, "pass": part.number, "shard": shard}


def run_known(run: Verb, options: SharedOptions, passes: list[Any]) -> dict[str, Any]:
    """Run a verb over what shards have counted."""
    with shared(Known(passes)):
        return run(options)


def _run_ranks(
    verb: str, run: Callable[[O], dict[str, Any]], options: O, passes: int
) -> dict[str, Any]:
    out: Path = options.out  # type: ignore[attr-defined]
    device = str(getattr(options, "device", None) or "cpu")
    gpu = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if gpu:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    kept = out / RANGES
    with ExitStack() as stack:
        try:
            sharing = stack.enter_context(ranks(kept, made_with(verb, options), passes, gpu=gpu))
        except Follower:
            return {}
        if not sharing.leads:
            scratch = tempfile.mkdtemp(prefix="cofire-rank-")
            # After the claim on it has ended.
            atexit.register(shutil.rmtree, scratch, ignore_errors=True)
            nowhere = stack.enter_context(Path(os.devnull).open("w", encoding="utf-8"))
            stack.enter_context(redirect_stderr(nowhere))
            stack.enter_context(redirect_stdout(nowhere))
            options = options.model_copy(update={"out": Path(scratch) / "part"})
        try:
            with shared(sharing):
                found = run(options)
        except Follower:
            return {}
        except MergeError as error:
            if not (sharing.leads and kept.exists()):
                raise
            raise MergeError(
                f"'{kept}', kept by a job that was stopped: {error.given}",
                error.expected,
                "delete that file to start anew",
            ) from error
        kept.unlink(missing_ok=True)
        return found
