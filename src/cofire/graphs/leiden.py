"""Leiden's method, from igraph."""

from __future__ import annotations

import random
import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cofire.errors import MissingExtraError
from cofire.graphs.louvain import by_size

_GENERATOR = threading.Lock()


def igraph_module(what: str) -> Any:
    """The library, if it is installed.

    Args:
        what: For what it is needed, for the message.

    Raises:
        MissingExtraError: It is not.
    """
    try:
        import igraph
    except ImportError as error:
        raise MissingExtraError(
            f"{what} without igraph", "the extra 'igraph'", "pip install igraph"
        ) from error
    return igraph


def leiden(adjacency: Tensor, *, resolution: float = 1.0, seed: int = 0) -> Tensor:
    """Communities of high modularity by Leiden's method (Traag et al. 2019), repeated until nothing changes.

    igraph draws from one generator for the whole process. While this runs it is one of ours;
    afterwards it is Python's own `random`, as igraph has it unless it was told otherwise.

    Args:
        adjacency: Weights, (vertices, vertices), symmetric, from 0 up, 0 on the diagonal.
        resolution: γ, which multiplies the null model.
        seed: Of the order in which vertices are visited.

    Returns:
        Community of every vertex, (vertices,), int64, numbered from 0 by falling size.

    Raises:
        MissingExtraError: igraph is not installed.
    """
    igraph = igraph_module("Leiden's method")
    pairs = torch.nonzero(torch.triu(adjacency, 1))
    graph = igraph.Graph(n=len(adjacency), edges=pairs.numpy())
    weights = adjacency[pairs[:, 0], pairs[:, 1]].tolist()
    with _GENERATOR:
        igraph.set_random_number_generator(random.Random(seed))
        try:
            found = graph.community_leiden(
                "modularity", weights=weights, resolution=resolution, n_iterations=-1
            )
        finally:
            igraph.set_random_number_generator(random)
    return torch.from_numpy(by_size(np.array(found.membership, dtype=np.int64)))
