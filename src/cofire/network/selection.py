"""Choose activation layers by name, path, pattern, kind or predicate."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from fnmatch import fnmatchcase
from typing import Annotated

from cofire.errors import LayerError, near_matches
from cofire.marks import LATER
from cofire.network.layers import ActivationLayer, LayersFound

Selector = Annotated[
    str
    | ActivationLayer
    | Callable[[ActivationLayer], bool]
    | Sequence[str | ActivationLayer | Callable[[ActivationLayer], bool]]
    | None,
    LATER,
]
"""What chooses layers: a name, a path, a glob, "kind:relu", a predicate, a layer, several of these, all."""

_KIND = "kind:"


def select(found: LayersFound, chosen: Selector) -> tuple[ActivationLayer, ...]:
    """The layers that a selector chooses, each once, in order of execution.

    Args:
        found: What there is to choose from.
        chosen: The selector; None for every activation layer.

    Raises:
        LayerError: A selector finds nothing, or names an activation that cannot be read.
    """
    if chosen is None:
        return found.layers
    several = isinstance(chosen, Sequence | Set) and not isinstance(chosen, str | bytes)
    wanted: set[ActivationLayer] = set()
    for one in chosen if several else [chosen]:  # type: ignore[union-attr]
        wanted.update(_matching(found, one))  # type: ignore[arg-type]
    order = {operation: place for place, operation in enumerate(found.sources.values())}
    places = {layer: order[found.sources[layer]] for layer in wanted}
    return tuple(sorted(wanted, key=places.__getitem__))


def _matching(
    found: LayersFound, one: str | ActivationLayer | Callable[[ActivationLayer], bool]
) -> list[ActivationLayer]:
    if isinstance(one, ActivationLayer):
        if one in found.sources:
            return [one]
        raise LayerError(
            f"layer {one.name!r}, which is not part of this network",
            f"one of its {len(found.layers)} activation layers or {len(found.gates)} gates",
            f"take it from this network's activation_layers; near it are {_near(found, one.name)}",
        )
    if isinstance(one, str):
        return _named(found, one)
    if callable(one):
        try:
            layers = [layer for layer in found.layers if one(layer)]
        except Exception as error:  # the caller's own function
            raise LayerError(
                f"a predicate that raises {type(error).__name__}: {error}",
                "a function of a layer",
                "correct it; it gets each of network.activation_layers",
            ) from error
        if layers:
            return layers
        raise LayerError(
            "a predicate that is true for no layer",
            f"one that chooses some of the {len(found.layers)} activation layers",
            f"look at network.activation_layers, such as {_near(found, '')}",
        )
    raise LayerError(
        f"a selector of type {type(one).__name__}",
        "a name, a path, a glob, 'kind:relu', a predicate or a layer",
        f"pass a name, such as {_near(found, '')}",
    )


def _named(found: LayersFound, text: str) -> list[ActivationLayer]:
    layers = found.layers
    if text.startswith(_KIND):
        matches = [layer for layer in layers if layer.kind == text.removeprefix(_KIND)]
        if matches:
            return matches
        kinds = sorted({layer.kind for layer in layers})
        raise LayerError(
            f"no activation layer of {text!r}",
            f"one of the kinds {', '.join(kinds) or 'none'}",
            f"use {near_matches(text, [f'{_KIND}{kind}' for kind in kinds])}",
        )
    if text in found.unreadable:
        raise LayerError(
            f"activation {text!r}, which cannot be observed because {found.unreadable[text]}",
            "an activation with neurons for each sample",
            "leave it out",
        )
    exact = [layer for layer in layers if layer.name == text]
    inside = [layer for layer in layers if layer.path == text or layer.path.startswith(f"{text}.")]
    matches = exact or inside or [layer for layer in layers if fnmatchcase(layer.name, text)]
    if matches:
        return matches
    if any(gate.name == text for gate in found.gates):
        raise LayerError(
            f"{text!r}, which is a gate: it only scales something else",
            "an activation layer",
            "to observe the gate all the same, pass the object from network.gates",
        )
    raise LayerError(
        f"no activation layer {text!r}",
        f"one of {len(layers)} activation layers, a module path, or a glob over their names",
        f"near it are {_near(found, text)}",
    )


def _near(found: LayersFound, name: str) -> str:
    return near_matches(name, [layer.name for layer in found.layers])
