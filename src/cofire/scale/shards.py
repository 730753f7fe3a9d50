"""Parts of a data set counted by commands of their own, by job arrays or on several machines, and merged."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from cofire.activations.sharing import BLOCK, Count, Counted, blocks_of
from cofire.atomic import unfinished
from cofire.errors import MergeError, OptionError, ResultError
from cofire.scale.parts import load_counts, save_counts
from cofire.storage import check_same, hash_of_tensors

_PASS = re.compile(r"\w+-pass(\d+)\.safetensors")


def part_file(verb: str, number: int) -> str:
    """What the file of a part is called, which says that it is whole.

    Args:
        verb: The command that counts.
        number: Of the pass, from 1.
    """
    return f"{verb}-pass{number}.safetensors"


class Part(NamedTuple):
    """What one shard did of a pass: its folder, and which blocks."""

    folder: Path
    blocks: tuple[range, ...]


class Merged(NamedTuple):
    """What all shards counted, pass by pass; what they were made with; of each pass its parts, by their first block."""

    passes: list[Counted]
    made: dict[str, Any]
    parts: list[list[Part]]


class PartWritten(Exception):  # noqa: N818 (nothing went wrong)
    """A shard's part of a pass is written: the command is done.

    Attributes:
        path: The file.
        number: Of the pass, from 1.
    """

    def __init__(self, path: Path, number: int) -> None:
        super().__init__(path)
        self.path, self.number = path, number


class Shard:
    """Counts one shard's blocks of the first pass that is not known yet, and writes them.

    Args:
        shard: Such as "3/16", the third of sixteen.
        out: Folder for its part.
        record: What it is made with, as JSON holds it; the verb among it.
        known: What all shards counted in earlier passes.

    Raises:
        OptionError: No such shard.
    """

    def __init__(
        self, shard: str, out: Path, record: Mapping[str, Any], known: Sequence[Counted] = ()
    ) -> None:
        part, slash, parts = shard.partition("/")
        if not (slash and part.isdecimal() and parts.isdecimal()):
            raise OptionError(f"shard={shard}", "a part of several, such as 3/16", "pass shard=1/2")
        blocks_of(0, int(part), int(parts))
        self._part, self._parts = int(part), int(parts)
        self._out, self._record, self._known = out, record, list(known)
        self._done = 0

    def __call__(self, count: Count, samples: int, size: int = BLOCK) -> Counted:
        """What all shards counted in the next pass, if that is known."""
        number, self._done = self._done, self._done + 1
        if number < len(self._known):
            return self._known[number]
        path = self._out / part_file(self._record["verb"], number + 1)
        about = {"shard": f"{self._part}/{self._parts}", "known": digest(self._known)}
        for later, file in _files_in(self._out).items():
            if later > number:
                file.unlink()  # of another part, or over ranges that are no longer these
        found = count(blocks_of(samples, self._part, self._parts, size))
        save_counts(path, [found], {"made": dict(self._record), **about})
        raise PartWritten(path, number + 1)


class Known:
    """Gives what was counted before: nothing is run.

    Args:
        passes: In their order.
    """

    def __init__(self, passes: Sequence[Counted]) -> None:
        self._passes = iter(passes)

    def __call__(self, count: Count, samples: int, size: int = BLOCK) -> Counted:
        """The next pass."""
        if (found := next(self._passes, None)) is None:
            raise MergeError(
                "parts in which a pass is missing",
                "parts that were made to their end",
                "run the same commands again",
            )
        return found


def digest(passes: Sequence[Counted]) -> str:
    """A hash of what passes counted."""
    tensors = {
        f"{number}.{name}.{place}": tensor
        for number, counted in enumerate(passes)
        for name, state in counted.states.items()
        for place, tensor in enumerate(state.tensors())
    }
    return hash_of_tensors(tensors)


def merged(folders: Sequence[Path]) -> Merged:
    """What all shards counted.

    Args:
        folders: Of the parts, in any order.

    Raises:
        MergeError: A part is of other options, versions, weights or data, is there twice, or was
            made over the ranges of others; or one is missing.
        ResultError: A file is damaged, or a folder is no part.
    """
    files = {folder: _part_in(folder) for folder in folders}
    parts: list[list[Part]] = []
    passes: list[Counted] = []
    made: dict[str, Any] = {}
    for number in range(1, max(max(found) for found in files.values()) + 1):
        ranges, whole = digest(passes), None
        shards, places = dict[str, Path](), list[Part]()
        for folder, found in files.items():
            if number not in found:
                continue
            counted, record = _part(found[number])
            made = made or record["made"]
            check_made(folder, record["made"], made)
            if record["known"] != ranges:
                raise MergeError(
                    f"pass {number} of '{folder}', made with other ranges than these parts have",
                    "all parts with the ranges that merge wrote of them",
                    f"run it again with --shard {record['shard']} and --ranges",
                )
            if other := shards.get(record["shard"]):
                raise MergeError(
                    f"shard {record['shard']} twice: '{other}' and '{folder}'",
                    "each shard once",
                    "leave one of them out",
                )
            shards[record["shard"]] = folder
            places.append(Part(folder, counted.blocks))
            try:
                whole = counted if whole is None else whole.merge(counted)
            except MergeError as error:
                raise MergeError(
                    f"'{folder}': {error.given}", error.expected, error.remedy
                ) from error
        assert whole is not None
        _check_whole(whole, shards, number)
        passes.append(whole)
        parts.append(sorted((one for one in places if one.blocks), key=_first))
    return Merged(passes, made, parts)


def _first(part: Part) -> int:
    return part.blocks[0].start


def check_made(folder: Path, theirs: Mapping[str, Any], mine: Mapping[str, Any]) -> None:
    """Refuse parts of other options, first by their values, then by which of them were given.

    Raises:
        MergeError: They are.
    """
    for left_out in ({"given"}, set[str]()):
        check_same(
            folder, *({k: made[k] for k in made.keys() - left_out} for made in (theirs, mine))
        )


def _part(path: Path) -> tuple[Counted, dict[str, Any]]:
    counts, record = load_counts(path)
    if (
        len(counts) != 1
        or not isinstance(record, dict)
        or not {"made", "known", "shard"} <= record.keys()
        or not isinstance(record["made"], dict)
        or not re.fullmatch(r"\d+/\d+", str(record["shard"]))
    ):
        raise ResultError(
            f"'{path}', which is no part of a command with --shard",
            "what such a command wrote",
            "run that shard again",
        )
    return counts[0], record


def _check_whole(whole: Counted, shards: Mapping[str, Path], number: int) -> None:
    parts = next(iter(shards)).partition("/")[2]
    missing = [p for p in range(1, int(parts) + 1) if f"{p}/{parts}" not in shards]
    if whole.missing() and missing:
        told = ", ".join(map(str, missing[:9])) + (" …" if len(missing) > 9 else "")
        raise MergeError(
            f"no pass {number} of shard {told} of {parts}",
            f"pass {number} of all {parts} shards",
            f"run --shard {missing[0]}/{parts} as the others were run, and name its folder too",
        )


def _files_in(folder: Path) -> dict[int, Path]:
    return {
        int(match[1]): path
        for path in folder.glob("*-pass*.safetensors")
        if (match := _PASS.fullmatch(path.name))
    }


def _part_in(folder: Path) -> dict[int, Path]:
    found = _files_in(folder)
    if unfinished(folder):
        raise MergeError(
            f"'{folder}', where a command was begun and has not ended",
            "folders in which --shard was done",
            "wait until it has ended, or run it again",
        )
    if not found:
        raise MergeError(
            f"'{folder}', which holds no part",
            "folders that commands with --shard wrote",
            "name those folders",
        )
    return found
