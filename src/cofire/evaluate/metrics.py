"""Measures that are fed batch by batch, merge, and end in a mean with its interval; also as torchmetrics."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import (
    CofireError,
    DataError,
    MergeError,
    MissingExtraError,
    OptionError,
    ResultError,
)
from cofire.evaluate.faithfulness import Curve, confidence_change
from cofire.evaluate.localisation import best_iou, pointing_hits, share_inside
from cofire.evaluate.per_image import PerImage
from cofire.evaluate.sensitivity import blurred_parts, jaccard, rank_correlation, shift
from cofire.explain.result.explanation import Explanation
from cofire.explain.result.regions import Points
from cofire.statistics import Interval, mean_interval

if TYPE_CHECKING:
    from cofire.evaluate.torchmetric import WrappedMeasure


@validated
class Measure(ABC):
    """One number for each image, gathered over batches.

    What is kept are the numbers themselves, sorted, 8 bytes an image, and how many images were left
    out. Merging is therefore associative and commutative to the last bit, and the interval is that
    of all images together.

    Example:
        >>> class Values(Measure):
        ...     def judge(self, values: Tensor) -> PerImage:
        ...         return PerImage.of_all(values)
        >>> one, other = Values(), Values()
        >>> one.update(torch.tensor([1.0, 0.0]))
        >>> other.update(torch.tensor([0.5]))
        >>> one.merge(other), one.merge(other).result().mean
        (Values(3 images, 0 left out), 0.5)
    """

    _kinds: ClassVar[dict[str, type[Measure]]] = {}

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        Measure._kinds[cls.__name__] = cls

    def __init__(self, **options: Any) -> None:
        self._options = options
        self._parts: list[Tensor] = []
        self._left_out = 0

    @abstractmethod
    def judge(self, *args: Any, **kwargs: Any) -> PerImage:
        """The measure of each image of a batch."""

    @property
    def options(self) -> Mapping[str, Any]:
        """What the numbers depend on; measures merge if these are the same."""
        return dict(self._options)

    @property
    def values(self) -> Tensor:
        """The numbers of the images that count, sorted, (images,), float64."""
        self._parts = [torch.cat([torch.zeros(0, dtype=torch.float64), *self._parts]).sort().values]
        return self._parts[0].clone()

    @property
    def left_out(self) -> int:
        """How many images were not counted."""
        return self._left_out

    def update(self, *args: Any, **kwargs: Any) -> None:
        """Judge a batch and add it. Takes what `judge` takes, raises what it raises and is then as it was."""
        self.add(self.judge(*args, **kwargs))

    def add(self, found: PerImage) -> None:
        """Add a batch that was judged already."""
        self._parts.append(found.values[found.counted])
        self._left_out += found.left_out

    def merge(self, other: Self) -> Self:
        """The measure of both sets of images together; neither changes.

        Raises:
            MergeError: Another measure, or other options.
        """
        if type(self) is not type(other) or self._options != other._options:
            raise MergeError(
                f"{_named(self)} and {_named(other)}",
                "the same measure with the same options",
                "measure both sets of images alike",
            )
        joined = type(self)(**self._options)
        joined._parts = [self.values, other.values]
        joined._left_out = self._left_out + other._left_out
        return joined

    def result(self, draws: int = 2000, seed: int = 0) -> Interval:
        """The mean over all images that count, and its 95 % interval: Wilson's of shares, else the bootstrap's.

        Args:
            draws: How many resamples.
            seed: Of the draws.

        Raises:
            DataError: No image counts.
            OptionError: `draws` is no whole number from 1 up.
        """
        values = self.values
        if not len(values):
            raise DataError(
                f"{_named(self)} of no image, {self._left_out} left out",
                "an image that counts",
                "update it with images that have ground truth",
            )
        return mean_interval(values, left_out=self._left_out, draws=draws, seed=seed)

    def state(self) -> dict[str, Any]:
        """What the measure is and holds: plain values, and one tensor under "values"."""
        return {
            "measure": type(self).__name__,
            "options": dict(self._options),
            "values": self.values,
            "left_out": self._left_out,
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> Self:
        """A measure as `state` told it; `Measure.from_state` makes whichever it was.

        Raises:
            ResultError: It is no such state, or that of another measure.
        """
        values, left_out = state.get("values"), state.get("left_out")
        try:
            kind = Measure._kinds[str(state.get("measure"))]
            made = kind(**state["options"])
            if not isinstance(made, cls) or not isinstance(left_out, int) or left_out < 0:
                raise TypeError("another measure, or no number of images")
            if not isinstance(values, Tensor) or (values.ndim, values.dtype) != (1, torch.float64):
                raise TypeError("values that are no float64 (images,)")
            found = PerImage.of_all(values)
        except (KeyError, TypeError, CofireError) as error:
            raise ResultError(
                f"a state of {state.get('measure')!r}: {error}",
                f"what the state() of {cls.__name__} returned",
                "measure the images again",
            ) from error
        made.add(found)
        made._left_out = left_out
        return made

    def __repr__(self) -> str:
        told = [f"{name}={value!r}" for name, value in self._options.items()]
        told += [f"{len(self.values)} images", f"{self._left_out} left out"]
        return f"{type(self).__name__}({', '.join(told)})"


def _named(measure: Measure) -> str:
    return f"{type(measure).__name__} with {json.dumps(measure._options)}"


@validated
class PointingGame(Measure):
    """Whether the hottest pixel lies on the object (see `pointing_hits`).

    Args:
        tolerance: How far it may lie from the nearest box, in pixels.

    Raises:
        OptionError: `tolerance` is no finite number from 0 up.

    Example:
        >>> game = PointingGame()
        >>> game.update(torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]]), [torch.tensor([[1.0, 0.0, 2.0, 1.0]])] * 2)
        >>> game.result().mean
        0.5
    """

    def __init__(self, tolerance: Annotated[float, Field(ge=0.0)] = 0.0) -> None:
        super().__init__(tolerance=tolerance)

    def judge(self, maps: Tensor, boxes: Sequence[Tensor]) -> PerImage:
        """Per image, from maps (images, H, W) and ground-truth boxes."""
        return pointing_hits(maps, boxes, self._options["tolerance"])


@validated
class EvidenceInside(Measure):
    """The share of a map that lies on the object (see `share_inside`)."""

    def judge(self, maps: Tensor, boxes: Sequence[Tensor]) -> PerImage:
        """Per image, from maps (images, H, W) and ground-truth boxes."""
        return share_inside(maps, boxes)


@validated
class Localisation(Measure):
    """Intersection over union with the best ground-truth box (see `best_iou`).

    Args:
        at: None for the mean; a number above 0 and up to 1 for the share of images that reach it.

    Raises:
        OptionError: `at` is out of bounds.

    Example:
        >>> share = Localisation(at=0.5)
        >>> share.update(torch.tensor([[0.0, 0, 2, 2]]), torch.tensor([True]), [torch.tensor([[0.0, 0, 2, 4]])])
        >>> share.result().mean
        1.0
    """

    def __init__(self, at: Annotated[float, Field(gt=0.0, le=1.0)] | None = None) -> None:
        super().__init__(at=at)

    def judge(self, corners: Tensor, found: Tensor, boxes: Sequence[Tensor]) -> PerImage:
        """Per image, from boxes of explanations (images, 4), whether there are any, and ground-truth boxes."""
        best, at = best_iou(corners, found, boxes), self._options["at"]
        return best if at is None else PerImage((best.values >= at).double(), best.counted)


@validated
class BoxArea(Measure):
    """How much of the image the explanation's box takes up, which says how to read the other measures."""

    def judge(self, area: Tensor, boxes: Sequence[Tensor] | None = None) -> PerImage:
        """Per image, from shares of its area, (images,); with ground-truth boxes, of images that have any."""
        if boxes is None:
            return PerImage.of_all(area)
        return PerImage(area, torch.tensor([len(each) > 0 for each in boxes], dtype=torch.bool))


