"""What is learnt of a method's options, one after the other, and which values each of them can take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from cofire.errors import OptionError, near_matches
from cofire.explain.options import DEFAULTS, Tracing, tracing_of
from cofire.explain.region_options import Regions, regions_of
from cofire.explain.regions import SIGMA, check_share

__all__ = ["WEIGHTS", "Knob", "alike", "defaults_of", "knobs_of"]

WEIGHTS = ("current", "preceding", "succeeding")
"""The parts of `alpha`, each a knob of its own (P3 §3.2)."""

_TRACED: dict[str, tuple[Any, ...]] = {
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
_MAPS: dict[str, tuple[Any, ...]] = {
    "sigma": _TRACED["sigma"],
    "threshold": (0.1, 0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5, 0.6, 0.7),
}


@dataclass(frozen=True)
class Knob:
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
        return options["alpha"][WEIGHTS.index(self.name)] if self.name in WEIGHTS else options[self.name]

    def turned(self, options: Mapping[str, Any], value: Any) -> dict[str, Any]:
        """Options with another value of this one.

        Example:
            >>> Knob("preceding", (0.0, 1.0)).turned({"alpha": (1.0, 0.0, 1.0)}, 0.5)
            {'alpha': (1.0, 0.5, 1.0)}
        """
        if self.name not in WEIGHTS:
            return {**options, self.name: value}
        alpha = list(options["alpha"])
        alpha[WEIGHTS.index(self.name)] = value
        return {**options, "alpha": tuple(alpha)}


def knobs_of(method: str, candidates: Mapping[str, Sequence[Any]] | None = None) -> list[Knob]:
    """What is learnt of a method, in order: the three weights of Eq. 1, how many inputs, box, blur; of maps the box.

    Args:
        method: Whose.
        candidates: Values in place of the usual ones, by name; none leaves an option as it is. Other options of the
            method can be named too and come last.

    Raises:
        OptionError: The method has no such option, or a value cannot be.

    Example:
        >>> [knob.name for knob in knobs_of("discernible", {"k": [], "most": [50, None]})]
        ['current', 'preceding', 'succeeding', 'k_linear', 'min_share', 'radius', 'sigma', 'most']
        >>> [knob.name for knob in knobs_of("gradcam")]
        ['threshold']
    """
    traced, options = method in DEFAULTS, defaults_of(method)
    usual = _TRACED if traced else _MAPS
    known = [*(WEIGHTS if "alpha" in options else ()), *(name for name in options if name != "alpha")]
    given = {str(name): tuple(values) for name, values in (candidates or {}).items()}
    for name in given:
        if name not in known:
            raise OptionError(
                f"values for '{name}' of method {method!r}", f"one of {', '.join(known)}",
                f"try {near_matches(name, known, most=1)}",
            )  # fmt: skip
    # Options of another version of a method may not have all that is usual.
    wanted = {name: values for name, values in usual.items() if name in known} | given
    # The box is around the points, however wide each is spread: only where the map is hottest changes.
    found = [
        Knob(name, values, "pointing" if traced and name == "sigma" else "iou")
        for name, values in wanted.items()
        if values
    ]
    for knob in found:
        if len(knob.values) < 2 or len(set(map(repr, knob.values))) < len(knob.values):
            told = ", ".join(map(str, knob.values))
            raise OptionError(f"{knob.name}: {told}", "two or more different values", "name them with commas")
        for value in knob.values:
            # By itself: a weight of 0 is possible as long as another is above it.
            alike(method, knob.turned({**options, "alpha": (1.0, 1.0, 1.0)} if traced else options, value))
    if not found:
        raise OptionError("no option to learn", f"some of {', '.join(known)}", "leave values for one of them")
    return found


def defaults_of(method: str) -> dict[str, Any]:
    """All options of a method that can be learnt, with what they are when nothing is said.

    Example:
        >>> defaults_of("gradcam")
        {'threshold': 0.5}
    """
    if method not in DEFAULTS:
        return ({"sigma": SIGMA} if method == "lrp" else {}) | Regions().used(traced=False)
    own = {field.name: getattr(DEFAULTS[method], field.name) for field in fields(Tracing) if field.name != "n"}
    return own | Regions().used(traced=True)


def alike(method: str, options: Mapping[str, Any]) -> tuple[Any, ...]:
    """What tells whether options trace the same: equal for those that do.

    Ratios of the weights alone decide, and the last changes none.

    Raises:
        OptionError: A value cannot be.

    Example:
        >>> alike("discernible", {"alpha": (2, 1, 3)}) == alike("discernible", {"alpha": (1, 0.5, 1), "sigma": 0.1})
        True
    """
    _, rest = regions_of(options, traced=method in DEFAULTS)
    if method not in DEFAULTS:
        if "sigma" in rest:
            check_share("sigma", rest["sigma"], least=0.0)
        return (method, *sorted(rest.items()))
    tracing = tracing_of(method, rest)
    current, preceding, _ = tracing.alpha
    largest = max(current, preceding)
    plain = replace(tracing, alpha=(current / largest, preceding / largest, 1.0))
    return (method, *map(repr, asdict(plain).items()))
