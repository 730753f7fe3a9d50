"""Why a network decided as it did, image by image: the result object of every explaining method, and its file."""

from __future__ import annotations

import json
import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal, Self

import numpy as np
import torch
from PIL import Image
from pydantic import Field, NonNegativeFloat, PositiveFloat
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import ExplanationError, LayerError, OptionError, ResultError, near_matches
from cofire.explain.drawing import draw, page
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.neurons import NEURON_COLUMNS, LayerNeurons, Neurons, Path, Site, trace
from cofire.explain.result.regions import SIGMA, Boxes, Kind, Points, Regions
from cofire.explain.result.saving import TENSORS, check_parts, noted, parts_noted
from cofire.reading import reader
from cofire.shown import Shown
from cofire.storage import load_result, save_result


@validated(error=ExplanationError, finite=False)
@dataclass(frozen=True, eq=False, repr=False)
class Explanation(Shown):
    """Which pixels and neurons carried the decisions of a network on a batch of images.

    Methods that trace (`discernible`, `cnn-fixations`, ...) give `neurons`, from which points,
    layers and paths follow, and heat maps and boxes unless `layer_maps` say better where the
    evidence lies. Others (`gradcam`, ...) give `maps`.

    An input of shape (features,) is drawn and addressed as one row of pixels: H = 1, W = features,
    y = 0, x = feature.

    Attributes:
        method: "discernible", "cnn-fixations", "gradcam", "gradcam++", ...
        options: What made it, as JSON can hold it; kept as it reads back from JSON (a tuple becomes
            a list).
        target: The explained classes, (images, n), int64.
        probability: Softmax of those classes, (images, n), float32, 0 to 1.
        predicted: What the network predicts, (images,), int64.
        confidence: Softmax of the predicted class, (images,), float32, 0 to 1.
        input_shape: Of one sample: (channels, H, W), or (features,).
        sites: From "input" (index 0) to "classes" (last); () for maps.
        neurons: What the tracing found; None for maps.
        maps: Raw maps at input size, (images, H, W), float32, 0 or more; None for neurons.
        images: What to draw the explanation on, (images, H, W, 3), uint8.
        regions: How points, layers and maps become heat maps and boxes where nothing else is said.
        layer_maps: Evidence at feature maps, with neurons; None to make heat maps and boxes of
            the points.

    Raises:
        ExplanationError: The parts do not fit together.
        OptionError: The options are nothing that JSON can hold.

    Example:
        A map of 2 × 3 pixels for one image of class 4:

        >>> found = Explanation(
        ...     method="gradcam", options={"target_layer": "conv"}, target=torch.tensor([[4]]),
        ...     probability=torch.tensor([[0.75]]), predicted=torch.tensor([4]), confidence=torch.tensor([0.75]),
        ...     input_shape=(1, 2, 3), sites=(), neurons=None,
        ...     maps=torch.tensor([[[0.0, 0.2, 0.9], [0.0, 0.5, 1.0]]]),
        ...     images=torch.zeros(1, 2, 3, 3, dtype=torch.uint8))
        >>> found
        Explanation('gradcam', 1 image of 2 × 3 pixels, maps, evidence in 1 of 1)
        >>> found.boxes().corners.tolist(), found.has_evidence.tolist()
        ([[1.0, 0.0, 3.0, 2.0]], [True])
    """

    method: str
    options: Mapping[str, Any]
    target: Tensor
    probability: Tensor
    predicted: Tensor
    confidence: Tensor
    input_shape: tuple[int, ...]
    sites: tuple[Site, ...]
    neurons: Neurons | None
    maps: Tensor | None
    images: Tensor
    regions: Regions = field(default_factory=Regions)
    layer_maps: LayerMaps | None = None

    def __post_init__(self) -> None:
        try:
            plain = json.loads(json.dumps(dict(self.options), allow_nan=False))
        except (TypeError, ValueError) as error:
            raise OptionError(
                f"options={self.options!r}", "what JSON can hold", "pass plain values"
            ) from error
        object.__setattr__(self, "options", plain)
        object.__setattr__(self, "input_shape", tuple(self.input_shape))
        object.__setattr__(self, "sites", tuple(self.sites))
        for name in TENSORS:
            if getattr(self, name) is not None:
                object.__setattr__(self, name, getattr(self, name).detach().cpu())
        if self.neurons is not None:
            moved = {name: getattr(self.neurons, name).detach().cpu() for name in NEURON_COLUMNS}
            object.__setattr__(self, "neurons", Neurons(**moved))
        check_parts(self)

    @property
    def size(self) -> tuple[int, int]:
        """Height and width of the images in pixels; (1, features) for vectors."""
        return (
            (self.input_shape[1], self.input_shape[2])
            if len(self.input_shape) == 3
            else (1, self.input_shape[0])
        )

    @property
    def kind(self) -> Kind:
        """What heat maps are made of: "points", "layers" or "maps"."""
        if self.maps is not None:
            return "maps"
        return "points" if self.layer_maps is None else "layers"

    @property
    def boxed(self) -> Literal["points", "heat"]:
        """What boxes are around: "points", or the "heat" of a heat map."""
        around_heat = self.kind == "maps" or (
            self.kind == "layers" and self.regions.around == "heat"
        )
        return "heat" if around_heat else "points"

    @property
    def has_evidence(self) -> Tensor:
        """Whether anything was found, (images,), bool: a point, or a map's value, above 0."""
        if self.maps is not None:
            return (self.maps > 0).flatten(1).any(dim=1)
        rows = self._neurons().rows_of(0, len(self))
        found = torch.zeros(len(self), dtype=torch.bool)
        found[self._neurons().image[rows].long()] = True
        return found

    def points(self, image: int) -> Points:
        """The pixels that carried the decision on one image, sorted by y, then x.

        Args:
            image: From 0; negative from the end.

        Raises:
            ExplanationError: No such image, or an explanation by maps, which has no points.
        """
        neurons, width = self._neurons("points"), self.size[1]
        rows = neurons.rows_of(0, len(self), self._at(image))
        y, x = (
            (neurons.y, neurons.x) if len(self.input_shape) == 3 else (neurons.y, neurons.channel)
        )
        places = y[rows].long() * width + x[rows].long()
        pixels, which = torch.unique(places, return_inverse=True)
        score = torch.zeros(len(pixels), dtype=torch.float64).index_add_(
            0, which, neurons.score[rows].double()
        )
        return Points((pixels // width).int(), (pixels % width).int(), score.float())

    def heatmap(self, sigma: NonNegativeFloat | None = None) -> Tensor:
        """Where the evidence lies, (images, H, W), float32: neither normalised nor clipped.

        Layers are brought together by `LayerMaps.together`: shares of the evidence per pixel, of
        sum 1. Points spread their scores as Gaussians (`cofire.explain.result.regions.heat`). Maps are
        given as they are.

        Args:
            sigma: Standard deviation as a share of the image's shorter side, 0 or more; not for
                maps. That of `regions` unless given; usually 6/224 for layers, 20/224 for points.

        Raises:
            OptionError: `sigma` is out of bounds, or given for maps, which are not blurred.
        """
        regions = self.regions if sigma is None else replace(self.regions, sigma=sigma)
        if self.maps is not None:
            if sigma not in (None, SIGMA):
                raise OptionError(
                    f"sigma={sigma!r} for maps",
                    "no sigma: maps are given as they are",
                    "leave it out",
                )
            return self.maps.clone()
        if self.layer_maps is not None:
            # Where nothing could be traced there is nothing to see either.
            return (
                self.layer_maps.together(self.size, regions.sigma)
                * self.has_evidence[:, None, None]
            )
        found = torch.zeros(len(self), *self.size)
        for image in range(len(self)):
            found[image] = regions.heat(self.points(image), self.size)
        return found

    def boxes(
        self,
        min_share: Annotated[float, Field(ge=0, lt=1)] | None = None,
        radius: PositiveFloat | None = None,
        threshold: Annotated[float, Field(gt=0, le=1)] | None = None,
        *,
        weighted: bool | None = None,
        connected: bool | None = None,
    ) -> Boxes:
        """The box around the evidence of each image.

        Of points: the tight box around those that are no outliers. A point stays if more than
            `min_share` of all
        points, itself included, lie nearer than `radius` × the image's diagonal. Of layers and
        maps: the tight box around the pixels that reach `threshold` × the heat map's maximum. What
        is not given is as `regions` has it; an option of points asks for the box of points.

        Args:
            min_share: Share of the points' number, or of their score where `weighted`. 0.05 by
                default.
            radius: Share of the image's diagonal, for points. 0.1 by default.
            threshold: Share of the heat map's maximum. That of `regions` unless given; usually 0.5, 0.3 for layers.
            weighted: Count points by their score. The paper counts each as one.
            connected: Only around pixels that hang together with the heat map's maximum; so by
                default for layers.

        Returns:
            Boxes; none where there is no evidence, nor where every point is an outlier.

        Raises:
            OptionError: A number is out of bounds.
        """
        of_points: dict[str, Any] = {"min_share": min_share, "radius": radius, "weighted": weighted}
        given = of_points | {"threshold": threshold, "connected": connected}
        regions = replace(
            self.regions, **{name: value for name, value in given.items() if value is not None}
        )
        asked = any(value is not None for value in of_points.values())
        around_heat = self.boxed == "heat" and not (asked and self.kind == "layers")
        heat = self.heatmap() if around_heat else None
        corners = torch.zeros(len(self), 4)
        for image in range(len(self)):
            if heat is not None:
                corners[image] = regions.map_box(heat[image])
            else:
                corners[image] = regions.box(self.points(image), self.size)
        return Boxes(corners, corners[:, 2] > corners[:, 0])

    def layer(self, name: str | int) -> LayerNeurons:
        """The neurons that were found at one site.

        Args:
            name: The site's name, or its index (0 is the input, -1 the classes).

        Raises:
            LayerError: No such site.
            ExplanationError: An explanation by maps.
        """
        neurons, names = self._neurons("layers"), [site.name for site in self.sites]
        at = name if isinstance(name, int) else names.index(name) if name in names else len(names)
        if not -len(names) <= at < len(names):
            near = near_matches(name, names) if isinstance(name, str) else f"0 to {len(names) - 1}"
            raise LayerError(
                f"no site {name!r} in this explanation",
                f"one of its {len(names)} sites",
                f"try {near}",
            )
        rows = neurons.rows_of(at % len(names), len(self))
        columns = [
            getattr(neurons, column)[rows] for column in ("image", "channel", "y", "x", "score")
        ]
        return LayerNeurons(self.sites[at], *columns)

    def path(self, image: int, y: int, x: int) -> Path:
        """How evidence came to one pixel: from it upwards along the links to the classes.

        Each neuron's `flow` is the part of the evidence through it that ended at the pixel (at any
        channel of it); `cofire.explain.result.neurons.trace` says how it is divided.

        Args:
            image: From 0; negative from the end.
            y: The pixel's row; 0 for vectors.
            x: The pixel's column; the feature for vectors.

        Raises:
            ExplanationError: No point at that pixel (the nearest is named), or an explanation by
                maps.
        """
        self._neurons("paths")
        at = self._at(image)
        points = self.points(at)
        here = torch.nonzero((points.y == y) & (points.x == x)).flatten()
        if len(here) == 0:
            if len(points) == 0:
                raise ExplanationError(
                    f"no evidence in image {at}", "an image with points", "explain another class"
                )
            nearest = int(((points.y - y).double() ** 2 + (points.x - x).double() ** 2).argmin())
            there = f"y={int(points.y[nearest])}, x={int(points.x[nearest])}"
            raise ExplanationError(
                f"no point at y={y}, x={x} of image {at}", "a pixel with evidence", f"try {there}"
            )
        alone = self[at : at + 1]._neurons()
        end = alone.rows_of(0, 1)
        column = alone.x if len(self.input_shape) == 3 else alone.channel
        start = end.start + torch.nonzero((alone.y[end] == y) & (column[end] == x)).flatten()
        return Path(at, int(y), int(x), float(points.score[here]), trace(alone, self.sites, start))

    def overlay(
        self,
        image: int,
        what: str = "heatmap",
        *,
        alpha: Annotated[float, Field(gt=0, le=1)] = 0.85,
        legend: bool = True,
        class_names: Sequence[str] | None = None,
    ) -> Image.Image:
        """The explanation of one image, drawn on it; small images are enlarged by a whole number.

        Args:
            image: From 0; negative from the end.
            what: "heatmap", "points" or "box".
            alpha: Opacity of the heat map where it is hottest, above 0 and up to 1; it fades out
                towards 0.
            legend: Whether class, method, colour bar and numbers stand under the image.
            class_names: Names of all classes, in order.

        Raises:
            OptionError: No such drawing, `alpha` out of bounds, or fewer class names than classes.
            ExplanationError: No such image, or points of an explanation by maps.
        """
        return draw.overlay(
            self, self._at(image), what, alpha=alpha, legend=legend, class_names=class_names
        )

    def save_png(
        self, path: str | FilePath, *, class_names: Sequence[str] | None = None
    ) -> FilePath:
        """Write a sheet with one row per image: image, heat map, points and box, with legends.

        Returns:
            The path.
        """
        return draw.save_png(self, path, class_names=class_names)

    def save_svg(
        self, path: str | FilePath, *, class_names: Sequence[str] | None = None
    ) -> FilePath:
        """Write the same sheet as an SVG file: images and heat maps embedded, points, boxes and words as vectors.

        Returns:
            The path.
        """
        return draw.save_svg(self, path, class_names=class_names)

    def write_html(
        self,
        path: str | FilePath,
        *,
        class_names: Sequence[str] | None = None,
        title: str | None = None,
    ) -> FilePath:
        """Write one page that needs nothing else: every image, and a slider from the input to the last layer.

        Args:
            path: Where to.
            class_names: Names of all classes, in order.
            title: Of the page.

        Returns:
            The path.
        """
        return page.write_html(self, path, class_names=class_names, title=title)

    def save(self, path: str | FilePath) -> FilePath:
        """Write the explanation to one safetensors file, whole or not at all.

        Returns:
            The path.
        """
        return save_result(path, "explanation", *noted(self))

    @classmethod
    @reader(ResultError, "a file that Explanation.save wrote", "explain the images again")
    def load(cls, path: str | FilePath) -> Self:
        """Read what `save` wrote.

        Raises:
            ResultError: The file is missing, damaged, or holds something else.
        """
        return load_result(path, "explanation", cls._read)

    @classmethod
    def _read(cls, note: dict[str, Any], tensors: dict[str, Tensor]) -> Self:
        try:
            return cls(**parts_noted(note, tensors))
        except (ExplanationError, OptionError) as error:
            raise ValueError(str(error)) from error

    def __len__(self) -> int:
        return len(self.predicted)

    def __iter__(self) -> Iterator[Explanation]:
        return (self[image] for image in range(len(self)))

    def __getitem__(self, key: int | slice) -> Explanation:
        if not isinstance(key, slice):
            at = self._at(key)
            key = slice(at, at + 1)
        try:
            chosen = list(range(len(self)))[key]
        except (TypeError, ValueError) as error:
            raise ExplanationError(
                f"{key}", "a slice of whole numbers", "choose images as from a list"
            ) from error
        parts = {field.name: getattr(self, field.name) for field in fields(self)}
        for name in TENSORS:
            if parts[name] is not None:
                parts[name] = parts[name][torch.tensor(chosen, dtype=torch.int64)]
        if self.neurons is not None:
            parts["neurons"] = self.neurons.of_images(chosen, len(self))
        if self.layer_maps is not None:
            parts["layer_maps"] = self.layer_maps.of_images(chosen)
        return type(self)(**parts)

    def _at(self, image: int) -> int:
        at = operator.index(image)
        if not -len(self) <= at < len(self):
            some = f"0 to {len(self) - 1}" if len(self) else "none: it is empty"
            raise ExplanationError(
                f"image {at}", f"one of its {len(self)} images", f"choose from {some}"
            )
        return at % len(self)

    def _neurons(self, what: str = "neurons") -> Neurons:
        if self.neurons is None:
            raise ExplanationError(
                f"{what} of a {self.method} explanation, which is made of maps",
                "an explanation that traces neurons",
                "explain without views"
                if "views" in self.options
                else "explain with method='discernible'",
            )
        return self.neurons

    def __repr__(self) -> str:
        (height, width), count = self.size, len(self)
        what = (
            f"{len(self.neurons):,} neurons at {len(self.sites)} sites"
            if self.neurons is not None
            else "maps"
        )
        return (
            f"Explanation('{self.method}', {count} image{'s' * (count != 1)} of {height} × {width} pixels, {what}, "
            f"evidence in {int(np.count_nonzero(self.has_evidence))} of {count})"
        )
