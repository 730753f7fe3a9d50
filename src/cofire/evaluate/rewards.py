"""What an explanation of an image earns under given options: is its box on the object, does its map point there?"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from cofire.errors import DataError, LabelError
from cofire.evaluate.localisation import best_iou, pointing_hits
from cofire.evaluate.methods import regions_for
from cofire.evaluate.tuned import alike
from cofire.explain import Explanation, explain
from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.regions import Boxes, Points, Regions
from cofire.images.collection import Collection
from cofire.images.preparation import Preparation, Prepared
from cofire.images.seen import read_batches
from cofire.network import Network

_BYTES = 1 << 29
"""Of points and maps that are kept, to be judged again without tracing again."""


@dataclass(frozen=True, eq=False)
class Sample:
    """An image that options are judged on.

    Attributes:
        name: Of the image.
        seen: As the network sees it.
        label: Its class, which is explained.
        boxes: Of the class in pixels of the network's input, (boxes, 4), one or more.
    """

    name: str
    seen: Prepared
    label: int
    boxes: Tensor


def samples_of(
    network: Network, collection: Collection, preparation: Preparation, batch_size: int = 16
) -> tuple[list[Sample], int]:
    """The images of a collection that show a box to the network, and how many do not.

    Raises:
        LabelError: An image is of a class that the network has not.
        DataError: No image has a box that the network sees.
        ImageError: An image cannot be read.
    """
    found: list[Sample] = []
    without = 0
    for batch in read_batches(collection, preparation, batch_size):
        for image, seen, boxes in zip(batch.images, batch.seen, batch.boxes, strict=True):
            if not 0 <= image.label < network.num_classes:
                raise LabelError(
                    f"'{image.name}' of class {image.label}",
                    f"classes from 0 to {network.num_classes - 1}",
                    "take the network that the images' classes belong to",
                )
            if len(boxes):
                found.append(Sample(image.name, seen, image.label, boxes))
            else:
                without += 1
    if not found:
        raise DataError(
            f"none of {len(collection)} images with a box of its class in what the network sees",
            "one or more",
            "check images and boxes, or leave the images' margins with --resize",
        )
    return found, without


@dataclass(frozen=True, eq=False)
class _Kept:
    """What is remembered of the explanation of an image, from which its map and box follow.

    Attributes:
        points: None for maps.
        heat: The map, (H, W), or those of layers; None where it is made of the points.
    """

    points: Points | None
    heat: Tensor | LayerMaps | None

    @classmethod
    def of(cls, found: Explanation, at: int) -> _Kept:
        """That of one image of several."""
        if found.maps is not None:
            return cls(None, found.maps[at].clone())
        layers = None
        if found.layer_maps is not None:
            layers = found.layer_maps.of_images([at])
            if not bool(found.has_evidence[at]):
                # Where nothing could be traced there is nothing to see either.
                layers = LayerMaps(
                    layers.names, tuple(torch.zeros_like(values) for values in layers.maps)
                )
        return cls(found.points(at), layers)

    def map(self, regions: Regions, size: tuple[int, int]) -> Tensor:
        """The heat map, (H, W)."""
        if isinstance(self.heat, LayerMaps):
            return self.heat.together(size, regions.sigma)[0]
        if self.heat is not None:
            return self.heat
        assert self.points is not None
        return regions.heat(self.points, size)

    def box(self, regions: Regions, size: tuple[int, int]) -> Tensor:
        """The box, (4,), zeros for none."""
        if self.points is None or (self.heat is not None and regions.around == "heat"):
            return regions.map_box(self.map(regions, size))
        return regions.box(self.points, size)

    @property
    def nbytes(self) -> int:
        """Memory that it takes."""
        points = 0 if self.points is None else 12 * len(self.points)
        if isinstance(self.heat, LayerMaps):
            return points + sum(values.nbytes for values in self.heat.maps)
        return points + (0 if self.heat is None else self.heat.nbytes)


class Rewards:
    """Judges options on images, and remembers what it has judged.

    Args:
        network: That is explained.
        samples: The images.
        preparation: What is done to them.
        method: That explains.
        least_iou: A box that reaches this intersection over union with the object's earns 1,
            another 0.
        batch_size: Images explained at a time where several are asked for.
    """

    def __init__(
        self,
        network: Network,
        samples: Sequence[Sample],
        preparation: Preparation,
        method: str,
        *,
        least_iou: float = 0.5,
        batch_size: int = 16,
    ) -> None:
        self.network, self.samples, self.preparation, self.method = (
            network,
            samples,
            preparation,
            method,
        )
        self.least_iou, self.batch_size = least_iou, batch_size
        self._found: OrderedDict[tuple[Any, ...], _Kept] = OrderedDict()
        self._held = 0
        self._judged: dict[tuple[Any, ...], float] = {}

    def reward(self, image: int, options: Mapping[str, Any], judged: str = "iou") -> float:
        """1 where the box reaches `least_iou`; or, judged by "pointing", the share of the map's maximum on the object.

        Args:
            image: Its place in `samples`.
            options: Of `explain`.
            judged: By "iou" or "pointing".
        """
        value = self.value(image, options, judged)
        return value if judged == "pointing" else float(value >= self.least_iou)

    def value(self, image: int, options: Mapping[str, Any], judged: str = "iou") -> float:
        """Intersection over union of the box, or the share of the map's tied maxima that lie on the object."""
        regions = regions_for(self.network, self.method, options)
        key = (image, judged, regions, alike(self.method, options))
        if key not in self._judged:
            self._judged[key] = self._measure(
                image, self._explained(image, options), regions, judged
            )
        return self._judged[key]

    def explain_all(
        self,
        images: Sequence[int],
        options: Mapping[str, Any],
        advance: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Explain images a batch at a time, so that judging them costs nothing more while they are remembered."""
        same = alike(self.method, options)
        missing = [image for image in images if (image, same) not in self._found]
        advance(len(images) - len(missing))
        for start in range(0, len(missing), self.batch_size):
            part = missing[start : start + self.batch_size]
            self._explain(part, options)
            advance(len(part))

    def _explained(self, image: int, options: Mapping[str, Any]) -> _Kept:
        key = (image, alike(self.method, options))
        if key not in self._found:
            self._explain([image], options)
        self._found.move_to_end(key)
        return self._found[key]

    def _explain(self, images: Sequence[int], options: Mapping[str, Any]) -> None:
        chosen = [self.samples[image] for image in images]
        inputs = self.preparation.inputs([sample.seen for sample in chosen])
        labels = torch.tensor([sample.label for sample in chosen])
        found = explain(self.network, inputs, labels, self.method, **options)
        same = alike(self.method, options)
        for at, image in enumerate(images):
            kept = _Kept.of(found, at)
            self._found[image, same] = kept
            self._held += kept.nbytes
        while self._held > _BYTES and len(self._found) > len(images):
            self._held -= self._found.popitem(last=False)[1].nbytes

    def _measure(self, image: int, found: _Kept, regions: Regions, judged: str) -> float:
        size, truth = self.preparation.shape[1:], [self.samples[image].boxes]
        if judged == "pointing":
            return float(pointing_hits(found.map(regions, size)[None], truth).values[0])
        corners = found.box(regions, size)
        box = Boxes(corners[None], corners[None, 2] > corners[None, 0])
        return float(best_iou(box.corners, box.found, truth).values[0])
