"""What was learnt of a method's options, and the file that `cofire tune` writes and `cofire explain` takes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Self

from cofire.arguments import validated
from cofire.errors import CofireError, OptionError, ResultError
from cofire.evaluate.bandit import BanditRun
from cofire.evaluate.methods import kind_for
from cofire.evaluate.search_space import alike, defaults_of
from cofire.explain.methods.registry import METHODS, kind_of
from cofire.explain.result.regions import Kind, Regions, regions_of
from cofire.network import Network
from cofire.reading import reader
from cofire.statistics import Interval
from cofire.storage import load_json, save_json

_FORMAT = 2


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
    judged: str
    alike: bool
    run: BanditRun


@dataclass(frozen=True)
class Score:
    """How options do on all tuning photos.

    Attributes:
        iou: Mean intersection over union of the box with the object's.
        reached: Share of photos whose box reaches what earns a reward.
        pointing: Share of photos whose map points at the object.
    """

    iou: float
    reached: float
    pointing: float


@validated
@dataclass(frozen=True, eq=False, repr=False)
class Tuned:
    """Options of a method that were learnt on tuning photos.

    Attributes:
        method: Whose.
        options: Of the tracing, all of them; empty for maps.
        regions: How points, layers and maps become heat maps and boxes.
        network: Digest of the network that they were learnt on: architecture and weights.
        architecture: Its fingerprint, the same for all weights.
        photos: How many tuning photos there were.
        without_box: How many more were left out, as the network sees no box of them.
        least_iou: From which intersection over union a box earned its reward.
        seed: Of the order of the photos.
        learned: What was learnt, in order.
        before: How the method's own options do on the photos.
        after: How those that were learnt do: on the same photos, and so too well.
        gain: By how much more photos reach the reward, with a 95 % interval, paired.
        setup: How it was made: model, weights, preparation, command, versions.
    """

    method: str
    options: Mapping[str, Any]
    regions: Regions
    network: str
    architecture: str
    photos: int
    without_box: int
    least_iou: float
    seed: int
    learned: tuple[Learned, ...]
    before: Score
    after: Score
    gain: Interval
    setup: Mapping[str, Any] = field(default_factory=dict)

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
         "options": {"alpha": [1.0, 0.25, 1.0], "k": 5, "contrast": 0.7, ...},   of the method;
         null: all, or none "sigma": 0.054,                                                 of the
         heat map; null for maps "box": {"threshold": 0.45, "connected": true},   or, of points,
         {"min_share": 0.05, "radius": 0.1,
                                                                          "weighted": false}
         "network": digest, "architecture": fingerprint,
         "split": "tuning", "photos": 143, "without_box": 2, "seed": 0, "least_iou": 0.5,
         "before": {"iou", "reached", "pointing"}, "after": {...}, "gain": [value, low, high],
         "runs": [{"name": "current", "values": [...], "start", "chosen", "judged": "iou", "alike":
         false,
                   "names", "pulled", "rewards", "table"}, ...],
         "setup": {"model", "weights", "prepared", "command", "versions", ...}}
        ```
        """
        shown = self.regions.used(self.kind)
        sigma = shown.pop("sigma", None)
        runs = [
            {
                **{
                    one.name: getattr(learned, one.name)
                    for one in fields(Learned)
                    if one.name != "run"
                }
            }
            | learned.run.described()
            for learned in self.learned
        ]
        return {
            "format": _FORMAT,
            "method": self.method,
            "kind": self.kind,
            "options": dict(self.options),
            "sigma": sigma,
            "box": shown,
            "network": self.network,
            "architecture": self.architecture,
            "split": "tuning",
            "photos": self.photos,
            "without_box": self.without_box,
            "seed": self.seed,
            "least_iou": self.least_iou,
            "before": asdict(self.before),
            "after": asdict(self.after),
            "gain": [self.gain.value, self.gain.low, self.gain.high],
            "runs": runs,
            "setup": dict(self.setup),
        }

    def save(self, path: str | Path) -> Path:
        """Write all of it as JSON, whole or not at all.

        Returns:
            The path.
        """
        return save_json(path, self.described())

    def __repr__(self) -> str:
        told = ", ".join(f"{one.name}={one.chosen}" for one in self.learned)
        return f"Tuned('{self.method}', {told}: learnt on {self.photos} photos)"


