"""Where to draw every neuron of a graph, so that those which fire together lie together."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, NonNegativeInt
from torch import Tensor

from cofire.arguments import validated
from cofire.compiled import compiler
from cofire.errors import DataError
from cofire.patterns.adjacency import ArrayLike, graph_of
from cofire.tensors import Values

_Array = np.ndarray[Any, np.dtype[np.float64]]
_SOFTENING = 1e-4
"""Added to every squared distance, where vertices of one component lie about 1 apart: no force is infinite."""
_STRIDE = 0.3
"""The longest way of a vertex in one iteration, in the same unit."""
_QUICKENING = 1.5
"""The speed grows by this factor at most from one iteration to the next, as in ForceAtlas2."""
_UNFOLDING = 0.3
"""Share of the iterations in which springs first bring a random start into order."""
_JITTER = 1e-4
"""How far vertices that start from one place are set apart, as a share of the spread."""
_FAINT = 1e-15
"""Ties of less than this share of the heaviest one hold nothing: with no others, a vertex counts as isolated."""
_RING = 1.1
"""Where vertices without neighbours lie, in radii of the others: around them, and near enough not to squeeze."""
_GOLDEN = np.pi * (3 - np.sqrt(5))
"""The angle that spreads any run of vertices around a ring, and leaves each where it was when others come."""


@validated
def force_layout(
    adjacency: ArrayLike,
    *,
    initial: Annotated[Tensor, Values()] | None = None,
    iterations: NonNegativeInt = 200,
    gravity: Annotated[float, Field(ge=0, le=1e6)] = 1.0,
    seed: NonNegativeInt = 0,
) -> Tensor:
    """Positions at which neighbours attract, all vertices repel, and communities come apart.

    In the manner of ForceAtlas2 (Jacomy et al. 2014) with the attraction of LinLog (Noack 2007,
    2009), every vertex is moved, at a speed that follows how steadily it is pushed, by the force
    for its mass

        f_v = Σ_w m_w (x_v − x_w) / d_vw²  −  1/m_v Σ_w a_vw (x_v − x_w) / d_vw  −  g x_v,

        a_vw = A_vw / Σ A,   m_v = Σ_w a_vw,   d_vw = |x_v − x_w|.

    Its unit does not matter, nor does that of the weights. A random start is first brought into
    order with springs (no division by d_vw). Vertices without neighbours feel no force: they lie on
    a ring around the others. The diagonal plays no part.

    Args:
        adjacency: Weights (n, n), float64: square, symmetric, finite, not negative.
        initial: Positions (n, 2) to start from, as those of the checkpoint before, so that the
            drawing moves only as far as the graph has changed. A random start if absent, or if all
            of them coincide.
        iterations: How often every vertex is moved, from 0 up.
        gravity: g, from 0 to a million: how strongly everything is drawn to the centre. Less leaves more
            space between communities, more fills the drawing; with 0 the parts of a graph that is
            not connected drift apart.
        seed: Fixes the random start, and with it the result.

    Returns:
        Positions (n, 2), float64: their mean is 0, and the 98th percentile of their distances from
        it is 1, unless all of them coincide.

    Raises:
        DataError: A matrix that is no graph, starting places of another shape, or numbers that are not finite.
        OptionError: `iterations` or `seed` is no whole number from 0 up, or `gravity` out of range.

    Example:
        >>> adjacency = torch.block_diag(torch.ones(3, 3), torch.ones(3, 3)).double().fill_diagonal_(0)
        >>> adjacency[2, 3] = adjacency[3, 2] = 0.1
        >>> apart = torch.cdist(*[force_layout(adjacency)] * 2)
        >>> bool(apart[:3, :3].max() < 0.5 * apart[:3, 3:].min())
        True
    """
    given = graph_of(adjacency).adjacency
    n = len(given)
    if initial is not None and (initial.shape != (n, 2) or not bool(torch.isfinite(initial).all())):
        raise DataError(
            f"initial of shape {tuple(initial.shape)}",
            f"({n}, 2) finite numbers",
            "give every vertex a place",
        )
    weights = np.array(given.cpu().numpy(), np.float64)
    np.fill_diagonal(weights, 0)
    largest = weights.max(initial=0.0)
    if largest > 0:
        weights /= largest
    # Both ends of a tie, or neither: what is drawn always has a neighbour that is drawn.
    drawn = weights.max(1, initial=0.0) > _FAINT
    weights = np.ascontiguousarray(weights[np.ix_(drawn, drawn)])
    weights /= max(weights.sum(), 1.0)
    mass = weights.sum(1)

    random = np.random.default_rng(seed).standard_normal((n, 2))[drawn]
    start = random
    unfolding = 0
    spread = 0.0
    if initial is not None:
        given = np.asarray(initial.cpu().numpy(), np.float64)[drawn]
        given = given - given.mean(0) if len(given) else given
        spread = np.abs(given).max(initial=0.0)
    if spread > 0:
        start = given / spread + _JITTER * random
    else:
        unfolding = int(_UNFOLDING * iterations)
    placed = np.zeros((n, 2))
    if drawn.any():
        x, y = np.ascontiguousarray(start.T)
        _scale(weights, mass, x, y, gravity)
        _push(weights, mass, x, y, iterations, unfolding, gravity)
        placed[drawn] = _framed(np.stack((x, y), 1))
    angle = _GOLDEN * np.flatnonzero(~drawn)
    placed[~drawn] = _RING * np.stack((np.cos(angle), np.sin(angle)), 1)
    return torch.from_numpy(_framed(placed))


def _framed(positions: _Array) -> _Array:
    """Centred at 0, with 98 of 100 vertices within a distance of 1."""
    if not len(positions):
        return positions
    centred: _Array = positions - positions.mean(0)
    reach = float(np.quantile(np.hypot(*centred.T), 0.98))
    if reach > 0:
        centred /= reach
    return centred


_quick = compiler(error_model="numpy", fastmath={"reassoc", "nsz", "contract", "arcp"})


@_quick
def _scale(weights, mass, x, y, gravity):  # type: ignore[no-untyped-def]
    """Bring a start, in place, to the size at which attraction and repulsion balance as a whole."""
    n = len(mass)
    repulsion = 0.0
    attraction = 0.0
    inertia = 0.0
    for v in range(n):
        for w in range(n):
            dx = x[v] - x[w]
            dy = y[v] - y[w]
            attraction += weights[v, w] * np.sqrt(dx * dx + dy * dy)
            repulsion += mass[v] * mass[w]
        repulsion -= mass[v] * mass[v]
        inertia += mass[v] * (x[v] * x[v] + y[v] * y[v])
    # The factor at which the energy  −½ R ln s + ½ s D + ½ s² g I  is least.
    half = attraction / 2
    factor = repulsion / (half + np.sqrt(half * half + 2 * gravity * inertia * repulsion))
    x *= factor
    y *= factor


@_quick
def _push(weights, mass, x, y, iterations, unfolding, gravity):  # type: ignore[no-untyped-def]
    """Move all vertices, in place, as often as asked."""
    n = len(mass)
    force_x = np.empty(n)
    force_y = np.empty(n)
    last_x = np.zeros(n)
    last_y = np.zeros(n)
    swing = np.empty(n)
    speed = 0.1
    for step in range(iterations):
        # From springs to LinLog little by little: a sudden change would throw everything about.
        linlog = 1.0 if step >= 2 * unfolding else max(0.0, step / unfolding - 1)
        swinging = 0.0
        steady = 0.0
        for v in range(n):
            here_x = x[v]
            here_y = y[v]
            row = weights[v]
            share = 1 / mass[v]
            fx = -gravity * here_x
            fy = -gravity * here_y
            for w in range(n):
                dx = here_x - x[w]
                dy = here_y - y[w]
                near = 1 / (dx * dx + dy * dy + _SOFTENING)
                f = mass[w] * near - row[w] * share * (1 - linlog + linlog * np.sqrt(near))
                fx += f * dx
                fy += f * dy
            force_x[v] = fx
            force_y[v] = fy
            swing[v] = np.sqrt((fx - last_x[v]) ** 2 + (fy - last_y[v]) ** 2)
            swinging += mass[v] * swing[v]
            steady += mass[v] * 0.5 * np.sqrt((fx + last_x[v]) ** 2 + (fy + last_y[v]) ** 2)
        if swinging > 0:
            speed = min(steady / swinging, _QUICKENING * speed)
        # Over the second half everything comes to rest, or small parts would go on swinging around
        # each other.
        calm = min(1.0, 2 * (1 - step / iterations))
        for v in range(n):
            fx = force_x[v]
            fy = force_y[v]
            way = calm * speed / (1 + speed * np.sqrt(swing[v]))
            size = np.sqrt(fx * fx + fy * fy)
            if way * size > _STRIDE:
                way = _STRIDE / size
            x[v] += way * fx
            y[v] += way * fy
            last_x[v] = fx
            last_y[v] = fy
