"""What attacked images and two networks gave, in numbers: the results, their means, and their files."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

from numpy.typing import NDArray
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError
from cofire.explain import Explanation
from cofire.marks import choice
from cofire.shown import Shown
from cofire.statistics import Interval, mean_interval
from cofire.stored import Stored

COMPARISONS = ("noise", "attack", "decision", "classes")
"""What is compared with the explanation of the first predicted class on the image as it was:

"noise": of the same class, with random noise of the attack's length; "attack": of the same class,
attacked; "decision": of the class that the attacked image is taken for, attacked; "classes": of
that class on the image as it was, where nothing but the class differs.
"""

MEASURES = ("centroid", "box_iou", "rank_correlation")
"""See `cofire.evaluate.sensitivity.Shift`."""

KINDS = ("both", "first", "second", "neither")
"""Which of the two networks is right about an image."""

_PAIRS = ("confidence", "probability", "inside", "inside_of_truth")


@dataclass(frozen=True)
class AttackedImage:
    """One image, before and after.

    Attributes:
        file: Its name.
        label: The true class; None where it is not known.
        before: The class predicted for the image.
        after: The class predicted for the attacked image.
        noisy: The class predicted under random noise of the same length; None where there was none,
            as of images that were not fooled, or on which noise of that length does not fit within
            what an image can hold.
        confidence: Probability of `before` on the image.
        confidence_after: Probability of `after` on the attacked image.
        kept: Probability of `before` on the attacked image.
        kept_noisy: Probability of `before` under noise; None where there was none.
        norm: Euclidean length of the change in units of the network's input.
        levels: Root mean square of the change in grey levels of 0 to 255; None where it is not
            known how inputs were made of images.
        rounded: Whether the attack still works once the image is rounded to whole grey levels, as a
            file has them; None where that is not known.
        steps: Of DeepFool.
        fooled: Whether the attack worked. Only then, and with noise, the image is explained.
        covered: Share of the image that its ground-truth boxes cover: what a map spread evenly
            would have inside; None without boxes.
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
    covered: float | None = None


@dataclass(frozen=True)
class MethodShift:
    """How far a method's explanation of one image moved.

    Attributes:
        image: Which one, from 0.
        method: Whose explanation.
        comparison: One of `COMPARISONS`.
        centroid: Distance of the centroids as a share of the diagonal; None where it does not
            count.
        box_iou: Of the two boxes; None where neither explanation has one.
        rank_correlation: Of the two heat maps; None where one of them is constant.
        inside_before: Share of the evidence in the ground-truth boxes, on the image as it was; None
            without boxes.
        inside_after: The same of the explanation compared with it.
    """

    image: int
    method: str
    comparison: str
    centroid: float | None
    box_iou: float | None
    rank_correlation: float | None
    inside_before: float | None
    inside_after: float | None


@dataclass(frozen=True, eq=False)
class AttackCase:
    """One image to look at.

    Attributes:
        image: Which one, from 0.
        images: As it was, with noise, and attacked, each (height, width, 3), uint8.
        difference: The attack's change around middle grey, many times as strong, (height, width,
            3), uint8.
        times: How many times.
        explanations: By method four: of the first class on the image as it was, with noise, and
            attacked; of the new class on the attacked image. Each of one image.
        boxes: The ground-truth boxes, (boxes, 4), in pixels of the input; None where not known.
    """

    image: int
    images: tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
    difference: NDArray[Any]
    times: int
    explanations: Mapping[str, tuple[Explanation, Explanation, Explanation, Explanation]]
    boxes: Tensor | None = None


