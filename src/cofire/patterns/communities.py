"""Communities of a graph: modularity, how far two partitions agree, and what part each vertex plays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import NonNegativeFloat
from torch import Tensor

from cofire.arguments import validated
from cofire.errors import DataError, OptionError
from cofire.marks import LATER
from cofire.patterns.adjacency import (
    ArrayLike,
    WeightedGraph,
    check_communities,
    check_membership,
    graph_of,
)
from cofire.tensors import dense as tensor_of


@validated
def modularity(
    adjacency: ArrayLike, membership: ArrayLike, *, resolution: NonNegativeFloat = 1.0
) -> float:
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
    communities: Annotated[ArrayLike | Sequence[Sequence[int] | ArrayLike], LATER],
    *,
    weighted: bool = True,
    min_weight: NonNegativeFloat = 0.0,
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
    if weighted and min_weight != 0:
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


def adjusted_rand_index(first: ArrayLike, second: ArrayLike) -> float:
    """Share of the pairs of vertices on which two partitions agree, corrected for chance (Hubert & Arabie 1985).

    `(Σ_ij C(n_ij, 2) - E) / (½ [Σ_i C(a_i, 2) + Σ_j C(b_j, 2)] - E)`, `E = Σ_i C(a_i, 2) Σ_j C(b_j,
    2) / C(n, 2)`, where n_ij vertices are in community i of the first and j of the second.

    Args:
        first: Community of every vertex, (vertices,), whole numbers from 0.
        second: The same of the other partition.

    Returns:
        1 for the same partition under other numbers, 0 on average for random ones of the same
        sizes, at least -0.5.

    Raises:
        DataError: They are of other lengths, empty, or not whole numbers from 0.

    Example:
        >>> round(adjusted_rand_index(torch.tensor([0, 0, 1, 1, 2, 2]), torch.tensor([1, 1, 0, 0, 0, 2])), 4)
        0.4444
    """
    table = _contingency(first, second)

    def pairs(counts: Tensor) -> float:
        return float((counts * (counts - 1)).sum()) / 2

    together, a, b = pairs(table), pairs(table.sum(dim=1)), pairs(table.sum(dim=0))
    vertices = float(table.sum())
    if vertices < 2:
        return 1.0
    expected = a * b / (vertices * (vertices - 1) / 2)
    most = (a + b) / 2
    # Both all in one or both all alone: the same partition.
    return 1.0 if most == expected else (together - expected) / (most - expected)


def normalized_mutual_information(first: ArrayLike, second: ArrayLike) -> float:
    """Information that two partitions share, `2 I(A; B) / (H(A) + H(B))`.

    Args:
        first: Community of every vertex, (vertices,), whole numbers from 0.
        second: The same of the other partition.

    Returns:
        From 0 (independent) to 1 (the same under other numbers). Unlike the adjusted Rand index it
        is not corrected for chance: many small communities alone raise it.

    Raises:
        DataError: They are of other lengths, empty, or not whole numbers from 0.

    Example:
        >>> round(normalized_mutual_information(torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 2])), 4)
        0.8
    """
    shares = _contingency(first, second)
    shares = shares / shares.sum()
    entropy = torch.special.entr
    one, other = entropy(shares.sum(dim=1)).sum(), entropy(shares.sum(dim=0)).sum()
    both = entropy(shares).sum()
    if float(one + other) == 0:
        return 1.0  # both all in one community
    return min(1.0, max(0.0, float(2 * (one + other - both) / (one + other))))


def _contingency(first: ArrayLike, second: ArrayLike) -> Tensor:
    """How many vertices are in each pair of communities, float64."""
    given = [tensor_of(partition, "a partition") for partition in (first, second)]
    a, b = (check_membership(partition, partition.numel()) for partition in given)
    if len(a) != len(b) or len(a) == 0 or int(torch.minimum(a, b).min()) < 0:
        raise DataError(
            f"partitions of {len(a)} and {len(b)} vertices",
            "the same vertices in both, each in a community",
            "drop others",
        )
    (_, rows), (_, columns) = (torch.unique(partition, return_inverse=True) for partition in (a, b))
    width = int(columns.max()) + 1
    counts = torch.bincount(rows * width + columns, minlength=(int(rows.max()) + 1) * width)
    return counts.reshape(-1, width).to(torch.float64)


@validated
def within_community_strength(adjacency: ArrayLike, membership: ArrayLike) -> Tensor:
    """Weight of every vertex's edges to its own community, `Σ_w A_vw δ(C_v, C_w)`.

    Args:
        adjacency: Weights, (vertices, vertices), symmetric, from 0 up.
        membership: Community of every vertex, (vertices,); -1: not a vertex, it and its edges are
            left out.

    Returns:
        (vertices,), float64; 0 for what is not a vertex.

    Raises:
        DataError: See `modularity`.
        NonFiniteError: A weight is NaN or infinite.

    Example:
        >>> a = torch.tensor([[0.0, 2.0, 1.0], [2.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        >>> within_community_strength(a, torch.tensor([0, 0, 1]))
        tensor([2., 2., 0.], dtype=torch.float64)
    """
    to_each, own = _to_communities(adjacency, membership)
    inside = torch.zeros(len(own), dtype=torch.float64, device=own.device)
    at_home = torch.nonzero(own >= 0).flatten()
    inside[at_home] = to_each[at_home, own[at_home]]
    return inside


@validated
def participation_coefficient(adjacency: ArrayLike, membership: ArrayLike) -> Tensor:
    """How evenly every vertex's edges spread over the communities, `P_v = 1 - Σ_s (k_vs / k_v)²`.

    Guimerà & Amaral (2005). 0: all of its weight goes to one community; towards 1 - 1/communities:
    to all alike.

    Args:
        adjacency: Weights, (vertices, vertices), symmetric, from 0 up.
        membership: Community of every vertex, (vertices,); -1: not a vertex, it and its edges are
            left out.

    Returns:
        (vertices,), float64, from 0 to below 1; 0 for an isolated vertex and for what is not a
        vertex.

    Raises:
        DataError: See `modularity`.
        NonFiniteError: A weight is NaN or infinite.

    Example:
        >>> a = torch.tensor([[0.0, 1.0, 1.0], [1.0, 0.0, 0.0], [1.0, 0.0, 0.0]])
        >>> participation_coefficient(a, torch.tensor([0, 0, 1]))
        tensor([0.5000, 0.0000, 0.0000], dtype=torch.float64)
    """
    to_each, own = _to_communities(adjacency, membership)
    strength = to_each.sum(dim=1)
    share = to_each / torch.where(strength > 0, strength, 1.0)[:, None]
    spread = (1 - share.square().sum(dim=1)).clamp(min=0.0)
    return torch.where((own < 0) | (strength == 0), 0.0, spread)


def _to_communities(adjacency: ArrayLike, membership: ArrayLike) -> tuple[Tensor, Tensor]:
    """Weight from every vertex to each community, (vertices, communities), and its own community."""
    graph = graph_of(adjacency)
    own = check_membership(membership, len(graph.adjacency)).to(graph.adjacency.device)
    numbers, numbered = torch.unique(own, return_inverse=True)
    to_each = torch.zeros(len(own), len(numbers), dtype=torch.float64, device=own.device)
    to_each.index_add_(1, numbered, graph.adjacency)
    if len(numbers) and int(numbers[0]) < 0:
        to_each, numbered = to_each[:, 1:], numbered - 1
        to_each[own < 0] = 0
    return to_each, numbered
