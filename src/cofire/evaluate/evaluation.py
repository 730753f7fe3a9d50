"""What a run of judging found: a row for each image and method, and the tables that follow from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Self, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, Field, NonNegativeFloat, ValidationError, model_validator

from cofire.arguments import validated
from cofire.errors import ResultError
from cofire.evaluate.judging import fault_of_rules
from cofire.evaluate.measures import (
    GROUPS,
    MARGIN,
    SUBSETS,
    Criterion,
    measured,
    records_schema,
)
from cofire.images.collection import Collection
from cofire.marks import choice
from cofire.reading import reader
from cofire.renamed import in_words_of_now
from cofire.shown import Shown
from cofire.statistics import Interval, Outcome, holm, mean_intervals, samples_to_decide, sign_flip
from cofire.storage import load_json, read_table, save_json, with_columns, write_table

RECORDS = "records.parquet"
OPTIONS = "evaluation.json"
_FORMAT = 2
_LEVEL = 0.05
Floats = NDArray[np.float64]


@validated
@dataclass(frozen=True, kw_only=True)
class Difference(Interval):
    """By how much one method's mean is above another's, over the images that count for both: the paired interval.

    Attributes:
        p: Two-sided p-value of the sign-flip test.
        p_holm: The same, held against the other rivals by Holm's method.
        rivals: How many there are.
        criterion: What was measured.
        margin: A difference below it counts as none.
    """

    p: float
    p_holm: float
    rivals: int
    criterion: Criterion
    margin: float

    @property
    def verdict(self) -> Outcome:
        """Better or worse only if the interval leaves out 0 and the corrected test rejects at 5 % as well.

        "equal" if it is held to the margin (`cofire.statistics.verdict`), else "undecided"; always
        one of the two for a criterion of which neither way is better.
        """
        low, high = self.low, self.high
        if self.p_holm > _LEVEL or self.criterion.better == "neither":
            low, high = min(low, 0.0), max(high, 0.0)
        found = Interval(self.value, low, high, self.counted).says(self.margin)
        if self.criterion.better == "lower" and found in ("better", "worse"):
            return "worse" if found == "better" else "better"
        return found

    @property
    def needed(self) -> int | None:
        """About how many images would decide, see `cofire.statistics.samples_to_decide`; None where that is known."""
        if self.verdict != "undecided":
            return None
        return samples_to_decide(self, self.margin, tests=self.rivals)


@validated
@dataclass(frozen=True, eq=False, repr=False)
class Evaluation(Shown):
    """Methods judged on the same images.

    Attributes:
        records: Arrow table of `cofire.evaluate.measures.records_schema`: image after image, of each
            one row per method, in the order of the options' "methods".
        options: How it was made: "methods", "measures" and whatever else.
        images: What was judged, as far as it could be used; None after `load`: images are not
            kept.

    Raises:
        ResultError: The table is none of these, or options are missing or of another type.

    Example:
        >>> row = {name: None for name in records_schema().names} | {
        ...     "label": 3, "predicted": 3, "correct": True, "probability": 0.9, "confidence": 0.9, "boxes": 1,
        ...     "split": "evaluation", "draws": [0], "evidence": True, "seconds": 0.1}
        >>> rows = [row | {"file": f"{image}.png", "method": method, "soft_drop": drop, "soft_increase": drop == 0}
        ...         for image in range(20) for method, drop in (("gradcam", 0.25), ("centre", 0.75))]
        >>> found = Evaluation(pa.Table.from_pylist(rows, schema=records_schema()),
        ...                    {"methods": ["gradcam", "centre"], "measures": ["soft"]})
        >>> found
        Evaluation(20 images by gradcam, centre: soft drop 25.0 %, 75.0 %)
        >>> found.table()["centre"]["soft_drop"]
        Interval(value=0.75, low=0.75, high=0.75, counted=20, left_out=0)
        >>> change = found.differences()["centre"]["soft_drop"]
        >>> change.value, change.p_holm, change.verdict
        (-0.5, 0.0001, 'better')
    """

    records: pa.Table
    options: Mapping[str, Any]
    images: Collection | None = field(default=None)

    def __post_init__(self) -> None:
        _check_options(self.options)
        methods, schema = list(self.options["methods"]), records_schema()
        held = with_columns(self.records, schema, "records").select(schema.names)
        object.__setattr__(self, "records", held.replace_schema_metadata())
        images, rest = divmod(len(self.records), len(methods))
        files = self.records["file"].to_pylist()
        if (
            not images
            or rest
            or self.records["method"].to_pylist() != methods * images
            or files != [file for file in files[:: len(methods)] for _ in methods]
        ):
            raise ResultError(
                f"{len(self.records)} records that are not, for each image, one by {', '.join(methods)}",
                "whole records of a run",
                "run it again",
            )

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods in their order; the first is the one that the others are held against."""
        return tuple(self.options["methods"])

    @property
    def criteria(self) -> tuple[Criterion, ...]:
        """What was measured."""
        return measured(self.options["measures"])

    @property
    def margin(self) -> float:
        """A difference below it counts as none, unless another is asked for: in the units of the measures."""
        return float(self.options.get("margin", MARGIN))

    @property
    def split(self) -> str:
        """Which images the tables are about: "evaluation" unless there are none of it."""
        return "evaluation" if "evaluation" in self._of("split") else "tuning"

    @cached_property
    def _columns(self) -> dict[str, Floats]:
        """Each measure as (images, methods), NaN where it does not count."""
        shape = (-1, len(self.methods))
        found = {}
        for criterion in self.criteria:
            column = pc.cast(self.records[criterion.name], pa.float64()).combine_chunks()
            found[criterion.name] = (
                pc.fill_null(column, float("nan")).to_numpy(zero_copy_only=False).reshape(shape)
            )
        return found

    @cached_property
    def _found(self) -> dict[Any, Any]:
        """Tables and differences that were asked for before: the terminal, the page and Markdown show the same."""
        return {}

    def _of(self, name: str) -> list[Any]:
        """A column that is the same for all methods, one entry for each image."""
        values: list[Any] = self.records[name].to_pylist()
        return values[:: len(self.methods)]

    def chosen(self, subset: str = "all") -> NDArray[np.bool_]:
        """Which images a table is about, (images,), bool.

        Args:
            subset: See `cofire.evaluate.measures.SUBSETS`.

        Raises:
            OptionError: There is no such subset.
        """
        choice(SUBSETS).of("subset", subset)
        held = np.array([split == self.split for split in self._of("split")])
        if subset in ("correct", "wrong"):
            held &= np.array(self._of("correct")) == (subset == "correct")
        if subset in ("small", "large"):
            held &= np.array([small is (subset == "small") for small in self._of("small")])
        return held

    def values(self, measure: str, subset: str = "all") -> Floats:
        """What was measured of each image of a subset by each method, (images, methods); NaN where it does not count.

        Raises:
            OptionError: There is no such subset, or this was not measured.
        """
        choice(tuple(self._columns)).of("measure", measure)
        return self._columns[measure][self.chosen(subset)]

    def table(
        self, subset: str = "all", *, draws: int = 2000, seed: int = 0
    ) -> dict[str, dict[str, Interval]]:
        """The mean of each measure by each method, with its interval.

        Args:
            subset: Of images, see `cofire.evaluate.measures.SUBSETS`.
            draws: Of the bootstrap.
            seed: Of the draws.

        Returns:
            By method, then by measure; without what counts for no image. Empty for a subset without
            images.

        Raises:
            OptionError: There is no such subset.
        """
        held, asked = self.chosen(subset), (subset, draws, seed)
        found: dict[str, dict[str, Interval]]
        found = self._found.get(asked) or (
            {method: {} for method in self.methods} if held.any() else {}
        )
        if not found or asked in self._found:
            return found
        stacked = np.concatenate(
            [self._columns[criterion.name][held] for criterion in self.criteria], axis=1
        )
        means = mean_intervals(stacked, np.isfinite(stacked), draws=draws, seed=seed)
        for at, criterion in enumerate(self.criteria):
            for number, method in enumerate(self.methods):
                mean = means[at * len(self.methods) + number]
                if mean is not None:
                    found[method][criterion.name] = mean
        self._found[asked] = found
        return found

    def differences(
        self,
        subset: str = "all",
        *,
        first: str | None = None,
        margin: NonNegativeFloat | None = None,
        draws: int = 2000,
        flips: int = 9999,
        seed: int = 0,
    ) -> dict[str, dict[str, Difference]]:
        """By how much a method lies above each rival, image by image.

        Args:
            subset: Of images, see `cofire.evaluate.measures.SUBSETS`.
            first: The method; the first one unless given.
            margin: A difference below it counts as none, in the units of the measure (0.02 are two
                percentage points); the option "margin" unless given, else
                `cofire.evaluate.measures.MARGIN`.
            draws: Of the bootstrap.
            flips: Of the test.
            seed: Of both.

        Returns:
            By rival, then by measure; without what counts for no image.

        Raises:
            OptionError: There is no such subset or method, or the margin is below 0.
        """
        own = choice(self.methods).of("first", self.methods[0] if first is None else first)
        margin = self.margin if margin is None else margin
        held, at, asked = (
            self.chosen(subset),
            self.methods.index(own),
            (subset, own, margin, draws, flips, seed),
        )
        rivals = [number for number in range(len(self.methods)) if number != at]
        found: dict[str, dict[str, Difference]] = {self.methods[number]: {} for number in rivals}
        if asked in self._found or not held.any() or not rivals:
            return cast("dict[str, dict[str, Difference]]", self._found.get(asked, found))
        columns = [self._columns[criterion.name][held] for criterion in self.criteria]
        gaps = np.concatenate(
            [column[:, at : at + 1] - column[:, rivals] for column in columns], axis=1
        )
        counted = np.isfinite(gaps)
        means = mean_intervals(gaps, counted, differences=True, draws=draws, seed=seed)
        tested = sign_flip(np.where(counted, gaps, 0.0), flips=flips, seed=seed)
        for place, criterion in enumerate(self.criteria):
            part = [place * len(rivals) + number for number in range(len(rivals))]
            known = [column for column in part if means[column] is not None]
            raised = dict(
                zip(known, holm([float(tested[column]) for column in known]), strict=True)
            )
            for column, number in zip(part, rivals, strict=True):
                mean = means[column]
                if mean is not None:
                    found[self.methods[number]][criterion.name] = Difference(
                        **vars(mean),
                        p=float(tested[column]),
                        p_holm=raised[column],
                        rivals=len(known),
                        criterion=criterion,
                        margin=margin,
                    )
        self._found[asked] = found
        return found

    def draw_means(self, subset: str = "all") -> list[dict[str, dict[str, float]]]:
        """The means of each draw of images by itself: by method, then by measure.

        Raises:
            OptionError: There is no such subset.
        """
        held, members = self.chosen(subset), self._of("draws")
        found = []
        for draw in sorted({draw for one in members for draw in one}):
            part = held & np.array([draw in one for one in members])
            means: dict[str, dict[str, float]] = {method: {} for method in self.methods}
            for name, column in self._columns.items():
                for number, method in enumerate(self.methods):
                    values = column[part, number]
                    if np.isfinite(values).any():
                        means[method][name] = float(np.nanmean(values))
            found.append(means)
        return found

    def save(self, folder: str | Path) -> Path:
        """Write `records.parquet` and `evaluation.json`, each whole or not at all.

        Returns:
            The folder.
        """
        place = Path(folder)
        write_table(self.records, place / RECORDS)
        save_json(place / OPTIONS, {"format": _FORMAT, **self.options})
        return place

    @classmethod
    @reader(
        ResultError, "what Evaluation.save wrote", "name the folder that `cofire evaluate` wrote"
    )
    def load(cls, folder: str | Path) -> Self:
        """Read what `save` wrote.

        Raises:
            ResultError: The files are missing, damaged, or hold something else.
        """
        place = Path(folder)
        options = dict(load_json(place / OPTIONS))
        if "thresholds" in options:
            options["thresholds"] = in_words_of_now(options["thresholds"])
        records = read_table(place / RECORDS)
        if options.pop("format", None) != _FORMAT:
            told = f"'{place / OPTIONS}' of another version"
            raise ResultError(told, f"format {_FORMAT}", "judge again with this version")
        return cls(records, options)

    def __len__(self) -> int:
        return len(self.records) // len(self.methods)

    def __repr__(self) -> str:
        told = f"Evaluation({len(self)} images by {', '.join(self.methods)}"
        main = next(
            (m for m in self.criteria if m.name in ("pointing", "drop", "soft_drop")),
            self.criteria[0],
        )
        values = self._columns[main.name][self.chosen()]
        shares = [
            float(np.nanmean(column)) if np.isfinite(column).any() else None for column in values.T
        ]
        name = main.name.replace("_", " ")
        scaled = ("–" if one is None else f"{one:.1%}".replace("%", " %") for one in shares)
        return f"{told}: {name} {', '.join(scaled)})"