@validated
@dataclass(frozen=True, eq=False)
class Robustness(Shown, Stored):
    """How explanations stand up to an attack (P3 §4.3).

    Attributes:
        methods: In the order in which they were asked for.
        images: All images, attacked in vain or not.
        shifts: One for each image that was fooled and that noise fits on, method and comparison.
        classes: Names of the classes that occur, by number; empty where there are no names.
        options: Of the attack, and the seed.
        cases: Images to look at, those whose first method's explanation moved most first; not kept
            in files.
    """

    methods: tuple[str, ...]
    images: tuple[AttackedImage, ...]
    shifts: tuple[MethodShift, ...]
    classes: Mapping[int, str]
    options: Mapping[str, Any]
    cases: tuple[AttackCase, ...] = field(default=(), compare=False)

    @property
    def fooled(self) -> int:
        """How many images were fooled."""
        return sum(image.fooled for image in self.images)

    def values(self, method: str, comparison: str, measure: str) -> dict[int, float]:
        """A measure by image, where it counts.

        Args:
            method: One of `methods`.
            comparison: One of `COMPARISONS`.
            measure: One of `MEASURES`, or "inside_before" or "inside_after".

        Raises:
            OptionError: There is no such method, comparison or measure.
        """
        choice(self.methods).of("method", method)
        choice(COMPARISONS).of("comparison", comparison)
        choice((*MEASURES, "inside_before", "inside_after")).of("measure", measure)
        return {
            row.image: value
            for row in self.shifts
            if row.method == method
            and row.comparison == comparison
            and (value := getattr(row, measure)) is not None
        }

    def mean(self, method: str, comparison: str, measure: str) -> Interval | None:
        """The mean of a measure over the images that were fooled, see `values`; None if no image counts.

        Raises:
            OptionError: There is no such method, comparison or measure.
        """
        return self._mean(list(self.values(method, comparison, measure).values()))

    def difference(
        self, method: str, measure: str, first: str = "attack", second: str = "noise"
    ) -> Interval | None:
        """The mean difference of a measure between two comparisons, over images that count for both; None without.

        Raises:
            OptionError: There is no such method, comparison or measure.
        """
        one, other = self.values(method, first, measure), self.values(method, second, measure)
        return self._mean(
            [one[image] - other[image] for image in one if image in other], differences=True
        )

    def change(self, method: str, comparison: str) -> Interval | None:
        """How much more of the map lies in the object's boxes than of the image as it was; None without boxes.

        The mean of `inside_after` less `inside_before` over images that have both, from -1 to 1:
        below 0 the map leaves the object that is still there (P3 §4.3).

        Raises:
            OptionError: There is no such method or comparison.
        """
        before, after = (
            self.values(method, comparison, f"inside_{when}") for when in ("before", "after")
        )
        return self._mean(
            [after[image] - before[image] for image in after if image in before], differences=True
        )

    @property
    def covered(self) -> Interval | None:
        """The share of explained images that boxes cover, so of a map spread evenly; None without boxes."""
        explained = {row.image for row in self.shifts}
        shares = (self.images[image].covered for image in sorted(explained))
        return self._mean([share for share in shares if share is not None])

    def _mean(self, values: list[float], *, differences: bool = False) -> Interval | None:
        if not values:
            return None
        return mean_interval(values, differences=differences, left_out=self.fooled - len(values))

    def __post_init__(self) -> None:
        if any(
            not 0 <= row.image < len(self.images) or row.method not in self.methods
            for row in self.shifts
        ):
            raise DataError(
                "a shift of an image or method that is not there",
                "shifts of these images",
                "pass all",
            )

    def __repr__(self) -> str:
        return f"Robustness({self.fooled} of {len(self.images)} images fooled, {len(self.methods)} methods)"

    stored_as = "robustness"
    apart = ("cases",)


@dataclass(frozen=True)
class NetworkRow:
    """One image. Pairs are of the first and the second network.

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
        first, second = (predicted == self.label for predicted in self.predicted)
        return KINDS[2 * (not first) + (not second)]


@dataclass(frozen=True, eq=False)
class NetworkCase:
    """One image to look at.

    Attributes:
        image: Which one, from 0.
        explanations: By each network: of its predicted class, and of the true class; each of one
            image.
        boxes: The ground-truth boxes, (boxes, 4), in pixels of the first network's input; None
            where not known.
    """

    image: int
    explanations: tuple[tuple[Explanation, Explanation], ...]
    boxes: Tensor | None


@dataclass(frozen=True, eq=False)
class TwoNetworks(Shown, Stored):
    """What two networks made of the same images.

    Attributes:
        networks: Their names.
        method: That explained both.
        rows: One for each image.
        classes: Names of the classes that occur, by number; empty where there are no names.
        options: `area`, the seed, and those of the method.
        cases: Images to look at that one of the two alone gets right; not kept in files.
    """

    networks: tuple[str, str]
    method: str
    rows: tuple[NetworkRow, ...]
    classes: Mapping[int, str]
    options: Mapping[str, Any]
    cases: tuple[NetworkCase, ...] = field(default=())

    def of_kind(self, kind: str) -> list[NetworkRow]:
        """The images about which these are right.

        Args:
            kind: One of `KINDS`.

        Raises:
            OptionError: No such kind.
        """
        choice(KINDS).of("kind", kind)
        return [row for row in self.rows if row.kind == kind]

    def correct(self, network: int) -> float:
        """The share of all images that a network, 0 or 1, gets right."""
        return sum(row.predicted[network] == row.label for row in self.rows) / len(self.rows)

    def mean(
        self, kind: str | tuple[str, ...], measure: str, network: int | None = None
    ) -> Interval | None:
        """A mean over the images of a kind, or of several, with its 95 % interval; None if no image counts.

        Args:
            kind: One of `KINDS`, or some.
            measure: "overlap", "overlap_of_truth" or "covered"; "inside", "inside_of_truth",
                "confidence" or "probability" of a network.
            network: 0 or 1 for the latter. None gives the first's less the second's, over images
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
        choice((*single, *_PAIRS)).of("measure", measure)
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

    def __repr__(self) -> str:
        counts = ", ".join(f"{kind} {len(self.of_kind(kind))}" for kind in KINDS)
        return f"TwoNetworks({len(self.rows)} images, right: {counts})"

    stored_as = "two networks"
    apart = ("cases",)

    def described(self) -> dict[str, Any]:
        """As JSON can hold it: of each image also who is right."""
        told = super().described()
        rows = zip(told.pop("rows"), self.rows, strict=True)
        return told | {"images": [{**cells, "right": row.kind} for cells, row in rows]}

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """What `described` gave, see `Stored.of`."""
        return super().of({**described, "rows": described["images"]})
