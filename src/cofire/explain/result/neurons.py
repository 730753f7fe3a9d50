"""The neurons that a tracing found, as a table: where they lie, how much evidence passed, and who handed it to whom."""

from __future__ import annotations

import math
from bisect import bisect_left
from dataclasses import dataclass, fields

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import ExplanationError


@validated
@dataclass(frozen=True)
class Site:
    """A place in the network at which neurons were found.

    Attributes:
        name: "input", an activation layer's name, an operator's module path, or "classes".
        kind: "input", "activation", "operator" or "classes".
        shape: Of one sample: (channels, height, width), (features,), ...
        channel_axis: The axis of `shape` with the channels.

    Example:
        >>> conv = Site("layer1.relu", "activation", (64, 56, 28), 0)
        >>> conv.channels, conv.grid, conv.has_positions
        (64, (56, 28), True)
        >>> Site("fc.relu", "activation", (512,), 0).grid
        (1, 1)
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    channel_axis: int

    @property
    def channels(self) -> int:
        """How many channels (units, where there are no positions)."""
        return self.shape[self.channel_axis]

    @property
    def grid(self) -> tuple[int, int]:
        """Rows and columns of positions: (1, 1) where there are none, (1, length) where they are on a line."""
        axis = self.channel_axis % len(self.shape)
        rest = [size for at, size in enumerate(self.shape) if at != axis]
        return (math.prod(rest[:-1]), rest[-1]) if rest else (1, 1)

    @property
    def has_positions(self) -> bool:
        """Whether neurons lie somewhere, as those of feature maps do and those of fully connected layers do not."""
        return len(self.shape) > 1


@validated
@dataclass(frozen=True, eq=False, repr=False)
class LayerNeurons:
    """The neurons that were found at one site, all images together, sorted by image.

    Attributes:
        site: Where.
        image: (rows,), int32.
        channel: (rows,), int32.
        y: (rows,), int32.
        x: (rows,), int32.
        score: The share of the decision's evidence that passed through the neuron, (rows,),
            float32.
    """

    site: Site
    image: Tensor
    channel: Tensor
    y: Tensor
    x: Tensor
    score: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def __repr__(self) -> str:
        return f"LayerNeurons('{self.site.name}', {self.site.kind}, {len(self):,} neurons)"


@validated(error=ExplanationError, finite=False)
@dataclass(frozen=True, eq=False, repr=False)
class Neurons:
    """What a tracing found: rows sorted by site (from "classes" first down to "input" last), then image, then index.

    Attributes:
        image: Which image, (rows,), int32.
        site: Index into the explanation's sites, (rows,), int32.
        channel: (rows,), int32.
        y: (rows,), int32; 0 where the site has no positions.
        x: (rows,), int32; 0 where the site has no positions.
        score: The share of the decision's evidence that passed through this neuron, (rows,),
            float32, above 0.
        child: Row of a link's end that is nearer to the input, (links,), int32.
        parent: Row that the child supports, nearer to the classes, (links,), int32.
        share: Evidence that the parent handed to the child, (links,), float32, above 0.
    """

    image: Tensor
    site: Tensor
    channel: Tensor
    y: Tensor
    x: Tensor
    score: Tensor
    child: Tensor
    parent: Tensor
    share: Tensor

    def __len__(self) -> int:
        return len(self.image)

    def __repr__(self) -> str:
        return f"Neurons({len(self):,} neurons, {len(self.child):,} links)"

    def rows_of(self, site: int, images: int, image: int | None = None) -> slice:
        """Which rows belong to a site, and to one of its images where one is named.

        Args:
            site: Index of the site.
            images: How many there are.
            image: From 0; None for all.

        Example:
            >>> one = torch.ones(3, dtype=torch.int32)
            >>> none = torch.zeros(0, dtype=torch.int32)
            >>> image, site = torch.tensor([0, 0, 1], dtype=torch.int32), torch.tensor([1, 0, 0], dtype=torch.int32)
            >>> found = Neurons(image, site, one, one, one, one.float(), none, none, none.float())
            >>> found.rows_of(0, 2), found.rows_of(0, 2, image=1)
            (slice(1, 3, None), slice(2, 3, None))
        """

        def place(row: int) -> int:
            return int(self.image[row]) - int(self.site[row]) * images

        first, last = (0, images) if image is None else (image, image + 1)
        start, end = (
            bisect_left(range(len(self)), at - site * images, key=place) for at in (first, last)
        )
        return slice(start, end)

    def of_images(self, chosen: list[int], images: int) -> Neurons:
        """The rows and links of some images, numbered anew in the order in which the images are named.

        Args:
            chosen: Images, each at most once.
            images: How many there were.
        """
        order = torch.full((images,), -1, dtype=torch.int64)
        order[torch.tensor(chosen, dtype=torch.int64)] = torch.arange(len(chosen))
        kept = torch.nonzero(order[self.image.long()] >= 0).flatten()
        image = order[self.image[kept].long()]
        sorting = torch.argsort(image - self.site[kept].long() * max(len(chosen), 1), stable=True)
        kept, image = kept[sorting], image[sorting]
        place = torch.full((len(self),), -1, dtype=torch.int32)
        place[kept] = torch.arange(len(kept), dtype=torch.int32)
        child, parent = place[self.child.long()], place[self.parent.long()]
        linked = (child >= 0) & (parent >= 0)
        return Neurons(
            image=image.to(torch.int32),
            site=self.site[kept],
            channel=self.channel[kept],
            y=self.y[kept],
            x=self.x[kept],
            score=self.score[kept],
            child=child[linked],
            parent=parent[linked],
            share=self.share[linked],
        )

    def check(self, sites: tuple[Site, ...], images: int) -> None:
        """Hold the table to what it promises.

        Raises:
            ExplanationError: A column is of the wrong type or length, a row lies outside its site,
                scores or shares are not above 0, or the order is not as promised.
        """
        for names, floats in (
            (("image", "site", "channel", "y", "x", "score"), "score"),
            (_LINKS, "share"),
        ):
            for name in names:
                column: Tensor = getattr(self, name)
                wanted = torch.float32 if name == floats else torch.int32
                length = len(getattr(self, names[0]))
                if column.dtype != wanted or column.shape != (length,):
                    found = f"neurons.{name} of {column.dtype} and shape {tuple(column.shape)}"
                    raise _bad(found, f"{wanted} and shape ({length},)")
        site, image = self.site.long(), self.image.long()
        _within("site", site, 0, len(sites))
        _within("image", image, 0, images)
        channels = torch.tensor([place.channels for place in sites])
        grids = torch.tensor([place.grid for place in sites])
        rows, columns = grids.unbind(1)
        for name, sizes in (("channel", channels), ("y", rows), ("x", columns)):
            _within(name, getattr(self, name), 0, sizes.index_select(0, site))
        _within("child", self.child, 0, len(self))
        _within("parent", self.parent, 0, len(self))
        for name in ("score", "share"):
            values: Tensor = getattr(self, name)
            if not bool((torch.isfinite(values) & (values > 0)).all()):
                raise _bad(
                    f"neurons.{name} with values that are not above 0 or not finite",
                    "finite values above 0",
                )
        if bool((torch.diff(image - site * images) < 0).any()):
            raise _bad(
                "neurons in another order",
                "rows by site, from the classes down to the input, then by image",
            )
        child, parent = self.child.long(), self.parent.long()
        if bool((site.index_select(0, child) >= site.index_select(0, parent)).any()):
            raise _bad(
                "a link whose child is not nearer to the input than its parent",
                "links that lead to the input",
            )
        if bool((image.index_select(0, child) != image.index_select(0, parent)).any()):
            raise _bad("a link between two images", "links within an image")


_LINKS = ("child", "parent", "share")


NEURON_COLUMNS = tuple(field.name for field in fields(Neurons))


def _within(name: str, values: Tensor, least: int, end: Tensor | int) -> None:
    if len(values) and (int(values.min()) < least or bool((values >= end).any())):
        raise _bad(
            f"neurons.{name} from {int(values.min())} to {int(values.max())}",
            "places that the sites have",
        )


def _bad(given: str, expected: str) -> ExplanationError:
    return ExplanationError(
        given, expected, "make the explanation with cofire.explain, or mend the table"
    )


@dataclass(frozen=True, eq=False, repr=False)
class Step:
    """The neurons of one site through which evidence came to a pixel, the strongest first.

    Attributes:
        site: Where.
        channel: (neurons,), int32.
        y: (neurons,), int32.
        x: (neurons,), int32.
        flow: Evidence that passed through the neuron and ended at the pixel, (neurons,), float64,
            above 0.
    """

    site: Site
    channel: Tensor
    y: Tensor
    x: Tensor
    flow: Tensor

    def __len__(self) -> int:
        return len(self.flow)

    def __repr__(self) -> str:
        return f"Step('{self.site.name}', {len(self)} neurons, flow {float(self.flow.sum()):.4f})"


@dataclass(frozen=True, eq=False)
class Path:
    """How evidence came to one pixel.

    Attributes:
        image: Which image.
        y: The pixel's row.
        x: The pixel's column.
        score: The share of the decision's evidence that ended at the pixel.
        steps: One per site, from the input to the classes; a site that the evidence went past has
            an empty step.
    """

    image: int
    y: int
    x: int
    score: float
    steps: tuple[Step, ...]

    def __repr__(self) -> str:
        lines = "".join(f"\n  {step!r}" for step in self.steps if len(step))
        return (
            f"Path(image {self.image}, pixel y={self.y}, x={self.x}, score {self.score:.4f}){lines}"
        )


def trace(neurons: Neurons, sites: tuple[Site, ...], start: Tensor) -> tuple[Step, ...]:
    """The evidence that ended at some rows, followed back to where it came from.

    A row's flow to the pixel is divided over its parents in the proportion of what they handed to
    it, `flow(parent) += flow(child) × share / Σ shares into the child`: what a row received is
    mixed, and its parents' parts cannot be told apart further down. Nothing is lost or added: the
    flow of the rows without parents (those of the classes) sums to the scores of the rows at the
    start, and so does every site that all evidence passes.

    Args:
        neurons: The table.
        sites: Its sites.
        start: Rows at which evidence ended, (rows,).

    Returns:
        One step per site, from the input to the classes.

    Example:
        Class 0 hands 0.75 to hidden unit 0 and 0.25 to unit 1; unit 0 hands 0.5 to the pixel, unit
        1 hands 0.25.

        >>> i = lambda *v: torch.tensor(v, dtype=torch.int32)
        >>> f = lambda *v: torch.tensor(v)
        >>> table = Neurons(i(0, 0, 0, 0), i(2, 1, 1, 0), i(0, 0, 1, 0), i(0, 0, 0, 0), i(0, 0, 0, 0),
        ...     f(1.0, 0.75, 0.25, 0.75), i(1, 2, 3, 3), i(0, 0, 1, 2), f(0.75, 0.25, 0.5, 0.25))
        >>> sites = (Site("input", "input", (1, 1, 1), 0), Site("relu", "activation", (2,), 0),
        ...     Site("classes", "classes", (2,), 0))
        >>> [step.flow.tolist() for step in trace(table, sites, torch.tensor([3]))]
        [[0.75], [0.5, 0.25], [0.75]]
    """
    flow = torch.zeros(len(neurons), dtype=torch.float64)
    flow[start] = neurons.score[start].double()
    child, parent, share = neurons.child.long(), neurons.parent.long(), neurons.share.double()
    received = torch.zeros_like(flow).index_add_(0, child, share)
    site_of_child = neurons.site[child]
    # Children before their parents: a row's flow is complete once all sites nearer to the input are
    # done.
    for index in range(len(sites)):
        links = torch.nonzero((site_of_child == index) & (flow[child] > 0)).flatten()
        source = child[links]
        flow.index_add_(0, parent[links], flow[source] * share[links] / received[source])
    return tuple(
        _step(neurons, site, flow * (neurons.site == index)) for index, site in enumerate(sites)
    )


def _step(neurons: Neurons, site: Site, flow: Tensor) -> Step:
    rows = torch.nonzero(flow).flatten()
    rows = rows[torch.argsort(flow[rows], descending=True, stable=True)]
    return Step(site, neurons.channel[rows], neurons.y[rows], neurons.x[rows], flow[rows])
