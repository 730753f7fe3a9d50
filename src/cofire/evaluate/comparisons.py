"""What two networks made of the same photos, in numbers: the result, its means, and its file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Self

from torch import Tensor

from cofire.atomic import write_text
from cofire.checksums import check_json, sealed_json
from cofire.errors import OptionError, ResultError, near_matches
from cofire.explain import Explanation
from cofire.reading import read_json, reader
from cofire.statistics import Interval, mean_interval

KINDS = ("both", "first", "second", "neither")
"""Which of the two networks is right about a photo."""

_FORMAT = 1
_PAIRS = ("predicted", "confidence", "probability", "inside", "inside_of_truth")


@dataclass(frozen=True)
class NetworkRow:
    """One photo. Pairs are of the first and the second network.

    Attributes:
        file: Its name.
        label: The true class.
        predicted: The predicted classes.
        confidence: Their probabilities.
        probability: Of the true class.
        overlap: Of the areas with most evidence for the predicted classes, see `area_overlap`; None
            where it does not count.
        overlap_of_truth: The same for the true class.
        inside: Shares of the evidence for the predicted class that lie in the ground-truth boxes;
            None without.
        inside_of_truth: The same for the true class.
        covered: Share of the image that the boxes cover: what evidence spread evenly would have
            inside.
    """

    file: str
    label: int
    predicted: tuple[int, int]
    confidence: tuple[float, float]
    probability: tuple[float, float]
    overlap: float | None
    overlap_of_truth: float | None
    inside: tuple[float | None, float | None]
    inside_of_truth: tuple[float | None, float | None]
    covered: float | None

    @property
    def kind(self) -> str:
        """Who is right, one of `KINDS`."""
        return {
            (True, True): "both",
            (True, False): "first",
            (False, True): "second",
            (False, False): "neither",
        }[(self.predicted[0] == self.label, self.predicted[1] == self.label)]


@dataclass(frozen=True, eq=False)
class NetworkCase:
    """One photo to look at.

    Attributes:
        photo: Which one, from 0.
        explanations: By each network: of its predicted class, and of the true class; each of one
            image.
        boxes: The ground-truth boxes, (boxes, 4), in pixels of the first network's input; None
            where not known.
    """

    photo: int
    explanations: tuple[tuple[Explanation, Explanation], ...]
    boxes: Tensor | None


@dataclass(frozen=True, eq=False)
class TwoNetworks:
    """What two networks made of the same photos.

    Attributes:
        networks: Their names.
        method: That explained both.
        rows: One for each photo.
        classes: Names of the classes that occur, by number; empty where there are no names.
        options: `area`, the seed, and those of the method.
        cases: Photos to look at that one of the two alone gets right; not kept in files.
    """

    networks: tuple[str, str]
    method: str
    rows: tuple[NetworkRow, ...]
    classes: Mapping[int, str]
    options: Mapping[str, Any]
    cases: tuple[NetworkCase, ...] = field(default=())

    def of_kind(self, kind: str) -> list[NetworkRow]:
        """The photos about which these are right.

        Args:
            kind: One of `KINDS`.

        Raises:
            OptionError: No such kind.
        """
        if kind not in KINDS:
            raise OptionError(
                f"kind={kind!r}", f"one of {', '.join(KINDS)}", f"try {near_matches(kind, KINDS)}"
            )
        return [row for row in self.rows if row.kind == kind]

    def correct(self, network: int) -> float:
        """The share of all photos that a network, 0 or 1, gets right."""
        return sum(row.predicted[network] == row.label for row in self.rows) / len(self.rows)

    def mean(
        self, kind: str | tuple[str, ...], measure: str, network: int | None = None
    ) -> Interval | None:
        """A mean over the photos of a kind, or of several, with its 95 % interval; None if no photo counts.

        Args:
            kind: One of `KINDS`, or some.
            measure: "overlap", "overlap_of_truth" or "covered"; "inside", "inside_of_truth",
                "confidence" or "probability" of a network.
            network: 0 or 1 for the latter. None gives the first's less the second's, over photos
                that count for both.

        Raises:
            OptionError: No such kind or measure.
        """
        rows = [
            row
            for each in ((kind,) if isinstance(kind, str) else kind)
            for row in self.of_kind(each)
        ]
        single = ("overlap", "overlap_of_truth", "covered")
        if measure not in (*single, *_PAIRS[1:]):
            raise OptionError(
                f"measure={measure!r}", f"one of {', '.join((*single, *_PAIRS[1:]))}", "choose one"
            )
        given = [getattr(row, measure) for row in rows]
        if measure in single:
            values = [value for value in given if value is not None]
        elif network is None:
            values = [one - other for one, other in given if one is not None and other is not None]
        else:
            values = [pair[network] for pair in given if pair[network] is not None]
        if not values:
            return None
        paired = measure not in single and network is None
        return mean_interval(values, differences=paired, left_out=len(rows) - len(values))

    def save(self, path: str | Path) -> Path:
        """Write all numbers to a JSON file, whole or not at all.

        Returns:
            The path.
        """
        whole = {
            "format": _FORMAT,
            "kind": "two networks",
            "networks": list(self.networks),
            "method": self.method,
            "options": dict(self.options),
            "classes": {str(number): name for number, name in self.classes.items()},
            "photos": [{**asdict(row), "right": row.kind} for row in self.rows],
        }
        write_text(
            path,
            json.dumps(sealed_json(whole), indent=1, ensure_ascii=False, allow_nan=False) + "\n",
        )
        return Path(path)

    @classmethod
    @reader(ResultError, "a file that TwoNetworks.save wrote", "make it again")
    def load(cls, path: str | Path) -> Self:
        """Read what `save` wrote; without `cases`.

        Raises:
            ResultError: The file is missing, damaged, or holds something else.
        """
        try:
            whole = check_json(read_json(path))
            if (whole["format"], whole["kind"]) != (_FORMAT, "two networks"):
                raise ValueError(whole["format"])
            one, other = whole["networks"]
            return cls(
                networks=(one, other),
                method=whole["method"],
                rows=tuple(_row(photo) for photo in whole["photos"]),
                classes={int(number): name for number, name in whole["classes"].items()},
                options=whole["options"],
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise ResultError(
                f"'{path}' cannot be read: {error}",
                "a file that TwoNetworks.save wrote",
                "make it again",
            ) from error

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind} {len(self.of_kind(kind))}" for kind in KINDS)
        return f"TwoNetworks({len(self.rows)} photos, right: {counts})"


def _row(photo: dict[str, Any]) -> NetworkRow:
    parts: dict[str, Any] = {
        name: tuple(value) if name in _PAIRS else value for name, value in photo.items()
    }
    del parts["right"]
    return NetworkRow(**parts)
