"""One command's data shared by several processes: shards that `cofire merge` puts together, and torchrun."""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, TypeVar

import typer

from cofire.activations.sharing import Counted, shared
from cofire.errors import MergeError, OptionError, ResultError
from cofire.options import Options, option
from cofire.reading import named
from cofire.scale.parts import load_counts
from cofire.scale.ranks import Follower, launched, on_gpu, ranks
from cofire.scale.shards import PartWritten, Shard, check_made, part_file
from cofire.storage import versions

_WHERE = "Several machines"
_FREE = (
    "out",
    "shard",
    "ranges",
    "workers",
    "data_root",
    "quiet",
    "verbose",
    "as_json",
)
"""Options in which parts may differ."""
RANGES = "ranges.safetensors"
"""The file with what all parts counted in the passes before the last."""
ROUNDS = {"summarize": 2, "evaluate": 1, "explain": 1, "boost": 1}
"""Verbs that have shards, and how often all of these are run until `cofire merge` gives the results."""


class ShardOptions(Options):
    """Which part of the data this command does."""

    shard: str | None = option(
        None,
        "Shard",
        "Do a part of the data alone, such as 3/16; cofire merge puts all parts together.",
        panel=_WHERE,
    )


class RangesOptions(ShardOptions):
    """The same, in rounds."""

    ranges: Path | None = option(
        None,
        "Ranges",
        "In the second pass of a shard: ranges.safetensors, which merge made of all first passes.",
        panel=_WHERE,
    )


O = TypeVar("O", bound=ShardOptions)  # noqa: E741


def made_with(verb: str, options: ShardOptions) -> dict[str, Any]:
    """What parts of one result have in common, as JSON holds it; "given" names what was not left at its default."""
    # A summary's samples go through the network in pieces of its own.
    free = (*_FREE, "batch_size") if verb == "summarize" else _FREE
    told = {name: value for name, value in options.record().items() if name not in free}
    given = sorted(options.model_fields_set & told.keys())
    return {"verb": verb, **told, "given": given, "versions": versions()}


def made_again(model: type[O], made: Mapping[str, Any], **free: Any) -> O:
    """The options that parts were made with.

    Args:
        model: Of the verb.
        made: What `made_with` gave.
        free: Options in which parts may differ; those that the verb has not are left out.

    Raises:
        CofireError: These are none of its options.
    """
    try:
        given = {str(name): made[name] for name in made["given"]}
    except (KeyError, TypeError) as error:
        raise ResultError(
            "parts that do not say what they were made with",
            "what commands with --shard write",
            "run them again",
        ) from error
    return model(**given, **{name: one for name, one in free.items() if name in model.model_fields})


def parts_of(verb: str) -> list[str]:
    """Files that a folder of results may hold already when the verb that makes these is called."""
    return [part_file(verb, number + 1) for number in range(3)] + [RANGES]


def run_shared(verb: str, run: Callable[[O], dict[str, Any]], options: O) -> dict[str, Any]:
    """Run a verb: all of it, a shard, or as one of torchrun's processes.

    Args:
        verb: Its name.
        run: What it does.
        options: As given.
    """
    ranges: Path | None = getattr(options, "ranges", None)
    if options.shard is None and ranges is not None:
        raise OptionError(
            f"ranges='{ranges}' without shard",
            "the shard whose second pass this is",
            "pass shard=1/2, say, or leave ranges out",
        )
    on_ray = getattr(options, "engine", None) == "ray"
    if options.shard is not None and on_ray:
        raise OptionError(
            f"shard={options.shard} with engine='ray'",
            "one way of sharing: a cluster shares all of it",
            "leave one of them out",
        )
    if launched() and (options.shard is not None or (on_ray and ROUNDS[verb] > 1)):
        raise OptionError(
            "torchrun with --shard or --engine ray",
            "one way of sharing the data",
            "start the command without torchrun, or leave these options out",
        )
    if options.shard is not None:
        return _run_shard(verb, run, options, options.shard, ranges)
    if launched() and ROUNDS[verb] > 1:
        return _run_ranks(verb, run, options, ROUNDS[verb])
    return run(options)


def _run_shard(
    verb: str, run: Callable[[O], dict[str, Any]], options: O, shard: str, ranges: Path | None
) -> dict[str, Any]:
    made, rounds = made_with(verb, options), ROUNDS[verb]
    known: list[Counted] = []
    if ranges is not None:
        known, theirs = load_counts(ranges)
        check_made(ranges.parent, theirs, made)
    out: Path = options.out  # type: ignore[attr-defined]
    try:
        with shared(Shard(shard, out, made, known)):
            return run(options)
    except PartWritten as part:
        which = f"Pass {part.number} of {rounds}, shard" if rounds > 1 else "Shard"
        typer.echo(f"{which} {shard}: {named(part.path)}")
        again = f", then this again with --ranges WHOLE/{RANGES}" if part.number < rounds else ""
        typer.echo(f"Next, once all shards are there: cofire merge FOLDER… --out WHOLE{again}")
        return {"part": part.path, "pass": part.number, "shard": shard}


def _run_ranks(
    verb: str, run: Callable[[O], dict[str, Any]], options: O, passes: int
) -> dict[str, Any]:
    out: Path = options.out  # type: ignore[attr-defined]
    device = str(getattr(options, "device", None) or "cpu")
    gpu = on_gpu(device)
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
