"""Graphs to find communities in, made at random from a seed."""

import numpy as np
import torch


def symmetric(upper):
    """The graph of what stands above the diagonal."""
    upper = np.triu(upper, 1)
    return torch.from_numpy(upper + upper.T)


def random_graph(n, density, seed):
    """Edges anywhere, with weights from 0.2 to 1."""
    draw = np.random.default_rng(seed)
    return symmetric(draw.uniform(0.2, 1, (n, n)) * (draw.random((n, n)) < density))


def planted(n, groups, inside, between, seed):
    """More edges inside groups than between them; and the group of every vertex."""
    draw = np.random.default_rng(seed)
    group = draw.integers(0, groups, n)
    chance = np.where(group[:, None] == group, inside, between)
    return symmetric(
        draw.uniform(0.2, 1, (n, n)) * (draw.random((n, n)) < chance)
    ), torch.from_numpy(group)


def overlapping_cliques(n, classes, members, seed):
    """A clique for each class, as in a graph of neurons; and every vertex's class, -1 for none or several."""
    draw = np.random.default_rng(seed)
    weights = np.zeros((n, n))
    belongs = np.zeros((classes, n), bool)
    for c in range(classes):
        chosen = draw.choice(n, members, replace=False)
        weights[np.ix_(chosen, chosen)] += symmetric(
            draw.uniform(0.2, 1, (members, members))
        ).numpy()
        belongs[c, chosen] = True
    return symmetric(weights), torch.from_numpy(
        np.where(belongs.sum(0) == 1, belongs.argmax(0), -1)
    )
