"""The path of evidence between one pixel and the classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from cofire.explain.neurons import Neurons, Site


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