@validated
@reader(ResultError, "what cofire tune wrote", "learn the options again with cofire tune")
def read_tuned(path: str | Path) -> Tuned:
    """Read what `cofire tune` wrote: `explain(network, images, method=tuned.method, **tuned.explain_options)`.

    Args:
        path: The JSON file.

    Raises:
        ResultError: The file is missing, damaged, or holds something else.
    """
    try:
        noted = load_json(path)
        return _read(noted)
    except OSError as error:
        raise ResultError(
            f"'{path}' cannot be read: {error}", "a file of cofire tune", "check the path"
        ) from error
    except (
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
        OverflowError,
        CofireError,
    ) as error:
        why = f"it lacks {error}" if isinstance(error, KeyError) else error
        if isinstance(error, CofireError):
            why = f"{error.given}, expected is {error.expected}"
        raise ResultError(
            f"'{path}' holds no options of this version: {why}",
            "what cofire tune wrote",
            "name another file, or learn the options again with cofire tune",
        ) from error


def _read(noted: Any) -> Tuned:
    if _of(dict, noted).get("format") == 1:
        raise ValueError(
            "it is of an earlier version, which knew heat maps and boxes of points alone"
        )
    if noted.get("format") != _FORMAT:
        raise ValueError(f"format {noted.get('format')!r}")
    method = _of(str, noted["method"])
    if method not in METHODS:
        raise ValueError(f"method {method!r}")
    options = _of(dict, noted["options"])
    kind = kind_of(method, options)
    if noted["kind"] != kind:
        raise ValueError(f"kind {noted['kind']!r:.80} with options of {kind}")
    shown = _of(dict, noted["box"]) | ({} if kind == "maps" else {"sigma": noted["sigma"]})
    usual = regions_of({}, kind)[0].used(kind)
    if set(shown) != set(usual) or (kind == "maps" and noted["sigma"] is not None):
        raise ValueError(
            f"a box of {', '.join(sorted(set(shown) - {'sigma'})) or 'nothing'} for {kind}"
        )
    regions, _ = regions_of(shown, kind)
    if unknown := set(options) - (set(defaults_of(method, kind)) - set(usual)):
        raise ValueError(f"options {sorted(unknown)}")
    alike(method, options)
    return Tuned(
        method=method,
        options=options,
        regions=regions,
        network=_of(str, noted["network"]),
        architecture=_of(str, noted["architecture"]),
        photos=_of(int, noted["photos"]),
        without_box=_of(int, noted["without_box"]),
        least_iou=_share(noted["least_iou"]),
        seed=_of(int, noted["seed"]),
        learned=tuple(_learned(_of(dict, run)) for run in _of(list, noted["runs"])),
        before=_score(noted["before"]),
        after=_score(noted["after"]),
        gain=_gain(_of(list, noted["gain"]), _of(int, noted["photos"])),
        setup=_of(dict, noted["setup"]),
    )


def _gain(noted: list[Any], photos: int) -> Interval:
    value, low, high = (_number(end) for end in noted)
    return Interval(value, low, high, photos)


def _learned(noted: Mapping[str, Any]) -> Learned:
    values = tuple(_of(list, noted["values"]))
    run = BanditRun.of(noted)
    if len(values) != len(run.names) or noted["judged"] not in ("iou", "pointing"):
        raise ValueError(f"a run of {len(run.names)} arms for {len(values)} values")
    return Learned(
        _of(str, noted["name"]),
        values,
        noted["start"],
        noted["chosen"],
        noted["judged"],
        _of(bool, noted["alike"]),
        run,
    )


def _score(noted: Any) -> Score:
    return Score(*(_share(_of(dict, noted)[name]) for name in ("iou", "reached", "pointing")))


def _share(noted: object) -> float:
    number = _number(noted)
    if not 0 <= number <= 1:
        raise ValueError(f"{noted!r} is no share")
    return number


def _number(noted: object) -> float:
    if isinstance(noted, bool) or not isinstance(noted, (int, float)) or not math.isfinite(noted):
        raise ValueError(f"{noted!r} is no number")
    return float(noted)


def _of(kind: type, noted: object) -> Any:
    # Not isinstance: true is no 1.
    if type(noted) is not kind:
        raise ValueError(f"{noted!r:.80} is no {kind.__name__}")
    return noted
