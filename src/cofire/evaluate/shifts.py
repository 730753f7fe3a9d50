"""How far explanations moved when images were attacked, in numbers: the result, its means, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from numpy.typing import NDArray

from cofire.arguments import validated
from cofire.atomic import write_text
from cofire.checksums import check_json, sealed_json
from cofire.errors import DataError, OptionError, ResultError, near_matches
from cofire.explain import Explanation
from cofire.reading import read_json, reader
from cofire.statistics import Interval, mean_interval

COMPARISONS = ("noise", "attack", "decision", "classes")
"""What is compared with the explanation of the first predicted class on the photo as it was:

"noise": of the same class, with random noise of the attack's length; "attack": of the same class,
attacked; "decision": of the class that the attacked photo is taken for, attacked; "classes": of
that class on the photo as it was, where nothing but the class differs.
"""

MEASURES = ("centroid", "box_iou", "rank_correlation")
"""See `cofire.evaluate.sensitivity.Shift`."""

_FORMAT = 1


@dataclass(frozen=True)
class AttackedPhoto:
    """One photo, before and after.

    Attributes:
        file: Its name.
        label: The true class; None where it is not known.
        before: The class predicted for the photo.
        after: The class predicted for the attacked photo.
        noisy: The class predicted under random noise of the same length; None where there was none,
            as of photos that were not fooled, or on which noise of that length does not fit within
            what a photo can hold.
        confidence: Probability of `before` on the photo.
        confidence_after: Probability of `after` on the attacked photo.
        kept: Probability of `before` on the attacked photo.
        kept_noisy: Probability of `before` under noise; None where there was none.
        norm: Euclidean length of the change in units of the network's input.
        levels: Root mean square of the change in grey levels of 0 to 255; None where it is not
            known how inputs were made of pictures.
        rounded: Whether the attack still works once the photo is rounded to whole grey levels, as a
            file has them; None where that is not known.
        steps: Of DeepFool.
        fooled: Whether the attack worked. Only then, and with noise, the photo is explained.
    """

    file: str
    label: int | None
    before: int
    after: int
    noisy: int | None
    confidence: float
    confidence_after: float
    kept: float
    kept_noisy: float | None
    norm: float
    levels: float | None
    rounded: bool | None
    steps: int
    fooled: bool


@dataclass(frozen=True)
class MethodShift:
    """How far a method's explanation of one photo moved.

    Attributes:
        photo: Which one, from 0.
        method: Whose explanation.
        comparison: One of `COMPARISONS`.
        centroid: Distance of the centroids as a share of the diagonal; None where it does not
            count.
        box_iou: Of the two boxes; None where neither explanation has one.
        rank_correlation: Of the two heat maps; None where one of them is constant.
        inside_before: Share of the evidence in the ground-truth boxes, on the photo as it was; None
            without boxes.
        inside_after: The same of the explanation compared with it.
    """

    photo: int
    method: str
    comparison: str
    centroid: float | None
    box_iou: float | None
    rank_correlation: float | None
    inside_before: float | None
    inside_after: float | None


@dataclass(frozen=True, eq=False)
class AttackCase:
    """One photo to look at.

    Attributes:
        photo: Which one, from 0.
        pictures: As it was, with noise, and attacked, each (height, width, 3), uint8.
        difference: The attack's change around middle grey, many times as strong, (height, width,
            3), uint8.
        times: How many times.
        explanations: By method four: of the first class on the photo as it was, with noise, and
            attacked; of the new class on the attacked photo. Each of one image.
    """

    photo: int
    pictures: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    difference: NDArray[Any]
    times: int
    explanations: Mapping[str, tuple[Explanation, Explanation, Explanation, Explanation]]


@validated
@dataclass(frozen=True, eq=False)
class Robustness:
    """How explanations stand up to an attack (P3 §4.3).

    Attributes:
        methods: In the order in which they were asked for.
        photos: All photos, attacked in vain or not.
        shifts: One for each photo that was fooled and that noise fits on, method and comparison.
        classes: Names of the classes that occur, by number; empty where there are no names.
        options: Of the attack, and the seed.
        cases: Photos to look at, those whose first method's explanation moved most first; not kept
            in files.
    """

    methods: tuple[str, ...]
    photos: tuple[AttackedPhoto, ...]
    shifts: tuple[MethodShift, ...]
    classes: Mapping[int, str]
    options: Mapping[str, Any]
    cases: tuple[AttackCase, ...] = field(default=(), compare=False)

    @property
    def fooled(self) -> int:
        """How many photos were fooled."""
        return sum(photo.fooled for photo in self.photos)

    def values(self, method: str, comparison: str, measure: str) -> dict[int, float]:
        """A measure by photo, where it counts.

        Args:
            method: One of `methods`.
            comparison: One of `COMPARISONS`.
            measure: One of `MEASURES`, or "inside_before" or "inside_after".

        Raises:
            OptionError: There is no such method, comparison or measure.
        """
        known = (
            (method, self.methods),
            (comparison, COMPARISONS),
            (measure, (*MEASURES, "inside_before", "inside_after")),
        )
        for given, names in known:
            if given not in names:
                raise OptionError(
                    f"{given!r}", f"one of {', '.join(names)}", f"try {near_matches(given, names)}"
                )
        return {
            row.photo: value
            for row in self.shifts
            if row.method == method
            and row.comparison == comparison
            and (value := getattr(row, measure)) is not None
        }

    def mean(self, method: str, comparison: str, measure: str) -> Interval | None:
        """The mean of a measure over the photos that were fooled, see `values`; None if no photo counts.

        Raises:
            OptionError: There is no such method, comparison or measure.
        """
        return self._mean(list(self.values(method, comparison, measure).values()))

    def difference(
        self, method: str, measure: str, first: str = "attack", second: str = "noise"
    ) -> Interval | None:
        """The mean difference of a measure between two comparisons, over photos that count for both; None without.

        Raises:
            OptionError: There is no such method, comparison or measure.
        """
        one, other = self.values(method, first, measure), self.values(method, second, measure)
        return self._mean(
            [one[photo] - other[photo] for photo in one if photo in other], differences=True
        )

    def _mean(self, values: list[float], *, differences: bool = False) -> Interval | None:
        if not values:
            return None
        return mean_interval(values, differences=differences, left_out=self.fooled - len(values))

    def save(self, path: str | Path) -> Path:
        """Write all numbers to a JSON file, whole or not at all.

        Returns:
            The path.
        """
        whole = {
            "format": _FORMAT,
            "kind": "robustness",
            "methods": list(self.methods),
            "options": dict(self.options),
            "classes": {str(number): name for number, name in self.classes.items()},
            "photos": [asdict(photo) for photo in self.photos],
            "shifts": [asdict(row) for row in self.shifts],
        }
        write_text(
            path,
            json.dumps(sealed_json(whole), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        )
        return Path(path)

    @classmethod
    @reader(ResultError, "a file that Robustness.save wrote", "make it again")
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; without `cases`.

        Raises:
            ResultError: The file is missing, damaged, or holds something else.
        """
        try:
            whole = check_json(read_json(path))
            if (whole["format"], whole["kind"]) != (_FORMAT, "robustness"):
                raise ValueError(whole["format"])
            return cls(
                methods=tuple(whole["methods"]),
                photos=tuple(AttackedPhoto(**photo) for photo in whole["photos"]),
                shifts=tuple(MethodShift(**row) for row in whole["shifts"]),
                classes={int(number): name for number, name in whole["classes"].items()},
                options=whole["options"],
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultError(
                f"'{path}' cannot be read: {error}",
                "a file that Robustness.save wrote",
                "make it again",
            ) from error

    def __post_init__(self) -> None:
        if any(
            not 0 <= row.photo < len(self.photos) or row.method not in self.methods
            for row in self.shifts
        ):
            raise DataError(
                "a shift of a photo or method that is not there",
                "shifts of these photos",
                "pass all",
            )

    def __repr__(self) -> str:
        return f"Robustness({self.fooled} of {len(self.photos)} photos fooled, {len(self.methods)} methods)"
