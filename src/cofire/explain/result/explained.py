"""What drawings and pages need to know of an explanation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, Protocol

from torch import Tensor

from cofire.explain.result.layer_maps import LayerMaps
from cofire.explain.result.neurons import LayerNeurons, Neurons, Site
from cofire.explain.result.regions import Boxes, Kind, Points, Regions


class Explained(Protocol):
    """The readable side of `Explanation`, where each of these is described."""

    @property
    def method(self) -> str: ...  # noqa: D102
    @property
    def options(self) -> Mapping[str, Any]: ...  # noqa: D102
    @property
    def target(self) -> Tensor: ...  # noqa: D102
    @property
    def probability(self) -> Tensor: ...  # noqa: D102
    @property
    def predicted(self) -> Tensor: ...  # noqa: D102
    @property
    def confidence(self) -> Tensor: ...  # noqa: D102
    @property
    def input_shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def sites(self) -> tuple[Site, ...]: ...  # noqa: D102
    @property
    def neurons(self) -> Neurons | None: ...  # noqa: D102
    @property
    def maps(self) -> Tensor | None: ...  # noqa: D102
    @property
    def pictures(self) -> Tensor: ...  # noqa: D102
    @property
    def layer_maps(self) -> LayerMaps | None: ...  # noqa: D102
    @property
    def kind(self) -> Kind: ...  # noqa: D102
    @property
    def boxed(self) -> Literal["points", "heat"]: ...  # noqa: D102
    @property
    def size(self) -> tuple[int, int]: ...  # noqa: D102
    @property
    def has_evidence(self) -> Tensor: ...  # noqa: D102
    @property
    def regions(self) -> Regions: ...  # noqa: D102
    def __len__(self) -> int: ...
    def __getitem__(self, which: int | slice) -> Explained: ...
    def points(self, image: int) -> Points: ...  # noqa: D102
    def heatmap(self) -> Tensor: ...  # noqa: D102
    def boxes(self) -> Boxes: ...  # noqa: D102
    def layer(self, which: str | int) -> LayerNeurons: ...  # noqa: D102
