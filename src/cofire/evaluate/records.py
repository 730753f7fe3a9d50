"""What an evaluation is started with, and its finished batches, so that a killed run goes on where it was."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import pyarrow as pa
from pydantic import PositiveInt, field_validator, model_validator

from cofire.errors import MergeError, OptionError, ResultError
from cofire.evaluate.measures import asked_groups, records_schema
from cofire.evaluate.methods import EVALUATED
from cofire.marks import choice
from cofire.options import Options, option
from cofire.reading import reader
from cofire.renamed import in_words_of_now
from cofire.storage import Read, begin, check_same, load_json, read_table, save_json, write_table

FILLS = ("mean", "blur", "black")
_WHICH = "Which images and boxes"

ROWS = "rows"
"""The folder of a run's finished batches, below its own."""

IDENTITY = "options.json"
"""Of a run that was started: what it was started with."""


class JudgingOptions(Options):
    """Which images are judged, and how; the command line reads it too.

    Attributes:
        split: "evaluation", "tuning" or "all"; tables are about the evaluation split wherever there
            is one.
        limit: Judge on the first images alone.
        samples: Judge on so many images that are drawn.
        draws: How often so many are drawn, each time from all; images that are drawn twice are
            judged once.
        tuning_images: On how many images of the tuning split the rules of boxes around heat are
            learned at the most; 500 unless given, and no more than are judged where `limit` or
            `samples` says how many that are.
        fill: What takes the place of pixels that are not kept: "mean" is the value that the network
            takes for 0, which is the data's mean colour after the usual normalisation (without one,
            each image's own mean colour); "blur" is the image blurred, "black" is black. Insertion
            curves start from the blurred image whatever it is.
        seed: Of draws and of what methods draw.

    Raises:
        OptionError: An option has a value it cannot have.
    """

    renamed: ClassVar[Mapping[str, str]] = {"tuning_photos": "tuning_images", "photos": "judged"}
    fill: Literal["mean", "blur", "black"] = option("mean", "Fill", "In place of what is hidden.")
    seed: int = option(0, "Seed", "Of draws and of what methods draw.", ge=0)
    split: Literal["evaluation", "tuning", "all"] = option(
        "evaluation", "Split", "Images to judge on.", panel=_WHICH
    )
    limit: int | None = option(None, "Limit", "The first N images alone.", panel=_WHICH)
    samples: int | None = option(
        None, "Sample", "N images that are drawn: 2501, say.", panel=_WHICH
    )
    draws: int = option(1, "Draws", "How often so many are drawn: 3, say.", panel=_WHICH, ge=1)
    tuning_images: PositiveInt | None = option(
        None,
        "Tuning images",
        "On which boxes around heat are learned; 500 unless given, no more than are judged by --limit or --sample.",
        panel=_WHICH,
    )

    @model_validator(mode="before")
    @classmethod
    def _sampled(cls, given: dict[str, Any]) -> dict[str, Any]:
        limit, samples, draws = (given.get(name) for name in ("limit", "samples", "draws"))
        if limit is not None and samples is not None:
            raise OptionError(
                "limit and samples", "one of the two", "leave one out (--limit or --sample)"
            )
        if draws not in (None, 1) and samples is None:
            raise OptionError(
                f"draws={draws} without samples",
                "how many images each draw has",
                "pass samples (--sample)",
            )
        if limit is not None and limit < 1:
            raise OptionError(
                f"limit={limit}",
                "a number of images from 1 up",
                "pass limit=100 (--limit 100), say",
            )
        return given


class EvaluationOptions(JudgingOptions):
    """What an evaluation's numbers depend on, besides network, images and preparation; more in `JudgingOptions`.

    Attributes:
        methods: Some of `cofire.evaluate.methods.EVALUATED`; the first is held against each of the
            others.
        measures: Some of `cofire.evaluate.measures.GROUPS`; the usual ones unless given.
        options: Of methods that are not called with their defaults, as `cofire.explain` takes them.
        steps: Of deletion and insertion curves.
        batch_size: Images at a time.

    Raises:
        OptionError: An option has a value it cannot have.
    """

    methods: tuple[str, ...] = option(
        tuple(EVALUATED), "Methods", "The first is held against each of the others."
    )
    measures: tuple[str, ...] = option((), "Measures", "Groups of measures; curves take long.")
    options: Mapping[str, Mapping[str, Any]] = option({}, "Options", "Of methods, by name.")
    steps: PositiveInt = option(28, "Steps", "Of deletion and insertion curves.")
    batch_size: PositiveInt = option(16, "Batch size", "Images at a time.")

    @field_validator("methods")
    @classmethod
    def _known(cls, methods: tuple[str, ...]) -> tuple[str, ...]:
        return check_methods(methods)

    @model_validator(mode="before")
    @classmethod
    def _whole(cls, given: dict[str, Any]) -> dict[str, Any]:
        own = given.get("options") or {}
        own = {name: dict(each) for name, each in own.items() if each and name in given["methods"]}
        return {**given, "measures": asked_groups(given.get("measures")), "options": own}