class _Options(BaseModel, strict=True, extra="ignore"):
    """What tables and pages are made of."""

    methods: list[str] | tuple[str, ...] = Field(min_length=1)
    measures: list[str] | tuple[str, ...] = Field(min_length=1)
    draws: int = Field(1, ge=1)
    samples: int | None = None
    options: dict[str, dict[str, Any]] = {}
    margin: float = Field(MARGIN, ge=0, allow_inf_nan=False)
    thresholds: Any = {}

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if len(set(self.methods)) < len(self.methods):
            raise ValueError("methods: one twice")
        if unknown := set(self.measures) - set(GROUPS):
            raise ValueError(f"measures: {', '.join(sorted(unknown))}")
        if self.draws > 1 and self.samples is None:
            raise ValueError("samples: none for several draws")
        if (fault := fault_of_rules(self.thresholds)) or None in self.thresholds.values():
            raise ValueError(f"thresholds: {fault or 'a method without a rule'}")
        return self


def _check_options(options: Mapping[str, Any]) -> None:
    try:
        _Options.model_validate(dict(options))
    except ValidationError as error:
        first = error.errors()[0]
        told = f"{first['loc'][0]}: {first['msg']}" if first["loc"] else first["msg"]
        raise ResultError(
            f"an evaluation whose options are not whole: {told}",
            "one method or more, each once, one group of measures or more, and options as a run wrote them",
            "judge again",
        ) from error
