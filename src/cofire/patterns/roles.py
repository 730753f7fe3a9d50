"""What part a neuron plays among the communities: at home in one, or between several."""

from __future__ import annotations

import torch
from torch import Tensor

from cofire.arguments import validated
from cofire.patterns.adjacency import check_membership, graph_of
from cofire.patterns.arrays import ArrayLike


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
