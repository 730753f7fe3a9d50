"""What was learnt of a method's options, and the file that `cofire tune` writes and `cofire explain` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, FiniteFloat
from pydantic_core import to_jsonable_python

from cofire.arguments import validated
from cofire.errors import OptionError, near_matches
from cofire.evaluate.bandit import BanditRun
from cofire.evaluate.methods import kind_for
from cofire.explain.methods.registry import METHODS, kind_of, method_of
from cofire.explain.result.regions import Kind, Regions, regions_of
from cofire.marks import choice
from cofire.network import Network
from cofire.shown import Shown
from cofire.statistics import Interval
from cofire.stored import Stored, fields_of, typed, values_of

Rewarded = Literal["iou", "pointing"]
"""What a reward is given for: the box, or where the map points."""
_Share = Annotated[float, Field(ge=0, le=1)]


@dataclass(frozen=True, eq=False)
class Learned:
    """What was learnt of one option.

    Attributes:
        name: "current", "preceding", "succeeding" for the weights of Eq. 1, else the option's own.
        values: That were tried, in the order of the run's arms.
        start: What it was before.
        chosen: What it is now.
        judged: What a reward was given for: "iou" of the box, or "pointing" of the map.
        alike: Whether all values give the same explanations, so that there is nothing to learn.
        run: The trials.
    """

    name: str
    values: tuple[Any, ...]
    start: Any
    chosen: Any
    judged: Rewarded
    alike: bool
    run: BanditRun


@dataclass(frozen=True)
class Score:
    """How options do on all tuning images.

    Attributes:
        iou: Mean intersection over union of the box with the object's.
        reached: Share of images whose box reaches what earns a reward.
        pointing: Share of images whose map points at the object.
    """

    iou: _Share
    reached: _Share
    pointing: _Share


@validated
@dataclass(frozen=True, eq=False, repr=False)
class Tuned(Shown, Stored):
    """Options of a method that were learnt on tuning images.

    Attributes:
        method: Whose.
        options: Of the tracing, all of them; empty for maps.
        regions: How points, layers and maps become heat maps and boxes.
        network: Digest of the network that they were learnt on: architecture and weights.
        architecture: Its fingerprint, the same for all weights.
        images: How many tuning images there were.
        without_box: How many more were left out, as the network sees no box of them.
        least_iou: From which intersection over union a box earned its reward.
        seed: Of the order of the images.
        learned: What was learnt, in order.
        before: How the method's own options do on the images.
        after: How those that were learnt do: on the same images, and so too well.
        gain: By how much more images reach the reward, with a 95 % interval, paired.
        setup: How it was made: model, weights, preparation, command, versions.
    """

    method: str
    options: Mapping[str, Any]
    regions: Regions
    network: str
    architecture: str
    images: int
    without_box: int
    least_iou: _Share
    seed: int
    learned: tuple[Learned, ...]
    before: Score
    after: Score
    gain: Interval
    setup: Mapping[str, Any] = field(default_factory=dict)
    format = 2
    # A file has them in other words.
    apart = ("regions", "learned", "gain")

    @property
    def kind(self) -> Kind:
        """What heat maps and boxes are made of."""
        return kind_of(self.method, self.options)

    @property
    def explain_options(self) -> dict[str, Any]:
        """What `cofire.explain.explain` takes, by name.

        Heat maps and boxes of what it then gives are made as was learnt.
        """
        plain = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in self.options.items()
        }
        return plain | self.regions.used(self.kind)

    def check(self, network: Network) -> None:
        """Refuse a network whose heat maps and boxes are made of something else than those that were learnt.

        Raises:
            OptionError: It has no layers with places, and the options are those of maps of layers.
        """
        if kind_for(network, self.method, self.options) != self.kind:
            raise OptionError(
                "options that were learnt for maps of layers, and a network without layers that have places",
                "a network with feature maps",
                "learn options of points with cofire tune on this network",
            )

    def note(self, network: Network) -> str | None:
        """What a user should know who takes the options for a network, None if they were learnt on this very one."""
        if network.digest() == self.network:
            return None
        other = (
            "other weights of this network"
            if network.fingerprint == self.architecture
            else "another network"
        )
        return f"the weights of layers were learnt on {other}; they can be used, and need not be the best"

    def with_setup(self, **setup: Any) -> Self:
        """The same with more said about how it was made."""
        return replace(self, setup={**self.setup, **setup})

    def described(self) -> dict[str, Any]:
        """As JSON can hold it.

        ```
        {"format": 2, "method": "discernible", "kind": "layers",         or "points", or "maps"
         "options": {"alpha": [1.0, 0.25, 1.0], "k": 5, "contrast": 0.6, ...},   of the method;
         null: all, or none "sigma": 0.027,                                                 of the
         heat map; null for maps "box": {"threshold": 0.3, "connected": true},   or, of points,
         {"min_share": 0.05, "radius": 0.1,
                                                                          "weighted": false}
         "network": digest, "architecture": fingerprint,
         "split": "tuning", "images": 143, "without_box": 2, "seed": 0, "least_iou": 0.5,
         "before": {"iou", "reached", "pointing"}, "after": {...}, "gain": [value, low, high],
         "runs": [{"name": "current", "values": [...], "start", "chosen", "judged": "iou", "alike":
         false,
                   "names", "pulled", "rewards", "table"}, ...],
         "setup": {"model", "weights", "prepared", "command", "versions", ...}}
        ```
        """
        shown = self.regions.used(self.kind)
        sigma = shown.pop("sigma", None)
        told = {
            "format": self.format,
            "kind": self.kind,
            "sigma": sigma,
            "box": shown,
            "split": "tuning",
            **values_of(self, self.apart),
            "gain": [self.gain.value, self.gain.low, self.gain.high],
            "runs": [{**values_of(one, ("run",)), **one.run.described()} for one in self.learned],
        }
        plain: dict[str, Any] = to_jsonable_python(told)
        return plain

    @classmethod
    def of(cls, described: Mapping[str, Any]) -> Self:
        """What `described` gave.

        Raises:
            ValueError: It is something else, or damaged; so are other errors of Python and of cofire.
        """
        if described["format"] == 1:
            raise ValueError(
                "it is of an earlier version, which knew heat maps and boxes of points alone"
            )
        if described["format"] != cls.format:
            raise ValueError(f"format {described['format']!r:.80}")
        plain = fields_of(cls, described, cls.apart)
        method, options = choice(METHODS).of("method", plain["method"]), plain["options"]
        kind, box = kind_of(method, options), typed(dict[str, Any], described["box"], "box")
        shown = box | ({} if described["sigma"] is None else {"sigma": described["sigma"]})
        usual = method_of(method).regions_of({}, kind)[0].used(kind)
        if (described["kind"], set(shown)) != (kind, set(usual)):
            raise ValueError(
                f"{described['kind']!r:.80} with a box of {', '.join(sorted(shown))} for {kind}"
            )
        if unknown := set(options) - (set(defaults_of(method, kind)) - set(usual)):
            raise ValueError(f"options {sorted(unknown)}")
        alike(method, options)
        ends = typed(tuple[FiniteFloat, FiniteFloat, FiniteFloat], described["gain"], "gain")
        value, low, high = ends
        return cls(
            **plain,
            regions=method_of(method).regions_of(shown, kind)[0],
            learned=tuple(map(_learned, typed(list[dict[str, Any]], described["runs"], "runs"))),
            gain=Interval(value, low, high, plain["images"]),
        )

    def __repr__(self) -> str:
        told = ", ".join(f"{one.name}={one.chosen}" for one in self.learned)
        return f"Tuned('{self.method}', {told}: learnt on {self.images} images)"


@validated
def read_tuned(path: str | Path) -> Tuned:
    """Read what `cofire tune` wrote: `explain(network, images, method=tuned.method, **tuned.explain_options)`.

    Args:
        path: The JSON file.

    Raises:
        ResultError: The file is missing, damaged, or holds something else.
    """
    return Tuned.load(path)


def _learned(stored: Mapping[str, Any]) -> Learned:
    own, run = fields_of(Learned, stored, ("run",)), BanditRun.of(stored)
    if len(own["values"]) != len(run.names):
        raise ValueError(f"a run of {len(run.names)} arms for {len(own['values'])} values")
    return Learned(**own, run=run)


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
        "contrast": (0.0, 0.3, 0.5, 0.6, 0.7, 0.85, 1.0),
        "overlap": (0.5, 0.6, 0.67, 0.75, 0.85, 1.0),
        "sigma": (4 / 224, 6 / 224, 8 / 224, 12 / 224, 16 / 224, 20 / 224, 30 / 224),
        **_HEAT,
    },
    "maps": {"sigma": _POINTS["sigma"], **_HEAT},
}


_OF_MAPS = ("contrast", "overlap", "guided", "rows")
"""Options of a method that change its maps of layers, and no points."""


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
    judged: Rewarded = "iou"

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
            if kind_of(method, turned) != kind_of(method, options):
                raise OptionError(
                    "a contrast of none among values for maps of layers",
                    "numbers from 0 to 1",
                    "begin with a contrast of none to learn options of points",
                )
            alike(method, turned)
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
        (0.6, None)
    """
    row = method_of(method)
    kind = row.kind() if kind is None else kind
    # Which class and which layer are explained is no matter of how well.
    own = {name: value for name, value in dict(row.options()).items() if name not in ("n", "layer")}
    if kind == "points" and "contrast" in own:
        own["contrast"] = None
    return own | row.regions_of({}, kind)[0].used(kind)


def _known(options: Mapping[str, Any], kind: Kind) -> list[str]:
    """The names of what can be learnt: what changes neither map nor box earns no reward."""
    if kind == "layers":
        of_maps = [name for name in _OF_MAPS if name in options]
        return [*of_maps, *regions_of({}, kind)[0].used(kind)]
    names = [name for name in options if name not in ("alpha", *_OF_MAPS)]
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
