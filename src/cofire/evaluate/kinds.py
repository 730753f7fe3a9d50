"""What a method makes heat maps and boxes of on a network, and by which rule its boxes are made."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from cofire.explain import Explanation
from cofire.explain.options import kind_of
from cofire.explain.plan import plan_of
from cofire.explain.region_options import Kind, Regions, regions_of
from cofire.network import Network

BOX_RULE = ("threshold", "connected")
"""The options of boxes around heat."""


def kind_for(network: Network, method: str, options: Mapping[str, Any]) -> Kind:
    """What heat maps and boxes are made of: without layers that have places, points take their part.

    Args:
        network: That is explained.
        method: That explains, or a baseline.
        options: Those that are not as usual.

    Raises:
        RuleError: The network has an operator through which evidence cannot be traced.
        ExportError: The network has no operator graph.

    Example:
        >>> import torch
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> kind_for(network, "discernible", {}), kind_for(network, "edges", {})
        ('points', 'maps')
    """
    kind = kind_of(method, options)
    return "points" if kind == "layers" and not plan_of(network).judged else kind


def regions_for(network: Network, method: str, options: Mapping[str, Any]) -> Regions:
    """How heat maps and boxes are made on a network, as `cofire.explain.explain` does it.

    Raises:
        OptionError: A number is out of bounds.
        CofireError: As `kind_for`.

    Example:
        >>> import torch
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> regions_for(network, "discernible", {"radius": 0.2}).used("points")["radius"]
        0.2
    """
    return regions_of(options, kind_for(network, method, options))[0]


def fitting(network: Network, method: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Options of a method as another network can take them: boxes of points have no rule of heat.

    Raises:
        CofireError: As `kind_for`.

    Example:
        >>> import torch
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> fitting(network, "discernible", {"k": 3, "threshold": 0.4}), fitting(network, "edges", {"threshold": 0.4})
        ({'k': 3}, {'threshold': 0.4})
    """
    kind = kind_of(method, options)
    bare = kind == "layers" and kind_for(network, method, options) == "points"
    return {name: value for name, value in options.items() if not (bare and name in BOX_RULE)}


def box_around_heat(explanation: Explanation) -> bool:
    """Whether the boxes of an explanation are around the heat of its maps, and not around points.

    Example:
        >>> import torch
        >>> from cofire.explain import explain
        >>> network = Network(torch.nn.Linear(3, 2), torch.zeros(1, 3))
        >>> box_around_heat(explain(network, torch.ones(1, 3)))
        False
    """
    if explanation.maps is not None:
        return True
    return explanation.layer_maps is not None and explanation.regions.around == "heat"
