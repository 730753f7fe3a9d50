"""Everything that is judged: the methods that explain, and what knows nothing of the network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import nn

from cofire.arguments import validated
from cofire.errors import OptionError, near_matches
from cofire.evaluate.baselines import BASELINES, baseline
from cofire.explain import METHODS, Explanation, explain
from cofire.explain.asking import Images, Pictures, Target
from cofire.network import Network

EVALUATED = (*METHODS, *BASELINES)
"""Methods that explain, and baselines."""


@validated
def explained(
    network: Network | nn.Module,
    images: Images,
    target: Target,
    method: str,
    *,
    pictures: Pictures = None,
    seed: int = 0,
    options: Mapping[str, Any] | None = None,
) -> Explanation:
    """An explanation by any method that is judged.

    Args:
        network: The classifier; a module is read with the images.
        images: A batch (images, *network.input_shape), prepared as for prediction; or one image.
        target: The class to explain: None for the predicted one, a number for all, or one for each
            image.
        method: One of `EVALUATED`.
        pictures: What to draw on, (images, height, width, 3), uint8; the images themselves unless
            given.
        seed: Of baselines that draw.
        options: Of the method, as `cofire.explain.explain` and `cofire.evaluate.baselines.baseline`
            take them.

    Raises:
        CofireError: As `cofire.explain.explain` does, see there.
        OptionError: No such method.

    Example:
        >>> import torch
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> explained(network, torch.ones(1, 3), 1, "edges")
        Explanation('edges', 1 image of 1 × 3 pixels, maps, evidence in 0 of 1)
    """
    if method not in EVALUATED:
        raise OptionError(
            f"method={method!r}",
            f"one of {', '.join(map(repr, EVALUATED))}",
            f"pass {near_matches(str(method), EVALUATED, most=1)}",
        )
    if method in BASELINES:
        return baseline(method, network, images, target, pictures, seed=seed, options=options)
    return explain(network, images, target, method, pictures=pictures, **(options or {}))
