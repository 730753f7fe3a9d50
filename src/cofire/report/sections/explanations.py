"""The evidence for single decisions, right ones and mistakes, and whether it depends on the class (P3)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Self

import numpy as np
import pyarrow.compute as pc
import torch
from numpy.typing import NDArray
from PIL import Image

from cofire.explain import title_of
from cofire.explain.drawing import draw as drawing
from cofire.explain.drawing.captions import evidence_told, percent
from cofire.explain.drawing.captions import number as short_number
from cofire.explain.drawing.paper import png_address
from cofire.explain.result.regions import Points, heat
from cofire.images.pictures import address
from cofire.report.section import Results, Section
from cofire.study.explanations import heat_overlap

OPEN = 1
"""So many mistakes lie open; more are folded."""
SHOWN = 8
"""How many features of a sample are listed."""
SAME, ALIKE = 0.95, 0.75
"""From where on heat maps count as the same for every class, and as much alike."""
_WHOLE = 0.9995
_MORE, _LESS = np.array([240, 140, 40]), np.array([75, 165, 255])
"""Where the predicted class has more evidence, and less: orange and blue stay distinct for colour-blind readers."""
_GROUND = (70, 70, 70, 255)


@dataclass(frozen=True, eq=False)
class Traced:
    """The evidence for one class on one sample.

    Attributes:
        name: Of the class.
        probability: That the network gives it, in words.
        points: Where its evidence ended.
        heat: A data URI of its heat map, "" where there is no evidence or no image.
        dots: Centre x, centre y and radius of each point, in pixels of the image.
    """

    name: str
    probability: str
    points: Points
    heat: str = ""
    dots: tuple[tuple[float, float, float], ...] = ()

    @property
    def arrived(self) -> float:
        """The share of the evidence that reached the input, 0 to 1; sums of shares miss 1 by a rounding."""
        share = float(self.points.score.sum(dtype=torch.float64))
        return 1.0 if share > _WHOLE else share

    @property
    def found(self) -> int:
        """At how many points."""
        return len(self.points)


@dataclass(frozen=True, eq=False)
class Example:
    """One explained test sample, as the page draws it.

    Attributes:
        index: Its number in the test data.
        classes: The class that it was taken for, and its own where that is another.
        size: Height and width in pixels; (1, features) for vectors.
        values: A vector's numbers, None for images.
        image: A data URI of the image, "" where there is none.
        difference: A data URI of where the two classes differ, "" where there are no two.
        hottest: The evidence of the hottest pixel, to which the heat maps are scaled.
        farthest: The largest difference, to which the difference is scaled.
    """

    index: int
    classes: tuple[Traced, ...]
    size: tuple[int, int]
    values: list[float] | None = None
    image: str = ""
    difference: str = ""
    hottest: float = 0.0
    farthest: float = 0.0

    @property
    def crisp(self) -> bool:
        """Whether the pixels of the image are to be seen."""
        return not drawing.is_smooth(self.size)

    @property
    def overlap(self) -> float | None:
        """How much of the evidence for two classes lies in the same places; None where one has none, or is alone."""
        if len(self.classes) < 2 or not all(traced.found for traced in self.classes):
            return None
        return heat_overlap(self.classes[0].points, self.classes[1].points, self.size)

    @property
    def features(self) -> list[tuple[int, str, list[tuple[float, str]]]]:
        """A vector's features that carry most evidence: number, value, and for each class the bar and its words."""
        shares = [
            dict(zip(t.points.x.tolist(), t.points.score.tolist(), strict=True))
            for t in self.classes
        ]
        most = {f: max(s.get(f, 0.0) for s in shares) for share in shares for f in share}
        top, values = max(most.values(), default=1.0) or 1.0, self.values or []
        return [
            (
                feature,
                short_number(values[feature]) if feature < len(values) else "–",
                [
                    (100 * s.get(feature, 0.0) / top, evidence_told(s.get(feature, 0.0)))
                    for s in shares
                ],
            )
            for feature in sorted(most, key=lambda f: (-most[f], f))
        ]