def check_methods(methods: Sequence[str]) -> tuple[str, ...]:
    """The methods, each once.

    Raises:
        OptionError: There is no such method, one is there twice, or there is none.

    Example:
        >>> check_methods(["gradcam", "centre"])
        ('gradcam', 'centre')
    """
    for name in methods:
        choice(EVALUATED).of("method", name)
    if not methods or len(set(methods)) < len(methods):
        raise OptionError(
            f"methods {', '.join(methods) or 'none'}", "one or more, each once", "name each once"
        )
    return tuple(methods)


def started(folder: str | Path) -> bool:
    """Whether a folder holds a run that was started, finished or not.

    Example:
        >>> import tempfile
        >>> started(tempfile.mkdtemp())
        False
    """
    return (Path(folder) / ROWS / IDENTITY).is_file()


def join_rows(folder: str | Path, parts: Sequence[tuple[Path, Sequence[range]]]) -> None:
    """Put what others have judged into one run's folder, from where it goes on.

    Args:
        folder: The run's.
        parts: Folders of others, of each the batches that are its own.

    Raises:
        MergeError: They judged under other options, or with boxes that were learned otherwise.
        ResultError: What a part holds is damaged or missing.
    """
    into, first = Path(folder) / ROWS, parts[0][0]
    options = _part(first / ROWS / IDENTITY, lambda path: dict(load_json(path)))
    begin(into / IDENTITY, options)
    boxes = None
    for part, blocks in parts:
        theirs = _part(part / ROWS / IDENTITY, lambda path: dict(load_json(path)))
        check_same(part, theirs, options)
        learned = part / ROWS / "boxes.json"
        if learned.exists():
            found = _part(learned, load_json)
            boxes = found if boxes is None else boxes
            if found != boxes:
                raise MergeError(
                    f"'{part}', whose boxes were learned otherwise than those of '{first}'",
                    "one rule of each method, as devices of one kind learn it",
                    "make all parts on one kind of device",
                )
            save_json(into / learned.name, found)
        for number in (number for block in blocks for number in block):
            name = f"{number:06d}.parquet"
            write_table(_part(part / ROWS / name, read_table), into / name)


class Chunks:
    """The finished parts of a run, every one whole or absent.

    Args:
        folder: The run's folder; the parts lie below it.
        options: Under which all of them are made, as JSON can hold them.
        read: See `cofire.storage.check_same`.

    Raises:
        MergeError: The folder holds parts that were made under other options.
        ResultError: What it holds is damaged.

    Example:
        >>> import tempfile
        >>> place = tempfile.mkdtemp()
        >>> chunks = Chunks(place, {"seed": 0})
        >>> chunks.put(0, records_schema().empty_table()).num_rows
        0
        >>> Chunks(place, {"seed": 0}).get(0, [], []).num_rows, chunks.get(1, ["a.png"], ["gradcam"])
        (0, None)
        >>> Chunks(place, {"seed": 1})
        Traceback (most recent call last):
        cofire.errors.MergeError: ... was started with other values of seed: seed 0 there, 1 now. Expected: ...
    """

    def __init__(
        self, folder: str | Path, options: Mapping[str, Any], read: Read | None = None
    ) -> None:
        self._folder = Path(folder) / ROWS
        begin(self._folder / IDENTITY, options, read=read)

    def get(self, number: int, images: Sequence[str], methods: Sequence[str]) -> pa.Table | None:
        """The rows of a batch, None if they are not there yet.

        Args:
            number: Of the batch.
            images: The names of its images, in order.
            methods: By which each of them is judged, in order.

        Raises:
            ResultError: They are damaged, or of other images or methods.
        """

        def read(path: Path) -> pa.Table:
            table = read_table(path)
            if not table.schema.equals(records_schema()):
                raise ValueError("it has other columns")
            held = table["file"].to_pylist(), table["method"].to_pylist()
            if held != ([name for name in images for _ in methods], list(methods) * len(images)):
                raise ValueError(
                    f"it does not hold each of its {len(images)} images by each method"
                )
            return table

        return _part(self._path(number), read) if self.has(number) else None

    def has(self, part: int | str) -> bool:
        """Whether a batch, by its number, or what is computed once, by its name, is there."""
        return self._path(part).exists()

    def put(self, number: int, rows: pa.Table) -> pa.Table:
        """Keep the rows of a batch: the file appears in one step.

        Returns:
            The same as they read back, so that a run ends alike whether or not it was killed.
        """
        write_table(rows, self._path(number))
        return read_table(self._path(number))

    def once(self, name: str, make: Callable[[], Any], fault: Callable[[Any], str]) -> Any:
        """What is computed once for a whole run, such as boxes that are learned: read, or made and kept.

        Args:
            name: Of the file, without its ending.
            make: Computes it; what JSON can hold.
            fault: Says what is wrong with what was read, "" if nothing is.

        Raises:
            ResultError: The file is damaged.
        """
        if not self.has(name):
            save_json(self._path(name), make())

        def read(path: Path) -> Any:
            found = in_words_of_now(load_json(path))
            if wrong := fault(found):
                raise ValueError(wrong)
            return found

        return _part(self._path(name), read)

    def _path(self, part: int | str) -> Path:
        return self._folder / (f"{part:06d}.parquet" if isinstance(part, int) else f"{part}.json")


def _part(path: Path, read: Callable[[Path], Any]) -> Any:
    guard = reader(ResultError, "what this run wrote", f"delete '{path}' and start again")
    return guard(lambda path: read(path))(path)
