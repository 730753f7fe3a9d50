"""What is learnt of a method's options, one after the other, and which values each of them can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from cofire.errors import OptionError, near_matches
from cofire.explain.methods.registry import kind_of, method_of
from cofire.explain.result.regions import Kind, regions_of

WEIGHTS = ("current", "preceding", "succeeding")
"""The parts of `alpha`, each a dimension of its own (P3 §3.2)."""

_POINTS: dict[str, tuple[Any, ...]] = {
    "current": (0.0, 0.25, 0.5, 0.75, 1.0),
    "preceding": (0.0, 0.25, 0.5, 0.75, 1.0),
    # At 0 nothing would have a score.
    "succeeding": (0.25, 0.5, 0.75, 1.0),
    "k": (1, 2, 5, 10, 20),
    "k_linear": (1, 2, 5, 10, None),
    "min_share": (0.0, 0.01, 0.02, 0.05, 0.1, 0.2),
    "radius": (0.05, 0.1, 0.15, 0.2),
    "sigma": (5 / 224, 10 / 224, 20 / 224, 30 / 224, 40 / 224),
}
_HEAT: dict[str, tuple[Any, ...]] = {
    "threshold": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.6, 0.7),
    "connected": (False, True),
}
_USUAL: dict[Kind, dict[str, tuple[Any, ...]]] = {
    "points": _POINTS,
    # The blur comes before the box: where the map's heat ends depends on it.
    "layers": {
        "contrast": (0.0, 0.25, 0.5, 0.7, 1.0),
        "sigma": (5 / 224, 8 / 224, 12 / 224, 16 / 224, 20 / 224, 30 / 224),
        **_HEAT,
    },
    "maps": {"sigma": _POINTS["sigma"], **_HEAT},
}


@dataclass(frozen=True)
class Dimension:
    """One option that is learnt.

    Attributes:
        name: "current", "preceding", "succeeding", or an option's own name.
        values: That are tried, two or more.
        judged: What a reward is given for: "iou" of the box, or "pointing" of the map.
    """

    name: str
    values: tuple[Any, ...]
    judged: str = "iou"

    def now(self, options: Mapping[str, Any]) -> Any:
        """The value that options have."""
        return (
            options["alpha"][WEIGHTS.index(self.name)]
            if self.name in WEIGHTS
            else options[self.name]
        )

    def with_value(self, options: Mapping[str, Any], value: Any) -> dict[str, Any]:
        """Options with another value of this one.

        Example:
            >>> Dimension("preceding", (0.0, 1.0)).with_value({"alpha": (1.0, 0.0, 1.0)}, 0.5)
            {'alpha': (1.0, 0.5, 1.0)}
        """
        if self.name not in WEIGHTS:
            return {**options, self.name: value}
        alpha = list(options["alpha"])
        alpha[WEIGHTS.index(self.name)] = value
        return {**options, "alpha": tuple(alpha)}


def search_space(
    method: str, candidates: Mapping[str, Sequence[Any]] | None = None, kind: Kind | None = None
) -> list[Dimension]:
    """What is learnt of a method, in order.

    Where heat maps and boxes are made of points: the three weights of Eq. 1, how many inputs, box,
        blur. Of layers: the
    contrast with the rival, blur, box; how points are traced changes neither map nor box. Of maps:
    the box.

    Args:
        method: Whose.
        candidates: Values in place of the usual ones, by name; none leaves an option as it is.
            Other options that change map or box can be named too and come last.
        kind: What heat maps and boxes are made of; what the method makes them of unless given.

    Raises:
        OptionError: The method has no such option, or a value cannot be.

    Example:
        >>> [one.name for one in search_space("discernible-p3", {"k": [], "most": [50, None]})]
        ['current', 'preceding', 'succeeding', 'k_linear', 'min_share', 'radius', 'sigma', 'most']
        >>> [one.name for one in search_space("discernible")], [one.name for one in search_space("gradcam")]
        (['contrast', 'sigma', 'threshold', 'connected'], ['threshold', 'connected'])
    """
    kind = kind_of(method, {}) if kind is None else kind
    options, usual = defaults_of(method, kind), _USUAL[kind]
    known = _known(options, kind)
    given = {str(name): tuple(values) for name, values in (candidates or {}).items()}
    for name in given:
        if name in known:
            continue
        if kind == "layers" and name in _known(defaults_of(method, "points"), "points"):
            raise OptionError(
                f"values for '{name}' of method {method!r}, which change points and not the maps and boxes of layers",
                f"one of {', '.join(known)}",
                "begin with a contrast of none, which makes maps and boxes of points",
            )
        raise OptionError(
            f"values for '{name}' of method {method!r}",
            f"one of {', '.join(known)}",
            f"try {near_matches(name, known, most=1)}",
        )
    # Options of another version of a method may not have all that is usual.
    wanted = {name: values for name, values in usual.items() if name in known} | given
    # The box is around the points, however wide each is spread: only where the map is hottest
    # changes. That of layers is learnt after their blur.
    found = [
        Dimension(name, values, "pointing" if kind != "maps" and name == "sigma" else "iou")
        for name, values in wanted.items()
        if values
    ]
    for dimension in found:
        if len(dimension.values) < 2 or len(set(map(repr, dimension.values))) < len(
            dimension.values
        ):
            told = ", ".join(map(str, dimension.values))
            raise OptionError(
                f"{dimension.name}: {told}", "two or more different values", "name them with commas"
            )
        for value in dimension.values:
            # By itself: a weight of 0 is possible as long as another is above it.
            turned = dimension.with_value(
                {**options, "alpha": (1.0, 1.0, 1.0)} if "alpha" in options else options, value
            )
            alike(method, turned)
            if kind_of(method, turned) != kind_of(method, options):
                raise OptionError(
                    "a contrast of none among values for maps of layers",
                    "numbers from 0 to 1",
                    "begin with a contrast of none to learn options of points",
                )
    if not found:
        raise OptionError(
            "no option to learn", f"some of {', '.join(known)}", "leave values for one of them"
        )
    return found


def defaults_of(method: str, kind: Kind | None = None) -> dict[str, Any]:
    """All options of a method but the number of classes, with what they are when nothing is said.

    Args:
        method: Whose.
        kind: What heat maps and boxes are made of; what the method makes them of unless given.

    Example:
        >>> defaults_of("gradcam")
        {'threshold': 0.5, 'connected': False}
        >>> defaults_of("discernible")["contrast"], defaults_of("discernible", "points")["contrast"]
        (0.7, None)
    """
    row = method_of(method)
    kind = row.kind() if kind is None else kind
    # Which class and which layer are explained is no matter of how well.
    own = {name: value for name, value in dict(row.options()).items() if name not in ("n", "layer")}
    if kind == "points" and "contrast" in own:
        own["contrast"] = None
    return own | regions_of({}, kind)[0].used(kind)


def _known(options: Mapping[str, Any], kind: Kind) -> list[str]:
    """The names of what can be learnt: what changes neither map nor box earns no reward."""
    if kind == "layers":
        return ["contrast", *regions_of({}, kind)[0].used(kind)]
    names = [name for name in options if name not in ("alpha", "contrast")]
    return [*(WEIGHTS if "alpha" in options else ()), *names]


def alike(method: str, options: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells whether options trace the same: equal for those that do.

    Ratios of the weights alone decide, and the last changes none.

    Raises:
        OptionError: A value cannot be.

    Example:
        >>> alike("discernible", {"alpha": (2, 1, 3)}) == alike("discernible", {"alpha": (1, 0.5, 1), "sigma": 0.1})
        True
    """
    row = method_of(method)
    plain = dict(row.read(options, row.kind(options))[1])
    if "alpha" in plain:
        current, preceding, _ = plain["alpha"]
        largest = max(current, preceding)
        plain["alpha"] = (current / largest, preceding / largest, 1.0)
    return (method, *map(repr, plain.items()))