@validated
class ChangeInConfidence(Measure):
    """What becomes of the confidence when the explanation's box alone is kept (see `confidence_change`).

    Args:
        part: "increase", the share of images whose confidence rises; "drop", the mean relative
            drop.

    Raises:
        OptionError: `part` is neither.

    Example:
        >>> drop = ChangeInConfidence("drop")
        >>> drop.update(torch.tensor([0.5, 0.5]), torch.tensor([0.25, 0.75]))
        >>> drop.result().mean
        0.25
    """

    def __init__(self, part: Literal["increase", "drop"] = "increase") -> None:
        super().__init__(part=part)

    def judge(self, before: Tensor, after: Tensor) -> PerImage:
        """Per image, from the class's probability before and after, (images,) each."""
        found: PerImage = getattr(confidence_change(before, after), self._options["part"])
        return found


@validated
class SoftChange(ChangeInConfidence):
    """The same when the image is kept as far as the map says (see `soft_map`), which is another measure."""


@validated
class DeletionInsertion(Measure):
    """The area under deletion or insertion curves (see `deletion` and `insertion`).

    Args:
        way: "deletion" or "insertion".

    Raises:
        OptionError: `way` is neither.
    """

    def __init__(self, way: Literal["deletion", "insertion"] = "deletion") -> None:
        super().__init__(way=way)

    def judge(self, curve: Curve) -> PerImage:
        """Per image, from what `deletion` or `insertion` returned."""
        return curve.area