class Explanations(Section):
    """The explanations of the last checkpoint that has any."""

    id, title = "explanations", "Do explanations depend on the class?"
    label = "Explanations"
    template = "sections/explanations.html.j2"

    def __init__(self, results: Results) -> None:
        run = results.trajectory
        self.row: dict[str, Any] = max(run.tracings.to_pylist(), key=lambda row: row["checkpoint"])
        rows = run.explanations.filter(pc.field("checkpoint") == self.row["checkpoint"]).to_pylist()
        self._names = results.class_names
        self._others = {row["index"]: row for row in rows if row["target"] != row["predicted"]}
        self._first = sorted(
            (row for row in rows if row["target"] == row["predicted"]),
            key=lambda row: (row["label"], row["index"]),
        )
        self.vectors = any(row["values"] is not None for row in self._first)
        self.method = title_of(self.row["method"])
        self.open, self.shown = OPEN, SHOWN
        self.percent, self.evidence_told = percent, evidence_told

    @classmethod
    def of(cls, results: Results) -> Self | None:
        return cls(results) if len(results.trajectory.tracings) else None

    @cached_property
    def wrong(self) -> list[Example]:
        """Mistakes, the most confident first."""
        rows = [row for row in self._first if row["label"] != row["predicted"]]
        return [self._example(row) for row in sorted(rows, key=lambda row: -row["confidence"])]

    @cached_property
    def right(self) -> list[Example]:
        """Right predictions, class by class."""
        return [self._example(row) for row in self._first if row["label"] == row["predicted"]]

    @property
    def answer(self) -> str:
        """Whether explanations depend on the class: "no", "hardly", "in part", "yes", or "" where not known."""
        points, maps = self.row["jaccard"], self.row["jaccard_heat"]
        if points is None:
            return ""
        if maps >= ALIKE:
            return "no" if maps >= SAME else "hardly"
        return "in part" if points >= ALIKE else "yes"

    @property
    def all_arrived(self) -> bool:
        """Whether all evidence of every explained class reached the input."""
        return all(t.arrived == 1.0 for e in (*self.right, *self.wrong) for t in e.classes)

    def _example(self, row: Mapping[str, Any]) -> Example:
        shape, other = row["shape"], self._others.get(row["index"])
        size = (shape[1], shape[2]) if len(shape) == 3 else (1, shape[0])
        traced = [self._traced(r) for r in (row, other) if r is not None]
        if row["values"] is not None:
            return Example(row["index"], tuple(traced), size, row["values"])
        maps = [
            heat(t.points.y, t.points.x, t.points.score, *size).numpy().astype(np.float64)
            for t in traced
        ]
        # Both classes on the same scale, or they could not be compared.
        hottest = max(float(values.max()) for values in maps)
        comparable = len(maps) == 2 and all(t.found for t in traced)
        apart = maps[0] - maps[1] if comparable else np.zeros(size)
        farthest = float(np.abs(apart).max())
        classes = [
            Traced(
                t.name,
                t.probability,
                t.points,
                png_address(Image.fromarray(drawing.coloured(values / hottest))) if t.found else "",
                tuple(
                    (round(x * size[1], 3), round(y * size[0], 3), round(r * max(size), 3))
                    for x, y, r in drawing.dots_of(t.points, size)
                ),
            )
            for t, values in zip(traced, maps, strict=True)
        ]
        return Example(
            row["index"],
            tuple(classes),
            size,
            None,
            address(row["image"]),
            png_address(Image.fromarray(_opposed(apart / farthest))) if farthest > 0 else "",
            hottest,
            farthest,
        )

    def _traced(self, row: Mapping[str, Any]) -> Traced:
        y, x = (torch.tensor(row[axis], dtype=torch.int32) for axis in ("y", "x"))
        points = Points(y, x, torch.tensor(row["score"], dtype=torch.float32))
        name = self._names.get(row["target"], f"class {row['target']}")
        return Traced(name, percent(row["probability"]), points)

    @property
    def scales(self) -> tuple[str, str]:
        """The colours from no evidence to the hottest pixel, and from the true class to the predicted one."""
        colours = (
            drawing.coloured(np.linspace(0, 1, 128)[None]),
            _opposed(np.linspace(-1, 1, 128)[None]),
        )
        found = []
        for bar in colours:
            ground = Image.new("RGBA", (bar.shape[1], 1), _GROUND)
            ground.alpha_composite(Image.fromarray(bar))
            found.append(png_address(ground.convert("RGB")))
        return found[0], found[1]


def _opposed(share: NDArray[Any]) -> NDArray[Any]:
    """Shares from -1 to 1 as two colours that fade out towards 0, (..., 4), uint8."""
    colours = np.where(share[..., None] > 0, _MORE, _LESS)
    opacity = 235 * np.sqrt(np.abs(share))
    return np.concatenate([colours, opacity[..., None]], axis=-1).round().astype(np.uint8)
