"""Modularity: how much more weight lies inside communities than chance would put there."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Real
from typing import Annotated

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import OptionError
from cofire.marks import Later
from cofire.patterns.adjacency import WeightedGraph, check_communities, check_membership, graph_of
from cofire.patterns.arrays import ArrayLike


@validated
def modularity(adjacency: ArrayLike, membership: ArrayLike, *, resolution: float = 1.0) -> float:
    """Modularity of a partition, `Q = 1/2m Σ_vw (A_vw - γ k_v k_w / 2m) δ(C_v, C_w)` (P2 Eq. 2).

    Args:
        adjacency: Weights, (vertices, vertices), symmetric, from 0 up. The sum runs over v = w too,
            as `networkx.community.modularity` has it. An entry on the diagonal counts as it stands;
            networkx and igraph count a loop of weight w twice, which is an entry of 2 w here.
        membership: Community of every vertex, (vertices,), whole numbers from 0. -1: not a vertex;
            it and its edges are left out.
        resolution: γ, which multiplies the null model; 1 is the paper's. Gephi's resolution is its
            inverse.

    Returns:
        Q, from -1/2 to 1; 0 for a graph without edges.

    Raises:
        DataError: Not square, not symmetric, a negative weight, or a membership that does not fit.
        NonFiniteError: A weight is NaN or infinite.
        OptionError: The resolution is no finite number from 0 up.

    Example:
        Two triangles joined by one edge:

        >>> a = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)).fill_diagonal_(0)
        >>> a[2, 3] = a[3, 2] = 1
        >>> round(modularity(a, torch.tensor([0, 0, 0, 1, 1, 1])), 4)
        0.3571
    """
    if (
        isinstance(resolution, bool)
        or not isinstance(resolution, Real)
        or not 0 <= resolution < torch.inf
    ):
        raise OptionError(
            f"resolution={resolution}", "a finite number from 0 up", "pass resolution=1.0"
        )
    graph = graph_of(adjacency)
    belongs = check_membership(membership, len(graph.adjacency)).to(graph.adjacency.device)
    if bool((belongs < 0).any()):
        kept = torch.nonzero(belongs >= 0).flatten()
        graph, belongs = graph_of(graph.adjacency[kept[:, None], kept]), belongs[kept]
    if graph.total == 0:
        return 0.0
    _, numbered = torch.unique(belongs, return_inverse=True)
    count = int(numbered.max()) + 1
    # Each vertex's weight to each community; of those only the one to its own is needed.
    to_each = torch.zeros(len(belongs), count, dtype=torch.float64, device=numbered.device)
    inside = to_each.index_add_(1, numbered, graph.adjacency).gather(1, numbered[:, None]).sum()
    degrees = torch.zeros(count, dtype=torch.float64, device=numbered.device).index_add_(
        0, numbered, graph.degrees
    )
    return float(inside / graph.total - resolution * (degrees / graph.total).square().sum())


@validated
def overlapping_modularity(
    adjacency: ArrayLike,
    communities: Annotated[ArrayLike | Sequence[Sequence[int] | ArrayLike], Later()],
    *,
    weighted: bool = True,
    min_weight: float = 0.0,
) -> float:
    """Modularity of communities that may overlap, `Q = 1/2m Σ_c Σ_vw∈c (A_vw - k_v k_w / 2m) α_cv α_cw`.

    With `a_c` the row of belongings to community c, this is `Σ_c [a_c A a_cᵀ - (a_c · k)² / 2m] /
    2m`.

    Args:
        adjacency: Weights, (vertices, vertices), symmetric, from 0 up.
        communities: Vertices of every community; empty ones count nothing, and a vertex may be in
            none. A tensor has one row per community.
        weighted: True for Chen et al.'s measure (P2 Eq. 4): the weights as they are, and a vertex
            belongs to each of its communities by the share of its weight in it, `α_cv = k_cv / Σ_c
            k_cv`; one without weight in any belongs to all of its communities alike. False for Shen
            et al.'s (P2 Eq. 3; the print lacks the sum over communities): weights become 1 or 0,
            and belonging is `1 / O_v` for a vertex in O_v communities.
        min_weight: Without weights: an edge is a weight above this.

    Returns:
        Q, from -1/2 to 1; 0 for a graph without edges.

    Raises:
        DataError: Not square, not symmetric, a negative weight, or a community with a vertex that
            does not exist.
        NonFiniteError: A weight is NaN or infinite.
        OptionError: `min_weight` given together with weights, or no finite number from 0 up.

    Example:
        Two triangles that share a vertex, which belongs to both by half:

        >>> a = torch.zeros(5, 5)
        >>> a[:3, :3] = a[2:, 2:] = 1
        >>> round(overlapping_modularity(a.fill_diagonal_(0), [[0, 1, 2], [2, 3, 4]]), 4)
        0.1667
    """
    if not 0 <= min_weight < torch.inf or (weighted and min_weight != 0):
        raise OptionError(
            f"min_weight={min_weight} with weighted={weighted}",
            "a finite number from 0 up, where weights are not used",
            "pass weighted=False, or leave min_weight out",
        )
    graph = _graph(adjacency, weighted, min_weight)
    members = [
        m.to(graph.adjacency.device) for m in check_communities(communities, len(graph.adjacency))
    ]
    members = [m for m in members if len(m)]
    if graph.total == 0 or not members:
        return 0.0
    quality = torch.zeros((), dtype=torch.float64, device=graph.adjacency.device)
    for vertices, belonging in zip(members, _belongings(graph, members, weighted), strict=True):
        inside = belonging @ graph.adjacency[vertices[:, None], vertices] @ belonging
        quality += (
            inside / graph.total - (belonging @ graph.degrees[vertices] / graph.total).square()
        )
    return float(quality)


def _graph(adjacency: ArrayLike, with_weights: bool, min_weight: float) -> WeightedGraph:
    graph = graph_of(adjacency)
    return graph if with_weights else graph_of((graph.adjacency > min_weight).to(torch.float64))


def _belongings(graph: WeightedGraph, members: list[Tensor], by_weight: bool) -> list[Tensor]:
    """`α_cv` of every community's members: each vertex's add up to one."""
    everyone = torch.cat(members)
    shares = torch.ones(len(everyone), dtype=torch.float64, device=everyone.device)
    counts = torch.zeros(len(graph.adjacency), dtype=torch.float64, device=everyone.device)
    equal = 1 / counts.index_add(0, everyone, shares)[everyone]
    if by_weight:
        shares = torch.cat([graph.adjacency[m[:, None], m].sum(dim=1) for m in members])
        sums = counts.index_add(0, everyone, shares)[everyone]
        equal = torch.where(sums > 0, shares / torch.where(sums > 0, sums, 1.0), equal)
    return list(torch.split(equal, [len(m) for m in members]))