@validated
class ClassSensitivity(Measure):
    """How alike the explanations of two classes of the same image are.

    Args:
        of: "points", their Jaccard index; "maps", their rank correlation.

    Raises:
        OptionError: `of` is neither.

    Example:
        >>> alike = ClassSensitivity("maps")
        >>> alike.update(torch.tensor([[[1.0, 2.0, 3.0]]]), torch.tensor([[[3.0, 2.0, 1.0]]]))
        >>> alike.result().mean
        -1.0
    """

    def __init__(self, of: Literal["points", "maps"] = "points") -> None:
        super().__init__(of=of)

    def judge(self, first: Any, second: Any) -> PerImage:
        """Per image, from points (a sequence each) or from maps (images, H, W)."""
        if self._options["of"] == "maps":
            return rank_correlation(first, second)
        if not all(isinstance(each, Points) for given in (first, second) for each in given):
            raise DataError(
                "no points",
                "Points of each image",
                "pass [explanation.points(i) for i in range(images)]",
            )
        return jaccard(first, second)


@validated
class ExplanationShift(Measure):
    """How far two explanations of the same images lie apart (see `shift`).

    Args:
        part: "centroid", "box_iou" or "rank_correlation".
        sigma: Blur of the heat maps that the part is made of; the explanations' own unless given.

    Raises:
        OptionError: `part` is none of them, or `sigma` is out of bounds. When it is updated:
            `sigma` was given for a part that does not depend on it, such as boxes around points.
    """

    def __init__(
        self,
        part: Literal["centroid", "box_iou", "rank_correlation"] = "centroid",
        sigma: Annotated[float, Field(ge=0.0, le=1.0)] | None = None,
    ) -> None:
        super().__init__(part=part, sigma=sigma)

    def judge(self, first: Explanation, second: Explanation) -> PerImage:
        """Per image, from two explanations."""
        part, sigma = self._options["part"], self._options["sigma"]
        for each in (first, second) if sigma is not None else ():
            if part not in blurred_parts(each):
                raise OptionError(
                    f"sigma={sigma!r} for {part} of {each.kind} of {each.method}",
                    "a part that is blurred",
                    "make the measure without sigma: it changes nothing here",
                )
        found: PerImage = getattr(shift(first, second, sigma=sigma), part)
        return found


@validated
def as_torchmetric(measure: Measure) -> WrappedMeasure:
    """A measure as a `torchmetrics.Metric`: for `MetricCollection`, Lightning, and several processes.

    It starts empty, takes what the measure's `judge` takes, and computes the mean over the images
    that count; its `measure()` gives the measure back, with the interval.

    Args:
        measure: Whose options it has; what it holds is left behind.

    Raises:
        MissingExtraError: torchmetrics is not installed.

    Example:
        >>> metric = as_torchmetric(PointingGame())
        >>> metric.update(torch.tensor([[[0.0, 1.0]], [[1.0, 0.0]]]), [torch.tensor([[1.0, 0.0, 2.0, 1.0]])] * 2)
        >>> metric.compute(), metric.measure()
        (tensor(0.5000, dtype=torch.float64), PointingGame(tolerance=0.0, 2 images, 0 left out))
    """
    try:
        from cofire.evaluate.torchmetric import WrappedMeasure
    except ImportError as error:
        raise MissingExtraError(
            "a torchmetrics metric without torchmetrics", "the library", "pip install torchmetrics"
        ) from error
    return WrappedMeasure(measure)
